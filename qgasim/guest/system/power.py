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
PowerState = Literal[
    "running", "suspended", "waking", "halted", "panicked", "off", "booting", "rebooting"
]
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
        """Boot again."""
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
        #: After how long the hypervisor wakes a suspended guest; None: never.
        self.wake_after = wake_after
        self.state: PowerState = "running"
        #: How long a guest that is woken takes until it runs: the hypervisor's to say.
        self.resume_time = 0
        #: How long it takes to write what is suspended to disk: the hypervisor's to say.
        self.image_time = 0
        #: Whether the machine is still there when it is off (QEMU's ``-no-shutdown``), and whether a guest that
        #: resets itself boots again (not with ``-no-reboot``).
        self.keeps_machine = False
        self.reboots = True
        #: The uptime at which the guest's real-time clock wakes it if it sleeps; None: it does not.
        self.alarm_at: int | None = None
        #: The uptime at which the processors were stopped; None: they run, and that was told.
        self.paused_at: int | None = None
        #: Whether the guest writes what it suspends to disk, and has woken its devices for it.
        self.is_saving = False
        #: QMP events that the hypervisor would have emitted, in order.
        self.events: list[str] = []
        # Only the latest plan counts: a wake-up from outside makes the planned one void.
        self._planned: Callable[[], None] | None = None
        self._slept_at = 0
        #: Called when the machine goes off, comes up again, sleeps or wakes.
        self.on_change: Callable[[], None] = lambda: None
        #: Called with each event, and the reason of a shutdown or reset, before `on_change`.
        self.on_event: Callable[[str, str], None] = lambda _event, _reason: None

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
        self.paused_at = self.guest.clock.uptime()
        self.tell("STOP")
        self.on_change()

    def note_end_of_pause(self) -> None:
        """Report the end of a pause that was for a time."""
        at, self.paused_at = self.paused_at, None
        assert at is not None
        with self.guest.clock.at(at):
            self.on_change()

    def resume(self) -> None:
        """Let the guest's processors go on."""
        self.guest.clock.go_on()
        self.paused_at = None
        self.tell("RESUME")
        self.on_change()

    def tell(self, event: str, reason: str = "") -> None:
        """Note an event, and tell what is called with each."""
        self.events.append(event)
        del self.events[:-EVENTS_KEPT]
        self.on_event(event, reason)

    def _plan(self, delay: int, change: Callable[[], None]) -> None:
        def do() -> None:
            self._planned = None
            change()

        self.cancel()
        self._planned = do
        self.guest.call_at(self.guest.clock.uptime() + delay, do)

    def _enter(
        self, state: PowerState, event: StateEvent | None, *events: str, reason: str = ""
    ) -> None:
        self.state = state
        if event is not None:
            self.guest.states.happen(event)
        for each in events:
            self.tell(each, reason)
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
        self.switch_off("guest-shutdown")

    def switch_off(self, reason: str) -> None:
        """Lose power at once. *reason*: QEMU's ``ShutdownCause``."""
        self.cancel()
        self.guest.stop()
        self._enter("off", "shut down", "SHUTDOWN", reason=reason)

    def panic(self) -> None:
        """Let the kernel panic: nothing runs any more, and nothing is closed."""
        self.cancel()
        self._enter("panicked", "halt", "GUEST_PANICKED")

    def _halt(self) -> None:
        self.guest.stop()
        self._enter("halted", "halt")

    def _reset(self) -> None:
        if self.reboots:
            self.reset("guest-reset")
        else:
            self.switch_off("guest-reset")

    def reset(self, reason: str) -> None:
        """Reset the machine at once, whatever its state; it boots. *reason*: QEMU's ``ShutdownCause``."""
        self.cancel()
        self.guest.stop()
        self._enter("rebooting", "reset", "RESET", reason=reason)
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
        finish = self._suspend if state == "ram" else self._save_image(state)
        self._plan(delay, finish)

    def _save_image(self, state: SleepState) -> Callable[[], None]:
        """Return what begins to suspend to disk: devices sleep, wake to write the image, and sleep again."""
        finish = self._hibernate if state == "disk" else self._suspend
        if not self.image_time:
            return finish

        def end() -> None:
            self.is_saving = False
            finish()

        def write() -> None:
            self.is_saving = True
            self.on_change()
            self._plan(self.image_time, end)

        def begin() -> None:
            self._slept_at = self.guest.clock.uptime()
            self._enter("suspended", "suspend")
            self._plan(self.image_time, write)

        return begin

    def _suspend(self) -> None:
        if self.state != "suspended":
            self._slept_at = self.guest.clock.uptime()
        self._enter("suspended", "suspend", "SUSPEND")
        delays = [] if self.wake_after is None else [self.wake_after]
        if self.alarm_at is not None and self.alarm_at > self.guest.clock.uptime():
            delays.append(self.alarm_at - self.guest.clock.uptime())
        self.alarm_at = None
        if delays:
            self._plan(min(delays), self.wake)

    def _hibernate(self) -> None:
        self.guest.stop()
        self._enter("off", "shut down", "SUSPEND_DISK", "SHUTDOWN", reason="guest-shutdown")

    def wake(self, *, is_told: bool = True) -> None:
        """Wake a suspended guest, as QEMU's system_wakeup does; nothing if it is not suspended.

        *is_told*: there is an event.
        """
        if self.state != "suspended":
            return
        self.cancel()
        self.is_saving = False
        if is_told:
            self.tell("WAKEUP")
        if self.resume_time:
            self._enter("waking", None)
            self._plan(self.resume_time, self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        self.guest.postpone(self.guest.clock.uptime() - self._slept_at)
        self._enter("running", "wake")
