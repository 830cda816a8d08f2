"""The state directory and the pid file of qemu-ga: qga/main.c and util/oslib-posix.c of QEMU 7.2."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qgasim.agent import FIRST_HANDLE
from qgasim.standin.daemon import PidFile
from qgasim.standin.log import Log
from qgasim.standin.narration import Narration
from qgasim.standin.state import NoState, StateDirectory
from tests.serving import Course, request

Messages = list[tuple[str, str]]


class Noted(Log):
    """A log that keeps its messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: Messages = []

    def __call__(self, level: str, text: str) -> None:
        self.messages.append((level, text))


@pytest.fixture
def log() -> Noted:
    return Noted()


# read_persistent_state() and write_persistent_state().


def test_a_new_state_file_begins_with_the_first_handle(tmp_path: Path, log: Noted) -> None:
    state = StateDirectory(str(tmp_path), log)
    assert state.read(is_frozen=False) == FIRST_HANDLE
    # As g_key_file_to_data() writes it.
    assert (tmp_path / "qga.state").read_text() == f"[global]\nfd_counter={FIRST_HANDLE}\n"
    assert log.messages == []


def test_a_frozen_agent_begins_no_state_file(tmp_path: Path, log: Noted) -> None:
    assert StateDirectory(str(tmp_path), log).read(is_frozen=True) == FIRST_HANDLE
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_is_read_again(tmp_path: Path, log: Noted) -> None:
    state = StateDirectory(str(tmp_path), log)
    state.write(1234)
    assert state.read(is_frozen=False) == 1234
    assert [path.name for path in tmp_path.iterdir()] == ["qga.state"]


@pytest.mark.parametrize(
    ("content", "handle"),
    [
        ("[global]\n", FIRST_HANDLE),
        ("[other]\nfd_counter=5\n", FIRST_HANDLE),
        ("[global]\nfd_counter=5\n", 5),
        # g_key_file_get_integer(): 0 where there is no integer, or one that is no gint.
        ("[global]\nfd_counter=five\n", 0),
        ("[global]\nfd_counter=2147483647\n", 2147483647),
        ("[global]\nfd_counter=2147483648\n", 0),
    ],
)
def test_the_counter_of_a_state_file(tmp_path: Path, log: Noted, content: str, handle: int) -> None:
    (tmp_path / "qga.state").write_text(content)
    assert StateDirectory(str(tmp_path), log).read(is_frozen=False) == handle


def test_a_state_file_that_is_none_ends_the_agent(tmp_path: Path, log: Noted) -> None:
    (tmp_path / "qga.state").write_text("rubbish\n")
    with pytest.raises(NoState):
        StateDirectory(str(tmp_path), log).read(is_frozen=False)
    ((level, text),) = log.messages
    assert level == "critical"
    assert text.startswith(f"error loading persistent state from path: {tmp_path}/qga.state, ")


def test_a_state_file_that_cannot_be_read_ends_the_agent(tmp_path: Path, log: Noted) -> None:
    (tmp_path / "qga.state").mkdir()
    with pytest.raises(NoState):
        StateDirectory(str(tmp_path), log).read(is_frozen=False)
    text = f"unable to access state file at path {tmp_path}/qga.state: Is a directory"
    assert log.messages == [("critical", text)]


def test_a_state_file_that_cannot_be_made_ends_the_agent(tmp_path: Path, log: Noted) -> None:
    with pytest.raises(NoState):
        StateDirectory(str(tmp_path / "nowhere"), log).read(is_frozen=False)
    assert log.messages[0][1].startswith(
        f"failed to write persistent state to {tmp_path}/nowhere/qga.state: Failed to create file "
    )
    assert log.messages[1:] == [
        ("critical", f"unable to create state file at path {tmp_path}/nowhere/qga.state")
    ]


# check_is_frozen(), ga_set_frozen() and ga_unset_frozen().


def test_nothing_is_frozen_without_a_marker(tmp_path: Path, log: Noted) -> None:
    assert StateDirectory(str(tmp_path), log).find_frozen() is None
    assert log.messages == []


def test_what_was_frozen_is_found_by_the_next_agent(tmp_path: Path, log: Noted) -> None:
    state = StateDirectory(str(tmp_path), log)
    state.mark_frozen(["/", "/mnt/a b"])
    marker = tmp_path / "qga.state.isfrozen"
    assert stat.S_IMODE(marker.stat().st_mode) == 0o600
    assert state.find_frozen() == ["/", "/mnt/a b"]
    ((level, text),) = log.messages
    assert level == "warning"
    assert text.startswith("previous instance appears to have exited with frozen filesystems.")
    state.mark_thawed()
    assert not marker.exists()
    assert state.find_frozen() is None


def test_the_empty_marker_of_the_real_agent_says_that_something_is_frozen(
    tmp_path: Path, log: Noted
) -> None:
    (tmp_path / "qga.state.isfrozen").touch()
    assert StateDirectory(str(tmp_path), log).find_frozen() == []


def test_a_marker_that_cannot_be_read_counts_as_frozen(tmp_path: Path, log: Noted) -> None:
    (tmp_path / "qga.state.isfrozen").mkdir()
    assert StateDirectory(str(tmp_path), log).find_frozen() == []
    assert [level for level, _ in log.messages] == ["critical"]


