"""Commands about the disks and volumes of a Windows guest, freezing and trimming among them."""

import re
from typing import Final, Literal

from msgspec import structs

from qgasim.agent import Agent
from qgasim.commands.storage import (
    NO_PCI,
    DiskAddress,
    DiskInfo,
    FilesystemInfo,
    TrimResponse,
    TrimResult,
    pci_address,
)
from qgasim.errors import CommandError
from qgasim.guest.files.nodes import Volume
from qgasim.guest.hardware.devices import Bus, Disk, device_name, is_optical
from qgasim.guest.settings import MountSettings
from qgasim.guest.system.windows import volume_name
from qgasim.guest.units import SECOND
from qgasim.qapi.registry import WINDOWS, command

__all__: list[str] = []

# -- disks ---------------------------------------------------------------------------------------

#: Buses that Windows tells under another name. UNVERIFIED: virtio; its driver says SCSI.
_BUSES: Final[dict[Bus, Bus]] = {"virtio": "scsi", "xen": "scsi", "uml": "unknown"}
#: Where the path, target and unit are asked for (get_single_disk_info()).
_SCSI: Final = frozenset({"scsi", "ide", "raid", "sas"})


def _physical(agent: Agent) -> list[Disk]:
    """Return the disks that are hardware, in the order of their numbers."""
    return [
        disk
        for disk in agent.guest.disks
        if not disk.is_virtual and not disk.depends and not is_optical(disk)
    ]


def _address(agent: Agent, disk: Disk, dev: str) -> DiskAddress:
    bus = _BUSES.get(disk.bus, disk.bus)
    if bus == "nvme" and not agent.dialect.knows_nvme:
        bus = "unknown"
    has_place = bus in _SCSI
    return DiskAddress(
        NO_PCI if disk.pci is None else pci_address(disk),
        bus,
        disk.channel if has_place else 0,
        disk.target if has_place else 0,
        disk.unit if has_place else 0,
        disk.serial,
        dev,
    )


def _drive(number: int) -> str:
    return f"\\\\.\\PhysicalDrive{number}"


@command(name="guest-get-disks", since=(5, 2), platforms={"windows": (5, 2)})
def windows_get_disks(agent: Agent) -> list[DiskInfo]:
    """List the physical disks, the last one first. Partitions are not listed."""
    return [
        DiskInfo(
            name=_drive(number),
            partition=False,
            dependencies=None,
            address=_address(agent, disk, _drive(number)),
        )
        for number, disk in reversed(list(enumerate(_physical(agent))))
    ]


def _disks_of(agent: Agent, mount: MountSettings) -> list[DiskAddress]:
    """Return the disks that a volume is on, the last one first; none of a volume that is on none.

    A CD-ROM has no extents on disks: the volume stands for it (build_guest_disk_info(), "Try CD").
    UNVERIFIED: that its controller is not found, as it is looked for among disks.
    """
    wanted = {device_name(mount.device)}
    optical = next((d for d in agent.guest.disks if d.name in wanted and is_optical(d)), None)
    if optical is not None:
        address = _address(agent, optical, volume_name(mount).removesuffix("\\"))
        return [structs.replace(address, pci_controller=NO_PCI)]
    for disk in agent.guest.disks:
        if disk.name in wanted or any(part.name in wanted for part in disk.partitions):
            wanted |= {disk.name, *map(device_name, disk.depends)}
    return [
        _address(agent, disk, _drive(number))
        for number, disk in reversed(list(enumerate(_physical(agent))))
        if disk.name in wanted or any(part.name in wanted for part in disk.partitions)
    ]


# -- volumes -------------------------------------------------------------------------------------


def _volumes(agent: Agent) -> list[tuple[MountSettings, Volume]]:
    """Return the volumes, as FindFirstVolume() finds them: in the scenario's order."""
    guest = agent.guest
    _ = guest.files
    return [(m, guest.volumes[m.device]) for m in guest.settings.mounts if m.bind is None]


@command(name="guest-get-fsinfo", since=(2, 2), platforms=WINDOWS)
def windows_get_fsinfo(agent: Agent) -> list[FilesystemInfo]:
    """List the volumes, the last one first. One without a mount point has no sizes before 10.2."""
    has_sizes = agent.dialect.sizes_all_volumes
    return [
        FilesystemInfo(
            volume_name(mount),
            mount.path or "System Reserved",
            # What a scenario leaves open is Linux' usual one.
            "NTFS" if mount.type == "ext4" else mount.type,
            volume.used if mount.path or has_sizes else None,
            volume.size if mount.path or has_sizes else None,
            None,
            _disks_of(agent, mount),
        )
        for mount, volume in reversed(_volumes(agent))
    ]


#: The kernels before that of Windows 8.
_BEFORE_8: Final = frozenset({"5.0", "5.1", "5.2", "6.0", "6.1"})


@command(name="guest-fstrim", since=(1, 2), platforms=WINDOWS)
def windows_fstrim(agent: Agent, minimum: int = 0) -> TrimResponse:
    """Run ``defrag.exe /L`` on each volume that has a mount point; *minimum* is not looked at."""
    if agent.guest.settings.os.kernel_version in _BEFORE_8:
        raise CommandError("fstrim is only supported for Win8+")
    return TrimResponse(
        [_trim(mount, volume) for mount, volume in reversed(_volumes(agent)) if mount.path]
    )


