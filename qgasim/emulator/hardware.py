"""The guest that a command line describes: what it says of the hardware is laid over a scenario's guest.

Processors and memory are those of the command line. Network interfaces and disks are matched in order
with those of the scenario: they keep their names, addresses and file systems there, and get the hardware
addresses, serial numbers and places on the bus of the command line. What it has beyond is added; network
interfaces that it does not have go.
"""

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Interface
from string import ascii_lowercase
from typing import Any, Final

from msgspec import structs

from qgasim.emulator.command_line import CommandLine, Property, parse_properties, parse_size
from qgasim.guest.hardware.devices import Disk, Memory
from qgasim.guest.hardware.network import Nic
from qgasim.guest.settings import GuestSettings

__all__ = ["lay_over"]

#: Drivers of network interfaces (``-device help`` of 7.2, its network devices).
NETWORK: Final = re.compile(
    r"virtio-net(-pci(-non-transitional|-transitional)?|-ccw|-device)?|e1000e?(-82\w+)?|rtl8139|ne2k_(isa|pci)"
    r"|pcnet|vmxnet3|i825\w+|igb|tulip|usb-net"
)
#: Drivers of disks: the bus they are on, and what the kernel's names for them begin with.
DISKS: Final[Mapping[str, tuple[str, str]]] = {
    "virtio-blk-pci": ("virtio", "vd"),
    "virtio-blk-pci-non-transitional": ("virtio", "vd"),
    "virtio-blk-pci-transitional": ("virtio", "vd"),
    "virtio-blk-device": ("virtio", "vd"),
    "scsi-hd": ("scsi", "sd"),
    "scsi-block": ("scsi", "sd"),
    "scsi-cd": ("scsi", "sr"),
    "ide-hd": ("sata", "sd"),
    "ide-cd": ("sata", "sr"),
    "usb-storage": ("usb", "sd"),
}  # fmt: skip
#: Major numbers of their devices (Linux, Documentation/admin-guide/devices.txt; virtio's is the first free one).
MAJORS: Final = {"vd": 254, "sd": 8, "sr": 11}
#: The interface that ``-drive`` puts a disk on by itself.
INTERFACES: Final = {"virtio": "virtio-blk-pci", "scsi": "scsi-hd", "ide": "ide-hd"}
#: What a disk holds of which no more is known: its image is a file of the host, which is not read.
SIZE: Final = 10 << 30
MAC: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_LOW: Final = (1 << 64) - 1
#: Bytes in a block of memory of x86-64's kernels, up to 64 GiB.
BLOCK: Final = 128 << 20


def lay_over(line: CommandLine, guest: GuestSettings) -> GuestSettings:
    """Return *guest* with the hardware of *line*; it is not changed itself."""
    return structs.replace(
        guest,
        vcpus=_vcpus(line, guest),
        memory=_memory(line, guest),
        nics=list(_nics(line, guest.nics)),
        disks=list(_disks(line, guest.disks)),
    )


def _vcpus(line: CommandLine, guest: GuestSettings) -> Any:
    if not line.has("smp"):
        return guest.vcpus
    there = guest.vcpus
    if isinstance(there, list) and len(there) >= line.vcpus:
        return there[: line.vcpus]
    return line.vcpus


def _memory(line: CommandLine, guest: GuestSettings) -> Memory:
    block = guest.memory.block_size if isinstance(guest.memory, Memory) else BLOCK
    return Memory(size=line.memory - line.memory % block, block_size=block)


def _nics(line: CommandLine, nics: list[Nic]) -> Iterator[Nic]:
    devices = [device for _, device in line.devices() if NETWORK.fullmatch(device["driver"])]
    devices += [nic for nic in line.properties("nic") if nic.get("type") != "none"]
    given = iter(devices)
    for nic in nics:
        if nic.name == "lo" or nic.mac is None or nic.is_made_of_others:
            yield nic
        elif device := next(given, None):
            yield _with_mac(nic, str(device.get("mac", nic.mac)))
    taken = {nic.name for nic in nics}
    free = (
        name for name in (f"eth{n}" for n in range(len(devices) + len(nics))) if name not in taken
    )
    for device in given:
        yield Nic(name=next(free), mac=str(device.get("mac", "auto")), addresses=["auto"])


