"""The agent as a process of its own: its channel, which it may lose and open again, and its signals.

What is done here is that of run_agent() and quit_handler() in qga/main.c of 7.2.
"""

import signal
import socket
from collections.abc import Awaitable
from typing import Final, Self

import trio

from qgasim.agent import Agent
from qgasim.agent.observer import Observer
from qgasim.errors import ListenError
from qgasim.serving.foreground import keep_freed_memory
from qgasim.serving.listen import AgentAddress, Stdio
from qgasim.serving.server import Server
from qgasim.simulation.channel import UnixListen
from qgasim.simulation.simulation import Simulation
from qgasim.standin.log import Log
from qgasim.standin.ports import OpenPort, Port, tell_data

__all__ = ["Process", "RetriedListen", "tell_no_channel"]

#: How long is waited before a channel is tried again, in seconds (QGA_RETRY_INTERVAL).
RETRY_INTERVAL: Final = 5


class RetriedListen(UnixListen):
    """The channel of ``qemu-ga -m unix-listen --retry-path``: a broken one is opened again.

    What the agent remembers it keeps. (qemu-ga 7.2.22 wants the same, but aborts when the first client
    connects to the socket that it opened again.)
    """

    #: Whether it has to be opened again.
    is_broken = False

    @property
    def is_open(self) -> bool:
        """Whether a client can connect."""
        return super().is_open and not self.is_broken

    def lose_client(self, *, unread: bytes | None) -> None:
        """Be broken if the client left a reply unread."""
        super().lose_client(unread=None)
        self.is_broken = unread is not None


def tell_no_channel(log: Log, *why: str) -> None:
    """Log that the channel cannot be opened."""
    for text in (*why, "failed to initialize guest agent channel"):
        log("critical", text)


class _Server(Server):
    """Serves an agent as it serves itself, and logs what it does about its channel.

    UNVERIFIED: which releases from 10.0 on end if the channel cannot be opened the first time, although
    it is to be tried again: commit c6f5dd7ac8 forgot it, a later one mended that.
    """

    def __init__(
        self, simulation: Simulation, address: AgentAddress | Port, log: Log, *, retries: bool
    ) -> None:
        # To a port nobody connects: it is served as a stream is.
        super().__init__(simulation, Stdio() if isinstance(address, Port) else address)
        self._port = address if isinstance(address, Port) else None
        self._open_port: OpenPort | None = None
        self._log = log
        self._retries = retries
        #: Whether the channel could not be opened when that was last tried.
        self.has_failed = False

    def listen(self) -> None:
        """Open the channel; ListenError if that cannot be and is not to be tried again."""
        self.has_failed = False
        try:
            if self._port is None:
                super().listen()
            else:
                self._open_port = self._port.open()
        except ListenError as error:
            self.has_failed = True
            tell_no_channel(self._log, str(error), "failed to create guest agent channel")
            if not self._retries:
                raise

    async def _serve(self) -> None:
        if self.has_failed:
            await self._listen_again()
        if self._port is not None:
            # A fault may close the connection, but not the port.
            while self._open_port is not None:
                await self._serve_stream(self._copy_from_port, self._copy_to_port)
            return
        while True:
            await self._accept_one()
            channel = self.channel
            if isinstance(channel, RetriedListen) and channel.is_broken:
                channel.is_broken = False
                await self._listen_again()

    async def _listen_again(self) -> None:
        """Wait until the channel can be opened."""
        while True:
            self._log("warning", "agent stopped unexpectedly, restarting...")
            self._log("warning", "waiting for channel path...")
            await trio.sleep(RETRY_INTERVAL)
            self.listen()
            if not self.has_failed:
                return

    async def _copy_from_port(self, stream: trio.SocketStream) -> None:
        while self._open_port is not None:
            await self._open_port.read_into(stream, self._log)
            self._open_port.close()
            self._open_port = None
            if self._retries:
                await self._listen_again()
        await stream.send_eof()

    async def _copy_to_port(self, stream: trio.SocketStream) -> None:
        async for data in stream:
            if self._open_port is not None:
                await self._open_port.write(data, self._log)

    async def _receive(self, sock: socket.socket) -> bytes:
        return await self._tell(super()._receive(sock))

    async def _peek(self, sock: socket.socket) -> bytes:
        return await self._tell(super()._peek(sock))

    async def _tell(self, receiving: Awaitable[bytes]) -> bytes:
        try:
            data = await receiving
        except ConnectionResetError:
            self._log("warning", "error reading channel")
            raise
        # A port tells by itself.
        if self._port is None:
            if data:
                tell_data(self._log, data)
            else:
                self._log("debug", "received EOF")
        return data


class _EndsWithAgent(Observer):
    """Ends what the agent runs in when the agent ends."""

    def __init__(self, agent: Agent, scope: trio.CancelScope) -> None:
        self._agent = agent
        self._scope = scope

    def changed(self) -> None:
        """Cancel if there is no agent any more."""
        if self._agent.process is None:
            self._scope.cancel()


class Process:
    """The process of an agent; signals are taken within its context.

    Args:
        simulation: what is served.
        address: where.
        log: what qemu-ga would log of its channel.
        retries: whether a channel that cannot be opened, or is lost, is tried again.
    """

    def __init__(
        self, simulation: Simulation, address: AgentAddress | Port, log: Log, *, retries: bool
    ) -> None:
        if retries and isinstance(simulation.channel, UnixListen):
            simulation.channel = RetriedListen(simulation.agent)
        self._simulation = simulation
        self._agent = simulation.agent
        self._log = log
        self._server = _Server(simulation, address, log, retries=retries)
        #: The signals that came before there were clients.
        self._early: list[int] = []

    def __enter__(self) -> Self:
        # Who sees the channel may send a signal at once.
        self._handlers = {
            number: signal.signal(number, lambda number, _: self._early.append(number))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def open(self) -> None:
        """Open the channel.

        Raises:
            ListenError: that cannot be and is not to be tried again. It is in the log.
        """
        self._server.listen()

    def run(self) -> int:
        """Serve until SIGINT or SIGTERM, or until the agent ends; give the exit status."""
        keep_freed_memory()
        trio.run(self._run)
        # What is buffered in open files gets written.
        self._agent.stop(respawn=False)
        return 1 if self._server.has_failed else 0

    async def _run(self) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                self._simulation.observe(_EndsWithAgent(self._agent, nursery.cancel_scope))
                nursery.start_soon(self._serve_and_end, nursery.cancel_scope)
                for number in self._early:
                    self._take_signal(number, nursery.cancel_scope)
                async for number in signals:
                    self._take_signal(number, nursery.cancel_scope)

    def _take_signal(self, number: int, scope: trio.CancelScope) -> None:
        if not self._agent.is_frozen:
            self._log("debug", f"received signal num {int(number)}, quitting")
            scope.cancel()

    async def _serve_and_end(self, scope: trio.CancelScope) -> None:
        await self._server.serve()
        scope.cancel()
