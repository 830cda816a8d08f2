"""Agents that are not qemu-ga: what their documentation says of them."""

import base64
import json
from typing import Any

import pytest

from qgasim.errors import ScenarioError
from qgasim.scenario import loads
from qgasim.simulation.channel import IsaSerial
from tests.serving import Course, request


def value(course: Course, command: str, **arguments: Any) -> Any:
    reply = course.say(command, **arguments)
    assert "return" in reply, reply
    return reply["return"]


def listed(course: Course) -> list[str]:
    return [each["name"] for each in value(course, "guest-info")["supported_commands"]]


# -- mac-guest-agent (docs/COMMAND_STATUS.md, src/cmd-file.c, src/cmd-system.c) --------------------


def test_mac_guest_agent_has_45_commands_two_of_them_by_another_name() -> None:
    course = Course("mac-guest-agent")
    names = listed(course)
    assert len(names) == 45
    assert value(course, "guest-sync-id", id=7) == 7
    assert value(course, "guest-get-hostname") == value(course, "guest-get-host-name")


def test_mac_guest_agent_reads_48_kb_at_most_and_by_itself() -> None:
    course = Course("mac-guest-agent")
    course.guest.files.write("/tmp/big", bytes(200_000))
    handle = value(course, "guest-file-open", path="/tmp/big")
    counts = [
        value(course, "guest-file-read", handle=handle, **given)["count"]
        for given in ({}, {"count": 100_000}, {"count": 10}, {"count": 49_152})
    ]
    assert counts == [49_152, 49_152, 10, 49_152]
    # What is no number is refused as ever.
    refused = course.say("guest-file-read", handle=handle, count="many")
    assert refused["error"]["class"] == "GenericError"


def test_mac_guest_agent_has_members_of_its_own() -> None:
    course = Course("mac-guest-agent")
    assert set(value(course, "guest-get-load")) == {"load1", "load5", "load15"}
    assert "KB/t" in value(course, "guest-get-diskstats")["output"]
    assert value(course, "guest-fstrim") == {"paths": []}
    # Until after 2.4.2 the sums of all processors (CHANGELOG.md).
    assert set(value(course, "guest-get-cpustats")) == {"user", "system", "idle", "nice"}


# -- Apple's agent (mav2287/mac-guest-agent, docs/PLATFORMS.md) ------------------------------------


def test_apples_agent_has_18_commands_two_of_them_its_own() -> None:
    course = Course("apple")
    info = json.loads(course.send(request("guest-info") + b"\n"))["return"]
    assert info["version"] == "1.4-AppleVirtIO-230.100.3~3768"
    assert {command["name"] for command in info["supported_commands"]} == {
        "guest-ping", "guest-sync", "guest-sync-delimited", "guest-info", "guest-get-time",
        "guest-set-time", "guest-network-get-interfaces", "guest-shutdown", "guest-exec",
        "guest-exec-status", "guest-file-open", "guest-file-close", "guest-file-read",
        "guest-file-write", "guest-file-seek", "guest-file-flush", "apple-guest-set-remote-login",
        "apple-guest-signal-pid",
    }  # fmt: skip


# -- Virtainer (README.md) -------------------------------------------------------------------------


def test_virtainer_cannot_suspend_and_has_a_shell() -> None:
    course = Course("virtainer")
    names = listed(course)
    assert not [name for name in names if "suspend" in name]
    # "every Linux command of QEMU 11.1, except the three guest-suspend-*", and one of its own.
    assert len(names) == 43 - 3 + 1
    assert "error" in course.say("__io.virtainer_shell", user="root")


def test_virtainer_makes_files_that_only_their_owner_writes() -> None:
    modes = {}
    for name in ("virtainer", "debian-12"):
        course = Course(name)
        value(course, "guest-file-open", path="/tmp/new", mode="w")
        modes[name] = course.guest.files.get("/tmp/new").st_mode & 0o777
    assert modes == {"virtainer": 0o644, "debian-12": 0o666}


