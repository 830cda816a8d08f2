"""What else was found: files of users, standard streams, signals, expressions of scenarios."""

import itertools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import yaml

from qgasim import load, loads
from qgasim.errors import ListenError, ScenarioError
from qgasim.matching import compile_pattern
from qgasim.scenario.document import TEXT_LIMIT
from qgasim.serving.attention import Attention
from qgasim.serving.threads import ServerThread
from tests.command_line import ROOT
from tests.serving import PATIENCE, Course, connect, read_line, settle

PING = b'{"execute":"guest-ping"}\n'


def test_an_agent_that_starts_again_leaves_a_users_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    simulation = loads("{qgasim: 1, agent: {channel: unix-listen, respawn: 1s}}").build()

    def serve() -> None:
        with ServerThread(simulation, str(path)) as thread:
            with connect(str(path)) as sock:
                sock.sendall(PING)
                assert read_line(sock)
                path.unlink()
                path.write_bytes(b"a user's")
                thread.call(lambda: simulation.agent.crash(10**8))
                assert read_line(sock) == b""
            while thread.call(lambda: simulation.agent.process) is None:
                settle(thread.call)
            settle(thread.call)

    with pytest.raises(ListenError, match="not a socket"):
        serve()
    assert path.read_bytes() == b"a user's"


@pytest.mark.slow
def test_a_greeting_that_no_client_can_read_is_not_part_of_the_protocol() -> None:
    command = f"exec {sys.executable} -m qgasim --listen stdio 2>&-"
    done = subprocess.run(
        ["sh", "-c", command], input=PING, stdout=subprocess.PIPE, cwd=ROOT, check=False, timeout=PATIENCE
    )  # fmt: skip
    assert done.stdout == b'{"return": {}}\n'


@pytest.mark.slow
@pytest.mark.usefixtures("signals_of_a_terminal")
@pytest.mark.parametrize("is_ignored", [False, True], ids=["", "nohup"])
@pytest.mark.parametrize("scenario", ["debian-12", "two-guests"])
def test_a_hang_up_of_the_terminal_leaves_nothing_behind(
    scenario: str, is_ignored: bool, tmp_path: Path
) -> None:
    if is_ignored:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if scenario == "two-guests":
        file = tmp_path / "fleet.yaml"
        file.write_text("{qgasim: 1, fleet: {a: {extends: debian-12}, b: {extends: debian-12}}}")
        scenario = str(file)
    (tmp_path / "t").mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "qgasim", "--scenario", scenario],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path / "t")},
    ) as program:  # fmt: skip
        try:
            assert program.stdout
            program.stdout.readline()
            assert os.listdir(tmp_path / "t")
            program.send_signal(signal.SIGHUP)
            if is_ignored:
                first = min((tmp_path / "t").glob("*/*.sock"))
                with connect(str(first)) as sock:
                    sock.sendall(PING)
                    assert read_line(sock)
                program.terminate()
            assert program.wait(PATIENCE) == 0
        finally:
            program.kill()
    assert os.listdir(tmp_path / "t") == []


#: Run in place of `qgasim`: a signal comes as soon as a function is called.
EARLY = """
import os, sys
from importlib import import_module
from qgasim.cli import main
module, name, number = sys.argv[1:4]
owner = import_module(module)
*path, name = name.split(".")
for each in path:
    owner = getattr(owner, each)
old = getattr(owner, name)
def new(*arguments, **named):
    os.kill(os.getpid(), int(number))
    return old(*arguments, **named)
setattr(owner, name, new)
sys.exit(main(sys.argv[4:]))
"""
#: In the order in which they are called: before the scenario is read, when the directory is there, and
#: when the socket is.
MOMENTS = {
    "qgasim.scenario Reader": "debian-12",
    "qgasim.serving.listen make_directory": "debian-12",
    "qgasim.serving.server Server.listen": "debian-12",
    "qgasim.serving.server Server.serve": "debian-12",
    "qgasim.cli.fleet fleet_directory": "fleet",
    "qgasim.serving.threads ServerThreadPool.serve": "fleet",
}


