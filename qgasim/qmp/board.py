"""What a command line says of a machine beyond its settings: with a board, nothing of it is made up."""

from typing import Any

from msgspec import Struct, field

__all__ = ["Board", "BoardDevice", "Topology"]


class Topology(Struct, frozen=True):
    """How processors are numbered (``-smp``)."""

    sockets: int
    cores: int
    threads: int

    @property
    def limits(self) -> dict[str, int]:
        """How many there can be of each kind, by the member of QAPI ``CpuInstanceProperties``."""
        return {"socket-id": self.sockets, "core-id": self.cores, "thread-id": self.threads}

    def place(self, index: int) -> dict[str, int]:
        """Return where a processor is."""
        rest, thread = divmod(index, self.threads)
        socket, core = divmod(rest, self.cores)
        return {"socket-id": socket, "core-id": core, "thread-id": thread}

    def index(self, place: dict[str, int]) -> int:
        """Return which processor is at a place."""
        core = place["socket-id"] * self.cores + place["core-id"]
        return core * self.threads + place["thread-id"]


class BoardDevice(Struct, kw_only=True):
    """A device of the command line (``-device``) that has an id."""

    id: str
    driver: str
    #: What it is made with, by name, without these two.
    properties: dict[str, Any] = field(default_factory=dict[str, Any])
    #: The guest's interface that it is.
    nic: str | None = None
    #: The guest's disk that it is.
    disk: str | None = None


class Board(Struct, kw_only=True):
    """The machine of a command line."""

    #: The type of machine, as ``pc-i440fx-7.2``.
    machine: str
    #: The model of the processors (``-cpu``).
    cpu: str = "qemu64"
    topology: Topology | None = None
    devices: list[BoardDevice] = field(default_factory=list[BoardDevice])
    #: Objects by id (``-object``): their types.
    objects: dict[str, str] = field(default_factory=dict[str, str])
    #: The host's sides of network devices (``-netdev``).
    netdevs: list[str] = field(default_factory=list[str])
    #: Sizes of memory backends, by id.
    backends: dict[str, int] = field(default_factory=dict[str, int])
    #: Character devices by id, besides the agent's and the monitors': what query-chardev says.
    chardevs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    #: Nodes of ``-blockdev`` and ``-drive`` by name, with what they were made with.
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    #: Whether there is an agent's port.
    has_port: bool = True
    #: Whether it would run with KVM.
    has_kvm: bool = False
    #: The number of the process.
    pid: int | None = None