def test_virtainer_thaws_by_itself_after_ten_minutes() -> None:
    course = Course("virtainer")
    frozen = value(course, "guest-fsfreeze-freeze")
    assert frozen > 0
    course.advance(599)
    assert value(course, "guest-fsfreeze-status") == "frozen"
    course.advance(2)
    assert value(course, "guest-fsfreeze-status") == "thawed"
    assert not any(volume.is_frozen for volume in course.guest.volumes.values())
    # "A host that compares the freeze and thaw counts sees them differ (thaw returns 0)".
    assert value(course, "guest-fsfreeze-thaw") == 0


def test_a_thaw_in_time_makes_the_one_to_come_void() -> None:
    course = Course("virtainer")
    value(course, "guest-fsfreeze-freeze")
    course.advance(400)
    value(course, "guest-fsfreeze-thaw")
    value(course, "guest-fsfreeze-freeze")
    course.advance(400)
    assert value(course, "guest-fsfreeze-status") == "frozen"


def test_virtainer_tells_the_kernels_numbers_of_routes() -> None:
    metrics = [route["metric"] for route in value(Course("virtainer"), "guest-network-get-route")]
    assert min(metrics) >= 0
    assert max(metrics) == 0xFFFF_FFFF


# -- OpenBSD and OPNsense --------------------------------------------------------------------------


def test_openbsd_knows_no_os_release_and_dies_of_being_asked() -> None:
    # Pulse issue 692.
    course = Course("openbsd-7.6")
    assert "name" not in value(course, "guest-get-osinfo")
    for _ in range(200):
        course.say("guest-get-osinfo")
        course.advance(10)
    assert not course.send(b'{"execute":"guest-ping"}\n')


def test_opnsense_tells_sizes_as_texts_and_freezes_nothing() -> None:
    course = Course("opnsense")
    assert int(value(course, "guest-get-fsinfo")[0]["total-bytes"]) == 19_327_352_832
    assert value(course, "guest-fsfreeze-freeze") == 0
    assert isinstance(course.channel, IsaSerial)


# -- settings --------------------------------------------------------------------------------------


def test_the_version_is_what_the_personality_says() -> None:
    text = "qgasim: 1\nagent: {release: '10.0', personality: {version: 1.2-custom}}"
    assert value(Course(text), "guest-info")["version"] == "1.2-custom"


def test_what_a_personality_lacks_may_be_blocked_or_asked_like_any_unknown_command() -> None:
    course = Course("qgasim: 1\nagent: {personality: {lacks: [guest-exec*]}}")
    assert course.say("guest-exec", path="/bin/true")["error"] == {
        "class": "CommandNotFound",
        "desc": "The command guest-exec has not been found",
    }


def test_an_alias_is_limited_as_what_it_stands_for() -> None:
    course = Course(
        "qgasim: 1\nagent: {personality: {aliases: {my-read: guest-file-read}, read_limit: 3}}\n"
        "guest: {files: {/a: hello}}"
    )
    handle = value(course, "guest-file-open", path="/a")
    read = value(course, "my-read", handle=handle, count=99)
    assert base64.b64decode(read["buf-b64"]) == b"hel"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            "aliases: {a: guest-pong}",
            "agent.personality.aliases.a: there is no command 'guest-pong' (did you mean 'guest-ping'?)",
        ),
        ("lacks: [guest-pong]", "agent.personality.lacks[0]: there is no command 'guest-pong'"),
        ("file_mode: rw", "agent.personality.file_mode: not a mode: 'rw'"),
        ("read_limit: 0", "agent.personality.read_limit: expected 1 or more, found 0"),
    ],
)
def test_what_is_wrong_with_a_personality_is_said(settings: str, text: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        loads(f"qgasim: 1\nagent: {{personality: {{{settings}}}}}").build()
    assert text in str(caught.value)
