"""HTTP/1.1 as it comes over a socket: whole, in pieces, broken and hostile."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import pytest
import trio
import trio.testing
from msgspec import Struct

from qgasim.http.access import Access
from qgasim.http.connection import Limits
from qgasim.http.events import COMMENT
from qgasim.http.problems import HttpError
from qgasim.http.routes import Answer, EventStream, Request, Route, Table, route
from qgasim.http.server import CONNECTIONS, HttpServer
from qgasim.http.service import Service
from qgasim.serving.listen import UnixAddress

pytestmark = pytest.mark.trio
ROUTES: list[Route] = []


class App:
    """What the routes of these tests know."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.go_on = trio.Event()


class Thing(Struct):
    name: str
    size: int


def add(target: str, **settings: Any) -> Callable[[Any], Any]:
    return route(target, into=ROUTES, chapter="All", **settings)


@add("GET /things/{name}")
def read_thing(app: App, name: str) -> Thing:
    return Thing(name, 1)


@add("PUT /things/{name}", status=201, location="/things/{name}")
def write_thing(app: App, name: str, body: bytes) -> Thing:
    return Thing(name, len(body))


@add("DELETE /things/{name}")
def delete_thing(app: App, name: str) -> None:
    return None


@add("GET /fail")
def fail(app: App) -> Thing:
    raise RuntimeError("oh")


@add("POST /wait")
async def wait(app: App) -> Answer:
    try:
        await app.go_on.wait()
    finally:
        app.ended.append("wait")
    return Answer(body=b"done")


@add("GET /events")
def events(app: App, request: Request) -> EventStream:
    async def make() -> AsyncIterator[bytes]:
        try:
            for number in range(3):
                yield b"data: %d\n\n" % number
            await app.go_on.wait()
            yield COMMENT
            yield b"data: last\n\n"
        finally:
            app.ended.append("events")

    return EventStream(make())


@add("GET /flood")
def flood(app: App) -> EventStream:
    async def make() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"data: " + b"x" * 65000 + b"\n\n"
        finally:
            app.ended.append("flood")

    return EventStream(make())


class Plain:
    """Reads nothing."""

    def body(self, data: bytes, media_type: str, wanted: Any) -> Any:
        raise HttpError(422, f"no {wanted} in {len(data)} bytes of {media_type}")

    def query(self, pairs: dict[str, str], wanted: type[Struct]) -> Any:
        raise HttpError(422, f"no {wanted} in {pairs}")


