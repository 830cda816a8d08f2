"""Commands that ask for what the machine is."""

from ipaddress import ip_address
from typing import Any, Final, Literal

from qgasim.errors import CommandError, DeviceNotFound
from qgasim.qapi.annotations import Json
from qgasim.qapi.arguments import glib_order
from qgasim.qmp.board import Topology
from qgasim.qmp.devices import Cpu
from qgasim.qmp.hypervisor import NO_UUID
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import command

__all__ = ["MADE_UP_THREAD", "cpu_place", "cpu_type", "list_chardevs"]

#: The host's number of the thread that runs the first processor: there is none.
MADE_UP_THREAD: Final = 1000


@command()
def query_version(monitor: Monitor) -> Any:
    """Return QEMU's version, as the greeting does."""
    return monitor.version()


@command()
def query_commands(monitor: Monitor) -> Any:
    """List the commands of the release, the latest in the schema first."""
    return [{"name": name} for name in monitor.release.commands]


@command()
def query_qmp_schema(monitor: Monitor) -> Json:
    """Describe all commands, events and types of the release."""
    return monitor.release.schema


@command()
def query_name(monitor: Monitor) -> Any:
    """Return the machine's name, if it has one."""
    name = monitor.hypervisor.settings.name
    return {} if name is None else {"name": name}


@command()
def query_uuid(monitor: Monitor) -> Any:
    """Return the machine's UUID."""
    return {"UUID": monitor.hypervisor.settings.uuid or NO_UUID}


@command()
def query_kvm(monitor: Monitor) -> Any:
    """Return whether the host's processors run the guest: an emulator says so where it was asked to and could."""
    board = monitor.hypervisor.devices.board
    return {"enabled": board is not None and board.has_kvm, "present": True}


@command()
def query_target(monitor: Monitor) -> Any:
    """Return the machine's architecture."""
    return {"arch": "x86_64"}


@command()
def query_current_machine(monitor: Monitor) -> Any:
    """Return whether the machine can be woken."""
    return {"wakeup-suspend-support": True}


# -- ways to the host ----------------------------------------------------------------------------


@command()
def query_iothreads(monitor: Monitor) -> Any:
    """List the threads for I/O (objects ``iothread``), with their settings or the defaults."""
    devices = monitor.hypervisor.devices
    pid = (
        MADE_UP_THREAD if devices.board is None or devices.board.pid is None else devices.board.pid
    )
    return [
        {
            "poll-shrink": each.properties.get("poll-shrink", 0),
            "thread-id": pid,
            "aio-max-batch": each.properties.get("aio-max-batch", 0),
            "poll-grow": each.properties.get("poll-grow", 0),
            "poll-max-ns": each.properties.get("poll-max-ns", 32768),
            "id": name,
        }
        for name, each in ((name, devices.objects[name]) for name in glib_order(devices.objects))
        if each.kind == "iothread"
    ]


def list_chardevs(monitor: Monitor) -> list[dict[str, Any]]:
    """Return the character devices: the agent's socket, the monitors, the console."""
    hypervisor = monitor.hypervisor
    mark = monitor.release.socket_mark
    board = hypervisor.devices.board
    found = dict(hypervisor.devices.first_chardevs)
    if board is None or board.has_port:
        found[hypervisor.settings.chardev] = _show_socket(
            hypervisor.agent_address + mark,
            hypervisor.port_is_open,
            is_connected=hypervisor.has_agent_client,
        )
    for each in hypervisor.monitors:
        assert isinstance(each, Monitor)
        found[each.label] = _show_socket(each.address + mark, True, is_connected=each.has_client)
    if board is None:
        found["serial0"] = {"frontend-open": True, "filename": "file"}
    found |= hypervisor.devices.chardevs
    return [{"label": name, **found[name]} for name in reversed(glib_order(found))]


def _show_socket(address: str, is_open: bool, *, is_connected: bool) -> dict[str, Any]:
    start = "" if is_connected else "disconnected:"
    return {"filename": f"{start}{address}", "frontend-open": is_open}


@command()
def query_chardev(monitor: Monitor) -> Any:
    """List the character devices. ``frontend-open`` is the guest's side, ``filename`` shows the client."""
    return list_chardevs(monitor)


@command()
def query_yank(monitor: Monitor) -> Any:
    """List the connections that can be cut."""
    monitors = monitor.hypervisor.monitors
    labels = [each.label for each in reversed(monitors) if isinstance(each, Monitor)]
    labels = [*labels, monitor.hypervisor.settings.chardev]
    return [{"type": "chardev", "id": label} for label in labels]


# -- processors and memory -----------------------------------------------------------------------


def cpu_type(monitor: Monitor) -> str:
    """Return the type of the processors."""
    board = monitor.hypervisor.devices.board
    return f"{board.cpu if board is not None else 'qemu64'}-x86_64-cpu"


