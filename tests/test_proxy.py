"""Programs before a real agent: `qgasim --upstream`, `qgasim record --conversation` and `qgasim replay`."""

import base64
import json
import select
import signal
import socket
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from qgasim.cli.upstream import make_front, show_differences
from qgasim.client.blocking import SyncClient
from qgasim.compare import RealAgent as Asked
from qgasim.compare import compare
from qgasim.conversation import read_conversation
from qgasim.scenario import loads
from qgasim.serving.listen import TcpAddress, UnixAddress
from qgasim.serving.threads import ServerThread
from qgasim.upstream import Front, SocketLink
from tests.command_line import end, ready_lines, run, started
from tests.real_agent import RealAgent, needs_qemu_ga
from tests.serving import PATIENCE, read_line

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'


@contextmanager
def real_agent(directory: Path) -> Iterator[str]:
    """Run a real agent without a client; yield the path of its socket."""
    directory.mkdir(exist_ok=True)
    with RealAgent(directory) as agent:
        agent.socket.close()
        yield str(agent.path)


@contextmanager
def fake_agent(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Let *serve* have each client of a socket, one after the other."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4)

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    serve(sock)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield str(path)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)


def front(upstream: str, scenario: str = "extends: debian-12") -> Front:
    """Return what stands before the agent at *upstream*, a server on a unix socket itself."""
    loaded = loads(scenario)
    loaded.agent.release = "7.2.22"
    loaded.agent.channel = "unix-listen"
    return Front(loaded, lambda: SocketLink(UnixAddress(upstream), PATIENCE))


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(path)
    return sock


@pytest.mark.slow
@needs_qemu_ga
def test_a_proxied_comparison_finds_no_difference(tmp_path: Path) -> None:
    with real_agent(tmp_path / "real") as upstream:
        proxy = tmp_path / "proxy"
        with (
            ServerThread(front(upstream).build(), proxy),
            Asked(UnixAddress(str(proxy)), PATIENCE) as agent,
        ):
            result = compare(agent)
    assert result.differences == []
    assert result.asked > 700


@needs_qemu_ga
def test_clients_take_turns_and_are_connected_anew(tmp_path: Path) -> None:
    with real_agent(tmp_path / "real") as upstream:
        proxy = str(tmp_path / "proxy")
        with ServerThread(front(upstream).build(), proxy):
            first, second = connect(proxy), connect(proxy)
            second.sendall(PING)
            with first:
                first.sendall(PING[:5])
                first.sendall(PING[5:])
                assert read_line(first) == PONG
            with second:
                assert read_line(second) == PONG
            # One that only stops sending is answered, as by this agent.
            with connect(proxy) as third:
                third.sendall(PING * 3)
                third.shutdown(socket.SHUT_WR)
                assert third.makefile("rb").read() == PONG * 3


@needs_qemu_ga
def test_a_reply_left_unread_ends_the_agent_as_it_does_without_a_proxy(tmp_path: Path) -> None:
    # tests/golden/7.2/conn-unix.jsonl: reply-unread-then-close.
    proxy = str(tmp_path / "proxy")
    with RealAgent(tmp_path) as agent:
        agent.socket.close()
        with ServerThread(front(str(agent.path)).build(), proxy):
            with connect(proxy) as sock:
                sock.sendall(PING)
                assert read_line(sock) == PONG
                sock.sendall(PING)
                select.select([sock], [], [], PATIENCE)
            assert agent.process.wait(PATIENCE) == 0
            with connect(proxy) as sock:
                assert sock.recv(1) == b""


def test_an_agent_is_left_alone_between_two_clients(tmp_path: Path) -> None:
    upstream, proxy = str(tmp_path / "agent"), str(tmp_path / "proxy")
    with (
        ServerThread(loads("extends: debian-12").build(), upstream),
        ServerThread(front(upstream).build(), proxy),
    ):
        for _ in range(30):
            with connect(proxy) as sock:
                sock.sendall(PING)
                assert read_line(sock) == PONG
        with connect(upstream) as sock:
            sock.sendall(PING)
            assert read_line(sock) == PONG


