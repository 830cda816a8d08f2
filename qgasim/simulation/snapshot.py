"""Snapshots: a guest and its agent as they were at a time, to go back to or to look at.

What belongs to the host stays as it is: clients and their connections, the counts of faults and stubs,
the timeline. As when QEMU loads a virtual machine's state (``loadvm``), the guest finds its time where
it was, while its battery-backed clock has gone on with the host's.
"""

import errno
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from qgasim.agent import Agent
from qgasim.guest import Guest
from qgasim.guest.processes.process import Process, Steps
from qgasim.simulation.channel import Channel
from qgasim.simulation.memento import Memento
from qgasim.suggestions import not_there

__all__ = ["NAMED_LIMIT", "Snapshots", "keep_contents"]

T = TypeVar("T")
#: How many snapshots of a guest there may be by name.
NAMED_LIMIT: Final = 16
#: How much of the host's memory the files in all snapshots of a guest may take, in bytes.
SIZE_LIMIT: Final = 1 << 30


class _Snapshot:
    """The state of a guest, its agent and the channel between them and clients."""

    def __init__(self, guest: Guest, agent: Agent, channel: Channel) -> None:
        self.guest = guest
        self.agent = agent
        self.memento = keep_contents(guest, agent)
        self.clock = guest.clock.mark()
        self.reader = agent.state.reader.copy()
        self.processes: list[tuple[Process, Steps | None, int]] = [
            (process, process.steps, process.turns) for process in guest.processes.table.values()
        ]
        self.put_agent_back = agent.save()
        self.put_channel_back = channel.save()

    def revert(self) -> None:
        """Put everything back."""
        guest = self.guest
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
        self.put_agent_back()
        # A new one: a loop over the present reader detects by identity that it was replaced.
        self.agent.state.reader = self.reader.copy()
        for process, steps, _ in self.processes:
            if steps is not None and process not in goes_on:
                process.steps = process.rest(process) if process.rest is not None else None
        for process, steps, _ in self.processes:
            if steps is not None and process.steps is None:
                # It has gone on since, and a generator cannot go back.
                guest.processes.kill(process.pid, 9)
        self.put_channel_back()
        guest.is_busy = True

    def look(self, function: Callable[[], T]) -> T:
        """Call *function* as if it were then; what it does is undone."""
        guest, clock = self.guest, self.guest.clock
        table = guest.processes.table
        now = keep_contents(guest, self.agent, for_look=True)
        times, put_agent_back = vars(clock).copy(), self.agent.save()
        known = {process.pid for process, _, _ in self.processes}
        try:
            self.memento.restore()
            clock.revert(self.clock)
            self.put_agent_back()
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
            put_agent_back()


def keep_contents(guest: Guest, agent: Agent, *, for_look: bool = False) -> Memento:
    """Keep the contents of all that belongs to a guest and to its agent's process.

    The agent saves itself what is not in its process, and readers are replaced as a whole. What the
    hypervisor and the test have noted is undone only *for_look*.
    """
    notes = [guest.power.events, agent.helpers]
    outside = [*guest.outside(), agent, agent.state.reader]
    roots = [guest, agent.state]
    return Memento(
        roots + notes if for_look else roots, without=outside if for_look else outside + notes
    )


class Snapshots:
    """The snapshots of a guest, its agent and their channel, which are there when one is taken."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self._kept: tuple[Agent, Channel] | None = None
        self._named: dict[str, _Snapshot] = {}
        self._past: dict[int, _Snapshot] = {}

    def keep_also(self, agent: Agent, channel: Channel) -> None:
        """Keep these beside the guest."""
        self._kept = agent, channel

    def take(self, name: str) -> None:
        """Take a snapshot, in place of an earlier one of this name.

        Raises:
            OSError: there are too many, or they are too large.
        """
        if name not in self._named and len(self._named) >= NAMED_LIMIT:
            raise OSError(errno.ENOSPC, f"there are {NAMED_LIMIT} snapshots already", name)
        self._named[name] = self._make()
        # QEMU stops the machine for it, and lets it go on (savevm: vm_stop(), vm_start()).
        self.guest.power.events += ["STOP", "RESUME"]

    def revert(self, name: str) -> None:
        """Go back to a snapshot; it can be gone back to again.

        Raises:
            LookupError: there is none of this name.
        """
        self.check(name)
        assert self.guest.processes.running is None, "a program cannot undo itself"
        snapshot = self._named[name]
        snapshot.revert()
        self.guest.power.events += ["STOP", "RESUME"]
        snapshot.agent.changed()

    @property
    def names(self) -> dict[str, int]:
        """The snapshots by name, the oldest first, and the uptime (ns) at which each was taken."""
        return {name: snapshot.clock.uptime for name, snapshot in self._named.items()}

    def check(self, name: str) -> None:
        """Raise LookupError if there is no snapshot of this name."""
        if name not in self._named:
            raise LookupError(not_there("snapshot", name, self._named))

    def drop(self, name: str) -> None:
        """Drop a snapshot.

        Raises:
            LookupError: there is none of this name.
        """
        self.check(name)
        del self._named[name]

    def keep(self, uptime: int) -> None:
        """Keep what the guest is like at *uptime*, for `look`; now, if that is past."""

        def keep_now() -> None:
            # One that does not fit is never looked at.
            with suppress(OSError):
                self._past[uptime] = self._make()

        self.guest.call_at(uptime, keep_now, by_guest=False)

    def look(self, uptime: int, function: Callable[[], T]) -> T | None:
        """Call *function* as if it were *uptime*; None if that has not been yet, or was not kept."""
        past = self._past.get(uptime)
        return None if past is None else past.look(function)

    def _make(self) -> _Snapshot:
        assert self._kept is not None
        made = _Snapshot(self.guest, *self._kept)
        if self._size() + made.memento.size > SIZE_LIMIT:
            raise OSError(errno.ENOSPC, f"the snapshots would take more than {SIZE_LIMIT} bytes")
        return made

    def _size(self) -> int:
        kept = [*self._named.values(), *self._past.values()]
        return sum(snapshot.memento.size for snapshot in kept)
