"""Programs about space and disks: df, du, blkid, lsblk."""

from collections.abc import Iterator
from typing import Final

from pyfakefs.fake_file import FakeDirectory, FakeFile

from qgasim.guest.files.nodes import Regular, Volume
from qgasim.guest.files.tree import Mount
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.programs.getopt import Options, parse, to_number
from qgasim.userland.programs.human_sizes import in_units, to_human, uuid_of
from qgasim.userland.programs.messages import complain, explain, fail, is_busybox, pick, quote
from qgasim.userland.programs.mount_options import KERNEL_KINDS
from qgasim.userland.programs.registry import program

__all__: list[str] = []

_DF_LONG: Final = {
    "all": "a", "human-readable": "h", "portability": "P", "print-type": "T", "local": "l",
    "block-size": "B", "si": "H", "type": "t", "exclude-type": "x", "total": "total",
    "no-sync": "n", "sync": "n",
}  # fmt: skip


def _unit(p: Process, options: Options) -> Waiting[int]:
    if (size := options.get("B")) is not None:
        return (yield from to_number(p, size, "invalid -B argument"))
    return {"b": 1, "m": 1 << 20, "g": 1 << 30}.get(options.last("bkmg"), 1 << 10)


@program("df")
def df(p: Process) -> Steps:
    """Print how much space file systems have."""
    options = yield from parse(p, "ahHkmPTlB:t:x:", _DF_LONG)
    unit = yield from _unit(p, options)
    mounts: list[Mount] = []
    status = 0
    for path in options.operands:
        try:
            p.guest.files.get(path, p.cwd)
            mounts.append(p.guest.files.locate(path, p.cwd).mount)
        except OSError as error:
            text = f"{path}: {explain(error)}"
            yield from complain(p, pick(p, f"{path}: can't find mount point", text))
            status = 1
    if not options.operands:
        mounts = list(_shown(p, options))
    if status and not mounts:
        return status
    rows = [_figures(p, mount, options, unit) for mount in mounts]
    size = "Size" if "h" in options or "H" in options else "1K-blocks"
    if "P" in options and unit == 1 << 10 and size != "Size":
        size = "1024-blocks"
    elif unit != 1 << 10:
        size = "1M-blocks" if unit == 1 << 20 else f"{unit}-blocks"
    if is_busybox(p):
        yield from _print_busybox(p, rows, options, size)
    else:
        yield from _print_gnu(p, rows, options, size)
    return status


def _shown(p: Process, options: Options) -> Iterator[Mount]:
    """Return the mounts that df lists by itself: each volume once, and none of the kernel's."""
    seen: set[int] = set()
    kinds, excluded = options.all("t"), options.all("x")
    for mount in p.guest.files.mounts:
        volume = mount.volume
        is_kernel = volume.kind in KERNEL_KINDS and volume.kind != "tmpfs"
        if "a" not in options and (is_kernel or id(volume) in seen):
            continue
        seen.add(id(volume))
        if (not kinds or volume.kind in kinds) and volume.kind not in excluded:
            yield mount


def _figures(p: Process, mount: Mount, options: Options, unit: int) -> list[str]:
    """Return device, type, size, used, available, per cent, mount point."""
    volume = mount.volume
    is_kernel = volume.kind in KERNEL_KINDS and volume.kind != "tmpfs"
    used = 0 if is_kernel else volume.used
    free = 0 if is_kernel else max(0, volume.size - used)
    sizes = [0 if is_kernel else volume.size + volume.reserved, used, free]
    if is_busybox(p):
        percent = f"{(used * 100 + (used + free) // 2) // (used + free or 1)}%"
    else:
        percent = f"{-(-used * 100 // (used + free))}%" if used + free else "-"
    if "h" in options or "H" in options:
        base = 1000 if "H" in options else 1024
        texts = [to_human(n, is_busybox=is_busybox(p), base=base) for n in sizes]
    else:
        texts = [str(in_units(n, unit, is_busybox=is_busybox(p))) for n in sizes]
    return [volume.device, volume.kind, *texts, percent, mount.path]


def _print_busybox(p: Process, rows: list[list[str]], options: Options, size: str) -> Waiting[None]:
    size = f"     {size}" if size == "Size" else size
    use = "Capacity" if "P" in options else "Use%"
    kind = "Type       " if "T" in options else ""
    yield from p.write(1, f"Filesystem           {kind}{size:<15}Used Available {use} Mounted on\n")
    for device, kind_, *numbers, percent, path in rows:
        wrapped = device
        if len(device) > 20 and "P" not in options:
            wrapped = f"{device}\n{'':20}"
        row = f"{wrapped:<20}" + (f" {kind_:<10}" if "T" in options else "")
        row += "".join(f" {number:>9}" for number in numbers)
        yield from p.write(1, f"{row} {percent:>4} {path}\n")


