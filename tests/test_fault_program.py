"""The program while something goes wrong: it ends at once, takes no more memory, and serves the next client."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qgasim.client.blocking import QUEUE_IS_FULL, SyncClient
from qgasim.errors import ClientError
from tests.serving import PATIENCE, connect, read_line

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'
#: What the server may take more than before, in KiB: its queue is 1 MiB, what stale replies come from 4.
GROWTH = 16 * 1024


class Program:
    """A served scenario, as a process of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", path: str) -> None:
        self.process = process
        self.path = path

    def memory(self) -> int:
        """Return what it takes, in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)

    def end(self) -> tuple[int, bytes]:
        """End it by a signal; give its exit status, and what it complained of."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


@contextmanager
def program(directory: Path, faults: str, more: str = "") -> Iterator[Program]:
    file, path = directory / "scenario.yaml", str(directory / "s")
    file.write_text(f"{{extends: debian-12, faults: [{faults}]{more}}}")
    ready, said = os.pipe()
    options = ["--scenario", str(file), "--listen", f"unix:{path}", "--ready-fd", str(said), "-q"]
    process = subprocess.Popen(
        [sys.executable, "-m", "qgasim", *options],
        pass_fds=[said],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    os.close(said)
    try:
        with os.fdopen(ready) as lines:
            assert json.loads(lines.readline())["path"] == path
        yield Program(process, path)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        "{kind: hang}",
        "{kind: delay, by: 1h}",
        "{kind: leak, by: 1h}",
        "{kind: split, pause: 1h}",
        "{kind: bandwidth, bytes_per_second: 1}",
        "{kind: late}",
        "{kind: accept_then_silence}",
        "{kind: half_close, at: after}",
        "{kind: crash, respawn: 1h}",
        "{kind: kill_on, respawn: 1h}",
    ],
)
def test_a_signal_ends_it_at_once_whatever_it_is_waiting_for(fault: str, tmp_path: Path) -> None:
    with program(tmp_path, fault) as served, connect(served.path) as sock:
        sock.sendall(PING * 2)
        # Not ended by the silence, and not by the client.
        sock.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            sock.recv(100)
        assert served.end() == (0, b"")


def flood(sock: socket.socket, data: bytes, rounds: int) -> None:
    """Send until nothing more is taken for a while, at most *rounds* times."""
    sock.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        for _ in range(rounds):
            sock.sendall(data)


#: A fault, and what a client floods the agent with that reads nothing.
FLOODS = {
    "it hangs": ("{kind: hang}", PING * 4000),
    "it is late": ("{kind: delay, by: 1h}", PING * 4000),
    "it swallows": ("{kind: accept_then_silence}", PING * 4000),
    "it loses replies": ("{kind: drop}", PING * 1000),
    "it puts replies aside": ("{kind: reorder}", PING * 4000),
    "nothing goes wrong": ("", PING * 4000),
    "it remembers": (
        "{kind: stale, after: 1000000}, {kind: drop}",
        b"".join(b'{"execute":"%d%s"}' % (n, b"x" * 20_000) for n in range(200)),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channel"),
    [
        *((name, "virtio-serial") for name in FLOODS),
        *((name, "unix-listen") for name in ("it hangs", "nothing goes wrong")),
    ],
)
def test_a_flood_takes_no_memory(name: str, channel: str, tmp_path: Path) -> None:
    fault, data = FLOODS[name]
    with program(tmp_path, fault, f", agent: {{channel: {channel}}}") as served:
        with connect(served.path) as sock:
            sock.sendall(PING)
            before = served.memory()
            flood(sock, data, 40)
            assert served.memory() - before < GROWTH
        assert served.end() == (0, b"")


def connect_patiently(path: str) -> socket.socket:
    """Connect, though those before may still be in the queue of two."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return connect(path)
        except BlockingIOError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def ask_patiently(path: str) -> object:
    """Let a careful client synchronise and ask, when it is its turn."""
    connect_patiently(path).close()
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with SyncClient(path, timeout=PATIENCE) as client:
                return client.call("guest-sync", id=7)
        except ClientError as error:
            if QUEUE_IS_FULL not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("channel", ["virtio-serial", "unix-listen", "isa-serial"])
def test_clients_that_leave_inside_a_delay_are_in_nobodys_way(channel: str, tmp_path: Path) -> None:
    fault = "{kind: delay, on: guest-ping, by: 20ms}"
    with program(tmp_path, fault, f", agent: {{channel: {channel}}}") as served:
        for _ in range(20):
            with connect_patiently(served.path) as sock:
                sock.sendall(PING * 3)
        assert ask_patiently(served.path) == 7
        assert served.end() == (0, b"")


@pytest.mark.slow
def test_whatever_a_nemesis_does_nothing_breaks_and_it_comes_to_an_end(tmp_path: Path) -> None:
    nemesis = ", seed: 3, nemesis: {rate: 2400, lasts: 1s, longest: 300ms}"
    with program(tmp_path, "", nemesis) as served:
        failed = 0
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            try:
                with SyncClient(served.path, timeout=0.2) as client:
                    for _ in range(10):
                        client.call("guest-sync", id=7)
            except ClientError:
                failed += 1
        assert failed
        assert ask_patiently(served.path) == 7
        assert served.end() == (0, b"")


@pytest.mark.slow
def test_a_client_that_reads_slowly_gets_every_byte(tmp_path: Path) -> None:
    with program(tmp_path, "{kind: split, on: guest-info, sizes: [1000], pause: 1ms}") as served:
        with connect(served.path) as sock:
            sock.sendall(b'{"execute":"guest-info"}\n')
            slow = read_line(sock)
        with SyncClient(served.path, timeout=PATIENCE) as client:
            assert json.loads(slow)["return"] == client.call("guest-info")
        assert served.end() == (0, b"")
