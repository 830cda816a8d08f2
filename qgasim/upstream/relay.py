"""A socket that is passed on byte by byte to another one, and written down: the monitor beside a real agent."""

import socket
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import trio

from qgasim.agent.observer import Observer
from qgasim.client.connecting import AgentAddress, connect
from qgasim.conversation import ConversationWriter
from qgasim.errors import ClientError
from qgasim.serving.accepting import Listener
from qgasim.serving.attention import Attention
from qgasim.serving.foreground import run_until_signal
from qgasim.serving.listen import SocketAddress
from qgasim.serving.server import Server

__all__ = ["Relay", "run_beside"]

_SIZE: Final = 1 << 16


class _AlwaysOpen:
    """What is served: clients can always connect."""

    is_open = True

    def wake_alone(self) -> None:
        """Do nothing: nothing is due."""


class Relay:
    """Passes one client after the other on to a socket.

    Args:
        address: where clients connect.
        upstream: where they are passed on to.
        timeout: how long to wait for that connection, in seconds.
        recorder: writes down what goes either way.
        observer: told of what goes wrong.
    """

    def __init__(
        self,
        address: SocketAddress,
        upstream: AgentAddress,
        timeout: float,
        recorder: ConversationWriter,
        observer: Observer,
    ) -> None:
        self.channel = _AlwaysOpen()
        self.attention = Attention(lambda: float("inf"))
        self._listener = Listener(address)
        self._connect = partial(connect, upstream, timeout)
        self._recorder = recorder
        self._observer = observer
        self._count = 0

    def listen(self) -> None:
        """Let clients connect.

        Raises:
            ListenError: the address cannot be listened on.
        """
        self._listener.open()

    async def serve(self) -> None:
        """Serve one client after the other, until cancelled."""
        try:
            await self._listener.serve(self)
        finally:
            self._listener.close()

    async def converse(self, sock: socket.socket, *, is_stream: bool = False) -> None:  # noqa: ARG002
        """Pass on what a client sends, and what comes for it, until either side ends."""
        self._count += 1
        number, recorder = self._count, self._recorder
        recorder.connected(number, to="qmp")
        try:
            upstream = await trio.to_thread.run_sync(self._connect, abandon_on_cancel=True)
        except ClientError as error:
            self._observer.noted(str(error))
            recorder.received(number, b"", to="qmp", end=str(error))
            return
        with upstream:
            upstream.setblocking(False)
            async with trio.open_nursery() as nursery:

                async def bring() -> None:
                    await _copy(upstream, sock, partial(recorder.received, number, to="qmp"))
                    recorder.received(number, b"", to="qmp", end="EOF")
                    nursery.cancel_scope.cancel()

                nursery.start_soon(bring)
                await _copy(sock, upstream, partial(recorder.sent, number, to="qmp"))
                recorder.closed(number, to="qmp")
                nursery.cancel_scope.cancel()

    def fail(self, what: str, error: Exception) -> None:
        """Return of an error of qgasim."""
        self._observer.failed(f"{what}: {error}")


async def _copy(source: socket.socket, target: socket.socket, note: partial[None]) -> None:
    """Copy until *source* ends, or *target* takes nothing more."""
    while True:
        try:
            data = source.recv(_SIZE)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(source)
            continue
        except OSError:
            return
        if not data:
            return
        note(data)
        left = memoryview(data)
        while left:
            try:
                left = left[target.send(left) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(target)
            except OSError:
                return


def run_beside(server: Server, relays: Iterable[Relay], on_ready: Callable[[], None]) -> None:
    """Serve until a signal.

    Args:
        server: stands before an agent.
        relays: what is served beside it.
        on_ready: called when clients can connect.

    Raises:
        ListenError: an address cannot be listened on.
    """

    async def main(nursery: trio.Nursery) -> None:
        server.listen()
        for relay in relays:
            relay.listen()
            nursery.start_soon(relay.serve)
        on_ready()
        await server.serve()

    run_until_signal(main)
