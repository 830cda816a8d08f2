"""Events: what happens to a guest and its agent at a time, after a command, or in a state.

An event is a frozen Struct with one method, `happen`; each can also be called from Python.
"""

import errno
import uuid
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from qgasim.agent.observer import Observer
from qgasim.dialect import find_dialect
from qgasim.errors import ScenarioError
from qgasim.faults import OF_MONITOR, is_of_monitor
from qgasim.guest import Guest
from qgasim.guest.clone import clone
from qgasim.guest.files.nodes import WouldBlock, os_error
from qgasim.guest.hardware.devices import Disk
from qgasim.guest.hardware.network import Nic, derive_mac
from qgasim.guest.settings import FileSettings
from qgasim.guest.setup import make_file
from qgasim.guest.system.accounts import Login
from qgasim.guest.units import SECOND, Duration, Size
from qgasim.matching import Match, compile_match
from qgasim.qapi.envelope import read_request
from qgasim.simulation.simulation import Simulation
from qgasim.states import State
from qgasim.suggestions import not_there
from qgasim.wire import JsonValue, Message

__all__ = ["AnyEvent", "Event", "Timeline"]


class Event(Struct, frozen=True, kw_only=True, tag_field="do"):
    """Something that happens. Give one of *at*, *since_boot*, *after* and *on*."""

    #: The guest's uptime at which it happens, counted from the beginning of the scenario.
    at: Duration | None = None
    #: How long after a boot it happens: the first boot, and each later one.
    since_boot: Duration | None = None
    #: It happens when such a request has been read, and executed if no fault prevents it. ``qmp:NAME``: a
    #: command of the machine's monitor, or an event that it sends.
    after: str | Match | None = None
    #: How many such requests it takes.
    count: int = 1
    #: It happens when the guest enters this state.
    on: State | None = None
    #: How long after that.
    delay: Duration = 0

    def happen(self, simulation: Simulation) -> None:
        """Let it happen now.

        Raises:
            LookupError: what it names is not there.
            ScenarioError: it cannot happen to this guest.
        """
        raise NotImplementedError


class AgentStops(Event, frozen=True, kw_only=True, tag="agent_stops"):
    """The agent ends in good order, and is not started again."""

    def happen(self, simulation: Simulation) -> None:
        """End it."""
        simulation.agent.stop(respawn=False)


class AgentCrashes(Event, frozen=True, kw_only=True, tag="agent_crashes"):
    """The agent dies: what is buffered in open files is lost."""

    #: After how long it is started again; absent: as ``agent.respawn`` says.
    respawn: Duration | None = None

    def happen(self, simulation: Simulation) -> None:
        """Kill it."""
        simulation.agent.crash(self.respawn)


class AgentStarts(Event, frozen=True, kw_only=True, tag="agent_starts"):
    """The agent is started, if it does not run."""

    def happen(self, simulation: Simulation) -> None:
        """Start it."""
        if simulation.agent.process is None and simulation.guest.power.is_running:
            simulation.agent.start()


class AgentUpgrades(Event, frozen=True, kw_only=True, tag="agent_upgrades"):
    """The agent is replaced by another release, and started again if it runs."""

    #: The release, as in ``agent.release``.
    release: str

    def happen(self, simulation: Simulation) -> None:
        """Replace it."""
        dialect = find_dialect(self.release)
        if dialect is None:
            raise LookupError(f"no such release: '{self.release}'")
        options = simulation.agent.options
        why = dialect.explain_no_start(
            allows=bool(options.allow_rpcs), blocks=bool(options.block_rpcs)
        )
        if why is not None:
            raise ScenarioError(f"agent_upgrades.release: {why}")
        simulation.agent.upgrade(dialect)


class Reboot(Event, frozen=True, kw_only=True, tag="reboot"):
    """The guest is reset, and boots again."""

    def happen(self, simulation: Simulation) -> None:
        """Reset it."""
        simulation.guest.power.shut_down("reboot", 0)


class PowerOff(Event, frozen=True, kw_only=True, tag="power_off"):
    """The guest is switched off."""

    def happen(self, simulation: Simulation) -> None:
        """Switch it off."""
        simulation.guest.power.shut_down("powerdown", 0)


class PowerOn(Event, frozen=True, kw_only=True, tag="power_on"):
    """A guest that is off is switched on, and boots."""

    def happen(self, simulation: Simulation) -> None:
        """Switch it on."""
        simulation.guest.power.switch_on()


