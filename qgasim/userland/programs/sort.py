"""The program sort."""

import re
from bisect import bisect_left
from collections.abc import Callable
from itertools import groupby
from typing import Any, Final, TypeVar

from msgspec import Struct

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.processes.process import LINE_SIZE, Process, Steps, Waiting
from qgasim.userland.limits import to_int
from qgasim.userland.programs.getopt import Options, not_simulated, parse
from qgasim.userland.programs.inputs import read_input, split_lines
from qgasim.userland.programs.messages import complain, fail, is_busybox, pick, quote
from qgasim.userland.programs.registry import program

__all__ = ["PIECE", "sort_in_pieces"]

T = TypeVar("T")

#: About so many items are sorted at once: Python keeps the interpreter's lock meanwhile.
PIECE: Final = 4096
#: Of so many items, one is looked at to tell where the pieces of the result begin.
_SAMPLE: Final = 64


def sort_in_pieces(
    p: Process, items: list[T], key: Callable[[T], Any], *, is_reverse: bool = False
) -> Waiting[list[T]]:
    """Return *items* sorted by *key*; those that are alike stay in their order, also in reverse."""
    items = items[::-1] if is_reverse else items
    runs: list[list[T]] = []
    for at in range(0, len(items), PIECE):
        runs.append(sorted(items[at : at + PIECE], key=key))
        yield from p.charge_steps(len(runs[-1]))
    result = runs[0] if len(runs) == 1 else (yield from _merge_runs(p, runs, key))
    return result[::-1] if is_reverse else result