def cpu_place(monitor: Monitor) -> Topology:
    """Return how processors are numbered."""
    devices = monitor.hypervisor.devices
    if devices.board is not None and devices.board.topology is not None:
        return devices.board.topology
    count = len(devices.cpus)
    return Topology(count, 1, 1) if monitor.release.cpus_are_sockets else Topology(1, count, 1)


def _cpu_props(monitor: Monitor, cpu: Cpu) -> dict[str, Any]:
    """Return QAPI ``CpuInstanceProperties``."""
    return {"node-id": 0, **cpu_place(monitor).place(cpu.index)}


def _thread(monitor: Monitor, cpu: Cpu) -> int:
    """Return the host's thread that runs a processor: of a process, its only one."""
    board = monitor.hypervisor.devices.board
    return MADE_UP_THREAD + cpu.index if board is None or board.pid is None else board.pid


@command()
def query_cpus_fast(monitor: Monitor) -> Any:
    """List the processors that are there; ``thread-id`` is made up, but for a process of its own."""
    release = monitor.release
    found: list[dict[str, Any]] = []
    for cpu in sorted(monitor.hypervisor.devices.cpus, key=lambda cpu: cpu.place):
        if cpu.path is not None:
            shown: dict[str, Any] = {
                "cpu-index": cpu.index,
                "qom-path": cpu.path,
                "thread-id": _thread(monitor, cpu),
                "props": _cpu_props(monitor, cpu),
                "target": "x86_64",
            }
            if release.tells_arch:
                shown["arch"] = "x86"
            if release.tells_cpu_type:
                shown["qom-type"] = cpu_type(monitor)
            found.append(shown)
    return found


@command()
def query_cpus(monitor: Monitor) -> Any:
    """List the processors that are there, and what they do; ``pc`` and ``thread_id`` are made up."""
    return [
        {
            "CPU": cpu.index,
            "current": cpu.index == 0,
            "halted": True,
            "qom_path": cpu.path,
            "thread_id": _thread(monitor, cpu),
            "props": _cpu_props(monitor, cpu),
            "arch": "x86",
            "pc": 0,
        }
        for cpu in monitor.hypervisor.devices.cpus
        if cpu.path is not None
    ]


@command()
def query_hotpluggable_cpus(monitor: Monitor) -> Any:
    """List the places for processors, the last one first."""
    return [
        {
            "type": cpu_type(monitor),
            "vcpus-count": 1,
            "props": _cpu_props(monitor, cpu),
            **({} if cpu.path is None else {"qom-path": cpu.path}),
        }
        for cpu in reversed(monitor.hypervisor.devices.cpus)
    ]


@command()
def query_memory_size_summary(monitor: Monitor) -> Any:
    """Return how much memory there is."""
    devices = monitor.hypervisor.devices
    plugged = sum(dimm.size for dimm in devices.dimms)
    return {"base-memory": devices.base_memory, "plugged-memory": plugged}


@command()
def query_memory_devices(monitor: Monitor) -> Any:
    """List the memory modules that are plugged in."""
    return [
        {
            "type": "dimm",
            "data": {
                "id": dimm.id,
                "addr": dimm.address,
                "size": dimm.size,
                "slot": dimm.slot,
                "node": 0,
                "memdev": f"/objects/{dimm.memdev}",
                "hotplugged": dimm.is_hotplugged,
                "hotpluggable": True,
            },
        }
        for dimm in sorted(monitor.hypervisor.devices.dimms, key=lambda dimm: dimm.address)
    ]


@command()
def query_memdev(monitor: Monitor) -> Any:
    """List the memory backends."""
    devices = monitor.hypervisor.devices
    order = [name for name in glib_order(devices.objects) if name in devices.backends()]
    if not monitor.release.lists_memdevs_forwards:
        order.reverse()

    def describe(name: str, given: dict[str, Any]) -> dict[str, Any]:
        sharing = {"share": given.get("share", False), "reserve": given.get("reserve", True)}
        return {
            "id": name,
            "size": given["size"],
            "merge": given.get("merge", True),
            "dump": given.get("dump", True),
            "prealloc": given.get("prealloc", False),
            **(sharing if monitor.release.tells_sharing else {}),
            "host-nodes": [],
            "policy": "default",
        }

    return [describe(name, devices.objects[name].properties) for name in order]


@command()
def query_acpi_ospm_status(monitor: Monitor) -> Any:
    """Return the guest's latest status of its places for memory and processors."""
    devices = monitor.hypervisor.devices

    def describe(kind: str, number: int, id: str | None) -> dict[str, Any]:
        source, status = devices.told.get((kind, number), (0, 0))
        named = {} if id is None else {"device": id}
        return {
            **named,
            "slot": str(number),
            "slot-type": kind,
            "source": source,
            "status": status,
        }

    dimms = {dimm.slot: dimm.id for dimm in devices.dimms}
    slots = [describe("DIMM", slot, dimms.get(slot)) for slot in range(devices.memory_slots)]
    when = monitor.release.tells_cpu_slots
    if when == "always" or (when == "booted" and monitor.hypervisor.has_booted):
        slots += [describe("CPU", cpu.index, cpu.id) for cpu in devices.cpus]
    return slots


