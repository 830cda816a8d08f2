"""What a shell remembers: variables, options, functions, jobs; and how its commands break off."""

import copy
import re
from collections.abc import Callable
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from qgasim.errors import GuestError
from qgasim.guest.processes.process import Process, Steps
from qgasim.guest.processes.signals import MAX_SIGNAL
from qgasim.userland.shell.flavours import Flavour
from qgasim.userland.shell.lexer import BadSyntax
from qgasim.userland.shell.syntax import Function

__all__ = [
    "DEFAULT_PATH",
    "ERROR_TRAP",
    "Abandon",
    "BreakOut",
    "CommandDropped",
    "DropCommand",
    "Job",
    "LeaveShell",
    "NotSet",
    "ReadOnly",
    "Replaced",
    "ReturnBack",
    "ShellError",
    "State",
    "Variable",
    "hash_bucket",
    "is_name",
    "leave",
]

T = TypeVar("T")
#: ash's own, for want of PATH (recorded: exec/env-no-path).
DEFAULT_PATH: Final = "/sbin:/usr/sbin:/bin:/usr/bin"
#: The number in `State.traps` of what runs when a command fails (``ERR``).
ERROR_TRAP: Final = MAX_SIGNAL + 1
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
#: What a variable takes besides its name and value, in bytes.
VARIABLE_SIZE: Final = 200
#: A longer value would mean a script that runs wild.
MAX_VALUE: Final = 16 << 20


def is_name(text: str) -> bool:
    """Return whether *text* can be the name of a variable."""
    return NAME.fullmatch(text) is not None


class Variable(Struct, frozen=True):
    """A variable; *value* is None if it is only marked."""

    value: str | None = None
    is_exported: bool = False
    is_readonly: bool = False


class Job(Struct, eq=False):
    """Processes in the background; the last one gives the status."""

    number: int
    processes: list[Process]
    #: Whether a script has waited for it.
    is_waited: bool = False

    @property
    def is_done(self) -> bool:
        """Return whether all have ended."""
        return all(process.exit is not None for process in self.processes)


class Specials(Struct):
    """What bash's variables show that it makes up when they are read."""

    #: The last word of the command before.
    last_argument: str = ""
    #: The uptime from which ``SECONDS`` counts, in ns.
    started: int = 0
    #: How many subshells are around this one.
    subshells: int = 0


class ShellError(GuestError):
    """A command cannot go on; a script ends with *status*, with a builtin's name in the message."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


class CommandDropped(ShellError):
    """bash does no more of a command, and goes on with what stands behind it."""


class ReadOnly(ShellError):
    """A variable cannot be changed."""


class NotSet(ShellError):
    """A variable is not set, and that is an error (``set -u``): the shell ends even if a builtin finds it."""


class LeaveShell(Exception):
    """Raised to end the shell."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class DropCommand(LeaveShell):
    """Raised to go on with what stands behind a command; a subshell ends."""


class Abandon(LeaveShell):
    """Raised to end the shell for an error."""


def leave(error: ShellError | BadSyntax) -> LeaveShell:
    """Return what ends the command, or the shell, in which *error* came up."""
    is_dropped = isinstance(error, CommandDropped)
    return (DropCommand if is_dropped else Abandon)(error.status or 0)


class BreakOut(Exception):
    """Raised to leave *count* loops, or to go on with the last of them."""

    def __init__(self, count: int, *, goes_on: bool, status: int = 0) -> None:
        super().__init__(count)
        self.count = count
        self.goes_on = goes_on
        self.status = status


class ReturnBack(Exception):
    """Raised to end a function or a sourced file."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Replaced(Exception):
    """Raised when the process has become another program, which *steps* is."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps


