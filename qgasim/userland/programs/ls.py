"""The program ls."""

from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Final

from msgspec import Struct

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.guest.units import SECOND
from qgasim.userland.programs.getopt import Options, parse
from qgasim.userland.programs.lstat import Inode, join, look
from qgasim.userland.programs.messages import complain, explain, is_busybox, pick, quote
from qgasim.userland.programs.modes import format_mode
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.timestamps import format_time, local_zone
from qgasim.userland.programs.user_names import group_name, user_name

__all__ = ["human_busybox", "human_gnu"]

_LETTERS: Final = "1aAcdfFgGhiklLnopqrRsStuUv"
_LONG: Final = {
    "all": "a", "almost-all": "A", "directory": "d", "recursive": "R", "human-readable": "h",
    "reverse": "r", "inode": "i", "numeric-uid-gid": "n", "size": "s", "classify": "F",
    "dereference": "L", "color": "color", "full-time": "full", "no-group": "G", "literal": "N",
    "group-directories-first": "first",
}  # fmt: skip
#: Half a year of 365.2425 days (GNU) and of 365 days (BusyBox).
_RECENT_GNU: Final = 31556952 // 2
_RECENT_BUSYBOX: Final = 3600 * 24 * 365 // 2
_UNITS: Final = "KMGTPE"


