"""The socket of a real agent, connected to for each client and carried by a task beside the server's."""

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio

from qgasim.client.connecting import AgentAddress, connect
from qgasim.effects import Close
from qgasim.errors import ClientError
from qgasim.serving.listen import UnixAddress
from qgasim.simulation.channel import QUEUE_LIMIT
from qgasim.upstream.channel import UpstreamChannel
from qgasim.upstream.replies import Request

__all__ = ["SocketLink"]

RECEIVE_SIZE: Final = 1 << 16
#: How often an answer is looked for at once, before this thread sleeps: most come within some microseconds.
EAGER_PASSES: Final = 60
#: How long this thread then sleeps at most, in µs, before the task waits for it: to be woken by trio takes as long as the
#: answer. The kernel rounds it up: to 8 ms where it counts time in 4 ms.
EAGER_WAIT: Final = 1000
#: How long the agent may take to answer what is then left unread, in µs: nothing else is done meanwhile.
UNREAD_WAIT: Final = 100_000


class SocketLink:
    """The way to a real agent.

    Args:
        address: where it is.
        timeout: how long to wait for a connection, in seconds.
    """

    def __init__(self, address: AgentAddress, timeout: float) -> None:
        self.address = address
        self._timeout = timeout
        self._channel: UpstreamChannel | None = None
        self._poke: Callable[[], None] = lambda: None
        self._sock: socket.socket | None = None
        #: Whether an answer has not come in time, and is still to come.
        self._is_late = False
        #: What could not be sent yet.
        self._out = bytearray()
        #: Set for each client; what carries its bytes then begins.
        self._is_wanted = trio.Event()
        #: Whether a client waits for a connection that takes time.
        self._connects_later = False
        self._has_output = trio.Event()
        self._has_room = trio.Event()

    def attach(self, channel: UpstreamChannel) -> None:
        """Bring what the agent answers to *channel*."""
        self._channel = channel

    @property
    def is_full(self) -> bool:
        """Return whether the agent does not read: what is passed on has to wait."""
        return len(self._out) >= QUEUE_LIMIT

    # -- what the channel asks for ---------------------------------------------------------------

    def connect(self) -> None:
        """Connect for the client that has come."""
        self._out.clear()
        if isinstance(self.address, UnixAddress):
            # At once: no connect to a unix socket that does not block takes time.
            try:
                self._take(connect(self.address, self._timeout))
            except ClientError as error:
                self._end(Close(), str(error))
                return
        else:
            self._connects_later = True
        self._is_wanted.set()

    def ask(self, data: bytes, requests: Sequence[Request]) -> bytes:
        """Send *data*, and wait a moment for an answer."""
        sock = self._sock
        if sock is None or self._out:
            self._out += data
            self._has_output.set()
            return b""
        try:
            sent = sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(error)
            return b""
        if sent < len(data):
            self._out += data[sent:]
            self._has_output.set()
        elif requests and not self._is_late:
            return self._await_answer()
        return b""

    def _await_answer(self) -> bytes:
        """Return what the agent answers at once, or within a moment."""
        # An agent on the same processor can answer only now. To be woken by one on another costs more than to look.
        os.sched_yield()
        for _ in range(EAGER_PASSES):
            answer = self._receive()
            if answer or self._sock is None:
                return answer
        answer = self._receive(0)
        self._is_late = not answer
        return answer

    def disconnect(self, *, leaving_unread: bool = False) -> None:
        """Hang up; *leaving_unread*: as a client does that has left a reply unread."""
        self._connects_later = False
        if self._sock is not None:
            if leaving_unread and self._sock.family == socket.AF_UNIX:
                leave_unread(self._sock)
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
            self._sock = None
        self._has_room.set()
        self._has_output.set()

    def go_on(self) -> None:
        """Read again: there is room."""
        self._has_room.set()

    # -- the task --------------------------------------------------------------------------------

    async def serve(self, poke: Callable[[], None]) -> None:
        """Carry what cannot be carried at once, until cancelled; call *poke* when something has come."""
        self._poke = poke
        try:
            while True:
                await self._is_wanted.wait()
                self._is_wanted = trio.Event()
                if self._connects_later:
                    await self._connect_later()
                if self._sock is None:
                    # The client has left already, or there is no agent.
                    continue
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            self.disconnect()

    async def _connect_later(self) -> None:
        """Connect to an agent that may be on another host."""
        try:
            sock = await trio.to_thread.run_sync(
                partial(connect, self.address, self._timeout), abandon_on_cancel=True
            )
        except ClientError as error:
            if self._connects_later:
                self._end(Close(), str(error))
            return
        if not self._connects_later:
            sock.close()
            return
        self._connects_later = False
        self._take(sock)
        self._has_output.set()

    def _take(self, sock: socket.socket) -> None:
        # It blocks, for a moment at most, where it is not told otherwise.
        wait_at_most(sock, EAGER_WAIT)
        self._sock = sock
        self._is_late = False

    async def _read(self) -> None:
        """Read until the connection ends."""
        channel = self._channel
        assert channel is not None
        while (sock := self._sock) is not None:
            try:
                await trio.lowlevel.wait_readable(sock)
            except trio.ClosedResourceError:
                return
            if channel.is_flooded:
                self._has_room = trio.Event()
                await self._has_room.wait()
            elif data := self._receive():
                self._is_late = False
                channel.answered(data)
                self._poke()

    async def _write(self) -> None:
        """Write what could not be written at once."""
        while (sock := self._sock) is not None:
            await self._has_output.wait()
            self._has_output = trio.Event()
            try:
                while self._out and self._sock is sock:
                    try:
                        del self._out[: sock.send(self._out, socket.MSG_DONTWAIT)]
                    except BlockingIOError:
                        await trio.lowlevel.wait_writable(sock)
                # More may be read from the client now.
                self._poke()
            except trio.ClosedResourceError:
                return
            except OSError as error:
                self._fail(error)

    def _receive(self, flags: int = socket.MSG_DONTWAIT) -> bytes:
        """Return what has come; nothing, too, if the connection has ended, which the channel learns."""
        sock = self._sock
        if sock is None:
            return b""
        try:
            data = sock.recv(RECEIVE_SIZE, flags)
        except BlockingIOError:
            return b""
        except OSError as error:
            self._fail(error)
            return b""
        if not data:
            self._end(Close(), f"{self.address}: the agent hung up")
        return data

    def _fail(self, error: OSError) -> None:
        is_reset = isinstance(error, ConnectionResetError)
        text = (
            "the agent hung up"
            if is_reset or isinstance(error, BrokenPipeError)
            else error.strerror
        )
        self._end(Close("reset" if is_reset else "end"), f"{self.address}: {text}")

    def _end(self, how: Close, why: str) -> None:
        self.disconnect()
        if self._channel is not None:
            self._channel.ended(how, why)
        self._poke()


def leave_unread(sock: socket.socket) -> None:
    """Leave something unread in the socket of an agent, so that closing it is a reset to the agent.

    An agent that is its own server ends then (tests/golden/7.2/conn-unix.jsonl, reply-unread-then-close). What its client
    has left unread was read here already; what is left in its place is the reply to a ping.
    """
    with contextlib.suppress(OSError):
        with contextlib.suppress(BlockingIOError):
            sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return
        wait_at_most(sock, UNREAD_WAIT)
        sock.send(b'{"execute":"guest-ping"}\n', socket.MSG_DONTWAIT)
        sock.recv(1, socket.MSG_PEEK)


def wait_at_most(sock: socket.socket, microseconds: int) -> None:
    """Let what is received from *sock* be waited for."""
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, microseconds))
