"""Time zones from files of the guest (TZif, RFC 8536).

Python's zoneinfo is a C library that trusts what it reads: a type's number that is out of range is an
address of the host's memory, and a file without its last newline is read for ever. So a file is checked
here, member by member, and what is not as it should be never gets there.
"""

import io
import itertools
import re
import struct
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

__all__ = ["read_zone"]

#: The largest file that is taken; the largest of tzdata has 4 KiB.
_SIZE_LIMIT: Final = 1 << 16
_HEADER: Final = struct.Struct(">4sc15x6I")
#: A type of local time: its offset, whether it is summer time, where its name begins.
_TYPE: Final = struct.Struct(">iBB")
#: Offsets that Python can tell are shorter than a day.
_DAY: Final = 86_400
#: The earliest time that writers of such files use, and the latest.
_FIRST: Final = -(1 << 59)
_LAST: Final = 1 << 59
_NAME: Final = rb"(?:[A-Za-z]{3,16}|<[A-Za-z0-9+-]{3,16}>)"
_TIME: Final = rb"[+-]?(\d{1,3})(?::([0-5]\d)(?::([0-5]\d))?)?"
_DATE: Final = rb"(?:M(?:[1-9]|1[0-2])\.[1-5]\.[0-6]|J(\d{1,3})|(\d{1,3}))"
_RULE: Final = rb"," + _DATE + rb"(?:/" + _TIME + rb")?"
#: What stands for the times after the last that is listed, as in the variable TZ.
_FOOTER: Final = re.compile(
    _NAME + _TIME + rb"(?:" + _NAME + rb"(?:" + _TIME + rb")?" + _RULE + _RULE + rb")?"
)
#: The largest number in each group of `_FOOTER`; summer time is an hour ahead by default.
_LARGEST: Final = (22, 59, 59, 23, 59, 59, *(365, 365, 167, 59, 59) * 2)


class _Counts(Struct, frozen=True):
    """How many there are of each in a block."""

    ut: int
    standard: int
    leaps: int
    times: int
    types: int
    characters: int

    def size(self, width: int) -> int:
        """Return the bytes of the block if a time has *width* bytes."""
        return (
            self.times * (width + 1)
            + self.types * _TYPE.size
            + self.characters
            + self.leaps * (width + 4)
            + self.standard
            + self.ut
        )


def read_zone(data: bytes) -> ZoneInfo | None:
    """Return the time zone that a file describes; None if it describes none."""
    if not _is_valid(data):
        return None
    try:
        return ZoneInfo.from_file(io.BytesIO(data))
    except ValueError:
        return None


def _is_valid(data: bytes) -> bool:
    if len(data) > _SIZE_LIMIT:
        return False
    version, first = _read_header(data, 0)
    if first is None:
        return False
    if version == b"\0":
        return _is_block(data, _HEADER.size, first, 4)
    start = _HEADER.size + first.size(4)
    _, second = _read_header(data, start)
    if second is None or not _is_block(data, start + _HEADER.size, second, 8):
        return False
    footer = data[start + _HEADER.size + second.size(8) :]
    return footer[:1] == b"\n" and _is_footer(footer[1:].partition(b"\n"))


def _read_header(data: bytes, start: int) -> tuple[bytes, _Counts | None]:
    if len(data) < start + _HEADER.size:
        return b"", None
    magic, version, *counts = _HEADER.unpack_from(data, start)
    if magic != b"TZif" or version not in b"\x002345":
        return b"", None
    return version, _Counts(*counts)


def _is_block(data: bytes, start: int, counts: _Counts, width: int) -> bool:
    if len(data) < start + counts.size(width) or not counts.types or not counts.characters:
        return False
    times = struct.unpack_from(f">{counts.times}{'q' if width == 8 else 'i'}", data, start)
    position = start + counts.times * width
    indices = data[position : position + counts.times]
    position += counts.times
    types = [
        _TYPE.unpack_from(data, position + at * _TYPE.size) for at in range(min(counts.types, 256))
    ]
    position += counts.types * _TYPE.size
    characters = data[position : position + counts.characters]
    return (
        counts.types <= 256
        and max(indices, default=0) < counts.types
        and all(_FIRST <= time <= _LAST for time in times)
        and all(earlier < later for earlier, later in itertools.pairwise(times))
        and all(_is_type(one, characters) for one in types)
    )


def _is_type(one: tuple[int, ...], characters: bytes) -> bool:
    offset, is_summer, at = one
    # Where a name begins is one byte, which zoneinfo takes for a signed one.
    name = characters[at:].partition(b"\0")
    return (
        abs(offset) < _DAY and is_summer < 2 and at < 128 and name[1] != b"" and name[0].isascii()
    )


def _is_footer(line: tuple[bytes, bytes, bytes]) -> bool:
    text, newline, _ = line
    if not newline or not text:
        return bool(newline)
    found = _FOOTER.fullmatch(text)
    return found is not None and all(
        group is None or int(group) <= largest
        for group, largest in zip(found.groups(), _LARGEST, strict=True)
    )
