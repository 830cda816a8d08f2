"""Commands that plug devices in and out: memory, processors, network, disks, the agent's port.

What is plugged in or out is the guest's at once or after a while, and the guest's reaction is told by
events: these take the guest's time, so that a guest that stands still lets nothing go.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from qgasim.errors import CommandError, DeviceNotFound
from qgasim.guest.hardware.devices import Disk, MemoryBlock, Vcpu
from qgasim.guest.hardware.network import Nic
from qgasim.guest.units import SECOND
from qgasim.qapi.registry import Arguments
from qgasim.qmp.commands.capabilities import is_device
from qgasim.qmp.commands.queries import cpu_place
from qgasim.qmp.devices import Cpu, Device, Dimm
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import command, free_command

__all__ = ["DRIVERS"]

MS: Final = SECOND // 1000
#: How long the guest takes to take a device, and to let it go (recorded: 15 to 400 ms).
TAKES: Final = 30 * MS
LETS_GO: Final = 300 * MS
#: How long a network device that was let go is still there.
GONE_AFTER: Final = 60 * MS
#: How long the agent takes to open its port again (recorded: 70 ms).
OPENS: Final = 70 * MS
#: What is written to _OST: sources and statuses (ACPI 6.4, 6.3.5).
INSERTED, EJECTED = 1, 3
SUCCESS, IN_PROGRESS = 0, 132
#: Drivers that can be named. Those without a meaning here are listed, and no more.
NETWORK: Final = frozenset({
    "e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "virtio-net", "virtio-net-pci",
    "virtio-net-pci-non-transitional", "virtio-net-pci-transitional", "vmxnet3",
})  # fmt: skip
DISKS: Final = frozenset({
    "ide-hd", "nvme", "scsi-hd", "usb-storage", "virtio-blk", "virtio-blk-pci",
    "virtio-blk-pci-non-transitional", "virtio-blk-pci-transitional",
})  # fmt: skip
OTHERS: Final = frozenset({
    "i6300esb", "ich9-intel-hda", "isa-serial", "pci-bridge", "pcie-root-port", "pvpanic",
    "qemu-xhci", "scsi-cd", "usb-ehci", "usb-kbd", "usb-mouse", "usb-tablet", "virtconsole",
    "virtio-balloon-pci", "virtio-rng-pci", "virtio-scsi-pci", "virtio-serial-pci", "vmgenid",
})  # fmt: skip
DRIVERS: Final = NETWORK | DISKS | OTHERS | {"pc-dimm", "virtserialport"}


# -- in ------------------------------------------------------------------------------------------


@free_command("device_add")
def device_add(monitor: Monitor, arguments: Arguments) -> None:
    """Plug a device in. What matters of it: ``driver``, ``id``, and of memory ``memdev``, and so on."""
    if "driver" not in arguments:
        raise CommandError("Parameter 'driver' is missing")
    driver = str(arguments["driver"])
    is_cpu = driver.endswith("-x86_64-cpu")
    if driver not in DRIVERS and not is_cpu and not is_device(driver):
        raise CommandError(f"'{driver}' is not a valid device model name")
    devices = monitor.hypervisor.devices
    number = len(devices.by_id)
    id = str(arguments.get("id", f"device[{number}]"))
    if id in devices.by_id:
        # UNVERIFIED: the words of 10.0 and 11.1.
        raise CommandError(f"Duplicate device ID '{id}'")
    rest = {name: value for name, value in arguments.items() if name not in ("driver", "id")}
    device = Device(id=id, driver=driver, properties=rest, is_hotplugged=True)
    plug = _plug_cpu if is_cpu else _PLUG.get(driver, _plug_other)
    plug(monitor, device)


def _plug_other(monitor: Monitor, device: Device) -> None:
    monitor.hypervisor.devices.by_id[device.id] = device


def _plug_dimm(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    devices, guest = hypervisor.devices, hypervisor.guest
    if "memdev" not in device.properties:
        raise CommandError("'memdev' property is not set")
    memdev = str(device.properties["memdev"])
    if memdev not in devices.backends:
        raise DeviceNotFound(f"Device '{memdev}' not found")
    if any(dimm.memdev == memdev for dimm in devices.dimms):
        raise CommandError(f"can't use already busy memdev: {memdev}")
    if len(devices.dimms) >= devices.memory_slots:
        # UNVERIFIED: the words (hw/mem/pc-dimm.c).
        none = "no slots where allocated, please specify the 'slots' option"
        raise CommandError("no free slots available" if devices.memory_slots else none)
    dimm = devices.plug_dimm(device.id, memdev, is_hotplugged=True)

    def take() -> None:
        memory = guest.memory
        first = _first_block(dimm, memory.block_size)
        for index in range(first, first + dimm.size // memory.block_size):
            memory.blocks.append(MemoryBlock(index=index))
        _Slot(monitor, "DIMM", dimm.slot, device.id).tell(INSERTED, SUCCESS)

    hypervisor.call_in_guest(TAKES, take)


def _first_block(dimm: Dimm, block_size: int) -> int:
    return dimm.address // block_size


def _plug_cpu(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    devices, guest = hypervisor.devices, hypervisor.guest
    topology = cpu_place(monitor)
    for name, limit in topology.limits.items():
        value = device.properties.get(name)
        if value is None:
            # UNVERIFIED: the words (hw/i386/x86.c: "CPU socket-id is not set").
            raise CommandError(f"CPU {name} is not set")
        if type(value) is not int or not 0 <= value < limit:
            text = f"Invalid CPU {name}: {value} must be in range 0:{limit - 1}"
            raise CommandError(text)
    cpu = devices.cpus[topology.index(device.properties)]
    if cpu.path is not None:
        raise CommandError(f"CPU[{cpu.index}] with APIC ID {cpu.index} exists")
    devices.by_id[device.id] = device
    cpu.id, cpu.path = device.id, device.path
    guest.vcpus.append(Vcpu(id=cpu.index, online=False))
    slot = _Slot(monitor, "CPU", cpu.index, device.id)
    hypervisor.call_in_guest(TAKES, lambda: slot.tell(INSERTED, SUCCESS))


def _plug_nic(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    guest = hypervisor.guest
    number = len(hypervisor.devices.network())
    mac = str(device.properties.get("mac", f"52:54:00:12:34:{0x56 + number:02x}"))
    device.properties = {"netdev": "", **device.properties, "mac": mac}
    names = {nic.name for nic in guest.nics}
    name = next(f"eth{n}" for n in range(len(names) + 1) if f"eth{n}" not in names)
    device.nic = name
    hypervisor.devices.by_id[device.id] = device
    hypervisor.call_in_guest(TAKES, lambda: guest.nics.append(Nic(name=name, mac=mac)))


def _plug_disk(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    guest = hypervisor.guest
    if "drive" not in device.properties:
        raise CommandError("Device needs media, but drive is empty")
    start = "vd" if device.driver.startswith("virtio") else "sd"
    names = {disk.name for disk in guest.disks}
    name = next(n for n in (f"{start}{chr(97 + i)}" for i in range(26)) if n not in names)
    device.disk = name
    hypervisor.devices.by_id[device.id] = device
    serial = device.properties.get("serial")
    disk = Disk(name=name, serial=None if serial is None else str(serial))
    hypervisor.call_in_guest(TAKES, lambda: guest.disks.append(disk))


def _plug_port(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    hypervisor.devices.by_id[device.id] = device
    if device.properties.get("name") != "org.qemu.guest_agent.0" or (
        hypervisor.devices.port is not None and hypervisor.devices.port is not device
    ):
        return
    hypervisor.devices.port_id = device.id
    hypervisor.call_in_guest(OPENS, hypervisor.open_port)


_PLUG: Final[dict[str, Callable[[Monitor, Device], None]]] = {
    "pc-dimm": _plug_dimm,
    "virtserialport": _plug_port,
    **dict.fromkeys(NETWORK, _plug_nic),
    **dict.fromkeys(DISKS, _plug_disk),
}


class _Slot(Struct):
    """A place that ACPI tells of, and the device in it."""

    monitor: Monitor
    kind: str
    number: int
    device: str

    def tell(self, source: int, status: int, *, is_empty: bool = False) -> None:
        """Report the guest's status of it (_OST)."""
        info: dict[str, Any] = {} if is_empty else {"device": self.device}
        info |= {"slot": str(self.number), "slot-type": self.kind}
        info |= {"source": source, "status": status}
        self.monitor.hypervisor.emit("ACPI_DEVICE_OST", {"info": info})


