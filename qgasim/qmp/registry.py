"""The monitor's commands: annotated functions, and the table of a release."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, TypeVar

from qgasim.errors import CommandError
from qgasim.qapi.registry import Arguments, Command, Entry, make_command
from qgasim.qapi.results import make_write
from qgasim.qmp.reading import make_check
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
    """Register a function of the arguments as they are; those that the schema does not say, it checks itself."""

    def register(function: F) -> F:
        COMMANDS[name] = Command(name=name, function=function, since=(0, 0), returns=type(None))
        _FREE.add(name)
        return function

    return register


def is_free(name: str) -> bool:
    """Return whether a command takes its arguments as they are."""
    return name in _FREE


def _make_entry(name: str, release: Release) -> Entry:
    """Return a command as a release has it: its schema says which arguments are right."""
    made = COMMANDS.get(name)
    check = make_check(release, name)
    if made is None:
        return _make_unsimulated(name, release, check)
    write = make_write(made.returns, release.dialect)
    if name in _FREE and name in release.unchecked_commands:
        return Entry(made, True, _take, made.function, write)
    return Entry(made, True, check, _make_call(made, name in _FREE, check), write)


def _make_call(made: Command, is_free: bool, check: Callable[..., Any]) -> Callable[..., Any]:
    function = made.function
    own = {p.rstrip("_").replace("_", "-"): p for p in inspect.signature(function).parameters}

    def call(monitor: object, arguments: Arguments) -> Any:
        values = check(arguments)
        if is_free:
            return function(monitor, values)
        return function(monitor, **{own[name]: value for name, value in values.items()})

    return call


def _take(arguments: Arguments) -> None:
    """Take any arguments: the function checks them."""


def _make_unsimulated(name: str, release: Release, check: Callable[..., Any]) -> Entry:
    def refuse(monitor: object, arguments: Arguments) -> None:
        check(arguments)
        raise CommandError(f"{NOT_SIMULATED} {name} (QEMU {release.name} has it)")

    made = Command(name=name, function=refuse, since=(0, 0), returns=type(None))
    return Entry(made, False, check, refuse, make_write(made.returns, release.dialect))


def is_simulated(entry: Entry) -> bool:
    """Return whether a command does what it says."""
    return entry.is_supported


@cache
def table_of(release: Release) -> Mapping[str, Entry]:
    """Return the commands of a release by name, in the order of query-commands; all monitors share it."""
    return MappingProxyType({name: _make_entry(name, release) for name in release.commands})
