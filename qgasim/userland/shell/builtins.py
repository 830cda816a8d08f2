"""Builtins that say what runs next, that write, and that look things up."""

import errno
import re
import stat
from collections.abc import Iterator
from functools import partial
from typing import Final, NoReturn

from qgasim.errors import GuestError
from qgasim.guest.files.nodes import decode_name
from qgasim.guest.processes.process import Steps, Waiting
from qgasim.userland.shell.children import WriteFailed
from qgasim.userland.shell.conditions import TestError, decide
from qgasim.userland.shell.interpreter import BUILTINS, Shell, builtin
from qgasim.userland.shell.parser import KEYWORDS, SPECIAL, BadSyntax
from qgasim.userland.shell.printf import echo as format_echo
from qgasim.userland.shell.printf import format_printf
from qgasim.userland.shell.quoting import quote_always, quote_singly
from qgasim.userland.shell.state import (
    DEFAULT_PATH,
    BreakOut,
    CommandDropped,
    LeaveShell,
    ReadOnly,
    Replaced,
    ReturnBack,
    ShellError,
    hash_bucket,
    is_name,
)

__all__ = ["bad_option", "parse_options", "to_number"]

MAX_NUMBER: Final = 0x7FFFFFFF
#: What cannot be in the name of an alias: legal_alias_name() of bash.
NO_ALIAS: Final = re.compile(r"""[()<>;&|\s\\'"`$/]""")


def to_number(shell: Shell, text: str) -> int:
    """Make a number of a builtin's argument."""
    if shell.state.flavour.is_bash and re.fullmatch("-[0-9]{1,9}", text):
        return int(text) & 0xFF
    if not re.fullmatch("[0-9]{1,12}", text) or int(text) > MAX_NUMBER:
        state = shell.state
        message = state.words.bad_number.format(text)
        status = 1 if state.flavour.is_bash and state.command == "shift" else 2
        raise ShellError(message, status)
    return int(text)


def parse_options(shell: Shell, argv: list[str], known: str) -> tuple[dict[str, str], list[str]]:
    """Take the options off *argv*: those of *known*, with an argument if a colon follows there.

    A flavour may have other options than *known*.
    """
    words = shell.state.words
    known = shell.state.flavour.options.get(argv[0], known)
    options: dict[str, str] = {}
    rest = argv[1:]
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        letters = iter(word[1:])
        for letter in letters:
            at = known.find(letter)
            if at < 0 or letter == ":":
                raise bad_option(shell, argv[0], letter)
            options[letter] = ""
            if known[at + 1 : at + 2] == ":":
                missing = _add_usage(shell, argv[0], words.no_argument.format(letter))
                options[letter] = _take_argument(letters, rest, missing)
    return options, rest


def bad_option(shell: Shell, name: str, letter: str) -> GuestError:
    """Make the error about an option that the builtin *name* does not have, or that is not simulated."""
    if letter.isalpha() and re.search(rf"-\w*{letter}", shell.state.flavour.usages.get(name, "")):
        return shell.refuse(f"-{letter}")
    return ShellError(_add_usage(shell, name, shell.state.words.bad_option.format(letter)))


def _add_usage(shell: Shell, name: str, message: str) -> str:
    usage = shell.state.flavour.usages.get(name)
    return message if usage is None else f"{message}\n{name}: usage: {name}{usage}"


def _take_argument(letters: Iterator[str], rest: list[str], missing: str) -> str:
    value = "".join(letters)
    if value:
        return value
    if not rest:
        raise ShellError(missing)
    return rest.pop(0)


@builtin(":", "true")
def true(shell: Shell, argv: list[str]) -> int:
    """Succeed."""
    return 0


@builtin("history")
def history(shell: Shell, argv: list[str]) -> int:
    """Show the commands that were typed: none in a script."""
    return 0


@builtin("false")
def false(shell: Shell, argv: list[str]) -> int:
    """Fail."""
    return 1


def _complain_plainly(shell: Shell, text: str) -> Waiting[None]:
    """Write a message as builtins do that are programs, too."""
    if shell.state.flavour.is_ash:
        yield from shell.write_error(f"{shell.applet}: {text}\n")
    else:
        yield from shell.complain(text)


