"""Commands about disks and file systems, freezing and trimming among them."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Final, Literal

from msgspec import Struct

from qgasim.agent import Agent
from qgasim.commands.running import run, run_helper
from qgasim.errors import CommandError
from qgasim.guest.files.tree import Mount
from qgasim.guest.hardware.devices import (
    Block,
    Bus,
    Disk,
    DiskStats,
    NvmeSmart,
    Partition,
    find_block,
)
from qgasim.guest.hardware.sysfs import directory_order
from qgasim.qapi.annotations import Between, Exact, Names, Since, Statistic, UInt64, ValueSince
from qgasim.qapi.registry import LINUX, Family, Version, command

__all__ = [
    "NO_PCI",
    "DiskAddress",
    "DiskInfo",
    "FilesystemInfo",
    "TrimResponse",
    "TrimResult",
    "begin_freezing",
    "end_freezing",
    "give_up_freezing",
    "pci_address",
    "run_hook",
    "thaw",
]


class PciAddress(Struct, frozen=True):
    """QAPI ``GuestPCIAddress``; -1 in each member if the disk is not on PCI."""

    domain: int
    bus: int
    slot: int
    function: int


class CcwAddress(Struct, frozen=True):
    """QAPI ``GuestCCWAddress``."""

    cssid: int
    ssid: int
    subchno: int
    devno: int


class DiskAddress(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestDiskAddress``."""

    pci_controller: PciAddress
    bus_type: Annotated[Bus, ValueSince("nvme", (7, 1))]
    bus: int
    target: int
    unit: int
    serial: Annotated[str, Since((3, 1))] | None
    dev: Annotated[str, Names("block device", prefix="/dev/"), Since((3, 1))] | None
    ccw_address: Annotated[CcwAddress, Since((6, 0))] | None = None


