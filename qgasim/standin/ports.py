"""The agent's own end of a serial port, opened and served as qemu-ga does it inside a guest.

There are no clients here, only a port with bytes: whoever is at its other end may come and go.
"""

import os
import termios
from typing import Final

import trio
from msgspec import Struct

from qgasim.errors import ListenError
from qgasim.standin.log import Log

__all__ = ["OpenPort", "Port", "tell_data"]

#: What qemu-ga reads at a time (QGA_READ_COUNT_DEFAULT).
READ_SIZE: Final = 4096
#: How long a virtio port is left alone after an end of file: nobody is at the host's end. In seconds.
EOF_PAUSE: Final = 0.1
_INPUT_FLAGS: Final = (
    termios.IGNBRK
    | termios.BRKINT
    | termios.IGNPAR
    | termios.PARMRK
    | termios.INPCK
    | termios.ISTRIP
    | termios.INLCR
    | termios.IGNCR
    | termios.ICRNL
    | termios.IXON
    | termios.IXOFF
    | termios.IXANY
    | termios.IMAXBEL
)


class Port(Struct, frozen=True):
    """A device, or what can be opened like one (a pty, a FIFO)."""

    path: str
    #: A virtio port may have nobody at the host's end; of another that is the end.
    is_virtio: bool

    def __str__(self) -> str:
        return self.path

    def open(self) -> "OpenPort":
        """Open it; ListenError if that cannot be."""
        # qemu-ga asks for O_ASYNC on a virtio port, without saying who is to be signalled: nobody is.
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            fd = os.open(self.path, flags)
        except OSError as error:
            raise ListenError(f"error opening channel '{self.path}': {error.strerror}") from None
        if not self.is_virtio:
            _pass_bytes_on(fd)
        return OpenPort(fd, ends=not self.is_virtio)


def _pass_bytes_on(fd: int) -> None:
    """Have a terminal pass bytes on as they are, and forget what came before."""
    try:
        settings = termios.tcgetattr(fd)
        settings[0] &= ~_INPUT_FLAGS
        settings[1] = settings[3] = 0
        settings[2] |= termios.B38400
        settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0
        termios.tcflush(fd, termios.TCIFLUSH)
        termios.tcsetattr(fd, termios.TCSANOW, settings)
    except termios.error:
        # It is no terminal, which qemu-ga does not mind.
        return


class OpenPort:
    """A port that is open.

    qga/main.c of 7.2, channel_event_cb(): an end of file on a virtio port means that nobody is at the
    host's end now, on any other that nobody ever will be; an error ends the channel.
    """

    def __init__(self, fd: int, *, ends: bool) -> None:
        self._fd = fd
        self._ends = ends

    def close(self) -> None:
        """Close it; who waits for it sees that."""
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)
            os.close(self._fd)
            self._fd = -1

    async def read_into(self, stream: trio.SocketStream, log: Log) -> None:
        """Pass on what comes until the port fails."""
        while True:
            try:
                data = os.read(self._fd, READ_SIZE)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._fd)
                continue
            except OSError:
                log("warning", "error reading channel")
                return
            if data:
                tell_data(log, data)
                await stream.send_all(data)
                continue
            log("debug", "received EOF")
            if self._ends:
                # qemu-ga closes it; here, what is on its way is still written.
                await trio.sleep_forever()
            await trio.sleep(EOF_PAUSE)

    async def write(self, data: bytes | bytearray, log: Log) -> None:
        """Write all of *data*, however long that takes; nothing more once the port fails."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_writable(self._fd)
                except trio.ClosedResourceError:
                    return
            except OSError as error:
                log("warning", f"error writing to channel: {error.strerror}")
                return


def tell_data(log: Log, data: bytes) -> None:
    """Log what was read as qemu-ga does: at most 4096 bytes at a time, each up to the first NUL."""
    for start in range(0, len(data), READ_SIZE):
        piece = data[start : start + READ_SIZE]
        shown = piece.partition(b"\0")[0].decode(errors="surrogateescape")
        log("debug", f"read data, count: {len(piece)}, data: {shown}")
