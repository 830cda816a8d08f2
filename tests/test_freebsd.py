"""What agents for FreeBSD answer (qga/commands-bsd.c, and commands-posix.c without CONFIG_LINUX)."""

from typing import Any

import pytest

from tests.serving import Course

MOUNTS = (
    "mounts: [{device: /dev/vtbd0p2, path: /, type: ufs}, {device: /dev/vtbd0p3, path: /var, type: ufs}, "
    "{device: zroot, path: /data, type: zfs}], disks: [{name: vtbd0, partitions: [{name: vtbd0p2}, {name: vtbd0p3}]}]"
)


def freebsd(release: str = "7.2", guest: str = MOUNTS) -> Course:
    return Course(
        f'qgasim: 1\nextends: freebsd-14\nagent: {{release: "{release}"}}\nguest: {{{guest}}}'
    )


def value(course: Course, command: str, **arguments: Any) -> Any:
    reply = course.say(command, **arguments)
    assert "return" in reply, reply
    return reply["return"]


def test_one_ufs_can_be_frozen() -> None:
    course = freebsd()
    # /dev/ufssuspend is busy for every file system but the first, which is the latest mount.
    assert value(course, "guest-fsfreeze-freeze") == 1
    frozen = [device for device, volume in course.guest.volumes.items() if volume.is_frozen]
    assert frozen == ["/dev/vtbd0p3"]
    assert value(course, "guest-fsfreeze-status") == "frozen"
    assert value(course, "guest-fsfreeze-thaw") == 1


@pytest.mark.parametrize(("mountpoints", "count"), [(["/"], 1), (["/data"], 0), ([], 0)])
def test_a_list_is_taken_at_its_word(mountpoints: list[str], count: int) -> None:
    course = freebsd()
    assert value(course, "guest-fsfreeze-freeze-list", mountpoints=mountpoints) == count
    assert value(course, "guest-fsfreeze-thaw") == count


def test_a_ufs_that_cannot_be_frozen_is_an_error() -> None:
    course = freebsd(
        guest="mounts: [{device: /dev/vtbd0p4, path: /, type: ufs, freeze_error: EIO}]"
    )
    error = course.say("guest-fsfreeze-freeze")["error"]
    assert error["desc"] == "failed to freeze /: Input/output error"
    assert value(course, "guest-fsfreeze-status") == "thawed"


def test_interfaces_have_an_address_of_hardware_and_no_counters() -> None:
    vtnet, lo = value(freebsd(), "guest-network-get-interfaces")
    assert vtnet["hardware-address"] == "52:54:00:f4:0e:b5"
    assert lo["hardware-address"] == "00:00:00:00:00:00"
    assert "statistics" not in vtnet
    assert [a["ip-address"] for a in lo["ip-addresses"]] == ["::1", "fe80::1", "127.0.0.1"]


#: A release, a command, and how it is refused.
REFUSED: list[tuple[str, str, str]] = [
    ("7.2", "guest-get-vcpus", "CommandNotFound"),
    ("7.2", "guest-fstrim", "CommandNotFound"),
    ("7.2", "guest-get-fsinfo", "GenericError"),
    ("7.2", "guest-get-disks", "GenericError"),
    ("7.2", "guest-get-diskstats", "GenericError"),
    ("6.2", "guest-get-fsinfo", "CommandNotFound"),
    ("6.2", "guest-fsfreeze-status", "CommandNotFound"),
    ("9.1", "guest-get-fsinfo", "CommandNotFound"),
]


@pytest.mark.parametrize(("release", "command", "error"), REFUSED)
def test_what_freebsd_cannot_do_is_refused_before_or_by_the_command(
    release: str, command: str, error: str
) -> None:
    reply = freebsd(release).say(command)["error"]
    assert reply["class"] == error
    if error == "GenericError":
        assert reply["desc"] == "this feature or command is not currently supported"
