"""Names of things of the guest that are other ones: all replies that name a thing agree on it."""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from msgspec import Struct

from qgasim.dialect import Dialect
from qgasim.qapi.annotations import Names, item_of, mark_of, struct_of
from qgasim.qapi.results import fields_in_order
from qgasim.qapi.samples import is_optional
from qgasim.wire import is_array, is_object

__all__ = ["Aliases", "kinds_listed", "names_of", "rename"]

#: What things are called instead, by kind and name; None: they are not there.
Aliases: TypeAlias = dict[tuple[str, str | int], str | int | None]
_KEPT: Final = object()
_GONE: Final = object()


def _key(mark: Names, name: Any) -> tuple[str, Any]:
    return mark.what, name.removeprefix(mark.prefix) if isinstance(name, str) else name


def names_of(value: Any, annotation: Any, dialect: Dialect) -> Iterator[tuple[str, str | int]]:
    """Yield the things that a value itself is called by: an object by its members, a text by itself."""
    mark, cls = mark_of(annotation, Names), struct_of(annotation)
    if mark is not None:
        if isinstance(value, str | int):
            yield _key(mark, value)
    elif cls is not None and is_object(value):
        for field in fields_in_order(cls, dialect):
            if mark_of(field.type, Names) and field.encode_name in value:
                yield from names_of(value[field.encode_name], field.type, dialect)


def kinds_listed(annotation: Any, dialect: Dialect) -> set[str]:
    """Return the kinds of things that a command lists."""
    mark = mark_of(annotation, Names)
    found = {mark.what} if mark is not None and mark.role == "lists" else set[str]()
    if (item := item_of(annotation)) is not None:
        found |= kinds_listed(item, dialect)
    elif (cls := struct_of(annotation)) is not None:
        for field in fields_in_order(cls, dialect):
            found |= kinds_listed(field.type, dialect)
    return found


def rename(value: Any, annotation: Any, dialect: Dialect, aliases: Aliases) -> Any:
    """Return *value*, the things in it called by their *aliases*; what is not there is left out."""
    renamed = _rename(value, annotation, dialect, aliases)
    return value if renamed in (_KEPT, _GONE) else renamed


def _rename(value: Any, annotation: Any, dialect: Dialect, aliases: Aliases) -> Any:
    """Return the new value, `_KEPT` if it is the old one, `_GONE` if what it is about is not there."""
    mark, item, cls = mark_of(annotation, Names), item_of(annotation), struct_of(annotation)
    if mark is not None:
        return _rename_one(mark, value, aliases)
    if item is not None and is_array(value):
        return _rename_items(value, item, dialect, aliases)
    if cls is not None and is_object(value):
        return _rename_members(value, cls, dialect, aliases)
    return _KEPT


def _rename_one(mark: Names, value: Any, aliases: Aliases) -> Any:
    if not isinstance(value, str | int):
        return _KEPT
    alias = aliases.get(_key(mark, value), _KEPT)
    if alias is None:
        return _KEPT if mark.role == "mentions" else _GONE
    if isinstance(alias, str) and isinstance(value, str) and value.startswith(mark.prefix):
        return mark.prefix + alias
    return alias


def _rename_items(value: list[Any], item: Any, dialect: Dialect, aliases: Aliases) -> Any:
    renamed = [_rename(each, item, dialect, aliases) for each in value]
    if all(new is _KEPT for new in renamed):
        return _KEPT
    return [
        old if new is _KEPT else new
        for old, new in zip(value, renamed, strict=True)
        if new is not _GONE
    ]


def _rename_members(
    value: dict[str, Any], cls: type[Struct], dialect: Dialect, aliases: Aliases
) -> Any:
    changed: dict[str, Any] = {}
    for field in fields_in_order(cls, dialect):
        if field.encode_name in value:
            new = _rename(value[field.encode_name], field.type, dialect, aliases)
            if new is _GONE and not is_optional(field):
                return _GONE
            if new is not _KEPT:
                changed[field.encode_name] = new
    if not changed:
        return _KEPT
    return {name: new for name, new in (value | changed).items() if new is not _GONE}
