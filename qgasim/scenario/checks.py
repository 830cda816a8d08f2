"""What must hold besides types: how checks are registered, found and run.

Each check gives the path of what is wrong, below the Struct that it looks at, and what is wrong. The
same checks serve YAML, where the path leads to a place in a file, and Python.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

import msgspec
from msgspec import Struct

__all__ = [
    "CHECKS",
    "Wrong",
    "check",
    "check_struct",
    "checks",
    "fields_of",
    "join",
    "touch",
]

Wrong: TypeAlias = Iterator[tuple[str, str]]

Check: TypeAlias = Callable[[Any], Wrong]
#: The checks of each Struct, and what they look at: the paths of keys below it; none: all of it.
CHECKS: Final[dict[type, list[tuple[tuple[str, ...], Check]]]] = {}


def checks(cls: type, *keys: str) -> Callable[[Check], Check]:
    """Register a function as a check of the Struct *cls* that looks at these *keys* of it."""

    def register(function: Check) -> Check:
        CHECKS.setdefault(cls, []).append((keys, function))
        return function

    return register


def join(path: str, inner: str) -> str:
    """Put a path below another: ``guest.nics`` and ``[2].mac``."""
    return f"{path}.{inner}" if path and inner and not inner.startswith("[") else path + inner


def check_struct(value: Struct, broken: Iterable[str] = ()) -> Wrong:
    """Check one Struct; those inside it are not looked at again.

    Args:
        value: the Struct.
        broken: paths below it of what could not be read. A check that looks at one of these is not run.
    """
    for cls in type(value).__mro__:
        for keys, function in CHECKS.get(cls, ()):
            if not any(touch(path, keys) for path in broken):
                yield from function(value)


def touch(path: str, keys: tuple[str, ...]) -> bool:
    """Return whether what is at *path* is, or is in, or has in it, one of *keys*."""
    if not keys:
        return True
    parts = path.replace("[", ".").split(".")
    return any(all(a == b for a, b in zip(parts, key.split("."), strict=False)) for key in keys)


def check(value: Any, path: str = "") -> Wrong:
    """Check *value* and everything in it."""
    if isinstance(value, Struct):
        for inner, text in check_struct(value):
            yield join(path, inner), text
        for field in fields_of(type(value)):
            yield from check(getattr(value, field.name), join(path, field.encode_name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from check(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield from check(item, join(path, key))


@lru_cache(maxsize=256)
def fields_of(cls: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the fields of a Struct."""
    return msgspec.structs.fields(cls)
