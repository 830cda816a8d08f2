"""Writing results as QEMU writes a QDict: composed once from a type, then only formatted."""

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin

import msgspec
from msgspec import Struct

from qgasim.dialect import Dialect
from qgasim.schema import is_in, strip
from qgasim.wire import bucket, encode_string

__all__ = ["Write", "make_write"]

Write: TypeAlias = Callable[[Any], str]


def _write_float(value: float) -> str:
    return f"{value:.17g}"


def _write_bool(value: bool) -> str:
    return "true" if value else "false"


def _write_list(write: Write) -> Write:
    return lambda value: f"[{', '.join(map(write, value))}]"


def _write_struct(cls: type[Struct], dialect: Dialect) -> Write:
    """Write the members that are not None, in the order of a QDict."""
    fields = [f for f in msgspec.structs.fields(cls) if is_in(f.type, dialect)]
    # In a bucket, the latest first, as in `hash_order`.
    fields.reverse()
    fields.sort(key=lambda field: bucket(field.encode_name))
    keys = [f"{encode_string(f.encode_name)}: " for f in fields]
    writers = [make_write(f.type, dialect) for f in fields]
    # The first name twice, so that there is a tuple for a single member, too.
    get = attrgetter(*[f.name for f in fields], fields[0].name)
    is_long = ["base64" in strip(f.type)[1] for f in fields]
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

    # A struct that keeps its hash is one that comes back: what was written is kept as well.
    return lru_cache(maxsize=4096)(write) if cls.__struct_config__.cache_hash else write


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


def make_write(annotation: Any, dialect: Dialect) -> Write:
    bare, marks = strip(annotation)
    if "base64" in marks:
        return str
    if bare in _WRITERS:
        return _WRITERS[bare]
    if get_origin(bare) is Literal:
        return encode_string
    if get_origin(bare) is list:
        return _write_list(make_write(get_args(bare)[0], dialect))
    if isinstance(bare, type) and issubclass(bare, Struct):
        return _write_struct(bare, dialect)
    raise TypeError(f"no way to write {annotation!r} in a reply")
