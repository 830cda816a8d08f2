"""The routes that follow from the interfaces' addresses and gateways, as Linux lists them."""

from collections.abc import Iterator
from functools import cmp_to_key
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface

from msgspec import Struct

from qgasim.guest.hardware.network import Nic

__all__ = ["Route", "list_routes4", "list_routes6"]

# include/uapi/linux/route.h and ipv6_route.h
UP, GATEWAY = 0x1, 0x2
REJECT, NONEXTHOP, LOCAL = 0x200, 0x0020_0000, 0x8000_0000
MULTICAST, ANY = IPv6Network("ff00::/8"), IPv6Network("::/0")
METRIC6, METRIC6_GATEWAY, METRIC6_NONE = 256, 1024, 0xFFFF_FFFF


class Route(Struct, frozen=True, kw_only=True):
    """A line of /proc/net/route or /proc/net/ipv6_route."""

    nic: str
    network: IPv4Network | IPv6Network
    gateway: str | None = None
    flags: int = UP
    metric: int = 0
    references: int = 0


def _interfaces(nic: Nic) -> list[IPv4Interface | IPv6Interface]:
    return [ip_interface(address) for address in nic.addresses] if nic.up else []


def list_routes4(nics: list[Nic]) -> list[Route]:
    """Return the routes of /proc/net/route: by destination, the narrower network first."""
    routes: list[Route] = []
    for nic in nics:
        if nic.name == "lo" or not nic.up:
            continue
        for gateway in nic.gateways:
            if "." in gateway:
                network = IPv4Network("0.0.0.0/0")
                flags = UP | GATEWAY
                routes.append(Route(nic=nic.name, network=network, gateway=gateway, flags=flags))
        routes += [
            Route(nic=nic.name, network=interface.network)
            for interface in _interfaces(nic)
            if isinstance(interface, IPv4Interface) and interface.network.prefixlen < 32
        ]
    return sorted(routes, key=lambda r: (int(r.network.network_address), -r.network.prefixlen))


def list_routes6(nics: list[Nic]) -> list[Route]:
    """Return the routes of /proc/net/ipv6_route: the main table, then the local one.

    Each is walked from the leaves to the root, which holds the route to nowhere.
    """
    main, local = list(_main6(nics)), list(_local6(nics))
    nowhere = Route(
        nic="lo", network=ANY, flags=REJECT | NONEXTHOP, metric=METRIC6_NONE, references=1
    )
    if not any(route.network == ANY for route in main):
        main.append(nowhere)
    by_tree = cmp_to_key(_compare)
    return [*sorted(main, key=by_tree), *sorted(local, key=by_tree), nowhere]


def _compare(a: Route, b: Route) -> int:
    """Order two routes as the tree is walked: what lies in a network comes before it."""
    first, second = a.network, b.network
    if first == second:
        return 0
    assert isinstance(first, IPv6Network)
    assert isinstance(second, IPv6Network)
    if first.subnet_of(second):
        return -1
    if second.subnet_of(first):
        return 1
    return -1 if first.network_address < second.network_address else 1


def _speaks(nic: Nic) -> int:
    """Count the use that the kernel itself makes of a link-local address: it sends MLD reports.

    UNVERIFIED: the rule is read out of the references in one recording.
    """
    return int(any(address.lower().startswith("fe80:") for address in nic.addresses))


def _main6(nics: list[Nic]) -> Iterator[Route]:
    for nic in nics:
        for interface in _interfaces(nic):
            if isinstance(interface, IPv6Interface) and interface.network.prefixlen < 128:
                used = 1 if interface.is_link_local else 0
                yield Route(
                    nic=nic.name, network=interface.network, metric=METRIC6, references=1 + used
                )
        for gateway in nic.gateways:
            if nic.up and ":" in gateway:
                yield Route(
                    nic=nic.name,
                    network=ANY,
                    gateway=gateway,
                    flags=UP | GATEWAY,
                    metric=METRIC6_GATEWAY,
                    references=1,
                )


def _local6(nics: list[Nic]) -> Iterator[Route]:
    for nic in nics:
        addresses = [i for i in _interfaces(nic) if isinstance(i, IPv6Interface)]
        for interface in addresses:
            yield Route(
                nic=nic.name,
                network=IPv6Network(interface.ip),
                flags=UP | NONEXTHOP | LOCAL,
                references=3 if interface.is_link_local else 2,
            )
        if nic.up and nic.name != "lo":
            yield Route(
                nic=nic.name, network=MULTICAST, metric=METRIC6, references=1 + _speaks(nic)
            )
