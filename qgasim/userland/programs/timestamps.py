"""Times as the guest's programs print and read them, in the guest's time zone."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from qgasim.guest.processes.process import Process
from qgasim.guest.system.clock import find_zone
from qgasim.guest.system.zone import read_zone
from qgasim.guest.units import SECOND
from qgasim.userland.limits import check_formats, to_int

__all__ = [
    "EARLIEST",
    "LATEST",
    "find_time",
    "format_time",
    "local_zone",
    "to_datetime",
]

#: What Python can tell in any time zone, in seconds since 1970: the years 1 to 9999.
EARLIEST: Final = -62_135_510_400
LATEST: Final = 253_402_214_400
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
UNITS: Final = {
    "sec": 1, "second": 1, "min": 60, "minute": 60, "hour": 3600, "day": 86400, "week": 604800,
}  # fmt: skip
WORDS: Final = {"now": 0, "today": 0, "yesterday": -86400, "tomorrow": 86400}
_DATE: Final = r"(?:(\d{4})-(\d{1,2})-(\d{1,2})|(\d{4})(\d\d)(\d\d))"
_TIME: Final = r"(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
_ZONE: Final = r"(Z|UTC|GMT|[-+]\d\d:?\d\d|[-+]\d\d)?"


def local_zone(p: Process) -> tzinfo:
    """Return the time zone: TZ, /etc/localtime, or UTC."""
    name = p.getenv("TZ")
    if name is not None:
        return _load_zone(name.lstrip(":"))
    try:
        zone = read_zone(p.guest.files.read_settings("/etc/localtime"))
    except OSError:
        zone = None
    if zone is not None:
        return zone
    try:
        target = p.guest.files.readlink("/etc/localtime")
    except OSError:
        return UTC
    return _load_zone(target.partition("zoneinfo/")[2])


def _load_zone(name: str) -> tzinfo:
    raw = find_zone(name)
    return UTC if raw is None else read_zone(raw) or UTC


def to_datetime(when: int, zone: tzinfo) -> datetime:
    """Take a time (ns since 1970) apart; what Python cannot tell is the last or first that it can."""
    seconds = min(max(when // SECOND, EARLIEST), LATEST)
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).astimezone(zone)


def _directives(when: int, moment: datetime) -> dict[str, str]:
    nanoseconds = when % SECOND
    offset = moment.utcoffset() or timedelta()
    minutes = abs(int(offset.total_seconds())) // 60
    sign = "-" if offset < timedelta() else "+"
    zone = f"{sign}{minutes // 60:02}{minutes % 60:02}"
    year, week, weekday = moment.isocalendar()
    day_of_year = moment.timetuple().tm_yday
    hour = moment.hour % 12 or 12
    day, month = DAYS[moment.weekday()], MONTHS[moment.month - 1]
    clock = f"{moment.hour:02}:{moment.minute:02}"
    return {
        "a": day[:3], "A": day, "b": month[:3], "h": month[:3], "B": month,
        "C": f"{moment.year // 100:02}", "d": f"{moment.day:02}", "e": f"{moment.day:2}",
        "D": f"{moment.month:02}/{moment.day:02}/{moment.year % 100:02}",
        "F": f"{moment.year}-{moment.month:02}-{moment.day:02}",
        "g": f"{year % 100:02}", "G": str(year), "H": f"{moment.hour:02}", "I": f"{hour:02}",
        "j": f"{day_of_year:03}", "k": f"{moment.hour:2}", "l": f"{hour:2}",
        "m": f"{moment.month:02}", "M": f"{moment.minute:02}", "n": "\n", "t": "\t", "%": "%",
        "N": f"{nanoseconds:09}", "p": "AM" if moment.hour < 12 else "PM",
        "P": "am" if moment.hour < 12 else "pm", "R": clock, "s": str(when // SECOND),
        "q": str((moment.month + 2) // 3), "S": f"{moment.second:02}",
        "T": f"{clock}:{moment.second:02}", "u": str(weekday), "w": str(weekday % 7),
        "r": f"{hour:02}:{moment.minute:02}:{moment.second:02} "
        + ("AM" if moment.hour < 12 else "PM"),
        "U": f"{(day_of_year + 6 - weekday % 7) // 7:02}",
        "W": f"{(day_of_year + 6 - moment.weekday()) // 7:02}", "V": f"{week:02}",
        "x": f"{moment.month:02}/{moment.day:02}/{moment.year % 100:02}",
        "X": f"{clock}:{moment.second:02}", "y": f"{moment.year % 100:02}", "Y": str(moment.year),
        "z": zone, ":z": f"{zone[:3]}:{zone[3:]}", "Z": moment.tzname() or "",
        "c": f"{day[:3]} {month[:3]} {moment.day:2} {clock}:{moment.second:02} {moment.year}",
    }  # fmt: skip


def format_time(when: int, zone: tzinfo, form: str) -> str:
    """Write a time as strftime(3) does in the C locale, with ``%N`` and the flags ``-``, ``_``."""
    check_formats(form)
    texts = _directives(when, to_datetime(when, zone))

    def replace(found: re.Match[str]) -> str:
        text = texts.get(found[3])
        if text is None:
            return found[0]
        if found[1] == "-":
            return text.lstrip("0 ") or text[-1:]
        if found[1] == "_":
            return text.lstrip("0").rjust(len(text))
        if found[1] == "^":
            return text.upper()
        if found[2]:
            width = to_int(found[2])
            return text[:width] if found[3] == "N" else text.rjust(width, "0")
        return text

    return re.sub(r"%([-_0^#]?)(\d*)(:z|[a-zA-Z%])", replace, form)


def _zone_of(text: str, default: tzinfo) -> tzinfo:
    if not text:
        return default
    if text in ("Z", "UTC", "GMT"):
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    # A datetime with such a zone is only used to give a number of seconds.
    return _Fixed(-minutes if text[0] == "-" else minutes)


class _Fixed(tzinfo):
    def __init__(self, minutes: int) -> None:
        self.offset = timedelta(minutes=minutes)

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        return self.offset

    def dst(self, _moment: datetime | None) -> timedelta:
        return timedelta()

    def tzname(self, _moment: datetime | None) -> str:
        return ""


def find_time(text: str, now: int, zone: tzinfo) -> int | None:
    """Read a time as ``date -d`` does; None if it is none that we know."""
    text = text.strip()
    if re.fullmatch(r"@-?\d+(\.\d{1,9})?", text):
        whole, _, part = text[1:].partition(".")
        return (-1 if whole[:1] == "-" else 1) * to_int(whole.lstrip("-")) * SECOND + int(
            part.ljust(9, "0")
        )
    rest, shift = _take_relative(text)
    base = to_datetime(now, zone)
    if not rest:
        return now + shift * SECOND
    found = re.fullmatch(f"(?:{_DATE})?(?:(?:^|[ T]+){_TIME} ?{_ZONE})?", rest)
    if not found:
        found = _find_ctime(rest)
    if not found:
        return None
    year, month, day, year2, month2, day2, hour, minute, second, part, offset = found.groups()
    year, month, day = year or year2, month or month2, day or day2
    where = _zone_of(offset or "", zone)
    today = base if where is zone else to_datetime(now, where)
    try:
        moment = datetime(
            int(year or today.year), int(month or today.month), int(day or today.day),
            int(hour or 0), int(minute or 0), min(int(second or 0), 59), tzinfo=where,
        )  # fmt: skip
    except ValueError:
        return None
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return (seconds + shift) * SECOND + int((part or "").ljust(9, "0") or 0)


def _find_ctime(text: str) -> re.Match[str] | None:
    """Write ``[Wed] Jan 1 00:00:00 [UTC] 2025`` in the other form."""
    found = re.fullmatch(
        r"(?:[A-Z][a-z]{2},? )?([A-Z][a-z]{2}) +(\d{1,2}) +([\d:]+)(?: ([A-Z]{3}))? +(\d{4})", text
    )
    months = [month[:3] for month in MONTHS]
    if not found or found[1] not in months:
        return None
    zone = "Z" if found[4] in ("UTC", "GMT") else ""
    month = months.index(found[1]) + 1
    text = f"{found[5]}-{month}-{found[2]} {found[3]} {zone}"
    return re.fullmatch(f"(?:{_DATE})?(?:(?:^|[ T]+){_TIME} ?{_ZONE})?", text)


def _take_relative(text: str) -> tuple[str, int]:
    """Take words such as ``+1 day`` and ``yesterday`` off: what is left, and their seconds."""
    shift = 0
    pattern = r"(?:^|(?<= ))([-+]?\d+) ?(" + "|".join(UNITS) + r")s?( ago)?(?: |$)"
    while found := re.search(pattern, text):
        sign = -1 if found[3] else 1
        shift += sign * to_int(found[1]) * UNITS[found[2]]
        text = (text[: found.start()] + text[found.end() :]).strip()
    words = text.split()
    for word in [word for word in words if word in WORDS]:
        shift += WORDS[word]
        words.remove(word)
    return " ".join(words), shift
