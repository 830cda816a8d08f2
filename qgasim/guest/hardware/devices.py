"""The guest's hardware: processors, memory blocks, disks."""

import errno
from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct, field, structs

from qgasim.guest.clone import clone
from qgasim.guest.files.nodes import os_error
from qgasim.guest.units import Size, Time

__all__ = [
    "BLOCK_LIMIT",
    "Block",
    "Bus",
    "CpuTimes",
    "Disk",
    "DiskStats",
    "Driver",
    "Memory",
    "MemoryBlock",
    "NvmeSmart",
    "Partition",
    "Vcpu",
    "device_name",
    "find_block",
    "is_optical",
    "mount_source",
]

Bus = Literal[
    "ide", "fdc", "scsi", "virtio", "xen", "usb", "uml", "sata", "sd", "unknown",
    "ieee1394", "ssa", "fibre", "raid", "iscsi", "sas", "mmc", "virtual",
    "file-backed-virtual", "nvme",
]  # fmt: skip


#: Memory blocks: 8 TiB in blocks of 128 MiB.
BLOCK_LIMIT: Final = 1 << 16


class CpuTimes(Struct, kw_only=True):
    """What a processor did until the scenario's start, in ms (a line of /proc/stat)."""

    #: In programs.
    user: int = 0
    #: In programs of low priority.
    nice: int = 0
    #: In the kernel.
    system: int = 0
    #: Doing nothing.
    idle: int = 0
    #: Doing nothing, while a disk was waited for.
    iowait: int = 0
    #: In hardware interrupts.
    irq: int = 0
    #: In software interrupts.
    softirq: int = 0
    #: Taken by the hypervisor for other guests.
    steal: int = 0
    #: In guests of its own.
    guest: int = 0
    #: In guests of its own, of low priority.
    guestnice: int = 0


class Vcpu(Struct, kw_only=True):
    """A logical processor."""

    #: The number that the kernel gives it.
    id: int
    #: Whether it is in use.
    online: bool = True
    #: Whether it can be taken out of use.
    can_offline: bool = True
    #: From then on, idle time grows with the guest's clock.
    times: CpuTimes = field(default_factory=CpuTimes)


class MemoryBlock(Struct, kw_only=True):
    """A block of memory that can be taken offline, or not."""

    #: The number that the kernel gives it.
    index: int
    #: Whether it is in use.
    online: bool = True
    #: Whether it can be taken out of use.
    can_offline: bool = True
    #: The errno with which the kernel refuses to take it offline; 0 if it does not.
    offline_error: int = 0