def _with_mac(nic: Nic, mac: str) -> Nic:
    """Assign a hardware address to *nic*, and so the IPv6 addresses that are made of it (RFC 4291, A)."""
    if not (MAC.fullmatch(mac) and MAC.fullmatch(str(nic.mac))):
        return structs.replace(nic, mac=mac)
    old, new = _interface_id(str(nic.mac)), _interface_id(mac)
    addresses = [_with_interface_id(address, old, new) for address in nic.addresses]
    return structs.replace(nic, mac=mac.lower(), addresses=addresses)


def _interface_id(mac: str) -> int:
    octets = bytes.fromhex(mac.replace(":", ""))
    return int.from_bytes(bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]]), "big")


def _with_interface_id(address: str, old: int, new: int) -> str:
    try:
        interface = IPv6Interface(address)
    except ValueError:
        return address
    if int(interface) & _LOW != old:
        return address
    return IPv6Interface((int(interface) & ~_LOW | new, interface.network.prefixlen)).with_prefixlen


def _disks(line: CommandLine, disks: list[Disk]) -> Iterator[Disk]:
    given: dict[str, list[dict[str, Property]]] = {}
    for device in _disk_devices(line):
        given.setdefault(DISKS[device["driver"]][1], []).append(device)
    for disk in disks:
        kind = disk.name[:2]
        if given.get(kind):
            yield _with_device(disk, given[kind].pop(0))
        else:
            yield disk
    taken = {disk.name for disk in disks}
    for kind, devices in given.items():
        letters = [str(n) for n in range(100)] if kind == "sr" else _letters()
        names = (kind + letter for letter in letters if kind + letter not in taken)
        for device, name in zip(devices, names, strict=False):
            bus: Any = DISKS[device["driver"]][0]
            number = letters.index(name.removeprefix(kind))
            minor = number if kind == "sr" else 16 * number
            disk = Disk(name=name, bus=bus, size=_size(device), major=MAJORS[kind], minor=minor)
            yield _with_device(disk, device)


def _letters() -> list[str]:
    return [*ascii_lowercase, *(a + b for a in ascii_lowercase for b in ascii_lowercase)]


def _disk_devices(line: CommandLine) -> Iterator[dict[str, Property]]:
    """Yield what is a disk, as a device has it: those of ``-drive if=...`` without a device as well."""
    drives = {str(drive.get("id", "")): drive for drive in line.properties("drive")}
    for _, device in line.devices():
        if device["driver"] in DISKS:
            drive = drives.get(str(device.get("drive", "")), {})
            yield {**{k: drive[k] for k in ("serial", "size") if k in drive}, **device}
    for drive in drives.values():
        if driver := INTERFACES.get(str(drive.get("if", "ide"))):
            cd = drive.get("media") == "cdrom"
            yield {**drive, "driver": driver.replace("-hd", "-cd") if cd else driver}
    for option in ("hda", "hdb", "hdc", "hdd"):
        for image in line.values(option):
            yield {**parse_properties(image, "file"), "driver": "ide-hd"}


def _with_device(disk: Disk, device: Mapping[str, Property]) -> Disk:
    changes: dict[str, Any] = {}
    if "serial" in device:
        changes["serial"] = str(device["serial"])
    place = re.fullmatch(
        r"(?:0x)?([0-9a-f]{1,2})(?:\.(?:0x)?([0-7]))?", str(device.get("addr", ""))
    )
    if place and str(device.get("bus", "pci.0")) in ("pci.0", "pcie.0"):
        changes["pci"] = f"0000:00:{int(place[1], 16):02x}.{place[2] or 0}"
    for ours, theirs in (("channel", "channel"), ("target", "scsi-id"), ("unit", "lun")):
        if str(device.get(theirs, "")).isdigit():
            changes[ours] = int(str(device[theirs]))
    return structs.replace(disk, **changes)


def _size(device: Mapping[str, Property]) -> int:
    size = device.get("size")
    return SIZE if size is None else parse_size(str(size), "b")
