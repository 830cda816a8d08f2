"""Waiting: the program sleep, and durations."""

import re

from qgasim.guest.processes.process import Process, Steps, Waiting, succeed
from qgasim.guest.units import FOR_EVER, SECOND
from qgasim.userland.limits import to_int
from qgasim.userland.programs.getopt import missing_operand, parse, usage_error
from qgasim.userland.programs.messages import fail, is_busybox, quote
from qgasim.userland.programs.registry import program

__all__ = ["to_duration"]

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
