"""The monitor for people, as far as programs use it through QMP."""

from collections.abc import Callable
from typing import Final

from qgasim.errors import CommandError
from qgasim.qmp.commands import power
from qgasim.qmp.commands.queries import list_chardevs
from qgasim.qmp.hypervisor import NO_UUID
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import command

__all__: list[str] = []


def _show_status(monitor: Monitor) -> str:
    status = monitor.hypervisor.status
    if status == "running":
        return "VM status: running"
    return "VM status: paused" if status == "paused" else f"VM status: paused ({status})"


def _show_version(monitor: Monitor) -> str:
    numbers = ".".join(str(each) for each in monitor.release.version)
    return numbers + monitor.hypervisor.settings.package


def _show_chardevs(monitor: Monitor) -> str:
    return "\r\n".join(
        f"{each['label']}: filename={each['filename']}" for each in list_chardevs(monitor)
    )


#: What follows ``info``. UNVERIFIED: that a machine without a name has an empty answer.
_INFO: Final[dict[str, Callable[[Monitor], str]]] = {
    "status": _show_status,
    "version": _show_version,
    "name": lambda monitor: monitor.hypervisor.settings.name or "",
    "uuid": lambda monitor: monitor.hypervisor.settings.uuid or NO_UUID,
    "chardev": _show_chardevs,
}
_ACTIONS: Final[dict[str, Callable[[Monitor], None]]] = {
    "stop": power.stop,
    "s": power.stop,
    "cont": power.cont,
    "c": power.cont,
    "system_reset": power.system_reset,
    "system_powerdown": power.system_powerdown,
    "system_wakeup": power.system_wakeup,
    "quit": power.quit_,
    "q": power.quit_,
}
#: What QEMU's own monitor knows, and this one does not.
_NOT_SIMULATED: Final = frozenset({
    "balloon", "block", "blockjobs", "blockstats", "capture", "cpus", "cpustats", "dump", "fdset",
    "hotpluggable-cpus", "history", "iothreads", "irq", "jit", "kvm", "lapic", "mem", "memdev",
    "memory-devices", "memory_size_summary", "mice", "migrate", "migrate_capabilities",
    "migrate_parameters", "mtree", "named-block-nodes", "network", "numa", "pci", "pic", "qdm",
    "qom-tree", "qtree", "ramblock", "rdma", "registers", "replay", "rocker", "roms", "sev", "snapshots",
    "spice", "stats", "tlb", "tpm", "trace-events", "usb", "usbhost", "vm-generation-id", "vnc",
})  # fmt: skip


@command()
def human_monitor_command(monitor: Monitor, command_line: str, cpu_index: int | None = None) -> str:
    """Do what a person could have typed; what there is to read is returned, errors included."""
    words = command_line.split()
    if not words:
        return ""
    if words[0] == "info" and len(words) > 1:
        shown = _INFO.get(words[1])
        if shown is not None:
            return f"{shown(monitor)}\r\n"
        if words[1] in _NOT_SIMULATED:
            raise CommandError(f"qgasim does not simulate human-monitor-command info {words[1]}")
        return f"unknown command: '{' '.join(words[:2])}'\r\n"
    action = _ACTIONS.get(words[0])
    if action is None:
        return f"unknown command: '{words[0]}'\r\n"
    try:
        action(monitor)
    except CommandError as error:
        return f"Error: {error}\r\n"
    return ""
