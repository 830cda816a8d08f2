"""Replaying a recording: which recorded reply a request gets.

Numbers that the agent or the client makes up are bound anew: the ``id`` of a request, that of a
synchronisation, file handles and process ids.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from qgasim.conversation.exchanges import SYNCHRONISING, Key, Recorded, key_of
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
#: So much of a request is shown.
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
    #: The place of the exchange that gave it out.
    index: int


class Player:
    """Answers requests from a recording.

    Strictly: the requests must come as they were recorded, one after the other. Loosely: a request gets
    the reply to the next recorded one with the same command and arguments, after the last one that again.

    Args:
        exchanges: of the recording, in order.
        dialect: of the recorded agent.
        is_strict: whether the order matters.
    """

    def __init__(
        self, exchanges: Sequence[Recorded], dialect: Dialect, *, is_strict: bool = False
    ) -> None:
        self._exchanges = exchanges
        self._dialect = dialect
        self._is_strict = is_strict
        #: Why the latest request had no recorded reply.
        self.mismatch = ""
        #: How many requests had none.
        self.missed = 0
        self._by_key: dict[Key, list[int]] = {}
        for index, recorded in enumerate(exchanges):
            self._by_key.setdefault(recorded.key, []).append(index)
        #: The place of the next exchange, strictly; for each request and the number in it, loosely.
        self._next = 0
        self._next_of: dict[tuple[Key, int], int] = {}
        self._bound: dict[str, dict[int, _Bound]] = {"handle": {}, "pid": {}}

    @property
    def is_over(self) -> bool:
        """Whether all that was recorded has been asked for, strictly."""
        return self._next >= len(self._exchanges)

    def play(self, request: Message) -> Played | None:
        """Return what *request* is answered with; None: the recording does not say (see `mismatch`)."""
        command, arguments = read_request(request)
        numbers: dict[str, int] = {}
        opened = -1
        for name, bound in self._bound.items():
            number = arguments.get(name)
            if type(number) is int and (found := bound.get(number)) is not None:
                numbers[name] = found.recorded
                opened = found.index
        key = key_of(request, numbers)
        index = self._find_strictly(key) if self._is_strict else self._find(key, opened)
        if index is None:
            self.missed += 1
            self._explain(request)
            return None
        recorded = self._exchanges[index]
        self._next = index + 1
        reply = self._bind(command, index, recorded.reply)
        if command in SYNCHRONISING and type(number := arguments.get("id")) is int:
            reply = _RETURNED.sub(b"%d" % number, reply, count=1)
        if shown := show_id(request, self._dialect):
            reply = _with_id(reply, shown.encode("ascii"))
        return Played(reply, recorded.delay, recorded.end)

    def _find_strictly(self, key: Key) -> int | None:
        if self.is_over or self._exchanges[self._next].key != key:
            return None
        return self._next

    def _find(self, key: Key, opened: int) -> int | None:
        """Return the place of the next exchange with *key* after *opened*; the last again if there is no next."""
        places = self._by_key.get(key)
        if places is None or places[-1] < opened:
            return None
        start = self._next_of.get((key, opened))
        if start is None:
            start = bisect_right(places, opened)
        position = min(start, len(places) - 1)
        if len(self._next_of) >= BOUND_LIMIT:
            self._next_of.clear()
        self._next_of[key, opened] = position + 1
        return places[position]

    def _bind(self, command: str | None, index: int, reply: bytes) -> bytes:
        """Give a number that a reply gives out a meaning; another one if it has one already."""
        name = _OPENING.get(command or "")
        found = _NUMBER[name].search(reply) if name is not None else None
        if name is None or found is None:
            return reply
        recorded, bound = int(found[0]), self._bound[name]
        number = recorded if recorded not in bound else max(bound) + 1
        if len(bound) >= BOUND_LIMIT:
            del bound[next(iter(bound))]
        bound[number] = _Bound(recorded, index)
        return reply[: found.start()] + b"%d" % number + reply[found.end() :]

    def _explain(self, request: Message) -> None:
        found = _show(request)
        if not self._is_strict:
            self.mismatch = f"the recording has no reply to {found}"
        elif self.is_over:
            self.mismatch = f"the recording is over, found {found}"
        else:
            expected = self._exchanges[self._next]
            self.mismatch = f"{expected.place}: expected {_show(expected.request)}, found {found}"


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
