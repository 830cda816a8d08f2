"""From a request to its answer: access, the route, what it is given, and what it returns."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, quote

from msgspec import Struct, structs

from qgasim.errors import QgaSimError
from qgasim.http.access import Access
from qgasim.http.answers import write_json
from qgasim.http.problems import PROBLEM, HttpError
from qgasim.http.routes import Answer, EventStream, Reading, Request, Route, Table

__all__ = ["Call", "Service", "write_problem"]

#: What keeps answers from being kept, taken for something else, or shown in a page of another site.
HEADERS: Final = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]
#: How many settings may stand behind the question mark.
QUERY_LIMIT: Final = 32
#: A name in the path of what was made.
_NAME: Final = re.compile(r"\{(\w+)\}")
REPORT: Final = "a bug of qgasim (please report it)"


#: Returns what answers a request about the thing with a name (None: about none); None: its route does.
Forwarding: TypeAlias = Callable[
    [str | None, Request], Callable[[], Awaitable[Answer | EventStream]] | None
]


class Call(Struct):
    """A request that is allowed, the route that answers it, and the names in its path."""

    route: Route
    values: dict[str, str]


class Service:
    """Answers requests.

    Args:
        application: what routes are given first.
        table: the routes.
        access: which requests are let in.
        reading: reads bodies and queries.
        on_failure: is told what a route has raised that is no `QgaSimError`: the client gets a 500.
    """

    def __init__(
        self,
        application: object,
        table: Table,
        access: Access,
        reading: Reading,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._application = application
        self._table = table
        self._access = access
        self._reading = reading
        self._on_failure = on_failure
        #: Passes on requests about what another process has.
        self.forwarding: Forwarding = lambda _name, _request: None

    def begin(self, method: str, path: str, headers: Mapping[str, str]) -> Call | Answer:
        """Return what is to be done with a request whose body is not read yet.

        Raises:
            HttpError: it is refused.
        """
        if method == "OPTIONS":
            self._access.check(headers, is_public=True)
            allow = "GET, HEAD, OPTIONS" if path == "*" else self._table.allowed(path)
            return Answer(status=204, headers=[("Allow", allow)])
        try:
            found = Call(*self._table.find(method, path))
        except HttpError:
            self._access.check(headers)
            raise
        self._access.check(headers, is_public=found.route.is_public)
        return found

    def arguments(self, call: Call, request: Request) -> dict[str, Any]:
        """Return what the route's function is called with, besides the application.

        Raises:
            HttpError: something of it is wrong.
        """
        route = call.route
        arguments: dict[str, Any] = dict(call.values)
        if route.query is not None:
            arguments["query"] = self._reading.query(_parse_query(request.query), route.query)
        elif request.query:
            raise HttpError(400, f"{route.path} has no settings behind the question mark")
        if route.takes_request:
            arguments["request"] = request
        if route.body is bytes:
            arguments["body"] = request.body
        elif route.body is not None:
            media_type = request.headers.get("content-type", "")
            arguments["body"] = self._reading.body(request.body, media_type, route.body)
        return arguments

    def pass_on(
        self, call: Call, request: Request
    ) -> Callable[[], Awaitable[Answer | EventStream]] | None:
        """Return what answers a request in place of its route; None: the route does."""
        # A HEAD is answered as a GET is, without the body.
        asked = structs.replace(request, method=call.route.method)
        return self.forwarding(call.values.get("name"), asked)

    def perform(self, call: Call, arguments: dict[str, Any]) -> Answer | EventStream:
        """Call the function of a route that does not take long; HttpError: it refuses."""
        return self._write(call, call.route.function(self._application, **arguments))

    async def perform_slowly(self, call: Call, arguments: dict[str, Any]) -> Answer | EventStream:
        """Do as `perform` with a route that may take long."""
        return self._write(call, await call.route.function(self._application, **arguments))

    def _write(self, call: Call, result: Any) -> Answer | EventStream:
        route = call.route
        if isinstance(result, EventStream):
            return result
        if not isinstance(result, Answer):
            body = b"" if result is None else write_json(result)
            answer = Answer(body=body, status=route.status, media_type=route.produces)
            if route.location is not None:
                answer.headers.append(("Location", _fill(route.location, call.values, result)))
            return answer
        return result

    def refuse(self, error: Exception) -> Answer:
        """Return the answer to a request that has failed; what is no `QgaSimError` is reported."""
        if isinstance(error, HttpError):
            return write_problem(error)
        if isinstance(error, QgaSimError):
            return write_problem(HttpError(409, str(error)))
        self._on_failure(error)
        return write_problem(HttpError(500, f"{REPORT}: {error!r:.200}"))


def write_problem(error: HttpError) -> Answer:
    """Return the answer that tells a problem."""
    body = write_json(error.problem)
    return Answer(body=body, status=error.status, media_type=PROBLEM, headers=list(error.headers))


def _fill(location: str, values: dict[str, str], made: object) -> str:
    """Return the path *location* with what stands for its names: of the request's path, or of what was made."""
    return _NAME.sub(
        lambda found: quote(str(values.get(found[1]) or getattr(made, found[1])), safe=""), location
    )


def _parse_query(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=QUERY_LIMIT
        )
    except ValueError as error:
        raise HttpError(400, f"cannot be read: '?{query[:100]}' ({error})") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise HttpError(400, f"'{name[:100]}' is given twice behind the question mark")
        found[name] = value
    return found
