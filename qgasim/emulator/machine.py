"""The machine that a command line describes, as its monitor shows it: settings, and the board."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from qgasim.emulator.command_line import (
    CommandLine,
    CommandLineError,
    parse_size,
    read_number,
)
from qgasim.emulator.hardware import DISKS, NETWORK
from qgasim.guest.hardware.network import Nic
from qgasim.guest.settings import GuestSettings
from qgasim.qmp import Board, BoardDevice, MachineSettings, Topology
from qgasim.qmp.settings import DimmSettings

__all__ = ["AGENT_PORT", "find_port", "make_board", "make_settings"]

#: The name of the port that guest agents open.
AGENT_PORT: Final = "org.qemu.guest_agent.0"
#: The type of machine of each alias (hw/i386/pc_piix.c, pc_q35.c).
_ALIASES: Final = {"": "pc-i440fx", "pc": "pc-i440fx", "q35": "pc-q35"}
#: What QEMU does if ``-action`` and ``-watchdog-action`` say nothing (softmmu/runstate-action.c).
_PANIC: Final = "poweroff"
_WATCHDOG: Final = "reset"
#: How many processors a type of machine takes (query-machines of 7.2.22). UNVERIFIED: those of 8.1 and later take more.
_PROCESSORS: Final = {"pc-i440fx": 255}
_MOST_PROCESSORS: Final = 288
#: How many slots for memory there can be (ACPI_MAX_RAM_SLOTS).
_SLOTS: Final = 256


def make_settings(line: CommandLine, release: str) -> MachineSettings:
    """Return how QEMU was started; *release*: which it is.

    Raises:
        CommandLineError: it cannot be read.
    """
    port = find_port(line) or {}
    actions = line.merged("action")
    drivers = {device["driver"] for _, device in line.devices()}
    incoming = line.value("incoming")
    start = "running"
    if incoming is not None:
        start = "incoming"
    elif line.has("S"):
        start = "prelaunch"
    keeps = line.has("no-shutdown") or actions.get("shutdown") == "pause"
    leaves = line.has("no-reboot") or actions.get("reboot") == "shutdown"
    panic, watchdog = None, None
    if drivers & {"pvpanic", "pvpanic-pci"}:
        panic = {"shutdown": "poweroff"}.get(*[actions.get("panic", _PANIC)] * 2)
    if drivers & {"i6300esb", "ib700"}:
        watchdog = line.value("watchdog-action") or actions.get("watchdog", _WATCHDOG)
    memory = line.merged("m")
    plain: dict[str, Any] = {
        "qemu": release,
        "name": line.name or None,
        "uuid": line.value("uuid"),
        "start": start,
        "on_shutdown": "pause" if keeps else "poweroff",
        "on_reboot": "shutdown" if leaves else "reset",
        "on_panic": panic,
        "watchdog": watchdog,
        "port": str(port.get("id", "channel0")),
        "chardev": str(port.get("chardev", "charchannel0")),
        "max_vcpus": _max_vcpus(line, release),
        "memory": line.memory,
        "memory_slots": _memory_slots(line),
        "max_memory": parse_size(str(memory["maxmem"]), "M") if "maxmem" in memory else None,
        "dimms": list(_dimms(line)),
    }
    return MachineSettings(**plain)


def _max_vcpus(line: CommandLine, release: str) -> int:
    """Return how many processors there can be, as many as the machine takes at most (hw/core/machine.c)."""
    count, machine = line.max_vcpus, _machine(line, release)
    limit = _PROCESSORS.get(machine.rpartition("-")[0], _MOST_PROCESSORS)
    if count > limit:
        text = f"Invalid SMP CPUs {count}. The max CPUs supported by machine '{machine}' is {limit}"
        raise CommandLineError(text)
    return count


def _memory_slots(line: CommandLine) -> int:
    for name, memory in line.describe("m"):
        if not re.fullmatch("[0-9]{1,9}", str(memory.get("slots", 0))):
            raise CommandLineError(f"{name}: Parameter 'slots' expects a number")
    slots = int(str(line.merged("m").get("slots", 0)))
    if slots > _SLOTS:
        raise CommandLineError(f"unsupported amount of memory slots: {slots}")
    return slots


def _dimms(line: CommandLine) -> Iterator[DimmSettings]:
    backends = _backends(line)
    for _, device in line.devices():
        if device["driver"] == "pc-dimm":
            memdev = str(device.get("memdev"))
            size = backends.get(memdev, 0)
            yield DimmSettings(id=str(device.get("id", "")), size=size, memdev=memdev)


def find_port(line: CommandLine) -> dict[str, Any] | None:
    """Return the device that is the agent's port; None: there is none."""
    for _, device in line.devices():
        if device["driver"] == "virtserialport" and device.get("name") == AGENT_PORT:
            return device
    return None


