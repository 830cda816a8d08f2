"""Writing results as QEMU writes a QDict: composed once from a type, then only formatted."""

from collections.abc import Callable
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from qgasim.dialect import Dialect
from qgasim.qapi.annotations import is_in, strip
from qgasim.wire import base64, bucket, encode, encode_double, encode_string

__all__ = ["Pieces", "WriteResult", "fields_in_order", "fields_of", "make_write"]

Write: TypeAlias = Callable[[Any], str]
Pieces: TypeAlias = list[bytes]
"""The text of a long result, to be joined."""
WriteResult: TypeAlias = Callable[[Any], str | Pieces]


def _write_bool(value: bool) -> str:
    return "true" if value else "false"


def _write_list(write: Write) -> Write:
    return lambda value: f"[{', '.join(map(write, value))}]"


@lru_cache(maxsize=256)
def fields_of(cls: type[Struct]) -> tuple[FieldInfo, ...]:
    """Return the members of *cls* in all releases."""
    return msgspec.structs.fields(cls)


@lru_cache(maxsize=1024)
def fields_in_order(cls: type[Struct], dialect: Dialect) -> tuple[FieldInfo, ...]:
    """Return the members of *cls* that a release has, in the order in which a QDict has them."""
    fields = [f for f in fields_of(cls) if is_in(f.type, dialect)]
    # In a bucket, the latest first, as in `hash_order`.
    fields.reverse()
    fields.sort(key=lambda field: bucket(field.encode_name))
    return tuple(fields)


def _members(
    cls: type[Struct], dialect: Dialect
) -> tuple[list[str], list[Write], Callable[[Any], tuple[Any, ...]]]:
    """Return the keys of *cls*, what writes their values and what gets these, in a QDict's order."""
    fields = fields_in_order(cls, dialect)
    keys = [f"{encode_string(f.encode_name)}: " for f in fields]
    writers = [_make_write(f.type, dialect) for f in fields]
    # The first name twice, so that there is a tuple for a single member, too.
    return keys, writers, attrgetter(*[f.name for f in fields], fields[0].name)


def _write_struct(cls: type[Struct], dialect: Dialect) -> Write:
    """Write the members that are not None."""
    keys, writers, get = _members(cls, dialect)
    is_total = all(f.required for f in fields_of(cls))
    if is_total and all(write is str for write in writers):
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

    # A struct that keeps its hash is one that comes back: what was written is kept as well.
    return lru_cache(maxsize=4096)(write) if cls.__struct_config__.cache_hash else write


def _write_long_struct(cls: type[Struct], dialect: Dialect) -> Callable[[Any], Pieces]:
    """Write a struct with members of megabytes: what is joined only once is copied only once."""
    keys, writers, get = _members(cls, dialect)

    def write(value: Any) -> Pieces:
        pieces: Pieces = []
        for key, write_member, member in zip(keys, writers, get(value), strict=False):
            if type(member) is bytes:
                pieces += (b", ", key.encode(), b'"', base64.encode(member), b'"')
            elif member is not None:
                pieces += (b", ", key.encode(), write_member(member).encode())
        pieces[0] = b"{"
        pieces.append(b"}")
        return pieces

    return write


_WRITERS: Final[dict[Any, Write]] = {
    int: str,
    str: encode_string,
    bool: _write_bool,
    bytes: lambda data: f'"{base64.encode(data).decode()}"',
    type(None): lambda _: "{}",
}


def make_write(annotation: Any, dialect: Dialect) -> WriteResult:
    """Make what writes a command's result of this type; bytes are written in base64.

    Raises:
        TypeError: there is no way to write it.
    """
    bare, _ = strip(annotation)
    if isinstance(bare, type) and issubclass(bare, Struct):
        types = [strip(f.type)[0] for f in fields_of(bare)]
        if bytes in types:
            return _write_long_struct(bare, dialect)
    return _make_write(annotation, dialect)


def _make_write(annotation: Any, dialect: Dialect) -> Write:
    bare, marks = strip(annotation)
    if "json" in marks or bare in _WRITERS:
        return str if "json" in marks else _WRITERS[bare]
    if bare is Any:
        return partial(encode, exact_doubles=dialect.writes_exact_doubles)
    if get_origin(bare) is Literal:
        return encode_string
    if bare is float:
        return partial(encode_double, is_exact=dialect.writes_exact_doubles)
    if get_origin(bare) in {list, tuple}:
        return _write_list(_make_write(get_args(bare)[0], dialect))
    if isinstance(bare, type) and issubclass(bare, Struct):
        return _write_struct(bare, dialect)
    raise TypeError(f"no way to write {annotation!r} in a reply")
