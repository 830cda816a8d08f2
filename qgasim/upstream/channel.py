"""A channel whose agent is elsewhere: a real one on a socket, or a recording of one. No I/O.

To its driver it is a channel as any other. What clients send is read as the agent's release reads it, so that
faults and journal know the requests, and is passed on byte by byte. Replies come when they come: they are
delivered in the order of the requests, changed by the faults that fired.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from qgasim.agent import Agent
from qgasim.agent.state import new_state
from qgasim.effects import Close, Effect
from qgasim.simulation.channel import QUEUE_LIMIT, Channel, Sender
from qgasim.upstream.disturbing import finish, take_up, tell
from qgasim.upstream.repeats import Repeats, is_simple_reply
from qgasim.upstream.replies import LINE_LIMIT, Replies, Request

__all__ = ["Link", "Recorder", "UpstreamChannel"]

#: How many requests may wait for their replies before no more are read.
REQUESTS_LIMIT: Final = 10_000
#: Where a request can end, with the white space behind it.
_PIECE: Final = re.compile(rb"[^}\n]*+[}\n][ \t\r\n]*+|[^}\n]++")


class Link(Protocol):
    """The way to the agent behind."""

    @property
    def is_full(self) -> bool:
        """Return whether the agent does not read: what is passed on has to wait."""
        ...

    def connect(self) -> None:
        """Connect for the client that has come."""

    def ask(self, data: bytes, requests: "Sequence[Request]") -> bytes:
        """Pass on *data*, which has the ends of *requests* in it; return what is answered at once, if anything.

        A link that knows the effects of a request writes them into it, and ends it.
        """
        ...

    def disconnect(self, *, leaving_unread: bool = False) -> None:
        """Hang up: the client has left, with a reply *leaving_unread* where the agent notices that."""

    def go_on(self) -> None:
        """Bring more: what came was delivered."""


class UpstreamChannel(Channel):
    """The way to an agent that is not simulated.

    Args:
        agent: stands for it: its release, its faults, its observers. Its guest is not asked.
        link: what is behind.
        ends_early: whether a client that only stops sending has left, as at a socket of QEMU.
    """

    def __init__(self, agent: Agent, link: Link, *, ends_early: bool = False) -> None:
        super().__init__(agent)
        self.link = link
        self.ends_when_sending_ends = ends_early
        #: Told of all bytes; None: nothing is.
        self.recorder: Recorder | None = None
        self._replies = Replies(agent.commands.table, agent.dialect)
        #: All that is not yet delivered, in order.
        self._requests = self._replies.requests
        #: What was sent and is not yet read: faults make it wait.
        self._waiting: deque[tuple[Sender, bytes]] = deque()
        #: What was read and not yet passed on: the beginning of a request.
        self._raw = bytearray()
        self._repeats = Repeats(agent.commands.table)
        #: How the agent has ended the connection.
        self._end: Close | None = None

    # -- what a driver asks ----------------------------------------------------------------------

    @property
    def waiting(self) -> list[tuple[Sender, bytes]]:
        """What was sent and not yet read."""
        return list(self._waiting)

    def leftovers(self) -> list[str]:
        """Name what a client that connects now finds of those before it."""
        return ["half a request"] if self.agent.has_half_request else []

    @property
    def is_full(self) -> bool:
        """Return whether nothing more should be read from the client now."""
        size = sum(len(data) for _, data in self._waiting)
        return self.link.is_full or len(self._requests) >= REQUESTS_LIMIT or size >= QUEUE_LIMIT

    @property
    def is_flooded(self) -> bool:
        """Return whether the link should bring nothing more now: the client does not read."""
        return self._replies.size >= QUEUE_LIMIT

    @property
    def is_pending(self) -> bool:
        """Return whether something that was asked is not yet answered, and can be."""
        return bool(self._waiting) or self._deferred is not None or self._replies.is_pending

    @property
    def needs_attention(self) -> bool:
        """Return whether `wake` may have effects now or by itself later."""
        is_under_way = bool(self._requests or self._waiting or self._deferred or self._end)
        return is_under_way or self.agent.guest.is_busy

    def next_event(self) -> int | None:
        """Return the uptime at which `wake` should next be called; None: only when told."""
        if self._deferred is None:
            return 0 if self._has_output else self.agent.guest.next_event()
        event = self.agent.guest.next_event()
        return self._deferred[0] if event is None else min(event, self._deferred[0])

    @property
    def _has_output(self) -> bool:
        if self._requests:
            return self._replies.has_output
        return bool(self._waiting) or self._end is not None

    def connect(self) -> Iterator[Effect]:
        """Take a client, and connect to the agent for it."""
        self._end = None
        yield from super().connect()
        if self.recorder is not None:
            self.recorder.connected(self.connections)
        self.link.connect()

    def receive(self, data: bytes) -> Iterator[Effect]:
        """Take bytes from the client; return what can be delivered now."""
        if data in self._repeats and self._is_idle:
            return self._ask_again(data)
        if self.agent.injector.is_deaf:
            return super().receive(data)
        if self.recorder is not None:
            self.recorder.sent(self.connections, data)
        sender = Sender(self.connections, self.agent.guest.clock.uptime())
        if self._deferred is not None or self._waiting or self._replies.has_disturbed:
            self._waiting.append((sender, data))
            for observer in self._observers:
                observer.queued(len(data))
        else:
            self._forward(sender, data)
        return self._look()

    @property
    def _is_idle(self) -> bool:
        """Return whether nothing is under way, and nothing looks at the bytes of requests or changes replies."""
        is_busy = self._requests or self._waiting or self._raw or self._deferred
        if is_busy or self._end or self.recorder:
            return False
        agent = self.agent
        is_plain = agent.injector.is_idle and not agent.commands.stubs
        return is_plain and self._replies.is_idle and agent.state.reader.is_between_messages

    def _ask_again(self, data: bytes) -> Iterator[Effect]:
        """Pass on what was answered at once before: if it is again, there is nothing to keep."""
        before = self._repeats[data]
        sender = Sender(self.connections, self.agent.guest.clock.uptime())
        came = self.link.ask(data, before)
        if not is_simple_reply(came):
            self._expect([Request(before[0].message, sender)], came)
            return self._look()
        if self._observers:
            self.sender = sender
            self.agent.tell(before[0].message, came)
            self.sender = None
        return iter((came,))

    def lose_client(self, *, unread: bytes | None) -> None:
        """Hang up on the agent, too; nothing that was asked is answered any more."""
        self._replies.lose()
        while self._requests:
            self._finish(self._requests.popleft())
        self._waiting.clear()
        self._deferred = None
        # A socket of QEMU does not tell the agent.
        self.link.disconnect(leaving_unread=unread is not None and not self.ends_when_sending_ends)
        if self.recorder is not None:
            self.recorder.closed(self.connections)
        super().lose_client(unread=unread)

    def _go_on(self) -> Iterator[Effect]:
        while True:
            yield from self._deliver()
            if self._requests or not self._waiting:
                break
            self._forward(*self._waiting.popleft())
        if self._end is not None and not self._requests:
            end, self._end = self._end, None
            yield end

    def _deliver(self) -> Iterator[Effect]:
        """Yield the replies that are there, in the order of the requests."""
        requests = self._requests
        while requests:
            request = requests[0]
            if request.is_done:
                requests.popleft()
                self._finish(request)
            while request.effects:
                yield request.effects.popleft()
            if not request.is_done:
                break
        if not (requests or self._waiting or self.agent.injector.is_idle):
            yield from self.agent.injector.finish()
        self.link.go_on()

    def _finish(self, request: Request) -> None:
        """End a request, and tell observers of it."""
        reply = finish(self.agent, request)
        if self._observers and not request.is_unasked:
            self.sender = request.sender
            tell(self.agent, request, reply)
            self.sender = None

    # -- what clients send -----------------------------------------------------------------------

    def _forward(self, sender: Sender, data: bytes) -> None:
        """Read what a client has sent, and pass it on."""
        agent = self.agent
        if not agent.injector.is_idle or agent.commands.stubs or self._raw:
            self._forward_disturbed(sender, data)
            return
        reader = agent.state.reader
        is_whole = reader.is_between_messages
        requests = [Request(message, sender) for message in reader.feed(data)]
        came = self.link.ask(data, requests)
        self._expect(requests, came)
        if is_whole and reader.is_between_messages and is_simple_reply(came):
            self._repeats.note(data, requests)

    def _forward_disturbed(self, sender: Sender, data: bytes) -> None:
        """Read and pass on one request after the other, as far as faults and stubs let them through."""
        reader = self.agent.state.reader
        for piece in _PIECE.finditer(data):
            self._raw += piece[0]
            messages = list(reader.feed(piece[0]))
            if messages or reader.is_between_messages:
                requests = [take_up(self.agent, message, sender) for message in messages]
                raw = bytes(self._raw)
                self._raw.clear()
                self._pass_on(raw, requests)
            if self._replies.has_disturbed and piece.end() < len(data):
                self._waiting.appendleft((sender, data[piece.end() :]))
                return

    def _pass_on(self, data: bytes, requests: list[Request]) -> None:
        """Pass on *data*, unless all *requests* in it are answered already."""
        if requests and all(request.is_done for request in requests):
            self._requests += requests
            return
        for request in requests:
            request.is_replaced = request.is_done
        self._expect(requests, self.link.ask(data, requests))

    def _expect(self, requests: list[Request], came: bytes) -> None:
        """Take requests that were passed on, and what has come since."""
        self._requests += requests
        for request in requests:
            if request.is_replaced or not request.is_done:
                self._replies.ask(request)
        if self._end is not None:
            self._replies.lose()
        if came:
            self.answered(came)

    # -- what comes back -------------------------------------------------------------------------

    def answered(self, data: bytes) -> None:
        """Take bytes from the agent behind; the driver is then to be poked."""
        if self.recorder is not None:
            self.recorder.received(self.connections, data)
        if not self._replies.take(data):
            text = f"more than {LINE_LIMIT >> 20} MiB without a newline: this is no agent"
            self.link.disconnect()
            self.ended(Close("reset"), text)

    def ended(self, how: Close, why: str = "") -> None:
        """Note that the agent has hung up, or that there is none, for the reason *why*."""
        if why:
            for observer in self._observers:
                observer.noted(why)
        self._replies.lose()
        # What was half read is lost with an agent that was its own server.
        self.agent.state.reader = new_state(self.agent.options, self.agent.dialect).reader
        self._raw.clear()
        if self.recorder is not None:
            end = why or ("EOF" if how.how == "end" else "ConnectionResetError")
            self.recorder.received(self.connections, b"", end=end)
        self._end = how


class Recorder(Protocol):
    """What writes down all bytes, by the number of the client."""

    def connected(self, conn: int) -> None:
        """A client has come."""

    def sent(self, conn: int, data: bytes) -> None:
        """It has sent *data*."""

    def received(self, conn: int, data: bytes, *, end: str | None = None) -> None:
        """*data* came for it, or (*end*) the end of the connection."""

    def closed(self, conn: int) -> None:
        """The client has left."""
