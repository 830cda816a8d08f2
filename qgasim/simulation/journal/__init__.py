"""The journal: what clients asked, what was answered, and what happened meanwhile.

It is written while requests are served, so it keeps references then and makes words only when
it is read.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from qgasim.simulation.journal.entries import (
    Entry,
    Exchange,
    MonitorExchange,
    Note,
    Waiting,
    describe,
    name_of,
    show_bytes,
    show_time,
)
from qgasim.simulation.journal.lines import Folding
from qgasim.simulation.journal.noting import NoteTaker
from qgasim.simulation.simulation import Simulation

__all__ = [
    "Entry",
    "Exchange",
    "Journal",
    "MonitorExchange",
    "Note",
    "Waiting",
    "describe",
    "name_of",
    "show_bytes",
    "show_time",
]

#: How much is kept in all.
KEPT_IN_ALL: Final = 64 << 20
#: How many entries are kept.
LIMIT: Final = 10_000


class Journal(NoteTaker):
    """Keeps account of a simulation from now on; a simulation has one journal at a time.

    The latest *limit* entries are kept, and less if they are large; *dropped* says how many are
    gone.
    """

    def __init__(self, simulation: Simulation, limit: int = LIMIT) -> None:
        super().__init__(simulation)
        self.limit = limit
        #: How many entries are no longer there.
        self.dropped = 0
        #: Called with the number of each entry that is put down, and again when something of it changes.
        self.on_entry: Callable[[int, Entry], None] | None = None
        self._entries: deque[Entry] = deque()
        self._size = 0
        #: The number of the latest exchange with the agent.
        self._last_number = 0
        if simulation.journal is not None:
            simulation.forget(simulation.journal)
        simulation.journal = self
        simulation.observe(self)

    # -- reading ---------------------------------------------------------------------------------

    @property
    def entries(self) -> list[Entry]:
        """Everything, in the order in which it happened."""
        return list(self._entries)

    @property
    def count(self) -> int:
        """How many entries were put down, those that are gone included: the number of the latest."""
        return self.dropped + len(self._entries)

    def after(self, number: int) -> Iterator[tuple[int, Entry]]:
        """Yield the entries after the one with *number*, with their numbers, which count from 1."""
        entries = self._entries
        # By index: a deque knows the way to its end, an iterator goes all of it.
        for index in range(max(number - self.dropped, 0), len(entries)):
            yield self.dropped + index + 1, entries[index]

    @property
    def exchanges(self) -> list[Exchange]:
        """The requests that the agent has read."""
        return [entry for entry in self.entries if type(entry) is Exchange]

    @property
    def all_exchanges(self) -> list[Exchange]:
        """The requests that the agent and the machine's monitors have read."""
        return [entry for entry in self.entries if isinstance(entry, Exchange)]

    @property
    def waiting(self) -> list[Waiting]:
        """What was sent, and is not yet read by the agent."""
        return [
            Waiting(sender.sent, sender.connection, data) for sender, data in self._channel.waiting
        ]

    def commands(self) -> list[str]:
        """Return the commands that were asked for, in order."""
        return [e.command for e in self.exchanges if e.command is not None]

    def to_jsonl(self) -> str:
        """Write a line of JSON for each entry."""
        return "".join(json.dumps(entry.to_json()) + "\n" for entry in self.entries)

    def drawn(self) -> str:
        """Write the faults that a nemesis has drawn until now as in a scenario, to be cut down by hand."""
        return self.simulation.describe_random_events(self._clock.uptime())

    def transcript(self, last: int | None = None) -> str:
        """Write a line for each entry, or for the *last* ones, to be read by people.

        What a nemesis has drawn comes first.
        """
        folding = Folding()
        lines = [line for entry in self._entries for line in folding.feed(entry)]
        lines += folding.flush()
        shown = lines if last is None else lines[max(len(lines) - last, 0) :]
        left_out = self.dropped + sum(line.entries for line in lines[: len(lines) - len(shown)])
        head = self.drawn().splitlines()
        head += [f"({left_out} earlier entries)"] if left_out else []
        return "\n".join([*head, *map(str, shown), *map(str, self.waiting)])

    # -- writing ---------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Keep an entry, and let go of the oldest if there are too many."""
        entries = self._entries
        entries.append(entry)
        self._size += entry.size
        while len(entries) > self.limit or (self._size > KEPT_IN_ALL and len(entries) > 1):
            self._size -= entries.popleft().size
            self.dropped += 1
        if type(entry) is Exchange:
            self._last_number = self.count
        if self.on_entry is not None:
            self.on_entry(self.count, entry)

    def amended(self, note: Note, before: str) -> None:  # noqa: ARG002
        """Report that the latest entry has changed."""
        if self.on_entry is not None:
            self.on_entry(self.count, note)

    def resumed(self) -> None:
        """Report that the latest exchange has changed: its reply goes now."""
        last = self._last
        before = None if last is None else last.replied
        super().resumed()
        if self.on_entry is not None and last is not None and last.replied != before:
            self.on_entry(self._last_number, last)
