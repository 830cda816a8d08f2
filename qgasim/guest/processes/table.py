"""The guest's process table: how processes start, get signals and end. `scheduler` runs them."""

import errno
import signal
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from qgasim.errors import GuestError
from qgasim.guest.files.nodes import os_error
from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.machine import Machine
from qgasim.guest.processes.loading import Image, Loader
from qgasim.guest.processes.process import Blocked, Exit, Process, Program
from qgasim.guest.processes.scripted import SCRIPTED, Scripted

__all__ = ["LOAD_TIME", "NoSuchProcess", "Table"]

#: What starting a program takes, in ns: fork(2), execve(2) and the loading of its libraries. A shell that runs
#: /bin/true in a loop takes a millisecond each.
EXEC_TIME: Final = 1_000_000
#: What of it is left once execve(2) has succeeded, which glib's gspawn.c waits for: qemu-ga 7.2's /bin/true has
#: ended 0.1 to 0.3 ms after guest-exec was answered.
LOAD_TIME: Final = 150_000
#: What a path costs, and starting a program, in steps.
WALK_STEPS: Final = 16
START_STEPS: Final = 50
#: The largest process id (Linux: /proc/sys/kernel/pid_max less one).
PID_MAX: Final = 32767
#: How many processes a service of systemd can have (DefaultTasksMax: 15 % of the largest id).
TASKS_MAX: Final = 4915


#: How much of the name of a program that has ended is kept.
NAME_LIMIT: Final = 256


class NoSuchProcess(GuestError):
    """There is no process with this id."""


class Table:
    """The processes, by id."""

    def __init__(self, guest: Machine, programs: Mapping[str, Program]) -> None:
        self.guest = guest
        #: What the scenario's programs do; it counts how often.
        self.scripted = Scripted(programs)
        code = {**programs, SCRIPTED: self.scripted.run}
        self._loader = Loader(guest, MappingProxyType(code))
        self.table: dict[int, Process] = {}
        #: The processes that have not ended.
        self._alive: dict[int, Process] = {}
        self.last_pid = 0
        #: How many were started since the latest boot, and how often one has gone on.
        self.forks = 0
        self.switches = 0
        #: Which bits of an exit code are kept.
        self.exit_mask = 0xFFFF_FFFF if guest.is_windows else 0xFF
        #: The process whose program is at work just now.
        self.running: Process | None = None

    def is_running(self, path: str) -> bool:
        return any(p.path == path for p in self._alive.values())

    def forget_counts(self) -> None:
        """Count ids, starts and switches from the beginning, as after a boot."""
        self.last_pid = self.forks = self.switches = 0

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
        delay: int = EXEC_TIME,
    ) -> Process:
        """Start the program *program* (or ``argv[0]``) as execvp(3) and glib do.

        A name without a slash is looked up in *search*; a file that is no known program is run by
        ``/bin/sh``. It goes on *delay* ns later. Raises the OSError of execve(2), or of fork(2) if there are too many.
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
            delay=delay,
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
        return self._loader.find(argv, env, program or argv[0], search, cwd)

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
        delay: int = EXEC_TIME,
    ) -> Process:
        """Put a process that runs *program* into the table, in which there must be room."""
        pid = self.new_pid()
        self.forks += 1
        for file in files.values():
            file.retain()
        process = Process(self.guest, self, pid, parent, argv, env, cwd, dict(files), path)
        above = self.table.get(parent)
        if above is not None:
            process.umask = above.umask
        process.steps = program(process)
        process.rest = program
        process.blocked = Blocked(until=process.started + delay)
        self.table[pid] = self._alive[pid] = process
        self.guest.is_busy = True
        self._count(START_STEPS)
        return process

    def count_walk(self, count: int) -> None:
        """Note that the process at work has walked a path of *count* names."""
        self._count(WALK_STEPS + count)

    def _count(self, steps: int) -> None:
        if self.running is not None:
            self.running.count_work(steps)

    def has_room(self, limit: int) -> bool:
        """Return whether there can be one more process: fewer than *limit* run, and some id is free."""
        # Some are left for those that the kernel and init start.
        return len(self._alive) < limit and len(self.table) < PID_MAX - 100

    def new_pid(self) -> int:
        """Return the next free process id."""
        while True:
            self.last_pid = self.last_pid % PID_MAX + 1
            if self.last_pid not in self.table:
                return self.last_pid

    # -- ending --------------------------------------------------------------------------------

    def kill(self, pid: int, number: int) -> None:
        """Send a signal; `NoSuchProcess` if no process would get it."""
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
        # A zombie has no memory, and so no arguments: only what it is called is left (fs/proc/base.c).
        process.argv = [name[:NAME_LIMIT] for name in process.argv[:1]]
        process.env = []
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

    # -- looking -------------------------------------------------------------------------------

    def named(self, name: str) -> list[Process]:
        """Return the live processes called *name*, the latest first."""
        found = [p for p in self._alive.values() if p.name == name]
        return sorted(found, key=lambda p: -p.pid)

    def live(self) -> list[Process]:
        """Return the processes that have not ended, by id."""
        return [p for _, p in sorted(self._alive.items())]
