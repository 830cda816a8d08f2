"""What was asked, answered and done: the journal, and its stream."""

from itertools import islice
from typing import Any

from msgspec import Struct

from qgasim.control.control import Control
from qgasim.control.feed import describe_entry
from qgasim.control.registry import refusing, route
from qgasim.control.saving import save_conversation
from qgasim.control.streaming import StreamQuery, open_stream
from qgasim.http.problems import HttpError
from qgasim.http.routes import Answer, EventStream, Request
from qgasim.matching import compile_match
from qgasim.simulation.journal import Exchange

__all__ = [
    "JournalPage", "JournalQuery", "TranscriptQuery", "read_conversation", "read_journal", "read_transcript",
    "stream_journal",
]  # fmt: skip

CHAPTER = "Journal"
#: How many entries are returned at once.
LIMIT = 1000
#: What a recorded conversation is.
JSON_LINES = "application/jsonl; charset=utf-8"


class JournalQuery(Struct, kw_only=True):
    """Which entries are wanted."""

    #: Only those after the entry with this number.
    after: int = 0
    #: Only requests for this command; `*` and `?` are wildcards.
    command: str | None = None
    #: At most so many, up to 1000.
    limit: int = 100
    #: Whether each has its line of the transcript, as `line`.
    lines: bool = False


class JournalPage(Struct, kw_only=True):
    """A part of a journal."""

    #: The entries, the oldest first. Each has a `number`, from 1, and a `kind`; an `exchange` is a
    #: request and its reply, all others are notes. Times are the guest's uptime, in ns.
    entries: list[dict[str, Any]]
    #: The number after which the next page begins.
    next: int
    #: The number of the latest entry there is.
    latest: int
    #: How many of the oldest entries are no longer kept.
    dropped: int


@route("GET /v1/guests/{name}/journal", chapter=CHAPTER)
def read_journal(control: Control, name: str, query: JournalQuery) -> JournalPage:
    """Return what was asked, answered and done, from a number on."""
    journal = control.guest(name).live.journal
    if not 1 <= query.limit <= LIMIT:
        raise HttpError(422, f"limit: expected from 1 to {LIMIT}, found {query.limit}")
    entries = journal.after(query.after)
    if query.command is not None:
        with refusing():
            matches, _ = compile_match(query.command)
        entries = (
            (number, entry)
            for number, entry in entries
            if isinstance(entry, Exchange) and entry.command is not None and matches(entry.command)
        )
    found = list(islice(entries, query.limit))
    is_all = len(found) < query.limit
    return JournalPage(
        entries=[describe_entry(number, e, with_line=query.lines) for number, e in found],
        next=journal.count if is_all else found[-1][0],
        latest=journal.count,
        dropped=journal.dropped,
    )


class TranscriptQuery(Struct, kw_only=True):
    """How much of a transcript is wanted."""

    #: The last so many lines; absent: all.
    last: int | None = None


@route("GET /v1/guests/{name}/transcript", chapter=CHAPTER, produces="text/plain; charset=utf-8")
def read_transcript(control: Control, name: str, query: TranscriptQuery) -> Answer:
    """Return the journal as a text for people: a line for each entry."""
    if query.last is not None and query.last < 0:
        raise HttpError(422, f"last: expected 0 or more, found {query.last}")
    text = control.guest(name).live.transcript(query.last)
    return Answer(body=f"{text}\n".encode("utf-8", "backslashreplace") if text else b"")


@route(
    "GET /v1/guests/{name}/conversation",
    chapter=CHAPTER,
    produces="application/jsonl; charset=utf-8",
)
def read_conversation(control: Control, name: str) -> Answer:
    """Return the journal as a recorded conversation, which `qgasim replay` answers from.

    Requests and replies that the journal keeps only in part (those of more than 64 KiB) are left out.
    """
    body = save_conversation(control.guest(name).live.journal)
    return Answer(body=body, media_type=JSON_LINES)


@route("GET /v1/guests/{name}/journal/stream", chapter=CHAPTER, produces="text/event-stream")
def stream_journal(
    control: Control, name: str, request: Request, query: StreamQuery
) -> EventStream:
    """Stream the journal as it is written, as server-sent events.

    An `entry` is new, an `update` is one whose reply was sent after a wait. `lost` tells how many events
    were missed. The stream ends with `deleted` when the guest is; `reset` says that the journal begins
    again.
    """
    return open_stream(control, request, query, control.guest(name).name)
