"""Commands about processors, memory and network interfaces."""

import errno
from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from typing import Annotated, Literal

from msgspec import Struct
from msgspec.structs import astuple

from qgasim.agent import Agent
from qgasim.errors import CommandError
from qgasim.guest.hardware.network import parse_address
from qgasim.guest.hardware.routes import Route, list_routes4, list_routes6
from qgasim.guest.hardware.sysfs import directory_order
from qgasim.qapi.annotations import Between, Exact, Form, Names, Since, Statistic, UInt64
from qgasim.qapi.registry import LINUX, command

__all__ = [
    "IpAddress",
    "LoadAverage",
    "LogicalProcessor",
    "NetworkInterface",
    "NetworkInterfaceStat",
    "NetworkRoute",
]


class IpAddress(Struct, frozen=True, cache_hash=True, rename="kebab"):
    """QAPI ``GuestIpAddress``."""

    ip_address: Annotated[str, Form("address")]
    ip_address_type: Annotated[Literal["ipv4", "ipv6"], Exact()]
    prefix: Annotated[int, Between(0, 32)]


class NetworkInterfaceStat(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestNetworkInterfaceStat``."""

    rx_bytes: UInt64
    rx_packets: UInt64
    rx_errs: UInt64
    rx_dropped: UInt64
    tx_bytes: UInt64
    tx_packets: UInt64
    tx_errs: UInt64
    tx_dropped: UInt64


class NetworkInterface(Struct, frozen=True, cache_hash=True, rename="kebab"):
    """QAPI ``GuestNetworkInterface``."""

    name: Annotated[str, Names("interface", "lists")]
    hardware_address: Annotated[str, Form("mac")] | None
    ip_addresses: tuple[IpAddress, ...] | None
    statistics: Annotated[NetworkInterfaceStat, Since((2, 11))] | None


@command(since=(1, 1), platforms=LINUX)
def guest_network_get_interfaces(agent: Agent) -> list[NetworkInterface]:
    """List the network interfaces with their addresses and counters.

    Counters are looked up at an interface's first address, so one without any has none.
    """
    uptime = agent.guest.clock.uptime()
    return [
        NetworkInterface(
            nic.name,
            nic.mac,
            _ip_addresses(tuple(nic.addresses)) or None,
            NetworkInterfaceStat(*astuple(nic.counters_at(uptime))) if nic.addresses else None,
        )
        for nic in agent.guest.nics
    ]


@lru_cache(maxsize=4096)
def _ip_addresses(addresses: tuple[str, ...]) -> tuple[IpAddress, ...]:
    parsed = map(parse_address, addresses)
    # getifaddrs() lists all IPv4 addresses before those of IPv6.
    return tuple(
        IpAddress(ip, "ipv4" if version == 4 else "ipv6", prefix)
        for version, ip, prefix in sorted(parsed, key=itemgetter(0))
    )


class NetworkRoute(Struct, frozen=True, kw_only=True):
    """QAPI ``GuestNetworkRoute``."""

    iface: Annotated[str, Names("interface")]
    destination: Annotated[str, Exact()]
    metric: int
    gateway: Annotated[str, Form("address")] | None = None
    mask: Annotated[str, Exact()] | None = None
    irtt: int | None = None
    flags: UInt64 | None
    refcnt: int | None
    use: int | None
    window: int | None = None
    mtu: int | None = None
    desprefixlen: Annotated[str, Exact()] | None = None
    source: Annotated[str, Exact()] | None = None
    srcprefixlen: Annotated[str, Exact()] | None = None
    nexthop: Annotated[str, Form("address")] | None = None
    version: Annotated[int, Exact()]


@command(since=(9, 1), platforms={"linux": (9, 1)}, is_conditional=True)
def guest_network_get_route(agent: Agent) -> list[NetworkRoute]:
    """List the routes of the kernel's tables, IPv4 first."""
    nics = agent.guest.nics
    read = _to_int if agent.dialect.extends_route_signs else int
    return [
        *map(_describe_route4, list_routes4(nics)),
        *(_describe_route6(route, read) for route in list_routes6(nics)),
    ]


def _describe_route4(route: Route) -> NetworkRoute:
    return NetworkRoute(
        iface=route.nic,
        destination=str(route.network.network_address),
        metric=route.metric,
        gateway=route.gateway or "0.0.0.0",  # noqa: S104
        mask=str(route.network.netmask),
        irtt=0,
        flags=route.flags,
        refcnt=route.references,
        use=0,
        window=0,
        mtu=0,
        version=4,
    )


def _describe_route6(route: Route, read: Callable[[int], int]) -> NetworkRoute:
    return NetworkRoute(
        iface=route.nic,
        destination=str(route.network.network_address),
        # Both are read into a C int (commands-linux.c): the metric's type in the schema is signed.
        metric=read(route.metric),
        flags=read(route.flags) % (1 << 64),
        refcnt=route.references,
        use=0,
        desprefixlen=str(route.network.prefixlen),
        source="::",
        srcprefixlen="0",
        nexthop=route.gateway or "::",
        version=6,
    )


def _to_int(value: int) -> int:
    """Return what a C int of 32 bits makes of *value*."""
    return value - (1 << 32) if value >= 1 << 31 else value


class LoadAverage(Struct, frozen=True):
    """QAPI ``GuestLoadAverage``."""

    load1m: float
    load5m: float
    load15m: float


@command(since=(10, 0), platforms={"linux": (10, 0), "freebsd": (10, 0)}, is_conditional=True)
def guest_get_load(agent: Agent) -> LoadAverage:
    """Return how many processes wanted to run, on an average of 1, 5 and 15 minutes."""
    return LoadAverage(*agent.guest.load())


class LogicalProcessor(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestLogicalProcessor``."""

    logical_id: Annotated[int, Names("processor", "lists", is_argument=True)]
    online: Annotated[bool, Exact()]
    can_offline: bool | None = None


@command(since=(1, 5), platforms=LINUX)
def guest_get_vcpus(agent: Agent) -> list[LogicalProcessor]:
    """List the logical processors."""
    cpus = directory_order(agent.guest.vcpus, lambda cpu: f"cpu{cpu.id}")
    if not agent.dialect.reads_cpu_directory:
        cpus = sorted(agent.guest.vcpus, key=lambda cpu: cpu.id)
    return [LogicalProcessor(cpu.id, cpu.online, cpu.can_offline) for cpu in cpus]


@command(since=(1, 5), platforms=LINUX)
def guest_set_vcpus(agent: Agent, vcpus: list[LogicalProcessor]) -> int:
    """Switch processors on and off; tell how many were done before the first that could not be."""
    for done, wanted in enumerate(vcpus):
        try:
            _set_vcpu(agent, wanted)
        except CommandError:
            if done == 0:
                raise
            return done
    return len(vcpus)


def _set_vcpu(agent: Agent, wanted: LogicalProcessor) -> None:
    cpus = agent.guest.vcpus
    directory = f"/sys/devices/system/cpu/cpu{wanted.logical_id}/"
    cpu = next((cpu for cpu in cpus if cpu.id == wanted.logical_id), None)
    if cpu is None:
        raise CommandError(agent.dialect.no_cpu_text.format(directory))
    if not cpu.can_offline:
        # It has no file "online"; to switch it on counts as done.
        if not wanted.online:
            raise CommandError(f"logical processor #{cpu.id} can't be offlined")
        return
    if not wanted.online and cpu.online and sum(c.online for c in cpus) == 1:
        raise CommandError(f'pwrite("{directory}/online"): Device or resource busy')
    cpu.online = wanted.online


class MemoryBlock(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestMemoryBlock``."""

    phys_index: Annotated[UInt64, Names("memory block", "lists", is_argument=True)]
    online: Annotated[bool, Exact()]
    can_offline: bool | None = None


class MemoryBlockResponse(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestMemoryBlockResponse``."""

    phys_index: Annotated[UInt64, Exact()]
    response: Annotated[
        Literal["success", "not-found", "operation-not-supported", "operation-failed"], Exact()
    ]
    error_code: Annotated[int, Exact()] | None = None


class MemoryBlockInfo(Struct, frozen=True):
    """QAPI ``GuestMemoryBlockInfo``."""

    size: UInt64


@command(since=(2, 3), platforms=LINUX)
def guest_get_memory_blocks(agent: Agent) -> list[MemoryBlock]:
    """List the memory blocks, in the order of sysfs."""
    return [
        MemoryBlock(block.index, block.online, block.can_offline)
        for block in directory_order(
            agent.guest.memory.blocks, lambda block: f"memory{block.index}"
        )
    ]


@command(since=(2, 3), platforms=LINUX)
def guest_set_memory_blocks(agent: Agent, mem_blks: list[MemoryBlock]) -> list[MemoryBlockResponse]:
    """Switch memory blocks on and off; tell for each what came of it."""
    memory = agent.guest.memory
    result: list[MemoryBlockResponse] = []
    for wanted in mem_blks:
        index = wanted.phys_index
        if not memory.blocks:
            # No /sys/devices/system/memory at all.
            response = MemoryBlockResponse(index, "operation-not-supported", errno.ENOENT)
        else:
            try:
                memory.set_online(index, wanted.online)
            except FileNotFoundError:
                response = MemoryBlockResponse(index, "not-found", errno.ENOENT)
            except OSError as error:
                response = MemoryBlockResponse(index, "operation-failed", error.errno)
            else:
                response = MemoryBlockResponse(index, "success")
        result.append(response)
    return result


@command(since=(2, 3), platforms=LINUX)
def guest_get_memory_block_info(agent: Agent) -> MemoryBlockInfo:
    """Return the size of a memory block."""
    if not agent.guest.memory.blocks:
        raise CommandError('open("/sys/devices/system/memory/"): No such file or directory')
    return MemoryBlockInfo(agent.guest.memory.block_size)


class CpuStats(Struct, frozen=True):
    """QAPI ``GuestCpuStats`` of Linux, in ms."""

    type: Annotated[Literal["linux"], Exact()]
    cpu: Annotated[int, Names("processor", is_argument=True)]
    user: UInt64
    nice: UInt64
    system: UInt64
    idle: UInt64
    iowait: Statistic
    irq: Statistic
    softirq: Statistic
    steal: Statistic
    guest: Statistic
    guestnice: Statistic


@command(since=(7, 1), platforms=LINUX, is_conditional=True)
def guest_get_cpustats(agent: Agent) -> list[CpuStats]:
    """Return what each online processor has done, from /proc/stat."""
    result: list[CpuStats] = []
    for cpu in sorted(agent.guest.vcpus, key=lambda cpu: cpu.id):
        if not cpu.online:
            continue
        times = agent.guest.cpu_times(cpu)
        result.append(
            CpuStats(
                type="linux",
                cpu=cpu.id,
                user=times.user,
                nice=times.nice,
                system=times.system,
                idle=times.idle,
                iowait=times.iowait,
                irq=times.irq,
                softirq=times.softirq,
                steal=times.steal,
                guest=times.guest,
                guestnice=times.guestnice,
            )
        )
    return result
