"""Faults on a socket: what a client meets with, and that neither side hangs."""

import socket
import threading
import time
from pathlib import Path

import pytest

from qgasim.client.blocking import SyncClient
from qgasim.errors import ClientError
from qgasim.scenario import loads
from qgasim.serving.listen import TcpAddress, UnixAddress
from qgasim.serving.threads import ServerThread
from tests.serving import PATIENCE, connect, read_line, serving, settle

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'


def with_fault(text: str, more: str = "") -> str:
    return f"{{extends: debian-12, faults: [{text}]{more}}}"


def read_all(sock: socket.socket) -> bytes:
    sock.settimeout(PATIENCE)
    parts: list[bytes] = []
    while data := sock.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


def flood(sock: socket.socket) -> None:
    while True:
        sock.sendall(PING * 1000)


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("{kind: close, on: guest-ping, at: before}", b""),
        ("{kind: close, on: guest-ping, at: middle}", b'{"retur'),
        ("{kind: close, on: guest-ping, at: after}", PONG),
        ("{kind: half_close, on: guest-ping, at: after}", PONG),
        ("{kind: refuse}", b""),
    ],
)
def test_a_connection_ends_as_it_is_told_to(fault: str, seen: bytes, tmp_path: Path) -> None:
    with serving(tmp_path, with_fault(fault)) as thread, connect(thread.path) as sock:
        if "refuse" not in fault:
            sock.sendall(PING)
        assert read_all(sock) == seen


def listening(kind: str, directory: Path) -> str | TcpAddress:
    return TcpAddress("127.0.0.1", 0) if kind == "tcp" else str(directory / "s")


@pytest.mark.parametrize("kind", ["unix", "tcp"])
@pytest.mark.parametrize(
    ("faults", "seen"),
    [
        ("{kind: reset, on: guest-ping, at: before}", b""),
        ("{kind: reset, on: guest-ping, at: after}", PONG),
        ("{kind: delay, by: 50ms}, {kind: reset, on: guest-ping, at: middle}", b'{"retur'),
    ],
)
def test_a_connection_is_reset(faults: str, seen: bytes, kind: str, tmp_path: Path) -> None:
    channel = loads(with_fault(faults)).build()
    with ServerThread(channel, listening(kind, tmp_path)) as thread:
        address = thread.address
        sock = connect(thread.path) if isinstance(address, UnixAddress) else None
        if sock is None:
            assert isinstance(address, TcpAddress)
            sock = socket.create_connection((address.host, address.port), PATIENCE)
        with sock:
            # Requests before it are answered as ever.
            sock.sendall(b'{"execute":"guest-sync","arguments":{"id":1}}\n')
            assert read_line(sock) == b'{"return": 1}\n'
            sock.sendall(PING)
            # A unix socket keeps what was sent before the reset; TCP may lose it.
            got = b""
            error = None
            try:
                while data := sock.recv(1 << 16):
                    got += data
            except ConnectionResetError as reset:
                error = reset
            assert error is not None
            assert got == seen or (kind == "tcp" and seen.startswith(got))


def test_where_a_reset_is_possible_other_connections_end_in_good_order(tmp_path: Path) -> None:
    scenario = with_fault(
        "{kind: reset, on: guest-info}, {kind: close, on: guest-ping, at: after, times: 1}"
    )
    with serving(tmp_path, scenario) as thread:
        with connect(thread.path) as sock:
            sock.sendall(PING)
            assert read_all(sock) == PONG
        with connect(thread.path) as sock:
            for _ in range(3):
                sock.sendall(PING * 1000)
                assert b"".join(read_line(sock) for _ in range(1000)) == PONG * 1000
            thread.call(lambda: None)  # looks at the channel again, which reads nothing twice
            sock.sendall(PING)
            assert read_line(sock) == PONG


def test_after_a_half_close_requests_are_still_executed(tmp_path: Path) -> None:
    scenario = with_fault("{kind: half_close, on: guest-ping, at: after, times: 1}")
    with serving(tmp_path, scenario) as thread:
        with connect(thread.path) as sock:
            sock.sendall(PING)
            assert read_all(sock) == PONG
            sock.sendall(b'{"execute":"guest-fsfreeze-freeze"}')
            settle(thread.call)
        assert thread.call(lambda: thread.simulation.agent.is_frozen)


