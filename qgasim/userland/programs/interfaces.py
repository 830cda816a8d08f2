"""The guest's network interfaces, as ip looks at them."""

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Final

from qgasim.guest.hardware.network import Nic
from qgasim.guest.processes.process import Process

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
