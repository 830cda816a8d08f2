"""The trio driver: sockets and waiting. What is served is the channel's business.

One client is served at a time, as the real agent and QEMU's character devices do; others wait in
the kernel's backlog. Per request there is no task, no cancel scope and no clock: only the slow
paths (a busy guest, a stopped agent) have deadlines. The sockets are the standard library's, with
trio to wait for them: a reply goes out in one call, and the wait for the next request is the
checkpoint (trio's own sockets pass the scheduler twice per request).
"""

import contextlib
import errno
import fcntl
import math
import os
import select
import socket
import struct
import sys
import termios
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final, TypeVar

import trio

from qgasim.effects import Close, Effect, Wait
from qgasim.serving.listen import Address, AgentAddress, Stdio, TcpAddress, UnixAddress
from qgasim.simulation.channel import KEPT_LIMIT
from qgasim.simulation.simulation import Simulation

__all__ = ["Server", "serve"]

T = TypeVar("T")
#: Replies are joined up to this size before they are sent.
SEND_SIZE: Final = 1 << 16
#: The same where it counts how many there are: fewer than fill a socket when written one by one.
FEW_SIZE: Final = 1 << 11
RECEIVE_SIZE: Final = 1 << 16
EAGER_PASSES: Final = 6
#: So many requests that came at once are read before other tasks are let run.
EAGER_READS: Final = 16


