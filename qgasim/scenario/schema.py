"""The scenario language as a JSON Schema (draft-07, which editors' YAML servers read).

Made of the Structs: their fields are the keys, their ``#:`` comments the descriptions. `make docs`
writes it to qgasim/scenario.schema.json, which `qgasim schema` prints.
"""

import inspect
import json
import linecache
import re
import sys
import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin

from msgspec import NODEFAULT, UNSET, Struct
from msgspec.structs import FieldInfo

from qgasim.commands import ALL_COMMANDS
from qgasim.dialect import RELEASES
from qgasim.guest.settings import ProgramSettings
from qgasim.scenario import Scenario, library
from qgasim.scenario.checks import fields_of
from qgasim.scenario.decode import (
    can_be_null,
    hints_of,
    holds_several,
    tag_field_of,
    tag_of,
    unit_of,
)
from qgasim.scenario.dump import members_of, written

__all__ = ["comments_of", "default_of", "describe", "make_definitions", "make_schema", "structs_of"]

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
#: What `datetime.fromisoformat` reads: RFC 3339, and the other forms of ISO 8601.
_DATE: Final = (
    "[0-9]{4}(-(0[1-9]|1[0-2])-[0-3][0-9]|(0[1-9]|1[0-2])[0-3][0-9]|-W[0-5][0-9](-[1-7])?"
    "|W[0-5][0-9][1-7]?)"
)
_CLOCK: Final = "[0-9]{2}(:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?|[0-9]{2}([0-9]{2}([.,][0-9]+)?)?)?"
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
            # The year 10000 is too late.
            {"type": "number", "minimum": 0, "exclusiveMaximum": 253_402_300_800},
            {
                "type": "string",
                "pattern": rf"^({_DATE}(.{_CLOCK}(Z|[-+]{_CLOCK})?)?|[0-9]+(\.[0-9]+)?)$",
            },
        ]
    },
    "errno": {"type": ["string", "integer"], "pattern": "^(E[A-Z0-9]+|[0-9]+)$", "minimum": 1},
}


#: What stands among programs for the entries of a file (`qgasim.scenario.including`).
_INCLUDE: Final[dict[str, Any]] = {
    "type": "object",
    "description": "All entries of a file of programs.",
    "properties": {
        "include": {
            "type": "string",
            "description": "The name of one that comes with qgasim, or a path relative to this file.",
        }
    },
    "additionalProperties": False,
    "required": ["include"],
}


@lru_cache(maxsize=256)
def comments_of(cls: type[Struct]) -> dict[str, str]:
    """Return the ``#:`` comments of a Struct, by field."""
    comments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Struct) and base is not Struct:
            found = re.findall(r"((?:^ +#: .*\n)+) +(\w+):", _source_of(base), re.MULTILINE)
            comments |= {name: " ".join(re.findall(r"#: (.*)", text)) for text, name in found}
    return comments


def _source_of(cls: type) -> str:
    """Return a class's text: what `inspect.getsource` returns, which parses the whole file for each."""
    lines = "".join(linecache.getlines(sys.modules[cls.__module__].__file__ or ""))
    found = re.search(rf"^class {cls.__name__}\b.*\n(?:(?:[ )].*)?\n)*", lines, re.MULTILINE)
    return found[0] if found else ""


def describe(cls: type) -> str:
    """Return the docstring of a Struct in one line."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split())


def make_schema(root: type[Struct] = Scenario) -> dict[str, Any]:
    """Make the schema of a scenario's file: of *root*, and of all Structs in it."""
    merged = structs_of(root, in_lists=False)
    structs = structs_of(root)
    assert len({cls.__name__ for cls in structs}) == len(structs), "two Structs have the same name"
    definitions = {cls.__name__: _struct(cls, is_merged=cls in merged) for cls in structs}
    top = definitions.pop(root.__name__)
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A scenario of qgasim",
        **top,
        "definitions": definitions,
    }
    # What names itself is the whole.
    itself = json.dumps(f"#/definitions/{root.__name__}")
    whole: dict[str, Any] = json.loads(json.dumps(schema).replace(itself, '"#"'))
    whole["definitions"] |= {
        name: {**_TEXT, "defaultSnippets": [{"label": each, "body": each} for each in offered]}
        for name, offered in _offers().items()
    }
    for node in list(_nodes(whole)):
        _help_editors(node, whole)
    return whole


def _offers() -> dict[str, list[str]]:
    """Return the names that editors offer for a text, by what they are."""
    releases = ["latest", *("{}.{}".format(*version) for version in reversed(RELEASES))]
    commands = {command.name: None for command in ALL_COMMANDS}
    return {"ScenarioName": sorted(library()), "Release": releases, "CommandName": list(commands)}


