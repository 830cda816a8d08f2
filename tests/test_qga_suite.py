"""What QEMU's own tests/unit/test-qga asks of an agent, asked of ``qgasim-ga``, which is spawned as there.

Each test does what the subtest of its name does in the releases named (QEMU 5.2 to 11): one agent is
spawned in a directory of its own, with its socket there, and must end with 0 when it is told to.
"""

import base64
import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import PATIENCE, read_line
from tests.standing_in import call, connect_when_ready, end, ending, spawned, start

RELEASES = [
    pytest.param(release, marks=() if release in {"5.2", "11.1"} else pytest.mark.slow)
    for release in ("5.2", "7.2", "9.1", "10.0", "11.1")
]
HELLO = b"Hello World!\n\0"
ENCODED = base64.b64encode(HELLO).decode()
LOOP = "for i in $(seq 4); do if (( $i % 2 )); then echo stdout; else echo stderr 1>&2; fi; done;"
CONFIG = """\
[general]
daemon=false
method=virtio-serial
path=/path/to/org.qemu.guest_agent.0
pidfile=/var/foo/qemu-ga.pid
statedir=/var/state
verbose=true
{}=guest-ping;guest-get-time
"""
OS_RELEASE = r"""ID=qemu-ga-test
NAME=QEMU-GA
PRETTY_NAME="QEMU Guest Agent test"
VERSION="Test 1"
VERSION_ID=1
VARIANT="Unit test \"\'\$\`\\ and \\\\ etc."
VARIANT_ID=unit-test
"""


class Asker:
    """A connection to an agent of a release."""

    def __init__(self, release: str, sock: socket.socket, directory: Path) -> None:
        self.release = tuple(map(int, release.split(".")))
        self.socket = sock
        #: Where the agent was started.
        self.directory = directory

    def send(self, request: dict[str, Any]) -> dict[str, Any]:
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        reply: dict[str, Any] = json.loads(read_line(self.socket))
        return reply

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self.send({"execute": command, **({"arguments": named} if named else {})})

    def get(self, command: str, **arguments: Any) -> Any:
        reply = self.ask(command, **arguments)
        assert "error" not in reply
        return reply["return"]

    def refuse(self, command: str, **arguments: Any) -> tuple[str, str]:
        error = self.ask(command, **arguments)["error"]
        return error["class"], error["desc"]

    def execute(self, path: str, *arguments: str, capture: str | bool = True) -> dict[str, Any]:
        pid = self.get("guest-exec", path=path, arg=list(arguments), capture_output=capture)["pid"]
        assert pid > 0
        until = time.monotonic() + PATIENCE
        while True:
            status: dict[str, Any] = self.get("guest-exec-status", pid=pid)
            if status["exited"]:
                return status
            assert time.monotonic() < until


@pytest.fixture(scope="module", params=RELEASES)
def agent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asker]:
    """Spawn one for all subtests that need nothing special."""
    directory = tmp_path_factory.mktemp("qgatest")
    path = directory / "sock"
    process = start(
        *("-m", "unix-listen", "-p", path),
        directory=directory,
        variables={"QGASIM_AGENT": request.param, "QGASIM_SHARE": ".=/mnt"},
    )
    with ending(process), connect_when_ready(path) as sock:
        yield Asker(request.param, sock, directory)
        # While it is connected, as there.
        end(process)


@pytest.mark.slow
def test_sync_delimited(agent: Asker) -> None:
    number = random.Random(0).randrange(1 << 32)
    agent.socket.sendall(b"\xff")
    request = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
    agent.socket.sendall(json.dumps(request).encode() + b"\n")
    while agent.socket.recv(1) != b"\xff":
        pass
    assert json.loads(read_line(agent.socket)) == {"return": number}


def test_sync(agent: Asker) -> None:
    number = random.Random(1).randrange(1 << 32)
    assert agent.get("guest-sync", id=number) == number


def test_ping(agent: Asker) -> None:
    assert agent.get("guest-ping") == {}


