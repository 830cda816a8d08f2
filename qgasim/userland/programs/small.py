"""The smallest programs: true, false, test, yes, seq, sleep."""

import itertools
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.processes.process import Blocked, Process, Steps, Waiting, succeed
from qgasim.guest.units import FOR_EVER, SECOND
from qgasim.userland.limits import MAX_INT, check_size, to_float
from qgasim.userland.programs.getopt import missing_operand, parse, usage_error
from qgasim.userland.programs.inputs import CHUNK
from qgasim.userland.programs.messages import complain, fail, is_busybox, quote_text
from qgasim.userland.programs.registry import program
from qgasim.userland.shell.conditions import evaluate_test

__all__: list[str] = []

#: What writing 64 KiB takes a program that never ends, so that the guest's time goes on.
CHUNK_TIME = 50_000


@program("true")
def true(p: Process) -> Steps:
    """Succeed."""
    yield from ()
    return 0


@program("false")
def false(p: Process) -> Steps:
    """Fail."""
    yield from ()
    return 1


@program("test", "[")
def test(p: Process) -> Steps:
    """Judge an expression."""
    yield from ()
    return evaluate_test(p, p.argv[1:])


@program("yes")
def yes(p: Process) -> Steps:
    """Print a line until it is stopped."""
    words = p.argv[1:]
    if not is_busybox(p):
        words = (yield from parse(p, "", in_order=True)).operands
    line = (" ".join(words or ["y"]) + "\n").encode("utf-8", "surrogateescape")
    chunk = line * (CHUNK // len(line) + 1)
    while True:
        yield from p.write(1, chunk)
        yield Blocked(until=p.guest.clock.uptime() + CHUNK_TIME)


@program("seq")
def seq(p: Process) -> Steps:
    """Print numbers from FIRST by INCREMENT to LAST."""
    arguments = p.argv[1:]
    # The first operand ends the options; a negative number is one for GNU's.
    begins = r"-[.0-9].*" if not is_busybox(p) else "(?!)"
    at = next((i for i, a in enumerate(arguments) if re.fullmatch(begins, a)), len(arguments))
    long = {"separator": "s", "equal-width": "w"}
    options = yield from parse(p, "s:w", long, in_order=True, arguments=arguments[:at])
    numbers = options.operands + arguments[at:]
    if not numbers:
        yield from missing_operand(p)
    if len(numbers) > 3:
        extra = f"extra operand {quote_text(numbers[3])}"
        yield from usage_error(p, "" if is_busybox(p) else extra)
    values: list[float] = []
    for number in numbers:
        text = encode_name(number)
        value, end = to_float(text)
        wrong = ""
        if end != len(text) or (not end and not is_busybox(p)):
            wrong = f"invalid floating point argument: {quote_text(number)}"
        elif value != value:  # noqa: PLR0124
            wrong = f"invalid 'not-a-number' argument: {quote_text(number)}"
        if wrong and (not is_busybox(p) or end != len(text)):
            yield from usage_error(p, "" if is_busybox(p) else wrong)
        values.append(value)
    if len(numbers) == 3 and not values[1] and not is_busybox(p):
        yield from usage_error(p, f"invalid Zero increment value: {quote_text(numbers[1])}")
    separator = options.get("s")
    counted = (_count_busybox if is_busybox(p) else _count)(numbers, values, "w" in options)
    yield from _print_all(p, counted, "\n" if separator is None else separator)
    return 0


def _print_all(p: Process, texts: Iterator[str], separator: str) -> Waiting[None]:
    out: list[str] = []
    size = 0
    is_first = True
    for text in texts:
        out.append(text if is_first else separator + text)
        size += len(out[-1])
        is_first = False
        if size > CHUNK:
            yield from p.charge_steps(len(out))
            yield from p.write(1, "".join(out))
            out, size = [], 0
    yield from p.charge_steps(len(out))
    yield from p.write(1, "".join(out) + ("" if is_first else "\n"))


def _count(numbers: list[str], values: list[float], is_equal: bool) -> Iterator[str]:
    """Count as coreutils 9.1 does (src/seq.c): with as many places as the first number and the step have."""
    texts = [number.lstrip("+ \t\n\v\f\r") for number in numbers]
    exact = [
        Decimal(text) if re.fullmatch(r"[-+.0-9eE]+", text) else Decimal(value)
        for text, value in zip(texts, values, strict=True)
    ]
    first = exact[0] if len(numbers) > 1 else Decimal(1)
    step = exact[1] if len(numbers) > 2 else Decimal(1)
    last = exact[-1]
    check_size(max(abs(x.adjusted()) for x in (first, step, last)))
    places = [0 if not x.is_finite() else max(0, -int(x.as_tuple().exponent)) for x in exact]
    most = max(places[:-1], default=0)
    width = 0
    if is_equal:
        shown = texts[:1] if len(numbers) > 1 else ["1"]
        widths = [_width(text, most) for text in (*shown, texts[-1])]
        width = max(widths)
    number = first
    while number <= last if step >= 0 else number >= last:
        yield f"{number:.{most}f}".zfill(width)
        number += step


def _width(text: str, places: int) -> int:
    """Return how wide a number is with so many places, by how it is written."""
    whole, dot, part = text.partition(".")
    if not re.fullmatch(r"-?[0-9]*", whole) or not re.fullmatch("[0-9]*", part):
        number, end = to_float(encode_name(text))
        return (
            len(f"{number:.{places}f}")
            if end and abs(number) < MAX_INT and "x" not in text.lower()
            else 0
        )
    return len(whole) + (dot == "." and whole in ("", "-")) + (places + 1 if places else 0)


def _count_busybox(numbers: list[str], values: list[float], is_equal: bool) -> Iterator[str]:
    """Count as BusyBox 1.35 does (coreutils/seq.c), in binary fractions."""
    first = values[0] if len(values) > 1 else 1.0
    step = values[1] if len(values) > 2 else 1.0
    last = values[-1]
    places = max((len(number.partition(".")[2]) for number in numbers[:-1]), default=0)
    width = max(len(number.partition(".")[0]) for number in numbers) if is_equal else 0
    width += places + 1 if width and places else 0
    number = first
    for n in itertools.count(1):
        if not (number <= last if step >= 0 else number >= last):
            return
        yield f"{number:0{width}.{places}f}"
        number = first + n * step


_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _read_duration(p: Process, text: str) -> int | None:
    """Return a duration such as ``1.5h`` in ns; None if it is none."""
    data = encode_name(text)
    number, end = to_float(data)
    if is_busybox(p):
        found = re.fullmatch(r"(?:\d+|\d+\.\d*|\.\d+)([smhd]?)", text, re.ASCII)
        if found is None:
            return None
        unit = found[1]
    else:
        unit = text[len(data[:end].decode("latin-1")) :]
        if not end or unit not in _UNITS or not number >= 0:
            return None
    return FOR_EVER if number >= FOR_EVER / SECOND else int(number * SECOND) * _UNITS[unit]


@program("sleep")
def sleep(p: Process) -> Steps:
    """Wait as long as the arguments say, together."""
    # BusyBox's takes no options, so that -1 is a number to it, and a wrong one.
    words = p.argv[1:] if is_busybox(p) else (yield from parse(p, "")).operands
    if not words:
        yield from missing_operand(p)
    if is_busybox(p) and words[0][:3].lower() == "inf":
        yield from p.sleep(FOR_EVER)
    duration = 0
    is_wrong = False
    for text in words:
        found = _read_duration(p, text)
        if found is None and is_busybox(p):
            yield from fail(p, f"invalid number '{text}'")
        if found is None:
            yield from complain(p, f"invalid time interval {quote_text(text)}")
            is_wrong = True
        duration = min(duration + (found or 0), FOR_EVER)
    if is_wrong:
        yield from usage_error(p)
    p.rest = succeed
    yield from p.sleep(duration)
    return 0
