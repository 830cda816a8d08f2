"""A client's socket: received from eagerly, sent to, and asked about its other end."""

import fcntl
import os
import select
import socket
import struct
import sys
import termios
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

import trio

from qgasim.serving.attention import Attention
from qgasim.simulation.channel import KEPT_LIMIT

__all__ = [
    "EAGER_READS",
    "RECEIVE_SIZE",
    "SEND_SIZE",
    "ClientSocket",
    "Watcher",
    "has_hung_up",
    "is_of_this_process",
    "peer",
]

#: Replies are joined up to this size before they are sent.
SEND_SIZE: Final = 1 << 16
#: The same where it counts how many there are: fewer than fill a socket when written one by one.
FEW_SIZE: Final = 1 << 11
RECEIVE_SIZE: Final = 1 << 16
#: How often to look for the next request, letting other tasks run in between, before the task sleeps.
EAGER_PASSES: Final = 6
#: How often to look whether the client has read the first piece of a long reply.
READ_PASSES: Final = 16
#: How many requests that came at once are read before other tasks may run.
EAGER_READS: Final = 16


class Watcher(Protocol):
    """A log of what is read from clients."""

    def received(self, data: bytes) -> None:
        """Note what a client sent; empty: it stopped sending."""
        ...

    def failed(self) -> None:
        """Note that a read failed, because the client left something unread."""
        ...


