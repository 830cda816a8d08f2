"""What control costs: prints a list of figures as JSON, in the order of `NAMES`.

Requests a second over one connection; the rate of pings with control and a stream that is read, and that without
control; how long it takes to list and to create 1,000 guests; the CPU of a start with control.
"""

import contextlib
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PING = b'{"execute":"guest-ping"}\n'
GUESTS = 1000
#: Reads a stream to its end.
READER = """
import socket, sys
stream = socket.socket(socket.AF_UNIX)
stream.connect(sys.argv[1])
stream.sendall(b"GET /v1/stream HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
while data := stream.recv(1 << 16):
    print(len(data), flush=True)
"""


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        self.request(method, path, None if body is None else json.dumps(body))
        response = self.getresponse()
        data = response.read()
        assert response.status < 300, data
        return data


@contextlib.contextmanager
def served(*options: str) -> Iterator[tuple[dict[str, Any], float]]:
    """Serve a guest; give what it says when it is ready, and the CPU (s) that it has taken by then."""
    command = [sys.executable, "-m", "qgasim", "--ready-fd=1", "--quiet", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
            yield said, int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9
        finally:
            process.terminate()


def pings(path: str, count: int) -> float:
    """Return how many pings are answered in a second."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        start = time.perf_counter()
        for _ in range(count):
            sock.send(PING)
            while not sock.recv(64).endswith(b"\n"):
                pass
        return count / (time.perf_counter() - start)


def requests(connection: Connection, count: int) -> float:
    """Return how many requests are answered in a second."""
    assert connection.sock is not None
    request = b"GET /v1/guests/guest/clock HTTP/1.1\r\nHost: localhost\r\n\r\n"
    start = time.perf_counter()
    for _ in range(count):
        connection.sock.send(request)
        connection.sock.recv(4096)
    return count / (time.perf_counter() - start)


def took(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="qgasim-bench-") as top,
        served() as (plain, _),
        served(f"--control=unix:{top}/c") as (ours, cpu),
    ):
        connection = Connection(f"{top}/c")
        connection.ask("GET", "/v1/health")
        rate = max(requests(connection, 2000) for _ in range(3))
        command = [sys.executable, "-c", READER, f"{top}/c"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None
            pings(ours["path"], 100)
            reader.stdout.readline()  # It is there.
            ratios = []
            for _ in range(5):
                without = pings(plain["path"], 10_000)
                ratios.append(pings(ours["path"], 10_000) / without)
            reader.kill()

        def create() -> None:
            for number in range(GUESTS):
                connection.ask("POST", "/v1/guests", {"name": f"g{number}"})

        made = took(create)
        listed = min(took(lambda: connection.ask("GET", "/v1/guests")) for _ in range(5))
        connection.close()
    print(json.dumps([rate, statistics.median(ratios), listed * 1e3, made, cpu]))


if __name__ == "__main__":
    main()
