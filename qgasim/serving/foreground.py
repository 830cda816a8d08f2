"""Serve in a process of its own, until a signal or the end of the parent process."""

import gc
import os
import signal
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Final

import trio

from qgasim.guest.processes.watchdog import watchdog
from qgasim.serving.server import Server

__all__ = ["PARENT_INTERVAL", "ending_signals", "run", "run_until_signal", "settle_memory"]

#: How often to check whether the parent process is still there, in seconds.
PARENT_INTERVAL: Final = 0.25


def settle_memory() -> None:
    """Take up the collection of garbage at the end of a start that put it off (``gc.disable``).

    glibc is made to keep up to 62 MiB of freed memory, too: else each long reply is faulted in page by page.
    """
    bytes(31 << 20)
    # What is there so far stays. It becomes old without being looked at, as the first collection would.
    gc.freeze()
    gc.unfreeze()
    gc.enable()


async def _cancel_without_parent(scope: trio.CancelScope, parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel has no event for it
        await trio.sleep(PARENT_INTERVAL)
    scope.cancel()


def ending_signals() -> list[signal.Signals]:
    """Return the signals that end a server: SIGINT, SIGTERM, and SIGHUP if that is not ignored (nohup)."""
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if is_ignored else [signal.SIGHUP])]


def _hurry_at(numbers: list[signal.Signals]) -> None:
    """Let a signal also end what a program of the guest is just doing."""

    def hurry(number: int, frame: FrameType | None) -> None:
        handler = handlers[number]
        assert callable(handler)
        handler(number, frame)
        # Last: if this thread runs the program, the end of the step is raised from here on.
        watchdog.hurry()

    handlers = {int(number): signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, hurry)


def run_until_signal(
    main: Callable[[trio.Nursery], Awaitable[None]], *, ends_with_parent: bool = False
) -> None:
    """Run *main* until it returns, or until SIGINT, SIGTERM, or SIGHUP if that is not ignored (nohup).

    Args:
        main: gets a nursery of which everything ends with it.
        ends_with_parent: end also when the process that started this one has ended.
    """
    # Before clients can connect: the parent may end as soon as it knows that.
    parent = os.getppid()
    failures: list[Exception] = []

    async def run_main() -> None:
        with trio.open_signal_receiver(*ending_signals()) as signals:
            _hurry_at(ending_signals())
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            async with trio.open_nursery() as nursery:

                async def run_and_end() -> None:
                    try:
                        await main(nursery)
                    except Exception as error:  # noqa: BLE001
                        # Raised below: out of a nursery, it would come in a group.
                        failures.append(error)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(run_and_end)
                if ends_with_parent:
                    nursery.start_soon(_cancel_without_parent, nursery.cancel_scope, parent)
                async for _ in signals:
                    nursery.cancel_scope.cancel()

    # One that comes before the receiver is there waits: the socket's file is removed in any case.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending_signals())
    try:
        trio.run(run_main)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if failures:
        raise failures[0]


def run(server: Server, on_ready: Callable[[], None], *, ends_with_parent: bool = False) -> None:
    """Serve until a signal: see `run_until_signal`.

    Args:
        server: of a guest; it listens nowhere yet.
        on_ready: called when clients can connect.
        ends_with_parent: end also when the process that started this one has ended.

    Raises:
        ListenError: the address cannot be listened on.
    """

    async def main(_: trio.Nursery) -> None:
        server.listen()
        settle_memory()
        on_ready()
        await server.serve()

    run_until_signal(main, ends_with_parent=ends_with_parent)