def _print_gnu(p: Process, rows: list[list[str]], options: Options, size: str) -> Waiting[None]:
    available, use = "Available", "Use%"
    if size == "Size":
        available = "Avail"
    if "P" in options:
        use = "Capacity"
    table = [["Filesystem", "Type", size, "Used", available, use, "Mounted on"], *rows]
    if "T" not in options:
        table = [[row[0], *row[2:]] for row in table]
    # Least widths, as in coreutils' src/df.c.
    least = [14, *([4] if "T" in options else []), 5, 5, 5, 4]
    widths = [max(n, *(len(row[i]) for row in table)) for i, n in enumerate(least)]
    to_left = 2 if "T" in options else 1
    for row in table:
        cells = [
            cell.ljust(width) if i < to_left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        yield from p.write(1, " ".join([*cells, row[-1]]) + "\n")


_DU_LONG: Final = {
    "all": "a", "bytes": "b", "total": "c", "max-depth": "d", "human-readable": "h",
    "summarize": "s", "one-file-system": "x", "apparent-size": "A", "block-size": "B",
}  # fmt: skip


class _Tree:
    """What du counts: a file with several names counts once."""

    def __init__(self, p: Process, options: Options) -> None:
        self.files = p.guest.files
        self.is_apparent = "A" in options or "b" in options
        self.stays = "x" in options
        self.seen: set[int] = set()
        #: Size, path, depth and whether it is a directory, in du's order.
        self.rows: list[tuple[int, str, int, bool]] = []

    def _size(self, node: FakeFile, volume: Volume) -> int:
        if isinstance(node, Regular):
            return node.length if self.is_apparent else node.allocated
        has_block = isinstance(node, FakeDirectory) and volume.kind not in KERNEL_KINDS
        return volume.block_size if has_block else 0

    def walk(self, path: str, cwd: str, depth: int = 0) -> int:
        place = self.files.locate(path, cwd, follow=False)
        node = self.files.get(path, cwd, follow=False)
        if id(node) in self.seen:
            return 0
        self.seen.add(id(node))
        size = self._size(node, place.mount.volume)
        is_directory = isinstance(node, FakeDirectory)
        if is_directory:
            for name in self.files.listdir(path, cwd):
                child = f"{path.rstrip('/')}/{name}"
                mount = self.files.locate(child, cwd, follow=False).mount
                if not self.stays or mount is place.mount:
                    size += self.walk(child, cwd, depth + 1)
        self.rows.append((size, path, depth, is_directory))
        return size


@program("du")
def du(p: Process) -> Steps:
    """Print how much space files take."""
    options = yield from parse(p, "abcd:hskmxgB:", _DU_LONG)
    unit = yield from _unit(p, options)
    depth = 0 if "s" in options else 1 << 30
    if (limit := options.get("d")) is not None:
        depth = yield from to_number(p, limit, "invalid maximum depth")
    tree = _Tree(p, options)
    total = status = 0
    for path in options.operands or ["."]:
        try:
            total += tree.walk(path, p.cwd)
        except OSError as error:
            gnu = f"cannot access {quote(path)}: {explain(error)}"
            yield from complain(p, pick(p, f"{path}: {explain(error)}", gnu))
            status = 1
    lines = [
        (size, path)
        for size, path, level, is_directory in tree.rows
        if level <= depth and (is_directory or not level or "a" in options)
    ]
    for size, path in [*lines, *([(total, "total")] if "c" in options else [])]:
        text = str(in_units(size, unit, is_busybox=False))
        if "h" in options:
            text = to_human(size, is_busybox=is_busybox(p))
        yield from p.write(1, f"{text}\t{path}\n")
    return status


@program("blkid")
def blkid(p: Process) -> Steps:
    """Print what is known about file systems: their UUIDs are made up, and stay the same."""
    options = yield from parse(p, "o:s:", {"output": "o", "match-tag": "s"})
    found = 0
    for device, volume in p.guest.volumes.items():
        if not device.startswith("/dev/") or (options.operands and device not in options.operands):
            continue
        tags = {"UUID": uuid_of(device), "BLOCK_SIZE": str(volume.block_size), "TYPE": volume.kind}
        if is_busybox(p):
            del tags["BLOCK_SIZE"]
        wanted = options.all("s")
        tags = {name: value for name, value in tags.items() if not wanted or name in wanted}
        if not tags:
            continue
        found += 1
        form = options.get("o") or "full"
        if form == "value":
            text = "".join(f"{value}\n" for value in tags.values())
        elif form == "export":
            text = f"DEVNAME={device}\n" + "".join(f"{n}={v}\n" for n, v in tags.items())
        elif form == "device":
            text = f"{device}\n"
        else:
            text = f"{device}: " + " ".join(f'{n}="{v}"' for n, v in tags.items()) + "\n"
        yield from p.write(1, text)
    return 0 if found or is_busybox(p) else 2


_LSBLK_LONG: Final = {
    "noheadings": "n", "output": "o", "nodeps": "d", "bytes": "b", "list": "l", "all": "a",
    "fs": "f", "paths": "p", "raw": "r",
}  # fmt: skip
_DEFAULT_COLUMNS: Final = "NAME,MAJ:MIN,RM,SIZE,RO,TYPE,MOUNTPOINTS"
_TO_RIGHT: Final = frozenset({"RM", "SIZE", "RO"})


def _size_text(size: int) -> str:
    """Write a size as util-linux does: ``498M``, ``1.5G``."""
    unit = next((u for u in range(5) if size < 1024 ** (u + 1)), 5)
    tenths = (size * 10 + 1024**unit // 2) // 1024**unit
    point = f".{tenths % 10}" if tenths % 10 else ""
    return f"{tenths // 10}{point}{'BKMGTP'[unit]}"


@program("lsblk")
def lsblk(p: Process) -> Steps:
    """List disks and their partitions."""
    options = yield from parse(p, "no:dblafpr", _LSBLK_LONG)
    columns = (options.get("o") or _DEFAULT_COLUMNS).upper().split(",")
    if "f" in options:
        columns = ["NAME", "FSTYPE", "UUID", "MOUNTPOINTS"]
    names = [name.rsplit("/", 1)[-1] for name in options.operands]
    rows: list[dict[str, str]] = []
    for disk in p.guest.disks:
        parts = sorted(disk.partitions, key=lambda part: part.name)
        if not names or disk.name in names:
            rows.append(_describe(p, options, disk.name, disk.size, (disk.major, disk.minor), ""))
        for number, part in enumerate([] if "d" in options else parts, 1):
            if not names or disk.name in names or part.name in names:
                branch = "`-" if number == len(parts) else "|-"
                numbers = (disk.major, disk.minor + number)
                rows.append(_describe(p, options, part.name, part.size, numbers, branch))
    unknown = next((c for c in columns if rows and c not in rows[0]), None)
    if unknown is not None:
        yield from fail(p, f"unknown column: {unknown}")
    table = [] if "n" in options else [dict(zip(columns, columns, strict=True))]
    table += rows
    widths = {c: max((len(row[c]) for row in table), default=0) for c in columns[:-1]}
    for row in table:
        cells = [
            row[c].rjust(widths[c]) if c in _TO_RIGHT else row[c].ljust(widths[c])
            for c in columns[:-1]
        ]
        yield from p.write(1, " ".join([*cells, row[columns[-1]]]) + "\n")
    return 0


def _describe(
    p: Process, options: Options, name: str, size: int, numbers: tuple[int, int], branch: str
) -> dict[str, str]:
    device = f"/dev/{name}"
    volume = p.guest.volumes.get(p.guest.mount_source(device))
    mounts = [m.path for m in p.guest.files.mounts if m.volume is volume]
    is_plain = "l" in options or "r" in options
    return {
        "NAME": ("" if is_plain else branch) + (device if "p" in options else name),
        "KNAME": name,
        "PATH": device,
        "MAJ:MIN": f"{numbers[0]:3}:{numbers[1]:<3}",
        "RM": "0",
        "SIZE": str(size) if "b" in options else _size_text(size),
        "RO": "0",
        "TYPE": "part" if branch else "disk",
        "MOUNTPOINTS": mounts[0] if mounts else "",
        "MOUNTPOINT": mounts[0] if mounts else "",
        "FSTYPE": volume.kind if volume else "",
        "UUID": uuid_of(device) if volume else "",
        "LABEL": "",
        "SERIAL": next((d.serial or "" for d in p.guest.disks if d.name == name), ""),
    }
