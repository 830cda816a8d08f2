"""The emulator as a process: from its command line to its end."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from qgasim import DEFAULT_SCENARIO
from qgasim.emulator.command_line import CommandLine
from qgasim.emulator.hardware import lay_over
from qgasim.emulator.machine import find_port, make_board, make_settings
from qgasim.emulator.sockets import (
    agent_address,
    find_monitors,
    migration_address,
    open_chardevs,
)
from qgasim.qmp import Hypervisor
from qgasim.scenario import Blueprint, load, remember_place
from qgasim.serving.accepting import Listener
from qgasim.serving.foreground import settle_memory
from qgasim.serving.listen import name_address
from qgasim.serving.monitoring import MonitorServer
from qgasim.serving.server import Server
from qgasim.serving.sockets import RECEIVE_SIZE

if TYPE_CHECKING:
    from qgasim.emulator.announced import Announced

__all__ = ["Emulator", "block_signals"]

#: How long the last messages to the monitors' clients may take, in seconds.
FLUSH_LIMIT: Final = 1.0
#: How long the process takes from SHUTDOWN to the end of its sockets, in seconds. Recorded: 4 to 8 ms, for a
#: guest that has hardly touched its memory; the kernel frees that before it closes files. libvirt (9.0)
#: takes a shorter time for an error: it may read the end of the agent's socket before the thread that waits
#: for SHUTDOWN has woken.
EXIT_TIME: Final = 0.03
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Emulator:
    """A machine with its monitors and its agent's socket.

    Args:
        line: the command line.
        release: which release of QEMU it is of.

    Raises:
        CommandLineError: it cannot be understood.
        ScenarioError: there is no such guest.
    """

    def __init__(self, line: CommandLine, release: str) -> None:
        settings = make_settings(line, release)
        monitors = list(find_monitors(line))
        port = find_port(line)
        has_chardev = port is not None and "chardev" in port
        agent = agent_address(line, settings.chardev) if has_chardev else None
        blueprint = _plan(line)
        self._announced = _announce(line, blueprint)
        simulation = blueprint.build() if self._announced is None else self._announced.simulation
        board = make_board(line, blueprint.scenario.guest, release)
        taken = {label for _, label in monitors if label} | {settings.chardev}
        board.chardevs = open_chardevs(line, taken)
        self._hypervisor = Hypervisor(simulation.agent, settings, board=board)
        # What comes from another host starts by itself, but for `-S` (migration.c, autostart).
        self._hypervisor.migration.starts_paused = line.has("S")
        self._hypervisor.migration.listen = self._await_machine
        simulation.hypervisor = self._hypervisor
        self._monitors = [MonitorServer(simulation, *monitor) for monitor in monitors]
        self._agent = None if agent is None else Server(simulation, Listener(agent))
        if agent is not None:
            self._hypervisor.agent_address = name_address(agent)
        self._hypervisor.on_change = self._poke
        self._ended = trio.Event()
        self._hypervisor.on_end = self._ended.set

    def _poke(self) -> None:
        """Look at everything again: something in the guest was changed."""
        if self._agent is not None:
            self._agent.poke()
        for monitor in self._monitors:
            monitor.poke()

    def listen(self) -> None:
        """Let clients connect.

        Raises:
            ListenError: they cannot.
        """
        if self._agent is not None:
            self._agent.listen()
        for monitor in self._monitors:
            monitor.listen()

    def run(self) -> int:
        """Serve until the machine ends, or a signal ends it; return the exit status."""
        settle_memory()
        try:
            trio.run(self._run)
        finally:
            for monitor in self._monitors:
                monitor.close()
        return self._hypervisor.exit_status

    async def _run(self) -> None:
        with trio.open_signal_receiver(*_SIGNALS) as signals:
            # Those that came before wait until here.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            async with trio.open_nursery() as self._nursery:
                nursery = self._nursery
                if self._agent is not None:
                    nursery.start_soon(self._agent.serve)
                for monitor in self._monitors:
                    nursery.start_soon(monitor.serve)
                if self._announced is not None:
                    nursery.start_soon(self._announced.serve, self._agent, self._monitors)
                nursery.start_soon(self._heed, signals)
                await self._ended.wait()
                await trio.sleep(EXIT_TIME)
                self._hypervisor.hang_up()
                with trio.move_on_after(FLUSH_LIMIT):
                    for monitor in self._monitors:
                        await monitor.wait_for_end()
                nursery.cancel_scope.cancel()

    def _await_machine(self, uri: str) -> bool:
        """Listen where a machine is to come from; False: that is no socket (a file, a descriptor)."""
        address = migration_address(uri)
        if address is None:
            return False
        listener = Listener(address)
        listener.open()
        self._nursery.start_soon(self._take_machine, listener)
        return True

    async def _take_machine(self, listener: Listener) -> None:
        """Let a machine come when it is sent; what is sent is not looked at."""
        await listener.until_client_waits()
        (sock, *others) = listener.accept_waiting()
        listener.close()
        for other in others:
            other.close()
        self._hypervisor.migration.come()
        self._poke()
        with sock, suppress(OSError):
            sock.setblocking(False)
            while True:
                await trio.lowlevel.wait_readable(sock)
                if not sock.recv(RECEIVE_SIZE):
                    return

    async def _heed(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            self._hypervisor.quit("host-signal")


def block_signals() -> None:
    """Keep signals until `Emulator.run` heeds them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _announce(line: CommandLine, blueprint: Blueprint) -> "Announced | None":
    """Return the guest that is announced to the control API of ``QGASIM_CONTROL``; None: there is none.

    Raises:
        QgaSimError: its address is none.
    """
    control = os.environ.get("QGASIM_CONTROL")
    if not control:
        return None
    from qgasim.emulator.announced import Announced  # noqa: PLC0415 - most are not, and start sooner

    token = os.environ.get("QGASIM_CONTROL_TOKEN")
    return Announced(blueprint, line.name or "guest", control, token)


def _plan(line: CommandLine) -> Blueprint:
    """Return the guest of ``QGASIM_SCENARIO`` with the hardware of *line*, and the release of ``QGASIM_AGENT``."""
    scenario = load(os.environ.get("QGASIM_SCENARIO") or DEFAULT_SCENARIO)
    # A fleet's guests are domains by their names.
    scenario = scenario.fleet.get(line.name, scenario)
    if release := os.environ.get("QGASIM_AGENT"):
        scenario.agent.release = release
        remember_place(scenario, "agent.release", "QGASIM_AGENT")
    scenario.guest = lay_over(line, scenario.guest)
    scenario.machine = None
    return Blueprint(scenario)
