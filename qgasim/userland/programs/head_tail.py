"""The beginnings and ends of files: head and tail."""

import re
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from msgspec import Struct

from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.limits import MAX_INT
from qgasim.userland.programs.getopt import not_simulated, parse, usage_error
from qgasim.userland.programs.inputs import CHUNK, cannot_read, open_input, split_lines
from qgasim.userland.programs.messages import complain, fail, is_busybox, quote_text
from qgasim.userland.programs.registry import program

__all__: list[str] = []

_LONG: Final = {"lines": "n", "bytes": "c"}
#: xstrtoumax() of gnulib, with the suffixes of head and tail: a suffix alone is 1.
_GNU: Final = re.compile(r"(?:\s*\+?([0-9]+))?(?:(b)|([kKmMGTPEZY])(iB|[BD])?)?")
_POWERS: Final = "KMGTPEZY"
_BUSYBOX: Final = re.compile(r"([0-9]+)([bkm]?)")
_BUSYBOX_UNITS: Final = {"": 1, "b": 512, "k": 1 << 10, "m": 1 << 20}


class _Part(Struct):
    """Which part of a file is printed."""

    #: ``n`` or ``c``: lines or bytes.
    unit: str = "n"
    count: int = 10
    #: ``+``: from there on (tail). ``-``: all but so many (head).
    sign: str = ""
    paths: list[str] = []


def _read_part(p: Process) -> Waiting[_Part]:
    arguments = yield from _replace_old(p, p.argv[1:])
    options = yield from parse(p, "n:c:", _LONG, arguments=arguments)
    part = _Part(paths=options.operands or ["-"])
    values = list(options)
    if is_busybox(p) and p.name == "tail":
        # The last of each kind counts; with both, the number of lines is that of bytes.
        values = [(unit, text) for unit in "cn" if (text := options.get(unit)) is not None]
    for unit, text in values:
        sign = text[:1] if text[:1] in ("-", "+" if p.name == "tail" else "-") else ""
        if p.name == "head" or sign == "+":
            part.sign = sign
        # GNU's shows a plus with what is no number.
        digits = text[1:] if sign == "-" or (sign and is_busybox(p)) else text
        part.count = yield from _to_number(p, digits, unit)
    if values:
        part.unit = values[0 if is_busybox(p) and p.name == "tail" else -1][0]
    return part


def _replace_old(p: Process, arguments: list[str]) -> Waiting[list[str]]:
    """Return the arguments with an option in the old form, ``-5``, as ``-n 5``."""
    is_tail = p.name == "tail"
    first = arguments[0] if arguments else ""
    old = re.fullmatch(r"([-+])([0-9]+)(.*)" if is_tail else r"(-)([0-9]+)(.*)", first, re.DOTALL)
    if is_busybox(p):
        return ["-n", old[1].strip("-") + old[2] + old[3], *arguments[1:]] if old else arguments
    rest = arguments[1:]
    if old and is_tail:
        alone = not rest or (len(rest) == 1 and (rest[0] == "-" or rest[0][:1] != "-"))
        if not (
            re.fullmatch("[bcl]?f?", old[3]) and (alone or (rest[0] == "--" and len(rest) < 3))
        ):
            old = None
    if old and not is_tail and (wrong := old[3].lstrip("bcklmqvz")):
        yield from usage_error(p, f"invalid trailing option -- {wrong[0]}")
    if old and old[3]:
        yield from not_simulated(p, f"'{first}'")
    if old:
        arguments = ["-n", old[1].strip("-") + old[2], *rest]
    for before, argument in pairwise(["", *arguments]):
        if re.match("-[0-9]", argument) and before not in ("-n", "-c", "--lines", "--bytes"):
            if not is_tail:
                yield from usage_error(p, f"invalid trailing option -- {argument[1]}")
            yield from fail(p, f"option used in invalid context -- {argument[1]}")
        if argument == "--":
            break
    return arguments


def _to_number(p: Process, text: str, unit: str) -> Waiting[int]:
    """Read a count with an optional suffix; no file has more than `MAX_INT`."""
    if is_busybox(p):
        found = _BUSYBOX.fullmatch(text)
        limit = (1 << 32 if p.name == "tail" else 1 << 64) - 1
        number = _to_whole(found[1]) if found else limit + 1
        if found is None or number > limit:
            yield from fail(p, f"invalid number '{text}'")
        size = _BUSYBOX_UNITS[found[2]] if found else 1
        if number * size > limit:
            yield from fail(p, f"number {text} is not in 0..{limit} range")
        return min(number * size, MAX_INT)
    wrong = f"invalid number of {'lines' if unit == 'n' else 'bytes'}: {quote_text(text)}"
    found = _GNU.fullmatch(text)
    if found is None or not text:
        return (yield from fail(p, wrong))
    size = 512 if found[2] else 1
    if found[3]:
        base = 1000 if found[4] in ("B", "D") else 1024
        size = base ** (_POWERS.index(found[3].upper()) + 1)
    number = _to_whole(found[1] or "1") * size
    if number >= 1 << 64:
        yield from fail(p, f"{wrong}: Value too large for defined data type")
    return min(number, MAX_INT)


