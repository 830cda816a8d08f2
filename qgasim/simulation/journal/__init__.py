"""The journal: what clients asked, what was answered, and what happened meanwhile.

It is written while requests are served, so it keeps references then and makes words only when
somebody reads it.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, cast

from qgasim.effects import Effect
from qgasim.errors import CommandError
from qgasim.guest.units import SECOND
from qgasim.simulation.journal.entries import (
    EFFECTS,
    Entry,
    Exchange,
    Note,
    Waiting,
    describe,
    name_of,
    show_bytes,
    show_time,
)
from qgasim.simulation.journal.keeping import KEPT, clip
from qgasim.simulation.timeline import Event
from qgasim.states import State, state_of
from qgasim.wire import JsonValue, Message

if TYPE_CHECKING:
    from qgasim.simulation.channel import Channel

__all__ = [
    "Entry",
    "Exchange",
    "Journal",
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
#: How many pieces of what waits are told apart.
ARRIVALS: Final = 1000


class Journal:
    """Keeps account of a channel from now on; there is one of a channel at a time.

    The latest *limit* entries are kept, and less if they are large; *dropped* says how many are
    gone.
    """

    def __init__(self, channel: "Channel", limit: int = LIMIT) -> None:
        self.channel = channel
        self.limit = limit
        #: How many entries are no longer there.
        self.dropped = 0
        agent = channel.agent
        self._clock = agent.guest.clock
        self._entries: deque[Entry] = deque()
        self._size = 0
        self._last: Exchange | None = None
        # How many clients have come, and whether the last is there.
        self._connection = 0
        self._is_connected = True
        # Who sent what is executed now, and when; None: who is there, and now.
        self._sender: tuple[int, int] | None = None
        self._held_sender = (0, 0)
        self._arrivals: deque[tuple[int, int, int]] = deque()
        # What is not put down yet: it belongs behind the exchange that caused it.
        self._later: list[Note] = []
        self._change: tuple[object, str] | None = None
        self._paths: dict[int, str] = {}
        self._is_frozen = agent.is_frozen
        self._offset = self._clock.offset
        self._state: State = state_of(agent)
        agent.journal = self
        agent.injector.struck = ()
        agent.on_change = self._watched(agent.on_change)
        agent.guest.power.on_change = self._watched(agent.guest.power.on_change)

    # -- reading ---------------------------------------------------------------------------------

    @property
    def entries(self) -> list[Entry]:
        """Everything, in the order in which it happened."""
        return list(self._entries)

    @property
    def exchanges(self) -> list[Exchange]:
        """The requests that the agent has read."""
        return [entry for entry in self.entries if isinstance(entry, Exchange)]

    @property
    def waiting(self) -> list[Waiting]:
        """What was sent, and is not yet read by the agent."""
        data, parts = self.channel.waiting, list(self._arrivals)
        return [
            Waiting(sent, connection, part)
            for (_, connection, sent), part in zip(parts, _cut_up(data, parts), strict=False)
            if part
        ]

    def commands(self) -> list[str]:
        """Give the commands that were asked for, in order."""
        return [e.command for e in self.exchanges if e.command is not None]

    def to_jsonl(self) -> str:
        """Write a line of JSON for each entry."""
        return "".join(json.dumps(entry.to_json()) + "\n" for entry in self.entries)

    def drawn(self) -> str:
        """Write the faults that a nemesis has drawn until now as in a scenario, to be cut down by hand."""
        return self.channel.drawn(self._clock.uptime())

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

    # -- writing: called by agent and channel -------------------------------------------------------

    def connected(self) -> None:
        """Note that a client has come."""
        self._connection += 1
        self._is_connected = True
        now = self._clock.uptime()
        injector = self.channel.agent.injector
        struck, injector.struck = injector.struck, ()
        marks = tuple(self.channel.leftovers())
        self._add(Note(at=now, connection=self._connection, kind="connect", marks=marks))
        for fault in struck:
            text = f"{name_of(fault)} strikes #{self._connection}"
            self._add(Note(at=now, kind="event", text=text))

    def disconnected(self, *, is_unread: bool) -> None:
        """Note that the client has left, and whether it left something unread."""
        marks = ["unread bytes"] if is_unread else []
        if self.channel.agent.has_half_request:
            marks.append("half a request")
        self._is_connected = False
        now, number = self._clock.uptime(), self._connection
        self._add(Note(at=now, connection=number, kind="disconnect", marks=tuple(marks)))

    def queued(self, length: int, *, is_first: bool) -> None:
        """Note that so many bytes have to wait, after those that wait already."""
        if is_first:
            self._arrivals.clear()
        arrivals = self._arrivals
        if len(arrivals) >= ARRIVALS and arrivals[-1][1] == self._connection:
            before, connection, sent = arrivals[-1]
            arrivals[-1] = (before + length, connection, sent)
        else:
            arrivals.append((length, self._connection, self._clock.uptime()))

    def unqueue(self, data: bytes) -> Iterator[bytes]:
        """Give *data*, all that waited, in the parts in which it came."""
        arrivals, self._arrivals = self._arrivals, deque()
        try:
            for part, (_, *sender) in zip(_cut_up(data, list(arrivals)), arrivals, strict=False):
                self._sender = cast("tuple[int, int]", tuple(sender))
                yield part
        finally:
            self._sender = None

    def held(self) -> None:
        """Note that the reply to the last request has to wait."""
        last = self._last
        if last is not None:
            last.replied = None
            self._held_sender = self._sender or (last.connection, last.sent)

    def resumed(self, effects: Iterator[Effect]) -> Iterator[Effect]:
        """Note that what was held goes on; give *effects*, which it is."""
        self._sender = self._held_sender
        last = self._last
        if last is not None and last.reply and self._is_connected:
            last.replied = self._clock.uptime() if last.connection == self._connection else None
        try:
            yield from effects
        finally:
            self._sender = None

    def unsent(self, *, is_cut: bool) -> None:
        """Note that the client is not there to be answered, *is_cut*: in the middle of a reply."""
        self._is_connected = False
        if is_cut and self._last is not None:
            self._last.replied = None

    def swallowed(self, data: bytes) -> None:
        """Note that nobody will read *data*."""
        now = self._clock.uptime()
        self._add(Note(at=now, connection=self._connection, kind="swallowed", data=data[:KEPT]))

    def executed(self, command: str, arguments: dict[str, JsonValue], result: object) -> None:
        """Note that a command has run with success; `record` follows."""
        if command not in EFFECTS or getattr(result, "exited", True) is False:
            return
        path = ""
        if command == "guest-file-open":
            self._paths[cast(int, result)] = str(arguments["path"])
        elif "handle" in arguments:
            path = self._paths.get(cast(int, arguments["handle"]), "")
        self._change = (result, path)

    def record(self, request: Message, reply: bytes) -> None:
        """Put down a request and its reply."""
        agent = self.channel.agent
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
        struck = agent.injector.struck
        if struck:
            agent.injector.struck = ()
        is_silent = False
        if not reply and command is not None and command in agent.table:
            is_silent = not agent.table[command].command.replies
        length = len(reply)
        connection, sent = self._sender or (self._connection, now)
        self._last = exchange = Exchange(
            at=now,
            sent=sent,
            connection=connection,
            command=command,
            request=kept,
            reply=reply if length <= KEPT else reply[:KEPT],
            reply_length=length,
            replied=now if reply and self._is_connected else None,
            is_silent=is_silent,
            was_frozen=self._is_frozen,
            struck=struck,
            change=change,
            size=size + (min(length, KEPT)),
        )
        self._is_frozen = agent.is_frozen
        self._add(exchange)
        if self._later:
            later, self._later = self._later, []
            for note in later:
                self._add(note)

    def happened(self, event: Event) -> None:
        """Note an event."""
        self._offset = self._clock.offset
        self._add(Note(at=self._clock.uptime(), kind="event", text=describe(event)))

    def note(self, text: str) -> None:
        """Put down a remark of one's own."""
        self._add(Note(at=self._clock.uptime(), kind="note", text=text))

    def _watched(self, before: Callable[[], None]) -> Callable[[], None]:
        def on_change() -> None:
            self._look()
            before()

        return on_change

    def _look(self) -> None:
        """Note the guest's state if it is another one."""
        agent = self.channel.agent
        state, before = state_of(agent), self._state
        self._state = state
        # What freezes and thaws is a request, and its effect says so.
        if state == before or {state, before} == {"up", "frozen"} or agent.journal is not self:
            return
        now = self._clock.uptime()
        last = self._entries[-1] if self._entries else None
        if isinstance(last, Note) and last.kind == "state" and last.at == now:
            # A guest that goes down loses its agent first: only where it gets to matters.
            first = last.text.split(" ", 1)[0]
            if first != state:
                last.text = f"{first} → {state}"
                return
        note = Note(at=now, kind="state", text=f"{before} → {state}")
        if agent.injector.struck:
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


def _cut_up(data: bytes, arrivals: list[tuple[int, int, int]]) -> Iterator[bytes]:
    """Cut *data* as it came; bytes whose coming was not noted are the first."""
    position = len(data) - sum(length for length, _, _ in arrivals)
    for number, (length, _, _) in enumerate(arrivals):
        start = 0 if number == 0 else position
        position += length
        yield data[max(start, 0) : max(position, 0)]
