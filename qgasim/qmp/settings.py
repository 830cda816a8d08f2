"""What a scenario says about the machine around a guest: its keys, their defaults and meaning.

The ``#:`` comments become the reference page and the descriptions in the JSON Schema.
"""

from typing import Literal

from msgspec import Struct, field

from qgasim.guest.units import Size

__all__ = ["DimmSettings", "MachineSettings"]


class DimmSettings(Struct, kw_only=True, forbid_unknown_fields=True):
    """Memory that was plugged in on the command line (``-device pc-dimm``)."""

    #: The device's id.
    id: str
    #: Its size.
    size: Size
    #: The id of the object that is its memory; ``mem`` and its own id by default, as libvirt has it.
    memdev: str | None = None


class MachineSettings(Struct, kw_only=True, forbid_unknown_fields=True):
    """The QEMU around the guest, as its monitor (QMP) shows it."""

    #: The release of QEMU; that of the agent is another matter.
    qemu: Literal["5.2", "7.2", "10.0", "11.1"] = "7.2"
    #: What a distribution calls its package, as the greeting says it; nothing in QEMU's own builds.
    package: str = ""
    #: The machine's name (``-name``).
    name: str | None = None
    #: The machine's UUID (``-uuid``); absent: all zeros, as QEMU says then.
    uuid: str | None = None
    #: How QEMU is started: ``running``: the guest is up already; ``prelaunch``: as by ``-S``, it boots after
    #: ``cont``; ``incoming``: as by ``-incoming defer``, it comes from another host after ``migrate-incoming``.
    start: Literal["running", "prelaunch", "incoming"] = "running"
    #: What follows when the guest is off: QEMU ends, or stops (``-no-shutdown``; libvirt always).
    on_shutdown: Literal["poweroff", "pause"] = "poweroff"
    #: What follows when the guest resets itself: it boots again, or is off (``-no-reboot``).
    on_reboot: Literal["reset", "shutdown"] = "reset"
    #: What follows a panic of the guest's kernel, if there is a device that reports it (``-device pvpanic``);
    #: absent: there is none.
    on_panic: Literal["poweroff", "exit-failure", "pause", "none"] | None = None
    #: What follows when the guest's watchdog (``-device i6300esb``, ``/dev/watchdog``) expires; absent: there is
    #: none.
    watchdog: Literal["reset", "shutdown", "poweroff", "pause", "none"] | None = None
    #: What the guest does with the power button (``system_powerdown``).
    on_powerdown: Literal["shutdown", "ignore"] = "shutdown"
    #: The id of the agent's port (``-device virtserialport,id=``).
    port: str = "channel0"
    #: The id of what connects the port to the agent's socket (``-chardev socket,id=``).
    chardev: str = "charchannel0"
    #: How often the firmware resets the machine once more after a reset.
    firmware_resets: int = 0
    #: How many processors there can be (``-smp maxcpus=``); absent: as many as there are.
    max_vcpus: int | None = None
    #: The memory that is not plugged in; absent: all that the guest has, or 512 MiB.
    memory: Size | None = None
    #: How many places for memory modules there are (``-m slots=``).
    memory_slots: int = 0
    #: The most memory there can be, with that of modules (``-m maxmem=``); absent: 1 TiB for modules.
    max_memory: Size | None = None
    #: Memory that was plugged in on the command line.
    dimms: list[DimmSettings] = field(default_factory=list[DimmSettings])
