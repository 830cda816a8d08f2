"""Shrinking: the fewest entries, with the smallest numbers, that still fail. Knows nothing of guests.

Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002) over the list,
then each number halved as long as that still fails. No list is tried twice.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct, structs

__all__ = ["halved", "shrink"]

T = TypeVar("T", bound=Struct)
Fails = Callable[[list[T]], Awaitable[bool]]


async def shrink(
    entries: Sequence[T], fails: Callable[[list[T]], Awaitable[bool]], is_over: Callable[[], bool]
) -> list[T]:
    """Return the least that fails of *entries*, which fail.

    Args:
        entries: in their order.
        fails: tries some of them.
        is_over: whether to stop and to be content with the least so far.
    """
    known: dict[bytes, bool] = {}

    async def fails_too(some: list[T]) -> bool:
        key = msgspec.msgpack.encode(some)
        if key not in known:
            known[key] = not is_over() and await fails(some)
        return known[key]

    least = await _leave_out(list(entries), fails_too)
    return await _halve(least, fails_too)


async def _leave_out(least: list[T], fails: Callable[[list[T]], Awaitable[bool]]) -> list[T]:
    """Leave out parts, first large ones (ddmin)."""
    parts = 2
    if least and await fails([]):
        return []
    while len(least) >= 2:
        size = -(-len(least) // parts)
        starts = range(0, len(least), size)
        for start in starts:
            part, rest = least[start : start + size], least[:start] + least[start + size :]
            if await fails(part):
                least, parts = part, 2
                break
            if parts > 2 and await fails(rest):
                least, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(least):
                break
            parts = min(len(least), 2 * parts)
    return least


async def _halve(least: list[T], fails: Callable[[list[T]], Awaitable[bool]]) -> list[T]:
    """Halve numbers, one at a time, until none can be."""
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for at, entry in enumerate(least):
            for smaller in halved(entry):
                tried = [*least[:at], smaller, *least[at + 1 :]]
                if await fails(tried):
                    least, is_smaller = tried, True
                    break
    return least


def halved(entry: T) -> Iterator[T]:
    """Yield *entry* with one of its numbers 0 or halved, each in its turn."""
    for name in entry.__struct_fields__:
        for smaller in _smaller(getattr(entry, name)):
            yield structs.replace(entry, **{name: smaller})


def _smaller(value: Any) -> Iterator[Any]:
    if isinstance(value, Struct):
        yield from halved(value)
    elif isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        for name, member in members.items():
            yield from ({**members, name: smaller} for smaller in _smaller(member))
    elif type(value) is int and value:
        # First what is least: a number that does not matter is done with at once.
        yield from dict.fromkeys((0, value // 2 if value > 0 else -(-value // 2)))
