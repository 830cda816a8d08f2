"""How long a guest takes to take a device and to let it go, and what it tells of the place (ACPI)."""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from qgasim.guest.units import SECOND
from qgasim.qmp.devices import Dimm
from qgasim.qmp.monitor import Monitor

__all__ = [
    "EJECTED",
    "GONE_AFTER",
    "INSERTED",
    "IN_PROGRESS",
    "LETS_GO",
    "OPENS",
    "SUCCESS",
    "TAKES",
    "Slot",
    "first_block",
    "react",
]

MS: Final = SECOND // 1000
#: How long the guest takes to take a device, and to let it go (recorded: 15 to 400 ms).
TAKES: Final = 30 * MS
LETS_GO: Final = 300 * MS
#: How long a network device that was let go is still there.
GONE_AFTER: Final = 60 * MS
#: How long the agent takes to open its port again (recorded: 70 ms).
OPENS: Final = 70 * MS
#: What is written to _OST: sources and statuses (ACPI 6.4, 6.3.5).
INSERTED, EJECTED = 1, 3
SUCCESS, IN_PROGRESS = 0, 132


def first_block(dimm: Dimm, block_size: int) -> int:
    """Return the number of a memory module's first block of memory in the guest."""
    return dimm.address // block_size


def react(monitor: Monitor, delay: int, function: Callable[[], None]) -> None:
    """Call *function* when *delay* ns of the guest have passed, if it drives its devices: firmware does not."""
    if monitor.hypervisor.has_booted:
        monitor.hypervisor.call_in_guest(delay, function)


class Slot(Struct):
    """A place that ACPI tells of, and the device in it."""

    monitor: Monitor
    kind: str
    number: int
    device: str | None

    def tell(self, source: int, status: int, *, is_empty: bool = False) -> None:
        """Report the guest's status of it (_OST)."""
        is_named = self.device is not None and not is_empty
        info: dict[str, Any] = {"device": self.device} if is_named else {}
        info |= {"slot": str(self.number), "slot-type": self.kind}
        info |= {"source": source, "status": status}
        self.monitor.hypervisor.devices.told[self.kind, self.number] = source, status
        self.monitor.hypervisor.emit("ACPI_DEVICE_OST", {"info": info})
