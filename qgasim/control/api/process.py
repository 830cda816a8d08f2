"""The process as a whole: whether it is ready, what it can do, what it has counted."""

from functools import cache
from typing import Any

from msgspec import Struct

import qgasim
from qgasim.control.control import Control
from qgasim.control.metrics import write_metrics
from qgasim.control.registry import ROUTES, route
from qgasim.control.streaming import StreamQuery, open_stream
from qgasim.http.routes import Answer, EventStream, Request

__all__ = ["Health", "health", "metrics", "openapi", "stop", "stream"]

CHAPTER = "Process"


class Health(Struct, kw_only=True):
    """The health of the server: whether guests are served."""

    #: "ready": all guests that were named at the start are served.
    status: str
    #: How many guests there are.
    guests: int
    #: The version of qgasim.
    version: str


@route("GET /v1/health", chapter=CHAPTER, is_public=True)
def health(control: Control) -> Health:
    """Return whether the guests are served.

    There is an answer as soon as they are; before that, nothing listens.
    """
    count = len(control.guests.by_name) + len(control.remotes.by_name)
    return Health(status="ready", guests=count, version=qgasim.__version__)


@route("GET /v1/openapi.json", chapter=CHAPTER, is_public=True)
def openapi(control: Control) -> dict[str, Any]:
    """Return this API as an OpenAPI 3.1 document."""
    return _document()


@cache
def _document() -> dict[str, Any]:
    from qgasim.control.document import make_document  # noqa: PLC0415 - most processes are never asked

    return make_document(ROUTES)


@route("GET /v1/metrics", chapter=CHAPTER, produces="text/plain; version=0.0.4; charset=utf-8")
def metrics(control: Control) -> Answer:
    """Return what was counted, in Prometheus' text format."""
    text = write_metrics(control.guests.by_name.values())
    return Answer(body=text.encode(), media_type="text/plain; version=0.0.4; charset=utf-8")


@route("GET /v1/stream", chapter=CHAPTER, produces="text/event-stream")
def stream(control: Control, request: Request, query: StreamQuery) -> EventStream:
    """Stream what happens to all guests, as server-sent events.

    The events are those of a guest's own stream, and `created`, `deleted`, `reset` and `patched`.
    """
    return open_stream(control, request, query, None)


@route("POST /v1/stop", chapter=CHAPTER)
def stop(control: Control) -> None:
    """End qgasim, as SIGTERM does: clients are hung up on, and the files of sockets removed."""
    control.stop()
