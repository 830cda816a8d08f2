"""``qgasim-ga``, spawned as qemu-ga is. Expected texts: qemu-ga 7.2.22 of Debian, called the same way."""

import base64
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.real_agent import BLOCKED
from tests.serving import PATIENCE, connect, read_line
from tests.standing_in import (
    COMMAND,
    PROGRAMS,
    ask,
    call,
    connect_when_ready,
    end,
    ending,
    environment,
    log_has,
    log_lines,
    ping,
    spawned,
    start,
    wait_until,
)

DUMP = """\
[general]
daemon=false
method=virtio-serial
path=/dev/virtio-ports/org.qemu.guest_agent.0
pidfile=/var/run/qemu-ga.pid
statedir=/var/run
verbose=false
retry-path=false
block-rpcs=
"""


@pytest.fixture(params=PROGRAMS)
def command(request: pytest.FixtureRequest) -> Any:
    """Return qgasim-ga, and the real program where it is installed."""
    return request.param


def test_the_version_is_printed() -> None:
    assert call("-V").stdout == "QEMU Guest Agent 7.2.22\n"
    assert call("--vers", QGASIM_AGENT="10.0.13").stdout == "QEMU Guest Agent 10.0.13\n"


@pytest.mark.slow
def test_a_scenario_says_its_release_but_the_environment_overrules_it(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text("qgasim: 1\nagent: {release: 8.2.2}\n")
    assert call("-V", QGASIM_SCENARIO=str(path)).stdout == "QEMU Guest Agent 8.2.2\n"
    version = call("-V", QGASIM_SCENARIO=str(path), QGASIM_AGENT="10.0").stdout
    assert version == "QEMU Guest Agent 10.0.13\n"
    wrong = call("-V", QGASIM_AGENT="2.0")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert ": QGASIM_AGENT: agent.release: no such release: '2.0' " in wrong.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("release", "scenario", "request_", "number"),
    [
        # An assertion fails (commit 781f2b3d1e; json-parser.c of 3.1).
        ("4.2", "{}", {"execute": "guest-suspend-ram"}, signal.SIGABRT),
        ("3.1", "{}", {"execute": "guest-ping%"}, signal.SIGABRT),
        # openwrt/packages issue 25209: a segmentation fault.
        (
            "9.1.0",
            "{files: {/sbin/hwclock: {text: \"#!/bin/sh\\necho x\\n\", mode: '755'}}}",
            {"execute": "guest-set-time"},
            signal.SIGSEGV,
        ),
        # With its machine it ends in good order.
        ("7.2", "{}", {"execute": "guest-shutdown"}, 0),
    ],
)
def test_it_ends_by_the_signal_that_ends_the_agent(
    tmp_path: Path, release: str, scenario: str, request_: dict[str, str], number: int
) -> None:
    (tmp_path / "s.yaml").write_text(f"qgasim: 1\nextends: debian-12\nguest: {scenario}\n")
    variables = {"QGASIM_SCENARIO": str(tmp_path / "s.yaml"), "QGASIM_AGENT": release}
    path = tmp_path / "sock"
    process = start("-m", "unix-listen", "-p", path, directory=tmp_path, variables=variables)
    with ending(process), connect_when_ready(path) as sock:
        sock.sendall(json.dumps(request_).encode() + b"\n")
        assert sock.recv(1) == b""
        assert process.wait(PATIENCE) == -number
        assert process.stderr
        assert "Traceback" not in process.stderr.read()


def test_an_interrupt_before_it_takes_signals_ends_it_without_a_word() -> None:
    program = (
        "import os, signal, sys\n"
        "from qgasim import standin\n"
        "standin._dialect = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(standin.main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-x"], "invalid option -- 'x'"),
        (["-m"], "option requires an argument -- 'm'"),
        (["--bogus"], "unrecognized option '--bogus'"),
        (["-a", "guest-ping"], "invalid option -- 'a'"),
    ],
)
def test_a_wrong_option_is_refused_in_getopts_words(arguments: list[str], text: str) -> None:
    done = call(*arguments)
    assert (done.returncode, done.stderr) == (1, f"-c: {text}\n")
    assert done.stdout == "Unknown option, try '-c --help' for more information.\n"


