"""What goes wrong, on demand and the same way every time.

A fault is a frozen Struct: its fields are its settings in a scenario, `Fault.before` may answer in the
command's place, `Fault.apply` is a function from effects to effects. What changes while the agent
runs (how often each has fired, replies that were put aside) is in a `FaultInjector`.
"""

from typing import Literal, TypeAlias

from qgasim.faults.base import Exchange, Fault, FromUptime
from qgasim.faults.connection import (
    AcceptThenSilence,
    CloseConnection,
    Crash,
    HalfClose,
    KillOn,
    Refuse,
    Reset,
)
from qgasim.faults.content import Edit, Empty, Huge, InjectedError, Stale
from qgasim.faults.events import (
    OF_MONITOR,
    DelayEvent,
    DropEvent,
    DuplicateEvent,
    EarlyEvent,
    EventFault,
    Sending,
    is_of_monitor,
)
from qgasim.faults.injector import ArmedFault, FaultInjector
from qgasim.faults.legal import LegalVariation, find_edit
from qgasim.faults.stream import (
    Bandwidth,
    Bom,
    Corrupt,
    Crlf,
    Duplicate,
    ExtraSentinel,
    Garbage,
    InvalidUtf8,
    MissingSentinel,
    NoNewline,
    Reorder,
    Split,
    Truncate,
    WrongId,
)
from qgasim.faults.timing import Delay, Drop, Hang, Ignore, Late, Leak

__all__ = [
    "OF_MONITOR",
    "AcceptThenSilence",
    "AnyFault",
    "ArmedFault",
    "Bandwidth",
    "Bom",
    "CloseConnection",
    "Corrupt",
    "Crash",
    "Crlf",
    "Delay",
    "DelayEvent",
    "Drop",
    "DropEvent",
    "Duplicate",
    "DuplicateEvent",
    "EarlyEvent",
    "Edit",
    "Empty",
    "EventFault",
    "Exchange",
    "ExtraSentinel",
    "Fault",
    "FaultInjector",
    "FaultKind",
    "FromUptime",
    "Garbage",
    "HalfClose",
    "Hang",
    "Huge",
    "Ignore",
    "InjectedError",
    "InvalidUtf8",
    "KillOn",
    "Late",
    "Leak",
    "LegalVariation",
    "MissingSentinel",
    "NoNewline",
    "Refuse",
    "Reorder",
    "Reset",
    "Sending",
    "Split",
    "Stale",
    "Truncate",
    "WrongId",
    "find_edit",
    "is_of_monitor",
]

AnyFault: TypeAlias = (
    AcceptThenSilence | Bandwidth | Bom | CloseConnection | Corrupt | Crash | Crlf | Delay | Drop
    | Duplicate | Edit | Empty | ExtraSentinel | Garbage | HalfClose | Hang | Huge | Ignore
    | InjectedError | InvalidUtf8 | KillOn | Late | Leak | LegalVariation | MissingSentinel | NoNewline | Refuse
    | Reorder | Reset | Split | Stale | Truncate | WrongId
    | DelayEvent | DropEvent | DuplicateEvent | EarlyEvent
)  # fmt: skip
FaultKind: TypeAlias = Literal[
    "accept_then_silence", "bandwidth", "bom", "close", "corrupt", "crash", "crlf", "delay",
    "delay_event", "drop", "drop_event", "duplicate", "duplicate_event", "early_event", "edit", "empty",
    "error", "extra_sentinel", "garbage", "half_close", "hang", "huge", "ignore", "invalid_utf8",
    "kill_on", "late", "leak", "legal_variation", "missing_sentinel", "no_newline", "refuse", "reorder",
    "reset", "split", "stale", "truncate", "wrong_id",
]  # fmt: skip
"""How each of them is called in a scenario, and by `LiveGuest.inject`."""
