"""The process of a shell and those that it starts: messages, subshells, pipes, waiting."""

import re
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from qgasim.guest.files.nodes import decode_name
from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.processes.process import Exit, Killed, Process, Steps, Waiting, make_pipe
from qgasim.userland.shell.expansion import Expander
from qgasim.userland.shell.lexer import Refused
from qgasim.userland.shell.nesting import LEVEL_SIZE, MAX_LEVELS, Nested
from qgasim.userland.shell.parser import BadSyntax, Parser
from qgasim.userland.shell.redirection import RedirectionFailed, Redirector
from qgasim.userland.shell.state import Job, ShellError, State
from qgasim.userland.shell.syntax import NOT_SIMULATED, Command, Redirection, Sequence, Simple

__all__ = ["SIGNAL_TEXTS", "ShellProcess", "WriteFailed", "to_status"]

#: What a command takes that the shell does itself.
STEP_TIME: Final = 50_000
#: How much of that is waited for at once: looking at the clock costs the host something, too.
STEP_DEBT: Final = 1_000_000
MAX_PROCESSES: Final = 256
#: How many statuses of processes bash keeps that were waited for; the real one keeps as many as there may be processes.
MAX_STATUSES: Final = 64
MAX_OUTPUT: Final = 16 << 20
#: In place of the command in bash's messages about jobs.
COMMAND_NOT_SHOWN: Final = "(qgasim does not show the command)"
#: A substitution of simple commands that bash shows as they are written, but for a blank before a file.
_WORD: Final = r"[^\s()<>;&|`#]+"
_TARGET: Final = rf"(?:2>&1|(?:2?>>?|<) ?{_WORD})"
_SIMPLE: Final = rf"(?:{_WORD}(?: {_WORD})*(?: {_TARGET})*|{_TARGET})"
PLAIN_SUBSTITUTION: Final = re.compile(
    rf"\$\((?!if |while |until |for |case |{{ ){_SIMPLE}(?:(?: \|\|?| &&|;) {_SIMPLE})*\)"
)
TARGET: Final = re.compile(r"(?<=[ (])(2?>>?|<) ?(?!&)")
#: What the shell says when a signal ended a command.
SIGNAL_TEXTS: Final[dict[int, str]] = {
    signal.SIGHUP: "Hangup",
    signal.SIGQUIT: "Quit",
    signal.SIGILL: "Illegal instruction",
    signal.SIGTRAP: "Trace/breakpoint trap",
    signal.SIGABRT: "Aborted",
    signal.SIGBUS: "Bus error",
    signal.SIGFPE: "Floating point exception",
    signal.SIGKILL: "Killed",
    signal.SIGUSR1: "User defined signal 1",
    signal.SIGSEGV: "Segmentation fault",
    signal.SIGUSR2: "User defined signal 2",
    signal.SIGALRM: "Alarm clock",
    signal.SIGTERM: "Terminated",
}


class WriteFailed(ShellError):
    """A builtin cannot write its output."""


