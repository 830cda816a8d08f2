"""Builtins for variables, options and the working directory."""

import re
from typing import Final

from qgasim.guest.processes.process import Steps, Waiting
from qgasim.userland.shell.builtins import bad_option, parse_options, show, to_number
from qgasim.userland.shell.interpreter import Shell, builtin
from qgasim.userland.shell.quoting import quote_always, quote_doubly, quote_unprintable
from qgasim.userland.shell.state import ShellError, State, Variable, is_name

__all__ = ["BASH_USAGE", "change_options", "find_directory", "give_up_job_control"]

#: What bash says of options that it does not have when it starts; a list of all follows.
BASH_USAGE: Final = "\nUsage:\tbash [GNU long option] [option] ..."
WHO: Final = re.compile("[ugoa]*")
PERMISSIONS: Final = re.compile("[rwx]*")
CLAUSE: Final = re.compile(r"([ugoa]*)([-+=][rwxst]*)+")


def change_options(shell: Shell, arguments: list[str], *, extra: str = "") -> list[str] | None:
    """Do the options of ``set`` that begin *arguments*; give what follows, None if nothing does.

    Letters of *extra* are switched on as well.
    """
    options = shell.state.options
    rest = list(arguments)
    known = {*shell.state.flavour.long_options, *extra}
    name = ""
    if shell.state.flavour.is_bash:
        _check_letters(shell, arguments, {*known, "o"}, is_start=bool(extra))
    while rest and rest[0][:1] in ("-", "+"):
        word = rest.pop(0)
        if word == "--":
            return rest
        if word == "-":
            options.discard("x")
            return rest or None
        is_on = word[0] == "-"
        for letter in word[1:]:
            if letter == "o" and rest:
                name = rest.pop(0)
                flavour = shell.state.flavour
                letters = [key for key, long in flavour.long_options.items() if long == name]
                if not letters:
                    message = flavour.words.bad_long_option.format(name)
                    if extra and flavour.is_bash:
                        message = f"line 0: {shell.state.name}: {message}"
                    raise ShellError(message, int(not extra) if flavour.is_ash else 2)
                letter = letters[0]  # noqa: PLW2901
            elif letter == "o":
                return []
            elif letter not in known or letter.isdecimal():
                raise bad_option(shell, "set", letter)
            if letter in shell.state.flavour.refused_options:
                raise shell.refuse(word if letter in word else f"-o {name}")
            (options.add if is_on else options.discard)(letter)
    return rest or None


def _check_letters(shell: Shell, arguments: list[str], known: set[str], *, is_start: bool) -> None:
    """Raise the error about a letter that is no option: bash looks at all before it sets any."""
    for word in arguments:
        if word[:1] not in ("-", "+") or word in ("-", "--"):
            return
        for letter in word[1:]:
            if letter not in known or letter.isdecimal():
                if is_start:
                    raise ShellError(f"-{letter}: invalid option{BASH_USAGE}")
                raise bad_option(shell, "set", letter)
        if word.endswith("o"):
            return


def give_up_job_control(shell: Shell) -> Waiting[None]:
    """Switch job control off, with a message: setjobctl() wants a terminal."""
    shell.state.options.discard("m")
    yield from shell.complain("can't access tty; job control turned off")


@builtin("set")
def set_options(shell: Shell, argv: list[str]) -> Steps:
    """Set options and positional parameters; without any, show the variables."""
    state = shell.state
    if len(argv) == 1:
        if state.flavour.is_bash:
            raise shell.refuse("set without arguments")
        values = {n: v.value for n, v in state.variables.items() if v.value is not None}
        if not state.flavour.is_dash:
            values.setdefault("FUNCNAME", state.function)
        shown = sorted(values.items())
        yield from show(shell, [f"{name}={quote_always(value)}" for name, value in shown])
        return 0
    if argv[1:] in (["-o"], ["+o"]):
        is_list = argv[1] == "-o"
        form = "{:<15}\t{}" if state.flavour.is_bash else "{:<16}{}"
        lines = [
            form.format(name, "on" if letter in state.options else "off")
            if is_list
            else f"set {'-' if letter in state.options else '+'}o {name}"
            for letter, name in state.flavour.long_options.items()
        ]
        if is_list and state.flavour.options_head:
            lines.insert(0, state.flavour.options_head)
        yield from show(shell, lines)
        return 0
    try:
        rest = change_options(shell, argv[1:])
    except ShellError as error:
        if error.status == 1:
            yield from shell.complain(error)
            return 1
        raise
    if "m" in state.options and not state.flavour.is_bash:
        yield from give_up_job_control(shell)
    if rest is not None:
        state.set_arguments(rest)
    return 0


@builtin("shift")
def shift(shell: Shell, argv: list[str]) -> int:
    """Drop positional parameters."""
    is_bash = shell.state.flavour.is_bash
    if is_bash and len(argv) > 1 and re.fullmatch("-[0-9]+", argv[1]):
        raise ShellError(f"{argv[1]}: shift count out of range", 1)
    count = to_number(shell, argv[1]) if len(argv) > 1 else 1
    if count > len(shell.state.arguments):
        if shell.state.words.too_many:
            raise ShellError(shell.state.words.too_many)
        return 1
    shell.state.set_arguments(shell.state.arguments[count:])
    return 0


