"""The pytest plugin, as projects use it: each test here runs pytest on a project of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin_run import CLIENT, ROOT, Run

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(pytester, monkeypatch)


# -- clients of every kind -------------------------------------------------------------------------


def test_a_blocking_client_gets_a_fresh_guest_in_each_test(run: Run) -> None:
    result = run(
        CLIENT
        + """
import base64

def test_one(qga):
    with SyncClient(qga.socket_path) as client:
        handle = client.call("guest-file-open", path="/tmp/x", mode="w")
        assert handle == 1000
        client.call("guest-file-write", handle=handle, buf_b64="aGk=")
        client.call("guest-file-close", handle=handle)
    assert qga.guest.files.read("/tmp/x") == b"hi"
    assert len(qga.socket_path.encode()) < 108

def test_two(qga):
    assert not qga.guest.files.exists("/tmp/x")
"""
    )
    result.assert_outcomes(passed=2)


def test_a_client_in_a_thread_and_one_in_a_process_are_served(run: Run) -> None:
    result = run(
        CLIENT
        + """
import subprocess, sys, threading

def ping(path, answers):
    with SyncClient(path) as client:
        answers.append(client.call("guest-ping"))

def test_thread(qga):
    answers = []
    thread = threading.Thread(target=ping, args=(qga.socket_path, answers))
    thread.start()
    thread.join()
    assert answers == [{}]

PROGRAM = '''
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.sendall(b'{"execute": "guest-get-host-name"}')
    print(sock.recv(1000).decode())
'''

def test_process(qga):
    done = subprocess.run([sys.executable, "-c", PROGRAM, qga.socket_path], capture_output=True)
    assert b'"host-name": "debian"' in done.stdout
    qga.verify("guest-get-host-name", times=1)
"""
    )
    result.assert_outcomes(passed=2)


def test_an_asyncio_client_is_served(run: Run) -> None:
    # qemu.qmp is QEMU's own library; a guest agent sends no greeting.
    result = run(
        """
import asyncio
from qemu.qmp import QMPClient

def test_ping(qga):
    async def main():
        client = QMPClient("test")
        client.await_greeting = client.negotiate = False
        await client.connect(qga.socket_path)
        try:
            return await client.execute("guest-ping")
        finally:
            await client.disconnect()
    assert asyncio.run(main()) == {}
    assert qga.journal.commands() == ["guest-ping"]
"""
    )
    result.assert_outcomes(passed=1)


TRIO = """
import time
import pytest, trio, trio.testing
from qgasim import Client

PING = b'{"execute": "guest-ping"}'

@pytest.mark.trio
async def test_an_hour_takes_no_time(qga_trio, autojump_clock):
    began = time.monotonic()
    qga_trio.inject(kind="delay", on="guest-ping", by="1h")
    async with await trio.open_unix_socket(qga_trio.socket_path) as stream:
        await stream.send_all(PING)
        assert await stream.receive_some() == b'{"return": {}}\\n'
    assert trio.current_time() >= 3600
    assert time.monotonic() - began < 60
    assert qga_trio.clock.uptime >= 3600

@pytest.mark.trio
async def test_over_streams_in_memory_one_after_the_other(qga_trio, autojump_clock):
    qga_trio.inject(kind="delay", on="guest-ping", by="1h")
    for _ in range(2):
        async with Client(await qga_trio.open_stream()) as client:
            assert await client.call("guest-ping") == {}
    assert 7200 <= trio.current_time() < 7201

@pytest.mark.trio
async def test_a_stream_in_memory_ends_when_the_agent_hangs_up(qga_trio, autojump_clock):
    qga_trio.inject(kind="close", on="guest-ping")
    async with await qga_trio.open_stream() as stream:
        await stream.send_all(PING)
        assert await stream.receive_some() == b""