def _merge_runs(p: Process, runs: list[list[T]], key: Callable[[T], Any]) -> Waiting[list[T]]:
    """Merge sorted lists: of all of them what is below a pivot, then what is below the next."""
    sample = sorted(key(item) for run in runs for item in run[::_SAMPLE])
    pivots = sample[PIECE // _SAMPLE :: PIECE // _SAMPLE]
    begins = [0] * len(runs)
    result: list[T] = []
    for number in range(len(pivots) + 1):
        piece: list[T] = []
        for at, run in enumerate(runs):
            begin = begins[at]
            end = len(run)
            if number < len(pivots):
                end = bisect_left(run, pivots[number], begin, key=key)
            piece += run[begin:end]
            begins[at] = end
        # Of sorted lists put one after another, Python's sort only merges.
        piece.sort(key=key)
        result += piece
        yield from p.charge_steps(len(runs) + len(piece))
    return result


class _Key(Struct):
    """A part of the line that is compared, with how."""

    start: tuple[int, int] = (1, 1)
    end: tuple[int, int] | None = None
    flags: str = ""


_SORT_LONG = {
    "numeric-sort": "n", "reverse": "r", "unique": "u", "key": "k", "field-separator": "t",
    "stable": "s",
}  # fmt: skip


@program("sort")
def sort(p: Process) -> Steps:
    """Sort lines by their bytes."""
    options = yield from parse(p, "nruk:t:s", _SORT_LONG, code=2)
    tab = options.get("t") or ""
    if len(encode_name(tab)) > 1 and tab != "\\0":
        yield from fail(p, pick(p, "bad -t parameter", f"multi-character tab {quote(tab)}"), 2)
    lines: list[bytes] = []
    for path in options.operands or ["-"]:
        data = yield from read_input(p, path)
        if data is None:
            return 2
        lines += split_lines(p, data.removesuffix(b"\n")) if data else []
    keys: list[_Key] = []
    for text in options.all("k"):
        key = yield from _key(p, text)
        keys.append(key)
    order = _Order(options, keys)
    yield from order.take(p, lines)
    numbers = yield from order.sort(p)
    if "u" in options:
        numbers = [next(group) for _, group in groupby(numbers, key=order.values)]
    if 1 not in p.files and not is_busybox(p):
        yield from complain(p, "fflush failed: 'standard output': Bad file descriptor")
        yield from fail(p, "write error", 2)
    yield from p.write(1, b"".join(lines[number] + b"\n" for number in numbers))
    return 0


class _Order:
    """How lines are sorted: by keys, then by all their bytes."""

    def __init__(self, options: Options, keys: list[_Key]) -> None:
        self._keys = keys or [_Key()]
        flags = "".join(name for name, _ in options if name in "nr")
        for key in self._keys:
            key.flags = key.flags or flags
        separator = encode_name(options.get("t") or "")
        self._separator = b"\0" if separator == b"\\0" else separator
        self._is_reverse = "r" in options
        is_plain = not keys and set(flags) <= {"r"}
        #: Whether lines whose keys are alike stay in the order in which they came.
        self._is_stable = "s" in options or "u" in options or is_plain
        self._lines: list[bytes] = []
        #: For each key, the value of each line.
        self._columns: list[list[Any]] = []

    def take(self, p: Process, lines: list[bytes]) -> Waiting[None]:
        """Take *lines*, and find the values by which they are compared."""
        self._lines = lines
        for key in self._keys:
            column: list[Any] = []
            for at in range(0, len(lines), PIECE):
                piece = lines[at : at + PIECE]
                size = 0 if "n" in key.flags else LINE_SIZE // 2 * len(piece) + sum(map(len, piece))
                p.take_memory(LINE_SIZE // 2 * len(piece) + size)
                column += [
                    _sort_value(_extract(line, key, self._separator), key.flags) for line in piece
                ]
                yield from p.charge_steps(len(piece))
            self._columns.append(column)

    def sort(self, p: Process) -> Waiting[list[int]]:
        """Return the numbers of the lines in order: sorted by the least key first, by the first key last."""
        numbers = list(range(len(self._lines)))
        if not self._is_stable:
            by_bytes = self._lines.__getitem__
            numbers = yield from sort_in_pieces(p, numbers, by_bytes, is_reverse=self._is_reverse)
        for key, column in zip(reversed(self._keys), reversed(self._columns), strict=True):
            is_reverse = "r" in key.flags
            by_value = column.__getitem__
            numbers = yield from sort_in_pieces(p, numbers, by_value, is_reverse=is_reverse)
        return numbers

    def values(self, number: int) -> list[Any]:
        """Return the values of the keys of a line."""
        return [column[number] for column in self._columns]


def _key(p: Process, text: str) -> Waiting[_Key]:
    place = r"(\d+)(?:\.(\d+))?([a-zA-Z]*)"
    found = re.fullmatch(f"{place}(?:,{place})?", text)
    if re.match(r"\d+(?:\.\d+)?(?:[bdfghiMnRrV]+[^\d,bdfghiMnRrV]|[^\d.,bdfghiMnRrV])", text):
        stray = f"stray character in field spec: invalid field specification {quote(text)}"
        yield from fail(p, pick(p, "unknown key option", stray), 2)
    if not found:
        count = f"invalid number at field start: invalid count at start of {quote(text)}"
        wrong = pick(p, "bad field specification", count)
        yield from fail(p, wrong, 2)
        return _Key()
    if found[1] == "0":
        gnu = f"field number is zero: invalid field specification {quote(text)}"
        yield from fail(p, pick(p, "bad field specification", gnu), 2)
    flags = found[3] + (found[6] or "")
    if unknown := set(flags) - set("nr"):
        yield from not_simulated(p, f"the key option '{min(unknown)}'", 2)
    end = (to_int(found[4]), to_int(found[5] or "0")) if found[4] else None
    start = (to_int(found[1]), to_int(found[2] or "1"))
    return _Key(start=start, end=end, flags=flags)


#: A field, with the blanks before it; blanks at the end are one, too.
_FIELD = re.compile(rb"[ \t]*+[^ \t]*+")


def _find_field(line: bytes, number: int, separator: bytes) -> tuple[int, int] | None:
    """Return where a field begins and ends, counted from 1; None if there are not so many."""
    begin = end = 0
    if not separator:
        for _ in range(number):
            found = _FIELD.match(line, end)
            if found is None or end == len(line):
                return None
            begin, end = found.span()
        return begin, end
    for _ in range(number - 1):
        end = line.find(separator, begin)
        if end < 0:
            return None
        begin = end + len(separator)
    end = line.find(separator, begin)
    return begin, len(line) if end < 0 else end


def _extract(line: bytes, key: _Key, separator: bytes) -> bytes:
    if key.start == (1, 1) and key.end is None:
        return line
    field, char = key.start
    found = _find_field(line, field, separator)
    begin = len(line) if found is None else found[0]
    begin += char - 1
    if key.end is None:
        return line[begin:]
    field, char = key.end
    found = _find_field(line, field, separator)
    if found is None:
        return line[begin:]
    return line[begin : found[1] if char == 0 else found[0] + char]


_NUMBER = re.compile(rb"\s*+(-?\d*\.?\d+)")


def _sort_value(text: bytes, flags: str) -> bytes | float:
    if "n" not in flags:
        return text
    found = _NUMBER.match(text)
    return float(found[1]) if found else 0.0
