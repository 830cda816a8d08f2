"""What commands answer where no recording shows it: QEMU's source or the kernel's says so."""

from typing import Any

import pytest

from tests.serving import Course


def test_old_releases_tell_the_first_host_name_that_they_saw() -> None:
    # Pull request qga-pull-2020-07-13: "fix erroneously reporting stale hostname".
    for release, later in (("3.1", "first"), ("5.0", "first"), ("5.1", "second")):
        course = Course(f'qgasim: 1\nagent: {{release: "{release}"}}\nguest: {{hostname: first}}')
        assert course.say("guest-get-host-name")["return"]["host-name"] == "first"
        course.guest.hostname = "second"
        assert course.say("guest-get-host-name")["return"]["host-name"] == later
        course.agent.crash()
        course.advance(1)
        assert course.say("guest-get-host-name")["return"]["host-name"] == "second"


def test_a_processor_that_is_not_there_is_told_otherwise_since_11_0() -> None:
    told = {
        "10.2": 'open("/sys/devices/system/cpu/cpu99/"): No such file or directory',
        "11.0": "Could not open '/sys/devices/system/cpu/cpu99/': No such file or directory",
    }
    for release, text in told.items():
        course = Course(f'qgasim: 1\nagent: {{release: "{release}"}}')
        reply = course.say("guest-set-vcpus", vcpus=[{"logical-id": 99, "online": True}])
        assert reply["error"]["desc"] == text


def test_a_pid_that_is_not_known_is_told_otherwise_since_8_2() -> None:
    # 'qga: Improve guest-exec-status error message', pulled on 17 November 2023. What cannot be started
    # is told otherwise since 9.1 only (27 May 2024).
    texts = {"8.1": "Invalid parameter 'pid'", "8.2": "PID ld does not exist"}
    for release, text in texts.items():
        course = Course(f'qgasim: 1\nagent: {{release: "{release}"}}')
        assert course.say("guest-exec-status", pid=7)["error"]["desc"] == text
    for release, begins in (("9.0", "Guest agent command failed"), ("9.1", "Failed to execute")):
        course = Course(f'qgasim: 1\nagent: {{release: "{release}"}}')
        reply = course.say("guest-exec", path="/nosuch")
        assert reply["error"]["desc"].startswith(begins)


@pytest.mark.parametrize(
    ("minimum", "is_taken"),
    # fs/ext4/mballoc.c, ext4_trim_fs(): 8192 blocks of 1 KiB are in a group.
    [(8192 * 1024, True), (8193 * 1024 - 1, True), (8193 * 1024, False), (-(1 << 40), False)],
)
def test_the_minimum_of_a_trim_is_counted_in_blocks(minimum: int, is_taken: bool) -> None:
    trim = Course("lab-vm").say("guest-fstrim", minimum=minimum)["return"]["paths"][0]
    wanted = {"minimum": minimum} if is_taken else {"error": "failed to trim: Invalid argument"}
    assert {name: trim.get(name) for name in wanted} == wanted


def sleeping(release: str, **programs: str) -> Course:
    """Return a guest whose helpers are scripts."""
    files = ", ".join(
        f'/usr/bin/{name.replace("_", "-")}: {{text: "#!/bin/sh\\n{text}\\n", mode: "755"}}'
        for name, text in programs.items()
    )
    return Course(
        f'qgasim: 1\nextends: lab-vm\nagent: {{release: "{release}"}}\nguest: {{files: {{{files}}}}}'
    )


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0"])
@pytest.mark.parametrize(
    ("systemctl", "pm_is_supported", "expected"),
    [
        # A helper that is killed has exit status 0: well done (commands-linux.c,
        # run_process_child(): WEXITSTATUS).
        ("[ $1 = status ] && exit 3; kill -9 $$", "exit 1", None),
        # pm-utils are there and say no: an error, also before 6.0, and so the kernel is tried.
        ("[ $1 = status ] && exit 3; exit 1", "exit 1", "suspended"),
    ],
)
def test_tools_for_suspending_are_tried_one_after_the_other(
    release: str, systemctl: str, pm_is_supported: str, expected: Any
) -> None:
    course = sleeping(release, systemctl=systemctl, pm_is_supported=pm_is_supported)
    assert course.say("guest-suspend-ram") is None
    course.advance(1)
    assert course.guest.power.state == (expected or "running")


