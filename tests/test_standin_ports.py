"""``qgasim-ga`` on a serial port: ptys, FIFOs and files, as qemu-ga 7.2.22 serves them.

The tests run with the real program, too, where it is installed.
"""

import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.serving import PATIENCE
from tests.standing_in import PROGRAMS, end, ending, log_has, log_lines, ping, start, wait_until

PING = b'{"execute":"guest-ping"}\n'
DONE = b'{"return": {}}\n'
#: The bits of a line that passes 8 bits on as they are, at 38400 baud.
DUMB_LINE = [0, 0, termios.CS8 | termios.CREAD | termios.B38400, 0]
Pty: TypeAlias = tuple[int, str]


@pytest.fixture(params=PROGRAMS)
def command(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def pty() -> Iterator[Pty]:
    """The host's end of a serial line, and the guest's device; it does not echo."""
    host, guest = os.openpty()
    tty.setraw(guest)
    yield host, os.ttyname(guest)
    os.close(guest)
    os.close(host)


def read(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        assert select.select([fd], [], [], PATIENCE)[0]
        data += os.read(fd, size - len(data))
    return data


@pytest.mark.slow
@pytest.mark.parametrize("method", ["virtio-serial", "isa-serial"])
def test_a_guest_is_served_on_a_pty(
    command: list[str], tmp_path: Path, pty: Pty, method: str
) -> None:
    host, device = pty
    process = start("-m", method, "-p", device, "-v", directory=tmp_path, command=command)
    with ending(process):
        # isa-serial forgets what was sent before it was there.
        log_has(process, "Guest agent version")
        if method == "isa-serial":
            wait_until(lambda: attributes(device)[3] == 0)
        os.write(host, b'{"execute":"guest-')
        log_has(process, "read data, count: 18")
        os.write(host, b'ping"}{"execute":"guest-sync-delimited","arguments":{"id":5}}')
        assert read(host, 30) == DONE + b'\xff{"return": 5}\n'
        end(process)


def attributes(device: str) -> list[Any]:
    fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        return termios.tcgetattr(fd)
    finally:
        os.close(fd)


@pytest.mark.slow
def test_a_serial_line_is_made_to_pass_bytes_on(command: list[str], tmp_path: Path) -> None:
    host, guest = os.openpty()
    device = os.ttyname(guest)
    process = start("-m", "isa-serial", "-p", device, directory=tmp_path, command=command)
    with ending(process):
        wait_until(lambda: attributes(device)[:4] == DUMB_LINE)
        assert attributes(device)[6][termios.VMIN] == 1
        os.write(host, PING)
        assert read(host, len(DONE)) == DONE
        end(process)
    os.close(guest)
    os.close(host)


def test_a_virtio_port_is_left_as_it_is(command: list[str], tmp_path: Path) -> None:
    host, guest = os.openpty()
    before = attributes(os.ttyname(guest))
    process = start(
        "-m", "virtio-serial", "-p", os.ttyname(guest), "-v", directory=tmp_path, command=command
    )
    with ending(process):
        os.write(host, PING)
        log_has(process, "sending data")
        assert attributes(os.ttyname(guest)) == before
        end(process)
    os.close(guest)
    os.close(host)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "times"), [("virtio-serial", 2), ("isa-serial", 1)])
def test_a_hang_up_is_nothing_to_a_virtio_port_and_the_end_of_another(
    command: list[str], tmp_path: Path, method: str, times: int
) -> None:
    host, guest = os.openpty()
    tty.setraw(guest)
    process = start(
        "-m", method, "-p", os.ttyname(guest), "-v", directory=tmp_path, command=command
    )
    with ending(process):
        if method == "isa-serial":
            wait_until(lambda: attributes(os.ttyname(guest))[:4] == DUMB_LINE)
        os.write(host, PING)
        assert read(host, len(DONE)) == DONE
        os.close(guest)
        os.close(host)
        for _ in range(times):
            log_has(process, "debug: received EOF")
        # It stays, and ends well when it is told to.
        assert "received EOF" not in end(process) or times > 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["virtio-serial", "isa-serial"])
def test_a_file_is_read_and_written(command: list[str], tmp_path: Path, method: str) -> None:
    path = tmp_path / "port"
    path.write_bytes(PING + b'{"execute":"guest-sync","arguments":{"id":5}}')
    process = start("-m", method, "-p", path, "-v", directory=tmp_path, command=command)
    with ending(process):
        log = log_has(process, "received EOF")
        wait_until(lambda: path.read_bytes().endswith(DONE + b'{"return": 5}\n'))
        end(process)
    size = len(PING) + 45
    assert f"debug: read data, count: {size}, data: " + '{"execute":"guest-ping"}' in log


@pytest.mark.slow
def test_nobody_at_the_other_end_is_no_reason_to_end(command: list[str], tmp_path: Path) -> None:
    process = start(
        "-m", "virtio-serial", "-p", "/dev/null", "-v", directory=tmp_path, command=command
    )
    with ending(process):
        log = log_has(process, "received EOF") + log_has(process, "received EOF")
        log += end(process)
    found = log_lines(re.sub(r"(?m)7\.2\.22.*", "7.2.22", log))
    assert found[:3] == ["debug: Guest agent version 7.2.22", *["debug: received EOF"] * 2]


