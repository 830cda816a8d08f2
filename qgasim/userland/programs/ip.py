"""The program ip: addresses and links of the guest's interfaces."""

import errno
import os
import re
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from itertools import pairwise
from typing import Final, NoReturn

from qgasim.guest.hardware.network import Nic, find_masters
from qgasim.guest.processes.process import Process, ProgramExit, Steps, Waiting
from qgasim.userland.programs.getopt import is_known, not_simulated
from qgasim.userland.programs.messages import complain, is_busybox, pick
from qgasim.userland.programs.registry import program

__all__: list[str] = []

#: How many addresses an interface can be given; a real one has no limit but the memory.
ADDRESS_LIMIT: Final = 4096

#: What iproute2's knows besides (ip help, iproute2 6.1).
_KNOWN_OBJECTS: Final = (
    "route", "neighbour", "neighbor", "addrlabel", "amt", "fou", "help", "ila", "ioam", "l2tp", "macsec", "maddress", "monitor", "mptcp",
    "mroute", "mrule", "netconf", "netns", "nexthop", "ntable", "ntbl", "rule", "sr", "tap",
    "tcpmetrics", "token", "tunnel", "tuntap", "vrf", "xfrm",
)  # fmt: skip
VERBS: Final = {
    "address": ("add", "del", "delete", "show", "list", "lst"),
    "link": ("set", "show", "list", "lst"),
}
#: What each object can be told besides.
_KNOWN_VERBS: Final = (
    "add", "del", "delete", "get", "replace", "flush", "change", "append", "save", "restore", "help",
)  # fmt: skip


class _Style:
    """The options before the object."""

    def __init__(self) -> None:
        self.versions: list[int] = [4, 6]
        self.is_oneline = False
        #: The bonds and bridges, by the names of their parts.
        self.masters: dict[str, Nic] = {}


def _fail(p: Process, busybox: str, iproute: str, code: int = 1) -> Waiting[NoReturn]:
    text = f"{p.name}: {busybox}\n" if is_busybox(p) else f"{iproute}\n"
    yield from p.write(2, text)
    raise ProgramExit(code)


def _refuse(p: Process, number: int) -> Waiting[NoReturn]:
    """End with what the kernel says."""
    text = f"RTNETLINK answers: {os.strerror(number)}"
    return _fail(p, text, text, 2)


@program("ip")
def ip(p: Process) -> Steps:
    """Show and change addresses and interfaces."""
    style = _Style()
    style.masters = find_masters(p.guest.nics)
    words = p.argv[1:]
    while words and words[0].startswith("-"):
        word = words.pop(0)
        option = word.lstrip("-")
        if option in ("4", "6"):
            style.versions = [int(option)]
        elif option in ("o", "oneline"):
            style.is_oneline = True
        elif is_known(p, word):
            yield from not_simulated(p, f"option '-{option}'")
        else:
            gnu = f'Option "-{option}" is unknown, try "ip -help".'
            yield from _fail(p, f"invalid argument '-{option}' to 'ip'", gnu, pick(p, 1, 255))
    if not words:
        yield from complain(p, "no object") if is_busybox(p) else p.write(2, _USAGE)
        return pick(p, 1, 255)
    name = words.pop(0)
    subject = next((known for known in VERBS if known.startswith(name)), "")
    if not subject and any(known.startswith(name) for known in _KNOWN_OBJECTS):
        yield from not_simulated(p, f"'{name}'")
    if not subject:
        gnu = f'Object "{name}" is unknown, try "ip help".'
        yield from _fail(p, f"invalid argument '{name}' to 'ip'", gnu, 1)
    verb = _find_verb(VERBS[subject], words)
    if verb is None:
        if any(known.startswith(words[0]) for known in _KNOWN_VERBS):
            yield from not_simulated(p, f"'{subject} {words[0]}'")
        gnu = f'Command "{words[0]}" is unknown, try "ip {subject} help".'
        yield from _fail(p, f"invalid argument '{words[0]}' to 'ip'", gnu, pick(p, 1, 255))
    run = {"address": _address, "link": _link}[subject]
    yield from run(p, style, str(verb), words[1:])
    return 0


_USAGE: Final = "Usage: ip [ OPTIONS ] OBJECT { COMMAND | help }\n"


def _find_verb(verbs: tuple[str, ...], words: list[str]) -> str | None:
    if not words:
        return "show"
    found = next((verb for verb in verbs if verb.startswith(words[0])), None)
    return {"list": "show", "lst": "show", "delete": "del"}.get(found or "", found)


# -- the interfaces --------------------------------------------------------------------------------


def _is_loopback(nic: Nic) -> bool:
    """Return whether it is ``lo``."""
    return nic.name == "lo"


def _interfaces(nic: Nic) -> list[IPv4Interface | IPv6Interface]:
    """Return the addresses of *nic*."""
    return [ip_interface(address) for address in nic.addresses]


