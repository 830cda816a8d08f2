"""Times as the guest's programs print and read them, in the guest's time zone."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

from qgasim.guest.processes.process import Process
from qgasim.guest.system.clock import find_zone
from qgasim.guest.system.zone import read_zone
from qgasim.guest.units import SECOND
from qgasim.userland.limits import check_formats, to_int

__all__ = [
    "EARLIEST",
    "LATEST",
    "UnknownDateError",
    "find_time",
    "format_time",
    "local_zone",
    "to_datetime",
]

#: What Python can tell in any time zone, in seconds since 1970: the years 1 to 9999.
EARLIEST: Final = -62_135_510_400
LATEST: Final = 253_402_214_400
_DIRECTIVE: Final = re.compile(
    r"%([-_0^#]?)(\d*)(?:E(?=[cCxXyY])|O(?=[deHImMSuUVwWy]))?(:z|[a-zA-Z%])"
)
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


def _offset(moment: datetime) -> str:
    offset = moment.utcoffset() or timedelta()
    minutes = abs(int(offset.total_seconds())) // 60
    return f"{'-' if offset < timedelta() else '+'}{minutes // 60:02}{minutes % 60:02}"


def _day_of_year(moment: datetime) -> int:
    return moment.timetuple().tm_yday


#: What each directive of strftime(3) is, of a moment and its time (ns since 1970).
_DIRECTIVES: Final[Mapping[str, Callable[[datetime, int], str]]] = {
    "a": lambda m, _: DAYS[m.weekday()][:3],
    "A": lambda m, _: DAYS[m.weekday()],
    "b": lambda m, _: MONTHS[m.month - 1][:3],
    "B": lambda m, _: MONTHS[m.month - 1],
    "C": lambda m, _: f"{m.year // 100:02}",
    "d": lambda m, _: f"{m.day:02}",
    "e": lambda m, _: f"{m.day:2}",
    "g": lambda m, _: f"{m.isocalendar().year % 100:02}",
    "G": lambda m, _: str(m.isocalendar().year),
    "h": lambda m, _: MONTHS[m.month - 1][:3],
    "H": lambda m, _: f"{m.hour:02}",
    "I": lambda m, _: f"{m.hour % 12 or 12:02}",
    "j": lambda m, _: f"{_day_of_year(m):03}",
    "k": lambda m, _: f"{m.hour:2}",
    "l": lambda m, _: f"{m.hour % 12 or 12:2}",
    "m": lambda m, _: f"{m.month:02}",
    "M": lambda m, _: f"{m.minute:02}",
    "n": lambda _, __: "\n",
    "N": lambda _, when: f"{when % SECOND:09}",
    "p": lambda m, _: "AM" if m.hour < 12 else "PM",
    "P": lambda m, _: "am" if m.hour < 12 else "pm",
    "q": lambda m, _: str((m.month + 2) // 3),
    "s": lambda _, when: str(when // SECOND),
    "S": lambda m, _: f"{m.second:02}",
    "t": lambda _, __: "\t",
    "u": lambda m, _: str(m.isoweekday()),
    "U": lambda m, _: f"{(_day_of_year(m) + 6 - m.isoweekday() % 7) // 7:02}",
    "V": lambda m, _: f"{m.isocalendar().week:02}",
    "w": lambda m, _: str(m.isoweekday() % 7),
    "W": lambda m, _: f"{(_day_of_year(m) + 6 - m.weekday()) // 7:02}",
    "y": lambda m, _: f"{m.year % 100:02}",
    "Y": lambda m, _: str(m.year),
    "z": lambda m, _: _offset(m),
    ":z": lambda m, _: f"{_offset(m)[:3]}:{_offset(m)[3:]}",
    "Z": lambda m, _: m.tzname() or "",
    "%": lambda _, __: "%",
}


#: Directives that stand for others.
_FORMS: Final[Mapping[str, str]] = {
    "c": "%a %b %e %H:%M:%S %Y", "D": "%m/%d/%y", "F": "%Y-%m-%d", "r": "%I:%M:%S %p", "R": "%H:%M",
    "T": "%H:%M:%S", "x": "%m/%d/%y", "X": "%H:%M:%S",
}  # fmt: skip


def format_time(when: int, zone: tzinfo, form: str) -> str:
    """Write a time as strftime(3) does in the C locale, with ``%N`` and the flags ``-``, ``_``."""
    check_formats(form)
    moment = to_datetime(when, zone)

    def replace(found: re.Match[str]) -> str:
        if (form := _FORMS.get(found[3])) is not None:
            text = _DIRECTIVE.sub(replace, form)
            if found[1] in ("-", "_"):
                return text
        elif (directive := _DIRECTIVES.get(found[3])) is not None:
            text = directive(moment, when)
        else:
            return found[0]
        if found[1] in ("-", "_") and text.lstrip().isdigit():
            plain = text.lstrip("0 ") or text[-1:]
            text = plain if found[1] == "-" else plain.rjust(len(text))
        elif found[1] == "^":
            text = text.upper()
        if not found[2] or found[1] == "-":
            return text
        width = to_int(found[2])
        if found[3] == "N":
            return text[:width].ljust(width, "0")
        is_number = text.isdigit() and found[1] != "_" and found[3] not in "ekl"
        return text.rjust(width, "0" if found[1] == "0" or is_number else " ")

    return _DIRECTIVE.sub(replace, form)


def _zone_of(text: str, default: tzinfo) -> tzinfo:
    if not text:
        return default
    if text in ("Z", "UTC", "GMT"):
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


#: What BusyBox reads of it, besides digits only.
_BUSYBOX: Final = re.compile(
    r"(?! |$)@\d+|[A-Z][a-z]{2} +\d\d? \d\d?:\d\d?:\d\d? \d{4}"
    r"|(\d{4}-\d\d?-\d\d?)?(^| |$)(\d\d?:\d\d?(:\d\d?)?( [-+]\d\d(\d\d)?)?)?"
)


#: What dates are made of besides numbers (gnulib's parse_datetime()), in short.
_WORD: Final = re.compile(
    r"jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec|sun|mon|tue|tues|wed|"
    r"wednes|thu|thur|thurs|fri|sat|am|pm|year|month|fortnight|week|day|hour|minute|"
    r"min|second|sec|ago|now|today|yesterday|tomorrow|next|last|this|third|fourth|"
    r"fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|dst|gmt|ut|utc|wet|west|"
    r"bst|art|brt|brst|nst|ndt|ast|adt|clt|clst|est|edt|cst|cdt|mst|mdt|pst|pdt|akst|"
    r"akdt|hst|hast|hadt|sst|wat|cet|cest|met|mez|mest|mesz|eet|eest|cat|sast|eat|msk|"
    r"msd|ist|sgt|kst|jst|gst|nzst|nzdt|[a-z]"
)


class UnknownDateError(ValueError):
    """The real program may read this date, and this one does not."""


def _check_words(text: str) -> None:
    """Raise `UnknownDateError` if all words of *text* are those of dates."""
    if "@" in text:
        return
    names = {name.lower() for name in (*MONTHS, *DAYS)}
    words = re.findall("[a-z]+", text.lower())
    if all(word in names or _WORD.fullmatch(word.removesuffix("s")) for word in words):
        raise UnknownDateError(text)


#: What a date command was told first: [[[YYYY]MM]DD]hhmm[.ss]. UNVERIFIED: a year of two digits, which is refused.
_BUSYBOX_DIGITS: Final = re.compile(
    r"(?:(?:(\d{4})?(\d\d))?(\d\d))?(\d\d)(\d\d)(?:\.(\d\d))?", re.ASCII
)


def find_time(text: str, now: int, zone: tzinfo, *, is_busybox: bool = False) -> int | None:
    """Read a time as ``date -d`` does; None if it is none, `UnknownDateError` if it may be one."""
    if is_busybox and re.fullmatch(r"[0-9]+([.][0-9]+){1,2}-[0-9]+:[0-9]+(:[0-9]+)?", text):
        raise UnknownDateError(text)
    if is_busybox and (digits := _BUSYBOX_DIGITS.fullmatch(text)):
        today = to_datetime(now, zone)
        year, month, day, hour, minute, second = digits.groups()
        date = f"{year or today.year}-{month or today.month}-{day or today.day}"
        text = f"{date} {hour}:{minute}:{second or '00'}"
    elif is_busybox and not _BUSYBOX.fullmatch(text):
        return None
    if is_busybox and not text:
        return None
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
        _check_words(text)
        return None
    year, month, day, year2, month2, day2, hour, minute, second, part, offset = found.groups()
    year, month, day = year or year2, month or month2, day or day2
    try:
        where = _zone_of(offset or "", zone)
        today = base if where is zone else to_datetime(now, where)
        days, seconds = int(day or today.day), int(second or 0)
        if seconds > (61 if is_busybox else 59) or days > 31:
            return None
        first = 1 if is_busybox else days
        moment = datetime(
            int(year or today.year), int(month or today.month), first,
            int(hour or 0), int(minute or 0), tzinfo=where,
        )  # fmt: skip
        # BusyBox takes a day of the next month and seconds of the next minute.
        moment += timedelta(days=days - first, seconds=seconds)
    except (ValueError, OverflowError):
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
