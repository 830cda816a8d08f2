"""Simple commands: assignments, functions, builtins and programs."""

import errno
from abc import abstractmethod
from collections.abc import Callable
from typing import Final

from qgasim.guest.processes.process import Steps, Waiting
from qgasim.userland.shell import patterns
from qgasim.userland.shell.children import WriteFailed
from qgasim.userland.shell.finding import ProgramFinder
from qgasim.userland.shell.lexer import Refused
from qgasim.userland.shell.parser import SPECIAL, BadSyntax
from qgasim.userland.shell.redirection import RedirectionFailed, Saved
from qgasim.userland.shell.showing import show_words
from qgasim.userland.shell.state import (
    DEFAULT_PATH,
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
from qgasim.userland.shell.syntax import NOT_SIMULATED, Assignment, Function, Simple, Text, Word

__all__ = ["SimpleCommands"]

#: Builtins whose arguments may be assignments: what they assign is not split.
ASSIGNING: Final = frozenset(("export", "readonly", "local"))


class SimpleCommands(ProgramFinder):
    """What a shell does with simple commands."""

    @abstractmethod
    def find_builtin(self, name: str) -> Callable[[list[str]], Steps] | None:
        """Return what the shell does itself for the command *name*."""

    def run_simple(self, node: Simple, *, is_last: bool) -> Steps:
        """Run a simple command: expansions, redirections, assignments, then what it names."""
        state = self.state
        line, state.line = state.line, node.line
        self.substituted = 0
        argv = yield from self._expand_arguments(node.words)
        name = argv[0] if argv else ""
        is_temporary = bool(argv) and (name not in SPECIAL or state.flavour.is_bash)
        before: dict[str, Variable | None] = {}
        saved: Saved | None = None
        keeps = name == "exec"
        try:
            if not state.flavour.is_bash:
                saved = yield from self.redirector.apply(node.redirections)
            yield from self._assign(node.assignments, before if is_temporary else None)
            if "x" in state.options:
                yield from self.trace_simple(node, argv, saved or {})
            if state.flavour.is_bash:
                # What it shows, and its errors in expansions, go where they went before.
                saved = yield from self._redirect_as_bash(node, before, argv)
                if saved is None:
                    return state.status
            temporary, state.temporary = state.temporary, before
            try:
                status = yield from self._dispatch(argv, is_last=is_last)
            finally:
                state.temporary = temporary
        except RedirectionFailed as error:
            yield from self.complain(error)
            if state.flavour.is_bash:
                state.line = line
            ends = name in SPECIAL and name not in state.flavour.missing
            if ends and not state.flavour.is_bash:
                raise LeaveShell(error.status) from None
            return error.status
        except ShellError as error:
            # Said where the redirections lead.
            yield from self.complain(error)
            raise leave(error) from None
        except Replaced:
            keeps = True
            raise
        else:
            if state.flavour.is_bash:
                state.line = line
            return status
        finally:
            if saved is not None:
                (self.redirector.keep if keeps else self.redirector.undo)(saved)
            for variable, value_before in before.items():
                state.put_back(variable, value_before)

    def _redirect_as_bash(
        self, node: Simple, before: dict[str, Variable | None], argv: list[str]
    ) -> Waiting[Saved | None]:
        """Do redirections, for which what is assigned for the command is not there yet.

        Those of a program are the business of the process that becomes it: None if it has ended by an error.
        """
        state = self.state
        if not node.redirections:
            return {}
        is_program = (
            bool(argv) and argv[0] not in state.functions and not self.find_builtin(argv[0])
        )
        assigned = {name: state.variables.get(name) for name in before}
        for name, variable in before.items():
            state.put_back(name, variable)
        variables = dict(state.variables)
        try:
            return (yield from self.redirector.apply(node.redirections))
        except RedirectionFailed:
            raise
        except ShellError as error:
            if not is_program:
                raise
            yield from self.complain(error)
            state.status = error.status
            return None
        finally:
            if is_program and state.variables != variables:
                for name in {*variables, *state.variables}:
                    state.put_back(name, variables.get(name))
            for name, variable in assigned.items():
                state.put_back(name, variable)

    def _assign(
        self, assignments: list[Assignment], before: dict[str, Variable | None] | None
    ) -> Waiting[None]:
        """Set variables; with *before*, for one command, and what they were is put there."""
        state = self.state
        for item in assignments:
            value = yield from self.expander.expand_string(item.value, is_assignment=True)
            if before is not None:
                before.setdefault(item.name, state.variables.get(item.name))
            if before is None:
                state.assign(item.name, value)
                continue
            try:
                state.set(item.name, value, exported=True)
            except ReadOnly as error:
                if not state.flavour.is_bash or "e" in state.options:
                    raise
                yield from self.complain(error)

    def _dispatch(self, argv: list[str], *, is_last: bool) -> Steps:
        if not argv:
            yield from self.spend()
            return self.substituted
        name = argv[0]
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
        builtin: Callable[[list[str]], Steps],
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
            return (yield from builtin(argv))
        except WriteFailed as error:
            if str(error):
                yield from self.complain(error)
            return 1
        except ShellError as error:
            if isinstance(error, ReadOnly | NotSet) and state.flavour.is_bash:
                state.command = None
            yield from self.complain(error)
            if isinstance(error, NotSet):
                raise LeaveShell(error.status) from None
            if isinstance(error, CommandDropped):
                raise DropCommand(error.status) from None
            is_end = argv[0] == "exit" or (argv[0] == "exec" and error.status > 2)
            if is_special and (is_end or not state.flavour.is_bash):
                raise LeaveShell(error.status) from None
            return error.status
        except BadSyntax as error:
            yield from self.complain(error)
            if error.status == 127:
                # jump_to_top_level() of parse_comsub().
                raise LeaveShell(1 if state.is_inner else 127) from None
            if (
                state.flavour.is_bash
                and not isinstance(error, Refused)
                and "e" not in state.options
            ):
                return 2
            raise LeaveShell(2) from None
        finally:
            state.command = before

    def _call(self, function: Function, argv: list[str]) -> Steps:
        state = self.state
        arguments, state.arguments = state.arguments, argv[1:]
        loops, state.loops = state.loops, 0
        option, state.option = state.option, (1, 0)
        line, origin = state.line, state.origin
        if state.flavour.is_bash:
            state.line, state.origin = function.line, state.origins[function.name]
        state.scopes.append({})
        if state.flavour.max_depth and len(state.scopes) > state.flavour.max_depth:
            raise ShellError(state.words.too_deep)
        try:
            return (yield from self.execute(function.body))
        except ReturnBack as back:
            return back.status
        except ShellError as error:
            # Said while it is known that this is a function.
            yield from self.complain(error)
            raise leave(error) from None
        except RecursionError:
            self.has_recursed = True
            raise
        finally:
            state.leave_scope()
            if state.flavour.is_bash:
                state.line, state.origin = line, origin
            state.arguments = arguments
            state.loops = loops
            state.option = option

    def run_program(self, argv: list[str], *, is_last: bool = False) -> Steps:
        """Run a program; with *is_last* in the place of the shell."""
        p, state = self.p, self.state
        path = state.get("PATH")
        search = DEFAULT_PATH if path is None else path
        try:
            if is_last and not any(state.traps.values()):
                raise Replaced(p.replace(argv, env=state.environment(), search=search))
            self.remember(argv[0])
            child = p.processes.spawn(
                argv,
                env=state.environment(),
                cwd=p.cwd,
                files=p.files,
                parent=p.pid,
                search=search,
            )
        except OSError as error:
            is_missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            yield from self.complain(self.describe_missing(argv[0], error))
            # What is found on PATH but is no program counts as missing.
            is_directory = "/" not in argv[0] and any(
                p.guest.files.is_dir(path, p.cwd) for path in self.candidates(argv[0])
            )
            return 127 if is_missing or is_directory else 126
        self.inherit(child)
        return (yield from self.wait_for(child))

    def show_source(self, source: str) -> str:
        """Return how ``set -x`` shows the head of a compound command."""
        if shown := show_words(source):
            return shown
        raise self.refuse("set -x of a substitution of this kind")

    def refuse(self, construct: str) -> Refused:
        """Make the error for what the real shell does and this one does not simulate."""
        return Refused(f"{construct}: {NOT_SIMULATED}", self.state.line)

    def _expand_arguments(self, words: list[Word]) -> Waiting[list[str]]:
        if not words:
            return []
        first = words[0][0]
        name = first.text if isinstance(first, Text) and len(words[0]) == 1 else ""
        if name == "[[" and "x" in self.state.options and self.state.flavour.is_bash:
            raise self.refuse("[[ with set -x")
        if name == "[[" and not self.state.flavour.splits_conditions:
            return (yield from self._expand_test(words))
        if name not in ASSIGNING:
            return (yield from self.expander.expand_words(words))
        argv: list[str] = []
        for word in words:
            head = word[0]
            if isinstance(head, Text) and "=" in head.text and not head.is_quoted:
                argv.append((yield from self.expander.expand_string(word, is_assignment=True)))
            else:
                argv += yield from self.expander.expand_words([word])
        return argv

    def _expand_test(self, words: list[Word]) -> Waiting[list[str]]:
        """Expand the arguments of ``[[``; a comparison with a pattern becomes its result."""
        argv: list[str] = []
        operator = ""
        for word in words:
            if operator:
                pattern = yield from self.expander.expand_pattern(word)
                is_match = patterns.matches(pattern, argv.pop())
                argv.append("yes" if is_match == (operator != "!=") else "")
                operator = ""
                continue
            text = yield from self.expander.expand_string(word)
            if text in ("=", "==", "!=") and len(argv) > 1 and word is not words[-2]:
                operator = text
            else:
                argv.append(text)
        return argv
