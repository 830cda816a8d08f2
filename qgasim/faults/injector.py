"""Faults at work: which fire when, and what becomes of the requests that they fire on."""

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct

from qgasim.dialect import Dialect
from qgasim.effects import Close, Effect
from qgasim.faults.base import Exchange, Fault, FromUptime, join_bytes
from qgasim.faults.connection import AcceptThenSilence, Refuse, Reset
from qgasim.faults.content import Stale
from qgasim.matching import compile_match
from qgasim.qapi.envelope import read_request, show_id
from qgasim.qapi.names import Aliases
from qgasim.states import State
from qgasim.suggestions import not_there
from qgasim.wire import Message

__all__ = [
    "HISTORY_BYTES",
    "ArmedFault",
    "Disturbance",
    "FaultInjector",
    "Faultable",
    "History",
]

T = TypeVar("T")

#: How many earlier replies are kept for `Stale`, and how many bytes of them.
HISTORY: Final = 1024
HISTORY_BYTES: Final = 4 << 20
_OF_CONNECTIONS: Final = (Refuse, AcceptThenSilence)


class Faultable(Protocol):
    """What faults see of an agent, and can do to it."""

    @property
    def process(self) -> object:
        """The process that runs now, by identity; None: there is none."""

    @property
    def dialect(self) -> Dialect:
        """The release, on which the form of a reply's id depends."""
        ...

    @property
    def guest_state(self) -> State:
        """The state of the guest, by name."""
        ...

    @property
    def frozen_for(self) -> int | None:
        """How long file systems have been frozen (ns); None: they are not."""

    @property
    def booted_at(self) -> int:
        """The uptime of the guest's latest boot, in ns."""
        ...

    def uptime(self) -> int:
        """Return the guest's uptime in ns, counted from the beginning of the scenario."""
        ...

    def look_at(self, uptime: int) -> None:
        """Make the driver look at the channel when the guest's uptime is *uptime*."""

    def keep(self, uptime: int) -> None:
        """Keep the state that there is at *uptime*, for `as_of`."""

    def as_of(self, uptime: int, function: Callable[[], T]) -> T | None:
        """Call *function* as if it were *uptime*; None if that state is not kept."""

    def result_type(self, command: str) -> Any:
        """Return the type of what a command returns, with its annotations; None: there is no such command."""

    def tell_fired(self, faults: tuple[Fault, ...]) -> None:
        """Notify observers that *faults* fire."""

    def tell_pinned(self, pins: tuple[Fault, ...]) -> None:
        """Notify observers which faults would do the same as those that have fired by chance."""

    def crash(self, respawn: int | None = None) -> None:
        """Kill the process; after *respawn* ns it starts again (None: as its options say)."""


class ArmedFault:
    """A fault as one agent has it: it counts.

    *number* tells it from all others that the simulation has, or had.
    """

    def __init__(self, fault: Fault, number: int = 0) -> None:
        self.fault = fault
        self.number = number
        self.matches_command, self.matches_arguments = compile_match(fault.on)
        self.seen = 0
        self.fired = 0
        self.is_on = True
        #: How often it has fired at each command that there is.
        self.fired_at: Counter[str] = Counter()
        #: What it calls things of the guest, in the replies to all commands.
        self.aliases: Aliases = {}
        # The process of the agent at which it fired last, and how often it had fired before.
        self._process: object = None
        self._before = 0

    def fires(self, arguments: dict[str, Any], agent: Faultable, chance: random.Random) -> bool:
        """Return whether it fires now, and count."""
        fault = self.fault
        if not (self.is_on and self.matches_arguments(arguments) and _holds(fault, agent)):
            return False
        self.seen += 1
        turn = self.seen - fault.after
        if (
            turn <= 0
            or turn % fault.every
            or (fault.times is not None and self.fired >= fault.times)
        ):
            return False
        if fault.probability < 1 and chance.random() >= fault.probability:
            return False
        if agent.process is not self._process:
            self._process, self._before = agent.process, self.fired
        self.fired += 1
        return True

    def touch(self, exchange: Exchange, effects: list[Effect], *, fires: bool) -> list[Effect]:
        """Return what becomes of the effects of a request at which it *fires*, or follows its aliases."""
        exchange.aliases = self.aliases
        if not fires:
            return self.fault.follow(exchange, effects)
        exchange.count = self.fired - 1
        exchange.count_of_process = self.struck_process - 1
        if exchange.schema is not None:
            exchange.count_of_command = self.fired_at[exchange.command]
            self.fired_at[exchange.command] += 1
        return self.fault.apply(exchange, effects)

    @property
    def struck_process(self) -> int:
        """How often it has fired at the agent's process at which it fired last."""
        return self.fired - self._before


