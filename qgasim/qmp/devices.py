"""The devices of a machine, as its monitor names them: made of what the guest has, and plugged in and out."""

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct, field

from qgasim.guest import Guest
from qgasim.guest.hardware.network import Nic
from qgasim.qapi.arguments import glib_order
from qgasim.qmp.board import Board
from qgasim.qmp.settings import MachineSettings

__all__ = ["BLOCK_BASE", "MEMORY_LIMIT", "OWN_MEMORY", "Cpu", "Device", "Devices", "Dimm", "Object"]

#: Where memory modules are: behind 4 GiB (pc, hw/i386/pc.c).
BLOCK_BASE: Final = 4 << 30
DEFAULT_MEMORY: Final = 512 << 20
#: How much memory modules can have, and objects for them, if no more is known: the host's is bounded, too.
MEMORY_LIMIT: Final = 1 << 40
#: The object that is the memory that is not plugged in.
OWN_MEMORY: Final = "pc.ram"


class Device(Struct, kw_only=True):
    """A device that is plugged in."""

    #: Its id; None: it has none.
    id: str | None
    driver: str
    #: Which of the devices without an id it is.
    number: int = 0
    #: What it was made with, by name.
    properties: dict[str, Any] = field(default_factory=dict[str, Any])
    is_hotplugged: bool = False
    #: The guest's interface that it is.
    nic: str | None = None
    #: The guest's disk that it is.
    disk: str | None = None
    #: Whether an event reports the next change of what a network device receives.
    tells_filter: bool = True
    #: What errors, events and query-rx-filter call it, if it has no id.
    name: str = ""
    #: When the guest was last asked to let it go, by its uptime.
    asked_at: int | None = None

    @property
    def path(self) -> str:
        """The device's QOM path."""
        if self.id is None:
            return f"/machine/peripheral-anon/device[{self.number}]"
        return f"/machine/peripheral/{self.id}"


class Dimm(Struct, kw_only=True):
    """A memory module."""

    id: str | None
    memdev: str
    size: int
    slot: int
    address: int
    is_hotplugged: bool = False


class Object(Struct, kw_only=True):
    """An object with an id that is no device (``object-add``)."""

    #: Its type.
    kind: str
    #: What it was made with, by name.
    properties: dict[str, Any] = field(default_factory=dict[str, Any])


class Cpu(Struct, kw_only=True):
    """A place for a processor."""

    index: int
    #: The QOM path of the processor in it; None: the place is free.
    path: str | None
    #: The id of a processor that was plugged in.
    id: str | None = None
    #: Where it is in the list of processors: in the order in which they came.
    place: int = 0


