"""Programs that pass text on, or count it: cat, wc."""

from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.programs.getopt import Options, parse
from qgasim.userland.programs.inputs import (
    CHUNK,
    Source,
    cannot_read,
    open_input,
)
from qgasim.userland.programs.messages import complain, fail, is_busybox
from qgasim.userland.programs.registry import program

__all__ = ["show_control"]


def show_control(line: bytes, *, tabs: bool) -> bytes:
    """Write control and 8-bit characters as ``^X`` and ``M-x``."""
    out = bytearray()
    for byte in line:
        code = byte
        if code == 10 or (code == 9 and not tabs):
            out.append(code)
            continue
        if code >= 128:
            out += b"M-"
            code -= 128
        if code == 127:
            out += b"^?"
        elif code < 32:
            out += b"^" + bytes([code + 64])
        else:
            out.append(code)
    return bytes(out)


class _Numberer:
    """What ``cat`` does to lines."""

    def __init__(self, options: Options, *, ends_lines: bool) -> None:
        #: BusyBox numbers whole lines only.
        self.ends_lines = ends_lines and ("n" in options or "b" in options)
        self.numbers_all = "n" in options and "b" not in options
        self.numbers_some = "b" in options
        self.squeezes = "s" in options
        self.ends = any(o in options for o in "EAe")
        self.tabs = any(o in options for o in "TAt")
        self.controls = any(o in options for o in "vAet")
        self.number = 0
        self.was_empty = False
        self.starts = True

    def format(self, line: bytes) -> bytes:
        is_empty = line == b"\n"
        if self.squeezes and is_empty and self.was_empty:
            return b""
        self.was_empty = is_empty
        head = b""
        if self.starts and (self.numbers_all or (self.numbers_some and not is_empty)):
            self.number += 1
            head = b"%6d\t" % self.number
        if self.ends_lines and not line.endswith(b"\n"):
            line += b"\n"
        self.starts = line.endswith(b"\n")
        if self.controls:
            line = show_control(line, tabs=self.tabs)
        elif self.tabs:
            line = line.replace(b"\t", b"^I")
        if self.ends and line.endswith(b"\n"):
            line = line[:-1] + b"$\n"
        return head + line


@program("cat")
def cat(p: Process) -> Steps:
    """Print files."""
    options = yield from parse(p, "AbeEnstTuv", _CAT_LONG)
    status = 0
    if 1 not in p.files and not is_busybox(p):
        # It looks at its output before it opens anything.
        yield from fail(p, "standard output: Bad file descriptor")
    if any(name != "u" for name, _ in options):
        numberer = _Numberer(options, ends_lines=is_busybox(p))
        source = Source(p, options.operands)
        while lines := (yield from source.lines()):
            yield from p.write(1, b"".join(map(numberer.format, lines)))
        return int(source.has_failed)
    for path in options.operands or ["-"]:
        file = yield from open_input(p, path)
        if file is None or not (yield from _copy(p, path, file)):
            status = 1
    return status


_CAT_LONG = {
    "show-all": "A", "number-nonblank": "b", "show-ends": "E", "number": "n",
    "squeeze-blank": "s", "show-tabs": "T", "show-nonprinting": "v",
}  # fmt: skip


def _copy(p: Process, path: str, file: OpenFile) -> Waiting[bool]:
    try:
        while True:
            try:
                data = yield from p.call(file.read, CHUNK)
            except OSError as error:
                yield from cannot_read(p, path, error)
                return False
            if not data:
                return True
            yield from p.write(1, data)
    finally:
        file.close()


_WC_LONG = {"bytes": "c", "chars": "m", "lines": "l", "words": "w", "max-line-length": "L"}


@program("wc")
def wc(p: Process) -> Steps:
    """Count lines, words and bytes."""
    options = yield from parse(p, "clmwL", _WC_LONG)
    which = [o for o in "lwmcL" if o in options] or ["l", "w", "c"]
    rows: list[tuple[list[int], str]] = []
    status = 0
    sizes: list[int | None] = []
    for path in options.operands or ["-"]:
        is_closed = path == "-" and 0 not in p.files
        if is_closed and is_busybox(p):
            yield from complain(p, "standard input: Bad file descriptor")
        file = yield from open_input(p, path, quiet=is_closed and is_busybox(p))
        if file is None:
            status = 1
            if path == "-":
                name = "-" if options.operands else "'standard input'"
                if not is_busybox(p):
                    yield from complain(p, f"{name}: Bad file descriptor")
                rows.append(([0] * len(which), path))
            continue
        sizes.append(file.size if file.is_regular else None)
        counts = dict.fromkeys("lwmcL", 0)
        in_word = False
        try:
            while data := (yield from p.call(file.read, CHUNK)):
                in_word = _count(data, counts, in_word=in_word)
                yield from p.charge_steps(len(data) // 64)
        except OSError as error:
            status = 1
            yield from cannot_read(p, path, error)
        finally:
            file.close()
        rows.append(([counts[o] for o in which], path))
    if len(options.operands) > 1:
        total = [
            max(c) if o == "L" else sum(c)
            for o, *c in zip(which, *(counts for counts, _ in rows), strict=True)
        ]
        rows.append((total, "total"))
    width = 9 if is_busybox(p) else _gnu_width(sizes)
    if len(which) == 1 and len(rows) <= 1:
        width = 1
    names = [f" {name}" if options.operands else "" for _, name in rows]
    for (counts_, _), name in zip(rows, names, strict=True):
        yield from p.write(1, " ".join(f"{n:{width}}" for n in counts_) + name + "\n")
    return status


def _gnu_width(sizes: list[int | None]) -> int:
    known = [size for size in sizes if size is not None]
    return max(len(str(sum(known))), 1 if len(known) == len(sizes) else 7)


def _count(data: bytes, counts: dict[str, int], *, in_word: bool) -> bool:
    counts["l"] += data.count(b"\n")
    counts["c"] += len(data)
    counts["m"] += sum(byte & 0xC0 != 0x80 for byte in data) if not data.isascii() else len(data)
    words = data.split()
    counts["w"] += len(words) - (in_word and not data[:1].isspace())
    longest = max(len(line.expandtabs()) for line in data.split(b"\n"))
    counts["L"] = max(counts["L"], longest)
    return not data[-1:].isspace()
