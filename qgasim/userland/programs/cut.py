"""The program cut."""

import re

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.processes.process import LINE_SIZE, Process, Steps, Waiting
from qgasim.userland.limits import MAX_INT, to_int
from qgasim.userland.programs.getopt import parse, usage_error
from qgasim.userland.programs.inputs import Source
from qgasim.userland.programs.messages import fail, is_busybox, pick, quote
from qgasim.userland.programs.registry import program

__all__: list[str] = []

_CUT_LONG = {
    "bytes": "b", "characters": "c", "fields": "f", "delimiter": "d", "only-delimited": "s",
}  # fmt: skip


@program("cut")
def cut(p: Process) -> Steps:
    """Print parts of lines."""
    options = yield from parse(p, "b:c:f:d:s", _CUT_LONG)
    unit = options.last("bcf")
    if not unit:
        needed = " a list of bytes, characters, or fields"
        wrong = pick(p, "expected" + needed, "you must specify" + needed)
        yield from (fail(p, wrong) if pick(p, 1, 0) else usage_error(p, wrong))
    ranges = _merge((yield from _ranges(p, unit, options.get(unit) or "")))
    delimiter = encode_name(options.get("d") or "\t")
    if is_busybox(p):
        delimiter = delimiter[:1]
    elif len(delimiter.decode("utf-8", "replace")) != 1:
        yield from usage_error(p, "the delimiter must be a single character")
    source = Source(p, options.operands)
    while lines := (yield from source.lines()):
        out: list[bytes] = []
        for raw in lines:
            line = raw.removesuffix(b"\n")
            if unit != "f":
                # Characters are bytes for GNU's and for BusyBox (Debian 12).
                out.append(b"".join(line[first - 1 : last] for first, last in ranges))
                continue
            size = LINE_SIZE * line.count(delimiter)
            p.take_memory(size)
            parts = line.split(delimiter)
            if len(parts) > 1:
                pieces = (part for first, last in ranges for part in parts[first - 1 : last])
                out.append(delimiter.join(pieces))
            elif "s" not in options:
                out.append(line)
            p.take_memory(-size)
        yield from p.write(1, b"".join(line + b"\n" for line in out))
    return int(source.has_failed)


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return *ranges* from left to right, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _ranges(p: Process, unit: str, text: str) -> Waiting[list[tuple[int, int]]]:
    ranges: list[tuple[int, int]] = []
    if is_busybox(p):
        for bound in re.split("[,-]", text):
            if bound and not bound.isdecimal():
                yield from fail(p, f"invalid number '{bound}'")
    elif odd := re.search(r"[^0-9, \t-].*", text, re.DOTALL):
        what = "field value" if unit == "f" else "byte/character position"
        yield from usage_error(p, f"invalid {what} {quote(odd[0])}")
    for part in text.split(","):
        found = re.fullmatch(r"(\d*)(-?)(\d*)", part)
        if not found or not (found[1] or found[3]):
            wrong = f"invalid field value {quote(part)}"
            yield from (fail(p, "invalid range") if pick(p, 1, 0) else usage_error(p, wrong))
        else:
            first = to_int(found[1] or "1")
            last = to_int(found[3]) if found[3] else (1 << 62 if found[2] else first)
            if max(first, (found[3] and last) or 0) >= MAX_INT and not is_busybox(p):
                what = "field number" if unit == "f" else "byte/character offset"
                large = found[1] if first >= MAX_INT else found[3]
                yield from usage_error(p, f"{what} {quote(large)} is too large")
            ranges.append((first, last))
            if last < first and not is_busybox(p):
                yield from usage_error(p, "invalid decreasing range")
            if not first:
                wrong = "fields are numbered from 1"
                yield from (fail(p, "invalid range") if pick(p, 1, 0) else usage_error(p, wrong))
    return ranges
