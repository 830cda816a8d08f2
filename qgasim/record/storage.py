"""Disks and mounted file systems, as far as an agent tells of them."""

import re
from collections.abc import Iterator
from typing import Any, Final

from msgspec import structs

from qgasim.guest.hardware.devices import Disk, DiskStats, NvmeSmart, Partition
from qgasim.guest.settings import ExactUse, GuestSettings, MountSettings
from qgasim.record.survey import Survey, object_in, objects_in

__all__ = ["make_posix_storage", "make_windows_storage"]

#: Static major numbers (Linux, Documentation/admin-guide/devices.txt); others are given as modules are loaded.
_MAJORS: Final = {"loop": 7, "sd": 8, "md": 9, "sr": 11}
_MIB: Final = 1 << 20


def make_posix_storage(guest: GuestSettings, survey: Survey) -> None:
    """Set the guest's disks and file systems from a survey."""
    systems = survey.objects("guest-get-fsinfo")
    listed = survey.objects("guest-get-disks")
    if systems is None and listed is None:
        return
    disks = _Disks()
    for entry in listed or []:
        disks.add_listed(entry)
    for system in systems or []:
        disks.add_mounted(system)
    for row in survey.objects("guest-get-diskstats") or []:
        disks.add_stats(row)
    guest.disks = disks.in_order()
    if systems is not None:
        guest.mounts = list(_mounts(guest, systems))


