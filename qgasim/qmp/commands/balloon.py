"""The device by which a guest gives memory back (``virtio-balloon-pci``)."""

from typing import Any, Final

from qgasim.errors import CommandError, DeviceNotActive
from qgasim.guest.units import SECOND
from qgasim.qmp.devices import Device
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import command

__all__ = ["find_balloon", "guest_stats"]

#: How long the guest takes. UNVERIFIED: made up.
TAKES: Final = SECOND // 10
PAGE: Final = 4096
#: What a guest's driver has not told.
UNKNOWN: Final = (1 << 64) - 1


def find_balloon(monitor: Monitor) -> Device | None:
    """Return the device; None: there is none."""
    devices = monitor.hypervisor.devices.by_id.values()
    return next((each for each in devices if each.driver.startswith("virtio-balloon")), None)


def _check(monitor: Monitor) -> None:
    if find_balloon(monitor) is None:
        raise DeviceNotActive("No balloon device has been activated")


@command()
def query_balloon(monitor: Monitor) -> Any:
    """Return how much memory the guest has left, in bytes."""
    _check(monitor)
    devices = monitor.hypervisor.devices
    return {"actual": devices.memory - devices.ballooned}


@command()
def balloon(monitor: Monitor, value: int) -> None:
    """Ask the guest to have *value* bytes left; it does so after a moment, and an event reports it.

    The guest's own numbers of its memory stay as they are.
    """
    _check(monitor)
    if value <= 0:
        raise CommandError("Parameter 'target' expects a size")
    hypervisor = monitor.hypervisor
    devices = hypervisor.devices
    devices.balloon_wanted = (devices.memory - min(value, devices.memory)) // PAGE * PAGE
    hypervisor.call_in_guest(TAKES, hypervisor.drive_balloon)


def guest_stats(monitor: Monitor) -> dict[str, Any]:
    """Return the property ``guest-stats``: what the guest's driver tells if it is asked from time to time."""
    hypervisor = monitor.hypervisor
    device = find_balloon(monitor)
    interval = 0 if device is None else device.properties.get("guest-stats-polling-interval", 0)
    left = hypervisor.devices.memory - hypervisor.devices.ballooned
    known = {
        "stat-total-memory": left,
        "stat-free-memory": left // 2,
        "stat-available-memory": left // 2,
    }
    names = (
        "swap-in", "swap-out", "major-faults", "minor-faults", "free-memory", "total-memory",
        "available-memory", "disk-caches", "htlb-pgalloc", "htlb-pgfail",
    )  # fmt: skip
    is_told = interval and hypervisor.has_booted
    stats = {f"stat-{name}": UNKNOWN for name in names}
    return {
        "stats": {**stats, **known} if is_told else stats,
        "last-update": hypervisor.guest.clock.rtc() // SECOND if is_told else 0,
    }