def test_the_config_is_dumped_as_qemu_ga_dumps_it() -> None:
    assert call("-D").stdout == DUMP
    assert "fsfreeze-hook=/etc/qemu/fsfreeze-hook\n" in call("-F", "-D").stdout
    assert call("-D", "-b", "a,b").stdout.endswith("\nblock-rpcs=b,a\n")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("junk\n", "line ?junk? which is not a key-value pair, group, or comment"),
        (
            "[general]\nverbose=maybe\n",
            "key ?verbose? which has a value that cannot be interpreted.",
        ),
    ],
)
def test_a_bad_config_file_is_refused(tmp_path: Path, content: str, text: str) -> None:
    conf = tmp_path / "conf"
    conf.write_text(content)
    done = call("-D", QGA_CONF=str(conf))
    assert done.returncode == 1
    start = r"\n\*\* \(process:\d+\): CRITICAL \*\*: [\d:.]+: "
    message = f"error loading configuration from path: {conf}, Key file contains {text}\n"
    assert re.fullmatch(start + re.escape(message), done.stderr)


@pytest.mark.slow
def test_what_cannot_be_served_is_refused(tmp_path: Path) -> None:
    done = call("-m", "foo", "-p", "/x", "-t", str(tmp_path))
    assert done.returncode == 1
    assert ": critical: unsupported channel method/type: foo\n" in done.stderr
    assert call("-m", "foo").stderr.endswith(": must specify a path for this channel\n")
    # A state directory that is not there ends it with 0.
    done = call("-m", "unix-listen", "-p", str(tmp_path / "s"), "-t", str(tmp_path / "no"))
    assert done.returncode == 0
    assert done.stderr.endswith(": critical: error initializing guest agent\n")


@pytest.mark.slow
def test_handles_are_counted_on_over_two_runs(tmp_path: Path) -> None:
    for handle in (1000, 1001):
        with spawned(tmp_path) as sock:
            assert ask(sock, "guest-file-open", path="/etc/hostname") == {"return": handle}
    assert (tmp_path / "qga.state").read_text() == "[global]\nfd_counter=1002\n"


def test_help_says_what_the_options_of_the_release_are() -> None:
    shown = call("--help").stdout
    assert shown.startswith(
        "Usage: -c [-m <method> -p <path>] [<options>]\nQEMU Guest Agent 7.2.22"
    )
    options = set(re.findall(r"(?m)^  (-\w, --[\w-]+)", shown))
    for release, names in (
        ("5.2", "-b, --blacklist"),
        ("8.2", "-a, --allow-rpcs"),
        ("10.0", "-c, --config"),
    ):
        assert names not in options
        assert names in call("-h", QGASIM_AGENT=release).stdout


def test_a_wrong_option_is_told_twice_where_options_are_read_twice() -> None:
    # qga/main.c of 9.1, config_parse(): once for --config, once for all others.
    done = call("-x", "--bogus", QGASIM_AGENT="9.1")
    twice = ["-c: invalid option -- 'x'", "-c: unrecognized option '--bogus'"]
    assert done.stderr.splitlines() == [*twice, "-c: invalid option -- 'x'"]


@pytest.mark.slow
def test_what_cannot_be_initialized_is_an_error_since_10(tmp_path: Path) -> None:
    # Commit 5b567c21c6 of QEMU.
    arguments = ["-m", "unix-listen", "-p", str(tmp_path / "s"), "-t", str(tmp_path / "no")]
    assert call(*arguments, QGASIM_AGENT="9.1").returncode == 0
    done = call(*arguments, QGASIM_AGENT="10.0")
    assert done.returncode == 1
    assert done.stderr.endswith(": critical: error initializing guest agent\n")


