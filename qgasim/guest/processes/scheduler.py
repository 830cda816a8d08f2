"""The guest's scheduler.

Nothing runs by itself: `Processes.settle` runs what was due until a time, in the order of time, when
the guest is looked at. So a process costs nothing while it sleeps, and the same scenario always runs
the same way.
"""

import os
import signal
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from qgasim.errors import GuestError
from qgasim.guest.machine import Machine
from qgasim.guest.processes.process import Exit, Killed, Process, Program, ProgramExit
from qgasim.guest.processes.table import Table
from qgasim.guest.processes.watchdog import TooLong, watchdog
from qgasim.guest.system.clock import host_clock
from qgasim.matching import TooCostly

__all__ = ["HELPER_STEPS", "Processes"]

#: How many steps of programs one look may cost; what is left runs late, as on a slow machine.
STEP_BUDGET: Final = 10_000
#: How many processes are looked at, whether they can go on, for the cost of a step.
STEP_LOOKS: Final = 16
#: How many steps are run ahead of the clock until a helper has ended that the agent waits for.
HELPER_STEPS: Final = 200_000
#: What each time that a program goes on counts for then.
TURN_STEPS: Final = 20


class Processes(Table):
    """The processes of a guest, and what runs them."""

    def __init__(self, guest: Machine, programs: Mapping[str, Program]) -> None:
        super().__init__(guest, programs)
        #: The uptime at which a look left something to be done; None: it left nothing.
        self._late: int | None = None
        #: How many steps of programs were run.
        self.worked = 0
        #: When the host wants to do something else; None: it has the time that is asked for.
        self._deadline: int | None = None
        #: The process that had its turn when a look was broken off for that.
        self._last_turn: int | None = None
        #: Called with a line about a program that was ended because it took too long.
        self.on_overrun: Callable[[str], None] = lambda _: None

    def settle(self, uptime: int, deadline: int | None = None) -> None:
        """Run everything that was due until *uptime*, or until the guest has something else to do.

        *deadline*: the host's time (ns) at which what is left is put off.
        """
        guest = self.guest
        self._deadline = deadline
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
        """Return whether the last look left something undone that was due."""
        return self._late is not None

    @property
    def is_active(self) -> bool:
        """Return whether a process may go on: by time, or because it can."""
        return any(
            not p.is_stopped
            and (p.blocked is None or p.blocked.until is not None or p.blocked.is_ready is not None)
            for p in self._alive.values()
        )

    def run(self, process: Process, limit: int) -> int:
        """Run until *process* ends, however far that is ahead of the clock.

        Returns the uptime at which it ended; *limit* (uptime) if it did not by then, or not within
        `HELPER_STEPS`: then it goes on as time passes.
        """
        at = self.guest.clock.uptime()
        last = self.worked + HELPER_STEPS
        while process.exit is None and at < limit:
            if self.worked >= last:
                return limit
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
            for process in self._in_turn():
                while process.steps is not None and self._is_ready(process, at):
                    self._step(process)
                    progress = True
                    budget -= 1 + process.work
                    self.worked += process.work + TURN_STEPS
                    if self._deadline is not None and host_clock() > self._deadline:
                        self._last_turn = process.pid
                        return 0
                    if budget <= 0 or process.blocked is None or process.blocked.until:
                        break
        return budget

    def _in_turn(self) -> list[Process]:
        """Return all processes; first those that had no turn yet when the last look was broken off."""
        processes = list(self._alive.values())
        last, self._last_turn = self._last_turn, None
        if last is None:
            return processes
        return sorted(processes, key=lambda process: process.pid <= last)

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
        """Let a process go on until it waits or ends, or has taken too long."""
        is_first = watchdog.begin()
        try:
            try:
                self._go_on(process)
            finally:
                if is_first:
                    watchdog.end()
        except TooLong:
            if is_first:
                watchdog.end()
            self._end_overrun(process)

    def _end_overrun(self, process: Process) -> None:
        """End a process a step of which has taken too long for the host."""
        seconds = watchdog.limit / 1e9
        text = f"ended by qgasim: a step of this program took longer than {seconds:g} s of the host"
        text = f"{process.name}: {text}\n"
        self.on_overrun(f"process {process.pid}, {text.rstrip()}")
        if process.exit is None:
            file = process.files.get(2)
            if file is not None:
                with suppress(OSError, GuestError):
                    file.write(memoryview(os.fsencode(text)))
            self._end(process, Exit(signal=signal.SIGKILL))

    def _go_on(self, process: Process) -> None:
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
        except TooCostly:
            self._end_overrun(process)
        except MemoryError:
            # The host has no more; the guest's kernel would end it, too.
            self._end(process, Exit(signal=signal.SIGKILL))
        except RecursionError:
            # The real program uses up its stack.
            self._end(process, Exit(signal=signal.SIGSEGV))
        except Exception as error:  # noqa: BLE001
            # A mistake in a program here must not end the guest, nor its server.
            text = f"the simulated program {process.name} failed, and is ended: {error!r:.500}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            self._end(process, Exit(signal=signal.SIGABRT))
        else:
            if process.steps is None:
                # It was killed, by itself or by what it did.
                steps.close()
        finally:
            self.running = before

    def next_event(self) -> int | None:
        """Return the uptime at which the next process goes on by itself; None if none does."""
        times = [
            p.blocked.until
            for p in self._alive.values()
            if not p.is_stopped and p.blocked is not None and p.blocked.until is not None
        ]
        if self._late is not None:
            times.append(self._late)
        return min(times, default=None)
