"""The client for trio."""

import errno
import json
import os
from types import TracebackType
from typing import Any, Self

import trio

from qgasim.client.blocking import (
    QUEUE_IS_FULL,
    Lines,
    is_sync,
    make_request,
    make_sync,
    read_reply,
    unwrap,
)
from qgasim.errors import ClientError

__all__ = ["Client"]


class Client:
    """A client on a unix socket or a stream, for trio; an async context manager.

    It does the handshake first. Time-outs are trio's: use `trio.fail_after`, and `synchronise` after
    one, because a late reply may still come.

    Args:
        path: the socket of an agent, or a stream that leads to one.

    Raises:
        ClientError: the agent is not there or hangs up; and from `call`, an error reply.
    """

    def __init__(self, path: str | os.PathLike[str] | trio.abc.Stream) -> None:
        self._given = path if isinstance(path, trio.abc.Stream) else None
        self.path = "the stream" if isinstance(path, trio.abc.Stream) else os.fspath(path)
        self._lines = Lines()
        self._stream: trio.abc.Stream

    async def __aenter__(self) -> Self:
        try:
            self._stream = self._given or await trio.open_unix_socket(self.path)
        except OSError as error:
            raise ClientError(f"{self.path}: {error.strerror or error}") from None
        try:
            await self.synchronise()
        except BaseException:
            await trio.aclose_forcefully(self._stream)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stream.aclose()

    async def synchronise(self) -> None:
        """Drop whatever lies in the channel, up to the answer to a number of our own."""
        number, request = make_sync()
        await self._send(request)
        while not is_sync(await self._read_line(), number):
            pass

    async def call(self, command: str, /, **arguments: Any) -> Any:
        """Execute *command* and give what it returns.

        Underscores in the names of *arguments* stand for hyphens.
        """
        return unwrap(await self.request(make_request(command, arguments)))

    async def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the whole reply."""
        await self._send(json.dumps(message).encode() + b"\n")
        return read_reply(await self._read_line())

    async def _send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise ClientError(f"{self.path}: {_why(error)}") from None

    async def _read_line(self) -> bytes:
        while (line := self._lines.next()) is None:
            try:
                data = await self._stream.receive_some()
            except trio.BrokenResourceError as error:
                raise ClientError(f"{self.path}: {_why(error)}") from None
            if not data:
                raise ClientError(f"{self.path}: the agent hung up")
            self._lines.feed(data)
        return line


def _why(error: trio.BrokenResourceError) -> str:
    """Return why a stream is broken."""
    cause = error.__cause__
    if not isinstance(cause, OSError):
        return "the agent hung up"
    # Where a unix socket's connect would have to wait, trio goes on without a connection.
    return QUEUE_IS_FULL if cause.errno == errno.ENOTCONN else str(cause.strerror)
