"""What objects were like at a time, to be put back into the same objects.

A guest is full of functions that know parts of it: the files of /proc and /sys, the plans of its power,
what a process waits for. A copy of the guest would share them with the original. So nothing is copied
as an object: the contents are kept, and written back into the objects that had them.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import FunctionType, GeneratorType, MethodType
from typing import Any, Final, TypeAlias, cast

from msgspec import Struct

__all__ = ["Memento"]

PutBack: TypeAlias = Callable[[], None]
#: Whose objects are looked into.
_OURS: Final = ("qgasim.", "pyfakefs.")


class Memento:
    """The contents of everything that can be reached from *roots* other than through *without*.

    A class names in ``NOT_THE_GUESTS`` the attributes that are not looked into and not put back.
    What a suspended generator knows is looked into; where it is cannot be put back.
    """

    def __init__(self, roots: Iterable[object], *, without: Iterable[object]) -> None:
        self._put_back: list[PutBack] = []
        #: Bytes in buffers, the contents of files for the most part.
        self.size = 0
        seen: dict[int, object] = {id(value): value for value in without}
        todo: list[object] = list(roots)
        while todo:
            value = todo.pop()
            if isinstance(value, str | bytes | int | float | type | None) or id(value) in seen:
                continue
            # Kept alive meanwhile, so that no other object gets its id.
            seen[id(value)] = value
            put_back, inner = _look_into(value)
            if put_back is not None:
                self._put_back.append(put_back)
            if isinstance(value, bytearray):
                self.size += len(value)
            todo += inner

    def restore(self) -> None:
        """Put everything back; it can be done again."""
        for put_back in self._put_back:
            put_back()


def _look_into(value: Any) -> tuple[PutBack | None, Iterable[object]]:
    """Return what puts the contents back, if they can change, and the objects among them."""
    if isinstance(value, dict):
        entries = cast("dict[object, object]", value).copy()
        return partial(_fill_dict, value, entries), entries.values()
    if isinstance(value, list | deque):
        items = list(cast("list[object]", value))
        return partial(_fill_list, value, items), items
    if isinstance(value, set):
        members = frozenset(cast("set[object]", value))
        return partial(_fill_set, value, members), members
    if isinstance(value, bytearray):
        return partial(value.__setitem__, slice(None), bytes(value)), ()
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate()), ()
    if isinstance(value, Struct):
        config = value.__struct_config__
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return (None if config.frozen else partial(_fill_slots, value, fields)), fields.values()
    return _look_into_object(value)


def _look_into_object(value: Any) -> tuple[PutBack | None, Iterable[object]]:
    if isinstance(value, tuple | frozenset):
        return None, cast("tuple[object, ...]", value)
    if isinstance(value, FunctionType):
        return None, _cells_of(value)
    if isinstance(value, MethodType):
        return None, [value.__self__]
    if isinstance(value, partial):
        called = cast("partial[object]", value)
        return None, [called.func, *called.args, *called.keywords.values()]
    if isinstance(value, GeneratorType):
        steps = cast("GeneratorType[object, None, object]", value)
        frame = steps.gi_frame
        return None, [*(frame.f_locals.values() if frame else ()), steps.gi_yieldfrom]
    return _look_into_attributes(value)


def _look_into_attributes(value: object) -> tuple[PutBack | None, Iterable[object]]:
    cls = type(value)
    if not cls.__module__.startswith(_OURS):
        return None, ()
    left_out: frozenset[str] = getattr(cls, "NOT_THE_GUESTS", frozenset())
    slots: tuple[str, ...] = getattr(cls, "__slots__", ())
    if slots:
        held = {name: getattr(value, name) for name in slots if name not in left_out}
        return partial(_fill_slots, value, held), held.values()
    held = {name: inner for name, inner in vars(value).items() if name not in left_out}
    return partial(_fill_object, value, held, left_out), held.values()


def _cells_of(function: FunctionType) -> Iterable[object]:
    for cell in function.__closure__ or ():
        # One that is empty yet is a ValueError.
        with suppress(ValueError):
            yield cell.cell_contents


def _fill_dict(value: dict[object, object], entries: dict[object, object]) -> None:
    value.clear()
    value.update(entries)


def _fill_list(value: list[object] | deque[object], items: list[object]) -> None:
    value.clear()
    value.extend(items)


def _fill_set(value: set[object], members: frozenset[object]) -> None:
    value.clear()
    value.update(members)


def _fill_slots(value: object, held: dict[str, object]) -> None:
    for name, inner in held.items():
        setattr(value, name, inner)


def _fill_object(value: object, held: dict[str, object], left_out: frozenset[str]) -> None:
    attributes = vars(value)
    stays = {name: attributes[name] for name in left_out if name in attributes}
    attributes.clear()
    attributes.update(held)
    attributes.update(stays)
