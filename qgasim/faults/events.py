"""Faults of the machine's monitor: events that are lost, late, doubled, or sent too early.

*on* names events as ``qmp:SUSPEND``. Other faults disturb commands of the monitor in the same way:
``on: "qmp:system_wakeup"``.
"""

from msgspec import Struct

from qgasim.faults.base import Fault
from qgasim.guest.units import Duration
from qgasim.matching import Match

__all__ = [
    "OF_MONITOR",
    "DelayEvent",
    "DropEvent",
    "DuplicateEvent",
    "EarlyEvent",
    "EventFault",
    "Sending",
    "is_of_monitor",
]

#: How the names of the monitor's commands and events begin where the agent's could be meant.
OF_MONITOR = "qmp:"


def is_of_monitor(on: str | Match) -> bool:
    """Return whether requests, or events, of the monitor are meant."""
    return (on.command if isinstance(on, Match) else on).startswith(OF_MONITOR)


class Sending(Struct, frozen=True):
    """How an event is sent."""

    #: After how long (ns of the host), each time that it is.
    delays: tuple[int, ...] = (0,)
    #: Whether it is sent even before the client's greeting and negotiation.
    is_early: bool = False


class EventFault(Fault, frozen=True, kw_only=True):
    """Something that goes wrong with an event of the machine's monitor."""

    on: str | Match = "qmp:*"

    def change(self, sending: Sending) -> Sending:
        """Return how the event is sent instead."""
        return sending


class DropEvent(EventFault, frozen=True, kw_only=True, tag="drop_event"):
    """The event is not sent."""

    def change(self, sending: Sending) -> Sending:
        """Send it never."""
        return Sending((), sending.is_early)


class DelayEvent(EventFault, frozen=True, kw_only=True, tag="delay_event"):
    """The event is sent later, with the time at which it happened."""

    #: By this much, in the host's time.
    by: Duration

    def change(self, sending: Sending) -> Sending:
        """Send it later."""
        return Sending(tuple(delay + self.by for delay in sending.delays), sending.is_early)


class DuplicateEvent(EventFault, frozen=True, kw_only=True, tag="duplicate_event"):
    """The event is sent more than once."""

    #: How often in all.
    copies: int = 2

    def change(self, sending: Sending) -> Sending:
        """Send it so often."""
        return Sending(sending.delays * self.copies, sending.is_early)


class EarlyEvent(EventFault, frozen=True, kw_only=True, tag="early_event"):
    """The event is sent although the client has not negotiated; to one that comes later, before the greeting."""

    def change(self, sending: Sending) -> Sending:
        """Send it in any case."""
        return Sending(sending.delays, is_early=True)
