"""The guest's network interfaces."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_interface
from typing import Final

from msgspec import Struct, field
from msgspec.structs import astuple

from qgasim.guest.units import SECOND, wrap

__all__ = ["Counters", "Nic", "Vlan", "derive_mac", "find_masters", "parse_address"]


@lru_cache(maxsize=4096)
def parse_address(address: str) -> tuple[int, str, int]:
    """Return the IP version, the address and the prefix length."""
    interface = ip_interface(address)
    return interface.version, str(interface.ip), interface.network.prefixlen


class Counters(Struct):
    """What an interface has carried (/proc/net/dev)."""

    #: Bytes received.
    rx_bytes: int = 0
    #: Packets received.
    rx_packets: int = 0
    #: Packets received that were damaged.
    rx_errs: int = 0
    #: Packets received that were dropped.
    rx_dropped: int = 0
    #: Bytes sent.
    tx_bytes: int = 0
    #: Packets sent.
    tx_packets: int = 0
    #: Packets that could not be sent.
    tx_errs: int = 0
    #: Packets to be sent that were dropped.
    tx_dropped: int = 0


_NO_GROWTH: Final = Counters()


class Vlan(Struct, kw_only=True):
    """What a VLAN is part of."""

    #: The interface that carries it.
    on: str
    #: Its number, from 1 to 4094.
    id: int


class Nic(Struct, kw_only=True):
    """A network interface. *addresses* are in CIDR form: ``192.0.2.7/24``, ``fe80::1/64``."""

    #: The name; of several, it holds ``{i}``.
    name: str
    #: The hardware address; ``auto``: made up; absent: that of what it is made of (*vlan*, *bond*,
    #: *bridge*), or none (tunnels).
    mac: str | None = None
    #: The hardware address that it was made with, if it has another now, as part of a bond has.
    permanent_mac: str | None = None
    #: Addresses with their prefix lengths; ``auto``: made up.
    addresses: list[str] = field(default_factory=list[str])
    #: Gateways of the default routes, IPv4 and IPv6.
    gateways: list[str] = field(default_factory=list[str])
    #: It is a VLAN, as in ``{on: eth0, id: 7}``, and has the address of that interface.
    vlan: Vlan | None = None
    #: It is a bond of these interfaces: it has the address of the first one, and then so have all.
    bond: list[str] = field(default_factory=list[str])
    #: It is a bridge with these interfaces as ports, and has the lowest of their addresses.
    bridge: list[str] = field(default_factory=list[str])
    #: Whether the link is up.
    up: bool = True
    #: The largest packet, in bytes.
    mtu: int = 1500
    #: What it had carried at power-on.
    counters: Counters = field(default_factory=Counters)
    #: What it carries in each second of guest time.
    growth: Counters = field(default_factory=Counters)
    #: How many such interfaces there are. ``{i}`` in *name*, *mac* and *addresses* counts them from
    #: 0, ``{i:02x}`` in another format.
    count: int = 1

    @property
    def is_made_of_others(self) -> bool:
        """Return whether it is a VLAN, a bond or a bridge."""
        return self.vlan is not None or bool(self.bond or self.bridge)

    def parts(self) -> list[str]:
        """Return the names of the interfaces that it is made of."""
        return [*([self.vlan.on] if self.vlan else []), *self.bond, *self.bridge]

    def ipv4(self) -> list[tuple[str, int]]:
        """Return the IPv4 addresses with their prefix lengths."""
        return self._addresses(4)

    def ipv6(self) -> list[tuple[str, int]]:
        """Return the IPv6 addresses with their prefix lengths."""
        return self._addresses(6)

    def _addresses(self, version: int) -> list[tuple[str, int]]:
        parsed = [parse_address(address) for address in self.addresses]
        return [(ip, prefix) for family, ip, prefix in parsed if family == version]

    def counters_at(self, uptime: int) -> Counters:
        """Return the counters after *uptime* ns; the kernel's have 64 bits (include/uapi/linux/if_link.h)."""
        if self.growth == _NO_GROWTH:
            return self.counters
        return Counters(
            *[
                wrap(start + each * uptime // SECOND)
                for start, each in zip(astuple(self.counters), astuple(self.growth), strict=True)
            ]
        )


def derive_mac(nic: Nic, nics: Sequence[Nic]) -> None:
    """Assign to an interface the hardware address that follows from those that it is made of.

    Linux: vlan_dev_init() and bond_enslave() copy it, the first port's to all of a bond;
    br_stp_recalculate_bridge_id() takes the lowest.
    """
    if not nic.is_made_of_others:
        return
    named = {each.name: each for each in nics}
    parts = [named[name] for name in nic.parts() if name in named]
    macs = [part.mac for part in parts if part.mac]
    if nic.mac is None and macs:
        nic.mac = min(macs, key=str.lower) if nic.bridge else macs[0]
    if nic.bond:
        for part in parts:
            if part.mac != nic.mac:
                part.permanent_mac = part.permanent_mac or part.mac
            part.mac = nic.mac


def find_masters(nics: Iterable[Nic]) -> dict[str, Nic]:
    """Return the bonds and bridges, by the names of the interfaces that are part of them."""
    return {name: nic for nic in nics for name in (*nic.bond, *nic.bridge)}
