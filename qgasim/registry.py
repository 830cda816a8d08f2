"""Commands: annotated functions, and the table that an agent dispatches by.

`@command` reads a function's signature: its name is the wire name, its parameters are the arguments
in the schema's order, its result type says how the result is written. `compile_table` takes what one
release has. Reading follows QEMU's qapi/qobject-input-visitor.c: members are visited in the order of
the schema, and what was not visited is refused at the end.
"""

import inspect
import types
from collections.abc import Callable
from operator import attrgetter
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    TypeAlias,
    TypeGuard,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import Struct

from qgasim.dialect import Dialect, Version
from qgasim.errors import CommandError
from qgasim.wire import JsonValue, bucket, encode_string, hash_order

if TYPE_CHECKING:
    from qgasim.agent import Agent

__all__ = [
    "COMMANDS",
    "Alternate",
    "Base64",
    "Command",
    "Entry",
    "Since",
    "Size",
    "Table",
    "UInt64",
    "command",
    "compile_table",
]

Visit: TypeAlias = Callable[[Any, str], Any]
Write: TypeAlias = Callable[[Any], str]


class Since(Struct, frozen=True):
    """Marks a member that older releases do not have."""

    version: Version


class Alternate(Struct, frozen=True):
    """Marks a QAPI alternate, and names it as its errors do."""

    name: str


UInt64 = Annotated[int, "uint64"]
"""QAPI's ``uint64`` and ``size``: negative integers are taken modulo 2^64."""
Size = UInt64
Base64 = Annotated[str, "base64"]
"""A string that needs no escapes."""

# --------------------------------------------------------------------------------------
# Reading arguments.


def _is_array(value: Any) -> TypeGuard[list[Any]]:
    return type(value) is list


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return type(value) is dict


def _kind(value: object) -> type:
    """Give the type by which an alternate's branch is chosen: a double is a number, too."""
    return int if isinstance(value, float) else type(value)


def _wrong_type(path: str, expected: str) -> CommandError:
    return CommandError(f"Invalid parameter type for '{path}', expected: {expected}")


def _visit_int(value: Any, path: str) -> int:
    if type(value) is int and value < 1 << 63:
        return value
    raise _wrong_type(path, "integer")


def _visit_uint64(value: Any, path: str) -> int:
    if type(value) is int:
        return value % (1 << 64)
    raise CommandError(f"Parameter '{path}' expects uint64")


def _visit_str(value: Any, path: str) -> str:
    if type(value) is str:
        return value
    raise _wrong_type(path, "string")


def _visit_bool(value: Any, path: str) -> bool:
    if type(value) is bool:
        return value
    raise _wrong_type(path, "boolean")


def _visit_enum(values: tuple[str, ...]) -> Visit:
    def visit(value: Any, path: str) -> str:
        text = _visit_str(value, path)
        if text not in values:
            raise CommandError(f"Parameter '{path}' does not accept value '{text}'")
        return text

    return visit


def _visit_alternate(name: str, branches: dict[type, Visit]) -> Visit:
    def visit(value: Any, path: str) -> Any:
        branch = branches.get(_kind(value))
        if branch is None:
            raise _wrong_type(path, name)
        return branch(value, path)

    return visit


def _visit_list(element: Visit) -> Visit:
    def visit(value: Any, path: str) -> list[Any]:
        if not _is_array(value):
            raise _wrong_type(path, "array")
        return [element(item, f"{path}[{i}]") for i, item in enumerate(value)]

    return visit


class Member(Struct, frozen=True):
    """An argument, or a member of a struct, as it is read."""

    name: str
    visit: Visit
    is_optional: bool
    default: Any


def _read_members(members: tuple[Member, ...], value: dict[str, Any], prefix: str) -> list[Any]:
    """Read an object's members in order; refuse what is left over."""
    result: list[Any] = []
    seen = 0
    for member in members:
        if member.name in value:
            seen += 1
            result.append(member.visit(value[member.name], prefix + member.name))
        elif member.is_optional:
            result.append(member.default)
        else:
            raise CommandError(f"Parameter '{prefix}{member.name}' is missing")
    if seen != len(value):
        visited = [member.name for member in members if member.name in value]
        left = _first_left(list(value), visited)
        raise CommandError(f"Parameter '{prefix}{left}' is unexpected")
    return result


def _first_left(keys: list[str], visited: list[str]) -> str:
    """Give the member that QEMU names of those it did not visit.

    It keeps the names in a GHashTable, filled in the order of the QDict, takes out what it visits,
    and names the first of the rest in the order of that table's slots (glib/ghash.c).
    """
    table = _GHashTable()
    for key in hash_order(keys):
        table.insert(key)
    for key in visited:
        table.remove(key)
    return next(slot for slot in table.slots if isinstance(slot, str))


