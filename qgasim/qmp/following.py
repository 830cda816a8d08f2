"""What the guest does, as QEMU sees and tells it: its power, its clock, its agent."""

from collections.abc import Callable
from typing import Any, Final

from qgasim.agent import Agent
from qgasim.guest.units import SECOND
from qgasim.qmp.board import Board
from qgasim.qmp.plugged import Plugged
from qgasim.qmp.settings import MachineSettings
from qgasim.qmp.states import TRANSITIONS, Cause

__all__ = ["Following"]

#: How long a woken guest takes until its agent's port is open again (recorded: 66 to 141 ms).
RESUME_TIME: Final = SECOND // 10
#: How long writing an image takes, when a guest is suspended to disk (recorded: some seconds).
IMAGE_TIME: Final = 2 * SECOND


class Following(Plugged):
    """A process that follows its guest: an observer of the agent, called with each event of power."""

    def __init__(
        self,
        agent: Agent,
        settings: MachineSettings,
        wall_clock: Callable[[], int],
        board: Board | None = None,
    ) -> None:
        super().__init__(agent, settings, wall_clock, board)
        #: What follows a panic; set-action changes it. None: no device reports one.
        self.on_panic: str | None = settings.on_panic
        #: Whether the process has ended, and its exit status.
        self.has_ended = False
        self.exit_status = 0
        #: Called when it ends; then its clients are to be hung up on.
        self.on_end: Callable[[], None] = self.hang_up
        #: Called when the machine has been reset: devices that were to be unplugged go then.
        self.on_reset: list[Callable[[], object]] = []
        #: What the state is to become by the next event of power, if not what the table says.
        self._stop_cause: Cause = "stop"
        power = self.guest.power
        power.on_event = self._power_event
        power.resume_time, power.image_time = RESUME_TIME, IMAGE_TIME
        power.keeps_machine = settings.on_shutdown == "pause"
        power.reboots = settings.on_reboot == "reset"
        self.guest.clock.on_rtc = self._rtc_set
        self.guest.watchers.append(self)
        agent.observers.append(self)

    def run(self) -> None:
        """Do what is due by the host's time."""
        self._note_end_of_pause()
        super().run()

    def _happen(self, cause: Cause) -> None:
        self.status = TRANSITIONS.get((self.status, cause), self.status)

    def changed(self) -> None:
        """Look at the guest again: its agent or its power has changed."""
        if self.has_ended and self.guest.power.state != "off":
            # It was started again.
            self.has_ended = False
            self.status = "running"
        self._note_end_of_pause()
        self._hold_agent()
        self.look_at_port()

    def _note_end_of_pause(self) -> None:
        """Note that a pause has ended by itself (a scenario's, for a time)."""
        has_gone_on = self.status == "paused" and not self.guest.clock.is_stopped
        if has_gone_on and not self.has_ended and not self._is_quitting:
            self._go_on()

    def connected(self) -> None:
        """Note the agent's client."""
        self.has_agent_client = True

    def disconnected(self, *, is_unread: bool) -> None:  # noqa: ARG002
        """Note that the agent's client has left."""
        self.has_agent_client = False

    def _rtc_set(self) -> None:
        data: dict[str, Any] = {"offset": self.guest.clock.rtc_offset // SECOND}
        if self.release.rtc_path is not None:
            # Asked of 7.2 with 1, 2, 3, 4 and 8 processors.
            before = self.release.rtc_after + self.devices.boot_cpus
            data["qom-path"] = self.release.rtc_path.format(before)
        self.emit("RTC_CHANGE", data)

    def _power_event(self, event: str, reason: str) -> None:
        """Emit what the guest's power did; the port closes before."""
        if event not in ("WAKEUP", "RESUME", "STOP", "GUEST_PANICKED"):
            self.look_at_port()
        if event == "STOP":
            cause, self._stop_cause = self._stop_cause, "stop"
            self._happen(cause)
            self.emit("STOP")
        elif event == "RESUME":
            self._go_on()
        elif event == "SHUTDOWN":
            self._shut_down(reason)
        elif event == "RESET":
            self._tell_reset(reason)
        elif event == "GUEST_PANICKED":
            self._panic()
        else:
            if event in ("SUSPEND", "WAKEUP"):
                self._happen("suspend" if event == "SUSPEND" else "wake")
            self.emit(event)

    def _go_on(self) -> None:
        self._happen("cont")
        if self.status == "running" and self.guest.power.state == "suspended":
            self.status = "suspended"
        self.emit("RESUME")
        self.look_at_port()

    def _tell_reset(self, reason: str) -> None:
        if not reason:
            return
        is_guest = reason.startswith("guest")
        self.emit("RESET", {"guest": is_guest, "reason": reason})
        while self.on_reset:
            self.on_reset.pop(0)()
        data = {"guest": True, "reason": "guest-reset"}
        for number in range(self.settings.firmware_resets):
            self.call_in_guest(SECOND // 20 * (number + 1), lambda: self.emit("RESET", data))

    def _shut_down(self, reason: str) -> None:
        """Emit that the machine is off, and stop it or end; without a *reason* that was done."""
        if not reason:
            return
        self.emit("SHUTDOWN", {"guest": reason.startswith("guest"), "reason": reason})
        if self.guest.power.keeps_machine and not self._is_quitting:
            self._stop_as("off")
        else:
            self._end(0)

    def _end(self, status: int) -> None:
        self.exit_status = status
        self.has_ended = True
        self.guest.power.keeps_machine = False
        self.guest.clock.go_on()
        self.on_end()

    def hang_up(self) -> None:
        """Hang up on the clients of all monitors: the process has ended."""
        for monitor in self.monitors:
            monitor.end()

    def _stop_as(self, cause: Cause) -> None:
        """Stop the processors, if they run."""
        if self.guest.clock.is_stopped:
            self._happen(cause)
            return
        self._stop_cause = cause
        self.guest.power.pause(None)

    def stop_by_watchdog(self) -> None:
        """Stop the machine: its watchdog has expired."""
        self._stop_as("watchdog")

    def _panic(self) -> None:
        """Emit a panic, if there is a device that reports it, and do what is to follow."""
        action = self.on_panic
        if action is None:
            return
        if action != "none" and self.release.tells_panic_twice:
            self.emit("GUEST_PANICKED", {"action": "pause"})
        if action == "none":
            self.emit("GUEST_PANICKED", {"action": "run"})
        elif action == "pause" or (action != "exit-failure" and self.guest.power.keeps_machine):
            if not self.release.tells_panic_twice:
                self.emit("GUEST_PANICKED", {"action": "pause"})
            self._stop_as("panic")
        else:
            self.emit("GUEST_PANICKED", {"action": "poweroff"})
            self.emit("SHUTDOWN", {"guest": True, "reason": "guest-panic"})
            if self.guest.power.keeps_machine:
                # UNVERIFIED: recorded only where the monitor's client caused the panic, with STOP before SHUTDOWN.
                self._stop_as("off")
            else:
                self.vanish(1 if action == "exit-failure" else 0)

    def vanish(self, status: int) -> None:
        """End at once, and the guest with it, though the port was never closed. *status*: of the process."""
        self._is_quitting = True
        self.has_ended = True
        self.guest.power.keeps_machine = False
        self.guest.power.switch_off("")
        self._end(status)
        self._is_quitting = False
