"""One client's connection: requests are read, answered one after the other, and bounded.

h11 knows the protocol; here are the times within which a client has to send and to read, and how
much it may send.
"""

import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any, Final, TypeVar

import h11
import trio
from msgspec import Struct

from qgasim.http.problems import HttpError
from qgasim.http.routes import Answer, EventStream, Request
from qgasim.http.service import HEADERS, Call, Service, write_problem
from qgasim.serving.sockets import has_hung_up

__all__ = ["Connection", "Limits"]

T = TypeVar("T")

RECEIVE_SIZE: Final = 1 << 16
#: What a client may still send that is refused, so that it gets to read why.
LINGER_SIZE: Final = 64 << 20


class Limits(Struct, frozen=True, kw_only=True):
    """What a client may take; times are the host's, in seconds."""

    #: Bytes of a request's line and headers.
    head: int = 16 << 10
    #: Bytes of a body.
    body: int = 16 << 20
    #: How long a connection may be without a request.
    idle_time: float = 60.0
    #: How long a request may take from its first byte to its last.
    request_time: float = 30.0
    #: How long a client may not read.
    send_time: float = 30.0
    #: How long a client that was refused may go on to send.
    linger_time: float = 1.0


class Connection:
    """A connection with one client.

    Args:
        stream: connected; it is not closed here.
        service: answers its requests.
        limits: what it may take.
        waits: entered while nothing is asked, with the scope that ends the connection.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        service: Service,
        limits: Limits,
        waits: Callable[[trio.CancelScope], AbstractContextManager[None]],
    ) -> None:
        self._stream = stream
        self._service = service
        self._limits = limits
        self._waits = waits
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head)

    async def run(self) -> None:
        """Answer requests until the client leaves, is refused or takes too long."""
        try:
            while await self._serve_one():
                self._h11.start_next_cycle()
        except (trio.BrokenResourceError, trio.TooSlowError, OSError):
            # It has gone, or does not read.
            return
        await self._linger()

    # -- reading ---------------------------------------------------------------------------------

    async def _next_event(self) -> Any:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            if self._h11.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                await self._send(self._h11.send(go_on))
            self._h11.receive_data(await self._stream.receive_some(RECEIVE_SIZE))
        return event

    async def _wait_for_request(self) -> bool:
        """Wait for the first bytes of a request; return whether there are any."""
        if self._h11.trailing_data[0]:
            return True
        with trio.move_on_after(self._limits.idle_time) as scope, self._waits(scope):
            data = await self._stream.receive_some(RECEIVE_SIZE)
            self._h11.receive_data(data)
            return bool(data)
        return False

    async def _serve_one(self) -> bool:
        """Answer a request; return whether there can be another."""
        if not await self._wait_for_request():
            return False
        is_head = False
        answer: Answer | EventStream | None
        try:
            with trio.fail_after(self._limits.request_time):
                head = await self._next_event()
                if not isinstance(head, h11.Request):
                    return False  # the client has gone
                is_head = head.method == b"HEAD"
                call, request = await self._read(head)
            answer = call if isinstance(call, Answer) else await self._perform(call, request)
            if answer is None:
                return False
        except trio.TooSlowError:
            text = f"the request took longer than {self._limits.request_time:g} s"
            answer = write_problem(HttpError(408, text))
        except h11.RemoteProtocolError as error:
            answer = write_problem(HttpError(error.error_status_hint, _why(error)))
        except Exception as error:  # noqa: BLE001
            answer = self._service.refuse(error)
        if isinstance(answer, EventStream):
            await self._send_stream(answer, is_head=is_head)
        else:
            await self._send_answer(answer, is_head=is_head)
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    async def _read(self, head: h11.Request) -> tuple[Call | Answer, Request]:
        """Read the rest of a request, if it is allowed.

        Raises:
            HttpError: it is not, or is too long.
        """
        if head.http_version not in {b"1.0", b"1.1"}:
            raise HttpError(505, "expected HTTP/1.1")
        size = len(head.target) + sum(len(name) + len(value) for name, value in head.headers)
        if size > self._limits.head:
            # h11 bounds only what has not yet come as a whole.
            raise HttpError(431, f"expected headers of at most {self._limits.head >> 10} KiB")
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        path, _, query = head.target.decode("ascii").partition("?")
        method = head.method.decode("ascii")
        call = self._service.begin(method, path, headers)
        limit = self._limits.body
        too_long = HttpError(413, f"expected a body of at most {limit >> 20} MiB")
        if int(headers.get("content-length", "0")) > limit:
            raise too_long
        parts: list[bytes] = []
        size = 0
        while not isinstance(event := await self._next_event(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise HttpError(400, "the client has gone")
            parts.append(bytes(event.data))
            size += len(event.data)
            if size > limit:
                raise too_long
        body = b"".join(parts)
        return call, Request(method=method, path=path, query=query, headers=headers, body=body)

    # -- answering -------------------------------------------------------------------------------

    async def _perform(self, call: Call, request: Request) -> Answer | EventStream | None:
        """Return what is answered; None: the client has gone meanwhile."""
        if (forwarded := self._service.pass_on(call, request)) is not None:
            return await self._while_connected(forwarded)
        arguments = self._service.arguments(call, request)
        if not call.route.is_async:
            return self._service.perform(call, arguments)
        return await self._while_connected(lambda: self._service.perform_slowly(call, arguments))

    async def _while_connected(self, function: Callable[[], Awaitable[T]]) -> T | None:
        """Return what *function* returns; None: the client hung up first, and it was cancelled."""
        result: T | None = None
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            try:
                result = await function()
            except Exception as error:  # noqa: BLE001
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return result

    async def _watch(self, scope: trio.CancelScope) -> None:
        """Cancel *scope* when the client hangs up."""
        sock = self._stream.socket
        await trio.lowlevel.wait_readable(sock)
        try:
            data = await sock.recv(1, socket.MSG_PEEK)
        except OSError:
            data = b""
        if data:
            return  # its next request
        if sock.family != socket.AF_UNIX or has_hung_up(sock):  # type: ignore[arg-type]
            scope.cancel()

    def _head(self, status: int, headers: list[tuple[str, str]]) -> bytes:
        closes = status in {408, 413} or self._h11.their_state is not h11.DONE
        ending = [("Connection", "close")] if closes else []
        response = h11.Response(
            status_code=status,
            reason=HTTPStatus(status).phrase.encode(),
            headers=[*headers, *HEADERS, *ending],
        )
        return self._h11.send(response) or b""

    async def _send_answer(self, answer: Answer, *, is_head: bool) -> None:
        if self._h11.our_state not in {h11.SEND_RESPONSE, h11.IDLE}:
            return
        headers = list(answer.headers)
        if answer.status != 204:
            headers = [
                ("Content-Type", answer.media_type),
                ("Content-Length", str(len(answer.body))),
                *headers,
            ]
        data = self._head(answer.status, headers)
        if answer.body and not is_head:
            data += self._h11.send(h11.Data(data=answer.body)) or b""
        await self._send(data + (self._h11.send(h11.EndOfMessage()) or b""))

    async def _send_stream(self, stream: EventStream, *, is_head: bool) -> None:
        await self._send(self._head(200, [("Content-Type", "text/event-stream")]))
        events = stream.events

        async def send() -> bool:
            async for data in events:
                await self._send(self._h11.send(h11.Data(data=data)))
            return True

        try:
            is_complete = is_head or await self._while_connected(send)
        finally:
            with trio.CancelScope(shield=True):
                await events.aclose()  # type: ignore[attr-defined]
        if is_complete:
            await self._send(self._h11.send(h11.EndOfMessage()))

    async def _send(self, data: bytes | None) -> None:
        """Send *data*, in pieces that each must be read in time."""
        view = memoryview(data or b"")
        while view:
            with trio.fail_after(self._limits.send_time):
                await self._stream.send_all(view[:RECEIVE_SIZE])
            view = view[RECEIVE_SIZE:]

    async def _linger(self) -> None:
        """Let a client that is still sending read its answer: a close would take that away."""
        with trio.move_on_after(self._limits.linger_time):
            try:
                await self._stream.send_eof()
                size = 0
                while size < LINGER_SIZE and (
                    data := await self._stream.receive_some(RECEIVE_SIZE)
                ):
                    size += len(data)
            except (trio.BrokenResourceError, OSError):
                return


def _why(error: h11.RemoteProtocolError) -> str:
    return f"this is no HTTP/1.1: {error}"
