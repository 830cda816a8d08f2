"""Reading arguments as QEMU's input visitor does (qapi/qobject-input-visitor.c).

Members are visited in the order of the schema, each is refused in QEMU's words, and what was not
visited is refused at the end.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin

import msgspec
from msgspec import Struct

from qgasim.dialect import Dialect
from qgasim.errors import CommandError
from qgasim.qapi.annotations import Alternate, is_in, strip
from qgasim.wire import hash_order, is_array, is_object

__all__ = [
    "JSON_TYPES",
    "Member",
    "Visit",
    "glib_order",
    "make_visit",
    "read_members",
    "refuse_left",
    "visit_alternate",
    "visit_enum",
    "visit_integer",
    "visit_list",
    "visit_members",
    "wrong_type",
]

#: Takes a value and the path that errors call it by.
Visit: TypeAlias = Callable[[Any, str], Any]


def _kind(value: object) -> type:
    """Return the type by which an alternate's branch is chosen: a double is a number, too."""
    return int if isinstance(value, float) else type(value)


def wrong_type(path: str, expected: str) -> CommandError:
    """Return the error about a value of another JSON type."""
    return CommandError(f"Invalid parameter type for '{path}', expected: {expected}")


def _visit_int(value: Any, path: str) -> int:
    if type(value) is int and value < 1 << 63:
        return value
    raise wrong_type(path, "integer")


def _visit_uint64(value: Any, path: str) -> int:
    if type(value) is int:
        return value % (1 << 64)
    raise CommandError(f"Parameter '{path}' expects uint64")


def visit_integer(bits: int, *, is_signed: bool) -> Visit:
    """Return what visits an integer of *bits* (qapi/qapi-visit-core.c, visit_type_intN(), visit_type_uintN())."""
    whole = _visit_int if is_signed else _visit_uint64
    if bits == 64:
        return whole
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
    kind = f"{'' if is_signed else 'u'}int{bits}_t"

    def visit(value: Any, path: str) -> int:
        number = whole(value, path)
        if not low <= number <= high:
            raise CommandError(f"Parameter '{_last(path)}' expects {kind}")
        return number

    return visit


def _last(path: str) -> str:
    """Return the name of a member without its path, as some errors name it: an element of a list has none."""
    return "null" if path.endswith("]") else path.rpartition(".")[2]


def _visit_str(value: Any, path: str) -> str:
    if type(value) is str:
        return value
    raise wrong_type(path, "string")


def _visit_bool(value: Any, path: str) -> bool:
    if type(value) is bool:
        return value
    raise wrong_type(path, "boolean")


def _visit_number(value: Any, path: str) -> float:
    if type(value) in (int, float):
        return value  # type: ignore[no-any-return]
    raise wrong_type(path, "number")


def _visit_null(value: Any, path: str) -> None:
    if value is not None:
        raise wrong_type(path, "null")


def _visit_any(value: Any, path: str) -> Any:
    return value


#: What visits the JSON types of a schema's builtin types.
JSON_TYPES: Final[dict[str, Visit]] = {
    "int": _visit_int,
    "string": _visit_str,
    "boolean": _visit_bool,
    "number": _visit_number,
    "null": _visit_null,
    "value": _visit_any,
}


def visit_enum(values: tuple[str, ...], refusal: str) -> Visit:
    """Return what visits one of *values*; *refusal*: the error for others (`Dialect.enum_text`)."""

    def visit(value: Any, path: str) -> str:
        text = _visit_str(value, path)
        if text not in values:
            # qapi/qapi-visit-core.c, input_type_enum() names the member without its path, and an element
            # of a list, which has no name, "null".
            raise CommandError(refusal.format(path=_last(path), value=text))
        return text

    return visit


def visit_alternate(name: str, branches: dict[type, Visit]) -> Visit:
    """Return what visits a value by its type; *name*: what errors call the alternate."""

    def visit(value: Any, path: str) -> Any:
        branch = branches.get(_kind(value))
        if branch is None:
            raise wrong_type(_last(path), name)
        return branch(value, path)

    return visit


