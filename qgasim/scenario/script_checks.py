"""What the scripts of a scenario run that a guest has not: warnings of ``qgasim check``."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from msgspec import Struct

from qgasim.errors import GuestError
from qgasim.guest.settings import FileSettings, GuestSettings
from qgasim.scenario.checks import fields_of, join
from qgasim.userland import USERLANDS
from qgasim.userland.coverage import Coverage, builtins, cover, names
from qgasim.userland.shell.flavours import choose_flavour
from qgasim.userland.shell.parser import Parser
from qgasim.userland.shell.syntax import Function, Simple, Text, Word

__all__ = ["find_missing"]

_SHEBANG: Final = re.compile(r"#!\s*(?:\S*/)?(?:env\s+)?(sh|ash|bash|dash)\b")
#: What a name must look like to be taken for a program's.
_NAME: Final = re.compile(r"[A-Za-z0-9_.+\[-]+")


def find_missing(guest: GuestSettings) -> Iterator[tuple[str, str]]:
    """Yield what scripts among the guest's files run that is not simulated, and in which file.

    Only words that are written out can be judged; a script that cannot be read says so when it is run.
    """
    if guest.os.family == "windows":
        return
    known = {path.rpartition("/")[2] for path in _paths(guest)}
    for path, text in _texts(guest.files, ""):
        if _SHEBANG.match(text):
            for line, what in dict.fromkeys(_judge(text, guest.os.userland, known)):
                yield path, f"line {line} of the script: {what}"


def _paths(guest: GuestSettings) -> Iterator[str]:
    """Yield the paths of what the scenario itself makes."""
    yield from (program.path for program in guest.programs)
    todo = list(guest.files.items())
    while todo:
        path, settings = todo.pop()
        yield path
        if isinstance(settings, FileSettings):
            todo += (settings.entries or {}).items()


def _texts(files: Mapping[str, str | FileSettings | None], above: str) -> Iterator[tuple[str, str]]:
    for name, settings in files.items():
        path = join(above, name)
        if isinstance(settings, str):
            yield path, settings
        elif isinstance(settings, FileSettings):
            if settings.text is not None:
                yield f"{path}.text", settings.text
            yield from _texts(settings.entries or {}, f"{path}.entries")


def _judge(text: str, userland: str, known: set[str]) -> Iterator[tuple[int, str]]:
    """Yield what a script runs that is not there, with its line."""
    commands: list[Simple] = []
    functions: set[str] = set()
    try:
        shell = "bash" if "bash" in text.partition("\n")[0] else "sh"
        parser = Parser(text, choose_flavour(shell, userland), 1, {})
        while (sequence := parser.parse_command()) is not None:
            _walk(sequence, commands, functions)
    except (GuestError, RecursionError):
        return
    there = {*names(userland), *builtins(), *functions, *known}
    for command in commands:
        words = [_literal(word) for word in command.words]
        name = words[0] if words else None
        if not name:
            continue
        base = name.rpartition("/")[2]
        if base not in there:
            if _NAME.fullmatch(base):
                yield command.line, f"there is no program '{name}' (give it under guest.programs)"
        elif base in USERLANDS[userland].programs and base not in functions | known | builtins():
            found = cover(userland, base)
            for option in _missing(found, words[1:]) if found else ():
                yield command.line, f"{base}: option '{option}' is not simulated"


def _missing(found: Coverage, words: list[str | None]) -> Iterator[str]:
    """Yield the options among *words* that are not simulated, up to the first operand."""
    for word in words:
        if word is None or not word.startswith("-") or word in ("-", "--"):
            return
        if word.startswith("--"):
            option = word.partition("=")[0]
            if option in found.missing:
                yield option
        else:
            # What follows a letter may be its value: only the first is surely an option.
            option = word[:2]
            if option in found.missing:
                yield option


def _walk(value: Any, commands: list[Simple], functions: set[str]) -> None:
    """Collect the simple commands in *value*, and the functions that it defines."""
    if isinstance(value, Simple):
        commands.append(value)
    if isinstance(value, Function):
        functions.add(value.name)
    if isinstance(value, Struct):
        for field in fields_of(type(value)):
            _walk(getattr(value, field.name), commands, functions)
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            _walk(item, commands, functions)


def _literal(word: Word) -> str | None:
    """Return a word that is written out; None if it depends on something."""
    if all(isinstance(part, Text) for part in word):
        return "".join(part.text for part in word if isinstance(part, Text))
    return None
