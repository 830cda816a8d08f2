"""Return whether a reply has the form that a release declares, whatever its values."""

import types
from collections.abc import Iterator
from typing import Any, Final, Literal, Union, get_args, get_origin

from msgspec import Struct

from qgasim.dialect import Dialect
from qgasim.qapi.annotations import strip
from qgasim.qapi.results import fields_in_order
from qgasim.wire import encode, is_array, is_object

__all__ = ["find_misfits", "spell"]

_KINDS: Final[dict[type, str]] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}
#: What a scalar of the schema looks like in JSON; base64 is a string.
_SCALARS: Final[dict[Any, tuple[type, ...]]] = {
    int: (int,),
    str: (str,),
    bool: (bool,),
    float: (float, int),
    bytes: (str,),
}


def find_misfits(
    value: Any, annotation: Any, dialect: Dialect, path: str = "", *, in_order: bool = True
) -> Iterator[str]:
    """Yield where *value*, read from a reply, is not of the type that a command returns.

    What is declared is compared, not what a simulated machine answers: which members that may be
    absent are there, and how long the lists are, is each machine's own. *in_order*: whether the order of
    members counts.
    """
    bare, _ = strip(annotation)
    where = path or "the reply"
    if get_origin(bare) is Literal:
        if value not in get_args(bare):
            yield f"{where}: {value!r} is none of {', '.join(get_args(bare))}"
    elif get_origin(bare) in {list, tuple}:
        if not is_array(value):
            yield _expected(where, list, value)
            return
        for element in value:
            yield from find_misfits(
                element, get_args(bare)[0], dialect, f"{path}[]", in_order=in_order
            )
    elif get_origin(bare) in {Union, types.UnionType}:
        branches = [
            list(find_misfits(value, branch, dialect, path, in_order=in_order))
            for branch in get_args(bare)
        ]
        yield from min(branches, key=len)
    elif bare in _SCALARS:
        if type(value) not in _SCALARS[bare]:
            yield _expected(where, _SCALARS[bare][0], value)
    elif not is_object(value):
        yield _expected(where, dict, value)
    else:
        members = bare if bare is not type(None) else _Nothing
        prefix = f"{path}." if path else ""
        yield from _find_wrong_members(value, members, dialect, prefix, in_order=in_order)


class _Nothing(Struct):
    """The empty object."""


def _find_wrong_members(
    value: dict[str, Any], cls: type[Struct], dialect: Dialect, prefix: str, *, in_order: bool
) -> Iterator[str]:
    fields = fields_in_order(cls, dialect)
    names = [field.encode_name for field in fields]
    for name in value:
        if name not in names:
            yield f"{prefix}{name}: a member that the simulated agent does not have"
    for field in fields:
        name = field.encode_name
        if name in value:
            yield from find_misfits(
                value[name], field.type, dialect, prefix + name, in_order=in_order
            )
        elif not _may_be_absent(field.type):
            yield f"{prefix}{name}: a member that the simulated agent always has is absent"
    found = [name for name in value if name in names]
    if in_order and found != (wanted := [name for name in names if name in value]):
        yield (
            f"{prefix.removesuffix('.') or 'the reply'}: members in the order {', '.join(found)}, "
            f"not {', '.join(wanted)}"
        )


def _may_be_absent(annotation: Any) -> bool:
    return type(None) in get_args(annotation) or any(
        _may_be_absent(inner) for inner in get_args(annotation)[:1]
    )


def _expected(where: str, kind: type, value: object) -> str:
    return f"{where}: expected {_KINDS[kind]}, found {_KINDS[type(value)]}"


def spell(value: Any, dialect: Dialect) -> str:
    """Write a reply that was read, its members in the order in which they came, as QEMU does."""
    return encode(_turn_round(value), exact_doubles=dialect.writes_exact_doubles)


def _turn_round(value: Any) -> Any:
    """Return objects the order that `encode` turns round again where members share a bucket."""
    if is_object(value):
        return {name: _turn_round(value[name]) for name in reversed(value)}
    return [_turn_round(element) for element in value] if is_array(value) else value
