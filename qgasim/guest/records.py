"""What a guest's records were like: to see whether they were changed, and to undo it.

Structs, lists and dicts are looked at one by one. What is undone is written back into the objects
that had it, for the files of /sys and others know these.
"""

from operator import is_
from typing import Any, Final, cast

from msgspec import Struct
from msgspec.structs import astuple

__all__ = ["Kept"]

#: What is looked into.
_RECORDS: Final = (Struct, list, dict)


class Kept:
    """The contents of attributes of an object, and of the records in them."""

    def __init__(self, owner: object, names: tuple[str, ...]) -> None:
        self._owner = owner
        self._values = {name: getattr(owner, name) for name in names}
        self._contents: list[tuple[Any, tuple[Any, ...]]] = []
        todo: list[Any] = list(filter(_is_record, self._values.values()))
        while todo:
            record = todo.pop()
            contents = _contents_of(record)
            self._contents.append((record, contents))
            todo += filter(_is_record, contents)

    def is_changed(self) -> bool:
        """Return whether anything is another object now, or has other contents.

        Equal objects can be of other types, so they are not compared.
        """
        owner = self._owner
        if any(getattr(owner, name) is not value for name, value in self._values.items()):
            return True
        for record, before in self._contents:
            now = _contents_of(record)
            if len(now) != len(before) or not all(map(is_, now, before)):
                return True
        return False

    def put_back(self) -> None:
        """Undo all changes."""
        for name, value in self._values.items():
            setattr(self._owner, name, value)
        for record, contents in self._contents:
            if isinstance(record, Struct):
                for name, member in zip(record.__struct_fields__, contents, strict=True):
                    setattr(record, name, member)
            elif isinstance(record, dict):
                keys, values = contents[::2], contents[1::2]
                record.clear()
                cast("dict[object, object]", record).update(zip(keys, values, strict=True))
            else:
                record[:] = contents


def _is_record(value: object) -> bool:
    return isinstance(value, _RECORDS)


def _contents_of(record: Any) -> tuple[Any, ...]:
    """Return what is directly in *record*; a dict's keys and values by turns."""
    if isinstance(record, Struct):
        return astuple(record)
    if isinstance(record, dict):
        entries = cast("dict[object, object]", record)
        return tuple(each for entry in entries.items() for each in entry)
    return tuple(record)
