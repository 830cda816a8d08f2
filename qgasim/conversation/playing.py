"""Replaying a recording: which recorded reply a request gets.

Numbers that the agent or the client makes up are bound anew: the ``id`` of a request, that of a
synchronisation, file handles and process ids.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from qgasim.conversation.exchanges import Key, Recorded, form_of, key_of
from qgasim.conversation.pairing import SYNCHRONISING
from qgasim.dialect import Dialect
from qgasim.qapi.envelope import read_request, show_id
from qgasim.wire import Message, encode

__all__ = ["Played", "Player"]

#: The commands that give out a number, and the argument by which it is used later.
_OPENING: Final = {"guest-file-open": "handle", "guest-exec": "pid"}
#: Where the number is in their replies.
_NUMBER: Final = {
    "handle": re.compile(rb'(?<="return": )\d+'),
    "pid": re.compile(rb'(?<="pid": )\d+'),
}
_RETURNED: Final = re.compile(rb'(?<="return": )-?\d+')
#: How many handles and pids are known at a time.
BOUND_LIMIT: Final = 100_000
#: How many mismatches are kept.
MISMATCHES: Final = 100
#: How many characters of a request are shown.
_SHOWN: Final = 200


class Played(Struct, frozen=True):
    """What a request is answered with."""

    #: Empty: nothing.
    reply: bytes
    #: How long that took in the recording, in seconds.
    delay: float
    #: How the connection ended then; None: it did not.
    end: str | None


class _Bound(Struct, frozen=True):
    """A number that a client was given."""

    #: What it was in the recording.
    recorded: int
    #: The place of the exchange that gave it out, and of the one that gave it out again.
    index: int
    end: int
    #: How many were given out before it.
    count: int


class Player:
    """Answers requests from a recording.

    Strictly: the requests must come as they were recorded, one after the other. Loosely: a request gets
    the reply to the next recorded one with the same command and arguments, after the last one that again.

    Args:
        exchanges: of the recording, in order.
        dialect: of the recorded agent.
        is_strict: whether the order matters.
        is_redacted: whether any text may stand where a text was recorded, if no request is the same.
    """

    def __init__(
        self,
        exchanges: Sequence[Recorded],
        dialect: Dialect,
        *,
        is_strict: bool = False,
        is_redacted: bool = False,
    ) -> None:
        self._exchanges = exchanges
        self._dialect = dialect
        self._is_strict = is_strict
        self._is_redacted = is_redacted
        #: Why requests had no recorded reply, the first hundred of them.
        self.mismatches: list[str] = []
        #: The same of the latest.
        self.mismatch = ""
        self._by_key: dict[Key, list[int]] = {}
        for index, recorded in enumerate(exchanges):
            self._by_key.setdefault(recorded.key, []).append(index)
            if is_redacted and (form := form_of(recorded.key)) != recorded.key:
                self._by_key.setdefault(form, []).append(index)
        #: The place of the next exchange, strictly; for each request and the number in it, loosely.
        self._next = 0
        self._next_of: dict[tuple[Key, int], int] = {}
        self._ends = _find_ends(exchanges)
        self._count = 0
        self._bound: dict[str, dict[int, _Bound]] = {"handle": {}, "pid": {}}

    @property
    def is_over(self) -> bool:
        """Return whether all that was recorded has been asked for, strictly."""
        return self._next >= len(self._exchanges)

    def play(self, request: Message) -> Played | None:
        """Return what *request* is answered with; None: the recording does not say (see `mismatch`)."""
        command, arguments = read_request(request)
        numbers: dict[str, int] = {}
        opened: _Bound | None = None
        for name, bound in self._bound.items():
            number = arguments.get(name)
            if type(number) is int and (found := bound.get(number)) is not None:
                numbers[name] = found.recorded
                opened = found
        key = key_of(request, numbers)
        find = self._find_strictly if self._is_strict else self._find
        index = find(key, opened)
        if index is None and self._is_redacted:
            index = find(form_of(key), opened)
        if index is None:
            self.mismatch = self._explain(request)
            if len(self.mismatches) < MISMATCHES:
                self.mismatches.append(self.mismatch)
            return None
        recorded = self._exchanges[index]
        self._next = index + 1
        reply = self._bind(command, index, recorded.reply)
        if command in SYNCHRONISING and type(number := arguments.get("id")) is int:
            reply = _RETURNED.sub(b"%d" % number, reply, count=1)
        if shown := show_id(request, self._dialect):
            reply = _with_id(reply, shown.encode("ascii"))
        return Played(reply, recorded.delay, recorded.end)

    def _find_strictly(self, key: Key, _opened: _Bound | None) -> int | None:
        if self.is_over:
            return None
        expected = self._exchanges[self._next].key
        return self._next if key in (expected, form_of(expected)) else None

    def _find(self, key: Key, opened: _Bound | None) -> int | None:
        """Return the place of the next exchange with *key*, the last again if there is no next.

        *opened*: the number in it, which means something only as long as the recording did not give it out again.
        """
        places = self._by_key.get(key, [])
        first, end = 0, len(places)
        if opened is not None:
            first, end = bisect_left(places, opened.index), bisect_left(places, opened.end)
        if first == end:
            return None
        count = -1 if opened is None else opened.count
        position = min(self._next_of.get((key, count), first), end - 1)
        if len(self._next_of) >= BOUND_LIMIT:
            self._next_of.clear()
        self._next_of[key, count] = position + 1
        return places[position]

    def _bind(self, command: str | None, index: int, reply: bytes) -> bytes:
        """Bind a number in a reply to its meaning; to another one if it has one already."""
        name = _OPENING.get(command or "")
        found = _NUMBER[name].search(reply) if name is not None else None
        if name is None or found is None:
            return reply
        recorded, bound = int(found[0]), self._bound[name]
        number = recorded if recorded not in bound else max(bound) + 1
        if len(bound) >= BOUND_LIMIT:
            del bound[next(iter(bound))]
        self._count += 1
        bound[number] = _Bound(recorded, index, self._ends[index], self._count)
        return reply[: found.start()] + b"%d" % number + reply[found.end() :]

    def _explain(self, request: Message) -> str:
        """Return why there is no reply to *request*."""
        found = _show(request)
        if not self._is_strict:
            return f"the recording has no reply to {found}"
        if self.is_over:
            return f"the recording is over, found {found}"
        expected = self._exchanges[self._next]
        return f"{expected.place}: expected {_show(expected.request)}, found {found}"


def _find_ends(exchanges: Sequence[Recorded]) -> dict[int, int]:
    """Return, for each exchange that gives out a number, the place of the next that gives out the same."""
    ends: dict[int, int] = {}
    latest: dict[tuple[str, bytes], int] = {}
    for index, recorded in enumerate(exchanges):
        name = _OPENING.get(read_request(recorded.request)[0] or "")
        found = _NUMBER[name].search(recorded.reply) if name is not None else None
        if name is None or found is None:
            continue
        ends[index] = len(exchanges)
        before = latest.get((name, found[0]))
        if before is not None:
            ends[before] = index
        latest[name, found[0]] = index
    return ends


def _show(request: Message) -> str:
    """Return a request as a line shows it."""
    command, arguments = read_request(request)
    if command is None:
        return "what is no request"
    text = f"{command} {encode(arguments)}" if arguments else command
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _with_id(reply: bytes, shown: bytes) -> bytes:
    """Return a reply with the member ``id``, as an agent writes it."""
    if reply.startswith(b'{"error"'):
        return b"{" + shown + b", " + reply[1:]
    if reply.endswith(b"}\n"):
        return reply[:-2] + b", " + shown + b"}\n"
    return reply
