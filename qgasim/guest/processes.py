"""The guest's processes: programs that run in guest time, and never on the host.

A program is a generator that works on its `Process` and yields when it must wait. Nothing runs by
itself: `Processes.settle` runs what was due until a time, in the order of time, when somebody looks.
So a process costs nothing while it sleeps, and the same scenario always gives the same course.
"""

import errno
import os
import signal
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from msgspec import Struct

from qgasim.errors import GuestError
from qgasim.guest.loading import Image, find_image
from qgasim.guest.nodes import WouldBlock, encode_name, os_error
from qgasim.guest.openfiles import OpenFile, PipeEnd
from qgasim.guest.pipes import Pipe

if TYPE_CHECKING:
    from qgasim.guest import Guest

__all__ = [
    "LINE_SIZE",
    "STEP_BYTES",
    "Blocked",
    "Exit",
    "Process",
    "Processes",
    "Program",
    "ProgramExit",
    "Steps",
    "Waiting",
    "succeed",
    "wait_for_ever",
]

T = TypeVar("T")
R = TypeVar("R")

#: What starting a program takes.
EXEC_TIME: Final = 1_000_000
#: How many steps of programs one look may cost; what is left runs late, as on a slow machine.
STEP_BUDGET: Final = 10_000
#: What a step takes a program that works without waiting, and after how many their time passes.
STEP_TIME: Final = 1_000
STEP_DEBT: Final = 5_000
#: So many bytes are read or written in a step.
STEP_BYTES: Final = 1024
#: What a path costs, and starting a program, in steps.
WALK_STEPS: Final = 16
START_STEPS: Final = 50
#: How many processes are looked at, whether they can go on, for the cost of a step.
STEP_LOOKS: Final = 16
#: The largest process id (Linux: /proc/sys/kernel/pid_max less one).
PID_MAX: Final = 32767
#: How many processes a service of systemd can have (DefaultTasksMax: 15 % of the largest id).
TASKS_MAX: Final = 4915
#: What a process can have of the host's memory; the kernel kills who wants more.
MEMORY_LIMIT: Final = 64 << 20
#: What a line in a list takes of it besides its bytes.
LINE_SIZE: Final = 64


class Blocked(Struct, frozen=True):
    """Why a program does not go on: until a time (uptime, ns), or until *is_ready* says so."""

    until: int | None = None
    is_ready: Callable[[], bool] | None = None


Waiting: TypeAlias = Generator[Blocked, None, T]
Steps: TypeAlias = Waiting[int]
Program: TypeAlias = Callable[["Process"], Steps]


class Exit(Struct, frozen=True):
    """How a process ended: an exit code, or a signal."""

    code: int = 0
    signal: int | None = None


class ProgramExit(Exception):
    """Raised by a program to end with *code* from wherever it is."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Killed(Exception):
    """Raised in a program that ends itself by a signal (SIGPIPE)."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class NoSuchProcess(GuestError):
    """There is no process with this id."""


