"""What a client leaves behind in a guest is counted, and what the agent reads is bounded."""

import base64
import errno
import os
from pathlib import Path

import pytest

from qgasim.commands import files
from qgasim.commands.files import FETCH_LIMIT, HANDLE_LIMIT
from qgasim.errors import KernelError
from qgasim.guest.files.files import NODE_SIZE, SETTINGS_LIMIT
from qgasim.guest.files.nodes import Regular
from qgasim.guest.files.tree import PATH_MAX
from qgasim.guest.processes.process import MEMORY_LIMIT
from qgasim.guest.system.power import EVENTS_KEPT
from qgasim.userland.programs.ip import ADDRESS_LIMIT
from tests.serving import Course, error

HUGE = 10**13


def make_sparse(course: Course, path: str) -> None:
    """Make a file of 10 TB with one byte at its end, as a client does by a seek and a write."""
    course.guest.files.remove_if_there(path)
    handle = course.say("guest-file-open", path=path, mode="w")["return"]
    course.say("guest-file-seek", handle=handle, offset=HUGE, whence="set")
    course.say("guest-file-write", handle=handle, buf_b64="AA==")
    assert course.say("guest-file-close", handle=handle) == {"return": {}}


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many bytes of files are read at once."""
    noted: list[int] = []
    read = Regular.read

    def note(self: Regular, position: int, count: int) -> bytes:
        data = read(self, position, count)
        noted.append(len(data))
        assert sum(noted) < 1 << 30
        return data

    monkeypatch.setattr(Regular, "read", note)
    return noted


@pytest.mark.parametrize(
    ("path", "commands"),
    [
        ("/etc/passwd", ["guest-ssh-get-authorized-keys", "guest-ssh-add-authorized-keys"]),
        ("/root/.ssh/authorized_keys", ["guest-ssh-get-authorized-keys"]),
        ("/etc/os-release", ["guest-get-osinfo"]),
        ("/etc/localtime", ["guest-get-timezone"]),
        ("/etc/fstab", ["guest-get-fsinfo"]),
        ("/bin/true", ["guest-exec"]),
        ("/sbin/hwclock", ["guest-set-time"]),
        ("/etc/shadow", ["guest-set-user-password"]),
    ],
)
def test_the_agent_takes_no_more_of_a_file_than_it_needs(
    path: str, commands: list[str], read_bytes: list[int]
) -> None:
    course = Course("debian-12")
    course.guest.files.makedirs("/root/.ssh")
    make_sparse(course, path)
    if path.count("bin"):
        course.guest.files.chmod(path, 0o755)
    arguments: dict[str, dict[str, object]] = {
        "guest-ssh-get-authorized-keys": {"username": "root"},
        "guest-ssh-add-authorized-keys": {"username": "root", "keys": ["ssh-rsa A"]},
        "guest-exec": {"path": "/bin/true"},
        "guest-set-user-password": {"username": "root", "password": "eA==", "crypted": False},
    }
    for command in commands:
        assert course.say(command, **arguments.get(command, {}))
    course.advance(10)
    # What is no program is a script: the shell reads it, and has no more memory than other programs.
    assert sum(read_bytes) <= (2 * MEMORY_LIMIT if "bin" in path else 2 * SETTINGS_LIMIT)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(read_bytes: list[int]) -> None:
    course = Course("debian-12")
    make_sparse(course, "/x")
    files = course.guest.files
    with pytest.raises(KernelError, match="File too large"):
        files.read("/x")
    assert files.read_head(files.locate("/x"), 3) == bytes(3)
    assert sum(read_bytes) == 3
    with pytest.raises(KernelError, match="File too large"):
        files.read("/dev/zero", limit=1 << 21)
    files.write("/y", b"abc")
    assert files.read("/y", limit=3) == b"abc"
    with pytest.raises(KernelError, match="File too large"):
        files.read("/y", limit=2)


def test_what_the_agent_would_wait_for_is_refused() -> None:
    files = Course("debian-12").guest.files
    files.mkfifo("/fifo")
    assert files.read("/fifo") == b""
    with pytest.raises(KernelError, match="No such device or address"):
        files.write("/fifo", b"x")
    writer = files.open("/fifo", os.O_RDWR)
    with pytest.raises(KernelError) as raised:
        files.read("/fifo")
    assert raised.value.errno == errno.EAGAIN
    writer.close()


@pytest.mark.parametrize("scenario", ["debian-12", "windows-11"])
def test_an_old_agent_ends_when_it_reads_more_than_there_is_memory_for(
    scenario: str, read_bytes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FETCH_LIMIT", 4 << 20)
    course = Course(scenario, release="4.2")
    path = "C:\\x" if course.guest.is_windows else "/x"
    handle = course.say("guest-file-open", path=path, mode="w+")["return"]
    course.say("guest-file-seek", handle=handle, offset=1 << 40, whence=0)
    course.say("guest-file-write", handle=handle, buf_b64="eA==")
    course.say("guest-file-seek", handle=handle, offset=0, whence=0)
    assert course.say("guest-file-read", handle=handle, count=1 << 20)["return"]["count"] == 1 << 20
    assert course.say("guest-file-read", handle=handle, count=(1 << 32) - 2) is None
    # It has ended; another is started.
    assert not course.agent.state.handles
    assert sum(read_bytes) <= 6 << 20


@pytest.mark.parametrize("scenario", ["debian-12", "windows-11"])
def test_open_files_are_limited(scenario: str) -> None:
    course = Course(scenario)
    path = "C:\\x" if course.guest.is_windows else "/etc/passwd"
    if course.guest.is_windows:
        course.guest.files.write("/C:/x", b"x")
    first = course.say("guest-file-open", path=path)["return"]
    for _ in range(HANDLE_LIMIT - 1):
        assert "return" in course.say("guest-file-open", path=path)
    assert "error" in course.say("guest-file-open", path=path)
    if not course.guest.is_windows:
        said = course.say("guest-file-open", path="/new", mode="w")
        assert error(said) == "failed to open file '/new' (mode: 'w'): Too many open files"
        assert not course.guest.files.exists("/new")
    course.say("guest-file-close", handle=first)
    assert "return" in course.say("guest-file-open", path=path)


def test_the_targets_of_links_are_limited_and_counted() -> None:
    files = Course("debian-12").guest.files
    budget = files.mounts[0].volume.budget
    before = budget.left
    for target, text in (("x" * PATH_MAX, "File name too long"), ("", "No such file")):
        with pytest.raises(KernelError, match=text):
            files.symlink(target, "/tmp/link")
    assert budget.left == before
    files.symlink("x" * (PATH_MAX - 1), "/tmp/link")
    assert budget.left == before - NODE_SIZE - PATH_MAX + 1
    files.unlink("/tmp/link")
    assert budget.left == before


def test_a_program_that_has_ended_keeps_no_arguments() -> None:
    course = Course("debian-12")
    long = "x" * 100_000
    pid = course.say("guest-exec", path="/bin/true", arg=[long], env=[long])["return"]["pid"]
    course.advance(1)
    zombie = course.guest.processes.table[pid]
    assert zombie.exit is not None
    assert (zombie.argv, zombie.env) == (["/bin/true"], [])


def test_only_the_latest_change_of_power_is_planned() -> None:
    course = Course("debian-12")
    for _ in range(50):
        course.guest.power.shut_down("powerdown", 10**12)
    assert len(course.guest._calls) == 1
    course.guest.power.cancel()
    assert course.guest.next_call() is None
    for _ in range(EVENTS_KEPT):
        course.guest.power.pause(None)
        course.guest.power.resume()
    course.guest.power.sleep("ram")
    course.advance(1)
    assert course.guest.power.events[-1] == "SUSPEND"


def test_addresses_do_not_pile_up() -> None:
    course = Course("debian-12")
    nic = course.guest.nics[1]
    nic.addresses = [f"10.{n >> 8}.{n & 255}.1/8" for n in range(ADDRESS_LIMIT)]
    arguments = ["addr", "add", "10.250.0.1/8", "dev", nic.name]
    pid = course.say("guest-exec", path="/sbin/ip", arg=arguments, capture_output=True)["return"][
        "pid"
    ]
    course.advance(60)
    status = course.say("guest-exec-status", pid=pid)["return"]
    assert status["exitcode"] == 2
    assert base64.b64decode(status["err-data"]) == b"RTNETLINK answers: No buffer space available\n"
    assert len(nic.addresses) == ADDRESS_LIMIT


def test_a_limit_is_said_where_it_is_promised() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "design.md").read_text()
    assert f"{SETTINGS_LIMIT >> 20} MiB" in page
    assert f"{HANDLE_LIMIT:,}" in page
    security = (Path(__file__).parent.parent.parent / "SECURITY.md").read_text()
    assert f"more than {FETCH_LIMIT >> 20} MiB" in security