class _Disks:
    """The disks that are known, by name."""

    def __init__(self) -> None:
        self._disks: dict[str, Disk] = {}
        self._order: list[str] = []

    def add_listed(self, entry: dict[str, Any]) -> None:
        """Add an entry of guest-get-disks; partitions come before their disk."""
        name = _bare(entry.get("name"))
        dependencies: list[object] = entry.get("dependencies") or []
        below = [_bare(each) for each in dependencies]
        if entry.get("partition"):
            for each in below:
                self._add_partition(each, name)
            return
        disk = self._disk(name)
        disk.depends = below
        disk.alias = entry.get("alias")
        address = entry.get("address")
        if address is None:
            disk.bus, disk.is_virtual = "unknown", not below
        else:
            _take_address(disk, address)
        if "smart" in entry:
            members = {key.replace("-", "_"): each for key, each in entry["smart"].items()}
            members.pop("type", None)
            disk.smart = NvmeSmart(**members)

    def add_mounted(self, system: dict[str, Any]) -> None:
        """Add the device of an entry of guest-get-fsinfo, and the disks that it is on."""
        name = str(system.get("name"))
        addresses = objects_in(system.get("disk"))
        under = [_bare(each.get("dev")) if each.get("dev") else name for each in addresses]
        for block, address in zip(under, addresses, strict=True):
            if self._find(block) is None:
                owner = _whole_disk(block)
                _take_address(self._disk(owner), address)
                if owner != block:
                    self._add_partition(owner, block)
        if self._find(name) is None:
            disk = self._disk(name)
            disk.bus, disk.depends, disk.is_virtual = "unknown", under, not under
        size = system.get("total-bytes-privileged") or system.get("total-bytes") or 0
        self._make_room(name, -(-size // _MIB) * _MIB)

    def _make_room(self, name: str, size: int) -> None:
        """Let a device, and what alone is below it, be as large as the file system on it: no agent tells sizes."""
        disk = self._find(name)
        if disk is None:
            return
        part = next((each for each in disk.partitions if each.name == name), None)
        if part is not None:
            part.size = max(part.size, size)
            size = sum(each.size for each in disk.partitions)
        if size <= disk.size:
            # A circle of devices ends here, too.
            return
        disk.size = size
        if len(disk.depends) == 1 and part is None:
            self._make_room(disk.depends[0], size)

    def add_stats(self, row: dict[str, Any]) -> None:
        """Add a row of guest-get-diskstats, of a device that is known."""
        name = row.get("name")
        disk = self._find(name) if isinstance(name, str) else None
        if disk is None or name is None:
            return
        stats = DiskStats(**{key.replace("-", "_"): each for key, each in row["stats"].items()})
        if name == disk.name:
            disk.stats, disk.major, disk.minor = stats, row["major"], row["minor"]
            self._order.append(name)
        else:
            next(part for part in disk.partitions if part.name == name).stats = stats

    def in_order(self) -> list[Disk]:
        """Return the disks, in the kernel's order as far as it is known."""
        rest = sorted((name for name in self._disks if name not in self._order), key=_natural)
        for number, name in enumerate(rest):
            disk = self._disks[name]
            disk.major = _MAJORS.get(re.sub(r"\d+$|(?<=^sd).*", "", name), disk.major)
            disk.minor = 16 * number
        for disk in self._disks.values():
            disk.partitions.sort(key=lambda part: _natural(part.name))
        return [self._disks[name] for name in dict.fromkeys((*self._order, *rest))]

    def _disk(self, name: str) -> Disk:
        return self._disks.setdefault(name, Disk(name=name))

    def _find(self, name: str) -> Disk | None:
        """Find the disk that *name* is, or is a partition of."""
        if name in self._disks:
            return self._disks[name]
        return next(
            (d for d in self._disks.values() if any(p.name == name for p in d.partitions)), None
        )

    def _add_partition(self, disk: str, name: str) -> None:
        partitions = self._disk(disk).partitions
        if all(part.name != name for part in partitions):
            partitions.append(Partition(name=name))


def _bare(path: object) -> str:
    return str(path).removeprefix("/dev/")


def _whole_disk(name: str) -> str:
    """Return the disk that a partition is of (Linux, block/partitions/core.c: a ``p`` follows a digit)."""
    found = re.fullmatch(r"(.*\d)p\d+|(.*\D)\d+", name)
    return name if found is None else found[1] or found[2]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _take_address(disk: Disk, address: dict[str, Any]) -> None:
    """Set a disk's place as a ``GuestDiskAddress`` tells."""
    pci = object_in(address.get("pci-controller"))
    if pci.get("domain", -1) >= 0:
        disk.pci = f"{pci['domain']:04x}:{pci['bus']:02x}:{pci['slot']:02x}.{pci['function']:x}"
    disk.bus = address.get("bus-type", "unknown")
    if disk.name.startswith("nvme"):
        # Before 6.0 (Linux) and 8.1 (Windows) agents did not know it.
        disk.bus = "nvme"
    disk.channel, disk.target, disk.unit = (
        address.get(key, 0) for key in ("bus", "target", "unit")
    )
    disk.serial = address.get("serial")
    if ccw := object_in(address.get("ccw-address")):
        subchannel = f"{ccw['cssid']:x}.{ccw['ssid']:x}.{ccw['subchno']:04x}"
        disk.ccw = f"{subchannel}/0.0.{ccw['devno']:04x}"


def _mounts(guest: GuestSettings, systems: list[dict[str, Any]]) -> Iterator[MountSettings]:
    """Yield what is mounted: what guest-get-fsinfo lists, the latest first, and the base's without a device."""
    listed = systems[::-1]
    if not any(system.get("mountpoint") == "/" for system in listed):
        # What has no device is not listed, as the root of a container.
        yield structs.replace(guest.mounts[0], device="rootfs", path="/", type="rootfs", used=0)
    before = {(mount.path, mount.type): mount.options for mount in guest.mounts}
    others = [mount for mount in guest.mounts[1:] if not mount.device.startswith("/dev/")]
    paths = {system.get("mountpoint") for system in listed}
    first: dict[str, MountSettings] = {}
    for number, system in enumerate(listed):
        mount = _mount(f"/dev/{system['name']}", system, first)
        # Agents do not tell options.
        mount.options = before.get((mount.path, mount.type), mount.options)
        yield mount
        first.setdefault(mount.device, mount)
        if number == 0:
            yield from (other for other in others if other.path not in paths)


def _mount(device: str, system: dict[str, Any], first: dict[str, MountSettings]) -> MountSettings:
    path, kind = str(system["mountpoint"]), str(system["type"])
    if device in first:
        if kind == first[device].type == "btrfs":
            return MountSettings(device=device, path=path, type=kind)
        return MountSettings(device=device, path=path, bind=first[device].path)
    mount = MountSettings(device=device, path=path, type=kind)
    _take_sizes(mount, system)
    return mount


def _take_sizes(mount: MountSettings, system: dict[str, Any]) -> None:
    if "total-bytes" in system:
        mount.size = system["total-bytes"]
        mount.reserved = max(system.get("total-bytes-privileged", mount.size) - mount.size, 0)
    if "used-bytes" in system:
        mount.used = ExactUse(exactly=system["used-bytes"])


# -- Windows ---------------------------------------------------------------------------------------

_DRIVE: Final = re.compile(r"\\\\\.\\PhysicalDrive(\d+)")
_VOLUME: Final = re.compile(r"\\\\\?\\Volume\{([0-9A-Fa-f-]{36})\}\\?")


def make_windows_storage(guest: GuestSettings, survey: Survey) -> None:
    """Set the guest's disks and volumes from a survey."""
    systems = survey.objects("guest-get-fsinfo")
    disks: dict[int, Disk] = {}
    for entry in survey.objects("guest-get-disks") or []:
        _add_drive(disks, entry.get("name"), object_in(entry.get("address")))
    for system in systems or []:
        for address in objects_in(system.get("disk")):
            _add_drive(disks, address.get("dev"), address)
    optical: list[Disk] = []
    mounts = [_volume(system, disks, optical) for system in (systems or [])[::-1]]
    if disks or optical:
        guest.disks = [*(disks[number] for number in sorted(disks)), *optical]
    if mounts:
        guest.mounts = mounts


def _add_drive(disks: dict[int, Disk], dev: object, address: dict[str, Any]) -> None:
    found = _DRIVE.fullmatch(str(dev))
    if found is not None and int(found[1]) not in disks:
        disk = disks[int(found[1])] = Disk(name=f"sd{_letters(int(found[1]))}")
        _take_address(disk, address)


def _letters(number: int) -> str:
    """Return what Linux calls the disk of a number: ``a``, ..., ``z``, ``aa`` (sd_format_disk_name())."""
    text = ""
    while number >= 0:
        number, rest = divmod(number, 26)
        text = chr(ord("a") + rest) + text
        number -= 1
    return text


def _volume(system: dict[str, Any], disks: dict[int, Disk], optical: list[Disk]) -> MountSettings:
    name = str(system.get("name"))
    place = system.get("mountpoint")
    addresses = objects_in(system.get("disk"))
    drives = [found for each in addresses if (found := _DRIVE.fullmatch(str(each.get("dev"))))]
    if drives:
        disk = disks[int(drives[0][1])]
        part = Partition(
            name=f"{disk.name}{len(disk.partitions) + 1}", size=system.get("total-bytes", 0)
        )
        disk.partitions.append(part)
        disk.size = sum(each.size for each in disk.partitions)
        device = f"/dev/{part.name}"
    elif addresses:
        # The volume stands for a CD-ROM.
        disk = Disk(name=f"sr{len(optical)}", size=system.get("total-bytes", 0))
        _take_address(disk, addresses[0])
        optical.append(disk)
        device = f"/dev/{disk.name}"
    else:
        device = name
    found = _VOLUME.fullmatch(name)
    mount = MountSettings(
        device=device,
        path="" if place == "System Reserved" else str(place),
        type=str(system.get("type")),
        volume=found[1] if found else None,
    )
    _take_sizes(mount, system)
    return mount
