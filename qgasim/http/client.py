"""A small client for HTTP/1.1: a connection for each request."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import h11
import trio

from qgasim.http.routes import Answer, EventStream, Request
from qgasim.serving.listen import TcpAddress, UnixAddress

__all__ = ["ask"]

RECEIVE_SIZE: Final = 1 << 16
#: The headers of a request that are passed on.
_PASSED: Final = ("content-type", "last-event-id")


async def ask(
    address: UnixAddress | TcpAddress, request: Request, token: str | None = None
) -> Answer | EventStream:
    """Send a request; return what is answered, whatever its status.

    Args:
        address: of the server.
        request: what is asked; of its headers, those that say what its body is are sent.
        token: sent as the server's bearer token.

    Raises:
        OSError: the server is not there, or hangs up.
    """
    stream = await _open(address)
    connection = h11.Connection(h11.CLIENT)
    try:
        await stream.send_all(_write(connection, request, token))
        head = await _read_head(stream, connection)
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        if head.status_code == 200 and headers.get("content-type") == "text/event-stream":
            return EventStream(_stream(stream, connection))
        body = b"".join([data async for data in _read(stream, connection)])
    except (trio.BrokenResourceError, h11.ProtocolError) as error:
        await trio.aclose_forcefully(stream)
        raise ConnectionError(f"it does not answer ({error})") from None
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    await trio.aclose_forcefully(stream)
    return _make_answer(head.status_code, headers, body)


def _make_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    kept = [("Location", headers["location"])] if "location" in headers else []
    media_type = headers.get("content-type", "application/octet-stream")
    return Answer(body=body, status=status, media_type=media_type, headers=kept)


async def _open(address: UnixAddress | TcpAddress) -> trio.SocketStream:
    if isinstance(address, UnixAddress):
        return await trio.open_unix_socket(address.path)
    return await trio.open_tcp_stream(address.host, address.port)


def _write(connection: h11.Connection, request: Request, token: str | None) -> bytes:
    headers = [("Host", "localhost"), ("Connection", "close")]
    headers += [(name, value) for name, value in request.headers.items() if name in _PASSED]
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    if request.body:
        headers.append(("Content-Length", str(len(request.body))))
    target = f"{request.path}?{request.query}" if request.query else request.path
    head = h11.Request(method=request.method, target=target, headers=headers)
    parts = [connection.send(head)]
    if request.body:
        parts.append(connection.send(h11.Data(data=request.body)))
    parts.append(connection.send(h11.EndOfMessage()))
    return b"".join(part or b"" for part in parts)


async def _read_head(stream: trio.SocketStream, connection: h11.Connection) -> h11.Response:
    head = await _next_event(stream, connection)
    if not isinstance(head, h11.Response):
        raise ConnectionError("it hung up")
    return head


async def _next_event(stream: trio.SocketStream, connection: h11.Connection) -> Any:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.receive_some(RECEIVE_SIZE))
    return event


async def _read(
    stream: trio.SocketStream, connection: h11.Connection
) -> AsyncGenerator[bytes, None]:
    while isinstance(event := await _next_event(stream, connection), h11.Data):
        yield bytes(event.data)


async def _stream(
    stream: trio.SocketStream, connection: h11.Connection
) -> AsyncGenerator[bytes, None]:
    """Yield what is sent until the server ends it, or has gone."""
    try:
        async for data in _read(stream, connection):
            yield data
    except (trio.BrokenResourceError, h11.ProtocolError, OSError):
        return
    finally:
        await trio.aclose_forcefully(stream)
