"""Streams of events: where one begins, and what it has."""

from msgspec import Struct

from qgasim.control.control import Control
from qgasim.http.routes import EventStream, Request

__all__ = ["StreamQuery", "open_stream"]


class StreamQuery(Struct, kw_only=True):
    """Where a stream begins, and what it has."""

    #: The id of the last event that was read: the stream goes on after it. The header `Last-Event-ID`
    #: says the same, and takes precedence. Absent: what happens from now on; `0`: all that is kept.
    last_event_id: str | None = None
    #: Whether each event has its line of the transcript, as `line`.
    lines: bool = False


def open_stream(
    control: Control, request: Request, query: StreamQuery, guest: str | None
) -> EventStream:
    """Return the stream of a guest; None: of all."""
    last = request.headers.get("last-event-id", query.last_event_id)
    position = control.feed.position(last)
    return EventStream(control.feed.stream(position, guest, with_lines=query.lines))
