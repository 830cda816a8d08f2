"""Kinds of findings: functions that look for one thing in a evidence, and what they make.

A kind is an annotated function: its name is the finding's, its docstring the explanation.
"""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from msgspec import Struct

from qgasim.findings.evidence import Evidence

__all__ = ["KINDS", "Finding", "Kind", "finding"]

#: Gives the requests, in words, that are wrong.
Look: TypeAlias = Callable[[Evidence], Iterator[str]]
#: How many of the requests are shown.
SHOWN: Final = 5
PAGE: Final = "docs/findings.md"


class Kind(Struct, frozen=True):
    """Something that a client should not do."""

    name: str
    #: What it is and why it matters, in a sentence and more.
    explanation: str
    #: What the client should do instead.
    remedy: str
    look: Look


class Finding(Struct, frozen=True):
    """Something that clients did and should not have done."""

    kind: Kind
    #: What was done: the exchanges, a line or more for each time.
    found: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is called: ``frozen-never-thawed``."""
        return self.kind.name

    @property
    def page(self) -> str:
        """Where to read more."""
        return f"{PAGE}#{self.name}"

    def __str__(self) -> str:
        """Return what was found, where, how to fix it and where to read more."""
        summary = self.kind.explanation.partition("\n\n")[0].replace("\n", " ")
        more = len(self.found) - SHOWN
        places = [*self.found[:SHOWN], *([f"... and {more} more"] if more > 0 else [])]
        lines = [line for place in places for line in place.splitlines()]
        shown = "".join(f"\n  {line}" for line in lines)
        return f"{self.name}: {summary}{shown}\n  Fix: {self.kind.remedy}\n  See {self.page}"


KINDS: Final[dict[str, Kind]] = {}
"""All kinds, by name, in the order of their modules."""


def finding(*, remedy: str) -> Callable[[Look], Look]:
    """Register a function as a kind of finding."""

    def register(look: Look) -> Look:
        name = look.__name__.replace("_", "-")
        lines = (look.__doc__ or "").strip().split("\n")
        explanation = "\n".join(line.strip() for line in lines)
        KINDS[name] = Kind(name, explanation, remedy, look)
        return look

    return register