# -- the socket ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_socket_has_the_umasks_mode_and_stays(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "s"
    old = os.umask(0o027)
    try:
        process = start("-m", "unix-listen", "-p", path, directory=tmp_path, command=command)
    finally:
        os.umask(old)
    with ending(process):
        ping(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o750
        end(process)
    assert stat.S_ISSOCK(path.stat().st_mode)


@pytest.mark.slow
def test_a_socket_is_replaced_even_if_it_is_served(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        before = path.stat().st_ino
        process = start("-m", "unix-listen", "-p", path, directory=tmp_path, command=command)
        with ending(process):
            wait_until(lambda: path.exists() and path.stat().st_ino != before)
            with connect_when_ready(path) as sock:
                assert ask(sock, "guest-ping") == {"return": {}}
            end(process)


@pytest.mark.slow
def test_what_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious\n")
    # qemu-ga removes it.
    done = call("-m", "unix-listen", "-p", path, "-t", tmp_path)
    assert done.returncode == 1
    assert (
        f"critical: Failed to unlink socket {path}: Socket operation on non-socket\n" in done.stderr
    )
    assert path.read_text() == "precious\n"


def leave_a_reply_unread(path: Path) -> None:
    """Break the channel: what the agent reads next is ECONNRESET."""
    with connect_when_ready(path) as sock:
        sock.sendall(b'{"execute":"guest-info"}{"execute":"guest-file-open","arguments":{"path":"')
        assert sock.recv(1)


@pytest.mark.slow
def test_a_broken_channel_ends_the_agent(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "s"
    process = start("-m", "unix-listen", "-p", path, "-v", directory=tmp_path, command=command)
    with ending(process):
        leave_a_reply_unread(path)
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert log_lines(log)[-1] == "warning: error reading channel"


@pytest.mark.slow
def test_a_broken_channel_is_opened_again_if_that_is_wanted(tmp_path: Path) -> None:
    # The real one means to, but aborts at the first connect.
    path = tmp_path / "s"
    code = (
        "import sys; from qgasim.standin import endpoints, main; endpoints.RETRY_INTERVAL = 0.05;"
        "sys.exit(main())"
    )
    process = start(
        *("-m", "unix-listen", "-p", path, "-v", "-r"),
        directory=tmp_path,
        command=[sys.executable, "-c", code],
    )
    with ending(process):
        leave_a_reply_unread(path)
        log = log_has(process, "waiting for channel path...")
        with connect_when_ready(path) as sock:
            # It is the same agent, with half a request.
            sock.sendall(b'/etc/hostname"}}')
            assert sock.recv(99) == b'{"return": 1000}\n'
        end(process)
    assert log_lines(log)[-3:] == [
        "warning: error reading channel",
        "warning: agent stopped unexpectedly, restarting...",
        "warning: waiting for channel path...",
    ]


# -- the daemon ------------------------------------------------------------------------------------


@pytest.fixture
def daemon(
    command: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., tuple[int, str, str]]:
    """Start a daemon; give its number (0: it has none), and what was printed when it began."""

    def start_one(*more: str | Path) -> tuple[int, str, str]:
        done = subprocess.run(
            [*command, "-d", "-m", "unix-listen", "-t", tmp_path, *more],
            env=environment(),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0
        pid_file = Path(more[1])
        if not pid_file.parent.exists():
            return 0, done.stdout, done.stderr
        wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
        pid = int(pid_file.read_text())
        request.addfinalizer(lambda: kill(pid, command))
        return pid, done.stdout, done.stderr

    return start_one


def kill(pid: int, command: Sequence[str]) -> None:
    """Kill a daemon, if it is still there."""
    cmdline = Path(f"/proc/{pid}/cmdline")
    if cmdline.exists() and cmdline.read_bytes().startswith(command[0].encode() + b"\0"):
        os.kill(pid, signal.SIGKILL)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.slow
def test_a_daemon_has_a_session_and_a_pid_file(
    daemon: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "s"
    pid_file = tmp_path / "pid"
    pid, out, err = daemon("-f", pid_file, "-p", path, "-l", tmp_path / "log", "-v")
    assert out == ""
    assert re.fullmatch(r"[\d.]+: debug: Guest agent version 7.2.22.* started\n", err)
    with connect_when_ready(path) as sock:
        assert ask(sock, "guest-ping") == {"return": {}}
    wait_until(lambda: "received EOF" in (tmp_path / "log").read_text())
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
    assert status_of(pid)["Umask"] == "0077"
    assert stat.S_IMODE(pid_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pid_file.exists())
    wait_until(lambda: not Path(f"/proc/{pid}/cmdline").exists())
    assert path.exists()
    assert (
        log_lines((tmp_path / "log").read_text())[-1] == "debug: received signal num 15, quitting"
    )


@pytest.mark.slow
def test_two_daemons_do_not_share_a_pid_file(
    daemon: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    first, _, err = daemon("-f", tmp_path / "pid", "-p", tmp_path / "s")
    assert err == ""
    again, _, err = daemon("-f", tmp_path / "pid", "-p", tmp_path / "t")
    # The child says it after the parent has ended well.
    assert log_lines(err) == ["critical: Cannot lock pid file: Resource temporarily unavailable"]
    assert (again, (tmp_path / "t").exists()) == (first, False)


@pytest.mark.slow
def test_a_pid_file_that_cannot_be_written_is_told(
    daemon: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "no" / "pid"
    _, _, err = daemon("-f", path, "-p", tmp_path / "s")
    assert log_lines(err) == [f"critical: Could not create '{path}': No such file or directory"]


@pytest.mark.slow
def test_without_d_there_is_no_pid_file(command: list[str], tmp_path: Path) -> None:
    path, pid_file = tmp_path / "s", tmp_path / "pid"
    process = start(
        "-m", "unix-listen", "-p", path, "-f", pid_file, directory=tmp_path, command=command
    )
    with ending(process):
        ping(path)
        end(process)
    assert not pid_file.exists()


def test_a_pid_file_of_another_process_stays(tmp_path: Path) -> None:
    # qemu-ga removes it whenever it was given -d.
    pid_file = tmp_path / "pid"
    pid_file.write_text("1\n")
    assert call("-d", "-f", pid_file, "-m", "foo").returncode == 1
    assert call("-d", "-f", pid_file, "-D").returncode == 0
    assert pid_file.read_text() == "1\n"


@pytest.mark.slow
def test_since_10_the_parent_knows_whether_there_is_a_channel(tmp_path: Path) -> None:
    # Commit c6f5dd7ac8 of QEMU.
    arguments = [
        "-d",
        "-f",
        "pid",
        "-m",
        "unix-listen",
        "-p",
        f"{tmp_path}/no/s",
        "-t",
        str(tmp_path),
    ]
    for release, status in (("7.2", 0), ("10.0", 1)):
        done = call(*arguments, QGASIM_AGENT=release)
        assert done.returncode == status
        assert ("Failed to bind socket to" in done.stderr) == bool(status)


# -- sockets that systemd opened -------------------------------------------------------------------

#: Have a socket be the files 3 and 4, and say so to the program that this process becomes.
LAUNCH = """
import os, sys
if sys.argv[1]:
    os.dup2(int(sys.argv[1]), 4)
    os.dup2(4, 3)
else:
    os.closerange(3, 20)
os.environ["LISTEN_PID"] = sys.argv[2] or str(os.getpid())
os.execv(sys.argv[3], sys.argv[3:])
"""


def activate(
    command: Sequence[str],
    directory: Path,
    sock: socket.socket | None,
    *arguments: str,
    pid: str = "",
    **variables: str,
) -> subprocess.Popen[str]:
    fds = [] if sock is None else [sock.fileno()]
    launch = [sys.executable, "-c", LAUNCH, "".join(map(str, fds)), pid, *command]
    return start(
        *arguments,
        directory=directory,
        command=launch,
        keep=fds,
        variables={"LISTEN_FDS": "1", **variables},
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [[], ["-m", "foo"], ["-m", "unix-listen", "-p", "other"], ["-m", "isa-serial"]]
)
def test_a_socket_that_is_there_is_served_whatever_the_options_say(
    command: list[str], tmp_path: Path, arguments: list[str]
) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        names = {"LISTEN_FDNAMES": "qga:other"}
        process = activate(command, tmp_path, listener, *arguments, **names)
        with ending(process), connect(str(path)) as sock:
            assert ask(sock, "guest-ping") == {"return": {}}
            end(process)
    assert path.exists()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"LISTEN_FDS": "2"}, "qemu-ga only supports listening on one socket"),
        ({"LISTEN_FDS": "0"}, "must specify a path for this channel"),
        ({"LISTEN_FDS": "x"}, "must specify a path for this channel"),
        ({"LISTEN_FDS": "1x"}, "must specify a path for this channel"),
        ({"pid": "1"}, "must specify a path for this channel"),
    ],
)
def test_announcements_that_are_not_for_one_socket(
    command: list[str], tmp_path: Path, variables: dict[str, str], text: str
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        process = activate(command, tmp_path, listener, "-m", "foo", **variables)
        with ending(process):
            _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert err.endswith(f": {text}\n")


def test_other_sockets_are_not_served(command: list[str], tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        process = activate(command, tmp_path, listener)
        with ending(process):
            _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err.rpartition(": ")[2]) == (1, "unsupported listen fd type\n")


def test_a_socket_that_is_not_there_is_told(command: list[str], tmp_path: Path) -> None:
    process = activate(command, tmp_path, None, "-m", "foo")
    with ending(process):
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    text = "Socket activation failed: invalid file descriptor fd = 3: Bad file descriptor\n"
    assert err == text


# -- the state directory ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "handle"),
    [("2000", 2000), ("abc", 0), ("99999999999", 0), ("7 ", 7), ("2147483648", 0)],
)
def test_the_counter_is_read_as_glib_reads_integers(
    command: list[str], tmp_path: Path, value: str, handle: int
) -> None:
    (tmp_path / "qga.state").write_text(f"[global]\nfd_counter={value}\n")
    path = tmp_path / "s"
    process = start("-m", "unix-listen", "-p", path, directory=tmp_path, command=command)
    with ending(process):
        with connect_when_ready(path) as sock:
            assert ask(sock, "guest-file-open", path="/etc/hostname") == {"return": handle}
        end(process)
    assert (tmp_path / "qga.state").read_text() == f"[global]\nfd_counter={handle + 1}\n"


@pytest.mark.slow
def test_a_frozen_agent_is_frozen_when_it_is_started_again(tmp_path: Path) -> None:
    path, marker, log = tmp_path / "s", tmp_path / "qga.state.isfrozen", tmp_path / "log"
    arguments = ["-m", "unix-listen", "-p", str(path), "-l", str(log), "-v"]
    process = start(*arguments, directory=tmp_path)
    with ending(process):
        with connect_when_ready(path) as sock:
            frozen = ask(sock, "guest-fsfreeze-freeze")["return"]
            assert frozen > 0
            assert stat.S_IMODE(marker.stat().st_mode) == 0o600
            process.terminate()
            # A frozen agent takes no signal (qga/main.c, quit_handler()).
            assert ask(sock, "guest-fsfreeze-status") == {"return": "frozen"}
        process.kill()
    assert log_lines(log.read_text())[-1] == "warning: disabling logging due to filesystem freeze"
    log.unlink()

    process = start(*arguments, directory=tmp_path)
    with ending(process):
        with connect_when_ready(path) as sock:
            assert ask(sock, "guest-fsfreeze-status") == {"return": "frozen"}
            refused = ask(sock, "guest-get-time")["error"]["desc"]
            assert refused.endswith("has been disabled: the agent is in frozen state")
            assert not log.exists()
            # How many were really thawed (tests/golden/7.2/fsfreeze.jsonl, outside-frozen-before).
            assert ask(sock, "guest-fsfreeze-thaw") == {"return": frozen}
            assert not marker.exists()
            assert "return" in ask(sock, "guest-get-time")
        err = end(process)
    assert "WARNING **: " in err
    assert f"manually unfrozen and the file {marker} is removed\n" in err
    lines = log_lines(log.read_text())
    assert lines[0] == "warning: logging re-enabled due to filesystem unfreeze"
    assert "debug: enabling command: guest-get-time" in lines


@pytest.mark.slow
def test_a_marker_that_the_agent_did_not_make_thaws_nothing(tmp_path: Path) -> None:
    (tmp_path / "qga.state.isfrozen").touch()
    with spawned(tmp_path) as sock:
        assert ask(sock, "guest-fsfreeze-status") == {"return": "frozen"}
        assert not (tmp_path / "qga.state").exists()
        assert ask(sock, "guest-fsfreeze-thaw") == {"return": 0}
        assert ask(sock, "guest-file-open", path="/etc/hostname") == {"return": 1000}


def test_a_frozen_daemon_writes_its_pid_file_when_it_thaws(tmp_path: Path) -> None:
    path, pid_file = tmp_path / "s", tmp_path / "pid"
    (tmp_path / "qga.state.isfrozen").touch()
    done = call("-d", "-m", "unix-listen", "-p", path, "-t", tmp_path, "-f", pid_file)
    assert done.returncode == 0
    with connect_when_ready(path) as sock:
        assert not pid_file.exists()
        assert ask(sock, "guest-fsfreeze-thaw") == {"return": 0}
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pid_file.exists())


# -- the log ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_log_is_that_of_the_real_one(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "s"
    process = start(
        *("-m", "unix-listen", "-p", path, "-v", "-l", "log"), directory=tmp_path, command=command
    )
    with ending(process):
        with connect_when_ready(path) as sock:
            assert ask(sock, "guest-ping") == {"return": {}}
            sock.sendall(b'{"execute":"nope"}xx\n')
            assert b"CommandNotFound" in read_line(sock)
            assert b"JSON parse error" in read_line(sock)
        wait_until(lambda: "received EOF" in (tmp_path / "log").read_text())
        end(process)
    assert log_lines((tmp_path / "log").read_text()) == [
        'debug: read data, count: 42, data: {"execute": "guest-ping", "arguments": {}}',
        "debug: process_event: called",
        "debug: processing command",
        "debug: sending data, count: 15",
        # The newline is a part of the data.
        'debug: read data, count: 21, data: {"execute":"nope"}xx',
        "",
        "debug: process_event: called",
        "debug: processing command",
        "debug: sending data, count: 87",
        # What is no JSON is no command.
        "debug: process_event: called",
        "debug: sending data, count: 87",
        "debug: received EOF",
        "debug: received signal num 15, quitting",
    ]


@pytest.mark.slow
def test_the_log_says_what_is_blocked(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "s"
    options = [] if command != COMMAND else ["-b", BLOCKED]
    options += [
        "-m",
        "unix-listen",
        "-p",
        str(path),
        "-v",
        "-l",
        "log",
        "-b",
        "nonsense,guest-get-time",
    ]
    process = start(*options, directory=tmp_path, command=command)
    with ending(process):
        ping(path)
        end(process)
    lines = (tmp_path / "log").read_text().splitlines()
    found = [line.rpartition(": ")[2] for line in lines if "disabling command: " in line]
    # In the order in which the lists are kept, and then what is another platform's.
    blocked = [*reversed(BLOCKED.split(",")), "guest-get-time", "nonsense", "guest-get-devices"]
    assert found == blocked


# -- a folder of the host --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_shared_folder_is_named_in_the_log_and_holds_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    process = start(
        *("-m", "unix-listen", "-p", tmp_path / "sock"),
        directory=tmp_path,
        variables={"QGASIM_SHARE": "out=/mnt/out"},
    )
    with ending(process):
        with connect_when_ready(tmp_path / "sock") as sock:
            handle = ask(sock, "guest-file-open", path="/mnt/out/x", mode="w")["return"]
            ask(sock, "guest-file-write", handle=handle, **{"buf-b64": "aGVsbG8="})
            ask(sock, "guest-file-close", handle=handle)
            # It was not started in the folder: its own relative paths are not there.
            assert "error" in ask(sock, "guest-file-open", path="x")
        assert log_lines(end(process)) == ["qgasim: sharing out as /mnt/out"]
    assert (tmp_path / "out" / "x").read_text() == "hello"


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "below"), [("..", "t"), (".", "")])
def test_relative_paths_begin_where_it_was_started_if_that_is_shared(
    folder: str, below: str, tmp_path: Path
) -> None:
    directory = tmp_path / "t"
    directory.mkdir()
    (directory / "x").write_text("")
    with spawned(directory, QGASIM_SHARE=f"{folder}=/mnt") as sock:
        assert ask(sock, "guest-file-open", path="x") == {"return": 1000}
        assert ask(sock, "guest-file-open", path=f"/mnt/{below}/x") == {"return": 1001}
        pid = ask(sock, "guest-exec", path="pwd", **{"capture-output": True})["return"]["pid"]
        status: dict[str, Any] = {}
        while not status.get("exited"):
            status = ask(sock, "guest-exec-status", pid=pid)["return"]
        said = base64.b64decode(status["out-data"]).decode()
        assert said == f"{Path('/mnt') / below}\n"


@pytest.mark.slow
def test_a_folder_that_cannot_be_shared_is_told(tmp_path: Path) -> None:
    arguments = ("-m", "unix-listen", "-p", tmp_path / "sock", "-t", tmp_path)
    done = call(*arguments, QGASIM_SHARE=f"{tmp_path}/no=/mnt")
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"share {tmp_path}/no=/mnt: {tmp_path}/no: No such file or directory\n"
    )
    assert "not a shared folder: 'out'" in call(*arguments, QGASIM_SHARE="out").stderr
