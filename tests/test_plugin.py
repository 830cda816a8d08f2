"""The pytest plugin, as projects use it: each test here runs pytest on a project of its own."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parent.parent
#: Where qgasim is installed, pytest finds the plugin by itself.
IS_INSTALLED = any(point.name == "qgasim" for point in entry_points(group="pytest11"))
CLIENT = "from qgasim.client import SyncClient\n"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> "Run":
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Run(pytester)


class Run:
    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester

    def __call__(self, text: str, *options: str, ini: str = "") -> pytest.RunResult:
        self.pytester.makepyfile(text)
        self.pytester.makeini(
            f"[pytest]\naddopts = -p no:cacheprovider\nfilterwarnings = error\nstrict_markers = true\n{ini}"
        )
        plugin = () if IS_INSTALLED else ("-p", "qgasim.pytest_plugin")
        return self.pytester.runpytest_subprocess(*plugin, *options, timeout=60)


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


def test_an_hour_takes_a_trio_client_no_time(run: Run) -> None:
    result = run(
        """
import time
import pytest, trio

@pytest.mark.trio
async def test_delay(qga_trio, autojump_clock):
    began = time.monotonic()
    qga_trio.inject(kind="delay", on="guest-ping", by="1h")
    async with await trio.open_unix_socket(qga_trio.socket_path) as stream:
        await stream.send_all(b'{"execute": "guest-ping"}')
        assert await stream.receive_some() == b'{"return": {}}\\n'
    assert trio.current_time() >= 3600
    assert time.monotonic() - began < 60
    assert qga_trio.clock.uptime >= 3600
"""
    )
    result.assert_outcomes(passed=1)


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
        assert type(qga.channel).__name__ == "UnixListen"
""",
        "--qgasim-agent=5.2",
        "--qgasim-seed=7",
        ini="qgasim_scenario = alpine-3.20",
    )
    result.assert_outcomes(passed=4)


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


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        ("qgasim(scenarioo='debian-12')", "no such key 'scenarioo' (did you mean 'scenario'?)"),
        ("qgasim(agent='1.0')", "no such release of qemu-ga: '1.0'"),
        ("qgasim('debian-12')", "takes keywords only, as in scenario=..."),
        ("qgasim(findings='never')", "findings='never' (expected one of report, error, off)"),
        ("qgasim_matrix(agent=['5.2'])", "no such key 'agent' (did you mean 'agents'?)"),
    ],
)
def test_a_wrong_marker_is_an_error_when_tests_are_collected(
    run: Run, marker: str, text: str
) -> None:
    result = run(f"import pytest\n\n@pytest.mark.{marker}\ndef test(qga):\n    pass\n")
    assert result.ret != 0
    assert text in result.stdout.str() + result.stderr.str()
    assert "1 passed" not in result.stdout.str()


def test_a_scenario_that_is_wrong_is_told_in_its_own_words(run: Run) -> None:
    result = run(
        "import pytest\n\n@pytest.mark.qgasim(guest={'hostnme': 'x'})\ndef test(qga):\n    pass\n"
    )
    result.assert_outcomes(errors=1)
    text = "guest: unknown key 'hostnme' (did you mean 'hostname'?)"
    assert text in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


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
        sock.settimeout(0.2)
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


def test_many_guests_of_a_factory_share_a_thread(run: Run) -> None:
    result = run(
        CLIENT
        + """
import threading

def test_fleet(qga_factory):
    fleet = [qga_factory(seed=n) for n in range(50)] + [qga_factory(scenario="alpine-3.20")]
    names = []
    for live in fleet:
        with SyncClient(live.socket_path) as client:
            names.append(client.call("guest-get-host-name")["host-name"])
    assert len(names) == 51
    assert sum(thread.name == "qgasim" for thread in threading.enumerate()) == 1
"""
    )
    result.assert_outcomes(passed=1)


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


# -- what is told ----------------------------------------------------------------------------------


def test_a_failed_test_shows_what_was_asked_and_how_to_have_the_guest_again(run: Run) -> None:
    result = run(
        CLIENT
        + """
import pytest

@pytest.mark.qgasim(seed=3, agent="10.0")
def test_fails(qga):
    with SyncClient(qga.socket_path) as client:
        client.call("guest-get-host-name")
    assert False
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- qgasim /*",
            "qemu-ga 10.0.13 in guest 'debian', state up, seed 3",
            '*#1 guest-get-host-name → {"return": {"host-name": "debian"}}',
            "to have it again: qgasim --scenario debian-12 --agent 10.0 --seed 3",
        ]
    )


def test_findings_fail_the_test_that_asks_for_it(run: Run) -> None:
    text = (
        CLIENT
        + """
import pytest

def freeze(qga):
    with SyncClient(qga.socket_path) as client:
        client.call("guest-fsfreeze-freeze")

@pytest.mark.qgasim(findings="error")
def test_strict(qga):
    freeze(qga)

def test_lax(qga):
    freeze(qga)

@pytest.mark.qgasim(findings="error")
def test_right(qga):
    with SyncClient(qga.socket_path) as client:
        client.call("guest-fsfreeze-freeze")
        client.call("guest-fsfreeze-thaw")
"""
    )
    result = run(text)
    result.assert_outcomes(passed=3, errors=1)
    assert "ERROR at teardown of test_strict" in result.stdout.str()
    assert "docs/findings.md#" in result.stdout.str()


# -- tests that misbehave --------------------------------------------------------------------------


def test_whatever_a_test_leaves_behind_the_fixture_ends(run: Run) -> None:
    # Not a bound on time: pytester's own timeout ends what hangs.
    result = run(
        CLIENT
        + """
import os, socket, pytest

LEFT = []

def test_open_client(qga):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(qga.socket_path)
    sock.sendall(b'{"execute": "guest-pi')
    LEFT.append(sock)
    assert False, "with a client that is open"

def test_hanging_guest(qga):
    qga.inject(kind="hang", on="*")
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(qga.socket_path)
    sock.sendall(b'{"execute": "guest-ping"}' * 10_000)
    LEFT.append(sock)

def test_fork(qga):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with SyncClient(qga.socket_path) as client:
        client.call("guest-ping")

def test_raises(qga):
    raise LookupError("in the middle")

def test_after_all_that(qga):
    for sock in LEFT:
        sock.close()
    with SyncClient(qga.socket_path) as client:
        assert client.call("guest-ping") == {}
""",
        "-W",
        "ignore",
    )
    result.assert_outcomes(passed=3, failed=2)
    assert "a client is still connected" in result.stdout.str()


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

from qgasim import Client, Journal, LiveGuest, Scenario, ServerThread, SyncClient, load, verify
from qgasim.faults import Delay


@pytest.mark.qgasim(agent="10.0")
def test_typed(qga: LiveGuest) -> None:
    end: Callable[[], None] = qga.inject(Delay(on="guest-ping", by=1_000_000))
    end()
    qga.guest.nics["enp1s0"].up = False
    name: str = qga.guest.hostname
    with SyncClient(qga.socket_path) as client:
        client.call("guest-ping")
    qga.clock.advance("1h")
    journal: Journal = qga.journal
    verify(journal, "guest-ping", at_least=1)
    assert name


def serve(path: str) -> None:
    scenario: Scenario = load("debian-12")
    with ServerThread(scenario.build(), path) as thread:
        reveal: str = thread.path
        assert reveal


async def ask(path: str) -> object:
    async with Client(path) as client:
        return await client.call("guest-ping")
"""


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
