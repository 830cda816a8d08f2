"""Network interfaces and their routes, as far as an agent tells of them."""

from ipaddress import ip_address
from typing import Any, Final

from qgasim.guest.hardware.network import Counters, Nic
from qgasim.guest.settings import GuestSettings
from qgasim.record.survey import Survey, objects_in

__all__ = ["has_no_prefixes", "make_nics"]

#: The packets of a loopback interface (Linux, drivers/net/loopback.c: 64 KiB).
_LOOPBACK_MTU: Final = 65536


def make_nics(guest: GuestSettings, survey: Survey) -> None:
    """Set the guest's interfaces from a survey."""
    listed = survey.objects("guest-network-get-interfaces")
    if listed is None:
        return
    routes = survey.objects("guest-network-get-route") or []
    guest.nics = [_nic(entry, routes) for entry in listed]


def has_no_prefixes(survey: Survey) -> bool:
    """Return whether no address has a prefix length, as in builds for Windows XP."""
    try:
        listed = survey.objects("guest-network-get-interfaces") or []
        prefixes = [a.get("prefix") for nic in listed for a in objects_in(nic.get("ip-addresses"))]
    except TypeError:
        return False
    return bool(prefixes) and all(prefix == -1 for prefix in prefixes)


def _nic(entry: dict[str, Any], routes: list[dict[str, Any]]) -> Nic:
    name = str(entry["name"])
    mac = entry.get("hardware-address")
    nic = Nic(
        name=name,
        mac=mac,
        addresses=[_address(each) for each in objects_in(entry.get("ip-addresses"))],
        gateways=[gateway for route in routes if (gateway := _gateway(name, route))],
    )
    if statistics := entry.get("statistics"):
        nic.counters = Counters(**{key.replace("-", "_"): each for key, each in statistics.items()})
    if any(address.startswith(("127.", "::1/")) for address in nic.addresses):
        nic.mtu = _LOOPBACK_MTU
    return nic


def _address(told: dict[str, Any]) -> str:
    ip = str(told["ip-address"])
    prefix = told.get("prefix", -1)
    if prefix < 0:
        # What is most usual.
        prefix = 64 if ":" in ip else 24
    return f"{ip}/{prefix}"


def _gateway(name: str, route: dict[str, Any]) -> str | None:
    """Return the gateway of a default route of the interface *name*."""
    gateway = str(route.get("nexthop") or route.get("gateway") or "")
    is_default = route.get("mask") == "0.0.0.0" or route.get("desprefixlen") == "0"  # noqa: S104
    try:
        is_there = not ip_address(gateway).is_unspecified
    except ValueError:
        return None
    return gateway if route.get("iface") == name and is_default and is_there else None