def _complain_of_name(shell: Shell, argument: str) -> Steps:
    """Complain of what is no name of a variable; only bash goes on, and has the status that this returns."""
    shown = argument if shell.state.flavour.is_bash else argument.partition("=")[0]
    error = ShellError(shell.state.words.bad_name.format(shown), shell.state.flavour.error_status)
    if not shell.state.flavour.is_bash:
        raise error
    yield from shell.complain(error)
    return 1


@builtin("export", "readonly")
def export(shell: Shell, argv: list[str]) -> Steps:
    """Mark variables as exported or read-only; without any, show those that are."""
    state = shell.state
    is_export = argv[0] == "export"
    options, rest = parse_options(shell, argv, "np" if is_export else "p")
    if not rest or "p" in options:
        if state.flavour.is_bash and not is_export:
            raise shell.refuse("readonly without names")
        yield from show(shell, _show_marked(state, argv[0]))
        return 0
    status = 0
    for argument in rest:
        name, sign, value = argument.partition("=")
        if not is_name(name):
            status = yield from _complain_of_name(shell, argument)
            continue
        if state.flavour.is_bash and "n" not in options:
            # What is assigned for this command alone stays.
            state.temporary.pop(name, None)
        if sign:
            yield from shell.trace_assignment(name, value)
            state.set(name, value)
        state.mark(name, exported="n" not in options if is_export else None, readonly=not is_export)
    return status


def _show_marked(state: State, kind: str) -> list[str]:
    """Return what ``export`` or ``readonly`` shows of the variables."""
    lines: list[str] = []
    is_bash = state.flavour.is_bash
    variables = dict(state.variables)
    if is_bash:
        # What is assigned for this command alone is not shown.
        variables |= {name: before or Variable() for name, before in state.temporary.items()}
    for name, variable in sorted(variables.items()):
        if variable.is_exported if kind == "export" else variable.is_readonly:
            letters = "r" * variable.is_readonly + "x" * variable.is_exported
            head = f"declare -{letters}" if is_bash else kind
            quote_value = quote_doubly if is_bash else quote_always
            value = "" if variable.value is None else "=" + quote_value(variable.value)
            lines.append(f"{head} {name}{value}")
    return lines


@builtin("unset")
def unset(shell: Shell, argv: list[str]) -> int:
    """Forget variables or functions."""
    options, rest = parse_options(shell, argv, "vf")
    for name in rest:
        if "f" in options:
            shell.state.functions.pop(name, None)
            continue
        is_either = shell.state.flavour.is_bash and "v" not in options
        if is_either and name not in shell.state.variables:
            # It may be the name of a function.
            shell.state.functions.pop(name, None)
            continue
        if not is_name(name):
            raise ShellError(
                shell.state.words.bad_name.format(name), shell.state.flavour.error_status
            )
        shell.state.unset(name)
    return 0


@builtin("local")
def local(shell: Shell, argv: list[str]) -> Steps:
    """Make variables local to the function that runs."""
    state = shell.state
    if not state.scopes:
        raise ShellError(state.words.not_in_function, state.flavour.error_status)
    status = 0
    for argument in argv[1:]:
        if state.flavour.is_bash and argument.startswith("-"):
            raise shell.refuse(argument)
        name, sign, value = argument.partition("=")
        if not is_name(name):
            status = yield from _complain_of_name(shell, argument)
            continue
        known = state.variables.get(name)
        if state.flavour.is_bash and known is not None and known.is_readonly:
            yield from shell.complain(f"{name}: readonly variable")
            status = 1
            continue
        is_new = name not in {*state.scopes[-1], *state.temporary, *state.given}
        state.make_local(name)
        if sign:
            state.set(name, value)
        elif is_new and name in state.variables and not state.flavour.is_dash:
            state.set(name, None)
    return status


@builtin("umask")
def umask(shell: Shell, argv: list[str]) -> Steps:
    """Show or set the permissions that new files do not get."""
    p, state = shell.p, shell.state
    options, rest = parse_options(shell, argv, "S")
    if not rest:
        text = f"{p.umask:04o}"
        if "S" in options:
            allowed = 0o777 & ~p.umask
            text = ",".join(
                f"{who}=" + "".join(c for i, c in enumerate("rwx") if allowed >> shift & 4 >> i)
                for who, shift in (("u", 6), ("g", 3), ("o", 0))
            )
        yield from shell.write(text + "\n")
        return 0
    mode = rest[0]
    highest = state.flavour.max_umask
    if re.fullmatch("[0-7]+", mode) and (not highest or len(mode.lstrip("0")) <= highest):
        p.umask = int(mode[-3:], 8)
        return 0
    if mode[:1].isdigit() and state.words.bad_octal:
        raise ShellError(state.words.bad_octal.format(mode), state.flavour.error_status)
    p.umask = 0o777 & ~_apply_mode(state, mode, 0o777 & ~p.umask)
    return 0