class _GHashTable:
    """The order of a GHashTable of strings (glib 2.74; a removed key leaves `True`)."""

    PRIMES: Final = (1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749)

    def __init__(self) -> None:
        self.shift = 3
        self.slots: list[str | bool | None] = [None] * 8
        self.count = 0
        self.occupied = 0

    def _find(self, key: str) -> int:
        value = 5381
        for byte in key.encode("utf-8", "surrogateescape"):
            value = value * 33 + (byte - 256 if byte > 127 else byte) & 0xFFFFFFFF
        index = max(value, 2) * 11 % (1 << 32) % self.PRIMES[self.shift]
        step = 0
        removed = -1
        while (slot := self.slots[index]) is not None:
            if slot == key:
                return index
            if slot is True and removed < 0:
                removed = index
            step += 1
            index = (index + step) & (len(self.slots) - 1)
        return removed if removed >= 0 else index

    def insert(self, key: str) -> None:
        index = self._find(key)
        self.occupied += self.slots[index] is None
        self.slots[index] = key
        self.count += 1
        self._maybe_resize()

    def remove(self, key: str) -> None:
        self.slots[self._find(key)] = True
        self.count -= 1
        self._maybe_resize()

    def _maybe_resize(self) -> None:
        size = len(self.slots)
        if (size > 8 and size > self.count * 4) or size <= self.occupied + self.occupied // 16:
            keys = [slot for slot in self.slots if isinstance(slot, str)]
            self.shift = max(3, int(self.count * 1.333).bit_length())
            self.slots = [None] * (1 << self.shift)
            self.occupied = 0
            for key in keys:
                index = self._find(key)
                self.slots[index] = key
                self.occupied += 1


def _visit_struct(cls: type[Struct], dialect: Dialect) -> Visit:
    members = tuple(
        Member(
            field.encode_name, _make_visit(field.type, dialect), not field.required, field.default
        )
        for field in msgspec.structs.fields(cls)
        if _is_in(field.type, dialect)
    )
    names = [field.name for field in msgspec.structs.fields(cls) if _is_in(field.type, dialect)]

    def visit(value: Any, path: str) -> Struct:
        if not _is_object(value):
            raise _wrong_type(path, "object")
        read = _read_members(members, value, path + ".")
        return cls(**dict(zip(names, read, strict=True)))

    return visit


