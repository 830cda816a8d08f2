"""Programs about time: date, hwclock."""

import re
from datetime import UTC
from typing import Final

from qgasim.guest.processes.process import Process, Steps
from qgasim.guest.units import SECOND
from qgasim.userland.programs.getopt import not_simulated, parse, usage_error
from qgasim.userland.programs.messages import complain, fail, is_busybox, pick, quote_text
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.timestamps import (
    EARLIEST,
    LATEST,
    UnknownDateError,
    find_time,
    format_time,
    local_zone,
)

__all__: list[str] = []

#: The C locale's format, in both userlands.
DATE_FORMAT: Final = "%a %b %e %H:%M:%S %Z %Y"
#: The kernel takes no time 30 years before its own end (timespec64_valid_settod()).
LATEST_SET: Final = (1 << 63) // SECOND - 30 * 365 * 24 * 3600


@program("date")
def date(p: Process) -> Steps:
    """Print a time, or set the clock."""
    long = {"date": "d", "set": "s", "utc": "u", "universal": "u"}
    options = yield from parse(p, "d:s:u", long)
    clock = p.guest.clock
    zone = UTC if "u" in options else local_zone(p)
    when = clock.now()
    form = DATE_FORMAT
    is_set = False
    for operand in options.operands:
        if operand.startswith("+"):
            form = operand[1:]
            if is_busybox(p):
                # strftime(3) leaves what it does not know; recorded with glibc's. UNVERIFIED: musl's.
                form = re.sub(r"%%|%(?=[-_0^#]?\d*(?:N|q|:z))", "%%", form)
                form = re.sub(r"(%%)|%(?=\d+s)|%-(?=\d)", lambda found: found[1] or "%_", form)
        elif operand is not options.operands[0] or options.last("ds"):
            extra = f"extra operand {quote_text(operand)}"
            yield from usage_error(p, "" if is_busybox(p) else extra)
        elif re.fullmatch(r"\d{8}(\d\d|\d{4})?(\.\d\d)?", operand):
            yield from not_simulated(p, f"'{operand}'")
        else:
            yield from fail(p, f"invalid date '{operand}'")
    text = options.get("s") or options.get("d")
    if text is not None:
        try:
            found = find_time(text, when, zone, is_busybox=is_busybox(p))
        except UnknownDateError:
            return (yield from not_simulated(p, f"the date '{text}'"))
        if found is None:
            shown = pick(p, f"'{text}'", quote_text(text))
            return (yield from fail(p, f"invalid date {shown}"))
        when = found
        is_set = "s" in options
    if not EARLIEST <= when // SECOND <= LATEST:
        # UNVERIFIED: BusyBox's words. GNU's date goes on until the year has no int.
        text = f"time {quote_text(str(when // SECOND))} is out of range"
        yield from fail(p, pick(p, f"invalid date '{text}'", text))
    status = 0
    if is_set and 0 <= when // SECOND < LATEST_SET:
        clock.set(when)
    elif is_set:
        status = 1
        yield from complain(p, pick(p, "can't set date", "cannot set date") + ": Invalid argument")
    yield from p.write(1, format_time(when, zone, form) + "\n")
    return status


@program("hwclock")
def hwclock(p: Process) -> Steps:
    """Print the battery-backed clock, set it by the system's, or the other way round."""
    options = yield from parse(p, "rswu", {"show": "r", "hctosys": "s", "systohc": "w", "utc": "u"})
    clock = p.guest.clock
    if "w" in options:
        clock.set_rtc()
    elif "s" in options:
        clock.set_from_rtc()
    else:
        form = pick(p, "%a %b %e %H:%M:%S %Y  0.000000 seconds", "%F %H:%M:%S.%6N%:z")
        yield from p.write(1, format_time(clock.rtc(), local_zone(p), form) + "\n")
    return 0
