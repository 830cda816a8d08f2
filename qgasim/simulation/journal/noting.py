"""What happens to a simulation, as entries: an observer that makes them, and does not say where they go."""

from typing import cast

from msgspec import Struct

from qgasim.agent.observer import Observer
from qgasim.errors import CommandError
from qgasim.faults import Fault
from qgasim.guest.units import SECOND
from qgasim.simulation.journal.entries import (
    EFFECTS,
    Entry,
    Exchange,
    Note,
    describe,
    name_of,
    note_monitored,
    show_span,
)
from qgasim.simulation.journal.keeping import KEPT, clip
from qgasim.simulation.simulation import Simulation
from qgasim.states import State
from qgasim.wire import JsonValue, Message, encode

__all__ = ["NoteTaker"]


class NoteTaker(Observer):
    """Makes an entry of all that happens; a subclass says what becomes of it."""

    #: Whether what is too long to keep is cut.
    clips = True

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        agent = self._agent = simulation.agent
        self._channel = simulation.channel
        self._clock = simulation.guest.clock
        self._latest: Entry | None = None
        self._last: Exchange | None = None
        self._is_connected = True
        #: When the latest client has come.
        self._connected_at = 0
        # What is not put down yet: it belongs behind the exchange that caused it.
        self._later: list[Note] = []
        self._change: tuple[object, str] | None = None
        self._fired: tuple[Fault, ...] = ()
        self._pins: tuple[Fault, ...] = ()
        self._paths: dict[int, str] = {}
        self._is_frozen = agent.is_frozen
        self._offset = self._clock.offset
        self._state: State = simulation.guest.state

    def add(self, entry: Entry) -> None:
        """Take an entry, whose exchange may still be changed while its reply waits."""
        raise NotImplementedError

    def amended(self, note: Note, before: str) -> None:
        """A note that was added has another text now than *before*."""

    def connected(self) -> None:
        """Note that a client has come."""
        self._is_connected = True
        self._connected_at = now = self._clock.uptime()
        number = self._channel.connections
        fired, self._fired = self._fired, ()
        marks = tuple(self._channel.leftovers())
        self._put(Note(at=now, connection=number, kind="connect", marks=marks))
        for fault in fired:
            text = f"{name_of(fault)} fires on #{number}"
            self._put(Note(at=now, kind="event", text=text))

    def client_waits(self) -> None:
        """Note that another client has to wait."""
        now, number = self._clock.uptime(), self._channel.connections
        since = show_span(now - self._connected_at)
        text = f"waits: #{number} has been connected for {since}"
        self._put(Note(at=now, connection=number + 1, kind="wait", text=text))

    def disconnected(self, *, is_unread: bool) -> None:
        """Note that the client has left, and whether it left something unread."""
        marks = ["unread bytes"] if is_unread else []
        if self._agent.has_half_request:
            marks.append("half a request")
        self._is_connected = False
        now, number = self._clock.uptime(), self._channel.connections
        self._put(Note(at=now, connection=number, kind="disconnect", marks=tuple(marks)))

    def deferred(self) -> None:
        """Note that the reply to the last request has to wait."""
        if self._last is not None:
            self._last.replied = None

    def resumed(self) -> None:
        """Note that what was deferred goes on."""
        last = self._last
        if last is not None and last.reply and self._is_connected:
            is_there = last.connection == self._channel.connections
            last.replied = self._clock.uptime() if is_there else None

    def unsent(self, *, is_cut: bool) -> None:
        """Note that the client is not there to be answered, *is_cut*: in the middle of a reply."""
        self._is_connected = False
        if is_cut and self._last is not None:
            self._last.replied = None

    def swallowed(self, data: bytes) -> None:
        """Note that *data* is never read."""
        now, number = self._clock.uptime(), self._channel.connections
        self._put(Note(at=now, connection=number, kind="swallowed", data=data[:KEPT]))

    def fault_fired(self, faults: tuple[Fault, ...]) -> None:
        """Keep *faults* for the entry that follows."""
        self._fired = faults

    def fault_pinned(self, pins: tuple[Fault, ...]) -> None:
        """Keep *pins* for the entry that follows."""
        self._pins = pins

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
        command: str | None = None
        if type(request) is dict:
            name = request.get("execute")
            command = name if type(name) is str else None
        kept, size = self._keep(request)
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
        pins, self._pins = self._pins, ()
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
            reply=reply if length <= KEPT or not self.clips else reply[:KEPT],
            reply_length=length,
            replied=now if reply and self._is_connected else None,
            is_silent=is_silent,
            was_frozen=self._is_frozen,
            fired=fired,
            pins=pins,
            change=change,
            # A pin is at most about as long as the whole reply.
            size=size + min(length, KEPT) + length * len(pins),
        )
        self._is_frozen = agent.is_frozen
        self._put(exchange)
        if self._later:
            later, self._later = self._later, []
            for note in later:
                self._put(note)

    def monitored(self, monitor: int, connection: int, request: Message, reply: bytes) -> None:
        """Put down a request to a monitor, and its reply."""
        asked, size = self._keep(request)
        kept = reply[:KEPT] if self.clips else reply
        exchange = note_monitored(monitor, connection, asked, kept, self._clock.uptime())
        exchange.reply_length, exchange.size = len(reply), size + len(kept)
        self._put(exchange)

    def told(self, event: str, data: dict[str, JsonValue] | None) -> None:
        """Put down an event that the machine has sent."""
        text = event if data is None else f"{event} {encode(data)}"
        self._put(Note(at=self._clock.uptime(), kind="qmp", text=text, size=len(text)))

    def happened(self, event: Struct) -> None:
        """Note an event."""
        self._offset = self._clock.offset
        self._put(Note(at=self._clock.uptime(), kind="event", text=describe(event)))

    def failed(self, text: str) -> None:
        """Note that the simulator has failed."""
        self.note(f"simulator error: {text}")

    def reply_was(self, length: int) -> None:
        """Note how long the latest reply was, of which only the beginning is kept."""
        if self._last is not None:
            self._last.reply_length = length

    def noted(self, text: str) -> None:
        """Put down a remark."""
        self.note(text)

    def note(self, text: str) -> None:
        """Put down a remark of one's own."""
        self._put(Note(at=self._clock.uptime(), kind="note", text=text))

    def changed(self) -> None:
        """Note the guest's state if it is another one."""
        state, before = self.simulation.guest.state, self._state
        self._state = state
        # What freezes and thaws is a request, and its effect says so.
        if state == before or {state, before} == {"up", "frozen"}:
            return
        now = self._clock.uptime()
        last = self._latest
        if isinstance(last, Note) and last.kind == "state" and last.at == now:
            # A guest that goes down loses its agent first: only where it gets to matters.
            first = last.text.split(" ", 1)[0]
            if first != state:
                text, last.text = last.text, f"{first} → {state}"
                self.amended(last, text)
                return
        note = Note(at=now, kind="state", text=f"{before} → {state}")
        if self._fired:
            self._later.append(note)
        else:
            self._put(note)

    def _keep(self, request: Message) -> "tuple[JsonValue | bytes, int]":
        """Return what is kept of a request, and about how many bytes that is."""
        if isinstance(request, CommandError):
            text = request.text[:KEPT] if self.clips else request.text
            return text, len(text)
        return clip(request) if self.clips else (request, 0)

    def _put(self, entry: Entry) -> None:
        self._latest = entry
        self.add(entry)