def test_a_marker_that_cannot_be_written_or_removed_is_a_warning(
    tmp_path: Path, log: Noted
) -> None:
    marker = tmp_path / "nowhere" / "qga.state.isfrozen"
    state = StateDirectory(str(tmp_path / "nowhere"), log)
    state.mark_frozen(["/"])
    state.mark_thawed()
    why = "No such file or directory"
    hint = "fsfreeze may not function properly"
    assert log.messages == [
        ("warning", f"unable to open/create file {marker}: {why}"),
        ("warning", f"unable to create {marker}, {hint}"),
        ("warning", f"unable to delete file: {marker}: {why}"),
        ("warning", f"unable to delete {marker}, {hint}"),
    ]


# ga_set_frozen(), ga_unset_frozen() and process_event(), as the log tells them.


def test_a_freeze_is_told_and_kept_until_the_thaw(tmp_path: Path, log: Noted) -> None:
    course = Course("lab-vm")
    narration = Narration(course.simulation, log, StateDirectory(str(tmp_path), log))
    deferred: list[str] = []
    narration.delayed.append(lambda: deferred.append("done"))
    log.is_verbose = True
    course.send(request("guest-fsfreeze-freeze"))
    assert log.messages[:2] == [
        ("debug", "process_event: called"),
        ("debug", "processing command"),
    ]
    disabled = {text for _, text in log.messages if text.startswith("disabling command: ")}
    # qga/commands-posix.c, ga_freeze_allowlist: these go on, all others do not.
    assert "disabling command: guest-exec" in disabled
    assert "disabling command: guest-fsfreeze-thaw" not in disabled
    assert ("warning", "disabling logging due to filesystem freeze") in log.messages
    was_suspended = log.is_suspended
    frozen = StateDirectory(str(tmp_path), Noted()).find_frozen()
    assert frozen is not None
    assert "/" in frozen
    assert deferred == []

    log.messages.clear()
    course.send(request("guest-fsfreeze-thaw"))
    assert (was_suspended, log.is_suspended) == (True, False)
    assert deferred == ["done"]
    assert ("warning", "logging re-enabled due to filesystem unfreeze") in log.messages
    enabled = {text for _, text in log.messages if text.startswith("enabling command: ")}
    # Those that Linux does not have stay blocked (ga_command_init_blockedrpcs()).
    assert {text.removeprefix("disabling ") for text in disabled} == {
        "command: guest-get-devices",
        *(text.removeprefix("enabling ") for text in enabled),
    }
    assert list(tmp_path.iterdir()) == []


def test_a_request_that_is_none_is_not_processed(tmp_path: Path, log: Noted) -> None:
    course = Course("lab-vm")
    Narration(course.simulation, log, StateDirectory(str(tmp_path), log))
    course.send(b"rubbish\n")
    assert log.messages == []
    log.is_verbose = True
    reply = course.send(b"rubbish\n")
    assert log.messages == [
        ("debug", "process_event: called"),
        ("debug", f"sending data, count: {len(reply)}"),
    ]


# qemu_write_pidfile() and become_daemon().


def test_a_pid_file_has_the_number_and_goes_again(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("a longer text than before\n")
    pid_file = PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    pid_file.remove()
    assert not path.exists()
    pid_file.remove()


def test_a_pid_file_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "pid"
    with pytest.raises(OSError, match=f"^Could not create '{path}': No such file or directory$"):
        PidFile(str(path))


def test_a_pid_file_that_cannot_be_written_says_why() -> None:
    # It cannot be cut: ftruncate(2) of a device is EINVAL.
    with pytest.raises(OSError, match=r"^Failed to write pid file: Invalid argument$"):
        PidFile("/dev/full")


def test_a_pid_file_is_locked_as_long_as_its_process_lives(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    script = "import sys; from qgasim.standin.daemon import PidFile; PidFile(sys.argv[1])"
    PidFile(str(path))
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    # lockf(3) of a file that another has locked.
    assert done.stderr.endswith("Cannot lock pid file: Resource temporarily unavailable\n")
    assert path.read_text() == f"{os.getpid()}\n"


# Coverage does not see the rest of a function that forks: the second case shows it as a call that
# finds itself in the child.
@pytest.mark.parametrize("before", ["", "os.fork = lambda: 0"])
def test_a_daemon_leaves_its_session_directory_and_streams(tmp_path: Path, before: str) -> None:
    script = (
        "import os, sys\n"
        f"{before}\n"
        "from qgasim.standin.daemon import become_daemon\n"
        "pid_file = become_daemon('pid')\n"
        "facts = [os.getsid(0) == os.getpid(), os.getcwd(), os.readlink('/proc/self/fd/1')]\n"
        "print('lost')\n"
        "with open(sys.argv[1], 'w') as file:\n"
        "    file.write(f'{facts} {os.umask(0):o}\\n')\n"
    )
    facts = tmp_path / "facts"
    done = subprocess.run(
        [sys.executable, "-c", script, str(facts)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    until = time.monotonic() + 60
    while not (facts.exists() and facts.read_text().endswith("\n")):
        assert time.monotonic() < until, "the daemon has written nothing"
        time.sleep(0.01)
    assert facts.read_text() == "[True, '/', '/dev/null'] 77\n"
    pid = int((tmp_path / "pid").read_text())
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < until, "the daemon has not ended"
        time.sleep(0.01)
