"""Network interfaces as the older programs show them (ifconfig, route), and what ip shares."""

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Final

from qgasim.guest.hardware.network import Counters, Nic, find_masters
from qgasim.guest.processes.process import Process, Steps
from qgasim.userland.programs.getopt import parse
from qgasim.userland.programs.messages import is_busybox, pick
from qgasim.userland.programs.registry import program

__all__ = [
    "HARDWARE_ADDRESS",
    "find_nic",
    "gateways",
    "interfaces",
    "is_loopback",
    "networks",
    "set_up",
]

HARDWARE_ADDRESS: Final = r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}"


def find_nic(p: Process, name: str) -> Nic | None:
    """Find an interface."""
    return next((nic for nic in p.guest.nics if nic.name == name), None)


def is_loopback(nic: Nic) -> bool:
    """Return whether it is ``lo``."""
    return nic.name == "lo"


def interfaces(nic: Nic) -> list[IPv4Interface | IPv6Interface]:
    """Return the addresses of *nic*."""
    return [ip_interface(address) for address in nic.addresses]


def networks(p: Process, version: int) -> Iterator[tuple[Nic, IPv4Interface | IPv6Interface]]:
    """Return the networks to which there is a route: those of interfaces that are up."""
    for nic in p.guest.nics:
        for i in interfaces(nic):
            has_route = i.network.prefixlen < i.max_prefixlen and not is_loopback(nic)
            if nic.up and i.version == version and has_route:
                yield nic, i


def gateways(p: Process, version: int) -> Iterator[tuple[Nic, str]]:
    """Return the default gateways, with the interfaces through which they are reached."""
    for nic in p.guest.nics:
        for gateway in nic.gateways:
            if nic.up and (":" in gateway) == (version == 6):
                yield nic, gateway


def set_up(nic: Nic, *, up: bool) -> None:
    """Switch an interface. The kernel forgets its IPv6 addresses, and makes a link-local one anew."""
    if nic.up == up:
        return
    nic.up = up
    if not up:
        nic.addresses = [address for address in nic.addresses if ":" not in address]
    elif is_loopback(nic):
        nic.addresses.append("::1/128")
    elif nic.mac:
        parts = [int(part, 16) for part in nic.mac.split(":")]
        eui = bytes([parts[0] ^ 2, *parts[1:3], 0xFF, 0xFE, *parts[3:]])
        nic.addresses.append(IPv6Interface((b"\xfe\x80" + bytes(6) + eui, 64)).with_prefixlen)


def _amount(size: int) -> str:
    """Write bytes as ifconfig does: ``842.0 B``, ``1.2 KiB``."""
    number, unit = float(size), 0
    while number >= 1024 and unit < 4:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


_SCOPES: Final = {"Host": "0x10<host>", "Link": "0x20<link>", "Global": "0x0<global>"}


def _scope(i: IPv6Interface) -> str:
    return "Host" if i.is_loopback else "Link" if i.is_link_local else "Global"


#: Flags of the parts of a bond, and of the bond (include/uapi/linux/if.h).
_ROLES: Final = {"MASTER": 0x400, "SLAVE": 0x800}


def _show_busybox(nic: Nic, count: Counters, role: str | None) -> str:
    """Write what BusyBox's ifconfig does (and net-tools' did before 2.0)."""
    if is_loopback(nic):
        lines = [f"{nic.name:<9} Link encap:Local Loopback  "]
    else:
        lines = [f"{nic.name:<9} Link encap:Ethernet  HWaddr {(nic.mac or '').upper()}  "]
    for i in interfaces(nic):
        if isinstance(i, IPv6Interface):
            lines.append(f"inet6 addr: {i.with_prefixlen} Scope:{_scope(i)}")
            continue
        broadcast = "" if is_loopback(nic) else f"  Bcast:{i.network.broadcast_address}"
        lines.append(f"inet addr:{i.ip}{broadcast}  Mask:{i.netmask}")
    kind = "LOOPBACK RUNNING" if is_loopback(nic) else "BROADCAST RUNNING MULTICAST"
    if not nic.up:
        kind = "LOOPBACK" if is_loopback(nic) else "BROADCAST MULTICAST"
    if role:
        kind = kind.replace("MULTICAST", f"{role} MULTICAST")
    tails = " overruns:0 frame:0", " overruns:0 carrier:0"
    received, sent = _amount(count.rx_bytes), _amount(count.tx_bytes)
    lines += [
        f"{'UP ' if nic.up else ''}{kind}  MTU:{nic.mtu}  Metric:1",
        f"RX packets:{count.rx_packets} errors:{count.rx_errs} dropped:{count.rx_dropped}{tails[0]}",
        f"TX packets:{count.tx_packets} errors:{count.tx_errs} dropped:{count.tx_dropped}{tails[1]}",
        "collisions:0 txqueuelen:1000 ",
        f"RX bytes:{count.rx_bytes} ({received})  TX bytes:{count.tx_bytes} ({sent})",
    ]
    return "\n          ".join(lines) + "\n\n"