class Devices:
    """All that is plugged in."""

    def __init__(self, guest: Guest, settings: MachineSettings, board: Board | None = None) -> None:
        self._guest = guest
        #: What the command line says; None: the devices are made up as the guest has them.
        self.board = board
        #: Devices, by id, or by path if they have none, in the order in which they came.
        self.by_id: dict[str, Device] = {}
        #: Objects that are no devices, by id, in the order in which they came.
        self.objects: dict[str, Object] = {}
        #: The host's sides of network devices.
        self.netdevs: list[str] = []
        #: What query-chardev says of character devices, besides the agent's and the monitors': of the
        #: command line, and those that came later.
        self.first_chardevs: dict[str, dict[str, Any]] = {}
        self.chardevs: dict[str, dict[str, Any]] = {}
        #: The guest's latest status of places (_OST), by their kind and number: source and status.
        self.told: dict[tuple[str, int], tuple[int, int]] = {}
        #: How many devices without an id there were.
        self.anonymous = 0
        #: Nodes behind disks, with what they were made with, and the sizes that were changed.
        self.nodes: dict[str, dict[str, Any]] = {}
        self.sizes: dict[str, int] = {}
        #: The names of descriptors that were passed.
        self.fds: set[str] = set()
        #: How much memory the guest has given back, and is asked to have given back, in bytes.
        self.ballooned = 0
        self.balloon_wanted = 0
        self.dimms: list[Dimm] = []
        self.memory_slots = max(settings.memory_slots, len(settings.dimms))
        memory = guest.memory
        whole = sum(1 for _ in memory.blocks) * memory.block_size
        plugged = sum(dimm.size for dimm in settings.dimms)
        #: The memory that is not plugged in, in bytes.
        self.base_memory = settings.memory or max(0, whole - plugged) or DEFAULT_MEMORY
        self._max_memory = settings.max_memory
        self.cpus = _places(len(guest.vcpus), settings.max_vcpus or 0)
        self.port_id = settings.port
        if board is None:
            self._make_up(settings)
        else:
            self._take(board)
        self._add_memory(settings)

    def _add_memory(self, settings: MachineSettings) -> None:
        for dimm in settings.dimms:
            memdev = dimm.memdev or f"mem{dimm.id}"
            self.objects[memdev] = _memory(dimm.size)
            self.plug_dimm(Device(id=dimm.id, driver="pc-dimm"), memdev)
        self.objects[OWN_MEMORY] = _memory(self.base_memory)

    def _take(self, board: Board) -> None:
        """Add the devices of a command line."""
        for id, kind in board.objects.items():
            properties = {"size": board.backends[id]} if id in board.backends else {}
            self.objects[id] = Object(kind=kind, properties=properties)
        self.netdevs += board.netdevs
        self.first_chardevs |= board.chardevs
        self.nodes |= board.nodes
        for each in board.devices:
            device = self._add(each.id, each.driver, **each.properties)
            device.nic, device.disk = each.nic, each.disk

    def _make_up(self, settings: MachineSettings) -> None:
        """Add the devices that follow from the guest's hardware."""
        #: What can be plugged in again: the properties of the port that the agent has opened.
        self._add("virtio-serial0", "virtio-serial-pci")
        self._add(
            settings.port,
            "virtserialport",
            nr=1,
            chardev=settings.chardev,
            name="org.qemu.guest_agent.0",
        )
        for number, disk in enumerate(self._guest.disks):
            device = self._add(f"virtio-disk{number}", "virtio-blk-pci", drive=f"d{number}")
            device.disk = disk.name
        for number, nic in enumerate(self._cards(self._guest.nics)):
            self.netdevs.append(f"hostnet{number}")
            device = self._add(f"net{number}", "virtio-net-pci", netdev=f"hostnet{number}")
            device.properties["mac"] = nic.mac
            device.nic = nic.name

    @staticmethod
    def _cards(nics: Iterable[Nic]) -> Iterable[Nic]:
        """Return the interfaces that are devices."""
        return [nic for nic in nics if nic.mac and nic.name != "lo" and not nic.is_made_of_others]

    def _add(self, id: str, driver: str, **properties: Any) -> Device:
        device = self.by_id[id] = Device(id=id, driver=driver, properties=properties)
        return device

    def backends(self) -> dict[str, int]:
        """Return the sizes of memory backends, by id."""
        return {
            id: each.properties.get("size", 0)
            for id, each in self.objects.items()
            if each.kind.startswith("memory-backend-")
        }

    @property
    def module_space(self) -> int:
        """How much memory modules can have together, in bytes."""
        known = self._max_memory
        return MEMORY_LIMIT if known is None else max(0, known - self.base_memory)

    def free_slots(self) -> set[int]:
        """Return the places for memory modules that are free."""
        return set(range(self.memory_slots)) - {dimm.slot for dimm in self.dimms}

    def free_address(self, size: int) -> int:
        """Return the first place in memory that is large enough (hw/mem/memory-device.c)."""
        address = BLOCK_BASE
        for dimm in sorted(self.dimms, key=lambda dimm: dimm.address):
            if dimm.address >= address + size:
                break
            address = dimm.address + dimm.size
        return address

    def plug_dimm(
        self, device: Device, memdev: str, *, slot: int | None = None, address: int | None = None
    ) -> Dimm:
        """Plug in a memory module; there is a place and a backend for it. None: the first that is free."""
        size = self.backends()[memdev]
        dimm = Dimm(
            id=device.id,
            memdev=memdev,
            size=size,
            slot=min(self.free_slots()) if slot is None else slot,
            address=self.free_address(size) if address is None else address,
            is_hotplugged=device.is_hotplugged,
        )
        self.dimms.append(dimm)
        device.properties["memdev"] = memdev
        self.add(device)
        return dimm

    @property
    def boot_cpus(self) -> int:
        """How many processors the machine was made with."""
        return sum(cpu.path is not None and cpu.id is None for cpu in self.cpus)

    @property
    def memory(self) -> int:
        """The memory that is there, in bytes: what is plugged in included, and what was given back."""
        return self.base_memory + sum(dimm.size for dimm in self.dimms)

    @property
    def port(self) -> Device | None:
        """The agent's port; None: it is unplugged."""
        return self.by_id.get(self.port_id)

    def free_name(self, names: Iterable[str]) -> str:
        """Return the first of *names* that no interface or disk of the guest has or is about to have."""
        guest = self._guest
        used = {nic.name for nic in guest.nics} | {disk.name for disk in guest.disks}
        used |= {
            name for device in self.by_id.values() for name in (device.nic, device.disk) if name
        }
        return next(name for name in names if name not in used)

    def network(self) -> list[Device]:
        """Return the network devices, the first one first."""
        return [device for device in self.by_id.values() if "netdev" in device.properties]

    def listed(self) -> list[Device]:
        """Return the devices with an id in the order in which QOM lists them: a hash table's, backwards."""
        named = [id for id, device in self.by_id.items() if device.id is not None]
        return [self.by_id[id] for id in reversed(glib_order(named))]

    def add(self, device: Device) -> None:
        """Add a device, and give one without an id a number."""
        if device.id is None:
            device.number = self.anonymous
            self.anonymous += 1
        self.by_id[device.id or device.path] = device

    def remove(self, device: Device) -> None:
        """Remove a device."""
        del self.by_id[device.id or device.path]

    def has(self, device: Device) -> bool:
        """Return whether a device is still there."""
        return self.by_id.get(device.id or device.path) is device

    def free_mac(self) -> str:
        """Return the MAC address that a network device has by default (net/net.c)."""
        used = {device.properties["mac"] for device in self.network()}
        numbers = (f"52:54:00:12:34:{number:02x}" for number in range(0x56, 0xFF))
        # When none is left, it counts from -1.
        return next((mac for mac in numbers if mac not in used), "52:54:00:12:34:ff")


def _memory(size: int) -> Object:
    return Object(kind="memory-backend-ram", properties={"size": size})


def _places(count: int, most: int) -> list[Cpu]:
    """Return the places for processors, *count* of which are taken."""
    return [
        Cpu(
            index=index,
            place=index,
            path=f"/machine/unattached/device[{index + 1 if index else 0}]"
            if index < count
            else None,
        )
        for index in range(max(count, most))
    ]