@pytest.mark.parametrize(
    ("release", "sleeps"),
    [
        ("9.0", True),
        # Commit 2048129625 (v9.0.0-343) writes by g_file_set_contents(); "qga: correctly write to
        # /sys/power/state on linux" of August 2025 mends it in 10.1, and in 10.0.4.
        ("9.1", False),
        ("10.0.3", False),
        ("10.0.4", True),
        ("10.1", True),
    ],
)
def test_some_releases_cannot_write_the_kernels_file_for_sleeping(
    release: str, sleeps: bool
) -> None:
    course = sleeping(release, systemctl="exit 4")
    reply = course.say("guest-suspend-ram")
    course.advance(1)
    assert (course.guest.power.state == "suspended") == sleeps
    said = reply["error"]["desc"] if reply else ""
    assert said.startswith("" if sleeps else "suspend: cannot write to '/sys/power/state': ")


# -- files: what the real qemu-ga 7.2 answered for the same --------------------------------------------


def files_of(*steps: tuple[str, dict[str, Any]], path: str, mode: str, kind: str) -> list[Any]:
    """Do *steps* with a file; give the replies' values, or the errors' texts."""
    course = Course(f"qgasim: 1\nguest: {{files: {{{path}: {{kind: {kind}}}}}}}")
    handle = course.say("guest-file-open", path=path, mode=mode)["return"]
    said: list[Any] = []
    for step, arguments in steps:
        reply = course.say(f"guest-file-{step}", handle=handle, **arguments)
        said.append(reply["return"] if "return" in reply else reply["error"]["desc"])
    return said


def test_an_error_of_a_flush_is_told_by_the_next_write_as_well() -> None:
    # The stream keeps its error flag, and the number of the error is gone by then.
    full = "A" * 4 * (70_000 // 3)
    said = files_of(
        ("write", {"buf_b64": full}),
        ("write", {"buf_b64": "A" * 5460}),
        ("flush", {}),
        ("write", {"buf_b64": "aGk="}),
        ("write", {"buf_b64": "aGk="}),
        path="/pipe",
        mode="r+",
        kind="fifo",
    )
    assert said == [
        "failed to write to file: Resource temporarily unavailable",
        {"count": 4095, "eof": False},
        "failed to flush file: Resource temporarily unavailable",
        "failed to write to file",
        {"count": 2, "eof": False},
    ]


def test_what_could_not_be_written_for_want_of_a_place_is_told_by_the_count() -> None:
    # libio/fileops.c, new_do_write(): a seek that fails sets no flag. What was read ahead of the pipe
    # would have to be given back first.
    said = files_of(
        ("write", {"buf_b64": "aGVsbG8="}),
        ("read", {"count": 1}),
        ("flush", {}),
        ("write", {"buf_b64": "A" * 4 * 3000}),
        path="/pipe",
        mode="r+",
        kind="fifo",
    )
    assert said[1:] == [
        {"count": 1, "buf-b64": "aA==", "eof": False},
        {},
        {"count": 0, "eof": False},
    ]


#: Paths, the error of modes that would make a file, and that of the others.
ENDS = [
    ("/a/", "Is a directory", "Not a directory"),
    ("/a/.", "Not a directory", "Not a directory"),
    ("/a/./x", "Not a directory", "Not a directory"),
    ("/link/", "Is a directory", "Not a directory"),
    ("/new/", "Is a directory", "No such file or directory"),
    ("/new/.", "No such file or directory", "No such file or directory"),
    ("/new/./x", "No such file or directory", "No such file or directory"),
    ("/loop/", "Is a directory", "Too many levels of symbolic links"),
    ("/dangling/", "Is a directory", "No such file or directory"),
    ("/slash", "Not a directory", "Not a directory"),
    ("/d/.", "Is a directory", "Is a directory"),
    ("/d/..", "Is a directory", "Is a directory"),
    ("/d/", "Is a directory", "Is a directory"),
]


@pytest.mark.parametrize(("path", "making", "opening"), ENDS)
def test_paths_end_in_slashes_and_dots_as_linux_has_them(
    path: str, making: str, opening: str
) -> None:
    course = Course(
        "qgasim: 1\nguest: {files: {/a: text, /link: {symlink: a}, /loop: {symlink: loop}, "
        "/dangling: {symlink: nowhere}, /slash: {symlink: a/}, /d: {kind: directory}}}"
    )
    for mode, why in (("w", making), ("a+", making), ("r+", opening)):
        reply = course.say("guest-file-open", path=path, mode=mode)
        assert reply["error"]["desc"] == f"failed to open file '{path}' (mode: '{mode}'): {why}"
