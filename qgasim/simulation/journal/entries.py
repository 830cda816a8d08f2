"""What a journal consists of: exchanges, notes, and what the agent has not yet read.

Times are the guest's uptime, in ns: it is never stepped.
"""

from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, get_args, get_type_hints

from msgspec import DecodeError, Struct, json, structs

from qgasim.faults import Fault
from qgasim.guest.units import SECOND, Duration
from qgasim.qapi.envelope import read_request
from qgasim.simulation.journal.pins import show_pin
from qgasim.simulation.timeline import Event
from qgasim.wire import JsonValue, encode, is_object

__all__ = [
    "EFFECTS", "NOTICEABLE", "SHOWN", "Entry", "Exchange", "MonitorExchange", "Note", "Piece", "Role", "Waiting",
    "describe", "name_of", "note_monitored", "show_bytes", "show_span", "show_time",
]  # fmt: skip

#: How much of a request or reply a line shows.
SHOWN: Final = 160
#: A delay from which on a line tells of it, in ns.
NOTICEABLE: Final = SECOND // 1000
#: What a piece of a line is.
Role: TypeAlias = Literal[
    "time",
    "client",
    "command",
    "arguments",
    "arrow",
    "reply",
    "error",
    "delay",
    "fault",
    "effect",
    "event",
]
Piece: TypeAlias = tuple[Role, str]
#: What the commands that change something have done, by their arguments, what they returned, and the
#: path of the file that they were about.
EFFECTS: Final = {
    "guest-file-open": "opened handle {result}",
    "guest-file-close": "closed handle {arguments[handle]}",
    "guest-file-write": "wrote {result.count} bytes to {path}",
    "guest-exec": "started pid {result.pid}",
    "guest-exec-status": "collected pid {arguments[pid]}",
    "guest-set-user-password": "set the password of {arguments[username]}",
    "guest-ssh-add-authorized-keys": "added keys of {arguments[username]}",
    "guest-ssh-remove-authorized-keys": "removed keys of {arguments[username]}",
    "guest-set-vcpus": "set {result} processors",
    "guest-set-memory-blocks": "set memory blocks",
    "guest-fstrim": "trimmed file systems",
    "guest-shutdown": "shutting down",
    "guest-suspend-disk": "suspending to disk",
    "guest-suspend-ram": "suspending to memory",
    "guest-suspend-hybrid": "suspending to memory and disk",
}