# -- network -------------------------------------------------------------------------------------


@command()
def query_rx_filter(monitor: Monitor, name: str | None = None) -> Any:
    """Return what network devices receive; the next change of it is reported by an event."""
    hypervisor = monitor.hypervisor
    devices = hypervisor.devices.network()
    if name is not None:
        devices = [device for device in devices if name in (device.id, device.name)]
        if devices and not devices[0].driver.startswith("virtio-net"):
            raise CommandError(f"net client({name}) doesn't support rx-filter querying")
        if not devices and name in hypervisor.devices.netdevs:
            raise CommandError(f"net client({name}) isn't a NIC")
        if not devices:
            raise CommandError(f"invalid net client name: {name}")
    found: list[dict[str, Any]] = []
    for device in devices:
        if not device.driver.startswith("virtio-net"):
            continue
        device.tells_filter = True
        is_driven = hypervisor.has_booted
        lists_all = not is_driven and monitor.release.lists_all_vlans
        nics = [nic for nic in hypervisor.guest.nics if nic.name == device.nic]
        addresses = [ip for nic in nics for ip, _ in nic.ipv6()]
        found.append(
            {
                "name": device.id or device.name,
                "promiscuous": not is_driven,
                "multicast": "normal",
                "unicast": "normal",
                "vlan": "none" if is_driven else "all",
                "broadcast-allowed": False,
                "multicast-overflow": False,
                "unicast-overflow": False,
                "main-mac": device.properties["mac"],
                "vlan-table": list(range(4095, -1, -1)) if lists_all else [],
                "unicast-table": [],
                "multicast-table": _multicast(addresses) if is_driven else [],
            }
        )
    return found


def _multicast(addresses: list[str]) -> list[str]:
    """Return the groups that a guest of Linux is in: of each IPv6 address (RFC 4291, 2.7.1), and of all hosts."""
    solicited = [ip_address(address).packed[-3:] for address in addresses]
    groups = dict.fromkeys(f"33:33:ff:{low.hex(':')}" for low in solicited)
    return [*groups, "01:00:5e:00:00:01", "33:33:00:00:00:01"]


@command("set_link")
def set_link(monitor: Monitor, name: str, up: bool) -> None:
    """Plug a network cable in or out: the guest's interface loses its link. No event tells it."""
    hypervisor = monitor.hypervisor
    is_netdev = name in hypervisor.devices.netdevs
    for device in hypervisor.devices.network():
        if name in (device.id, device.name) or (is_netdev and device.properties["netdev"] == name):
            for nic in hypervisor.guest.nics:
                if nic.name == device.nic:
                    nic.up = up
            return
    if not is_netdev:
        raise DeviceNotFound(f"Device '{name}' not found")


# -- what every machine of a release answers alike -----------------------------------------------


def _register_constant(name: str) -> None:
    def answer(monitor: Monitor) -> Any:
        return monitor.release.answers[name]

    answer.__doc__ = (
        "Return what a machine with nothing of the kind returns, as the release was recorded."
    )
    command(name)(answer)


_CONSTANT: Final = (
    "query-chardev-backends",
    "query-colo-status",
    "query-dump",
    "query-events",
    "query-mice",
    "query-replay",
    "query-sev",
)
for _name in _CONSTANT:
    _register_constant(_name)


def _register_empty(name: str) -> None:
    def answer(monitor: Monitor) -> Any:
        return []

    answer.__doc__ = "List nothing: there are none."
    command(name)(answer)


for _name in (
    "query-jobs",
    "query-block-jobs",
    "query-pr-managers",
    "query-fdsets",
    "query-block-exports",
    "query-tpm",
    "query-vcpu-dirty-limit",
    "query-vnc-servers",
):
    _register_empty(_name)


@command()
def query_vnc(monitor: Monitor) -> Any:
    """Return whether there is a VNC server: there is none."""
    return {"enabled": False}


@command()
def query_gic_capabilities(monitor: Monitor) -> Any:
    """Return what interrupt controllers of ARM there can be: none."""
    raise CommandError("GIC hardware is not available on this target")


@command()
def query_dirty_rate(
    monitor: Monitor, calc_time_unit: Literal["second", "millisecond"] = "second"
) -> Any:
    """Return how fast the guest changes its memory: that was never measured."""
    answer = dict(monitor.release.answers["query-dirty-rate"])
    if "calc-time-unit" in answer:
        answer["calc-time-unit"] = calc_time_unit
    return answer