def test_an_agent_that_does_not_read_is_waited_for(tmp_path: Path) -> None:
    let_read = threading.Event()
    count = 200_000

    def serve(sock: socket.socket) -> None:
        let_read.wait(PATIENCE)
        stream = sock.makefile("rwb")
        for line in stream:
            stream.write(PONG if b"ping" in line else b"{}\n")
            stream.flush()

    with fake_agent(tmp_path / "fake", serve) as upstream:
        proxy = str(tmp_path / "proxy")
        simulation = front(upstream).build()
        with ServerThread(simulation, proxy) as thread, connect(proxy) as sock:
            sock.setblocking(False)
            sent = 0
            with suppress(BlockingIOError):
                while sent < count * len(PING):
                    sent += sock.send(PING * 1000)
                    for _ in range(50):
                        thread.call(lambda: None)
            assert sent < count * len(PING)
            sock.settimeout(PATIENCE)
            let_read.set()
            sock.sendall(PING[sent % len(PING) :])
            replies = sock.makefile("rb")
            for _ in range(sent // len(PING) + 1):
                assert replies.readline() == PONG


def test_an_agent_is_reached_over_tcp(tmp_path: Path) -> None:
    proxy = str(tmp_path / "proxy")
    with ServerThread(loads("extends: debian-12").build(), TcpAddress("127.0.0.1", 0)) as agent:
        address = agent.address
        assert isinstance(address, TcpAddress)
        loaded = loads("extends: debian-12")
        simulation = Front(loaded, lambda: SocketLink(address, PATIENCE)).build()
        with ServerThread(simulation, proxy):
            for _ in range(3):
                with connect(proxy) as sock:
                    sock.sendall(PING)
                    assert read_line(sock) == PONG


def test_an_agent_that_ends_amid_a_reply_is_told(tmp_path: Path) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b'{"retu')

    with fake_agent(tmp_path / "fake", serve) as upstream:
        proxy = str(tmp_path / "proxy")
        simulation = front(upstream).build()
        from qgasim.simulation.journal import Journal

        journal = Journal(simulation)
        with ServerThread(simulation, proxy):
            for _ in range(2):
                with connect(proxy) as sock:
                    sock.sendall(PING)
                    assert sock.makefile("rb").read() == b'{"retu'
        assert f"{upstream}: the agent hung up" in journal.transcript()


