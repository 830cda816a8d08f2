"""Releases as people write them, and the mistakes of releases, switched on and off."""

import base64
from typing import Any

import pytest

from qgasim.dialect import QUIRKS, find_dialect
from tests.serving import Course

#: What is written, what guest-info then says, and the release whose answers are given.
WRITTEN: dict[str, tuple[str, tuple[int, int]]] = {
    # FULL_VERSIONS: what was recorded, or the first of the release.
    "7.2": ("7.2.22", (7, 2)),
    "6.2": ("6.2.0", (6, 2)),
    "latest": ("11.1.3", (11, 1)),
    # A release that is not named in the tables is like the last one before it that is.
    "6.0": ("6.0.0", (6, 0)),
    "7.2.19": ("7.2.19", (7, 2)),
    # As distributions write theirs (client bug 95).
    "8.2.2 (Debian 1:8.2.2+ds-0ubuntu1.2)": ("8.2.2 (Debian 1:8.2.2+ds-0ubuntu1.2)", (8, 2)),
    "6.2.0-dirty": ("6.2.0-dirty", (6, 2)),
    "7.2-dirty": ("7.2-dirty", (7, 2)),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_a_release_is_found_as_it_is_written(written: str) -> None:
    said, version = WRITTEN[written]
    dialect = find_dialect(written)
    assert dialect
    assert (dialect.full_version, dialect.version) == (said, version)
    assert Course("debian-12", release=written).say("guest-info")["return"]["version"] == said


@pytest.mark.parametrize(
    "written", ["", "2.4", "2.13", "3.2", "11.2", "12", "7", "7.2.x", "qemu-7.2", "7.2.22.1"]
)
def test_what_is_no_release_or_an_unknown_one_is_not_found(written: str) -> None:
    assert find_dialect(written) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [("7.2.19", "7.2.20"), ("10.0.3", "10.0.4"), ("10.1.0", "10.1.1"), ("9.1", "10.2")],
)
def test_a_stable_release_has_what_came_to_its_branch(before: str, after: str) -> None:
    # docs/versions.md: the flags of truncation.
    flags = [find_dialect(release) for release in (before, after)]
    assert [bool(dialect and dialect.tells_truncated) for dialect in flags] == [False, True]


@pytest.mark.parametrize(
    ("release", "tries_all"),
    [("6.2", False), ("7.2.0", False), ("7.2.22", True), ("8.0", False), ("8.1", True)],
)
def test_all_ways_to_suspend_are_tried_since_8_1_and_in_the_recorded_7_2(
    release: str, tries_all: bool
) -> None:
    # Commit 86dcb6ab9b; 6.2.0 and 7.2.22 recorded (suspend/systemctl-fails).
    dialect = find_dialect(release)
    assert dialect
    assert dialect.tries_all_suspends == tries_all


# -- mistakes, by name -----------------------------------------------------------------------------


def switched(release: str, quirk: str, switch: str) -> Course:
    return Course(
        f'qgasim: 1\nextends: debian-12\nagent: {{release: "{release}", quirks: {{{quirk}: {switch}}}}}'
    )


def run(course: Course, path: str, *arg: str, capture: Any = True) -> Any:
    pid = course.say("guest-exec", path=path, arg=list(arg), capture_output=capture)["return"][
        "pid"
    ]
    course.advance(60)
    course.catch_up()
    return course.say("guest-exec-status", pid=pid)["return"]


@pytest.mark.parametrize("release", ["7.2", "10.0"])
def test_pid_ld_hides_the_number_that_its_mending_shows(release: str) -> None:
    # 10.0 recorded (exec/status-unknown); the corrected text is the one that was meant.
    texts = {
        switch: switched(release, "pid_ld", switch).say("guest-exec-status", pid=7)["error"]["desc"]
        for switch in ("on", "off")
    }
    assert texts == {"on": "PID ld does not exist", "off": "PID 7 does not exist"}


