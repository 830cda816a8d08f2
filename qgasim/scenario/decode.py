"""Nodes to typed values: one reader for every Struct that a scenario can name.

All errors of a document are collected; each says where it is, what is wrong and what would be right.
"""

import errno
import re
import types
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin, get_type_hints

from msgspec import Struct
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from qgasim.scenario.checks import check_struct, fields_of, join
from qgasim.scenario.document import DocumentError, check_tag, kind_of, place_of, plain_value
from qgasim.suggestions import did_you_mean, find_close

__all__ = [
    "UNIT_NAMES",
    "Decoder",
    "can_be_null",
    "describe",
    "hints_of",
    "holds_several",
    "tag_field_of",
    "tag_of",
    "unit_of",
]

_SIZES: Final = {
    "": 1, "B": 1, "K": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30,
    "GiB": 1 << 30, "T": 1 << 40, "TiB": 1 << 40, "kB": 10**3, "KB": 10**3, "MB": 10**6,
    "GB": 10**9, "TB": 10**12,
}  # fmt: skip
_DURATIONS: Final = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "": 10**9, "m": 60 * 10**9,
    "min": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9,
}  # fmt: skip
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]*)")
_MISSING: Final = object()
#: The year 10000, in ns since 1970.
_LATEST: Final = 253_402_300_800 * 10**9


def _parse_quantity(text: str, units: dict[str, int]) -> int | None:
    match = _QUANTITY.fullmatch(text)
    if not match or match[2] not in units:
        return None
    return int(Decimal(match[1]) * units[match[2]])


def parse_size(text: str) -> int | None:
    """Read ``16MiB``, ``1.5G`` or bytes; None if it is none of these."""
    return _parse_quantity(text, _SIZES)


def parse_duration(text: str) -> int | None:
    """Read ``250ms``, ``1h`` or seconds, as ns; None if it is none of these."""
    return _parse_quantity(text, _DURATIONS)


def parse_time(text: str) -> int | None:
    """Read an RFC 3339 time or seconds since 1970, as ns; None if it is neither."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        seconds = _parse_quantity(text, {"": 10**9})
        return seconds if seconds is not None and seconds < _LATEST else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (passed.days * 86400 + passed.seconds) * 10**9 + passed.microseconds * 1000


def parse_errno(text: str) -> int | None:
    """Read ``EIO`` or its number; None if it is neither."""
    if text.isdecimal():
        return int(text) if int(text) in errno.errorcode else None
    # Not `errorcode`, in which a number has one name: EOPNOTSUPP is ENOTSUP there.
    number = getattr(errno, text, None)
    return number if isinstance(number, int) else None


_UNITS: Final[dict[str, tuple[Callable[[str], int | None], str]]] = {
    "size": (parse_size, "a size, as in 16MiB"),
    "duration": (parse_duration, "a duration, as in 250ms or 1h"),
    "errno": (parse_errno, "an error's name, as in EIO"),
    "time": (parse_time, "a time, as in 2024-06-15T12:00:00Z"),
}
#: More can be said, but not be done: what files can be long, and a century.
_MOST: Final = {"size": ((1 << 63) - 1, "8EiB - 1"), "duration": (36525 * 86400 * 10**9, "36525d")}
UNIT_NAMES: Final = frozenset(_UNITS)
_NAMES: Final = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}


@lru_cache(maxsize=256)
def hints_of(cls: type[Struct]) -> dict[str, Any]:
    """Return a Struct's annotations, ``Annotated`` kept."""
    return get_type_hints(cls, include_extras=True)


def tag_of(cls: Any) -> str | None:
    """Return what the tag says for a Struct of a tagged union; None for other types."""
    if not (isinstance(cls, type) and issubclass(cls, Struct)):
        return None
    tag = cls.__struct_config__.tag
    return tag if isinstance(tag, str) else None


def tag_field_of(cls: type[Struct]) -> str:
    """Return the key that holds the tag of a Struct of a tagged union."""
    return cls.__struct_config__.tag_field or ""


