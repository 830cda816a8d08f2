"""Cut the faults of a run that fails down to the few that matter, and say how certain they are."""

import re
from typing import Final

import trio
from msgspec import Struct

from qgasim.drill.plan import Run
from qgasim.drill.runner import Drill
from qgasim.drill.shrink import shrink
from qgasim.drill.verdict import Result
from qgasim.faults import AnyFault

__all__ = ["TIMES", "Minimal", "minimise"]

#: How often the smallest is run.
TIMES: Final = 3
_FIRED: Final = re.compile(r"nemesis-[0-9]+")


class Minimal(Struct, frozen=True, kw_only=True):
    """The least that fails."""

    #: The run with the few faults that matter.
    run: Run
    faults: list[AnyFault]
    #: How many there were.
    before: int
    #: How often the command was run to find them.
    attempts: int
    #: How often the smallest has failed, of `TIMES`.
    failed: int


async def minimise(drill: Drill, result: Result, seconds: float) -> tuple[Minimal | None, float]:
    """Return the least of what is drawn for a run that fails the same way, and the seconds that it took.

    The least is None if nothing is drawn for it.

    Args:
        drill: the client.
        result: of the run, which is wrong.
        seconds: after how long to be content with the least so far.
    """
    drawn = [*result.run.drawn(), *result.pinned]
    if not drawn:
        return None, 0.0
    attempts, began = 0, trio.current_time()
    until = began + seconds

    async def fails(some: list[AnyFault]) -> bool:
        nonlocal attempts
        attempts += 1
        return (await drill.attempt(result.run.with_faults(some))).fails_like(result)

    # Those that did not fire can hardly matter: without them there are few.
    fired = set(_FIRED.findall(result.transcript))
    some = [fault for fault in drawn if fault.name in fired]
    start = some if some and len(some) < len(drawn) and await fails(some) else drawn
    least = await shrink(start, fails, lambda: trio.current_time() > until)
    run = result.run.with_faults(least)
    failed = 0
    for _ in range(TIMES):
        failed += (await drill.attempt(run)).fails_like(result)
    attempts += TIMES
    minimal = Minimal(run=run, faults=least, before=len(drawn), attempts=attempts, failed=failed)
    return minimal, trio.current_time() - began
