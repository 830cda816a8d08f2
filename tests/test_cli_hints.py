"""The commands that qgasim prints for its user to type: each is run, again and again."""

import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qgasim.cli.hints import hint, ways_in
from qgasim.cli.options import serve_parser
from qgasim.serving.listen import Stdio, TcpAddress, UnixAddress, VsockAddress
from tests.command_line import ROOT, end, ready_lines, run, started
from tests.page_reader import blocks
from tests.serving import serving

#: How often a command is run in a row: one that works now and then is no hint.
TIMES = 20
LISTEN = {"unix": "unix:{}/s", "tcp": "tcp:0", "a path with a space": "unix:{}/my guest"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channel"),
    [*((name, "virtio-serial") for name in LISTEN), ("unix", "unix-listen")],
)
def test_what_the_start_tells_to_try_works_each_time(
    name: str,
    channel: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = ["--listen", LISTEN[name].format(tmp_path), "--channel", channel, "--quiet"]
    with started(*options) as program:
        tried = [line.partition(" ")[2].strip() for line in ready_lines(program)[2:]]
        for command in tried:
            done = subprocess.run(
                ["sh", "-c", command],
                input="guest-info\n",
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "")
            assert '"version": "7.2.22"' in done.stdout
            python, _, _, *words = shlex.split(command)
            assert python == sys.executable
            for _ in range(TIMES):
                # Without the time that it takes to start a process.
                monkeypatch.setattr("sys.stdin", io.StringIO("guest-info\n"))
                assert run(words) == 0
                out, err = capfd.readouterr()
                assert (out, err) == (done.stdout, "")
        assert end(program, signal.SIGTERM) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
def test_what_the_page_tells_of_socat_works_each_time(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "by-hand.md").read_text()
    (command,) = re.findall(r"^\$ (.*socat.*)$", page, re.MULTILINE)
    with serving(tmp_path) as thread:
        typed = command.replace("tcp:127.0.0.1:46300", f"unix-connect:{thread.path}")
        # It waits for more replies than there are, in tenths of a second here.
        typed = typed.replace("-t1", "-t0.1")
        for _ in range(TIMES):
            assert subprocess.check_output(["sh", "-c", typed], text=True) == '{"return": {}}\n'


def test_the_help_names_commands_that_there_are(capfd: pytest.CaptureFixture[str]) -> None:
    epilog = serve_parser().epilog or ""
    named = re.findall(r"^  qgasim \[?(\w+)", epilog, re.MULTILINE)
    assert {"call", "exec", "shell", "serve"} <= set(named)
    for name in set(named) - {"serve"}:
        assert run([name, "--help"]) == 0
        assert f"usage: qgasim {name}" in capfd.readouterr().out


def test_the_readme_runs_programs_as_the_start_tells() -> None:
    told = "".join(blocks(ROOT / "README.md", "console"))
    assert "try: .venv/bin/qgasim call " in told
    assert "$ .venv/bin/qgasim exec " in told


def make_program(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_a_hint_begins_with_what_finds_this_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_program(tmp_path / "bin" / "qgasim")
    other = make_program(tmp_path / "other" / "qgasim")
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin" / "python"))
    module = f"{tmp_path}/bin/python -m qgasim"
    for started_as, path, name in (
        (here, "/bin", here),
        (here, os.path.dirname(here), "qgasim"),
        (here, os.path.dirname(other), here),
        ("/x/qgasim/__main__.py", "/bin", module),
        ("/x/qgasim/__main__.py", os.path.dirname(here), "qgasim"),
        ("/x/qgasim/__main__.py", os.path.dirname(other), module),
    ):
        monkeypatch.setattr("sys.argv", [started_as])
        monkeypatch.setenv("PATH", path)
        assert hint("call", "a b") == f"{name} call 'a b'"


def test_every_address_has_its_hint() -> None:
    def where(address: UnixAddress | TcpAddress | VsockAddress) -> str:
        first, second = ways_in(address)
        words = shlex.split(first)
        assert words[-1] == "guest-info"
        assert shlex.split(second)[-1] == words[-2]
        return words[-2]

    assert ways_in(Stdio()) == []
    assert where(UnixAddress("/tmp/s")) == "/tmp/s"
    assert where(UnixAddress("tcp:1")) == "unix:tcp:1"
    assert where(UnixAddress("-s")) == "unix:-s"
    assert where(TcpAddress("127.0.0.1", 7)) == "tcp:127.0.0.1:7"
    assert where(TcpAddress("0.0.0.0", 7)) == "tcp:7"
    assert where(VsockAddress(3, 7)) == "vsock:3:7"
    # VMADDR_CID_LOCAL (vsock(7)).
    assert where(VsockAddress(-1, 7)) == "vsock:1:7"
