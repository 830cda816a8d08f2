"""Private values in what an agent says and is asked, replaced alike wherever they occur.

A `Redactor` replaces the same value by the same replacement, so that a recording stays coherent: an address
keeps its place in its network, an IPv6 address that was made of a hardware address follows that one, a
user's home directory the user. Replacements follow from a key, which is no part of what is written.

What identifies nothing stays: addresses of the ranges that replacements are taken from, loopback and
multicast addresses, the accounts that every system has, QEMU's own serial numbers, and names that the system
itself goes by, as the host name ``debian`` of a Debian.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import count
from typing import Any, Final, Literal, TypeAlias, get_args

from msgspec import Struct

from qgasim.errors import CommandError, RedactionError
from qgasim.wire import base64, is_array, is_object

__all__ = ["KINDS", "Kind", "Redactor", "Replacement", "strings_of"]

Kind: TypeAlias = Literal[
    "macs", "addresses", "hosts", "users", "serials", "wwns", "uuids", "labels", "paths", "outputs",
    "arguments", "keys", "passwords",
]  # fmt: skip
"""What is replaced: each kind can be kept on purpose."""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

#: Kinds that are not looked for afterwards: their replacement says nothing, and the original may be a megabyte
#: of anything, or a word.
_UNSEARCHED: Final = frozenset({"outputs", "arguments", "passwords"})
#: Kinds whose values are recognised by no pattern.
_WORDS: Final = frozenset({"hosts", "users", "serials", "wwns", "labels", "paths", "keys"})

# -- what stays ------------------------------------------------------------------------------------

#: RFC 5737 and RFC 2544; there are 515 networks in them.
_NETWORKS4: Final = tuple(
    map(IPv4Network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15"))
)
#: RFC 3849.
_NETWORK6: Final = IPv6Network("2001:db8::/32")
_ACCOUNTS: Final = frozenset(
    {
        "root", "daemon", "nobody", "administrator", "system", "guest", "localhost", "localdomain",
        "workgroup", "nt authority", "nt service", "local service", "network service",
        # What replacements are called.
        "host", "user", "label", "dir", "example",
    }
)  # fmt: skip
#: Names of directories that say what they are for, and not whose they are: clients go by some of them.
_DIRECTORIES: Final = frozenset(
    {
        "backup", "backups", "boot", "cdrom", "config", "data", "disk", "docker", "files", "floppy", "home", "images",
        "iso", "lib", "log", "media", "mnt", "nfs", "overlay", "public", "share", "shared", "storage", "tmp", "usb",
        "var",
    }
)  # fmt: skip
#: Default serial numbers of QEMU, libvirt and Proxmox VE, alone and as udev joins them with the model.
_SERIAL: Final = re.compile(r"(?:0QEMU_[A-Z_]+_)?(?:QM\d{5}|drive-[a-z]+\d+(?:-\d+)*)?")
#: Names that kernels, systemd, Windows and the usual software give to interfaces.
_INTERFACE: Final = re.compile(
    r"(?:lo|eth|em|bond|team|dummy|ifb|sit|tunl|gre|gretap|ip6tnl|ip6gre|ip_vti|ip6_vti|erspan|tun|tap|wg|vnet"
    r"|virbr|vmbr|fwbr|fwpr|fwln|docker|lxcbr|lxdbr|podman|cni|cbr|br|vxlan|flannel\.|cilium_vxlan|cilium_net"
    r"|cilium_host|kube-ipvs|nodelocaldns|vxlan\.calico|tailscale|zt|ppp|wlan|wwan|usb|can|ib|vtnet|vmx|re|ix"
    r"|igb|hassio|ovs-system|enc|pflog|pfsync|plip|bridge|gif|stf|utun|awdl|llw|anpi|ap|nic|lan|wan|macvtap)[0-9.:]*(?:-nic|p\d+)?"
    r"|(?:en|wl|ww|ib|sl)(?:[obcv]\d+|(?:P\d+)?(?:p\d+)?s\d+)(?:np?\d+|[fducisv]\d+)*(?:[.:]\d+)*"
    r"|(?:veth|cali|lxc|br-|tap|qvo|qvb|qbr)[0-9a-f-]{6,}(?:i\d+)?"
    r"|Ethernet\d*(?: Instance \d+)?(?: \d+)?|Wi-Fi(?: \d+)?|Local Area Connection(?: \d+|\* \d+)?"
    r"|Loopback Pseudo-Interface \d+|isatap|Teredo Tunneling Pseudo-Interface"
)

# -- what is where ---------------------------------------------------------------------------------

#: Members of replies, and of requests' arguments, by name.
_MEMBERS: Final[dict[str, str]] = {
    "hardware-address": "mac",
    "ip-address": "address",
    "destination": "address",
    "gateway": "address",
    "source": "address",
    "nexthop": "address",
    "host-name": "host",
    "domain": "host",
    "user": "user",
    "username": "user",
    "serial": "serial",
    "mountpoint": "path",
    "mountpoints": "path",
    "path": "path",
    "alias": "label",
    "iface": "interface",
    "out-data": "output",
    "err-data": "output",
    "buf-b64": "output",
    "input-data": "output",
    "keys": "key",
    "arg": "argument",
    "env": "argument",
    "password": "password",
}
#: Members of the same name that mean something else, by command.
_OF_COMMANDS: Final[dict[tuple[str, str], str]] = {
    ("guest-network-get-interfaces", "name"): "interface",
}
#: Members whose words identify no person: what the system, its file systems and its devices are called.
_GENERIC: Final = frozenset(
    {"id", "pretty-name", "variant", "variant-id", "type", "bus-type", "ip-address-type"}
)
_GENERIC_OF_COMMANDS: Final = frozenset({("guest-get-osinfo", "name"), ("guest-info", "name")})
#: More members in which nothing is replaced: numbers with points in them are no addresses.
_PUBLIC: Final = _GENERIC | {
    "version", "version-id", "kernel-release", "machine", "driver-name", "driver-version", "zone", "mask",
}  # fmt: skip

#: Directories below which everything is private: the first name is a user's, or not; of a path, and in a text.
_PRIVATE: Final = (
    r"(?:(?P<home>/home/|/Users/|/(?:run/)?media/|[A-Za-z]:\\Users\\)|/mnt/|/Volumes/)"
)
_PATH: Final = re.compile(_PRIVATE + r"(?P<rest>.*)", re.DOTALL)
_PATH_IN_TEXT: Final = re.compile(_PRIVATE + r"(?P<rest>[^\s'\":,;]*)")

_PATTERN: Final = re.compile(
    r"(?P<mac>(?<![\w:-])[0-9A-Fa-f]{2}(?P<mark>[:-])[0-9A-Fa-f]{2}(?:(?P=mark)[0-9A-Fa-f]{2}){4}(?![\w:-]))"
    r"|(?P<uuid>(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z]))"
    r"|(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)"
    r"|(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{1,4})?(?![\w:])"
    r"|(?P<account>[\w.+-]+)@(?P<host>[\w-]+(?:\.[\w-]+)*)"
)
_EUI64: Final = 0xFF_FE << 24
_SITES: Final = 60_000
#: How many replacements are tried that do not occur yet.
_ATTEMPTS: Final = 100
_WWN: Final = re.compile(r"(?:0x|naa\.|eui\.|wwn-0x|nvme\.)?([0-9A-Fa-f]{16,33})")


class Replacement(Struct, frozen=True):
    """What stands for an original value."""

    kind: Kind
    value: str


class _Addresses:
    """IP addresses moved to ranges for documentation, each network as a whole."""

    def __init__(self, digest: Callable[[str, str], str], move_mac: Callable[[str], str]) -> None:
        #: Returns hexadecimal digits that follow from a text.
        self._digest = digest
        self._move_mac = move_mac
        #: The first 24 bits of IPv4 addresses, and the first 48 of IPv6 addresses: what stands for them.
        self._networks: dict[int, int] = {}
        self._sites: dict[int, int] = {}
        #: Networks and sites of recorded addresses: they replace no others.
        self._used_networks: set[int] = set()
        self._used_sites: set[int] = set()

    def learn(self, address: IPv4Address | IPv6Address) -> None:
        """Move no other address to the network of this one."""
        if isinstance(address, IPv4Address):
            self._used_networks.add(int(address) >> 8)
        else:
            self._used_sites.add(int(address) >> 80)

    def move(self, address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
        """Return what stands for an address; itself if it identifies nothing."""
        return self._move4(address) if isinstance(address, IPv4Address) else self._move6(address)

    def _move4(self, address: IPv4Address) -> IPv4Address:
        value = int(address)
        if _is_public4(address):
            return address
        if address.is_link_local:
            # RFC 3927: the first and the last 256 are reserved.
            low = 256 + int(self._digest("ipv4", str(value))[:8], 16) % 65024
            return IPv4Address(value >> 16 << 16 | low)
        if value >> 8 not in self._networks:
            taken = {*self._networks.values(), *self._used_networks}
            network = next((each for each in _offered4() if each not in taken), None)
            if network is None:
                raise RedactionError("more networks of IPv4 than there are to stand for them")
            self._networks[value >> 8] = network
        return IPv4Address(self._networks[value >> 8] << 8 | value & 0xFF)

    def _move6(self, address: IPv6Address) -> IPv6Address:
        value = int(address)
        if address.ipv4_mapped is not None:
            return IPv6Address(0xFFFF << 32 | int(self._move4(address.ipv4_mapped)))
        if address.is_loopback or address.is_multicast or value == 0:
            return address
        low = value & (1 << 64) - 1
        is_documented = address in _NETWORK6
        if not is_documented or _is_eui64(low):
            low = self._move_interface(low)
        if address.is_link_local or is_documented:
            return IPv6Address(value >> 64 << 64 | low)
        site = value >> 80
        if site not in self._sites:
            start = int(_NETWORK6.network_address) >> 80
            taken = {*self._sites.values(), *self._used_sites}
            offered = (start | int(self._digest("ipv6", f"{site} {n}")[:4], 16) for n in count())
            if len(taken) > _SITES:
                raise RedactionError("more networks of IPv6 than there are to stand for them")
            self._sites[site] = next(each for each in offered if each not in taken)
        # The number of a subnet says nothing.
        return IPv6Address(self._sites[site] << 80 | (value >> 64 & 0xFFFF) << 64 | low)

    def _move_interface(self, number: int) -> int:
        """Return what stands for the lower half of an IPv6 address; a small number says nothing."""
        if number < 1 << 16:
            return number
        if _is_eui64(number):
            # Made of a hardware address (RFC 4291, appendix A).
            mac = (number >> 40 << 24 | number & 0xFFFFFF) ^ 2 << 40
            new = int(self._move_mac(_spell_mac(f"{mac:012x}", ":")).replace(":", ""), 16) ^ 2 << 40
            return new >> 24 << 40 | _EUI64 | new & 0xFFFFFF
        return int(self._digest("ipv6", f"{number:x}")[:16], 16) | 1 << 63


class Redactor:
    """Replaces private values, each by the same replacement wherever it occurs.

    Args:
        key: what replacements follow from; absent: random, so that a value cannot be found by trying.
        keep: the kinds that are left as they are.

    Raises:
        RedactionError: there are more values of a kind than can be told apart; from all methods.
    """

    def __init__(self, key: bytes | None = None, keep: Iterable[Kind] = ()) -> None:
        self._key = key or secrets.token_bytes(16)
        self._keep = frozenset(keep)
        #: What was replaced, by the original.
        self.replacements: dict[str, Replacement] = {}
        #: The same, whatever the case of the letters.
        self._known: dict[tuple[Kind, str], str] = {}
        #: Originals and replacements, in small letters: they stand for nothing else.
        self._taken: set[str] = set()
        #: Words that identify nothing, in small letters.
        self._public: set[str] = set(_ACCOUNTS)
        self._addresses = _Addresses(self._digest, self._replace_mac)
        #: Replacements of what no pattern recognises, by the original in small letters.
        self._words: dict[str, str] = {}
        self._rules: dict[str, Callable[[str], str]] = {
            "mac": self._replace_mac,
            "address": self._replace_address,
            "host": self._replace_host,
            "user": self._replace_user,
            "serial": self._replace_serial,
            "path": self._replace_path,
            "label": self._replace_label,
            "interface": self._replace_interface,
            "output": self._replace_output,
            "argument": self._replace_argument,
            "password": self._replace_password,
            "key": self._replace_key,
        }

    # -- replies, requests and texts --

    def learn(self, command: str, value: Any) -> None:
        """Look at what *command* returned before anything is replaced.

        What is private is then found in other values, too; names that the system itself goes by are kept, and
        no replacement is a value that there is.
        """
        for member, text in _members_of(value):
            is_device = member == "dev" and text.startswith("/dev/")
            if is_device or member in _GENERIC or (command, member) in _GENERIC_OF_COMMANDS:
                self._public |= {text.lower(), *re.findall(r"\w+", text.lower())}
            self._taken.add(text.lower())
            with suppress(ValueError):
                self._addresses.learn(ip_address(text.partition("%")[0]))

    def redact(self, command: str, value: Any) -> Any:
        """Return what *command* returned, with private values replaced."""
        return self._walk(command, "", value)

    def redact_arguments(self, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a request, with private values replaced."""
        return {name: self._walk(command, name, value) for name, value in arguments.items()}

    def redact_text(self, text: str) -> str:
        """Return a text, as an error's, with what is known to be private replaced, or is by its form."""
        return self._redact_words(_PATH_IN_TEXT.sub(self._replace_private, text))

    def leaks(self, text: str) -> list[str]:
        """Return the original values, of those that were replaced, that occur in *text*."""
        searched = [o for o, r in self.replacements.items() if r.kind not in _UNSEARCHED]
        found = {match[0].lower() for match in _find_words(searched, text)}
        return [original for original in searched if original.lower() in found]

    def _redact_words(self, text: str) -> str:
        text = _PATTERN.sub(self._replace_match, text)
        # Backwards, so that places stay what they are.
        for match in reversed(list(_find_words(self._words, text))):
            # Of some letters, the small form is not the same as what a pattern ignores.
            value = _like(match[0], self._words.get(match[0].lower(), match[0]))
            text = text[: match.start()] + value + text[match.end() :]
        return text

    def _walk(self, command: str, member: str, value: Any) -> Any:
        if is_object(value):
            return {name: self._walk(command, name, each) for name, each in value.items()}
        if is_array(value):
            return [self._walk(command, member, each) for each in value]
        if not isinstance(value, str):
            return value
        if member in _PUBLIC or (command, member) in _GENERIC_OF_COMMANDS:
            return value
        rule = _OF_COMMANDS.get((command, member)) or _MEMBERS.get(member)
        return self._rules[rule](value) if rule else self.redact_text(value)

    # -- values --

    def _digest(self, kind: str, original: str) -> str:
        text = f"{kind}\0{original}".encode("utf-8", "surrogateescape")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    def _replace(self, kind: Kind, original: str, make: Callable[[str], str]) -> str:
        """Return what stands for *original*; *make* makes it of hexadecimal digits."""
        if kind in self._keep or not original:
            return original
        lower = original.lower()
        value = self._known.get((kind, lower))
        if value is None:
            offered = (make(self._digest(kind, f"{lower} {n}")) for n in range(_ATTEMPTS))
            free = (v for v in offered if kind in _UNSEARCHED or v.lower() not in self._taken)
            value = next(free, None)
            if value is None:
                raise RedactionError(f"more {kind} than there are values to stand for them")
        self._note(kind, original, value)
        return value

    def _note(self, kind: Kind, original: str, value: str) -> None:
        if original in self.replacements:
            return
        self.replacements[original] = Replacement(kind, value)
        self._known[kind, original.lower()] = value
        self._taken |= {original.lower(), value.lower()}
        if kind in _WORDS:
            self._words[original.lower()] = value

    def _replace_mac(self, mac: str) -> str:
        digits = re.sub("[:-]", "", mac.lower())
        if len(digits) != 12 or digits in ("0" * 12, "f" * 12):
            return mac
        return _like(mac, self._replace("macs", mac, lambda d: _spell_mac(f"525400{d}", mac[2])))

    def _replace_address(self, text: str) -> str:
        ip, percent, zone = text.partition("%")
        try:
            address = ip_address(ip)
        except ValueError:
            return self.redact_text(text)
        if "addresses" in self._keep or (new := self._addresses.move(address)) == address:
            return text
        self._note("addresses", ip, str(new))
        return f"{new}{percent}{zone}"

    def _replace_host(self, name: str) -> str:
        first, dot, domain = name.partition(".")
        if not self._is_public(first):
            first = _like(first, self._replace("hosts", first, lambda d: f"host-{d[:6]}"))
        if dot and not self._is_public(domain):
            domain = self._replace("hosts", domain, lambda d: f"d{d[:6]}.example")
        return first + dot + domain

    def _is_public(self, name: str) -> bool:
        return name.lower() in self._public

    def _replace_user(self, name: str) -> str:
        return (
            name
            if self._is_public(name)
            else self._replace("users", name, lambda d: f"user-{d[:6]}")
        )

    def _replace_label(self, name: str) -> str:
        if self._is_public(name):
            return name
        return self._replace("labels", name, lambda d: f"label-{d[:6]}")

    def _replace_interface(self, name: str) -> str:
        if re.fullmatch("enx[0-9a-f]{12}", name):
            # Named after its hardware address (systemd.net-naming-scheme(7)).
            return name[:3] + self._replace_mac(_spell_mac(name[3:], ":")).replace(":", "")
        return name if _INTERFACE.fullmatch(name) else self._replace_label(name)

    def _replace_serial(self, serial: str) -> str:
        if _SERIAL.fullmatch(serial):
            return serial
        wwn = _WWN.fullmatch(serial)
        if wwn is None:
            return self._replace("serials", serial, lambda d: f"SN{d[:10].upper()}")
        # Its first digit is the kind of name (NAA).
        start, length = serial[: wwn.start(1) + 1], len(wwn[1]) - 1
        return self._replace("wwns", serial, lambda d: start + d[:length])

    def _replace_path(self, path: str) -> str:
        return self._redact_words(_PATH.sub(self._replace_private, path))

    def _replace_private(self, match: re.Match[str]) -> str:
        """Replace the names in a path that is private."""
        if "paths" in self._keep:
            return match[0]
        start = match[0].removesuffix(match["rest"])
        mark = start[-1]
        names = match["rest"].split(mark)
        for at, name in enumerate(names):
            if name and at == 0 and match["home"]:
                names[at] = self._replace_user(name)
            elif name and name.lower() not in _DIRECTORIES and not self._is_public(name):
                names[at] = self._replace("paths", name, lambda d: f"dir-{d[:6]}")
        return start + mark.join(names)

    def _replace_output(self, data: str) -> str:
        """Return base64 of as many bytes, which say nothing."""
        try:
            length = len(base64.decode(data))
        except CommandError:
            length = 0
        return self._replace("outputs", data, lambda _: base64.encode(b"x" * length).decode())

    def _replace_argument(self, text: str) -> str:
        return self._replace("arguments", text, lambda d: f"arg-{d[:6]}")

    def _replace_password(self, text: str) -> str:
        return self._replace("passwords", text, lambda d: base64.encode(d[:6].encode()).decode())

    def _replace_key(self, text: str) -> str:
        kind = text.partition(" ")[0] if " " in text else "ssh-rsa"
        return self._replace("keys", text, lambda d: f"{kind} redacted-{d[:12]}")

    def _replace_match(self, match: re.Match[str]) -> str:
        """Replace what a pattern has found in a text."""
        if match["mac"]:
            return self._replace_mac(match[0])
        if match["uuid"]:
            return _like(match[0], self._replace("uuids", match[0], _spell_uuid))
        if match["account"]:
            return f"{self._replace_user(match['account'])}@{self._replace_host(match['host'])}"
        try:
            ip_address(match[0])
        except ValueError:
            return match[0]
        return self._replace_address(match[0])


