"""The program sort."""

import re
from bisect import bisect_left
from collections.abc import Callable
from itertools import groupby
from typing import Any, Final, TypeVar

from msgspec import Struct

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.processes.process import LINE_SIZE, Process, Steps, Waiting
from qgasim.userland.limits import to_float, to_int
from qgasim.userland.programs.getopt import Options, not_simulated, parse, usage_error
from qgasim.userland.programs.inputs import open_input, read_input, split_lines
from qgasim.userland.programs.messages import complain, fail, is_busybox, quote_text
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

    #: A field and a character in it, counted from 1; 0: none is named.
    start: tuple[int, int] = (1, 0)
    end: tuple[int, int] = (0, 0)
    flags: str = ""


_SORT_LONG: Final = {
    "numeric-sort": "n", "reverse": "r", "unique": "u", "key": "k", "field-separator": "t",
    "stable": "s",
}  # fmt: skip


@program("sort")
def sort(p: Process) -> Steps:
    """Sort lines by their bytes."""
    options = yield from parse(p, "nruk:t:s", _SORT_LONG)
    separator = yield from _read_separator(p, options.all("t"))
    keys: list[_Key] = []
    for text in options.all("k"):
        key = yield from (_read_busybox_key if is_busybox(p) else _read_key)(p, text)
        keys.append(key)
    lines: list[bytes] = []
    for path in options.operands if not is_busybox(p) else ():
        # It sees whether all are there before it reads any.
        file = yield from open_input(p, path)
        if file is None:
            return 2
        file.close()
    for path in options.operands or ["-"]:
        data = yield from read_input(p, path)
        if data is None:
            return 2
        lines += split_lines(p, data.removesuffix(b"\n")) if data else []
    order = _Order(p, options, keys, separator)
    yield from order.take(lines)
    numbers = yield from order.sort()
    if "u" in options and not order.keeps_equal:
        numbers = [next(group) for _, group in groupby(numbers, key=order.values)]
    if 1 not in p.files and not is_busybox(p):
        yield from complain(p, "fflush failed: 'standard output': Bad file descriptor")
        yield from fail(p, "write error")
    yield from p.write(1, b"".join(lines[number] + b"\n" for number in numbers))
    return 0


