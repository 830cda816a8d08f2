"""The driver on real unix sockets: files, clients that come and go, back-pressure, threads."""

import contextlib
import os
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from qgasim.client.blocking import SyncClient
from qgasim.client.trio import Client
from qgasim.errors import ClientError, ListenError, ServerError
from qgasim.scenario import load, loads
from qgasim.serving.attention import Attention
from qgasim.serving.listen import TcpAddress, parse_address
from qgasim.serving.server import Server, serve
from qgasim.serving.sockets import EAGER_READS, ClientSocket
from qgasim.serving.threads import ServerThread
from tests.serving import PATIENCE, connect, on_exchange, read_line, serving

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'
OPEN_ZERO = b'{"execute":"guest-file-open","arguments":{"path":"/dev/zero"}}\n'
#: As much as a read may ask for (tests/golden/7.2/file.jsonl, read-48mib-of-zeros); the reply has 64 MiB.
READ_ZERO = b'{"execute":"guest-file-read","arguments":{"handle":1000,"count":50331648}}\n'
UNIX_LISTEN = "qgasim: 1\nagent: {channel: unix-listen}"
SLOW_HWCLOCK = """\
qgasim: 1
guest:
  programs:
    - {path: /sbin/hwclock, duration: 60ms}
"""


def thread_at(path: str) -> ServerThread:
    return ServerThread(loads("qgasim: 1").build(), path)


# -- the socket's file -----------------------------------------------------------------------------


def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        assert stat.S_IMODE(os.stat(thread.path).st_mode) == 0o600


def test_the_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    with serving(tmp_path) as thread, connect(thread.path) as sock:
        sock.sendall(PING)
        assert read_line(sock) == PONG
    assert list(tmp_path.iterdir()) == []