class ClientSocket:
    """A client's socket, with what is known of its traffic.

    The socket is the standard library's, with trio to wait for it: trio's own pass the scheduler twice
    per request.

    Args:
        sock: connected and non-blocking; it is not closed here.
        attention: ends waits, too.
        peeks: leave what is read in the socket until the next read, so that closing it is a reset.
        keeps_sent: remember in `sent` what the client may have left unread.
        watcher: is told what is read.
    """

    def __init__(
        self,
        sock: socket.socket,
        attention: Attention,
        *,
        peeks: bool = False,
        keeps_sent: bool = False,
        watcher: Watcher | None = None,
    ) -> None:
        self.sock = sock
        self._attention = attention
        # A client in another thread of this process cannot ask while this one looks.
        self._passes = 1 if is_of_this_process(sock) else EAGER_PASSES
        self._reads_left = EAGER_READS
        self._keeps_sent = keeps_sent
        #: Return something that was received; raise `trio.ClosedResourceError` if the driver was poked meanwhile.
        self.take: Callable[[], Awaitable[bytes]] = self._peek if peeks else self._receive
        self._watcher = watcher
        if watcher is not None:
            self.take = partial(_watch, self.take, watcher)
        #: What the client got since it last sent something, as far as it can be unread.
        self.sent = b""
        #: How much of what was read is left in the socket.
        self.peeked = 0
        #: What could not be sent.
        self.unsent = b""
        #: The error that has ended the connection. Any other that is raised is not the socket's.
        self.failure: OSError | None = None

    async def _receive(self) -> bytes:
        await self._let_others_run()
        # A client that has just been answered often asks again at once: to look a few times, letting
        # other tasks run, costs less than to fall asleep and be woken.
        for _ in range(self._passes):
            try:
                data = self.sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                await trio.lowlevel.checkpoint()
            except OSError as error:
                self.failure = error
                raise
            else:
                if len(data) == RECEIVE_SIZE:
                    self._reads_left = 0  # It takes a while to work off.
                return data
        while not self._attention.is_poked:
            await trio.lowlevel.wait_readable(self.sock)
            try:
                return self.sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                continue
            except OSError as error:
                self.failure = error
                raise
        raise trio.ClosedResourceError

    async def _let_others_run(self) -> None:
        if self._reads_left:
            self._reads_left -= 1
            # A client on the same processor can ask only now.
            os.sched_yield()
        else:
            self._reads_left = EAGER_READS
            await trio.lowlevel.checkpoint()

    async def _peek(self) -> bytes:
        """Do as `_receive`, but leave it in the socket until the next time."""
        self.take_peeked()
        await self._let_others_run()
        while not self._attention.is_poked:
            try:  # Before any wait: as in _accept().
                data = self.sock.recv(RECEIVE_SIZE, socket.MSG_PEEK)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.sock)
            except OSError as error:
                self.failure = error
                raise
            else:
                self.peeked = len(data)
                return data
        raise trio.ClosedResourceError

    def receive_rest(self) -> bytes:
        """Return what a client that has left had sent; nothing at its end, or if the connection is broken."""
        try:
            return self.sock.recv(RECEIVE_SIZE)
        except OSError as error:
            self.failure = error
            if self._watcher is not None and isinstance(error, ConnectionResetError):
                self._watcher.failed()
            return b""

    def take_peeked(self) -> None:
        """Take what was read out of the socket."""
        try:
            while self.peeked:
                self.peeked -= len(self.sock.recv(self.peeked))
        except OSError as error:
            self.failure = error
            raise

    async def send(self, data: bytes, piece: int = SEND_SIZE) -> None:
        """Send all of *data*, in pieces of *piece* bytes; what could not be sent is in `unsent`.

        Raises:
            OSError: the client is gone.
        """
        view, end = memoryview(data), len(data)
        write, at = self.sock.send, 0
        # Over TCP and vsock, it cannot be seen what is unread.
        looks = piece < end and self.sock.family == socket.AF_UNIX and not self._count_unread()
        while at < end:
            if at >= SEND_SIZE:
                # A client cannot tell any more how much is written at once.
                piece = max(piece, SEND_SIZE)
            try:
                at += write(view[at : at + piece])
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.sock)
            except OSError as error:
                self.unsent = data[at:]
                self.failure = error
                raise
            else:
                if looks:
                    looks = False
                    await self._let_client_read()
        if self._keeps_sent:
            self.sent = (self.sent + data)[-KEPT_LIMIT:]
        if end >= SEND_SIZE:  # A client that reads as fast does not keep out signals.
            await trio.lowlevel.checkpoint()

    async def _let_client_read(self) -> None:
        """Let a client that waits read the first piece of a reply before the next one is there.

        So does the time that a real agent takes to write it. One that is not waiting is not waited for.
        """
        for _ in range(READ_PASSES):
            os.sched_yield()
            if not self._count_unread():
                return
            await trio.lowlevel.checkpoint()

    def _count_unread(self) -> int:
        """Return how much of a unix socket's memory is taken by what the client has not read."""
        return int.from_bytes(fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def few_if_unread(self) -> int:
        """Return the size up to which replies are joined for a client that is waited for if it falls behind."""
        if self.sock.family != socket.AF_UNIX:
            return SEND_SIZE  # No such count is kept there, and vsock can be too old to be asked.
        return 1 if self._count_unread() else FEW_SIZE

    def end(self, how: str) -> bool:
        """End the connection, or its half, as `Close.how` says; return whether it is over.

        What is over has still to be closed.
        """
        if how != "reset":
            self.take_peeked()
        if how == "half":
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                self.failure = error
                raise
            return False
        if how == "reset" and self.sock.family != socket.AF_UNIX:
            # Close without a handshake.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True


async def _watch(take: Callable[[], Awaitable[bytes]], watcher: Watcher) -> bytes:
    try:
        data = await take()
    except ConnectionResetError:
        watcher.failed()
        raise
    watcher.received(data)
    return data


def peer(sock: socket.socket) -> int:
    """Return the number of the process at the other end of a unix socket."""
    # struct ucred begins with it.
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder)


def is_of_this_process(sock: socket.socket) -> bool:
    """Return whether the client is in this process."""
    return sock.family == socket.AF_UNIX and peer(sock) == os.getpid()


def has_hung_up(sock: socket.socket) -> bool:
    """Return whether the client has hung up."""
    hang_up = select.poll()
    # A hang-up is reported in any case.
    hang_up.register(sock, 0)
    return bool(hang_up.poll(0))