def _to_whole(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= 20 else 1 << 64


def _show_header(p: Process, path: str, *, is_first: bool) -> Waiting[None]:
    name = "standard input" if path == "-" and (p.name == "head" or not is_busybox(p)) else path
    yield from p.write(1, f"{'' if is_first else chr(10)}==> {name} <==\n")


@program("head")
def head(p: Process) -> Steps:
    """Print the beginning of files."""
    part = yield from _read_part(p)
    status = 0
    is_first = True
    for path in part.paths:
        file = yield from open_input(p, path)
        if file is None:
            status = 1
            # BusyBox puts an empty line before the second name, whatever came of the first.
            is_first = is_first and not is_busybox(p)
            continue
        if len(part.paths) > 1:
            yield from _show_header(p, path, is_first=is_first)
            is_first = False
        try:
            yield from _print_beginning(p, file, part)
        except IsADirectoryError as error:
            status = 1
            yield from cannot_read(p, path, error)
        finally:
            file.close()
    return status


def _print_beginning(p: Process, file: OpenFile, part: _Part) -> Waiting[None]:
    count = part.count
    if part.sign == "-":
        data = yield from p.read_rest(file)
        if part.unit == "c":
            yield from p.write(1, data[: max(len(data) - count, 0)])
        else:
            lines = split_lines(p, data)
            rest = [line + b"\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
            yield from p.write(1, b"".join(rest[: max(len(rest) - count, 0)]))
        return
    size: Callable[[], int] = lambda: min(count, CHUNK) if part.unit == "c" else CHUNK  # noqa: E731
    while count > 0 and (data := (yield from p.call(file.read, size()))):
        if part.unit == "c":
            count -= len(data)
        else:
            lines_there = data.count(b"\n")
            if lines_there >= count:
                data = b"\n".join(data.split(b"\n", count)[:count]) + b"\n"
            count -= lines_there
        yield from p.write(1, data)


@program("tail")
def tail(p: Process) -> Steps:
    """Print the end of files."""
    part = yield from _read_part(p)
    status = 0
    if not part.count and not part.sign and not is_busybox(p):
        return 0
    files: list[tuple[str, OpenFile]] = []
    shows_names = len(part.paths) > 1
    is_first = True
    for at, path in enumerate(part.paths):
        file = yield from open_input(p, path)
        if file is None:
            status = 1
        else:
            files.append((path, file))
        if is_busybox(p):
            # It opens all before it reads any.
            if at < len(part.paths) - 1:
                continue
            shows_names = len(files) > 1
        while files:
            name, file = files.pop(0)
            if shows_names:
                yield from _show_header(p, name, is_first=is_first)
            is_first = False
            try:
                yield from (_print_from if part.sign else _print_end)(p, file, part)
            except IsADirectoryError as error:
                yield from cannot_read(p, name, error)
                seeks = part.unit == "c" and not part.sign
                status = status if is_busybox(p) and seeks else 1
                if not is_busybox(p) and (part.unit == "c" or (part.sign and part.count < 2)):
                    return 1
            finally:
                file.close()
    if is_busybox(p) and is_first:
        yield from complain(p, "no files")
    return status


def _print_from(p: Process, file: OpenFile, part: _Part) -> Waiting[None]:
    skip = max(part.count - 1, 0)
    while data := (yield from p.call(file.read, CHUNK)):
        if skip and part.unit == "c":
            skip, data = max(0, skip - len(data)), data[skip:]
        elif skip:
            parts = data.split(b"\n", skip)
            skip -= len(parts) - 1
            data = b"" if skip else parts[-1]
        yield from p.write(1, data)


def _print_end(p: Process, file: OpenFile, part: _Part) -> Waiting[None]:
    unit, count = part.unit, part.count
    if unit == "c" and not count:
        return
    if unit == "c" and file.is_regular:
        file.seek(max(0, file.size - count), 0)
    kept: deque[bytes] = deque()
    amount = 0
    while data := (yield from p.call(file.read, CHUNK)):
        p.take_memory(len(data))
        kept.append(data)
        amount += data.count(b"\n") if unit == "n" else len(data)
        while len(kept) > 1:
            size = kept[0].count(b"\n") if unit == "n" else len(kept[0])
            if amount - size <= count:
                break
            amount -= size
            p.take_memory(-len(kept.popleft()))
    data = b"".join(kept)
    if unit == "c":
        yield from p.write(1, data[-count:])
        return
    lines = split_lines(p, data)
    end = lines.pop()
    whole = [line + b"\n" for line in lines] + ([end] if end else [])
    yield from p.write(1, b"".join(whole[-count:] if count else []))
