"""An agent as faults see it."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from qgasim.agent.command_set import CommandSet
from qgasim.agent.observer import Observer
from qgasim.dialect import Dialect
from qgasim.faults import Fault
from qgasim.guest import Guest
from qgasim.states import State

__all__ = ["Past", "Target"]

T = TypeVar("T")


class Past(Protocol):
    """The earlier states of a guest and its agent, as far as they are kept."""

    def keep(self, uptime: int) -> None:
        """Keep the state that there is at *uptime*, for `as_of`."""

    def as_of(self, uptime: int, function: Callable[[], T]) -> T | None:
        """Call *function* as if it were *uptime*; None if that state is not kept."""


class _Agent(Protocol):
    guest: Guest
    dialect: Dialect
    commands: CommandSet
    observers: list[Observer]
    is_frozen: bool
    frozen_since: int

    @property
    def process(self) -> object: ...

    def crash(self, respawn: int | None = None) -> None: ...


class Target:
    """What faults see of an agent, and can do to it: see `qgasim.faults.injector.Faultable`.

    Without a *past*, no earlier state can be looked at.
    """

    def __init__(self, agent: _Agent, past: Past | None) -> None:
        self._agent = agent
        self._past = past
        self.crash = agent.crash

    @property
    def process(self) -> object:
        """The process that runs now, by identity; None: there is none."""
        return self._agent.process

    @property
    def dialect(self) -> Dialect:
        """The release, on which the form of a reply's id depends."""
        return self._agent.dialect

    @property
    def guest_state(self) -> State:
        """The state of the guest, by name."""
        return self._agent.guest.state

    @property
    def frozen_for(self) -> int | None:
        """How long file systems have been frozen (ns); None: they are not."""
        return self.uptime() - self._agent.frozen_since if self._agent.is_frozen else None

    @property
    def booted_at(self) -> int:
        """The uptime of the guest's latest boot, in ns."""
        return self._agent.guest.booted_at

    def uptime(self) -> int:
        """Return the guest's uptime in ns, counted from the beginning of the scenario."""
        return self._agent.guest.clock.uptime()

    def look_at(self, uptime: int) -> None:
        """Make the driver look at the channel when the guest's uptime is *uptime*."""
        self._agent.guest.call_at(uptime, lambda: None, by_guest=False)

    def keep(self, uptime: int) -> None:
        """Keep the state that there is at *uptime*, for `as_of`."""
        if self._past is not None:
            self._past.keep(uptime)

    def as_of(self, uptime: int, function: Callable[[], T]) -> T | None:
        """Call *function* as if it were *uptime*; None if that state is not kept."""
        return None if self._past is None else self._past.as_of(uptime, function)

    def result_type(self, command: str) -> Any:
        """Return the type of what a command returns, with its annotations; None: there is no such command."""
        entry = self._agent.commands.table.get(command)
        return None if entry is None else entry.command.returns

    def tell_fired(self, faults: tuple[Fault, ...]) -> None:
        """Notify observers that *faults* fire, if there are any."""
        if faults:
            for observer in self._agent.observers:
                observer.fault_fired(faults)

    def tell_pinned(self, pins: tuple[Fault, ...]) -> None:
        """Notify observers which faults would do the same as those that have fired by chance."""
        for observer in self._agent.observers:
            observer.fault_pinned(pins)
