"""A guest that is being served, as a test takes hold of it."""

import fnmatch
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Unpack, cast

from qgasim.agent import Agent
from qgasim.agent.stubs import ArmedStub, Stub
from qgasim.errors import ScenarioError, ServerError, VerificationError
from qgasim.faults import AnyFault, ArmedFault, Fault, FaultKind, is_of_monitor
from qgasim.findings import POLLS_PER_SECOND, Finding, find
from qgasim.guest import Guest
from qgasim.guest.system.clock import SteeredClock
from qgasim.guest.units import SECOND
from qgasim.matching import Match
from qgasim.qmp import Hypervisor
from qgasim.scenario import Blueprint, read_value
from qgasim.scenario.shares import Share
from qgasim.simulation.journal import Journal, describe, name_of
from qgasim.simulation.simulation import Simulation
from qgasim.simulation.timeline import AnyEvent, Event
from qgasim.states import State
from qgasim.suggestions import did_you_mean
from qgasim.testing.attribute_paths import assign
from qgasim.testing.events import Duration, Events, to_ns
from qgasim.testing.proxy import proxy
from qgasim.testing.steps import Step, Steps, show_call
from qgasim.testing.verification import Counted, Placed, Requests, in_order, never, verify
from qgasim.testing.waiting import Waits

__all__ = ["LiveClock", "LiveGuest"]

T = TypeVar("T")
#: Calls a function in the thread that serves a guest; waits so many seconds for it.
Call: TypeAlias = Callable[[Callable[[], Any], float | None], Any]


class LiveClock:
    """The guest's time: as the host's, faster, slower, or standing still until it is advanced."""

    def __init__(self, live: "LiveGuest") -> None:
        self._live = live

    def advance(self, duration: Duration) -> None:
        """Let time pass at once: processes, counters, events, replies that wait.

        Raises:
            ValueError: it is no duration, or a negative one.
        """
        span = to_ns(duration)

        def do() -> None:
            self._live.record(show_call("qga.clock.advance", [duration], {}))
            self._live.source.advance(span)
            self._live.simulation.guest.settle()

        self._live.call(do)

    def stop(self) -> None:
        """Let time stand still, but for `advance`."""
        self.run(0.0)

    def run(self, rate: float = 1.0) -> None:
        """Let *rate* seconds of the guest pass in a second of the host."""

        def do() -> None:
            self._live.record(show_call("qga.clock.run", [rate], {}))
            self._live.source.rate = rate

        self._live.call(do)

    @property
    def uptime(self) -> float:
        """Seconds since the guest was switched on."""
        return self._live.call(self._live.simulation.guest.clock.uptime) / SECOND

    @property
    def now(self) -> int:
        """The guest's wall-clock time, in ns since 1970."""
        return self._live.call(self._live.simulation.guest.clock.now)


