"""The net around a request: what a guest's state, a bug or the host makes fail ends one request."""

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qgasim.agent import Agent
from qgasim.agent.observer import Observer
from qgasim.client.blocking import SyncClient
from qgasim.errors import ClientError, GuestError, KernelError
from qgasim.guest.files.nodes import os_error
from qgasim.guest.system.accounts import LARGEST_ID, parse_id
from qgasim.serving.threads import ServerThread
from tests.command_line import ROOT
from tests.plugin_run import Run
from tests.serving import PATIENCE, Course, blueprint, connect, error, read_line, request

pytest_plugins = ["pytester"]

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(pytester, monkeypatch)


class Broken(Exception):
    """A bug."""


def break_host_name(agent: Agent, failure: Exception) -> None:
    """Let guest-get-host-name raise *failure* in this agent."""

    def fail(executor: object, arguments: object) -> None:
        raise failure

    entry = agent.commands.table["guest-get-host-name"]
    broken = type(entry)(entry.command, entry.is_supported, entry.check, fail, entry.write)
    agent.commands.table = {**agent.commands.table, "guest-get-host-name": broken}


@contextmanager
def program(path: Path) -> Iterator[Any]:
    """Start `qgasim` at *path*."""
    with subprocess.Popen(
        [sys.executable, "-m", "qgasim", "--listen", f"unix:{path}", "--quiet"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as started:  # fmt: skip
        assert started.stdout
        started.stdout.readline()
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()


def ends_well(started: Any) -> str:
    """End a program; give what it wrote to stderr."""
    started.send_signal(signal.SIGTERM)
    _, written = started.communicate(timeout=PATIENCE)
    assert started.returncode == 0
    return str(written)


# -- the two kinds of errors -----------------------------------------------------------------------


def test_the_errors_of_the_guests_kernel_are_of_a_type_of_their_own() -> None:
    for number in errno.errorcode:
        made = os_error(number, "/x")
        assert isinstance(made, KernelError), number
        assert isinstance(made, GuestError)
        # As well what Python calls it.
        assert isinstance(made, type(OSError(number, "")))
        assert (made.errno, made.strerror, made.filename) == (number, os.strerror(number), "/x")


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (os_error(errno.EROFS), "failed to execute guest-get-host-name: Read-only file system"),
        (GuestError("no such thing"), "failed to execute guest-get-host-name: no such thing"),
    ],
)
def test_what_the_guest_refuses_is_an_error_of_its_command(failure: Exception, text: str) -> None:
    course = Course("debian-12")
    break_host_name(course.agent, failure)
    assert error(course.say("guest-get-host-name")) == text
    assert course.agent.failure is None
    assert course.say("guest-ping") == {"return": {}}


class Told(Observer):
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def failed(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (Broken("oh"), "Broken: 'oh'"),
        (MemoryError(), "out of memory"),
        (RecursionError("deep"), "RecursionError: 'deep'"),
        (OSError(errno.EMFILE, "Too many open files"), "the host says: Too many open files"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "UnicodeDecodeError: "),
    ],
)
def test_a_bug_or_a_limit_of_the_host_is_answered_and_kept(failure: Exception, text: str) -> None:
    course = Course("debian-12")
    told: list[str] = []
    course.simulation.observe(Told(told))
    break_host_name(course.agent, failure)
    said = b"".join(
        effect
        for effect in course.channel.receive(
            request("guest-get-host-name").replace(b"{", b'{"id":7,', 1) + b"\n" + PING
        )
        if type(effect) is bytes
    )
    first, second = said.splitlines(keepends=True)
    assert second == PONG
    reply = json.loads(first)
    assert reply["id"] == 7
    assert reply["error"]["class"] == "GenericError"
    assert error(reply).startswith(f"qgasim failed to execute guest-get-host-name: {text}")
    assert course.agent.failure is failure
    assert told[0].startswith(error(reply))
    assert ("please report it" in told[0]) == (not isinstance(failure, MemoryError | OSError))
    # A test on this project's own course fails by it.
    with pytest.raises(type(failure)):
        course.say("guest-ping")


def test_what_the_reader_raises_ends_only_what_it_read() -> None:
    course = Course("debian-12")
    feed = course.agent.state.reader.feed

    def fail(data: bytes) -> Any:
        yield from feed(data[: len(PING)])
        raise MemoryError

    course.agent.state.reader.feed = fail  # type: ignore[method-assign]
    replies = [json.loads(reply) for reply in course.channel.receive(PING + b'{"execute"')]  # type: ignore[arg-type]
    assert replies[0] == {"return": {}}
    assert error(replies[1]) == "qgasim failed to execute a request: out of memory"
    assert list(course.channel.receive(PING)) == [PONG]


def test_what_was_planned_and_fails_ends_nothing() -> None:
    course = Course("debian-12")

    def fail() -> None:
        raise Broken

    course.guest.call_at(course.guest.clock.uptime(), fail)
    assert list(course.channel.receive(PING)) == [PONG]
    assert isinstance(course.agent.failure, Broken)


# -- which client is told -----------------------------------------------------------------------------------


