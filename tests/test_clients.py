"""Sessions of real clients with a served guest: every family of commands, by each client."""

import asyncio
import io
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeAlias, get_args

import pytest
from qemu.qmp import ExecuteError, QMPClient

import qgasim
from qgasim.cli import main
from qgasim.client.blocking import SyncClient
from qgasim.errors import ClientError
from qgasim.faults import AnyFault
from tests.serving import PATIENCE, busy, serving

#: Executes a command; ``_`` in the names of arguments stands for ``-``.
Ask: TypeAlias = Callable[..., Any]


class Refused(Exception):
    """An error reply, whatever the client makes of it."""


@contextmanager
def by_sync_client(path: str) -> Iterator[Ask]:
    with SyncClient(path, timeout=PATIENCE) as client:

        def ask(command: str, **arguments: Any) -> Any:
            try:
                return client.call(command, **arguments)
            except ClientError as error:
                raise Refused(str(error)) from None

        yield ask


@contextmanager
def by_qemu_qmp(path: str) -> Iterator[Ask]:
    with asyncio.Runner() as runner:
        client = QMPClient("test")
        client.await_greeting = False
        client.negotiate = False
        runner.run(client.connect(path))

        def ask(command: str, **arguments: Any) -> Any:
            named = {name.replace("_", "-"): value for name, value in arguments.items()}
            reply = client.execute(command, named or None)
            try:
                return runner.run(asyncio.wait_for(reply, PATIENCE))
            except ExecuteError as error:
                raise Refused(f"{error.error_class}: {error}") from None

        try:
            yield ask
        finally:
            runner.run(client.disconnect())


@contextmanager
def by_qgasim_call(path: str) -> Iterator[Ask]:
    """Start afresh for each command, as a shell script does."""

    def ask(command: str, **arguments: Any) -> Any:
        words = [f"{k.replace('_', '-')}={json.dumps(v)}" for k, v in arguments.items()]
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(["call", path, command, *words])
        if status != 0:
            raise Refused(err.getvalue().rstrip("\n"))
        return json.loads(out.getvalue())

    yield ask


CLIENTS = {
    "SyncClient": by_sync_client,
    "qemu.qmp": by_qemu_qmp,
    "qgasim call": by_qgasim_call,
}


@pytest.fixture(params=CLIENTS)
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ask]:
    """Return a client of a freshly served debian-12."""
    with serving(tmp_path) as thread, CLIENTS[request.param](thread.path) as ask:
        yield ask


def refusal(ask: Ask, command: str, **arguments: Any) -> str:
    with pytest.raises(Refused) as caught:
        ask(command, **arguments)
    return str(caught.value)


def run(ask: Ask, path: str, *arg: str, **more: Any) -> dict[str, Any]:
    """Run a program to its end."""
    pid = ask("guest-exec", path=path, arg=list(arg), capture_output=True, **more)["pid"]
    status: dict[str, Any] = {"exited": False}
    while not status["exited"]:
        status = ask("guest-exec-status", pid=pid)
    return status


# What is expected is what scenarios/debian-12.yaml says, in the shape of QEMU's schema.


def test_a_session_about_the_agent(ask: Ask) -> None:
    assert ask("guest-ping") == {}
    assert ask("guest-sync", id=1 << 62) == 1 << 62
    info = ask("guest-info")
    assert info["version"] == "7.2.22"
    assert {"name": "guest-shutdown", "enabled": True, "success-response": False} in info[
        "supported_commands"
    ]
    assert refusal(ask, "guest-nope") == (
        "CommandNotFound: The command guest-nope has not been found"
    )
    assert refusal(ask, "guest-sync") == "GenericError: Parameter 'id' is missing"


