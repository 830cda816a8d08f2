"""The routes that follow from the interfaces' addresses and gateways, as Windows has them.

What ``route print`` shows of a machine of today: a metric is that of the route and that of the
interface together.
"""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network
from typing import Final

from msgspec import Struct

from qgasim.guest.hardware.network import Nic

__all__ = ["WindowsRoute", "is_loopback", "list_windows_routes"]

#: Metrics of interfaces, by their speed: 1 Gbit/s, and the loopback.
_NIC_METRIC: Final = 25
_LOOPBACK_METRIC: Final = 75
#: The metric of a route to what is on the link; one through a gateway has 0.
_ON_LINK: Final = 256
_LOOPBACK_MTU: Final = 0xFFFF_FFFF


class WindowsRoute(Struct, frozen=True, kw_only=True):
    """A row of GetIpForwardTable2()."""

    nic: str
    network: IPv4Network | IPv6Network
    gateway: str
    metric: int
    mtu: int


def is_loopback(nic: Nic) -> bool:
    """Return whether an interface is the loopback."""
    return any(address.startswith(("127.", "::1/")) for address in nic.addresses)


def list_windows_routes(nics: list[Nic]) -> list[WindowsRoute]:
    """Return the routes, IPv4 first, and of those the ones through gateways."""
    routes = [route for nic in nics if nic.up for route in _routes_of(nic)]
    return sorted(
        routes,
        key=lambda route: (
            route.network.version,
            int(route.network.network_address),
            route.network.prefixlen,
        ),
    )


def _routes_of(nic: Nic) -> Iterator[WindowsRoute]:
    interface_metric = _LOOPBACK_METRIC if is_loopback(nic) else _NIC_METRIC
    mtu = _LOOPBACK_MTU if is_loopback(nic) else nic.mtu

    def route(network: str, gateway: str, metric: int) -> WindowsRoute:
        return WindowsRoute(
            nic=nic.name,
            network=ip_network(network),
            gateway=gateway,
            metric=metric + interface_metric,
            mtu=mtu,
        )

    for gateway in nic.gateways:
        yield route("::/0" if ":" in gateway else "0.0.0.0/0", gateway, 0)
    versions: set[int] = set()
    for address in nic.addresses:
        # A zone is no part of a route.
        ip, _, prefix = address.partition("/")
        interface = ip_interface(f"{ip.partition('%')[0]}/{prefix}")
        nowhere = "0.0.0.0" if interface.version == 4 else "::"  # noqa: S104
        width = interface.max_prefixlen
        versions.add(interface.version)
        if interface.network.prefixlen < width:
            yield route(str(interface.network), nowhere, _ON_LINK)
        yield route(f"{interface.ip}/{width}", nowhere, _ON_LINK)
        if interface.version == 4 and interface.network.prefixlen < 31:
            yield route(f"{interface.network.broadcast_address}/32", nowhere, _ON_LINK)
    if 4 in versions:
        yield route("224.0.0.0/4", "0.0.0.0", _ON_LINK)  # noqa: S104
        yield route("255.255.255.255/32", "0.0.0.0", _ON_LINK)  # noqa: S104
    if 6 in versions:
        yield route("ff00::/8", "::", _ON_LINK)