def test_a_server_goes_on_and_raises_the_failure_at_its_end(tmp_path: Path) -> None:
    thread = ServerThread(blueprint("debian-12").build(), str(tmp_path / "s"))

    def serve() -> None:
        with thread, SyncClient(thread.path) as client:
            break_host_name(thread.simulation.agent, Broken("oh"))
            with pytest.raises(ClientError, match="qgasim failed"):
                client.call("guest-get-host-name")
            assert client.call("guest-ping") == {}

    with pytest.raises(Broken):
        serve()


def test_what_fails_outside_a_request_hangs_up_on_its_client_only(tmp_path: Path) -> None:
    thread = ServerThread(blueprint("debian-12").build(), str(tmp_path / "s"))
    channel = thread.simulation.channel
    receive = channel.receive

    def fail(data: bytes) -> Any:
        channel.receive = receive  # type: ignore[method-assign]
        # It is not taken for one of the client's socket.
        raise ConnectionResetError(errno.ECONNRESET, "of a model")

    def serve() -> None:
        with thread:
            for reply in (b"", PONG):
                with connect(thread.path) as sock:
                    sock.sendall(PING)
                    assert read_line(sock) == reply

    channel.receive = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="of a model"):
        serve()


def test_a_journal_and_a_guest_of_a_test_keep_the_failure(run: Run) -> None:
    result = run("""
from qgasim.client.blocking import SyncClient

def test_it(qga):
    def fail():
        raise ZeroDivisionError("a bug")
    qga.call(lambda: setattr(qga.simulation.guest.files, "read_settings", lambda path: 1 / 0))
    with SyncClient(qga.socket_path) as client:
        client.call("guest-get-osinfo")
""")
    result.assert_outcomes(failed=1, errors=1)
    text = result.stdout.str()
    assert "simulator error: qgasim failed to execute guest-get-osinfo: ZeroDivisionError" in text
    assert "its server failed: ZeroDivisionError" in text


@pytest.mark.slow
def test_a_user_sees_a_line_and_no_traceback(tmp_path: Path) -> None:
    script = """
import sys
from qgasim.cli import main
from qgasim.guest.files.files import Files
Files.read_settings = lambda self, path: 1 / 0
sys.exit(main(sys.argv[1:]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, "--listen", f"unix:{tmp_path}/s", "--quiet"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as started:  # fmt: skip
        assert started.stdout
        started.stdout.readline()
        with SyncClient(f"{tmp_path}/s") as client:
            for _ in range(2):
                with pytest.raises(ClientError, match="qgasim failed to execute guest-get-osinfo"):
                    client.call("guest-get-osinfo")
        written = ends_well(started)
    line = (
        r"qgasim: qgasim failed to execute guest-get-osinfo: ZeroDivisionError: 'division by zero'"
        r" at qgasim/commands/system\.py:\d+\. This is a bug in qgasim: please report it with the request"
    )
    assert re.fullmatch(rf"(?:{line}\n){{2}}", written)


# -- what was found --------------------------------------------------------------------------------


def sh(course: Course, script: str) -> None:
    course.say("guest-exec", path="/bin/sh", arg=["-c", script])
    course.advance(60)


def test_keys_cannot_be_written_to_a_frozen_file_system() -> None:
    course = Course("debian-12")
    sh(course, "fsfreeze -f /")
    said = course.say("guest-ssh-add-authorized-keys", username="root", keys=["ssh-rsa A"])
    assert error(said).endswith(": Resource temporarily unavailable")


@pytest.mark.parametrize("digits", ["9" * 5000, "٣", "-1", "+1", "1_0"])
def test_a_number_of_a_user_is_one_of_the_c_library(digits: str) -> None:
    course = Course("debian-12")
    course.guest.files.write("/etc/passwd", f"root:x:{digits}:0::/root:/bin/sh\n".encode())
    said = course.say("guest-ssh-get-authorized-keys", username="root")
    assert error(said).startswith("failed to ")
    sh(course, "id; ls -l /")


def test_a_number_that_is_too_large_is_the_largest() -> None:
    assert parse_id("00001000") == 1000
    assert parse_id("4294967295") == parse_id("4294967296") == parse_id("9" * 50) == LARGEST_ID


def test_a_program_is_not_started_without_dev_null() -> None:
    course = Course("debian-12")
    sh(course, "rm /dev/null")
    assert "Failed to open file to remap file descriptor (No such file or directory)" in error(
        course.say("guest-exec", path="/bin/true")
    )
    # A program that the agent waits for gets nothing to read instead.
    assert course.say(
        "guest-set-user-password", username="root", password="eA==", crypted=False
    ) == {"return": {}}


@pytest.mark.slow
def test_a_server_without_descriptors_waits_for_some(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with program(path) as started:
        with connect(str(path)) as sock:
            sock.sendall(PING)
            assert read_line(sock) == PONG
            lowest = len(os.listdir(f"/proc/{started.pid}/fd")) - 1
            resource.prlimit(started.pid, resource.RLIMIT_NOFILE, (lowest, 4096))
            sock.sendall(PING)
            assert read_line(sock) == PONG
        with connect(str(path)) as sock:
            sock.settimeout(0.5)
            sock.sendall(PING)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            resource.prlimit(started.pid, resource.RLIMIT_NOFILE, (4096, 4096))
            sock.settimeout(PATIENCE)
            assert read_line(sock) == PONG
        told = "qgasim: qgasim failed to execute a connect: the host says: Too many open files\n"
        assert ends_well(started) == told