class Panic(Event, frozen=True, kw_only=True, tag="panic"):
    """The guest's kernel panics: nothing runs any more."""

    def happen(self, simulation: Simulation) -> None:
        """Panic."""
        simulation.guest.power.panic()


class Pause(Event, frozen=True, kw_only=True, tag="pause"):
    """The hypervisor stops the guest's processors: nothing answers, and its time stands still."""

    #: How long, in the host's time; absent: until it is resumed.
    lasts: Duration | None = None
    #: The guest's wall-clock time goes on meanwhile, as after a migration with a clock that is set.
    clock_runs: bool = False

    def happen(self, simulation: Simulation) -> None:
        """Pause it."""
        simulation.guest.power.pause(self.lasts, clock_runs=self.clock_runs)


class Migrate(Event, frozen=True, kw_only=True, tag="migrate"):
    """The guest moves to another host: nothing answers for a while, and then its clock is behind."""

    #: How long nothing answers, in the host's time.
    blackout: Duration = SECOND // 2

    def happen(self, simulation: Simulation) -> None:
        """Move it."""
        simulation.guest.power.pause(self.blackout)


class Resume(Event, frozen=True, kw_only=True, tag="resume"):
    """A paused guest goes on. Only from Python: a paused guest has no time."""

    def happen(self, simulation: Simulation) -> None:
        """Go on."""
        simulation.guest.power.resume()


class Suspend(Event, frozen=True, kw_only=True, tag="suspend"):
    """The guest goes to sleep."""

    #: How.
    mode: Literal["ram", "disk", "hybrid"] = "ram"

    def happen(self, simulation: Simulation) -> None:
        """Send it to sleep."""
        simulation.guest.power.sleep(self.mode)


class Wake(Event, frozen=True, kw_only=True, tag="wake"):
    """A suspended guest wakes."""

    def happen(self, simulation: Simulation) -> None:
        """Wake it."""
        simulation.guest.power.wake()


class StepClock(Event, frozen=True, kw_only=True, tag="step_clock"):
    """The guest's wall-clock time jumps."""

    #: Forwards by this much.
    forward: Duration = 0
    #: Backwards by this much.
    back: Duration = 0

    def happen(self, simulation: Simulation) -> None:
        """Set it."""
        clock = simulation.guest.clock
        clock.set(clock.now() + self.forward - self.back)


class ClockDrifts(Event, frozen=True, kw_only=True, tag="clock_drifts"):
    """The guest's wall-clock time runs faster or slower from now on."""

    #: How many seconds it gains in a million.
    drift: float

    def happen(self, simulation: Simulation) -> None:
        """Let it happen."""
        simulation.guest.clock.set_drift(self.drift)


class NicAppears(Event, frozen=True, kw_only=True, tag="nic_appears"):
    """A network interface is plugged in."""

    #: The interface.
    nic: Nic

    def happen(self, simulation: Simulation) -> None:
        """Plug it in; OSError if there is one of this name."""
        _check_new(self.nic.name, simulation.guest.nics)
        nic = clone(self.nic)
        simulation.guest.nics.append(nic)
        derive_mac(nic, simulation.guest.nics)


class NicDisappears(Event, frozen=True, kw_only=True, tag="nic_disappears"):
    """A network interface is unplugged."""

    #: Its name.
    nic: str

    def happen(self, simulation: Simulation) -> None:
        """Unplug it."""
        simulation.guest.nics.remove(_find_nic(simulation.guest, self.nic))


class Addresses(Event, frozen=True, kw_only=True, tag="addresses"):
    """A network interface gets or loses addresses."""

    #: Its name.
    nic: str
    #: What it gets, as in ``192.0.2.7/24``.
    add: tuple[str, ...] = ()
    #: What it loses.
    remove: tuple[str, ...] = ()

    def happen(self, simulation: Simulation) -> None:
        """Change them."""
        nic = _find_nic(simulation.guest, self.nic)
        for address in self.remove:
            if address not in nic.addresses:
                raise LookupError(not_there(f"address of {nic.name}", address, nic.addresses))
        nic.addresses = [a for a in nic.addresses if a not in self.remove] + list(self.add)


class DiskAppears(Event, frozen=True, kw_only=True, tag="disk_appears"):
    """A disk is plugged in."""

    #: The disk.
    disk: Disk

    def happen(self, simulation: Simulation) -> None:
        """Plug it in; OSError if there is one of this name."""
        _check_new(self.disk.name, simulation.guest.disks)
        simulation.guest.disks.append(clone(self.disk))


