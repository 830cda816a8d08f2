"""The userlands that a guest can have: where the programs lie."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from qgasim.guest.processes.userland import Userland
from qgasim.userland.programs.busybox import BUSYBOX, OWN_FILES
from qgasim.userland.programs.registry import PROGRAMS

__all__ = ["USERLANDS"]

#: Programs in /usr/sbin; all others are in /usr/bin.
SBIN: Final = frozenset(
    ("chpasswd", "fsfreeze", "halt", "hwclock", "poweroff", "reboot", "shutdown")
)
#: What the shell is called besides ``sh``, by whether it is BusyBox's.
SHELL: Final = MappingProxyType({True: "ash", False: "dash"})


def _directory_of(name: str) -> str:
    return "/usr/sbin" if name in SBIN else "/usr/bin"


def _make(*, is_busybox: bool) -> Userland:
    files: dict[str, dict[str, str]] = {"/usr/bin": {}, "/usr/sbin": {}}
    # Debian's iproute2 is found by both names.
    links: dict[str, dict[str, str]] = {"/usr/bin": {}, "/usr/sbin": {}}
    if not is_busybox:
        links["/usr/sbin"]["ip"] = "../bin/ip"
    for name in PROGRAMS:
        if is_busybox and name == "bash":
            continue
        if name in OWN_FILES or (name == BUSYBOX) is is_busybox:
            files[_directory_of(name)][name] = name
        elif is_busybox:
            links[_directory_of(name)][name] = "/usr/bin/busybox"
    files["/usr/bin"][SHELL[is_busybox]] = "sh"
    return Userland(
        programs=MappingProxyType(PROGRAMS),
        files=MappingProxyType(files),
        links=MappingProxyType(links),
    )


#: By the value of ``guest.os.userland``.
USERLANDS: Final[Mapping[str, Userland]] = MappingProxyType(
    {
        "busybox": _make(is_busybox=True),
        "gnu": _make(is_busybox=False),
    }
)
