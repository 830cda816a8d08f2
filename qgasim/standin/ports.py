"""The agent's own end of a serial port, opened, read and written as qemu-ga does it inside a guest.

There are no clients here, only a port with bytes: programs at its other end come and go unseen.
"""

import os
import termios
from typing import Final

import trio
from msgspec import Struct

from qgasim.errors import ListenError
from qgasim.standin.channel_log import READ_SIZE, log_data
from qgasim.standin.log import Log

__all__ = ["OpenPort", "Port"]

#: How long a virtio port is left alone after an end of file: no program has the host's end open. In
#: seconds.
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
    #: On a virtio port an end of file means that no program has the host's end open now; on another port it
    #: is the end.
    is_virtio: bool

    def __str__(self) -> str:
        return self.path

    def open(self) -> "OpenPort":
        """Return the port, opened; raise ListenError if that fails."""
        # qemu-ga asks for O_ASYNC on a virtio port, without a process to be signalled: none is.
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            fd = os.open(self.path, flags)
        except OSError as error:
            raise ListenError(f"error opening channel '{self.path}': {error.strerror}") from None
        if not self.is_virtio:
            _pass_bytes_on(fd)
        return OpenPort(fd, ends=not self.is_virtio)


def _pass_bytes_on(fd: int) -> None:
    """Make a terminal pass bytes on as they are, and drop what came before."""
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

    qga/main.c of 7.2, channel_event_cb(): after an end of file a virtio port is read again, any other port
    never; an error ends the channel.
    """

    def __init__(self, fd: int, *, ends: bool) -> None:
        self._fd = fd
        self._ends = ends

    def close(self) -> None:
        """Close it; tasks that wait for it are woken."""
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)
            os.close(self._fd)
            self._fd = -1

    async def read_into(self, stream: trio.SocketStream, log: Log) -> None:
        """Write what is read to *stream*, until the port fails."""
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
                log_data(log, data)
                await stream.send_all(data)
                continue
            log("debug", "received EOF")
            if self._ends:
                # qemu-ga closes it; here, what is on its way is still written.
                await trio.sleep_forever()
            await trio.sleep(EOF_PAUSE)

    async def write(self, data: bytes | bytearray, piece: int, log: Log) -> None:
        """Write all of *data* in pieces, however long that takes; nothing more once the port fails."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view[:piece]) :]
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_writable(self._fd)
                except trio.ClosedResourceError:
                    return
            except OSError as error:
                log("warning", f"error writing to channel: {error.strerror}")
                return