class Exchange(Struct, kw_only=True, gc=False):
    """A request, its reply and what it did."""

    #: When it was executed.
    at: int
    #: When it came: earlier, if the agent was busy, hung or not there.
    sent: int
    #: Which client sent it, counted from 1; 0: it came from no client.
    connection: int
    #: What it asked for; None if that cannot be told.
    command: str | None
    #: The request as it was read; if it could not be read, its text without white space.
    request: "JsonValue | bytes"
    #: All that was answered, faults included; nothing if nothing was.
    reply: bytes
    #: How long the reply was: a long one is kept in part.
    reply_length: int
    #: When the reply had gone to the client that asked; None if it has not.
    replied: int | None
    #: Whether the command never answers, if it succeeds.
    is_silent: bool
    #: Whether the agent was frozen when the request came to it.
    was_frozen: bool
    #: The faults that touched it.
    fired: tuple[Fault, ...] = ()
    #: Faults that would do the same as those that have touched it by chance.
    pins: tuple[Fault, ...] = ()
    #: What changed: words, or what the command returned and what else is needed to find the words.
    change: "str | tuple[object, str] | None" = None
    #: About how many bytes of it are kept.
    size: int = 0

    @property
    def arguments(self) -> dict[str, Any]:
        """The request's arguments, if it has any."""
        return read_request(self.request)[1]

    @property
    def error(self) -> str | None:
        """The text of the error that was answered, if one was."""
        error = (self.decode_reply() or {}).get("error")
        return str(error["desc"]) if is_object(error) and "desc" in error else None

    @property
    def faults(self) -> tuple[str, ...]:
        """The names of the faults that touched it; the kind of one that has no name."""
        return tuple(name_of(fault) for fault in self.fired)

    @property
    def effect(self) -> str:
        """What changed on the guest; nothing if nothing did."""
        if isinstance(self.change, tuple):
            result, path = self.change
            effect = EFFECTS[self.command or ""]
            return effect.format(arguments=self.arguments, result=result, path=path)
        return self.change or ""

    @property
    def client(self) -> str:
        """What a line calls the client that asked."""
        return f"#{self.connection}"

    def decode_reply(self) -> dict[str, Any] | None:
        """Return the reply as a value; None if it is none, was cut, or is nested too deeply."""
        try:
            reply = json.decode(self.reply.lstrip(b"\xff"))
        except (DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return reply if is_object(reply) else None

    def __str__(self) -> str:
        """Return its line of a transcript."""
        return "".join(text for _, text in self.pieces())

    def pieces(self, shown: int = SHOWN, *, is_waiting: bool = False) -> list[Piece]:
        """Return its line, in pieces.

        Args:
            shown: how much of the request and of the reply.
            is_waiting: the reply has to wait, and is shown when it goes.
        """
        command, arguments = self.show_request(shown)
        pieces: list[Piece] = [
            ("time", f"{show_time(self.at)} "),
            ("client", f"{self.client} "),
            ("command", command),
        ]
        if arguments:
            pieces.append(("arguments", f" {arguments}" if command else arguments))
        if is_waiting:
            pieces.append(("arrow", " → "))
            pieces.append(("delay", "(waits)"))
            pieces += self._fault_pieces()
        else:
            pieces += self.reply_pieces(shown)
        return [*pieces, ("effect", f"  ({self.effect})")] if self.effect else pieces

    def reply_pieces(self, shown: int = SHOWN) -> list[Piece]:
        """Return what a line says of the reply."""
        pieces: list[Piece] = [("arrow", " → ")]
        if self.reply:
            role: Role = "reply" if self.error is None else "error"
            pieces.append((role, show_bytes(self.reply, self.reply_length, shown)))
        else:
            pieces.append(("delay", "(no reply)"))
        pieces += self.sent_pieces()
        if self.reply and self.replied is None:
            pieces.append(("delay", "  not received"))
        elif self.replied is not None and self.replied > self.at:
            pieces.append(("delay", f"  after {show_span(self.replied - self.at)}"))
        return pieces + self._fault_pieces()

    def sent_pieces(self) -> list[Piece]:
        """Return what a line says of when it was sent, if it was read later."""
        is_late = self.at - self.sent >= NOTICEABLE
        return [("delay", f"  sent at {self.sent / SECOND:.3f} s")] if is_late else []

    def _fault_pieces(self) -> list[Piece]:
        pieces: list[Piece] = [("fault", f"  [{', '.join(self.faults)}]")] if self.fired else []
        return [*pieces, *(("fault", f"  [= {show_pin(pin)}]") for pin in self.pins)]

    def show_request(self, shown: int = SHOWN) -> tuple[str, str]:
        """Write the request: a command and its arguments, or, as these, what it was instead."""
        if isinstance(self.request, bytes):
            return "", show_bytes(self.request, len(self.request), shown)
        rest = self.request
        if self.command is None or not isinstance(rest, dict):
            return "", cut(encode(self.request), shown)
        if set(rest) <= {"execute", "arguments"}:
            written = encode(self.arguments) if self.arguments else ""
            return cut(self.command, shown), cut(written, shown)
        return "", cut(encode(rest), shown)

    def to_json(self) -> dict[str, object]:
        """Return what a line of `Journal.to_jsonl` says of it."""
        raw = self.request
        return {
            "kind": "exchange",
            "at": self.at,
            "sent": self.sent,
            "connection": self.connection,
            "command": self.command,
            "request": None if isinstance(raw, bytes) else raw,
            "text": raw.decode("latin-1") if isinstance(raw, bytes) else None,
            "reply": self.reply.decode("latin-1"),
            "reply_length": self.reply_length,
            "replied": self.replied,
            "faults": list(self.faults),
            **({"pins": [show_pin(pin) for pin in self.pins]} if self.pins else {}),
            "effect": self.effect,
        }


class MonitorExchange(Exchange, kw_only=True, gc=False):
    """A request to a monitor of the machine, and its reply. *command* begins with ``qmp:``."""

    #: The how many'th monitor it is.
    monitor: int

    @property
    def client(self) -> str:
        """What a line calls the client that asked."""
        return f"qmp{self.monitor if self.monitor > 1 else ''}#{self.connection}"

    def show_request(self, shown: int = SHOWN) -> tuple[str, str]:
        """Write the request, as `Exchange` does; the client says already that it is the monitor's."""
        command, arguments = super().show_request(shown)
        return command.removeprefix("qmp:"), arguments

    def to_json(self) -> dict[str, object]:
        """Return what a line of `Journal.to_jsonl` says of it."""
        return {**super().to_json(), "kind": "monitor", "monitor": self.monitor}


def note_monitored(
    monitor: int, connection: int, request: "JsonValue | bytes", reply: bytes, now: int
) -> MonitorExchange:
    """Return the entry of a request to a monitor."""
    command: str | None = None
    if isinstance(request, dict):
        name = request.get("execute", request.get("exec-oob"))
        command = f"qmp:{name}" if isinstance(name, str) else None
    return MonitorExchange(
        at=now,
        sent=now,
        connection=connection,
        command=command,
        request=request,
        reply=reply,
        reply_length=len(reply),
        replied=now,
        is_silent=False,
        was_frozen=False,
        monitor=monitor,
    )


class Note(Struct, kw_only=True):
    """Something that happened between exchanges."""

    at: int
    #: Which client it is about; 0: none.
    connection: int = 0
    #: What it was: a client that came, had to wait or left, bytes that a fault swallowed, a state that the guest
    #: entered, an event of the timeline, one that the machine has sent, or a note.
    kind: Literal["connect", "wait", "disconnect", "swallowed", "state", "event", "qmp", "note"]
    #: What it was, in more words.
    text: str = ""
    #: What a client that came found in the channel, or what one that left has left behind.
    marks: tuple[str, ...] = ()
    #: What was swallowed.
    data: bytes = b""
    #: About how many bytes of it are kept.
    size: int = 0

    def __str__(self) -> str:
        """Return its line of a transcript."""
        return "".join(text for _, text in self.pieces())

    def pieces(self, shown: int = SHOWN) -> list[Piece]:
        """Return its line, in pieces."""
        pieces: list[Piece] = [("time", f"{show_time(self.at)} ")]
        if self.connection:
            pieces.append(("client", f"#{self.connection} "))
        if self.kind == "swallowed":
            pieces.append(("arguments", show_bytes(self.data, len(self.data), shown)))
            pieces.append(("fault", " (swallowed)"))
        elif self.kind in ("connect", "disconnect"):
            pieces.append(("command", f"{self.kind}s"))
        elif self.kind == "qmp":
            pieces.append(("event", f"qmp {self.text}"))
        else:
            pieces.append(("event", self.text if self.kind == "wait" else f"-- {self.text}"))
        if self.marks:
            word = "finds" if self.kind == "connect" else "leaves"
            pieces.append(("fault", f" ({word} {', '.join(self.marks)})"))
        return pieces

    def to_json(self) -> dict[str, object]:
        """Return what a line of `Journal.to_jsonl` says of it."""
        return {
            "kind": self.kind,
            "at": self.at,
            "connection": self.connection,
            "text": self.text or self.data.decode("latin-1"),
            "marks": list(self.marks),
        }


class Waiting(Struct):
    """Bytes that were sent, and that the agent has not read."""

    sent: int
    connection: int
    data: bytes

    def __str__(self) -> str:
        """Return its line of a transcript."""
        shown = show_bytes(self.data, len(self.data))
        return f"{show_time(self.sent)} #{self.connection} {shown} → (not yet read)"


Entry: TypeAlias = Exchange | Note


def name_of(fault: Fault) -> str:
    return fault.name or str(fault.__struct_config__.tag)


def describe(what: Struct) -> str:
    """Return what an event or a fault does, and what it says besides that is not as ever."""
    when = set(Event.__struct_fields__) if isinstance(what, Event) else set[str]()
    hints = _hints_of(type(what))
    said = [
        f"{field.name}={_show_setting(getattr(what, field.name), hints[field.name])}"
        for field in structs.fields(what)
        if field.name not in when and getattr(what, field.name) != field.default
    ]
    return " ".join([str(what.__struct_config__.tag), *(cut(text) for text in said)])


@lru_cache(maxsize=256)
def _hints_of(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _show_setting(value: object, hint: Any) -> str:
    """Write a setting of an event or a fault; a duration in seconds."""
    if type(value) is int and Duration in (hint, *get_args(hint)):
        return f"{value / SECOND:g}s"
    return repr(value)


def show_time(at: int) -> str:
    """Write an uptime."""
    return f"{at / SECOND:10.3f} s"


def show_span(duration: int) -> str:
    """Write a duration, to a thousandth of a second if it is as long."""
    rounded = round(duration / SECOND, 3)
    return f"{rounded or duration / SECOND:g} s"


def show_bytes(data: bytes, length: int, most: int = SHOWN) -> str:
    r"""Write bytes as text, what is no text as ``\xff``; the beginning, and of how much it is."""
    data = data.strip()
    shown = data[:most].decode("utf-8", "backslashreplace").replace("\n", "\\n")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return shown if len(data) <= most else f"{shown}… ({length} bytes)"


def cut(text: str, most: int = SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
