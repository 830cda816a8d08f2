"""The program cut."""

import re
from typing import Final

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.processes.process import LINE_SIZE, Process, Steps, Waiting
from qgasim.userland.limits import MAX_INT, to_int
from qgasim.userland.programs.getopt import Options, not_simulated, parse, usage_error
from qgasim.userland.programs.inputs import Source
from qgasim.userland.programs.messages import fail, is_busybox, pick, quote_text
from qgasim.userland.programs.registry import program

__all__: list[str] = []

_LONG: Final = {
    "bytes": "b", "characters": "c", "fields": "f", "delimiter": "d", "only-delimited": "s",
}  # fmt: skip
_END: Final = 1 << 62


@program("cut")
def cut(p: Process) -> Steps:
    """Print parts of lines."""
    options = yield from parse(p, "b:c:f:d:s", _LONG)
    unit, delimiter = yield from _check(p, options)
    ranges = _merge((yield from (_read_busybox if is_busybox(p) else _read_gnu)(p, unit, options)))
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
            elif "s" not in options or (is_busybox(p) and not line):
                out.append(line)
            p.take_memory(-size)
        yield from p.write(1, b"".join(line + b"\n" for line in out))
    return int(source.has_failed)


def _check(p: Process, options: Options) -> Waiting[tuple[str, bytes]]:
    """Return the kind of list, and the delimiter; end if the options do not go together."""
    lists: list[str] = []
    for name, text in options:
        if name == "d" and len(encode_name(text)) > 1 and not is_busybox(p):
            yield from usage_error(p, "the delimiter must be a single character")
        lists += [name] if name in "bcf" else []
        if len(lists) > 1:
            yield from usage_error(p, pick(p, "", "only one list may be specified"))
    wrong = ""
    if not lists:
        needed = "a list of bytes, characters, or fields"
        wrong = pick(p, f"expected {needed}", f"you must specify {needed}")
    elif lists[0] != "f" and "s" in options and (is_busybox(p) or "d" not in options):
        between = pick(p, " ", "\n\t")
        wrong = f"suppressing non-delimited lines makes sense{between}only when operating on fields"
    elif lists[0] != "f" and "d" in options:
        what = pick(p, "a delimiter", "an input delimiter")
        wrong = f"{what} may be specified only when operating on fields"
    if wrong:
        yield from fail(p, wrong) if is_busybox(p) else usage_error(p, wrong)
    delimiter = options.get("d")
    if delimiter == "\n":
        yield from not_simulated(p, "a newline as delimiter")
    return lists[0], b"\t" if delimiter is None else encode_name(delimiter)[:1] or b"\0"


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return *ranges* from left to right, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _read_gnu(p: Process, unit: str, options: Options) -> Waiting[list[tuple[int, int]]]:
    """Read a list as coreutils 9.1 does (src/set-fields.c, set_fields())."""
    text = options.get(unit) or ""
    zero, dash, odd, large = (
        ("fields are numbered from 1", "field range", "field value", "field number")
        if unit == "f"
        else (
            "byte/character positions are numbered from 1",
            "byte or character range",
            "byte/character position",
            "byte/character offset",
        )
    )
    ranges: list[tuple[int, int]] = []
    for found in re.finditer(r"(?:^|[, \t])(\d*)(-?)(\d*)(?=([^, \t]?))", text, re.ASCII):
        begin, range_, end, rest = found.groups()
        wrong = ""
        first, last = to_int(begin or "1"), to_int(end)
        if first == MAX_INT:
            wrong = f"{large} {quote_text(begin)} is too large"
        elif range_ and not first:
            wrong = zero
        elif last == MAX_INT:
            wrong = f"{large} {quote_text(end)} is too large"
        elif rest == "-":
            wrong = f"invalid {dash}"
        elif rest:
            wrong = f"invalid {odd} {quote_text(text[found.end() :])}"
        elif range_ and not begin and not end:
            wrong = "invalid range with no endpoint: -"
        elif range_ and end and last < first:
            wrong = "invalid decreasing range"
        elif not range_ and (not begin or not first):
            wrong = zero
        if wrong:
            yield from usage_error(p, wrong)
        ranges.append((first, last if end else _END if range_ else first))
    return ranges


def _read_busybox(p: Process, unit: str, options: Options) -> Waiting[list[tuple[int, int]]]:
    """Read a list as BusyBox 1.35 does, where 0 is the first, too."""
    ranges: list[tuple[int, int]] = []
    for part in filter(None, (options.get(unit) or "").split(",")):
        begin, dash, end = part.partition("-")
        for number in filter(None, (begin, end)):
            if not re.fullmatch("[0-9]{1,10}", number):
                yield from fail(p, f"invalid number '{number}'")
            if int(number) >= 1 << 31:
                yield from fail(p, f"number {number} is not in 0..2147483647 range")
        first = max(int(begin or "1"), 1)
        last = int(end) if end else _END if dash else first
        if last < first - 1:
            yield from fail(p, f"{last}<{first - 1}")
        if not last:
            yield from not_simulated(p, f"the range '{part}'")
        ranges.append((first, last))
    if not ranges:
        yield from fail(p, "missing list of positions")
    return ranges
