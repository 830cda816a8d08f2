"""A channel whose agent is elsewhere: a real one on a socket, or a recording of one. No I/O.

To its driver it is a channel as any other. What clients send is read as the agent's release reads it, so that
faults and journal know the requests, and is passed on byte by byte. Replies come when they come: they are
delivered in the order of the requests, changed by the faults that fired.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

from msgspec import Struct, field

from qgasim.agent import Agent
from qgasim.agent.dispatch import find_answer, resolve
from qgasim.agent.state import new_state
from qgasim.agent.stubs import write_stubbed
from qgasim.effects import Close, Effect, Wait
from qgasim.errors import CommandError
from qgasim.faults.base import join_bytes
from qgasim.faults.injector import Disturbance
from qgasim.qapi.envelope import show_id, write_error
from qgasim.simulation.channel import QUEUE_LIMIT, Channel, Sender
from qgasim.upstream.pairing import Pairing
from qgasim.wire import Message

__all__ = ["Link", "Request", "UpstreamChannel"]

#: A reply longer than this is passed on as it comes, if no fault has it.
HELD_LIMIT: Final = 1 << 16
#: The longest line that is taken for a reply: one of 48 MiB in base64.
LINE_LIMIT: Final = 80 << 20
#: Where a request can end, with the white space behind it.
_PIECE: Final = re.compile(rb"[^}\n]*+(?:[}\n][ \t\r\n]*+)?")


class Link(Protocol):
    """The way to the agent behind."""

    def connect(self) -> None:
        """Connect for the client that has come."""

    def ask(self, data: bytes, requests: "Sequence[Request]") -> None:
        """Pass on *data*, which has the ends of *requests* in it."""

    def disconnect(self) -> None:
        """Hang up: the client has left."""

    def go_on(self) -> None:
        """Bring more: what came was delivered."""


class Request(Struct, eq=False):
    """A request, from its end to the delivery of its reply."""

    #: None: what came without having been asked for.
    message: Message
    sender: Sender
    #: What is to be delivered, as far as it is there.
    effects: deque[Effect] = field(default_factory=deque[Effect])
    #: Whether nothing more comes.
    is_done: bool = False
    #: What faults do to it.
    disturbance: Disturbance | None = None
    #: Whether its reply, when it comes, is thrown away: a fault has answered.
    is_replaced: bool = False
    #: Whether observers are not told of it: nobody has asked.
    is_unasked: bool = False
    #: The beginning of a reply that was passed on as it came, and its length.
    start: bytes = b""
    length: int = 0


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
        #: Called when there is something to deliver that a driver does not know of.
        self.on_output: Callable[[], None] = lambda: None
        #: Told of all bytes; None: nothing is.
        self.recorder: Recorder | None = None
        #: All that is not yet delivered, in order.
        self._requests: deque[Request] = deque()
        self._pairing: Pairing[Request] = Pairing(agent.commands.table)
        #: What was sent and is not yet read: faults make it wait.
        self._waiting: deque[tuple[Sender, bytes]] = deque()
        #: What was read and not yet passed on: the beginning of a request.
        self._raw = bytearray()
        #: The beginning of a line that came, and the request that it answers if it is passed on already.
        self._line = bytearray()
        self._passing: Request | None = None
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
        """Whether nothing more should be read from the client now."""
        return sum(len(data) for _, data in self._waiting) >= QUEUE_LIMIT

    @property
    def is_flooded(self) -> bool:
        """Whether the link should bring nothing more now: the client does not read."""
        return sum(map(_size, self._requests)) >= QUEUE_LIMIT

    @property
    def is_pending(self) -> bool:
        """Whether something that was asked is not yet answered, and can be."""
        if self._waiting or self._held is not None:
            return True
        return any(request.is_done or self._pairing.replies(request.message) for request in self._requests)

    @property
    def needs_attention(self) -> bool:
        """Whether `wake` may have effects now or by itself later."""
        return (
            bool(self._requests or self._waiting)
            or self._held is not None
            or self._end is not None
            or self.agent.guest.is_busy
        )

    def next_event(self) -> int | None:
        """Return the uptime at which `wake` should next be called; None: only when told."""
        if self._held is None and self._has_output:
            return 0
        event = self.agent.guest.next_event()
        if self._held is None:
            return event
        return self._held[0] if event is None else min(event, self._held[0])

    @property
    def _has_output(self) -> bool:
        first = self._requests[0] if self._requests else None
        if first is None:
            return bool(self._waiting) or self._end is not None
        return first.is_done or bool(first.effects)

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
        if self._held is not None or self._waiting or self._has_disturbed:
            self._waiting.append((sender, data))
            for observer in self._observers:
                observer.queued(len(data))
        else:
            self._forward(sender, data)
        return self._look()

    def lose_client(self, *, unread: bytes | None) -> None:
        """Hang up on the agent, too; nothing that was asked is answered any more."""
        for request in self._pairing.take_all():
            request.is_done = True
        while self._requests:
            self._finish(self._requests.popleft())
        self._waiting.clear()
        self._line.clear()
        self._held = self._passing = None
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
        if not requests and not self.agent.injector.is_idle:
            yield from self.agent.injector.finish()
        self.link.go_on()

    def _finish(self, request: Request) -> None:
        """End a request: let faults have its reply, and tell observers of it."""
        disturbance = request.disturbance
        agent = self.agent
        if disturbance is not None:
            disturbance.exchange.now = agent.guest.clock.uptime()
            request.effects = deque(agent.injector.end(disturbance, list(request.effects)))
        if request.is_unasked or not agent.observers:
            return
        self.sender = request.sender
        if disturbance is not None and disturbance.firing:
            for observer in self._observers:
                observer.fault_fired(disturbance.fired)
        reply = request.start or join_bytes(list(request.effects))
        self._follow(request.message, reply)
        agent.tell(request.message, reply)
        if request.length > len(reply):
            for observer in self._observers:
                observer.reply_was(request.length)
        self.sender = None

    def _follow(self, message: Message, reply: bytes) -> None:
        """Note what a reply says of the guest's state, on which faults and findings depend."""
        name = message.get("execute") if type(message) is dict else None
        if type(name) is not str or not name.startswith("guest-fsfreeze-"):
            return
        is_error, agent = b'"error"' in reply, self.agent
        is_status = name == "guest-fsfreeze-status"
        if b'"frozen"' in reply or (name.startswith("guest-fsfreeze-freeze") and not is_error):
            if not agent.is_frozen:
                agent.freeze()
        elif agent.is_frozen and not is_error and (is_status or name == "guest-fsfreeze-thaw"):
            agent.thaw()

    # -- what clients send -----------------------------------------------------------------------

    @property
    def _has_disturbed(self) -> bool:
        """Whether a request waits that a fault has: those after it wait for its end, as in one agent."""
        return any(r.disturbance is not None and r.disturbance.firing for r in self._requests)

    def _forward(self, sender: Sender, data: bytes) -> None:
        """Read what a client has sent, and pass it on."""
        agent = self.agent
        reader = agent.state.reader
        if agent.injector.is_idle and not agent.commands.stubs and not self._raw:
            self._pass_on(data, [Request(message, sender) for message in reader.feed(data)])
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
            if self._has_disturbed and position < len(data):
                self._waiting.appendleft((sender, data[position:]))
                return

    def _take_up(self, message: Message, sender: Sender) -> Request:
        """Return a request with what faults and stubs make of it."""
        request = Request(message, sender)
        stubbed = self._find_stubbed(message)
        if self.agent.injector.concerns(message):
            request.disturbance = self.agent.injector.begin(message)
            answered = request.disturbance.answered
            if answered is not None:
                request.effects, request.is_done = deque(answered), True
        if stubbed is not None and not request.is_done:
            request.effects, request.is_done = deque([stubbed]), True
        return request

    def _find_stubbed(self, message: Message) -> bytes | None:
        """Return the reply of a stub; None: the agent is asked."""
        commands, dialect = self.agent.commands, self.agent.dialect
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

    def _pass_on(self, data: bytes, requests: list[Request]) -> None:
        """Pass on *data*, unless all *requests* in it are answered already."""
        self._requests += requests
        if requests and all(request.is_done for request in requests):
            return
        for request in requests:
            request.is_replaced = request.is_done
            self._pairing.add(request.message, request)
        self.link.ask(data, requests)

    # -- what comes back -------------------------------------------------------------------------

    def answered(self, data: bytes) -> None:
        """Take bytes from the agent behind; `on_output` is called if they can be delivered."""
        if self.recorder is not None:
            self.recorder.received(self.connections, data)
        start = 0
        while end := data.find(b"\n", start) + 1:
            self._take_line(data[start:end])
            start = end
        if start < len(data):
            self._take_part(data[start:] if start else data)

    def answer(self, request: Request, effects: Iterable[Effect]) -> None:
        """Take all that *request* is answered with, whatever was asked before it."""
        self._pairing.take(b"")
        self._settle(request, effects)

    def ended(self, how: Close, why: str = "") -> None:
        """Note that the agent has hung up, or that there is none, for the reason *why*."""
        if why:
            for observer in self._observers:
                observer.noted(why)
        if self._line:
            self._take_line(b"")
        for request in self._pairing.take_all():
            request.is_done = True
        # What was half read is lost with an agent that was its own server.
        self.agent.state.reader = new_state(self.agent.options, self.agent.dialect).reader
        self._raw.clear()
        if self.recorder is not None:
            end = why or ("EOF" if how.how == "end" else "ConnectionResetError")
            self.recorder.received(self.connections, b"", end=end)
        self._end = how

    def _take_line(self, line: bytes) -> None:
        """Take the end of a line."""
        passing, self._passing = self._passing, None
        if passing is not None:
            self._line.clear()
            passing.length += len(line)
            passing.effects.append(line)
            passing.is_done = True
            return
        if self._line:
            line = bytes(self._line) + line
            self._line.clear()
        request = self._match(line)
        if not request.is_replaced:
            self._settle(request, [line])

    def _take_part(self, part: bytes) -> None:
        """Take a part of a line: pass it on if it is long, and no fault wants the whole."""
        if self._passing is not None:
            self._passing.effects.append(part)
            self._passing.length += len(part)
            return
        self._line += part
        if len(self._line) < HELD_LIMIT:
            return
        if len(self._line) > LINE_LIMIT:
            self.ended(Close("reset"), f"more than {LINE_LIMIT >> 20} MiB without a newline: this is no agent")
            return
        if len(self._line) < 2 * HELD_LIMIT + len(part) and self._next_is_plain():
            start = bytes(self._line)
            self._passing = request = self._match(start)
            self._line.clear()
            request.start, request.length = start[:HELD_LIMIT], len(start)
            request.effects.append(start)

    def _next_is_plain(self) -> bool:
        """Return whether no fault has a reply that is still to come."""
        return all(r.is_done or r.disturbance is None for r in self._requests)

    def _match(self, line: bytes) -> Request:
        """Return the request that a line answers; those that it passes over are done."""
        passed, request = self._pairing.take(line)
        for each in passed:
            each.is_done = True
        if request is None:
            request = Request(None, Sender(self.connections, 0), is_unasked=True)
            place = next((n for n, r in enumerate(self._requests) if not r.is_done), None)
            self._requests.insert(len(self._requests) if place is None else place, request)
        return request

    def _settle(self, request: Request, effects: Iterable[Effect]) -> None:
        request.effects.extend(effects)
        request.is_done = True


class Recorder(Protocol):
    """What writes down all bytes, by the number of the client."""

    def connected(self, conn: int) -> None:
        """A client has come."""

    def sent(self, conn: int, data: bytes) -> None:
        """It has sent *data*."""

    def received(self, conn: int, data: bytes, *, end: str | None = None) -> None:
        """*data* came for it, or (*end*) the end of the connection."""

    def closed(self, conn: int) -> None:
        """It has left."""


def _size(request: Request) -> int:
    return sum(len(effect) for effect in request.effects if not isinstance(effect, Wait | Close))