class _Order:
    """How lines are sorted: by keys, then by all their bytes."""

    def __init__(self, p: Process, options: Options, keys: list[_Key], separator: bytes) -> None:
        self._p = p
        self._keys = keys or [_Key()]
        flags = "".join(name for name, _ in options if name in "nr")
        for key in self._keys:
            key.flags = key.flags or flags
        self._separator = separator
        self._is_reverse = "r" in options
        busybox = is_busybox(p)
        is_plain = not keys and set(flags) <= {"r"} and not busybox
        #: Whether lines whose keys are alike stay in the order in which they came.
        self._is_stable = "s" in options or ("u" in options and not busybox) or is_plain
        #: BusyBox finds no two lines alike if the order is stable, and reverses that, too.
        self.keeps_equal = busybox and "s" in options
        self._extract = _extract_busybox if busybox else _extract
        self._is_busybox = busybox
        self._lines: list[bytes] = []
        #: For each key, the value of each line.
        self._columns: list[list[Any]] = []

    def take(self, lines: list[bytes]) -> Waiting[None]:
        """Take *lines*, and find the values by which they are compared."""
        self._lines = lines
        for key in self._keys:
            column: list[Any] = []
            for at in range(0, len(lines), PIECE):
                piece = lines[at : at + PIECE]
                size = 0 if "n" in key.flags else LINE_SIZE // 2 * len(piece) + sum(map(len, piece))
                self._p.take_memory(LINE_SIZE // 2 * len(piece) + size)
                column += [self._value(line, key) for line in piece]
                yield from self._p.charge_steps(len(piece))
            self._columns.append(column)

    def _value(self, line: bytes, key: _Key) -> bytes | float:
        text = (
            line
            if key.start == (1, 0) and not any(key.end)
            else self._extract(line, key, self._separator)
        )
        if "n" not in key.flags:
            return text
        if self._is_busybox:
            return to_float(text)[0]
        found = _NUMBER.match(text)
        if found is None:
            return 0
        return int(found[1]) if found[1].isdigit() and len(found[1]) < 100 else float(found[1])

    def sort(self) -> Waiting[list[int]]:
        """Return the numbers of the lines in order: sorted by the least key first, by the first key last."""
        numbers = list(range(len(self._lines)))
        if self.keeps_equal and "r" in self._keys[-1].flags:
            numbers.reverse()
        if not self._is_stable:
            by_bytes = self._lines.__getitem__
            numbers = yield from sort_in_pieces(
                self._p, numbers, by_bytes, is_reverse=self._is_reverse
            )
        for key, column in zip(reversed(self._keys), reversed(self._columns), strict=True):
            is_reverse = "r" in key.flags
            by_value = column.__getitem__
            numbers = yield from sort_in_pieces(self._p, numbers, by_value, is_reverse=is_reverse)
        return numbers

    def values(self, number: int) -> list[Any]:
        """Return the values of the keys of a line."""
        return [column[number] for column in self._columns]


def _read_separator(p: Process, texts: list[str]) -> Waiting[bytes]:
    """Return the byte between fields; nothing: blanks are."""
    if is_busybox(p):
        if len(texts) > 1:
            yield from usage_error(p)
        if texts and len(encode_name(texts[0])) != 1:
            yield from fail(p, "bad -t parameter")
        return encode_name("".join(texts))
    separators = [b"\0" if text == "\\0" else encode_name(text) for text in texts]
    for text, separator in zip(texts, separators, strict=True):
        if not separator:
            yield from fail(p, "empty tab")
        if len(separator) > 1:
            yield from fail(p, f"multi-character tab {quote_text(text)}")
    if len(set(separators)) > 1:
        yield from fail(p, "incompatible tabs")
    return separators[0] if separators else b""


_KEY_FLAGS: Final = "bdfghiMnRrV"


def _read_key(p: Process, text: str) -> Waiting[_Key]:
    """Read ``POS1[,POS2]`` as coreutils 9.1 does (src/sort.c)."""
    places: list[tuple[int, int]] = []
    flags = ""
    at = 0
    for what in ("at field start", "after ','"):
        numbers: list[int] = []
        for missing in (what, "after '.'"):
            if numbers and text[at : at + 1] != ".":
                numbers.append(0)
                break
            at += bool(numbers)
            found = re.compile(r"\s*\+?(\d+)", re.ASCII).match(text, at)
            if found is None:
                gnu = f"invalid number {missing}: invalid count at start of {quote_text(text[at:])}"
                return (yield from fail(p, gnu))
            numbers.append(to_int(found[1]))
            at = found.end()
            if not numbers[-1] and not (places and len(numbers) == 2):
                zero = "field number" if len(numbers) == 1 else "character offset"
                yield from fail(
                    p, f"{zero} is zero: invalid field specification {quote_text(text)}"
                )
        places.append((numbers[0], numbers[1]))
        while text[at : at + 1] and text[at] in _KEY_FLAGS:
            flags += text[at]
            at += 1
        if text[at : at + 1] != ",":
            break
        at += 1 if len(places) == 1 else 0
    if at < len(text):
        stray = "stray character in field spec: invalid field specification"
        yield from fail(p, f"{stray} {quote_text(text)}")
    if unknown := set(flags) - set("nr"):
        yield from not_simulated(p, f"the key option '{min(unknown)}'")
    return _Key(places[0], places[1] if len(places) > 1 else (0, 0), flags)


def _read_busybox_key(p: Process, text: str) -> Waiting[_Key]:
    """Read a key as BusyBox 1.35 does (coreutils/sort.c): all but the flags may be missing."""
    place = r"(?:(\d+)(?:\.(\d+))?([a-zA-Z]*)"
    found = re.fullmatch(rf"{place}(?:,(?:{place})?)?)?)?", text, re.ASCII)
    if found is None:
        odd = re.match(r"\d+(?:\.\d+)?\w*[^,]", text, re.ASCII)
        return (yield from fail(p, "unknown key option" if odd else "bad field specification"))
    written = found.group(1, 2, 4, 5)
    numbers = [to_int(each or "0") for each in written]
    if any(
        each and not 0 < number < 1 << 32 for each, number in zip(written, numbers, strict=True)
    ):
        yield from fail(p, "bad field specification")
    flags = (found[3] or "") + (found[6] or "")
    for flag in flags:
        if flag not in "ngMucszbdfimSTokthVr":
            yield from fail(p, "unknown key option")
        if flag in "uczsoktSTmV":
            yield from fail(p, "unknown sort type")
        if flag not in "nr":
            yield from not_simulated(p, f"the key option '{flag}'")
    return _Key((numbers[0], numbers[1]), (numbers[2], numbers[3]), flags)


#: A field, with the blanks before it; blanks at the end are one, too.
_FIELD: Final = re.compile(rb"[ \t]*+[^ \t]*+")


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
    field, char = key.start
    found = _find_field(line, field, separator)
    begin = (len(line) if found is None else found[0]) + max(char - 1, 0)
    field, char = key.end
    found = _find_field(line, field, separator) if field else None
    if found is None:
        return line[begin:]
    return line[begin : found[1] if char == 0 else found[0] + char]


#: BusyBox's blanks are isspace()'s.
_BUSYBOX_FIELD: Final = re.compile(rb"\s*+\S*+")


def _extract_busybox(line: bytes, key: _Key, separator: bytes) -> bytes:
    """Return what BusyBox 1.35 compares (coreutils/sort.c, get_key())."""

    def find_end(count: int) -> int:
        """Return where so many fields end, with the separator."""
        end = 0
        for _ in range(count):
            if not separator:
                found = _BUSYBOX_FIELD.match(line, end)
                end = found.end() if found else len(line)
            else:
                at = line.find(separator, end)
                end = len(line) if at < 0 else at + 1
            if end == len(line):
                break
        return end

    begin = find_end(key.start[0] - 1) if key.start[0] else len(line)
    end = find_end(key.end[0]) if key.end[0] else len(line)
    if key.end[0] and separator and line[end - 1 : end] == separator:
        end -= 1
    if key.end[1]:
        end = min(key.end[1], len(line))
    if key.start[1]:
        begin = min(begin + key.start[1] - 1, len(line))
    return line[begin:end]


_NUMBER: Final = re.compile(rb"[ \t\n]*+(-?\d*\.?\d+|-?\d+)")