class Process:
    """A running program. Methods that may wait are used with ``yield from``."""

    def __init__(
        self,
        guest: "Guest",
        pid: int,
        parent: int,
        argv: list[str],
        env: list[str],
        cwd: str,
        files: dict[int, OpenFile],
        path: str,
    ) -> None:
        self.guest = guest
        self.pid = pid
        self.parent = parent
        self.argv = argv
        #: ``NAME=value`` strings, in order; other strings stay as they are.
        self.env = env
        self.cwd = cwd
        self.files = files
        #: The program's file, links resolved; a script's interpreter.
        self.path = path
        self.started = guest.clock.uptime()
        self.exit: Exit | None = None
        self.is_stopped = False
        #: Called with the exit when the process ends.
        self.on_exit: Callable[[Exit], None] | None = None
        #: Signals that are ignored, or caught by calling the function.
        self.handlers: dict[int, Callable[[], None] | None] = {}
        self.steps: Steps | None = None
        #: How often it has gone on.
        self.turns = 0
        #: Steps it has worked since it last went on, and steps whose time has not passed.
        self.work = 0
        self._debt = 0
        #: What it has of the host's memory, in bytes.
        self.memory = 0
        #: What would do all that is left to do once it is no longer blocked; None: only `steps` can.
        self.rest: Program | None = None
        self.blocked: Blocked | None = None

    @property
    def name(self) -> str:
        """What ``ps`` and ``pidof`` call it."""
        return self.argv[0].rsplit("/", 1)[-1] if self.argv else ""

    def getenv(self, name: str) -> str | None:
        """Give the value of an environment variable, None if it is not set."""
        prefix = name + "="
        for item in self.env:
            if item.startswith(prefix):
                return item[len(prefix) :]
        return None

    # -- files -------------------------------------------------------------------------------

    def descriptor(self, number: int) -> OpenFile:
        """Give an open file; EBADF if there is none."""
        try:
            return self.files[number]
        except KeyError:
            raise os_error(errno.EBADF) from None

    def call(self, function: Callable[..., R], *arguments: object) -> Waiting[R]:
        """Call *function* of the guest's files, waiting as often as it would block."""
        while True:
            try:
                result = function(*arguments)
            except WouldBlock as block:
                yield Blocked(is_ready=block.is_ready)
                continue
            yield from self.toil(
                1 + (len(result) // STEP_BYTES if isinstance(result, bytes) else 0)
            )
            return result

    def read(self, number: int, count: int = 65536) -> Waiting[bytes]:
        """Read from a descriptor; nothing at the end."""
        return self.call(self.descriptor(number).read, count)

    def read_all(self, number: int) -> Waiting[bytes]:
        """Read a descriptor to its end."""
        return self.read_rest(self.descriptor(number))

    def read_rest(self, file: OpenFile) -> Waiting[bytes]:
        """Read an open file to its end, into this process's memory."""
        parts: list[bytes] = []
        while part := (yield from self.call(file.read, 65536)):
            self.take_memory(len(part))
            parts.append(part)
        return b"".join(parts)

    def write(self, number: int, data: bytes | str) -> Waiting[None]:
        """Write all of *data* to a descriptor; a broken pipe ends the process."""
        view = memoryview(encode_name(data) if isinstance(data, str) else data)
        file = self.descriptor(number)
        while view:
            try:
                done = yield from self.call(file.write, view)
            except BrokenPipeError:
                if signal.SIGPIPE in self.handlers:
                    raise
                raise Killed(signal.SIGPIPE) from None
            view = view[done:]
            yield from self.toil(done // STEP_BYTES)

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o644) -> Waiting[OpenFile]:
        """Open a file relative to the working directory; not yet a descriptor."""
        return self.call(self.guest.files.open, path, flags, mode, self.cwd)

    def read_file(self, path: str) -> Waiting[bytes]:
        """Read a whole file; ``-`` is the standard input."""
        if path == "-":
            return (yield from self.read_all(0))
        file = yield from self.open(path)
        try:
            return (yield from self.read_rest(file))
        finally:
            file.close()

    # -- time, memory and other processes ----------------------------------------------------

    def toil(self, steps: int) -> Waiting[None]:
        """Work as much as *steps* steps; the guest's time passes, and others go on meanwhile."""
        self.count_work(steps)
        if self._debt >= STEP_DEBT:
            yield from self.sleep(self._debt * STEP_TIME)

    def count_work(self, steps: int) -> None:
        """Note work of *steps* steps, whose time passes with the next `toil` or `sleep`."""
        self.work += steps
        self._debt += steps

    def take_memory(self, size: int) -> None:
        """Have *size* bytes of memory more, or less; the kernel kills who has too much."""
        self.memory += size
        try:
            self.guest.memory_budget.take(size)
        except OSError:
            self.memory -= size
            raise Killed(signal.SIGKILL) from None
        if self.memory > MEMORY_LIMIT:
            raise Killed(signal.SIGKILL)

    def sleep(self, duration: int) -> Waiting[None]:
        """Wait *duration* ns of guest time; the time of work passes with it."""
        self._debt = 0
        yield Blocked(until=self.guest.clock.uptime() + duration)

    def wait(self, child: "Process") -> Waiting[Exit]:
        """Wait for the end of *child*."""
        if child.exit is None:
            yield Blocked(is_ready=lambda: child.exit is not None)
        assert child.exit is not None
        self.guest.processes.reap(child)
        return child.exit

    def spawn(
        self,
        argv: list[str],
        *,
        env: list[str] | None = None,
        files: dict[int, OpenFile] | None = None,
    ) -> "Process":
        """Start a program, found by PATH if its name has no slash. OSError if it can't be."""
        env = self.env if env is None else env
        return self.guest.processes.spawn(
            argv,
            env=env,
            cwd=self.cwd,
            files=self.files if files is None else files,
            parent=self.pid,
            search=self._search(),
        )

    def _search(self) -> str:
        return self.getenv("PATH") or "/bin:/usr/bin"

    def replace(
        self, argv: list[str], *, env: list[str] | None = None, search: str | None = None
    ) -> Steps:
        """Become another program, as execvp(3) does: give what it does. OSError if it can't be.

        A name without a slash is looked up in *search*; None: in PATH.
        """
        env = self.env if env is None else env
        search = self._search() if search is None else search
        path, program, arguments = self.guest.processes.find(
            argv, env=env, cwd=self.cwd, search=search
        )
        self.argv, self.env, self.path = arguments, env, path
        self.handlers = {number: None for number, call in self.handlers.items() if call is None}
        return program(self)

    def fork(self, program: Program, *, files: dict[int, OpenFile] | None = None) -> "Process":
        """Start a copy of this process that runs *program* (a subshell)."""
        return self.guest.processes.start(
            program,
            argv=list(self.argv),
            env=list(self.env),
            cwd=self.cwd,
            files=self.files if files is None else files,
            parent=self.pid,
            path=self.path,
        )


def succeed(_: Process) -> Steps:
    """End well."""
    yield from ()
    return 0


def wait_for_ever(p: Process) -> Steps:
    """Run until killed: what a daemon does between its tasks."""
    while True:
        p.rest = wait_for_ever
        yield Blocked()


class Processes:
    """The process table and its scheduler."""

    def __init__(self, guest: "Guest") -> None:
        self.guest = guest
        self.table: dict[int, Process] = {}
        #: Those of them that have not ended.
        self._alive: dict[int, Process] = {}
        #: The uptime at which a look left something to be done; None: it left nothing.
        self._late: int | None = None
        self.last_pid = 0
        #: Which bits of an exit code are kept.
        self.exit_mask = 0xFFFF_FFFF if guest.is_windows else 0xFF
        #: The process whose program is at work just now.
        self.running: Process | None = None

    def is_running(self, path: str) -> bool:
        return any(p.path == path for p in self._alive.values())

    # -- starting ----------------------------------------------------------------------------

    def spawn(
        self,
        argv: list[str],
        *,
        env: list[str],
        cwd: str = "/",
        files: dict[int, OpenFile],
        parent: int = 1,
        search: str | None = None,
        program: str | None = None,
    ) -> Process:
        """Start the program *program* (or ``argv[0]``) as execvp(3) and glib do.

        A name without a slash is looked up in *search*; a file that is no known program is run by
        ``/bin/sh``. Raises the OSError of execve(2), or of fork(2) if there are too many.
        """
        memory = self.guest.memory_budget
        if not self.has_room(TASKS_MAX):
            raise os_error(errno.EAGAIN)
        real, code, arguments = self.find(argv, env=env, cwd=cwd, search=search, program=program)
        size = sum(map(len, argv)) + sum(map(len, env))
        if size > memory.left:
            raise os_error(errno.EAGAIN)
        process = self.start(
            code,
            argv=arguments,
            env=list(env),
            cwd=cwd,
            files=files,
            parent=parent,
            path=real,
        )
        process.memory = size
        memory.take(size)
        return process

    def find(
        self,
        argv: list[str],
        *,
        env: Sequence[str],
        cwd: str,
        search: str | None,
        program: str | None = None,
    ) -> Image:
        """Find what *argv* runs with the environment *env*; OSError if nothing."""
        return find_image(self.guest, argv, env, program or argv[0], search, cwd)

    def start(
        self,
        program: Program,
        *,
        argv: list[str],
        env: list[str],
        cwd: str,
        files: dict[int, OpenFile],
        parent: int,
        path: str,
    ) -> Process:
        """Put a process that runs *program* into the table, in which there must be room."""
        pid = self.new_pid()
        for file in files.values():
            file.retain()
        process = Process(self.guest, pid, parent, argv, env, cwd, dict(files), path)
        process.steps = program(process)
        process.rest = program
        process.blocked = Blocked(until=process.started + EXEC_TIME)
        self.table[pid] = self._alive[pid] = process
        self.guest.is_busy = True
        self._count(START_STEPS)
        return process

    def count_walk(self, count: int) -> None:
        """Note that whoever is at work has walked a path of *count* names."""
        self._count(WALK_STEPS + count)

    def _count(self, steps: int) -> None:
        if self.running is not None:
            self.running.count_work(steps)

    def has_room(self, limit: int) -> bool:
        """Whether there can be one more process: fewer than *limit* run, and some id is free."""
        # Some are left for those whom the kernel and init start.
        return len(self._alive) < limit and len(self.table) < PID_MAX - 100

    def new_pid(self) -> int:
        """Give the next free process id."""
        while True:
            self.last_pid = self.last_pid % PID_MAX + 1
            if self.last_pid not in self.table:
                return self.last_pid

    # -- ending --------------------------------------------------------------------------------

    def kill(self, pid: int, number: int) -> None:
        """Send a signal; `NoSuchProcess` if there is nobody to get it."""
        process = self.table.get(pid)
        if process is None:
            raise NoSuchProcess(f"no process {pid}")
        if number == 0 or process.exit is not None or pid == 1:
            # Process 1 gets no signal that it did not ask for.
            return
        if number == signal.SIGCONT:
            process.is_stopped = False
            self.guest.is_busy = True
            return
        if number in (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH):
            return
        if number != signal.SIGKILL and number in process.handlers:
            handler = process.handlers[number]
            if handler:
                handler()
                self.guest.is_busy = True
            return
        if number in (signal.SIGSTOP, signal.SIGTSTP):
            process.is_stopped = True
            return
        self._end(process, Exit(signal=number))

    def _end(self, process: Process, how: Exit) -> None:
        process.exit = how
        self._alive.pop(process.pid, None)
        self.guest.memory_budget.take(-process.memory)
        process.memory = 0
        if process.steps is not None:
            steps, process.steps = process.steps, None
            if process is not self.running:
                steps.close()
        for file in process.files.values():
            file.close()
        process.files = {}
        for other in list(self.table.values()):
            if other.parent == process.pid:
                other.parent = 1
                if other.exit is not None and other.on_exit is None:
                    self.reap(other)
        if process.on_exit is not None:
            process.on_exit(how)
        elif process.parent in (0, 1):
            self.table.pop(process.pid, None)
        self.guest.is_busy = True

    def clear(self) -> None:
        """End every process at once, as a loss of power does."""
        for process in list(self.table.values()):
            if process.exit is None:
                self._end(process, Exit(signal=signal.SIGKILL))
        self.table.clear()
        self._alive.clear()

    def postpone(self, duration: int) -> None:
        """Move what processes wait for by *duration* ns: the guest was asleep."""
        for process in self._alive.values():
            blocked = process.blocked
            if blocked is not None and blocked.until is not None:
                process.blocked = Blocked(blocked.until + duration, blocked.is_ready)

    def reap(self, process: Process) -> None:
        """Forget an ended process."""
        self.table.pop(process.pid, None)

    # -- running -------------------------------------------------------------------------------

    def settle(self, uptime: int) -> None:
        """Run everything that was due until *uptime*, or until the guest has something else to do."""
        guest = self.guest
        budget = STEP_BUDGET
        at = min(self.next_event() or uptime, uptime)
        self._late = None
        while budget > 0:
            with guest.clock.at(at):
                budget = self._run_ready(at, budget)
            if budget <= 0:
                self._late = at
                break
            due = self.next_event()
            if due is None or due > min(uptime, guest.next_call() or uptime):
                break
            at = max(at, due)

    @property
    def is_late(self) -> bool:
        """Whether the last look left something undone that was due."""
        return self._late is not None

    @property
    def is_active(self) -> bool:
        """Whether a process may go on: by time, or because it can."""
        return any(
            not p.is_stopped
            and (p.blocked is None or p.blocked.until is not None or p.blocked.is_ready is not None)
            for p in self._alive.values()
        )

    def run(self, process: Process, limit: int) -> int:
        """Run until *process* ends, however far that is ahead of the clock.

        Returns the uptime at which it ended; *limit* (uptime) if it did not by then.
        """
        at = self.guest.clock.uptime()
        while process.exit is None and at < limit:
            self.settle(at)
            due = self.next_event()
            if process.exit is None:
                if due is None:
                    return limit
                at = max(at, min(due, limit))
        return at

    def _run_ready(self, at: int, budget: int) -> int:
        progress = True
        while progress and budget > 0:
            progress = False
            budget -= len(self._alive) // STEP_LOOKS
            for process in list(self._alive.values()):
                while process.steps is not None and self._is_ready(process, at):
                    self._step(process)
                    progress = True
                    budget -= 1 + process.work
                    if budget <= 0 or process.blocked is None or process.blocked.until:
                        break
        return budget

    @staticmethod
    def _is_ready(process: Process, at: int) -> bool:
        blocked = process.blocked
        if process.is_stopped:
            return False
        if blocked is None:
            return True
        if blocked.until is not None and blocked.until <= at:
            return True
        return blocked.is_ready is not None and blocked.is_ready()

    def _step(self, process: Process) -> None:
        steps = process.steps
        assert steps is not None
        self.running, before = process, self.running
        process.turns += 1
        process.work = 0
        process.rest = None
        try:
            process.blocked = next(steps)
        except StopIteration as stop:
            self._end(process, Exit(stop.value & self.exit_mask))
        except ProgramExit as done:
            self._end(process, Exit(done.code & self.exit_mask))
        except Killed as killed:
            self._end(process, Exit(signal=killed.number))
        except RecursionError:
            # The real program uses up its stack.
            self._end(process, Exit(signal=signal.SIGSEGV))
        except Exception as error:  # noqa: BLE001
            # A mistake in a program here must not end the guest, nor its server.
            text = f"the simulated program {process.name} failed, and is ended: {error!r}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            self._end(process, Exit(signal=signal.SIGABRT))
        else:
            if process.steps is None:
                # It was killed, by itself or by what it did.
                steps.close()
        finally:
            self.running = before

    def next_event(self) -> int | None:
        """Give the uptime at which the next process goes on by itself; None if none does."""
        times = [
            p.blocked.until
            for p in self._alive.values()
            if not p.is_stopped and p.blocked is not None and p.blocked.until is not None
        ]
        if self._late is not None:
            times.append(self._late)
        return min(times, default=None)

    # -- looking -------------------------------------------------------------------------------

    def named(self, name: str) -> list[Process]:
        """Give the live processes called *name*, the latest first."""
        found = [p for p in self._alive.values() if p.name == name]
        return sorted(found, key=lambda p: -p.pid)

    def live(self) -> Iterable[Process]:
        """Give the processes that have not ended, by id."""
        return [p for _, p in sorted(self._alive.items())]


def make_pipe(clock: Callable[[], int]) -> tuple[PipeEnd, PipeEnd]:
    """Make a pipe: the end to read from and the end to write to."""
    pipe = Pipe()
    return PipeEnd(pipe, os.O_RDONLY, clock), PipeEnd(pipe, os.O_WRONLY, clock)