def _set_up(nic: Nic, *, up: bool) -> None:
    """Switch an interface. The kernel forgets its IPv6 addresses, and makes a link-local one anew."""
    if nic.up == up:
        return
    nic.up = up
    if not up:
        nic.addresses = [address for address in nic.addresses if ":" not in address]
    elif _is_loopback(nic):
        nic.addresses.append("::1/128")
    elif nic.mac:
        parts = [int(part, 16) for part in nic.mac.split(":")]
        eui = bytes([parts[0] ^ 2, *parts[1:3], 0xFF, 0xFE, *parts[3:]])
        nic.addresses.append(IPv6Interface((b"\xfe\x80" + bytes(6) + eui, 64)).with_prefixlen)


# -- what can be asked for ------------------------------------------------------------------------


def _take(words: list[str], *names: str) -> str | None:
    """Return the word after one of *names*."""
    for name, value in pairwise(words):
        if name in names:
            return value
    return None


def _get_nic(p: Process, name: str, *, shows: bool = False) -> Waiting[Nic]:
    nic = next((nic for nic in p.guest.nics if nic.name == name), None)
    if nic is None:
        gnu = f'Device "{name}" does not exist.' if shows else f'Cannot find device "{name}"'
        yield from _fail(p, f"can't find device '{name}'", gnu)
        raise AssertionError
    return nic


def _chosen(p: Process, words: list[str]) -> Waiting[list[Nic]]:
    """Return the interfaces that ``show [dev NAME] [up]`` means."""
    plain = [w for w in words if w not in ("up", "dev", "to", "scope", "primary", "dynamic")]
    name = _take(words, "dev") or (plain[-1] if plain and "scope" not in words else None)
    nics = p.guest.nics if name is None else [(yield from _get_nic(p, name, shows=True))]
    return [nic for nic in nics if nic.up or "up" not in words]


# -- addresses ------------------------------------------------------------------------------------


def _address(p: Process, style: _Style, verb: str, words: list[str]) -> Waiting[None]:
    if verb == "show":
        for nic in (yield from _chosen(p, words)):
            yield from p.write(1, "".join(_address_lines(p, style, nic)))
        return
    name = _take(words, "dev")
    if name is None:
        gnu = 'Not enough information: "dev" argument is required.'
        yield from _fail(p, 'need "dev" argument', gnu, pick(p, 1, 255))
        return
    nic = yield from _get_nic(p, name)
    text = _take(words, "local") or next((w for w in words if re.match(r"[\da-fA-F:]+[.:]", w)), "")
    if not text and words:
        text = words[0]
    try:
        address = ip_interface(text)
    except ValueError:
        gnu = f'Error: any valid prefix is expected rather than "{text}".'
        yield from _fail(p, f'an inet prefix is expected rather than "{text}"', gnu)
        return
    if verb == "del":
        yield from _remove(p, nic, address, has_prefix="/" in text)
    else:
        yield from _add(p, nic, address)


def _add(p: Process, nic: Nic, address: IPv4Interface | IPv6Interface) -> Waiting[None]:
    """Add an address: those of IPv4 stay before those of IPv6."""
    for other in _interfaces(nic):
        # An address of IPv6 is there once, whatever its prefix.
        if other == address or (other.version == 6 and other.ip == address.ip):
            yield from _refuse(p, errno.EEXIST)
    if len(nic.addresses) >= ADDRESS_LIMIT:
        # What the kernel says when it has no memory for one (net/ipv4/devinet.c, inet_rtm_newaddr()).
        yield from _refuse(p, errno.ENOBUFS)
    # Recorded: net/extra-address.
    count = sum(other.version == 4 for other in _interfaces(nic))
    at = count if address.version == 4 else len(nic.addresses)
    nic.addresses.insert(at, address.with_prefixlen)


def _remove(
    p: Process, nic: Nic, address: IPv4Interface | IPv6Interface, *, has_prefix: bool
) -> Waiting[None]:
    for at, other in enumerate(_interfaces(nic)):
        if other == address or (other.ip == address.ip and not has_prefix):
            del nic.addresses[at]
            return
    yield from _refuse(p, errno.EADDRNOTAVAIL)


def _flags(style: _Style, nic: Nic) -> str:
    kinds = ["LOOPBACK"] if _is_loopback(nic) else ["BROADCAST", "MULTICAST"]
    if nic.mac is None:
        kinds = ["POINTOPOINT", "NOARP"]
    if nic.bond:
        kinds.append("MASTER")
    elif (master := style.masters.get(nic.name)) and master.bond:
        kinds.append("SLAVE")
    return ",".join([*kinds, *(["UP", "LOWER_UP"] if nic.up else [])])


def _state(nic: Nic) -> str:
    if not nic.up:
        return "DOWN"
    return "UNKNOWN" if _is_loopback(nic) or nic.mac is None else "UP"