# -- out -----------------------------------------------------------------------------------------


@command("device_del")
def device_del(monitor: Monitor, id: str) -> None:
    """Ask the guest to let a device go; DEVICE_DELETED tells when it has."""
    device = monitor.hypervisor.devices.by_id.get(id)
    if device is None:
        raise DeviceNotFound(f"Device '{id}' not found")
    devices = monitor.hypervisor.devices
    dimm = next((dimm for dimm in devices.dimms if dimm.id == id), None)
    cpu = next((cpu for cpu in devices.cpus if cpu.id == id), None)
    if dimm is not None:
        _unplug_dimm(monitor, device, dimm)
    elif cpu is not None:
        _unplug_cpu(monitor, device, cpu)
    elif device is devices.port:
        _unplug_port(monitor, device)
    else:
        _unplug_card(monitor, device)


def _tell_deleted(monitor: Monitor, device: Device) -> None:
    del monitor.hypervisor.devices.by_id[device.id]
    monitor.hypervisor.emit("DEVICE_DELETED", {"device": device.id, "path": device.path})


def _unplug_dimm(monitor: Monitor, device: Device, dimm: Dimm) -> None:
    hypervisor = monitor.hypervisor
    devices, memory = hypervisor.devices, hypervisor.guest.memory

    slot = _Slot(monitor, "DIMM", dimm.slot, device.id)

    def let_go() -> None:
        if device.id not in devices.by_id:
            return
        first = _first_block(dimm, memory.block_size)
        gone = range(first, first + dimm.size // memory.block_size)
        memory.blocks[:] = [block for block in memory.blocks if block.index not in gone]
        devices.dimms.remove(dimm)
        _tell_deleted(monitor, device)
        slot.tell(EJECTED, SUCCESS, is_empty=True)

    hypervisor.call_in_guest(TAKES // 2, lambda: slot.tell(EJECTED, IN_PROGRESS))
    hypervisor.call_in_guest(LETS_GO, let_go)


def _unplug_cpu(monitor: Monitor, device: Device, cpu: Cpu) -> None:
    hypervisor = monitor.hypervisor
    guest = hypervisor.guest

    slot = _Slot(monitor, "CPU", cpu.index, device.id)

    def let_go() -> None:
        if cpu.id != device.id:
            return
        guest.vcpus[:] = [vcpu for vcpu in guest.vcpus if vcpu.id != cpu.index]
        cpu.id = cpu.path = None
        hypervisor.emit("DEVICE_DELETED", {"path": f"{device.path}/lapic"})
        board = hypervisor.devices.board
        if board is not None and board.has_kvm:
            # UNVERIFIED: not recorded; libvirt waits for it, and takes processors from domains with KVM.
            _tell_deleted(monitor, device)
        else:
            # Recorded without KVM: the processor itself is not told, only its interrupt controller.
            del hypervisor.devices.by_id[device.id]
        slot.tell(EJECTED, SUCCESS, is_empty=True)

    hypervisor.call_in_guest(TAKES // 2, lambda: slot.tell(EJECTED, IN_PROGRESS))
    hypervisor.call_in_guest(LETS_GO, let_go)


def _unplug_port(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    hypervisor.close_port()

    def let_go() -> None:
        if hypervisor.devices.by_id.get(device.id) is device:
            _tell_deleted(monitor, device)

    hypervisor.call_in_guest(TAKES, let_go)


def _unplug_card(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    guest = hypervisor.guest

    def let_go() -> None:
        guest.nics[:] = [nic for nic in guest.nics if nic.name != device.nic]
        guest.disks[:] = [disk for disk in guest.disks if disk.name != device.disk]
        if device.driver.startswith("virtio-"):
            path = f"{device.path}/virtio-backend"
            hypervisor.emit("DEVICE_DELETED", {"path": path})
        hypervisor.call_in_guest(GONE_AFTER, be_gone)

    def be_gone() -> None:
        if hypervisor.devices.by_id.get(device.id) is device:
            _tell_deleted(monitor, device)

    hypervisor.call_in_guest(LETS_GO, let_go)


# -- objects -------------------------------------------------------------------------------------


@free_command("object-add")
def object_add(monitor: Monitor, arguments: Arguments) -> None:
    """Make an object. Memory backends can be used by ``pc-dimm``; others are taken, and no more."""
    for name in ("qom-type", "id"):
        if name not in arguments:
            raise CommandError(f"Parameter '{name}' is missing")
    props = arguments.get("props")
    values = {**arguments, **(props if isinstance(props, dict) else {})}
    id = str(arguments["id"])
    devices = monitor.hypervisor.devices
    if id in devices.backends or id in devices.objects:
        raise CommandError(f"attempt to add duplicate property '{id}' to object (type 'container')")
    kind = str(arguments["qom-type"])
    if kind.startswith("memory-backend-"):
        size = values.get("size")
        if size is None:
            raise CommandError("Parameter 'size' is missing")
        if not isinstance(size, int):
            raise CommandError("Invalid parameter type for 'size', expected: integer")
        devices.backends[id] = size
    devices.objects[id] = kind


@command()
def object_del(monitor: Monitor, id: str) -> None:
    """Remove an object that nothing uses."""
    devices = monitor.hypervisor.devices
    if id not in devices.backends and id not in devices.objects:
        raise CommandError(f"object '{id}' not found")
    if any(dimm.memdev == id for dimm in devices.dimms):
        raise CommandError(f"object '{id}' is in use, can not be deleted")
    devices.backends.pop(id, None)
    devices.objects.pop(id, None)