def make_board(line: CommandLine, guest: GuestSettings, release: str) -> Board:
    """Return the machine's devices and what else the command line says; *guest* has its hardware."""
    port = find_port(line)
    return Board(
        machine=_machine(line, release),
        cpu=(line.value("cpu") or "qemu64").split(",")[0],
        topology=_topology(line),
        devices=list(_devices(line, guest)),
        objects={
            str(o["id"]): str(o.get("qom-type")) for o in line.properties("object") if "id" in o
        },
        netdevs=[str(netdev["id"]) for netdev in line.properties("netdev") if "id" in netdev],
        backends=_backends(line),
        nodes=_nodes(line),
        has_port=port is not None,
        has_kvm=_has_kvm(line),
        pid=os.getpid(),
    )


def _has_kvm(line: CommandLine) -> bool:
    """Return whether QEMU would use KVM: libvirt asks again and again where it could and does not."""
    asked = [str(each.get("accel", "")) for each in line.properties("accel")]
    asked += str(line.merged("machine").get("accel", "")).split(":")
    wants = line.has("enable-kvm") or "kvm" in asked
    return wants and os.access("/dev/kvm", os.R_OK | os.W_OK)


def _machine(line: CommandLine, release: str) -> str:
    name = line.machine
    return f"{_ALIASES[name]}-{release}" if name in _ALIASES else name


def _topology(line: CommandLine) -> Topology | None:
    smp = line.merged("smp")
    if not smp:
        return None
    parts = ("sockets", "cores", "threads")
    # Zero is one (hw/core/machine-smp.c).
    counts = [max(1, read_number(smp.get(part, 1), f"smp.{part}")) for part in parts]
    # Sockets come first before 6.2's machines, then cores (hw/core/machine-smp.c); libvirt says all three.
    if "sockets" not in smp:
        counts[0] = max(1, line.max_vcpus // (counts[1] * counts[2]))
    return Topology(*counts)


def _backends(line: CommandLine) -> dict[str, int]:
    """Return the sizes of memory backends by id, without that of the machine's own memory."""
    own = line.merged("machine").get("memory-backend")
    backends: dict[str, int] = {}
    for name, each in line.describe("object"):
        if str(each.get("qom-type", "")).startswith("memory-backend-"):
            if "id" not in each:
                raise CommandLineError(f"{name}: Parameter 'id' is missing")
            if each["id"] != own:
                backends[str(each["id"])] = parse_size(str(each.get("size", 0)), "b")
    return backends


def _nodes(line: CommandLine) -> dict[str, dict[str, Any]]:
    nodes = {
        str(node["node-name"]): node for node in line.properties("blockdev") if "node-name" in node
    }
    nodes |= {str(drive["id"]): drive for drive in line.properties("drive") if "id" in drive}
    return nodes


def _devices(line: CommandLine, guest: GuestSettings) -> Iterator[BoardDevice]:
    """Yield the devices that have an id; interfaces and disks are the guest's, in order."""
    cards = iter(_cards(guest.nics))
    disks: dict[str, Iterator[str]] = {}
    for _, device in line.devices():
        driver = device["driver"]
        nic = next(cards, None) if NETWORK.fullmatch(driver) else None
        disk = None
        if driver in DISKS:
            kind = DISKS[driver][1]
            names = (each.name for each in guest.disks if each.name.startswith(kind))
            disk = next(disks.setdefault(kind, names), None)
        if "id" not in device or driver == "pc-dimm":
            continue
        properties = {name: value for name, value in device.items() if name not in ("id", "driver")}
        if nic is not None:
            properties = {"netdev": "", **properties, "mac": nic.mac}
        yield BoardDevice(
            id=str(device["id"]),
            driver=driver,
            properties=_typed(properties),
            nic=None if nic is None else nic.name,
            disk=disk,
        )


def _cards(nics: list[Nic]) -> Iterator[Nic]:
    return (nic for nic in nics if nic.mac and nic.name != "lo" and not nic.is_made_of_others)


def _typed(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties with the types that QOM has: numbers and truths that were written as text."""
    words = {"on": True, "off": False, "true": True, "false": False}
    typed: dict[str, Any] = {}
    for name, value in properties.items():
        text = value if isinstance(value, str) else ""
        typed[name] = words.get(text, value)
        if re.fullmatch(r"\d{1,15}", text) and name not in ("serial", "drive", "addr"):
            typed[name] = int(text)
    return typed