def _apply_mode(state: State, mode: str, allowed: int) -> int:
    """Return what *mode* makes of the permissions; `ShellError` if it is none."""
    clauses = mode.split(",")
    if state.flavour.is_bash:
        _check_bash_mode(mode)
    elif len(clauses) > 1 or not mode:
        # setmode() of dash ends at a comma as at the end, bb_parse_mode() of BusyBox goes on.
        clauses = [
            clause
            for at, clause in enumerate(clauses, 1)
            if clause or (at < len(clauses) and not state.flavour.is_ash)
        ]
    if clauses and state.flavour.is_dash and re.fullmatch("[ugoa]+", clauses[-1]):
        del clauses[-1]
    for clause in clauses:
        if not CLAUSE.fullmatch(clause):
            raise ShellError(state.words.bad_mode.format(mode), state.flavour.error_status)
        allowed = _apply_clause(clause, allowed)
    return allowed


def _check_bash_mode(mode: str) -> None:
    """Raise `ShellError` with the character that parse_symbolic_mode() stumbles over; a zero is the end."""
    at = 0
    while True:
        match = WHO.match(mode, at)
        assert match is not None
        at = match.end()
        if mode[at : at + 1] not in ("+", "-", "="):
            raise ShellError(f"`{mode[at : at + 1] or chr(0)}': invalid symbolic mode operator", 1)
        match = PERMISSIONS.match(mode, at + 1)
        assert match is not None
        at = match.end()
        if at == len(mode):
            return
        if mode[at] != ",":
            raise ShellError(f"`{mode[at]}': invalid symbolic mode character", 1)
        at += 1


def _apply_clause(clause: str, allowed: int) -> int:
    who = re.match("[ugoa]*", clause)
    names = (who[0] if who else "") or "a"
    mask = 0
    for name in names:
        mask |= {"u": 0o700, "g": 0o070, "o": 0o007, "a": 0o777}[name]
    for operator, letters in re.findall("([-+=])([rwxst]*)", clause):
        bits = 0
        for letter in letters:
            bits |= {"r": 0o444, "w": 0o222, "x": 0o111}.get(letter, 0)
        if operator == "+":
            allowed |= bits & mask
        elif operator == "-":
            allowed &= ~(bits & mask)
        else:
            allowed = (allowed & ~mask) | (bits & mask)
    return allowed


def find_directory(shell: Shell, said: str | None) -> str:
    """Return the name of the working directory: *said* if that leads there."""
    p = shell.p
    if said is not None and said.startswith("/"):
        files = p.guest.files
        if (node := files.find(said)) is not None and node is files.find(p.cwd):
            return said
    return p.cwd


def _normalize(directory: str, path: str) -> str:
    """Join and take ``.`` and ``..`` out, without looking at links."""
    names: list[str] = []
    for name in (path if path.startswith("/") else f"{directory}/{path}").split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    # Two slashes may mean something else (POSIX), and stay.
    is_double = path.startswith("//") and not path.startswith("///")
    return ("//" if is_double else "/") + "/".join(names)


@builtin("cd", "chdir")
def cd(shell: Shell, argv: list[str]) -> Steps:
    """Change the working directory."""
    state, p = shell.state, shell.p
    options, rest = parse_options(shell, argv, "LP")
    if len(rest) > 1 and state.flavour.is_bash:
        raise ShellError("too many arguments", 1)
    target = rest[0] if rest else state.get("HOME")
    says_where = False
    if target == "-":
        target, says_where = state.get("OLDPWD") or "", True
        if not target and state.flavour.is_bash:
            raise ShellError("OLDPWD not set", 1)
        target = target or state.directory
    if not target:
        return 0
    candidates = [target]
    search = state.get("CDPATH")
    if search and not target.startswith(("/", "./", "../")) and target not in (".", ".."):
        slash = "/" if state.flavour.is_bash else ""
        candidates = [
            f"{part.removesuffix(slash)}/{target}" if part else target for part in search.split(":")
        ]
        candidates.append(target)
    error: OSError | None = None
    for candidate in candidates:
        path = _normalize(state.directory, candidate)
        if "P" in options:
            path = candidate if candidate.startswith("/") else f"{p.cwd}/{candidate}"
        try:
            place = p.guest.files.locate(path + "/")
            if place.node is None:
                raise FileNotFoundError(2, "No such file or directory")
        except OSError as failure:
            error = failure
            continue
        state.set("OLDPWD", state.directory, exported=True)
        p.cwd = place.path
        state.directory = place.path if "P" in options else path
        state.set("PWD", state.directory, exported=True)
        if says_where or candidate != target:
            yield from shell.write(f"{state.directory}\n")
        return 0
    reason = error.strerror if error else ""
    target = quote_unprintable(target) if state.flavour.is_bash else target
    raise ShellError(state.words.cannot_change.format(target, reason), state.flavour.error_status)


@builtin("pwd")
def pwd(shell: Shell, argv: list[str]) -> Steps:
    """Show the working directory."""
    options, _ = parse_options(shell, argv, "LP")
    yield from shell.write((shell.p.cwd if "P" in options else shell.state.directory) + "\n")
    return 0
