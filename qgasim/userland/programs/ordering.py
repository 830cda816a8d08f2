"""Sorting of many items in pieces, so that others have their turns."""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final, TypeVar

from qgasim.guest.processes.process import Process, Waiting

__all__ = ["PIECE", "sort_in_pieces"]

T = TypeVar("T")

#: About so many items are sorted at once: Python keeps the interpreter's lock meanwhile.
PIECE: Final = 4096
#: Of so many items, one is looked at to tell where the pieces of the result begin.
_SAMPLE: Final = 64


def sort_in_pieces(
    p: Process, items: list[T], key: Callable[[T], Any], *, is_reverse: bool = False
) -> Waiting[list[T]]:
    """Return *items* sorted by *key*; those that are alike stay in their order, also in reverse."""
    items = items[::-1] if is_reverse else items
    runs: list[list[T]] = []
    for at in range(0, len(items), PIECE):
        runs.append(sorted(items[at : at + PIECE], key=key))
        yield from p.charge_steps(len(runs[-1]))
    result = runs[0] if len(runs) == 1 else (yield from _merge(p, runs, key))
    return result[::-1] if is_reverse else result


def _merge(p: Process, runs: list[list[T]], key: Callable[[T], Any]) -> Waiting[list[T]]:
    """Merge sorted lists: of all of them what is below a pivot, then what is below the next."""
    sample = sorted(key(item) for run in runs for item in run[::_SAMPLE])
    pivots = sample[PIECE // _SAMPLE :: PIECE // _SAMPLE]
    begins = [0] * len(runs)
    result: list[T] = []
    for number in range(len(pivots) + 1):
        piece: list[T] = []
        for at, run in enumerate(runs):
            begin = begins[at]
            end = len(run)
            if number < len(pivots):
                end = bisect_left(run, pivots[number], begin, key=key)
            piece += run[begin:end]
            begins[at] = end
        # Of sorted lists put one after another, Python's sort only merges.
        piece.sort(key=key)
        result += piece
        yield from p.charge_steps(len(runs) + len(piece))
    return result
