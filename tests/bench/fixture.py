"""What a guest costs a test; printed as JSON for bench.py."""

import json
import os
import socket
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from qgasim.pytest_plugin.guests import Guests
from qgasim.pytest_plugin.markers import GuestRequest

PING = b'{"execute":"guest-ping"}\n'


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock


def ping(path: str) -> None:
    with connect(path) as sock:
        sock.sendall(PING)
        assert sock.recv(100)


def resident() -> float:
    """Return the memory that this process has, in MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


class Request:
    """Stands for a test that asks for a guest."""

    scope = "function"
    path = Path(__file__)

    def __init__(self) -> None:
        self.node = SimpleNamespace(name="bench", stash=pytest.Stash())


def tests(guests: Guests, count: int) -> tuple[float, float]:
    """Return the ms, and those of CPU, that a test with one guest and one ping takes, the median."""
    walls: list[float] = []
    costs: list[float] = []
    for _ in range(count):
        wall, cost = time.perf_counter(), time.process_time()
        with guests.lend(Request(), GuestRequest()) as make:  # type: ignore[arg-type]
            ping(make().socket_path)
        walls.append(1e3 * (time.perf_counter() - wall))
        costs.append(1e3 * (time.process_time() - cost))
    return statistics.median(walls), statistics.median(costs)


def fleet(guests: Guests, count: int) -> tuple[float, float]:
    """Return the seconds until *count* guests have answered, and the MB that they take."""
    before, start = resident(), time.perf_counter()
    with guests.lend(Request(), GuestRequest()) as make:  # type: ignore[arg-type]
        paths = [make().socket_path for _ in range(count)]
        for path in paths:
            ping(path)
        return time.perf_counter() - start, resident() - before


def time_out(guests: Guests) -> float:
    """Return the ms that a test takes in which a freeze is not answered for an hour."""
    start = time.perf_counter()
    with guests.lend(Request(), GuestRequest()) as make:  # type: ignore[arg-type]
        live = make()
        live.clock.stop()
        live.inject(kind="delay", on="guest-fsfreeze-freeze", by="1h")
        with connect(live.socket_path) as sock:
            sock.sendall(b'{"execute":"guest-fsfreeze-freeze"}\n')
            while not live.journal.waiting and not live.journal.commands():
                time.sleep(0.0002)
            live.clock.advance("1h")
            assert sock.recv(100).startswith(b'{"return"')
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    guests = Guests()
    count = int(sys.argv[1])
    tests(guests, 5)
    wall, cost = tests(guests, count)
    # A fleet's sockets are many open files.
    seconds, megabytes = fleet(guests, 1000)
    hour = min(time_out(guests) for _ in range(3))
    print(json.dumps([wall, cost, seconds, megabytes, hour]))
    guests.close()


main()
