"""The program ls."""

from collections.abc import Callable, Iterable
from datetime import tzinfo
from typing import Final

from msgspec import Struct

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.files.tree import Place
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.guest.units import SECOND
from qgasim.userland.programs.getopt import Options, parse
from qgasim.userland.programs.lstat import Inode, inode_at, join, look
from qgasim.userland.programs.messages import complain, explain, is_busybox, pick, quote
from qgasim.userland.programs.modes import format_mode
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.timestamps import format_time, local_zone
from qgasim.userland.programs.user_names import group_name, user_name

__all__: list[str] = []

_LETTERS: Final = "1aAdlnrRt"
_LONG: Final = {
    "all": "a", "almost-all": "A", "directory": "d", "recursive": "R",
    "reverse": "r", "numeric-uid-gid": "n",
}  # fmt: skip
#: Half a year of 365.2425 days (GNU) and of 365 days (BusyBox).
_RECENT_GNU: Final = 31556952 // 2
_RECENT_BUSYBOX: Final = 3600 * 24 * 365 // 2
_DOTS: Final = frozenset({".", ".."})
#: So many files are looked at, or shown, between two turns of others; what each costs, in steps and in bytes.
_BATCH: Final = 512
_ENTRY_STEPS: Final = 4
_ENTRY_SIZE: Final = 256


class _Entry(Struct, gc=False):
    """A file and the name under which it is shown."""

    name: str
    path: str
    inode: Inode