class Web:
    """A server and the app behind it."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self.app = App()
        self.failures: list[Exception] = []
        address = UnixAddress(f"{directory}/s")
        self.path = address.path
        service = Service(self.app, Table(ROUTES), Access(address), Plain(), self.failures.append)
        self.server = HttpServer(address, service, limits)

    async def open(self) -> trio.SocketStream:
        return await trio.open_unix_socket(self.path)

    async def ask(self, data: bytes) -> bytes:
        """Send *data* on a new connection; return all that is answered until the server hangs up."""
        async with await self.open() as stream:
            await stream.send_all(data)
            with trio.fail_after(20):
                return b"".join([part async for part in stream])


@asynccontextmanager
async def serving(directory: Path, **limits: Any) -> AsyncIterator[Web]:
    web = Web(directory, Limits(**limits))
    web.server.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(web.server.serve)
        yield web
        nursery.cancel_scope.cancel()


def request(target: str, body: bytes = b"", **headers: str) -> bytes:
    named = {"Host": "localhost", "Connection": "close", **headers}
    if body:
        named.setdefault("Content-Length", str(len(body)))
    lines = [f"{target} HTTP/1.1", *(f"{n.replace('_', '-')}: {v}" for n, v in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_an_answer_is_json_with_its_length(tmp_path: Path) -> None:
    async with serving(tmp_path) as web:
        answer = await web.ask(request("GET /things/a%20b"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[:3] == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: application/json",
        b"Content-Length: 23",
    ]
    assert b"Cache-Control: no-store" in head
    assert b"X-Content-Type-Options: nosniff" in head
    assert body == b'{"name":"a b","size":1}'


async def test_a_connection_serves_one_request_after_the_other(tmp_path: Path) -> None:
    first = request("PUT /things/a", b"12345", Connection="keep-alive")
    async with serving(tmp_path) as web:
        # All at once, too: they are answered in order.
        answer = await web.ask(first + first + request("GET /things/c"))
    assert answer.count(b"HTTP/1.1 201 Created\r\n") == 2
    assert answer.count(b"Location: /things/a\r\n") == 2
    assert answer.endswith(b'{"name":"c","size":1}')


@pytest.mark.parametrize("size", [1, 7])
async def test_how_a_request_is_cut_does_not_matter(tmp_path: Path, size: int) -> None:
    data = request("PUT /things/a", b"5\r\nhello\r\n0\r\n\r\n", Transfer_Encoding="chunked")
    data = data.replace(b"Content-Length: 15\r\n", b"")
    async with serving(tmp_path) as web, await web.open() as stream:
        for start in range(0, len(data), size):
            await stream.send_all(data[start : start + size])
        answer = b"".join([part async for part in stream])
    assert answer.endswith(b'{"name":"a","size":5}')


async def test_head_has_no_body_and_options_says_what_can_be_done(tmp_path: Path) -> None:
    async with serving(tmp_path) as web:
        head = await web.ask(request("HEAD /things/a"))
        options = await web.ask(request("OPTIONS /things/a"))
        streamed = await web.ask(request("HEAD /events"))
    assert status(head) == 200
    assert b"Content-Length: 21\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    assert status(options) == 204
    assert b"Allow: GET, PUT, DELETE, HEAD, OPTIONS\r\n" in options
    assert b"text/event-stream" in streamed
    assert web.app.ended == []


async def test_another_method_is_refused_with_those_there_are(tmp_path: Path) -> None:
    async with serving(tmp_path) as web:
        answer = await web.ask(request("PATCH /things/a"))
        missing = await web.ask(request("GET /thigs"))
    assert status(answer) == 405
    assert b"Allow: GET, PUT, DELETE, HEAD, OPTIONS\r\n" in answer
    assert status(missing) == 404
    assert b"application/problem+json" in missing


async def test_an_empty_answer_has_no_type(tmp_path: Path) -> None:
    async with serving(tmp_path) as web:
        answer = await web.ask(request("DELETE /things/a"))
    assert status(answer) == 204
    assert b"Content-Type:" not in answer
    assert b"Content-Length" not in answer


async def test_a_bug_is_told_and_the_server_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as web:
        answer = await web.ask(request("GET /fail"))
        assert status(await web.ask(request("GET /things/a"))) == 200
    assert status(answer) == 500
    assert b"please report it" in answer
    assert b"Traceback" not in answer
    assert [str(failure) for failure in web.failures] == ["oh"]


LONG = b"x" * 40_000


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % LONG, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % LONG, 431),
        (b"GET /things/a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /things/a?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"PUT /things/a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"PUT /things/a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"PUT /things/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"PUT /things/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),  # TLS
        (b"GET http://other/things/a HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_what_is_no_request_is_refused(tmp_path: Path, data: bytes, wanted: int) -> None:
    async with serving(tmp_path, linger_time=0.1) as web:
        answer = await web.ask(
            data.replace(b"Host: a\r\n\r\n", b"Host: a\r\nConnection: close\r\n\r\n")
        )
        assert status(answer) == wanted, answer
        assert b"application/problem+json" in answer
        assert status(await web.ask(request("GET /things/a"))) == 200
    assert web.failures == []


async def test_a_body_that_grows_too_long_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, body=1000) as web:
        data = request("PUT /things/a", Transfer_Encoding="chunked")
        answer = await web.ask(data + b"400\r\n" + b"x" * 0x400 + b"\r\n0\r\n\r\n")
        assert status(answer) == 413
        just = request("PUT /things/a", b"x" * 1000)
        assert status(await web.ask(just)) == 201


async def test_a_client_that_asks_whether_to_go_on_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as web, await web.open() as stream:
        head = request("PUT /things/a", Expect="100-continue", Content_Length="5")
        await stream.send_all(head)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        await stream.send_all(b"hello")
        assert status(await stream.receive_some()) == 201


# -- times, on a clock of the test --------------------------------------------------------------------


async def test_a_slow_request_is_ended(tmp_path: Path, autojump_clock: object) -> None:
    async with serving(tmp_path) as web, await web.open() as stream:
        await stream.send_all(b"GET / HTT")
        start = trio.current_time()
        answer = await stream.receive_some()
        assert status(answer) == 408
        assert trio.current_time() - start == pytest.approx(30)


async def test_a_connection_without_a_request_is_ended(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with serving(tmp_path) as web, await web.open() as stream:
        start = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - start == pytest.approx(60, abs=2)


async def test_a_stream_is_sent_as_it_comes_and_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as web, await web.open() as stream:
        await stream.send_all(request("GET /events"))
        seen = b""
        while b"data: 2\n\n" not in seen:
            seen += await stream.receive_some()
        web.app.go_on.set()
        seen = b"".join([part async for part in stream])
        assert b"data: last\n\n" in seen
        assert seen.endswith(b"0\r\n\r\n")
    assert web.app.ended == ["events"]


async def test_who_does_not_read_is_given_up(tmp_path: Path, autojump_clock: object) -> None:
    async with serving(tmp_path) as web, await web.open() as stream:
        await stream.send_all(request("GET /flood"))
        await trio.sleep(100)
        assert web.app.ended == ["flood"]
        assert status(await web.ask(request("GET /things/a"))) == 200


@pytest.mark.parametrize("target", ["POST /wait", "GET /events"])
async def test_a_route_that_waits_ends_with_its_client(tmp_path: Path, target: str) -> None:
    async with serving(tmp_path) as web:
        stream = await web.open()
        await stream.send_all(request(target))
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
        with trio.fail_after(20):
            while not web.app.ended:
                await trio.testing.wait_all_tasks_blocked()
        # One that only stops sending is still answered.
        stream = await web.open()
        await stream.send_all(request("POST /wait"))
        await stream.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        web.app.go_on.set()
        assert (await stream.receive_some()).endswith(b"done")
        await stream.aclose()


# -- many ----------------------------------------------------------------------------------------------


async def test_the_longest_idle_connection_makes_room(tmp_path: Path) -> None:
    async with serving(tmp_path) as web:
        streams = [await web.open() for _ in range(CONNECTIONS)]
        await trio.testing.wait_all_tasks_blocked()
        assert status(await web.ask(request("GET /things/a"))) == 200
        assert await streams[0].receive_some() == b""
        for stream in streams:
            await stream.aclose()


async def test_a_client_is_told_that_all_connections_are_busy(tmp_path: Path) -> None:
    async with serving(tmp_path) as web:
        streams = [await web.open() for _ in range(CONNECTIONS)]
        for stream in streams:
            await stream.send_all(request("POST /wait"))
        await trio.testing.wait_all_tasks_blocked()
        answer = await web.ask(b"")
        assert status(answer) == 503
        assert b"Retry-After: 1\r\n" in answer
        web.app.go_on.set()
        assert (await streams[0].receive_some()).endswith(b"done")
        for stream in streams:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert status(await web.ask(request("GET /things/a"))) == 200


async def test_an_answer_is_what_h11_reads(tmp_path: Path) -> None:
    client = h11.Connection(h11.CLIENT)
    async with serving(tmp_path) as web:
        asked = h11.Request(method="GET", target="/things/a", headers=[("Host", "x")])
        data = (client.send(asked) or b"") + (client.send(h11.EndOfMessage()) or b"")
        async with await web.open() as stream:
            await stream.send_all(data)
            client.receive_data(await stream.receive_some())
    assert isinstance(client.next_event(), h11.Response)
    assert isinstance(client.next_event(), h11.Data)
    assert isinstance(client.next_event(), h11.EndOfMessage)


async def test_the_socket_is_of_its_owner_alone_and_is_removed(tmp_path: Path) -> None:
    async with serving(tmp_path) as web:
        assert (Path(web.path).stat().st_mode & 0o777) == 0o600  # noqa: ASYNC240
    assert not Path(web.path).exists()  # noqa: ASYNC240
