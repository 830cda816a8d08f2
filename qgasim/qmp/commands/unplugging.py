"""The command that takes devices out: the guest lets them go, or QEMU itself does.

What the guest does takes its time, so that one that stands still lets nothing go.
"""

from typing import Final

from qgasim.errors import CommandError, DeviceNotFound
from qgasim.guest.units import SECOND
from qgasim.qmp.commands.qdev import bus_of_port
from qgasim.qmp.commands.qom import PERIPHERAL, find_object
from qgasim.qmp.commands.slots import (
    EJECTED,
    GONE_AFTER,
    IN_PROGRESS,
    LETS_GO,
    SUCCESS,
    TAKES,
    Slot,
    first_block,
    react,
)
from qgasim.qmp.devices import Cpu, Device, Dimm
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import NOT_SIMULATED, command

__all__: list[str] = []

#: For how long a PCI device is being unplugged and is not asked for again, in the guest's time
#: (hw/acpi/pcihp.c of 7.2).
BEING_UNPLUGGED: Final = SECOND // 1000
#: How long QEMU takes to tell that a port is gone.
TOLD_AFTER: Final = SECOND // 100


@command("device_del")
def device_del(monitor: Monitor, id: str) -> None:
    """Ask the guest to let a device go; DEVICE_DELETED tells when it has."""
    hypervisor = monitor.hypervisor
    devices = hypervisor.devices
    found = find_object(monitor, id if id.startswith("/") else f"{PERIPHERAL}/{id}")
    if found is None:
        raise DeviceNotFound(f"Device '{id}' not found")
    device = found.device
    if device is None and found.is_device:
        raise CommandError(f"{NOT_SIMULATED} device_del of what the machine has")
    if device is None:
        raise CommandError(f"{id} is not a hotpluggable device")
    if hypervisor.migration.is_under_way:
        raise CommandError("device_del not allowed while migrating")
    dimm = next((dimm for dimm in devices.dimms if dimm.id == device.id), None)
    cpu = next((cpu for cpu in devices.cpus if cpu.path == device.path), None)
    if dimm is not None:
        _unplug_dimm(monitor, device, dimm)
    elif cpu is not None:
        _unplug_cpu(monitor, device, cpu)
    elif device.driver == "virtserialport":
        _unplug_port(monitor, device)
    else:
        _unplug_card(monitor, device)


def _tell_deleted(monitor: Monitor, device: Device) -> None:
    named = {} if device.id is None else {"device": device.id}
    monitor.hypervisor.emit("DEVICE_DELETED", {**named, "path": device.path})


def _unplug_dimm(monitor: Monitor, device: Device, dimm: Dimm) -> None:
    hypervisor = monitor.hypervisor
    devices, memory = hypervisor.devices, hypervisor.guest.memory

    slot = Slot(monitor, "DIMM", dimm.slot, device.id)

    def let_go() -> None:
        if not devices.has(device):
            return
        first = first_block(dimm, memory.block_size)
        gone = range(first, first + dimm.size // memory.block_size)
        memory.blocks[:] = [block for block in memory.blocks if block.index not in gone]
        devices.dimms.remove(dimm)
        devices.remove(device)
        _tell_deleted(monitor, device)
        slot.tell(EJECTED, SUCCESS, is_empty=True)

    react(monitor, TAKES // 2, lambda: slot.tell(EJECTED, IN_PROGRESS))
    react(monitor, LETS_GO, let_go)


def _unplug_cpu(monitor: Monitor, device: Device, cpu: Cpu) -> None:
    hypervisor = monitor.hypervisor
    guest = hypervisor.guest

    slot = Slot(monitor, "CPU", cpu.index, device.id)

    def let_go() -> None:
        if not hypervisor.devices.has(device):
            return
        guest.vcpus[:] = [vcpu for vcpu in guest.vcpus if vcpu.id != cpu.index]
        cpu.id = cpu.path = None
        hypervisor.devices.remove(device)
        hypervisor.emit("DEVICE_DELETED", {"path": f"{device.path}/lapic"})
        board = hypervisor.devices.board
        if board is not None and board.has_kvm:
            # UNVERIFIED: not recorded; libvirt waits for it, and takes processors from domains with KVM.
            # Without KVM, only its interrupt controller is told (recorded).
            _tell_deleted(monitor, device)
        slot.tell(EJECTED, SUCCESS, is_empty=True)

    react(monitor, TAKES // 2, lambda: slot.tell(EJECTED, IN_PROGRESS))
    react(monitor, LETS_GO, let_go)


def _unplug_port(monitor: Monitor, device: Device) -> None:
    """Take out a port: the guest is not asked."""
    _remove_port(monitor, device)
    monitor.hypervisor.call_later(TOLD_AFTER, lambda: _tell_deleted(monitor, device))


def _remove_port(monitor: Monitor, port: Device) -> None:
    hypervisor = monitor.hypervisor
    if port is hypervisor.devices.port:
        hypervisor.close_port()
    hypervisor.devices.remove(port)


def _remove_ports(monitor: Monitor, card: Device) -> None:
    """Remove the ports of a virtio-serial device that goes."""
    devices = monitor.hypervisor.devices
    ports = [d for d in devices.by_id.values() if d.driver == "virtserialport"]
    for port in ports:
        if bus_of_port(devices, port) == f"{card.id}.0":
            _remove_port(monitor, port)
            _tell_deleted(monitor, port)


def _unplug_card(monitor: Monitor, device: Device) -> None:
    """Ask the guest to let a PCI device go: it does so after a while, or at a reset."""
    hypervisor = monitor.hypervisor
    guest, devices = hypervisor.guest, hypervisor.devices
    now = guest.clock.uptime()
    if device.asked_at is not None and now - device.asked_at <= BEING_UNPLUGGED:
        raise CommandError(f"Device {device.id} is already in the process of unplug")
    is_asked = device.asked_at is not None
    device.asked_at = now
    if is_asked:
        return

    def let_go() -> None:
        if not devices.has(device):
            return
        _remove_ports(monitor, device)
        guest.nics[:] = [nic for nic in guest.nics if nic.name != device.nic]
        guest.disks[:] = [disk for disk in guest.disks if disk.name != device.disk]
        if device.driver.startswith("virtio-"):
            path = f"{device.path}/virtio-backend"
            hypervisor.emit("DEVICE_DELETED", {"path": path})
        hypervisor.call_in_guest(GONE_AFTER, be_gone)

    def be_gone() -> None:
        if devices.has(device):
            devices.remove(device)
            _tell_deleted(monitor, device)

    react(monitor, LETS_GO, let_go)
    hypervisor.on_reset += [let_go, be_gone]
