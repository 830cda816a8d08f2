"""``qgasim-ga`` as a test suite spawns it."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.real_agent import BLOCKED, PROGRAM, needs_qemu_ga
from tests.serving import PATIENCE, connect, read_line

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "import sys; from qgasim.standin import main; sys.exit(main())"]


def environment(**more: str) -> dict[str, str]:
    # What is measured by `make coverage` has it from the suite.
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **coverage, **more}


def call(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**more),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def start(
    *arguments: str | Path,
    directory: Path,
    command: Sequence[str] = COMMAND,
    keep: Sequence[int] = (),
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start it with its state in *directory*."""
    return subprocess.Popen(
        [*command, "-t", directory, *arguments],
        env=environment(**variables or {}),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=keep,
    )


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def is_asleep(pid: int) -> bool:
    """Return whether a process waits for something, or has ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "SZ"


def connect_when_ready(path: Path) -> socket.socket:
    """Connect as soon as that can be: the file of a socket may be an old one's.

    Its program says on the standard error why it cannot be.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return connect(str(path))
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.01)


def end(process: subprocess.Popen[str]) -> str:
    """End it as test-qga does, with exit status 0; give what it logged."""
    is_real = isinstance(process.args, list) and process.args[0] == PROGRAM
    if is_real:
        # A client that leaves keeps it busy; its signal handler allocates memory and logs, which must
        # not interrupt the same.
        wait_until(lambda: is_asleep(process.pid))
    process.terminate()
    try:
        _, log = process.communicate(timeout=2 if is_real else PATIENCE)
    except subprocess.TimeoutExpired:
        if not is_real:
            raise
        # It forgets a signal that comes while it changes clients.
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE)
    # The real one logs in its signal handler, and glib aborts if it was logging just then.
    assert process.returncode in ([0, -signal.SIGABRT] if is_real else [0]), log
    return log


def ping(path: Path) -> None:
    """Wait until it serves: before, a signal does nothing to the real one but keep it from ending."""
    with connect_when_ready(path) as sock:
        assert ask(sock, "guest-ping") == {"return": {}}


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Leave no process behind when a test fails."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def spawned(directory: Path, *arguments: str | Path, **more: str) -> Iterator[socket.socket]:
    """Spawn it as QEMU's tests/unit/test-qga does; it must end with 0."""
    path = directory / "sock"
    process = start(
        "-m", "unix-listen", "-p", path, *arguments, directory=directory, variables=more
    )
    with ending(process):
        with connect_when_ready(path) as sock:
            yield sock
        end(process)


def ask(sock: socket.socket, command: str, **arguments: Any) -> Any:
    sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
    return json.loads(read_line(sock))


#: The program, and the real one where it is installed, to be called in the same tests.
PROGRAMS = [
    pytest.param(COMMAND, id="qgasim-ga"),
    pytest.param([PROGRAM, "-b", BLOCKED], id="qemu-ga", marks=needs_qemu_ga),
]


def log_lines(log: str) -> list[str]:
    """Return what is in a log, without the times; what is disabled is left out."""
    lines = [re.sub(r"^\d+\.\d{6}: ", "", line) for line in log.splitlines()]
    return [line for line in lines if not line.startswith("debug: disabling command: ")]


def log_has(process: subprocess.Popen[str], text: str) -> str:
    """Read the log up to a line with *text*, not one byte more; give it all."""
    assert process.stderr
    lines = [b""]
    while text.encode() not in lines[-1] or not lines[-1].endswith(b"\n"):
        if lines[-1].endswith(b"\n"):
            lines.append(b"")
        assert select.select([process.stderr], [], [], PATIENCE)[0], lines
        byte = os.read(process.stderr.fileno(), 1)
        assert byte, lines
        lines[-1] += byte
    return b"".join(lines).decode()
