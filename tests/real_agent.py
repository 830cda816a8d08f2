"""The real qemu-ga 7.2 beside the simulated one, where it is installed (package qemu-guest-agent).

It acts on the machine that it runs on: it is started with all that changes one blocked, and in a
directory of its own.
"""

import contextlib
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest

PROGRAM = shutil.which("qemu-ga", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
#: Whatever would change the machine that the real agent runs on.
BLOCKED = (
    "guest-shutdown,guest-set-time,guest-suspend-disk,guest-suspend-ram,guest-suspend-hybrid,"
    "guest-fsfreeze-freeze,guest-fsfreeze-freeze-list,guest-fstrim,guest-set-vcpus,"
    "guest-set-memory-blocks,guest-set-user-password,guest-ssh-get-authorized-keys,"
    "guest-ssh-add-authorized-keys,guest-ssh-remove-authorized-keys"
)
MARK = b'\xff{"return": 987654321}\n'
#: The newline ends a number or a keyword, 0xFF makes the agent forget half a message.
RESYNC = b'\n\xff{"execute":"guest-sync-delimited","arguments":{"id":987654321}}\n'
PATIENCE = 20.0


def is_installed() -> bool:
    """Return whether there is a real agent of release 7.2."""
    if PROGRAM is None:
        return False
    said = subprocess.run([PROGRAM, "-V"], capture_output=True, check=False).stdout
    return said.startswith(b"QEMU Guest Agent 7.2.")


needs_qemu_ga = pytest.mark.skipif(not is_installed(), reason="no qemu-ga 7.2 is installed")


class RealAgent:
    """A real agent and a connection to it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "qga.sock"
        assert PROGRAM
        self.process = subprocess.Popen(
            [PROGRAM, "-m", "unix-listen", "-t", directory, "-p", self.path, "-b", BLOCKED],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.socket.connect(str(self.path))
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.stop()
                    raise
                time.sleep(0.005)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ask(self, pieces: list[bytes]) -> bytes:
        """Send *pieces*; give all that comes before the mark."""
        received = bytearray()
        for piece in [*pieces, RESYNC]:
            left = memoryview(piece)
            while left:
                # An agent whose replies are not read reads nothing.
                readable, writable, _ = select.select([self.socket], [self.socket], [], PATIENCE)
                if not readable and not writable:
                    raise TimeoutError
                if readable:
                    received += self._receive(received)
                if writable:
                    with contextlib.suppress(BlockingIOError):
                        left = left[self.socket.send(left, socket.MSG_DONTWAIT) :]
        while not received.endswith(MARK):
            received += self._receive(received)
        return bytes(received)

    def _receive(self, before: bytearray) -> bytes:
        more = self.socket.recv(1 << 20)
        if not more:
            raise ConnectionError(f"qemu-ga has hung up after {bytes(before)!r}")
        return more

    def stop(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()
