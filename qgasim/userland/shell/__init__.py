"""The guest's ``sh``: POSIX sh as BusyBox 1.35's ash understands it, in the virtual guest only.

A script's text is made into commands by `Parser`, words into arguments by `Expander`, and `Shell` runs
them in a `Process`. Subshells are processes of their own, with a copy of the `State`.
"""

import errno
import re
from typing import Final

from qgasim.guest.files.nodes import decode_name
from qgasim.guest.processes.process import Process, Steps
from qgasim.userland.shell import builtins, jobs, reading, variables
from qgasim.userland.shell.flavours import choose_flavour
from qgasim.userland.shell.interpreter import Shell
from qgasim.userland.shell.lexer import Refused
from qgasim.userland.shell.state import DEFAULT_PATH, ShellError, State, Variable, is_name
from qgasim.userland.shell.variables import (
    BASH_USAGE,
    change_options,
    find_directory,
    give_up_job_control,
)

__all__ = ["builtins", "jobs", "reading", "run_shell", "variables"]

#: Long options of bash that are not simulated.
LONG_OPTIONS: Final = frozenset((
    "debug", "debugger", "dump-po-strings", "dump-strings", "help", "init-file", "posix", "pretty-print", "rcfile",
    "restricted", "verbose", "version",
))  # fmt: skip


def run_shell(p: Process) -> Steps:
    """Run ``sh``: run a string (``-c``), a file, or the standard input."""
    state = State(choose_flavour(p.name, p.guest.settings.os.userland))
    shell = Shell(p, state)
    argv = p.argv[1:] if p.name == "busybox" and len(p.argv) > 1 else p.argv
    state.name = argv[0]
    state.options.update(state.flavour.initial_options)
    state.main_pid = p.pid
    _take_environment(shell)
    try:
        given = _take_long_options(shell, argv[1:])
        arguments = change_options(shell, given, extra="csil") or []
        _refuse_options(shell)
        body = _choose_body(shell, arguments)
    except (ShellError, Refused) as error:
        yield from shell.complain(error)
        return error.status if isinstance(error, ShellError) else 2
    if "m" in state.options:
        yield from give_up_job_control(shell)
    return (yield from body)


def _take_long_options(shell: Shell, arguments: list[str]) -> list[str]:
    """Do the long options that begin *arguments*; of those that only bash knows ash takes no notice."""
    flavour = shell.state.flavour
    rest = list(arguments)
    while not flavour.is_dash and rest and rest[0].startswith("--") and rest[0] != "--":
        name = rest.pop(0)[2:]
        if name == "login":
            shell.state.options.add("l")
        elif name == "noprofile" and flavour.is_bash:
            shell.state.options.add(name)
        elif flavour.is_ash or name in ("noediting", "norc"):
            continue
        elif name in LONG_OPTIONS:
            raise shell.refuse(f"--{name}")
        else:
            raise ShellError(f"--{name}: invalid option{BASH_USAGE}")
    return rest


def _refuse_options(shell: Shell) -> None:
    """Raise the error about options for terminals, and for lines as they are read."""
    options = shell.state.options
    for letter in "imv":
        is_simulated = {"i": False, "m": not shell.state.flavour.is_bash, "v": "c" in options}
        if letter in options and not is_simulated[letter]:
            raise shell.refuse(f"-{letter}")


def _choose_body(shell: Shell, arguments: list[str]) -> Steps:
    state = shell.state
    if "c" in state.options:
        if not arguments:
            is_bash = state.flavour.is_bash
            raise ShellError(f"-c{': option' if is_bash else ''} requires an argument")
        text = arguments[0]
        if len(arguments) > 1:
            _call(state, arguments[1])
        state.arguments = arguments[2:]
        first = state.flavour.first_line
        return shell.run(lambda: _begin(shell, shell.run_text(text, first, is_last=True)))
    if "s" in state.options or not arguments:
        state.options.add("s")
        state.arguments = arguments
        return shell.run(lambda: _begin(shell, shell.run_input()))
    return _run_file(shell, arguments)


