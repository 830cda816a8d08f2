"""What a QEMU process tells the clients of its monitors, and what it does at times of the host."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from qgasim.agent import Agent
from qgasim.agent.observer import Observer
from qgasim.agent.target import Target
from qgasim.faults import OF_MONITOR, EventFault, FaultInjector, Sending
from qgasim.qmp.events import Event, Throttle

__all__ = ["MonitorLike", "Telling"]


class MonitorLike(Protocol):
    """What a process tells its monitors."""

    #: The id of its character device.
    label: str

    def tell(self, event: Event, *, is_early: bool = False) -> None:
        """Send an event to the client, if there is one that has negotiated; *is_early*: in any case."""
        ...

    def poke(self) -> None:
        """Look again at what is to be done, and when."""
        ...

    def end(self) -> None:
        """Hang up: the process has ended."""
        ...


class Telling(Observer):
    """A process that tells the clients of all its monitors what happens.

    Args:
        agent: the agent in its guest.
        wall_clock: the host's time since 1970 (ns), for the time stamps of events.
    """

    def __init__(self, agent: Agent, wall_clock: Callable[[], int]) -> None:
        self.agent = agent
        #: What goes wrong with commands and events of the monitors.
        self.injector = FaultInjector(
            (), Target(agent, None), agent.options.seed, OF_MONITOR, agent.injector.numbers
        )
        self.guest = agent.guest
        self.monitors: list[MonitorLike] = []
        #: Whether something has happened, or was planned, since a monitor's driver last looked.
        self.is_touched = False
        self._timers: list[tuple[int, Callable[[], None]]] = []
        self._throttle = Throttle(self._send)
        self._wall_offset = wall_clock() - self.guest.clock.host_time()

    # -- time ------------------------------------------------------------------------------------

    def next_time(self) -> int | None:
        """Return the host's time at which `run` has something to do; None: never."""
        times = [self._throttle.next_time(), *(at for at, _ in self._timers)]
        return min((at for at in times if at is not None), default=None)

    def run(self) -> None:
        """Do what is due by the host's time."""
        now = self.guest.clock.host_time()
        self._throttle.run(now)
        for timer in sorted(self._timers, key=lambda timer: timer[0]):
            if timer[0] <= now:
                self._timers.remove(timer)
                timer[1]()

    def call_later(self, delay: int, function: Callable[[], None]) -> None:
        """Call *function* when *delay* ns of the host have passed."""
        self._timers.append((self.guest.clock.host_time() + delay, function))
        self._poke()

    def call_in_guest(self, delay: int, function: Callable[[], None]) -> None:
        """Call *function* when *delay* ns of the guest have passed: it reacts to something."""
        clock = self.guest.clock
        self.guest.call_at(clock.uptime() + delay, function, by_guest=False)
        self._poke()

    # -- telling ---------------------------------------------------------------------------------

    def emit(self, name: str, data: dict[str, Any] | None = None) -> None:
        """Send an event to the clients of all monitors, at most once a second for some events."""
        host_time = self.guest.clock.host_time()
        self._throttle.take(Event(name, data, host_time + self._wall_offset), host_time)
        self._poke()

    def _poke(self) -> None:
        self.is_touched = True
        for monitor in self.monitors:
            monitor.poke()

    def _send(self, event: Event) -> None:
        """Send an event, or whatever faults make of it."""
        if self.injector.is_idle:
            self._deliver(event)
            return
        injector, sending = self.injector, Sending()
        for live in injector.find(OF_MONITOR + event.name):
            fault, data = live.fault, event.data or {}
            if isinstance(fault, EventFault) and live.fires(data, injector.agent, injector.random):
                sending = fault.change(sending)
        deliver = partial(self._deliver, event, is_early=sending.is_early)
        for delay in sending.delays:
            if delay:
                self.call_later(delay, deliver)
            else:
                deliver()

    def _deliver(self, event: Event, *, is_early: bool = False) -> None:
        for observer in self.agent.observers:
            observer.told(event.name, event.data)
        for monitor in self.monitors:
            monitor.tell(event, is_early=is_early)
