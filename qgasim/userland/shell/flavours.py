"""The shells that a guest can have, as a table: their words, options, and the rules that are values.

dash is 0.5.12 and ash is BusyBox 1.35's; bash is 5.2. `tests.fuzz_userland` compares each with the real one.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from qgasim.userland.shell import (
    arithmetic,
    ash_arithmetic,
    bash_arithmetic,
    conditions,
    printf,
)
from qgasim.userland.shell.printf import Rules

__all__ = ["ASH", "BASH", "DASH", "Flavour", "Words", "choose_flavour"]


MUTE: Final = "alias cd command export hash jobs kill pwd readonly set times trap type ulimit umask"
BASH_USAGES: Final = {
    "alias": " [-p] [name[=value] ... ]",
    "builtin": " [shell-builtin [arg ...]]",
    "cd": " [-L|[-P [-e]] [-@]] [dir]",
    "command": " [-pVv] command [arg ...]",
    ".": " filename [arguments]",
    "eval": " [arg ...]",
    "exec": " [-cl] [-a name] [command [argument ...]] [redirection ...]",
    "export": " [-fn] [name[=value] ...] or export -p",
    "hash": " [-lr] [-p pathname] [-dt] [name ...]",
    "jobs": " [-lnprs] [jobspec ...] or jobs -x command [args]",
    "printf": " [-v var] format [arguments]",
    "pwd": " [-LP]",
    "read": " [-ers] [-a array] [-d delim] [-i text] [-n nchars] [-N nchars] [-p prompt] [-t timeout] [-u fd] [name ...]",
    "readonly": " [-aAf] [name[=value] ...] or readonly -p",
    "set": " [-abefhkmnptuvxBCEHPT] [-o option-name] [--] [-] [arg ...]",
    "trap": " [-lp] [[arg] signal_spec ...]",
    "times": "",
    "type": " [-afptP] name [name ...]",
    "ulimit": " [-SHabcdefiklmnpqrstuvxPRT] [limit]",
    "umask": " [-p] [-S] [mode]",
    "unalias": " [-a] name [name ...]",
    "unset": " [-f] [-v] [-n] [name ...]",
    "wait": " [-fn] [-p var] [id ...]",
}
#: What bash has besides, and this one does not.
BASH_BUILTINS: Final = (
    "bind caller compgen complete compopt declare dirs disown enable fc help history logout"
    " mapfile popd pushd readarray shopt suspend typeset"
)


ASH_OPTIONS: Final = MappingProxyType({
    "e": "errexit", "f": "noglob", "I": "ignoreeof", "m": "monitor", "n": "noexec", "x": "xtrace", "v": "verbose",
    "C": "noclobber", "a": "allexport", "b": "notify", "u": "nounset", "E": "errtrace", "1": "vi", "2": "pipefail",
})  # fmt: skip
DASH_OPTIONS: Final = MappingProxyType({
    "e": "errexit", "f": "noglob", "I": "ignoreeof", "i": "interactive", "m": "monitor", "n": "noexec", "s": "stdin",
    "x": "xtrace", "v": "verbose", "V": "vi", "E": "emacs", "C": "noclobber", "a": "allexport", "b": "notify",
    "u": "nounset", "p": "privileged", "1": "nolog", "3": "debug",
})  # fmt: skip
BASH_OPTIONS: Final = MappingProxyType({
    "a": "allexport", "B": "braceexpand", "1": "emacs", "e": "errexit", "E": "errtrace", "T": "functrace",
    "h": "hashall", "H": "histexpand", "3": "history", "I": "ignoreeof", "4": "interactive-comments", "k": "keyword",
    "m": "monitor", "C": "noclobber", "n": "noexec", "f": "noglob", "5": "nolog", "b": "notify", "u": "nounset",
    "t": "onecmd", "P": "physical", "2": "pipefail", "6": "posix", "p": "privileged", "v": "verbose", "7": "vi",
    "x": "xtrace",
})  # fmt: skip


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
    too_deep: str = "Maximum function recursion depth (1000) reached"
    is_read_only: str = "{}: is read only"
    null_or_unset: str = "parameter not set or null"
    not_in_function: str = "not in a function"
    bad_name: str = "{}: bad variable name"
    hashed: str = "{} is a tracked alias for {}"
    not_set: str = "{}: parameter not set"
    write_error: str = "write error: {reason}"
    no_such_job: str = "{}: no such job"
    getopts_usage: str = "usage: getopts optstring var [arg]"
    kill_usage: str = "you need to specify whom to kill"
    bad_signal: str = "bad signal name '{}'"
    #: Of an argument of ``kill -l``, of what is no process, and of one that is not there.
    bad_listed: str = "unknown signal '{}'"
    bad_target: str = "invalid number '{}'"
    gone: str = "can't kill pid {}: No such process"
    #: Of options of ``read``.
    bad_timeout: str = "invalid timeout"
    bad_count: str = "invalid count"
    bad_file: str = "invalid file descriptor"
    #: ``{name}`` is the shell's.
    getopts_option: str = "Illegal option -{}"
    getopts_argument: str = "No arg for -{} option"
    printf_usage: str = "usage: printf FORMAT [ARGUMENT...]"
    #: Of a mode that begins with a digit; `bad_mode` if empty.
    bad_octal: str = ""


class Flavour(Struct, frozen=True, kw_only=True):
    """A shell: see the module. What one alone does is where it is done, behind ``is_dash`` and the like."""

    is_dash: bool = False
    is_ash: bool = False
    is_bash: bool = False
    words: Words
    #: The number of the first line of ``-c``.
    first_line: int = 0
    #: How arithmetic is worked out.
    evaluate: Callable[[str, arithmetic.Get, arithmetic.Set], int]
    #: The status of ``cd`` to a directory that is not there.
    error_status: int = 2
    #: What ``echo`` and ``printf`` do, and ``test``.
    printf: Rules
    test: conditions.Rules
    #: How deep functions may call each other; 0: as deep as the stack allows.
    max_depth: int = 0
    #: Builtins that do not look whether their output could be written.
    forgetful: frozenset[str] = frozenset()
    #: Builtins that fail then, and say nothing.
    mute: frozenset[str] = frozenset()
    #: The order of the letters in ``$-``.
    option_letters: str = "ubaCvxicsnmIfe"
    #: The options of ``set`` by letter, in the shell's order; a digit stands for those that have none.
    long_options: Mapping[str, str]
    #: What is shown before them.
    options_head: str = ""
    #: Options that are set at first, and those that are known and not simulated.
    initial_options: str = ""
    refused_options: str = ""
    prompt: str = r"\w \$ "
    #: Options of builtins, where they are not ash's: see `parse_options`.
    options: Mapping[str, str] = MappingProxyType({})
    #: How many digits a mode of ``umask`` may have besides zeros at its beginning; 0: any number.
    max_umask: int = 0
    #: What is shown behind the message about a wrong option.
    usages: Mapping[str, str] = MappingProxyType({})
    #: The letters of ``ulimit``'s limits, and ``a``.
    limits: frozenset[str] = frozenset("acdefilmnqrstuvx")
    #: Builtins that the real shell has and this one does not simulate: a script that runs one ends.
    refused: frozenset[str] = frozenset()
    #: Builtins that it does not have.
    missing: frozenset[str] = frozenset()


ASH: Final = Flavour(
    is_ash=True,
    long_options=ASH_OPTIONS,
    words=Words(hashed="{} is {}"),
    printf=printf.ASH,
    evaluate=ash_arithmetic.evaluate,
    test=conditions.ASH,
    max_umask=3,
    mute=frozenset(MUTE.split()),
    refused=frozenset(("help",)),
    missing=frozenset(("builtin", "mapfile", "shopt", "declare", "((")),
)
DASH: Final = Flavour(
    is_dash=True,
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
        no_such_job="No such job: {}",
        too_many="can't shift that many",
        getopts_usage="Usage: getopts optstring var [arg...]",
        printf_usage="usage: printf format [arg ...]",
        bad_octal="Illegal number: {}",
        kill_usage="Usage: kill [-s sigspec | -signum | -sigspec] [pid | job]... or\nkill -l [exitstatus]",
        bad_signal="invalid signal number or name: {}",
        bad_listed="invalid signal number or exit status: {}",
        bad_target="Illegal number: {}",
        gone="No such process\n",
    ),
    first_line=1,
    evaluate=arithmetic.evaluate,
    printf=printf.DASH,
    test=conditions.DASH,
    max_depth=1000,
    option_letters="pubaCEVvxsnmiIfe",
    long_options=DASH_OPTIONS,
    options_head="Current option settings",
    refused_options="i",
    prompt="# ",
    limits=frozenset("acdflmnprstvw"),
    options=MappingProxyType({"export": "p", "read": "p:r", "wait": "", "hash": "rv"}),
    missing=frozenset(
        ("builtin", "[[", "((", "let", "source", "mapfile", "shopt", "declare", "history")
    ),
)
BASH: Final = Flavour(
    is_bash=True,
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
        bad_substitution="bad substitution",
        unterminated_quote="unexpected EOF while looking for matching quote",
        is_read_only="{}: readonly variable",
        null_or_unset="parameter null or not set",
        not_in_function="can only be used in a function",
        bad_octal="{}: octal number out of range",
        bad_name="`{}': not a valid identifier",
        hashed="{} is hashed ({})",
        not_set="{}: unbound variable",
        bad_timeout="{}: invalid timeout specification",
        bad_count="{}: invalid number",
        bad_file="{}: invalid file descriptor specification",
        getopts_usage="usage: getopts optstring name [arg ...]",
        getopts_option="{name}: illegal option -- {}",
        getopts_argument="{name}: option requires an argument -- {}",
        printf_usage="usage: printf [-v var] format [arguments]",
        kill_usage="kill: usage: kill [-s sigspec | -n signum | -sigspec] pid | jobspec ... or kill -l [sigspec]",
        bad_signal="{}: invalid signal specification",
        bad_listed="{}: invalid signal specification",
        bad_target="{}: arguments must be process or job IDs",
        gone="({}) - No such process",
    ),
    printf=printf.BASH,
    evaluate=bash_arithmetic.evaluate,
    test=conditions.BASH,
    first_line=1,
    error_status=1,
    max_umask=4,
    option_letters="abefhkmnptuvxBCEHPTcs",
    long_options=BASH_OPTIONS,
    initial_options="hB4",
    refused_options="kptHPT6",
    forgetful=frozenset(("command", "jobs", "kill", "ulimit")),
    usages=MappingProxyType(BASH_USAGES),
    limits=frozenset("acdefilmnpqrstuvx"),
    refused=frozenset(BASH_BUILTINS.split()),
)
_BY_NAME: Final = MappingProxyType({"ash": ASH, "bash": BASH, "dash": DASH})


def choose_flavour(name: str, userland: str) -> Flavour:
    """Return the shell that a guest has by *name*; ``sh`` is BusyBox's or dash."""
    return _BY_NAME.get(name, ASH if userland == "busybox" else DASH)
