"""The files of /proc and /sys: reading them shows the guest's state, writing some of them changes it."""

import errno
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from msgspec import structs

from qgasim.guest.files.nodes import Generated, Volume, os_error
from qgasim.guest.hardware.devices import MemoryBlock, Vcpu
from qgasim.guest.hardware.net_files import show_bond, show_vlan, show_vlans
from qgasim.guest.hardware.network import Nic
from qgasim.guest.machine import Machine
from qgasim.guest.system.load import show_load
from qgasim.guest.units import SECOND, wrap

__all__ = ["CREATE_ERRORS", "KERNEL_FILES", "ProcessCounts", "escape_path", "mount_kernel_files"]

#: File systems that the kernel makes: they are there after every boot.
KERNEL_FILES: Final = {"proc": "/proc", "sysfs": "/sys"}
#: How open(2) refuses to make a file there: proc finds no name, kernfs cannot create.
CREATE_ERRORS: Final = {"proc": errno.ENOENT, "sysfs": errno.EACCES}


def escape_path(path: str) -> str:
    """Write a path as /proc/mounts does."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in path)


class ProcessCounts(Protocol):
    """What the kernel counts of processes."""

    last_pid: int
    forks: int
    switches: int

    def live(self) -> Sequence[object]:
        """Return the processes that have not ended."""
        ...


def mount_kernel_files(machine: Machine, counts: ProcessCounts) -> None:
    """Mount /proc and /sys; their files are made at the first look."""
    makers = {"proc": partial(_make_proc, machine, counts), "sysfs": partial(_make_sys, machine)}
    for kind, path in KERNEL_FILES.items():
        volume = Volume(kind, kind, 1 << 20)
        volume.populate = makers[kind]
        machine.files.mount(volume, path, "rw,nosuid,nodev,noexec,relatime")


def _make_proc(machine: Machine, counts: ProcessCounts) -> None:
    """Make a few files of /proc, that show the guest's state when read."""
    shown: dict[str, Callable[[], bytes]] = {
        "/proc/mounts": partial(_show_mounts, machine),
        "/proc/uptime": partial(_show_uptime, machine),
        "/proc/version": partial(_show_version, machine),
        "/proc/loadavg": partial(_show_loadavg, machine, counts),
        "/proc/stat": partial(_show_stat, machine, counts),
        "/proc/cmdline": lambda: b"root=/dev/vda1 ro quiet\n",
        "/proc/meminfo": partial(_show_meminfo, machine),
        "/proc/cpuinfo": partial(_show_cpuinfo, machine),
        "/proc/sys/kernel/ostype": lambda: b"Linux\n",
        "/proc/sys/kernel/hostname": partial(_show_text, machine, "hostname"),
        "/proc/sys/kernel/random/boot_id": partial(_show_text, machine, "boot_id"),
        "/proc/sys/kernel/osrelease": partial(_show_text, machine.settings.os, "kernel_release"),
    }
    for nic in machine.nics:
        if nic.vlan is not None:
            shown["/proc/net/vlan/config"] = lambda: show_vlans(machine.nics)
            shown[f"/proc/net/vlan/{nic.name}"] = partial(_show_vlan, machine, nic)
        elif nic.bond:
            shown[f"/proc/net/bonding/{nic.name}"] = partial(_show_bond, machine, nic)
    for path, show in shown.items():
        _add(machine, path, show)
    _add(machine, "/proc/sysrq-trigger", lambda: b"", partial(_store_sysrq, machine))


def _show_vlan(machine: Machine, nic: Nic) -> bytes:
    return show_vlan(nic, nic.counters_at(machine.clock.uptime()))


def _show_bond(machine: Machine, nic: Nic) -> bytes:
    return show_bond(nic, machine.nics, machine.settings.os.kernel_release)


def _make_sys(machine: Machine) -> None:
    """Make a few files of /sys, that show the guest's state when read."""
    _add(machine, "/sys/power/wakeup_count", lambda: b"0\n", _store_wakeup_count)
    _add(
        machine, "/sys/power/state", partial(_show_states, machine), partial(_store_state, machine)
    )
    _add(
        machine,
        "/sys/class/rtc/rtc0/wakealarm",
        partial(_show_alarm, machine),
        partial(_store_alarm, machine),
    )
    for cpu in machine.vcpus:
        directory = f"/sys/devices/system/cpu/cpu{cpu.id}"
        machine.files.makedirs(directory)
        if cpu.can_offline:
            _add(
                machine,
                f"{directory}/online",
                partial(_show_flag, cpu, "online"),
                partial(_store_cpu, cpu),
            )
    for block in machine.memory.blocks:
        directory = f"/sys/devices/system/memory/memory{block.index}"
        _add(
            machine,
            f"{directory}/state",
            partial(_show_state, block),
            partial(_store_block, machine, block),
        )
        _add(machine, f"{directory}/removable", partial(_show_flag, block, "can_offline"))
    for nic in machine.nics:
        directory = f"/sys/class/net/{nic.name}"
        _add(machine, f"{directory}/address", partial(_show_text, nic, "mac"))
        _add(machine, f"{directory}/operstate", partial(_show_operstate, nic))
        _add(machine, f"{directory}/mtu", partial(_show_text, nic, "mtu"))
    size = f"{machine.memory.block_size:x}\n".encode()
    _add(machine, "/sys/devices/system/memory/block_size_bytes", lambda: size)


def _show_flag(thing: object, name: str) -> bytes:
    return b"%d\n" % getattr(thing, name)


def _show_text(thing: object, name: str) -> bytes:
    return f"{getattr(thing, name) or ''}\n".encode()


def _show_state(block: MemoryBlock) -> bytes:
    return b"online\n" if block.online else b"offline\n"