def _show_gnu(nic: Nic, count: Counters, role: str | None) -> str:
    """Write what net-tools' ifconfig does."""
    flags = 0x48 if is_loopback(nic) else 0x1042
    names = ["LOOPBACK", "RUNNING"] if is_loopback(nic) else ["BROADCAST", "RUNNING", "MULTICAST"]
    if role:
        flags, names = flags + _ROLES[role], [*names[:-1], role, names[-1]]
    if nic.up:
        flags, names = flags + 1, ["UP", *names]
    else:
        flags, names = flags - 0x40, [name for name in names if name != "RUNNING"]
    lines = [f"{nic.name}: flags={flags}<{','.join(names)}>  mtu {nic.mtu}"]
    for i in interfaces(nic):
        if isinstance(i, IPv6Interface):
            scope = _SCOPES[_scope(i)]
            lines.append(f"inet6 {i.ip}  prefixlen {i.network.prefixlen}  scopeid {scope}")
            continue
        broadcast = "" if is_loopback(nic) else f"  broadcast {i.network.broadcast_address}"
        lines.append(f"inet {i.ip}  netmask {i.netmask}{broadcast}")
    if is_loopback(nic):
        lines.append("loop  txqueuelen 1000  (Local Loopback)")
    elif nic.mac:
        lines.append(f"ether {nic.mac}  txqueuelen 1000  (Ethernet)")
    lines += [
        f"RX packets {count.rx_packets}  bytes {count.rx_bytes} ({_amount(count.rx_bytes)})",
        f"RX errors {count.rx_errs}  dropped {count.rx_dropped}  overruns 0  frame 0",
        f"TX packets {count.tx_packets}  bytes {count.tx_bytes} ({_amount(count.tx_bytes)})",
        f"TX errors {count.tx_errs}  dropped {count.tx_dropped} overruns 0  carrier 0  collisions 0",
    ]
    return "\n        ".join(lines) + "\n\n"


@program("ifconfig")
def ifconfig(p: Process) -> Steps:
    """Show interfaces, or switch one on or off."""
    words = [word for word in p.argv[1:] if word != "-a"]
    nics = [nic for nic in p.guest.nics if nic.up or "-a" in p.argv]
    if words:
        nic = find_nic(p, words[0])
        if nic is None:
            name = words[0]
            gnu = f"{name}: error fetching interface information: Device not found\n"
            busybox = f"ifconfig: {name}: error fetching interface information: Device not found\n"
            yield from p.write(2, pick(p, busybox, gnu))
            return 1
        for word in words[1:]:
            if word in ("up", "down"):
                set_up(nic, up=word == "up")
        nics = [] if words[1:] else [nic]
    show = _show_busybox if is_busybox(p) else _show_gnu
    masters = find_masters(p.guest.nics)
    for nic in nics:
        is_slave = nic.name in masters and bool(masters[nic.name].bond)
        role = "MASTER" if nic.bond else "SLAVE" if is_slave else None
        yield from p.write(1, show(nic, nic.counters_at(p.guest.clock.uptime()), role))
    return 0


@program("route")
def route(p: Process) -> Steps:
    """List the gateways and the networks that interfaces are in."""
    options = yield from parse(p, "neA:FC64", in_order=True)
    if options.operands:
        return 0
    heading = "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface"
    yield from p.write(1, f"Kernel IP routing table\n{heading}\n")
    everywhere = "0.0.0.0"  # noqa: S104
    is_numeric = "n" in options
    for nic, router in gateways(p, 4):
        where = f"{everywhere if is_numeric else 'default':<15} {router:<15} {everywhere:<15}"
        yield from p.write(1, f"{where} {'UG':<5} {0:<6} {0:<2} {0:7} {nic.name}\n")
    gateway = everywhere if is_numeric else pick(p, "*", everywhere)
    for nic, i in networks(p, 4):
        where = f"{i.network.network_address!s:<15} {gateway:<15} {i.network.netmask!s:<15}"
        yield from p.write(1, f"{where} {'U':<5} {0:<6} {0:<2} {0:7} {nic.name}\n")
    return 0
