"""Programs that pass text on, or count it: cat, wc."""

from typing import Final

from qgasim.guest.files.nodes import Regular
from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.programs.getopt import parse
from qgasim.userland.programs.inputs import (
    CHUNK,
    Source,
    cannot_read,
    open_input,
)
from qgasim.userland.programs.messages import complain, fail, is_busybox
from qgasim.userland.programs.registry import program

__all__: list[str] = []

_UNSEEN: Final = bytes({*range(256)} - {*range(0x20, 0x7F), *b"\t\n\v\f\r"})


@program("cat")
def cat(p: Process) -> Steps:
    """Print files."""
    options = yield from parse(p, "nu", {"number": "n"})
    status = 0
    if 1 not in p.files and not is_busybox(p):
        # It looks at its output before it opens anything.
        yield from fail(p, "standard output: Bad file descriptor")
    if "n" in options:
        return (yield from _number(p, options.operands))
    for path in options.operands or ["-"]:
        file = yield from open_input(p, path)
        if file is not None and _is_output(p, file):
            yield from complain(p, f"{path}: input file is output file")
            file.close()
            status = 1
        elif file is None or not (yield from _copy(p, path, file)):
            status = 1
    return status


def _is_output(p: Process, file: OpenFile) -> bool:
    """Return whether coreutils' cat would read what it writes; BusyBox's does."""
    if is_busybox(p) or not isinstance(file.node, Regular) or p.descriptor(1).node is not file.node:
        return False
    return file.position < file.node.length


def _number(p: Process, paths: list[str]) -> Steps:
    """Print files with the numbers of their lines."""
    number = 0
    is_start = True
    source = Source(p, paths)
    while lines := (yield from source.lines()):
        out: list[bytes] = []
        for line in lines:
            if is_start:
                number += 1
                out.append(b"%6d\t" % number)
            is_start = line.endswith(b"\n") or is_busybox(p)
            # BusyBox numbers whole lines only.
            out.append(line if line.endswith(b"\n") or not is_start else line + b"\n")
        yield from p.write(1, b"".join(out))
    return int(source.has_failed)


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
            try:
                yield from p.write(1, data)
            except OSError as error:
                if not is_busybox(p):
                    raise
                # It goes on with the next file.
                yield from complain(p, f"write error: {error.strerror}")
                return False
    finally:
        file.close()


@program("wc")
def wc(p: Process) -> Steps:
    """Count lines, words and bytes."""
    options = yield from parse(p, "clmw", {"bytes": "c", "chars": "m", "lines": "l", "words": "w"})
    which = [o for o in "lwmc" if o in options] or ["l", "w", "c"]
    total = [0] * len(which)
    status = 0
    width = 9 if is_busybox(p) else _gnu_width(p, options.operands or ["-"])
    if len(which) == 1 and len(options.operands) <= 1:
        width = 1

    def show(counts: list[int], name: str) -> Waiting[None]:
        ending = f" {name}" if options.operands else ""
        yield from p.write(1, " ".join(f"{n:{width}}" for n in counts) + ending + "\n")

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
                yield from show([0] * len(which), path)
            continue
        counts = dict.fromkeys("lwmc", 0)
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
        row = [counts[o] for o in which]
        total = [one + other for one, other in zip(total, row, strict=True)]
        yield from show(row, path)
    if len(options.operands) > 1:
        yield from show(total, "total")
    return status


def _gnu_width(p: Process, paths: list[str]) -> int:
    """Return how wide numbers are: the files are looked at before any is read (compute_number_width() of wc.c)."""
    sizes: list[int] = []
    is_plain = True
    for path in paths:
        standard = p.files.get(0) if path == "-" else None
        node = standard.node if standard is not None else p.guest.files.find(path, p.cwd)
        if isinstance(node, Regular):
            sizes.append(node.length)
        elif standard is not None or node is not None:
            is_plain = False
    return max(len(str(sum(sizes))), 1 if is_plain else 7)


def _count(data: bytes, counts: dict[str, int], *, in_word: bool) -> bool:
    counts["l"] += data.count(b"\n")
    counts["c"] += len(data)
    # In the C locale, a character is a byte.
    counts["m"] += len(data)
    # In the C locale, what cannot be printed is no part of a word, and does not end one.
    seen = data.translate(None, _UNSEEN)
    counts["w"] += len(seen.split()) - (in_word and bool(seen) and not seen[:1].isspace())
    return in_word if not seen else not seen[-1:].isspace()