@builtin("echo")
def echo(shell: Shell, argv: list[str]) -> Steps:
    """Write arguments."""
    yield from shell.write(format_echo(argv[1:], shell.state.flavour.printf))
    return 0


@builtin("printf")
def printf(shell: Shell, argv: list[str]) -> Steps:
    """Write arguments by a format."""
    flavour = shell.state.flavour
    variable = ""
    if flavour.is_ash:
        arguments = argv[2:] if argv[1:2] == ["--"] else argv[1:]
    else:
        options, arguments = parse_options(shell, argv, "v:" if flavour.is_bash else "")
        variable = options.get("v", "")
        if "[" in variable:
            raise shell.refuse("arrays")
        if "v" in options and not is_name(variable):
            raise ShellError(flavour.words.bad_name.format(variable), 2)
    if not arguments:
        yield from _complain_plainly(shell, flavour.words.printf_usage)
        return 2
    if flavour.is_ash and 1 not in shell.p.files:
        return 1
    output, errors, status = format_printf(arguments, flavour.printf)
    done = 0
    for error in errors:
        if not variable:
            yield from shell.write(output[done : error.at])
            done = error.at
        yield from _complain_plainly(shell, error.text)
    if variable:
        shell.state.set(variable, decode_name(output.replace(b"\0", b"")))
    else:
        yield from shell.write(output[done:])
    return status


@builtin("test", "[", "[[")
def test(shell: Shell, argv: list[str]) -> Steps:
    """Work out a condition."""
    if argv[0] == "[[" and "=~" in argv:
        raise shell.refuse("=~")

    def ask(operator: str, operand: str) -> bool:
        if "[" in operand:
            raise shell.refuse("arrays")
        if operator == "-v":
            return shell.expander.get_parameter(operand) is not None
        options = shell.state.flavour.long_options.items()
        return any(long == operand and letter in shell.state.options for letter, long in options)

    try:
        found = decide(shell.p, argv[1:], argv[0], shell.state.flavour.test, ask)
    except TestError as error:
        yield from _complain_plainly(shell, str(error))
        return 2
    return 0 if found else 1


@builtin("let", "((")
def let(shell: Shell, argv: list[str]) -> int:
    """Work out arithmetic expressions."""
    if len(argv) < 2:
        raise ShellError("expression expected", 1 if shell.state.flavour.is_bash else 2)
    value = 0
    for argument in argv[1:]:
        try:
            value = shell.expander.evaluate(argument)
        except CommandDropped as error:
            kind = ReadOnly if isinstance(error.__context__, ReadOnly) else ShellError
            raise kind(str(error), 1) from None
    return int(not value)


@builtin("eval")
def evaluate(shell: Shell, argv: list[str]) -> Steps:
    """Run arguments as commands."""
    state, text = shell.state, " ".join(argv[1:])
    if not state.flavour.is_bash:
        return (yield from shell.nest(shell.run_text(text, shell.inner_line)))
    text = " ".join(parse_options(shell, argv, "")[1])
    # Its name is in errors of syntax only.
    state.command = None
    state.substitutions += 1
    try:
        return (yield from shell.nest(shell.run_text(text, shell.inner_line)))
    except BadSyntax:
        state.command = "eval"
        raise
    finally:
        state.substitutions -= 1


@builtin(".", "source")
def source(shell: Shell, argv: list[str]) -> Steps:
    """Run the commands of a file in this shell."""
    state = shell.state
    is_bash = state.flavour.is_bash
    if is_bash:
        argv = [argv[0], *parse_options(shell, argv, "")[1]]
    if len(argv) < 2 and is_bash:
        raise ShellError("filename argument required\n.: usage: . filename [arguments]")
    if len(argv) < 2:
        return 0 if state.flavour.is_dash else 2
    path = argv[1]
    if "/" not in path:
        found = _find_source(shell, path)
        if found is None and not is_bash:
            raise ShellError(f"{path}: not found")
        # bash looks into the working directory, too.
        path = found or path
    raw = yield from _read_source(shell, path)
    arguments = state.arguments
    takes_arguments = len(argv) > 2 and not state.flavour.is_dash
    if takes_arguments:
        state.arguments = argv[2:]
    line, origin = state.line, state.origin
    state.command, state.origin = None if is_bash else path, path
    state.sources += 1
    state.substitutions += 1
    try:
        return (yield from shell.nest(shell.run_text(decode_name(raw), 1)))
    except ReturnBack as back:
        return back.status
    except ShellError as error:
        # Said with the line of the file.
        yield from shell.complain(error)
        raise LeaveShell(error.status) from None
    except BadSyntax as error:
        if not is_bash:
            raise
        # Said with the name of the file.
        yield from shell.complain(error)
        return shell.recover(error)
    finally:
        state.sources -= 1
        state.substitutions -= 1
        state.line, state.origin = line, origin
        if takes_arguments:
            state.arguments = arguments