def test_a_session_about_the_system(ask: Ask) -> None:
    assert ask("guest-get-osinfo") == {
        "id": "debian",
        "name": "Debian GNU/Linux",
        "pretty-name": "Debian GNU/Linux 12 (bookworm)",
        "version": "12 (bookworm)",
        "version-id": "12",
        "kernel-release": "6.1.0-18-amd64",
        "kernel-version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)",
        "machine": "x86_64",
    }
    assert ask("guest-get-host-name") == {"host-name": "debian"}
    assert ask("guest-get-timezone") == {"zone": "UTC", "offset": 0}
    # 2025-01-01T00:00:42.5Z.
    assert ask("guest-get-users") == [{"user": "debian", "login-time": 1735689642.5}]


def test_a_session_about_time(ask: Ask) -> None:
    time = ask("guest-get-time")
    assert time % 1000 == 0
    assert time >= 1_735_689_600_000_000_000
    assert ask("guest-set-time", time=1_800_000_000_000_000_000) == {}
    later = ask("guest-get-time")
    assert 0 <= later - 1_800_000_000_000_000_000 < 60_000_000_000
    assert ask("guest-set-time") == {}
    # 2070-01-01: qga/commands-posix.c, qmp_guest_set_time(); tests/golden/7.2/time.jsonl, set-2071.
    assert refusal(ask, "guest-set-time", time=3_155_760_000_000_000_000) == (
        "GenericError: Invalid time"
    )


def test_a_session_with_files(ask: Ask) -> None:
    handle = ask("guest-file-open", path="/tmp/note", mode="w+")
    assert handle == 1000
    text = b64encode(b"one two\n").decode()
    assert ask("guest-file-write", handle=handle, buf_b64=text) == {"count": 8, "eof": False}
    assert ask("guest-file-flush", handle=handle) == {}
    assert ask("guest-file-seek", handle=handle, offset=4, whence="set") == {
        "position": 4,
        "eof": False,
    }
    assert ask("guest-file-read", handle=handle, count=100) == {
        "count": 4,
        "buf-b64": b64encode(b"two\n").decode(),
        "eof": True,
    }
    assert ask("guest-file-seek", handle=handle, offset=-1, whence=2)["position"] == 7
    assert ask("guest-file-close", handle=handle) == {}
    assert refusal(ask, "guest-file-read", handle=handle) == (
        "GenericError: handle '1000' has not been found"
    )
    assert refusal(ask, "guest-file-open", path="/no/such") == (
        "GenericError: failed to open file '/no/such' (mode: 'r'): No such file or directory"
    )


def test_a_session_with_programs(ask: Ask) -> None:
    assert run(ask, "/bin/echo", "hello", "world") == {
        "exited": True,
        "exitcode": 0,
        "out-data": b64encode(b"hello world\n").decode(),
        "out-truncated": False,
    }
    status = run(ask, "/bin/sh", "-c", "cat; echo $A >&2; exit 3", env=["A=b"], input_data="aGk=")
    assert status["exitcode"] == 3
    assert b64decode(status["out-data"]) == b"hi"
    assert b64decode(status["err-data"]) == b"b\n"
    assert run(ask, "/bin/sh", "-c", "kill -9 $$") == {"exited": True, "signal": 9}
    assert refusal(ask, "guest-exec-status", pid=1) == "GenericError: Invalid parameter 'pid'"
    assert refusal(ask, "guest-exec", path="/no/such") == (
        "GenericError: Guest agent command failed, error was 'Failed to execute child process "
        "\u201c/no/such\u201d (No such file or directory)'"
    )