@pytest.mark.parametrize(
    ("scenario", "agent", "note"),
    [
        (None, None, ""),
        ("debian-12", None, "qgasim: note: the agent says that it is 10.0.13; named is 7.2\n"),
        (None, "8.2", "qgasim: note: the agent says that it is 10.0.13; named is 8.2\n"),
        ("debian-12", "10.0", ""),
    ],
)
def test_another_release_than_the_one_that_is_named_is_told(
    scenario: str | None,
    agent: str | None,
    note: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loaded = loads("extends: debian-12")
    loaded.agent.release = agent or loaded.agent.release
    behind = loads("extends: alpine-3.20\nagent: {release: '10.0.13'}")
    with ServerThread(behind.build(), str(tmp_path / "agent")) as thread:
        options = Namespace(upstream=thread.path, scenario=scenario, agent=agent)
        blueprint = make_front(loaded, options)
    assert capsys.readouterr().err == note
    simulation = blueprint.build()
    assert simulation.agent.dialect.version == ((8, 2) if agent == "8.2" else (10, 0))
    show_differences(blueprint, simulation)
    assert blueprint.survey is not None
    assert blueprint.survey.system_id == "alpine"


def test_where_the_real_agent_answers_differently_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "x" * 400
    behind = loads(f"""\
extends: debian-12
replies:
  - {{on: guest-get-host-name, reply: {{name: {name}}}}}
""")
    proxy = tmp_path / "proxy"
    with ServerThread(behind.build(), str(tmp_path / "agent")) as thread:
        options = Namespace(upstream=thread.path, scenario=None, agent=None)
        blueprint = make_front(loads("extends: debian-12"), options)
        simulation = blueprint.build()
        show_differences(blueprint, simulation)
        with ServerThread(simulation, proxy), SyncClient(str(proxy)) as client:
            assert client.call("guest-ping") == {}
            assert client.call("guest-get-host-name") == {"name": name}
    shown = capsys.readouterr().err.splitlines()
    assert shown == [
        (
            "difference: values: name: a member that the simulated agent does not have; host-name: a member"
            " that the simulated agent always has is absent"
        ),
        '   sent      {"execute": "guest-get-host-name"}',
        f'   real      {{"return": {{"name": "{"x" * 279}... (425 bytes)',
        '   simulated {"return": {"host-name": "debian"}}',
    ]


def test_an_agent_that_is_gone_is_told_to_each_client(tmp_path: Path) -> None:
    proxy = str(tmp_path / "proxy")
    simulation = front(str(tmp_path / "nothing")).build()
    from qgasim.simulation.journal import Journal

    journal = Journal(simulation)
    with ServerThread(simulation, proxy), connect(proxy) as sock:
        assert sock.recv(1) == b""
    assert f"{tmp_path}/nothing: No such file or directory" in journal.transcript()


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (lambda _: None, "the agent hung up; is this an agent's socket"),
        (
            lambda sock: sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n") or sock.recv(4096),
            "the agent hung up",
        ),
        (
            lambda sock: sock.sendall(sock.recv(4096) and b'\xff{"return": 1}\n{"retu'),
            "the agent hung up",
        ),
    ],
    ids=["closes", "ssh", "amid"],
)
def test_what_is_no_agent_is_told_in_a_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    serve: Callable[[socket.socket], None],
    why: str,
) -> None:
    with fake_agent(tmp_path / "fake", serve) as upstream:
        assert run(["--upstream", upstream]) == 2
        found = capsys.readouterr().err
        assert found.startswith("qgasim: ")
        assert why in found
        assert found.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--upstream", "/nonexistent/s"], "qgasim: /nonexistent/s: No such file or directory"),
        (["--upstream", "tcp:x"], "qgasim: --upstream: expected tcp:[HOST:]PORT, found 'tcp:x'"),
        (["--upstream", "x", "--agent", "8.3"], "--agent: no such release: '8.3'"),
        (["--diff"], "--diff: has no effect without --upstream"),
        (["--upstream", "x", "--qmp", "unix:/x"], "--qmp: has no effect on a real agent"),
        (
            ["--upstream", "x", "--scenario", "fleet-one-hung"],
            "it is one agent, and the scenario is a fleet",
        ),
        (["replay", "/nonexistent/x"], "qgasim: /nonexistent/x: No such file or directory"),
        (["replay", "x", "--strict", "--loose"], "not allowed with argument --strict"),
        (["replay", "/etc/passwd"], "qgasim: /etc/passwd:1: JSON is malformed"),
        (["record", "x", "--listen", "unix:/x"], "have no effect without --conversation FILE"),
        (["record", "--conversation", "x"], "--conversation: expected ADDRESS, and --listen"),
        (
            ["record", "x", "--conversation", "y", "--listen", "stdio"],
            "--listen: expected unix:PATH",
        ),
        (
            ["record", "x", "--conversation", "y", "--listen", "unix:/z", "--qmp", "q"],
            "--qmp: expected MONITOR=ADDRESS",
        ),
        (
            ["record", "x", "--conversation", "y", "--listen", "tcp:x"],
            "--listen: expected unix:PATH",
        ),
        (
            ["record", "x", "--conversation", "y", "--listen", "unix:/z", "--qmp", "tcp:x=unix:/q"],
            "--qmp: expected tcp:[HOST:]PORT, found 'tcp:x'",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    try:
        status = run(arguments)
    except SystemExit as error:
        status = error.code
    assert status == 2
    found = capsys.readouterr().err
    assert why in found
    assert found.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--qmp", "m=unix:q"], "--qmp: what a monitor says is not redacted: add --keep all"),
        ([], "/there: File exists"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_a_line(
    options: list[str], why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").write_text("a recording")
    behind = loads("extends: debian-12\nreplies: [{on: guest-info, reply: {version: '7.3'}}]")
    with ServerThread(behind.build(), str(tmp_path / "agent")) as thread:
        places = ["--conversation", f"{tmp_path}/there", "--listen", f"unix:{tmp_path}/s"]
        assert run(["record", thread.path, *places, *options]) == 2
    note, found = capfd.readouterr().err.splitlines()
    assert note.startswith("qgasim record: note: ")
    assert why in found
    assert (tmp_path / "there").read_text() == "a recording"


@needs_qemu_ga
@pytest.mark.slow
def test_a_real_agent_is_recorded_and_replayed(tmp_path: Path) -> None:
    talk, proxy = tmp_path / "talk.jsonl", tmp_path / "proxy"
    with real_agent(tmp_path / "real") as upstream:
        record = ["record", upstream, "--listen", f"unix:{proxy}", "--conversation", str(talk)]
        with started(*record) as program:
            until_listening(proxy)
            with SyncClient(str(proxy), timeout=PATIENCE) as client:
                network = client.call("guest-network-get-interfaces")
            assert echo(proxy, "secret") == "secret\n"
            status, _ = end(program, signal.SIGINT)
            assert status == 0
    conversation = read_conversation(str(talk))
    assert conversation.meta == {"conversation": 1, "agent": "7.2.22", "redacted": True}
    text = talk.read_text()
    macs = {nic["hardware-address"] for nic in network if "hardware-address" in nic}
    assert not [mac for mac in macs - {"00:00:00:00:00:00"} if mac in text]
    assert "secret" not in text
    with started("replay", str(talk), "--listen", f"unix:{proxy}") as program:
        ready_lines(program)
        with SyncClient(str(proxy), timeout=PATIENCE) as client:
            assert [nic["name"] for nic in client.call("guest-network-get-interfaces")]
        assert echo(proxy, "anything") == "xxxxxxx"
        end(program, signal.SIGTERM)


def echo(path: Path, text: str) -> str:
    """Let the agent run a program; return what it wrote."""
    with SyncClient(str(path), timeout=PATIENCE) as client:
        pid = client.call("guest-exec", path="echo", arg=[text], capture_output=True)["pid"]
        while not (status := client.call("guest-exec-status", pid=pid))["exited"]:
            pass
    return base64.b64decode(status["out-data"]).decode()


def until_listening(path: Path) -> None:
    """Wait until clients can connect: the socket's file is there a moment before. No client has come then."""
    import time

    deadline = time.monotonic() + PATIENCE
    # The fourth column are the flags, of which this one is SO_ACCEPTCON (Linux, net/unix/af_unix.c, unix_seq_show()).
    while not [
        words
        for words in map(str.split, Path("/proc/net/unix").read_text().splitlines())
        if words[-1] == str(path) and words[3] == "00010000"
    ]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@needs_qemu_ga
@pytest.mark.slow
def test_the_bytes_are_kept_if_all_is_kept_and_monitors_stand_beside(tmp_path: Path) -> None:
    talk, proxy, monitor = tmp_path / "talk.jsonl", tmp_path / "proxy", tmp_path / "qmp"

    def serve(sock: socket.socket) -> None:
        sock.sendall(b'{"QMP": {}}\r\n')
        sock.sendall(sock.recv(4096).upper())

    with (
        real_agent(tmp_path / "real") as upstream,
        fake_agent(tmp_path / "fake", serve) as qmp,
        started(
            *("record", upstream, "--listen", f"unix:{proxy}", "--conversation", str(talk)),
            *("--keep", "all", "--qmp", f"{qmp}=unix:{monitor}", "-q"),
        ) as program,
    ):
        until_listening(monitor)
        with connect(str(proxy)) as sock, connect(str(monitor)) as beside:
            sock.sendall(PING[:9])
            assert read_line(beside) == b'{"QMP": {}}\r\n'
            beside.sendall(b"hallo")
            assert beside.recv(100) == b"HALLO"
            assert beside.recv(1) == b""
            sock.sendall(PING[9:])
            assert read_line(sock) == PONG
        end(program, signal.SIGINT)
    steps = read_conversation(str(talk)).steps
    agent = [step for step in steps if step.to == "agent"]
    assert b"".join(step.sent for step in agent) == PING
    assert b"".join(step.received for step in agent) == PONG
    assert [(s.action, s.sent, s.received) for s in steps if s.to == "qmp"] == [
        ("connect", b"", b""),
        ("read", b"", b'{"QMP": {}}\r\n'),
        ("send", b"hallo", b""),
        ("read", b"", b"HALLO"),
        ("read", b"", b""),
    ]
    times = [step.at for step in steps if step.at is not None]
    assert times == sorted(times)


@needs_qemu_ga
@pytest.mark.slow
def test_control_stands_before_a_real_agent(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("extends: debian-12\nfaults: [{kind: delay, on: guest-info, by: 1ms}]\n")
    proxy, control = tmp_path / "proxy", tmp_path / "control"
    with (
        real_agent(tmp_path / "real") as upstream,
        started(
            *("--upstream", upstream, "--scenario", str(faults), "--listen", f"unix:{proxy}"),
            *("--control", f"unix:{control}", "--diff"),
        ) as program,
    ):
        ready_lines(program)
        with SyncClient(str(proxy), timeout=PATIENCE) as client:
            assert client.call("guest-info")["version"] == "7.2.22"
        assert ctl(control, "GET", "/faults")[1][0]["fired"] == 1
        status, refused = ctl(control, "POST", "/faults", {"kind": "crash"})
        assert (status, "needs a simulated guest" in json.dumps(refused)) == (422, True)
        status, refused = ctl(control, "POST", "/events", {"do": "reboot"})
        assert (status, "needs a simulated guest" in json.dumps(refused)) == (422, True)
        commands = [e.get("command") for e in ctl(control, "GET", "/journal")[1]["entries"]]
        assert "guest-info" in commands
        end(program, signal.SIGTERM)


def ctl(path: Path, method: str, rest: str, body: object = None) -> tuple[int, Any]:
    """Ask the control API of the only guest."""
    from http.client import HTTPConnection

    connection = HTTPConnection("localhost")
    connection.sock = connect(str(path))
    headers = {"Content-Type": "application/json"}
    connection.request(
        method, f"/v1/guests/guest{rest}", json.dumps(body) if body else None, headers
    )
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return answer.status, found
