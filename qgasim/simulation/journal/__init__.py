"""The journal: what clients asked, what was answered, and what happened meanwhile.

It is written while requests are served, so it keeps references then and makes words only when
somebody reads it.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, cast

from msgspec import Struct

from qgasim.agent.observer import Observer
from qgasim.errors import CommandError
from qgasim.faults import Fault
from qgasim.guest.units import SECOND
from qgasim.simulation.journal.entries import (
    EFFECTS,
    Entry,
    Exchange,
    MonitorExchange,
    Note,
    Waiting,
    describe,
    name_of,
    note_monitored,
    show_bytes,
    show_time,
)
from qgasim.simulation.journal.keeping import KEPT, clip
from qgasim.simulation.simulation import Simulation
from qgasim.states import State
from qgasim.wire import JsonValue, Message, encode

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


class Journal(Observer):
    """Keeps account of a simulation from now on; a simulation has one journal at a time.

    The latest *limit* entries are kept, and less if they are large; *dropped* says how many are
    gone.
    """

    def __init__(self, simulation: Simulation, limit: int = LIMIT) -> None:
        self.simulation = simulation
        self.limit = limit
        #: How many entries are no longer there.
        self.dropped = 0
        agent = self._agent = simulation.agent
        self._channel = simulation.channel
        self._clock = simulation.guest.clock
        self._entries: deque[Entry] = deque()
        self._size = 0
        self._last: Exchange | None = None
        self._last_number = 0
        self._is_connected = True
        # What is not put down yet: it belongs behind the exchange that caused it.
        self._later: list[Note] = []
        self._change: tuple[object, str] | None = None
        self._fired: tuple[Fault, ...] = ()
        self._paths: dict[int, str] = {}
        #: Called with the number of each entry that is put down, and again when something of it changes.
        self.on_entry: Callable[[int, Entry], None] | None = None
        self._is_frozen: bool = agent.is_frozen
        self._offset = self._clock.offset
        self._state: State = simulation.guest.state
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
        entries: list[Entry] = self.entries
        left_out = self.dropped
        if last is not None and last < len(entries):
            left_out += len(entries) - last
            entries = entries[len(entries) - last :]
        head = self.drawn().splitlines()
        head += [f"({left_out} earlier entries)"] if left_out else []
        return "\n".join([*head, *map(str, entries), *map(str, self.waiting)])

    # -- writing ---------------------------------------------------------------------------------

    def connected(self) -> None:
        """Note that a client has come."""
        self._is_connected = True
        now, number = self._clock.uptime(), self._channel.connections
        fired, self._fired = self._fired, ()
        marks = tuple(self._channel.leftovers())
        self._add(Note(at=now, connection=number, kind="connect", marks=marks))
        for fault in fired:
            text = f"{name_of(fault)} strikes #{number}"
            self._add(Note(at=now, kind="event", text=text))

    def disconnected(self, *, is_unread: bool) -> None:
        """Note that the client has left, and whether it left something unread."""
        marks = ["unread bytes"] if is_unread else []
        if self._agent.has_half_request:
            marks.append("half a request")
        self._is_connected = False
        now, number = self._clock.uptime(), self._channel.connections
        self._add(Note(at=now, connection=number, kind="disconnect", marks=tuple(marks)))

    def held(self) -> None:
        """Note that the reply to the last request has to wait."""
        if self._last is not None:
            self._last.replied = None

    def resumed(self) -> None:
        """Note that what was held goes on."""
        last = self._last
        if last is not None and last.reply and self._is_connected:
            is_there = last.connection == self._channel.connections
            last.replied = self._clock.uptime() if is_there else None
            if self.on_entry is not None:
                self.on_entry(self._last_number, last)

    def unsent(self, *, is_cut: bool) -> None:
        """Note that the client is not there to be answered, *is_cut*: in the middle of a reply."""
        self._is_connected = False
        if is_cut and self._last is not None:
            self._last.replied = None

    def swallowed(self, data: bytes) -> None:
        """Note that *data* is never read."""
        now, number = self._clock.uptime(), self._channel.connections
        self._add(Note(at=now, connection=number, kind="swallowed", data=data[:KEPT]))

    def fault_fired(self, faults: tuple[Fault, ...]) -> None:
        """Keep *faults* for the entry that follows."""
        self._fired = faults

    def executed(self, command: str, arguments: dict[str, JsonValue], result: object) -> None:
        """Note that a command has run with success."""
        if command not in EFFECTS or getattr(result, "exited", True) is False:
            return
        path = ""
        if command == "guest-file-open":
            self._paths[cast(int, result)] = str(arguments["path"])
        elif "handle" in arguments:
            path = self._paths.get(cast(int, arguments["handle"]), "")
        self._change = (result, path)

    def exchanged(self, request: Message, reply: bytes) -> None:
        """Put down a request and its reply."""
        agent = self._agent
        kept: JsonValue | bytes
        command: str | None = None
        if isinstance(request, CommandError):
            kept, size = request.text[:KEPT], min(len(request.text), KEPT)
        else:
            if type(request) is dict:
                name = request.get("execute")
                command = name if type(name) is str else None
            kept, size = clip(request)
        now = self._clock.uptime()
        change: str | tuple[object, str] | None = self._change
        self._change = None
        if agent.is_frozen != self._is_frozen:
            change = "frozen" if agent.is_frozen else "thawed"
        if self._clock.offset != self._offset:
            if command == "guest-set-time":
                step = (self._clock.offset - self._offset) / SECOND
                change = f"clock stepped by {step:+g} s"
            self._offset = self._clock.offset
        fired, self._fired = self._fired, ()
        is_silent = False
        if not reply and command is not None and command in agent.commands.table:
            is_silent = not agent.commands.table[command].command.replies
        length = len(reply)
        sender = self._channel.sender
        self._last = exchange = Exchange(
            at=now,
            sent=now if sender is None else sender.sent,
            connection=self._channel.connections if sender is None else sender.connection,
            command=command,
            request=kept,
            reply=reply if length <= KEPT else reply[:KEPT],
            reply_length=length,
            replied=now if reply and self._is_connected else None,
            is_silent=is_silent,
            was_frozen=self._is_frozen,
            struck=fired,
            change=change,
            size=size + (min(length, KEPT)),
        )
        self._is_frozen = agent.is_frozen
        self._add(exchange)
        self._last_number = self.count
        if self._later:
            later, self._later = self._later, []
            for note in later:
                self._add(note)

    def monitored(self, monitor: int, connection: int, request: Message, reply: bytes) -> None:
        """Put down a request to a monitor, and its reply."""
        asked: JsonValue | bytes
        if isinstance(request, CommandError):
            asked, size = request.text[:KEPT], min(len(request.text), KEPT)
        else:
            asked, size = clip(request)
        now, kept = self._clock.uptime(), reply[:KEPT]
        exchange = note_monitored(monitor, connection, asked, kept, now)
        exchange.reply_length, exchange.size = len(reply), size + len(kept)
        self._add(exchange)

    def told(self, event: str, data: dict[str, JsonValue] | None) -> None:
        """Put down an event that the machine has sent."""
        text = event if data is None else f"{event} {encode(data)}"
        self._add(Note(at=self._clock.uptime(), kind="qmp", text=text, size=len(text)))

    def happened(self, event: Struct) -> None:
        """Note an event."""
        self._offset = self._clock.offset
        self._add(Note(at=self._clock.uptime(), kind="event", text=describe(event)))

    def failed(self, text: str) -> None:
        """Note that the simulator has failed."""
        self.note(f"simulator error: {text}")

    def note(self, text: str) -> None:
        """Put down a remark of one's own."""
        self._add(Note(at=self._clock.uptime(), kind="note", text=text))

    def changed(self) -> None:
        """Note the guest's state if it is another one."""
        state, before = self.simulation.guest.state, self._state
        self._state = state
        # What freezes and thaws is a request, and its effect says so.
        if state == before or {state, before} == {"up", "frozen"}:
            return
        now = self._clock.uptime()
        last = self._entries[-1] if self._entries else None
        if isinstance(last, Note) and last.kind == "state" and last.at == now:
            # A guest that goes down loses its agent first: only where it gets to matters.
            first = last.text.split(" ", 1)[0]
            if first != state:
                last.text = f"{first} → {state}"
                if self.on_entry is not None:
                    self.on_entry(self.count, last)
                return
        note = Note(at=now, kind="state", text=f"{before} → {state}")
        if self._fired:
            self._later.append(note)
        else:
            self._add(note)

    def _add(self, entry: Entry) -> None:
        entries = self._entries
        entries.append(entry)
        self._size += entry.size
        while len(entries) > self.limit or (self._size > KEPT_IN_ALL and len(entries) > 1):
            self._size -= entries.popleft().size
            self.dropped += 1
        if self.on_entry is not None:
            self.on_entry(self.count, entry)
