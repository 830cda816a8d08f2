"""The clients of the command line: call, exec and shell, against guests that are served."""

import base64
import io
import json
import os
import pty
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from qgasim.cli.shell import shell
from qgasim.client.connecting import parse_agent_address
from qgasim.client.execution import INPUT_LIMIT
from qgasim.errors import ClientError
from qgasim.scenario import load
from qgasim.serving.listen import TcpAddress, UnixAddress, VsockAddress
from qgasim.serving.threads import ServerThread
from qgasim.simulation.journal import Journal
from tests.command_line import run
from tests.serving import serving

#: Of libc: an unsigned 32-bit number, as Windows has for an exception (STATUS_ACCESS_VIOLATION).
ACCESS_VIOLATION = 0xC0000005


@pytest.fixture(autouse=True)
def stdin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A file that is the standard input if it is made; else there is none."""
    path = tmp_path / "stdin"
    with ExitStack() as stack:

        class Input:
            def __getattr__(self, name: str) -> Any:
                file = stack.enter_context(open(path if path.exists() else os.devnull))
                monkeypatch.setattr("sys.stdin", file)
                return getattr(file, name)

        monkeypatch.setattr("sys.stdin", Input())
        yield path


def ended(**status: Any) -> str:
    """Return a scenario whose programs end so."""
    replies = [
        {"on": "guest-exec", "reply": {"pid": 7}},
        {
            "on": "guest-exec-status",
            "raw": json.dumps({"return": {"exited": True, **status}}) + "\n",
        },
    ]
    return json.dumps({"qgasim": 1, "replies": replies})


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- addresses -------------------------------------------------------------------------------------


def test_an_address_is_a_path_if_it_begins_with_no_kind() -> None:
    assert parse_agent_address("/run/qga.sock") == UnixAddress("/run/qga.sock")
    assert parse_agent_address("unix:tcp:1") == UnixAddress("tcp:1")
    assert parse_agent_address("./a:b") == UnixAddress("./a:b")
    assert parse_agent_address("stdio") == UnixAddress("stdio")
    assert parse_agent_address("tcp:44") == TcpAddress("127.0.0.1", 44)
    assert parse_agent_address("tcp:[::1]:44") == TcpAddress("::1", 44)
    assert parse_agent_address("vsock:3:44") == VsockAddress(3, 44)


WRONG_ADDRESSES = {
    "": "expected the path of a unix socket, found ''",
    "unix:": "expected the path of a unix socket, found ''",
    "tcp:": "expected tcp:[HOST:]PORT, found 'tcp:'",
    "tcp:a:b": "expected tcp:[HOST:]PORT, found 'tcp:a:b'",
    "vsock:3": "expected vsock:CID:PORT, found 'vsock:3'",
}


@pytest.mark.parametrize("command", ["call", "exec", "shell", "compare"])
def test_an_address_that_cannot_be_is_refused_in_a_line(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for address, text in WRONG_ADDRESSES.items():
        status = run([command, address, *(["guest-ping"] if command == "call" else [])])
        assert status == (125 if command == "exec" else 2)
        told = f"qgasim {command}: argument ADDRESS: {text} (try qgasim {command} --help)\n"
        assert capfd.readouterr() == ("", told)


def test_a_guest_is_asked_over_tcp(capfd: pytest.CaptureFixture[str]) -> None:
    with ServerThread(load("debian-12").build(), TcpAddress("127.0.0.1", 0)) as thread:
        address = str(thread.address)
        assert run(["call", address, "guest-get-host-name"]) == 0
        assert run(["exec", address, "--", "uname", "-r"]) == 0
    assert capfd.readouterr() == ('{\n  "host-name": "debian"\n}\n6.1.0-18-amd64\n', "")


def test_a_vsock_that_is_not_there_is_an_error_in_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["call", "--timeout=0.5", "vsock:4711:1", "guest-ping"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"qgasim call: vsock:4711:1: [^\n]+\n", err)


# -- call ------------------------------------------------------------------------------------------


def on_terminal(function: Callable[[], object]) -> str:
    """Return what *function* writes to a terminal as standard output."""
    here, there = pty.openpty()
    before = sys.stdout
    try:
        with open(there, "w") as sys.stdout:
            function()
        written = b""
        while True:
            try:
                data = os.read(here, 1 << 16)
            except OSError:  # EIO: the other end is closed
                return written.decode().replace("\r\n", "\n")
            written += data
    finally:
        sys.stdout = before
        os.close(here)


def test_a_call_decodes_data_on_a_terminal_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = encoded("grün\n\x1b[31m\tred\n".encode())
    with serving(tmp_path, ended(exitcode=0, **{"out-data": data})) as thread:
        words = ["call", thread.path, "guest-exec-status", "pid=7"]
        assert run(words) == 0
        piped = capfd.readouterr().out
        shown = on_terminal(lambda: run(words))
    assert json.loads(piped) == {"exited": True, "exitcode": 0, "out-data": data}
    assert shown == f"{piped}out-data, 16 bytes:\ngrün\n\\x1b[31m\tred\n"


# -- exec ------------------------------------------------------------------------------------------

#: A program, what it writes to the two outputs, and the status of `qgasim exec`.
RUN = {
    "output": (["uname", "-r"], ("6.1.0-18-amd64\n", ""), 0),
    "both outputs": (["sh", "-c", "echo a; echo b >&2"], ("a\n", "b\n"), 0),
    "its status": (["sh", "-c", "exit 37"], ("", ""), 37),
    "a signal": (["sh", "-c", "kill -TERM $$"], ("", ""), 143),
    "options of its own": (["echo", "--timeout", "-x"], ("--timeout -x\n", ""), 0),
    "a dash of its own": (["echo", "--", "a"], ("-- a\n", ""), 0),
    "what takes a while": (["sh", "-c", "sleep 0.1; echo late"], ("late\n", ""), 0),
    # As docker and env do; the texts are those of glib, as recorded (tests/golden: exec/path-*).
    "no such program": (
        ["nonesuch"],
        (
            "",
            (
                "qgasim exec: GenericError: Guest agent command failed, error was 'Failed to "
                "execute child process “nonesuch” (No such file or directory)'\n"
            ),
        ),
        127,
    ),
    "no program": (
        ["/etc/passwd"],
        (
            "",
            (
                "qgasim exec: GenericError: Guest agent command failed, error was 'Failed to "
                "execute child process “/etc/passwd” (Permission denied)'\n"
            ),
        ),
        126,
    ),
}


@pytest.mark.parametrize("name", RUN)
def test_exec_prints_what_the_program_wrote_and_ends_as_it_did(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words, printed, status = RUN[name]
    with serving(tmp_path) as thread:
        assert run(["exec", thread.path, "--", *words]) == status
    assert capfd.readouterr() == printed


def test_exec_needs_no_dashes_before_the_program(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as thread:
        assert run(["exec", "--timeout", "9", thread.path, "uname", "-s"]) == 0
    assert capfd.readouterr() == ("Linux\n", "")


def test_exec_passes_bytes_on_as_they_are(
    tmp_path: Path, stdin: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    data = bytes(range(256)) * 1024
    stdin.write_bytes(data)
    with serving(tmp_path) as thread:
        assert run(["exec", thread.path, "cat"]) == 0
    assert capfdbinary.readouterr() == (data, b"")


def test_exec_takes_no_more_input_than_an_agent_reads(
    stdin: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with stdin.open("wb") as file:
        file.truncate(INPUT_LIMIT + 1)
    assert run(["exec", "/nonesuch", "cat"]) == 125
    assert capfd.readouterr() == ("", "qgasim exec: standard input: more than 24 MiB\n")


def test_exec_shows_no_commands_to_a_terminal(tmp_path: Path) -> None:
    with serving(tmp_path, ended(exitcode=0, **{"out-data": encoded(b"\x1b[31mred\n")})) as thread:
        assert on_terminal(lambda: run(["exec", thread.path, "x"])) == "\\x1b[31mred\n"


ODD_ENDS: dict[str, tuple[dict[str, Any], str, int]] = {
    "the status of Windows": (
        {"exitcode": 256},
        "qgasim exec: the program ended with status 256\n",
        255,
    ),
    "an exception of Windows": (
        {"signal": ACCESS_VIOLATION},
        "qgasim exec: the program ended with exception 0xc0000005\n",
        255,
    ),
    "output that is cut": (
        {"exitcode": 0, "out-truncated": True},
        "qgasim exec: the agent kept only the first 16 MiB of the output\n",
        0,
    ),
    "output that is none": (
        {"exitcode": 0, "out-data": "?"},
        "qgasim exec: not a reply: output that is not base64: '?'\n",
        125,
    ),
}


@pytest.mark.parametrize("name", ODD_ENDS)
def test_exec_tells_of_an_odd_end(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, told, code = ODD_ENDS[name]
    with serving(tmp_path, ended(**status)) as thread:
        assert run(["exec", thread.path, "x"]) == code
    assert capfd.readouterr() == ("", told)


def test_exec_has_a_status_of_its_own_where_the_program_has_not_ended(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["exec", str(tmp_path / "s"), "true"]) == 125
    assert capfd.readouterr().err == f"qgasim exec: {tmp_path}/s: No such file or directory\n"
    assert run(["exec", str(tmp_path / "s")]) == 125
    told = "expected a program, as in qgasim exec ADDRESS -- uname -r"
    assert capfd.readouterr().err == f"qgasim exec: {told} (try qgasim exec --help)\n"
    blocked = "qgasim: 1\nagent: {block_rpcs: [guest-exec]}"
    with serving(tmp_path, blocked) as thread:
        assert run(["exec", thread.path, "true"]) == 125
    assert "guest-exec has been disabled" in capfd.readouterr().err
    hangs = "qgasim: 1\nfaults: [{kind: hang, on: guest-exec-status}]"
    with serving(tmp_path, hangs) as thread:
        assert run(["exec", "--timeout=0.1", thread.path, "true"]) == 125
        assert capfd.readouterr().err == f"qgasim exec: {thread.path}: no answer within 0.1 s\n"
    with serving(tmp_path, '{"replies": [{"on": "guest-exec", "reply": {"pid": 1}}]}') as thread:
        assert run(["exec", thread.path, "true"]) == 125
        assert capfd.readouterr().err == "qgasim exec: GenericError: Invalid parameter 'pid'\n"


@pytest.mark.slow
def test_long_output_is_complete(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with serving(tmp_path) as thread:
        assert run(["exec", thread.path, "seq", "200000"]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b"".join(b"%d\n" % number for number in range(1, 200001))
    assert err == b""


# -- shell -----------------------------------------------------------------------------------------


def type_in(monkeypatch: pytest.MonkeyPatch, path: str, *lines: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    return shell([path])


def test_a_shell_does_what_each_line_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as thread:
        status = type_in(
            monkeypatch,
            thread.path,
            "guest-ping",
            "# a remark",
            "",
            '{"execute": "guest-get-host-name"}',
            'guest-file-open path="/etc/host name" mode=w',
            "guest-sync id=7",
            'guest-sync {"id": 8}',
            "!sh -c 'echo one; exit 0'",
        )
    out, err = capfd.readouterr()
    assert (status, err) == (0, "")
    assert out == '{}\n{\n  "host-name": "debian"\n}\n1000\n7\n8\none\n'


def test_a_line_that_fails_is_told_and_the_next_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = {
        "guest-nonesuch": "CommandNotFound: The command guest-nonesuch has not been found",
        "guest-ping 7": "expected key=value, found '7'",
        "guest-ping =7": "expected key=value, found '=7'",
        '{"execute"': "not JSON: Expecting ':' delimiter: line 1 column 11 (char 10)",
        "guest-ping a='": "No closing quotation",
        "!": "expected a program, as in !uname -r",
        "!false": "(status 1)",
    }
    with serving(tmp_path) as thread:
        assert type_in(monkeypatch, thread.path, *lines, "guest-ping") == 1
    out, err = capfd.readouterr()
    assert out == "{}\n"
    assert err.splitlines() == list(lines.values())


def test_a_shell_goes_on_with_a_new_connection_after_a_time_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    late = "qgasim: 1\nfaults: [{kind: late, on: guest-get-timezone}]"
    lines = "guest-get-timezone\nguest-ping\nguest-fsfreeze-status\n"
    with serving(tmp_path, late) as thread:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        assert shell(["--timeout", "0.2", thread.path]) == 1
    out, err = capfd.readouterr()
    assert out == '{}\n"thawed"\n'
    assert err == f"{thread.path}: no answer within 0.2 s\n"


def test_arguments_may_be_json_without_quotes_of_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as thread:
        journal = Journal(thread.simulation)
        line = """guest-exec path='/bin/echo' env={"A": 1} arg=["a b", "c"]"""
        assert type_in(monkeypatch, thread.path, line) == 1
        line = 'guest-exec path=\'/bin/echo\' arg=["a b", "c"]'
        assert type_in(monkeypatch, thread.path, line) == 0
    first, second = [e.arguments for e in journal.exchanges if e.command == "guest-exec"]
    assert first == {"path": "/bin/echo", "env": {"A": 1}, "arg": ["a b", "c"]}
    assert second == {"path": "/bin/echo", "arg": ["a b", "c"]}
    assert '"pid"' in capfd.readouterr().out


def test_a_shell_without_an_agent_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert type_in(monkeypatch, str(tmp_path / "s"), "guest-ping") == 1
    assert capfd.readouterr() == ("", f"qgasim shell: {tmp_path}/s: No such file or directory\n")


@pytest.mark.slow
def test_a_shell_on_a_terminal_completes_the_names_of_commands(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        child, terminal = pty.fork()
        if child == 0:
            os.environ["TERM"] = "dumb"
            os.execv(sys.executable, [sys.executable, "-m", "qgasim", "shell", thread.path])
        read_to(terminal, "qga> ")
        os.write(terminal, b"guest-get-ho\t\n")
        shown = read_to(terminal, "qga> ")
        os.write(terminal, b"\x04")
        assert os.waitpid(child, 0)[1] == 0
        os.close(terminal)
    assert "guest-get-host-name" in shown
    assert '"host-name": "debian"' in shown


def read_to(terminal: int, end: str) -> str:
    """Return what comes from a terminal, up to *end*."""
    shown = ""
    while not shown.endswith(end):
        shown += os.read(terminal, 1000).decode()
    return shown


def test_the_client_says_that_an_agent_hangs_up(tmp_path: Path) -> None:
    from qgasim.client.blocking import SyncClient

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server.settimeout(0)
        with pytest.raises(ClientError, match=r"no answer within 0\.05 s"):
            SyncClient(TcpAddress("127.0.0.1", port), 0.05)