class DiskFills(Event, frozen=True, kw_only=True, tag="disk_fills"):
    """So many bytes of a file system are in use all at once."""

    #: Its mount point.
    path: str
    #: How many, what is in use now included.
    used: Size

    def happen(self, simulation: Simulation) -> None:
        """Fill it."""
        for mount in simulation.guest.files.mounts:
            if mount.path == simulation.guest.inner_path(self.path):
                mount.volume.overhead += self.used - mount.volume.used
                return
        known = (mount.path for mount in simulation.guest.files.mounts)
        raise LookupError(not_there("mount point", self.path, known))


class LogsOn(Event, frozen=True, kw_only=True, tag="logs_on"):
    """A user logs on."""

    #: The user's name.
    user: str
    #: The terminal.
    line: str = "pts/0"

    def happen(self, simulation: Simulation) -> None:
        """Note it in utmp."""
        guest = simulation.guest
        guest.logins.append(Login(user=self.user, time=guest.clock.now(), line=self.line))


class LogsOff(Event, frozen=True, kw_only=True, tag="logs_off"):
    """A user logs off, everywhere."""

    #: The user's name.
    user: str

    def happen(self, simulation: Simulation) -> None:
        """Take the user's entries out of utmp."""
        guest = simulation.guest
        users = [login.user for login in guest.logins]
        if self.user not in users:
            raise LookupError(not_there("login of the user", self.user, users))
        guest.logins = [login for login in guest.logins if login.user != self.user]


class ProcessEnds(Event, frozen=True, kw_only=True, tag="process_ends"):
    """Processes of the guest get a signal that ends them."""

    #: What they are called, all of them.
    process: str
    #: The signal's number.
    signal: int = 15

    def happen(self, simulation: Simulation) -> None:
        """Send it."""
        processes = simulation.guest.processes
        found = processes.named(self.process)
        if not found:
            known = (process.name for process in processes.live())
            raise LookupError(not_there("process", self.process, known))
        for process in found:
            processes.kill(process.pid, self.signal)


class FileChanges(Event, frozen=True, kw_only=True, tag="file_changes"):
    """A file is written, or removed, unless its file system is frozen."""

    #: Where.
    path: str
    #: What is there then: a text, or more about it; null: nothing.
    file: str | FileSettings | None

    def happen(self, simulation: Simulation) -> None:
        """Write it."""
        make_file(simulation.guest, self.path, self.file)


class TakeSnapshot(Event, frozen=True, kw_only=True, tag="snapshot"):
    """A snapshot of the guest is taken, its memory included."""

    #: What it is called; an earlier one of this name is given up.
    name: str

    def happen(self, simulation: Simulation) -> None:
        """Take it."""
        simulation.snapshots.take(self.name)


class Revert(Event, frozen=True, kw_only=True, tag="revert"):
    """The guest goes back to a snapshot: all that is in it, its time, and the agent's memory."""

    #: The snapshot's name.
    to: str

    def happen(self, simulation: Simulation) -> None:
        """Go back to it."""
        simulation.snapshots.revert(self.to)


class FaultOn(Event, frozen=True, kw_only=True, tag="fault_on"):
    """Faults are switched on."""

    #: Their name.
    fault: str

    def happen(self, simulation: Simulation) -> None:
        """Switch them on."""
        simulation.switch_fault(self.fault, on=True)


class FaultOff(Event, frozen=True, kw_only=True, tag="fault_off"):
    """Faults are switched off."""

    #: Their name.
    fault: str

    def happen(self, simulation: Simulation) -> None:
        """Switch them off."""
        simulation.switch_fault(self.fault, on=False)


AnyEvent: TypeAlias = (
    Addresses | AgentCrashes | AgentStarts | AgentStops | AgentUpgrades | ClockDrifts | DiskAppears
    | DiskFills | FaultOff | FaultOn | FileChanges | LogsOff | LogsOn | Migrate | NicAppears
    | NicDisappears | Panic | Pause | PowerOff | PowerOn | ProcessEnds | Reboot | Resume | Revert
    | StepClock | Suspend | TakeSnapshot | Wake
)  # fmt: skip


def _find_nic(guest: Guest, name: str) -> Nic:
    for nic in guest.nics:
        if nic.name == name:
            return nic
    raise LookupError(not_there("interface", name, (nic.name for nic in guest.nics)))


