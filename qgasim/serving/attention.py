"""When a driver looks at its channel: at the channel's next event, or when it is poked.

Guests whose programs have more to do than there is time for (`Processes.is_late`) take turns: of all guests
in a thread, one at a time catches up, and the others are served in between.
"""

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

__all__ = ["Attention"]

T = TypeVar("T")
#: Held by the guest of this thread that is the next one to catch up.
_turn: trio.lowlevel.RunVar[trio.Lock] = trio.lowlevel.RunVar("qgasim.serving.turn")


class Attention:
    """Waits that end when the channel wants to be looked at.

    A driver has one for all its clients: a poke between two clients counts for the next wait.

    Args:
        next_look: returns the seconds until the channel wants that by itself; infinity: it does not.
        is_late: tells whether a guest's programs have more to do than there is time for.
    """

    def __init__(
        self, next_look: Callable[[], float], is_late: Callable[[], bool] = lambda: False
    ) -> None:
        self._next_look = next_look
        self._is_late = is_late
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

    async def wait(self, wait: Callable[[], Awaitable[T]], *, in_turn: bool = True) -> T | None:
        """Await *wait*; return None when it is time to look at the channel again.

        What it returns for a guest that is late is returned in its turn, or at once if not *in_turn*.
        """
        result = await self._wait(wait)
        if self._is_late() and (in_turn or result is None):
            await _take_turn()
        return result

    async def _wait(self, wait: Callable[[], Awaitable[T]]) -> T | None:
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


async def _take_turn() -> None:
    """Return in a pass of the scheduler in which no other guest catches up, after one in which none does."""
    try:
        turn = _turn.get()
    except LookupError:
        turn = trio.Lock()
        _turn.set(turn)
    async with turn:
        await trio.lowlevel.checkpoint()
