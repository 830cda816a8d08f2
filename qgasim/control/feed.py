"""The feed: what happened to all guests, in one order, for clients that read along.

A client is a position in it, so one that does not read costs nothing, and loses what has left the feed.
"""

from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final, Literal

import msgspec
import trio
from msgspec import Struct

from qgasim.http.answers import write_json
from qgasim.http.events import COMMENT, write_event
from qgasim.simulation.journal import Entry, Exchange, Journal

__all__ = ["Counts", "Feed", "Record", "Recorder", "Told", "describe_entry"]

#: How much is kept in all.
LIMIT: Final = 10_000
SIZE_LIMIT: Final = 64 << 20
#: How many events are sent at once.
BATCH: Final = 256
#: How long is waited for more after some were sent, in seconds: being woken for each costs more than all else.
PAUSE: Final = 0.025
#: After how long a stream on which nothing happens says that it is still there, in seconds.
KEEP_ALIVE: Final = 15.0
#: How many names of faults are counted separately for a guest.
NAMES: Final = 100

Kind = Literal["entry", "update", "created", "deleted", "reset", "patched"]


class Counts(Struct):
    """What was counted of a guest since it was created."""

    #: Requests that the agent has read.
    requests: int = 0
    #: How many were answered by an error.
    errors: int = 0
    #: Clients that have connected.
    connections: int = 0
    #: How often faults fired, by name.
    faults: Counter[str] = msgspec.field(default_factory=Counter[str])


class Told(Struct, frozen=True):
    """An entry of the journal of a guest in another process, as that tells it."""

    said: dict[str, Any]
    size: int


class Record(Struct, gc=False):
    """Something that happened."""

    kind: Kind
    guest: str
    #: The number of the entry in its guest's journal; 0: it is none.
    number: int
    entry: Entry | Told | None


class Feed:
    """What happened, as much as is kept; clients wait for more.

    Args:
        start: tells this feed's numbers from those of another process.
    """

    def __init__(self, start: str) -> None:
        self._start = start
        self._records: deque[Record] = deque()
        self._size = 0
        #: The number of the latest record, from 1.
        self.latest = 0
        self._woken: trio.Event | None = None
        self._readers = 0
        self._unread: trio.Event | None = None

    def add(self, record: Record) -> None:
        """Put down what happened, and wake the requests that wait for it."""
        records = self._records
        records.append(record)
        self.latest += 1
        if record.entry is not None:
            self._size += record.entry.size
        while len(records) > LIMIT or (self._size > SIZE_LIMIT and len(records) > 1):
            gone = records.popleft()
            if gone.entry is not None:
                self._size -= gone.entry.size
        if self._woken is not None:
            self._woken.set()
            self._woken = None

    async def wait(self) -> None:
        """Wait until something happens."""
        if self._woken is None:
            self._woken = trio.Event()
        await self._woken.wait()

    async def wait_until_unread(self) -> None:
        """Wait until no client reads along."""
        if self._readers:
            if self._unread is None:
                self._unread = trio.Event()
            await self._unread.wait()

    def position(self, event_id: str | None) -> int:
        """Return where a client stands that has read *event_id* last; None: at the end.

        Of another process, or none of ours: at the beginning, so that nothing is missed.
        """
        if event_id is None:
            return self.latest
        start, _, number = event_id.rpartition("-")
        is_ours = start == self._start and number.isdecimal() and len(number) < 20
        return int(number) if is_ours and int(number) <= self.latest else 0

    async def stream(
        self, position: int, guest: str | None = None, *, with_lines: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield events from *position* on, of all guests or of one; that ends when the guest is deleted."""
        self._readers += 1
        try:
            async with aclosing(self._follow(position, guest, with_lines=with_lines)) as following:
                async for events in following:
                    yield events
        finally:
            self._readers -= 1
            if not self._readers and self._unread is not None:
                self._unread.set()
                self._unread = None

    async def _follow(
        self, position: int, guest: str | None, *, with_lines: bool
    ) -> AsyncGenerator[bytes, None]:
        while True:
            first = self.latest - len(self._records) + 1
            if position + 1 < first:
                data = b'{"count":%d}' % (first - 1 - position)
                position = first - 1
                yield write_event("lost", data, f"{self._start}-{position}")
            start = position + 1 - first
            records = self._records
            batch = [records[at] for at in range(start, min(start + BATCH, len(records)))]
            parts: list[bytes] = []
            is_over = False
            for record in batch:
                position += 1
                if guest is None or record.guest == guest:
                    number = f"{self._start}-{position}"
                    kind, data = record.kind, _write(record, with_lines=with_lines)
                    parts.append(write_event(kind, data, number))
                    if guest is not None and kind == "deleted":
                        is_over = True
                        break
            if parts:
                yield b"".join(parts)
            if is_over:
                return
            # The first of many is sent at once, those that follow it together.
            await trio.sleep(PAUSE if batch else 0)
            if position == self.latest:
                with trio.move_on_after(KEEP_ALIVE) as silence:
                    await self.wait()
                if silence.cancelled_caught:
                    yield COMMENT


class Recorder:
    """Puts what a guest's journal notes into the feed, and counts."""

    def __init__(self, feed: Feed, guest: str) -> None:
        self._feed = feed
        self._guest = guest
        self.counts = Counts()
        #: The number of the latest entry.
        self._latest = 0

    def follow(self, journal: Journal) -> None:
        """Note what *journal* notes from now on, in place of an earlier one."""
        self._latest = journal.count
        journal.on_entry = self.note

    def tell(self, kind: Kind) -> None:
        """Put down what was done with the guest."""
        self._feed.add(Record(kind, self._guest, 0, None))

    def note(self, number: int, entry: Entry) -> None:
        """Put down an entry; one that was put down before: something of it has changed."""
        if number <= self._latest:
            self._feed.add(Record("update", self._guest, number, entry))
            return
        self._latest = number
        self._feed.add(Record("entry", self._guest, number, entry))
        counts = self.counts
        if isinstance(entry, Exchange):
            counts.requests += 1
            if entry.reply.startswith((b'{"error"', b'\xff{"error"')):
                counts.errors += 1
            for name in entry.faults if entry.fired else ():
                is_known = name in counts.faults or len(counts.faults) < NAMES
                counts.faults[name if is_known else "others"] += 1
        elif entry.kind == "connect":
            counts.connections += 1


def describe_entry(number: int, entry: Entry, *, with_line: bool) -> dict[str, object]:
    """Return what JSON says of an entry of a journal."""
    said: dict[str, object] = {"number": number, **entry.to_json()}
    if with_line:
        said["line"] = str(entry)
    return said


def _write(record: Record, *, with_lines: bool) -> bytes:
    said: dict[str, object] = {"guest": record.guest}
    if isinstance(record.entry, Told):
        told = record.entry.said
        said |= {name: told[name] for name in told if with_lines or name != "line"}
    elif record.entry is not None:
        said |= describe_entry(record.number, record.entry, with_line=with_lines)
    return write_json(said)
