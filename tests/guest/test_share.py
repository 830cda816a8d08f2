"""A folder of the host in a guest: what goes through it, and that nothing leaves it."""

import base64
import errno
import gc
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qgasim.errors import ScenarioError
from qgasim.guest.files.share import DIRECTORY_LIMIT, OPEN_LIMIT
from qgasim.scenario import load
from qgasim.scenario.shares import Share, parse_share
from tests.serving import Course, HandClock


class Sharing(Course):
    """A guest with the folder *folder* of the host at /mnt/shared."""

    def __init__(self, folder: Path, scenario: str = "debian-12") -> None:
        self.clock = HandClock()
        share = Share(str(folder), "/mnt/shared")
        self.take(load(scenario).build(self.clock, [share]))

    def open(self, path: str, mode: str = "r") -> Any:
        return self.say("guest-file-open", path=path, mode=mode)

    def read(self, path: str) -> bytes | str:
        """Return what the client reads of a file, or the error."""
        opened = self.open(path)
        if "error" in opened:
            return str(opened["error"]["desc"])
        handle = opened["return"]
        said = self.say("guest-file-read", handle=handle)
        self.say("guest-file-close", handle=handle)
        if "error" in said:
            return str(said["error"]["desc"])
        return base64.b64decode(said["return"]["buf-b64"])

    def sh(self, script: str) -> str:
        """Return what a shell of the guest writes to both streams."""
        pid = self.say(
            "guest-exec", path="/bin/sh", arg=["-c", f"{{ {script}\n}} 2>&1"], capture_output=True
        )["return"]["pid"]
        self.advance(60)
        status = self.say("guest-exec-status", pid=pid)["return"]
        return base64.b64decode(status.get("out-data", "")).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to share, with something beside it that is not shared."""
    (tmp_path / "secret").write_bytes(b"not for the guest")
    shared = tmp_path / "shared"
    shared.mkdir()
    return shared


# -- what goes through -----------------------------------------------------------------------------


def test_what_the_guest_has_flushed_or_closed_is_on_the_host(folder: Path) -> None:
    course = Sharing(folder)
    handle = course.open("/mnt/shared/out", "w")["return"]
    course.say("guest-file-write", handle=handle, buf_b64=base64.b64encode(b"one").decode())
    assert (folder / "out").read_bytes() == b""
    course.say("guest-file-flush", handle=handle)
    assert (folder / "out").read_bytes() == b"one"
    course.say("guest-file-write", handle=handle, buf_b64=base64.b64encode(b"two").decode())
    course.say("guest-file-close", handle=handle)
    assert (folder / "out").read_bytes() == b"onetwo"


def test_what_the_host_puts_there_the_guest_sees_at_the_next_open(folder: Path) -> None:
    course = Sharing(folder)
    assert course.read("/mnt/shared/in") == (
        "failed to open file '/mnt/shared/in' (mode: 'r'): No such file or directory"
    )
    (folder / "in").write_bytes(b"first")
    assert course.read("/mnt/shared/in") == b"first"
    (folder / "in").write_bytes(b"and second")
    assert course.read("/mnt/shared/in") == b"and second"
    (folder / "in").unlink()
    (folder / "in").mkdir()
    assert course.read("/mnt/shared/in") == "failed to read file: Is a directory"


def test_what_is_appended_comes_after_what_the_host_has_appended(folder: Path) -> None:
    course = Sharing(folder)
    (folder / "log").write_bytes(b"1\n")
    handle = course.open("/mnt/shared/log", "a")["return"]
    with (folder / "log").open("ab") as log:
        log.write(b"2\n")
    course.say("guest-file-write", handle=handle, buf_b64=base64.b64encode(b"3\n").decode())
    course.say("guest-file-close", handle=handle)
    assert (folder / "log").read_bytes() == b"1\n2\n3\n"


def test_programs_of_the_guest_work_in_it(folder: Path) -> None:
    course = Sharing(folder)
    (folder / "given").write_bytes(b"from the host\n")
    wrote = course.sh(
        """cd /mnt/shared && mkdir -p a/b && cp given a/b/copy && cat a/b/copy
        mv a/b/copy a/moved && ln -s moved a/link && cat a/link && ln a/moved a/hard
        echo more >> a/moved && wc -c < a/hard && chmod 640 a/hard
        touch a/x && rm a/x && rm -d a/b && ls a
        printf 12345678 > a/cut && printf 123 > a/cut && cat a/cut"""
    )
    assert wrote.split() == [
        "from",
        "the",
        "host",
        "from",
        "the",
        "host",
        "19",
        "hard",
        "link",
        "moved",
        "123",
    ]
    inside = folder / "a"
    assert sorted(path.name for path in inside.iterdir()) == ["cut", "hard", "link", "moved"]
    assert (inside / "moved").read_bytes() == b"from the host\nmore\n"
    assert os.readlink(inside / "link") == "moved"
    assert (inside / "hard").samefile(inside / "moved")
    assert stat.S_IMODE((inside / "hard").stat().st_mode) == 0o640


def test_a_script_in_it_runs_in_the_guest(folder: Path) -> None:
    course = Sharing(folder)
    (folder / "script").write_bytes(b"#!/bin/sh\nhostname; pwd\n")
    (folder / "script").chmod(0o755)
    assert course.sh("cd /mnt/shared; ./script") == f"{course.guest.hostname}\n/mnt/shared\n"


def test_times_are_set_on_the_host(folder: Path) -> None:
    (folder / "file").write_bytes(b"")
    Sharing(folder).sh("touch -d @1000000000 /mnt/shared/file")
    assert (folder / "file").stat().st_mtime == 1_000_000_000


def test_names_that_are_no_text_go_through(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9")
    Sharing(folder).sh("printf x > \"$(printf '/mnt/shared/caf\\351 \\303\\251')\"")
    assert os.listdir(folder) == [name]


def test_what_a_guest_opened_stays_open_when_the_host_removes_it(folder: Path) -> None:
    course = Sharing(folder)
    (folder / "file").write_bytes(b"still here")
    handle = course.open("/mnt/shared/file")["return"]
    (folder / "file").unlink()
    said = course.say("guest-file-read", handle=handle)["return"]
    assert base64.b64decode(said["buf-b64"]) == b"still here"


def test_it_is_there_again_after_a_reboot_and_is_no_disk(folder: Path) -> None:
    course = Sharing(folder)
    (folder / "file").write_bytes(b"x")
    course.say("guest-shutdown", mode="reboot")
    course.advance(600)
    assert course.read("/mnt/shared/file") == b"x"
    assert "share0 on /mnt/shared type virtiofs" in course.sh("mount")
    listed = course.say("guest-get-fsinfo")["return"]
    assert "/mnt/shared" not in [entry["mountpoint"] for entry in listed]


def test_it_is_written_while_the_guest_is_frozen_since_its_file_system_is_the_hosts(
    folder: Path,
) -> None:
    course = Sharing(folder)
    frozen = course.say("guest-fsfreeze-freeze")["return"]
    course.guest.files.write("/mnt/shared/x", b"y")
    assert (folder / "x").read_bytes() == b"y"
    assert course.say("guest-fsfreeze-thaw") == {"return": frozen}


def test_a_snapshot_does_not_take_it_back(folder: Path) -> None:
    course = Sharing(folder)
    (folder / "file").write_bytes(b"before")
    handle = course.open("/mnt/shared/file")["return"]
    course.simulation.snapshots.take("one")
    (folder / "file").write_bytes(b"after")
    course.say("guest-file-close", handle=handle)
    course.simulation.snapshots.revert("one")
    assert course.read("/mnt/shared/file") == b"after"
    # The file that was open then is open again.
    said = course.say("guest-file-read", handle=handle)["return"]
    assert base64.b64decode(said["buf-b64"]) == b"after"


# -- and that nothing leaves it --------------------------------------------------------------------


def test_links_and_dots_lead_into_the_guests_own_tree(folder: Path, tmp_path: Path) -> None:
    course = Sharing(folder)
    secret = tmp_path / "secret"
    (folder / "absolute").symlink_to(secret)
    (folder / "relative").symlink_to("../secret")
    (folder / "etc").symlink_to("/etc")
    (folder / "up").symlink_to("..")
    for name in ("absolute", "relative", "up/secret", "../secret", "../shared/../secret"):
        path = f"/mnt/shared/{name}"
        assert (
            course.read(path)
            == f"failed to open file '{path}' (mode: 'r'): No such file or directory"
        )
    assert course.read("/mnt/shared/etc/hostname") == f"{course.guest.hostname}\n".encode()
    # Nor does the host follow a link that the guest makes or opens for writing.
    course.sh(
        f"ln -s {secret} /mnt/shared/mine; echo gone > /mnt/shared/mine; "
        f"echo gone > /mnt/shared/absolute; chmod 777 /mnt/shared/absolute; "
        f": > /mnt/shared/relative; rm -rf /mnt/shared/up /mnt/shared/etc"
    )
    assert secret.read_bytes() == b"not for the guest"
    assert stat.S_IMODE(secret.stat().st_mode) & 0o111 == 0
    assert (folder / "mine").is_symlink()


def test_a_directory_replaced_by_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    course = Sharing(folder)
    (folder / "d").mkdir()
    assert course.guest.files.is_dir("/mnt/shared/d")
    (folder / "d").rmdir()
    (folder / "d").symlink_to(tmp_path)
    assert not course.guest.files.exists("/mnt/shared/d/secret")


def test_only_files_directories_and_links_are_there(folder: Path) -> None:
    course = Sharing(folder)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "sock"))
    (folder / "file").write_bytes(b"")
    assert course.guest.files.listdir("/mnt/shared") == ["file"]
    assert "No such file" in str(course.read("/mnt/shared/pipe"))
    with pytest.raises(OSError, match="Operation not permitted"):
        course.guest.files.mkfifo("/mnt/shared/mine")
    assert not (folder / "mine").exists()


def test_nobodys_rights_are_lent(folder: Path) -> None:
    course = Sharing(folder)
    course.sh("echo > /mnt/shared/x; chmod 6755 /mnt/shared/x; mkdir -m 1777 /mnt/shared/d")
    assert stat.S_IMODE((folder / "x").stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "d").stat().st_mode) & 0o7000 == 0
    assert "Operation not permitted" in course.sh("chown 12345 /mnt/shared/x")


def test_two_folders_are_two_file_systems(folder: Path, tmp_path: Path) -> None:
    shares = [Share(str(folder), "/mnt/a"), Share(str(folder), "/mnt/b")]
    files = load("debian-12").build(HandClock(), shares).agent.guest.files
    files.write("/mnt/a/x", b"y")
    assert files.read("/mnt/b/x") == b"y"
    with pytest.raises(OSError, match="Invalid cross-device link"):
        files.rename("/mnt/a/x", "/mnt/b/z")
    with pytest.raises(OSError, match="Invalid cross-device link"):
        files.rename("/mnt/a/x", "/tmp/z")


def count_open(path: Path) -> int:
    """Count the descriptors of this process that are of *path*."""
    return sum(
        os.path.realpath(entry) == str(path.resolve()) for entry in Path("/proc/self/fd").iterdir()
    )


def test_a_client_cannot_use_up_the_hosts_descriptors(folder: Path) -> None:
    course = Sharing(folder)
    (folder / "file").write_bytes(b"")
    opened = [course.open("/mnt/shared/file") for _ in range(OPEN_LIMIT)]
    assert course.open("/mnt/shared/file")["error"]["desc"].endswith(
        "Too many open files in system"
    )
    # One file is open once on the host.
    assert count_open(folder / "file") == 1
    for said in opened:
        course.say("guest-file-close", handle=said["return"])
    assert count_open(folder / "file") == 0


def test_descriptors_are_closed_with_the_guest(folder: Path) -> None:
    (folder / "d").mkdir()
    (folder / "d" / "file").write_bytes(b"")
    script = (
        "import os, gc, sys; from qgasim.scenario import load; from qgasim.scenario.shares import Share\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        f"files = load('debian-12').build(shares=[Share({str(folder)!r}, '/s')]).agent.guest.files\n"
        "opened = files.open('/s/d/file', os.O_RDWR)\n"
        "assert len(os.listdir('/proc/self/fd')) > before\n"
        "del files, opened; gc.collect(); print(len(os.listdir('/proc/self/fd')) - before)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout == "0\n"


# -- which folders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("out=/mnt/out", Share("out", "/mnt/out")),
        ("/a=b/c=/x//y/", Share("/a=b/c", "/x/y")),
        (".=/mnt", Share(".", "/mnt")),
    ],
)
def test_a_shared_folder_is_written_as_two_directories(text: str, share: Share) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize(
    "text", ["", "out", "out=", "out=mnt", "=/mnt", "out=/", "out=/mnt/../etc"]
)
def test_a_shared_folder_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_share(text)
    assert str(caught.value) == (
        f"not a shared folder: '{text}' (expected HOST_DIR=GUEST_DIR, as in out=/mnt/out)"
    )


def test_a_folder_that_cannot_be_shared_is_told(folder: Path, tmp_path: Path) -> None:
    scenario = load("debian-12")
    nothing, file = tmp_path / "nothing", tmp_path / "secret"
    for shares, text in {
        (
            Share(str(nothing), "/mnt"),
        ): f"share {nothing}=/mnt: {nothing}: No such file or directory",
        (Share(str(file), "/mnt"),): f"share {file}=/mnt: {file}: Not a directory",
        (Share(str(folder), "/mnt"), Share(str(tmp_path), "/mnt")): (
            f"share {tmp_path}=/mnt: there is another folder at /mnt already"
        ),
        (Share(str(folder), "/etc/passwd/x"),): "guest: /etc/passwd/x: Not a directory",
    }.items():
        with pytest.raises(ScenarioError) as caught:
            scenario.build(shares=shares)
        assert str(caught.value) == text


# -- descriptors of the host -----------------------------------------------------------------------


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
def test_directories_do_not_use_up_the_hosts_descriptors(folder: Path) -> None:
    for number in range(1100):
        (folder / f"d{number:04}").mkdir()
        (folder / f"d{number:04}" / "x").touch()
    files = Sharing(folder).guest.files
    before = count_descriptors()
    names = files.listdir("/mnt/shared")
    held = [files.get(f"/mnt/shared/{name}") for name in names]
    assert all(files.exists(f"/mnt/shared/{name}/x") for name in names)
    assert len(held) == 1100
    assert count_descriptors() <= before + DIRECTORY_LIMIT


@pytest.mark.slow
def test_listing_many_directories_in_a_loop_leaves_descriptors_for_the_next_client(
    folder: Path,
) -> None:
    # Without garbage collection, which once was all that closed them.
    for number in range(1100):
        (folder / f"d{number:04}").mkdir()
    course = Sharing(folder)
    before = count_descriptors()
    gc.disable()
    try:
        script = "for i in 1 2 3; do ls -l /mnt/shared | wc -l; ls /mnt/shared/*/. | wc -l; done"
        said = course.sh(f"({script}) > /tmp/counts; echo done > /tmp/done")
        for _ in range(100):
            course.advance(60)
        assert said == ""
        assert course.read("/tmp/done") == b"done\n"
        counts = course.read("/tmp/counts")
        assert counts == b"1101\n2199\n" * 3
        assert count_descriptors() <= before + DIRECTORY_LIMIT
    finally:
        gc.enable()


def test_a_way_that_is_longer_than_what_is_kept_open_is_walked(folder: Path) -> None:
    course = Sharing(folder)
    way = "/".join(["d"] * 300)
    (folder / way).mkdir(parents=True)
    (folder / "other" / "x").mkdir(parents=True)
    before = count_descriptors()
    handle = course.open(f"/mnt/shared/{way}/x", "w")["return"]
    for _ in range(2):
        assert course.guest.files.exists("/mnt/shared/other/x")
        assert course.read(f"/mnt/shared/{way}/x") == b""
    assert "return" in course.say("guest-file-close", handle=handle)
    assert count_descriptors() <= before + DIRECTORY_LIMIT


def test_a_directory_that_the_host_has_moved_is_found_by_its_new_name(folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "x").write_bytes(b"1")
    course = Sharing(folder)
    assert course.read("/mnt/shared/a/b/x") == b"1"
    (folder / "a").rename(folder / "c")
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "x").write_bytes(b"2")
    assert course.read("/mnt/shared/a/b/x") == b"2"
    assert course.read("/mnt/shared/c/b/x") == b"1"


def test_what_the_host_refuses_is_the_guests_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "x").write_bytes(b"1")
    course = Sharing(folder)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("qgasim.guest.files.share.os.open", refuse)
    assert (
        course.read("/mnt/shared/x")
        == "failed to open file '/mnt/shared/x' (mode: 'r'): Too many open files"
    )
    assert course.agent.failure is None
