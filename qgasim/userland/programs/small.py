"""The smallest programs: true, false, test, yes, seq, sleep."""

import re
from decimal import Decimal, InvalidOperation

from qgasim.guest.processes.process import Blocked, Process, Steps, Waiting, succeed
from qgasim.guest.units import FOR_EVER, SECOND
from qgasim.userland.limits import check_size, to_int
from qgasim.userland.programs.getopt import Options, missing_operand, parse, usage_error
from qgasim.userland.programs.inputs import CHUNK
from qgasim.userland.programs.messages import fail, is_busybox, quote
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
    # A negative number is no option.
    arguments = p.argv[1:]
    at = next((i for i, a in enumerate(arguments) if _is_number(a)), len(arguments))
    options = yield from parse(
        p, "s:w", {"separator": "s", "equal-width": "w"}, arguments=arguments[:at]
    )
    numbers = options.operands + arguments[at:]
    if not numbers:
        yield from missing_operand(p)
    if len(numbers) > 3:
        extra = f"extra operand {quote(numbers[3])}"
        yield from usage_error(p, "" if is_busybox(p) else extra)
    for number in numbers:
        if not _is_number(number):
            wrong = f"invalid floating point argument: {quote(number)}"
            yield from usage_error(p, "" if is_busybox(p) else wrong)
    first = Decimal(numbers[0]) if len(numbers) > 1 else Decimal(1)
    step = Decimal(numbers[1]) if len(numbers) > 2 else Decimal(1)
    last = Decimal(numbers[-1])
    if not step and not is_busybox(p):
        zero = f"invalid Zero increment value: {quote(numbers[1])}"
        yield from usage_error(p, zero)
    yield from _count(p, options, first, step, last)
    return 0


def _count(
    p: Process, options: Options, first: Decimal, step: Decimal, last: Decimal
) -> Waiting[None]:
    check_size(max(abs(x.adjusted()) for x in (first, step, last)))
    places = max(0, -int(first.as_tuple().exponent), -int(step.as_tuple().exponent))
    width = max(len(f"{x:.{places}f}") for x in (first, last)) if "w" in options else 0
    separator = options.get("s")
    separator = "\n" if separator is None else separator
    out: list[str] = []
    size = 0
    number, is_first = first, True
    while number <= last if step >= 0 else number >= last:
        text = f"{number:.{places}f}".zfill(width)
        out.append(text if is_first else separator + text)
        size += len(out[-1])
        number, is_first = number + step, False
        if size > CHUNK:
            yield from p.charge_steps(len(out))
            yield from p.write(1, "".join(out))
            out, size = [], 0
            if not step:
                yield Blocked(until=p.guest.clock.uptime() + CHUNK_TIME)
    yield from p.charge_steps(len(out))
    yield from p.write(1, "".join(out) + ("" if is_first else "\n"))


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def to_duration(p: Process, text: str, code: int = 1) -> Waiting[int]:
    """Read ``1.5h`` as nanoseconds; end if it is no duration."""
    if text.lower() in ("inf", "infinity"):
        return FOR_EVER
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([smhd]?)", text)
    if found is None:
        if is_busybox(p):
            yield from fail(p, f"invalid number '{text}'", code)
        yield from usage_error(p, f"invalid time interval {quote(text)}", code)
        return 0
    whole, _, part = found[1].partition(".")
    seconds = to_int(whole or "0") * SECOND + int(part[:9].ljust(9, "0"))
    return min(seconds * _UNITS[found[2]], FOR_EVER)


@program("sleep")
def sleep(p: Process) -> Steps:
    """Wait as long as the arguments say, together."""
    # BusyBox's takes no options, so that -1 is a number to it, and a wrong one.
    words = p.argv[1:] if is_busybox(p) else (yield from parse(p, "")).operands
    if not words:
        yield from missing_operand(p)
    duration = 0
    for text in words:
        duration += yield from to_duration(p, text)
    p.rest = succeed
    yield from p.sleep(min(duration, FOR_EVER))
    return 0