class LiveGuest(Waits, Events):
    """A guest that is being served, with everything that a test may want of it.

    What is done with it happens between two requests, from whatever thread.

    Args:
        blueprint: what it is made of.
        make_clock: makes the clock that it follows, of a new one when it is reset.
        call: calls a function in the thread that serves it.
        serve: takes the simulation and serves it; returns the path of its socket.
        shares: folders of the host that it is to have.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        make_clock: Callable[[], SteeredClock],
        call: Call,
        serve: Callable[[Simulation], str],
        shares: Iterable[Share] = (),
    ) -> None:
        self.blueprint = blueprint
        #: The guest's time.
        self.clock = LiveClock(self)
        #: What ended its server before it was told to end.
        self.failure: BaseException | None = None
        self._make_clock = make_clock
        self._call = call
        self._serve = serve
        self._shares = tuple(shares)
        self.reset()

    def __repr__(self) -> str:
        # Asks nothing of the guest: a report may come when it is not served any more.
        return f"<{type(self).__name__} at {getattr(self, 'socket_path', None)}>"

    def reset(self) -> None:
        """Start again at the same path: a new guest, with an empty journal and no client connected."""
        #: The clock that it follows.
        self.source = self._make_clock()
        #: The guest, its agent and what lies between it and its clients.
        self.simulation = self.blueprint.build(self.source, self._shares)
        #: What was asked, answered and done.
        self.journal = Journal(self.simulation)
        #: What a test has done to it.
        self.steps = Steps()
        #: Where clients connect: the path of a unix socket.
        self.socket_path: str = self._serve(self.simulation)

    @property
    def qmp_path(self) -> str:
        """Where clients of the machine's monitor (QMP) connect: the path of a unix socket.

        Raises:
            ServerError: the scenario has no ``machine:``, and so there is no monitor.
        """
        if self.simulation.hypervisor is None:
            raise ServerError("there is no monitor (the scenario needs a `machine:`, as in {})")
        return f"{self.socket_path}.qmp"

    @property
    def machine(self) -> Hypervisor:
        """The QEMU around the guest: its state, its devices, `quit`.

        Raises:
            ServerError: the scenario has no ``machine:``.
        """
        if self.simulation.hypervisor is None:
            raise ServerError("there is no machine (the scenario needs a `machine:`, as in {})")
        return proxy(self.simulation.hypervisor, self.call, assign, self.record, "qga.machine")

    def end(self, failure: BaseException | None = None) -> None:
        """Stop serving, because of *failure* if that was not intended; the guest can still be looked at."""
        self.failure = failure or self.simulation.agent.failure
        self._call = _call_here

    def call(self, function: Callable[[], T], patience: float | None = None) -> T:
        """Call *function* between two requests, in the thread that serves the guest.

        Args:
            function: what it raises is raised here.
            patience: how long to wait for its turn, in seconds; None: for ever.

        Raises:
            ServerError: the guest is not served any more.
        """
        try:
            # What the guest cannot have does not stay in it, however it got there.
            guarded = self.simulation.guest.guarded
            return cast("T", self._call(lambda: guarded(function), patience))
        except (VerificationError, ScenarioError, ServerError) as error:
            # They say all themselves; where in qgasim they were raised tells a test nothing.
            found = error.with_traceback(None)
        raise found from found.__cause__

    def record(self, text: str) -> Step:
        """Put down what is done now; it is called in the thread that serves the guest."""
        return self.steps.add(*self._position(), text)

    def _position(self) -> tuple[int, int]:
        """Return the number of the latest entry, and the uptime."""
        return self.journal.count, self.simulation.guest.clock.uptime()

    @property
    def guest(self) -> Guest:
        """The virtual machine: ``guest.files.write("/etc/motd", b"hello")``."""
        return proxy(self.simulation.guest, self.call, assign, self.record, "qga.guest")

    @property
    def agent(self) -> Agent:
        """The simulated qemu-ga."""
        return proxy(self.simulation.agent, self.call, assign, self.record, "qga.agent")

    @property
    def state(self) -> State:
        """What the guest is at."""
        return self.call(self.state_now)

    @property
    def port_is_open(self) -> bool | None:
        """Return whether the guest has opened its port, as QMP's VSERPORT_CHANGE tells; None: no port tells."""
        return self.call(lambda: self.simulation.channel.port_is_open)

    # -- what goes wrong, what is answered, what happens --------------------------------------------

    def inject(
        self, fault: Fault | None = None, /, *, kind: FaultKind | None = None, **settings: Any
    ) -> Callable[[], None]:
        """Let something go wrong from now on: a fault, or its settings as in a scenario.

        Returns:
            a function that ends it.

        Raises:
            ScenarioError: there is no such fault, or no such command.
        """
        if kind is not None:
            settings = {"kind": kind, **settings}

        def do() -> ArmedFault:
            if fault is None:
                made = read_value(settings, AnyFault, "inject")
            else:
                made = _check_fault(fault, settings)
            self._check_command(made.on, "inject")
            given = [] if fault is None else [fault]
            step = self.record(show_call("qga.inject", given, settings))
            self.journal.note(f"fault: {describe(made)}")
            step.armed = armed = self.simulation.injector_of(made).inject(made)
            return armed

        armed = self.call(do)
        return lambda: self.withdraw(armed)

    def withdraw(self, armed: ArmedFault) -> None:
        """End a fault of `simulation.armed_faults`."""

        def do() -> None:
            self.steps.end(armed, *self._position())
            self.journal.note(f"no fault any more: {name_of(armed.fault)}")
            self.simulation.injector_of(armed.fault).withdraw(armed)

        self.call(do)

    def stub(self, on: str | Match | dict[str, Any] | Stub, /, **settings: Any) -> None:
        """Answer in place of the guest, before what the scenario says: a stub as in a scenario.

        Raises:
            ScenarioError: it is none, or there is no such command.
        """

        def do() -> None:
            if isinstance(on, Stub):
                made = on
            elif isinstance(on, Match):
                made = Stub(on=on, **settings)
            else:
                made = read_value({"on": on, **settings}, Stub, "stub")
            self._check_command(made.on, "stub")
            self.record(show_call("qga.stub", [on], settings))
            self.simulation.agent.commands.add_stub(made)
            self.journal.note(f"stub: {made.on if isinstance(made.on, str) else made.on.command}")

        self.call(do)

    def unstub(self, armed: ArmedStub) -> None:
        """Remove a stub of `agent.commands.armed`."""

        def do() -> None:
            on = armed.stub.on
            self.record(f"# a stub was removed: {on if isinstance(on, str) else on.command}")
            self.journal.note(f"no stub any more: {on if isinstance(on, str) else on.command}")
            self.simulation.agent.commands.remove_stub(armed)

        self.call(do)

    def _check_command(self, on: str | Match, what: str) -> None:
        """Refuse what no request could ever match."""
        name = on.command if isinstance(on, Match) else on
        agent, hypervisor = self.simulation.agent, self.simulation.hypervisor
        known: Iterable[str] = agent.commands.table
        program = f"qemu-ga {agent.dialect.full_version}"
        if is_of_monitor(on) and hypervisor is not None:
            known, program = hypervisor.release.names(), f"QEMU {hypervisor.release.name}"
        if not fnmatch.filter(known, name):
            hint = did_you_mean(name, known)
            raise ScenarioError(f"{what}: on: {program} has no command '{name}'{hint}")

    def happen(self, event: Event) -> None:
        """Let an event happen now.

        Raises:
            LookupError: what it names is not there.
        """
        self._happen(event, show_call("qga.happen", [event], {}))

    def _happen(self, event: Event, step: str) -> None:

        def do() -> None:
            self.simulation.check_possible(event)
            recorded = self.record(step)
            try:
                event.happen(self.simulation)
            except Exception as error:
                recorded.fail(error)
                raise
            self.simulation.guest.settle()
            self.simulation.tell_happened(event)

        self.call(do)

    def _let(self, name: str, /, **settings: Any) -> None:
        # Each event says when it happens; here, that is now. None says nothing, but of a file.
        given: dict[str, Any] = {"do": name, "at": "0s"}
        given |= {k: value for k, value in settings.items() if value is not None or k == "file"}
        event = self.call(lambda: read_value(given, AnyEvent, name))
        said = {key: value for key, value in given.items() if key not in ("do", "at")}
        self._happen(event, show_call(f"qga.{name}", [], said))

    if not TYPE_CHECKING:  # a type checker is to know that it is not there

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"a guest has no '{name}'{did_you_mean(name, dir(self))}")

    # -- what the client did ------------------------------------------------------------------------

    def verify(self, command: str, /, **expected: Unpack[Counted]) -> None:
        """Verify that a command was asked for; `qgasim.testing.verification.verify` says what else."""
        self._judge(lambda: verify(self.journal, command, **expected))

    def never(self, command: str, /, **expected: Unpack[Placed]) -> None:
        """Verify that a command was never asked for."""
        self._judge(lambda: never(self.journal, command, **expected))

    def in_order(self, *commands: Requests) -> None:
        """Verify that commands were asked for in this order."""
        self._judge(lambda: in_order(self.journal, *commands))

    def _judge(self, function: Callable[[], None]) -> None:
        try:
            self.call(function)
        except ValueError as error:
            found = error.with_traceback(None)
        else:
            return
        raise found

    def findings(self, polls_per_second: int = POLLS_PER_SECOND) -> list[Finding]:
        """Find what the client should not have done.

        Args:
            polls_per_second: how often it may ask the same.
        """
        return self.call(lambda: find(self.journal, polls_per_second=polls_per_second))

    def describe(self, last: int = 40) -> str:
        """Return what the guest is at and what it was asked last, for a report."""
        agent = self.simulation.agent
        name = f"qemu-ga {agent.dialect.full_version} in guest {agent.guest.hostname!r}"
        state = f"state {self.state_now()}, seed {self.blueprint.scenario.seed}"
        asked = self.journal.transcript(last) or "(nothing was asked)"
        failed = f"\nits server failed: {self.failure!r}" if self.failure is not None else ""
        return f"{name}, {state}\n{asked}{failed}"

    def transcript(self, last: int | None = None) -> str:
        """Return the journal as a text: the *last* so many lines of it."""
        return self.call(lambda: self.journal.transcript(last))


def _check_fault(fault: Any, settings: dict[str, Any]) -> Fault:
    """Refuse what is no fault, and settings beside a fault, which would have no effect."""
    if isinstance(fault, Fault) and not settings:
        return fault
    shown = ", ".join([repr(fault), *(f"{name}={value!r}" for name, value in settings.items())])
    text = f"expected a fault (Delay(...)) or settings (kind=..., on=...), found {shown}"
    raise ScenarioError(f"inject: {text}")


def _call_here(function: Callable[[], Any], _patience: float | None) -> Any:
    """Call a function in this thread: no other one uses the guest any more."""
    return function()
