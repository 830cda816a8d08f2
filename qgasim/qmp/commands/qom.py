"""Commands about QOM, QEMU's tree of objects: devices, processors, other objects and character devices."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct, field

from qgasim.errors import CommandError, DeviceNotFound
from qgasim.guest.units import SECOND
from qgasim.qapi.arguments import glib_order
from qgasim.qmp.commands.balloon import find_balloon, guest_stats
from qgasim.qmp.commands.capabilities import (
    cpu_properties,
    cpu_value,
    properties_of,
    settings_of,
)
from qgasim.qmp.commands.qdev import backend_of
from qgasim.qmp.commands.queries import cpu_type, list_chardevs
from qgasim.qmp.devices import Device
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import NOT_SIMULATED, command

__all__ = ["PERIPHERAL", "QomObject", "find_object"]

_INTERVAL: Final = "guest-stats-polling-interval"
#: The default of what is found out when a device is made.
COMPUTED: Final = 0xFFFFFFFF
PERIPHERAL: Final = "/machine/peripheral"
#: Properties that every device has and that can never be set.
_FIXED: Final = ("type", "hotplugged", "hotpluggable")
#: What can be set when the device is there already.
_LATE: Final = (_INTERVAL, "drive")
#: How a value of a type comes.
_EXPECTED: Final[dict[str, tuple[type, str]]] = {
    "bool": (bool, "boolean"),
    "int": (int, "integer"),
    "uint32": (int, "integer"),
    "str": (str, "string"),
}
#: The types of character devices that `query-chardev` names otherwise.
_BACKENDS: Final = {"unix": "socket", "tcp": "socket", "disconnected": "socket"}


class AmbiguousPath(CommandError):
    """Several objects are at a path that does not begin at the root."""


class QomObject(Struct, kw_only=True):
    """An object of QEMU's tree, as far as it is known here."""

    path: str
    kind: str
    children: "dict[str, QomObject]" = field(default_factory=dict[str, "QomObject"])
    #: The device with an id or a place without one that it is.
    device: Device | None = None
    #: What it was made with, if it is another object or a device.
    properties: dict[str, Any] = field(default_factory=dict[str, Any])
    is_device: bool = False


def _machine_type(monitor: Monitor) -> str:
    board = monitor.hypervisor.devices.board
    name = f"pc-i440fx-{monitor.release.name}" if board is None else board.machine
    return f"{name}-machine"


def _container(path: str, children: list[QomObject], kind: str = "container") -> QomObject:
    named = {child.path.rpartition("/")[2]: child for child in children}
    return QomObject(path=path, kind=kind, children=named)


def _tree(monitor: Monitor) -> QomObject:
    """Return the root of the tree."""
    devices = monitor.hypervisor.devices
    every = [
        QomObject(
            path=device.path,
            kind=device.driver,
            device=device,
            properties=device.properties,
            is_device=True,
        )
        for device in devices.by_id.values()
    ]
    cpus = [
        QomObject(path=cpu.path, kind=cpu_type(monitor), is_device=True)
        for cpu in devices.cpus
        if cpu.path is not None and cpu.id is None and "unattached" in cpu.path
    ]
    objects = [
        QomObject(path=f"/objects/{id}", kind=each.kind, properties=each.properties)
        for id, each in devices.objects.items()
    ]
    chardevs = [
        QomObject(path=f"/chardevs/{each['label']}", kind=f"chardev-{_backend(each['filename'])}")
        for each in list_chardevs(monitor)
    ]
    places = [
        _container(PERIPHERAL, [each for each in every if each.device and each.device.id]),
        _container(f"{PERIPHERAL}-anon", [e for e in every if e.device and not e.device.id]),
        _container("/machine/unattached", list(cpus)),
    ]
    return _container(
        "/",
        [
            _container("/chardevs", chardevs),
            _container("/machine", places, _machine_type(monitor)),
            _container("/objects", objects),
        ],
    )


def _backend(filename: str) -> str:
    kind = filename.partition(":")[0]
    return _BACKENDS.get(kind, kind)


def _all(root: QomObject) -> Iterator[QomObject]:
    yield root
    for child in root.children.values():
        yield from _all(child)


def _walk(start: QomObject, parts: list[str]) -> QomObject | None:
    found: QomObject | None = start
    for part in parts:
        found = None if found is None else found.children.get(part)
    return found


def find_object(monitor: Monitor, path: str) -> QomObject | None:
    """Return the object at a path; one that does not begin with a slash may begin anywhere, and be there once.

    Raises:
        AmbiguousPath: there are several.
    """
    parts = [part for part in path.split("/") if part]
    root = _tree(monitor)
    if path.startswith("/"):
        return _walk(root, parts)
    found = [each for start in _all(root) if (each := _walk(start, parts)) is not None]
    if len(found) > 1:
        raise AmbiguousPath(f"Path '{path}' is ambiguous")
    return found[0] if found else None