def test_a_session_about_hardware(ask: Ask) -> None:
    cpus = ask("guest-get-vcpus")
    assert sorted(cpus, key=lambda cpu: int(cpu["logical-id"])) == [
        {"logical-id": 0, "online": True, "can-offline": False},
        {"logical-id": 1, "online": True, "can-offline": True},
    ]
    assert ask("guest-set-vcpus", vcpus=[{"logical-id": 1, "online": False}]) == 1
    assert [stats["cpu"] for stats in ask("guest-get-cpustats")] == [0]
    assert refusal(ask, "guest-set-vcpus", vcpus=[{"logical-id": 0, "online": False}]) == (
        "GenericError: logical processor #0 can't be offlined"
    )
    # 2 GiB in blocks of 128 MiB.
    assert ask("guest-get-memory-block-info") == {"size": 134217728}
    assert len(ask("guest-get-memory-blocks")) == 16
    blocks = [{"phys-index": 1, "online": False}, {"phys-index": 99, "online": False}]
    assert ask("guest-set-memory-blocks", mem_blks=blocks) == [
        {"phys-index": 1, "response": "success"},
        {"phys-index": 99, "response": "not-found", "error-code": 2},
    ]


def test_a_session_about_the_network(ask: Ask) -> None:
    lo, nic = ask("guest-network-get-interfaces")
    assert lo["name"] == "lo"
    assert nic["hardware-address"] == "52:54:00:8a:1f:6e"
    assert nic["ip-addresses"] == [
        {"ip-address": "192.0.2.17", "ip-address-type": "ipv4", "prefix": 24},
        {"ip-address": "2001:db8::5054:ff:fe8a:1f6e", "ip-address-type": "ipv6", "prefix": 64},
        {"ip-address": "fe80::5054:ff:fe8a:1f6e", "ip-address-type": "ipv6", "prefix": 64},
    ]
    assert nic["statistics"]["rx-bytes"] >= 48213


def test_a_session_about_disks_and_file_systems(ask: Ask) -> None:
    disks = {disk["name"]: disk for disk in ask("guest-get-disks")}
    assert set(disks) == {"/dev/vda", "/dev/vda1", "/dev/vda14", "/dev/vda15"}
    assert disks["/dev/vda"]["address"]["pci-controller"] == {
        "domain": 0,
        "bus": 4,
        "slot": 0,
        "function": 0,
    }
    assert disks["/dev/vda1"]["dependencies"] == ["/dev/vda"]
    assert {stats["name"] for stats in ask("guest-get-diskstats")} == {
        "vda",
        "vda1",
        "vda14",
        "vda15",
    }
    systems = {system["mountpoint"]: system["type"] for system in ask("guest-get-fsinfo")}
    assert systems == {"/": "ext4", "/boot/efi": "vfat"}


def test_a_session_that_freezes(ask: Ask) -> None:
    assert ask("guest-fsfreeze-status") == "thawed"
    # A FAT cannot be frozen (Linux 6.1, fs/ioctl.c: no freeze_fs), and is left out.
    assert ask("guest-fsfreeze-freeze") == 1
    assert ask("guest-fsfreeze-status") == "frozen"
    assert refusal(ask, "guest-get-osinfo") == (
        "CommandNotFound: Command guest-get-osinfo has been disabled: the agent is in frozen state"
    )
    assert ask("guest-fsfreeze-thaw") == 1
    assert ask("guest-fsfreeze-freeze-list", mountpoints=["/nowhere"]) == 0
    assert {trim["path"] for trim in ask("guest-fstrim")["paths"]} == {"/", "/boot/efi"}


def test_a_session_about_accounts(ask: Ask) -> None:
    keys = ["ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"]
    assert ask("guest-ssh-add-authorized-keys", username="debian", keys=keys) == {}
    # The last in the file first: QAPI_LIST_PREPEND in qga/commands-posix-ssh.c.
    assert ask("guest-ssh-get-authorized-keys", username="debian") == {"keys": keys[::-1]}
    assert ask("guest-ssh-remove-authorized-keys", username="debian", keys=keys[:1]) == {}
    assert ask("guest-ssh-get-authorized-keys", username="debian") == {"keys": keys[1:]}
    assert refusal(ask, "guest-ssh-get-authorized-keys", username="nosuch") == (
        "GenericError: failed to lookup user 'nosuch': Success"
    )
    password = b64encode(b"secret").decode()
    set_password = "guest-set-user-password"
    assert ask(set_password, username="debian", password=password, crypted=False) == {}
    assert refusal(ask, set_password, username="nosuch", password=password, crypted=False) == (
        "GenericError: child process has failed to set user password"
    )


