"""Copies and lists of records, for a guest to change."""

import copy
from typing import Any, Protocol, SupportsIndex, TypeVar, cast, overload

from msgspec import Struct

__all__ = ["NamedList", "clone"]

T = TypeVar("T")


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """The name."""
        ...


N = TypeVar("N", bound=Named)


class NamedList(list[N]):
    """A list whose items can be had by their names as well: ``nics["eth0"]``."""

    @overload
    def __getitem__(self, key: str | SupportsIndex) -> N: ...
    @overload
    def __getitem__(self, key: slice) -> list[N]: ...
    def __getitem__(self, key: str | SupportsIndex | slice) -> N | list[N]:
        if isinstance(key, str):
            for item in self:
                if item.name == key:
                    return item
            names = ", ".join(item.name for item in self) or "none"
            raise KeyError(f"{key} (there are: {names})")
        return super().__getitem__(key)

    def append(self, item: Any, /) -> None:
        """Add an item; TypeError if it has no name, as what a scenario would say has none."""
        if not isinstance(item, Struct):
            raise TypeError(f"expected a {_kind_of(self)}, found {item!r}")
        super().append(cast("N", item))


def _kind_of(items: list[N]) -> str:
    return type(items[0]).__name__ if items else "record with a name"


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
