"""The requests that an agent elsewhere was sent, and its replies as they come: which is whose."""

from collections import deque
from typing import Final

from msgspec import Struct, field

from qgasim.conversation.pairing import Pairing, is_answered
from qgasim.dialect import Dialect
from qgasim.effects import Close, Effect, Wait
from qgasim.faults.injector import Disturbance
from qgasim.qapi.registry import Table
from qgasim.simulation.channel import Sender
from qgasim.wire import Message

__all__ = ["LINE_LIMIT", "Replies", "Request"]

#: A reply longer than this is passed on as it comes, if no fault has it.
HELD_LIMIT: Final = 1 << 16
#: The longest line that is taken for a reply: one of 48 MiB in base64.
LINE_LIMIT: Final = 80 << 20


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
    #: Whether observers are not told of it: no client has asked.
    is_unasked: bool = False
    #: The beginning of a reply that was passed on as it came, and its length.
    start: bytes = b""
    length: int = 0


class Replies:
    """All that is not yet delivered, in the order of the requests.

    Args:
        table: the agent's commands.
        dialect: how it writes replies.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self.requests: deque[Request] = deque()
        self._pairing: Pairing[Request] = Pairing(table, dialect)
        #: The beginning of a line, and the request that it answers if it is passed on already.
        self._line = bytearray()
        self._passing: Request | None = None

    @property
    def has_output(self) -> bool:
        """Return whether the first request has something to be delivered."""
        first = self.requests[0] if self.requests else None
        return first is not None and (first.is_done or bool(first.effects))

    @property
    def is_idle(self) -> bool:
        """Return whether no reply is under way, not even one that is thrown away."""
        return not (self._pairing or self._line or self._passing)

    @property
    def is_pending(self) -> bool:
        """Return whether a request waits that is to be answered."""
        return any(r.is_done or is_answered(r.message, self._pairing.table) for r in self.requests)

    @property
    def size(self) -> int:
        """How many bytes are to be delivered."""
        return sum(
            len(effect)
            for request in self.requests
            for effect in request.effects
            if not isinstance(effect, Wait | Close)
        )

    @property
    def has_disturbed(self) -> bool:
        """Return whether a request waits that a fault has."""
        return bool(self.requests) and any(
            r.disturbance is not None and r.disturbance.firing for r in self.requests
        )

    def ask(self, request: Request) -> None:
        """Take a request that the agent is sent."""
        self._pairing.add(request.message, request)

    def lose(self) -> None:
        """Expect no replies any more."""
        if self._line:
            self._take_line(b"")
        for request in self._pairing.take_all():
            request.is_done = True
        self._line.clear()
        self._passing = None

    def take(self, data: bytes) -> bool:
        """Take bytes from the agent; return False if they are no agent's."""
        start = 0
        while end := data.find(b"\n", start) + 1:
            self._take_line(data[start:end])
            start = end
        if start < len(data):
            self._take_part(data[start:] if start else data)
        if len(self._line) > LINE_LIMIT:
            self._line.clear()
            return False
        return True

    def _take_line(self, line: bytes) -> None:
        """Take the end of a line."""
        passing, self._passing = self._passing, None
        if passing is not None:
            passing.length += len(line)
            self._settle(passing, line)
            return
        if self._line:
            line = bytes(self._line) + line
            self._line.clear()
        request = self._match(line)
        if not request.is_replaced:
            self._settle(request, line)

    def _take_part(self, part: bytes) -> None:
        """Take a part of a line: pass it on if it is long, and no fault wants the whole."""
        passing = self._passing
        if passing is not None:
            passing.effects.append(part)
            passing.length += len(part)
            return
        is_short = len(self._line) < HELD_LIMIT
        self._line += part
        if is_short and len(self._line) >= HELD_LIMIT and self._are_plain():
            start = bytes(self._line)
            self._line.clear()
            self._passing = request = self._match(start)
            request.start, request.length = start[:HELD_LIMIT], len(start)
            request.effects.append(start)

    def _are_plain(self) -> bool:
        """Return whether no fault has a reply that is still to come."""
        return all(
            r.is_done or (r.disturbance is None and not r.is_replaced) for r in self.requests
        )

    def _match(self, line: bytes) -> Request:
        """Return the request that a line answers; those that it passes over are done."""
        passed, request = self._pairing.take(line)
        for each in passed:
            each.is_done = True
        if request is None:
            request = Request(None, Sender(0, 0), is_unasked=True)
            place = next((n for n, r in enumerate(self.requests) if not r.is_done), None)
            self.requests.insert(len(self.requests) if place is None else place, request)
        return request

    def _settle(self, request: Request, rest: bytes) -> None:
        request.effects.append(rest)
        request.is_done = True