class Smart(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestDiskSmart`` of an NVMe disk."""

    type: Annotated[Literal["nvme"], Exact()]
    critical_warning: int
    temperature: int
    available_spare: int
    available_spare_threshold: int
    percentage_used: int
    data_units_read_lo: UInt64
    data_units_read_hi: UInt64
    data_units_written_lo: UInt64
    data_units_written_hi: UInt64
    host_read_commands_lo: UInt64
    host_read_commands_hi: UInt64
    host_write_commands_lo: UInt64
    host_write_commands_hi: UInt64
    controller_busy_time_lo: UInt64
    controller_busy_time_hi: UInt64
    power_cycles_lo: UInt64
    power_cycles_hi: UInt64
    power_on_hours_lo: UInt64
    power_on_hours_hi: UInt64
    unsafe_shutdowns_lo: UInt64
    unsafe_shutdowns_hi: UInt64
    media_errors_lo: UInt64
    media_errors_hi: UInt64
    number_of_error_log_entries_lo: UInt64
    number_of_error_log_entries_hi: UInt64


class DiskInfo(Struct, frozen=True, kw_only=True):
    """QAPI ``GuestDiskInfo``."""

    name: Annotated[str, Names("block device", "lists", prefix="/dev/")]
    partition: bool
    dependencies: list[Annotated[str, Names("block device", prefix="/dev/")]] | None
    address: DiskAddress | None = None
    alias: str | None = None
    smart: Annotated[Smart, Since((7, 1))] | None = None


class FilesystemInfo(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestFilesystemInfo``."""

    name: Annotated[str, Names("block device", "mentions")]
    mountpoint: Annotated[str, Names("mount point", "lists", is_argument=True)]
    type: str
    used_bytes: Annotated[UInt64, Between(0, "total-bytes"), Since((3, 0))] | None
    total_bytes: (
        Annotated[UInt64, Between("used-bytes", "total-bytes-privileged"), Since((3, 0))] | None
    )
    total_bytes_privileged: Annotated[UInt64, Between("total-bytes"), Since((9, 1))] | None
    disk: list[DiskAddress]


NO_PCI: Final = PciAddress(-1, -1, -1, -1)


def pci_address(disk: Disk) -> PciAddress:
    """Return the address of a disk's controller."""
    if disk.pci is None:
        return NO_PCI
    domain, bus, rest = disk.pci.split(":")
    slot, function = rest.split(".")
    return PciAddress(int(domain, 16), int(bus, 16), int(slot, 16), int(function, 16))


def _address(agent: Agent, disk: Disk, dev: str) -> DiskAddress:
    if disk.bus == "nvme" and not agent.dialect.knows_nvme:
        return DiskAddress(NO_PCI, "unknown", 0, 0, 0, disk.serial, dev)
    return DiskAddress(
        pci_address(disk),
        disk.bus,
        disk.channel,
        disk.target,
        disk.unit,
        disk.serial,
        dev,
        _ccw_address(disk),
    )


def _addresses(agent: Agent, disk: Disk, dev: str) -> list[DiskAddress]:
    """Return the address of a disk; nothing if the release does not know its driver."""
    if disk.bus == "nvme" and not agent.dialect.lists_nvme:
        return []
    return [_address(agent, disk, dev)]


def _ccw_address(disk: Disk) -> CcwAddress | None:
    """Read the path in sysfs, as build_guest_fsinfo_for_ccw_dev() does: all but the device's own ids."""
    if disk.ccw is None:
        return None
    subchannel, _, device = disk.ccw.partition("/")
    cssid, ssid, subchno = (int(part, 16) for part in subchannel.split("."))
    return CcwAddress(cssid, ssid, subchno, int(device.rsplit(".", 1)[1], 16))


def _smart(smart: NvmeSmart) -> Smart:
    return Smart("nvme", *(getattr(smart, name) for name in NvmeSmart.__struct_fields__))


@command(since=(5, 2), platforms=LINUX)
def guest_get_disks(agent: Agent) -> list[DiskInfo]:
    """List disks and partitions, each disk after its partitions.

    Against the order of sysfs: the real agent puts each one it finds before the others.
    """
    result: list[DiskInfo] = []
    for disk in reversed(directory_order(agent.guest.disks, lambda disk: disk.name)):
        device = f"/dev/{disk.name}"
        result += [
            DiskInfo(name=f"/dev/{part.name}", partition=True, dependencies=[device])
            for part in reversed(directory_order(disk.partitions, lambda part: part.name))
        ]
        result.append(
            DiskInfo(
                name=device,
                partition=False,
                dependencies=[f"/dev/{below.name}" for below in reversed(_slaves(agent, disk))],
                address=None if disk.is_virtual or disk.depends else _address(agent, disk, device),
                alias=disk.alias,
                smart=_smart(disk.smart) if disk.smart else None,
            )
        )
    return result


def _slaves(agent: Agent, disk: Disk) -> list[Block]:
    """Return the devices directly below *disk*, in the order of its directory ``slaves`` in sysfs."""
    found = [find_block(agent.guest.disks, name) for name in disk.depends]
    return directory_order([block for block in found if block], lambda block: block.name)


def _block_mounts(agent: Agent) -> list[Mount]:
    """Return the mounted file systems that have a device, in the order of mounting."""
    mounts = [m for m in agent.guest.files.mounts if m.volume.device.startswith("/dev/")]
    if agent.dialect.skips_bind_mounts:
        first: dict[int, Mount] = {}
        for mount in mounts:
            first.setdefault(id(mount.volume), mount)
        return list(first.values())
    return mounts


def _disks_of(agent: Agent, device: str) -> list[DiskAddress]:
    """Return the disks that *device* is on, through what it depends on.

    The real agent walks the directories ``slaves``, and puts each disk that it finds before the others. A
    partition of a virtual device has no such directory.
    """
    block = find_block(agent.guest.disks, device)
    return [] if block is None else list(_walk_down(agent, block, ()))[::-1]


def _walk_down(agent: Agent, block: Block, above: tuple[str, ...]) -> Iterator[DiskAddress]:
    if not block.is_virtual:
        yield from _addresses(agent, block.disk, f"/dev/{block.name}")
    elif not block.is_partition and block.name not in above:
        # A circle, which only a test can make of a guest's records, ends here.
        for below in _slaves(agent, block.disk):
            yield from _walk_down(agent, below, (*above, block.name))


def _name_of(agent: Agent, device: str) -> str:
    """Return the name of a device in sysfs, whatever it was mounted by."""
    block = find_block(agent.guest.disks, device)
    return device.rsplit("/", 1)[-1] if block is None else block.name


@command(since=(2, 2), platforms=LINUX)
def guest_get_fsinfo(agent: Agent) -> list[FilesystemInfo]:
    """List mounted file systems that have a device, the latest mount first."""
    return [
        FilesystemInfo(
            _name_of(agent, mount.volume.device),
            mount.path,
            mount.volume.kind,
            mount.volume.used,
            mount.volume.size,
            mount.volume.size + mount.volume.reserved,
            _disks_of(agent, mount.volume.device),
        )
        for mount in reversed(_block_mounts(agent))
    ]


class DiskStatsRow(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestDiskStats``."""

    read_ios: Statistic
    read_merges: Statistic
    read_sectors: Statistic
    read_ticks: Statistic
    write_ios: Statistic
    write_merges: Statistic
    write_sectors: Statistic
    write_ticks: Statistic
    ios_pgr: Statistic
    total_ticks: Statistic
    weight_ticks: Statistic
    discard_ios: Statistic
    discard_merges: Statistic
    discard_sectors: Statistic
    discard_ticks: Statistic
    flush_ios: Statistic
    flush_ticks: Statistic


class DiskStatsInfo(Struct, frozen=True):
    """QAPI ``GuestDiskStatsInfo``."""

    name: Annotated[str, Names("block device")]
    major: UInt64
    minor: UInt64
    stats: DiskStatsRow


def _row(stats: DiskStats) -> DiskStatsRow:
    return DiskStatsRow(*(getattr(stats, name) for name in DiskStats.__struct_fields__))


@command(since=(7, 1), platforms=LINUX, is_conditional=True)
def guest_get_diskstats(agent: Agent) -> list[DiskStatsInfo]:
    """Return what has been read and written, as in /proc/diskstats."""
    result: list[DiskStatsInfo] = []
    for disk in agent.guest.disks:
        result.append(DiskStatsInfo(disk.name, disk.major, disk.minor, _row(disk.stats)))
        parts: list[Partition] = sorted(disk.partitions, key=lambda part: part.name)
        result += [
            DiskStatsInfo(part.name, disk.major, disk.minor + number, _row(part.stats))
            for number, part in enumerate(parts, 1)
        ]
    return result


# -- freezing ------------------------------------------------------------------------------------

_FREEZING: Final[Mapping[Family, Version]] = {"linux": (0, 0), "freebsd": (7, 2)}


@command(since=(0, 15), while_frozen=True, platforms=_FREEZING)
def guest_fsfreeze_status(agent: Agent) -> Literal["thawed", "frozen"]:
    """Return whether the agent holds file systems frozen."""
    return "frozen" if agent.is_frozen else "thawed"


def run_hook(agent: Agent, argument: Literal["freeze", "thaw"]) -> None:
    """Run the script that is to be told of freezes and thaws, if there is one."""
    hook = agent.options.fsfreeze_hook
    if hook is None:
        return
    if agent.dialect.tells_helper_output:
        run_helper(agent, "execute fsfreeze hook", hook, [hook, argument], failed="")
        return
    try:
        agent.guest.files.get(hook)
        if not agent.guest.files.can_execute(hook):
            raise PermissionError(errno.EACCES, "Permission denied")
    except OSError as error:
        raise CommandError(f"can't access fsfreeze hook '{hook}': {error.strerror}") from None
    ended, _ = run(agent, hook, [hook, argument])
    if ended.signal is not None:
        raise CommandError("fsfreeze hook has terminated abnormally")
    if ended.code:
        raise CommandError(f"fsfreeze hook has failed with status {ended.code}")


@command(since=(0, 15), platforms=LINUX)
def guest_fsfreeze_freeze(agent: Agent) -> int:
    """Freeze all file systems that have a device; tell how many."""
    return _freeze(agent, None)


@command(since=(2, 2), platforms=LINUX)
def guest_fsfreeze_freeze_list(agent: Agent, mountpoints: list[str] | None = None) -> int:
    """Freeze the file systems mounted at exactly *mountpoints*; tell how many.

    One that is frozen already is not counted; names of no mount point are ignored.
    """
    return _freeze(agent, mountpoints)


def begin_frozen(agent: Agent) -> None:
    """Freeze all file systems from the beginning, as a client leaves them that has gone."""
    agent.commands.refuse_frozen()
    _freeze_mounted(agent, None)


def _freeze(agent: Agent, mountpoints: list[str] | None) -> int:
    begin_freezing(agent)
    return _freeze_mounted(agent, mountpoints)


def _freeze_mounted(agent: Agent, mountpoints: list[str] | None) -> int:
    count = 0
    for mount in reversed(_block_mounts(agent)):
        if mountpoints is not None and mount.path not in mountpoints:
            continue
        if mount.volume.freeze_open_error:
            raise give_up_freezing(agent, mount, "open", mount.volume.freeze_open_error)
        if mount.volume.freeze_error in (errno.EOPNOTSUPP, errno.EBUSY):
            # As a boot partition's FAT, or what is frozen already: it is left out (commands-linux.c).
            continue
        if mount.volume.freeze_error:
            raise give_up_freezing(agent, mount, "freeze", mount.volume.freeze_error)
        if not mount.volume.is_frozen:
            mount.volume.is_frozen = True
            count += 1
    return end_freezing(agent, count)


def begin_freezing(agent: Agent) -> None:
    """Do what comes before file systems are frozen: from then on, the agent is."""
    run_hook(agent, "freeze")
    # A blocked command may keep the wording of that even if nothing is found to freeze.
    agent.commands.refuse_frozen()


def give_up_freezing(
    agent: Agent, mount: Mount, call: Literal["open", "freeze"], error: int
) -> CommandError:
    """Do all that a thaw does, the hook included; give the error (commands-posix.c)."""
    with suppress(CommandError):
        guest_fsfreeze_thaw(agent)
    return CommandError(f"failed to {call} {mount.path}: {os.strerror(error)}")


def end_freezing(agent: Agent, count: int) -> int:
    """Stay frozen if anything is."""
    if count:
        agent.freeze()
    else:
        agent.thaw()
    return count


def thaw(agent: Agent) -> int:
    """Thaw all file systems; tell how many were frozen."""
    count = 0
    for mount in _block_mounts(agent):
        count += mount.volume.is_frozen
        mount.volume.is_frozen = False
    agent.guest.is_busy = True
    agent.thaw()
    return count


@command(since=(0, 15), while_frozen=True, platforms=_FREEZING)
def guest_fsfreeze_thaw(agent: Agent) -> int:
    """Thaw all file systems, no matter what froze them; return how many were frozen.

    A failing hook is an error, but thawed they are.
    """
    count = thaw(agent)
    run_hook(agent, "thaw")
    return count


# -- trimming ------------------------------------------------------------------------------------


class TrimResult(Struct, frozen=True, kw_only=True):
    """QAPI ``GuestFilesystemTrimResult``."""

    path: Annotated[str, Names("mount point", is_argument=True)]
    trimmed: int | None = None
    minimum: int | None = None
    error: Annotated[str, Exact()] | None = None


class TrimResponse(Struct, frozen=True):
    """QAPI ``GuestFilesystemTrimResponse``."""

    paths: list[TrimResult]


@command(since=(1, 2), platforms=LINUX)
def guest_fstrim(agent: Agent, minimum: int = 0) -> TrimResponse:
    """Discard free blocks; tell for each file system how many bytes were not yet discarded."""
    return TrimResponse([_trim(agent, m, minimum) for m in reversed(_block_mounts(agent))])


#: ext4 takes no minimum of more blocks than a block group has: 8 x block size of them (fs/ext4/
#: mballoc.c, ext4_trim_fs(): parts of a block do not count, and what is negative is huge).
_GROUP_BLOCKS: Final = 8


def _trim(agent: Agent, mount: Mount, minimum: int) -> TrimResult:
    volume = mount.volume
    if volume.trim_open_error:
        reason = os.strerror(volume.trim_open_error)
        return TrimResult(path=mount.path, error=f"failed to open: {reason}")
    if not volume.can_trim or volume.trim_error in (errno.EOPNOTSUPP, errno.ENOTTY):
        return TrimResult(path=mount.path, error="trim not supported")
    if volume.trim_error:
        reason = os.strerror(volume.trim_error)
        return TrimResult(path=mount.path, error=f"failed to trim: {reason}")
    blocks = minimum // volume.block_size
    if minimum < 0 or blocks > _GROUP_BLOCKS * volume.block_size:
        return TrimResult(path=mount.path, error="failed to trim: Invalid argument")
    return TrimResult(path=mount.path, minimum=minimum, trimmed=volume.trim())