@pytest.mark.parametrize("release", ["5.2", "10.0"])
def test_untold_truncation_leaves_out_a_flag_unless_it_should_be_true_and_is_false(
    release: str,
) -> None:
    # 5.2 recorded: `out-truncated` only of what was truncated, and then false.
    told, untold = (switched(release, "untold_truncation", s) for s in ("off", "on"))
    assert run(told, "echo", "x")["out-truncated"] is False
    assert "out-truncated" not in run(untold, "echo", "x")
    long = ("sh", "-c", "head -c 20000000 /dev/zero")
    assert run(told, *long)["out-truncated"] is True
    assert run(untold, *long)["out-truncated"] is False


def test_single_stream_capture_spoils_the_second_capture_of_one_stream() -> None:
    # Recorded of 10.0 and 11.1 (exec/*-spoils-later-captures).
    for switch in ("on", "off"):
        course = switched("10.0", "single_stream_capture", switch)
        first, second = (run(course, "echo", "x", capture="stdout") for _ in range(2))
        assert base64.b64decode(first["out-data"]) == b"x\n"
        assert second["exited"] is (switch == "off")


def test_no_sysfs_sleep_needs_a_tool_to_suspend() -> None:
    # Commit 2048129625 (v9.0.0-343): the kernel is asked through a file that cannot be written so.
    for switch in ("on", "off"):
        course = Course(
            "qgasim: 1\nextends: debian-12\n"
            f"agent: {{release: '10.0', quirks: {{no_sysfs_sleep: {switch}}}}}\n"
            "guest: {files: {/usr/bin/systemctl: null}}"
        )
        said = course.say("guest-suspend-ram")
        course.advance(5)
        assert ("error" in (said or {})) == (switch == "on")
        assert (course.guest.power.state == "suspended") == (switch == "off")


def test_list_orders_is_that_of_a_directory_or_that_of_the_numbers() -> None:
    # Recorded: 3, 1, 2, 0 of four (tests/golden/7.2/vcpus.jsonl, get; 5.2 has 0, 1, 2, 3).
    orders = {
        switch: [
            cpu["logical-id"]
            for cpu in Course(
                "qgasim: 1\nextends: debian-12\n"
                f"agent: {{release: '7.2', quirks: {{list_orders: {switch}}}}}\nguest: {{vcpus: 4}}"
            ).say("guest-get-vcpus")["return"]
        ]
        for switch in ("on", "off")
    }
    assert orders == {"on": [3, 1, 2, 0], "off": [0, 1, 2, 3]}


def test_route_signs_make_large_numbers_negative_or_larger_still() -> None:
    # Virtainer's README: -1 and 18446744071564165121 are what qemu-ga says of the kernel's numbers.
    for switch, metric, flags in (
        ("on", -1, 18446744071564165121),
        ("off", 4294967295, 2149580801),
    ):
        routes = switched("10.0", "route_signs", switch).say("guest-network-get-route")["return"]
        told = [r for r in routes if r["version"] == 6]
        assert metric in {route["metric"] for route in told}
        assert flags in {route["flags"] for route in told}


#: Which of the recorded releases has which (docs/versions.md; recordings).
HAVE: dict[str, set[str]] = {
    "no_sysfs_sleep": set(),
    "single_stream_capture": {"10.0", "11.1"},
    "windows_single_stream": {"10.0", "11.1"},
    "silent_abort": set(),
    "helper_output_crash": set(),
    "pid_ld": {"10.0", "11.1"},
    "untold_truncation": {"5.2"},
    "list_orders": {"7.2", "10.0", "11.1"},
    "route_signs": {"5.2", "7.2", "10.0", "11.1"},
    "windows_77": {"5.2", "7.2", "10.0", "11.1"},
    "windows_2025_typo": set(),
    "no_prefixes": set(),
}


@pytest.mark.parametrize("quirk", HAVE)
def test_a_release_has_its_quirks_unless_told_otherwise(quirk: str) -> None:
    for release in ("5.2", "7.2", "10.0", "11.1"):
        dialect = find_dialect(release)
        assert dialect
        has_it = all(getattr(dialect, fact) == value for fact, value in QUIRKS[quirk].on.items())
        assert has_it == (release in HAVE[quirk])
