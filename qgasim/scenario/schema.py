"""The scenario language as a JSON Schema (draft-07, which editors' YAML servers read).

Made of the Structs: their fields are the keys, their ``#:`` comments the descriptions. `make docs`
writes it to qgasim/scenario.schema.json, which `qgasim schema` prints.
"""

import inspect
import re
import types
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from msgspec import Struct

from qgasim.scenario import Scenario
from qgasim.scenario.checks import fields_of
from qgasim.scenario.decode import UNIT_NAMES, hints_of, tag_field_of, tag_of

__all__ = ["comments_of", "describe", "make_schema", "structs_of"]

#: A text that YAML may take for something else, as ``no`` and ``0123``, is a text all the same.
_TEXT: Final = {"type": ["string", "number", "boolean"]}
_SCALARS: Final[dict[Any, dict[str, Any]]] = {
    str: _TEXT,
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}
_UNITS: Final[dict[str, dict[str, Any]]] = {
    "size": {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(B|[KMGT](iB)?|[kKMGT]B)?$"},
        ]
    },
    "duration": {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(ns|us|µs|ms|s|m|min|h|d)?$"},
        ]
    },
    "time": {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}|^[0-9]+(\.[0-9]+)?$"},
        ]
    },
    "errno": {"type": ["string", "integer"], "pattern": "^(E[A-Z0-9]+|[0-9]+)$"},
}


@lru_cache(maxsize=256)
def comments_of(cls: type[Struct]) -> dict[str, str]:
    """Give the ``#:`` comments of a Struct, by field."""
    comments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Struct) and base is not Struct:
            source = inspect.getsource(base)
            found = re.findall(r"((?:^ +#: .*\n)+) +(\w+):", source, re.MULTILINE)
            comments |= {name: " ".join(re.findall(r"#: (.*)", text)) for text, name in found}
    return comments


def describe(cls: type) -> str:
    """Give the docstring of a Struct in one line."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split())


def make_schema() -> dict[str, Any]:
    """Make the schema of a scenario's file."""
    definitions = {cls.__name__: _struct(cls) for cls in structs_of(Scenario)}
    top = definitions.pop("Scenario")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A scenario of qgasim",
        **top,
        "definitions": definitions,
    }


def structs_of(cls: type[Struct]) -> list[type[Struct]]:
    """Give *cls* and all Structs in it, in the order in which they are met."""
    found: list[type[Struct]] = []
    todo: list[Any] = [cls]
    while todo:
        hint = todo.pop(0)
        if isinstance(hint, type) and issubclass(hint, Struct):
            if hint not in found:
                found.append(hint)
                hints = hints_of(hint)
                todo += [hints[field.name] for field in fields_of(hint)]
        else:
            todo += [argument for argument in get_args(hint) if not isinstance(argument, str)]
    return found


def _struct(cls: type[Struct]) -> dict[str, Any]:
    hints, comments = hints_of(cls), comments_of(cls)
    properties: dict[str, Any] = {}
    required: list[str] = []
    if tag := tag_of(cls):
        properties[tag_field_of(cls)] = {"const": tag, "description": describe(cls)}
        required.append(tag_field_of(cls))
    for field in fields_of(cls):
        schema = {**_type(hints[field.name]), "description": comments.get(field.name, "")}
        default = field.default
        if isinstance(default, str | int | float) and not _unit(hints[field.name]):
            schema["default"] = default
        properties[field.encode_name] = schema
        if field.required:
            required.append(field.encode_name)
        if _takes_list(hints[field.name]):
            text = f"More of {field.encode_name}, after those of the base."
            properties[f"+{field.encode_name}"] = {"type": "array", "description": text}
    result = {
        "type": "object",
        "description": describe(cls),
        "properties": properties,
        "additionalProperties": False,
    }
    return result | {"required": required} if required else result


def _takes_list(hint: Any) -> bool:
    return any(get_origin(member) in (list, tuple) for member in _members(hint))


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _unit(hint: Any) -> str | None:
    if get_origin(hint) is Annotated:
        return next((mark for mark in get_args(hint)[1:] if mark in UNIT_NAMES), None)
    return None


def _type(hint: Any) -> dict[str, Any]:
    if unit := _unit(hint):
        return dict(_UNITS[unit])
    origin = get_origin(hint)
    if origin is Annotated:
        return _type(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return {"anyOf": [_type(member) for member in get_args(hint)]}
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if origin in (list, tuple):
        return {"type": "array", "items": _type(get_args(hint)[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(get_args(hint)[1])}
    if isinstance(hint, type) and issubclass(hint, Struct):
        return {"allOf": [{"$ref": f"#/definitions/{hint.__name__}"}]}
    return dict(_SCALARS[hint])
