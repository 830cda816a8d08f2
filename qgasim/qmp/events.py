"""Events: how they are written, and how often some of them are sent (monitor/monitor.c)."""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from qgasim.guest.units import SECOND
from qgasim.wire import encode

__all__ = ["Event", "Throttle", "write_event"]

#: Events of which at most one a second is sent, each with the member of its data that tells one kind from
#: another.
THROTTLED: Final = {
    "RTC_CHANGE": "",
    "WATCHDOG": "",
    "BALLOON_CHANGE": "",
    "QUORUM_REPORT_BAD": "node-name",
    "QUORUM_FAILURE": "",
    "VSERPORT_CHANGE": "id",
    "MEMORY_DEVICE_SIZE_CHANGE": "qom-path",
}


class Event(Struct, frozen=True):
    """Something that a machine tells the clients of its monitors."""

    name: str
    data: dict[str, Any] | None
    #: When it happened, by the host's wall clock (ns since 1970).
    at: int


def write_event(event: Event) -> bytes:
    """Write an event as it is sent."""
    seconds, rest = divmod(event.at, SECOND)
    value: dict[str, Any] = {
        "event": event.name,
        "timestamp": {"seconds": seconds, "microseconds": rest // 1000},
    }
    if event.data is not None:
        value["data"] = event.data
    return f"{encode(value)}\r\n".encode("ascii")


class Throttle:
    """Sends the first event of a kind at once, and then the latest of each second.

    Times are the host's monotonic clock: the guest's may stand still.
    """

    def __init__(self, send: Callable[[Event], None]) -> None:
        self._send = send
        #: When the second of a kind is over, and what is to be sent then.
        self._pending: dict[tuple[str, str], tuple[int, Event | None]] = {}

    def take(self, event: Event, now: int) -> None:
        """Send an event now or later, or never if another of its kind follows."""
        if event.name not in THROTTLED:
            self._send(event)
            return
        member = THROTTLED[event.name]
        kind = (event.name, str((event.data or {}).get(member, "")))
        if kind in self._pending:
            self._pending[kind] = self._pending[kind][0], event
        else:
            self._pending[kind] = now + SECOND, None
            self._send(event)

    def next_time(self) -> int | None:
        """Return when `run` has something to do; None: never."""
        return min((end for end, _ in self._pending.values()), default=None)

    def run(self, now: int) -> None:
        """Send what is due."""
        for kind, (end, event) in sorted(self._pending.items(), key=lambda item: item[1][0]):
            if end <= now:
                del self._pending[kind]
                if event is not None:
                    self._pending[kind] = end + SECOND, None
                    self._send(event)
