"""The agent as a process of its own: served until a signal ends it, or its own end.

The signals are those of quit_handler() in qga/main.c of 7.2.
"""

import contextlib
import os
import resource
import signal
from typing import Self

import trio

from qgasim.agent import Agent
from qgasim.agent.observer import Observer
from qgasim.serving.foreground import settle_memory
from qgasim.serving.listen import SocketAddress
from qgasim.serving.server import Server
from qgasim.simulation.simulation import Simulation
from qgasim.standin.channel_log import ChannelLog
from qgasim.standin.endpoints import AgentListener, Opening, PortEndpoint
from qgasim.standin.log import Log
from qgasim.standin.ports import Port

__all__ = ["AgentProcess"]


class _EndsWithAgent(Observer):
    """Ends what the agent runs in when the agent ends."""

    def __init__(self, agent: Agent, scope: trio.CancelScope) -> None:
        self._agent = agent
        self._scope = scope

    def changed(self) -> None:
        """Cancel if there is no agent any more."""
        if self._agent.process is None:
            self._scope.cancel()


class AgentProcess:
    """The process of an agent; it handles signals within its context.

    Args:
        simulation: what is served.
        address: where.
        log: for qemu-ga's messages about its channel.
        retries: whether a channel that cannot be opened, or is lost, is tried again.
    """

    def __init__(
        self, simulation: Simulation, address: SocketAddress | Port, log: Log, *, retries: bool
    ) -> None:
        self._simulation = simulation
        self._agent = simulation.agent
        self._log = log
        self._opening = Opening(log, retries=retries)
        if isinstance(address, Port):
            # A port logs by itself what it reads.
            self._server = Server(simulation, PortEndpoint(address, self._opening, log))
        else:
            listener = AgentListener(address, self._opening)
            self._server = Server(simulation, listener, ChannelLog(log))
        #: The signals that came before the agent was served.
        self._early: list[int] = []

    def __enter__(self) -> Self:
        # A program that sees the channel may send a signal at once.
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
            ListenError: it cannot be opened and is not to be tried again. Why is in the log.
        """
        self._server.listen()

    def run(self) -> int:
        """Serve until SIGINT or SIGTERM, or until the agent ends; return the exit status.

        If a signal ends the agent (4.2 aborts after guest-shutdown), it ends this process, too.
        """
        settle_memory()
        trio.run(self._run)
        if self._agent.died_of is not None:
            _die_of(self._agent.died_of)
        # What is buffered in open files gets written.
        self._agent.stop(respawn=False)
        return 1 if self._opening.has_failed else 0

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


def _die_of(number: int) -> None:
    """End by a signal at once, leaving the pid file behind, as the agent does that it ends."""
    # This program's memory is not what the agent's would tell.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # SIGKILL cannot be ignored anyway.
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