def _holds(fault: Fault, agent: Faultable) -> bool:
    """Return whether the guest is in the state of which the fault speaks."""
    when = fault.when
    if when is None:
        return True
    if isinstance(when, FromUptime):
        uptime = agent.uptime() - (agent.booted_at if when.since_boot else 0)
        lasted = agent.frozen_for
        if when.frozen_for is not None and (lasted is None or lasted < when.frozen_for):
            return False
        return when.uptime <= uptime and (when.until is None or uptime < when.until)
    return agent.guest_state == when


class History:
    """Earlier replies, as many as are kept."""

    def __init__(self) -> None:
        self._kept: deque[tuple[str, int, bytes]] = deque()
        self._size = 0

    def add(self, command: str, at: int, reply: bytes) -> None:
        """Keep a reply to *command*, and let go of the oldest if there are too many."""
        self._kept.append((command, at, reply))
        self._size += len(reply)
        while len(self._kept) > HISTORY or (self._size > HISTORY_BYTES and len(self._kept) > 1):
            _, _, gone = self._kept.popleft()
            self._size -= len(gone)

    def of(self, command: str) -> list[tuple[int, bytes]]:
        """Return the replies to *command*, with the uptime of each, the latest last."""
        return [(at, reply) for name, at, reply in self._kept if name == command]


class Numbers:
    """Numbers for faults: each is used once, whatever snapshot the guest goes back to."""

    NOT_THE_GUESTS: Final = frozenset({"latest"})

    def __init__(self) -> None:
        self.latest = 0

    def next(self) -> int:
        """Return a number that was never used."""
        self.latest += 1
        return self.latest


class Disturbance(Struct):
    """What faults do to one request: begun when it is read, ended when its reply is known."""

    exchange: Exchange
    #: The faults that fire.
    firing: list[ArmedFault]
    #: Those, and the faults whose aliases are to be followed, in their order.
    touching: list[ArmedFault]
    #: Replies to earlier requests, which come after this one's.
    late: list[bytes]
    #: The process of the agent that has read it.
    process: object
    is_remembered: bool
    #: What stands in for the command's effects, if a fault has answered; the command does not run then.
    answered: list[Effect] | None = None

    @property
    def fired(self) -> tuple[Fault, ...]:
        """The faults that fire."""
        return tuple(live.fault for live in self.firing)


