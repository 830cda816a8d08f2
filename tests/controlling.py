"""Guests under control for tests: the API served in a thread, and a client for it."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from qgasim.control.feed import Feed
from qgasim.control.guests import Guests, Start
from qgasim.control.start import make_server
from qgasim.http.access import Access
from qgasim.serving.listen import TcpAddress, UnixAddress
from tests.serving import PATIENCE, blueprint


class Answered:
    """An answer: its status, headers, and what it says."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:500]!r}"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


class Api:
    """A client of the API, on one connection."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.connection: http.client.HTTPConnection = UnixConnection(path)
        self.failures: list[Exception] = []
        self._others: list[Api] = []
        self.response: http.client.HTTPResponse | None = None

    def ask(self, target: str, body: Any = None, **headers: str) -> Answered:
        """Ask ``GET /v1/guests``; a body that is no bytes is sent as JSON."""
        method, path = target.split(" ", 1)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            named.setdefault("Content-Type", "application/json")
        self.connection.request(method, path, body, named)
        return Answered(self.connection.getresponse())

    def get(self, path: str) -> Any:
        """Return what there is; anything but success fails."""
        answer = self.ask(f"GET /v1{path}")
        assert answer.status == 200, answer
        return answer.json

    def post(self, path: str, body: Any = None) -> Any:
        answer = self.ask(f"POST /v1{path}", body)
        assert answer.status in {200, 201}, answer
        return answer.json

    def delete(self, path: str) -> None:
        answer = self.ask(f"DELETE /v1{path}")
        assert answer.status == 204, answer

    def other(self) -> "Api":
        """Return a client with a connection of its own; it is closed with this one."""
        self._others.append(Api(self.path))
        return self._others[-1]

    def close(self) -> None:
        for each in (self, *self._others):
            each.connection.close()
            if each.response is not None:
                each.response.close()

    def open(self, target: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        """Ask on a connection of its own, and return the response to be read."""
        other = self.other()
        method, path = target.split(" ", 1)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        other.connection.request(method, path, None if body is None else json.dumps(body), named)
        other.response = other.connection.getresponse()
        return other.response


def read_event(stream: http.client.HTTPResponse) -> tuple[str, str, Any]:
    """Read a server-sent event: its kind, its id, and what it says; ('', '', None): the end."""
    kind = number = ""
    data = None
    while line := stream.readline().decode().rstrip("\n"):
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "id":
            number = value
        elif name == "data":
            data = json.loads(value)
    return kind, number, data


@contextmanager
def controlled(
    directory: Path,
    *scenarios: str,
    access: Access | None = None,
) -> Iterator[Api]:
    """Serve guests (``guest``, then ``guest2`` ...) and the API; what fails in a route is raised at the end."""
    ready, ended = threading.Event(), threading.Event()
    state: dict[str, Any] = {}
    failures: list[Exception] = []
    path = f"{directory}/control.sock"

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            state["token"], state["nursery"] = trio.lowlevel.current_trio_token(), nursery
            guests = Guests(nursery, Feed("test"), str(directory), lambda _, __: None)
            for number, scenario in enumerate(scenarios or ("debian-12",), 1):
                name = "guest" if number == 1 else f"guest{number}"
                guests.add(name, Start(blueprint=blueprint(scenario)))
            server = make_server(guests, access or Access(UnixAddress(path)), failures.append)
            server.listen()
            state["address"] = server.address
            nursery.start_soon(server.serve)
            ready.set()
            try:
                await trio.sleep_forever()
            finally:
                guests.close()

    def run() -> None:
        try:
            trio.run(main)
        finally:
            ended.set()
            ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(PATIENCE)
    assert not ended.is_set(), "it did not start"
    api = Api(path)
    api.failures = failures
    address = state["address"]
    if isinstance(address, TcpAddress):
        api.connection = http.client.HTTPConnection(address.host, address.port, timeout=PATIENCE)
    try:
        yield api
    finally:
        api.close()
        state["token"].run_sync_soon(state["nursery"].cancel_scope.cancel)
        thread.join(PATIENCE)
        assert ended.is_set(), "it did not end"
    for failure in failures:
        raise failure
