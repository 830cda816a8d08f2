"""The channel of an agent that opens it itself: a socket that listens, or a port.

Both are opened as run_agent() of qga/main.c of 7.2 does it, and with ``--retry-path`` opened again, when
they could not be opened or were lost. The agent, and the `Channel` to it, stay the same.
"""

import socket
from collections.abc import Callable
from typing import Final

import trio

from qgasim.errors import ListenError
from qgasim.serving.accepting import Listener
from qgasim.serving.endpoint import Driver
from qgasim.serving.listen import SocketAddress
from qgasim.serving.stdio import serve_stream
from qgasim.standin.channel_log import log_no_channel
from qgasim.standin.log import Log
from qgasim.standin.ports import OpenPort, Port

__all__ = ["AgentListener", "Opening", "PortEndpoint"]

#: How long to wait before a channel is tried again, in seconds (QGA_RETRY_INTERVAL).
RETRY_INTERVAL: Final = 5


class Opening:
    """The attempts to open a channel.

    UNVERIFIED: which releases from 10.0 on end if the channel cannot be opened the first time, although
    it is to be tried again: commit c6f5dd7ac8 forgot it, a later one mended that.
    """

    def __init__(self, log: Log, *, retries: bool) -> None:
        self._log = log
        #: Whether a channel that cannot be opened, or is lost, is tried again.
        self.retries = retries
        #: Whether the last attempt failed.
        self.has_failed = False

    def attempt(self, opening: Callable[[], None]) -> None:
        """Call *opening*; raise its ListenError only if it is not to be tried again."""
        self.has_failed = False
        try:
            opening()
        except ListenError as error:
            self.fail(error)
            if not self.retries:
                raise

    def fail(self, error: ListenError) -> None:
        """Log why the channel could not be opened."""
        self.has_failed = True
        log_no_channel(self._log, str(error), "failed to create guest agent channel")

    async def repeat(self, opening: Callable[[], None]) -> None:
        """Call *opening* at intervals until it succeeds."""
        while True:
            self._log("warning", "agent stopped unexpectedly, restarting...")
            self._log("warning", "waiting for channel path...")
            await trio.sleep(RETRY_INTERVAL)
            self.attempt(opening)
            if not self.has_failed:
                return


class AgentListener:
    """A socket on which the agent itself listens."""

    def __init__(self, address: SocketAddress, opening: Opening) -> None:
        self._listener = Listener(address)
        self._opening = opening

    @property
    def address(self) -> SocketAddress:
        """Where clients connect."""
        return self._listener.address

    def open(self) -> None:
        """Let clients connect; raise ListenError if that fails and is not to be tried again."""
        self._opening.attempt(self._listener.open)

    def close(self) -> None:
        """Let no client connect any more."""
        self._listener.close()

    def accept_waiting(self) -> list[socket.socket]:
        """Accept the clients that wait, without serving them; the caller closes the sockets."""
        return self._listener.accept_waiting()

    async def until_client_waits(self) -> None:
        """Return never: nothing here asks for it."""
        await trio.sleep_forever()

    async def serve(self, driver: Driver) -> None:
        """Serve one client after the other, opening a lost channel again."""
        while True:
            if self._opening.has_failed or driver.channel.is_lost:
                await self._opening.repeat(self._listener.open)
                driver.channel.reopen()
            try:
                await self._listener.serve_next(driver)
            except ListenError as error:
                self._opening.fail(error)
                if not self._opening.retries:
                    raise


class PortEndpoint:
    """A port: no client connects to it, it is served as a stream is."""

    def __init__(self, port: Port, opening: Opening, log: Log) -> None:
        self.address = port
        self._opening = opening
        self._log = log
        self._open_port: OpenPort | None = None

    def open(self) -> None:
        """Open the port; raise ListenError if that fails and is not to be tried again."""
        self._opening.attempt(self._open)

    def _open(self) -> None:
        self._open_port = self.address.open()

    def close(self) -> None:
        """Do nothing: the port is open as long as the process."""

    def accept_waiting(self) -> list[socket.socket]:
        """Return no clients: none connects."""
        return []

    async def until_client_waits(self) -> None:
        """Return never: nothing here asks for it."""
        await trio.sleep_forever()

    async def serve(self, driver: Driver) -> None:
        """Serve the port until it fails, and with ``--retry-path`` open it again."""
        if self._opening.has_failed:
            await self._opening.repeat(self._open)
        # A fault may close the connection, but not the port.
        while self._open_port is not None:
            await serve_stream(driver, self._copy_from_port, self._copy_to_port)

    async def _copy_from_port(self, stream: trio.SocketStream) -> None:
        while self._open_port is not None:
            await self._open_port.read_into(stream, self._log)
            self._open_port.close()
            self._open_port = None
            if self._opening.retries:
                await self._opening.repeat(self._open)
        await stream.send_eof()

    async def _copy_to_port(self, stream: trio.SocketStream, *, piece: int) -> None:
        async for data in stream:
            if self._open_port is not None:
                await self._open_port.write(data, piece, self._log)