def _strip(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Take an annotation apart: without ``None`` and ``Annotated``, and with its marks."""
    marks: tuple[Any, ...] = ()
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            marks += annotation.__metadata__
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            rest = [a for a in get_args(annotation) if a is not type(None)]
            if len(rest) != 1:
                return annotation, marks
            annotation = rest[0]
        else:
            return annotation, marks


def _is_in(annotation: Any, dialect: Dialect) -> bool:
    _, marks = _strip(annotation)
    return all(mark.version <= dialect.version for mark in marks if isinstance(mark, Since))


_SCALARS: Final[dict[Any, Visit]] = {int: _visit_int, str: _visit_str, bool: _visit_bool}


def _make_visit(annotation: Any, dialect: Dialect) -> Visit:
    bare, marks = _strip(annotation)
    for mark in marks:
        if isinstance(mark, Alternate):
            branches = {
                (str if get_origin(a) is Literal else a): _make_visit(a, dialect)
                for a in get_args(bare)
            }
            return _visit_alternate(mark.name, branches)
    if "uint64" in marks:
        return _visit_uint64
    if bare in _SCALARS:
        return _SCALARS[bare]
    if get_origin(bare) is Literal:
        return _visit_enum(get_args(bare))
    if get_origin(bare) is list:
        return _visit_list(_make_visit(get_args(bare)[0], dialect))
    if isinstance(bare, type) and issubclass(bare, Struct):
        return _visit_struct(bare, dialect)
    raise TypeError(f"no way to read {annotation!r} from a request")


# --------------------------------------------------------------------------------------
# Writing results.


def _write_float(value: float) -> str:
    return f"{value:.17g}"


def _write_bool(value: bool) -> str:
    return "true" if value else "false"


def _write_list(write: Write) -> Write:
    return lambda value: f"[{', '.join(map(write, value))}]"


def _write_struct(cls: type[Struct], dialect: Dialect) -> Write:
    """Write the members that are not None, in the order of a QDict."""
    fields = [f for f in msgspec.structs.fields(cls) if _is_in(f.type, dialect)]
    fields.sort(key=lambda field: bucket(field.encode_name))
    keys = [f"{encode_string(f.encode_name)}: " for f in fields]
    writers = [_make_write(f.type, dialect) for f in fields]
    # The first name twice, so that there is a tuple for a single member, too.
    get = attrgetter(*[f.name for f in fields], fields[0].name)
    is_long = ["base64" in _strip(f.type)[1] for f in fields]
    if any(is_long):
        return _write_long_struct(get, keys, writers, is_long)
    if all(write is str for write in writers) and all(f.required for f in fields):
        # Statistics: integers that are always there are written in one go.
        template = f"{{{', '.join(f'{key}%d' for key in keys)}}}"
        return lambda value: template % get(value)[:-1]

    def write(value: Any) -> str:
        written = [
            key + write_member(member)
            for key, write_member, member in zip(keys, writers, get(value), strict=False)
            if member is not None
        ]
        return f"{{{', '.join(written)}}}"

    return write


def _write_long_struct(
    get: Callable[[Any], tuple[Any, ...]],
    keys: list[str],
    writers: list[Write],
    is_long: list[bool],
) -> Write:
    """Write a struct with members of megabytes: copy these only once."""

    def write(value: Any) -> str:
        parts: list[str] = []
        for key, write_member, long, member in zip(
            keys, writers, is_long, get(value), strict=False
        ):
            if member is not None:
                quote = '"' if long else ""
                parts += (", ", key, quote, write_member(member), quote)
        parts[0] = "{"
        parts.append("}")
        return "".join(parts)

    return write


_WRITERS: Final[dict[Any, Write]] = {
    int: str,
    str: encode_string,
    bool: _write_bool,
    float: _write_float,
    type(None): lambda _: "{}",
}


def _make_write(annotation: Any, dialect: Dialect) -> Write:
    bare, marks = _strip(annotation)
    if "base64" in marks:
        return str
    if bare in _WRITERS:
        return _WRITERS[bare]
    if get_origin(bare) is Literal:
        return encode_string
    if get_origin(bare) is list:
        return _write_list(_make_write(get_args(bare)[0], dialect))
    if isinstance(bare, type) and issubclass(bare, Struct):
        return _write_struct(bare, dialect)
    raise TypeError(f"no way to write {annotation!r} in a reply")


# --------------------------------------------------------------------------------------
# Commands and tables.


class Command(Struct, frozen=True, kw_only=True):
    """A command of the agent's schema and the function that answers it."""

    name: str
    function: Callable[..., Any]
    since: Version
    until: Version | None
    #: Whether success is answered at all.
    replies: bool
    #: Whether it is served between freeze and thaw.
    while_frozen: bool
    #: Whether this kind of guest can do it; else it is listed, and disabled.
    is_supported: bool
    #: A constant reply needs no writing.
    parameters: tuple[tuple[str, Any, Any, bool], ...]
    returns: Any


COMMANDS: Final[list[Command]] = []
"""All commands of all releases, in the order of the schema."""


def command(
    *,
    since: Version,
    until: Version | None = None,
    name: str | None = None,
    replies: bool = True,
    while_frozen: bool = False,
    is_supported: bool = True,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a command.

    *since* and *until* are the first release that has it and the first that has not.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        hints = get_type_hints(function, include_extras=True)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        COMMANDS.append(
            Command(
                name=name or function.__name__.replace("_", "-"),
                function=function,
                since=since,
                until=until,
                replies=replies,
                while_frozen=while_frozen,
                is_supported=is_supported,
                parameters=tuple(
                    (
                        p.name.replace("_", "-"),
                        hints[p.name],
                        None if p.default is p.empty else p.default,
                        p.default is not p.empty,
                    )
                    for p in parameters
                ),
                returns=hints["return"],
            )
        )
        return function

    return register


class Entry:
    """A command as one agent has it: everything decided that can be decided beforehand."""

    __slots__ = ("call", "command", "disabled", "is_blocked", "write")

    def __init__(self, command: Command, dialect: Dialect) -> None:
        self.command = command
        self.call = _make_call(command, dialect)
        self.write: Write = _make_write(command.returns, dialect)
        #: Why the command is refused at present; None if it is not.
        self.disabled: str | None = None
        #: Whether it is refused for good.
        self.is_blocked = False


def _make_call(
    command: Command, dialect: Dialect
) -> "Callable[[Agent, dict[str, JsonValue]], Any]":
    function = command.function
    members = tuple(
        Member(name, _make_visit(annotation, dialect), is_optional, default)
        for name, annotation, default, is_optional in command.parameters
        if _is_in(annotation, dialect)
    )
    if not members:

        def call_bare(agent: "Agent", arguments: dict[str, JsonValue]) -> Any:
            if arguments:
                _read_members((), arguments, "")
            return function(agent)

        return call_bare

    def call(agent: "Agent", arguments: dict[str, JsonValue]) -> Any:
        return function(agent, *_read_members(members, arguments, ""))

    return call


Table: TypeAlias = dict[str, Entry]


def compile_table(commands: list[Command], dialect: Dialect) -> Table:
    """Make the table of one release, in the order of its schema."""
    version = dialect.version
    return {
        command.name: Entry(command, dialect)
        for command in commands
        if command.since <= version and (command.until is None or version < command.until)
    }
