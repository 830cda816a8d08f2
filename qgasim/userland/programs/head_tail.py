"""The beginnings and ends of files: head and tail."""

import re
from collections import deque

from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.programs.getopt import Options, not_simulated, parse, to_number
from qgasim.userland.programs.inputs import CHUNK, cannot_read, open_input, split_lines
from qgasim.userland.programs.messages import complain, is_busybox
from qgasim.userland.programs.registry import program

__all__: list[str] = []

#: What GNU's programs took once; of that ``-5`` is known here.
_OLD = re.compile(r"-[0-9]+(.*)|\+[0-9]+")


def _read_options(p: Process) -> Waiting[Options]:
    """Read the options, among them the old form ``-5``, which is ``-n 5``."""
    arguments = list(p.argv[1:])
    old = _OLD.fullmatch(arguments[0]) if arguments else None
    if old and old[1] != "":
        yield from not_simulated(p, f"'{arguments[0]}'")
    if old:
        arguments[:1] = ["-n", arguments[0][1:]]
    return (yield from parse(p, "n:c:", {"lines": "n", "bytes": "c"}, arguments=arguments))


def _count(p: Process, options: Options) -> Waiting[tuple[str, str, int]]:
    """Return the unit (``n`` or ``c``), the sign and the number."""
    unit = options.last("nc") or "n"
    text = options.get(unit) or "10"
    sign = text[0] if text[0] in "+-" else ""
    what = "invalid number of " + ("lines" if unit == "n" else "bytes")
    # A plus is shown with what is no number.
    is_number = re.fullmatch("[0-9]+([bkKmMGTPEZY](i?B)?)?", text[1:])
    is_shown = sign == "+" and not is_number and not is_busybox(p)
    digits = text[1:] if sign and not is_shown else text
    number = yield from to_number(p, digits, what)
    return unit, sign, number


class _Headers:
    """The ``==> name <==`` lines."""

    def __init__(self, p: Process, options: Options) -> None:
        self.p = p
        self.is_on = len(options.operands) > 1
        self.is_first = True

    def print(self, path: str) -> Waiting[None]:
        if self.is_on:
            name = "standard input" if path == "-" else path
            newline = "" if self.is_first else "\n"
            self.is_first = False
            yield from self.p.write(1, f"{newline}==> {name} <==\n")


@program("head")
def head(p: Process) -> Steps:
    """Print the beginning of files."""
    options = yield from _read_options(p)
    unit, sign, count = yield from _count(p, options)
    if sign == "-":
        yield from not_simulated(p, "a number of what is left out")
    headers = _Headers(p, options)
    status = 0
    for path in options.operands or ["-"]:
        file = yield from open_input(p, path)
        if file is None:
            status = 1
            # BusyBox puts an empty line before the second name, whatever came of the first.
            headers.is_first = headers.is_first and not is_busybox(p)
            continue
        yield from headers.print(path)
        try:
            if unit == "c":
                yield from _first_bytes(p, file, count)
            else:
                yield from _first_lines(p, file, count)
        except IsADirectoryError as error:
            status = 1
            yield from cannot_read(p, path, error)
        finally:
            file.close()
    return status


def _first_bytes(p: Process, file: OpenFile, count: int) -> Waiting[None]:
    while count > 0 and (data := (yield from p.call(file.read, min(count, CHUNK)))):
        count -= len(data)
        yield from p.write(1, data)


def _first_lines(p: Process, file: OpenFile, count: int) -> Waiting[None]:
    while count > 0 and (data := (yield from p.call(file.read, CHUNK))):
        lines = data.count(b"\n")
        if lines >= count:
            parts = data.split(b"\n", count)
            data = b"\n".join(parts[:count]) + b"\n"
        count -= lines
        yield from p.write(1, data)


@program("tail")
def tail(p: Process) -> Steps:
    """Print the end of files."""
    options = yield from _read_options(p)
    unit, sign, count = yield from _count(p, options)
    headers = _Headers(p, options)
    opened: list[tuple[str, OpenFile]] = []
    status = 0
    for path in options.operands or ["-"]:
        file = yield from open_input(p, path)
        if file is None:
            status = 1
        else:
            opened.append((path, file))
    if is_busybox(p):
        headers.is_on = len(opened) > 1
    if not opened and is_busybox(p):
        yield from complain(p, "no files")
        return 1
    for path, file in opened:
        yield from headers.print(path)
        try:
            if sign == "+":
                yield from _from(p, file, unit, max(count - 1, 0))
            else:
                yield from _last(p, file, unit, count)
        except IsADirectoryError as error:
            status = 1
            yield from cannot_read(p, path, error)
        finally:
            file.close()
    return status


def _from(p: Process, file: OpenFile, unit: str, skip: int) -> Waiting[None]:
    while data := (yield from p.call(file.read, CHUNK)):
        if skip and unit == "c":
            skip, data = max(0, skip - len(data)), data[skip:]
        elif skip:
            parts = data.split(b"\n", skip)
            skip -= len(parts) - 1
            data = b"" if skip else parts[-1]
        yield from p.write(1, data)


def _last(p: Process, file: OpenFile, unit: str, count: int) -> Waiting[None]:
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
        yield from p.write(1, data[-count:] if count else b"")
        return
    lines = split_lines(p, data)
    end = lines.pop()
    whole = [line + b"\n" for line in lines] + ([end] if end else [])
    yield from p.write(1, b"".join(whole[-count:] if count else []))