def _read_source(shell: Shell, path: str) -> Waiting[bytes]:
    state = shell.state
    try:
        return (yield from shell.p.read_file(path))
    except IsADirectoryError:
        if state.flavour.is_bash:
            raise ShellError(f"{path}: is a directory", 1) from None
        # Nothing can be read from it.
        return b""
    except OSError as error:
        is_missing = error.errno == errno.ENOENT or (
            error.errno == errno.ENOTDIR and state.flavour.is_dash
        )
        reason = state.words.no_such_script if is_missing else error.strerror
        message = state.words.cannot_open_script.format(path, reason)
        if state.flavour.is_bash:
            state.command = None
        if state.flavour.is_bash and "e" in state.options and not state.conditions:
            yield from shell.complain(message)
            raise LeaveShell(state.status or 1) from None
        raise ShellError(message, state.flavour.error_status) from None


def _find_source(shell: Shell, name: str) -> str | None:
    search = shell.state.get("PATH")
    for directory in (DEFAULT_PATH if search is None else search).split(":"):
        path = f"{directory}/{name}" if directory else f"./{name}"
        node = shell.p.guest.files.find(path, shell.p.cwd)
        if node is not None and stat.S_ISREG(node.st_mode):
            return path
    return None


@builtin("exec")
def execute(shell: Shell, argv: list[str]) -> Steps:
    """Become another program; without one, only the redirections stay."""
    has_options = not shell.state.flavour.is_dash
    rest = parse_options(shell, argv, "")[1] if has_options else argv[1:]
    if not rest:
        return 0
    state, p = shell.state, shell.p
    search = state.get("PATH")
    try:
        steps = p.replace(
            rest,
            env=shell.environment(replaces=True),
            search=DEFAULT_PATH if search is None else search,
        )
    except OSError as error:
        if state.flavour.is_bash:
            raise (yield from _fail_as_bash(shell, rest[0], error)) from None
        is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        message = shell.describe_missing(rest[0], error)
        raise ShellError(message, 127 if is_missing else 126) from None
    raise Replaced(steps)


def _fail_as_bash(shell: Shell, name: str, error: OSError) -> Waiting[ShellError]:
    """Make the error of ``exec`` as bash has it, after a first message about a path."""
    state, p = shell.state, shell.p
    is_directory = p.guest.files.is_dir(name, p.cwd)
    if "/" not in name:
        if is_directory:
            return ShellError(f"{name}: cannot execute: Is a directory", 126)
        return ShellError(f"{name}: not found", 127)
    path = name if name.startswith("/") else f"{p.cwd.rstrip('/')}/{name.removeprefix('./')}"
    reason = "Is a directory" if is_directory else error.strerror
    command, state.command = state.command, None
    yield from shell.complain(f"{path}: {reason}")
    is_missing = error.errno == errno.ENOENT
    if is_missing or "e" in state.options:
        raise LeaveShell(127 if is_missing else 126)
    state.command = command
    return ShellError(f"{path}: cannot execute: {reason}", 126)


@builtin("exit")
def leave(shell: Shell, argv: list[str]) -> NoReturn:
    """End the shell."""
    state = shell.state
    status = state.status if state.trapped_status is None else state.trapped_status
    status = to_number(shell, argv[1]) if len(argv) > 1 else status
    if len(argv) > 2 and state.flavour.is_bash:
        raise ShellError("too many arguments", 1)
    raise LeaveShell(status)


