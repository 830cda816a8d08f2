"""Serve in a process of its own, until a signal or the end of the parent process."""

import os
import signal
from collections.abc import Callable
from typing import Final

import trio

from qgasim.serving.listen import Address
from qgasim.serving.server import Server
from qgasim.simulation.simulation import Simulation

__all__ = ["PARENT_INTERVAL", "keep_freed_memory", "run"]

#: How often to check whether the parent process is still there, in seconds.
PARENT_INTERVAL: Final = 0.25


def keep_freed_memory() -> None:
    """Make glibc keep up to 62 MiB of freed memory: else each long reply is faulted in page by page."""
    bytes(31 << 20)


async def _cancel_without_parent(scope: trio.CancelScope, parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel has no event for it
        await trio.sleep(PARENT_INTERVAL)
    scope.cancel()


def _signals() -> list[signal.Signals]:
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if is_ignored else [signal.SIGHUP])]


def run(
    simulation: Simulation,
    address: Address,
    on_ready: Callable[[Address], None],
    *,
    ends_with_parent: bool = False,
    tells_waiting: bool = False,
) -> None:
    """Serve until SIGINT, SIGTERM, or SIGHUP if that is not ignored (nohup).

    Args:
        simulation: what `Scenario.build` made.
        address: where.
        on_ready: called with the address when clients can connect.
        ends_with_parent: end also when the process that started this one has ended.
        tells_waiting: tell observers of clients that wait.
    """
    # Before the parent is told that clients can connect: it may end as soon as it hears that.
    parent = os.getppid()
    server = Server(simulation, address)
    server.tells_waiting = tells_waiting
    server.listen()
    keep_freed_memory()

    async def main() -> None:
        with trio.open_signal_receiver(*_signals()) as signals:
            async with trio.open_nursery() as nursery:

                async def serve_and_end() -> None:
                    await server.serve()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(serve_and_end)
                if ends_with_parent:
                    nursery.start_soon(_cancel_without_parent, nursery.cancel_scope, parent)
                on_ready(server.address)
                async for _ in signals:
                    nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    except KeyboardInterrupt:  # before the receiver was there
        return
