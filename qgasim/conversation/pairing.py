"""Which of the requests that an agent was sent a line of its replies answers."""

from collections import deque
from typing import Generic, TypeVar

from qgasim.qapi.registry import Table
from qgasim.wire import Message

__all__ = ["Pairing", "is_answered"]

T = TypeVar("T")


class Pairing(Generic[T]):
    """The requests that wait for a reply: an agent answers one after the other.

    Some are never answered: commands that succeed in silence (guest-shutdown), and all that an agent lost
    before a synchronisation.

    Args:
        table: the agent's commands.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._waiting: deque[tuple[Message, T]] = deque()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def add(self, message: Message, item: T) -> None:
        """Let *message*, called *item*, wait for its reply."""
        self._waiting.append((message, item))

    def take(self, line: bytes) -> tuple[list[T], T | None]:
        """Return the requests that are not answered any more, and the one that *line* answers.

        *line* may be the beginning of a reply. None: no request that waits.
        """
        passed: list[T] = []
        while self._waiting:
            message, item = self._waiting.popleft()
            if self._may_answer(message, line):
                return passed, item
            passed.append(item)
        return passed, None

    def take_all(self) -> list[T]:
        """Return all that wait: none will be answered any more."""
        items = [item for _, item in self._waiting]
        self._waiting.clear()
        return items

    def _may_answer(self, message: Message, line: bytes) -> bool:
        name = message.get("execute") if type(message) is dict else None
        if line.startswith(b"\xff"):
            # Only guest-sync-delimited begins so: it is what a client finds its place by.
            return name == "guest-sync-delimited"
        return is_answered(message, self.table) or b'"error"' in line[:200]


def is_answered(message: Message, table: Table) -> bool:
    """Return whether *message* is answered if it succeeds, by an agent with the commands of *table*."""
    name = message.get("execute") if type(message) is dict else None
    entry = table.get(name) if type(name) is str else None
    return entry is None or entry.command.replies