class Server:
    """Serves a simulation at an address; a text is the path of a unix socket."""

    def __init__(self, simulation: Simulation, address: AgentAddress | str) -> None:
        self.channel = simulation.channel
        self._guest = simulation.guest
        self._address = UnixAddress(address) if isinstance(address, str) else address
        self._connection: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._waiting_on: socket.socket | None = None
        self._waiting: trio.CancelScope | None = None
        self._is_poked = False
        self._passes = EAGER_PASSES
        self._reads_left = EAGER_READS
        self._is_closed = False
        self._inode: int | None = None
        #: What the client got since it last sent something, as far as it can be unread.
        self._sent = b""
        #: How much of what was read is left in the socket, so that to close it is a reset.
        self._peeked = 0
        #: What could not be sent.
        self._unsent = b""

    @property
    def address(self) -> Address:
        """Where clients connect."""
        assert isinstance(self._address, Address)
        return self._address

    @property
    def is_being_left(self) -> bool:
        """Whether the client has hung up, and that is still to be noticed."""
        return self._connection is not None and _has_hung_up(self._connection)

    def last_clients(self) -> list[str]:
        """Say who is connected or waits for it, and has not hung up. For the end: they are let in."""
        socks = [] if self._connection is None else [self._connection]
        waiting: list[socket.socket] = []
        with contextlib.suppress(OSError):
            while self._listener is not None:
                waiting.append(self._listener.accept()[0])
        left = [self._name_client(sock) for sock in [*socks, *waiting] if not _has_hung_up(sock)]
        for sock in waiting:
            sock.close()
        return left

    def _name_client(self, sock: socket.socket) -> str:
        if not isinstance(self._address, UnixAddress):
            return "a client"
        if _is_of_this_process(sock):
            return "a client of this process"
        return f"process {_peer(sock)}"

    def listen(self) -> None:
        """Let clients connect.

        Raises:
            ListenError: the address cannot be listened on.
        """
        address = self._address
        if isinstance(address, Stdio):
            return
        self._listener = address.listen()
        if isinstance(address, UnixAddress):
            self._inode = os.stat(address.path, follow_symlinks=False).st_ino
        elif isinstance(address, TcpAddress):
            # Which port it became, if any would do.
            self._address = TcpAddress(address.host, self._listener.getsockname()[1])

    async def serve(self) -> None:
        """Serve until cancelled; the socket's file is removed at the end."""
        try:
            await self._serve()
        finally:
            self.close()

    def close(self) -> None:
        """Hang up, and let nobody connect any more; `serve` is to be cancelled first."""
        self._is_closed = True
        for sock in (self._connection, self._listener):
            if sock is not None:
                sock.close()
        if isinstance(self._address, UnixAddress):
            _remove(self._address.path, self._inode)
            # Another socket may be there from now on, and have the same number.
            self._inode = 0

    async def _serve(self) -> None:
        if isinstance(self._address, Stdio):
            await self._serve_stream(_copy_input, _copy_output)
            return
        while True:
            await self._accept_one()

    async def _serve_stream(
        self,
        copy_input: Callable[[trio.SocketStream], Awaitable[None]],
        copy_output: Callable[[trio.SocketStream], Awaitable[None]],
    ) -> None:
        """Serve what *copy_input* brings, until it ends."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        other_end = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        async with other_end, trio.open_nursery() as nursery:
            nursery.start_soon(_while_open, copy_output, other_end)
            async with trio.open_nursery() as reading:
                reading.start_soon(_while_open, copy_input, other_end)
                await self._converse(ours, ends_early=False)
                reading.cancel_scope.cancel()

    def poke(self) -> None:
        """Let the driver look at the channel again: something in the guest was changed."""
        self._is_poked = True
        if self._waiting_on is not None:
            trio.lowlevel.notify_closing(self._waiting_on)
        if self._waiting is not None:
            self._waiting.cancel()

    async def _accept_one(self) -> None:
        self._close_if_gone()
        if self._is_closed:
            await trio.sleep_forever()
        elif not self.channel.is_open:
            await self._wait(trio.sleep_forever)
        elif self._listener is None:
            if isinstance(self._address, UnixAddress):
                _remove(self._address.path, None)
            self.listen()
        else:
            accepted = await self._wait(partial(_accept, self._listener))
            if accepted is not None:
                self._connection = accepted
                await self._converse(accepted, ends_early=self.channel.ends_when_sending_ends)
                return
        self.channel.wake_alone()

    def _close_if_gone(self) -> None:
        """Let connects be refused if the agent was the server, and has ended."""
        if not self.channel.is_open:
            self._close_listener()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _wait(self, wait: Callable[[], Awaitable[T]]) -> T | None:
        """Await *wait*; None when it is time to look at the channel again."""
        if self._is_poked:
            self._is_poked = False
            await trio.lowlevel.checkpoint()
            return None
        deadline = math.inf
        if self.channel.needs_attention:
            event = self.channel.next_event()
            if event is not None:
                deadline = trio.current_time() + self._guest.clock.host_delay(event)
        result: T | None = None
        with (
            trio.CancelScope(deadline=deadline) as self._waiting,
            contextlib.suppress(trio.ClosedResourceError),
        ):
            result = await wait()
        self._waiting = None
        if result is None:
            self._is_poked = False
        return result

    async def _converse(self, sock: socket.socket, *, ends_early: bool) -> None:
        """Serve one client until it leaves or is hung up on.

        *ends_early*: it has left when it stops sending.
        """
        channel = self.channel
        receive = channel.receive
        keeps = channel.keeps_unread
        unread: bytes | None = None
        # Cheaper than to try to read, for a client that nearly always goes on.
        hang_up = select.poll()
        hang_up.register(sock, select.POLLRDHUP)
        self._sent = b""
        self._peeked = 0
        # Who is at the other end of a unix socket sees a reset if it is closed with something unread.
        is_unix = sock.family == socket.AF_UNIX and not isinstance(self._address, Stdio)
        # A client in another thread of this process cannot ask while this one looks.
        self._passes = 1 if _is_of_this_process(sock) else EAGER_PASSES
        peeks = channel.may_reset and is_unix
        take = self._peek if peeks else self._receive
        has_ended = False
        try:
            effects = channel.connect()
            while await self._perform(sock, effects):
                if has_ended and not channel.is_pending:
                    break
                if channel.needs_attention or self._is_poked:
                    is_deaf = has_ended or channel.is_full
                    is_deaf |= self._peeked > 0 and channel.is_pending
                    wait = trio.sleep_forever if is_deaf else partial(take, sock)
                    data = await self._wait(wait)
                    if data is None:
                        effects = channel.wake()
                        continue
                else:
                    self._waiting_on = sock
                    try:
                        data = await take(sock)
                    except trio.ClosedResourceError:
                        continue
                    self._waiting_on = None
                if not data:
                    if ends_early:
                        break
                    has_ended = True
                    effects = iter(())
                    continue
                if keeps:
                    self._sent = b""
                effects = receive(data)
                if ends_early and hang_up.poll(0):
                    await self._give_back(b"", effects)
                    await self._take_rest(sock)
                    break
        except ConnectionResetError:
            unread = self._sent
        except OSError:
            # A failed send does not say whether replies were left unread; a read does.
            unread = await self._take_rest(sock)
        except trio.Cancelled:
            # As when a process ends: its listening socket is the older one, and closed first.
            self._close_listener()
            raise
        finally:
            self._waiting_on = self._waiting = None
            channel.lose_client(unread=unread)
            # An agent that is gone refuses connects by the time its client sees the end.
            self._close_if_gone()
            sock.close()
            self._connection = None

    async def _give_back(self, data: bytes, effects: Iterator[Effect]) -> None:
        """Give the channel what cannot be sent; what it does not keep is done all the same."""
        for _ in self.channel.return_unsent(data, effects):
            # A thousand long reads may be left: signals are seen to meanwhile.
            await trio.lowlevel.checkpoint()

    async def _take_rest(self, sock: socket.socket) -> bytes | None:
        """Take what a client that has left had sent; give what it left unread, if it did."""
        try:
            self._take_peeked(sock)
            while data := sock.recv(RECEIVE_SIZE):
                await self._give_back(b"", self.channel.receive(data))
        except ConnectionResetError:
            return self._sent
        except OSError:
            pass
        return None

    async def _perform(self, sock: socket.socket, effects: Iterator[Effect]) -> bool:
        """Do *effects* in order; whether the connection goes on."""
        out = b""
        size = _few_if_unread(sock) if self.channel.writes_singly else SEND_SIZE
        try:
            for effect in effects:
                if type(effect) is bytes:
                    out = out + effect if out else effect
                    if len(out) >= size:
                        await self._send(sock, out)
                        out = b""
                        if self.channel.writes_singly:
                            size = _few_if_unread(sock)
                    continue
                if out:
                    await self._send(sock, out)
                    out = b""
                if isinstance(effect, Wait):
                    self.channel.hold(effect.until, effects)
                    return True
                assert isinstance(effect, Close)
                if effect.how != "reset":
                    self._take_peeked(sock)
                if effect.how == "half":
                    sock.shutdown(socket.SHUT_WR)
                    continue
                if effect.how == "reset" and sock.family != socket.AF_UNIX:
                    # Close without a handshake.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            if out:
                await self._send(sock, out)
        except OSError:
            # The client is gone: what it asked for is done all the same.
            await self._give_back(self._unsent, effects)
            raise
        return True

    async def _receive(self, sock: socket.socket) -> bytes:
        """Receive something; `trio.ClosedResourceError` if `poke` was called meanwhile."""
        await self._let_others_run()
        # Who has just been answered often asks again at once: to look a few times, letting other
        # tasks run, costs less than to fall asleep and be woken.
        for _ in range(self._passes):
            try:
                data = sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                await trio.lowlevel.checkpoint()
            else:
                if len(data) == RECEIVE_SIZE:
                    self._reads_left = 0  # It takes a while to work off.
                return data
        while not self._is_poked:
            await trio.lowlevel.wait_readable(sock)
            try:
                return sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                continue
        raise trio.ClosedResourceError

    async def _let_others_run(self) -> None:
        if self._reads_left:
            self._reads_left -= 1
            # A client on the same processor can ask only now.
            os.sched_yield()
        else:
            self._reads_left = EAGER_READS
            await trio.lowlevel.checkpoint()

    async def _peek(self, sock: socket.socket) -> bytes:
        """Do as `_receive`, but leave it in the socket until the next time."""
        self._take_peeked(sock)
        await self._let_others_run()
        while not self._is_poked:
            with contextlib.suppress(BlockingIOError):  # Before any wait: as in _accept().
                data = sock.recv(RECEIVE_SIZE, socket.MSG_PEEK)
                self._peeked = len(data)
                return data
            await trio.lowlevel.wait_readable(sock)
        raise trio.ClosedResourceError

    def _take_peeked(self, sock: socket.socket) -> None:
        while self._peeked:
            self._peeked -= len(sock.recv(self._peeked))

    async def _send(self, sock: socket.socket, data: bytes) -> None:
        left: bytes | memoryview = data
        while left:
            try:
                sent = sock.send(left)
                left = memoryview(left)[sent:] if sent < len(left) else b""
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sock)
            except OSError:
                self._unsent = bytes(left)
                raise
        if self.channel.keeps_unread:
            self._sent = (self._sent + data)[-KEPT_LIMIT:]
        if len(data) >= SEND_SIZE:  # A client that reads as fast does not keep out signals.
            await trio.lowlevel.checkpoint()


def _peer(sock: socket.socket) -> int:
    """Give the process at the other end of a unix socket."""
    # struct ucred begins with it.
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder)


def _is_of_this_process(sock: socket.socket) -> bool:
    return sock.family == socket.AF_UNIX and _peer(sock) == os.getpid()


def _few_if_unread(sock: socket.socket) -> int:
    """Give up to what size replies are joined for a client that shall be waited for if it falls behind."""
    if sock.family != socket.AF_UNIX:
        return SEND_SIZE  # No such count is kept there, and vsock can be too old to be asked.
    (unread,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
    return 1 if unread else FEW_SIZE


def _has_hung_up(sock: socket.socket) -> bool:
    hang_up = select.poll()
    # That is told in any case.
    hang_up.register(sock, 0)
    return bool(hang_up.poll(0))


async def _accept(listener: socket.socket) -> socket.socket:
    has_waited = False
    while True:
        # Before any wait: where the guest is late, there is no time for one.
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            pass
        except OSError as error:
            # Linux wants a free descriptor before it looks whether anybody is there.
            if has_waited or error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        else:
            sock.setblocking(False)
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                # A reply that comes in pieces shall be seen to.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        await trio.lowlevel.wait_readable(listener)
        has_waited = True


async def _while_open(
    copy: Callable[[trio.SocketStream], Awaitable[None]], stream: trio.SocketStream
) -> None:
    # The other end may be closed with something unread in it, or with this end's other task.
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        try:
            await copy(stream)
        except OSError:
            await stream.aclose()  # Who gave the stream has left.


async def _copy_input(stream: trio.SocketStream) -> None:
    # In a thread: the standard input may be a file, or shared with who cannot bear it non-blocking.
    while data := await trio.to_thread.run_sync(os.read, 0, RECEIVE_SIZE, abandon_on_cancel=True):
        await stream.send_all(data)
    await stream.send_eof()


async def _copy_output(stream: trio.SocketStream) -> None:
    async for data in stream:
        view = memoryview(data)
        while view:
            view = view[await trio.to_thread.run_sync(os.write, 1, view, abandon_on_cancel=True) :]


def _remove(path: str, inode: int | None) -> None:
    """Remove the socket's file, if it is still the one with this inode."""
    with contextlib.suppress(OSError):
        if inode is None or os.stat(path, follow_symlinks=False).st_ino == inode:
            os.unlink(path)


async def serve(
    simulation: Simulation,
    address: Address | str,
    *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve *simulation* until cancelled.

    Args:
        simulation: what `Scenario.build` made.
        address: where; a text is the path of a unix socket, whose file is made with mode 0600 and
            removed at the end.
        task_status: for `nursery.start`, which then gives the `Server`.

    Raises:
        ListenError: the address cannot be listened on.
    """
    server = Server(simulation, address)
    server.listen()
    task_status.started(server)
    await server.serve()
