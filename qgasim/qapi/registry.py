"""Commands: annotated functions, and the table that an agent dispatches by.

`@command` reads a function's signature: its name is the wire name, its parameters are the arguments
in the schema's order, its result type says how the result is written. `compile_table` takes what one
release has.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar, get_type_hints

from msgspec import Struct

from qgasim.dialect import Dialect, Family, Version
from qgasim.errors import CommandNotFound
from qgasim.qapi.annotations import is_in
from qgasim.qapi.arguments import Member, make_visit, read_members
from qgasim.qapi.results import WriteResult, make_write
from qgasim.wire import JsonValue

__all__ = [
    "COMMANDS",
    "LINUX",
    "POSIX",
    "WINDOWS",
    "Arguments",
    "Command",
    "Entry",
    "Family",
    "Parameter",
    "Table",
    "Version",
    "command",
    "compile_command",
    "compile_table",
    "make_added",
    "make_command",
]


F = TypeVar("F", bound=Callable[..., Any])


class Parameter(Struct, frozen=True):
    """An argument of a command, as its function declares it."""

    #: The name on the wire.
    name: str
    annotation: Any
    is_optional: bool
    #: What it is if it is left out.
    default: Any


class Command(Struct, frozen=True, kw_only=True, eq=False):
    """A command of the agent's schema and the function that answers it."""

    name: str
    function: Callable[..., Any]
    #: The first release that has it, and the first that has not.
    since: Version
    until: Version | None = None
    #: Whether success is answered at all.
    replies: bool = True
    #: Whether it is served between freeze and thaw.
    while_frozen: bool = False
    #: The platforms that can do it, each since a release; None: all.
    platforms: Mapping[Family, Version] | None = None
    #: Whether the schema has it on those platforms only. Else, up to 9.0, others list it, disabled.
    is_conditional: bool = False
    #: Whether its reply is preceded by the byte 0xFF.
    is_delimited: bool = False
    #: Whether all it does is to say that the platform cannot do it.
    only_refuses: bool = False
    parameters: tuple[Parameter, ...] = ()
    returns: Any

    def is_in(self, dialect: Dialect, family: Family = "linux") -> bool:
        """Return whether a release has it on a platform, be it disabled."""
        version = dialect.version
        if not (self.since <= version and (self.until is None or version < self.until)):
            return False
        is_hidden = self.is_conditional or dialect.hides_unsupported
        return not is_hidden or self.is_supported(dialect, family)

    def is_supported(self, dialect: Dialect, family: Family) -> bool:
        """Return whether the platform can do it in that release."""
        if self.platforms is None:
            return True
        since = self.platforms.get(family)
        return since is not None and dialect.has(since)


LINUX: Final[Mapping[Family, Version]] = {"linux": (0, 0)}
POSIX: Final[Mapping[Family, Version]] = {"linux": (0, 0), "freebsd": (0, 0)}
WINDOWS: Final[Mapping[Family, Version]] = {"windows": (0, 0)}

COMMANDS: Final[list[Command]] = []
"""All commands of all releases, in the order of the schema."""


def command(
    *,
    since: Version,
    until: Version | None = None,
    name: str | None = None,
    replies: bool = True,
    while_frozen: bool = False,
    platforms: Mapping[Family, Version] | None = None,
    is_conditional: bool = False,
    is_delimited: bool = False,
    only_refuses: bool = False,
) -> Callable[[F], F]:
    """Register a function as a command; `Command` says what its settings mean.

    A name may have several functions, of which one is for a release and a platform.
    """

    def register(function: F) -> F:
        COMMANDS.append(
            make_command(
                function,
                name,
                since=since,
                until=until,
                replies=replies,
                while_frozen=while_frozen,
                platforms=platforms,
                is_conditional=is_conditional,
                is_delimited=is_delimited,
                only_refuses=only_refuses,
            )
        )
        return function

    return register