def test_info(agent: Asker) -> None:
    assert agent.get("guest-info")["version"].startswith(".".join(map(str, agent.release)))


def test_network_get_interfaces(agent: Asker) -> None:
    assert "name" in agent.get("guest-network-get-interfaces")[0]


def test_get_vcpus(agent: Asker) -> None:
    assert {"online", "logical-id"} <= set(agent.get("guest-get-vcpus")[0])


def test_get_fsinfo(agent: Asker) -> None:
    assert {"name", "mountpoint", "type", "disk"} <= set(agent.get("guest-get-fsinfo")[0])


def test_get_load(agent: Asker) -> None:
    if agent.release < (10, 0):
        pytest.skip("the command is newer")
    assert {"load1m", "load5m", "load15m"} <= set(agent.get("guest-get-load"))


def test_get_memory_block_info(agent: Asker) -> None:
    assert agent.get("guest-get-memory-block-info")["size"] > 0


def test_get_memory_blocks(agent: Asker) -> None:
    assert {"phys-index", "online"} <= set(agent.get("guest-get-memory-blocks")[0])


def test_file_ops(agent: Asker) -> None:
    handle = agent.get("guest-file-open", path="foo", mode="w+")
    written = agent.get("guest-file-write", handle=handle, buf_b64=ENCODED)
    assert written == {"count": len(HELLO), "eof": False}
    assert agent.get("guest-file-flush", handle=handle) == {}
    assert agent.get("guest-file-close", handle=handle) == {}
    assert (agent.directory / "foo").read_bytes() == HELLO
    handle = agent.get("guest-file-open", path="foo", mode="r")
    read = agent.get("guest-file-read", handle=handle)
    assert read == {"count": len(HELLO), "eof": True, "buf-b64": ENCODED}
    read = agent.get("guest-file-read", handle=handle)
    assert read == {"count": 0, "eof": True, "buf-b64": ""}
    sought = agent.get("guest-file-seek", handle=handle, offset=6, whence="set")
    assert sought == {"position": 6, "eof": False}
    read = agent.get("guest-file-read", handle=handle)
    assert (read["count"], read["eof"]) == (len(HELLO) - 6, True)
    assert base64.b64decode(read["buf-b64"]) == HELLO[6:]
    assert agent.get("guest-file-close", handle=handle) == {}


def test_file_write_read(agent: Asker) -> None:
    handle = agent.get("guest-file-open", path="foo", mode="w+")
    written = agent.get("guest-file-write", handle=handle, buf_b64=ENCODED)
    assert written == {"count": len(HELLO), "eof": False}
    read = agent.get("guest-file-read", handle=handle)
    assert read == {"count": 0, "eof": True, "buf-b64": ""}
    sought = agent.get("guest-file-seek", handle=handle, offset=0, whence="set")
    assert sought == {"position": 0, "eof": False}
    read = agent.get("guest-file-read", handle=handle)
    assert read == {"count": len(HELLO), "eof": True, "buf-b64": ENCODED}
    assert agent.get("guest-file-close", handle=handle) == {}


def test_get_time(agent: Asker) -> None:
    assert agent.get("guest-get-time") > 0


def test_id(agent: Asker) -> None:
    assert agent.send({"execute": "guest-ping", "id": 1}) == {"return": {}, "id": 1}


def test_invalid_oob(agent: Asker) -> None:
    assert agent.send({"exec-oob": "guest-ping"})["error"]["class"] == "GenericError"


def test_invalid_cmd(agent: Asker) -> None:
    kind, text = agent.refuse("guest-invalid-cmd")
    assert kind == "CommandNotFound"
    assert text


def test_invalid_args(agent: Asker) -> None:
    refused = agent.refuse("guest-ping", foo=42)
    assert refused == ("GenericError", "Parameter 'foo' is unexpected")


def test_fsfreeze_status(agent: Asker) -> None:
    assert agent.get("guest-fsfreeze-status") == "thawed"


