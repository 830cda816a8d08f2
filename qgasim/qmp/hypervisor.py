"""A QEMU process: the machine around a guest. No I/O.

Theory of operation
===================

A `Hypervisor` follows its guest as an observer (`following`): what the guest's power does comes by `Power.on_event`, what
the agent does to its port by `changed`. It keeps the machine's state by the table in `states`, and tells
the clients of its monitors by events. Commands of the monitors call its methods.

Times are of two kinds. What the guest does takes the guest's time (`Machine.call_at`); what QEMU does
itself takes the host's, which goes on while the guest's stands still: `next_time` says when `run` has
something to do.
"""

from collections.abc import Callable
from typing import Final

from qgasim.agent import Agent
from qgasim.errors import CommandError
from qgasim.guest.system.clock import host_wall_clock
from qgasim.qmp.board import Board
from qgasim.qmp.following import Following
from qgasim.qmp.migration import Migration
from qgasim.qmp.settings import MachineSettings
from qgasim.qmp.watchdog import Watchdog

__all__ = ["NO_UUID", "Hypervisor"]

NO_UUID: Final = "00000000-0000-0000-0000-000000000000"


class Hypervisor(Following):
    """A QEMU process with one machine.

    Args:
        agent: the agent in the guest; its port is the machine's.
        settings: how QEMU was started.
        wall_clock: the host's time since 1970 (ns), for the time stamps of events.
        board: what the command line says; None: it is made up as the guest is.
    """

    def __init__(
        self,
        agent: Agent,
        settings: MachineSettings,
        wall_clock: Callable[[], int] = host_wall_clock,
        board: Board | None = None,
    ) -> None:
        super().__init__(agent, settings, wall_clock, board)
        self.migration = Migration(self)
        self.watchdog = Watchdog(self, settings.watchdog)
        #: What is to be done when the command that is executed has been answered.
        self.after_reply: list[Callable[[], None]] = []
        if settings.start != "running":
            self._start_stopped()

    def _start_stopped(self) -> None:
        """Begin with processors that stand still: before the boot, or before the guest has come."""
        power = self.guest.power
        if self.settings.start == "prelaunch":
            self.status = "prelaunch"
            self._is_quitting = True
            power.reset("")
            self._is_quitting = False
            power.events.clear()
        else:
            self.status = "inmigrate"
        self.guest.clock.stop(None, wall_clock_runs=False)
        self.port_is_open = False

    def in_order(self, function: Callable[[], None]) -> None:
        """Call *function* now, or in releases that answer first, after the reply."""
        if self.release.replies_first:
            self.after_reply.append(function)
        else:
            function()

    def stop(self) -> None:
        """Stop the processors; nothing if they stand still."""
        if self.status == "inmigrate":
            self.migration.starts_paused = True
            return
        if self.status == "running" or (
            self.status == "suspended" and self.release.stops_suspended
        ):
            self.guest.power.pause(None)

    def cont(self) -> None:
        """Let the processors go on.

        Raises:
            CommandError: the guest is off.
        """
        if self.status == "shutdown":
            raise CommandError("Resetting the Virtual Machine is required")
        if self.status == "inmigrate":
            self.migration.starts_paused = False
            return
        if self.status in ("running", "suspended"):
            return
        if self.status == "prelaunch" and self.guest.power.state == "suspended":
            # It was reset while it slept: it wakes from its memory, and that is not told.
            self.guest.power.wake(is_told=False)
        self.guest.power.resume()

    def reset(self) -> None:
        """Reset the machine: it boots at once if it runs, or else after `cont`."""
        reason = "host-qmp-system-reset"
        power, clock = self.guest.power, self.guest.clock
        if not power.reboots:
            # Before the state is looked at (softmmu/runstate.c, qemu_system_reset_request()).
            self._switch_off(reason)
        elif self.status == "inmigrate":
            # What comes from the other host takes the place of all that is there.
            self._tell_reset(reason)
        elif self.status == "suspended":
            power.cancel()
            self._happen("reset")
            clock.stop(None, wall_clock_runs=False)
            self._tell_reset(reason)
        else:
            power.reset(reason)
            self._happen("reset")

    def _switch_off(self, reason: str) -> None:
        """Switch the machine off, or stop it for that: one that stands still keeps its state (cpus.c, vm_stop())."""
        power = self.guest.power
        runs = self.status == "running" or (
            self.status == "suspended" and self.release.stops_suspended
        )
        if power.keeps_machine and not runs:
            self.emit("SHUTDOWN", {"guest": False, "reason": reason})
        else:
            power.switch_off(reason)

    def powerdown(self) -> None:
        """Press the power button: a guest that is awake shuts down, if it heeds it."""
        self.emit("POWERDOWN")
        power = self.guest.power
        if power.state == "running" and self.settings.on_powerdown == "shutdown":
            power.shut_down("powerdown", self.guest.settings.power.shutdown_time)

    def stop_migrated(self) -> None:
        """Stop the machine: it has moved elsewhere."""
        self._stop_as("migrated")

    def arrive(self, *, is_paused: bool) -> None:
        """Become the machine that has come from another host, and run unless it *is_paused*."""
        if self.status != "inmigrate":
            return
        if is_paused:
            self.status = "paused"
            return
        self._happen("arrived")
        self.guest.clock.go_on()
        self.guest.is_busy = True
        self.emit("RESUME")
        self.look_at_port()
        self.on_change()

    def check_asleep(self) -> None:
        """Refuse to wake what does not sleep.

        Raises:
            CommandError: the machine is not suspended.
        """
        if self.status != "suspended":
            raise CommandError("Unable to wake up: guest is not in suspended state")

    def quit(self, reason: str = "host-qmp-quit") -> None:
        """End the process; *reason*: QEMU's ``ShutdownCause``."""
        self._is_quitting = True
        self.guest.power.switch_off(reason)
        self._is_quitting = False
