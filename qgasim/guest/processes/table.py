"""The guest's process table, and its scheduler.

Nothing runs by itself: `Processes.settle` runs what was due until a time, in the order of time, when
somebody looks. So a process costs nothing while it sleeps, and the same scenario always gives the
same course.
"""

import errno
import signal
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from qgasim.errors import GuestError
from qgasim.guest.files.nodes import os_error
from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.machine import Machine
from qgasim.guest.processes.loading import Image, Loader
from qgasim.guest.processes.process import Blocked, Exit, Killed, Process, Program, ProgramExit
from qgasim.guest.processes.scripted import SCRIPTED, run_scripted

__all__ = ["NoSuchProcess", "Processes"]

#: What starting a program takes.
EXEC_TIME: Final = 1_000_000
#: How many steps of programs one look may cost; what is left runs late, as on a slow machine.
STEP_BUDGET: Final = 10_000
#: What a path costs, and starting a program, in steps.
WALK_STEPS: Final = 16
START_STEPS: Final = 50
#: How many processes are looked at, whether they can go on, for the cost of a step.
STEP_LOOKS: Final = 16
#: The largest process id (Linux: /proc/sys/kernel/pid_max less one).
PID_MAX: Final = 32767
#: How many processes a service of systemd can have (DefaultTasksMax: 15 % of the largest id).
TASKS_MAX: Final = 4915


class NoSuchProcess(GuestError):
    """There is no process with this id."""


class Processes:
    """The process table and its scheduler."""

    def __init__(self, guest: Machine, programs: Mapping[str, Program]) -> None:
        self.guest = guest
        self._loader = Loader(guest, MappingProxyType({**programs, SCRIPTED: run_scripted}))
        self.table: dict[int, Process] = {}
        #: Those of them that have not ended.
        self._alive: dict[int, Process] = {}
        #: The uptime at which a look left something to be done; None: it left nothing.
        self._late: int | None = None
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
    ) -> Process:
        """Put a process that runs *program* into the table, in which there must be room."""
        pid = self.new_pid()
        self.forks += 1
        for file in files.values():
            file.retain()
        process = Process(self.guest, self, pid, parent, argv, env, cwd, dict(files), path)
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
        self.switches += 1
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

    def live(self) -> list[Process]:
        """Give the processes that have not ended, by id."""
        return [p for _, p in sorted(self._alive.items())]
