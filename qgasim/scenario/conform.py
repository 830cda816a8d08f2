"""Return whether what Python says has the types that a scenario has: Structs are not asked by msgspec."""

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from msgspec import UNSET, Struct

from qgasim.scenario.checks import Wrong, fields_of, join
from qgasim.scenario.decode import describe, hints_of, tag_of, unit_of

__all__ = ["conform"]


def conform(value: Any, wanted: Any, path: str = "") -> Wrong:
    """Yield where *value* is no *wanted*."""
    if isinstance(value, Struct) and value.__class__ is wanted:
        hints = hints_of(value.__class__)
        for field in fields_of(value.__class__):
            member = getattr(value, field.name)
            if member is not field.default:
                yield from conform(member, hints[field.name], join(path, field.encode_name))
        return
    if wanted is Any or value is UNSET:
        return
    kind = cast("type", type(value))
    if kind is wanted or (kind is int and wanted is float):
        return
    origin = get_origin(wanted)
    if origin is Annotated and kind is int:
        return
    if origin in (Union, types.UnionType):
        yield from _conform_to_any(value, get_args(wanted), path)
    elif origin is Literal and value in get_args(wanted):
        return
    elif origin in (list, tuple) and isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        arguments = get_args(wanted)
        if origin is tuple and arguments[-1] is not Ellipsis and len(items) != len(arguments):
            yield path, f"expected {len(arguments)} of them, found {len(items)}"
        for index, item in enumerate(items):
            yield from conform(item, arguments[0], f"{path}[{index}]")
    elif origin is dict and isinstance(value, dict):
        yield from _conform_items(cast("dict[object, Any]", value), get_args(wanted)[1], path)
    else:
        yield path, f"expected {_say(wanted)}, found {value!r}"


def _conform_items(value: dict[object, Any], wanted: Any, path: str) -> Wrong:
    for key, item in value.items():
        if type(key) is str:
            yield from conform(item, wanted, join(path, key))
        else:
            yield path, f"expected keys that are texts, found {key!r}"


def _conform_to_any(value: Any, members: Sequence[Any], path: str) -> Wrong:
    """Look at what *value* could be; an error names the nearest member."""
    if value is None and type(None) in members:
        return
    least: list[tuple[str, str]] | None = None
    for member in members:
        wrong = list(conform(value, member, path))
        if not wrong:
            return
        # Further in: it has the right kind.
        if wrong[0][0] != path and (least is None or len(wrong) < len(least)):
            least = wrong
    if least is not None:
        yield from least
        return
    rest = [member for member in members if member is not type(None)]
    if all(tag_of(member) for member in rest):
        expected = f"one of {', '.join(member.__name__ for member in rest)}"
    else:
        expected = " or ".join(map(_say, rest))
    yield path, f"expected {expected}, found {value!r}"


def _say(wanted: Any) -> str:
    """Return what is expected, as one says it in Python."""
    unit = unit_of(wanted)
    if unit is not None:
        number = {"size": "bytes", "duration": "ns", "time": "ns since 1970", "errno": "an errno"}
        return f"{number[unit]} (an integer)"
    if isinstance(wanted, type) and issubclass(wanted, Struct):
        return f"a {wanted.__name__}"
    return describe(wanted)
