"""The guest's power: running, suspended, off.

States change at guest times that are known in advance, or from outside (`wake`).
"""

from collections.abc import Callable
from typing import Final, Literal, Protocol

from qgasim.guest.system.clock import Clock
from qgasim.guest.units import SECOND
from qgasim.states import GuestStates, StateEvent

__all__ = ["Power", "PowerState", "SleepState"]

#: How many of the latest events are kept.
EVENTS_KEPT: Final = 1000
PowerState = Literal["running", "suspended", "halted", "off", "booting", "rebooting"]
SleepState = Literal["ram", "disk", "hybrid"]


class Powered(Protocol):
    """What has power: the guest."""

    clock: Clock
    states: GuestStates

    def call_at(self, uptime: int, function: Callable[[], None]) -> None:
        """Call *function* when the uptime is *uptime*."""
        ...

    def forget_call(self, function: Callable[[], None]) -> None:
        """Do not call *function* any more."""
        ...

    def stop(self) -> None:
        """Let go of everything that needs power."""
        ...

    def boot(self) -> None:
        """Come up again."""
        ...

    def postpone(self, duration: int) -> None:
        """Let *duration* ns pass for all that runs, as if it had been asleep."""
        ...


class Power:
    """What state the virtual machine is in. Times are uptime, in ns."""

    def __init__(
        self, guest: Powered, *, boot_time: int = 2 * SECOND, wake_after: int | None = None
    ) -> None:
        self.guest = guest
        #: How long a boot takes until the agent answers.
        self.boot_time = boot_time
        #: After how long somebody outside wakes a suspended guest; None: never.
        self.wake_after = wake_after
        self.state: PowerState = "running"
        #: QMP events that the hypervisor would have emitted, in order.
        self.events: list[str] = []
        # Only the latest plan counts: a wake-up from outside makes the planned one void.
        self._planned: Callable[[], None] | None = None
        self._slept_at = 0
        #: Called when the machine goes off, comes up again, sleeps or wakes.
        self.on_change: Callable[[], None] = lambda: None

    @property
    def is_running(self) -> bool:
        """Return whether programs, the agent among them, get to run."""
        return self.state == "running" and not self.guest.clock.is_stopped

    @property
    def is_paused(self) -> bool:
        """Return whether the hypervisor has stopped the guest's processors."""
        return self.guest.clock.is_stopped

    def pause(self, lasts: int | None, *, clock_runs: bool = False) -> None:
        """Stop the guest's processors, and so its time, for *lasts* ns of the host; None: for good.

        *clock_runs*: the wall-clock time is right again afterwards.
        """
        self.guest.clock.stop(lasts, wall_clock_runs=clock_runs)
        self.events.append("STOP")
        self.on_change()

    def resume(self) -> None:
        """Let the guest's processors go on."""
        self.guest.clock.go_on()
        self.events.append("RESUME")
        self.on_change()

    def _plan(self, delay: int, change: Callable[[], None]) -> None:
        def do() -> None:
            self._planned = None
            change()

        self.cancel()
        self._planned = do
        self.guest.call_at(self.guest.clock.uptime() + delay, do)

    def _enter(self, state: PowerState, event: StateEvent | None, *events: str) -> None:
        self.state = state
        if event is not None:
            self.guest.states.happen(event)
        self.events += events
        del self.events[:-EVENTS_KEPT]
        self.on_change()

    def shut_down(self, how: Literal["powerdown", "halt", "reboot"], delay: int) -> None:
        """Begin to go down; it is done after *delay* ns."""
        self._plan(delay, {"powerdown": self._off, "halt": self._halt, "reboot": self._reset}[how])

    def cancel(self) -> None:
        """Forget a change that is planned, as ``shutdown -c`` does."""
        if self._planned is not None:
            self.guest.forget_call(self._planned)
            self._planned = None

    def _off(self) -> None:
        self.guest.stop()
        self._enter("off", "shut down", "SHUTDOWN")

    def _halt(self) -> None:
        self.guest.stop()
        self._enter("halted", "halt")

    def _reset(self) -> None:
        self.guest.stop()
        self._enter("rebooting", "reset", "RESET")
        self._plan(self.boot_time, self._up)

    def switch_on(self) -> None:
        """Boot a machine that is off; nothing if it is on."""
        if self.state == "off":
            self._enter("booting", "power on")
            self._plan(self.boot_time, self._up)

    def _up(self) -> None:
        self.guest.states.happen("boot")
        self.guest.boot()
        self._enter("running", None)

    def sleep(self, state: SleepState, delay: int = 0) -> None:
        """Suspend after *delay* ns: to memory, to disk (the machine goes off), or both."""
        if state == "disk":
            self._plan(delay, self._hibernate)
        else:
            self._plan(delay, self._suspend)

    def _suspend(self) -> None:
        self._slept_at = self.guest.clock.uptime()
        self._enter("suspended", "suspend", "SUSPEND")
        if self.wake_after is not None:
            self._plan(self.wake_after, self.wake)

    def _hibernate(self) -> None:
        self.guest.stop()
        self._enter("off", "shut down", "SUSPEND_DISK", "SHUTDOWN")

    def wake(self) -> None:
        """Wake a suspended guest, as QEMU's system_wakeup does; nothing if it is not suspended."""
        if self.state != "suspended":
            return
        self.cancel()
        self.guest.postpone(self.guest.clock.uptime() - self._slept_at)
        self._enter("running", "wake", "WAKEUP")
