"""What the annotations of a command mean: the types and marks of QAPI's schema."""

import types
from typing import Annotated, Any, Union, get_args, get_origin

from msgspec import Struct

from qgasim.dialect import Dialect, Version

__all__ = ["Alternate", "Json", "Since", "Size", "UInt64", "is_in", "strip"]


class Since(Struct, frozen=True):
    """Marks a member that older releases do not have."""

    version: Version


class Alternate(Struct, frozen=True):
    """Marks a QAPI alternate, and names it as its errors do."""

    name: str
    #: Since when it is one; before, only the first of its types was taken.
    since: Version = (0, 0)


UInt64 = Annotated[int, "uint64"]
"""QAPI's ``uint64`` and ``size``: negative integers are taken modulo 2^64."""
Size = UInt64


Json = Annotated[str, "json"]
"""A result that is JSON text already, written as QEMU writes it."""


def strip(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
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


def is_in(annotation: Any, dialect: Dialect) -> bool:
    _, marks = strip(annotation)
    return all(dialect.has(mark.version) for mark in marks if isinstance(mark, Since))
