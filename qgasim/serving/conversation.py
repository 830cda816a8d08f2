"""One client, from its connect to its end: what it sends goes to the channel, the effects are performed.

Per request there is no task, no cancel scope and no clock: only the slow paths (a busy guest, a stopped
agent) have deadlines. A short reply goes out in one call, a long one in the pieces in which the agent
writes it, and the wait for the next request is the checkpoint.
"""

import select
import socket
from collections.abc import Awaitable, Callable, Iterator

import trio

from qgasim.effects import Close, Effect, Wait
from qgasim.serving.attention import Attention
from qgasim.serving.sockets import SEND_SIZE, ClientSocket, Watcher
from qgasim.simulation.channel import Channel

__all__ = ["Conversation"]


class Conversation:
    """The conversation with one client.

    Args:
        channel: what is served.
        sock: connected and non-blocking; it is not closed here.
        attention: when to look at the channel.
        is_stream: what is at the other end of *sock* stands for a stream (see `Driver.converse`).
        watcher: is told what is read.
    """

    def __init__(
        self,
        channel: Channel,
        sock: socket.socket,
        attention: Attention,
        *,
        is_stream: bool = False,
        watcher: Watcher | None = None,
    ) -> None:
        self._channel = channel
        self._attention = attention
        # The client of a unix socket sees a reset if that is closed with something unread.
        peeks = channel.may_reset and sock.family == socket.AF_UNIX and not is_stream
        self._client = ClientSocket(
            sock, attention, peeks=peeks, keeps_sent=channel.keeps_unread, watcher=watcher
        )
        #: Whether the client has left when it stops sending.
        self._ends_early = channel.ends_when_sending_ends and not is_stream
        #: Whether the client has stopped sending.
        self._has_ended = False

    @property
    def sock(self) -> socket.socket:
        """The client's socket."""
        return self._client.sock

    async def run(self) -> None:
        """Serve the client until it leaves or is hung up on; the socket has then to be closed."""
        unread: bytes | None = None
        try:
            await self._exchange()
        except OSError as error:
            if error is not self._client.failure:
                raise
            unread = self._client.sent
            if not isinstance(error, ConnectionResetError):
                # A failed send does not say whether replies were left unread; a read does.
                unread = await self._take_rest()
        finally:
            self._attention.waiting_on = None
            self._channel.lose_client(unread=unread)

    async def _exchange(self) -> None:
        channel, client, attention = self._channel, self._client, self._attention
        take, receive, ends_early = client.take, channel.receive, self._ends_early
        # Cheaper than to try to read, for a client that nearly always goes on.
        hang_up = select.poll()
        hang_up.register(client.sock, select.POLLRDHUP)
        effects = channel.connect()
        while await self._perform(effects):
            if self._has_ended and not channel.is_pending:
                return
            if channel.needs_attention or attention.is_poked:
                data = await attention.wait(self._choose_wait())
                if data is None:
                    effects = channel.wake()
                    continue
            else:
                attention.waiting_on = client.sock
                try:
                    data = await take()
                except trio.ClosedResourceError:
                    continue
                attention.waiting_on = None
            if not data:
                if ends_early:
                    return
                self._has_ended = True
                effects = iter(())
                continue
            client.sent = b""
            effects = receive(data)
            if ends_early and hang_up.poll(0):
                await self._give_back(b"", effects)
                await self._take_rest()
                return

    def _choose_wait(self) -> Callable[[], Awaitable[bytes]]:
        """Return what to wait for while the channel needs attention: the client, if it may be read."""
        is_deaf = self._has_ended or self._channel.is_full
        # What was peeked stays in the socket until it is answered.
        is_deaf |= self._client.peeked > 0 and self._channel.is_pending
        return trio.sleep_forever if is_deaf else self._client.take

    async def _perform(self, effects: Iterator[Effect]) -> bool:
        """Perform *effects* in order; return whether the connection goes on."""
        channel, client = self._channel, self._client
        out = b""
        piece, size = channel.write_size, self._choose_size()
        try:
            for effect in effects:
                if type(effect) is bytes:
                    if len(effect) > piece:
                        await self._send_long(out, effect)
                        out, size = b"", self._choose_size()
                        continue
                    out = out + effect if out else effect
                    if len(out) >= size:
                        await client.send(out)
                        out, size = b"", self._choose_size()
                    continue
                if out:
                    await client.send(out)
                    out = b""
                if isinstance(effect, Wait):
                    channel.defer(effect.until, effects)
                    return True
                assert isinstance(effect, Close)
                if client.end(effect.how):
                    return False
            if out:
                await client.send(out)
        except OSError as error:
            await self._do_rest(error, effects)
            raise
        return True

    def _choose_size(self) -> int:
        """Return the size up to which short replies are joined."""
        return self._client.few_if_unread() if self._channel.writes_singly else SEND_SIZE

    async def _send_long(self, before: bytes, reply: bytes) -> None:
        """Send the replies *before*, and then a long one in the pieces in which the agent writes it."""
        client = self._client
        try:
            if before:
                await client.send(before)
        except OSError:
            client.unsent += reply
            raise
        await client.send(reply, self._channel.write_size)

    async def _do_rest(self, error: OSError, effects: Iterator[Effect]) -> None:
        """Do what the client asked for all the same, if *error* says that it is gone."""
        if error is self._client.failure:
            await self._give_back(self._client.unsent, effects)

    async def _give_back(self, data: bytes, effects: Iterator[Effect]) -> None:
        """Return to the channel what cannot be sent; what it does not keep is done all the same."""
        for _ in self._channel.return_unsent(data, effects):
            # A thousand long reads may be left: signals are seen to meanwhile.
            await trio.lowlevel.checkpoint()

    async def _take_rest(self) -> bytes | None:
        """Take what a client that has left had sent; return what it left unread, if it did."""
        try:
            self._client.take_peeked()
        except OSError as error:
            return self._client.sent if isinstance(error, ConnectionResetError) else None
        while data := self._client.receive_rest():
            await self._give_back(b"", self._channel.receive(data))
        return self._client.sent if isinstance(self._client.failure, ConnectionResetError) else None