class FaultInjector:
    """The faults of one agent, or of the monitors of a machine, at work.

    Args:
        faults: those that there are at first.
        agent: what they see, and what they happen to.
        seed: of chance.
        start: how the names of its commands begin in *on*.
        numbers: gives each fault its number; None: no other injector shares them.
    """

    def __init__(
        self,
        faults: "tuple[Fault, ...]",
        agent: Faultable,
        seed: int,
        start: str = "",
        numbers: Numbers | None = None,
    ) -> None:
        self.agent = agent
        self.start = start
        self.seed = seed
        self.random = random.Random(f"faults {seed}")
        self._faults: list[ArmedFault] = []
        self.numbers = numbers or Numbers()
        self._by_command: dict[str, tuple[ArmedFault, ...]] = {}
        self._history = History()
        self._late: list[bytes] = []
        self._reordered: list[bytes] = []
        #: Whether the client that is connected is not listened to.
        self.is_deaf = False
        #: True if no fault was ever added (fast path).
        self.is_idle = True
        #: Whether there is a fault that resets connections.
        self.may_reset = False
        for fault in faults:
            self.inject(fault)

    # -- switching -------------------------------------------------------------------------------

    @property
    def armed(self) -> tuple[ArmedFault, ...]:
        """The faults that there are, in the order in which they fire."""
        return tuple(self._faults)

    def inject(self, fault: Fault) -> ArmedFault:
        """Add a fault, after those that there are."""
        live = ArmedFault(fault, self.numbers.next())
        self._faults.append(live)
        self._by_command.clear()
        self.is_idle = False
        self.may_reset |= isinstance(fault, Reset)
        self._plan_looks(fault)
        if isinstance(fault, Stale) and fault.as_of is not None:
            self.agent.keep(fault.as_of)
        return live

    def _plan_looks(self, fault: Fault) -> None:
        """Make the driver look when the guest begins or ceases to refuse clients."""
        when = fault.when
        if isinstance(fault, Refuse) and isinstance(when, FromUptime):
            start = self.agent.booted_at if when.since_boot else 0
            for uptime in (when.uptime, when.until):
                if uptime:
                    self.agent.look_at(start + uptime)

    def note_boot(self) -> None:
        """Plan again what is counted from the latest boot."""
        for live in self._faults:
            self._plan_looks(live.fault)

    def withdraw(self, live: ArmedFault) -> None:
        """Take a fault away; nothing happens if it is not there any more."""
        self._faults = [other for other in self._faults if other is not live]
        self._by_command.clear()

    def switch(self, name: str, *, on: bool) -> None:
        """Switch all faults called *name* on or off; LookupError if there is none."""
        named = [live for live in self._faults if live.fault.name == name]
        if not named:
            known = (live.fault.name for live in self._faults)
            raise LookupError(not_there("fault", name, known))
        for live in named:
            live.is_on = on

    # -- connections -----------------------------------------------------------------------------

    @property
    def is_refusing(self) -> bool:
        """Return whether a fault keeps clients from connecting now."""
        return not self.is_idle and any(
            isinstance(live.fault, Refuse)
            and not live.fault.accepts
            and live.is_on
            and _holds(live.fault, self.agent)
            for live in self._faults
        )

    def connect(self) -> Iterator[Effect]:
        """Take a client; give what it meets with."""
        striking = [
            live.fault
            for live in self._faults
            if isinstance(live.fault, _OF_CONNECTIONS) and live.fires({}, self.agent, self.random)
        ]
        self.agent.tell_fired(tuple(striking))
        self.is_deaf = any(isinstance(fault, AcceptThenSilence) for fault in striking)
        if any(isinstance(fault, Refuse) for fault in striking):
            yield Close()

    # -- requests --------------------------------------------------------------------------------

    def find(self, command: str) -> tuple[ArmedFault, ...]:
        """Return the faults that may disturb a command."""
        found = self._by_command.get(command)
        if found is None:
            found = tuple(
                live
                for live in self._faults
                if live.matches_command(command) and not isinstance(live.fault, _OF_CONNECTIONS)
            )
            # A client may ask for any number of names, and for very long ones.
            if len(self._by_command) >= 512:
                self._by_command.clear()
            if len(command) <= 100:
                self._by_command[command] = found
        return found

    def concerns(self, message: Message) -> bool:
        """Return whether a request may be disturbed, or something is to be sent after its reply."""
        if self.is_idle:
            return False
        command = message.get("execute") if type(message) is dict else None
        return bool(
            self._late
            or self.find(command if isinstance(command, str) else "")
            or any(live.aliases for live in self._faults)
        )

    def forget(self) -> None:
        """Let go of the replies that were put aside: the agent's process has ended."""
        self._late.clear()
        self._reordered.clear()

    def disturb(self, message: Message, execute: Callable[[Message], list[Effect]]) -> list[Effect]:
        """Return what becomes of a request, which *execute* executes."""
        disturbance = self.begin(message, execute)
        effects = disturbance.answered
        return self.end(disturbance, execute(message) if effects is None else effects)

    def begin(
        self, message: Message, execute: Callable[[Message], list[Effect]] | None = None
    ) -> "Disturbance":
        """Choose the faults that fire at a request; `end` lets them change its effects.

        *execute* executes a request as if it were an earlier uptime; None: that cannot be done, and
        observers are told of the faults by the caller, when the reply comes.
        """
        name, arguments = read_request(message)
        command = self.start + (name or "")
        concerned = self.find(command)
        agent = self.agent
        firing = [live for live in concerned if live.fires(arguments, agent, self.random)]
        if execute is not None:
            agent.tell_fired(tuple(live.fault for live in firing))
        is_remembered = any(isinstance(live.fault, Stale) for live in concerned)
        late, self._late = self._late, []
        touching = [
            live for live in self._faults if live in firing or (live.aliases and live.is_on)
        ]

        def recall(uptime: int) -> bytes | None:
            run = execute
            return None if run is None else agent.as_of(uptime, lambda: join_bytes(run(message)))

        exchange = Exchange(
            command=command,
            arguments=arguments,
            shown_id=show_id(message, agent.dialect),
            now=agent.uptime(),
            random=self.random,
            count=0,
            history=self._history.of(command) if is_remembered else [],
            late=self._late,
            reordered=self._reordered,
            seed=self.seed,
            recall=recall,
            crash=agent.crash,
        )
        made = Disturbance(
            exchange, firing, touching, late, agent.process, is_remembered=is_remembered
        )
        for live in firing:
            reply = live.fault.before(exchange)
            if reply is not None:
                made.answered = [reply] if reply else []
                break
        return made

    def end(self, disturbance: "Disturbance", effects: list[Effect]) -> list[Effect]:
        """Return what becomes of the effects of a request."""
        exchange = disturbance.exchange
        if (
            disturbance.is_remembered
            and disturbance.answered is None
            and (reply := join_bytes(effects))
        ):
            self._history.add(exchange.command, exchange.now, reply)
        if (returns := self.agent.result_type(exchange.command)) is not None:
            exchange.schema = returns, self.agent.dialect
        for live in disturbance.touching:
            effects = live.touch(exchange, effects, fires=live in disturbance.firing)
        if exchange.pins:
            self.agent.tell_pinned(tuple(exchange.pins))
        # A process that has died says nothing more.
        is_alive = self.agent.process is disturbance.process
        return [*effects, *disturbance.late] if is_alive else effects

    def finish(self) -> list[bytes]:
        """Return the replies that were put aside until all that came together is answered."""
        replies = self._reordered[::-1]
        self._reordered.clear()
        return replies
