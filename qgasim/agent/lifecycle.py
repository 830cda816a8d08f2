"""The life of an agent's process in the guest: how it starts, ends, and is started again."""

import signal
from collections.abc import Callable
from typing import Final

from qgasim.guest import Guest
from qgasim.guest.processes.process import Exit, Process, wait_for_ever

__all__ = ["Lifecycle"]

PATH: Final = "/usr/sbin/qemu-ga"
#: Stands in for a delay: the agent is not started again.
NEVER: Final = -1
#: The states of a machine in which its processes are there, whether they run or not.
_BOOTED: Final = ("running", "suspended", "waking")


class Lifecycle:
    """A process that the guest's service manager keeps running.

    Args:
        guest: the machine.
        respawn: how long after its end it is started again (ns); None: never.
    """

    def __init__(self, guest: Guest, respawn: int | None) -> None:
        self.guest = guest
        self.process: Process | None = None
        #: The uptime at which it is started again; None: it runs, or is not started again.
        self.respawn_at: int | None = None
        self._respawn = respawn
        # The delay after which it is started when it next ends; None: `_respawn`.
        self._next_respawn: int | None = None
        self._is_stopping = False
        # The signal that ended the latest process, if it did not end in good order.
        self._ended_by: int | None = None

    # -- for subclasses --------------------------------------------------------------------------

    def on_start(self) -> None:
        """Called when the process has started."""

    def on_stop(self) -> None:
        """Called when the process is asked to end in good order, before it does."""

    def on_end(self) -> None:
        """Called when the process has ended, in whatever way."""

    def changed(self) -> None:
        """Called when the process has started or ended, after all else is done."""

    # -- what the service manager and users do ---------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Return whether there is a process, and a machine that runs it."""
        process = self.process
        return process is not None and not process.is_stopped and self.guest.power.is_running

    @property
    def died_of(self) -> int | None:
        """The signal that ended the process; None: it runs, or ended in good order or with its machine."""
        return self._ended_by if self.guest.power.state == "running" else None

    def start(self) -> None:
        """Start the process in the guest."""
        self.respawn_at = self._ended_by = None
        self.process = self.guest.processes.start(
            wait_for_ever,
            argv=[PATH],
            env=[f"{k}={v}" for k, v in self.guest.settings.environment.items()],
            cwd="/",
            files={},
            parent=1,
            path=PATH,
        )
        self.process.handlers[15] = self.process.handlers[2] = self.terminate
        self.process.on_exit = self._ended
        self.on_start()
        self.changed()

    def terminate(self) -> None:
        """End on SIGTERM."""
        self.stop()

    def stop(self, *, respawn: bool = True) -> None:
        """End in good order.

        *respawn*: it may be started again as the options say.
        """
        if self.process is None:
            return
        if not respawn:
            self._next_respawn = NEVER
        self.on_stop()
        self._is_stopping = True
        self.guest.processes.kill(self.process.pid, signal.SIGKILL)

    def crash(self, respawn: int | None = None, *, by: int = signal.SIGKILL) -> None:
        """Die at once.

        Args:
            respawn: the delay (ns) after which it is started again; None: as the options say.
            by: the signal.
        """
        if self.process is not None:
            self._next_respawn = respawn
            self.guest.processes.kill(self.process.pid, by)
            self.guest.settle()

    def restart_with(self, change: Callable[[], None]) -> None:
        """End, *change* what is installed, and start again if the process ran."""
        was_running = self.process is not None
        self.stop(respawn=False)
        self.guest.settle()
        change()
        if was_running:
            self.start()

    def _ended(self, how: Exit) -> None:
        assert self.process is not None
        self.guest.processes.reap(self.process)
        self.process = None
        self._ended_by = None if self._is_stopping else how.signal
        self._is_stopping = False
        self.on_end()
        respawn, self._next_respawn = self._next_respawn, None
        if respawn is None:
            respawn = self._respawn
        if respawn is not None and respawn != NEVER and self.guest.power.state in _BOOTED:
            self.respawn_at = self.guest.clock.uptime() + respawn
            self.guest.call_at(self.respawn_at, self._start_again)
        self.changed()

    def machine_changed(self) -> None:
        """Called when the machine is in another state."""
        self._start_again()
        self.changed()

    def _start_again(self) -> None:
        """Start if it is time; in a guest that sleeps or stands still it is time when that goes on."""
        at, power = self.respawn_at, self.guest.power
        if at is None or self.process is not None:
            return
        if power.state not in _BOOTED:
            self.respawn_at = None
        elif power.is_running and self.guest.clock.uptime() >= at:
            self.start()
