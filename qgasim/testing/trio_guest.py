"""A guest that is served in a nursery of yours, on the clock of your trio."""

import contextlib
from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from qgasim.guest.system.clock import SteeredClock
from qgasim.guest.units import SECOND
from qgasim.scenario import Blueprint
from qgasim.serving.server import Server, qmp_beside
from qgasim.simulation.simulation import Simulation
from qgasim.testing.events import Duration
from qgasim.testing.live import LiveGuest

__all__ = ["TrioGuest"]

RECEIVE_SIZE = 1 << 16


class TrioGuest(LiveGuest):
    """A guest in a trio program: with a `trio.testing.MockClock`, an hour takes no time.

    What is done with it are plain calls: nothing else runs meanwhile.

    Args:
        blueprint: what it is made of.
        nursery: where it is served.
        path: of its socket.

    Raises:
        ListenError: the socket cannot be listened on.
    """

    def __init__(self, blueprint: Blueprint, nursery: trio.Nursery, path: str) -> None:
        #: Its server.
        self.server: Server
        self._nursery = nursery
        self._path = path
        self._scope: trio.CancelScope | None = None
        self._latest = 0
        super().__init__(
            blueprint, lambda: SteeredClock(self._now), self._call_at_once, self._listen
        )

    async def open_stream(self) -> trio.StapledStream[Any, Any]:
        """Connect by a stream in memory: for clients that are given one.

        Raises:
            OSError: the agent lets no client connect.
        """
        ours, theirs = trio.testing.memory_stream_pair()
        sock = await trio.open_unix_socket(self.socket_path)
        piece = self.server.channel.write_size
        self._nursery.start_soon(_join, sock, theirs, piece)
        return ours

    def _patience(self, within: Duration) -> float:  # noqa: ARG002
        """Do not wait: the guest is served by the task that would."""
        return 0.0

    def end(self, failure: BaseException | None = None) -> None:
        """Stop serving."""
        self._hang_up()
        super().end(failure)

    def _now(self) -> int:
        # When trio has ended, a test's report still wants to know.
        with contextlib.suppress(RuntimeError):
            self._latest = int(trio.current_time() * SECOND)
        return self._latest

    def _call_at_once(self, function: Callable[[], Any], _patience: float | None) -> Any:
        try:
            return function()
        finally:
            self.server.poke()

    def _listen(self, simulation: Simulation) -> str:
        self._hang_up()
        self.server = Server(simulation, self._path, qmp=qmp_beside(simulation, self._path))
        self._scope = trio.CancelScope()
        self.server.listen()
        self._nursery.start_soon(_serve, self._scope, self.server)
        return self._path

    def _hang_up(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
            self.server.close()
            self._scope = None


async def _serve(scope: trio.CancelScope, server: Server) -> None:
    with scope:
        await server.serve()


async def _join(sock: trio.SocketStream, memory: trio.StapledStream[Any, Any], piece: int) -> None:
    """Pass on what comes at either end, replies in pieces of *piece* bytes, until the agent hangs up."""
    async with sock, memory, trio.open_nursery() as nursery:
        nursery.start_soon(_send, memory, sock)
        with contextlib.suppress(trio.BrokenResourceError):
            while data := await sock.receive_some(min(piece, RECEIVE_SIZE)):
                await memory.send_all(data)
        nursery.cancel_scope.cancel()


async def _send(memory: trio.StapledStream[Any, Any], sock: trio.SocketStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        while data := await memory.receive_some(RECEIVE_SIZE):
            await sock.send_all(data)
        await sock.send_eof()
