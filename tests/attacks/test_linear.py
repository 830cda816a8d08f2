"""What is done with what clients send is linear: twice as much takes twice the work, and no step a byte.

Work is counted in lines of qgasim that are executed, or in bytes that are copied: never in time.
"""

import itertools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from qgasim.commands.accounts import add_keys, drop_keys
from qgasim.effects import Wait
from qgasim.faults import Bandwidth, Split
from qgasim.faults.base import Exchange
from qgasim.guest.system.accounts import find_entry
from qgasim.qapi.arguments import hash_string
from qgasim.wire import base64 as wire_base64
from qgasim.wire import encode_string
from qgasim.wire.parser import parse_string
from tests.serving import Course, error, request


def count_lines(function: Callable[[], object]) -> int:
    """Count the lines of qgasim that a function executes."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if "/qgasim/" not in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return lines


def name_colliding(count: int) -> list[str]:
    """Give names that are one to g_str_hash: 33 * 98 + 65 is 33 * 97 + 98."""
    return ["".join(word) for word in itertools.product(("bA", "ab"), repeat=20)][:count]


SIZE = 20_000


def of_request(data: bytes) -> Callable[[], object]:
    course = Course("debian-12")
    return lambda: course.send(data)


def unknown_arguments(size: int) -> Callable[[], object]:
    return of_request(request("guest-ping", **dict.fromkeys(name_colliding(size // 20), 1)))


def os_release(size: int) -> Callable[[], object]:
    course = Course("debian-12")
    course.guest.files.write("/etc/os-release", b'NAME="' + b'\\"x' * (size // 3) + b'"\n')
    return lambda: course.say("guest-get-osinfo")


def passwd(size: int) -> Callable[[], object]:
    text = b"a:x:1\n" * (size // 6) + b"u:x:1:2::/:/bin/sh\n"
    return lambda: find_entry(text, "u")


def text(body: bytes) -> Callable[[int], Callable[[], object]]:
    return lambda size: of_request(
        b'{"execute":"guest-sync","arguments":{"id":"%b"}}' % (body * (size // len(body)))
    )


#: What is done without a step for each byte.
FREE = {
    "long names of arguments": lambda size: lambda: hash_string(b"a\xff" * (size // 2)),
    "base64 with padding all over": lambda size: lambda: wire_base64.decode("=" * size),
    "base64 with padding here and there": lambda size: lambda: wire_base64.decode("AA==" * (size // 4)),
    "escaped slashes": text(rb"\/"),
    "other escapes": text(rb"a\n"),
    "escaped zeros": text(rb"\u0000a"),
    "zeros": text(b"\xc0\x80"),
    "pairs": text(rb"\uD83D\uDE00a"),
    "what ends in an error": lambda size: of_request(b'{"a":"%b\\x"}' % (rb"\/" * (size // 2))),
    "what is not UTF-8": lambda size: lambda: encode_string("\udc80\udced\udca0" * (size // 3)),
    "a value of os-release": os_release,
    "accounts": passwd,
}  # fmt: skip


@pytest.mark.parametrize("make", FREE.values(), ids=FREE)
def test_no_line_is_executed_for_each_byte(make: Callable[[int], Callable[[], object]]) -> None:
    make(SIZE)()
    once, twice = count_lines(make(SIZE)), count_lines(make(2 * SIZE))
    assert once < SIZE / 20 + 500
    assert twice <= 2 * once


@pytest.mark.slow
def test_names_that_collide_are_looked_up_in_linear_time() -> None:
    # Real agents are quadratic here, in C.
    once, twice = (count_lines(unknown_arguments(size)) for size in (10 * SIZE, 20 * SIZE))
    assert twice < 2.2 * once
    assert once < 400 * (10 * SIZE / 20)


class Key(str):
    """A key that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Key.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("function", [add_keys, drop_keys])
def test_keys_are_not_compared_with_all_others(function: Callable[[Any, Any], list[str]]) -> None:
    lines, keys = ([Key(f"{name}{n}") for n in range(3000)] for name in "ab")
    Key.compared = 0
    function(lines, [*keys, *keys[:10], *lines[:10]])
    assert Key.compared < 100


def test_keys_stay_what_they_were() -> None:
    assert add_keys(["a", "a", "b"], ["c", "b", "c", "d"]) == ["a", "a", "b", "c", "d"]
    assert drop_keys(["a", "b", "a", "c"], ["a", "x"]) == ["b", "c"]
    course = Course("debian-12")
    keys = [f"ssh-rsa {n}" for n in range(20_000)]
    assert course.say("guest-ssh-add-authorized-keys", username="root", keys=keys) == {"return": {}}
    assert course.say("guest-ssh-remove-authorized-keys", username="root", keys=keys[1:])
    listed = course.say("guest-ssh-get-authorized-keys", username="root")["return"]["keys"]
    assert listed == keys[:1]


class Reply(bytes):
    """A reply that counts the bytes that are cut out of it."""

    copied = 0

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        Reply.copied += len(part) if isinstance(part, bytes) else 1
        return Reply(part) if isinstance(part, bytes) else part


@pytest.mark.parametrize("fault", [Split(sizes=(1, 7)), Bandwidth(bytes_per_second=70)])
def test_a_reply_is_cut_up_without_copies_of_its_rest(fault: Split | Bandwidth) -> None:
    reply = Reply(bytes(range(256)) * 100)
    exchange = Exchange(
        command="", arguments={}, shown_id="", now=0, random=None, count=0  # type: ignore[arg-type]
    )  # fmt: skip
    Reply.copied = 0
    effects = fault.apply(exchange, [reply])
    assert b"".join(e for e in effects if isinstance(e, bytes)) == reply
    assert sum(isinstance(e, Wait) for e in effects) == len(effects) // 2
    assert Reply.copied == len(reply)


def test_a_reply_has_no_more_than_so_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qgasim.faults.stream.PIECES_LIMIT", 3)
    exchange = Exchange(
        command="", arguments={}, shown_id="", now=0, random=None, count=0  # type: ignore[arg-type]
    )  # fmt: skip
    pieces = [e for e in Split().apply(exchange, [b"abcdefgh"]) if isinstance(e, bytes)]
    assert pieces == [b"a", b"b", b"c", b"defgh"]


def test_what_was_sped_up_says_the_same() -> None:
    assert hash_string(b"") == 5381
    value = 5381
    raw = bytes(range(256)) * 3
    for byte in raw:
        value = value * 33 + (byte - 256 if byte > 127 else byte) & 0xFFFFFFFF
    assert hash_string(raw) == value
    assert parse_string(rb'"\\/\/\"\u0041\u00e9\uD83D\uDE00\u0000' + "é".encode() + b'"') == (
        '\\//"Aé\U0001f600\udcc0\udc80é'
    )
    assert encode_string("\udcc0\udc80\udcff\udced\udca0\udc80x") == r'"\u0000\uFFFD\uFFFDx"'
    assert wire_base64.decode("QQ==QUI=QUJD") == b"AABABC"
    assert wire_base64.decode("====") == b"\0"


def test_an_argument_that_is_not_there_is_named_as_before() -> None:
    course = Course("debian-12")
    names = name_colliding(9)
    said = course.say("guest-ping", **dict.fromkeys(names, 1))
    assert error(said).removeprefix("Parameter '").removesuffix("' is unexpected") in names
