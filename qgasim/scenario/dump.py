"""A scenario as YAML: what `qgasim show` prints, and what loads to the same guest again."""

import errno
import math
import textwrap
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Union, cast, get_args, get_origin

import msgspec
import yaml
from msgspec import Struct

from qgasim.scenario.checks import fields_of
from qgasim.scenario.decode import hints_of, tag_field_of, tag_of, unit_of
from qgasim.scenario.document import core_value

__all__ = [
    "laid_over",
    "members_of",
    "to_line",
    "to_yaml",
    "to_yaml_over",
    "write_yaml",
    "written",
]


def to_yaml(scenario: Struct) -> str:
    """Write a scenario; what is as it would be anyway is left out."""
    plain: dict[str, Any] = {"qgasim": 1} | _struct(scenario)
    # What it extends is in it already.
    plain.pop("extends", None)
    for name, guest in plain.get("fleet", {}).items():
        # A seed that is not said is made of the place in the fleet.
        plain["fleet"][name] = {"seed": 0} | guest
    return write_yaml(plain)


def write_yaml(plain: dict[str, Any]) -> str:
    """Write what is a scenario already but for its text."""
    # Without anything nested in it, all of it would be in braces.
    is_flat = not any(isinstance(value, dict | list) for value in plain.values())
    return _dump(plain, default_flow_style=False if is_flat else None, width=100)


def to_yaml_over(scenario: Struct, base: Struct, extends: str, reasons: Mapping[str, str]) -> str:
    """Write what a scenario has other than the *base* that it extends.

    Args:
        scenario: the scenario.
        base: what it extends.
        extends: the name or path of that.
        reasons: comments for stubs and faults, by path: ``replies[0]``.
    """
    over = laid_over(scenario, base)
    plain: dict[str, Any] = {"qgasim": 1}
    plain |= {key: over[key] for key in ("description", "origin") if key in over}
    plain["extends"] = extends
    text = _dump(plain, default_flow_style=False, width=100)
    plain = {k: value for k, value in over.items() if k not in (*plain, "replies", "faults")}
    # Of what is a mapping of scalars as a whole, PyYAML would make one in braces.
    for key, value in plain.items():
        text += _dump({key: value}, default_flow_style=None, width=100)
    for key in ("replies", "faults"):
        items = [{"on": item.get("on", "*"), **item} for item in over.get(key, [])]
        text += f"{key}:\n" if items else ""
        for index, item in enumerate(items):
            if reason := reasons.get(f"{key}[{index}]"):
                text += f"  # {' '.join(reason.split())}\n"
            text += textwrap.indent(_dump([item], default_flow_style=None, width=98), "  ")
    return text


def laid_over(value: Struct, base: Struct) -> dict[str, Any]:
    """Return the members of *value* that *base* does not have, or has otherwise."""
    hints = hints_of(type(value))
    result: dict[str, Any] = {}
    for field in fields_of(type(value)):
        member, below = getattr(value, field.name), getattr(base, field.name)
        if member != below:
            result[field.encode_name] = _over(member, below, hints[field.name])
    return result


def _over(value: Any, below: Any, hint: Any) -> Any:
    if isinstance(value, Struct) and type(value) is type(below):
        return laid_over(value, below)
    if not (isinstance(value, dict) and isinstance(below, dict)):
        return written(value, hint)
    item = _item_of(hint, dict)
    members, before = cast("dict[str, Any]", value), cast("dict[str, Any]", below)
    result: dict[str, Any] = {
        key: _over(each, before.get(key), item)
        for key, each in members.items()
        if key not in before or before[key] != each
    }
    # A null takes away what the base has.
    return result | {key: None for key in before if key not in members}


def to_line(value: Struct) -> str:
    """Write a part of a scenario in one line."""
    return _dump(_struct(value), default_flow_style=True, width=math.inf).rstrip("\n")


def _dump(plain: Any, *, default_flow_style: bool | None, width: float) -> str:
    # `Any`: the stubs of PyYAML leave the types of some parameters unknown.
    text: str = cast("Any", yaml).dump(
        plain,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=default_flow_style,
        width=width,
    )
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would not read as a text; writes long texts in lines; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write what is there twice twice."""
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = None
        if not isinstance(core_value(text), str):
            style = "'"
        elif "\n" in text:
            style = "|" if "\n" in text[:-1] else '"'
        elif "\x85" in text:
            # YAML 1.1 takes it for the end of a line.
            style = '"'
        return self.represent_scalar(  # pyright: ignore[reportUnknownMemberType]
            "tag:yaml.org,2002:str", text, style
        )


_Dumper.add_representer(str, _Dumper.represent_text)


def _struct(value: Struct) -> dict[str, Any]:
    hints = hints_of(type(value))
    tag = tag_of(type(value))
    result: dict[str, Any] = {tag_field_of(type(value)): tag} if tag else {}
    for field in fields_of(type(value)):
        member = getattr(value, field.name)
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if member is not msgspec.UNSET and (field.required or member != default):
            result[field.encode_name] = written(member, hints[field.name])
    return result


def written(value: Any, hint: Any) -> Any:
    """Return *value*, of type *hint*, as YAML says it."""
    if isinstance(value, Struct):
        return _struct(value)
    if isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        item = _item_of(hint, tuple if isinstance(value, tuple) else list)
        return [written(each, item) for each in items]
    if isinstance(value, dict):
        item = _item_of(hint, dict)
        return {key: written(each, item) for key, each in cast("dict[str, Any]", value).items()}
    unit = _unit_of(hint)
    if unit and type(value) is int:
        return _SHOWN[unit](value)
    return value


def members_of(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union; of another type, itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


@lru_cache(maxsize=1024)
def _item_of(hint: Any, container: type) -> Any:
    """Return the type of the items of the *container* that *hint* allows."""
    for member in members_of(hint):
        if get_origin(member) is container:
            return get_args(member)[1 if container is dict else 0]
    return Any


@lru_cache(maxsize=1024)
def _unit_of(hint: Any) -> str | None:
    return next((unit for member in members_of(hint) if (unit := unit_of(member))), None)


def _show(value: int, units: dict[str, int]) -> str:
    """Write *value* in the largest unit of which it is a multiple."""
    name = next(name for name, size in units.items() if value % size == 0)
    return f"{value // units[name]}{name}"


def _show_size(value: int) -> int | str:
    if not value or value % 1024:
        return value
    return _show(value, {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10})


def _show_duration(value: int) -> str:
    units = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
    return _show(value, units) if value else "0s"


def _show_time(value: int) -> str:
    seconds, nanoseconds = divmod(value, 10**9)
    if nanoseconds % 1000:
        return f"{seconds}.{nanoseconds:09}"
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    fraction = f".{nanoseconds // 1000:06}" if nanoseconds else ""
    # Not %Y, which leaves out the zeros of early years.
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}{fraction}Z"


def _show_errno(value: int) -> int | str:
    return errno.errorcode.get(value, value)


_SHOWN: Final[dict[str, Callable[[int], int | str]]] = {
    "size": _show_size,
    "duration": _show_duration,
    "time": _show_time,
    "errno": _show_errno,
}