class Decoder:
    """Reads nodes as values of a type; what is wrong goes to *errors*."""

    def __init__(self) -> None:
        self.errors: list[DocumentError] = []
        #: The nodes that were read, by path: for checks that come afterwards.
        self.nodes: dict[str, Node] = {}
        #: Paths of what could not be read, or may have been meant by an unknown key.
        self.broken: list[str] = []
        #: What the whole document is read as.
        self._root: type[Struct] | None = None

    def decode(self, node: Node, wanted: Any, path: str) -> Any:
        """Read *node* as a *wanted*; on an error, note it and return `None`."""
        self.nodes[path] = node
        try:
            check_tag(node, path)
            return self._decode(node, wanted, path)
        except DocumentError as error:
            self.errors.append(error)
            self.broken.append(path)
            return None

    def _decode(self, node: Node, wanted: Any, path: str) -> Any:
        origin = get_origin(wanted)
        if origin is Annotated:
            inner, *marks = get_args(wanted)
            for mark in marks:
                if mark in _UNITS:
                    return self._unit(node, mark, path)
            return self._decode(node, inner, path)
        if origin in (Union, types.UnionType):
            return self._union(node, get_args(wanted), path)
        if origin is Literal:
            return self._literal(node, get_args(wanted), path)
        if origin in (list, tuple):
            if not isinstance(node, SequenceNode):
                raise DocumentError(node, path, f"expected a list, found {kind_of(node)}")
            item, *more = get_args(wanted)
            if more and more[0] is not Ellipsis and len(node.value) != len(more) + 1:
                text = f"expected a list of {len(more) + 1}, found one of {len(node.value)}"
                raise DocumentError(node, path, text)
            items = [self.decode(n, item, f"{path}[{i}]") for i, n in enumerate(node.value)]
            return items if origin is list else tuple(items)
        if origin is dict:
            values = self._mapping(node, path)
            item = get_args(wanted)[1]
            # A null takes away what a base has, where it is no value itself.
            return {
                k: self.decode(n, item, f"{path}.{k}")
                for k, (_, n) in values.items()
                if not _is_null(n) or can_be_null(item)
            }
        if wanted is Any:
            return self._anything(node, path)
        if isinstance(wanted, type) and issubclass(wanted, Struct):
            return self._struct(node, wanted, path)
        return self._scalar(node, cast(type, wanted), path)

    def _anything(self, node: Node, path: str) -> Any:
        """Read any JSON value."""
        if isinstance(node, MappingNode):
            values = self._mapping(node, path)
            return {k: self.decode(n, Any, f"{path}.{k}") for k, (_, n) in values.items()}
        if isinstance(node, SequenceNode):
            return [self.decode(n, Any, f"{path}[{i}]") for i, n in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return plain_value(node)

    def _unit(self, node: Node, mark: str, path: str) -> int:
        parse, expected = _UNITS[mark]
        value = parse(node.value) if isinstance(node, ScalarNode) else None
        if value is None:
            raise DocumentError(node, path, f"expected {expected}, found {kind_of(node)}")
        if mark in _MOST and value > _MOST[mark][0]:
            raise DocumentError(
                node, path, f"expected at most {_MOST[mark][1]}, found {kind_of(node)}"
            )
        return value

    def _scalar(self, node: Node, wanted: type, path: str) -> Any:
        if isinstance(node, ScalarNode):
            value = plain_value(node)
            if wanted is str and value is not None:
                return node.value
            if wanted is float and type(value) is int:
                return float(value)
            if type(value) is wanted:
                return value
        raise DocumentError(node, path, f"expected {_NAMES[wanted]}, found {kind_of(node)}")

    def _literal(self, node: Node, values: tuple[Any, ...], path: str) -> Any:
        found = plain_value(node) if isinstance(node, ScalarNode) else _MISSING
        for value in values:
            if found == value and type(found) is type(value):
                return value
            if isinstance(value, str) and isinstance(node, ScalarNode) and node.value == value:
                return value
        words = [str(value) for value in values]
        is_quoted = found in words
        hint = " (write it without quotes)" if is_quoted else did_you_mean(str(found), words)
        raise DocumentError(node, path, f"expected {_one_of(values)}, found {kind_of(node)}{hint}")

    def _union(self, node: Node, members: tuple[Any, ...], path: str) -> Any:
        if _is_null(node) and type(None) in members:
            return None
        rest = [m for m in members if m is not type(None)]
        if len(rest) == 1:
            return self._decode(node, rest[0], path)
        tagged = {tag: member for member in rest if (tag := tag_of(member))}
        if len(tagged) == len(rest):
            return self._tagged(node, tagged, path)
        for member in rest:
            if self._fits(node, member):
                return self._decode(node, member, path)
        expected = " or ".join(describe(member) for member in rest)
        raise DocumentError(node, path, f"expected {expected}, found {kind_of(node)}")

    def _tagged(self, node: Node, members: dict[str, type[Struct]], path: str) -> Any:
        """Read a mapping that has a key, as ``kind``, which says of which type it is."""
        name = tag_field_of(next(iter(members.values())))
        kind = self._mapping(node, path).get(name)
        if kind is None:
            raise DocumentError(node, path, f"'{name}' is missing (one of {', '.join(members)})")
        tag = self._literal(kind[1], tuple(members), join(path, name))
        return self._decode(node, members[tag], path)

    @staticmethod
    def _fits(node: Node, wanted: Any) -> bool:
        origin = get_origin(wanted)
        if origin in (list, tuple):
            return isinstance(node, SequenceNode)
        if origin is dict or (isinstance(wanted, type) and issubclass(wanted, Struct)):
            return isinstance(node, MappingNode)
        if not isinstance(node, ScalarNode):
            return False
        if origin is Annotated:
            mark = get_args(wanted)[1]
            return mark not in _UNITS or _UNITS[mark][0](node.value) is not None
        if origin is Literal:
            return node.value in [str(v) for v in get_args(wanted)]
        return wanted is str or type(plain_value(node)) is wanted

    def _mapping(self, node: Node, path: str) -> dict[str, tuple[Node, Node]]:
        if not isinstance(node, MappingNode):
            raise DocumentError(node, path, f"expected a mapping, found {kind_of(node)}")
        result: dict[str, tuple[Node, Node]] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.errors.append(DocumentError(key, path, "a key must be a text"))
            elif key.value in result:
                self.errors.append(DocumentError(key, path, f"duplicate key '{key.value}'"))
            else:
                result[key.value] = (key, value)
        return result

    def _struct(self, node: Node, cls: type[Struct], path: str) -> Any:
        values = self._mapping(node, path)
        if not path:
            self._root = cls
        hints = hints_of(cls)
        fields = {field.encode_name: field for field in fields_of(cls)}
        arguments: dict[str, Any] = {}
        before = len(self.broken)
        left_out: set[str] = set()
        for name, (key, value) in values.items():
            inner = f"{path}.{name}" if path else name
            if tag_of(cls) and name == tag_field_of(cls):
                continue
            if name not in fields:
                # Noted, but the rest can still be looked at.
                text = f"unknown key '{name}'{self._hint(name, cls)}"
                self.errors.append(DocumentError(key, path, text))
                self.broken += [join(path, close) for close in find_close(name, fields)]
                continue
            field = fields[name]
            hint = hints[field.name]
            if _is_null(value) and holds_several(hint) and not can_be_null(hint):
                left_out.add(name)
                continue
            count = len(self.broken)
            member = self.decode(value, hint, inner)
            # What is half read still serves the checks that look at the other half.
            if len(self.broken) == count or (member is not None and holds_several(hint)):
                arguments[field.name] = member
        for name, field in fields.items():
            if field.required and field.name not in arguments:
                if name not in values or name in left_out:
                    self.errors.append(DocumentError(node, path, f"'{name}' is missing"))
                self.broken.append(join(path, name))
        broken = self.broken[before:]
        if any(field.required and field.name not in arguments for field in fields.values()):
            return None
        made = cls(**arguments)
        start = len(path) + 1 if path else 0
        for inner, text in check_struct(made, [each[start:] for each in broken]):
            self.note(inner, text, path)
        return made

    def _hint(self, name: str, cls: type[Struct]) -> str:
        """Return what could have been meant by an unknown key in a *cls*."""
        if name == "<<":
            return " (YAML 1.2 merges nothing; write 'extends', or an alias of the whole)"
        if ":" in name:
            return " (is a space missing after the ':'?)"
        known = {field.encode_name: hints_of(cls)[field.name] for field in fields_of(cls)}
        for key, hint in known.items():
            if isinstance(hint, type) and issubclass(hint, Struct) and _has_key(hint, name):
                return f" (it belongs in '{key}')"
        if close := did_you_mean(name, known):
            return close
        if self._root is not None and self._root is not cls and _has_key(self._root, name):
            return " (it belongs to the keys at the top)"
        return f" (expected one of {', '.join(known)})" if known else ""

    def note(self, inner: str, text: str, path: str = "") -> None:
        """Note that something is wrong at *inner*, a path below *path*, or the nearest above it."""
        whole = join(path, inner)
        self.errors.append(DocumentError(self._nearest(whole), whole, text))

    def place_at(self, path: str) -> str:
        """Return where *path*, or the nearest above it that was read, is."""
        return place_of(self._nearest(path))

    def _nearest(self, path: str) -> Node:
        while path and path not in self.nodes:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.nodes[path]


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and plain_value(node) is None


def _has_key(cls: type[Struct], name: str) -> bool:
    return any(field.encode_name == name for field in fields_of(cls))


def can_be_null(wanted: Any) -> bool:
    """Return whether a null is a value of this type."""
    return wanted is Any or type(None) in get_args(wanted)


def holds_several(wanted: Any) -> bool:
    """Return whether values of this type are, or can be, lists or mappings."""
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        return any(holds_several(member) for member in get_args(wanted))
    return origin in (list, tuple, dict) or (
        isinstance(wanted, type) and issubclass(wanted, Struct)
    )


def unit_of(wanted: Any) -> str | None:
    """Return the unit in which a number is written, if it has one."""
    if get_origin(wanted) is Annotated:
        return next((mark for mark in get_args(wanted)[1:] if mark in _UNITS), None)
    return None


def _one_of(values: tuple[Any, ...]) -> str:
    return ("one of " if len(values) > 1 else "") + ", ".join(map(str, values))


def describe(wanted: Any) -> str:
    """Return what is expected of a value of this type."""
    origin = get_origin(wanted)
    if origin in (list, tuple):
        return "a list"
    if origin is Literal:
        return _one_of(get_args(wanted))
    if origin is Annotated:
        unit = unit_of(wanted)
        return describe(get_args(wanted)[0]) if unit is None else _UNITS[unit][1]
    if origin is dict:
        return "a mapping"
    return _NAMES.get(wanted, "a mapping")