def _check_new(name: str, things: Iterable[Nic] | Iterable[Disk]) -> None:
    """Refuse what is called as one that there is: EEXIST, as the kernel says."""
    if any(thing.name == name for thing in things):
        raise os_error(errno.EEXIST, name)


class Timeline(Observer):
    """Lets events happen when they are due."""

    def __init__(self, events: Iterable[Event], simulation: Simulation) -> None:
        self._simulation = simulation
        self._by_command: list[_Count] = []
        self._by_state: list[Event] = []
        self._by_boot: list[Event] = []
        self._boots: set[uuid.UUID] = set()
        self._state = simulation.guest.state
        self._happening: Event | None = None
        self._observes = False
        simulation.timeline = self
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Let *event* happen, too, when it is due; at once, if its time is past."""
        if event.at is not None:
            self._plan(event, event.at)
            return
        if event.since_boot is not None:
            self._by_boot.append(event)
            if self._simulation.guest.boot_id in self._boots:
                self._plan_since_boot(event)
            else:
                self._plan_boot()
        elif event.after is not None:
            self._by_command.append(_Count(event))
        else:
            self._by_state.append(event)
        if not self._observes:
            self._observes = True
            self._simulation.observe(self)

    def _plan_boot(self) -> None:
        """Plan what counts from a boot, once for each."""
        guest = self._simulation.guest
        if guest.boot_id in self._boots:
            return
        self._boots.add(guest.boot_id)
        for event in self._by_boot:
            self._plan_since_boot(event)

    def _plan_since_boot(self, event: Event) -> None:
        guest = self._simulation.guest
        assert event.since_boot is not None
        self._plan(event, guest.booted_at + event.since_boot, boot_id=guest.boot_id)

    def _plan(self, event: Event, uptime: int, *, boot_id: uuid.UUID | None = None) -> None:
        """Let *event* happen at *uptime*; *boot_id*: only in this boot of the guest."""
        guest = self._simulation.guest

        def happen() -> None:
            if boot_id is not None and boot_id != guest.boot_id:
                return
            # What it names may have gone in the meantime; then nothing happens.
            self._happening = event
            with suppress(LookupError, OSError, WouldBlock):
                event.happen(self._simulation)
            self._simulation.tell_happened(event)
            self._happening = None

        # What has happened once does not happen again when the guest goes back in time.
        guest.call_at(uptime + event.delay, happen, by_guest=False)

    def exchanged(self, request: Message, reply: bytes) -> None:  # noqa: ARG002
        """Count the requests that events wait for."""
        if self._by_command:
            self._count_request("", request)

    def monitored(self, monitor: int, connection: int, request: Message, reply: bytes) -> None:  # noqa: ARG002
        """Count the commands of the monitor that events wait for."""
        if self._by_command:
            self._count_request(OF_MONITOR, request)

    def told(self, event: str, data: dict[str, JsonValue] | None) -> None:
        """Count the events of the monitor that events wait for."""
        self._count(OF_MONITOR + event, data or {})

    def _count_request(self, start: str, request: Message) -> None:
        command, arguments = read_request(request)
        if command is not None:
            self._count(start + command, arguments)

    def _count(self, name: str, arguments: dict[str, Any]) -> None:
        for count in self._by_command:
            if count.is_reached(name, arguments):
                self._plan(count.event, self._simulation.guest.clock.uptime())

    def changed(self) -> None:
        """Let the events of the guest's new state, and of a new boot, happen."""
        if self._by_boot:
            self._plan_boot()
        state = self._simulation.guest.state
        if state != self._state:
            self._state = state
            for event in self._by_state:
                # An event that brings the guest back into its own state would go on for ever.
                if event.on == state and event is not self._happening:
                    self._plan(event, self._simulation.guest.clock.uptime())


class _Count:
    """How often a request was made that an event waits for."""

    def __init__(self, event: Event) -> None:
        assert event.after is not None
        self.event = event
        self._after = event.after
        self.left: int = event.count
        self._matches_command, self._matches_arguments = compile_match(event.after)

    def is_reached(self, command: str, arguments: dict[str, Any]) -> bool:
        """Count a request; tell whether it is the one."""
        # As with faults, a bare wildcard is for the agent's commands only.
        is_meant = command.startswith(OF_MONITOR) == is_of_monitor(self._after)
        if not (is_meant and self._matches_command(command) and self._matches_arguments(arguments)):
            return False
        self.left -= 1
        return self.left == 0