@pytest.mark.trio
async def test_a_long_reply_comes_in_pieces_over_a_stream_in_memory(qga_trio):
    async with await qga_trio.open_stream() as stream:
        await stream.send_all(b'{"execute":"guest-info"}')
        pieces = []
        while not (pieces and pieces[-1].endswith(b"\\n")):
            pieces.append(await stream.receive_some())
    assert len(pieces) == -(-sum(map(len, pieces)) // 2047) > 1
    assert {len(piece) for piece in pieces[:-1]} == {2047}

@pytest.mark.trio
async def test_the_clock_releases_what_waits(qga_trio):
    qga_trio.clock.stop()
    qga_trio.inject(kind="delay", on="guest-ping", by="1h")
    async with await qga_trio.open_stream() as stream:
        await stream.send_all(PING)
        await trio.testing.wait_all_tasks_blocked()
        qga_trio.clock.advance("1h")
        assert await stream.receive_some() == b'{"return": {}}\\n'

@pytest.mark.trio
async def test_reset(qga_trio, autojump_clock):
    await trio.sleep(3600)
    qga_trio.guest.files.write("/tmp/x", b"x")
    path = qga_trio.socket_path
    qga_trio.reset()
    assert qga_trio.socket_path == path
    assert qga_trio.clock.uptime < 3600
    assert not qga_trio.guest.files.exists("/tmp/x")
    async with Client(path) as client:
        await client.call("guest-ping")
    assert qga_trio.journal.commands() == ["guest-sync-delimited", "guest-ping"]

@pytest.mark.trio
async def test_a_test_may_end_its_nursery(qga_trio, nursery):
    nursery.cancel_scope.cancel()
    await trio.lowlevel.checkpoint()

@pytest.mark.trio
@pytest.mark.qgasim_matrix(agents=["5.2", "10.0"])
async def test_matrix(qga_trio):
    async with Client(qga_trio.socket_path) as client:
        assert (await client.call("guest-info"))["version"] in ("5.2.0", "10.0.13")

@pytest.mark.trio
@pytest.mark.qgasim(findings="error")
async def test_findings(qga_trio):
    async with Client(qga_trio.socket_path) as client:
        await client.call("guest-fsfreeze-freeze")

@pytest.mark.trio
async def test_left(qga_trio):
    global stream
    stream = await trio.open_unix_socket(qga_trio.socket_path)
"""


@pytest.mark.slow
def test_trio_clients_are_served_in_the_nursery_of_their_test(run: Run) -> None:
    # It leaves a stream behind.
    result = run(TRIO, process=True)
    result.assert_outcomes(passed=9, failed=2)
    text = result.stdout.str()
    assert "frozen-never-thawed" in text
    assert "qemu-ga 7.2.22 in guest 'debian', state frozen, seed 0" in text
    assert "a client of this process is still connected" in text


@pytest.mark.slow
def test_workers_of_xdist_do_not_get_in_each_others_way(run: Run) -> None:
    pytest.importorskip("xdist")
    result = run(
        CLIENT
        + """
import pytest

@pytest.mark.parametrize("number", range(8))
def test_ping(qga, number):
    with SyncClient(qga.socket_path) as client:
        assert client.call("guest-sync", id=number) == number
""",
        "-n",
        "2",
        process=True,
    )
    result.assert_outcomes(passed=8)


# -- which guest -----------------------------------------------------------------------------------


def test_markers_options_and_the_ini_file_choose_the_guest(run: Run) -> None:
    run.pytester.makefile(".yaml", mine="qgasim: 1\nguest: {hostname: mine}\n")
    result = run(
        CLIENT
        + """
import pytest

def ask(qga, command, member):
    with SyncClient(qga.socket_path) as client:
        return client.call(command)[member]

def test_options(qga):
    assert ask(qga, "guest-info", "version") == "5.2.0"
    assert ask(qga, "guest-get-osinfo", "id") == "alpine"

@pytest.mark.qgasim(agent="11.1", scenario="mine.yaml")
def test_marker(qga):
    assert ask(qga, "guest-info", "version") == "11.1.3"
    assert ask(qga, "guest-get-host-name", "host-name") == "mine"

@pytest.mark.qgasim(guest={"hostname": "db1"}, faults=[{"kind": "drop", "on": "guest-ping"}])
def test_overrides(qga):
    assert ask(qga, "guest-get-host-name", "host-name") == "db1"
    assert qga.blueprint.scenario.seed == 7

@pytest.mark.qgasim(channel="unix-listen")
class TestChannel:
    def test_channel(self, qga):
        assert type(qga.simulation.channel).__name__ == "UnixListen"
""",
        "--qgasim-agent=5.2",
        "--qgasim-seed=7",
        ini="qgasim_scenario = alpine-3.20",
    )
    result.assert_outcomes(passed=4)


def test_paths_are_relative_to_the_ini_file_the_test_or_the_working_directory(run: Run) -> None:
    scenario = "qgasim: 1\nguest: {hostname: %s}\n"
    run.pytester.makefile(".yaml", ini=scenario % "ini", option=scenario % "option")
    tests = run.pytester.mkdir("tests")
    (tests / "marker.yaml").write_text(scenario % "marker")
    (tests / "option.yaml").write_text(scenario % "another")
    text = """
import pytest

def test_default(qga):
    assert qga.guest.hostname == HOSTNAME

@pytest.mark.qgasim(scenario="marker.yaml")
def test_marker(qga):
    assert qga.guest.hostname == "marker"
"""
    for hostname, options in (("ini", ()), ("option", ("--qgasim-scenario=option.yaml",))):
        (tests / "test_paths.py").write_text(text.replace("HOSTNAME", repr(hostname)))
        result = run("", "tests", *options, ini="qgasim_scenario = ini.yaml")
        result.assert_outcomes(passed=2)


def test_a_guest_of_a_fleet_is_named_as_on_the_command_line(run: Run) -> None:
    run.pytester.makefile(".yaml", mine="qgasim: 1\nfleet: {web: , db: {guest: {vcpus: 7}}}\n")
    result = run(
        """
import pytest

@pytest.mark.qgasim(scenario="fleet-one-hung#vm2")
def test_shipped(qga):
    assert qga.guest.hostname == "vm2"

@pytest.mark.qgasim(scenario="mine.yaml#db")
def test_mine(qga):
    assert len(qga.guest.vcpus) == 7

def test_made(qga_factory):
    assert qga_factory(scenario="mine.yaml#web").guest.hostname == "web"
"""
    )
    result.assert_outcomes(passed=3)


def test_a_matrix_runs_a_test_for_each_combination(run: Run) -> None:
    result = run(
        CLIENT
        + """
import pytest

@pytest.mark.qgasim_matrix(agents=["5.2", "10.0"], scenarios=["debian-12", "alpine-3.20"])
def test_id(qga):
    with SyncClient(qga.socket_path) as client:
        assert client.call("guest-info")["version"] in ("5.2.0", "10.0.13")
""",
        "-v",
    )
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        ["*test_id[[]5.2-debian-12] PASSED*", "*test_id[[]10.0-alpine-3.20] PASSED*"]
    )


@pytest.mark.slow
def test_a_drill_runs_a_test_for_each_guest(run: Run) -> None:
    result = run(
        CLIENT
        + """
import pytest

@pytest.mark.qgasim_drill(
    scenarios=["fleet-one-hung", "nic-with*"], nemesis=1, seed=1, expect=["fleet-one-hung#vm2", "nemesis-*"]
)
def test_ping(qga):
    with SyncClient(qga.socket_path, timeout=0.5) as client:
        for _ in range(9):
            assert client.call("guest-ping") == {}

@pytest.mark.qgasim_drill(scenarios=["nic-without-ip"])
def test_findings(qga):
    with SyncClient(qga.socket_path) as client:
        client.call("guest-fsfreeze-freeze")

@pytest.mark.qgasim(findings="report")
@pytest.mark.qgasim_drill(scenarios=["nic-without-ip"], expect=["nic*"])
def test_reported(qga):
    test_findings(qga)

@pytest.mark.qgasim_drill(scenarios=["exec-slow"], agents=["5.2", "7.2"])
def test_release(qga):
    assert qga.agent.dialect.full_version in ("5.2.0", "7.2.22")
""",
        "-rA",
    )
    result.assert_outcomes(passed=9, xfailed=2, failed=1, errors=1)
    text = result.stdout.str()
    assert "XFAIL test_a_drill_runs_a_test_for_each_guest.py::test_ping[fleet-one-hung#vm2]" in text
    assert "ERROR test_a_drill_runs_a_test_for_each_guest.py::test_findings[nic-without-ip]" in text
    assert "[XPASS(strict)] the marker expects it" in text
    assert "PASSED test_a_drill_runs_a_test_for_each_guest.py::test_release[exec-slow@5.2]" in text


def test_a_run_of_a_drill_may_take_only_so_long(run: Run) -> None:
    result = run(
        """
import threading, pytest

@pytest.mark.qgasim_drill(scenarios=["nic-without-ip"], time="1ms", expect=["*"])
def test_a_client_that_goes_on_for_ever(qga):
    while True:
        try:
            threading.Event().wait()
        except Exception:
            pass
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no end within 0.001 s (@pytest.mark.qgasim_drill: time=...)*"])


# -- taking hold of it -----------------------------------------------------------------------------


def test_a_guest_is_changed_disturbed_and_stubbed_while_it_is_served(run: Run) -> None:
    result = run(
        CLIENT
        + """
import pytest
from qgasim.errors import ClientError

def test_all(qga):
    end = qga.inject(kind="error", on="guest-get-users", desc="no")
    qga.stub("guest-get-timezone", reply={"zone": "MOON", "offset": 0})
    qga.guest.nics["enp1s0"].addresses.append("192.0.2.7/24")
    with SyncClient(qga.socket_path) as client:
        with pytest.raises(ClientError, match="no"):
            client.call("guest-get-users")
        end()
        assert [user["user"] for user in client.call("guest-get-users")] == ["debian"]
        assert client.call("guest-get-timezone")["zone"] == "MOON"
        nics = client.call("guest-network-get-interfaces")
        assert "192.0.2.7" in [a["ip-address"] for a in nics[1]["ip-addresses"]]
    qga.never("guest-exec")
    qga.in_order("guest-get-users", "guest-get-timezone")
    with pytest.raises(KeyError, match="there are: lo, enp1s0"):
        qga.guest.nics["eth0"]
    with pytest.raises(AttributeError, match="did you mean 'reboot'"):
        qga.rebot()

def test_events(qga):
    assert qga.state == "up"
    qga.reboot()
    assert qga.state == "rebooting"
    qga.clock.advance("1m")
    assert qga.state == "up"
    before = qga.clock.now
    qga.step_clock(forward="1h")
    assert qga.clock.now - before >= 3600 * 10**9
"""
    )
    result.assert_outcomes(passed=2)


def test_a_reply_that_waits_is_sent_when_the_clock_has_been_advanced(run: Run) -> None:
    result = run(
        """
import socket, pytest

def test_delay(qga):
    qga.clock.stop()
    qga.inject(kind="delay", on="guest-ping", by="30s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(qga.socket_path)
        sock.sendall(b'{"execute": "guest-ping"}')
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(100)
        qga.clock.advance("29s")
        with pytest.raises(TimeoutError):
            sock.recv(100)
        qga.clock.advance(1)
        sock.settimeout(20)
        assert sock.recv(100) == b'{"return": {}}\\n'
"""
    )
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_many_guests_of_a_factory_share_a_thread(run: Run) -> None:
    result = run(
        CLIENT
        + """
import threading

def servers():
    return sum(thread.name == "qgasim" for thread in threading.enumerate())

# This process may serve guests of other tests.
BEFORE = servers()

def test_fleet(qga_factory):
    fleet = [qga_factory(seed=n) for n in range(50)] + [qga_factory(scenario="alpine-3.20")]
    names = []
    for live in fleet:
        with SyncClient(live.socket_path) as client:
            names.append(client.call("guest-get-host-name")["host-name"])
    assert len(names) == 51
    assert servers() == BEFORE + 1
"""
    )
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_directory_for_temporary_files_with_a_long_path_will_do(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    directory = tmp_path / ("x" * 100)
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    result = run("def test(qga):\n    assert len(qga.socket_path.encode()) <= 107\n", process=True)
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_too_many_guests_for_the_process_are_told_and_not_all_described(run: Run) -> None:
    result = run(
        """
import resource

def test_fleet(qga_factory):
    qga_factory()
    qga_factory(seed=7).journal.note("asked")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    for _ in range(64):
        qga_factory()
""",
        process=True,
    )
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "each needs a socket (`ulimit -n` says how many)" in text
    assert text.count("reproduce: ") == 5
    assert "state up, seed 7" in text
    assert "more guests)" in text


def test_the_guest_of_a_session_is_as_at_first_in_each_test(run: Run) -> None:
    result = run(
        CLIENT
        + """
PATHS = []

def test_one(qga_session):
    PATHS.append(qga_session.socket_path)
    qga_session.guest.files.write("/tmp/x", b"x")
    qga_session.inject(kind="drop", on="*")

def test_two(qga_session):
    assert [qga_session.socket_path] == PATHS
    assert not qga_session.guest.files.exists("/tmp/x")
    with SyncClient(qga_session.socket_path) as client:
        assert client.call("guest-ping") == {}
"""
    )
    result.assert_outcomes(passed=2)


# -- what it costs -----------------------------------------------------------------------------------


def test_nothing_of_qgasim_is_imported_by_a_run_that_does_not_use_it() -> None:
    text = (
        "import sys, qgasim.pytest_plugin; "
        "print([m for m in sys.modules if m.startswith('qgasim.') or m in ('trio', 'yaml')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == "['qgasim.pytest_plugin']"


# -- types -----------------------------------------------------------------------------------------

PROJECT = """
from collections.abc import Callable

import pytest

from qgasim import (
    Agent, Client, Delay, Finding, Guest, Journal, LiveGuest, Scenario, ServerThread, SyncClient,
    TrioGuest, load, verify,
)


@pytest.mark.qgasim(agent="10.0")
def test_typed(qga: LiveGuest, qga_factory: Callable[..., LiveGuest]) -> None:
    end: Callable[[], None] = qga.inject(Delay(on="guest-ping", by=1_000_000))
    end()
    qga.inject(kind="delay", by="1h", on={"command": "guest-exec"})
    qga.stub("guest-get-users", reply=[])
    qga.guest.files.write("/etc/motd", b"hello")
    qga.guest.nics["enp1s0"].up = False
    name: str = qga.guest.hostname
    guest: Guest = qga.guest
    agent: Agent = qga.agent
    with SyncClient(qga_factory(seed=1).socket_path) as client:
        client.call("guest-ping")
    qga.clock.advance("1h")
    qga.pause(lasts="2s", clock_runs=True)
    qga.reboot()
    journal: Journal = qga.journal
    verify(journal, "guest-ping", at_least=1)
    qga.verify("guest-ping", at_least=1, after="guest-info", within=10)
    findings: list[Finding] = qga.findings()
    assert name and guest and agent and findings
    # What is misspelled is seen before the test is run.
    qga.rebot()  # type: ignore[attr-defined]
    qga.pause(last="2s")  # type: ignore[call-arg]
    qga.verify("guest-ping", atleast=1)  # type: ignore[call-arg]
    qga.inject(kind="dealy", on="guest-ping")  # type: ignore[arg-type]


def serve(path: str) -> None:
    scenario: Scenario = load("debian-12")
    with ServerThread(scenario.build(), path) as thread:
        reveal: str = thread.path
        assert reveal


async def ask(qga_trio: TrioGuest) -> object:
    async with Client(qga_trio.socket_path) as client:
        await client.call("guest-ping")
    async with Client(await qga_trio.open_stream()) as client:
        return await client.call("guest-ping")
"""


@pytest.mark.slow
def test_a_users_project_is_typed(tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(PROJECT)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "."],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "Success: no issues found in 1 source file\n", done.stdout + done.stderr


# -- recordings ------------------------------------------------------------------------------------

TALK = """\
{"meta": {"agent": "7.2.22"}}
{"send": "{\\"execute\\":\\"guest-ping\\"}\\n", "recv": "{\\"return\\": {}}\\n"}
"""


def test_a_recording_is_replayed_and_a_strict_one_is_to_be_followed(
    run: Run, pytester: pytest.Pytester
) -> None:
    (pytester.path / "talk.jsonl").write_text(TALK)
    result = run(
        """
import pytest

from qgasim import SyncClient
from qgasim.errors import ClientError, ConversationError

def test_followed(qga_replay):
    with SyncClient(qga_replay("talk.jsonl", then="model").socket_path) as client:
        assert client.call("guest-ping") == {}
        assert client.call("guest-get-host-name") == {"host-name": "debian"}

def test_not_followed(qga_replay):
    guest = qga_replay("talk.jsonl", strict=True)
    with pytest.raises(ClientError), SyncClient(guest.socket_path) as client:
        client.call("guest-info")

def test_not_there(qga_replay):
    with pytest.raises(ConversationError, match="nothing.jsonl: No such file or directory"):
        qga_replay("nothing.jsonl")
    with pytest.raises(ConversationError, match="then: expected model or error, found 'x'"):
        qga_replay("talk.jsonl", then="x")
"""
    )
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*talk.jsonl:2: expected guest-ping, found *"])
