"""The command that plugs devices in: memory, processors, network, disks, the agent's port.

What is plugged in is the guest's at once or after a while of its time, and is told by events.
"""

import re
from collections.abc import Callable
from itertools import chain, count, product
from string import ascii_lowercase
from typing import Final

from qgasim.errors import CommandError, DeviceNotFound
from qgasim.guest.hardware.devices import Disk, MemoryBlock, Vcpu
from qgasim.guest.hardware.network import Nic
from qgasim.qapi.registry import Arguments
from qgasim.qmp.commands.balloon import find_balloon
from qgasim.qmp.commands.qdev import backend_of, bus_of_port, make_device
from qgasim.qmp.commands.queries import cpu_place, cpu_type, list_chardevs
from qgasim.qmp.commands.slots import INSERTED, OPENS, SUCCESS, TAKES, Slot, first_block, react
from qgasim.qmp.devices import BLOCK_BASE, Device, Devices
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import free_command

__all__: list[str] = []

#: What the address of a memory module is a multiple of, in bytes.
DIMM_ALIGNMENT: Final = 2 << 20
#: Drivers with a meaning here; of others, devices are listed, and no more.
NETWORK: Final = frozenset({
    "e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "virtio-net", "virtio-net-pci",
    "virtio-net-pci-non-transitional", "virtio-net-pci-transitional", "vmxnet3",
})  # fmt: skip
DISKS: Final = frozenset({
    "ide-hd", "nvme", "scsi-hd", "usb-storage", "virtio-blk", "virtio-blk-pci",
    "virtio-blk-pci-non-transitional", "virtio-blk-pci-transitional",
})  # fmt: skip
#: How many ports a virtio-serial-pci has (max_ports).
PORTS: Final = 31


@free_command("device_add")
def device_add(monitor: Monitor, arguments: Arguments) -> None:
    """Plug a device in. What matters of it: ``driver``, ``id``, and of memory ``memdev``, and so on."""
    device = make_device(monitor, arguments)
    is_cpu = device.driver.endswith("-x86_64-cpu")
    plug = _plug_cpu if is_cpu else _PLUG.get(device.driver, _plug_other)
    plug(monitor, device)


def _plug_other(monitor: Monitor, device: Device) -> None:
    if device.driver.startswith("virtio-balloon") and find_balloon(monitor) is not None:
        raise CommandError("Only one balloon device is supported")
    if device.driver == "pci-bridge" and not device.properties.get("chassis_nr"):
        rule = "Each bridge is required to be assigned a unique chassis id > 0."
        raise CommandError(f"Bridge chassis not specified. {rule}")
    monitor.hypervisor.devices.add(device)


