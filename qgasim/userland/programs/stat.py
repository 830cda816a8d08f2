"""The program stat."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from qgasim.guest.processes.process import Process, Steps
from qgasim.guest.units import SECOND
from qgasim.userland.limits import check_formats, to_int
from qgasim.userland.programs.getopt import missing_operand, parse
from qgasim.userland.programs.lstat import Inode, device_of, look
from qgasim.userland.programs.messages import (
    complain,
    explain,
    fail,
    is_busybox,
    pick,
    quote,
    quote_if_odd,
    quote_text,
)
from qgasim.userland.programs.modes import format_mode, kind_name
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.timestamps import format_time, local_zone
from qgasim.userland.programs.user_names import group_name, user_name

__all__: list[str] = []

#: A directive, or what was to be one.
_DIRECTIVE: Final = re.compile(r"%([-0+ #']*\d*(?:\.\d*)?)(.?)", re.DOTALL)
_TIMES: Final = "Access: %x\nModify: %y\nChange: %z\n"
_RIGHTS: Final = "Access: (%04a/%10.10A)  Uid: (%5u/%8U)   Gid: (%5g/%8G)\n"
_SIZES: Final = "  File: %N\n  Size: %-10s\tBlocks: %-10b IO Block: %-6o %F\n"


@program("stat")
def stat_(p: Process) -> Steps:
    """Print what the kernel knows of files."""
    options = yield from parse(p, "c:L", {"dereference": "L", "format": "c"})
    if not options.operands:
        yield from missing_operand(p)
    given = options.get("c")
    status = 0
    for path in options.operands:
        try:
            inode = look(p, path, follow="L" in options)
        except OSError as error:
            text = pick(p, f"can't stat '{path}'", f"cannot statx {quote(path)}")
            yield from complain(p, f"{text}: {explain(error)}")
            status = 1
            continue
        values = _values(p, path, inode)
        if given is None and not is_busybox(p):
            # UNVERIFIED: that GNU's puts odd names in quotes here, and plain ones only for %N.
            values["N"] = partial(_show_name, quote_if_odd, path, inode)
        form = _form(p, inode) if given is None else given + "\n"
        for found in _DIRECTIVE.finditer(given or "") if not is_busybox(p) else ():
            if found[1] and found[2] in ("", "%"):
                yield from p.write(1, _fill(p, form[: found.start()], values))
                yield from fail(p, f"{quote_text(found[0])}: invalid directive")
        yield from p.write(1, _fill(p, form, values))
    return status


def _fill(p: Process, form: str, values: Mapping[str, Callable[[], str | int]]) -> str:
    def replace(found: re.Match[str]) -> str:
        flags, width, precision, name = found.groups()
        if name == "%":
            return "%"
        if name not in values:
            return pick(p, name, "?")
        value = values[name]()
        text = str(value)
        if isinstance(value, int) and not is_busybox(p):
            text = ("+" if "+" in flags else " " if " " in flags else "") + text
        if precision and isinstance(value, str):
            text = text[: to_int(precision)]
        if "#" in flags and isinstance(value, str) and name == "a":
            text = "0" + text
        if "-" in flags:
            return text.ljust(to_int(width or "0"))
        # The mode is text here, but a number in C.
        fill = "0" if "0" in flags and (isinstance(value, int) or name in "af") else " "
        return text.rjust(to_int(width or "0"), fill)

    check_formats(form)
    return re.sub(r"%([-0+ #']*)(\d*)(?:\.(\d*))?([HL][drRD]|[a-zA-Z%])", replace, form)


def _form(p: Process, inode: Inode) -> str:
    device = pick(p, "Device: %Dh/%dd", "Device: %Hd,%Ld")
    rest = "\tInode: %-10i  Links: %h\n"
    if inode.is_device:
        rest = "\tInode: %-10i  Links: %-5h" + pick(
            p, " Device type: %t,%T\n", " Device type: %Hr,%Lr\n"
        )
    birth = "" if is_busybox(p) else " Birth: %w\n"
    return _SIZES + device + rest + _RIGHTS + _TIMES + birth


def _show_name(quoted: Callable[[str], str], path: str, inode: Inode) -> str:
    return quoted(path) + (f" -> {quoted(inode.target)}" if inode.is_link else "")


def _values(p: Process, path: str, inode: Inode) -> dict[str, Callable[[], str | int]]:
    zone = local_zone(p)
    major, minor = device_of(p, inode.mount)

    def time(when: int) -> str:
        return format_time(when, zone, "%Y-%m-%d %H:%M:%S.%N %z")

    # BusyBox puts quotes only around links.
    quoted = quote if inode.is_link or not is_busybox(p) else str
    # makedev(3) of glibc, for numbers below 256 and 4096.
    device = major << 8 | minor
    special = inode.major << 8 | inode.minor
    return {
        "n": lambda: path, "N": partial(_show_name, quoted, path, inode),
        "s": lambda: inode.size, "b": lambda: inode.blocks, "B": lambda: 512,
        "a": lambda: f"{inode.mode & 0o7777:o}", "A": lambda: format_mode(inode.mode),
        "f": lambda: f"{inode.mode:x}", "F": lambda: kind_name(inode.mode, inode.size),
        "u": lambda: inode.uid, "U": lambda: user_name(p, inode.uid) or "UNKNOWN",
        "g": lambda: inode.gid, "G": lambda: group_name(p, inode.gid) or "UNKNOWN",
        "i": lambda: inode.ino, "h": lambda: inode.links, "m": lambda: inode.mount.path,
        "o": lambda: inode.mount.volume.block_size, "C": lambda: "?",
        "d": lambda: device, "D": lambda: f"{device:x}", "Hd": lambda: major, "Ld": lambda: minor,
        "r": lambda: special, "R": lambda: f"{special:x}",
        "Hr": lambda: inode.major, "Lr": lambda: inode.minor,
        "t": lambda: f"{inode.major:x}", "T": lambda: f"{inode.minor:x}",
        "x": lambda: time(inode.atime), "X": lambda: inode.atime // SECOND,
        "y": lambda: time(inode.mtime), "Y": lambda: inode.mtime // SECOND,
        "z": lambda: time(inode.ctime), "Z": lambda: inode.ctime // SECOND,
        # The guest keeps no time of birth; stat says so of many file systems.
        "w": lambda: "-", "W": lambda: 0,
    }  # fmt: skip