@program("ls")
def ls(p: Process) -> Steps:
    """List directories, one name per line: the output is never a terminal."""
    options = yield from parse(p, _LETTERS, _LONG)
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
        self.is_long = "l" in options or "n" in options
        self.busybox = is_busybox(p)
        #: Whether an argument that is a link stands for what it leads to.
        self.follows_argument = not self.is_long and (self.busybox or "d" not in options)
        self.labels = False
        self.status = 0
        self.owners: dict[int, str] = {}
        self.groups: dict[int, str] = {}
        #: The texts of the latest times, by second; most files of a directory have the same few.
        self.dates: dict[int, str] = {}

    def look(
        self, name: str, path: str, place: Place | None = None, *, is_argument: bool = False
    ) -> Waiting[_Entry | None]:
        """Look at a file, at *place* if that is known; None, after a message, if there is none."""
        try:
            inode = look(self.p, path, follow=False) if place is None else inode_at(place)
            if inode.is_link and is_argument and self.follows_argument:
                try:
                    followed = look(self.p, path)
                except OSError:
                    # GNU lists a link that leads nowhere itself.
                    if self.busybox:
                        raise
                    followed = inode
                # GNU follows an argument only to a directory.
                if followed.is_dir or self.busybox:
                    inode = followed
        except OSError as error:
            text = pick(self.p, name, f"cannot access {quote(path)}")
            yield from complain(self.p, f"{text}: {explain(error)}")
            self.status = 1 if self.busybox or not is_argument else 2
            return None
        return _Entry(name, path, inode)

    def sort(self, entries: list[_Entry]) -> list[_Entry]:
        is_by_time = "t" in self.options

        def order(entry: _Entry) -> tuple[int, bytes]:
            return (-entry.inode.mtime if is_by_time else 0), encode_name(entry.name)

        return sorted(entries, key=order, reverse="r" in self.options)

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
        shown = "a" if self.busybox and "a" in options else options.last("aA")
        if shown == "a":
            names = [".", "..", *names]
        elif not shown:
            names = [name for name in names if not name.startswith(".")]
        entries = self.sort((yield from self.look_at_all(path, names)))
        if self.is_long:
            blocks = sum(entry.inode.blocks for entry in entries)
            yield from p.write(1, f"total {blocks // 2}\n")
        yield from self.show_entries(entries)
        if "R" in options:
            for entry in entries:
                if entry.inode.is_dir and entry.name not in (".", ".."):
                    yield from p.write(1, "\n")
                    yield from self.show_directory(entry.path)

    def look_at_all(self, path: str, names: list[str]) -> Waiting[list[_Entry]]:
        """Look at the files *names* in the directory *path*."""
        p = self.p
        directory = p.guest.files.locate(path, p.cwd)
        entries: list[_Entry] = []
        for at in range(0, len(names), _BATCH):
            batch = names[at : at + _BATCH]
            p.take_memory(_ENTRY_SIZE * len(batch))
            for name in batch:
                place = None if name in _DOTS else p.guest.files.look_in(directory, name)
                entry = yield from self.look(name, join(path, name), place)
                if entry is not None:
                    entries.append(entry)
            yield from p.charge_steps(_ENTRY_STEPS * len(batch))
        return entries

    def show_entries(self, entries: list[_Entry]) -> Waiting[None]:
        inodes = [entry.inode for entry in entries]
        make: Callable[[Inode], str] = lambda _: ""  # noqa: E731
        if self.is_long:
            make = self.make_busybox_row if self.busybox else self.find_gnu_form(inodes)
        for at in range(0, len(entries), _BATCH):
            lines = [f"{make(e.inode)}{self.show_name(e)}\n" for e in entries[at : at + _BATCH]]
            yield from self.p.write(1, "".join(lines))
            yield from self.p.charge_steps(_ENTRY_STEPS * len(lines))

    def show_name(self, entry: _Entry) -> str:
        inode = entry.inode
        return f"{entry.name} -> {inode.target}" if self.is_long and inode.is_link else entry.name

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
        when = inode.mtime
        second = when // SECOND
        text = self.dates.get(second)
        if text is None:
            if len(self.dates) >= _BATCH:
                self.dates.clear()
            text = self.dates[second] = self.format_date(when)
        return text

    def format_date(self, when: int) -> str:
        age = (self.p.guest.clock.now() - when) / SECOND
        is_recent = 0 <= age < _RECENT_GNU
        if self.busybox:
            is_recent = -15 * 60 < age < _RECENT_BUSYBOX
        return format_time(when, self.zone, "%b %e %H:%M" if is_recent else "%b %e  %Y")

    def make_busybox_row(self, inode: Inode) -> str:
        width = "<8" if "n" in self.options else "<8.8"
        size = f"{inode.size:9} "
        if inode.is_device:
            size = f"{inode.major:4}, {inode.minor:3} "
        return (
            f"{format_mode(inode.mode)} {inode.links:4} "
            f"{self.owner(inode.uid):{width}} {self.group(inode.gid):{width}} {size}{self.date(inode)} "
        )

    def find_gnu_form(self, inodes: list[Inode]) -> Callable[[Inode], str]:
        """Return what writes the row of each of *inodes*: every column is as wide as its widest text."""
        devices = [inode for inode in inodes if inode.is_device]
        major = max((len(str(inode.major)) for inode in devices), default=0)
        minor = max((len(str(inode.minor)) for inode in devices), default=0)

        def show_size(inode: Inode) -> str:
            if inode.is_device:
                return f"{inode.major:>{major}}, {inode.minor:>{minor}}"
            return str(inode.size)

        size = max(map(len, map(show_size, inodes)), default=0)
        links = len(str(max((inode.links for inode in inodes), default=0)))
        owner = _width({self.owner(uid) for uid in {inode.uid for inode in inodes}})
        group = _width({self.group(gid) for gid in {inode.gid for inode in inodes}})

        def make(inode: Inode) -> str:
            names = _align(self.owner(inode.uid), owner) + _align(self.group(inode.gid), group)
            return (
                f"{format_mode(inode.mode)} {inode.links:>{links}} {names}"
                f"{show_size(inode):>{size}} {self.date(inode)} "
            )

        return make


def _width(texts: Iterable[str]) -> int:
    return max(map(len, texts), default=0)


def _align(text: str, width: int) -> str:
    """Make a name or an id as wide as the column: numbers to the right, names to the left."""
    return f"{text:{'>' if text.isdecimal() else '<'}{width}} "
