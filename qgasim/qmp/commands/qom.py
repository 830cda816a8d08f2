"""Commands about QOM, QEMU's tree of objects: the devices with an id, and the machine."""

from datetime import UTC, datetime
from typing import Any, Final

from qgasim.errors import CommandError, DeviceNotFound
from qgasim.guest.units import SECOND
from qgasim.qmp.commands.balloon import find_balloon, guest_stats
from qgasim.qmp.commands.capabilities import cpu_properties, cpu_value
from qgasim.qmp.commands.queries import cpu_type
from qgasim.qmp.devices import Device
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import command

__all__: list[str] = []

_INTERVAL: Final = "guest-stats-polling-interval"
PERIPHERAL: Final = "/machine/peripheral"
#: What a device of each driver has besides what all have, with the types, as recorded.
_PROPERTIES: Final[dict[str, dict[str, str]]] = {
    "virtserialport": {"nr": "uint32", "name": "str", "chardev": "str"},
    "pc-dimm": {"memdev": "link<memory-backend>"},
    "virtio-net-pci": {"netdev": "str", "mac": "str"},
    "virtio-blk-pci": {"drive": "str"},
    "virtio-balloon-pci": {
        "guest-stats-polling-interval": "int",
        "guest-stats": "guest statistics",
    },
}
_COMMON: Final = {
    "type": "string",
    "parent_bus": "link<bus>",
    "realized": "bool",
    "hotplugged": "bool",
    "hotpluggable": "bool",
}


def _machine_type(monitor: Monitor) -> str:
    board = monitor.hypervisor.devices.board
    if board is not None:
        return f"{board.machine}-machine"
    return f"pc-i440fx-{monitor.release.name}-machine"


def _is_cpu(monitor: Monitor, path: str) -> bool:
    return any(
        path in (cpu.path, f"{PERIPHERAL}/{cpu.id}") for cpu in monitor.hypervisor.devices.cpus
    )


def _find(monitor: Monitor, path: str) -> Device | None:
    if path.startswith(f"{PERIPHERAL}/"):
        return monitor.hypervisor.devices.by_id.get(path.removeprefix(f"{PERIPHERAL}/"))
    return None


@command()
def qom_list(monitor: Monitor, path: str) -> Any:
    """List the properties of an object, its children among them."""
    path = path.rstrip("/")
    if path == PERIPHERAL:
        children = [
            {"name": device.id, "type": f"child<{device.driver}>"}
            for device in monitor.hypervisor.devices.listed()
        ]
        return [{"name": "type", "type": "string"}, *children]
    if path == "/machine":
        return [
            {"name": "type", "type": "string"},
            {"name": "rtc-time", "type": "struct tm"},
            {"name": "peripheral", "type": "child<container>"},
        ]
    if _is_cpu(monitor, path):
        return cpu_properties()
    device = _find(monitor, path)
    if device is None:
        raise DeviceNotFound(f"Device '{path}' not found")
    properties = _COMMON | _PROPERTIES.get(device.driver, {})
    return [{"name": name, "type": kind} for name, kind in properties.items()]


@command()
def qom_get(monitor: Monitor, path: str, property: str) -> Any:  # noqa: A002
    """Return the value of a property."""
    path = path.rstrip("/")
    if path == "/machine":
        return _get_of_machine(monitor, property)
    if path == PERIPHERAL and property == "type":
        return "container"
    if _is_cpu(monitor, path):
        return cpu_value(cpu_type(monitor).removesuffix("-x86_64-cpu"), property)
    device = _find(monitor, path)
    if device is None:
        raise DeviceNotFound(f"Device '{path}' not found")
    values: dict[str, Any] = {
        **device.properties,
        "type": device.driver,
        "hotplugged": device.is_hotplugged,
        "hotpluggable": True,
        "realized": True,
    }
    if device is find_balloon(monitor):
        values["guest-stats"] = guest_stats(monitor)
        values.setdefault(_INTERVAL, 0)
    if property not in values:
        raise CommandError(f"Property '{device.driver}.{property}' not found")
    return values[property]


@command()
def qom_set(monitor: Monitor, path: str, property: str, value: Any = None) -> None:  # noqa: A002
    """Change a property: how often the guest is asked for the statistics of its memory, in seconds."""
    device = _find(monitor, path.rstrip("/"))
    if device is None:
        raise DeviceNotFound(f"Device '{path}' not found")
    if device is not find_balloon(monitor) or property != _INTERVAL:
        # UNVERIFIED: properties that exist and cannot be changed now are refused in other words.
        raise CommandError(f"Property '{device.driver}.{property}' not found")
    if not isinstance(value, int):
        raise CommandError(f"Invalid parameter type for '{property}', expected: integer")
    device.properties[_INTERVAL] = value


def _get_of_machine(monitor: Monitor, name: str) -> Any:
    if name == "type":
        return _machine_type(monitor)
    if name != "rtc-time":
        raise CommandError(f"Property '{_machine_type(monitor)}.{name}' not found")
    moment = datetime.fromtimestamp(monitor.hypervisor.guest.clock.rtc() // SECOND, UTC)
    return {
        "tm_year": moment.year - 1900,
        "tm_mon": moment.month - 1,
        "tm_mday": moment.day,
        "tm_hour": moment.hour,
        "tm_min": moment.minute,
        "tm_sec": moment.second,
    }
