"""What QEMU refuses of any device before it looks at what the device is (softmmu/qdev-monitor.c, hw/core/qdev*.c).

What types there are, and which properties they have, is as it was recorded of QEMU 7.2.22.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from qgasim.errors import CommandError
from qgasim.qapi.registry import Arguments
from qgasim.qmp.commands.capabilities import ancestors, is_abstract, properties_of
from qgasim.qmp.devices import Device, Devices
from qgasim.qmp.identifiers import check_identifier
from qgasim.qmp.monitor import Monitor
from qgasim.wire import hash_order, is_array, is_object

__all__ = ["backend_of", "bus_of_port", "make_device"]

#: Other names of drivers on machines with PCI (qdev_alias_table).
_ALIASES: Final = {
    f"virtio-{kind}": f"virtio-{kind}-pci"
    for kind in ("9p", "balloon", "blk", "gpu", "net", "rng", "scsi", "serial")
}
#: The type of bus that devices of a type are plugged into.
_BUSES: Final = {
    "pci-device": "PCI",
    "virtio-device": "virtio-bus",
    "usb-device": "usb-bus",
    "scsi-device": "SCSI",
    "isa-device": "ISA",
    "ide-device": "IDE",
    "virtio-serial-port": "virtio-serial-bus",
}
#: The types of bus that a device of a driver has; its bus is ``ID.0``, or has the id of a bridge.
_HAS_BUS: Final = {
    "virtio-serial-pci": "virtio-serial-bus",
    "virtio-scsi-pci": "SCSI",
    "qemu-xhci": "usb-bus",
    "usb-ehci": "usb-bus",
    "pci-bridge": "PCI",
}
#: What is there already, and takes nothing while the machine is on.
_FIXED: Final = {"ISA": "isa.0", "IDE": "ide.1"}
#: Drivers that 7.2 does not have, and a later release has.
_LATER: Final = ("igb",)
#: What is made with the machine only; recorded.
_NOT_PLUGGABLE: Final = ("i440FX", "vmgenid")
_BITS: Final = re.compile(r"(u?)int(8|16|32|64)$")
_WORDS: Final = {
    "on": True, "yes": True, "true": True, "y": True, "off": False, "no": False, "false": False, "n": False,
}  # fmt: skip
_SLOT: Final = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,2})(?:\.([0-7]))?")
SLOTS: Final = 32


def make_device(monitor: Monitor, arguments: Arguments) -> Device:
    """Return the device that ``device_add`` asks for.

    Raises:
        CommandError: there is no such driver, no bus for it, or a property is wrong.
    """
    devices = monitor.hypervisor.devices
    id = arguments.get("id")
    if isinstance(id, str):
        check_identifier("id", id)
    given = arguments.get("driver")
    if given is None or is_array(given) or is_object(given):
        raise CommandError("Parameter 'driver' is missing")
    driver = _ALIASES.get(str(given), str(given))
    _check_driver(driver)
    if devices.board is None:
        _check_bus(devices, driver, arguments.get("bus"))
    if monitor.hypervisor.migration.is_under_way:
        raise CommandError("device_add not allowed while migrating")
    device = Device(id=id if isinstance(id, str) else None, driver=driver, is_hotplugged=True)
    if device.id is not None and device.id in devices.by_id:
        # UNVERIFIED: the words of 10.0 and 11.1.
        raise CommandError(f"Duplicate device ID '{device.id}'")
    known = properties_of(driver)
    rest = [name for name in arguments if name not in ("driver", "id")]
    for name in hash_order(rest):
        kind = "any" if name == "bus" or known is None else known.get(name)
        # Other releases may have others.
        if kind is None and monitor.release.has_recorded_types:
            raise CommandError(f"Property '{driver}.{name}' not found")
        device.properties[name] = _read(device, name, kind or "any", arguments[name])
    if devices.board is None and _bus_type(driver) == "PCI":
        _check_slot(devices, device)
    return device


def _check_slot(devices: Devices, device: Device) -> None:
    """Refuse a PCI device where another was plugged in (hw/pci/pci.c)."""

    def place(each: Device) -> tuple[str, int, int] | None:
        found = _SLOT.fullmatch(str(each.properties.get("addr", "")))
        bus = each.properties.get("bus", "pci.0")
        return found and (bus, int(found[1], 16), int(found[2] or "0"))

    wanted = place(device)
    other = next((d for d in devices.by_id.values() if wanted and place(d) == wanted), None)
    if wanted is not None and other is not None:
        user = f"{other.driver},id={other.id}" if other.id else other.driver
        text = f"PCI: slot {wanted[1]} function {wanted[2]} not available for {device.driver}"
        raise CommandError(f"{text}, in use by {user}")


def _check_driver(driver: str) -> None:
    types = list(ancestors(driver))
    if "device" not in types and driver not in _LATER:
        raise CommandError(f"'{driver}' is not a valid device model name")
    if types and is_abstract(driver):
        raise CommandError("Parameter 'driver' expects a non-abstract device type")
    if "sys-bus-device" in types or driver in _NOT_PLUGGABLE:
        raise CommandError("Parameter 'driver' expects a pluggable device type")


def _bus_type(driver: str) -> str | None:
    return next((_BUSES[each] for each in ancestors(driver) if each in _BUSES), None)


def _check_bus(devices: Devices, driver: str, wanted: Any) -> None:
    """Refuse a device for which there is no bus, or that cannot be on the one that it is to be on."""
    buses = {"pci.0": "PCI", **{name: kind for kind, name in _FIXED.items()}}
    buses |= {name: _HAS_BUS[each.driver] for name, each in _buses(devices)}
    kind = _bus_type(driver)
    if isinstance(wanted, str):
        if wanted not in buses:
            raise CommandError(f"Bus '{wanted}' not found")
        if kind != buses[wanted]:
            text = f"Device '{driver}' can't go on {buses[wanted]} bus"
            raise CommandError(text)
    elif kind is not None and kind not in buses.values():
        raise CommandError(f"No '{kind}' bus found for device '{driver}'")
    if kind in _FIXED:
        raise CommandError(f"Bus '{_FIXED[kind]}' does not support hotplugging")


def _buses(devices: Devices) -> Iterator[tuple[str, Device]]:
    """Yield the names of buses, each with the device that has it (hw/core/bus.c, qbus_init_internal())."""
    counts = Counter[str]()
    for each in devices.by_id.values():
        kind = _HAS_BUS.get(each.driver)
        if kind is None:
            continue
        if each.id is None:
            yield f"{kind.lower()}.{counts[kind]}", each
            counts[kind] += 1
        else:
            yield each.id if each.driver == "pci-bridge" else f"{each.id}.0", each


def _read(device: Device, name: str, kind: str, value: Any) -> Any:
    """Return a value as a property of a type has it: all come as text, too (the keyval visitor)."""
    text = {True: "on", False: "off"}.get(value, str(value)) if type(value) is bool else str(value)
    if name == "addr" and kind == "int32":
        found = _SLOT.fullmatch(text)
        if found is None or int(found[1], 16) >= SLOTS:
            raise CommandError(f"Property '{device.driver}.addr' doesn't take value '{text}'")
        return text
    if bits := _BITS.match(kind):
        return _read_integer(name, text, int(bits[2]), is_signed=not bits[1])
    if kind == "bool":
        if text not in _WORDS:
            raise CommandError(f"Parameter '{name}' expects 'on' or 'off'")
        return _WORDS[text]
    return text if kind in ("str", "OnOffAuto") else value


def _read_integer(name: str, text: str, bits: int, *, is_signed: bool) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        raise CommandError(f"Parameter '{name}' expects integer") from None
    low, high = (-(1 << bits - 1), 1 << bits - 1) if is_signed else (0, 1 << bits)
    if not low <= number < high:
        raise CommandError(f"Parameter '{name}' expects {'' if is_signed else 'u'}int{bits}_t")
    return number


def backend_of(driver: str) -> str:
    """Return the type whose property errors name: of a virtio device, what is behind its PCI device."""
    found = re.fullmatch(r"(virtio-\w+)-pci(-(non-)?transitional)?", driver)
    return f"{found[1]}-device" if found else driver


def bus_of_port(devices: Devices, port: Device) -> str:
    """Return the bus of a port of virtio-serial: by default the first one."""
    first = next((n for n, d in _buses(devices) if d.driver.startswith("virtio-serial-pci")), "")
    return str(port.properties.get("bus", first))
