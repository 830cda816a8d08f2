"""A nemesis: faults drawn by chance, the same for the same seed.

What it draws are plain faults with a beginning and an end, so that `qgasim show` and the journal print
them, and a run that failed can be repeated without the nemesis and cut down by hand.
"""

import random
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, get_args

from msgspec import Struct, field

from qgasim.faults import AnyFault, FromUptime
from qgasim.faults.connection import (
    AcceptThenSilence,
    CloseConnection,
    Crash,
    HalfClose,
    KillOn,
    Refuse,
    Reset,
)
from qgasim.faults.content import Empty, InjectedError, Stale
from qgasim.faults.events import DelayEvent, DropEvent, DuplicateEvent, EarlyEvent
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
from qgasim.faults.timing import Delay, Drop, Ignore, Late, Leak
from qgasim.guest.units import SECOND, Duration
from qgasim.scenario.dump import to_line

__all__ = [
    "LIMIT",
    "DrawnEventKind",
    "DrawnKind",
    "Nemesis",
    "describe_random_events",
    "draw",
    "make_fault",
]

#: How many faults are drawn at most: as many as a scenario can well hold.
LIMIT: Final = 10_000
#: Not `edit`, which has to know the reply, not `hang`, which has no end, and not `huge`, which has none for
#: hours if it is split, too.
DrawnKind: TypeAlias = Literal[
    "accept_then_silence", "bandwidth", "bom", "close", "corrupt", "crash", "crlf", "delay", "drop",
    "duplicate", "empty", "error", "extra_sentinel", "garbage", "half_close", "ignore",
    "invalid_utf8", "kill_on", "late", "leak", "missing_sentinel", "no_newline", "refuse", "reorder",
    "reset", "split", "stale", "truncate", "wrong_id",
]  # fmt: skip


#: Faults of the machine's monitor: drawn only where they are asked for.
DrawnEventKind: TypeAlias = Literal["delay_event", "drop_event", "duplicate_event", "early_event"]


class Nemesis(Struct, kw_only=True, frozen=True):
    """Faults drawn by chance."""

    #: What they follow from; absent: the scenario's seed.
    seed: int | None = None
    #: How many begin in a minute of guest time, on average.
    rate: float = 6.0
    #: The uptime at which they begin.
    start: Duration = 0
    #: How long they go on beginning.
    lasts: Duration = 600 * SECOND
    #: How long each lasts at most.
    longest: Duration = 10 * SECOND
    #: They begin at one of the first so many requests (or connections, if they are about those) instead,
    #: every third on average, and fire at one to three in a row: then the run does not depend on how
    #: fast the client is, and *rate*, *start*, *lasts* and *longest* must not be given.
    requests: int | None = None
    #: Which there may be; absent: all but those of the monitor's events.
    kinds: list[DrawnKind | DrawnEventKind] = field(
        default_factory=lambda: list(get_args(DrawnKind))
    )


def draw(nemesis: Nemesis, seed: int) -> list[AnyFault]:
    """Draw the faults, in the order in which they begin."""
    chance = random.Random(f"nemesis {seed if nemesis.seed is None else nemesis.seed}")
    if nemesis.requests is not None:
        return _draw_by_requests(nemesis, nemesis.requests, chance)
    drawn: list[AnyFault] = []
    at = float(nemesis.start)
    while nemesis.kinds and len(drawn) < LIMIT:
        at += chance.expovariate(nemesis.rate / 60) * SECOND
        if at >= nemesis.start + nemesis.lasts:
            break
        begin = int(at) // 1_000_000 * 1_000_000
        length = chance.randint(1, max(1, nemesis.longest // 1_000_000)) * 1_000_000
        kind = chance.choice(nemesis.kinds)
        when = FromUptime(uptime=begin, until=begin + length)
        drawn.append(make_fault(kind, chance, when=when, name=f"nemesis-{len(drawn)}"))
    return drawn


def _draw_by_requests(nemesis: Nemesis, requests: int, chance: random.Random) -> list[AnyFault]:
    drawn: list[AnyFault] = []
    at = chance.randint(0, 2)
    while nemesis.kinds and at < requests:
        kind, times = chance.choice(nemesis.kinds), chance.randint(1, 3)
        name = f"nemesis-{len(drawn)}"
        drawn.append(make_fault(kind, chance, after=at, times=times, name=name))
        at += chance.randint(1, 5)
    return drawn


def make_fault(kind: str, chance: random.Random, **common: Any) -> AnyFault:
    """Make a fault of a `DrawnKind` or `DrawnEventKind`, its other settings drawn by *chance*; *common*: those of all faults."""
    match kind:
        case "bandwidth":
            return Bandwidth(bytes_per_second=1 << chance.randint(7, 16), **common)
        case "close" | "half_close" | "reset":
            return _HANG_UPS[kind](at=chance.choice(_MOMENTS), **common)
        case "corrupt":
            return Corrupt(bits=chance.randint(1, 3), **common)
        case "crash" | "kill_on":
            cls = Crash if kind == "crash" else KillOn
            return cls(respawn=chance.randint(1, 20) * SECOND // 10, **common)
        case "delay_event":
            return DelayEvent(by=chance.randint(1, 5000) * 1_000_000, **common)
        case "delay":
            return Delay(by=chance.randint(1, 5000) * 1_000_000, **common)
        case "error":
            return InjectedError(desc="an error drawn by the nemesis", **common)
        case "garbage":
            return Garbage(random=chance.randint(1, 40), **common)
        case "leak":
            return Leak(by=chance.randint(1, 500) * 1_000_000, **common)
        case "split":
            return Split(sizes=(chance.randint(1, 20),), pause=5_000_000, **common)
        case "truncate":
            return Truncate(keep=chance.randint(0, 40), **common)
        case _:
            return _PLAIN[kind](**common)


_MOMENTS: Final[tuple[Literal["before", "middle", "after"], ...]] = ("before", "middle", "after")
_HANG_UPS: Final[dict[str, Callable[..., AnyFault]]] = {
    "close": CloseConnection,
    "half_close": HalfClose,
    "reset": Reset,
}
_PLAIN: Final[dict[str, Callable[..., AnyFault]]] = {
    "accept_then_silence": AcceptThenSilence,
    "bom": Bom,
    "crlf": Crlf,
    "drop": Drop,
    "drop_event": DropEvent,
    "duplicate": Duplicate,
    "duplicate_event": DuplicateEvent,
    "early_event": EarlyEvent,
    "empty": Empty,
    "extra_sentinel": ExtraSentinel,
    "ignore": Ignore,
    "invalid_utf8": InvalidUtf8,
    "late": Late,
    "missing_sentinel": MissingSentinel,
    "no_newline": NoNewline,
    "refuse": Refuse,
    "reorder": Reorder,
    "stale": Stale,
    "wrong_id": WrongId,
}


def describe_random_events(drawn: list[AnyFault], seed: int, uptime: int) -> str:
    """Return the faults that have begun at *uptime*, as in a scenario; "" if none were drawn."""
    if not drawn:
        return ""
    begun = [f for f in drawn if not isinstance(f.when, FromUptime) or f.when.uptime <= uptime]
    head = f"# drawn by the nemesis until now; the same goes wrong without it, given `seed: {seed}`"
    return "\n".join([head, "faults:", *(f"  - {to_line(fault)}" for fault in begun)])