def visit_list(element: Visit) -> Visit:
    """Return what visits an array."""

    def visit(value: Any, path: str) -> list[Any]:
        if not is_array(value):
            raise wrong_type(path, "array")
        return [element(item, f"{path}[{i}]") for i, item in enumerate(value)]

    return visit


class Member(Struct, frozen=True):
    """An argument, or a member of a struct, as it is read."""

    name: str
    visit: Visit
    is_optional: bool
    default: Any


def read_members(members: tuple[Member, ...], value: dict[str, Any], prefix: str) -> list[Any]:
    """Read an object's members in order; refuse what is left over."""
    result = visit_members(members, value, prefix)
    refuse_left(members, value, prefix)
    return result


def visit_members(members: tuple[Member, ...], value: dict[str, Any], prefix: str) -> list[Any]:
    """Read an object's members in order."""
    result: list[Any] = []
    for member in members:
        if member.name in value:
            result.append(member.visit(value[member.name], prefix + member.name))
        elif member.is_optional:
            result.append(member.default)
        else:
            raise CommandError(f"Parameter '{prefix}{member.name}' is missing")
    return result


def refuse_left(members: tuple[Member, ...], value: dict[str, Any], prefix: str) -> None:
    """Refuse an object that has more than *members*."""
    visited = [member.name for member in members if member.name in value]
    if len(visited) != len(value):
        left = _first_left(list(value), visited)
        raise CommandError(f"Parameter '{prefix}{left}' is unexpected")


def _first_left(keys: list[str], visited: list[str]) -> str:
    """Return the member that QEMU names of those it did not visit.

    It keeps the names in a GHashTable, filled in the order of the QDict, takes out what it visits,
    and names the first of the rest in the order of that table's slots (glib/ghash.c).
    """
    if len(keys) == 1:
        # It may be megabytes long.
        return keys[0]
    table = _GHashTable()
    for key in hash_order(keys):
        table.insert(key)
    for key in visited:
        table.remove(key)
    return next(slot for slot in table.slots if isinstance(slot, str))


