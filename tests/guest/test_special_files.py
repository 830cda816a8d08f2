"""Devices, and the files of /proc and /sys, as the agent's clients open them.

The expectations are Linux 6.1's: fs/proc/inode.c, fs/kernfs/file.c and dir.c, drivers/tty/tty_io.c,
block/fops.c.
"""

from typing import Any

import pytest

from tests.serving import Course, request

LAB = "lab-vm"


def ask(course: Course, command: str, **arguments: Any) -> str:
    return course.send(request(f"guest-{command}", **arguments)).decode()


def open_file(course: Course, path: str, mode: str = "r") -> int:
    reply = ask(course, "file-open", path=path, mode=mode)
    assert reply.startswith('{"return": '), reply
    return int(reply[11:-2])


@pytest.mark.parametrize(
    ("path", "mode", "text"),
    [
        ("/proc/new", "w", "No such file or directory"),
        ("/sys/new", "w", "Permission denied"),
        ("/sys/power/new", "a", "Permission denied"),
        ("/sys/class/net/eth0/address", "w", "Permission denied"),
        ("/sys/class/net/eth0/address", "r+", "Permission denied"),
        ("/dev/tty", "r", "No such device or address"),
        ("/dev/tty", "w", "No such device or address"),
    ],
)
def test_what_the_kernel_does_not_open(path: str, mode: str, text: str) -> None:
    reply = ask(Course(LAB), "file-open", path=path, mode=mode)
    assert f"failed to open file '{path}' (mode: '{mode}'): {text}\"" in reply


def test_a_file_of_proc_opens_for_writing_and_refuses_what_is_written() -> None:
    course = Course(LAB)
    handle = open_file(course, "/proc/version", "w")
    ask(course, "file-write", handle=handle, buf_b64="eA==")
    reply = ask(course, "file-flush", handle=handle)
    assert "failed to flush file: Input/output error" in reply


def test_a_disk_has_its_size_and_reads_as_zeros() -> None:
    course = Course(LAB)
    handle = open_file(course, "/dev/sda1")
    assert '"buf-b64": "AAAAAA==", "eof": false' in ask(course, "file-read", handle=handle, count=4)
    size = 24 << 20
    assert f'"position": {size}' in ask(course, "file-seek", handle=handle, offset=0, whence="end")
    assert '"count": 0, "buf-b64": "", "eof": true' in ask(course, "file-read", handle=handle)
    reply = ask(course, "file-seek", handle=handle, offset=size + 1, whence="set")
    assert "failed to seek file: Invalid argument" in reply


def test_a_disk_is_full_at_its_end() -> None:
    course = Course(LAB)
    handle = open_file(course, "/dev/sda1", "r+")
    ask(course, "file-seek", handle=handle, offset=0, whence="end")
    ask(course, "file-write", handle=handle, buf_b64="eA==")
    reply = ask(course, "file-flush", handle=handle)
    assert "failed to flush file: No space left on device" in reply


def run(course: Course, script: str) -> bytes:
    """Run a script in the guest; give its standard error."""
    files = course.guest.files
    ask(course, "exec", path="sh", arg=["-c", f"({script}) 2> /tmp/errors"])
    course.advance(1)
    return files.read("/tmp/errors")


def test_processors_and_memory_are_switched_by_their_files() -> None:
    course = Course(LAB)
    sys = "/sys/devices/system"
    assert run(course, f"echo 0 > {sys}/cpu/cpu1/online") == b""
    assert '"online": false, "can-offline": true, "logical-id": 1' in ask(course, "get-vcpus")
    assert run(course, f"echo offline > {sys}/memory/memory32/state") == b""
    assert '"online": false, "can-offline": true, "phys-index": 32' in ask(
        course, "get-memory-blocks"
    )
    assert run(course, f"echo online > {sys}/memory/memory32/state") == b""
    assert '"online": false' not in ask(course, "get-memory-blocks")
    for file, word in (
        ("cpu/cpu1/online", "2"),
        ("memory/memory32/state", "off"),
        # As the recording memory/offline-0 has it.
        ("memory/memory0/state", "offline"),
    ):
        assert b"Invalid argument" in run(course, f"echo {word} > {sys}/{file}")
