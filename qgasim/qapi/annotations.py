"""What the annotations of a command mean: the types and marks of QAPI's schema."""

import types
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

from msgspec import Struct

from qgasim.dialect import Dialect, Version

__all__ = [
    "Alternate",
    "Between",
    "Exact",
    "Form",
    "FormName",
    "Json",
    "Names",
    "Omissible",
    "Since",
    "Size",
    "Statistic",
    "UInt64",
    "ValueSince",
    "is_in",
    "item_of",
    "mark_of",
    "strip",
    "struct_of",
]

M = TypeVar("M")


class Since(Struct, frozen=True):
    """Marks a member that older releases do not have."""

    version: Version


class Alternate(Struct, frozen=True):
    """Marks a QAPI alternate, and names it as its errors do."""

    name: str
    #: Since when it is one; before, only the first of its types was taken.
    since: Version = (0, 0)


class ValueSince(Struct, frozen=True):
    """Marks an enumeration: older releases do not have this value of it."""

    value: str
    version: Version


class Exact(Struct, frozen=True):
    """Marks a result that follows from the request or from what it did: any other value would be untrue."""


class Omissible(Struct, frozen=True):
    """Marks a member that the schema has as optional, and that this agent has always."""


class Names(Struct, frozen=True):
    """Marks text or a number by which replies name a thing of the guest, so that they can agree on it."""

    #: What kind of thing.
    what: str
    #: Whether the reply lists these things, refers to one that is listed, or names one that need not be.
    role: Literal["lists", "refers", "mentions"] = "refers"
    #: What this reply puts before the name.
    prefix: str = ""
    #: Whether clients give it back in requests.
    is_argument: bool = False


FormName: TypeAlias = Literal["address", "mac", "version"]


class Form(Struct, frozen=True):
    """Marks text that has a form."""

    name: FormName


class Between(Struct, frozen=True):
    """Marks a number that has bounds within those of its type: numbers, or the names of other members."""

    least: int | str | None
    most: int | str | None = None


UInt64 = Annotated[int, "uint64"]
"""QAPI's ``uint64`` and ``size``: negative integers are taken modulo 2^64."""
Size = UInt64
Statistic = Annotated[UInt64, Omissible()]
"""A counter that the guest's kernel may not know."""


Json = Annotated[str, "json"]
"""A result that is JSON text already, written as QEMU writes it."""


@lru_cache(maxsize=4096)
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


def mark_of(annotation: Any, kind: type[M]) -> M | None:
    """Return the mark of this kind that an annotation has; None: it has none."""
    return next((mark for mark in strip(annotation)[1] if isinstance(mark, kind)), None)


@lru_cache(maxsize=4096)
def struct_of(annotation: Any) -> type[Struct] | None:
    """Return the class of an object; None: the type is another one."""
    bare, _ = strip(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, Struct) else None


@lru_cache(maxsize=4096)
def item_of(annotation: Any) -> Any:
    """Return the type of a list's items; None: the type is another one."""
    bare, _ = strip(annotation)
    return get_args(bare)[0] if get_origin(bare) in {list, tuple} else None
