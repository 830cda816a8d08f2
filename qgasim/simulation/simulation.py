"""The simulation: a guest, its agent, and all that happens between them and a client."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar, runtime_checkable

from msgspec import Struct

from qgasim.agent import Agent, AgentOptions
from qgasim.agent.observer import Observer
from qgasim.dialect import Dialect
from qgasim.errors import ScenarioError
from qgasim.faults import ArmedFault, Fault, FaultInjector, is_of_monitor
from qgasim.guest import Guest
from qgasim.qapi.registry import Command
from qgasim.qmp import Hypervisor, MachineSettings, Monitor
from qgasim.simulation.channel import WRITE_SIZE, ChannelKind, make_channel
from qgasim.simulation.snapshot import Snapshots

__all__ = ["Companion", "Simulation"]

T = TypeVar("T")


@runtime_checkable
class Companion(Protocol):
    """A task of its own: what carries bytes between the channel and an agent elsewhere."""

    async def serve(self, poke: Callable[[], None]) -> None:
        """Run until cancelled; call *poke* when the channel is to be looked at."""


class Simulation:
    """What `Scenario.build` gives: it owns all parts, a server serves it, a test holds it.

    Attributes:
        guest: the machine.
        agent: the qemu-ga process in it.
        channel: what lies between the agent and its clients.
        snapshots: earlier states.
        timeline: the scenario's events, as an observer; None: there are none.
        journal: what keeps account, as an observer; None: nothing does.
        hypervisor: the QEMU around the guest, with its monitors; None: nothing shows it.
        companion: what a server runs beside its clients; None: nothing.
        explain_limit: returns why a fault or an event cannot happen here; None: it can.
    """

    def __init__(
        self,
        guest: Guest,
        dialect: Dialect,
        commands: Iterable[Command],
        options: AgentOptions | None = None,
        *,
        channel: ChannelKind = "virtio-serial",
        stale_bytes: bytes = b"",
        keeps_unread: bool = False,
        write_size: int = WRITE_SIZE,
        describe_random_events: Callable[[int], str] = lambda _: "",
        machine: MachineSettings | None = None,
        machine_faults: Iterable[Fault] = (),
    ) -> None:
        """Make the agent and its channel in *guest*.

        Args:
            guest: the machine.
            dialect: the release of the agent.
            commands: all commands of all releases.
            options: how the agent was started.
            channel: the kind of channel.
            stale_bytes: what lies in a serial channel when the first client connects.
            keeps_unread: whether a serial channel gives what one client left unread to the next.
            write_size: how many bytes of a reply the agent writes at once.
            describe_random_events: returns the faults that chance drew and that began until an uptime,
                as the YAML of a scenario.
            machine: the QEMU around the guest; None: only a monitor makes one.
            machine_faults: what goes wrong with its monitors.
        """
        self.guest = guest
        self.snapshots = Snapshots(guest)
        self.agent = Agent(guest, dialect, commands, options, past=self)
        self.channel = make_channel(
            channel, self.agent, stale_bytes=stale_bytes, keeps_unread=keeps_unread
        )
        self.channel.write_size = write_size
        self.snapshots.keep_also(self.agent, self.channel)
        self.companion: Companion | None = None
        self.explain_limit: Callable[[Struct], str | None] = lambda _: None
        self.timeline: Observer | None = None
        self.journal: Observer | None = None
        self.describe_random_events = describe_random_events
        self._machine_faults = list(machine_faults)
        self.hypervisor: Hypervisor | None = None
        if machine is not None:
            self._make_machine(machine)

    def add_monitor(self, address: str, label: str | None = None) -> Monitor:
        """Return a new monitor of the machine.

        *address*: where its clients connect, as in ``unix:/path``; *label*: see `Monitor`.
        """
        hypervisor = self.hypervisor or self._make_machine(MachineSettings())
        return Monitor(hypervisor, address, label)

    def _make_machine(self, settings: MachineSettings) -> Hypervisor:
        self.hypervisor = Hypervisor(self.agent, settings)
        for fault in self._machine_faults:
            self.hypervisor.injector.inject(fault)
        return self.hypervisor

    # -- faults ----------------------------------------------------------------------------------

    @property
    def armed_faults(self) -> tuple[ArmedFault, ...]:
        """All faults: those of the agent, then those of the machine's monitor."""
        of_machine = () if self.hypervisor is None else self.hypervisor.injector.armed
        return (*self.agent.injector.armed, *of_machine)

    def injector_of(self, fault: Fault) -> FaultInjector:
        """Return what lets a fault happen: the agent's injector, or the machine's.

        Raises:
            ScenarioError: it is of the machine's monitor, and there is none; or it cannot happen to this agent.
        """
        self.check_possible(fault)
        if not is_of_monitor(fault.on):
            return self.agent.injector
        if self.hypervisor is None:
            text = "there is no monitor (the scenario needs a `machine:`, as in {})"
            raise ScenarioError(f"on: {text}")
        return self.hypervisor.injector

    def check_possible(self, what: Struct) -> None:
        """Raise ScenarioError if a fault or an event needs a simulated guest, and there is none."""
        if (limit := self.explain_limit(what)) is not None:
            tag = what.__struct_config__.tag
            raise ScenarioError(f"{tag}: needs a simulated guest: {limit}")

    def switch_fault(self, name: str, *, on: bool) -> None:
        """Switch all faults called *name* on or off; LookupError if there is none."""
        injectors = [self.agent.injector]
        if self.hypervisor is not None and not self.hypervisor.injector.is_idle:
            injectors.append(self.hypervisor.injector)
        missing: list[LookupError] = []
        for injector in injectors:
            try:
                injector.switch(name, on=on)
            except LookupError as error:
                missing.append(error)
        if len(missing) == len(injectors):
            raise missing[0]

    # -- observers -------------------------------------------------------------------------------

    def observe(self, observer: Observer) -> None:
        """Call *observer* as things happen, after those that came before it."""
        self.agent.observers.append(observer)

    def forget(self, observer: Observer) -> None:
        """Call *observer* no more."""
        self.agent.observers.remove(observer)

    def tell_happened(self, event: Struct) -> None:
        """Notify observers that an event has happened."""
        for observer in self.agent.observers:
            observer.happened(event)

    # -- time ------------------------------------------------------------------------------------

    def keep(self, uptime: int) -> None:
        """Keep the state that there is at *uptime* (ns), for `as_of`; now, if that is past."""
        self.snapshots.keep(uptime)

    def as_of(self, uptime: int, function: Callable[[], T]) -> T | None:
        """Call *function* as if it were *uptime* (ns), and undo what it does; observers see nothing of it.

        Returns what *function* returns; None if that time has not been yet, or was not kept.
        """
        observers = self.agent.observers
        muted = observers[:]
        observers.clear()
        try:
            return self.snapshots.look(uptime, function)
        finally:
            observers[:] = muted