#: A drive's letter; what is mounted elsewhere is in a directory.
_DRIVE: Final = re.compile(r"[A-Za-z]:\\?")


def _trim(mount: MountSettings, volume: Volume) -> TrimResult:
    if not _DRIVE.fullmatch(mount.path):
        # As reported of a volume that is mounted in a directory.
        text = "The given volume path is invalid. (0x89000001)"
        return TrimResult(path=mount.path, error=text)
    if not volume.can_trim:
        # The line of defrag's output that has "(0x" in it.
        text = (
            "The volume optimization operation requested is not supported by the hardware backing "
            "the volume. (0x8900002A)"
        )
        return TrimResult(path=mount.path, error=text)
    volume.trim()
    return TrimResult(path=mount.path)


# -- freezing (qga/vss-win32/requester.cpp) --------------------------------------------------------

#: How long VSS holds writes back (ns).
HOLD_TIME: Final = 10 * SECOND
#: Whether the process has asked for a snapshot that is not yet done.
_SNAPSHOT: Final = "has a snapshot under way"


def _check_vss(agent: Agent) -> None:
    if not agent.guest.settings.os.has_vss:
        raise CommandError(agent.dialect.no_vss_text)


@command(name="guest-fsfreeze-status", since=(0, 15), while_frozen=True, platforms=WINDOWS)
def windows_fsfreeze_status(agent: Agent) -> Literal["thawed", "frozen"]:
    """Return whether the agent has asked for a snapshot, though writes may go on again."""
    _check_vss(agent)
    return "frozen" if agent.is_frozen else "thawed"


@command(name="guest-fsfreeze-freeze", since=(0, 15), platforms=WINDOWS)
def windows_fsfreeze_freeze(agent: Agent) -> int:
    """Make VSS hold back writes to all volumes, for ten seconds at most; return how many volumes."""
    return _freeze(agent, None)


@command(name="guest-fsfreeze-freeze-list", since=(2, 2), platforms=WINDOWS)
def windows_fsfreeze_freeze_list(agent: Agent, mountpoints: list[str] | None = None) -> int:
    r"""Make VSS hold back writes to the volumes at *mountpoints*, as in ``D:\``; return how many volumes.

    An empty list means all volumes. UNVERIFIED: whether 3.1 has the command on Windows.
    """
    return _freeze(agent, mountpoints)


def _freeze(agent: Agent, mountpoints: list[str] | None) -> int:
    _check_vss(agent)
    chosen = _volumes(agent)
    if mountpoints:
        chosen = [_find_volume(agent, chosen, name) for name in mountpoints]
    for mount, volume in chosen:
        if volume.freeze_error:
            name = mount.path or volume_name(mount)
            raise _not_added(agent, name, _NOT_SUPPORTED)
    for _, volume in chosen:
        volume.is_frozen = True
    agent.state.known[_SNAPSHOT] = True
    agent.freeze()
    started = agent.frozen_since

    def let_go() -> None:
        if agent.frozen_since == started:
            agent.guest.thaw()

    agent.guest.call_at(started + HOLD_TIME, let_go)
    return len(chosen)


def _find_volume(
    agent: Agent, volumes: list[tuple[MountSettings, Volume]], name: str
) -> tuple[MountSettings, Volume]:
    for mount, volume in volumes:
        if name.casefold() in (mount.path.casefold(), volume_name(mount).casefold()):
            return mount, volume
    raise _not_added(agent, name, _NOT_FOUND)


#: VSS_E_OBJECT_NOT_FOUND. UNVERIFIED: that it is this one; Microsoft's page on AddToSnapshotSet() says so.
_NOT_FOUND: Final = 0x8004_2308
#: VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER, as in the patch that told numbers.
_NOT_SUPPORTED: Final = 0x8004_230E
#: VSS_E_HOLD_WRITES_TIMEOUT
_TOO_LATE: Final = 0x8004_2314


def _failed(agent: Agent, what: str, number: int) -> CommandError:
    """Make an error of VSS.

    UNVERIFIED: that Windows has no words for any of these numbers, so that nothing stands at the end.
    """
    return CommandError(f"{what}: {agent.dialect.vss_error_text.format(number)}")


def _not_added(agent: Agent, name: str, number: int) -> CommandError:
    """Make the error of a volume that VSS does not take."""
    return _failed(agent, f"failed to add {name} to snapshot set", number)


@command(name="guest-fsfreeze-thaw", since=(0, 15), while_frozen=True, platforms=WINDOWS)
def windows_fsfreeze_thaw(agent: Agent) -> int:
    """End the snapshot; return how many volumes were held.

    After ten seconds that is an error, but thawed they are. An agent that was started anew in between
    knows of no snapshot.
    """
    _check_vss(agent)
    is_ours = agent.state.known.pop(_SNAPSHOT, False)
    is_late = is_ours and agent.guest.clock.uptime() - agent.frozen_since >= HOLD_TIME
    count = agent.guest.thaw()
    agent.thaw()
    if is_late:
        # As in a report on qemu-devel.
        what = "couldn't hold writes: fsfreeze is limited up to 10 seconds"
        raise _failed(agent, what, _TOO_LATE)
    return count if is_ours else 0
