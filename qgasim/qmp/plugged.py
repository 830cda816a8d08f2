"""The agent's port and the network devices, as far as events report what the guest does with them."""

from collections.abc import Callable

from qgasim.agent import Agent
from qgasim.qmp.board import Board
from qgasim.qmp.devices import Device, Devices
from qgasim.qmp.release import find_release
from qgasim.qmp.settings import MachineSettings
from qgasim.qmp.states import RunState
from qgasim.qmp.telling import Telling

__all__ = ["Plugged"]


class Plugged(Telling):
    """A process with devices: it follows what the guest does with them."""

    def __init__(
        self,
        agent: Agent,
        settings: MachineSettings,
        wall_clock: Callable[[], int],
        board: Board | None = None,
    ) -> None:
        super().__init__(agent, wall_clock)
        self.settings = settings
        self.release = find_release(settings.qemu)
        self.devices = Devices(self.guest, settings, board)
        self.status: RunState = "running"
        #: Whether a client is connected to the agent's port.
        self.has_agent_client = False
        #: Where clients of the agent connect, as query-chardev names it.
        self.agent_address = "unix:qga.sock"
        #: Called when something in the guest was changed by a monitor's client.
        self.on_change: Callable[[], None] = lambda: None
        #: Whether the agent's port is plugged in, and the guest has found it.
        self.has_port = board is None or board.has_port
        #: Whether the guest has opened the port, as the host was told.
        self.port_is_open = self._port_state()
        #: Whether the process is ending: then no event reports the port.
        self._is_quitting = False
        self.guest.on_filter = self._filter_changed
        #: The boot in which network drivers have said what they receive; the events of a guest that is up when
        #: the machine is made are past.
        self._told_boot = self.guest.boot_id
        for device in self.devices.network():
            device.tells_filter = settings.start == "prelaunch"

    @property
    def has_booted(self) -> bool:
        """Return whether the guest drives its devices."""
        return self.guest.power.state not in ("booting", "rebooting", "off")

    def _port_state(self) -> bool:
        """Return whether the guest has the agent's port open."""
        power = self.guest.power
        return (
            self.agent.process is not None
            and self.has_port
            and self.status != "inmigrate"
            and (power.state in ("running", "panicked") or power.is_saving)
        )

    def look_at_port(self) -> None:
        """Emit an event if the guest has opened or closed the port."""
        is_open = self._port_state()
        if is_open == self.port_is_open:
            return
        if self.guest.clock.is_stopped and is_open:
            return  # A guest that stands still opens nothing.
        self.port_is_open = is_open
        if self._is_quitting:
            return
        if is_open and self._told_boot != self.guest.boot_id:
            self._told_boot = self.guest.boot_id
            self._tell_filters()
            self.drive_balloon()
        self.emit("VSERPORT_CHANGE", {"id": self.devices.port_id, "open": is_open})

    def close_port(self) -> None:
        """Take the port away from the agent, which goes on trying to open it. No event tells it."""
        self.port_is_open = False
        self.has_port = False
        self._hold_agent()

    def open_port(self) -> None:
        """Let the agent open a port that was plugged in again."""
        self.has_port = True
        process = self.agent.process
        if process is not None:
            process.is_stopped = False
        self.look_at_port()
        self.on_change()

    def _hold_agent(self) -> None:
        """Let the agent wait while it has no port: it reads nothing."""
        process = self.agent.process
        if not self.has_port and process is not None:
            process.is_stopped = True

    def _tell_filters(self) -> None:
        """Emit that network drivers have said what they receive: they do so while the guest boots."""
        for device in self.devices.network():
            self._tell_filter(device)

    def drive_balloon(self) -> None:
        """Let the guest give back the memory that it is asked for; one that boots does so later.

        A driver that starts looks at once at what it is asked for (Linux 6.1, drivers/virtio/virtio_balloon.c,
        virtballoon_probe), and a reset of the machine does not change that (QEMU 7.2, virtio-balloon.c).
        """
        devices = self.devices
        if self.has_booted and devices.ballooned != devices.balloon_wanted:
            devices.ballooned = devices.balloon_wanted
            self.emit("BALLOON_CHANGE", {"actual": devices.memory - devices.ballooned})

    def _filter_changed(self, name: str) -> None:
        for device in self.devices.network():
            if device.nic == name:
                self._tell_filter(device)

    def _tell_filter(self, device: Device) -> None:
        """Emit that a network device receives something else, if query-rx-filter was asked since the last time."""
        if device.tells_filter and not device.is_hotplugged:
            device.tells_filter = False
            path = f"{device.path}/virtio-backend"
            self.emit("NIC_RX_FILTER_CHANGED", {"name": device.name or device.id, "path": path})