@pytest.mark.slow
@pytest.mark.usefixtures("signals_of_a_terminal")
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        *((moment, signal.SIGTERM) for moment in MOMENTS),
        *(("qgasim.serving.server Server.serve", n) for n in (signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_a_signal_that_comes_before_a_server_serves_ends_it_cleanly(
    moment: str, number: signal.Signals, tmp_path: Path
) -> None:
    scenario = MOMENTS[moment]
    if scenario == "fleet":
        file = tmp_path / "fleet.yaml"
        file.write_text("{qgasim: 1, fleet: {a: {extends: debian-12}, b: {extends: debian-12}}}")
        scenario = str(file)
    (tmp_path / "t").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", EARLY, *moment.split(), str(int(number)), "--scenario", scenario],
        cwd=ROOT, capture_output=True, check=False, timeout=PATIENCE,
        env={**os.environ, "TMPDIR": str(tmp_path / "t")},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert os.listdir(tmp_path / "t") == []


#: Run in place of `python -m qgasim`: a signal comes when the command line is imported.
IMPORTING = """
import builtins, os, runpy, sys
import_it = builtins.__import__
def import_late(name, *arguments, **named):
    if name == "qgasim.cli":
        os.kill(os.getpid(), int(sys.argv[1]))
        raise AssertionError("the signal has ended this")
    return import_it(name, *arguments, **named)
builtins.__import__ = import_late
runpy.run_module("qgasim", run_name="__main__")
"""


@pytest.mark.usefixtures("signals_of_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_comes_before_main_ends_it_without_a_traceback(
    number: signal.Signals,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, str(int(number))],
        cwd=ROOT, capture_output=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-number, b"", b"")


def test_a_signal_ends_another_command_with_its_status() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EARLY, "qgasim.scenario", "Reader", "15", "check", "debian-12"],
        cwd=ROOT, capture_output=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, b"")


@pytest.mark.parametrize("source", [r"a\0b", r"\0", r"a\uD800b"])
def test_a_file_of_the_host_whose_name_cannot_be_one_is_an_error_at_its_place(source: str) -> None:
    with pytest.raises(ScenarioError, match=r"^<.*>:2:\d+: ") as raised:
        loads(f'qgasim: 1\nguest: {{files: {{/x: {{source: "{source}"}}}}}}\n')
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "place", "text"),
    [
        (b"", "1:1", "the file is empty"),
        (b"qgasim: 1\nseed: \xff", "2:7", "not UTF-8"),
        (b"qgasim: 1\n" + b"#" * TEXT_LIMIT, f"2:{TEXT_LIMIT - 9}", "too long"),
        (b"qgasim: 1\nagent: " + b"[" * 100_000, "2:1007", "nested too deeply"),
    ],
    ids=["empty", "bytes", "long", "deep"],
)  # fmt: skip
def test_an_error_about_a_whole_file_has_a_place(
    data: bytes, place: str, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(data)
    with pytest.raises(ScenarioError, match=f"^{re.escape(str(path))}:{place}: {text}"):
        load(path)


@pytest.mark.slow
def test_what_is_nested_too_deeply_for_python_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where PyYAML has no libyaml, it recurses.
    monkeypatch.setattr("qgasim.scenario.document._Loader", yaml.SafeLoader)
    with pytest.raises(ScenarioError, match=r"^f:2:108: nested too deeply"):
        loads("qgasim: 1\nagent: " + "[" * 2000, "f")


@pytest.mark.slow
def test_guests_that_are_late_catch_up_one_at_a_time() -> None:
    # Twenty that loop kept an idle guest waiting for 4.7 s.
    passes: list[int] = []

    async def main() -> None:
        late = [Course("debian-12") for _ in range(3)]
        for course in late:
            course.say("guest-exec", path="/bin/sh", arg=["-c", "while :; do :; done"])
            course.advance(1000)
            assert course.guest.processes.is_late
        count = 0

        async def idle() -> None:
            nonlocal count
            while True:
                count += 1
                await trio.lowlevel.checkpoint()

        async def look(course: Course) -> None:
            channel, processes = course.simulation.channel, course.simulation.guest.processes
            attention = Attention(channel.next_look, lambda: processes.is_late)
            for _ in range(3):
                attention.poke()
                await attention.wait(trio.sleep_forever)
                passes.append(count)

        async with trio.open_nursery() as all_of_them:
            all_of_them.start_soon(idle)
            async with trio.open_nursery() as nursery:
                for course in late:
                    nursery.start_soon(look, course)
            all_of_them.cancel_scope.cancel()

    trio.run(main)
    # In each pass of the scheduler one at most: others are served between any two.
    assert all(one < two for one, two in itertools.pairwise(passes))
    assert len(passes) == 9


@pytest.mark.slow
def test_a_request_to_a_guest_that_is_late_is_one_look_at_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course = Course("debian-12")
    course.say("guest-exec", path="/bin/sh", arg=["-c", "while :; do :; done"])
    course.advance(1000)
    assert course.guest.processes.is_late
    looks = 0
    settle_processes = course.guest.processes.settle

    def count(uptime: int, _: int | None) -> None:
        nonlocal looks
        looks += 1
        settle_processes(uptime)

    monkeypatch.setattr(course.guest.processes, "settle", count)
    assert course.send(PING * 10) == b'{"return": {}}\n' * 10
    assert looks == 1


def test_an_expression_of_a_scenario_is_given_up_on_a_text_of_a_client() -> None:
    matches = compile_pattern({"regex": "(a+)+"})
    assert matches("a" * 1000)
    # Not a bound on time: without one, this takes longer than there was time.
    assert not matches("a" * 64 + "b")
    assert not compile_pattern({"glob": "*a" * 30 + "*"})("a" * 29 + "b" * 1000)
    assert compile_pattern({"regex": r"\+x?\*a+"})("+x*aa")
