"""Return whether a reply is what the QAPI schema says, by the schemas in tests/spec."""

import json
from functools import cache
from pathlib import Path
from typing import Any

SPEC = Path(__file__).parent / "spec"
_SCALARS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "uint16": (int,),
    "uint64": (int,),
    "str": (str,),
    "bool": (bool,),
    "number": (int, float),
}


@cache
def load_schema(version: tuple[int, int]) -> dict[str, Any]:
    """Return the schema of a release, or of the next that there is one of: nothing was ever removed."""
    known = (5, 2), (7, 2), (10, 0), (11, 1)
    name = "{}.{}".format(*min(each for each in known if each >= version))
    schema: dict[str, Any] = json.loads((SPEC / f"schema-{name}.json").read_text())
    return schema


def check_reply(schema: dict[str, Any], command: str, value: Any) -> list[str]:
    """Return what is wrong with what a command returned."""
    if command not in schema["commands"]:
        return [f"{command}: no such command"]
    return list(_check(schema, schema["commands"][command].get("returns"), value, command))


def _check(schema: dict[str, Any], kind: Any, value: Any, where: str) -> list[str]:
    if kind is None:
        return [] if value == {} else [f"{where}: expected nothing, found {value!r}"]
    if isinstance(kind, list):
        if not isinstance(value, list):
            return [f"{where}: expected a list, found {value!r}"]
        return [
            e
            for i, item in enumerate(value)
            for e in _check(schema, kind[0], item, f"{where}[{i}]")
        ]
    if kind in _SCALARS:
        is_right = isinstance(value, _SCALARS[kind]) and isinstance(value, bool) == (kind == "bool")
        if kind.startswith("uint"):
            is_right = is_right and 0 <= value < 1 << int(kind.removeprefix("uint"))
        return [] if is_right else [f"{where}: expected {kind}, found {value!r}"]
    if kind in schema["enums"]:
        return [] if value in schema["enums"][kind] else [f"{where}: no {kind}: {value!r}"]
    if not isinstance(value, dict):
        return [f"{where}: expected {kind}, found {value!r}"]
    members = _members(schema, kind, value)
    wrong = [f"{where}: '{name}' is unexpected" for name in value if name not in members]
    for name, member in members.items():
        inner = f"{where}.{name}"
        if name in value:
            wrong += _check(schema, member["type"], value[name], inner)
        elif not member.get("optional"):
            wrong.append(f"{inner} is missing")
    return wrong


def _members(schema: dict[str, Any], kind: str, value: dict[str, Any]) -> dict[str, Any]:
    if kind in schema["structs"]:
        found: dict[str, Any] = schema["structs"][kind]["members"]
        return found
    # A union: the type says which members there are besides.
    union = schema["unions"][kind]
    discriminator = union["discriminator"]
    variant = union["data"].get(value.get(discriminator))
    return {discriminator: union["base"], **(_members(schema, variant, value) if variant else {})}
