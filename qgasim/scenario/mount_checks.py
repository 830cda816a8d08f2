"""What must hold of disks and mounted file systems together."""

from collections.abc import Iterator
from typing import Final

from msgspec import structs

from qgasim.guest.hardware.devices import Disk, device_name, find_block, mount_source
from qgasim.guest.settings import GuestSettings, MountSettings
from qgasim.scenario.checks import Wrong
from qgasim.suggestions import did_you_mean

__all__ = ["check_depends", "check_devices", "check_shared_devices"]

#: Settings of a file system, which have no effect where another one is shown.
_OF_FILE_SYSTEM: Final = (
    "size", "reserved", "used", "block_size", "freeze_error", "trim_error", "volume",
)  # fmt: skip
_DEFAULTS: Final = {field.name: field.default for field in structs.fields(MountSettings)}


def check_depends(guest: GuestSettings) -> Wrong:
    """Check that what disks depend on is there, and that none depends on itself."""
    known = names_of(guest.disks)
    for index, disk in enumerate(guest.disks):
        for number, name in enumerate(disk.depends):
            if device_name(name) not in known:
                text = f"no disk or partition is called '{name}'{did_you_mean(name, known)}"
                yield f"disks[{index}].depends[{number}]", text
        if disk.name in _below(guest.disks, disk, ()):
            yield f"disks[{index}].depends", f"'{disk.name}' depends on itself"


def _below(disks: list[Disk], disk: Disk, above: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of the disks that *disk* depends on, directly or not; a circle ends."""
    for name in disk.depends:
        block = find_block(disks, name)
        if block is not None:
            yield block.disk.name
            if block.disk.name not in above:
                yield from _below(disks, block.disk, (*above, block.disk.name))


def names_of(disks: list[Disk]) -> set[str]:
    """Return the names and aliases of disks and partitions."""
    known = {name for disk in disks for name in (disk.name, disk.alias) if name}
    return known | {part.name for disk in disks for part in disk.partitions}


def check_devices(guest: GuestSettings) -> Wrong:
    """Check that the devices that are mounted are there."""
    if guest.mounts == GuestSettings(os=guest.os).mounts:
        return
    known = names_of(guest.disks)
    for index, mount in enumerate(guest.mounts):
        device = device_name(mount.device)
        if mount.device.startswith("/dev/") and device not in known:
            hint = did_you_mean(device, known)
            yield f"mounts[{index}].device", f"no disk or partition is called '{device}'{hint}"


def check_shared_devices(guest: GuestSettings) -> Wrong:
    """Check the settings of a mount that shows a file system which is mounted elsewhere, too."""
    seen: list[MountSettings] = []
    for index, written in enumerate(guest.mounts):
        at = f"mounts[{index}]"
        mount = structs.replace(written, device=mount_source(guest.disks, written.device))
        if mount.bind is not None:
            yield from _without_effect(mount, at, "beside 'bind'", ("type", *_OF_FILE_SYSTEM))
            shown = _mount_of(mount.bind, seen)
            if guest.os.family != "windows" and shown and shown.device != mount.device:
                text = (
                    f"expected '{shown.device}', on which {mount.bind} is, found '{mount.device}'"
                )
                yield f"{at}.device", text
        elif guest.os.family != "windows" and mount.device.startswith("/dev/"):
            first = next((m for m in seen if m.device == mount.device and m.bind is None), None)
            if first is not None and first.type == mount.type == "btrfs":
                text = f"in a subvolume of the file system at {first.path}"
                yield from _without_effect(mount, at, text, _OF_FILE_SYSTEM)
            elif first is not None:
                text = f"'{mount.device}' is mounted at {first.path} already (bind: {first.path} shows it"
                yield f"{at}.device", f"{text} here, too; subvolumes have type: btrfs)"
        seen.append(mount)


def _without_effect(mount: MountSettings, at: str, where: str, names: tuple[str, ...]) -> Wrong:
    for name in names:
        if getattr(mount, name) != _DEFAULTS[name]:
            yield f"{at}.{name}", f"has no effect {where}"


def _mount_of(path: str, mounts: list[MountSettings]) -> MountSettings | None:
    """Return the file system that *path* is on; a bound one's device is that of what it shows."""
    inside = [m for m in mounts if f"{path}/".startswith(m.path.rstrip("/") + "/")]
    return max(inside, key=lambda mount: len(mount.path), default=None)
