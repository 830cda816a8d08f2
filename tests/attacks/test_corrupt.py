"""Guests whose files were damaged: a short run of the fuzzer, and what it has found."""

import pytest

from tests import fuzz_corrupt
from tests.serving import Course


@pytest.mark.parametrize("seed", [0, 1000, 2000])
def test_a_short_run_finds_nothing(seed: int) -> None:
    assert len(list(fuzz_corrupt.rounds(seed, 120))) == 4


@pytest.mark.parametrize("damage", ["remove_tree", "a file", "unmounted"])
def test_a_guest_boots_without_a_directory_to_mount_on(damage: str) -> None:
    course = Course("debian-12")
    files = course.guest.files
    path = next(mount.path for mount in files.mounts if mount.path.startswith("/run"))
    for mount in [m for m in files.mounts if m.path.startswith(path)]:
        files.detach(mount)
    if damage != "unmounted":
        files.remove_tree(path)
    if damage == "a file":
        files.write(path, b"")
    files.mounts[0].options = "ro"
    course.guest.power.shut_down("reboot", 0)
    course.advance(60)
    assert course.say("guest-ping") == {"return": {}}
    assert files.mounts[0].options == course.guest.mounts[0].options
    assert (files.find_mount(path) is not None) == (damage != "a file")