class Memory(Struct, kw_only=True):
    """The guest's memory: blocks of one size."""

    #: Bytes in a block.
    block_size: Size = 128 << 20
    #: Bytes of all blocks, if they are not listed. The kernel is in the first one.
    size: Size = 0
    #: The blocks, if they are not all alike.
    blocks: list[MemoryBlock] = field(default_factory=list[MemoryBlock])

    def with_blocks(self) -> "Memory":
        """Return a copy in which all blocks are listed."""
        blocks = clone(self.blocks) or [
            MemoryBlock(index=i, offline_error=0 if i else errno.EINVAL)
            for i in range(self.size // self.block_size)
        ]
        return structs.replace(self, blocks=blocks)

    def set_online(self, index: int, online: bool) -> None:
        """Switch a block; OSError as writing its ``state`` in sysfs gives it."""
        for block in self.blocks:
            if block.index == index:
                break
        else:
            raise os_error(errno.ENOENT, f"memory{index}")
        if block.online == online:
            return
        if not online and block.offline_error:
            raise os_error(block.offline_error, f"memory{index}")
        block.online = online


class DiskStats(Struct, kw_only=True):
    """A line of /proc/diskstats."""

    #: Reads done.
    read_ios: int = 0
    #: Reads merged with others.
    read_merges: int = 0
    #: Sectors read, of 512 bytes.
    read_sectors: int = 0
    #: Time spent reading, in ms.
    read_ticks: int = 0
    #: Writes done.
    write_ios: int = 0
    #: Writes merged with others.
    write_merges: int = 0
    #: Sectors written, of 512 bytes.
    write_sectors: int = 0
    #: Time spent writing, in ms.
    write_ticks: int = 0
    #: Requests under way.
    ios_pgr: int = 0
    #: Time with requests under way, in ms.
    total_ticks: int = 0
    #: The same, times the number of requests.
    weight_ticks: int = 0
    #: Discards done.
    discard_ios: int = 0
    #: Discards merged with others.
    discard_merges: int = 0
    #: Sectors discarded, of 512 bytes.
    discard_sectors: int = 0
    #: Time spent discarding, in ms.
    discard_ticks: int = 0
    #: Flushes done.
    flush_ios: int = 0
    #: Time spent flushing, in ms.
    flush_ticks: int = 0


class Partition(Struct, kw_only=True):
    """A part of a disk."""

    #: The name, as in ``vda1``.
    name: str
    #: Its size.
    size: Size = 0
    #: What it had done at power-on.
    stats: DiskStats = field(default_factory=DiskStats)


class NvmeSmart(Struct, kw_only=True):
    """The health log of an NVMe disk, as QEMU's emulated one begins (temperature in kelvin)."""

    #: Bits that warn of failures.
    critical_warning: int = 0
    #: In kelvin.
    temperature: int = 323
    #: Spare capacity left, in percent.
    available_spare: int = 0
    #: Spare capacity below which it warns, in percent.
    available_spare_threshold: int = 0
    #: How much of its life is used, in percent.
    percentage_used: int = 0
    #: Data read, in units of 512000 bytes: the lower 64 bits.
    data_units_read_lo: int = 0
    #: Data read, in units of 512000 bytes: the upper 64 bits.
    data_units_read_hi: int = 0
    #: Data written, in units of 512000 bytes: the lower 64 bits.
    data_units_written_lo: int = 0
    #: Data written, in units of 512000 bytes: the upper 64 bits.
    data_units_written_hi: int = 0
    #: Reads asked for: the lower 64 bits.
    host_read_commands_lo: int = 0
    #: Reads asked for: the upper 64 bits.
    host_read_commands_hi: int = 0
    #: Writes asked for: the lower 64 bits.
    host_write_commands_lo: int = 0
    #: Writes asked for: the upper 64 bits.
    host_write_commands_hi: int = 0
    #: How long it was busy, in minutes: the lower 64 bits.
    controller_busy_time_lo: int = 0
    #: How long it was busy, in minutes: the upper 64 bits.
    controller_busy_time_hi: int = 0
    #: How often it was switched on: the lower 64 bits.
    power_cycles_lo: int = 0
    #: How often it was switched on: the upper 64 bits.
    power_cycles_hi: int = 0
    #: How long it has been on, in hours: the lower 64 bits.
    power_on_hours_lo: int = 0
    #: How long it has been on, in hours: the upper 64 bits.
    power_on_hours_hi: int = 0
    #: How often it lost power: the lower 64 bits.
    unsafe_shutdowns_lo: int = 0
    #: How often it lost power: the upper 64 bits.
    unsafe_shutdowns_hi: int = 0
    #: Errors of the medium: the lower 64 bits.
    media_errors_lo: int = 0
    #: Errors of the medium: the upper 64 bits.
    media_errors_hi: int = 0
    #: Entries in its log of errors: the lower 64 bits.
    number_of_error_log_entries_lo: int = 0
    #: Entries in its log of errors: the upper 64 bits.
    number_of_error_log_entries_hi: int = 0


class Disk(Struct, kw_only=True):
    """A disk and how it is attached."""

    #: The name, as in ``vda``.
    name: str
    #: How it is attached.
    bus: Bus = "virtio"
    #: Its size.
    size: Size = 0
    #: Its serial number; ``auto``: made up.
    serial: str | None = None
    #: ``domain:bus:slot.function`` of the controller, hexadecimal; absent: it is not on PCI.
    pci: str | None = None
    #: Where it is on s390x: subchannel and device, as in ``0.0.0004/0.0.0000``; absent: it is not there.
    ccw: str | None = None
    #: SCSI or IDE channel.
    channel: int = 0
    #: SCSI target.
    target: int = 0
    #: SCSI unit (lun), IDE drive.
    unit: int = 0
    #: The major number of its device.
    major: int = 254
    #: The minor number of its device.
    minor: int = 0
    #: Its partitions.
    partitions: list[Partition] = field(default_factory=list[Partition])
    #: What it had done at power-on.
    stats: DiskStats = field(default_factory=DiskStats)
    #: Names of the devices below a device-mapper (LVM, LUKS, multipath), RAID or bcache device.
    depends: list[str] = field(default_factory=list[str])
    #: What a device-mapper device is called, as in ``vg0-root``; it is mounted as ``/dev/mapper/vg0-root`` or
    #: ``/dev/vg0/root``, too.
    alias: str | None = None
    #: Whether there is no hardware behind it.
    is_virtual: bool = False
    #: The health log of an NVMe disk.
    smart: NvmeSmart | None = None


class Block(Struct, frozen=True):
    """A disk or a partition, under the name that the kernel gives it."""

    name: str
    disk: Disk
    is_partition: bool = False

    @property
    def is_virtual(self) -> bool:
        """Return whether it is in /sys/devices/virtual/block."""
        return self.disk.is_virtual or bool(self.disk.depends)


def device_name(path: str) -> str:
    """Return the name in the path of a device: ``vda1``, or an alias.

    The alias is that of ``/dev/mapper/vg0-root``, or of the logical volume ``/dev/vg0/root``: lvm(8) doubles the
    hyphens of both names, and joins them with one.
    """
    name = path.removeprefix("/dev/").removeprefix("mapper/")
    group, slash, volume = name.partition("/")
    if not slash or "/" in volume:
        return name
    return f"{group.replace('-', '--')}-{volume.replace('-', '--')}"


def is_optical(disk: Disk) -> bool:
    """Return whether a disk is a CD-ROM drive: Linux' driver sr calls them so."""
    return disk.name.startswith("sr") and disk.name[2:].isdecimal()


def find_block(disks: Iterable[Disk], path: str) -> Block | None:
    """Find the disk or partition that has the name or alias in *path*."""
    name = device_name(path)
    for disk in disks:
        if name in (disk.name, disk.alias):
            return Block(disk.name, disk)
        if any(part.name == name for part in disk.partitions):
            return Block(name, disk, is_partition=True)
    return None


def mount_source(disks: Iterable[Disk], path: str) -> str:
    """Return what /proc/mounts calls a device that is mounted by *path*.

    mount(8) follows links, and calls a device-mapper device by its alias (libmount, canonicalize_dm_name()).
    """
    block = find_block(disks, path) if path.startswith("/dev/") else None
    if block is None or block.is_partition or block.disk.alias is None:
        return path
    return f"/dev/mapper/{block.disk.alias}"


class Driver(Struct, kw_only=True):
    """A device of Windows on PCI, and its driver."""

    #: What the device is called, in Windows' language.
    name: str
    #: Vendor and device, hexadecimal, as in ``1af4:1041``.
    pci_id: str
    #: The driver's version.
    version: str
    #: When the driver was made.
    date: Time
