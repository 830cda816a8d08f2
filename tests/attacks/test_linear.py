"""What is done with what clients send is linear: twice as much takes twice the work, and no step a byte.

Work is counted in lines of qgasim that are executed, or in bytes that are copied: never in time.
"""

import itertools
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from qgasim.commands.accounts import add_keys, drop_keys
from qgasim.commands.files import UNHEARD_LIMIT
from qgasim.effects import Wait
from qgasim.faults import Bandwidth, Split
from qgasim.faults.base import Exchange
from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.files.stdio import Stream
from qgasim.guest.system.accounts import find_entry
from qgasim.qapi.arguments import hash_string
from qgasim.wire import base64 as wire_base64
from qgasim.wire import encode_string
from qgasim.wire.parser import parse_string
from qgasim.wire.reader import LineReader, MessageReader
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
    """Return names that are one to g_str_hash: 33 * 98 + 65 is 33 * 97 + 98."""
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
    once, twice = (count_lines(unknown_arguments(size)) for size in (3 * SIZE, 6 * SIZE))
    assert twice < 2.2 * once
    assert once < 400 * (3 * SIZE / 20)


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


def test_a_line_that_comes_in_small_pieces_is_not_searched_again() -> None:
    searched = 0

    class Line(bytearray):
        def rfind(self, *arguments: Any) -> int:
            nonlocal searched
            searched += len(self)
            return super().rfind(*arguments)

        find = rfind

    reader = LineReader(MessageReader())
    reader._line = Line()
    for _ in range(1000):
        assert list(reader.feed(b" " * 10)) == []
    assert searched == 0
    assert list(reader.feed(b'{"a":1}\n{"b"')) == [{"a": 1}]
    assert list(reader.feed(b":2}")) == []
    assert list(reader.feed(b"\n")) == [{"b": 2}]


MIB = 1 << 20


@pytest.mark.parametrize(
    ("base", "path", "inner"),
    [
        ("debian-12", "/dev/zero", ""),
        ("debian-12", "/dev/urandom", ""),
        ("debian-12", "/big", "/big"),
        ("windows-11", "C:\\big", "/C:/big"),
    ],
)
def test_what_a_client_that_has_gone_had_asked_for_is_done_without_its_replies(
    base: str, path: str, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A thousand of these were written into a socket of an agent that is the server, which then served
    # no client for minutes.
    course = Course(f"{{qgasim: 1, extends: {base}, agent: {{channel: unix-listen}}}}")
    files = course.guest.files
    if inner:
        files.write(inner, b"x")
        files.truncate(inner, 10**13)
    handle = course.say("guest-file-open", path=path)["return"]
    fetched = 0
    read = OpenFile.read

    def count(self: OpenFile, count: int) -> bytes:
        nonlocal fetched
        data = read(self, count)
        fetched += len(data)
        return data

    monkeypatch.setattr(OpenFile, "read", count)
    data = request("guest-file-read", handle=handle, count=MIB) * 40
    effects = course.channel.receive(data)
    assert len(next(effects)) > MIB  # type: ignore[arg-type]
    assert fetched == MIB
    rest = list(course.channel.return_unsent(b"", effects))
    assert len(rest) == 39
    assert sum(map(len, rest)) < 39 * 100_000  # type: ignore[arg-type]
    assert fetched <= MIB + 39 * UNHEARD_LIMIT
    # It is done all the same, and the next client gets what it asks for.
    course.channel.lose_client(unread=None)
    list(course.channel.connect())
    if inner:
        assert course.agent.state.handles[handle].stream.file.position == 40 * MIB
    said = course.say("guest-file-read", handle=handle, count=MIB)["return"]
    assert said["count"] == MIB
    assert len(said["buf-b64"]) > MIB


@pytest.mark.parametrize("where", [0, 1, 4095, 4096, 5000])
@pytest.mark.parametrize("count", [0, 1, 4096, 4097, 9000, 1 << 17])
def test_a_read_that_is_not_fetched_ends_where_one_that_is_does(where: int, count: int) -> None:
    files = Course("debian-12").guest.files
    files.write("/x", bytes(range(256)) * 64)
    streams = [Stream(files.open("/x", os.O_RDONLY)) for _ in range(2)]
    for stream in streams:
        stream.seek(where, os.SEEK_SET)
        stream.read(3)
    (data, done), (part, skipped) = (
        stream.read_part(count, kept) for stream, kept in zip(streams, (count, 10), strict=True)
    )
    assert len(data) == done == skipped
    assert data.startswith(part[:10])
    assert [s.tell() for s in streams] == [where + 3 + done] * 2
    assert streams[0].at_end == streams[1].at_end
    assert streams[0].read(100) == streams[1].read(100)