def _nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the mappings in a schema, itself included."""
    todo: list[Any] = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield cast("dict[str, Any]", node)
            todo += cast("dict[str, Any]", node).values()
        elif isinstance(node, list):
            todo += node


def _help_editors(node: dict[str, Any], whole: dict[str, Any]) -> None:
    """Add what changes nothing of what is valid, and lets editors offer names and show Markdown.

    The language server of YAML offers *defaultSnippets*, and of alternatives only what those have that
    are valid so far; it escapes what is no *markdownDescription*.
    """
    text = node.get("description")
    if isinstance(text, str) and "`" in text:
        node["markdownDescription"] = text.replace("``", "`")
    # The values of `properties` are schemas, and what is called `extends` there is a key.
    keys = node.get("properties")
    properties = cast("dict[str, dict[str, Any]]", keys) if isinstance(keys, dict) else {}
    for name, each in properties.items():
        if offered := _offered_for(name.removeprefix("+"), each):
            _offer(each, offered)
    branches = [_resolve(branch, whole) for branch in node.get("anyOf", ())]
    for field in ("kind", "do"):
        tags = [branch.get("properties", {}).get(field, {}).get("const") for branch in branches]
        if tags and all(tags):
            snippets = [{"label": tag, "body": tag} for tag in tags]
            node["properties"] = {field: {"defaultSnippets": snippets}}


def _offered_for(name: str, node: dict[str, Any]) -> str | None:
    """Return which of the names that editors offer a key takes, if any."""
    if name in ("extends", "release"):
        return {"extends": "ScenarioName", "release": "Release"}[name]
    takes_match = '"#/definitions/Match"' in json.dumps(node)
    takes_command = takes_match or name in ("command", "block_rpcs", "allow_rpcs")
    return "CommandName" if takes_command else None


def _offer(node: dict[str, Any], name: str) -> None:
    """Put a definition with names in the place of any text, also in a list."""
    if node.get("type") == _TEXT["type"]:
        del node["type"]
        node["allOf"] = [{"$ref": f"#/definitions/{name}"}]
    for each in (*node.get("anyOf", ()), *([node["items"]] if "items" in node else ())):
        _offer(each, name)


def _resolve(node: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Return the definition that a schema refers to, or itself."""
    for part in node.get("allOf", ()):
        if (name := part.get("$ref", "#").rpartition("/")[2]) in whole["definitions"]:
            found: dict[str, Any] = whole["definitions"][name]
            return found
    return node


def make_definitions(*hints: Any, prefix: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the schemas of types as a client may say them, and those of all Structs in them by name.

    Args:
        hints: the types.
        prefix: what stands before a name in a reference.
    """
    structs = {cls: None for hint in hints for cls in structs_of(hint)}
    definitions = {cls.__name__: _struct(cls, is_merged=False) for cls in structs}
    assert len(definitions) == len(structs), "two Structs have the same name"
    made = json.dumps([[_type(hint) for hint in hints], definitions])
    said, named = json.loads(made.replace('"#/definitions/', f'"{prefix}'))
    return said, named


def structs_of(cls: Any, *, in_lists: bool = True) -> dict[type[Struct], str]:
    """Return *cls* and all Structs in it, in the order in which they are met, and where that is.

    Args:
        cls: where to begin.
        in_lists: whether to look into lists. What is in none is merged with what a base says.
    """
    found: dict[type[Struct], str] = {}
    todo: list[tuple[Any, str]] = [(cls, "")]
    while todo:
        hint, place = todo.pop(0)
        origin = get_origin(hint)
        if isinstance(hint, type) and issubclass(hint, Struct):
            if hint not in found:
                found[hint] = place
                hints = hints_of(hint)
                start = f"{place}." if place else ""
                todo += [(hints[f.name], start + f.encode_name) for f in fields_of(hint)]
        elif origin in (list, tuple):
            if in_lists:
                todo.append((get_args(hint)[0], f"{place}[]"))
        elif origin is dict:
            todo.append((get_args(hint)[1], f"{place}.*"))
        elif origin is Annotated:
            todo.append((get_args(hint)[0], place))
        else:
            todo += [(member, place) for member in members_of(hint) if member is not hint]
    return found


def default_of(field: FieldInfo, hint: Any) -> Any:
    """Return what holds if a key is absent, as a scenario says it; None if that says nothing."""
    default = field.default
    if field.default_factory is not NODEFAULT:
        default = field.default_factory()
    if default in (NODEFAULT, UNSET, None, (), [], {}) or isinstance(default, Struct):
        return None
    return written(default, hint)


def _struct(cls: type[Struct], *, is_merged: bool) -> dict[str, Any]:
    hints, comments = hints_of(cls), comments_of(cls)
    properties: dict[str, Any] = {}
    required: list[str] = []
    if tag := tag_of(cls):
        properties[tag_field_of(cls)] = {"const": tag, "description": describe(cls)}
        required.append(tag_field_of(cls))
    for field in fields_of(cls):
        name, hint = field.encode_name, hints[field.name]
        what = _type(hint) if field.required or not holds_several(hint) else _or_null(hint)
        properties[name] = {**what, "description": comments.get(field.name, "")}
        default = default_of(field, hint)
        if default is not None:
            properties[name]["default"] = default
        if field.required:
            required.append(name)
        for member in members_of(hint):
            if is_merged and get_origin(member) in (list, tuple):
                text = f"More of {name}, after those of the base."
                properties[f"+{name}"] = {**_type(member), "description": text}
    result = {
        "type": "object",
        "description": describe(cls),
        "properties": properties,
        "additionalProperties": False,
    }
    # What is merged may have it from the base.
    return result if is_merged or not required else result | {"required": required}


def _or_null(hint: Any) -> dict[str, Any]:
    """Return the type, or null, which takes away what a base says."""
    if can_be_null(hint):
        return _type(hint)
    return {"anyOf": [*(_type(member) for member in members_of(hint)), {"type": "null"}]}


def _type(hint: Any) -> dict[str, Any]:
    if unit := unit_of(hint):
        return dict(_UNITS[unit])
    origin = get_origin(hint)
    if origin is Annotated:
        return _type(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return {"anyOf": [_type(member) for member in get_args(hint)]}
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if origin in (list, tuple):
        (item, *_) = get_args(hint)
        items = {"anyOf": [_type(item), _INCLUDE]} if item is ProgramSettings else _type(item)
        return {"type": "array", "items": items}
    if origin is dict:
        return {"type": "object", "additionalProperties": _or_null(get_args(hint)[1])}
    if isinstance(hint, type) and issubclass(hint, Struct):
        return {"allOf": [{"$ref": f"#/definitions/{hint.__name__}"}]}
    return dict(_SCALARS[hint])