def _begin(shell: Shell, body: Steps) -> Steps:
    """Read the profiles of a login shell, then do *body*."""
    state, files = shell.state, shell.p.guest.files
    if "l" in state.options and "noprofile" not in state.options:
        if files.exists("/etc/profile"):
            yield from builtins.source(shell, [".", "/etc/profile"])
        home = state.get("HOME") or ""
        own = ("bash_profile", "bash_login", "profile") if state.flavour.is_bash else ("profile",)
        # bash reads the first that is there.
        if found := [path for name in own if files.exists(path := f"{home}/.{name}")]:
            yield from builtins.source(shell, [".", found[0]])
    return (yield from body)


def _call(state: State, name: str) -> None:
    """Call a script *name*."""
    state.name = name
    # dash names what it runs in messages about a file that the script reads, only.
    state.command = None if state.flavour.is_dash else name


def _run_file(shell: Shell, arguments: list[str]) -> Steps:
    state = shell.state
    try:
        raw = yield from shell.p.read_file(arguments[0])
    except IsADirectoryError as error:
        if not state.flavour.is_bash:
            # Nothing can be read from it.
            return 0
        state.name = arguments[0]
        yield from shell.complain(f"{state.name}: {error.strerror}")
        return 126
    except OSError as error:
        words = state.words
        is_missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        reason = words.no_such_script if is_missing else error.strerror
        yield from shell.complain(words.cannot_open_script.format(arguments[0], reason))
        return 127 if state.flavour.is_bash else 2
    _call(state, arguments[0])
    state.arguments = arguments[1:]
    text = decode_name(raw.replace(b"\0", b""))
    return (yield from shell.run(lambda: _begin(shell, shell.run_text(text, 1, is_last=True))))


def _set_as_bash(shell: Shell) -> None:
    """Set what bash 5.2 of Debian sets besides: initialize_shell_variables() of variables.c."""
    state, p = shell.state, shell.p
    variables = state.variables
    variables["OLDPWD"] = Variable(is_exported=True)
    for name in ("UID", "EUID"):
        variables[name] = Variable("0", is_readonly=True)
    machine = p.guest.settings.os.machine
    given = {
        "BASH": shell.find_in_path(p.argv[0]) or p.argv[0],
        "BASH_VERSION": "5.2.15(1)-release",
        "HOSTTYPE": machine,
        "MACHTYPE": f"{machine}-pc-linux-gnu",
        "OSTYPE": "linux-gnu",
    }
    for name, value in given.items():
        variables[name] = Variable(value)
    for name, value in {"OPTERR": "1", "TERM": "dumb"}.items():
        variables.setdefault(name, Variable(value))
    variables.pop("_", None)
    state.specials.last_argument = p.argv[0]
    state.specials.started = p.guest.clock.uptime()


def _take_environment(shell: Shell) -> None:
    state, p = shell.state, shell.p
    defaults = {"IFS": " \t\n", "LINENO": "", "OPTIND": "1", "PATH": DEFAULT_PATH}
    defaults |= {"PPID": str(p.parent), "PS1": state.flavour.prompt, "PS2": "> ", "PS4": "+ "}
    if state.flavour.is_dash:
        # Debian builds it without line numbers for scripts.
        del defaults["LINENO"]
    for name, value in defaults.items():
        state.variables[name] = Variable(value)
    for item in p.env:
        name, sign, value = item.partition("=")
        if sign and is_name(name) and name not in ("IFS", "PPID", "OPTIND"):
            state.variables[name] = Variable(value, is_exported=True)
    if not state.flavour.is_dash:
        state.variables.setdefault("HOSTNAME", Variable(p.guest.hostname))
    if state.flavour.is_bash:
        _set_as_bash(shell)
    state.directory = find_directory(shell, state.get("PWD"))
    state.set("PWD", state.directory, exported=True)
    if state.flavour.is_dash:
        return
    level = state.get("SHLVL") or ""
    depth = int(level) if re.fullmatch("[0-9]{1,9}", level) else 0
    state.set("SHLVL", str(depth + 1), exported=True)
