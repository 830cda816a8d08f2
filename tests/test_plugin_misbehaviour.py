"""Tests that leave something behind, break something, or are broken: the fixtures end all the same."""

import re

import pytest

from tests.plugin_run import CLIENT, Run

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(pytester, monkeypatch)


LEFT = re.compile(r"left behind by the test: (?:\S+: )?(.*?)(?:; |$)", re.MULTILINE)


@pytest.mark.slow
def test_whatever_a_test_leaves_behind_the_fixture_ends_and_names_it(run: Run) -> None:
    # Not a bound on time: the time-out of a run ends what hangs.
    result = run(
        CLIENT
        + """
import asyncio, os, socket, subprocess, sys, threading, time
import pytest

LEFT = []

def connect(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    LEFT.append(sock)
    return sock

def test_open_client(qga):
    connect(qga.socket_path).sendall(b'{"execute": "guest-pi')

def test_two_clients(qga):
    connect(qga.socket_path).sendall(b'{"execute": "guest-ping"}')
    connect(qga.socket_path)

def test_hanging_guest(qga):
    qga.inject(kind="hang", on="*")
    connect(qga.socket_path).sendall(b'{"execute": "guest-ping"}' * 10_000)

def test_killed_loop(qga):
    async def main():
        _, writer = await asyncio.open_unix_connection(qga.socket_path)
        LEFT.append(writer)
        asyncio.get_running_loop().stop()
        await asyncio.sleep(3600)
    loop = asyncio.new_event_loop()
    LEFT.append(loop)
    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(main())

PROGRAM = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(flush=True); time.sleep(60)"

def test_process(qga):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, qga.socket_path], stdout=subprocess.PIPE)
    LEFT.append(process)
    process.stdout.readline()

def test_blocked_thread(qga, qga_factory):
    # Both guests are in that thread.
    qga_factory()
    busy = threading.Event()
    def block():
        busy.set()
        time.sleep(30)
    threading.Thread(target=lambda: qga.call(block), daemon=True).start()
    busy.wait()

def test_clean(qga):
    for _ in range(10):
        with SyncClient(qga.socket_path) as client:
            client.call("guest-ping")

def test_after_all_that(qga):
    LEFT[-1].kill()
    LEFT[-1].communicate()
    with SyncClient(qga.socket_path) as client:
        assert client.call("guest-ping") == {}
""",
        "-W",
        "default",
        process=True,
    )
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] == 8
    assert set(outcomes) <= {"passed", "warnings"}
    text = result.stdout.str()
    assert "test_clean" not in text
    left = LEFT.findall(text)
    assert left[:4] == ["a client of this process is still connected"] * 4
    assert re.fullmatch(r"process \d+ is still connected", left[4])
    assert "the thread that serves it was busy for 1 s" in left[5:]


def test_what_a_test_leaves_behind_is_an_error_where_warnings_are(run: Run) -> None:
    result = run(
        """
import socket

def test_open_client(qga):
    global sock
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(qga.socket_path)

def test_next(qga):
    sock.close()
"""
    )
    result.assert_outcomes(passed=2, errors=1)
    assert "LeftBehindWarning: left behind by the test" in result.stdout.str()


def test_what_breaks_a_guest_fails_its_test_and_no_other(run: Run) -> None:
    result = run(
        CLIENT
        + """
import pytest
from qgasim import ClientError
from qgasim.faults import Fault

class Broken(Fault, frozen=True, kw_only=True, tag="broken"):
    def apply(self, exchange, effects):
        raise ZeroDivisionError("my fault")

def break_it(live):
    live.inject(Broken(on="guest-ping"))
    with pytest.raises(ClientError, match="my fault"), SyncClient(live.socket_path) as client:
        client.call("guest-ping")

def test_broken(qga, qga_factory):
    other = qga_factory()
    break_it(qga)
    with SyncClient(other.socket_path) as client:
        assert client.call("guest-ping") == {}

def test_of_session(qga_session):
    break_it(qga_session)

def test_next(qga, qga_session):
    for live in (qga, qga_session):
        with SyncClient(live.socket_path) as client:
            assert client.call("guest-ping") == {}
"""
    )
    result.assert_outcomes(passed=3, errors=2)
    text = result.stdout.str()
    assert re.findall(r"ERROR at teardown of (\w+)", text) == ["test_broken", "test_of_session"]
    assert "ZeroDivisionError: my fault" in text
    assert "its server failed: ZeroDivisionError('my fault')" in text


@pytest.mark.slow
def test_a_test_may_fork_and_raise_and_end_programs(run: Run) -> None:
    result = run(
        CLIENT
        + """
import os, signal, sys
import pytest
from qgasim.errors import ServerError

def in_child(function):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            function()
        except BaseException as error:
            print("child:", error, file=sys.stderr, flush=True)
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def ping(qga):
    with SyncClient(qga.socket_path) as client:
        client.call("guest-ping")

def test_fork(qga):
    assert in_child(lambda: ping(qga)) == 0
    ping(qga)

def test_a_forked_child_cannot_steer(qga, capfd):
    assert in_child(lambda: qga.state) == 3
    assert "this process was forked" in capfd.readouterr().err
    ping(qga)

def test_a_child_that_goes_on(qga):
    # It takes the fixture down, too.
    if os.fork() == 0:
        signal.alarm(20)
        os.environ["CHILD"] = "1"
    else:
        os.wait()
        ping(qga)

def test_exit(qga):
    if "CHILD" in os.environ:
        os._exit(0)
    with pytest.raises(SystemExit):
        qga.call(sys.exit)
    ping(qga)

def test_raises(qga):
    raise LookupError("in the middle")

def test_a_socket_that_is_gone(qga):
    os.unlink(qga.socket_path)

def test_last(qga):
    ping(qga)
""",
        process=True,
    )
    result.assert_outcomes(passed=6, failed=1)


@pytest.mark.slow
def test_the_guests_of_a_test_are_forgotten_with_it(run: Run) -> None:
    result = run(
        """
import gc, weakref

def test_one(qga, qga_factory):
    global guests
    guests = [weakref.ref(qga), weakref.ref(qga_factory())]
    assert all(guest() for guest in guests)

def test_two(qga):
    gc.collect()
    assert [guest() for guest in guests] == [None, None]
"""
    )
    result.assert_outcomes(passed=2)


@pytest.mark.slow
@pytest.mark.usefixtures("signals_of_a_terminal")
def test_an_interrupt_reaches_a_test_whose_guest_loops(run: Run) -> None:
    # Not a bound on time: the time-out of a run ends what hangs.
    result = run(
        CLIENT
        + """
import os, signal, threading

SCRIPT = "while :; do echo $(seq 1 9999) | grep -E '(1|11|111)+$'; case $(seq 1 9999) in *1*1*1*1x) ;; esac; done"

def test_it(qga):
    with SyncClient(qga.socket_path) as client:
        client.call("guest-exec", path="/bin/sh", arg=["-c", SCRIPT])
        for number in range(10**9):
            client.call("guest-ping")
            if number == 0:
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
""",
        process=True,
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*KeyboardInterrupt*"])
