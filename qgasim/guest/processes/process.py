"""A process of the guest: a program that runs in guest time, and never on the host.

A program is a generator that works on its `Process` and yields when it must wait.
"""

import errno
import os
import signal
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from qgasim.guest.files.nodes import WouldBlock, encode_name, os_error
from qgasim.guest.files.open_files import OpenFile, PipeEnd
from qgasim.guest.files.pipes import Pipe
from qgasim.guest.machine import Machine

__all__ = [
    "LINE_SIZE",
    "STEP_BYTES",
    "STEP_TIME",
    "Blocked",
    "Exit",
    "Killed",
    "Process",
    "ProcessTable",
    "Program",
    "ProgramExit",
    "Steps",
    "Waiting",
    "make_pipe",
    "succeed",
    "wait_for_ever",
]

T = TypeVar("T")
R = TypeVar("R")

#: What a step takes a program that works without waiting, and after how many their time passes.
STEP_TIME: Final = 1_000
STEP_DEBT: Final = 5_000
#: How many bytes are read or written in a step.
STEP_BYTES: Final = 1024
#: What a process can have of the host's memory; one that exceeds it is OOM-killed.
MEMORY_LIMIT: Final = 64 << 20
#: With what systemd starts services (systemd.exec(5), UMask=).
UMASK: Final = 0o022
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


class ProcessTable(Protocol):
    """What a process knows of the others (`qgasim.guest.processes.table`)."""

    def find(
        self, argv: list[str], *, env: Sequence[str], cwd: str, search: str | None
    ) -> tuple[str, Program, list[str]]:
        """Return the file that *argv* runs, the program in it, and the arguments that it gets."""
        ...

    def spawn(
        self,
        argv: list[str],
        *,
        env: list[str],
        cwd: str = "/",
        files: dict[int, OpenFile],
        parent: int = 1,
        search: str | None = None,
    ) -> "Process":
        """Start a program from its file."""
        ...

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
    ) -> "Process":
        """Start a process that runs *program*."""
        ...

    def has_room(self, limit: int) -> bool:
        """Return whether one more can be started if there can be *limit*."""
        ...

    def kill(self, pid: int, number: int) -> None:
        """Send a signal."""
        ...

    def reap(self, process: "Process") -> None:
        """Forget an ended process."""
        ...

    def live(self) -> Iterable["Process"]:
        """Return the processes that have not ended, by id."""
        ...

    def named(self, name: str) -> list["Process"]:
        """Return the live processes called *name*, the latest first."""
        ...


class Process:
    """A running program. Methods that may wait are used with ``yield from``."""

    def __init__(
        self,
        guest: Machine,
        processes: "ProcessTable",
        pid: int,
        parent: int,
        argv: list[str],
        env: list[str],
        cwd: str,
        files: dict[int, OpenFile],
        path: str,
    ) -> None:
        self.guest = guest
        self.processes = processes
        self.pid = pid
        self.parent = parent
        self.argv = argv
        #: ``NAME=value`` strings, in order; other strings stay as they are.
        self.env: list[str] = env
        self.cwd = cwd
        self.files = files
        #: The program's file, links resolved; a script's interpreter.
        self.path = path
        self.started = guest.clock.uptime()
        self.exit: Exit | None = None
        self.is_stopped = False
        #: The permissions that new files do not get; a child has its parent's.
        self.umask = UMASK
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
        """Return the value of an environment variable, None if it is not set."""
        prefix = name + "="
        for item in self.env:
            if item.startswith(prefix):
                return item[len(prefix) :]
        return None

    # -- files -------------------------------------------------------------------------------

    def descriptor(self, number: int) -> OpenFile:
        """Return an open file; EBADF if there is none."""
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
            yield from self.charge_steps(
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
        if not view:
            # No program's buffer is written that has nothing in it.
            return
        file = self.descriptor(number)
        while view:
            try:
                done = yield from self.call(file.write, view)
            except BrokenPipeError:
                if signal.SIGPIPE in self.handlers:
                    raise
                raise Killed(signal.SIGPIPE) from None
            view = view[done:]
            yield from self.charge_steps(done // STEP_BYTES)

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o666) -> Waiting[OpenFile]:
        """Open a file relative to the working directory; not yet a descriptor.

        A new one has *mode*, less the umask.
        """
        return self.call(self.guest.files.open, path, flags, mode & ~self.umask, self.cwd)

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

    def charge_steps(self, steps: int) -> Waiting[None]:
        """Work as much as *steps* steps; the guest's time passes, and others go on meanwhile."""
        self.count_work(steps)
        if self._debt >= STEP_DEBT:
            yield from self.sleep(self._debt * STEP_TIME)

    def count_work(self, steps: int) -> None:
        """Note work of *steps* steps, whose time passes with the next `charge_steps` or `sleep`."""
        self.work += steps
        self._debt += steps

    def take_memory(self, size: int) -> None:
        """Take *size* bytes of memory, or give some back; a process with too much is OOM-killed."""
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
        self.processes.reap(child)
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
        return self.processes.spawn(
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
        path, program, arguments = self.processes.find(argv, env=env, cwd=self.cwd, search=search)
        self.argv, self.env, self.path = arguments, env, path
        self.handlers = {number: None for number, call in self.handlers.items() if call is None}
        return program(self)

    def fork(self, program: Program, *, files: dict[int, OpenFile] | None = None) -> "Process":
        """Start a copy of this process that runs *program* (a subshell)."""
        return self.processes.start(
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


def make_pipe(clock: Callable[[], int]) -> tuple[PipeEnd, PipeEnd]:
    """Make a pipe: the end to read from and the end to write to."""
    pipe = Pipe()
    return PipeEnd(pipe, os.O_RDONLY, clock), PipeEnd(pipe, os.O_WRONLY, clock)