def human_gnu(size: int) -> str:
    """Write a size as ``ls -h`` and ``df -h`` of GNU do: rounded up, two digits or more."""
    if size < 1024:
        return str(size)
    unit = 1024
    for letter in _UNITS:
        tenths = -(-size * 10 // unit)
        if tenths < 100:
            return f"{tenths // 10}.{tenths % 10}{letter}"
        if -(-size // unit) < 1024:
            return f"{-(-size // unit)}{letter}"
        unit *= 1024
    return f"{-(-size * 1024 // unit)}E"


def human_busybox(size: int, *, fraction: bool = True) -> str:
    """Write a size as BusyBox does (make_human_readable_str): rounded, one digit after the point."""
    tenths, letter = 0, ""
    for unit in _UNITS:
        if size < 1024:
            break
        letter = unit
        tenths = (size % 1024 * 10 + 512) // 1024
        size //= 1024
    if tenths >= 10:
        size, tenths = size + 1, 0
    if not letter:
        return str(size)
    return f"{size}.{tenths}{letter}" if fraction else f"{size + (tenths >= 5)}{letter}"


class _Entry(Struct):
    """A file and the name under which it is shown."""

    name: str
    path: str
    inode: Inode


@program("ls")
def ls(p: Process) -> Steps:
    """List directories, one name per line: the output is never a terminal."""
    options = yield from parse(p, _LETTERS, _LONG, code=pick(p, 1, 2))
    lister = _Lister(p, options)
    files: list[_Entry] = []
    directories: list[_Entry] = []
    paths = options.operands or ["."]
    for path in paths:
        entry = yield from lister.look(path, path, is_argument=True)
        if entry is not None:
            is_open = entry.inode.is_dir and "d" not in options
            (directories if is_open else files).append(entry)
    yield from lister.show_entries(lister.sort(files))
    if files and directories:
        yield from p.write(1, "\n")
    lister.labels = len(paths) > 1 or "R" in options
    for number, entry in enumerate(lister.sort(directories)):
        if number:
            yield from p.write(1, "\n")
        yield from lister.show_directory(entry.path)
    return lister.status


class _Lister:
    def __init__(self, p: Process, options: Options) -> None:
        self.p = p
        self.options = options
        self.zone: tzinfo = local_zone(p)
        self.is_long = any(o in options for o in ("l", "n", "o", "full")) or "g" in options
        self.busybox = is_busybox(p)
        self.labels = False
        self.status = 0
        self.owners: dict[int, str] = {}
        self.groups: dict[int, str] = {}

    def look(self, name: str, path: str, *, is_argument: bool = False) -> Waiting[_Entry | None]:
        options = self.options
        kept = "dF" if not self.busybox else "iFs"
        follows = "L" in options or (
            is_argument and not self.is_long and not any(o in options for o in kept)
        )
        try:
            inode = look(self.p, path, follow=False)
            if follows and inode.is_link:
                try:
                    followed = look(self.p, path)
                except OSError:
                    # A link that leads nowhere is listed itself.
                    followed = inode
                # GNU follows an argument only to a directory.
                if followed.is_dir or self.busybox or "L" in options:
                    inode = followed
        except OSError as error:
            text = pick(self.p, name, f"cannot access {quote(path)}")
            yield from complain(self.p, f"{text}: {explain(error)}")
            self.status = 1 if self.busybox or not is_argument else 2
            return None
        return _Entry(name, path, inode)

    def time(self, inode: Inode) -> int:
        last = self.options.last("cu")
        return {"c": inode.ctime, "u": inode.atime}.get(last, inode.mtime)

    def sort(self, entries: list[_Entry]) -> list[_Entry]:
        options = self.options
        if "U" in options or "f" in options:
            return entries
        order: Callable[[_Entry], tuple[int, bytes]] = lambda e: (0, encode_name(e.name))  # noqa: E731
        by = options.last("tS")
        if by == "t":
            order = lambda e: (-self.time(e.inode), encode_name(e.name))  # noqa: E731
        elif by == "S":
            order = lambda e: (-e.inode.size, encode_name(e.name))  # noqa: E731
        entries = sorted(entries, key=order, reverse="r" in options)
        if "first" in options:
            entries.sort(key=lambda e: not e.inode.is_dir)
        return entries

    def show_directory(self, path: str) -> Waiting[None]:
        p, options = self.p, self.options
        if self.labels:
            yield from p.write(1, f"{path}:\n")
        try:
            names = yield from p.call(p.guest.files.listdir, path, p.cwd)
        except OSError as error:
            text = pick(p, f"can't open '{path}'", f"cannot open directory {quote(path)}")
            yield from complain(p, f"{text}: {explain(error)}")
            self.status = pick(p, 1, 2)
            return
        if "a" in options or "f" in options:
            names = [".", "..", *names]
        elif "A" not in options:
            names = [name for name in names if not name.startswith(".")]
        entries: list[_Entry] = []
        for name in names:
            entry = yield from self.look(name, join(path, name))
            if entry is not None:
                entries.append(entry)
        entries = self.sort(entries)
        if self.is_long or "s" in options:
            yield from p.write(1, f"total {self.total(entries)}\n")
        yield from self.show_entries(entries)
        if "R" in options:
            for entry in entries:
                if entry.inode.is_dir and entry.name not in (".", ".."):
                    yield from p.write(1, "\n")
                    yield from self.show_directory(entry.path)

    def total(self, entries: Sequence[_Entry]) -> str:
        size = sum(entry.inode.blocks for entry in entries) * 512
        if "h" not in self.options:
            return str(size // 1024)
        # UNVERIFIED: BusyBox pads this to the width of a size.
        return f"{human_busybox(size, fraction=False):<7}" if self.busybox else human_gnu(size)

    def show_entries(self, entries: list[_Entry]) -> Waiting[None]:
        if self.is_long:
            make = self.busybox_rows if self.busybox else self.gnu_rows
            rows = make([entry.inode for entry in entries])
        else:
            rows = [""] * len(entries)
        inodes = self.column(entries, "i", lambda inode: str(inode.ino), 7)
        blocks = self.column(entries, "s", self.blocks, 6)
        lines = [
            f"{ino}{size}{row}{self.show_name(entry)}\n"
            for ino, size, row, entry in zip(inodes, blocks, rows, entries, strict=True)
        ]
        if lines:
            yield from self.p.write(1, "".join(lines))

    def blocks(self, inode: Inode) -> str:
        is_human = "h" in self.options and not self.busybox
        return human_gnu(inode.blocks * 512) if is_human else str(inode.blocks // 2)

    def column(
        self, entries: list[_Entry], letter: str, show: Callable[[Inode], str], width: int
    ) -> list[str]:
        if letter not in self.options:
            return [""] * len(entries)
        texts = [show(entry.inode) for entry in entries]
        if not self.busybox:
            width = max(map(len, texts), default=0)
        return [f"{text:>{width}} " for text in texts]

    def show_name(self, entry: _Entry) -> str:
        inode = entry.inode
        arrow = f" -> {inode.target}" if self.is_long and inode.is_link else ""
        mark = ""
        if "F" in self.options or "p" in self.options:
            mark = {"d": "/"}.get(format_mode(inode.mode)[0], "")
        if "F" in self.options:
            executable = "*" if inode.mode & 0o111 else ""
            kinds = {"d": "/", "l": "" if arrow else "@", "p": "|", "s": "=", "-": executable}
            mark = kinds.get(format_mode(inode.mode)[0], "")
        return f"{entry.name}{arrow}{mark}"

    # -- the long format -----------------------------------------------------------------------

    def owner(self, uid: int) -> str:
        if uid not in self.owners:
            self.owners[uid] = ("" if "n" in self.options else user_name(self.p, uid)) or str(uid)
        return self.owners[uid]

    def group(self, gid: int) -> str:
        if gid not in self.groups:
            self.groups[gid] = ("" if "n" in self.options else group_name(self.p, gid)) or str(gid)
        return self.groups[gid]

    def date(self, inode: Inode) -> str:
        when = self.time(inode)
        if "full" in self.options:
            return format_time(when, self.zone, "%Y-%m-%d %H:%M:%S.%N %z")
        age = (self.p.guest.clock.now() - when) / SECOND
        is_recent = 0 <= age < _RECENT_GNU
        if self.busybox:
            is_recent = -15 * 60 < age < _RECENT_BUSYBOX
        return format_time(when, self.zone, "%b %e %H:%M" if is_recent else "%b %e  %Y")

    def busybox_rows(self, inodes: list[Inode]) -> list[str]:
        rows: list[str] = []
        for inode in inodes:
            width = "<8" if "n" in self.options else "<8.8"
            owner = "" if "g" in self.options else f"{self.owner(inode.uid):{width}} "
            size = f"{inode.size:9} "
            if inode.is_device:
                size = f"{inode.major:4}, {inode.minor:3} "
            elif "h" in self.options:
                size = f"{human_busybox(inode.size):>7} "
            rows.append(
                f"{format_mode(inode.mode)} {inode.links:4} {owner}"
                f"{self.group(inode.gid):{width}} {size}{self.date(inode)} "
            )
        return rows

    def gnu_rows(self, inodes: list[Inode]) -> list[str]:
        devices = [inode for inode in inodes if inode.is_device]
        major = max((len(str(inode.major)) for inode in devices), default=0)
        minor = max((len(str(inode.minor)) for inode in devices), default=0)
        sizes = [
            f"{inode.major:>{major}}, {inode.minor:>{minor}}"
            if inode.is_device
            else (human_gnu(inode.size) if "h" in self.options else str(inode.size))
            for inode in inodes
        ]
        owners = [self.owner(inode.uid) for inode in inodes]
        groups = [self.group(inode.gid) for inode in inodes]
        links = _align([str(inode.links) for inode in inodes])
        columns = [[format_mode(inode.mode) for inode in inodes], links]
        if "g" not in self.options:
            columns.append(_align(owners, names=True))
        if "o" not in self.options and "G" not in self.options:
            columns.append(_align(groups, names=True))
        columns += [_align(sizes), [self.date(inode) for inode in inodes]]
        return [" ".join(row) + " " for row in zip(*columns, strict=True)]


def _align(texts: list[str], *, names: bool = False) -> list[str]:
    """Make texts equally wide: numbers to the right, names to the left."""
    width = max(map(len, texts), default=0)
    return [f"{text:{'<' if names and not text.isdecimal() else '>'}{width}}" for text in texts]
