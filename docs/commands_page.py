"""docs/commands.md: every command with its arguments and results, made of the commands' signatures."""

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from msgspec import Struct, structs

from qgasim.commands import ALL_COMMANDS
from qgasim.dialect import OLDEST, Version
from qgasim.qapi.annotations import Alternate, Since, strip
from qgasim.qapi.registry import Command

__all__ = ["make_commands_page"]

INTRODUCTION = """\
# Commands

<!-- Made by docs/commands_page.py (`make docs`) from qgasim/commands/; do not edit. -->

All commands of the schemas of qemu-ga 3.1 to 11.1 are there, each release with its own; which release has which on which
system is in [versions.md](versions.md). Arguments are checked in QEMU's order and refused in its words. What a command
does differently from the real agent is noted with it, and assumptions with UNVERIFIED.

What stands behind them is made up: no command touches the host.

- Files, accounts, clocks, processors, memory blocks, interfaces, disks and logins are the virtual guest's, as its
  [scenario](scenario.md) says, and what one command changes the others show.
- `guest-exec` runs the guest's [own programs](programs.md), a shell, and what the scenario gives under `programs`; an interpreter
  that is not among them is not there. They run in guest time.
- Freezing holds back the guest's writes; suspending, shutting down and rebooting end its programs and agent, or stop them.
- Not simulated: VSS beyond its ten seconds, PCI and SCSI buses beyond their addresses, DBus, SELinux, quotas.

On a frozen guest only commands marked with ❄ are served. Success of those marked with ∅ is not answered.
"""
SYSTEMS = {"linux": "Linux", "freebsd": "FreeBSD", "windows": "Windows"}
PLAIN = {
    int: "integer", str: "text", bool: "boolean", float: "number", bytes: "base64",
    type(None): "nothing",
}  # fmt: skip
MARKS = {"uint64": "integer from 0 to 2^64-1", "uint16": "integer from 0 to 65535"}


def make_commands_page() -> str:
    """Return docs/commands.md."""
    names = list(dict.fromkeys(command.name for command in ALL_COMMANDS))
    parts = [INTRODUCTION, "| command | since | on | |", "| --- | --- | --- | --- |"]
    by_name = {name: [c for c in ALL_COMMANDS if c.name == name] for name in names}
    for name, commands in by_name.items():
        marks = "❄" if any(c.while_frozen for c in commands) else ""
        marks += "" if all(c.replies for c in commands) else "∅"
        since = show(min(c.since for c in commands))
        parts.append(f"| [`{name}`](#{name}) | {since} | {say_systems(commands)} | {marks} |")
    for name, commands in by_name.items():
        parts += ["", f"## `{name}`"]
        shown = None
        for command in commands:
            label = say_when(command, commands)
            text = say(command.function)
            parts += ["", f"**{label}:** {text}" if label else text]
            table = list(argument_table(command))
            if table and table != shown:
                parts += ["", *table]
            shown = table
            if command.replies and not command.only_refuses:
                parts += ["", f"Returns {say_type(command.returns)}."]
    parts += ["", "## Types"]
    for cls in types_of(by_name):
        parts += ["", f"### `{name_of(cls)}`", "", *member_table(cls)]
    return "\n".join(parts) + "\n"


def show(version: Version) -> str:
    return "{}.{}".format(*version)


def say(function: Any) -> str:
    """Return a docstring as Markdown: arguments are code."""
    text = "\n".join(line.strip() for line in (function.__doc__ or "").strip().split("\n"))
    return re.sub(r"\*([\w-]+)\*", r"`\1`", text.replace("``", "`"))


def say_systems(commands: list[Command]) -> str:
    """Return where a command can be done, and since when if that is not since it is there."""
    since: dict[str, Version] = {}
    for command in commands:
        if command.only_refuses:
            continue
        for system in SYSTEMS:
            if command.platforms is None or system in command.platforms:
                own = max((command.platforms or {}).get(system, OLDEST), command.since)
                since[system] = min(own, since.get(system, own))
    first = min(since.values())
    return ", ".join(
        text if since[system] in (first, OLDEST) else f"{text} (since {show(since[system])})"
        for system, text in SYSTEMS.items()
        if system in since
    )


def say_when(command: Command, commands: list[Command]) -> str:
    """Return what one of several functions is for."""
    if len(commands) == 1:
        return ""
    said: list[str] = []
    if command.platforms is not None and any(c.platforms != command.platforms for c in commands):
        said.append(", ".join(SYSTEMS[name] for name in SYSTEMS if name in command.platforms))
    if command.until is not None:
        said.append(f"before {show(command.until)}")
    elif any(c.until == command.since for c in commands):
        said.append(f"since {show(command.since)}")
    return ", ".join(said)


def argument_table(command: Command) -> Iterator[str]:
    rows: list[list[str]] = []
    for p in command.parameters:
        shown = "required"
        if p.is_optional:
            shown = "absent" if p.default is None else f"`{str(p.default).lower()}`"
        rows.append([f"`{p.name}`", say_type(p.annotation), say_since(p.annotation), shown])
    yield from make_table(["argument", "type", "since", "default"], rows)


def member_table(cls: type[Struct]) -> Iterator[str]:
    rows = [
        [
            f"`{field.encode_name}`",
            say_type(field.type),
            say_since(field.type),
            "" if field.required else "may be absent",
        ]
        for field in structs.fields(cls)
    ]
    yield from make_table(["member", "type", "since", ""], rows)


def make_table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Return a table without the columns that say nothing."""
    columns = [number for number in range(len(head)) if any(row[number] for row in rows)]
    if rows:
        yield f"| {' | '.join(head[number] for number in columns)} |"
        yield "| --- |" + " --- |" * (len(columns) - 1)
    for row in rows:
        yield f"| {' | '.join(row[number] for number in columns)} |"


def say_since(hint: Any) -> str:
    _, marks = strip(hint)
    return ", ".join(show(mark.version) for mark in marks if isinstance(mark, Since))


def say_type(hint: Any) -> str:
    base, marks = strip(hint)
    named = [MARKS[mark] for mark in marks if mark in MARKS]
    if named:
        return named[0]
    origin = get_origin(base)
    if origin in (list, tuple):
        return f"list of {say_type(get_args(base)[0])}"
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(base))
    if origin is not None or any(isinstance(mark, Alternate) for mark in marks):
        return " or ".join(say_type(member) for member in get_args(base))
    if issubclass(base, Struct):
        return f"[`{name_of(base)}`](#{name_of(base).lower()})"
    return PLAIN[base]


def name_of(cls: type[Struct]) -> str:
    """Return the name that QAPI has for a type."""
    found = re.search(r"QAPI ``(\w+)``", cls.__doc__ or "")
    assert found, cls
    return found[1]


def types_of(by_name: dict[str, list[Command]]) -> list[type[Struct]]:
    """Return all types of results, in the order in which they are met."""
    found: dict[str, type[Struct]] = {}

    def look(hint: Any) -> None:
        base, _ = strip(hint)
        if get_origin(base) is not None:
            for member in get_args(base):
                if not isinstance(member, str):
                    look(member)
        elif isinstance(base, type) and issubclass(base, Struct) and name_of(base) not in found:
            found[name_of(base)] = base
            for field in structs.fields(base):
                look(field.type)

    for commands in by_name.values():
        for command in commands:
            look(command.returns)
            for parameter in command.parameters:
                look(parameter.annotation)
    return list(found.values())
