"""Values of a type that clients seldom meet: boundaries, names that are hard to quote, other forms."""

from collections.abc import Callable
from typing import Any, Final, Literal, get_args, get_origin

from msgspec.structs import FieldInfo

from qgasim.dialect import Dialect
from qgasim.qapi.annotations import (
    Between,
    Exact,
    Form,
    FormName,
    Names,
    Omissible,
    ValueSince,
    is_in,
    item_of,
    mark_of,
    strip,
    struct_of,
)
from qgasim.qapi.results import fields_of

__all__ = ["INVENTED", "NAMES", "is_enum", "is_optional", "make_value", "range_of", "sample"]

#: A member or a value of an enumeration that no release has.
INVENTED: Final = "x-invented"

_INTEGERS: Final = (
    0, 1, -1, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 53) + 1, (1 << 63) - 1, -(1 << 31) - 1, -(1 << 63),
)  # fmt: skip
_UNSIGNED: Final = (
    0, 1, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 53) + 1, 1 << 63, (1 << 64) - 1,
)  # fmt: skip
#: A whole number is written without a point, so that a parser takes it for an integer.
_NUMBERS: Final = (0.0, 1.0, -1.5, 0.1, float(1 << 31), 1e18, 5e-324, 1.7976931348623157e308)
_RANGES: Final = {"uint16": (0, (1 << 16) - 1), "uint64": (0, (1 << 64) - 1)}
_RANGE: Final = (-(1 << 63), (1 << 63) - 1)

#: Names that are hard to quote, to split, to measure or to show; the longest have 255 bytes.
NAMES: Final = (
    "a b", " a ", 'say "a"', "it's", "back\\slash", "tab\there", "line\nbreak", "😀", "Größe", "日本語",
    "e\u0301", "\u202eabc", "\ufeffbom", "x" * 255, "é" * 127, "😀" * 63, "null", "true", "0", "-1", "%s%n", "$(id)", "`id`",
    "a,b;c", "a/b", "../..", "<b>&amp;", "*", "#", "-rf", "\x7f",
)  # fmt: skip
_TEXTS: Final = ("", " ", *NAMES)


def _sample_addresses(value: object) -> tuple[str, ...]:
    if ":" in str(value):
        return (
            "::",
            "::1",
            "fe80::1",
            "::ffff:192.0.2.1",
            "2001:db8:1111:2222:3333:4444:5555:6666",
        )
    return ("0.0.0.0", "127.0.0.1", "169.254.0.1", "192.0.2.1", "255.255.255.255")  # noqa: S104


#: Texts of each form, made of one that is there.
_FORMS: Final[dict[FormName, Callable[[object], tuple[str, ...]]]] = {
    "address": _sample_addresses,
    # The last is of InfiniBand.
    "mac": lambda _: ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01", "80:00:00:48" + ":fe" * 16),
    "version": lambda _: ("2.5.0", "10.0.0", "11.1.3", "9.2.90", "100.0.0", "8.2.2-rc1", "7.2"),
}  # fmt: skip


def is_optional(field: FieldInfo) -> bool:
    """Return whether a result may be without a member."""
    is_always_there = field.required and type(None) not in get_args(field.type)
    return not is_always_there or mark_of(field.type, Omissible) is not None


def is_enum(annotation: Any) -> bool:
    """Return whether a type is an enumeration of more than one value."""
    bare, _ = strip(annotation)
    return get_origin(bare) is Literal and len(get_args(bare)) > 1


def range_of(annotation: Any, siblings: dict[str, Any]) -> tuple[int, int]:
    """Return the least and the greatest integer that a member can be, beside its *siblings*."""
    _, marks = strip(annotation)
    least, most = next((_RANGES[mark] for mark in marks if mark in _RANGES), _RANGE)
    for mark in marks:
        if isinstance(mark, Between):
            low, high = (
                siblings.get(bound) if isinstance(bound, str) else bound
                for bound in (mark.least, mark.most)
            )
            least = least if low is None else max(least, low)
            most = most if high is None else min(most, high)
    return least, most


def sample(
    annotation: Any, dialect: Dialect, value: Any = None, siblings: dict[str, Any] | None = None
) -> list[Any]:
    """Return values that a release could have in place of *value*; [] for a list or an object.

    *value* is None if there is none. *siblings*: the other members of its object.
    """
    bare, marks = strip(annotation)
    found: tuple[Any, ...] = ()
    if bare is bool:
        found = (False, True)
    elif bare is int:
        least, most = range_of(annotation, siblings or {})
        integers = _INTEGERS if least < 0 else _UNSIGNED
        found = tuple(dict.fromkeys(n for n in (least, *integers, most) if least <= n <= most))
    elif bare is float:
        found = _NUMBERS
    elif bare is str:
        form = mark_of(annotation, Form)
        found = _TEXTS if form is None else _FORMS[form.name](value)
    elif get_origin(bare) is Literal:
        newer = {m.value for m in marks if isinstance(m, ValueSince) and not dialect.has(m.version)}
        found = tuple(each for each in get_args(bare) if each not in newer)
    return [each for each in found if each != value or type(each) is not type(value)]


def make_value(annotation: Any, dialect: Dialect) -> Any:
    """Return an ordinary value of a type, as small as can be; None if it would have to be a true one."""
    bare, marks = strip(annotation)
    if any(isinstance(mark, Exact | Names) for mark in marks):
        # Of an enumeration of one value, this is the true one.
        return get_args(bare)[0] if get_origin(bare) is Literal and not is_enum(bare) else None
    if item_of(annotation) is not None:
        return []
    if (cls := struct_of(annotation)) is not None:
        made: dict[str, Any] = {}
        for field in fields_of(cls):
            if is_optional(field) or not is_in(field.type, dialect):
                continue
            member = make_value(field.type, dialect)
            if member is None:
                return None
            made[field.encode_name] = member
        return made
    return next(iter(sample(annotation, dialect)), None)