def is_refused(path: str) -> bool:
    """Return whether a connection is refused soon."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            connect(path).close()
        except ConnectionRefusedError:
            return True
        except (BlockingIOError, FileNotFoundError):
            pass
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("channel", ["virtio-serial", "unix-listen"])
def test_connections_are_refused_while_the_fault_is_on(channel: str, tmp_path: Path) -> None:
    scenario = with_fault(
        "{kind: refuse, accepts: false, name: no}", f", agent: {{channel: {channel}}}"
    )
    with serving(tmp_path, scenario) as thread:
        injector = thread.simulation.agent.injector
        for _ in range(2):
            assert is_refused(thread.path)
            thread.call(lambda: injector.switch("no", on=False))
            with patient_client(thread.path) as client:
                assert client.call("guest-ping") == {}
            thread.call(lambda: injector.switch("no", on=True))


def test_connections_are_refused_for_a_time(tmp_path: Path) -> None:
    scenario = with_fault("{kind: refuse, accepts: false, when: {uptime: 200ms, until: 400ms}}")
    with serving(tmp_path, scenario) as thread:
        assert is_refused(thread.path)
        with patient_client(thread.path) as client:
            assert client.call("guest-ping") == {}


def patient_client(path: str) -> SyncClient:
    """Connect as soon as that is possible."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return SyncClient(path, timeout=PATIENCE)
        except ClientError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_an_agent_that_is_started_from_python_can_be_connected_to(tmp_path: Path) -> None:
    with serving(tmp_path, "agent: {channel: unix-listen, respawn: never}") as thread:
        agent = thread.simulation.agent
        thread.call(agent.stop)
        assert is_refused(thread.path)
        thread.call(agent.start)
        with patient_client(thread.path) as client:
            assert client.call("guest-ping") == {}


@pytest.mark.slow
def test_an_agent_that_hung_with_a_full_queue_serves_when_it_has_died(tmp_path: Path) -> None:
    scenario = with_fault("{kind: hang, times: 1}")
    with serving(tmp_path, scenario) as thread, connect(thread.path) as sock:
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            flood(sock)
        assert thread.call(lambda: thread.simulation.channel.is_full)
        thread.call(lambda: thread.simulation.agent.crash(0))
        sock.settimeout(PATIENCE)
        # What it had read is gone, perhaps in the middle of a request.
        while read_line(sock) != PONG:
            pass


def test_the_next_client_is_served_when_the_fault_is_over(tmp_path: Path) -> None:
    for number, fault in enumerate(
        ["{kind: refuse, times: 1}", "{kind: accept_then_silence, times: 1}"]
    ):
        directory = tmp_path / str(number)
        directory.mkdir()
        with serving(directory, with_fault(fault)) as thread:
            with pytest.raises(ClientError):
                SyncClient(thread.path, timeout=0.3)
            with SyncClient(thread.path, timeout=PATIENCE) as client:
                assert client.call("guest-ping") == {}


def test_a_reply_that_is_late_goes_to_the_client_that_is_there_then(tmp_path: Path) -> None:
    scenario = with_fault("{kind: delay, on: guest-ping, by: 300ms, times: 1}")
    with serving(tmp_path, scenario) as thread:
        with connect(thread.path) as sock:
            sock.sendall(PING)
            settle(thread.call)
        with connect(thread.path) as sock:
            assert read_line(sock) == PONG


def test_a_hanging_agent_takes_no_more_than_it_can_hold(tmp_path: Path) -> None:
    with serving(tmp_path, with_fault("{kind: hang, on: guest-ping}")) as thread:
        with connect(thread.path) as sock:
            sock.sendall(PING)
            sock.settimeout(0.5)
            with pytest.raises(TimeoutError):
                flood(sock)
            assert thread.call(lambda: len(thread.simulation.channel._queue)) < 2 << 20
        # The agent is dead to the next client, too; the server ends all the same.
        with pytest.raises(ClientError):
            SyncClient(thread.path, timeout=0.3)


@pytest.mark.parametrize(
    "fault",
    [
        "{kind: hang}",
        "{kind: delay, by: 1h}",
        "{kind: split, sizes: [1], pause: 1h}",
        "{kind: accept_then_silence}",
        "{kind: kill_on, respawn: 1h}",
    ],
)
@pytest.mark.parametrize("channel", ["virtio-serial", "unix-listen"])
def test_the_server_ends_at_once_whatever_it_is_waiting_for(
    fault: str, channel: str, tmp_path: Path
) -> None:
    scenario = with_fault(fault, f", agent: {{channel: {channel}}}")
    threads = set(threading.enumerate())
    start = time.monotonic()
    with serving(tmp_path, scenario) as thread, connect(thread.path) as sock:
        sock.sendall(PING)
        settle(thread.call)
    assert time.monotonic() - start < PATIENCE
    assert set(threading.enumerate()) <= threads


def test_two_clients_that_fight_are_served_one_after_the_other(tmp_path: Path) -> None:
    with serving(tmp_path, with_fault("{kind: delay, on: guest-ping, by: 20ms}")) as thread:
        answers: list[object] = []

        def ask() -> None:
            for _ in range(5):
                with SyncClient(thread.path, timeout=PATIENCE) as client:
                    answers.append(client.call("guest-ping"))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert answers == [{}] * 10