def test_the_socket_of_another_server_is_not_removed_at_the_end(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        os.rename(thread.path, thread.path + ".old")
        with serving(tmp_path) as second:
            pass
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.bind(second.path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "s.old"]


def test_the_socket_of_a_server_that_is_gone_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.bind(str(tmp_path / "s"))
        gone.listen()
    with serving(tmp_path) as thread, connect(thread.path) as sock:
        sock.sendall(PING)
        assert read_line(sock) == PONG


def test_the_socket_of_a_live_server_is_not_replaced(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        with pytest.raises(ListenError) as caught, thread_at(thread.path):
            pass
        assert str(caught.value) == f"{thread.path}: another server is listening there"
        with connect(thread.path) as sock:
            sock.sendall(PING)
            assert read_line(sock) == PONG


@pytest.mark.parametrize("kind", ["file", "directory", "link to a socket", "dangling link"])
def test_what_is_not_a_socket_is_not_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "t")
        if kind == "link to a socket":
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
                gone.bind(str(tmp_path / "t"))
    before = path.lstat()
    with pytest.raises(ListenError) as caught, thread_at(str(path)):
        pass
    assert str(caught.value) == f"{path}: there is a file that is not a socket"
    assert path.lstat() == before


def test_a_path_may_have_107_bytes_and_no_more(tmp_path: Path) -> None:
    # sun_path has 108 bytes, one of them for the closing NUL (unix(7)).
    path = f"{tmp_path}/".ljust(107, "s")
    with thread_at(path):
        assert os.path.exists(path)
    with pytest.raises(ListenError) as caught, thread_at(path + "s"):
        pass
    assert str(caught.value) == f"{path}s: too long for a unix socket (107 bytes at most)"


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no" / "s"
    with pytest.raises(ListenError) as caught, thread_at(str(path)):
        pass
    assert str(caught.value) == f"{path}: cannot listen: No such file or directory"


# -- clients ---------------------------------------------------------------------------------------


def test_clients_are_served_one_at_a_time_in_the_order_of_coming(tmp_path: Path) -> None:
    order: list[Any] = []
    with serving(tmp_path) as thread:
        on_exchange(
            thread.simulation,
            lambda message, _: order.append(message["id"] if isinstance(message, dict) else None),
        )
        with connect(thread.path) as first:
            first.sendall(b'{"execute":"guest-ping","id":1}')
            read_line(first)
            with connect(thread.path) as second, connect(thread.path) as third:
                third.sendall(b'{"execute":"guest-ping","id":3}')
                second.sendall(b'{"execute":"guest-ping","id":2}')
                first.sendall(b'{"execute":"guest-ping","id":11}')
                read_line(first)
                assert order == [1, 11]
                first.close()
                assert read_line(second) == b'{"return": {}, "id": 2}\n'
                assert order == [1, 11, 2]
                second.close()
                assert read_line(third) == b'{"return": {}, "id": 3}\n'
    assert order == [1, 11, 2, 3]


def test_several_requests_in_one_write_are_answered_in_order(tmp_path: Path) -> None:
    with serving(tmp_path) as thread, connect(thread.path) as sock:
        sock.sendall(
            b"".join(b'{"execute":"guest-sync","arguments":{"id":%d}}' % i for i in range(99))
        )
        assert [read_line(sock) for _ in range(99)] == [b'{"return": %d}\n' % i for i in range(99)]


def test_a_request_may_come_byte_by_byte(tmp_path: Path) -> None:
    with serving(tmp_path) as thread, connect(thread.path) as sock:
        for byte in PING:
            sock.send(bytes([byte]))
        assert read_line(sock) == PONG


def test_a_client_that_leaves_in_the_middle_of_a_request_harms_nobody(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        with connect(thread.path) as sock:
            sock.sendall(b'{"execute":"guest-')
        with SyncClient(thread.path, timeout=PATIENCE) as client:
            assert client.call("guest-ping") == {}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["debian-12", UNIX_LISTEN], ids=["virtio", "unix-listen"])
def test_a_client_that_leaves_in_the_middle_of_a_reply_harms_nobody(
    scenario: str, tmp_path: Path
) -> None:
    with serving(tmp_path, scenario) as thread:
        with connect(thread.path) as sock:
            sock.sendall(OPEN_ZERO)
            assert read_line(sock) == b'{"return": 1000}\n'
            sock.sendall(READ_ZERO)
            assert sock.recv(1) == b"{"
        # An agent that is itself the server ends when a reply is left unread (recorded:
        # tests/golden/7.2/conn-unix.jsonl, reply-unread-then-close), and is started again after 100 ms.
        deadline = time.monotonic() + PATIENCE
        answer = None
        while answer is None and time.monotonic() < deadline:
            with (
                contextlib.suppress(ClientError),
                SyncClient(thread.path, timeout=PATIENCE) as client,
            ):
                answer = client.call("guest-ping")
        assert answer == {}


def test_a_client_that_closes_its_sending_side_is_hung_up_on(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        with connect(thread.path) as sock:
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        with connect(thread.path) as sock:
            sock.sendall(PING)
            assert read_line(sock) == PONG


def test_handles_survive_a_reconnect(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        with connect(thread.path) as sock:
            sock.sendall(OPEN_ZERO)
            assert read_line(sock) == b'{"return": 1000}\n'
        with connect(thread.path) as sock:
            sock.sendall(b'{"execute":"guest-file-read","arguments":{"handle":1000,"count":3}}')
            assert read_line(sock) == (
                b'{"return": {"count": 3, "buf-b64": "AAAA", "eof": false}}\n'
            )


def test_a_client_that_does_not_read_is_not_served_ahead(tmp_path: Path) -> None:
    executed: list[int] = []
    with serving(tmp_path) as thread, connect(thread.path) as sock:
        sock.sendall(OPEN_ZERO)
        assert read_line(sock) == b'{"return": 1000}\n'
        on_exchange(thread.simulation, lambda _, reply: executed.append(len(reply)))
        sock.setblocking(False)
        requests = READ_ZERO * 1000
        sent = sock.send(requests)
        # There is room for more than one request in the buffers of the kernel.
        assert sent > 100 * len(READ_ZERO)
        sock.settimeout(PATIENCE)
        assert sock.recv(1) == b"{"
        assert 1 <= thread.call(lambda: len(executed)) <= 2
        sock.recv(1 << 20)
        assert 1 <= thread.call(lambda: len(executed)) <= 2


def test_what_a_client_has_left_behind_is_done_a_request_at_a_time(tmp_path: Path) -> None:
    executed: list[int] = []
    done_meanwhile: list[int] = []

    def note(_: object, reply: bytes) -> None:
        executed.append(len(reply))
        if len(executed) == 100:
            token = trio.lowlevel.current_trio_token()
            token.run_sync_soon(lambda: done_meanwhile.append(len(executed)))

    with serving(tmp_path, UNIX_LISTEN) as thread:
        with connect(thread.path) as sock:
            sock.sendall(OPEN_ZERO)
            assert read_line(sock) == b'{"return": 1000}\n'
            on_exchange(thread.simulation, note)
            sock.sendall(READ_ZERO.replace(b"50331648", b"1048576") * 200)
            assert sock.recv(1) == b"{"
        deadline = time.monotonic() + PATIENCE
        while thread.call(lambda: len(executed)) < 200:
            assert time.monotonic() < deadline
    # Other tasks had their turn between two requests: one of them looks for signals.
    assert done_meanwhile[0] < 110


def test_a_reply_waits_as_long_as_the_program_that_the_agent_runs(tmp_path: Path) -> None:
    with serving(tmp_path, SLOW_HWCLOCK) as thread, connect(thread.path) as sock:
        before = time.monotonic()
        sock.sendall(PING + b'{"execute":"guest-set-time","id":1}' + PING)
        assert read_line(sock) == PONG
        assert read_line(sock) == b'{"return": {}, "id": 1}\n'
        assert time.monotonic() - before >= 0.06
        assert read_line(sock) == PONG


def test_a_guest_that_went_off_hangs_up(tmp_path: Path) -> None:
    scenario = "qgasim: 1\nguest: {power: {shutdown_time: 10ms}}"
    with serving(tmp_path, scenario) as thread, connect(thread.path) as sock:
        sock.sendall(b'{"execute":"guest-shutdown"}')
        assert sock.recv(1) == b""
        assert thread.call(lambda: thread.simulation.guest.power.events) == ["SHUTDOWN"]


# -- threads and tasks -----------------------------------------------------------------------------


def test_call_runs_in_the_thread_of_the_server(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        name = thread.call(lambda: threading.current_thread().name)
    assert name == "qgasim"
    assert threading.current_thread().name != "qgasim"


def test_paths_may_be_objects(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with ServerThread(load("debian-12").build(), path) as thread:
        assert thread.path == str(path)
        with SyncClient(path) as client:
            assert client.call("guest-ping") == {}

        async def call() -> Any:
            async with Client(path) as client:
                return await client.call("guest-ping")

        assert trio.run(call) == {}


def test_a_thread_that_cannot_serve_says_so(tmp_path: Path) -> None:
    scenario: Any = load("debian-12")
    with pytest.raises(TypeError, match=r"as Scenario.build\(\) gives, found a Scenario"):
        ServerThread(scenario, tmp_path / "s").__enter__()
    thread = ServerThread(scenario.build(), TcpAddress("127.0.0.1", 0))
    with pytest.raises(ServerError, match="only within the block"):
        _ = thread.path
    with pytest.raises(ServerError, match="only within the block"):
        thread.call(lambda: None)
    with thread, pytest.raises(ServerError, match="there is no path"):
        _ = thread.path


def test_call_gives_back_what_is_raised_and_the_server_goes_on(tmp_path: Path) -> None:
    def fail() -> None:
        raise LookupError("no")

    with serving(tmp_path) as thread:
        with pytest.raises(LookupError, match="no"):
            thread.call(fail)
        with connect(thread.path) as sock:
            sock.sendall(PING)
            assert read_line(sock) == PONG


def test_what_call_changes_is_seen_by_a_waiting_client_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as thread, connect(thread.path) as sock:
        sock.sendall(PING)
        assert read_line(sock) == PONG
        thread.call(lambda: thread.simulation.guest.power.shut_down("powerdown", 0))
        assert sock.recv(1) == b""


def test_what_goes_wrong_in_the_server_is_raised_at_its_end(tmp_path: Path) -> None:
    def fail(_: object, __: bytes) -> None:
        raise LookupError("no")

    def provoke() -> None:
        with ServerThread(simulation, path), connect(path) as sock:
            sock.sendall(PING)
            sock.recv(1)

    simulation = loads("qgasim: 1").build()
    on_exchange(simulation, fail)
    path = str(tmp_path / "s")
    with pytest.raises(LookupError, match="no"):
        provoke()
    assert list(tmp_path.iterdir()) == []


def test_a_server_can_be_a_task_of_ones_own(tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    async def main() -> bytes:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve, loads("qgasim: 1").build(), path)
            assert str(server.address) == path
            async with await trio.open_unix_socket(path) as stream:
                await stream.send_all(PING)
                with trio.fail_after(PATIENCE):
                    reply = await stream.receive_some()
            nursery.cancel_scope.cancel()
        return bytes(reply)

    assert trio.run(main) == PONG
    assert not os.path.exists(path)


class Eager(socket.socket):
    """A client that has always asked again, a thousand times, and reads everything."""

    asked = 0

    def recv(self, *_: Any) -> bytes:
        self.asked += 1
        return PING if self.asked <= 1000 else b""

    def send(self, data: Any, *_: Any) -> int:
        return len(data)


def test_a_client_that_asks_without_end_lets_other_tasks_run() -> None:
    runs = 0

    async def run() -> None:
        nonlocal runs
        while True:
            await trio.lowlevel.checkpoint()
            runs += 1

    async def main() -> None:
        ours, theirs = socket.socketpair()
        server = Server(loads("qgasim: 1").build(), "unused")
        with theirs, Eager(fileno=ours.detach()) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await server.converse(client)
                nursery.cancel_scope.cancel()

    trio.run(main)
    assert runs > 1000 // (2 * EAGER_READS)


def test_a_client_that_reads_as_fast_as_it_asks_lets_other_tasks_run() -> None:
    attention = Attention(loads("qgasim: 1").build().channel.next_look)
    others: list[int] = []

    async def count() -> None:
        while True:
            others.append(0)
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            theirs.setblocking(False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(count)
                await trio.lowlevel.checkpoint()
                client = ClientSocket(ours, attention)
                before = len(others)
                for _ in range(50):
                    await client.send(bytes(1 << 16))
                    assert len(theirs.recv(1 << 16)) == 1 << 16
                assert len(others) - before > 25
                nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.mark.parametrize("faults", ["", "faults: [{kind: reset, on: guest-info}]"])
def test_clients_are_let_in_and_heard_by_a_guest_that_is_always_late(
    tmp_path: Path, faults: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, f"{UNIX_LISTEN}\n{faults}") as thread:

        def be_late() -> None:
            simulation = thread.simulation
            assert simulation is not None
            guest = simulation.guest
            guest.is_busy = True
            monkeypatch.setattr(guest, "next_event", lambda: 0)
            monkeypatch.setattr(guest, "settle", lambda _=None: None)

        thread.call(be_late)
        for _ in range(3):
            with connect(thread.path) as sock:
                sock.sendall(PING)
                assert read_line(sock) == PONG


@pytest.mark.parametrize(
    ("channel", "least", "most"),
    [
        # Linux counts 768 bytes for a small write to a unix socket, and lets 212,992 be unread: 277
        # replies, and the few that were joined before the client fell behind.
        ("unix-listen", 100, 1000),
        ("virtio-serial", 2000, 2000),
    ],
)
def test_an_agent_that_listens_itself_waits_sooner_for_a_client_that_does_not_read(
    channel: str, least: int, most: int
) -> None:
    done = 0

    def count(_: object, __: bytes) -> None:
        nonlocal done
        done += 1

    async def main() -> None:
        built = loads(f"{{qgasim: 1, agent: {{channel: {channel}}}}}").build()
        on_exchange(built, count)
        server = Server(built, "unused")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.converse, ours)
                theirs.sendall(PING * 2000)
                await trio.testing.wait_all_tasks_blocked()
                assert least <= done <= most
                theirs.setblocking(False)
                left = 2000
                while left:
                    with contextlib.suppress(BlockingIOError):
                        left -= theirs.recv(1 << 20).count(b"\n")
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()

    trio.run(main)
    assert done == 2000


def test_an_agent_that_listens_itself_is_served_at_any_address() -> None:
    # Only a unix socket is asked what is unread in it: one of vsock may not know.
    channel = loads("{qgasim: 1, agent: {channel: unix-listen}}").build()
    with ServerThread(channel, parse_address("tcp:0")) as thread:
        assert isinstance(thread.address, TcpAddress)
        with socket.create_connection((thread.address.host, thread.address.port)) as sock:
            sock.settimeout(PATIENCE)
            sock.sendall(PING * 1000)
            assert [read_line(sock) for _ in range(1000)] == [PONG] * 1000
