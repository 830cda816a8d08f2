"""A nemesis: faults drawn by chance, the same for the same seed.

What it draws are plain faults with a beginning and an end, so that `qgasim show` prints them, and a run
that failed can be repeated without the nemesis and cut down by hand.
"""

import random
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, get_args

from msgspec import Struct, field

from qgasim.faults import AnyFault, FromUptime
from qgasim.faults.connection import CloseConnection, Crash
from qgasim.faults.content import InjectedError, Stale
from qgasim.faults.stream import Corrupt, Duplicate, Garbage, NoNewline, Split, Truncate, WrongId
from qgasim.faults.timing import Delay, Drop, Ignore, Late
from qgasim.guest.units import Duration

__all__ = ["DrawnKind", "Nemesis", "draw"]

SECOND: Final = 1_000_000_000
#: As many as a scenario can well hold.
LIMIT: Final = 10_000
DrawnKind: TypeAlias = Literal[
    "close", "corrupt", "crash", "delay", "drop", "duplicate", "error", "garbage", "ignore", "late",
    "no_newline", "split", "stale", "truncate", "wrong_id",
]  # fmt: skip


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
    #: Which there may be.
    kinds: list[DrawnKind] = field(default_factory=lambda: list(get_args(DrawnKind)))


def draw(nemesis: Nemesis, seed: int) -> list[AnyFault]:
    """Draw the faults, in the order in which they begin."""
    chance = random.Random(f"nemesis {seed if nemesis.seed is None else nemesis.seed}")
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
        drawn.append(_make(kind, chance, when=when, name=f"nemesis-{len(drawn)}"))
    return drawn


def _make(kind: str, chance: random.Random, **common: Any) -> AnyFault:
    match kind:
        case "close":
            return CloseConnection(at=chance.choice(_MOMENTS), **common)
        case "corrupt":
            return Corrupt(bits=chance.randint(1, 3), **common)
        case "crash":
            return Crash(respawn=chance.randint(1, 20) * SECOND // 10, **common)
        case "delay":
            return Delay(by=chance.randint(1, 5000) * 1_000_000, **common)
        case "error":
            return InjectedError(desc="an error drawn by the nemesis", **common)
        case "garbage":
            return Garbage(random=chance.randint(1, 40), **common)
        case "split":
            return Split(sizes=(chance.randint(1, 20),), pause=5_000_000, **common)
        case "truncate":
            return Truncate(keep=chance.randint(0, 40), **common)
        case _:
            return _PLAIN[kind](**common)


_MOMENTS: Final[tuple[Literal["before", "middle", "after"], ...]] = ("before", "middle", "after")
_PLAIN: Final[dict[str, Callable[..., AnyFault]]] = {
    "drop": Drop,
    "duplicate": Duplicate,
    "ignore": Ignore,
    "late": Late,
    "no_newline": NoNewline,
    "stale": Stale,
    "wrong_id": WrongId,
}
