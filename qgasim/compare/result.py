"""What comes of comparing two agents."""

from msgspec import Struct, field

__all__ = ["Comparison", "Difference"]


class Difference(Struct, frozen=True):
    """A request that the two answered differently."""

    topic: str
    request: bytes
    #: What differs, in words.
    what: str
    #: All that was answered.
    real: bytes
    simulated: bytes


class Comparison(Struct):
    """What came of comparing two agents."""

    #: The real agent's version and system, as far as it tells them.
    version: str | None
    system: str | None
    #: What was simulated.
    release: str
    scenario: str
    asked: int = 0
    differences: list[Difference] = field(default_factory=list[Difference])
    #: What differs for reasons of the machine or its set-up, or could not be compared.
    notes: list[str] = field(default_factory=list[str])
