"""Attributes of a guest as a test sets them: only those that there are, to what they can be."""

from functools import lru_cache
from typing import Any, Final, get_type_hints

import msgspec
from msgspec import Struct

from qgasim.guest.clone import NamedList
from qgasim.scenario.checks import check_struct
from qgasim.suggestions import did_you_mean

__all__ = ["assign"]

#: What an attribute is that was so before.
_KINDS: Final = (str, bytes, bool, int | float, list, dict)
_hints = lru_cache(get_type_hints)


def assign(target: object, name: str, value: Any) -> None:
    """Set an attribute.

    Raises:
        AttributeError: there is none of this name.
        TypeError: it cannot be of this type.
        ValueError: it can never be that, as in a scenario.
    """
    kind = type(target).__name__
    if not hasattr(target, name):
        raise AttributeError(f"a {kind} has no '{name}'{did_you_mean(name, dir(target))}")
    if not isinstance(target, Struct):
        before = getattr(target, name)
        expected = next((each for each in _KINDS if isinstance(before, each)), object)
        if value is not None and not isinstance(value, expected):
            was, found = type(before).__name__, type(value).__name__
            raise TypeError(f"{kind}.{name}: expected {was}, found {found}: {value!r}")
        # By a plain list, names would be lost: `nics["eth0"]`.
        if isinstance(before, NamedList) and type(value) is list:
            make: Any = NamedList
            value = make(value)
        setattr(target, name, value)
        return
    try:
        msgspec.convert(value, _hints(type(target))[name])
    except msgspec.ValidationError as error:
        # Its own texts begin in the middle: "Expected `bool`, got `str`".
        text = str(error).replace("`", "").replace("array", "list").replace("object", "mapping")
        raise TypeError(f"{kind}.{name}: {text[0].lower()}{text[1:]}: {value!r}") from None
    before = getattr(target, name)
    setattr(target, name, value)
    if wrong := list(check_struct(target)):
        setattr(target, name, before)
        path, text = wrong[0]
        raise ValueError(f"{kind}.{path}: {text}")