def _is_eui64(number: int) -> bool:
    return number & 0xFFFF << 24 == _EUI64


def _is_public4(address: IPv4Address) -> bool:
    return (
        any(address in network for network in _NETWORKS4)
        or address.is_loopback
        or address.is_multicast
        or address.is_unspecified
        or int(address) >> 24 in (0, 255)
    )


def _like(original: str, new: str) -> str:
    """Return *new* in capitals if *original* is, as Windows has its names."""
    return new.upper() if original.upper() == original != original.lower() else new


def _spell_mac(digits: str, mark: str) -> str:
    return mark.join(digits[i : i + 2] for i in range(0, 12, 2))


def _spell_uuid(digits: str) -> str:
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]])


def _offered4() -> Iterator[int]:
    """Yield the first 24 bits of the addresses that may stand for others."""
    for network in _NETWORKS4:
        start = int(network.network_address) >> 8
        yield from range(start, start + (network.num_addresses >> 8))


def _find_words(words: Iterable[str], text: str) -> Iterator[re.Match[str]]:
    """Find *words* where they are not part of a longer word or address, whatever the case of their letters."""
    lower = text.lower()
    there = sorted((word for word in words if word.lower() in lower), key=len, reverse=True)
    if not there:
        return iter(())
    pattern = rf"(?<![^\W_])(?:{'|'.join(map(_word, there))})(?![^\W_])"
    return re.finditer(pattern, text, re.IGNORECASE)


def _word(text: str) -> str:
    end = r"(?!:[0-9a-f]|\.\d)" if ":" in text or text[-1].isdecimal() else ""
    return re.escape(text) + end


def _members_of(value: Any, member: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts of a value, each with the name of the member that it is in."""
    if is_object(value):
        for name, each in value.items():
            yield from _members_of(each, name)
    elif is_array(value):
        for each in value:
            yield from _members_of(each, member)
    elif isinstance(value, str):
        yield member, value


def strings_of(value: Any) -> Iterator[str]:
    """Yield the texts of a value of JSON, keys of objects included."""
    if is_object(value):
        for name, each in value.items():
            yield name
            yield from strings_of(each)
    elif is_array(value):
        for each in value:
            yield from strings_of(each)
    elif isinstance(value, str):
        yield value
