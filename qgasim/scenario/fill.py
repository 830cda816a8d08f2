"""What a scenario leaves open, made up by Faker: always the same for the same seed."""

import random
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from msgspec import structs

from qgasim.guest.clone import clone
from qgasim.guest.hardware.network import Nic, derive_mac
from qgasim.guest.settings import GuestSettings
from qgasim.guest.system.accounts import Account

if TYPE_CHECKING:
    from faker import Faker

__all__ = ["AUTO", "SYSTEM_USERS", "count_up", "counted", "counts", "fill", "in_order"]

AUTO = "auto"
#: The users of a guest whose scenario names none; another's name is made up.
SYSTEM_USERS: Final = ("root", "daemon", "nobody")
#: RFC 5737: addresses for documentation.
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
_COUNT: Final = re.compile(r"\{i(:0?[0-9]{0,2}[dxX])?\}")


def counts(text: str) -> bool:
    """Return whether there is ``{i}`` in a text."""
    return "{i" in text and _COUNT.search(text) is not None


def count_up(text: str, number: int) -> str:
    """Put *number* in place of ``{i}`` in *text*."""
    return _COUNT.sub(lambda match: match[0].format(i=number), text)


def counted(text: str, count: int) -> Iterator[tuple[int, str]]:
    """Return *text* for each of *count* interfaces, with its number; once if it is always the same."""
    if not counts(text):
        yield 0, text
        return
    for number in range(count):
        yield number, count_up(text, number)


class _Maker:
    """Makes things up; Faker is imported only if something is to be made up."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._seed = seed
        self._faker: Faker | None = None

    @property
    def faker(self) -> "Faker":
        if self._faker is None:
            from faker import Faker  # noqa: PLC0415

            self._faker = Faker("en_US", use_weighting=False)
            self._faker.seed_instance(self._seed)
        return self._faker

    def mac(self) -> str:
        """Make a hardware address with QEMU's prefix."""
        return "52:54:00:" + ":".join(f"{self.random.randrange(256):02x}" for _ in range(3))

    def address(self) -> str:
        """Make an IPv4 address with its prefix length."""
        network = self.random.choice(_NETWORKS)
        return f"{network}.{self.random.randrange(10, 250)}/24"


def link_local(mac: str) -> str:
    """Return the IPv6 address that an interface makes of its hardware address (EUI-64)."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets = [octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]]
    groups = [f"{octets[i] << 8 | octets[i + 1]:x}" for i in range(0, 8, 2)]
    return f"fe80::{':'.join(groups)}/64"


def fill(settings: GuestSettings, seed: int) -> GuestSettings:
    """Return *settings* with everything decided. The same object twice gives the same guest."""
    maker = _Maker(seed)
    filled = clone(settings)
    if filled.hostname is None:
        filled.hostname = f"{maker.faker.word()}-{maker.random.randrange(100):02d}"
    if not filled.users:
        filled.users = _users(maker)
    filled.nics = [one for nic in filled.nics for one in _expand(nic)]
    for nic in in_order(filled.nics):
        if nic.mac == AUTO:
            nic.mac = maker.mac()
        derive_mac(nic, filled.nics)
        if AUTO in nic.addresses:
            made = [maker.address()]
            if nic.mac:
                made.append(link_local(nic.mac))
            nic.addresses = [a for a in nic.addresses if a != AUTO] + made
    for disk in filled.disks:
        if disk.serial == AUTO:
            disk.serial = maker.faker.bothify("QM########", letters="ABCDEF")
    return filled


def in_order(nics: list[Nic]) -> list[Nic]:
    """Return interfaces, each after those that it is made of; what is in a circle is left out."""
    if not any(nic.is_made_of_others for nic in nics):
        return nics
    found: dict[str, Nic] = {}
    names = {nic.name for nic in nics}
    left = list(nics)
    while left:
        ready = [nic for nic in left if all(n in found or n not in names for n in nic.parts())]
        if not ready:
            break
        found |= {nic.name: nic for nic in ready}
        left = [nic for nic in left if nic.name not in found]
    return list(found.values())


def _expand(nic: Nic) -> list[Nic]:
    """Return the interfaces that *nic* stands for."""
    if nic.count == 1:
        return [nic]
    return [
        structs.replace(
            nic,
            name=count_up(nic.name, i),
            mac=nic.mac and count_up(nic.mac, i),
            permanent_mac=nic.permanent_mac and count_up(nic.permanent_mac, i),
            addresses=[count_up(address, i) for address in nic.addresses],
            vlan=nic.vlan and structs.replace(nic.vlan, on=count_up(nic.vlan.on, i)),
            bond=[count_up(name, i) for name in nic.bond],
            bridge=[count_up(name, i) for name in nic.bridge],
            count=1,
        )
        for i in range(nic.count)
    ]


def _users(maker: _Maker) -> dict[str, Account]:
    first = maker.faker.first_name()
    name = first.lower()
    return {
        "root": Account(uid=0, gid=0, home="/root", comment="root"),
        "daemon": Account(uid=1, gid=1, home="/usr/sbin", shell="/usr/sbin/nologin"),
        "nobody": Account(
            uid=65534, gid=65534, home="/nonexistent", shell="/usr/sbin/nologin", has_home=False
        ),
        name: Account(
            uid=1000, gid=1000, home=f"/home/{name}", comment=f"{first} {maker.faker.last_name()}"
        ),
    }