@builtin("return")
def go_back(shell: Shell, argv: list[str]) -> Steps:
    """End a function or a sourced file."""
    state = shell.state
    status = state.status
    if len(argv) > 1:
        try:
            status = to_number(shell, argv[1])
        except ShellError as error:
            if not state.flavour.is_bash:
                raise
            yield from shell.complain(error)
            status = 2
    if not state.flavour.is_dash:
        status &= 0xFF
    if state.flavour.is_bash and len(argv) > 2:
        yield from shell.complain("too many arguments")
        raise LeaveShell(1)
    if state.flavour.is_bash and not state.can_return:
        raise ShellError("can only `return' from a function or sourced script", 2)
    raise ReturnBack(status)


@builtin("break", "continue")
def break_out(shell: Shell, argv: list[str]) -> Steps:
    """Leave loops, or go on with the next round."""
    loops = shell.state.loops
    if shell.state.flavour.is_bash:
        if not loops:
            raise ShellError("only meaningful in a `for', `while', or `until' loop", 0)
        count = yield from _count_bash_loops(shell, argv)
    else:
        count = to_number(shell, argv[1]) if len(argv) > 1 else 1
        if not count:
            raise ShellError(shell.state.words.bad_number.format(argv[1]))
    count = min(count, loops)
    if count:
        raise BreakOut(count, goes_on=argv[0] == "continue")
    return 0


def _count_bash_loops(shell: Shell, argv: list[str]) -> Waiting[int]:
    """Return how many loops to leave: get_numeric_arg() and break_builtin() of bash."""
    if len(argv) < 2:
        return 1
    if not re.fullmatch(r"\s*[-+]?[0-9]+\s*", argv[1]):
        yield from shell.complain(shell.state.words.bad_number.format(argv[1]))
        raise LeaveShell(shell.state.status | 128)
    if len(argv) > 2:
        yield from shell.complain("too many arguments")
        raise LeaveShell(1)
    count = int(argv[1][:20])
    if count > 0:
        return count
    yield from shell.complain(f"{argv[1]}: loop count out of range")
    if "e" in shell.state.options and not shell.state.conditions:
        raise LeaveShell(1)
    raise BreakOut(shell.state.loops, goes_on=False, status=1)


@builtin("command")
def command(shell: Shell, argv: list[str]) -> Steps:
    """Run a builtin or program even if a function has its name; or say what it is."""
    options, rest = parse_options(shell, argv, "pvV")
    if not rest:
        return 0
    if "v" in options or "V" in options:
        status = 127
        for name in rest if shell.state.flavour.is_bash else rest[:1]:
            status = min(status, (yield from _describe(shell, name, is_verbose="V" in options)))
        return status
    found = None if rest[0] in shell.state.flavour.missing else BUILTINS.get(rest[0])
    if found is None:
        state = shell.state
        before, state.command = state.command, None
        try:
            return (yield from shell.run_program(rest))
        finally:
            state.command = before

    run = partial(found, shell)
    return (yield from shell.run_builtin(run, rest, is_special=rest[0] == "exec"))


@builtin("builtin")
def run_builtin(shell: Shell, argv: list[str]) -> Steps:
    """Run a builtin even if a function has its name."""
    _, rest = parse_options(shell, argv, "")
    if not rest:
        return 0
    if rest[0] in shell.state.flavour.refused:
        raise shell.refuse(rest[0])
    found = shell.find_builtin(rest[0])
    if found is None:
        raise ShellError(f"{rest[0]}: not a shell builtin", 1)
    return (yield from shell.run_builtin(found, rest))


@builtin("type")
def show_type(shell: Shell, argv: list[str]) -> Steps:
    """Print what commands are."""
    flavour = shell.state.flavour
    status, names, is_verbose = 0, argv[1:], True
    if flavour.is_bash:
        options, names = parse_options(shell, argv, "afptP")
        if options:
            raise shell.refuse(f"-{next(iter(options))}")
    elif not flavour.is_dash and names and names[0].startswith("-"):
        # typecmd() of BusyBox: whatever the option is.
        names, is_verbose = names[1:], False
    for name in names:
        status = (yield from _describe(shell, name, is_verbose=is_verbose)) or status
    return status


