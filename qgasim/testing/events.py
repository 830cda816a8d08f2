"""The events of a timeline as methods: what a test lets happen to a guest, now.

`qgasim.simulation.timeline` has the events themselves; a test holds the two together.
"""

from datetime import timedelta
from typing import Any, Literal, TypeAlias

from qgasim.scenario.decode import parse_duration

__all__ = ["Duration", "Events", "to_ns"]

Duration: TypeAlias = str | float | timedelta
"""A span of time: ``"1h"``, seconds, or a timedelta."""


def to_ns(duration: Duration) -> int:
    """Return a duration in ns.

    Raises:
        ValueError: it is none, or is negative.
    """
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    try:
        found = parse_duration(duration if isinstance(duration, str) else f"{duration:.9f}")
    except TypeError:  # it is no number
        found = None
    if found is None:
        raise ValueError(f"expected a duration, as in 250ms or 1h, found {duration!r}")
    return found


class Events:
    """What can happen to a guest.

    Each raises `ScenarioError` for settings that cannot be, and `LookupError` where what it names is
    not there.
    """

    def _let(self, name: str, /, **settings: Any) -> None:
        """Let an event happen."""
        raise NotImplementedError

    # -- the agent --------------------------------------------------------------------------------

    def agent_starts(self) -> None:
        """The agent is started, if it does not run."""
        self._let("agent_starts")

    def agent_stops(self) -> None:
        """The agent ends in good order, and is not started again."""
        self._let("agent_stops")

    def agent_crashes(self, respawn: Duration | None = None) -> None:
        """The agent dies: what is buffered in open files is lost.

        Args:
            respawn: after how long it is started again; None: as ``agent.respawn`` says.
        """
        self._let("agent_crashes", respawn=respawn)

    def agent_upgrades(self, release: str) -> None:
        """The agent is replaced by another release, and started again if it runs."""
        self._let("agent_upgrades", release=release)

    # -- the machine ------------------------------------------------------------------------------

    def reboot(self) -> None:
        """The guest is reset, and boots again."""
        self._let("reboot")

    def power_off(self) -> None:
        """The guest is switched off."""
        self._let("power_off")

    def power_on(self) -> None:
        """A guest that is off is switched on, and boots."""
        self._let("power_on")

    def panic(self) -> None:
        """The guest's kernel panics: nothing runs any more."""
        self._let("panic")

    def pause(self, lasts: Duration | None = None, *, clock_runs: bool = False) -> None:
        """The hypervisor stops the guest's processors: nothing answers, and its time stands still.

        Args:
            lasts: for how long, in the host's time; None: until `resume`.
            clock_runs: the guest's wall-clock time goes on meanwhile.
        """
        self._let("pause", lasts=lasts, clock_runs=clock_runs)

    def resume(self) -> None:
        """A paused guest goes on."""
        self._let("resume")

    def migrate(self, blackout: Duration | None = None) -> None:
        """The guest moves to another host: nothing answers for a while, and then its clock is behind.

        Args:
            blackout: how long nothing answers, in the host's time; None: half a second.
        """
        self._let("migrate", blackout=blackout)

    def suspend(self, mode: Literal["ram", "disk", "hybrid"] = "ram") -> None:
        """The guest goes to sleep."""
        self._let("suspend", mode=mode)

    def wake(self) -> None:
        """A suspended guest wakes."""
        self._let("wake")

    def snapshot(self, name: str) -> None:
        """A snapshot of the guest is taken, its memory included."""
        self._let("snapshot", name=name)

    def revert(self, to: str) -> None:
        """The guest goes back to a snapshot: all that is in it, its time, and the agent's memory."""
        self._let("revert", to=to)

    # -- what is in it ----------------------------------------------------------------------------

    def step_clock(self, forward: Duration | None = None, back: Duration | None = None) -> None:
        """The guest's wall-clock time jumps."""
        self._let("step_clock", forward=forward, back=back)

    def clock_drifts(self, drift: float) -> None:
        """The guest's wall-clock time runs faster or slower from now on.

        Args:
            drift: how many seconds it gains in a million.
        """
        self._let("clock_drifts", drift=drift)

    def nic_appears(self, nic: dict[str, Any]) -> None:
        """A network interface is plugged in: ``{"name": "eth1"}``, with keys as in a scenario."""
        self._let("nic_appears", nic=nic)

    def nic_disappears(self, nic: str) -> None:
        """A network interface is unplugged."""
        self._let("nic_disappears", nic=nic)

    def addresses(
        self, nic: str, add: list[str] | None = None, remove: list[str] | None = None
    ) -> None:
        """A network interface gets or loses addresses.

        Args:
            nic: its name.
            add: what it gets, as in ``192.0.2.7/24``.
            remove: what it loses.
        """
        self._let("addresses", nic=nic, add=add, remove=remove)

    def disk_appears(self, disk: dict[str, Any]) -> None:
        """A disk is plugged in: ``{"name": "vdb", "size": "1GiB"}``, with keys as in a scenario."""
        self._let("disk_appears", disk=disk)

    def disk_fills(self, path: str, used: str | int) -> None:
        """So many bytes of a file system are in use all at once: ``disk_fills("/", "19GiB")``."""
        self._let("disk_fills", path=path, used=used)

    def file_changes(self, path: str, file: str | dict[str, Any] | None) -> None:
        """A file is written, or removed.

        Args:
            path: where.
            file: what is there then: a text, or more about it with keys as in a scenario; None:
                nothing.
        """
        self._let("file_changes", path=path, file=file)

    def process_ends(self, process: str, signal: int = 15) -> None:
        """Processes of the guest get a signal that ends them: all that are called so."""
        self._let("process_ends", process=process, signal=signal)

    def logs_on(self, user: str, line: str | None = None) -> None:
        """A user logs on."""
        self._let("logs_on", user=user, line=line)

    def logs_off(self, user: str) -> None:
        """A user logs off, everywhere."""
        self._let("logs_off", user=user)

    # -- faults -----------------------------------------------------------------------------------

    def fault_on(self, fault: str) -> None:
        """Faults are switched on: those of this name."""
        self._let("fault_on", fault=fault)

    def fault_off(self, fault: str) -> None:
        """Faults are switched off: those of this name."""
        self._let("fault_off", fault=fault)
