"""Serves HTTP at an address: accepts clients, as many as there may be."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import trio

from qgasim.http.connection import Connection, Limits
from qgasim.http.problems import HttpError
from qgasim.http.service import Service, write_problem
from qgasim.serving.accepting import SHORTAGE_PAUSE, SHORTAGES, Listener
from qgasim.serving.listen import TcpAddress, UnixAddress

__all__ = ["CONNECTIONS", "HttpServer"]

#: How many clients may be connected.
CONNECTIONS: Final = 64
#: How many more may wait until they are accepted.
BACKLOG: Final = 64
_FULL: Final = f"{CONNECTIONS} clients are connected, and all are being answered"


class HttpServer:
    """A server for HTTP.

    A client that comes when there are as many as there may be takes the place of the one that has asked
    nothing for the longest time; if all are being answered, it is told so.
    """

    def __init__(
        self,
        address: UnixAddress | TcpAddress,
        service: Service,
        limits: Limits | None = None,
    ) -> None:
        self._listener = Listener(address)
        self._service = service
        self._limits = limits or Limits()
        self._count = 0
        #: What ends the connections on which nothing is asked, the longest idle first.
        self._idle: dict[trio.CancelScope, None] = {}

    @property
    def address(self) -> UnixAddress | TcpAddress:
        """Where clients connect; of a TCP port 0, which port it became."""
        address = self._listener.address
        assert isinstance(address, UnixAddress | TcpAddress)
        return address

    def listen(self) -> None:
        """Let clients connect.

        Raises:
            ListenError: the address cannot be listened on.
        """
        self._listener.open()
        assert self._listener.sock is not None
        self._listener.sock.listen(BACKLOG)

    def close(self) -> None:
        """Let no client connect any more; a unix socket's file is removed."""
        self._listener.close()

    async def serve(self) -> None:
        """Serve until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    sock = await self._accept()
                    nursery.start_soon(self._serve_client, sock)
        finally:
            self.close()

    async def _accept(self) -> socket.socket:
        while True:
            listener = self._listener.sock
            assert listener is not None
            await trio.lowlevel.wait_readable(listener)
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as error:
                if error.errno not in SHORTAGES:
                    raise
                await trio.sleep(SHORTAGE_PAUSE)
                continue
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock

    async def _serve_client(self, sock: socket.socket) -> None:
        with sock:
            if self._count >= CONNECTIONS and not self._idle:
                _refuse(sock)
                return
            if self._count >= CONNECTIONS:
                oldest = next(iter(self._idle))
                del self._idle[oldest]
                oldest.cancel()
            self._count += 1
            try:
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
                async with stream:
                    await Connection(stream, self._service, self._limits, self._waits).run()
            finally:
                self._count -= 1

    @contextmanager
    def _waits(self, scope: trio.CancelScope) -> Generator[None]:
        self._idle[scope] = None
        try:
            yield
        finally:
            self._idle.pop(scope, None)


def _refuse(sock: socket.socket) -> None:
    """Refuse a client, for there are too many; it need not read it."""
    answer = write_problem(HttpError(503, _FULL))
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
        f"Content-Type: {answer.media_type}\r\nContent-Length: {len(answer.body)}\r\n\r\n"
    )
    try:
        sock.send(head.encode() + answer.body)
    except OSError:
        return
