"""What a server and the place where its clients come from ask of each other."""

import socket
from collections.abc import Awaitable
from typing import Protocol

from qgasim.serving.attention import Attention
from qgasim.simulation.channel import Channel

__all__ = ["Driver", "Endpoint", "Served"]


class Served(Protocol):
    """What is served: a channel or a monitor, as far as it matters where clients come from."""

    @property
    def is_open(self) -> bool:
        """Return whether a client can connect."""
        ...

    def wake_alone(self) -> None:
        """Do what is due while there is no client."""
        ...


class ClientDriver(Protocol):
    """What a server of anything offers to the socket that listens for it."""

    attention: Attention

    @property
    def channel(self) -> Served:
        """What is served."""
        ...

    def converse(self, sock: socket.socket, *, is_stream: bool = False) -> Awaitable[None]:
        """Serve the client behind *sock* until it leaves or is hung up on; *sock* stays open."""
        ...

    def fail(self, what: str, error: Exception) -> None:
        """Note an error of qgasim that was caught nowhere else."""
        ...


class Driver(Protocol):
    """What the server of an agent offers to its endpoint."""

    channel: Channel
    attention: Attention

    def converse(self, sock: socket.socket, *, is_stream: bool = False) -> Awaitable[None]:
        """Serve the client behind *sock* until it leaves or is hung up on; *sock* stays open.

        *is_stream*: a task of this process copies a stream to the other end and back. The client may
        stop sending before it has read everything, and cannot be told a reset.
        """
        ...

    def fail(self, what: str, error: Exception) -> None:
        """Note an error of qgasim that was caught nowhere else."""
        ...


class Endpoint(Protocol):
    """Where clients come from: a socket that listens, the standard input, a port.

    A server calls `open`, then `serve`, and `close` when that has ended.
    """

    @property
    def address(self) -> object:
        """Where it is."""
        ...

    def open(self) -> None:
        """Let clients connect.

        Raises:
            ListenError: it cannot be opened.
        """
        ...

    async def serve(self, driver: Driver) -> None:
        """Serve one client after the other, until cancelled or until there can be no more."""
        ...

    def accept_waiting(self) -> list[socket.socket]:
        """Accept the clients that wait, without serving them; the caller closes the sockets."""
        ...

    async def until_client_waits(self) -> None:
        """Return when a client waits, while another is served; never, where none can."""
        ...

    def close(self) -> None:
        """Let no client connect any more."""
        ...