def _store_cpu(cpu: Vcpu, data: bytes) -> None:
    """Do what a write to a processor's ``online`` does."""
    word = data.strip()
    if word not in (b"0", b"1"):
        raise os_error(errno.EINVAL)
    cpu.online = word == b"1"


def _store_block(machine: Machine, block: MemoryBlock, data: bytes) -> None:
    """Do what a write to a memory block's ``state`` does."""
    states = {b"offline": False} | dict.fromkeys(
        (b"online", b"online_kernel", b"online_movable"), True
    )
    wanted = states.get(data.removesuffix(b"\n"))
    if wanted is None:
        raise os_error(errno.EINVAL)
    machine.memory.set_online(block.index, wanted)


def _store_wakeup_count(data: bytes) -> None:
    """Do what a write to /sys/power/wakeup_count does: it must be the number that was read."""
    if data.strip() != b"0":
        raise os_error(errno.EINVAL)


def _show_operstate(nic: Nic) -> bytes:
    return b"up\n" if nic.up else b"down\n"


def _add(
    machine: Machine,
    path: str,
    show: Callable[[], bytes],
    store: Callable[[bytes], None] | None = None,
) -> None:
    machine.files.make_parents(path)
    mode = 0o644 if store else 0o444
    machine.files.mknod(path, lambda name, volume: Generated(name, mode, volume, show, store))


def _show_mounts(machine: Machine) -> bytes:
    return "".join(
        f"{m.volume.device} {escape_path(m.path)} {m.volume.kind} {m.options} 0 0\n"
        for m in machine.files.mounts
    ).encode()


def _show_uptime(machine: Machine) -> bytes:
    """Show what fs/proc/uptime.c shows: the second figure is the idle time of all processors."""
    idle = sum(machine.cpu_times(cpu).idle for cpu in machine.vcpus)
    return f"{machine.boot_uptime() / SECOND:.2f} {idle / 1000:.2f}\n".encode()


def _show_loadavg(machine: Machine, counts: ProcessCounts) -> bytes:
    """Show what fs/proc/loadavg.c shows. The one process that runs is the one that reads."""
    averages = " ".join(show_load(machine.load()))
    return f"{averages} 1/{len(counts.live())} {counts.last_pid}\n".encode()


def _show_stat(machine: Machine, counts: ProcessCounts) -> bytes:
    """Show what fs/proc/stat.c, show_stat() shows; a processor's times in ticks of 10 ms."""
    ticks = {
        cpu.id: [ms // 10 for ms in structs.astuple(machine.cpu_times(cpu))]
        for cpu in sorted(machine.vcpus, key=lambda cpu: cpu.id)
    }
    online = {cpu.id for cpu in machine.vcpus if cpu.online}
    totals = [wrap(sum(column)) for column in zip(*ticks.values(), strict=True)]
    booted = (machine.clock.now() - machine.boot_uptime()) // SECOND
    lines = [
        f"cpu  {' '.join(map(str, totals))}",
        *(f"cpu{id} {' '.join(map(str, row))}" for id, row in ticks.items() if id in online),
        "intr 0",
        f"ctxt {counts.switches}",
        f"btime {booted}",
        f"processes {counts.forks}",
        "procs_running 1",
        "procs_blocked 0",
        f"softirq{' 0' * 11}",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _show_version(machine: Machine) -> bytes:
    system = machine.settings.os
    return f"Linux version {system.kernel_release} {system.kernel_version}\n".encode()


def _show_meminfo(machine: Machine) -> bytes:
    memory = machine.memory
    online = sum(block.online for block in memory.blocks) * memory.block_size // 1024
    return f"MemTotal:       {online:8d} kB\nMemFree:        {online // 2:8d} kB\n".encode()


def _show_cpuinfo(machine: Machine) -> bytes:
    return "".join(f"processor\t: {cpu.id}\n\n" for cpu in machine.vcpus if cpu.online).encode()


def _show_states(machine: Machine) -> bytes:
    modes = machine.settings.power.suspend
    states = ["freeze", *(["mem"] * ("ram" in modes)), *(["disk"] * ("disk" in modes))]
    return f"{' '.join(states)}\n".encode()


def _show_alarm(machine: Machine) -> bytes:
    at = machine.power.alarm_at
    if at is None:
        return b""
    return b"%d\n" % ((machine.clock.rtc() - machine.clock.uptime() + at) // SECOND)


def _store_alarm(machine: Machine, data: bytes) -> None:
    """Set the alarm of the real-time clock, which wakes a suspended guest (drivers/rtc/sysfs.c)."""
    text, clock = data.strip(), machine.clock
    is_relative = text.startswith(b"+")
    if not text.removeprefix(b"+").isdigit():
        raise os_error(errno.EINVAL)
    seconds = int(text) * SECOND
    after = seconds if is_relative else seconds - clock.rtc()
    if after > 0 and machine.power.alarm_at is not None:
        raise os_error(errno.EBUSY)
    machine.power.alarm_at = clock.uptime() + after if after > 0 else None


def _store_sysrq(machine: Machine, data: bytes) -> None:
    """Do what a write to /proc/sysrq-trigger does; keys without a meaning here do nothing."""
    key = data[:1]
    if key == b"c":
        machine.power.panic()
    elif key == b"b":
        machine.power.shut_down("reboot", 0)
    elif key == b"o":
        machine.power.shut_down("powerdown", 0)


def _store_state(machine: Machine, data: bytes) -> None:
    """Do what a write to /sys/power/state does."""
    state = data.strip()
    if state not in _show_states(machine).split():
        raise os_error(errno.EINVAL)
    if state == b"disk":
        if not machine.has_swap:
            raise os_error(errno.ENOMEM)
        machine.power.sleep("disk")
    else:
        machine.power.sleep("ram")
