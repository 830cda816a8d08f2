"""Which of the requests that an agent was sent a line of its replies answers."""

import re
from collections import deque
from typing import Final, Generic, TypeVar

from msgspec import Struct

from qgasim.dialect import Dialect
from qgasim.qapi.envelope import show_id
from qgasim.qapi.registry import Table
from qgasim.wire import JsonValue, Message

__all__ = ["SYNCHRONISING", "Pairing", "is_answered"]

T = TypeVar("T")

#: The commands whose argument ``id`` is a number that the client makes up, and gets back.
SYNCHRONISING: Final = ("guest-sync", "guest-sync-delimited")
#: What a number returned looks like.
_NUMBER: Final = re.compile(rb'\xff?+\{"return": (-?[0-9]++)[,}]')


class Waiting(Struct, Generic[T]):
    """A request that waits for its reply."""

    item: T
    #: Its command; None: it is not valid.
    name: str | None
    #: Whether its success is answered.
    is_answered: bool
    #: The number that it synchronises by, as it comes back; None: another command.
    number: bytes | None = None
    #: The member ``id`` of its reply; empty: it has none.
    shown_id: bytes = b""


class Pairing(Generic[T]):
    """The requests that wait for a reply: an agent answers one after the other.

    Some are never answered: commands that succeed in silence (guest-shutdown), and all that an agent lost
    before a synchronisation. Some replies answer no request that waits: at a virtio-serial port, those to a client that has
    left come to the next one. Only what tells them apart is looked at: a synchronisation's number and byte, an ``id``.

    Args:
        table: the agent's commands.
        dialect: how it writes replies.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self.table = table
        self._dialect = dialect
        self._waiting: deque[Waiting[T]] = deque()
        #: Whether the agent has echoed an ``id``: one that does not is none of QEMU's.
        self._echoes = False

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def add(self, message: Message, item: T) -> None:
        """Let *message*, called *item*, wait for its reply."""
        name = message.get("execute") if type(message) is dict else None
        waiting = Waiting(
            item, name if type(name) is str else None, is_answered(message, self.table)
        )
        if type(message) is dict:
            if "id" in message:
                waiting.shown_id = show_id(message, self._dialect).encode("ascii")
            if waiting.name in SYNCHRONISING:
                waiting.number = _find_number(message)
        self._waiting.append(waiting)

    def take(self, line: bytes) -> tuple[list[T], T | None]:
        """Return the requests that are not answered any more, and the one that *line* answers.

        *line* may be the beginning of a reply. None: no request that waits; then all of them still do.
        """
        for place, waiting in enumerate(self._waiting):
            if self._may_answer(waiting, line):
                passed = [self._waiting.popleft().item for _ in range(place)]
                return passed, self._waiting.popleft().item
        return [], None

    def take_all(self) -> list[T]:
        """Return all that wait: none will be answered any more."""
        items = [waiting.item for waiting in self._waiting]
        self._waiting.clear()
        return items

    def _may_answer(self, waiting: Waiting[T], line: bytes) -> bool:
        if waiting.shown_id:
            has_id = line.endswith(b", %b}\n" % waiting.shown_id) or line.startswith(
                b"{%b, " % waiting.shown_id
            )
            self._echoes |= has_id
            if self._echoes and not has_id and line.endswith(b"\n"):
                return False
        # Only guest-sync-delimited begins so: it is what a client finds its place by.
        if line.startswith(b"\xff") and waiting.name != "guest-sync-delimited":
            return False
        if b'"error"' in line[:200]:
            return True
        if waiting.number is not None:
            returned = _NUMBER.match(line)
            # The line may be cut before its number.
            is_cut = returned is None and not line.endswith(b"\n")
            return is_cut or (returned is not None and returned[1] == waiting.number)
        return waiting.is_answered


def is_answered(message: Message, table: Table) -> bool:
    """Return whether *message* is answered if it succeeds, by an agent with the commands of *table*."""
    name = message.get("execute") if type(message) is dict else None
    entry = table.get(name) if type(name) is str else None
    return entry is None or entry.command.replies


def _find_number(message: dict[str, JsonValue]) -> bytes | None:
    arguments = message.get("arguments")
    number = arguments.get("id") if type(arguments) is dict else None
    return b"%d" % number if type(number) is int else None