def make_command(function: Callable[..., Any], name: str | None, **settings: Any) -> Command:
    """Return the command that a function is: its signature declares arguments and result.

    *name*: on the wire; None: the function's own, with ``-`` for ``_``. *settings*: fields of `Command`.
    """
    hints = get_type_hints(function, include_extras=True)
    return Command(
        name=name or function.__name__.replace("_", "-"),
        function=function,
        parameters=tuple(
            Parameter(
                name=p.name.rstrip("_").replace("_", "-"),
                annotation=hints[p.name],
                is_optional=p.default is not p.empty,
                default=None if p.default is p.empty else p.default,
            )
            for p in list(inspect.signature(function).parameters.values())[1:]
        ),
        returns=hints["return"],
        **settings,
    )


Arguments: TypeAlias = dict[str, JsonValue]


class Entry(Struct, frozen=True, eq=False):
    """A command as a release has it on a platform: all is decided that can be decided beforehand.

    Functions of commands take first what executes them; nothing here looks at it.
    """

    command: Command
    #: Whether this kind of guest can do it.
    is_supported: bool
    #: Refuses wrong arguments.
    check: Callable[[Arguments], object]
    #: Does so, and executes the command.
    call: Callable[[Any, Arguments], Any]
    #: Writes the result.
    write: WriteResult


#: The commands of a release on a platform, in the order of its schema.
Table: TypeAlias = Mapping[str, Entry]


def make_added(name: str, dialect: Dialect) -> Entry:
    """Return the entry of a command that only stubs answer: it takes any arguments."""

    def take(arguments: Arguments) -> None:
        """Take any arguments."""

    def refuse(executor: object, arguments: Arguments) -> None:
        raise CommandNotFound(f"The command {name} has not been found")

    added = Command(name=name, function=refuse, since=(0, 0), returns=type(None))
    return Entry(added, True, take, refuse, make_write(added.returns, dialect))


@lru_cache(maxsize=2048)
def compile_command(command: Command, dialect: Dialect, *, is_supported: bool = True) -> Entry:
    """Return the entry of a command in a release."""
    write = make_write(command.returns, dialect)
    function = command.function
    members = tuple(
        Member(p.name, make_visit(p.annotation, dialect), p.is_optional, p.default)
        for p in command.parameters
        if is_in(p.annotation, dialect)
    )

    def check(arguments: Arguments) -> object:
        return read_members(members, arguments, "")

    if not members:

        def call_bare(executor: object, arguments: Arguments) -> Any:
            if arguments:
                read_members((), arguments, "")
            return function(executor)

        return Entry(command, is_supported, check, call_bare, write)

    def call(executor: object, arguments: Arguments) -> Any:
        return function(executor, *read_members(members, arguments, ""))

    return Entry(command, is_supported, check, call, write)


#: What older agents for Windows refuse if VSS cannot be used (ga_command_init_blockedrpcs());
#: guest-fsfreeze-freeze-list was forgotten.
NEED_VSS: Final = (
    "guest-get-fsinfo",
    "guest-fsfreeze-status",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-thaw",
)


def compile_table(
    commands: Iterable[Command],
    dialect: Dialect,
    family: Family = "linux",
    *,
    has_vss: bool = True,
) -> Table:
    """Return the table of one release on one platform; all agents that ask for it share it.

    *has_vss*: Windows can freeze its volumes.
    """
    return _compile_table(tuple(commands), dialect, family, has_vss=has_vss)


@lru_cache(maxsize=64)
def _compile_table(
    commands: tuple[Command, ...], dialect: Dialect, family: Family, *, has_vss: bool
) -> Table:
    chosen: dict[str, tuple[Command, bool]] = {}
    for c in commands:
        if c.is_in(dialect, family):
            is_supported = c.is_supported(dialect, family)
            if is_supported or c.name not in chosen:
                chosen[c.name] = c, is_supported
    if family == "windows" and not has_vss and dialect.blocks_without_vss:
        for name in NEED_VSS:
            chosen[name] = chosen[name][0], False
    return MappingProxyType(
        {
            name: compile_command(c, dialect, is_supported=is_supported)
            for name, (c, is_supported) in chosen.items()
        }
    )