def _name(nic: Nic) -> str:
    """Return the name, with that of the interface below a VLAN (iproute2, print_name_and_link())."""
    return nic.name if nic.vlan is None else f"{nic.name}@{nic.vlan.on}"


def _qdisc(nic: Nic) -> str:
    if not nic.up and not _is_loopback(nic):
        return "noop"
    return "noqueue" if _is_loopback(nic) or nic.is_made_of_others else "pfifo_fast"


def _head(p: Process, style: _Style, nic: Nic, *, is_link: bool) -> str:
    master = style.masters.get(nic.name)
    above = f"master {master.name} " if master else ""
    mode = " mode DEFAULT" if is_link and not is_busybox(p) else ""
    group = pick(p, "", f"{mode} group default")
    number = p.guest.nics.index(nic) + 1
    return (
        f"{number}: {_name(nic)}: <{_flags(style, nic)}> mtu {nic.mtu} qdisc {_qdisc(nic)} {above}"
        f"state {_state(nic)}{group} qlen 1000"
    )


def _hardware(p: Process, nic: Nic) -> str:
    if _is_loopback(nic):
        return f"link/loopback {nic.mac or '00:00:00:00:00:00'} brd 00:00:00:00:00:00"
    if not nic.mac:
        return "link/none"
    permanent = f" permaddr {nic.permanent_mac}" if nic.permanent_mac else ""
    return f"link/ether {nic.mac} brd ff:ff:ff:ff:ff:ff{pick(p, '', permanent)}"


def _address_lines(p: Process, style: _Style, nic: Nic) -> Iterator[str]:
    shown = [i for i in _interfaces(nic) if i.version in style.versions]
    if len(style.versions) == 2 and not style.is_oneline:
        yield f"{_head(p, style, nic, is_link=False)}\n    {_hardware(p, nic)}\n"
    elif shown and not style.is_oneline:
        yield f"{_head(p, style, nic, is_link=False)}\n"
    seen: set[str] = set()
    for i in shown:
        text = _describe(nic, i, is_secondary=str(i.network) in seen)
        seen.add(str(i.network))
        life = "       valid_lft forever preferred_lft forever\n"
        if style.is_oneline:
            yield f"{p.guest.nics.index(nic) + 1}: {nic.name}    {text}\\{life}"
        else:
            yield f"    {text}\n{life}"


def _describe(nic: Nic, i: IPv4Interface | IPv6Interface, *, is_secondary: bool) -> str:
    if isinstance(i, IPv6Interface):
        scope = "host" if i.is_loopback else "link" if i.is_link_local else "global"
        return f"inet6 {i.with_prefixlen} scope {scope} "
    scope = "host" if i.is_loopback else "global"
    broadcast = ""
    if not _is_loopback(nic) and i.network.prefixlen < 31:
        broadcast = f" brd {i.network.broadcast_address}"
    secondary = " secondary" if is_secondary else ""
    return f"inet {i.with_prefixlen}{broadcast} scope {scope}{secondary} {nic.name}"


# -- links -----------------------------------------------------------------------------


def _link(p: Process, style: _Style, verb: str, words: list[str]) -> Waiting[None]:
    if verb == "set":
        yield from _set_link(p, words)
    else:
        for nic in (yield from _chosen(p, words)):
            separator = "\\" if style.is_oneline else "\n"
            text = f"{_head(p, style, nic, is_link=True)}{separator}    {_hardware(p, nic)}\n"
            yield from p.write(1, text)


#: What ``ip link set`` sets besides (ip-link(8) of iproute2 6.1): the most usual of it.
_KNOWN_SETTINGS: Final = frozenset({
    "address", "addrgenmode", "alias", "allmulticast", "arp", "broadcast", "dynamic", "group", "master", "mtu", "multicast", "name",
    "netns", "nomaster", "protodown", "qlen", "trailers", "txqlen", "txqueuelen", "type", "vf", "xdp",
})  # fmt: skip


def _set_link(p: Process, words: list[str]) -> Waiting[None]:
    rest = list(words)
    name = _take(rest, "dev")
    if name is None and rest:
        name = rest.pop(0)
    if name is None:
        gnu = 'Not enough information: "dev" argument is required.'
        yield from _fail(p, 'need "dev" argument', gnu, pick(p, 1, 255))
        return
    nic = yield from _get_nic(p, name)
    while rest:
        word = rest.pop(0)
        if word in ("up", "down"):
            _set_up(nic, up=word == "up")
        elif word in ("dev", "promisc"):
            # ``promisc on`` or ``off``: the interface's filter changes either way.
            del rest[:1]
            if word == "promisc":
                p.guest.on_filter(nic.name)
        elif word in _KNOWN_SETTINGS:
            yield from not_simulated(p, f"'link set {word}'")
        else:
            gnu = f'Error: either "dev" is duplicate, or "{word}" is a garbage.'
            yield from _fail(p, f"invalid argument '{word}' to 'ip'", gnu, pick(p, 1, 255))
