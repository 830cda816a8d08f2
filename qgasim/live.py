"""A guest that is being served, as a test takes hold of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, TypeAlias, TypeVar, cast, get_args

from qgasim.agent import Agent
from qgasim.channel import Channel
from qgasim.faults import AnyFault, Fault
from qgasim.findings import Finding, find
from qgasim.guest import Guest
from qgasim.guest.clock import SteeredClock
from qgasim.journal import Journal
from qgasim.matching import Match
from qgasim.proxy import proxy
from qgasim.scenario import Blueprint, read_value
from qgasim.scenario.checks import did_you_mean
from qgasim.scenario.decode import parse_duration, tag_of
from qgasim.states import State, state_of
from qgasim.stubs import Stub
from qgasim.timeline import AnyEvent, Event
from qgasim.verification import in_order, never, verify

__all__ = ["Duration", "LiveClock", "LiveGuest"]

T = TypeVar("T")
Call: TypeAlias = Callable[[Callable[[], Any]], Any]
Duration: TypeAlias = str | float | timedelta
"""A span of time: ``"1h"``, seconds, or a timedelta."""
_EVENTS: Final = {cast("str", tag_of(cls)): cls for cls in get_args(AnyEvent)}


def to_ns(duration: Duration) -> int:
    """Give a duration in ns.

    Raises:
        ValueError: it is none.
    """
    if isinstance(duration, timedelta):
        return round(duration.total_seconds() * 1e9)
    if isinstance(duration, str):
        found = parse_duration(duration)
        if found is None:
            raise ValueError(
                f"not a duration: '{duration}' (expected a number and a unit, as in 1h)"
            )
        return found
    return round(duration * 1e9)


class LiveClock:
    """The guest's time: as the host's, faster, slower, or standing still until it is advanced."""

    def __init__(self, source: SteeredClock, live: "LiveGuest") -> None:
        self._source = source
        self._live = live

    def advance(self, duration: Duration) -> None:
        """Let time pass at once: processes, counters, events, replies that wait."""
        span = to_ns(duration)

        def do() -> None:
            self._source.advance(span)
            self._live.channel.agent.guest.settle()

        self._live.call(do)

    def stop(self) -> None:
        """Let time stand still, but for `advance`."""
        self.run(0.0)

    def run(self, rate: float = 1.0) -> None:
        """Let *rate* seconds of the guest pass in a second of the host."""

        def do() -> None:
            self._source.rate = rate

        self._live.call(do)

    @property
    def uptime(self) -> float:
        """Seconds since the guest was switched on."""
        return float(self._live.call(self._live.channel.agent.guest.clock.uptime)) / 1e9

    @property
    def now(self) -> int:
        """The guest's wall-clock time, in ns since 1970."""
        return int(self._live.call(self._live.channel.agent.guest.clock.now))


class LiveGuest:
    """A guest that is being served, with everything that a test may want of it.

    What is done with it happens between two requests. Besides the methods here, each event of a
    scenario's timeline is one: ``reboot()``, ``pause(lasts="2s")``, ``step_clock(forward="1h")``.

    Args:
        blueprint: what it is made of.
        source: the clock that it follows.
        call: calls a function in the thread that serves it.
        serve: takes the channel and serves it; gives the path of its socket.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        source: SteeredClock,
        call: Call,
        serve: Callable[[Channel], str],
    ) -> None:
        self.blueprint = blueprint
        self.call = call
        self._serve = serve
        self._make(source)

    def _make(self, source: SteeredClock) -> None:
        self.channel = self.blueprint.build(source)
        #: What was asked, answered and done.
        self.journal = Journal(self.channel)
        #: The guest's time.
        self.clock = LiveClock(source, self)
        #: Where clients connect: the path of a unix socket.
        self.socket_path: str = self._serve(self.channel)

    def reset(self) -> None:
        """Be as at first, at the same path: a new guest, with an empty journal and nobody connected."""
        self._make(SteeredClock())

    @property
    def guest(self) -> Guest:
        """The virtual machine: ``guest.files.write("/etc/motd", b"hello")``."""
        return proxy(self.channel.agent.guest, self.call)

    @property
    def agent(self) -> Agent:
        """The simulated qemu-ga."""
        return proxy(self.channel.agent, self.call)

    @property
    def state(self) -> State:
        """What the guest is at."""
        return cast("State", self.call(lambda: state_of(self.channel.agent)))

    @property
    def port_is_open(self) -> bool | None:
        """Whether the guest has opened its port, as QMP's VSERPORT_CHANGE tells; None: no port tells."""
        return cast("bool | None", self.call(lambda: self.channel.port_is_open))

    # -- what goes wrong, what is answered, what happens --------------------------------------------

    def inject(self, fault: Fault | None = None, /, **settings: Any) -> Callable[[], None]:
        """Let something go wrong from now on: a fault, or its settings as in a scenario.

        Returns:
            a function that ends it.

        Raises:
            ScenarioError: there is no such fault.
        """
        made = fault if fault is not None else read_value(settings, AnyFault, "inject")
        disturber = self.channel.agent.disturber
        live = self.call(lambda: disturber.inject(made))
        return lambda: self.call(lambda: disturber.withdraw(live))

    def stub(self, on: str | Match | dict[str, Any], /, **settings: Any) -> None:
        """Answer in place of the guest, before what the scenario says: a stub as in a scenario.

        Raises:
            ScenarioError: it is none.
        """
        if isinstance(on, Match):
            made = Stub(on=on, **settings)
        else:
            made = read_value({"on": on, **settings}, Stub, "stub")
        self.call(lambda: self.channel.agent.add_stub(made))

    def happen(self, event: Event) -> None:
        """Let an event happen now.

        Raises:
            LookupError: what it names is not there.
        """

        def do() -> None:
            event.happen(self.channel.agent)
            self.journal.happened(event)

        self.call(do)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name not in _EVENTS:
            hint = did_you_mean(name, [*_EVENTS, *dir(type(self))])
            raise AttributeError(f"a guest has no '{name}'{hint}")

        def happen(**settings: Any) -> None:
            # Each event says when it happens; here, that is now.
            given = {"do": name, "at": "0s", **settings}
            self.happen(read_value(given, AnyEvent, name))

        return happen

    # -- what the client did ------------------------------------------------------------------------

    def verify(self, command: str, /, **expected: Any) -> None:
        """Verify that a command was asked for; `qgasim.verification.verify` says what else."""
        self.call(lambda: verify(self.journal, command, **expected))

    def never(self, command: str, /, **expected: Any) -> None:
        """Verify that a command was never asked for."""
        self.call(lambda: never(self.journal, command, **expected))

    def in_order(self, *commands: Any) -> None:
        """Verify that commands were asked for in this order."""
        self.call(lambda: in_order(self.journal, *commands))

    def findings(self) -> list[Finding]:
        """Find what the client should not have done."""
        return cast("list[Finding]", self.call(lambda: find(self.journal)))

    def describe(self, last: int = 40) -> str:
        """Say what the guest is at and what it was asked last, for a report."""
        agent = self.channel.agent
        name = f"qemu-ga {agent.dialect.full_version} in guest {agent.guest.hostname!r}"
        state = f"state {self.state}, seed {self.blueprint.scenario.seed}"
        return f"{name}, {state}\n{self.transcript(last)}"

    def transcript(self, last: int | None = None) -> str:
        """Give the journal as a text: the *last* so many lines of it."""
        return str(self.call(lambda: self.journal.transcript(last)))
