"""Simple commands: assignments, functions, builtins and programs."""

import errno
from collections.abc import Callable

from qgasim.guest.processes.process import Steps
from qgasim.userland.shell.children import WriteFailed
from qgasim.userland.shell.lexer import Refused
from qgasim.userland.shell.parser import SPECIAL, BadSyntax
from qgasim.userland.shell.preparation import Preparation
from qgasim.userland.shell.quoting import quote_unprintable
from qgasim.userland.shell.redirection import RedirectionFailed, Saved
from qgasim.userland.shell.state import (
    DEFAULT_PATH,
    ERROR_TRAP,
    Abandon,
    BreakOut,
    CommandDropped,
    DropCommand,
    LeaveShell,
    NotSet,
    ReadOnly,
    Replaced,
    ReturnBack,
    ShellError,
    Variable,
    leave,
)
from qgasim.userland.shell.syntax import Function, Simple

__all__ = ["SimpleCommands"]


class SimpleCommands(Preparation):
    """What a shell does with simple commands."""

    def run_simple(self, node: Simple, *, is_last: bool) -> Steps:
        """Run a simple command: expansions, redirections, assignments, then what it names."""
        state = self.state
        line, state.line = state.line, node.line
        try:
            status = yield from self._run_simple(node, is_last=is_last)
        except (BreakOut, ReturnBack):
            state.line = line if state.flavour.is_bash else state.line
            raise
        state.line = line if state.flavour.is_bash else state.line
        return status

    def _run_simple(self, node: Simple, *, is_last: bool) -> Steps:
        state = self.state
        self.substituted = 0
        argv = yield from self.expand_arguments(node.words)
        name = argv[0] if argv else ""
        is_temporary = bool(argv) and (name not in SPECIAL or state.flavour.is_bash)
        before: dict[str, Variable | None] = {}
        saved: Saved | None = None
        keeps = name == "exec" or self.keeps_redirections
        self.keeps_redirections = False
        try:
            if not state.flavour.is_bash:
                saved = yield from self.redirector.apply(node.redirections)
            yield from self.assign(node.assignments, before if is_temporary else None)
            if "x" in state.options:
                yield from self.trace_simple(node, argv, saved or {})
            if state.flavour.is_bash:
                # What it shows, and its errors in expansions, go where they went before.
                saved = yield from self.redirect_as_bash(node, before, argv)
                if saved is None:
                    return state.status
            if not argv:
                yield from self.spend()
                state.specials.last_argument = ""
                # execute_null_command() of bash forks then.
                is_forked = any(
                    not item.number and item.operator in ("<", "<>") for item in node.redirections
                )
                return 0 if is_forked and state.flavour.is_bash else self.substituted
            return (yield from self._dispatch(argv, before, is_last=is_last))
        except RedirectionFailed as error:
            yield from self.complain(error)
            ends = name in SPECIAL and name not in state.flavour.missing
            if ends and not state.flavour.is_bash:
                raise LeaveShell(error.status) from None
            return error.status
        except Refused:
            raise
        except (ShellError, BadSyntax) as error:
            # Said where the redirections lead.
            yield from self.complain(error)
            raise leave(error) from None
        except Replaced:
            keeps = True
            raise
        finally:
            if saved is not None:
                (self.redirector.keep if keeps else self.redirector.undo)(saved)
            for variable, value_before in before.items():
                state.put_back(variable, value_before)

    def _dispatch(
        self, argv: list[str], before: dict[str, Variable | None], *, is_last: bool
    ) -> Steps:
        temporary, self.state.temporary = self.state.temporary, before
        try:
            status = yield from self._run_words(argv, is_last=is_last)
        finally:
            self.state.temporary = temporary
        if argv[0] not in ("[[", "(("):
            self.state.specials.last_argument = argv[-1]
        return status

    def _run_words(self, argv: list[str], *, is_last: bool) -> Steps:
        name = argv[0]
        if name[:1] == "%" and self.state.flavour.is_bash and not self.is_piped:
            # A job, which fg continues.
            name, argv = "fg", ["fg", *argv]
        function = self.state.functions.get(name)
        if function is not None and name not in SPECIAL:
            yield from self.spend()
            return (yield from self._call(function, argv))
        if name in self.state.flavour.refused:
            raise self.refuse(name)
        builtin = self.find_builtin(name)
        if builtin is not None:
            yield from self.spend()
            return (yield from self.run_builtin(builtin, argv))
        return (yield from self.run_program(argv, is_last=is_last))

    def run_builtin(
        self,
        builtin: Callable[[list[str]], Steps | int],
        argv: list[str],
        *,
        is_special: bool | None = None,
    ) -> Steps:
        """Run a builtin; what goes wrong in a special one ends the shell."""
        state = self.state
        before, state.command = state.command, argv[0]
        if is_special is None:
            is_special = argv[0] in SPECIAL
        try:
            found = builtin(argv)
            return found if isinstance(found, int) else (yield from found)
        except WriteFailed as error:
            if str(error):
                yield from self.complain(error)
            return 1
        except ShellError as error:
            if isinstance(error, ReadOnly | NotSet) and state.flavour.is_bash:
                state.command = None
            yield from self.complain(error)
            is_end = isinstance(error, ReadOnly) and state.flavour.is_bash and "e" in state.options
            if is_end or isinstance(error, NotSet):
                raise LeaveShell(error.status) from None
            if isinstance(error, CommandDropped):
                raise DropCommand(error.status) from None
            if argv[0] == "exit" and state.flavour.is_bash and len(argv) > 2:
                raise Abandon(error.status) from None
            is_end = argv[0] == "exit" or (argv[0] == "exec" and error.status > 2)
            if is_special and (is_end or not state.flavour.is_bash):
                raise LeaveShell(error.status) from None
            return error.status
        except BadSyntax as error:
            yield from self.complain(error)
            return self.recover(error)
        finally:
            state.command = before

    def recover(self, error: BadSyntax) -> int:
        """Return the status of a builtin that stumbled over an error of syntax; most shells end."""
        state = self.state
        if error.status == 127:
            # jump_to_top_level() of parse_comsub().
            raise LeaveShell(1 if state.is_inner else 127)
        is_refused = isinstance(error, Refused)
        if is_refused or "e" in state.options or not state.flavour.is_bash:
            raise LeaveShell(2)
        return 2

    def _call(self, function: Function, argv: list[str]) -> Steps:
        state = self.state
        arguments, state.arguments = state.arguments, argv[1:]
        loops, name, given = state.loops, state.function, state.given
        state.loops = loops if state.flavour.is_ash else 0
        state.function = function.name
        option = state.option
        state.option = option if state.flavour.is_bash else (1, 0)
        line, origin = state.line, state.origin
        if state.flavour.is_bash:
            state.line, state.origin = function.line, state.origins[function.name]
        state.given = (given if state.flavour.is_bash else frozenset()) | state.temporary.keys()
        state.scopes.append({})
        error_trap = None if "E" in state.options else state.traps.pop(ERROR_TRAP, None)
        if state.flavour.max_depth and len(state.scopes) > state.flavour.max_depth:
            raise ShellError(state.words.too_deep)
        try:
            return (yield from self.nest(self.execute(function.body)))
        except ReturnBack as back:
            return back.status
        except ShellError as error:
            # Said while it is known that this is a function.
            yield from self.complain(error)
            raise leave(error) from None
        finally:
            state.leave_scope()
            if error_trap is not None:
                state.traps.setdefault(ERROR_TRAP, error_trap)
            if state.flavour.is_bash:
                state.line, state.origin = line, origin
            state.arguments, state.function, state.given = arguments, name, given
            state.loops = loops
            if not state.flavour.is_bash:
                state.option = option

    def environment(self, name: str = "", *, replaces: bool = False) -> list[str]:
        """Return what a program is given; bash tells it which file it is, and counts down if it *replaces* it."""
        state = self.state
        given = state.environment()
        if not state.flavour.is_bash:
            return given
        level = state.get("SHLVL") or ""
        if replaces and level.isdecimal() and (state.is_inner or not state.is_forked):
            lower = f"SHLVL={int(level[:9]) - 1}"
            given = [lower if item.startswith("SHLVL=") else item for item in given]
        path = self.find_in_path(name)
        return given if path is None else [*given, f"_={path}"]

    def run_program(self, argv: list[str], *, is_last: bool = False) -> Steps:
        """Run a program; with *is_last* in the place of the shell."""
        p, state = self.p, self.state
        path = state.get("PATH")
        search = DEFAULT_PATH if path is None else path
        try:
            if is_last and not any(state.traps.values()):
                raise Replaced(
                    p.replace(argv, env=self.environment(argv[0], replaces=True), search=search)
                )
            self.remember(argv[0])
            child = p.processes.spawn(
                argv,
                env=self.environment(argv[0]),
                cwd=p.cwd,
                files=p.files,
                parent=p.pid,
                search=search,
            )
        except OSError as error:
            is_missing = error.errno == errno.ENOENT or (
                error.errno == errno.ENOTDIR and not state.flavour.is_bash
            )
            name = argv[0]
            if state.flavour.is_bash and "/" not in name:
                name = quote_unprintable(name)
            yield from self.complain(self.describe_missing(name, error))
            # What is found on PATH but is no program counts as missing.
            is_directory = "/" not in argv[0] and self.finds_directory(argv[0])
            return 127 if is_missing or is_directory else 126
        self.inherit(child)
        return (yield from self.wait_for(child))
