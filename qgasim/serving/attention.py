"""When a driver looks at its channel: at the channel's next event, or when it is poked."""

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

__all__ = ["Attention"]

T = TypeVar("T")


class Attention:
    """Waits that end when the channel wants to be looked at.

    A driver has one for all its clients: a poke between two clients counts for the next wait.

    Args:
        next_look: returns the seconds until the channel wants that by itself; infinity: it does not.
    """

    def __init__(self, next_look: Callable[[], float]) -> None:
        self._next_look = next_look
        #: Whether something in the guest was changed since the last look at the channel.
        self.is_poked = False
        #: A socket that is waited for outside `wait`, which costs a cancel scope; `poke` wakes that, too.
        self.waiting_on: socket.socket | None = None
        self._scope: trio.CancelScope | None = None

    def poke(self) -> None:
        """End the wait that is going on, or the next one."""
        self.is_poked = True
        if self.waiting_on is not None:
            trio.lowlevel.notify_closing(self.waiting_on)
        if self._scope is not None:
            self._scope.cancel()

    async def wait(self, wait: Callable[[], Awaitable[T]]) -> T | None:
        """Await *wait*; return None when it is time to look at the channel again."""
        if self.is_poked:
            self.is_poked = False
            await trio.lowlevel.checkpoint()
            return None
        deadline = trio.current_time() + self._next_look()
        result: T | None = None
        try:
            with (
                trio.CancelScope(deadline=deadline) as self._scope,
                contextlib.suppress(trio.ClosedResourceError),
            ):
                result = await wait()
        finally:
            self._scope = None
        if result is None:
            self.is_poked = False
        return result
