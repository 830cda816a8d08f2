"""What the command line writes, and where that cannot be written: terminals, logs, closed streams."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qgasim.client.blocking import QUEUE_IS_FULL, SyncClient
from tests.command_line import ROOT, end, ready_lines, run, started
from tests.serving import busy, connect, read_line, serving

#: Moves the cursor, hides what was written before, changes the colour, rings (ECMA-48).
CONTROLS = "\x1b[31m\r\x07\x7f\x9b2J"
#: A guest whose answers have what a terminal takes for commands.
UNRULY = json.dumps(
    {
        "qgasim": 1,
        "replies": [
            {"on": "guest-get-users", "raw": f"{CONTROLS}\n"},
            {"on": "guest-get-timezone", "error": {"desc": CONTROLS}},
            {
                "on": "guest-get-host-name",
                "raw": json.dumps({"return": {"host-name": f"d\u00e9\udcff{CONTROLS}"}}) + "\n",
            },
        ],
    }
)


# -- the live log ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_log_has_a_line_for_each_request_and_each_reply_whatever_is_in_them(
    tmp_path: Path,
) -> None:
    scenario, path, log = tmp_path / "a.yaml", str(tmp_path / "s"), tmp_path / "log"
    scenario.write_text(UNRULY)
    with started(
        "--scenario", str(scenario), "--listen", f"unix:{path}", "--log", str(log)
    ) as program:
        ready_lines(program)
        with connect(path) as sock:
            sock.sendall(b'{"execute":"guest-get-users"}\n')
            raw = read_line(sock)
            sock.sendall(b'{"execute":"guest-ping","id":"\x7f\\u001b"}\n')
            read_line(sock)
        assert end(program, signal.SIGTERM)[0] == 0
    # In a raw reply of a stub, a character is a byte.
    assert raw.decode("latin-1") == f"{CONTROLS}\n"
    lines = [line.split(" s ")[1] for line in log.read_text().splitlines()]
    assert lines == [
        "#1 connects",
        "#1 guest-get-users → \\x1b[31m\\r\\x07\\x7f\\x9b2J",
        # What is written as JSON is printable already (json_writer_str() of QEMU's json-writer.c).
        (
            '#1 {"execute": "guest-ping", "id": "\\u007F\\u001B"} → '
            '{"return": {}, "id": "\\u007F\\u001B"}'
        ),
        "#1 disconnects",
    ]


@pytest.mark.slow
def test_a_log_that_is_full_is_told_once_and_the_guest_goes_on(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with started("--listen", f"unix:{path}", "--log", "/dev/full") as program:
        ready_lines(program)
        with SyncClient(path) as client:
            assert client.call("guest-ping") == {}
            assert client.call("guest-ping") == {}
        status, err = end(program, signal.SIGTERM)
    assert status == 0
    told = "qgasim: --log /dev/full: No space left on device; nothing more is logged"
    assert [line for line in err.splitlines() if line.startswith("qgasim")] == [told]
    assert err.count("#1 guest-ping → ") == 2


# -- what a call prints ----------------------------------------------------------------------------


def test_a_call_writes_no_commands_to_a_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path, UNRULY) as thread:
        assert run(["call", thread.path, "guest-get-timezone"]) == 1
        assert capfd.readouterr() == ("", "GenericError: \\x1b[31m\\r\\x07\\x7f\\x9b2J\n")
        assert run(["call", thread.path, "guest-get-host-name"]) == 0
        out, err = capfd.readouterr()
        assert run(["call", thread.path, "guest-get-users"]) == 1
        assert capfd.readouterr().err.startswith("qgasim call: not a reply: b'\\x1b[31m\\r")
    assert err == ""
    assert out == ('{\n  "host-name": "d\\u00e9\\udcff\\u001b[31m\\r\\u0007\\u007f\\u009b2J"\n}\n')
    assert json.loads(out) == {"host-name": f"d\u00e9\udcff{CONTROLS}"}


def test_a_call_prints_letters_as_they_are_where_there_are_such(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, "qgasim: 1\nguest: {hostname: d\u00e9}") as thread:
        assert run(["call", thread.path, "guest-get-host-name"]) == 0
        assert capfd.readouterr().out == '{\n  "host-name": "d\u00e9"\n}\n'
        written = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
        assert run(["call", thread.path, "guest-get-host-name"]) == 0
        assert written.getvalue() == b'{\n  "host-name": "d\\u00e9"\n}\n'


def test_a_call_that_would_have_to_wait_for_two_others_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with busy(tmp_path) as path:
        assert run(["call", path, "guest-ping"]) == 1
        assert capfd.readouterr() == ("", f"qgasim call: {path}: {QUEUE_IS_FULL}\n")
        assert run(["compare", path]) == 2
        assert capfd.readouterr() == ("", f"qgasim: {path}: {QUEUE_IS_FULL}\n")


# -- streams that are closed, full, or no text -----------------------------------------------------


def shell(command: str) -> tuple[int, str]:
    """Run *command*, in which ``$qgasim`` is the program; give its status and what it said."""
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=ROOT,
        env={**os.environ, "qgasim": f"{sys.executable} -m qgasim"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("scenarios > /dev/full", 2, "qgasim: cannot write: No space left on device\n"),
        ("schema > /dev/full", 2, "qgasim: cannot write: No space left on device\n"),
        ("show debian-12 > /dev/full", 2, "qgasim: cannot write: No space left on device\n"),
        ("schema >&-", 0, ""),
        ("check - < /dev/null", 1, "<stdin>:1:1: the file is empty (begin with `qgasim: 1`)\n"),
        ("check - 0> /dev/null", 1, "<stdin>: Bad file descriptor\n"),
        ("check - <&-", 1, "<stdin>: it is closed\n"),
        (
            "--ready-fd 0 < /dev/null",
            2,
            "qgasim: --ready-fd 0: it is open for reading only\n",
        ),
        ("check docs/examples/nosuch/ 2>&-", 1, ""),
    ],
)
def test_what_cannot_be_read_or_written_is_told_in_a_line(
    command: str, status: int, said: str
) -> None:
    assert shell(f"$qgasim {command}") == (status, said)


@pytest.mark.slow
def test_a_scenario_on_standard_input_that_is_no_text_is_refused_with_its_place() -> None:
    said = "qgasim: <stdin>:2:3: not UTF-8 (save it so)\n"
    assert shell(r"printf 'a\n: \377' | $qgasim show -") == (2, said)


@pytest.mark.slow
def test_a_socket_has_a_short_path_even_if_that_of_temporary_files_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # sun_path has 108 bytes, one of them for the closing NUL (unix(7)).
    directory = tmp_path / ("d" * 100)
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    with started("--quiet") as program:
        line = ready_lines(program)[1]
        assert end(program, signal.SIGTERM) == (0, "")
    assert line.startswith("listening on /tmp/qgasim-")


@pytest.mark.slow
def test_it_serves_without_any_standard_stream(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with started("--listen", f"unix:{path}", "--ready-fd=1") as program:
        # The line of JSON comes first, and then the pipe is read no more.
        assert program.stdout is not None
        assert json.loads(program.stdout.readline())["path"] == path
        program.stdout.close()
        with SyncClient(path) as client:
            assert client.call("guest-ping") == {}
        program.send_signal(signal.SIGTERM)
        assert program.wait(20) == 0
    command = f"$qgasim --listen unix:{path} --ready-fd=3 3>{tmp_path}/ready <&- >&- 2>&- & "
    wait = f"while [ ! -s {tmp_path}/ready ]; do kill -0 $! || exit 9; sleep 0.05; done; "
    call = f"$qgasim call {path} guest-ping; kill $!; wait $!"
    assert shell(command + wait + call) == (0, "{}\n")


@pytest.mark.slow
def test_a_signal_before_a_client_can_connect_leaves_no_directory_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = (
        "import os, signal, sys\n"
        "from qgasim.cli import main, serve\n"
        "def end(*_):\n"
        "    assert len(os.listdir(os.environ['TMPDIR'])) == 1\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "serve._serve_at = end\n"
        "sys.exit(main([]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    # 128 and the number of SIGTERM, as a shell has it.
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (0, "", [])


@pytest.mark.parametrize("name", ["scenarios", "serve"])
def test_an_interrupt_while_modules_are_imported_gives_no_traceback(name: str) -> None:
    program = (
        "import sys, builtins\n"
        "real = builtins.__import__\n"
        "def interrupted(module, *rest):\n"
        f"    if module == 'qgasim.scenario': raise KeyboardInterrupt\n"
        "    return real(module, *rest)\n"
        "builtins.__import__ = interrupted\n"
        "from qgasim.cli import main\n"
        f"sys.exit(main([{name!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    # 128 and the number of SIGINT, as a shell has it.
    assert (done.returncode, done.stderr) == (130, "")
