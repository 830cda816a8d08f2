"""The devices of a machine, as its monitor names them: made of what the guest has, and plugged in and out."""

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct, field

from qgasim.guest import Guest
from qgasim.guest.hardware.network import Nic
from qgasim.qapi.arguments import glib_order
from qgasim.qmp.board import Board
from qgasim.qmp.settings import MachineSettings

__all__ = ["BLOCK_BASE", "Cpu", "Device", "Devices", "Dimm"]

#: Where memory modules are: behind 4 GiB (pc, hw/i386/pc.c).
BLOCK_BASE: Final = 4 << 30
DEFAULT_MEMORY: Final = 512 << 20


class Device(Struct, kw_only=True):
    """A device with an id."""

    id: str
    driver: str
    #: What it was made with, by name.
    properties: dict[str, Any] = field(default_factory=dict[str, Any])
    is_hotplugged: bool = False
    #: The guest's interface that it is.
    nic: str | None = None
    #: The guest's disk that it is.
    disk: str | None = None
    #: Whether an event reports the next change of what a network device receives.
    tells_filter: bool = True
    #: Whether its link is up.
    link_is_up: bool = True

    @property
    def path(self) -> str:
        """The device's QOM path."""
        return f"/machine/peripheral/{self.id}"


class Dimm(Struct, kw_only=True):
    """A memory module."""

    id: str
    memdev: str
    size: int
    slot: int
    address: int
    is_hotplugged: bool = False


class Cpu(Struct, kw_only=True):
    """A place for a processor."""

    index: int
    #: The QOM path of the processor in it; None: the place is free.
    path: str | None
    #: The id of a processor that was plugged in.
    id: str | None = None


class Devices:
    """All that is plugged in."""

    def __init__(self, guest: Guest, settings: MachineSettings, board: Board | None = None) -> None:
        self._guest = guest
        #: What the command line says; None: the devices are made up as the guest has them.
        self.board = board
        #: Devices with an id, by id, in the order in which they came.
        self.by_id: dict[str, Device] = {}
        #: The sizes of memory backends, by id.
        self.backends: dict[str, int] = {}
        #: The types of objects, by id.
        self.objects: dict[str, str] = {}
        #: The host's sides of network devices.
        self.netdevs: list[str] = []
        #: What query-chardev says of character devices, besides the agent's and the monitors'.
        self.chardevs: dict[str, dict[str, Any]] = {}
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
        count = len(guest.vcpus)
        self.cpus = [
            Cpu(
                index=index,
                path=f"/machine/unattached/device[{index + 1 if index else 0}]"
                if index < count
                else None,
            )
            for index in range(max(count, settings.max_vcpus or 0))
        ]
        self.port_id = settings.port
        if board is None:
            self._make_up(settings)
        else:
            self._take(board)
        for dimm in settings.dimms:
            self.backends[f"mem{dimm.id}"] = dimm.size
            self.plug_dimm(dimm.id, f"mem{dimm.id}", is_hotplugged=False)

    def _take(self, board: Board) -> None:
        """Add the devices of a command line."""
        self.backends |= board.backends
        self.objects |= board.objects
        self.netdevs += board.netdevs
        self.chardevs |= board.chardevs
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

    def plug_dimm(self, id: str, memdev: str, *, is_hotplugged: bool) -> Dimm:
        """Plug in a memory module; there is a place and a backend for it."""
        slot = min(set(range(self.memory_slots)) - {dimm.slot for dimm in self.dimms})
        address = max([BLOCK_BASE, *(dimm.address + dimm.size for dimm in self.dimms)])
        dimm = Dimm(
            id=id,
            memdev=memdev,
            size=self.backends[memdev],
            slot=slot,
            address=address,
            is_hotplugged=is_hotplugged,
        )
        self.dimms.append(dimm)
        device = self._add(id, "pc-dimm", memdev=memdev)
        device.is_hotplugged = is_hotplugged
        return dimm

    @property
    def memory(self) -> int:
        """The memory that is there, in bytes: what is plugged in included, and what was given back."""
        return self.base_memory + sum(dimm.size for dimm in self.dimms)

    @property
    def port(self) -> Device | None:
        """The agent's port; None: it is unplugged."""
        return self.by_id.get(self.port_id)

    def network(self) -> list[Device]:
        """Return the network devices, the first one first."""
        return [device for device in self.by_id.values() if "netdev" in device.properties]

    def listed(self) -> list[Device]:
        """Return the devices with an id in the order in which QOM lists them: a hash table's, backwards."""
        return [self.by_id[id] for id in reversed(glib_order(self.by_id))]