# -- the small client itself -----------------------------------------------------------------------


def test_a_new_client_is_not_disturbed_by_what_another_left(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        with SyncClient(thread.path, timeout=PATIENCE) as first:
            first.send({"execute": "guest-ping"})
            first._socket.sendall(b'{"execute":"guest-')
        with SyncClient(thread.path, timeout=PATIENCE) as second:
            assert second.call("guest-ping") == {}


def test_a_client_tells_that_the_agent_hung_up(tmp_path: Path) -> None:
    with serving(tmp_path) as thread, SyncClient(thread.path, timeout=PATIENCE) as client:
        thread.call(lambda: thread.simulation.guest.power.shut_down("powerdown", 0))
        with pytest.raises(ClientError) as caught:
            client.call("guest-ping")
    assert str(caught.value) in {
        f"{thread.path}: the agent hung up",
        f"{thread.path}: Broken pipe",
        f"{thread.path}: Connection reset by peer",
    }


def test_a_client_that_would_have_to_wait_for_two_others_says_so(tmp_path: Path) -> None:
    with busy(tmp_path) as path, pytest.raises(ClientError) as caught:
        SyncClient(path, timeout=PATIENCE)
    assert str(caught.value) == f"{path}: it serves another client, and others wait already"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("nonsense", "not a reply: b'nonsense'"),
        ("[" * 100_000, f"not a reply: b'{'[' * 80}...'"),
        ("[1]", "not a reply: b'[1]'"),
        ("{}", "not a reply: b'{}'"),
        ('{"id": 1}', "not a reply: {'id': 1}"),
        ('{"error": "odd"}', "odd"),
        ('{"error": {"desc": "odd"}}', "None: odd"),
    ],
)
def test_what_is_no_reply_is_shown(raw: str, text: str, tmp_path: Path) -> None:
    stub = json.dumps({"on": "guest-ping", "raw": f"{raw}\n"})
    scenario = f"qgasim: 1\nreplies: [{stub}]"
    with (
        serving(tmp_path, scenario) as thread,
        SyncClient(thread.path, PATIENCE) as client,
        pytest.raises(ClientError) as caught,
    ):
        client.call("guest-ping")
    assert str(caught.value) == text


# -- the public names ------------------------------------------------------------------------------


@pytest.mark.trio
async def test_the_client_for_trio_clears_the_channel_and_calls(tmp_path: Path) -> None:
    with serving(tmp_path, "stale-freeze-reply") as thread:
        async with qgasim.Client(thread.path) as client:
            assert await client.call("guest-ping") == {}
            with pytest.raises(qgasim.ClientError, match="has not been found"):
                await client.call("guest-nope")
            assert (await client.call("guest-sync", id=5)) == 5


@pytest.mark.trio
async def test_the_client_for_trio_names_the_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(qgasim.ClientError, match="No such file"):
        async with qgasim.Client(str(tmp_path / "none")):
            pass


@pytest.mark.trio
async def test_the_client_for_trio_says_that_it_would_have_to_wait(tmp_path: Path) -> None:
    with busy(tmp_path) as path, pytest.raises(qgasim.ClientError) as caught:
        async with qgasim.Client(path):
            pass
    assert str(caught.value) == f"{path}: it serves another client, and others wait already"


@pytest.mark.parametrize("name", sorted(set(dir(qgasim)) - {"__version__"}))
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(qgasim, name).__name__ == name


def test_every_kind_of_fault_is_a_public_name() -> None:
    assert {kind.__name__ for kind in get_args(AnyFault)} <= set(dir(qgasim))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nope'"):
        qgasim.Nope  # noqa: B018
