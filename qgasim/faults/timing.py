"""Faults in time: replies that come late, or never."""

from msgspec import Struct

from qgasim.effects import Effect, Wait
from qgasim.faults.base import Exchange, Fault
from qgasim.guest.units import FOR_EVER, Duration

__all__ = [
    "Delay",
    "Drop",
    "Growing",
    "Hang",
    "Ignore",
    "Late",
    "Leak",
    "LogNormal",
    "Normal",
    "Uniform",
]


def _later(exchange: Exchange, effects: list[Effect], delay: int) -> list[Effect]:
    """Wait before all, and let what waits already wait so much longer: delays add up."""
    later = [Wait(e.until + delay) if isinstance(e, Wait) else e for e in effects]
    return [Wait(exchange.now + delay), *later]


class Uniform(Struct, frozen=True, kw_only=True):
    """Any time between two, with equal chance."""

    #: The shortest.
    least: Duration = 0
    #: The longest.
    most: Duration


class Normal(Struct, frozen=True, kw_only=True):
    """A bell curve; what would be below zero is zero."""

    #: The middle.
    mean: Duration
    #: The standard deviation.
    deviation: Duration


class LogNormal(Struct, frozen=True, kw_only=True):
    """A long tail: most are short, some very long."""

    #: Half are shorter.
    median: Duration
    #: How long the tail is: the standard deviation of the logarithm.
    sigma: float = 1.0


class Growing(Struct, frozen=True, kw_only=True):
    """Longer each time."""

    #: What the first takes.
    first: Duration = 0
    #: What each takes more than the one before.
    step: Duration
    #: The longest; absent: it goes on growing.
    most: Duration | None = None


class Delay(Fault, frozen=True, kw_only=True, tag="delay"):
    """The reply comes later. Give one of *by*, *uniform*, *normal*, *lognormal*, *growing*."""

    #: By this much.
    by: Duration | None = None
    #: By a random time.
    uniform: Uniform | None = None
    #: By a random time.
    normal: Normal | None = None
    #: By a random time.
    lognormal: LogNormal | None = None
    #: By a time that grows.
    growing: Growing | None = None

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Wait before all."""
        chance = exchange.random
        if self.uniform is not None:
            delay = chance.randint(self.uniform.least, self.uniform.most)
        elif self.normal is not None:
            delay = max(0, int(chance.gauss(self.normal.mean, self.normal.deviation)))
        elif self.lognormal is not None:
            tail = chance.lognormvariate(0, self.lognormal.sigma)
            delay = int(min(self.lognormal.median * tail, FOR_EVER))
        elif self.growing is not None:
            delay = self.growing.first + self.growing.step * exchange.count
            if self.growing.most is not None:
                delay = min(delay, self.growing.most)
        else:
            delay = self.by or 0
        return _later(exchange, effects, delay)


class Leak(Fault, frozen=True, kw_only=True, tag="leak"):
    """Each reply comes later than the one before, until the agent is started again."""

    #: By this much, each time.
    by: Duration

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Wait before all, longer and longer."""
        return _later(exchange, effects, self.by * (exchange.count_of_process + 1))


class Hang(Fault, frozen=True, kw_only=True, tag="hang"):
    """The agent hangs: the command does not run, no reply comes, later requests queue."""

    def before(self, exchange: Exchange) -> bytes | None:
        """Do not run the command."""
        return b""

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Wait for what does not come."""
        return [Wait(FOR_EVER), *effects]


class Drop(Fault, frozen=True, kw_only=True, tag="drop"):
    """The command runs, and its reply is lost."""

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Take the reply away."""
        return [effect for effect in effects if not isinstance(effect, bytes)]


class Ignore(Fault, frozen=True, kw_only=True, tag="ignore"):
    """The command does not even run; no reply comes."""

    def before(self, exchange: Exchange) -> bytes | None:
        """Do not run the command."""
        return b""


class Late(Fault, frozen=True, kw_only=True, tag="late"):
    """The reply comes after the next one."""

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Put the reply aside."""
        exchange.late += [effect for effect in effects if isinstance(effect, bytes)]
        return [effect for effect in effects if not isinstance(effect, bytes)]
