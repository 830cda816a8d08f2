"""The shells that a guest can have, as a table: their words, and the rules in which they differ.

dash is 0.5.12 and ash is BusyBox 1.35's; bash is 5.2. `tests.fuzz_userland` compares each with the real one.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

__all__ = ["ASH", "BASH", "DASH", "Flavour", "Words", "choose_flavour"]


BASH_BUILTINS: Final = (
    "bind builtin caller compgen complete compopt declare dirs disown enable fc help history logout"
    " mapfile popd pushd readarray shopt suspend typeset"
)


class Words(Struct, frozen=True, kw_only=True):
    """What a shell says; ``{}`` stands for what it is about."""

    not_found: str = "{}: not found"
    path_not_found: str = "{}: not found"
    no_such_file: str = "no such file"
    no_directory: str = "nonexistent directory"
    cannot_open: str = "can't open {}: {}"
    no_such_script: str = "No such file or directory"
    cannot_open_script: str = "can't open '{}': {}"
    cannot_create: str = "can't create {}: {}"
    cannot_change: str = "can't cd to {}: {}"
    file_exists: str = "File exists"
    bad_number: str = "Illegal number: {}"
    bad_option: str = "illegal option -{}"
    bad_long_option: str = "illegal option -o {}"
    no_argument: str = "no arg for -{} option"
    bad_descriptor: str = "syntax error: bad fd number"
    bad_substitution: str = "syntax error: bad substitution"
    bad_trap: str = "{}: invalid signal specification"
    bad_mode: str = "illegal mode: {}"
    syntax_error: str = "syntax error: {}"
    unexpected: str = "unexpected {}"
    unterminated_quote: str = "unterminated quoted string"
    missing_brace: str = "missing '}'"
    missing_parentheses: str = "missing '))'"
    bad_function_name: str = "bad function name"
    bad_loop_variable: str = "bad for loop variable"
    function: str = "{} is a function"
    too_many: str = ""
    is_read_only: str = "{}: is read only"
    not_set: str = "{}: parameter not set"
    write_error: str = "write error: {reason}"
    whom_to_kill: str = "you need to specify whom to kill"
    no_such_job: str = "{}: no such job"
    getopts_usage: str = "usage: getopts optstring var [arg]"


class Flavour(Struct, frozen=True, kw_only=True):
    """A shell: see the module."""

    name: str
    words: Words
    #: The number of the first line of ``-c``.
    first_line: int = 0
    #: Whether it knows bash's words: ``[[``, ``<<<``, ``${x//}``, ``$''``, ``&>``, ``function``, ``let``, ``source``.
    has_bashisms: bool = True
    #: Whether arithmetic is C's with all its operators, or POSIX's only.
    has_full_arithmetic: bool = True
    #: The status of a redirection that fails.
    redirection_status: int = 1
    #: The status of a script that is not there.
    no_script_status: int = 2
    #: The status of a script that ends because a variable is not set.
    not_set_status: int = 2
    #: The status of ``cd`` to a directory that is not there.
    error_status: int = 2
    #: Whether the lines of ``eval`` and of traps count from 1, or go on from where they stand.
    counts_inner_lines: bool = False
    #: Whether there is ``set -o pipefail``.
    has_pipefail: bool = True
    #: Whether ``$@`` and ``$*`` count as set without any arguments.
    has_set_arguments: bool = True
    #: Whether there is ``<<<``.
    has_here_strings: bool = False
    #: Whether a pattern can be negated by ``[^``.
    has_caret: bool = True
    #: Whether ``echo`` has options (``-e``) or replaces escape sequences always.
    has_echo_options: bool = True
    #: Whether ``set -x`` quotes what it shows.
    quotes_trace: bool = True
    #: Options of builtins, where they are not ash's: see `parse_options`.
    options: Mapping[str, str] = MappingProxyType({})
    #: Builtins that the real shell has and this one does not simulate: a script that runs one ends.
    refused: frozenset[str] = frozenset()
    #: Whether the constructs that only bash has are refused where they are not simulated.
    is_bash: bool = False
    #: Builtins that it does not have.
    missing: frozenset[str] = frozenset()


ASH: Final = Flavour(name="ash", words=Words(), missing=frozenset(("mapfile", "shopt", "declare")))
DASH: Final = Flavour(
    name="dash",
    words=Words(
        no_such_file="No such file",
        no_such_script="No such file",
        no_directory="Directory nonexistent",
        cannot_open="cannot open {}: {}",
        cannot_open_script="cannot open {}: {}",
        cannot_create="cannot create {}: {}",
        cannot_change="can't cd to {}",
        bad_option="Illegal option -{}",
        bad_long_option="Illegal option -o {}",
        no_argument="No arg for -{} option",
        bad_descriptor="Syntax error: Bad fd number",
        bad_substitution="Bad substitution",
        bad_trap="{}: bad trap",
        bad_mode="Illegal mode: {}",
        syntax_error="Syntax error: {}",
        unexpected="{} unexpected",
        unterminated_quote="Unterminated quoted string",
        missing_brace="Missing '}'",
        missing_parentheses="Missing '))'",
        bad_function_name="Bad function name",
        bad_loop_variable="Bad for loop variable",
        function="{} is a shell function",
        write_error="{command}: I/O error",
        whom_to_kill="Usage: kill [-s sigspec | -signum | -sigspec] [pid | job]... or\nkill -l [exitstatus]",
        no_such_job="No such job: {}",
        too_many="can't shift that many",
        getopts_usage="Usage: getopts optstring var [arg...]",
    ),
    first_line=1,
    has_bashisms=False,
    has_full_arithmetic=False,
    counts_inner_lines=True,
    has_pipefail=False,
    has_caret=False,
    redirection_status=2,
    has_echo_options=False,
    quotes_trace=False,
    options=MappingProxyType({"export": "p", "read": "p:r", "wait": "", "hash": "rv"}),
    missing=frozenset(("[[", "let", "source", "mapfile", "shopt", "declare")),
)
BASH: Final = Flavour(
    name="bash",
    words=Words(
        not_found="{}: command not found",
        path_not_found="{}: No such file or directory",
        no_such_file="No such file or directory",
        no_directory="No such file or directory",
        cannot_open="{}: {}",
        cannot_open_script="{}: {}",
        cannot_create="{}: {}",
        cannot_change="{}: {}",
        file_exists="cannot overwrite existing file",
        bad_number="{}: numeric argument required",
        bad_option="-{}: invalid option",
        bad_long_option="{}: invalid option name",
        no_argument="-{}: option requires an argument",
        bad_trap="{}: invalid signal specification",
        bad_mode="`{}': invalid symbolic mode operator",
        bad_substitution="bad substitution",
        unterminated_quote="unexpected EOF while looking for matching quote",
        is_read_only="{}: readonly variable",
        not_set="{}: unbound variable",
        no_such_job="{}: no such job",
        getopts_usage="usage: getopts optstring name [arg ...]",
    ),
    first_line=1,
    error_status=1,
    has_set_arguments=False,
    has_here_strings=True,
    is_bash=True,
    not_set_status=127,
    refused=frozenset(BASH_BUILTINS.split()),
    no_script_status=127,
)
_BY_NAME: Final = MappingProxyType({"ash": ASH, "bash": BASH, "dash": DASH})


def choose_flavour(name: str, userland: str) -> Flavour:
    """Return the shell that a guest has by *name*; ``sh`` is BusyBox's or dash."""
    return _BY_NAME.get(name, ASH if userland == "busybox" else DASH)
