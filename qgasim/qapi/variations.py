"""What else a command could return: all changes of one result, made of its annotation.

A client must accept more than it has seen. QEMU's schema says which members are optional and which values
a type has. Later releases may add members, which clients are expected to ignore (QEMU, docs/devel/
qapi-code-gen.rst, "Compatibility considerations"), and have added values, as ``nvme`` to the types of buses
in 7.1. A `Variation` is one such change at one place. If it gives a thing of the guest another name, or takes
it away, it consists of `Aliases`, which hold for what other commands return, too.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final, Literal, TypeAlias, get_origin

from msgspec import Struct
from msgspec.structs import FieldInfo

from qgasim.dialect import Dialect, Version
from qgasim.qapi.annotations import (
    Exact,
    Names,
    Since,
    ValueSince,
    is_in,
    item_of,
    mark_of,
    strip,
    struct_of,
)
from qgasim.qapi.names import Aliases, names_of, rename
from qgasim.qapi.results import fields_in_order, fields_of
from qgasim.qapi.samples import INVENTED, NAMES, is_enum, is_optional, make_value, sample
from qgasim.wire import is_array, is_object

__all__ = ["ABSENT", "Path", "Variation", "VariationKind", "list_variations", "put"]

VariationKind: TypeAlias = Literal[
    "absent", "present", "older", "empty", "fewer", "long", "duplicate", "order", "integer", "number",
    "boolean", "text", "name", "value", "newer_member", "new_member", "newer_value", "new_value",
]  # fmt: skip
IllegalKind: TypeAlias = Literal["missing", "null", "wrong_type", "out_of_range", "no_value"]
#: The members and indices that lead to a place.
Path: TypeAlias = tuple[str | int, ...]
#: What is at a place at which nothing is.
ABSENT: Final = object()
#: How many items a long list has.
LONG: Final = 64
#: How many items of a list are varied from its beginning, besides the last one.
VARIED_ITEMS: Final = 3
_KINDS: Final[dict[type, VariationKind]] = {
    int: "integer",
    float: "number",
    bool: "boolean",
    str: "text",
}
#: What is no value of a type, by what it is in JSON.
_WRONG: Final[dict[type, tuple[Any, ...]]] = {
    bool: (1, "true"),
    int: ("1", 0.5, True),
    float: ("1.5", True),
    str: (0, True, [], {}),
    list: ({}, "", 0),
    dict: ([], "", 0),
}


class Variation(Struct, frozen=True):
    """One change of a result."""

    kind: VariationKind | IllegalKind
    #: Where.
    path: Path = ()
    #: What is there instead; `ABSENT`: nothing.
    value: Any = None
    #: What things are called instead, here and in other replies; if there are any, they are all that changes.
    aliases: Aliases = {}

    def vary(self, result: Any, annotation: Any, dialect: Dialect) -> Any:
        """Return *result*, which is left as it is, with the change."""
        if self.aliases:
            return rename(result, annotation, dialect, self.aliases)
        return put(result, self.path, self.value)


def put(result: Any, path: Path, value: Any) -> Any:
    """Return *result*, which is left as it is, with *value* at a place."""
    if not path:
        return deepcopy(value)
    place, *rest = path
    changed = result.copy()
    if value is ABSENT and not rest:
        del changed[place]
    else:
        changed[place] = put(result[place] if rest else None, tuple(rest), value)
    return changed


def list_variations(
    result: Any, annotation: Any, dialect: Dialect, *, illegal: bool = False
) -> list[Variation]:
    """Return all variations of what a command has returned, the same each time.

    A result that is only a number or a word answers this very request, so it has no legal ones.

    Args:
        result: what it returned, as JSON's values.
        annotation: the command's result type.
        dialect: the release, whose members and values there are.
        illegal: return those that the schema does not allow.
    """
    varying = _Illegal(dialect) if illegal else _Legal(dialect)
    bare, _ = strip(annotation)
    if illegal or isinstance(result, list | dict):
        varying.visit(result, annotation, ())
        if bare is type(None):
            varying.visit_members({}, (), ())
    if illegal:
        return varying.found
    taken = set(_texts_in(result))
    found = [each for each in varying.found if taken.isdisjoint(each.aliases.values())]
    return found + _list_older(result, annotation, dialect)


def _texts_in(value: Any) -> Iterator[str]:
    """Yield all texts in a value: what a thing may be called already, a directory's name apart."""
    if isinstance(value, str):
        yield value.removeprefix("/dev/")
    elif is_object(value) or is_array(value):
        for item in value.values() if is_object(value) else value:
            yield from _texts_in(item)


