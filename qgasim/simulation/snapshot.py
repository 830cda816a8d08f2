"""Snapshots: a guest and its agent as they were at a time, to go back to or to look at.

What belongs to the host stays as it is: clients and their connections, the counts of faults and stubs,
the timeline. As when QEMU loads a virtual machine's state (``loadvm``), the guest finds its time where
it was, while its battery-backed clock has gone on with the host's.
"""

import errno
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from qgasim.guest.processes.process import Process, Steps
from qgasim.simulation.memento import Memento
from qgasim.suggestions import not_there

if TYPE_CHECKING:
    from qgasim.agent import Agent

__all__ = ["NAMED_LIMIT", "Snapshots"]

T = TypeVar("T")
#: How many snapshots an agent's guest may have by name.
NAMED_LIMIT: Final = 16
#: How much of the host's memory the files in all snapshots of a guest may take, in bytes.
SIZE_LIMIT: Final = 1 << 30


class _Snapshot:
    """The state of an agent and its guest."""

    def __init__(self, agent: "Agent", others: list[Callable[[], Callable[[], None]]]) -> None:
        self.agent = agent
        #: The clock goes back in its own way.
        self.memento = Memento(agent, without=agent.guest.clock)
        self.clock = agent.guest.clock.mark()
        self.reader = agent.reader.copy()
        self.processes: list[tuple[Process, Steps | None, int]] = [
            (process, process.steps, process.turns)
            for process in agent.guest.processes.table.values()
        ]
        self.others = [keep() for keep in others]

    def revert(self) -> None:
        """Be as then."""
        agent, guest = self.agent, self.agent.guest
        goes_on = {
            process
            for process, steps, turns in self.processes
            if process.steps is steps and process.turns == turns
        }
        # What they do when they are closed must not be done to what is put back.
        for process in list(guest.processes.table.values()):
            if process.steps is not None and process not in goes_on:
                process.steps.close()
        self.memento.restore()
        guest.clock.revert(self.clock)
        agent.reader = self.reader.copy()
        for process, steps, _ in self.processes:
            if steps is not None and process not in goes_on:
                process.steps = process.rest(process) if process.rest is not None else None
        for process, steps, _ in self.processes:
            if steps is not None and process.steps is None:
                # It has gone on since, and a generator cannot go back.
                guest.processes.kill(process.pid, 9)
        for put_back in self.others:
            put_back()
        guest.is_busy = True

    def look(self, function: Callable[[], T]) -> T:
        """Call *function* as if it were then; what it does is undone."""
        agent, clock = self.agent, self.agent.guest.clock
        table = agent.guest.processes.table
        now, times, reader = Memento(agent, without=clock), vars(clock).copy(), agent.reader
        listeners = agent.on_change, agent.guest.power.on_change
        known = {process.pid for process, _, _ in self.processes}
        try:
            self.memento.restore()
            clock.revert(self.clock)
            agent.on_change = agent.guest.power.on_change = lambda: None
            for process, _, _ in self.processes:
                # It is there to be seen; a step of it could not be undone.
                process.steps = None
            with clock.at(self.clock.uptime):
                return function()
        finally:
            for process in [p for pid, p in table.items() if pid not in known]:
                if process.steps is not None:
                    process.steps.close()
            now.restore()
            vars(clock).update(times)
            agent.reader = reader
            agent.on_change, agent.guest.power.on_change = listeners


class Snapshots:
    """The snapshots of an agent and its guest."""

    def __init__(self, agent: "Agent") -> None:
        self.agent = agent
        self._named: dict[str, _Snapshot] = {}
        self._past: dict[int, _Snapshot] = {}
        #: What else is to be kept: each is called when a snapshot is taken, and what it gives at a
        #: return to it.
        self.others: list[Callable[[], Callable[[], None]]] = []

    def take(self, name: str) -> None:
        """Take a snapshot, in place of an earlier one of this name.

        Raises:
            OSError: there are too many, or they are too large.
        """
        if name not in self._named and len(self._named) >= NAMED_LIMIT:
            raise OSError(errno.ENOSPC, f"there are {NAMED_LIMIT} snapshots already", name)
        self._named[name] = self._make()
        # QEMU stops the machine for it, and lets it go on (savevm: vm_stop(), vm_start()).
        self.agent.guest.power.events += ["STOP", "RESUME"]

    def revert(self, name: str) -> None:
        """Go back to a snapshot; it can be gone back to again.

        Raises:
            LookupError: there is none of this name.
        """
        if name not in self._named:
            raise LookupError(not_there("snapshot", name, self._named))
        assert self.agent.guest.processes.running is None, "a program cannot undo itself"
        self._named[name].revert()
        self.agent.guest.power.events += ["STOP", "RESUME"]
        self.agent.on_change()

    def keep(self, uptime: int) -> None:
        """Keep what the guest is like at *uptime*, for `look`; now, if that is past."""

        def keep_now() -> None:
            # One that does not fit is never looked at.
            with suppress(OSError):
                self._past[uptime] = self._make()

        self.agent.guest.call_at(uptime, keep_now, by_guest=False)

    def look(self, uptime: int, function: Callable[[], T]) -> T | None:
        """Call *function* as if it were *uptime*; None if that has not been yet, or was not kept."""
        past = self._past.get(uptime)
        return None if past is None else past.look(function)

    def _make(self) -> _Snapshot:
        made = _Snapshot(self.agent, self.others)
        if self._size() + made.memento.size > SIZE_LIMIT:
            raise OSError(errno.ENOSPC, f"the snapshots would take more than {SIZE_LIMIT} bytes")
        return made

    def _size(self) -> int:
        kept = [*self._named.values(), *self._past.values()]
        return sum(snapshot.memento.size for snapshot in kept)
