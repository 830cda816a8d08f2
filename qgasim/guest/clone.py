"""Copies of records, for a guest to change."""

import copy
from typing import Any, TypeVar, cast

from msgspec import Struct

__all__ = ["clone"]

T = TypeVar("T")


def clone(value: T) -> T:
    """Copy Structs, lists and dicts, and what is in them; much faster than `copy.deepcopy`."""
    return cast("T", _clone(value))


def _clone(value: Any) -> Any:
    if isinstance(value, Struct):
        made = copy.copy(value)
        for name in made.__struct_fields__:
            member = getattr(value, name)
            if isinstance(member, Struct | list | dict):
                setattr(made, name, _clone(member))
        return made
    if isinstance(value, list):
        return [_clone(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {key: _clone(item) for key, item in cast("dict[str, object]", value).items()}
    return value
