"""The machine's watchdog: a device that acts when the guest has not fed it for a while."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from qgasim.guest import Guest
from qgasim.guest.files.nodes import Generated
from qgasim.guest.units import SECOND

__all__ = ["Watchdog", "Watched"]

#: How long it waits for the guest (recorded with i6300esb: 30 s).
PATIENCE: Final = 30 * SECOND
PATH: Final = "/dev/watchdog"


class Watched(Protocol):
    """The machine of a watchdog."""

    guest: Guest

    def emit(self, name: str, data: dict[str, Any] | None = None) -> None:
        """Send an event."""
        ...

    def call_in_guest(self, delay: int, function: Callable[[], None]) -> None:
        """Call *function* when *delay* ns of the guest have passed."""
        ...

    def stop_by_watchdog(self) -> None:
        """Stop the processors."""
        ...

    def powerdown(self) -> None:
        """Press the power button."""
        ...

    def vanish(self, status: int) -> None:
        """End at once."""
        ...


class Watchdog:
    """A watchdog: the guest starts and feeds it by writing to ``/dev/watchdog``.

    Args:
        machine: what it acts on.
        action: what it does when it expires; None: there is no such device.
    """

    def __init__(self, machine: Watched, action: str | None) -> None:
        self._machine = machine
        self.action = action or "reset"
        self._fed = 0
        if action is not None:
            machine.guest.files.mknod(PATH, self._make_file)

    def _make_file(self, name: str, volume: Any) -> Generated:
        return Generated(name, 0o600, volume, lambda: b"", lambda _data: self._feed())

    def _feed(self) -> None:
        self._fed += 1
        fed = self._fed

        def expire() -> None:
            if fed == self._fed:
                self._act()

        self._machine.call_in_guest(PATIENCE, expire)

    def _act(self) -> None:
        machine, action = self._machine, self.action
        machine.emit("WATCHDOG", {"action": action})
        if action == "pause":
            machine.stop_by_watchdog()
        elif action == "reset":
            machine.guest.power.shut_down("reboot", 0)
        elif action == "shutdown":
            machine.powerdown()
        elif action == "poweroff":
            # No SHUTDOWN tells it (hw/watchdog/watchdog.c, watchdog_perform_action(); asked of 7.2).
            machine.vanish(0)
