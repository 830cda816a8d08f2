"""The emulator's guest under control of another process, at which it is announced."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from qgasim.control.announcing import Announcement
from qgasim.guest.system.clock import SteeredClock
from qgasim.scenario import Blueprint
from qgasim.serving.monitoring import MonitorServer
from qgasim.serving.server import Server
from qgasim.simulation.simulation import Simulation
from qgasim.testing.live import LiveGuest

__all__ = ["Announced"]


class Announced:
    """A guest that is announced to a control API.

    Args:
        blueprint: what it is made of.
        name: what it is called.
        control: where that API is served.
        token: what it asks for, if it does.

    Raises:
        QgaSimError: the address is none.
    """

    def __init__(self, blueprint: Blueprint, name: str, control: str, token: str | None) -> None:
        self._name = name
        self._announcement = Announcement(control, token)
        self._live = LiveGuest(blueprint, SteeredClock, self._call, lambda _: "")

    @property
    def simulation(self) -> Simulation:
        """The guest, its agent and what lies between it and its clients."""
        return self._live.simulation

    def _call(self, function: Callable[[], Any], _patience: float | None) -> Any:
        try:
            return function()
        finally:
            if (hypervisor := self.simulation.hypervisor) is not None:
                hypervisor.on_change()

    async def serve(self, agent: Server | None, monitors: Iterable[MonitorServer]) -> None:
        """Announce it, and answer what is asked about it, until cancelled.

        Where that fails, libvirt's log tells why, and the machine runs all the same.
        """
        # A domain without the agent's channel has no address.
        hypervisor = self.simulation.hypervisor
        address = "unix:" if agent is None or hypervisor is None else hypervisor.agent_address
        places = address, tuple(monitor.address for monitor in monitors)
        try:
            await self._announcement.serve(
                self._name,
                self._live,
                places,
                lambda: agent is not None and agent.is_connected,
                lambda reason: _tell(f"not announced yet: {reason}"),
            )
        except* Exception as group:  # noqa: BLE001
            _tell(f"not announced: {group.exceptions[0]}")


def _tell(text: str) -> None:
    """Write a line to libvirt's log of the domain."""
    sys.stderr.write(f"qgasim: {text}\n")
    sys.stderr.flush()
