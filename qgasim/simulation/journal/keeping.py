"""How much of a request is kept: references to what is small, the beginning of what is not."""

from typing import Final

from qgasim.wire import JsonValue, encode

__all__ = ["KEPT", "clip"]

#: How much of a request or reply is kept; and of an argument of a request that is too long.
KEPT: Final = 1 << 16
OF_ARGUMENT: Final = 1 << 10
#: JSON that is deeper is kept as text: few tools take the 1024 levels that QEMU does.
DEPTH: Final = 100


def clip(request: JsonValue) -> "tuple[JsonValue | bytes, int]":
    """Return a request, without what is too long to keep, and about how large it is."""
    size = _measure_flat(request)
    if size is None:
        size = measure(request)
    if size <= KEPT:
        return request, size
    if not isinstance(request, dict):
        return encode(request).encode("ascii")[:KEPT], KEPT
    clipped = {key: _clip_member(value) for key, value in request.items()}
    return clipped, measure(clipped)


def _clip_member(value: JsonValue) -> JsonValue:
    if isinstance(value, dict) and measure(value) > OF_ARGUMENT:
        return {key: _shorten(inner) for key, inner in value.items()}
    return _shorten(value)


def _shorten(value: JsonValue) -> JsonValue:
    if measure(value) <= OF_ARGUMENT:
        return value
    text = value if isinstance(value, str) else encode(value)
    return f"{text[:OF_ARGUMENT]}… ({len(text)} characters)"


def _measure_flat(request: JsonValue) -> int | None:
    """Do as `_measure`, sooner, for the most frequent requests: nothing in lists; else None."""
    if type(request) is not dict:
        return None
    size = 0
    for name, member in request.items():
        size += len(name)
        if type(member) is str:
            size += len(member)
        elif type(member) is dict:
            for key, value in member.items():
                size += len(key) + 8
                if type(value) is str:
                    size += len(value)
                elif type(value) is not int and type(value) is not bool:
                    return None
        elif type(member) is not int:
            return None
    return size


def measure(value: JsonValue) -> int:
    """Return about how many bytes *value* has: too many if it is nested too deep."""
    if type(value) is str:
        return len(value)
    size = 0
    todo: list[tuple[JsonValue, int]] = [(value, 0)]
    while todo:
        item, depth = todo.pop()
        size += 8
        if depth > DEPTH:
            return KEPT + 1
        if type(item) is str:
            size += len(item)
        elif isinstance(item, dict):
            for key, inner in item.items():
                size += len(key)
                todo.append((inner, depth + 1))
        elif isinstance(item, list):
            todo += [(inner, depth + 1) for inner in item]
    return size
