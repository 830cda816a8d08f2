"""Time zones in /etc/localtime: nothing that a client puts there reaches Python's C library unchecked."""

import random
import struct
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from qgasim.guest.system.clock import find_zone
from qgasim.guest.system.zone import read_zone
from tests.serving import Course

BERLIN = find_zone("Europe/Berlin") or b""


def block(version: bytes, types: int, index: int, footer: bytes = b"\n\n", **changes: Any) -> bytes:
    """Write a file with one time, whose type is *index*, and *types* types."""
    offset, name_at = changes.get("offset", 3600), changes.get("name_at", 0)
    header = struct.pack(">4sc15x6I", b"TZif", version, 0, 0, 0, 1, types, 4)
    one = struct.pack(">iBB", offset, 0, name_at) * types
    if version == b"\0":
        return header + struct.pack(">i", 5) + bytes([index]) + one + b"CET\0"
    first = struct.pack(">4sc15x6I", b"TZif", version, 0, 0, 0, 0, 1, 1) + bytes(6) + b"\0"
    return first + header + struct.pack(">q", 5) + bytes([index]) + one + b"CET\0" + footer


BAD = {
    "nothing": b"",
    "a header and no more": b"TZif2",
    "a type out of range": block(b"2", 1, 200),
    "a type out of range in the first version": block(b"\0", 1, 200),
    "no types": block(b"2", 0, 0),
    "a name out of range": block(b"2", 1, 0, name_at=120),
    "a name before its beginning": block(b"2", 1, 0, name_at=200),
    "an offset of a day": block(b"2", 1, 0, offset=86400),
    "no last newline": BERLIN[:-1],
    "no footer": block(b"2", 1, 0, footer=b""),
    "a footer that is none": block(b"2", 1, 0, footer=b"\nCET-1CEST,M13.1.0,M1.1.0\n"),
    "a footer with numbers that are too large": block(b"2", 1, 0, footer=b"\nCET-99\n"),
    "summer time a day away": block(b"2", 1, 0, footer=b"\nEET-23SUM,M4.5.5/0,M10.5.4/24\n"),
    "more times than there are": BERLIN[:36] + b"\xff" * 4 + BERLIN[40:],
    "a foreign version": BERLIN.replace(b"TZif2", b"TZif9"),
    "too large": BERLIN + bytes(1 << 17),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_file_that_is_no_time_zone_is_utc_to_agent_and_programs(data: bytes) -> None:
    assert read_zone(data) is None
    course = Course("debian-12")
    course.guest.files.remove_tree("/etc/localtime")
    course.guest.files.write("/etc/localtime", data)
    assert course.say("guest-get-timezone")["return"] == {"zone": "UTC", "offset": 0}
    pid = course.say("guest-exec", path="/bin/sh", arg=["-c", "date; ls -l /"])["return"]["pid"]
    course.advance(5)
    assert course.say("guest-exec-status", pid=pid)["return"]["exitcode"] == 0
    assert course.say("guest-set-time", time=1_700_000_000_000_000_000) == {"return": {}}


def test_what_is_made_for_these_tests_is_right_otherwise() -> None:
    for version in (b"\0", b"2"):
        zone = read_zone(block(version, 1, 0))
        assert zone is not None
        assert datetime(2000, 1, 1, tzinfo=zone).utcoffset() == timedelta(hours=1)


def test_all_zones_of_tzdata_are_taken() -> None:
    root = Path(str(resources.files("tzdata.zoneinfo")))
    zones = [
        data for p in root.rglob("*") if p.is_file() and (data := p.read_bytes())[:4] == b"TZif"
    ]
    assert len(zones) > 500
    assert all(read_zone(data) for data in zones)


def test_what_is_taken_can_be_asked_for_any_time() -> None:
    # A crash of the interpreter is what this looks for: 300,000 of these were tried once.
    chance = random.Random(0)
    taken = 0
    for _ in range(3000):
        data = bytearray(BERLIN)
        at = chance.randrange(len(data)) if chance.random() < 0.5 else -1 - chance.randrange(32)
        data[at] = chance.randrange(256)
        zone = read_zone(bytes(data))
        if zone is None:
            continue
        taken += 1
        for year in (2, 1900, 1975, 2024, 2262, 9998):
            moment = datetime(year, 7, 1, tzinfo=UTC).astimezone(zone)
            assert (moment.tzname(), moment.dst()) is not None
    assert taken > 100
