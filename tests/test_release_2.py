"""Releases before 3.1: the commands and members of the reference of 3.1 that were there by its ``Since:``."""

import json
from typing import Any

import pytest

from qgasim.commands import ALL_COMMANDS
from qgasim.dialect import find_dialect
from qgasim.qapi.registry import compile_table
from tests.serving import Course, error
from tests.test_release_3_1 import COMMANDS

#: What CentOS 7 had (found in the field), and those beside the changes.
BEFORE = ["2.5", "2.6", "2.8", "2.9", "2.10", "2.11", "2.12", "3.0"]


@pytest.mark.parametrize("release", BEFORE)
def test_the_commands_are_those_that_had_come(release: str) -> None:
    dialect = find_dialect(release)
    assert dialect
    expected = [name for name, entry in COMMANDS.items() if entry.since <= dialect.version]
    assert list(compile_table(ALL_COMMANDS, dialect)) == expected
    told = Course("lab-vm", release=release).say("guest-info")["return"]
    assert told["version"] == f"{release}.0"
    assert [command["name"] for command in told["supported_commands"]] == expected[::-1]


def first(course: Course, command: str) -> dict[str, Any]:
    """Return the last in the list that a command returns: it has all members."""
    told: dict[str, Any] = course.say(command)["return"][-1]
    return told


@pytest.mark.parametrize(
    ("release", "has_statistics", "has_sizes", "has_serial"),
    [
        ("2.10", False, False, False),
        ("2.11", True, False, False),
        ("2.12", True, False, False),
        ("3.0", True, True, False),
        ("3.1", True, True, True),
    ],
)
def test_members_came_one_by_one(
    release: str, *, has_statistics: bool, has_sizes: bool, has_serial: bool
) -> None:
    course = Course("lab-vm", release=release)
    assert ("statistics" in first(course, "guest-network-get-interfaces")) == has_statistics
    system = first(course, "guest-get-fsinfo")
    assert ("used-bytes" in system, "total-bytes" in system) == (has_sizes, has_sizes)
    assert {"name", "mountpoint", "type", "disk"} <= set(system)
    (disk,) = system["disk"]
    assert ("serial" in disk, "dev" in disk) == (has_serial, has_serial)


@pytest.mark.parametrize(("release", "takes_names"), [("2.5", False), ("2.6", True)])
def test_a_seek_takes_names_since_2_6(release: str, *, takes_names: bool) -> None:
    course = Course("lab-vm", release=release)
    handle = course.say("guest-file-open", path="/etc/hostname")["return"]
    assert "return" in course.say("guest-file-seek", handle=handle, offset=0, whence=0)
    reply = course.say("guest-file-seek", handle=handle, offset=0, whence="set")
    assert ("return" in reply) == takes_names
    if not takes_names:
        assert error(reply) == "Invalid parameter type for 'whence', expected: integer"


INVALID = "Invalid JSON syntax"
PARSE = "JSON parse error, "


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        # json-lexer.c: what begins no token is passed over, a byte at a time.
        (b"\xff", [INVALID]),
        (b"\xff\xff;", [INVALID] * 3),
        (b'{"execute":\xff', [INVALID]),
        (b'"\\x', [INVALID]),
        (b'"\\u00g', [INVALID]),
        (b'"\xc0', [INVALID]),
        (b"1\xff", [INVALID]),
        # process_event(): neither an object nor an error.
        (b"[]", [INVALID]),
        (b"null\n", [INVALID]),
        (b'"\n"', [INVALID]),
        (b"%d", [INVALID]),
        (b"[" * 1025, [INVALID]),
        # json-parser.c, parse_error(): the last error replaces those before.
        (b"nope\n", [f"{PARSE}invalid keyword 'nope'"]),
        (b"}", [f"{PARSE}expecting value"]),
        (b'{"execute":nope}', [f"{PARSE}Missing value in dict"]),
        (b'{"a":[nope]}', [f"{PARSE}Missing value in dict"]),
        (b'{"a":%d}', [f"{PARSE}Missing value in dict"]),
        (b'[{"a":}]', [f"{PARSE}expecting value"]),
        (b"{1:2}", [f"{PARSE}key is not a string in object"]),
        (b"{]", [f"{PARSE}key is not a string in object"]),
        (b'{"a" 1}', [f"{PARSE}missing : in object pair"]),
        (b'{"a":1 2}', [f"{PARSE}expected separator in dict"]),
        (b"[1 2]", [f"{PARSE}expected separator in list"]),
        # json-streamer.c: a brace too many ends the message.
        (b'[}{"execute":1}', [f"{PARSE}expecting value", "QMP input object member 'execute' expects 'string'"]),
        (b'{"execute":"guest-ping","x":1}', ["QMP input object member 'x' is unexpected"]),
        (b'{"execute":"guest-ping","arguments":1}', ["QMP input object member 'arguments' expects 'object'"]),
        (b"{}", ["this feature or command is not currently supported"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_in_the_words_of_2_9(sent: bytes, errors: list[str]) -> None:
    # qobject/json-lexer.c, json-streamer.c and json-parser.c, qapi/qmp-dispatch.c and qga/main.c of 2.6 to 2.9.
    for pieces in ([sent], [sent[i : i + 1] for i in range(len(sent))]):
        course = Course("lab-vm", release="2.9")
        replies = b"".join(map(course.send, pieces)).splitlines()
        assert [error(json.loads(reply)) for reply in replies] == errors
        assert course.say("guest-ping") == {"return": {}}


def test_a_string_has_control_characters_and_halves_of_pairs_before_3_1() -> None:
    course = Course("lab-vm", release="2.12")
    sent = b'{"execute":"guest-file-open","arguments":{"path":"/a\nb\\u0000\\u00e9\\n\\/"}}'
    assert "'/a\nb\u00e9\n/'" in error(json.loads(course.send(sent)))
    reply = course.send(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":7}}')
    assert reply == (
        b'{"error": {"class": "GenericError", "desc": "Invalid JSON syntax"}}\n\xff{"return": 7}\n'
    )


def test_percent_signs_were_dropped_by_3_1_only() -> None:
    # Commit bbc0586ced says that 8bca4613 of 3.1 brought it.
    for release, path in (("2.12", "/a%b"), ("3.0", "/a%b"), ("3.1", "/ab"), ("4.0", "/a%b")):
        reply = Course("lab-vm", release=release).say("guest-file-open", path="/a%b")
        assert f"'{path}'" in error(reply)


def test_a_windows_agent_of_2_12_has_no_sizes_either() -> None:
    course = Course("windows-server-2022", release="2.12")
    system = first(course, "guest-get-fsinfo")
    assert "total-bytes" not in system
    assert system["disk"]