@pytest.mark.slow
def test_what_is_no_device_is_refused(command: list[str], tmp_path: Path) -> None:
    process = start("-m", "unix-listen", "-p", tmp_path / "s", directory=tmp_path, command=command)
    with ending(process):
        ping(tmp_path / "s")
        end(process)
    process = start(
        "-m", "virtio-serial", "-p", tmp_path / "s", directory=tmp_path, command=command
    )
    with ending(process):
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert log_lines(log) == [
        f"critical: error opening channel '{tmp_path}/s': No such device or address",
        "critical: failed to create guest agent channel",
        "critical: failed to initialize guest agent channel",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["close", "reset", "half_close"])
def test_a_fault_does_not_close_a_port(tmp_path: Path, pty: Pty, kind: str) -> None:
    host, device = pty
    path = tmp_path / "scenario.yaml"
    path.write_text(
        "qgasim: 1\nextends: debian-12\n"
        f"faults: [{{kind: {kind}, on: guest-ping, at: middle, times: 1}}]\n"
    )
    process = start("-p", device, directory=tmp_path, variables={"QGASIM_SCENARIO": str(path)})
    with ending(process):
        # What comes with it is lost with the connection that there is not.
        os.write(host, PING)
        assert read(host, 7) == DONE[:7]
        until = time.monotonic() + PATIENCE
        while not select.select([host], [], [], 0.05)[0]:
            assert time.monotonic() < until
            os.write(host, PING)
        assert read(host, len(DONE)) == DONE
        end(process)


# -- ports that are tried again --------------------------------------------------------------------

#: With less than five seconds in between; ports are the host's ends of two ptys, which fail when the
#: other is closed.
IMPATIENT = """
import os, sys
from qgasim.standin import endpoints, main, ports
endpoints.RETRY_INTERVAL = 0.05
fds = [int(fd) for fd in os.environ.get("FDS", "").split()]
if fds:
    for fd in fds:
        os.set_blocking(fd, False)
    ports.Port.open = lambda _: ports.OpenPort(fds.pop(0), ends=False)
sys.exit(main())
"""


@pytest.mark.slow
def test_a_port_that_is_not_there_is_waited_for(tmp_path: Path, pty: Pty) -> None:
    host, device = pty
    path = tmp_path / "port"
    process = start(
        *("-m", "virtio-serial", "-p", path, "-r", "-v"),
        directory=tmp_path,
        command=[sys.executable, "-c", IMPATIENT],
    )
    with ending(process):
        log = log_has(process, "waiting for channel path...")
        path.symlink_to(device)
        os.write(host, PING)
        assert read(host, len(DONE)) == DONE
        end(process)
    # As qemu-ga 7.2.22 says it.
    assert log_lines(log)[1:] == [
        f"critical: error opening channel '{path}': No such file or directory",
        "critical: failed to create guest agent channel",
        "critical: failed to initialize guest agent channel",
        "warning: agent stopped unexpectedly, restarting...",
        "warning: waiting for channel path...",
    ]


@pytest.mark.slow
def test_an_agent_that_waits_for_its_port_ends_with_1(tmp_path: Path) -> None:
    process = start("-p", tmp_path / "port", "-r", "-v", directory=tmp_path)
    with ending(process):
        log_has(process, "waiting for channel path...")
        process.terminate()
        assert process.wait(PATIENCE) == 1


@pytest.mark.slow
@pytest.mark.parametrize("retries", [[], ["-r"]])
def test_a_port_that_fails_ends_the_agent_or_is_opened_again(
    tmp_path: Path, retries: list[str]
) -> None:
    # qga/main.c of 7.2: channel_event_cb(), run_agent().
    (port, host), (next_port, next_host) = os.openpty(), os.openpty()
    for fd in (host, next_host):
        tty.setraw(fd)
    process = start(
        *("-p", "port", "-v", *retries),
        directory=tmp_path,
        command=[sys.executable, "-c", IMPATIENT],
        keep=(port, next_port),
        variables={"FDS": f"{port} {next_port}"},
    )
    with ending(process):
        os.write(host, b'{"execute":"guest-file-open","arguments":{"path":"/etc/hostname"}}')
        assert read(host, 17) == b'{"return": 1000}\n'
        os.write(host, b'{"execute":"guest-')
        log_has(process, "count: 18")
        os.close(host)
        log_has(process, "warning: error reading channel")
        if retries:
            # It is the same agent: it remembers.
            os.write(next_host, b'ping"}{"execute":"guest-file-close","arguments":{"handle":1000}}')
            assert read(next_host, 30) == DONE * 2
            end(process)
        else:
            assert process.wait(PATIENCE) == 0
    for fd in (port, next_port, next_host):
        os.close(fd)
