"""The variations of a run's replies as faults that repeat them, one for each place that differs."""

from collections import Counter
from collections.abc import Iterable, Iterator

from qgasim.faults import AnyFault, Edit
from qgasim.simulation.journal import Exchange

__all__ = ["pin_variations"]


def pin_variations(exchanges: Iterable[Exchange]) -> Iterator[AnyFault]:
    """Yield, for each place at which a reply was varied, the edit that does it to that reply alone."""
    counts: Counter[str | None] = Counter()
    for exchange in exchanges:
        after = counts[exchange.command]
        counts[exchange.command] += 1
        for pin in exchange.pins:
            if isinstance(pin, Edit):
                yield from _split(pin, after)


def _split(edit: Edit, after: int) -> Iterator[Edit]:
    for place, value in edit.set.items():
        yield Edit(on=edit.on, after=after, times=1, set={place: value})
    for place in edit.remove:
        yield Edit(on=edit.on, after=after, times=1, remove=(place,))