def _plug_dimm(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    devices, guest = hypervisor.devices, hypervisor.guest
    memdev = str(device.properties.get("memdev", ""))
    _check_dimm(devices, device, memdev)
    wanted = int(device.properties.get("slot", -1))
    slot = None if wanted == -1 else wanted
    address = int(device.properties.get("addr", 0)) or None
    dimm = devices.plug_dimm(device, memdev, slot=slot, address=address)

    def take() -> None:
        memory = guest.memory
        first = first_block(dimm, memory.block_size)
        for index in range(first, first + dimm.size // memory.block_size):
            memory.blocks.append(MemoryBlock(index=index))

    hypervisor.call_in_guest(TAKES, take)
    slot_of = Slot(monitor, "DIMM", dimm.slot, device.id)
    react(monitor, TAKES, lambda: slot_of.tell(INSERTED, SUCCESS))


def _check_dimm(devices: Devices, device: Device, memdev: str) -> None:
    """Refuse a memory module that has no memory, or no place (hw/mem/pc-dimm.c, memory-device.c)."""
    if "memdev" in device.properties and memdev not in devices.backends():
        raise DeviceNotFound(f"Device '{memdev}' not found")
    _check_slot(devices, int(device.properties.get("slot", -1)))
    if "memdev" not in device.properties:
        raise CommandError("'memdev' property must be set")
    _check_place(devices, int(device.properties.get("addr", 0)), devices.backends()[memdev])
    if node := device.properties.get("node", 0):
        text = f"'DIMM property node has value {node}' which exceeds the number of numa nodes: 1"
        raise CommandError(text)
    if any(dimm.memdev == memdev for dimm in devices.dimms):
        raise CommandError(f"can't use already busy memdev: {memdev}")


def _check_place(devices: Devices, address: int, size: int) -> None:
    """Refuse what does not fit into the memory for modules; *address* 0: anywhere."""
    used, space = sum(dimm.size for dimm in devices.dimms), devices.module_space
    if used + size > space:
        total = f"use of total space for memory devices {space:#x}"
        raise CommandError(f"not enough space, currently {used:#x} in {total}")
    if address % DIMM_ALIGNMENT:
        raise CommandError(f"address must be aligned to {DIMM_ALIGNMENT:#x} bytes")
    if size % DIMM_ALIGNMENT:
        raise CommandError(f"backend memory size must be multiple of {DIMM_ALIGNMENT:#x}")
    # With a gap for each module, to align it (pc, hw/i386/pc.c, enforce_aligned_dimm).
    room = space + (devices.memory_slots << 30)
    if address and not BLOCK_BASE <= address <= BLOCK_BASE + room - size:
        wanted = f"can't add memory device [{address:#x}:{size:#x}]"
        usable = f"usable range for memory devices [{BLOCK_BASE:#x}:{room:#x}]"
        raise CommandError(f"{wanted}, {usable}")
    if not address and devices.free_address(size) > BLOCK_BASE + room - size:
        # UNVERIFIED: the words (hw/mem/memory-device.c).
        found = "could not find position in guest address space for memory device"
        raise CommandError(f"{found} - memory fragmented due to alignments")
    for dimm in devices.dimms if address else ():
        if address < dimm.address + dimm.size and dimm.address < address + size:
            text = f"address range conflicts with memory device id='{dimm.id or ''}'"
            raise CommandError(text)


def _check_slot(devices: Devices, slot: int) -> None:
    slots = devices.memory_slots
    if not slots:
        # UNVERIFIED: the words (hw/mem/pc-dimm.c).
        raise CommandError("no slots where allocated, please specify the 'slots' option")
    if slot != -1 and not 0 <= slot < slots:
        raise CommandError(f"invalid slot number {slot}, valid range is [0-{slots - 1}]")
    if slot == -1 and not devices.free_slots():
        raise CommandError("no free slots available")
    if slot != -1 and slot not in devices.free_slots():
        raise CommandError(f"slot {slot} is busy")


def _plug_cpu(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    devices, guest = hypervisor.devices, hypervisor.guest
    if device.driver != cpu_type(monitor):
        raise CommandError(f"Invalid CPU type, expected cpu type: '{cpu_type(monitor)}'")
    topology = cpu_place(monitor)
    for name, limit in topology.limits.items():
        value = device.properties.get(name, -1)
        if value == -1:
            raise CommandError(f"CPU {name} is not set")
        if not 0 <= value < limit:
            text = f"Invalid CPU {name}: {value} must be in range 0:{limit - 1}"
            raise CommandError(text)
    cpu = devices.cpus[topology.index(device.properties)]
    if cpu.path is not None:
        raise CommandError(f"CPU[{cpu.index}] with APIC ID {cpu.index} exists")
    devices.add(device)
    cpu.id, cpu.path = device.id, device.path
    cpu.place = max(cpu.place for cpu in devices.cpus) + 1
    guest.vcpus.append(Vcpu(id=cpu.index, online=False))
    slot = Slot(monitor, "CPU", cpu.index, device.id)
    react(monitor, TAKES, lambda: slot.tell(INSERTED, SUCCESS))


def _plug_nic(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    guest, devices = hypervisor.guest, hypervisor.devices
    netdev = device.properties.get("netdev")
    backend = backend_of(device.driver)
    if netdev is not None and netdev not in devices.netdevs:
        raise CommandError(f"Property '{backend}.netdev' can't find value '{netdev}'")
    if netdev is not None and any(d.properties["netdev"] == netdev for d in devices.network()):
        text = f"Property '{backend}.netdev' can't take value '{netdev}', it's in use"
        raise CommandError(text)
    mac = str(device.properties.get("mac", devices.free_mac()))
    if not re.fullmatch(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", mac):
        raise CommandError(f"Property '{backend}.mac' doesn't take value '{mac}'")
    if device.id is None:
        alike = [each for each in devices.network() if each.driver == device.driver]
        device.name = f"{device.driver}.{len(alike)}"
    device.properties = {"netdev": "", **device.properties, "mac": mac.replace("-", ":").lower()}
    device.nic = name = devices.free_name(f"eth{number}" for number in count())
    devices.add(device)
    hypervisor.call_in_guest(TAKES, lambda: guest.nics.append(Nic(name=name, mac=mac)))


def _plug_disk(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    guest, devices = hypervisor.guest, hypervisor.devices
    if device.driver == "nvme" and "serial" not in device.properties:
        raise CommandError("serial property not set")
    drive = device.properties.get("drive")
    if drive is not None:
        _check_drive(devices, device, str(drive))
    elif device.driver == "ide-hd":
        raise CommandError("Device needs media, but drive is empty")
    else:
        raise CommandError("drive property not set")
    start = "vd" if device.driver.startswith("virtio") else "sd"
    letters = chain.from_iterable(product(ascii_lowercase, repeat=length) for length in count(1))
    device.disk = name = devices.free_name(f"{start}{''.join(each)}" for each in letters)
    devices.add(device)
    serial = device.properties.get("serial")
    disk = Disk(name=name, serial=None if serial is None else str(serial))
    hypervisor.call_in_guest(TAKES, lambda: guest.disks.append(disk))


def _check_drive(devices: Devices, device: Device, drive: str) -> None:
    """Refuse what is no drive, or another device's (hw/core/qdev-properties-system.c, set_drive_helper())."""
    users = {each.properties.get("drive"): each for each in devices.by_id.values()}
    if drive in users and drive in devices.nodes:
        mine, other = (f"{each.path}/virtio-backend" for each in (device, users[drive]))
        conflict = f"Permission conflict on node '{drive}'"
        use = f"(uses node '{drive}' as 'root' child)"
        both = f"permissions 'write' are both required by block device '{other}' {use}"
        raise CommandError(f"{conflict}: {both} and unshared by block device '{mine}' {use}.")
    if drive in users and drive not in devices.nodes:
        raise CommandError(f"Drive '{drive}' is already in use by another device")
    if drive not in devices.nodes and drive not in users and devices.board is None:
        text = f"Property '{backend_of(device.driver)}.drive' can't find value '{drive}'"
        raise CommandError(text)


def _plug_port(monitor: Monitor, device: Device) -> None:
    hypervisor = monitor.hypervisor
    devices = hypervisor.devices
    _check_port(monitor, device)
    devices.add(device)
    if device.properties.get("name") != "org.qemu.guest_agent.0" or (
        devices.port is not None and devices.port is not device
    ):
        return
    devices.port_id = str(device.id)
    hypervisor.call_in_guest(OPENS, hypervisor.open_port)


def _check_port(monitor: Monitor, device: Device) -> None:
    """Refuse a port whose number, name or character device is another's (hw/char/virtio-serial-bus.c)."""
    others = [d for d in monitor.hypervisor.devices.by_id.values() if d.driver == device.driver]
    chardev = device.properties.get("chardev")
    if chardev is not None and chardev not in [d["label"] for d in list_chardevs(monitor)]:
        raise CommandError(f"Property 'virtserialport.chardev' can't find value '{chardev}'")
    used_chardevs = [other.properties.get("chardev") for other in others]
    used_chardevs += [each.label for each in monitor.hypervisor.monitors] + ["serial0"]
    if chardev is not None and chardev in used_chardevs:
        text = f"can't take value '{chardev}': Device '{chardev}' is in use"
        raise CommandError(f"Property 'virtserialport.chardev' {text}")
    bus = bus_of_port(monitor.hypervisor.devices, device)
    used = [
        other.properties.get("nr")
        for other in others
        if bus_of_port(monitor.hypervisor.devices, other) == bus
    ]
    number = device.properties.get("nr")
    name = device.properties.get("name")
    if number is not None and number in used:
        raise CommandError(f"virtio-serial-bus: A port already exists at id {number}")
    if name is not None and name in [other.properties.get("name") for other in others]:
        raise CommandError(f"virtio-serial-bus: A port already exists by name {name}")
    if number is None:
        number = next(n for n in range(1, PORTS + 1) if n not in used)
    if number >= PORTS:
        text = f"Out-of-range port id specified, max. allowed: {PORTS - 1}"
        raise CommandError(f"virtio-serial-bus: {text}")
    if number == 0:
        reason = "reserved for virtconsole devices for backward compatibility."
        raise CommandError(f"Port number 0 on virtio-serial devices {reason}")
    device.properties["nr"] = number


_PLUG: Final[dict[str, Callable[[Monitor, Device], None]]] = {
    "pc-dimm": _plug_dimm,
    "virtserialport": _plug_port,
    **dict.fromkeys(NETWORK, _plug_nic),
    **dict.fromkeys(DISKS, _plug_disk),
}
