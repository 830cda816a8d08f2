"""The program stat."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from qgasim.guest.files.nodes import decode_name
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.guest.units import SECOND
from qgasim.userland.limits import check_formats, to_int
from qgasim.userland.programs.getopt import missing_operand, parse
from qgasim.userland.programs.lstat import Inode, device_of, look, usage_of
from qgasim.userland.programs.messages import (
    complain,
    explain,
    is_busybox,
    pick,
    quote,
    quote_if_odd,
)
from qgasim.userland.programs.modes import format_mode, kind_name
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.timestamps import format_time, local_zone
from qgasim.userland.programs.user_names import group_name, user_name
from qgasim.userland.shell.printf import expand_escapes

__all__: list[str] = []

_LONG: Final = {
    "dereference": "L", "file-system": "f", "format": "c", "printf": "printf:", "terse": "t",
}  # fmt: skip
#: statfs(2)'s f_type, and what stat calls it.
_KINDS: Final = {
    "ext2": (0xEF53, "ext2/ext3"), "ext3": (0xEF53, "ext2/ext3"), "ext4": (0xEF53, "ext2/ext3"),
    "xfs": (0x58465342, "xfs"), "btrfs": (0x9123683E, "btrfs"), "tmpfs": (0x1021994, "tmpfs"),
    "vfat": (0x4D44, "msdos"), "proc": (0x9FA0, "proc"), "sysfs": (0x62656572, "sysfs"),
    "iso9660": (0x9660, "isofs"), "nfs": (0x6969, "nfs"), "overlay": (0x794C7630, "overlayfs"),
    "squashfs": (0x73717368, "squashfs"), "ntfs": (0x5346544E, "ntfs"),
}  # fmt: skip
_TIMES: Final = "Access: %x\nModify: %y\nChange: %z\n"
_RIGHTS: Final = "Access: (%04a/%10.10A)  Uid: (%5u/%8U)   Gid: (%5g/%8G)\n"
_SIZES: Final = "  File: {name}\n  Size: %-10s\tBlocks: %-10b IO Block: %-6o %F\n"
_TERSE: Final = "%n %s %b %f %u %g %D %i %h %t %T %X %Y %Z %W %o\n"


@program("stat")
def stat_(p: Process) -> Steps:
    """Print what the kernel knows of files, or of the file systems that they are on."""
    options = yield from parse(p, "c:fLt", _LONG)
    if not options.operands:
        yield from missing_operand(p)
    form = options.get("printf")
    given = options.get("c")
    if form is not None:
        form = decode_name(expand_escapes(form)[0])
    elif given is not None:
        form = given + "\n"
    of_system = "f" in options
    status = 0
    for path in options.operands:
        try:
            inode = look(p, path, follow="L" in options or of_system)
        except OSError as error:
            yield from _complain(p, path, error, of_system=of_system)
            status = 1
            continue
        default = (
            _system_form(p, terse="t" in options)
            if of_system
            else _file_form(p, inode, terse="t" in options)
        )
        values = _system_values(path, inode) if of_system else _file_values(p, path, inode)
        yield from p.write(1, _fill(default if form is None else form, values))
    return status


def _complain(p: Process, path: str, error: OSError, *, of_system: bool) -> Waiting[None]:
    busybox, gnu = f"can't stat '{path}'", f"cannot statx {quote(path)}"
    if of_system:
        busybox = f"can't read file system information for '{path}'"
        gnu = f"cannot read file system information for {quote(path)}"
    return complain(p, f"{pick(p, busybox, gnu)}: {explain(error)}")


def _fill(form: str, values: Mapping[str, Callable[[], str | int]]) -> str:
    def replace(found: re.Match[str]) -> str:
        flags, width, precision, name = found.groups()
        if name == "%":
            return "%"
        if name not in values:
            return "?"
        value = values[name]()
        text = str(value)
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


def _file_form(p: Process, inode: Inode, *, terse: bool) -> str:
    if terse:
        return _TERSE.replace(" %W", "") if is_busybox(p) else _TERSE
    # UNVERIFIED: that GNU puts odd names in quotes here, and plain ones only for %N.
    sizes = _SIZES.replace("{name}", pick(p, "%N", "%q"))
    device = pick(p, "Device: %Dh/%dd", "Device: %Hd,%Ld")
    rest = "\tInode: %-10i  Links: %h\n"
    if inode.is_device:
        rest = "\tInode: %-10i  Links: %-5h" + pick(
            p, " Device type: %t,%T\n", " Device type: %Hr,%Lr\n"
        )
    birth = "" if is_busybox(p) else " Birth: %w\n"
    return sizes + device + rest + _RIGHTS + _TIMES + birth


def _file_values(p: Process, path: str, inode: Inode) -> dict[str, Callable[[], str | int]]:
    zone = local_zone(p)
    major, minor = device_of(p, inode.mount)

    def time(when: int) -> str:
        return format_time(when, zone, "%Y-%m-%d %H:%M:%S.%N %z")

    def name(quoted: Callable[[str], str]) -> str:
        arrow = f" -> {quoted(inode.target)}" if inode.is_link else ""
        return quoted(path) + arrow

    def plain_name() -> str:
        # BusyBox puts quotes only around links.
        return name(quote) if inode.is_link or not is_busybox(p) else path

    # makedev(3) of glibc, for numbers below 256 and 4096.
    device = major << 8 | minor
    special = inode.major << 8 | inode.minor
    return {
        "n": lambda: path, "N": plain_name, "q": lambda: name(quote_if_odd),
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


def _system_form(p: Process, *, terse: bool) -> str:
    if terse:
        return pick(p, "%n %i %l %t %s %b %f %a %c %d\n", "%n %i %l %t %s %S %b %f %a %c %d\n")
    size = pick(p, "Block size: %-10s\n", "Block size: %-10s Fundamental block size: %S\n")
    return (
        '  File: "%n"\n    ID: %-8i Namelen: %-7l Type: %T\n'
        + size
        + "Blocks: Total: %-10b Free: %-10f Available: %a\nInodes: Total: %-10c Free: %d\n"
    )


def _system_values(path: str, inode: Inode) -> dict[str, Callable[[], str | int]]:
    volume = inode.mount.volume
    usage = usage_of(volume)
    number, kind = _KINDS.get(volume.kind, (0, f"UNKNOWN ({volume.kind})"))
    return {
        "n": lambda: path, "i": lambda: "0", "l": lambda: 255,
        "t": lambda: f"{number:x}", "T": lambda: kind,
        "s": lambda: usage.block_size, "S": lambda: usage.block_size,
        "b": lambda: usage.total, "f": lambda: usage.free, "a": lambda: usage.available,
        "c": lambda: usage.inodes, "d": lambda: usage.free_inodes,
    }  # fmt: skip