class _Varying:
    """Goes through a result and collects variations."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.found: list[Variation] = []

    def add(self, kind: VariationKind | IllegalKind, path: Path, value: Any) -> None:
        """Add a variation that puts *value* at *path*."""
        self.found.append(Variation(kind, path, value))

    def visit(
        self, value: Any, annotation: Any, path: Path, siblings: dict[str, Any] | None = None
    ) -> None:
        """Vary a value, if it is of the type: a stub or a fault may have said something else."""
        if item_of(annotation) is not None:
            if is_array(value):
                self.visit_list(value, annotation, path)
        elif (cls := struct_of(annotation)) is not None:
            if is_object(value):
                self.visit_struct(value, cls, path)
        elif strip(annotation)[0] is not type(None):
            self.visit_scalar(value, annotation, path, siblings or {})

    def visit_struct(self, value: dict[str, Any], cls: type[Struct], path: Path) -> None:
        """Vary an object and its members."""
        self.visit_members(value, fields_in_order(cls, self.dialect), path)
        for field in fields_in_order(cls, self.dialect):
            if field.encode_name in value:
                name = field.encode_name
                self.visit(value[name], field.type, (*path, name), value)

    def visit_items(self, value: list[Any], annotation: Any, path: Path) -> None:
        """Vary the first items of a list, and its last."""
        item = item_of(annotation)
        places = [*range(len(value))]
        for place in places[:VARIED_ITEMS] + places[VARIED_ITEMS:][-1:]:
            self.visit(value[place], item, (*path, place))

    def visit_members(
        self, value: dict[str, Any], fields: tuple[FieldInfo, ...], path: Path
    ) -> None:
        """Vary which members an object has."""
        raise NotImplementedError

    def visit_list(self, value: list[Any], annotation: Any, path: Path) -> None:
        """Vary a list and its items."""
        raise NotImplementedError

    def visit_scalar(
        self, value: Any, annotation: Any, path: Path, siblings: dict[str, Any]
    ) -> None:
        """Vary what is neither list nor object."""
        raise NotImplementedError


class _Legal(_Varying):
    """Collects what the schema allows, and what later releases may add to it."""

    def visit_struct(self, value: dict[str, Any], cls: type[Struct], path: Path) -> None:
        """Vary an object and its members; have those of newer releases."""
        super().visit_struct(value, cls, path)
        for field in fields_of(cls):
            if not is_in(field.type, self.dialect):
                for made in self.make(field, value)[:1]:
                    self.add("newer_member", (*path, field.encode_name), made)

    def visit_members(
        self, value: dict[str, Any], fields: tuple[FieldInfo, ...], path: Path
    ) -> None:
        """Leave out or have optional members, and one that no release has."""
        for field in fields:
            name = field.encode_name
            if not is_optional(field) or mark_of(field.type, Exact) is not None:
                continue
            if name in value:
                self.add("absent", (*path, name), ABSENT)
            else:
                for made in self.make(field, value):
                    self.add("present", (*path, name), made)
        invented: tuple[Any, ...] = ("invented", 1, [], {INVENTED: {}})
        for new in invented:
            self.add("new_member", (*path, INVENTED), new)

    def make(self, field: FieldInfo, siblings: dict[str, Any]) -> list[Any]:
        """Return values for a member that is not there; [] if it would have to be a true one."""
        if mark_of(field.type, Names) or mark_of(field.type, Exact):
            return []
        if samples := sample(field.type, self.dialect, siblings=siblings):
            return samples[:3]
        made = make_value(field.type, self.dialect)
        return [] if made is None else [made]

    def visit_list(self, value: list[Any], annotation: Any, path: Path) -> None:
        """Vary the length and the order of a list, unless its items are of this very request."""
        item = item_of(annotation)
        cls = struct_of(item)
        members = [] if cls is None else [field.type for field in fields_of(cls)]
        is_named = any(mark_of(member, Names) for member in members)
        if not is_named and any(map(_is_answer, [annotation, item, *members])):
            self.visit_items(value, annotation, path)
            return
        if value:
            self._shorten(value, item, path)
            self._lengthen(value, item, path)
            if value != value[::-1]:
                self.add("order", path, value[::-1])
            if len(value) > 2:
                self.add("order", path, value[1:] + value[:1])
        self.visit_items(value, annotation, path)

    def _shorten(self, value: list[Any], item: Any, path: Path) -> None:
        shorter: tuple[tuple[VariationKind, list[Any]], ...] = (
            ("empty", value),
            ("fewer", value[:1]),
            ("fewer", value[-1:]),
        )
        for kind, left_out in shorter:
            names = [name for each in left_out for name in names_of(each, item, self.dialect)]
            if _lists(item, self.dialect):
                self.found.append(Variation(kind, aliases=dict.fromkeys(names)))
            elif kind == "empty":
                self.add("empty", path, [])
            else:
                rest = value[1:] if left_out == value[:1] else value[:-1]
                self.add("fewer", path, rest)

    def _lengthen(self, value: list[Any], item: Any, path: Path) -> None:
        self.add("duplicate", path, [value[0], *value])
        clones = _clones(value[-1], item, self.dialect)
        if clones:
            self.add("long", path, [*value, clones[0]])
            self.add("long", path, [*value, *clones][: max(LONG, len(value) + 1)])

    def visit_scalar(
        self, value: Any, annotation: Any, path: Path, siblings: dict[str, Any]
    ) -> None:
        """Vary it to another value of the type, or another name."""
        bare, marks = strip(annotation)
        names = mark_of(annotation, Names)
        if any(isinstance(mark, Exact) for mark in marks) or not isinstance(
            value, str | int | float
        ):
            return
        if names is not None:
            if names.role == "lists" and not names.is_argument and isinstance(value, str):
                key = (names.what, value.removeprefix(names.prefix))
                self.found += [
                    Variation("name", aliases={key: name}) for name in NAMES if name != key[1]
                ]
            return
        kind = "value" if is_enum(annotation) else _KINDS.get(bare)
        if kind is None:
            return
        for each in sample(annotation, self.dialect, value, siblings):
            self.add(kind, path, each)
        if kind == "value":
            for mark in marks:
                if isinstance(mark, ValueSince) and not self.dialect.has(mark.version):
                    self.add("newer_value", path, mark.value)
            self.add("new_value", path, INVENTED)


class _Illegal(_Varying):
    """Collects what the schema does not allow."""

    def visit_members(
        self, value: dict[str, Any], fields: tuple[FieldInfo, ...], path: Path
    ) -> None:
        """Leave out members that must be there, and have null."""
        for wrong in _WRONG[dict]:
            self.add("wrong_type", path, wrong)
        for field in fields:
            if field.encode_name in value:
                place = (*path, field.encode_name)
                self.add("null", place, None)
                if not is_optional(field):
                    self.add("missing", place, ABSENT)

    def visit_list(self, value: list[Any], annotation: Any, path: Path) -> None:
        """Vary it to something else, or put a null in it."""
        for wrong in _WRONG[list]:
            self.add("wrong_type", path, wrong)
        self.add("null", path, [*value, None])
        self.visit_items(value, annotation, path)

    def visit_scalar(
        self, value: Any, annotation: Any, path: Path, siblings: dict[str, Any]
    ) -> None:
        """Vary it to a value of another type, out of its range, or outside the enumeration."""
        bare, marks = strip(annotation)
        wrongs = _WRONG.get(bare, _WRONG[str])
        for wrong in wrongs:
            self.add("wrong_type", path, wrong)
        if bare is int:
            is_unsigned = any(mark in ("uint16", "uint64") for mark in marks)
            for wrong in (-1, 1 << 64) if is_unsigned else (1 << 63, -(1 << 63) - 1):
                self.add("out_of_range", path, wrong)
        if get_origin(bare) is Literal:
            self.add("no_value", path, "")


def _is_answer(annotation: Any) -> bool:
    """Return whether a list with such items is about this very request, and not about things of the guest."""
    bare, _ = strip(annotation)
    return bool(mark_of(annotation, Exact)) and get_origin(bare) is not Literal


def _lists(item: Any, dialect: Dialect) -> bool:
    """Return whether the items of a list are themselves the things that a command lists."""
    cls = struct_of(item)
    members = [item] if cls is None else [field.type for field in fields_in_order(cls, dialect)]
    marks = [mark_of(member, Names) for member in members]
    return any(mark is not None and mark.role == "lists" for mark in marks)


def _clones(value: Any, item: Any, dialect: Dialect) -> list[Any]:
    """Return other things like *value*; [] if a client could ask for one, and not find it."""
    cls = struct_of(item)
    if cls is None or not is_object(value):
        return [value] * LONG
    names: dict[str, str] = {}
    for field in fields_in_order(cls, dialect):
        mark, name = mark_of(field.type, Names), value.get(field.encode_name)
        if mark is not None and mark.role == "lists":
            if mark.is_argument or not isinstance(name, str):
                return []
            names[field.encode_name] = name
    return [
        value | {member: f"{name}-{number}" for member, name in names.items()}
        for number in range(LONG)
    ]


def _list_older(result: Any, annotation: Any, dialect: Dialect) -> list[Variation]:
    """Return the result as older releases wrote it, without the members that came later."""
    versions = sorted(_versions_in(annotation, dialect))
    found: list[Variation] = []
    for number in range(len(versions)):
        older = _without(result, annotation, dialect, frozenset(versions[number:]))
        if older != result and older not in [each.value for each in found]:
            found.append(Variation("older", (), older))
    return found


def _versions_in(annotation: Any, dialect: Dialect) -> set[Version]:
    """Return the releases with which members of a type came."""
    since = mark_of(annotation, Since)
    found = {since.version} if since and dialect.has(since.version) else set[Version]()
    if (item := item_of(annotation)) is not None:
        found |= _versions_in(item, dialect)
    elif (cls := struct_of(annotation)) is not None:
        for field in fields_of(cls):
            found |= _versions_in(field.type, dialect)
    return found


def _without(value: Any, annotation: Any, dialect: Dialect, newer: frozenset[Version]) -> Any:
    item, cls = item_of(annotation), struct_of(annotation)
    if item is not None and is_array(value):
        return [_without(each, item, dialect, newer) for each in value]
    if cls is not None and is_object(value):
        kept = dict(value)
        for field in fields_in_order(cls, dialect):
            name, since = field.encode_name, mark_of(field.type, Since)
            if name not in kept:
                continue
            if since is not None and since.version in newer and is_optional(field):
                del kept[name]
            else:
                kept[name] = _without(kept[name], field.type, dialect, newer)
        return kept
    return value
