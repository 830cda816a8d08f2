"""The scenarios of client bugs in which something happens: what a client sees before and after.

Times and what is seen are those of the reports that the scenarios' `origin` names.
"""

from collections.abc import Callable
from typing import Any

import pytest

from qgasim.scenario import library, load
from tests.serving import Course

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'


def pong(course: Course) -> bool:
    return course.send(PING) == PONG


def addresses(course: Course) -> list[str]:
    nics = course.say("guest-network-get-interfaces")["return"]
    return [a["ip-address"] for nic in nics if nic["name"] != "lo" for a in nic["ip-addresses"]]


def disks(course: Course) -> list[str]:
    found = course.say("guest-get-disks")["return"]
    return [disk["name"] for disk in found if not disk["partition"]]


def version(course: Course) -> Any:
    return course.say("guest-info")["return"]["version"]


def answers(*commands: str) -> Callable[[Course], list[bool]]:
    def ask(course: Course) -> list[bool]:
        return [
            course.say(command, **ARGUMENTS.get(command, {})) is not None for command in commands
        ]

    return ask


ARGUMENTS: dict[str, dict[str, Any]] = {"guest-exec": {"path": "true"}}
READY = answers("guest-ping", "guest-get-osinfo", "guest-exec")
GLOBAL = "2001:db8::5054:ff:fe8a:1f6e"
LOCAL = "fe80::5054:ff:fe8a:1f6e"

#: A scenario, how to look, and what is seen at which uptime (a guest is first looked at after 12 s).
SEEN: dict[str, tuple[Callable[[Course], Any], list[tuple[float, Any]]]] = {
    "guest-panic": (pong, [(12, True), (29, True), (31, False), (600, False)]),
    "agent-appears-late": (pong, [(12, False)]),
    "staged-readiness": (
        READY,
        [
            (12, [False, False, False]),
            (101, [True, False, False]),
            (103, [True, True, False]),
            (106, [True, True, True]),
        ],
    ),
    "sysprep-flap": (pong, [(12, True), (21, False)]),
    "migration-blackout": (pong, [(12, True), (20.5, False)]),
    "paused-guest": (pong, [(12, True), (20.5, False)]),
    "post-migration-gap": (pong, [(12, True), (20.5, False)]),
    "slaac-delay": (
        addresses,
        [(12, [LOCAL]), (31, [LOCAL, GLOBAL]), (41, ["192.0.2.17", LOCAL, GLOBAL])],
    ),
    "vip-added-later": (
        lambda c: "192.0.2.100" in addresses(c),
        [(12, False), (59, False), (61, True)],
    ),
    "network-after-agent": (addresses, [(12, []), (21, ["192.0.2.17"])]),
    "disk-hotplug": (disks, [(12, ["/dev/vda"]), (61, ["/dev/vda", "/dev/vdb"])]),
    "users-log-off": (
        lambda c: [user["user"] for user in c.say("guest-get-users")["return"]],
        [(12, ["Administrator"]), (13, []), (14, [])],
    ),
    "agent-upgraded-by-reboot": (version, [(12, "7.2.9"), (40, "7.2.22")]),
}
#: Silence from the beginning, or after a freeze: test_client_bug_faults.py.
SEEN_AMONG_FAULTS = {
    "agent-absent", "agent-never-up", "enabled-not-running", "freeze-lost-by-reboot",
    "freeze-while-paused",
}  # fmt: skip
#: A scenario, when what was asked in the silence is answered, at the latest.
ANSWERED_LATER = {
    "agent-appears-late": 61,
    "sysprep-flap": 51,
    "migration-blackout": 24,
    "post-migration-gap": 27,
}


@pytest.mark.parametrize("name", SEEN)
def test_what_a_client_sees_changes_with_time(name: str) -> None:
    look, moments = SEEN[name]
    course = Course(name)
    passed = 12.0
    for moment, expected in moments:
        course.advance(moment - passed)
        passed = moment
        assert look(course) == expected, moment


@pytest.mark.parametrize("name", ANSWERED_LATER)
def test_what_was_asked_in_the_silence_is_answered_at_its_end(name: str) -> None:
    course = Course(name)
    course.advance(8.5)
    while course.send(PING):
        course.advance(0.1)
    latest = ANSWERED_LATER[name]
    assert course.advance(latest - 20.6).count(PONG) == 1


def test_after_a_migration_the_clock_is_behind() -> None:
    course = Course("migration-blackout")
    before = course.say("guest-get-time")["return"]
    course.advance(8.5)
    course.advance(11.5)
    assert course.say("guest-get-time")["return"] - before == 17_000_000_000


@pytest.mark.slow
def test_every_scenario_with_events_is_seen_here() -> None:
    with_events = {
        name
        for name in library()
        if load(name).timeline and load(name).origin.startswith("client bug")
    }
    assert with_events == (set(SEEN) - {"staged-readiness"}) | SEEN_AMONG_FAULTS
