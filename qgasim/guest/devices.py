"""The guest's hardware: processors, memory blocks, disks."""

import errno
from typing import Final, Literal

from msgspec import Struct, field, structs

from qgasim.guest.clone import clone
from qgasim.guest.nodes import os_error
from qgasim.guest.units import Size

__all__ = [
    "BLOCK_LIMIT",
    "Bus",
    "CpuTimes",
    "Disk",
    "DiskStats",
    "Memory",
    "MemoryBlock",
    "NvmeSmart",
    "Partition",
    "Vcpu",
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

    user: int = 0
    nice: int = 0
    system: int = 0
    idle: int = 0
    iowait: int = 0
    irq: int = 0
    softirq: int = 0
    steal: int = 0
    guest: int = 0
    guestnice: int = 0


class Vcpu(Struct, kw_only=True):
    """A logical processor."""

    id: int
    online: bool = True
    can_offline: bool = True
    #: From then on, idle time grows with the guest's clock.
    times: CpuTimes = field(default_factory=CpuTimes)


class MemoryBlock(Struct, kw_only=True):
    """A block of memory that can be taken offline, or not."""

    index: int
    online: bool = True
    can_offline: bool = True
    #: The errno with which the kernel refuses to take it offline; 0 if it does not.
    offline_error: int = 0


class Memory(Struct, kw_only=True):
    """The guest's memory: blocks of one size."""

    #: Bytes in a block.
    block_size: Size = 128 << 20
    #: Bytes of all blocks, if they are not listed. The kernel is in the first one.
    size: Size = 0
    blocks: list[MemoryBlock] = field(default_factory=list[MemoryBlock])

    def with_blocks(self) -> "Memory":
        """Give a copy in which all blocks are listed."""
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

    read_ios: int = 0
    read_merges: int = 0
    read_sectors: int = 0
    read_ticks: int = 0
    write_ios: int = 0
    write_merges: int = 0
    write_sectors: int = 0
    write_ticks: int = 0
    ios_pgr: int = 0
    total_ticks: int = 0
    weight_ticks: int = 0
    discard_ios: int = 0
    discard_merges: int = 0
    discard_sectors: int = 0
    discard_ticks: int = 0
    flush_ios: int = 0
    flush_ticks: int = 0


class Partition(Struct, kw_only=True):
    """A part of a disk."""

    name: str
    size: Size = 0
    stats: DiskStats = field(default_factory=DiskStats)


class NvmeSmart(Struct, kw_only=True):
    """The health log of an NVMe disk, as QEMU's emulated one begins (temperature in kelvin)."""

    critical_warning: int = 0
    temperature: int = 323
    available_spare: int = 0
    available_spare_threshold: int = 0
    percentage_used: int = 0
    data_units_read_lo: int = 0
    data_units_read_hi: int = 0
    data_units_written_lo: int = 0
    data_units_written_hi: int = 0
    host_read_commands_lo: int = 0
    host_read_commands_hi: int = 0
    host_write_commands_lo: int = 0
    host_write_commands_hi: int = 0
    controller_busy_time_lo: int = 0
    controller_busy_time_hi: int = 0
    power_cycles_lo: int = 0
    power_cycles_hi: int = 0
    power_on_hours_lo: int = 0
    power_on_hours_hi: int = 0
    unsafe_shutdowns_lo: int = 0
    unsafe_shutdowns_hi: int = 0
    media_errors_lo: int = 0
    media_errors_hi: int = 0
    number_of_error_log_entries_lo: int = 0
    number_of_error_log_entries_hi: int = 0


class Disk(Struct, kw_only=True):
    """A disk and how it is attached."""

    name: str
    bus: Bus = "virtio"
    size: Size = 0
    serial: str | None = None
    #: ``domain:bus:slot.function`` of the controller, hexadecimal; None if it is not on PCI.
    pci: str | None = None
    #: SCSI channel, target and lun; IDE channel and drive.
    channel: int = 0
    target: int = 0
    unit: int = 0
    major: int = 254
    minor: int = 0
    partitions: list[Partition] = field(default_factory=list[Partition])
    stats: DiskStats = field(default_factory=DiskStats)
    #: Names of the devices below a device-mapper, RAID or loop device.
    depends: list[str] = field(default_factory=list[str])
    #: What a device-mapper device is called.
    alias: str | None = None
    #: Whether there is no hardware behind it.
    is_virtual: bool = False
    #: The health log of an NVMe disk.
    smart: NvmeSmart | None = None