def test_guest_exec(agent: Asker) -> None:
    status = agent.execute("echo", "-n", '" test_str "')
    assert status["exitcode"] == 0
    assert base64.b64decode(status["out-data"]) == b'" test_str "'


def test_guest_exec_separated(agent: Asker) -> None:
    if agent.release < (8, 1):
        pytest.skip("the argument is newer")
    status = agent.execute("bash", "-c", LOOP, capture="separated")
    assert status["exitcode"] == 0
    assert base64.b64decode(status["out-data"]) == b"stdout\nstdout\n"
    assert base64.b64decode(status["err-data"]) == b"stderr\nstderr\n"


def test_guest_exec_merged(agent: Asker) -> None:
    if agent.release < (8, 1):
        pytest.skip("the argument is newer")
    status = agent.execute("bash", "-c", LOOP, capture="merged")
    assert status["exitcode"] == 0
    assert base64.b64decode(status["out-data"]) == b"stdout\nstderr\nstdout\nstderr\n"
    assert "err-data" not in status


def test_guest_exec_invalid(agent: Asker) -> None:
    for command, arguments in (
        ("guest-exec", {"path": "/bin/invalid-cmd42"}),
        ("guest-exec-status", {"pid": 0}),
    ):
        kind, text = agent.refuse(command, **arguments)
        assert kind == "GenericError"
        assert text


def test_guest_get_host_name(agent: Asker) -> None:
    assert "host-name" in agent.get("guest-get-host-name")


def test_guest_get_timezone(agent: Asker) -> None:
    assert "offset" in agent.get("guest-get-timezone")


def test_guest_get_users(agent: Asker) -> None:
    assert isinstance(agent.get("guest-get-users"), list)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("release", "option"),
    [
        ("5.2", "--blacklist"),
        *(pytest.param(*each.values, "-b", marks=each.marks) for each in RELEASES),
    ],
)
def test_blockedrpcs(tmp_path: Path, release: str, option: str) -> None:
    options = [option, "guest-ping,guest-get-time"]
    with spawned(tmp_path, *options, QGASIM_AGENT=release) as sock:
        agent = Asker(release, sock, tmp_path)
        for command in ("guest-ping", "guest-get-time"):
            kind, text = agent.refuse(command)
            assert kind == "CommandNotFound"
            assert "has been disabled" in text
        agent.get("guest-get-fsinfo")


@pytest.mark.slow
@pytest.mark.parametrize("release", ["8.1", "9.1", "10.0", "11.1"])
def test_allowedrpcs(tmp_path: Path, release: str) -> None:
    with spawned(tmp_path, "-a", "guest-ping,guest-get-time", QGASIM_AGENT=release) as sock:
        agent = Asker(release, sock, tmp_path)
        assert agent.get("guest-ping") == {}
        assert agent.get("guest-get-time") > 0
        kind, text = agent.refuse("guest-get-fsinfo")
        assert kind == "CommandNotFound"
        assert "has been disabled" in text


@pytest.mark.parametrize("release", RELEASES)
def test_config(tmp_path: Path, release: str) -> None:
    key = "blacklist" if release == "5.2" else "block-rpcs"
    path = tmp_path / "config"
    path.write_text(CONFIG.format(key))
    done = call("-D", QGA_CONF=str(path), QGASIM_AGENT=release)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "[general]"
    assert set(CONFIG.format(key).splitlines()) <= set(lines)


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_guest_get_osinfo(tmp_path: Path, release: str) -> None:
    path = tmp_path / "os-release"
    path.write_text(OS_RELEASE)
    with spawned(tmp_path, QGA_OS_RELEASE=str(path), QGASIM_AGENT=release) as sock:
        info = Asker(release, sock, tmp_path).get("guest-get-osinfo")
    expected = {
        "id": "qemu-ga-test",
        "name": "QEMU-GA",
        "pretty-name": "QEMU Guest Agent test",
        "version": "Test 1",
        "version-id": "1",
        "variant": "Unit test \"'$`\\ and \\\\ etc.",
        "variant-id": "unit-test",
    }
    assert {name: info[name] for name in expected} == expected
