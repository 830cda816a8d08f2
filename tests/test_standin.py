"""``qgasim-ga``, spawned as qemu-ga is. Expected texts: qemu-ga 7.2.22 of Debian, called the same way."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serving import PATIENCE, connect, read_line

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "import sys; from qgasim.standin import main; sys.exit(main())"]
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


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **more}


def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@contextmanager
def spawned(directory: Path, *arguments: str, **more: str) -> Iterator[socket.socket]:
    """Spawn it as QEMU's tests/unit/test-qga does; it must end with 0."""
    path = directory / "sock"
    process = subprocess.Popen(
        [*COMMAND, "-m", "unix-listen", "-t", str(directory), "-p", str(path), *arguments],
        env=environment(**more),
        cwd=directory,
    )
    try:
        until = time.monotonic() + PATIENCE
        while not path.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        with connect(str(path)) as sock:
            yield sock
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def ask(sock: socket.socket, command: str, **arguments: Any) -> Any:
    sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
    return json.loads(read_line(sock))


def test_the_version_is_printed() -> None:
    assert call("-V").stdout == "QEMU Guest Agent 7.2.22\n"
    assert call("--vers", QGASIM_AGENT="10.0.13").stdout == "QEMU Guest Agent 10.0.13\n"


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


def test_the_config_file_is_read(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    # tests/data/test-qga-config has these keys.
    conf.write_text(
        "[general]\nmethod=virtio-serial\npath=/path/to/port\npidfile=/var/foo/qemu-ga.pid\n"
        "statedir=/var/state\nverbose=true\nblock-rpcs=guest-ping;guest-get-time\n"
    )
    dump = call("-D", QGA_CONF=str(conf)).stdout
    for line in conf.read_text().splitlines():
        assert line in dump.splitlines()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("junk\n", "line “junk” which is not a key-value pair, group, or comment"),
        (
            "[general]\nverbose=maybe\n",
            "key “verbose” which has a value that cannot be interpreted.",
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


def test_what_cannot_be_served_is_refused(tmp_path: Path) -> None:
    done = call("-m", "foo", "-p", "/x", "-t", str(tmp_path))
    assert done.returncode == 1
    assert ": critical: unsupported channel method/type: foo\n" in done.stderr
    assert call("-m", "foo").stderr.endswith(": must specify a path for this channel\n")
    # A state directory that is not there ends it with 0.
    done = call("-m", "unix-listen", "-p", str(tmp_path / "s"), "-t", str(tmp_path / "no"))
    assert done.returncode == 0
    assert done.stderr.endswith(": critical: error initializing guest agent\n")


def test_handles_are_counted_on_over_two_runs(tmp_path: Path) -> None:
    for handle in (1000, 1001):
        with spawned(tmp_path) as sock:
            assert ask(sock, "guest-file-open", path="/etc/hostname") == {"return": handle}
    assert (tmp_path / "qga.state").read_text() == "[global]\nfd_counter=1002\n"


def test_commands_are_blocked_and_allowed(tmp_path: Path) -> None:
    with spawned(tmp_path, "-b", "guest-ping,guest-get-time") as sock:
        assert "has been disabled" in ask(sock, "guest-get-time")["error"]["desc"]
        assert "return" in ask(sock, "guest-get-fsinfo")
    with spawned(tmp_path, "-a", "guest-ping", QGASIM_AGENT="10.0") as sock:
        assert ask(sock, "guest-ping") == {"return": {}}
        assert "has been disabled" in ask(sock, "guest-get-fsinfo")["error"]["desc"]


def test_the_hosts_file_of_qga_os_release_is_shown(tmp_path: Path) -> None:
    (tmp_path / "release").write_text('ID=qemu-ga-test\nNAME="QEMU-GA"\n')
    with spawned(tmp_path, QGA_OS_RELEASE=str(tmp_path / "release")) as sock:
        info = ask(sock, "guest-get-osinfo")["return"]
    assert (info["id"], info["name"]) == ("qemu-ga-test", "QEMU-GA")


def test_the_shell_of_test_qga_runs(tmp_path: Path) -> None:
    script = (
        "for i in $(seq 4); do if (( $i % 2 )); then echo stdout; else echo stderr 1>&2; fi; done;"
    )
    with spawned(tmp_path, QGASIM_AGENT="10.0") as sock:
        reply = ask(
            sock, "guest-exec", path="bash", arg=["-c", script], **{"capture-output": "merged"}
        )
        status: dict[str, Any] = {"exited": False}
        until = time.monotonic() + PATIENCE
        while not status["exited"] and time.monotonic() < until:
            status = ask(sock, "guest-exec-status", pid=reply["return"]["pid"])["return"]
    # stdout, stderr, stdout, stderr
    assert status["out-data"] == "c3Rkb3V0CnN0ZGVycgpzdGRvdXQKc3RkZXJyCg=="