#: How many bytes are hashed at once.
_HASHED: Final = 128
_DIGITS: Final = b"0123456789abcdefghijklmnopqrstuvw"
#: A signed char is 33 a + b - 256 c: the digits for a, b and c.
_PARTS: Final = (
    (33, bytes(_DIGITS[byte // 33] for byte in range(256))),
    (1, bytes(_DIGITS[byte % 33] for byte in range(256))),
    (-256, bytes(_DIGITS[byte >> 7] for byte in range(256))),
)


def hash_string(raw: bytes) -> int:
    """Return what ``g_str_hash`` does: h = 33 h + c from 5381 on, in 32 bits; c is signed.

    That is how a number is read in base 33, which Python does without a step for each byte.
    """
    parts = [(factor, raw.translate(digits)) for factor, digits in _PARTS]
    value = 5381
    for start in range(0, len(raw), _HASHED):
        end = min(start + _HASHED, len(raw))
        value *= pow(33, end - start, 1 << 32)
        value += sum(factor * int(digits[start:end], 33) for factor, digits in parts)
        value &= 0xFFFFFFFF
    return value


def glib_order(keys: Iterable[str]) -> list[str]:
    """Return *keys*, in the order of their insertion, in the order of a GHashTable's slots."""
    table = _GHashTable()
    for key in keys:
        table.insert(key)
    return [slot for slot in table.slots if isinstance(slot, str)]


class _GHashTable:
    """The order of a GHashTable of strings (glib 2.74; a removed key leaves `True`)."""

    # The largest primes below the powers of two, up to what 2 Mi tokens can fill (ghash.c, prime_mod).
    PRIMES: Final = (
        1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749,
        65521, 131071, 262139, 524287, 1048573, 2097143, 4194301,
    )  # fmt: skip

    def __init__(self) -> None:
        self.shift = 3
        self.slots: list[str | bool | None] = [None] * 8
        self.count = 0
        self.occupied = 0
        self._hashes: dict[str, int] = {}
        #: Where each search for a free slot has got to, by the place where it began: a slot that is taken
        #: stays so until the table is resized, and keys that collide need not look at it again.
        self._reached: dict[int, tuple[int, int]] = {}
        #: How many slots were looked at.
        self.looks = 0

    def _home(self, key: str) -> int:
        value = self._hashes.get(key)
        if value is None:
            value = hash_string(key.encode("utf-8", "surrogateescape"))
            self._hashes[key] = value = max(value, 2) * 11 & 0xFFFFFFFF
        return value % self.PRIMES[self.shift]

    def _search(self, home: int, is_taken: Callable[[int], bool]) -> int:
        """Return the first slot that is not taken, for a key that belongs at *home*."""
        index, step = self._reached.get(home, (home, 0))
        mask = len(self.slots) - 1
        while is_taken(index):
            step += 1
            index = (index + step) & mask
        self.looks += step + 1 - self._reached.get(home, (home, 0))[1]
        self._reached[home] = index, step
        return index

    def insert(self, key: str) -> None:
        """Add *key*, which is not there; none was removed yet."""
        slots = self.slots
        slots[self._search(self._home(key), lambda index: slots[index] is not None)] = key
        self.occupied += 1
        self.count += 1
        self._maybe_resize()

    def remove(self, key: str) -> None:
        """Take out *key*, which is there."""
        index, step = self._home(key), 0
        while self.slots[index] != key:
            step += 1
            index = (index + step) & (len(self.slots) - 1)
        self.looks += step + 1
        self.slots[index] = True
        self.count -= 1
        self._maybe_resize()

    def _maybe_resize(self) -> None:
        size = len(self.slots)
        if (size > 8 and size > self.count * 4) or size <= self.occupied + self.occupied // 16:
            self._resize()

    def _resize(self) -> None:
        """Move each key to its new place, in the order of the slots; a key that is in the way moves next."""
        self.shift = max(3, int(self.count * 1.333).bit_length())
        slots, size = self.slots, 1 << self.shift
        old_size = len(slots)
        slots += [None] * (size - old_size)
        self._reached.clear()
        settled: set[int] = set()
        for start in range(old_size):
            if start in settled:
                continue
            moving, slots[start] = slots[start], None
            while isinstance(moving, str):
                index = self._search(self._home(moving), settled.__contains__)
                settled.add(index)
                moving, slots[index] = slots[index], moving
        del slots[size:]
        self._reached.clear()
        self.occupied = self.count


def _visit_struct(cls: type[Struct], dialect: Dialect) -> Visit:
    members = tuple(
        Member(
            field.encode_name, make_visit(field.type, dialect), not field.required, field.default
        )
        for field in msgspec.structs.fields(cls)
        if is_in(field.type, dialect)
    )
    names = [field.name for field in msgspec.structs.fields(cls) if is_in(field.type, dialect)]

    def visit(value: Any, path: str) -> Struct:
        if not is_object(value):
            raise wrong_type(path, "object")
        read = read_members(members, value, path + ".")
        return cls(**dict(zip(names, read, strict=True)))

    return visit


_SCALARS: Final[dict[Any, Visit]] = {
    int: _visit_int,
    str: _visit_str,
    bool: _visit_bool,
    Any: _visit_any,
}


def make_visit(annotation: Any, dialect: Dialect) -> Visit:
    bare, marks = strip(annotation)
    for mark in marks:
        if isinstance(mark, Alternate):
            if not dialect.has(mark.since):
                bare = get_args(bare)[0]
                break
            branches = {
                (str if get_origin(a) is Literal else a): make_visit(a, dialect)
                for a in get_args(bare)
            }
            return visit_alternate(mark.name, branches)
    if "uint64" in marks:
        return _visit_uint64
    if bare in _SCALARS:
        return _SCALARS[bare]
    if get_origin(bare) is Literal:
        return visit_enum(get_args(bare), dialect.enum_text)
    if get_origin(bare) is list:
        return visit_list(make_visit(get_args(bare)[0], dialect))
    if isinstance(bare, type) and issubclass(bare, Struct):
        return _visit_struct(bare, dialect)
    raise TypeError(f"no way to read {annotation!r} from a request")
