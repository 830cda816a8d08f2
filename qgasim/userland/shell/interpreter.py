"""The shell as it runs: compound commands, traps, and the end of the process."""

import signal
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias, TypeVar

from qgasim.guest.files.nodes import WouldBlock, decode_name, encode_name
from qgasim.guest.processes.process import (
    STEP_BYTES,
    Blocked,
    Killed,
    Process,
    Steps,
    Waiting,
)
from qgasim.guest.units import SECOND
from qgasim.userland.shell import patterns
from qgasim.userland.shell.children import ShellProcess
from qgasim.userland.shell.expansion import to_bytes
from qgasim.userland.shell.lexer import Refused
from qgasim.userland.shell.nesting import unwind
from qgasim.userland.shell.parser import BadSyntax, Parser
from qgasim.userland.shell.redirection import RedirectionFailed
from qgasim.userland.shell.simple import SimpleCommands
from qgasim.userland.shell.state import (
    ERROR_TRAP,
    Abandon,
    BreakOut,
    CommandDropped,
    DropCommand,
    LeaveShell,
    ReadOnly,
    Replaced,
    ReturnBack,
    ShellError,
    State,
    is_name,
    leave,
)
from qgasim.userland.shell.syntax import (
    AndOr,
    Case,
    CaseItem,
    Command,
    For,
    Function,
    Group,
    If,
    Item,
    Loop,
    Pipeline,
    Redirected,
    Sequence,
    Simple,
    Subshell,
    Text,
)

__all__ = ["BUILTINS", "Shell", "builtin"]

T = TypeVar("T", bound="Builtin")

#: What the shell does itself: a function of the shell and the command's words; one that never waits returns a status.
Builtin: TypeAlias = Callable[["Shell", list[str]], Steps | int]
BUILTINS: Final[dict[str, Builtin]] = {}

#: How much of a command is read at once, and how long (ns) there may be a pause before it is looked at again.
_READ_SIZE: Final = 65536
_LINE_SIZE: Final = 4096
_PAUSE: Final = SECOND // 100


def builtin(*names: str) -> Callable[[T], T]:
    """Register a builtin under *names*."""

    def register(function: T) -> T:
        BUILTINS.update(dict.fromkeys(names, function))
        return function

    return register