def _get(monitor: Monitor, path: str) -> QomObject:
    try:
        found = find_object(monitor, path)
    except AmbiguousPath:
        found = None
    if found is None:
        raise DeviceNotFound(f"Device '{path}' not found")
    return found


def _is_cpu(found: QomObject) -> bool:
    return found.kind.endswith("-x86_64-cpu")


def _properties(found: QomObject) -> dict[str, str]:
    """Return the types of the properties that an object has by name, but for its children."""
    known = properties_of(found.kind)
    if known is not None:
        return known
    given = dict.fromkeys(found.properties, "str")
    return {"type": "string", **(_OF_DEVICES if found.is_device else {}), **given}


#: What any device has.
_OF_DEVICES: Final = {
    "parent_bus": "link<bus>",
    "realized": "bool",
    "hotplugged": "bool",
    "hotpluggable": "bool",
}


@command()
def qom_list(monitor: Monitor, path: str) -> Any:
    """List the properties of an object, its children among them, but for what PCI devices are made of."""
    found = find_object(monitor, path)
    if found is None:
        raise DeviceNotFound(f"Device '{path}' not found")
    if _is_cpu(found):
        return cpu_properties()
    properties = _properties(found)
    if found.path == "/machine":
        properties |= {"rtc-time": "struct tm"}
    names = reversed(glib_order(found.children))
    children = [{"name": n, "type": f"child<{found.children[n].kind}>"} for n in names]
    return [*({"name": name, "type": kind} for name, kind in properties.items()), *children]


@command()
def qom_get(monitor: Monitor, path: str, property: str) -> Any:  # noqa: A002
    """Return the value of a property."""
    found = _get(monitor, path)
    if found.path == "/machine":
        return _get_of_machine(monitor, property)
    if _is_cpu(found):
        return cpu_value(cpu_type(monitor).removesuffix("-x86_64-cpu"), property)
    values = {**_values(monitor, found), "type": found.kind}
    if property in values:
        return values[property]
    if property in _properties(found):
        raise CommandError(f"{NOT_SIMULATED} qom-get of '{found.kind}.{property}'")
    raise CommandError(f"Property '{found.kind}.{property}' not found")


def _values(monitor: Monitor, found: QomObject) -> dict[str, Any]:
    """Return the values that are known of the properties of an object."""
    device = found.device
    if device is None:
        return found.properties
    values: dict[str, Any] = {
        **{n: v for n, v in settings_of(device.driver).items() if v not in (None, COMPUTED)},
        **device.properties,
        "hotplugged": device.is_hotplugged,
        "hotpluggable": True,
        "realized": True,
    }
    if device is find_balloon(monitor):
        values["guest-stats"] = guest_stats(monitor)
        values.setdefault(_INTERVAL, 0)
    for dimm in monitor.hypervisor.devices.dimms:
        if device.driver == "pc-dimm" and dimm.id == device.id:
            values |= {"addr": dimm.address, "size": dimm.size, "slot": dimm.slot, "node": 0}
            values["memdev"] = f"/objects/{dimm.memdev}"
    # Where it is on its bus is not known.
    unknown = ("addr", "legacy-addr") if device.driver != "pc-dimm" else ()
    return {name: value for name, value in values.items() if name not in unknown}


@command()
def qom_set(monitor: Monitor, path: str, property: str, value: Any) -> None:  # noqa: A002
    """Change a property: how often the guest is asked for the statistics of its memory, in seconds."""
    found = _get(monitor, path)
    kind = _properties(found).get(property)
    if found.path == "/machine" and property == "rtc-time":
        kind = "struct tm"
    if kind is None:
        raise CommandError(f"Property '{found.kind}.{property}' not found")
    if property in _FIXED or (found.kind == "pc-dimm" and property == "size"):
        raise CommandError(f"Property '{found.kind}.{property}' is not writable")
    device = found.device
    if device is not None and property in {*settings_of(device.driver)} - {*_LATE}:
        raise CommandError(_too_late(device, property))
    if property == "size" and found.kind.startswith("memory-backend-"):
        raise CommandError(f"cannot change property size of {found.kind} ")
    expected, name = _EXPECTED.get(kind, (object, ""))
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise CommandError(f"Invalid parameter type for '{property}', expected: {name}")
    if device is not None and device is find_balloon(monitor) and property == _INTERVAL:
        device.properties[_INTERVAL] = value
    elif not (property == "realized" and value is True):
        raise CommandError(f"{NOT_SIMULATED} qom-set of '{found.kind}.{property}'")


def _too_late(device: Device, name: str) -> str:
    """Return the error about a property that is set after a device was made (hw/core/qdev.c)."""
    backend = backend_of(device.driver)
    of_backend = backend != device.driver and name in settings_of(backend)
    kind = backend if of_backend else device.driver
    named = "anonymous device" if of_backend or device.id is None else f"device '{device.id}'"
    return f"Attempt to set property '{name}' on {named} (type '{kind}') after it was realized"


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
