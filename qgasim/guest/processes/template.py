"""Texts with the guest's own values in place of ``{hostname}``, ``{ip eth0}`` and others."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from qgasim.guest.hardware.network import Nic
from qgasim.guest.processes.process import Process
from qgasim.guest.units import SECOND

__all__ = ["PLACEHOLDERS", "PLACEHOLDERS_OF", "fill_in", "placeholders"]

#: A name in braces, with a word after it or without. Braces of JSON have something else inside; with two
#: before it, it stays as it is, with one.
_PLACEHOLDER: Final = re.compile(r"\{(\{)?([a-z][a-z0-9_-]*)(?: ([^\s{}]+))?\}")
#: How many characters values may add to a text.
LIMIT: Final = 16 << 20


def _show_time(p: Process) -> str:
    """Show the guest's time as RFC 3339, in UTC and whole seconds."""
    return datetime.fromtimestamp(p.guest.clock.now() // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


#: What stands for itself.
PLACEHOLDERS: Final[dict[str, Callable[[Process], str]]] = {
    "hostname": lambda p: p.guest.hostname,
    "kernel": lambda p: p.guest.settings.os.kernel_release,
    "machine": lambda p: p.guest.settings.os.machine,
    "release": lambda p: p.guest.agent_version,
    "uptime": lambda p: str(p.guest.clock.uptime() // SECOND),
    "time": _show_time,
    "pid": lambda p: str(p.pid),
    "args": lambda p: " ".join(p.argv[1:]),
}


def _find(p: Process, name: str) -> Nic | None:
    return next((nic for nic in p.guest.nics if nic.name == name), None)


def _address(p: Process, name: str, *, is_6: bool) -> str:
    nic = _find(p, name)
    addresses = nic.addresses if nic is not None else []
    found = (a.partition("/")[0] for a in addresses if (":" in a) is is_6)
    return next(found, "")


def _argument(p: Process, number: str) -> str:
    return p.argv[int(number)] if number.isdecimal() and int(number) < len(p.argv) else ""


def _mac(p: Process, name: str) -> str:
    nic = _find(p, name)
    return (nic.mac or "") if nic is not None else ""


#: What needs a word: of which interface, which field of os-release, which argument. What is not there is
#: empty.
PLACEHOLDERS_OF: Final[dict[str, Callable[[Process, str], str]]] = {
    "ip": lambda p, name: _address(p, name, is_6=False),
    "ip6": lambda p, name: _address(p, name, is_6=True),
    "mac": _mac,
    "os": lambda p, name: (p.guest.settings.os.release or {}).get(name, ""),
    "arg": _argument,
}


def placeholders(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield the names in braces that *text* has, and the words after them."""
    for found in _PLACEHOLDER.finditer(text):
        if not found[1]:
            yield found[2], found[3]


def fill_in(text: str, p: Process) -> str:
    """Return *text* with the values of *p*'s guest. They add at most `LIMIT` characters."""
    if "{" not in text:
        return text
    room = LIMIT

    def value_of(found: re.Match[str]) -> str:
        nonlocal room
        double, name, word = found.groups()
        if double:
            value = found[0][1:]
        elif word is None:
            value = PLACEHOLDERS[name](p) if name in PLACEHOLDERS else found[0]
        else:
            value = PLACEHOLDERS_OF[name](p, word) if name in PLACEHOLDERS_OF else found[0]
        room -= len(value)
        return value if room > 0 else ""

    return _PLACEHOLDER.sub(value_of, text)
