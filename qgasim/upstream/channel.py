"""A channel whose agent is elsewhere: a real one on a socket, or a recording of one. No I/O.

To its driver it is a channel as any other. What clients send is read as the agent's release reads it, so that
faults and journal know the requests, and is passed on byte by byte. Replies come when they come: they are
delivered in the order of the requests, changed by the faults that fired.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from qgasim.agent import Agent
from qgasim.agent.dispatch import find_answer, resolve
from qgasim.agent.state import new_state
from qgasim.agent.stubs import write_stubbed
from qgasim.effects import Close, Effect
from qgasim.errors import CommandError
from qgasim.faults.base import join_bytes
from qgasim.qapi.envelope import show_id, write_error
from qgasim.simulation.channel import QUEUE_LIMIT, Channel, Sender
from qgasim.upstream.replies import LINE_LIMIT, Replies, Request
from qgasim.wire import Message

__all__ = ["Link", "Recorder", "UpstreamChannel"]

#: How many requests may wait for their replies before no more are read.
REQUESTS_LIMIT: Final = 10_000
#: Where a request can end, with the white space behind it.
_PIECE: Final = re.compile(rb"[^}\n]*+(?:[}\n][ \t\r\n]*+)?")


class Link(Protocol):
    """The way to the agent behind."""

    @property
    def is_full(self) -> bool:
        """Return whether the agent does not read: what is passed on has to wait."""
        ...

    def connect(self) -> None:
        """Connect for the client that has come."""

    def ask(self, data: bytes, requests: "Sequence[Request]") -> None:
        """Pass on *data*, which has the ends of *requests* in it."""

    def disconnect(self) -> None:
        """Hang up: the client has left."""

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
        self._replies = Replies(agent.commands.table)
        #: All that is not yet delivered, in order.
        self._requests = self._replies.requests
        #: What was sent and is not yet read: faults make it wait.
        self._waiting: deque[tuple[Sender, bytes]] = deque()
        #: What was read and not yet passed on: the beginning of a request.
        self._raw = bytearray()
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
        if self.link.is_full or len(self._requests) >= REQUESTS_LIMIT:
            return True
        return bool(self._waiting) and sum(len(data) for _, data in self._waiting) >= QUEUE_LIMIT

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
        return (
            bool(self._requests or self._waiting)
            or self._deferred is not None
            or self._end is not None
            or self.agent.guest.is_busy
        )

    def next_event(self) -> int | None:
        """Return the uptime at which `wake` should next be called; None: only when told."""
        if self._deferred is None and self._has_output:
            return 0
        event = self.agent.guest.next_event()
        if self._deferred is None:
            return event
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

    def lose_client(self, *, unread: bytes | None) -> None:
        """Hang up on the agent, too; nothing that was asked is answered any more."""
        self._replies.lose()
        while self._requests:
            self._finish(self._requests.popleft())
        self._waiting.clear()
        self._deferred = None
        self.link.disconnect()
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
        """End a request: let faults have its reply, and tell observers of it."""
        disturbance = request.disturbance
        agent = self.agent
        if disturbance is not None:
            disturbance.exchange.now = agent.guest.clock.uptime()
            request.effects = deque(agent.injector.end(disturbance, list(request.effects)))
        if request.is_unasked:
            return
        effects = request.effects
        first = effects[0] if len(effects) == 1 else None
        reply = request.start or (first if type(first) is bytes else join_bytes(list(effects)))
        follow(agent, request.message, reply)
        if not agent.observers:
            return
        self.sender = request.sender
        if disturbance is not None and disturbance.firing:
            for observer in self._observers:
                observer.fault_fired(disturbance.fired)
        agent.tell(request.message, reply)
        if request.length > len(reply):
            for observer in self._observers:
                observer.reply_was(request.length)
        self.sender = None

    # -- what clients send -----------------------------------------------------------------------

    def _forward(self, sender: Sender, data: bytes) -> None:
        """Read what a client has sent, and pass it on."""
        agent = self.agent
        reader = agent.state.reader
        if agent.injector.is_idle and not agent.commands.stubs and not self._raw:
            requests = [Request(message, sender) for message in reader.feed(data)]
            self._requests += requests
            for request in requests:
                self._replies.ask(request)
            self.link.ask(data, requests)
            return
        position = 0
        while position < len(data):
            found = _PIECE.match(data, position)
            assert found
            position = found.end()
            self._raw += found[0]
            messages = list(reader.feed(found[0]))
            if messages or reader.is_between_messages:
                requests = [self._take_up(message, sender) for message in messages]
                raw = bytes(self._raw)
                self._raw.clear()
                self._pass_on(raw, requests)
            if self._replies.has_disturbed and position < len(data):
                self._waiting.appendleft((sender, data[position:]))
                return

    def _take_up(self, message: Message, sender: Sender) -> Request:
        """Return a request with what faults and stubs make of it."""
        request = Request(message, sender)
        stubbed = find_stubbed(self.agent, message)
        if self.agent.injector.concerns(message):
            request.disturbance = self.agent.injector.begin(message)
            answered = request.disturbance.answered
            if answered is not None:
                request.effects, request.is_done = deque(answered), True
        if stubbed is not None and not request.is_done:
            request.effects, request.is_done = deque([stubbed]), True
        return request

    def _pass_on(self, data: bytes, requests: list[Request]) -> None:
        """Pass on *data*, unless all *requests* in it are answered already."""
        self._requests += requests
        if requests and all(request.is_done for request in requests):
            return
        for request in requests:
            request.is_replaced = request.is_done
            self._replies.ask(request)
        self.link.ask(data, requests)

    # -- what comes back -------------------------------------------------------------------------

    def answered(self, data: bytes) -> None:
        """Take bytes from the agent behind; the driver is then to be poked."""
        if self.recorder is not None:
            self.recorder.received(self.connections, data)
        if not self._replies.take(data):
            text = f"more than {LINE_LIMIT >> 20} MiB without a newline: this is no agent"
            self.link.disconnect()
            self.ended(Close("reset"), text)

    def answer(self, request: Request, effects: Iterable[Effect]) -> None:
        """Take all that *request* is answered with, whatever was asked before it."""
        self._replies.settle(request, effects)

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


def follow(agent: Agent, message: Message, reply: bytes) -> None:
    """Note what a reply says of the guest's state, on which faults and findings depend."""
    name = message.get("execute") if type(message) is dict else None
    if type(name) is not str or not name.startswith("guest-fsfreeze-"):
        return
    is_error = b'"error"' in reply
    is_status = name == "guest-fsfreeze-status"
    if b'"frozen"' in reply or (name.startswith("guest-fsfreeze-freeze") and not is_error):
        if not agent.is_frozen:
            agent.freeze()
    elif agent.is_frozen and not is_error and (is_status or name == "guest-fsfreeze-thaw"):
        agent.thaw()


def find_stubbed(agent: Agent, message: Message) -> bytes | None:
    """Return the reply of a stub; None: the agent is asked."""
    commands, dialect = agent.commands, agent.dialect
    name = message.get("execute") if type(message) is dict else None
    stubs = commands.stubs.get(name) if type(name) is str else None
    if not stubs or type(message) is not dict:
        return None
    shown_id = show_id(message, dialect)
    try:
        entry, arguments = resolve(message, commands.table, commands.refused, dialect)
        answer = find_answer(stubs, entry, arguments)
    except CommandError as error:
        return write_error(error, shown_id)
    return None if answer is None else write_stubbed(answer, entry, shown_id)


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