class Shell(SimpleCommands):
    """A shell: `ShellProcess` and `SimpleCommands` with all kinds of commands."""

    #: Whether the command with redirections that runs next is behind a ``!``.
    is_negated = False

    def find_builtin(self, name: str) -> Callable[[list[str]], Steps | int] | None:
        """Return what the shell does itself for the command *name*."""
        if name in self.state.flavour.missing:
            return None
        found = BUILTINS.get(name)
        return None if found is None else partial(found, self)

    def make_program(
        self, state: State, body: Callable[[ShellProcess], Steps]
    ) -> Callable[[Process], Steps]:
        """Make the program of a subshell with *state* that runs *body*."""

        def program(p: Process) -> Steps:
            shell = Shell(p, state)
            return (yield from shell.run(lambda: body(shell)))

        return program

    def run(self, body: Callable[[], Steps]) -> Steps:
        """Run *body* and what belongs to the end of the shell."""
        try:
            status = yield from unwind(self._finish(body))
        except Replaced as replaced:
            steps = replaced.steps
        except RecursionError:
            # The real shell uses up its stack.
            raise Killed(int(signal.SIGSEGV)) from None
        else:
            return status
        return (yield from steps)

    def _finish(self, body: Callable[[], Steps]) -> Steps:
        status = yield from self._guard(body)
        state = self.state
        action = state.traps.pop(0, "")
        if not action:
            return status
        state.status = status
        if state.flavour.is_bash and (state.is_forked or state.is_inner):
            state.substitutions = max(state.substitutions, 1)
        try:
            yield from self._run_trap(action, "exit trap")
        except LeaveShell as leave:
            is_error = state.flavour.is_bash and isinstance(leave, Abandon)
            return status if is_error else leave.status
        except (ReturnBack, BreakOut):
            return status
        except (ShellError, BadSyntax) as error:
            yield from self.complain(error)
            return status if state.flavour.is_bash else error.status or 2
        return status

    def _guard(self, body: Callable[[], Steps]) -> Steps:
        try:
            return (yield from body())
        except (LeaveShell, ReturnBack) as leave:
            return leave.status
        except BreakOut as out:
            return out.status
        except ShellError as error:
            yield from self.complain(error)
            return error.status
        except BadSyntax as error:
            yield from self.complain(error)
            if "e" in self.state.options:
                return 2
            if error.status is None:
                return self.state.status or 2
            return self.state.status if error.status < 0 else error.status

    def run_text(self, text: str, line: int, *, is_last: bool = False) -> Steps:
        """Run all commands of *text*; *is_last* says that the shell ends with them."""
        if self.state.flavour.is_bash and not text.endswith(("\n", "\\")):
            text += "\n"
        parser = Parser(text, self.state.flavour, line, self.state.aliases)
        status = 0
        while True:
            try:
                command = parser.parse_command()
            finally:
                yield from self._warn(parser)
            if command is None:
                return status
            if command.items:
                self.state.parsed_line = parser.last_line
                if self.state.flavour.is_bash:
                    self.state.line = parser.last_line
                ends = is_last and parser.is_finished
                try:
                    status = yield from self.execute(command, is_last=ends)
                except (DropCommand, CommandDropped) as error:
                    if isinstance(error, CommandDropped):
                        yield from self.complain(error)
                    self.state.status = status = error.status
                    parser.go_back(self.state.line)

    def _warn(self, parser: Parser) -> Waiting[None]:
        while parser.warnings:
            text, self.state.line = parser.warnings.pop(0)
            yield from self.complain(text)

    def run_input(self) -> Steps:
        """Run the commands on the standard input as they come."""
        raw, line, status = b"", 1, 0
        is_end = False
        while True:
            parser = Parser(decode_name(raw), self.state.flavour, line, self.state.aliases)
            command: Sequence | None = None
            try:
                command = parser.parse_command()
            except BadSyntax:
                if is_end or not parser.has_seen_end:
                    raise
            if parser.has_seen_end and not is_end:
                more = yield from self._read_on(len(raw))
                raw += more
                is_end = not more
                continue
            if command is None:
                return status
            rest = encode_name(parser.text[parser.at :])
            self.p.take_memory(len(rest) - len(raw))
            raw, line = rest, parser.line
            if command.items:
                status = yield from self.execute(command)

    def _read_on(self, size: int) -> Waiting[bytes]:
        """Read more of a command of which *size* bytes are there; nothing at the end of the input.

        As much again, if it comes without a pause: else a long command would be parsed for each piece of it. bash
        reads no further than the end of a line: the rest is for the commands that it runs.
        """
        p = self.p
        parts: list[bytes] = []
        left = max(size, 1)
        while left > 0:
            try:
                part = self._read_piece()
            except WouldBlock as block:
                pause = p.guest.clock.uptime() + _PAUSE if parts else None
                yield Blocked(until=pause, is_ready=block.is_ready)
                if parts and not block.is_ready():
                    break
                continue
            except OSError:
                break
            if not part:
                break
            p.take_memory(len(part))
            parts.append(part)
            left -= len(part)
            yield from p.charge_steps(1 + len(part) // STEP_BYTES)
            if left <= 0 and self.state.flavour.is_bash and not part.endswith(b"\n"):
                left = 1
        return b"".join(parts)

    def _read_piece(self) -> bytes:
        file = self.p.descriptor(0)
        if not self.state.flavour.is_bash:
            return file.read(_READ_SIZE)
        piece = bytearray()
        while len(piece) < _LINE_SIZE and not piece.endswith(b"\n"):
            try:
                byte = file.read(1)
            except WouldBlock:
                if piece:
                    break
                raise
            if not byte:
                break
            piece += byte
        return bytes(piece)

    def execute(self, node: Command, *, is_last: bool = False) -> Steps:
        """Run a command; with *is_last* the process may become the program that it runs."""
        state = self.state
        if "n" in state.options:
            return 0
        status = 0
        # bash looks before the command runs, which may set it.
        has_trap = ERROR_TRAP in state.traps or not state.flavour.is_bash
        match node:
            case Simple():
                status = yield from self.run_simple(node, is_last=is_last)
            case Sequence():
                status = yield from self._run_sequence(node, is_last=is_last)
            case Group():
                status = yield from self._run_sequence(node.body, is_last=is_last)
            case AndOr():
                status = yield from self._test(node.left)
                if (status == 0) == (node.operator == "&&"):
                    status = yield from self.execute(node.right, is_last=is_last)
            case Pipeline():
                status = yield from self._run_pipeline(node)
            case If():
                status = yield from self._run_if(node, is_last=is_last)
            case Loop():
                status = yield from self._run_loop(node)
            case For():
                status = yield from self._run_for(node)
            case Case():
                status = yield from self._run_case(node, is_last=is_last)
            case Subshell():
                status = yield from self._run_subshell(node, is_last=is_last)
            case Function():
                state.define(node)
            case Redirected():
                line = state.line
                status = yield from self._run_redirected(node)
                state.line = line if state.flavour.is_bash else state.line
        state.status = status
        if self.pending:
            yield from self.run_traps()
        inner = node.command if isinstance(node, Redirected) else node
        can_fail = isinstance(inner, Simple | Subshell) or (
            isinstance(node, Pipeline) and not node.is_negated
        )
        if status and not state.conditions and can_fail:
            yield from self._fail(status, has_trap=has_trap)
        return status

    def _fail(self, status: int, *, has_trap: bool = True) -> Waiting[None]:
        """Do what a command that failed leads to: the trap ``ERR``, and the end of the shell with ``-e``."""
        state = self.state
        # It is not run within itself.
        if has_trap and (action := state.traps.pop(ERROR_TRAP, "")):
            try:
                yield from self._run_trap(action, "error trap")
            finally:
                state.traps.setdefault(ERROR_TRAP, action)
            state.status = status
        if "e" in state.options:
            raise LeaveShell(status)

    def run_traps(self) -> Waiting[None]:
        """Run the traps of the signals that came."""
        state = self.state
        while self.pending:
            action = state.traps.get(self.pending.pop(0))
            if action:
                status = state.status
                yield from self._run_trap(action, "trap")
                state.status = status

    def _run_trap(self, action: str, name: str) -> Waiting[None]:
        """Run what a trap is; bash goes on behind an error of syntax there, with *name* in the message."""
        state = self.state
        line, before, conditions = state.line, state.trapped_status, state.conditions
        state.conditions = 0
        if name == "exit trap" or not state.flavour.is_bash:
            state.trapped_status = state.status
        first = 1 if state.flavour.is_bash and name != "error trap" else self.inner_line
        try:
            yield from self.run_text(action, first)
        except BadSyntax as error:
            if isinstance(error, Refused) or not state.flavour.is_bash:
                raise
            state.command = name
            yield from self.complain(error)
            state.command = None
            if "e" in state.options:
                raise LeaveShell(2) from None
        finally:
            state.trapped_status, state.conditions = before, conditions
            if state.flavour.is_bash:
                state.line = line

    def _test(self, node: Command) -> Steps:
        """Run a condition: its failure does not end the shell."""
        self.state.conditions += 1
        try:
            return (yield from self.execute(node))
        finally:
            self.state.conditions -= 1

    def _run_sequence(self, node: Sequence, *, is_last: bool) -> Steps:
        status = self.state.status if not node.items else 0
        for item in node.items:
            if item.is_background:
                self._start_background(item)
                self.state.status = status = 0
            else:
                ends = is_last and item is node.items[-1]
                status = yield from self.execute(item.command, is_last=ends)
        return status

    def _run_if(self, node: If, *, is_last: bool) -> Steps:
        while True:
            if (yield from self._test(node.condition)) == 0:
                return (yield from self.execute(node.then, is_last=is_last))
            if node.otherwise is None:
                return 0
            if isinstance(node.otherwise, Sequence):
                return (yield from self.execute(node.otherwise, is_last=is_last))
            node = node.otherwise

    def _run_loop(self, node: Loop) -> Steps:
        status = 0
        self.state.loops += 1
        try:
            while True:
                try:
                    condition = yield from self._test(node.condition)
                    if (condition == 0) == node.is_until:
                        return status
                    status = yield from self.execute(node.body)
                except BreakOut as out:
                    status = out.status
                    if self._leaves(out):
                        return status
        except (DropCommand, CommandDropped):
            self._stay_in_loop()
            raise
        finally:
            self.state.loops -= 1

    def _run_for(self, node: For) -> Steps:
        state = self.state
        is_bash = state.flavour.is_bash
        if is_bash and not is_name(node.name):
            yield from self.complain(state.words.bad_name.format(node.name))
            return 1
        line, state.line = state.line, node.line
        status = 0
        state.loops += 1
        try:
            words = list(state.arguments)
            if node.words is not None:
                words = yield from self.expander.expand_words(node.words)
            for word in words:
                if "x" in state.options and is_bash:
                    yield from self.trace(self.show_source(node.source), {})
                try:
                    state.set(node.name, word)
                except ReadOnly as error:
                    if not is_bash:
                        raise
                    yield from self.complain(error)
                    status = 1
                    break
                try:
                    status = yield from self.execute(node.body)
                except BreakOut as out:
                    status = out.status
                    if self._leaves(out):
                        break
        except (DropCommand, CommandDropped):
            self._stay_in_loop()
            raise
        finally:
            state.loops -= 1
        if is_bash:
            state.line = line
        return status

    def _stay_in_loop(self) -> None:
        # bash forgets to count: a later `break` ends all that follows.
        self.state.loops += 1

    @staticmethod
    def _leaves(out: BreakOut) -> bool:
        """Return whether the loop ends; passes on what is meant for an outer one."""
        if out.count > 1:
            raise BreakOut(out.count - 1, goes_on=out.goes_on, status=out.status)
        return not out.goes_on

    def _run_case(self, node: Case, *, is_last: bool) -> Steps:
        line, self.state.line = self.state.line, node.line
        if "x" in self.state.options and self.state.flavour.is_bash:
            yield from self.trace(self.show_source(node.source), {})
        text = yield from self.expander.expand_case(node.word, is_pattern=False)
        status = 0
        for item in node.items:
            if (yield from self._matches(item, text)):
                if item.body is not None:
                    status = yield from self.execute(item.body, is_last=is_last)
                break
        if self.state.flavour.is_bash:
            self.state.line = line
        return status

    def _matches(self, item: CaseItem, text: str) -> Waiting[bool]:
        for word in item.patterns:
            pattern = yield from self.expander.expand_case(word, is_pattern=True)
            if patterns.matches(to_bytes(pattern), to_bytes(text)):
                return True
        return False

    def prepare_fork(self, command: Command) -> None:
        """Look for the program that *command* runs, before the fork as prehash() of eval.c does."""
        if not isinstance(command, Simple) or not command.words or self.state.flavour.is_bash:
            return
        first = command.words[0][0]
        if len(command.words[0]) == 1 and isinstance(first, Text) and is_name(first.text):
            name = first.text
            if name not in self.state.functions and self.find_builtin(name) is None:
                self.remember(name)

    def _run_pipeline(self, node: Pipeline) -> Steps:
        if node.is_negated and len(node.commands) == 1:
            return (yield from self._run_negated(node.commands[0]))
        # What fails in what is negated ends no child either.
        self.state.conditions += node.is_negated
        try:
            children = self.start_pipeline(node.commands, is_background=False)
        finally:
            self.state.conditions -= node.is_negated
        statuses: list[int] = []
        for child in children:
            is_quiet = child is not children[-1]
            statuses.append((yield from self.wait_for(child, is_quiet=is_quiet)))
        status = statuses[-1]
        if "2" in self.state.options:
            status = next((s for s in reversed(statuses) if s), 0)
        return int(not status) if node.is_negated else status

    def _run_negated(self, command: Command) -> Steps:
        flavour = self.state.flavour
        self.is_negated = flavour.is_bash and isinstance(command, Redirected)
        try:
            return int(not (yield from self._test(command)))
        except ReturnBack as back:
            if flavour.is_ash:
                raise ReturnBack(int(not back.status)) from None
            raise
        except BreakOut as out:
            if flavour.is_ash or flavour.is_bash:
                out.status = int(not out.status)
            raise

    def _start_background(self, item: Item) -> None:
        command = item.command
        is_plain = isinstance(command, Pipeline) and not command.is_negated
        commands = command.commands if isinstance(command, Pipeline) and is_plain else [command]
        self.add_job(self.start_pipeline(commands, is_background=True))

    def _run_subshell(self, node: Subshell, *, is_last: bool) -> Steps:
        if is_last and not any(self.state.traps.values()):
            self.state.is_inner, self.state.parsed_line = True, 1
            self.state.specials.subshells += 1
            raise LeaveShell((yield from _run_inner(node)(self)))
        child = self.fork(_run_inner(node), self.p.files)
        return (yield from self.wait_for(child))

    def _run_redirected(self, node: Redirected) -> Steps:
        # That a redirection fails is no status that bash turns around.
        failure = 0 if self.is_negated else None
        self.is_negated = False
        if not self.state.flavour.is_bash or isinstance(node.command, Simple):
            self.state.line = node.line
        if isinstance(node.command, Subshell):
            # The redirection is the subshell's own business, and so is its failure.
            child = self.fork(_run_redirected_inner(node, failure), self.p.files)
            return (yield from self.wait_for(child))
        try:
            saved = yield from self.redirector.apply(node.redirections)
        except RedirectionFailed as error:
            yield from self.complain(error)
            self.state.status = error.status
            if failure is None and not self.state.conditions and not self.state.flavour.is_ash:
                yield from self._fail(error.status)
            return error.status if failure is None else failure
        try:
            return (yield from self.execute(node.command))
        except Refused:
            raise
        except (ShellError, BadSyntax) as error:
            # Said where the redirection leads.
            yield from self.complain(error)
            raise leave(error) from None
        except Replaced:
            self.redirector.keep(saved)
            saved = {}
            raise
        finally:
            self.redirector.undo(saved)


def _run_inner(node: Subshell) -> Callable[[ShellProcess], Steps]:
    def run(shell: ShellProcess) -> Steps:
        if shell.state.flavour.is_bash:
            # The loops around it are not its own.
            shell.state.loops = 0
            shell.state.trapped_status = None
            shell.state.line = node.line
        try:
            return (yield from shell.execute(node.body, is_last=True))
        except (Abandon, DropCommand, ShellError) as error:
            is_turned = shell.state.flavour.is_bash and _is_negation(node.body)
            if not is_turned or "e" in shell.state.options:
                raise
            # execute_in_subshell() turns even such a status around.
            if isinstance(error, ShellError):
                yield from shell.complain(error)
            raise LeaveShell(int(not error.status)) from None

    return run


def _is_negation(body: Sequence) -> bool:
    command = body.items[0].command if len(body.items) == 1 else None
    return isinstance(command, Pipeline) and command.is_negated


def _run_redirected_inner(node: Redirected, failure: int | None) -> Callable[[ShellProcess], Steps]:
    def run(shell: ShellProcess) -> Steps:
        assert isinstance(node.command, Subshell)
        try:
            yield from shell.redirector.apply(node.redirections)
        except RedirectionFailed as error:
            status = shell.state.flavour.error_status if failure is None else failure
            raise ShellError(str(error), status) from None
        return (yield from _run_inner(node.command)(shell))

    return run
