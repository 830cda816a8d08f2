"""A service of systemd: it takes the socket that was opened for it, and says when it is ready."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qgasim.errors import ListenError
from qgasim.serving.listen import InheritedSocket, TcpAddress
from qgasim.serving.systemd import find_socket, notify
from tests.command_line import ROOT
from tests.serving import PATIENCE, connect, read_line

#: As systemd does: the socket is file descriptor 3, and LISTEN_PID that of the program.
ACTIVATE = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "qgasim.socket"}
os.execv(sys.executable, [sys.executable, "-m", "qgasim", "--quiet", *sys.argv[2:]])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [[], ["--control", "unix:{}/control"]], ids=["alone", "control"]
)
def test_a_socket_of_systemd_is_served_and_its_readiness_told(
    options: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "qga.sock"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        listener.bind(str(path))
        listener.listen()
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        words = [word.format(tmp_path) for word in options]
        with subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, str(listener.fileno()), *words],
            cwd=ROOT,
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            text=True,
        ) as program:
            assert manager.recv(100) == b"READY=1"
            assert program.stdout
            lines = [program.stdout.readline() for _ in range(2)]
            assert lines[1] == f"listening on {path}\n"
            with connect(str(path)) as sock:
                sock.sendall(b'{"execute":"guest-ping"}\n')
                assert read_line(sock) == b'{"return": {}}\n'
            program.send_signal(signal.SIGTERM)
            assert program.wait(PATIENCE) == 0
        # It is systemd's.
        assert path.is_socket()


@pytest.mark.parametrize("environment", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}])
def test_a_socket_for_another_process_is_left_alone(environment: dict[str, str]) -> None:
    assert find_socket(dict(environment)) is None


def test_several_sockets_are_refused() -> None:
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
    with pytest.raises(ListenError, match="systemd opened 2 sockets"):
        find_socket(environment)
    assert environment == {}


def test_an_inherited_socket_says_where_it_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        where = InheritedSocket(sock.fileno()).where
        assert where == TcpAddress("127.0.0.1", sock.getsockname()[1])
    with socket.socket(socket.AF_UNIX) as sock:
        inherited = InheritedSocket(sock.fileno())
        with pytest.raises(ListenError, match="expected a unix socket with a path"):
            _ = inherited.where


def test_nothing_is_told_where_no_service_manager_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("", "relative", "/nowhere/at/all"):
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        notify("READY=1")


def test_a_manager_in_the_abstract_namespace_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        # The kernel chooses a name (unix(7), autobind).
        manager.bind("")
        manager.settimeout(PATIENCE)
        name = manager.getsockname()
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name[1:].decode())
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_units() -> None:
    units = [str(path) for path in sorted((ROOT / "packaging" / "systemd").iterdir())]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if "/qgasim." in line]
    # Verdicts about other units concern the machine.
    assert (done.returncode, told) == (0, [])