def _describe(shell: Shell, name: str, *, is_verbose: bool) -> Steps:
    state = shell.state
    if name in KEYWORDS and (name != "function" or not state.flavour.is_dash):
        text = f"{name} is a shell keyword" if is_verbose else name
    elif name in state.aliases:
        alias = state.aliases[name]
        text = (
            f"{name} is an alias for {alias}"
            if is_verbose
            else _show_alias(shell, name, is_command=True)
        )
    elif name in state.functions and name not in SPECIAL:
        if state.flavour.is_bash and is_verbose:
            raise shell.refuse("a function's commands")
        text = state.words.function.format(name) if is_verbose else name
    elif name in BUILTINS and name not in state.flavour.missing:
        is_special = name in SPECIAL and not state.flavour.is_bash
        kind = "special shell builtin" if is_special else "shell builtin"
        text = f"{name} is a {kind}" if is_verbose else name
    elif (path := shell.find_in_path(name)) is not None:
        was_known = name in state.hashed
        if not state.flavour.is_bash:
            shell.remember(name)
        where = state.words.hashed if was_known else "{} is {}"
        text = where.format(name, path) if is_verbose else path
    else:
        if state.flavour.is_bash:
            if is_verbose:
                yield from shell.complain(f"{name}: not found")
            return 1
        if is_verbose:
            try:
                yield from shell.write(f"{name}: not found\n")
            except WriteFailed as error:
                if str(error):
                    yield from shell.complain(error)
        return 127
    yield from shell.write(text + "\n")
    return 0


@builtin("hash")
def remember(shell: Shell, argv: list[str]) -> Steps:
    """Look programs up, and remember where they are; without any, show those that are."""
    options, rest = parse_options(shell, argv, "r")
    hashed = shell.state.hashed
    if "r" in options:
        hashed.clear()
    elif not rest and shell.state.flavour.is_bash:
        if hashed:
            raise shell.refuse("the hash table")
        yield from shell.write("hash: hash table empty\n")
    elif not rest:
        yield from show(shell, [hashed[name] for name in sorted(hashed, key=hash_bucket)])
    status = 0
    for name in rest:
        shell.remember(name)
        if name not in BUILTINS and name not in hashed:
            yield from shell.complain(f"{name}: not found")
            status = 1
    return status


def _show_alias(shell: Shell, name: str, *, is_command: bool = False) -> str:
    value = shell.state.aliases[name]
    if shell.state.flavour.is_bash:
        return f"alias {name}={quote_singly(value)}"
    return f"{'alias ' if is_command else ''}{name}={quote_always(value)}"


@builtin("alias")
def alias(shell: Shell, argv: list[str]) -> Steps:
    """Define or show aliases."""
    aliases = shell.state.aliases
    status = 0
    given = parse_options(shell, argv, "")[1] if shell.state.flavour.is_bash else argv[1:]
    is_bash = shell.state.flavour.is_bash
    every = sorted(aliases) if is_bash else sorted(aliases, key=lambda name: hash_bucket(name, 39))
    for argument in given or every:
        name, sign, value = argument.partition("=")
        if sign and name and is_bash and NO_ALIAS.search(name):
            yield from shell.complain(f"`{name}': invalid alias name")
            status = 1
        elif sign and name:
            shell.state.set_action(aliases, name, value)
        elif name in aliases:
            yield from shell.write(f"{_show_alias(shell, name)}\n")
        else:
            yield from _complain_of_alias(shell, argument)
            status = 1
    return status


def _complain_of_alias(shell: Shell, name: str) -> Waiting[None]:
    if shell.state.flavour.is_bash:
        yield from shell.complain(f"{name}: not found")
    else:
        yield from shell.write_error(f"{shell.state.command}: {name} not found\n")


@builtin("unalias")
def unalias(shell: Shell, argv: list[str]) -> Steps:
    """Forget aliases."""
    options, rest = parse_options(shell, argv, "a")
    if "a" in options:
        shell.state.aliases.clear()
        return 0
    if not rest and shell.state.flavour.is_bash:
        raise ShellError(f"usage: unalias{shell.state.flavour.usages['unalias']}")
    status = 0
    for name in rest:
        if shell.state.aliases.pop(name, None) is None:
            yield from _complain_of_alias(shell, name)
            status = 1
    return status


def show(shell: Shell, lines: list[str]) -> Waiting[None]:
    """Write lines."""
    yield from shell.write("".join(f"{line}\n" for line in lines))
