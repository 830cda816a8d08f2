"""What else was found: files of users, standard streams, signals, expressions of scenarios."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qgasim import loads
from qgasim.errors import ListenError
from qgasim.matching import compile_pattern
from qgasim.serving.threads import ServerThread
from tests.command_line import ROOT
from tests.serving import PATIENCE, connect, read_line, settle

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


def test_a_greeting_that_nobody_can_read_is_not_part_of_the_protocol() -> None:
    command = f"exec {sys.executable} -m qgasim --listen stdio 2>&-"
    done = subprocess.run(
        ["sh", "-c", command], input=PING, stdout=subprocess.PIPE, cwd=ROOT, check=False, timeout=PATIENCE
    )  # fmt: skip
    assert done.stdout == b'{"return": {}}\n'


@pytest.mark.parametrize("scenario", ["debian-12", "two-guests"])
def test_a_hang_up_of_the_terminal_leaves_nothing_behind(scenario: str, tmp_path: Path) -> None:
    if scenario == "two-guests":
        file = tmp_path / "fleet.yaml"
        file.write_text("{qgasim: 1, fleet: {a: {extends: debian-12}, b: {extends: debian-12}}}")
        scenario = str(file)
    (tmp_path / "t").mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "qgasim", "--scenario", scenario],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path / "t")},
    ) as program:  # fmt: skip
        assert program.stdout
        program.stdout.readline()
        assert os.listdir(tmp_path / "t")
        program.send_signal(signal.SIGHUP)
        assert program.wait(PATIENCE) == 0
    assert os.listdir(tmp_path / "t") == []


def test_an_expression_of_a_scenario_is_given_up_on_a_text_of_a_client() -> None:
    matches = compile_pattern({"regex": "(a+)+"})
    assert matches("a" * 1000)
    # Not a bound on time: without one, this takes longer than there was time.
    assert not matches("a" * 64 + "b")
    assert not compile_pattern({"glob": "*a" * 30 + "*"})("a" * 29 + "b" * 1000)
    assert compile_pattern({"regex": r"\+x?\*a+"})("+x*aa")