class ShellProcess(ABC):
    """A shell in a process; a subshell is another one, with a copy of the state."""

    def __init__(self, p: Process, state: State) -> None:
        self.p = p
        self.state = state
        state.on_size = p.take_memory
        p.take_memory(state.size)
        self.expander = Expander(self)
        self.redirector = Redirector(self, self.expander)
        #: Signals that were caught and whose traps have not run yet.
        self.pending: list[int] = []
        #: The status of the last command substitution of the command; it is that of an assignment.
        self.substituted = 0
        self._debt = 0
        #: Whether the next command is all that this process runs: what it opens stays open, for a trap.
        self.keeps_redirections = False
        self.is_piped = False
        #: How deep functions, ``eval`` and sourced files are nested.
        self._levels = 0

    @property
    def applet(self) -> str:
        """What some messages begin with: the name by which the shell was called."""
        return self.p.name or "sh"

    @property
    def inner_line(self) -> int:
        """The number of the first line of ``eval`` or of a trap."""
        return 1 if self.state.flavour.is_dash else self.state.line

    @abstractmethod
    def execute(self, node: Command, *, is_last: bool = False) -> Steps:
        """Run a command; with *is_last* the process may become the program that it runs."""

    @abstractmethod
    def prepare_fork(self, command: Command) -> None:
        """Do what comes before *command* of a pipeline runs."""

    @abstractmethod
    def run_text(self, text: str, line: int, *, is_last: bool = False) -> Steps:
        """Run all commands of *text*; *is_last* says that the shell ends with them."""

    @abstractmethod
    def make_program(
        self, state: State, body: "Callable[[ShellProcess], Steps]"
    ) -> Callable[[Process], Steps]:
        """Make the program of a subshell with *state* that runs *body*."""

    def complain(self, error: Exception | str) -> Waiting[None]:
        """Write a message to the standard error, as the shell words it."""
        state = self.state
        flavour, command = state.flavour, state.command
        if flavour.is_bash:
            yield from self._complain_as_bash(error)
            return
        line = error.line if isinstance(error, BadSyntax) else state.line
        shown = f"{command}: " if command and command != state.name else ""
        if flavour.is_dash:
            head = f"{state.name}: {line}: {shown}"
        elif isinstance(error, WriteFailed):
            head = f"{self.applet}: "
        else:
            head = f"{state.name}: {shown}line {line}: " if command else f"{state.name}: "
        yield from self.write_error(f"{head}{error}\n")

    def _complain_as_bash(self, error: Exception | str) -> Waiting[None]:
        state = self.state
        command = f"{state.command}: " if state.command and state.command != state.name else ""
        # Functions of a script that was given as an argument are from "environment".
        is_argument = "c" in state.options
        name = state.origin or ("environment" if state.scopes and is_argument else state.name)
        if isinstance(error, BadSyntax) and not isinstance(error, Refused):
            where = command or ("-c: " if is_argument and not state.origin else "")
            head = f"{name}: {where}line {error.line}: "
        else:
            line = error.line if isinstance(error, BadSyntax) else state.line
            name = state.name if isinstance(error, Refused) else name
            # Before the first line none is named.
            where = f"line {line}: " if line else ""
            head = f"{name}: {where}{command}"
        message, newline, usage = str(error).rpartition("\n")
        if newline and re.match(r"[a-z.]+: usage: ", usage):
            yield from self.write_error(f"{head}{message}\n{usage}\n")
        elif newline and isinstance(error, BadSyntax):
            # With -e it ends before it shows the line: parser_error() of error.c.
            usage = "" if "e" in state.options else f"{head}{usage}\n"
            yield from self.write_error(f"{head}{message}\n{usage}")
        elif re.match("usage: ", usage):
            yield from self.write_error(f"{state.command}: {usage}\n")
        else:
            yield from self.write_error(f"{head}{error}\n")

    def show_source(self, source: str) -> str:
        """Return how bash shows the words in *source*; it parses substitutions, and shows what it has found."""
        if re.search(r"\$\((?!\()|\$'", PLAIN_SUBSTITUTION.sub("", source)):
            raise self.refuse("a message about a substitution of this kind")
        return PLAIN_SUBSTITUTION.sub(lambda match: TARGET.sub(r"\1 ", match[0]), source)

    def refuse(self, construct: str) -> Refused:
        """Make the error for what the real shell does and this one does not simulate."""
        return Refused(f"{construct}: {NOT_SIMULATED}", self.state.line)

    def write_error(self, text: str) -> Waiting[None]:
        """Write to the standard error, whether or not that works."""
        try:
            yield from self.p.write(2, text)
        except OSError:
            return

    def write(self, data: bytes | str) -> Waiting[None]:
        """Write a builtin's output."""
        try:
            yield from self.p.write(1, data)
        except OSError as error:
            state = self.state
            if state.command in state.flavour.forgetful:
                return
            if state.command in state.flavour.mute:
                raise WriteFailed("", 1) from None
            text = state.words.write_error.format(command=state.command, reason=error.strerror)
            raise WriteFailed(text, 1) from None

    def nest(self, steps: Steps) -> Steps:
        """Run *steps* a level deeper; too deep, and the shell ends, as one whose stack is used up."""
        if self._levels == MAX_LEVELS:
            raise Killed(signal.SIGSEGV)
        self._levels += 1
        self.p.take_memory(LEVEL_SIZE)
        try:
            returned: list[int] = []
            yield Nested(steps=steps, returned=returned)
            return returned[0]
        finally:
            self._levels -= 1
            self.p.take_memory(-LEVEL_SIZE)

    def spend(self) -> Waiting[None]:
        """Let the guest's time pass that a command takes which the shell does itself."""
        self._debt += STEP_TIME
        if self._debt >= STEP_DEBT:
            debt, self._debt = self._debt, 0
            yield from self.p.sleep(debt)

    def fork(
        self,
        body: "Callable[[ShellProcess], Steps]",
        files: dict[int, OpenFile],
    ) -> Process:
        """Start a subshell that runs *body*."""
        if not self.p.processes.has_room(MAX_PROCESSES):
            raise ShellError("can't fork: Resource temporarily unavailable")
        child = self.p.fork(self.make_program(self.state.copy(), body), files=files)
        self.inherit(child)
        return child

    def inherit(self, child: Process) -> None:
        """Make *child* ignore the signals that this process ignores."""
        for number, call in self.p.handlers.items():
            if call is None:
                child.handlers[number] = None

    def wait_for(self, child: Process, *, is_quiet: bool = False) -> Steps:
        """Wait for a child, say which signal ended it unless *is_quiet*, and give its status."""
        how = yield from self.p.wait(child)
        if how.signal is not None and not is_quiet:
            yield from self.report(child.pid, how)
        return to_status(how)

    def report(self, pid: int, how: Exit) -> Waiting[None]:
        """Report which signal ended a command."""
        if how.signal is None or how.signal in (signal.SIGINT, signal.SIGPIPE):
            return
        text = SIGNAL_TEXTS.get(how.signal, f"Unknown signal {how.signal}")
        if not self.state.flavour.is_bash:
            yield from self.write_error(f"{text}\n")
        elif how.signal != signal.SIGTERM and how.signal not in self.state.traps:
            # notify_of_job_status() of bash's jobs.c.
            yield from self.complain(f"{pid:5} {text:<24}{COMMAND_NOT_SHOWN}")

    def substitute(self, body: Sequence | str) -> Waiting[str]:
        """Return what *body* writes, without the newlines at its end."""
        self.substituted = 0
        if isinstance(body, Sequence) and not body.items:
            return ""
        reader, writer = make_pipe(self.p.guest.clock.now)
        parts: list[bytes] = []
        length = 0
        try:
            try:
                child = self.fork(_substituter(body), {**self.p.files, 1: writer})
            finally:
                writer.close()
            while part := (yield from self.p.call(reader.read, 65536)):
                parts.append(part)
                length += len(part)
                if length > MAX_OUTPUT:
                    raise ShellError("out of memory", 1)
        finally:
            reader.close()
        self.substituted = yield from self.wait_for(child, is_quiet=True)
        raw = b"".join(parts)
        if b"\0" in raw and self.state.flavour.is_bash:
            text = "warning: command substitution: ignored null byte in input"
            yield from self.complain(text)
        return decode_name(raw.replace(b"\0", b"")).rstrip("\n")

    def start_pipeline(self, commands: list[Command], *, is_background: bool) -> list[Process]:
        """Start each of *commands* in a subshell, each writing to the next."""
        children: list[Process] = []
        files = dict(self.p.files)
        source: OpenFile | None = None
        if is_background:
            source = files[0] = _open_null(self.p)
        for index, command in enumerate(commands):
            following: OpenFile | None = None
            target: OpenFile | None = None
            files = dict(self.p.files)
            if source is not None:
                files[0] = source
            if index < len(commands) - 1:
                following, target = make_pipe(self.p.guest.clock.now)
                files[1] = target
            try:
                if not is_background:
                    self.prepare_fork(command)
                body = _runner(command, is_inner=self.state.is_inner, is_background=is_background)
                children.append(self.fork(body, files))
            finally:
                for file in (source, target):
                    if file is not None:
                        file.close()
            source = following
        if is_background:
            for child in children:
                child.handlers[signal.SIGINT] = child.handlers[signal.SIGQUIT] = None
        return children

    def add_job(self, processes: list[Process]) -> Job:
        """Remember processes in the background."""
        state = self.state
        waited = [job for job in state.jobs if job.is_done and job.is_waited]
        # bash keeps the statuses of those that have no number any more.
        for job in waited[: -MAX_STATUSES if state.flavour.is_bash else None]:
            state.jobs.remove(job)
        number = max((job.number for job in state.jobs if job not in waited), default=0) + 1
        job = Job(number, processes)
        state.jobs.append(job)
        state.background_pid = processes[-1].pid
        return job


