"""Where clients connect."""

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qgasim.errors import ListenError
from qgasim.faults.connection import Reset
from qgasim.scenario import load
from qgasim.serving.listen import (
    Address,
    Stdio,
    TcpAddress,
    UnixAddress,
    VsockAddress,
    parse_address,
)
from qgasim.serving.threads import ServerThread
from tests.serving import PATIENCE, read_line

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'

ADDRESSES: dict[str, Address] = {
    "unix:/run/a b": UnixAddress("/run/a b"),
    "tcp:4444": TcpAddress("127.0.0.1", 4444),
    "tcp:0.0.0.0:4444": TcpAddress("0.0.0.0", 4444),
    "tcp:[::1]:0": TcpAddress("::1", 0),
    "vsock:3:1024": VsockAddress(3, 1024),
    "vsock:-1:1024": VsockAddress(-1, 1024),
    "stdio": Stdio(),
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_read(text: str) -> None:
    assert parse_address(text) == ADDRESSES[text]


@pytest.mark.parametrize(
    "text", ["", "a", "unix:", "tcp:", "tcp:a", "tcp:70000", "tcp:a:b:1", "vsock:1", "stdio:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"found {text!r}")):
        parse_address(text)


def test_a_guest_is_served_on_a_tcp_port_of_the_loopback() -> None:
    thread = ServerThread(load("debian-12").build(), TcpAddress("127.0.0.1", 0))
    with thread:
        assert isinstance(thread.address, TcpAddress)
        assert thread.address.port > 0
        with socket.create_connection(("127.0.0.1", thread.address.port), PATIENCE) as sock:
            sock.sendall(PING)
            assert read_line(sock) == PONG
            with pytest.raises(ListenError, match="cannot listen: Address already in use"):
                thread.address.listen()


def test_a_client_on_tcp_may_be_reset() -> None:
    scenario = load("debian-12")
    scenario.faults = [Reset(on="guest-ping", at="before")]
    with ServerThread(scenario.build(), TcpAddress("127.0.0.1", 0)) as thread:
        assert isinstance(thread.address, TcpAddress)
        with socket.create_connection(("127.0.0.1", thread.address.port), PATIENCE) as sock:
            sock.sendall(PING)
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


@pytest.mark.slow
def test_a_guest_is_served_on_the_standard_input_and_output(tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    requests.write_bytes(PING + b'{"execute":"guest-get-host-name"}\n')
    command = [sys.executable, "-m", "qgasim", "--listen", "stdio"]
    with requests.open() as source:
        done = subprocess.run(
            command, stdin=source, capture_output=True, timeout=PATIENCE, check=True
        )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines == [{"return": {}}, {"return": {"host-name": "debian"}}]
    assert b"listening on stdio" in done.stderr


@pytest.mark.slow
def test_a_guest_on_the_standard_input_ends_by_a_signal() -> None:
    command = [sys.executable, "-m", "qgasim", "--listen", "stdio", "--quiet"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(PING)
        process.stdin.flush()
        assert process.stdout.readline() == PONG
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_who_closes_the_standard_output_ends_the_server() -> None:
    command = [sys.executable, "-m", "qgasim", "--listen", "stdio", "--quiet"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdin.write(PING)
        program.stdin.flush()
        assert program.stdout.readline() == PONG
        program.stdout.close()
        program.stdin.write(PING)
        program.stdin.flush()
        assert program.wait(PATIENCE) == 0
        assert b"Traceback" not in program.stderr.read()
