"""The monitor's commands: annotated functions, and the table of a release."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, TypeVar

from msgspec import structs

from qgasim.errors import CommandError
from qgasim.qapi.registry import (
    Arguments,
    Command,
    Entry,
    compile_command,
    make_command,
)
from qgasim.qapi.results import make_write
from qgasim.qmp.release import Release

__all__ = [
    "COMMANDS",
    "NOT_SIMULATED",
    "command",
    "free_command",
    "is_free",
    "is_simulated",
    "table_of",
]

F = TypeVar("F", bound=Callable[..., Any])

COMMANDS: Final[dict[str, Command]] = {}
"""All commands that are simulated, by name. Which of them a release has, its schema says."""

#: The commands that take any arguments.
_FREE: Final[set[str]] = set()
#: How the refusal of a command begins that the release has and that is not simulated.
NOT_SIMULATED: Final = "qgasim does not simulate"


def command(name: str | None = None) -> Callable[[F], F]:
    """Register a function as a command; *name*: on the wire, if there is a ``_`` in it."""

    def register(function: F) -> F:
        made = make_command(function, name, since=(0, 0))
        COMMANDS[made.name] = made
        return function

    return register


def free_command(name: str) -> Callable[[F], F]:
    """Register a function of the arguments as they are, which it checks itself (``'gen': false``)."""

    def register(function: F) -> F:
        COMMANDS[name] = Command(name=name, function=function, since=(0, 0), returns=type(None))
        _FREE.add(name)
        return function

    return register


def is_free(name: str) -> bool:
    """Return whether a command takes its arguments as they are."""
    return name in _FREE


def _of_release(made: Command, release: Release) -> Command:
    """Return a command with the arguments that a release has, in the order of its schema."""
    names = release.arguments_of(made.name)
    known = {parameter.name: parameter for parameter in made.parameters}
    chosen = tuple(known[name] for name in names if name in known)
    if chosen == made.parameters:
        return made
    own = {p.rstrip("_").replace("_", "-"): p for p in inspect.signature(made.function).parameters}
    keywords = [own[parameter.name] for parameter in chosen]
    function = made.function

    def call(monitor: object, *values: Any) -> Any:
        return function(monitor, **dict(zip(keywords, values, strict=True)))

    return structs.replace(made, parameters=chosen, function=call)


def _make_entry(name: str, release: Release) -> Entry:
    made = COMMANDS.get(name)
    if made is None:
        return _make_unsimulated(name, release)
    if name not in _FREE:
        return compile_command(_of_release(made, release), release.dialect)

    def take(arguments: Arguments) -> None:
        """Take any arguments: the function checks them."""

    return Entry(made, True, take, made.function, make_write(made.returns, release.dialect))


def _make_unsimulated(name: str, release: Release) -> Entry:
    def take(arguments: Arguments) -> None:
        """Take any arguments."""

    def refuse(monitor: object, arguments: Arguments) -> None:
        raise CommandError(f"{NOT_SIMULATED} {name} (QEMU {release.name} has it)")

    made = Command(name=name, function=refuse, since=(0, 0), returns=type(None))
    return Entry(made, False, take, refuse, make_write(made.returns, release.dialect))


def is_simulated(entry: Entry) -> bool:
    """Return whether a command does what it says."""
    return entry.is_supported


@cache
def table_of(release: Release) -> Mapping[str, Entry]:
    """Return the commands of a release by name, in the order of query-commands; all monitors share it."""
    return MappingProxyType({name: _make_entry(name, release) for name in release.commands})
