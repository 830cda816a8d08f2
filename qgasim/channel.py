"""What lies between a client on the host and the agent in the guest. No I/O.

`Channel` knows when bytes reach the agent and what a connection's end does to it. The driver tells
it what happens to the connection, and does the effects.
"""

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from qgasim.agent import Agent
from qgasim.effects import Close, Effect

__all__ = ["Channel", "ChannelKind", "UnixListen", "VirtioSerial", "make_channel"]

ChannelKind: TypeAlias = Literal["virtio-serial", "unix-listen"]
#: How much waits in front of an agent that does not read, before the driver stops reading.
QUEUE_LIMIT: Final = 1 << 20


class Channel:
    """The way to an agent: one client at a time."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._queue = bytearray()

    @property
    def is_open(self) -> bool:
        """Whether a client can connect."""
        return True

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read from the client now."""
        return len(self._queue) >= QUEUE_LIMIT

    @property
    def needs_attention(self) -> bool:
        """Whether `wake` may have effects now or by itself later."""
        return self.agent.guest.is_busy or not self.agent.is_up

    def receive(self, data: bytes) -> Iterator[Effect]:
        """Take bytes from the client; give their effects, which must be taken to the end."""
        if self.needs_attention or self._queue:
            self._queue += data
            return self.wake()
        return self.agent.receive(data)

    def wake(self) -> Iterator[Effect]:
        """Let the guest catch up with time, and the agent read what waits for it."""
        self.agent.guest.settle()
        if self.agent.is_up:
            yield from self.agent.resume()
            data = bytes(self._queue)
            self._queue.clear()
            if data:
                yield from self.agent.receive(data)
        if self.agent.guest.power.state == "off":
            yield Close()

    def lose_client(self, *, unread: bool) -> None:
        """Note that the client has gone; *unread* if it left a reply unread (ECONNRESET)."""


class VirtioSerial(Channel):
    """A virtio-serial port: the agent sees no connections; bytes outlive them."""


class UnixListen(Channel):
    """``qemu-ga -m unix-listen``: the agent itself is the server, and ends with its channel."""

    @property
    def is_open(self) -> bool:
        """Whether there is an agent to listen."""
        return self.agent.process is not None

    def wake(self) -> Iterator[Effect]:
        """Let the guest catch up; hang up if the agent that had the connection is gone."""
        process = self.agent.process
        yield from super().wake()
        if self.agent.process is not process or process is None:
            yield Close()

    def lose_client(self, *, unread: bool) -> None:
        """End the agent if the client left a reply unread: its read fails, and it stops."""
        self._queue.clear()
        if unread:
            self.agent.stop()


def make_channel(kind: ChannelKind, agent: Agent) -> Channel:
    """Make a channel of *kind*."""
    return UnixListen(agent) if kind == "unix-listen" else VirtioSerial(agent)
