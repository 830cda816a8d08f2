"""The command line, started as a program: what it says, how it ends, what it tells its parent."""

import contextlib
import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qgasim.cli.log import LiveLog, Output
from qgasim.client.blocking import SyncClient
from qgasim.simulation.journal import Note
from qgasim.simulation.journal.lines import Line
from tests.command_line import closed_pipe, end, ready_lines, started
from tests.serving import PATIENCE, connect, read_line


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r"^ *\d+\.\d{3} s ", "", line).rstrip("\n") for line in lines]


def test_the_ready_lines_say_what_is_served_where_and_what_to_try(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with started("--listen", f"unix:{path}", "--seed", "7") as program:
        assert ready_lines(program) == [
            "qemu-ga 7.2.22 in guest 'debian', seed 7\n",
            f"listening on {path}\n",
            f"try: {sys.executable} -m qgasim call {path} guest-info\n",
            f"or:  {sys.executable} -m qgasim shell {path}\n",
        ]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with connect(str(path)) as sock:
            sock.sendall(b'{"execute":"guest-ping"}\n')
            assert read_line(sock) == b'{"return": {}}\n'
        assert end(program, signal.SIGTERM)[0] == 0


def test_the_command_line_changes_settings_and_adds_faults(tmp_path: Path) -> None:
    path = tmp_path / "s"
    fault = "{kind: error, on: guest-ping, times: 1, desc: gone}"
    options = ["--set", "guest.hostname=db1", "--set", "guest.vcpus=3", "--fault", fault]
    with started("--listen", f"unix:{path}", *options, "--block-rpcs=guest-exce") as program:
        assert ready_lines(program)[0] == "qemu-ga 7.2.22 in guest 'db1', seed 0\n"
        with connect(str(path)) as sock:
            for answer in (
                b'{"error": {"class": "GenericError", "desc": "gone"}}\n',
                b'{"return": {}}\n',
            ):
                sock.sendall(b'{"execute":"guest-ping"}\n')
                assert read_line(sock) == answer
        status, err = end(program, signal.SIGTERM)
        assert status == 0
        assert err.splitlines()[0] == (
            "qgasim: --block-rpcs: agent.block_rpcs[0]: warning: no release has the command "
            "'guest-exce' (did you mean 'guest-exec'?)"
        )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_a_signal_ends_it_and_removes_the_socket(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with started("--listen", f"unix:{path}") as program:
        ready_lines(program)
        assert path.is_socket()
        assert end(program, number) == (0, "")
        assert not path.exists()


@pytest.mark.slow
def test_after_its_end_no_client_can_connect(tmp_path: Path) -> None:
    # As recorded: conn-unix/sigterm-while-connected.
    path = tmp_path / "s"
    with started("--listen", f"unix:{path}") as program:
        ready_lines(program)
        with connect(str(path)) as sock:
            sock.sendall(b'{"execute":"guest-ping"}')
            assert read_line(sock) == b'{"return": {}}\n'
            program.terminate()
            assert sock.recv(1) == b""
            with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
                connect(str(path))
        assert program.wait(20) == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_a_signal_ends_it_in_the_middle_of_a_long_reply(
    number: signal.Signals, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    with started("--listen", f"unix:{path}") as program:
        ready_lines(program)
        with connect(str(path)) as sock:
            sock.sendall(b'{"execute":"guest-file-open","arguments":{"path":"/dev/zero"}}')
            assert read_line(sock) == b'{"return": 1000}\n'
            sock.sendall(
                b'{"execute":"guest-file-read","arguments":{"handle":1000,"count":50331648}}'
            )
            assert sock.recv(1) == b"{"
            status, err = end(program, number)
        assert status == 0
        assert "Traceback" not in err
        assert not path.exists()


def test_a_shared_folder_is_named_at_the_start_and_holds_what_the_guest_wrote(
    tmp_path: Path,
) -> None:
    path, folder = tmp_path / "s", tmp_path / "out"
    folder.mkdir()
    with started("--listen", f"unix:{path}", "--share", f"{folder}=/mnt") as program:
        assert f"sharing {folder} as /mnt\n" in ready_lines(program)
        with SyncClient(str(path)) as client:
            handle = client.call("guest-file-open", path="/mnt/x", mode="w")
            client.call("guest-file-write", handle=handle, buf_b64="aGVsbG8=")
            client.call("guest-file-flush", handle=handle)
        assert (folder / "x").read_text() == "hello"


@pytest.mark.slow
def test_without_a_path_the_socket_is_in_a_directory_of_its_own_that_goes_with_it() -> None:
    with started() as program:
        line = ready_lines(program)[1]
        path = Path(line.removeprefix("listening on ").rstrip("\n"))
        assert path.is_socket()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert end(program, signal.SIGTERM) == (0, "")
        assert not path.parent.exists()


@pytest.mark.slow
def test_requests_and_replies_are_shown_as_they_come_and_appended_to_a_log(tmp_path: Path) -> None:
    path, log = tmp_path / "s", tmp_path / "log"
    log.write_text("before\n")
    text = "x" * 200
    with started("--listen", f"unix:{path}", "--log", str(log)) as program:
        ready_lines(program)
        with connect(str(path)) as sock:
            sock.sendall(b"{'execute':'guest-ping'}\n")
            assert read_line(sock) == b'{"return": {}}\n'
            sock.sendall(b"nonsense\n")
            read_line(sock)
            sock.sendall(b'{"execute":"guest-ping","id":"%s"}' % text.encode())
            read_line(sock)
            assert program.stderr is not None
            shown = [program.stderr.readline() for _ in range(4)]
        assert end(program, signal.SIGTERM)[0] == 0
    assert without_times(shown) == [
        "#1 connects",
        '#1 guest-ping → {"return": {}}',
        (
            '#1 nonsense → {"error": {"class": "GenericError", "desc": '
            "\"JSON parse error, invalid keyword 'nonsense'\"}}"
        ),
        # 160 characters, then how many there are: 35 around the 200 in the request, 24 in the reply.
        (
            '#1 {"execute": "guest-ping", "id": "' + "x" * 127 + "… (235 characters)"
            ' → {"return": {}, "id": "' + "x" * 138 + "… (225 bytes)"
        ),
    ]
    assert log.read_text().startswith("before\n" + "".join(shown))


@pytest.mark.slow
def test_a_handshake_is_one_line_of_the_log(tmp_path: Path) -> None:
    path, log = tmp_path / "s", tmp_path / "log"
    with started("--listen", f"unix:{path}", "--log", str(log), "--quiet") as program:
        ready_lines(program)
        with connect(str(path)) as sock:
            sock.sendall(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":7}}\n')
            read_line(sock)
            assert read_line(sock) == b'\xff{"return": 7}\n'
        assert end(program, signal.SIGTERM) == (0, "")
    shown = without_times(log.read_text().splitlines())
    assert shown[:2] == ["#1 connects", "#1 synchronises (guest-sync-delimited 7)"]


def test_verbose_shows_them_in_full(tmp_path: Path) -> None:
    path = tmp_path / "s"
    text = "x" * 200
    with started("-v", "--listen", f"unix:{path}") as program:
        ready_lines(program)
        with connect(str(path)) as sock:
            sock.sendall(b'{"execute":"guest-ping","id":"%s"}' % text.encode())
            read_line(sock)
            assert program.stderr is not None
            shown = without_times([program.stderr.readline() for _ in range(2)])
            request, reply = f'{{"execute": "guest-ping", "id": "{text}"}}', f'"id": "{text}"'
            assert shown[1] == f'#1 {request} → {{"return": {{}}, {reply}}}'


@pytest.mark.slow
def test_it_serves_even_if_the_ready_lines_are_not_read(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with closed_pipe() as output, started("--listen", f"unix:{path}", stdout=output) as program:
        sock = None
        while sock is None and program.poll() is None:
            # Nothing tells when it is ready.
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                sock = connect(path)
        assert sock is not None
        with sock:
            sock.sendall(b'{"execute":"guest-ping"}')
            assert read_line(sock) == b'{"return": {}}\n'
        status, err = end(program, signal.SIGTERM)
    assert status == 0
    assert '#1 guest-ping → {"return": {}}\n' in err


def test_a_list_that_is_not_read_gives_no_traceback() -> None:
    with closed_pipe() as output, started("scenarios", stdout=output) as program:
        _, err = program.communicate(timeout=PATIENCE)
    assert err == ""


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (
            ["--block-rpcs=guest-ping"],
            {"class": "CommandNotFound", "desc": "Command guest-ping has been disabled"},
        ),
        (
            ["--allow-rpcs=guest-info"],
            {"class": "CommandNotFound", "desc": "Command guest-ping has been disabled"},
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_options_change_the_agent(
    options: list[str], answer: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "s"
    with started("--listen", f"unix:{path}", *options) as program:
        ready_lines(program)
        with connect(str(path)) as sock:
            sock.sendall(b'{"execute":"guest-ping"}')
            assert json.loads(read_line(sock)) == {"error": answer}


def test_a_fault_of_a_scenario_gives_no_traceback_and_status_2(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("qgasim: 1\nguest:\n  hostnmae: web1\n")
    with started("--scenario", str(path)) as program:
        _, err = program.communicate(timeout=PATIENCE)
    assert program.returncode == 2
    assert err.startswith(f"qgasim: {path}:3:3: ")
    assert "Traceback" not in err


# -- for clients in other languages ----------------------------------------------------------------


@pytest.mark.slow
def test_a_line_of_json_says_where_clients_can_connect() -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "qgasim", "--quiet", f"--ready-fd={writing}", "--agent=10.0"]
    with (
        subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.DEVNULL) as process,
        open(reading, encoding="utf-8") as ready,
    ):
        os.close(writing)
        try:
            line = json.loads(ready.readline())
            assert (line["agent"], line["hostname"], line["pid"]) == (
                "10.0.13",
                "debian",
                process.pid,
            )
            assert line["address"] == line["path"]
            with SyncClient(line["path"]) as client:
                assert client.call("guest-ping") == {}
        finally:
            process.terminate()


#: Calls the command line, and says when clients can connect whether garbage is collected.
SAYS_WHETHER_GARBAGE_IS_COLLECTED = """
import gc, os, sys
from qgasim.cli import main, ready
ready.write_ready = lambda number, line: (print(gc.isenabled(), flush=True), os._exit(0))
main(sys.argv[1:])
"""


def test_garbage_is_collected_again_when_the_start_is_over(tmp_path: Path) -> None:
    ways: tuple[list[str], ...] = (
        [],
        [f"--control=unix:{tmp_path}/c"],
        ["--scenario=fleet-one-hung"],
    )
    for number, options in enumerate(ways):
        code = SAYS_WHETHER_GARBAGE_IS_COLLECTED
        listen = f"--listen=unix:{tmp_path}/{number}"
        command = [sys.executable, "-c", code, listen, "--ready-fd=1", *options]
        told = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True)
        assert told == "True\n", options


def test_a_ready_fd_that_is_not_open_is_told() -> None:
    command = [sys.executable, "-m", "qgasim", "--ready-fd=99"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "qgasim: --ready-fd 99: Bad file descriptor\n")


@pytest.mark.slow
def test_a_guest_ends_with_the_process_that_started_it() -> None:
    program = (
        "import subprocess, sys\n"
        "command = [sys.executable, '-m', 'qgasim', '--quiet', '--exit-with-parent', '--ready-fd=1']\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode(), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    path = json.loads(done.stdout.split("\n")[0])["path"]
    deadline = time.monotonic() + 20
    while os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(path)


@pytest.mark.slow
def test_a_live_log_that_is_not_read_delays_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveLog, "PATIENCE", 0)
    log = LiveLog(None, in_full=True, is_quiet=True)
    line = Line(Note(at=0, kind="note", text="x" * (1 << 16)))
    reader, writer = os.pipe()
    try:
        log.outputs = [Output(writer, "utf-8")]
        for _ in range(100):
            log.write(line, "", 0)
        assert [output.missed for output in log.outputs] == [100]
        while select.select([reader], [], [], 0)[0]:
            os.read(reader, 1 << 20)
        short = Line(Note(at=0, kind="note", text="y"))
        log.write(short, "", 0)
        # The line that was written in part ends before.
        assert os.read(reader, 1 << 16).splitlines() == [
            b"",
            b"(100 lines are missing: the log was not read)",
            b"     0.000 s -- y",
        ]
        log.write(short, "", 0)
        assert os.read(reader, 1 << 16) == b"     0.000 s -- y\n"
    finally:
        os.close(reader)
        os.close(writer)
