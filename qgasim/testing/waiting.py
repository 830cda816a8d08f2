"""Waiting for a guest: until it is in a state, or until its client has asked for something.

A wait is an observer in the thread that serves the guest, and a future that a test waits for: without
sleeping, and without polling.
"""

import contextlib
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, Final, Generic, NoReturn, TypeVar, get_args

import trio

from qgasim.agent.observer import Observer
from qgasim.errors import VerificationError
from qgasim.guest.system.clock import SteeredClock
from qgasim.guest.units import SECOND
from qgasim.simulation.journal import Exchange, Journal
from qgasim.simulation.simulation import Simulation
from qgasim.states import State
from qgasim.suggestions import did_you_mean
from qgasim.testing.events import Duration, to_ns
from qgasim.testing.verification import compile_requests, say_missing
from qgasim.wire import Message

__all__ = ["Waits"]

T = TypeVar("T")
#: How long to wait for a guest or its client, where a test does not say.
WITHIN: Final = "5s"


class Wait(Observer, Generic[T]):
    """Waits until *look* returns something.

    Args:
        simulation: what is looked at, in its own thread.
        look: called at once, and after each request and each change of state; None: not yet.
    """

    def __init__(self, simulation: Simulation, look: Callable[[], T | None]) -> None:
        self._simulation = simulation
        self._look = look
        #: Set in the thread of the guest.
        self.met: Future[T] = Future()
        simulation.observe(self)
        self._check()

    def exchanged(self, request: Message, reply: bytes) -> None:  # noqa: ARG002
        """Look again."""
        self._check()

    def monitored(self, monitor: int, connection: int, request: Message, reply: bytes) -> None:  # noqa: ARG002
        """Look again."""
        self._check()

    def changed(self) -> None:
        """Look again."""
        self._check()

    def _check(self) -> None:
        if not self.met.done() and (found := self._look()) is not None:
            self.met.set_result(found)

    def end(self) -> None:
        """Look no more."""
        if self in self._simulation.agent.observers:
            self._simulation.forget(self)


def wait_blocking(met: "Future[Any]", seconds: float) -> None:
    """Wait for so long in this thread."""
    with contextlib.suppress(TimeoutError):
        met.result(seconds)


async def wait_async(met: "Future[Any]", seconds: float) -> None:
    """Wait for so long on the clock of the trio or asyncio that runs."""
    try:
        token = trio.lowlevel.current_trio_token()
    except RuntimeError:  # no trio is running
        # Few tests need it.
        import asyncio  # noqa: PLC0415

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(met)), seconds)
        return
    event = trio.Event()

    def wake(_: "Future[Any]") -> None:
        # The test may have ended.
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(event.set)

    met.add_done_callback(wake)
    with trio.move_on_after(seconds):
        await event.wait()


class Waits:
    """What a test can wait for; `LiveGuest` has the rest."""

    simulation: Simulation
    journal: Journal
    source: SteeredClock

    def call(self, function: Callable[[], T], patience: float | None = None) -> T:
        """Call *function* between two requests, in the thread that serves the guest."""
        raise NotImplementedError

    def state_now(self) -> State:
        """Return the guest's state, in the thread that serves it."""
        self.simulation.guest.settle()
        return self.simulation.guest.state

    def wait_for(self, *, state: State, within: Duration = WITHIN) -> None:
        """Wait until the guest is in a state, in a thread that neither serves it nor runs its client.

        Args:
            state: ``"up"``, ``"frozen"``, ...
            within: for how long at most, in the host's time.

        Raises:
            VerificationError: it did not get there.
            ValueError: there is no such state.
        """
        with self._ended(self._await_state(state)) as wait:
            wait_blocking(wait.met, self._patience(within))
        self._conclude(wait, self._say_state(state, within))

    async def async_wait_for(self, *, state: State, within: Duration = WITHIN) -> None:
        """Do as `wait_for`, in a task of trio or asyncio."""
        with self._ended(self._await_state(state)) as wait:
            await wait_async(wait.met, to_ns(within) / SECOND)
        self._conclude(wait, self._say_state(state, within))

    def wait_request(
        self,
        command: str,
        /,
        *,
        arguments: dict[str, Any] | None = None,
        times: int = 1,
        within: Duration = WITHIN,
    ) -> Exchange:
        """Wait until a command was asked for; one that came before counts.

        Args:
            command: its name; ``*`` and ``?`` are wildcards. The monitor's begin with ``qmp:``.
            arguments: patterns of its arguments, as in `verify`.
            times: how often.
            within: for how long at most, in the host's time.

        Returns:
            the last of these requests.

        Raises:
            VerificationError: it was not asked for so often.
            ValueError: what is asked for cannot be.
        """
        with self._ended(self._await_request(command, arguments, times)) as wait:
            wait_blocking(wait.met, self._patience(within))
        return self._conclude(wait, self._say_request(command, arguments, times, within))

    async def async_wait_request(
        self,
        command: str,
        /,
        *,
        arguments: dict[str, Any] | None = None,
        times: int = 1,
        within: Duration = WITHIN,
    ) -> Exchange:
        """Do as `wait_request`, in a task of trio or asyncio."""
        with self._ended(self._await_request(command, arguments, times)) as wait:
            await wait_async(wait.met, to_ns(within) / SECOND)
        return self._conclude(wait, self._say_request(command, arguments, times, within))

    def _patience(self, within: Duration) -> float:
        """Return for how many seconds this thread may wait."""
        return to_ns(within) / SECOND

    def _await_state(self, state: State) -> Wait[State]:
        if state not in get_args(State):
            raise ValueError(f"no such state: {state!r}{did_you_mean(str(state), get_args(State))}")

        def look() -> State | None:
            return state if self.simulation.guest.state == state else None

        def begin() -> Wait[State]:
            self.simulation.guest.settle()
            return Wait(self.simulation, look)

        return self.call(begin)

    def _await_request(
        self, command: str, arguments: dict[str, Any] | None, times: int
    ) -> Wait[Exchange]:
        def begin() -> Wait[Exchange]:
            matches = compile_requests(self.journal, command, arguments)
            met: list[Exchange] = []
            position = 0

            def look() -> Exchange | None:
                nonlocal position
                entries = self.journal.after(position)
                met.extend(e for _, e in entries if isinstance(e, Exchange) and matches(e))
                position = self.journal.count
                return met[times - 1] if len(met) >= times else None

            return Wait(self.simulation, look)

        return self.call(begin)

    @contextlib.contextmanager
    def _ended(self, wait: Wait[T]) -> Generator[Wait[T]]:
        """Yield a wait, and end it, also if the test is cancelled."""
        try:
            yield wait
        finally:
            self.call(wait.end)

    def _conclude(self, wait: Wait[T], explain: Callable[[], str]) -> T:
        if wait.met.done():
            return wait.met.result()

        def fail() -> NoReturn:
            raise VerificationError(explain())

        return self.call(fail)

    def _say_state(self, state: State, within: Duration) -> Callable[[], str]:
        def say() -> str:
            seconds = to_ns(within) / SECOND
            text = (
                f"expected the guest to be {state} within {seconds:g} s, found {self.state_now()}"
            )
            stands = "\n(its clock stands still: qga.clock.advance() lets time pass)"
            return text + (stands if not self.source.rate else "")

        return say

    def _say_request(
        self, command: str, arguments: dict[str, Any] | None, times: int, within: Duration
    ) -> Callable[[], str]:
        awaited = f"within {to_ns(within) / SECOND:g} s"
        return lambda: say_missing(self.journal, command, arguments, times, awaited)