class State:
    """The variables and settings of a shell; a subshell has a copy."""

    #: Bytes that variables, functions, traps and aliases take.
    size = 0
    #: The file whose commands run (``.``) or that defined the function that runs, "" for none: bash's messages name it.
    origin = ""
    #: What a subshell of bash shows in place of the traps until it sets one itself.
    shown_traps: dict[int, str] | None = None
    name = "sh"
    #: The function that runs, and the variables that were assigned for it (in bash also for those that called it).
    function = ""
    given: frozenset[str] = frozenset()
    status = 0
    #: What it was before the trap that runs: that of ``exit`` there.
    trapped_status: int | None = None
    #: The working directory as the user came there, links included.
    directory = "/"
    #: ``$$``: a subshell's is that of the shell it comes from.
    main_pid = 0
    background_pid: int | None = None
    #: Whether this is a subshell; and whether its process is another one than the shell's.
    is_inner = False
    is_forked = False
    loops = 0
    #: How many files are being run by ``.``, and command substitutions.
    sources = 0
    substitutions = 0
    #: How many conditions are being worked out: what fails in one does not end the shell.
    conditions = 0
    line = 0
    #: The line up to which the script has been parsed.
    parsed_line = 0
    #: What messages call the command: a builtin's name, or a script's.
    command: str | None = None
    #: What ``getopts`` looks at next: an argument, and where within the one before (0: at none).
    option: tuple[int, int] = (1, 0)

    def __init__(self, flavour: Flavour) -> None:
        self.flavour = flavour
        self.words = flavour.words
        self.variables: dict[str, Variable] = {}
        #: What is called with each change of the size.
        self.on_size: Callable[[int], None] = lambda _: None
        #: For each function that runs, what its local variables were before.
        self.scopes: list[dict[str, Variable | None]] = []
        self.functions: dict[str, Function] = {}
        #: The files that defined them.
        self.origins: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        #: Programs that were found in PATH before, in that order: their files.
        self.hashed: dict[str, str] = {}
        #: Commands by signal; 0 is the end of the shell. An empty one ignores the signal.
        self.traps: dict[int, str] = {}
        #: What the variables were that are assigned for the command that runs.
        self.temporary: dict[str, Variable | None] = {}
        self.jobs: list[Job] = []
        self.arguments: list[str] = []
        self.options: set[str] = set()
        self.limits: dict[str, str] = {}
        self.specials = Specials()

    def set_arguments(self, arguments: list[str]) -> None:
        """Set the positional parameters; dash and ash begin to look for options at the first again."""
        self.arguments = arguments
        if not self.flavour.is_bash:
            self.option = (1, 0)

    def copy(self) -> "State":
        """Return all that a subshell inherits."""
        other = copy.copy(self)
        for name in ("variables", "functions", "origins", "aliases", "hashed", "limits"):
            setattr(other, name, dict(getattr(self, name)))
        other.scopes = [dict(scope) for scope in self.scopes]
        keeps_errors = self.flavour.is_bash and "E" in self.options
        other.traps = {
            number: action
            for number, action in self.traps.items()
            if not action or (number == ERROR_TRAP and keeps_errors)
        }
        other.arguments, other.options = list(self.arguments), set(self.options)
        other.jobs, other.temporary = [], {}
        other.is_inner = other.is_forked = True
        other.specials = replace(self.specials, subshells=self.specials.subshells + 1)
        # dash's fork closes the script: what it parses then has lines of its own.
        other.parsed_line = 1
        if self.flavour.is_bash and self.shown_traps is None:
            other.shown_traps = dict(self.traps)
        return other

    def take(self, size: int) -> None:
        """Count *size* bytes more, or fewer, as the process's; it is killed if it has too many."""
        size = max(size, -self.size)
        self.on_size(size)
        self.size += size

    def forget_jobs(self) -> None:
        """Mark jobs that have ended as waited for; bash forgets them."""
        for job in [job for job in self.jobs if job.is_done]:
            job.is_waited = True
            if self.flavour.is_bash:
                self.jobs.remove(job)

    def get(self, name: str) -> str | None:
        """Return a variable's value; None if it has none."""
        if name == "LINENO" and name in self.variables:
            return str(self.line)
        variable = self.variables.get(name)
        return variable.value if variable is not None else None

    def set(self, name: str, value: str | None, *, exported: bool = False) -> None:
        """Set a variable; `ShellError` if it is read-only."""
        variable = self.variables.get(name, Variable())
        if variable.is_readonly:
            raise ReadOnly(self.words.is_read_only.format(name), self.flavour.error_status)
        if value is not None and len(value) > MAX_VALUE:
            raise ShellError("out of memory", 1)
        self.take(_size_of(name, Variable(value)) - _size_of(name, variable))
        self.variables[name] = replace(
            variable,
            value=value,
            is_exported=variable.is_exported or exported or "a" in self.options,
        )
        if name == "PATH" and value != variable.value:
            self.hashed.clear()
        if name == "OPTIND":
            self.option = (int(value) if value and re.fullmatch("[1-9][0-9]{0,8}", value) else 1, 0)

    def assign(self, name: str, value: str) -> None:
        """Assign to a variable outside of a builtin: for bash a read-only one ends no more than the command."""
        try:
            self.set(name, value)
        except ReadOnly as error:
            raise self.drop(str(error)) if self.flavour.is_bash else error from None

    def drop(self, message: str) -> ShellError:
        """Make the error with which bash drops a command, and ends if ``-e`` is set: report_error() of error.c."""
        return (ShellError if "e" in self.options else CommandDropped)(message, 1)

    def mark(self, name: str, *, exported: bool | None = None, readonly: bool = False) -> None:
        """Mark a variable as exported (or not any more) or read-only."""
        variable = self.variables.get(name, Variable())
        self.variables[name] = replace(
            variable,
            is_exported=variable.is_exported if exported is None else exported,
            is_readonly=variable.is_readonly or readonly,
        )

    def unset(self, name: str) -> None:
        """Forget a variable."""
        variable = self.variables.get(name)
        if variable is not None and variable.is_readonly:
            if self.flavour.is_bash:
                raise ShellError(f"{name}: cannot unset: readonly variable", 1)
            raise ReadOnly(self.words.is_read_only.format(name), self.flavour.error_status)
        if self.variables.pop(name, None) is not None:
            assert variable is not None
            self.take(-_size_of(name, variable))

    def make_local(self, name: str) -> None:
        """Make the function that runs put *name* back when it ends."""
        if name not in self.scopes[-1]:
            before = self.temporary.pop(name, self.variables.get(name))
            self.scopes[-1][name] = before
            self.take(_size_of(name, before))

    def leave_scope(self) -> None:
        """Put the local variables of the function that ends back."""
        for name, variable in self.scopes.pop().items():
            # The value before was counted, too.
            self.take(-_size_of(name, variable))
            self.put_back(name, variable)

    def put_back(self, name: str, variable: Variable | None) -> None:
        """Make a variable what it was before; None: it was not there."""
        now = self.variables.pop(name, None)
        if variable is not None:
            self.variables[name] = variable
        self.take(_size_of(name, variable) - _size_of(name, now))

    def set_action(self, actions: dict[T, str], key: T, text: str) -> None:
        """Put a text into `traps` or `aliases`."""
        before = VARIABLE_SIZE + len(actions[key]) if key in actions else 0
        self.take(VARIABLE_SIZE + len(text) - before)
        actions[key] = text

    def define(self, function: Function) -> None:
        """Define a function."""
        before = self.functions.get(function.name)
        if before is not function:
            # What is shown of its commands is about as long as what they take.
            self.take(len(repr(function)) - (0 if before is None else len(repr(before))))
            self.functions[function.name] = function
        self.origins[function.name] = self.origin

    def environment(self) -> list[str]:
        """Return the exported variables, in the order of the shell's hash table."""

        def place(name: str) -> tuple[bool, int]:
            if not self.flavour.is_bash:
                return (False, hash_bucket(name, 39))
            # What is assigned for the command comes first.
            is_lasting = name not in self.temporary
            return (is_lasting, hash_as_bash(name) % (1024 if is_lasting else 4))

        names = list(self.variables)
        if self.flavour.is_bash:
            # Of those in one place the newest is first.
            names.reverse()
        return [
            f"{name}={variable.value}"
            for name in sorted(names, key=place)
            if (variable := self.variables[name]).is_exported and variable.value is not None
        ]

    @property
    def can_return(self) -> bool:
        """Return whether there is something to ``return`` from."""
        return bool(self.scopes or self.sources)

    def flags(self) -> str:
        """Return ``$-``."""
        return "".join(letter for letter in self.flavour.option_letters if letter in self.options)


def _size_of(name: str, variable: Variable | None) -> int:
    """Return what a variable takes; without a value it is nothing, or marked only."""
    if variable is None or variable.value is None:
        return 0
    return VARIABLE_SIZE + len(name) + len(variable.value)


def hash_bucket(name: str, size: int = 31) -> int:
    """Return where *name* is in a hash table of ash's of so many places: 31 for commands."""
    raw = name.encode("utf-8", "surrogateescape")
    return ((raw[0] << 4) + sum(raw)) % size


def hash_as_bash(name: str) -> int:
    """Return hash_string() of bash's hashlib.c."""
    value = 2166136261
    for byte in name.encode("utf-8", "surrogateescape"):
        value = value * 16777619 % (1 << 32) ^ byte
    return value