def _open_null(p: Process) -> OpenFile:
    try:
        return p.guest.files.open("/dev/null", 0)
    except OSError:
        reader, writer = make_pipe(p.guest.clock.now)
        writer.close()
        return reader


def _substituter(body: Sequence | str) -> Callable[[ShellProcess], Steps]:
    def run(shell: ShellProcess) -> Steps:
        state = shell.state
        # dash counts the lines that it parses from 1 there.
        state.parsed_line = 1
        state.substitutions += 1
        if not state.flavour.is_bash:
            state.conditions = 0
        if not state.flavour.is_dash:
            state.options.discard("e")
        if state.flavour.is_bash and (file := _find_file(body, state)) is not None:
            return (yield from _show_file(shell, file))
        if isinstance(body, Sequence):
            return (yield from shell.execute(body, is_last=True))
        try:
            return (yield from shell.run_text(body, state.line, is_last=True))
        except BadSyntax:
            state.command = "command substitution"
            raise

    return run


def _find_file(body: Sequence | str, state: State) -> Redirection | None:
    """Return what bash's ``$(<file)`` reads, if *body* is that: can_optimize_cat_file() of evalstring.c."""
    if isinstance(body, str):
        if not re.match(r"[ \t\n]*0?<", body):
            return None
        parser = Parser(body + "\n", state.flavour, state.line, state.aliases)
        command = parser.parse_command()
        if command is None or not parser.is_finished:
            return None
        body = command
    if len(body.items) != 1 or body.items[0].is_background:
        return None
    simple = body.items[0].command
    if not isinstance(simple, Simple) or simple.words or simple.assignments:
        return None
    match simple.redirections:
        case [Redirection(number=0, operator="<") as found]:
            return found
        case _:
            return None


def _show_file(shell: ShellProcess, file: Redirection) -> Steps:
    try:
        yield from shell.redirector.apply([file])
        while part := (yield from shell.p.call(shell.p.descriptor(0).read, 65536)):
            yield from shell.p.write(1, part)
    except RedirectionFailed as error:
        yield from shell.complain(error)
        return 1
    except OSError:
        # A directory, say: zcatfd() of bash says nothing.
        return 0
    return 0


def _runner(
    command: Command, *, is_inner: bool, is_background: bool
) -> Callable[[ShellProcess], Steps]:
    def run(shell: ShellProcess) -> Steps:
        if is_background and not shell.state.flavour.is_bash:
            shell.state.conditions = 0
        if isinstance(command, Simple) and shell.state.flavour.is_bash:
            # No subshell as to the status with which an unset variable ends it.
            shell.state.is_inner = is_inner
            shell.keeps_redirections = shell.is_piped = True
        return (yield from shell.execute(command, is_last=True))

    return run


def to_status(how: Exit) -> int:
    """Make ``$?`` of how a process ended."""
    return how.code if how.signal is None else 128 + how.signal
