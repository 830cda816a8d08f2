"""Routes: annotated functions, and the table by which a request finds its own.

`route` reads a function's signature. The first parameter is the application. Those that are named in
the path's braces are texts; *request* is the whole request; *query* is a Struct of what may stand behind the question mark; *body* is
what the request brings, of any type that the application's `Reading` can read. What is returned is
written as JSON, unless it is an `Answer` or an `EventStream`; nothing is answered by 204.
"""

import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar, get_type_hints
from urllib.parse import unquote_to_bytes

from msgspec import Struct, field

from qgasim.http.problems import HttpError
from qgasim.suggestions import did_you_mean

__all__ = ["Answer", "EventStream", "Reading", "Request", "Route", "Table", "route"]

F = TypeVar("F", bound=Callable[..., Any])
#: What a name in the braces of a path matches: one part of it, or with ``:path`` all that is left.
_NAME: Final = re.compile(r"\\{(\w+)(:path)?\\}")
#: How much of a path a problem shows.
_SHOWN: Final = 100


class Request(Struct, frozen=True, kw_only=True):
    """A request that was read."""

    method: str
    #: Its target, without the question mark and what follows.
    path: str
    query: str = ""
    headers: Mapping[str, str]
    body: bytes = b""


class Answer(Struct, kw_only=True):
    """What is answered, where it is no JSON."""

    body: bytes = b""
    status: int = 200
    media_type: str = "text/plain; charset=utf-8"
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class EventStream(Struct):
    """Server-sent events, which are written as they come.

    There must be something each few seconds (`events.COMMENT`): a client whose machine is gone is only
    noticed by writing.
    """

    events: AsyncIterator[bytes]


class Reading(Protocol):
    """How an application reads what requests bring; each method raises `HttpError` for what is wrong."""

    def body(self, data: bytes, media_type: str, wanted: Any) -> Any:
        """Return the body as a *wanted*."""
        ...

    def query(self, pairs: dict[str, str], wanted: type[Struct]) -> Any:
        """Return what stood behind the question mark."""
        ...


class Route(Struct, frozen=True, kw_only=True, eq=False):
    """A method of a path, and the function that answers it."""

    method: str
    #: With ``{name}`` for what differs.
    path: str
    function: Callable[..., Any]
    #: The chapter of the documentation.
    chapter: str
    #: The status of success.
    status: int
    #: Where what was made can be read: a path with names of the answer's members in braces.
    location: str | None
    #: The media type of success, and others that it may have.
    produces: str
    alternatives: tuple[str, ...]
    #: What can be wrong besides what each route refuses: statuses, and when they are answered.
    problems: Mapping[int, str]
    #: The types of the query and of the body; None: there is none.
    query: type[Struct] | None
    body: Any
    returns: Any
    #: Whether its function takes the `Request`, too, as *request*.
    takes_request: bool
    #: Whether it may take long.
    is_async: bool
    #: Whether it is answered without a token.
    is_public: bool

    @property
    def names(self) -> list[str]:
        """The names in its path."""
        return [name for name, _ in re.findall(r"\{(\w+)(:path)?\}", self.path)]

    @property
    def text(self) -> str:
        """What it does."""
        return inspect.cleandoc(self.function.__doc__ or "")


def route(
    target: str,
    *,
    into: list[Route],
    chapter: str,
    status: int | None = None,
    location: str | None = None,
    produces: str = "application/json",
    alternatives: tuple[str, ...] = (),
    problems: Mapping[int, str] | None = None,
    is_public: bool = False,
) -> Callable[[F], F]:
    """Register a function as the answer to *target*, as in ``GET /v1/guests/{name}``."""
    method, _, path = target.partition(" ")

    def register(function: F) -> F:
        hints = get_type_hints(function, include_extras=True)
        has_answer = hints["return"] is not type(None)
        into.append(
            Route(
                method=method,
                path=path,
                function=function,
                chapter=chapter,
                status=status or (200 if has_answer else 204),
                location=location,
                produces=produces,
                alternatives=alternatives,
                problems=problems or {},
                query=hints.get("query"),
                body=hints.get("body"),
                returns=hints["return"],
                takes_request="request" in hints,
                is_async=inspect.iscoroutinefunction(function),
                is_public=is_public,
            )
        )
        return function

    return register


def _compile(path: str) -> re.Pattern[str]:
    pattern = _NAME.sub(lambda m: f"(?P<{m[1]}>{'.*' if m[2] else '[^/]+'})", re.escape(path))
    return re.compile(pattern)


class Table:
    """All routes of an application."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._fixed: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        by_path: dict[str, dict[str, Route]] = {}
        for each in self.routes:
            methods = by_path.setdefault(each.path, {})
            assert each.method not in methods, f"{each.method} {each.path} twice"
            methods[each.method] = each
        for path, methods in by_path.items():
            if "{" in path:
                self._patterns.append((_compile(path), methods))
            else:
                self._fixed[path] = methods

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route of a request, and what stands for the names in its path.

        Raises:
            HttpError: there is none (404), or only for other methods (405).
        """
        methods, values = self._find_methods(path)
        found = methods.get("GET" if method == "HEAD" else method)
        if found is not None:
            return found, {name: _decode(value) for name, value in values.items()}
        allowed = [*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"]
        text = f"{method} is not a method of {path[:_SHOWN]} (expected {', '.join(allowed)})"
        raise HttpError(405, text, headers=(("Allow", ", ".join(allowed)),))

    def allowed(self, path: str) -> str:
        """Return the methods of a path, as the header ``Allow`` has them; HttpError: there are none."""
        methods, _ = self._find_methods(path)
        return ", ".join([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])

    def _find_methods(self, path: str) -> tuple[dict[str, Route], dict[str, str]]:
        if methods := self._fixed.get(path):
            return methods, {}
        for pattern, methods in self._patterns:
            if found := pattern.fullmatch(path):
                return methods, found.groupdict()
        known = [route.path for route in self.routes]
        shown = path if len(path) <= _SHOWN else f"{path[:_SHOWN]}..."
        raise HttpError(404, f"there is no resource {shown}{did_you_mean(shown, known)}")


def _decode(value: str) -> str:
    """Return a part of a path with its percent signs resolved.

    What is no UTF-8 stays what it is, as in names of files; a NUL, which no name has, is refused.
    """
    text = unquote_to_bytes(value).decode("utf-8", "surrogateescape")
    if "\0" in text:
        raise HttpError(400, "a path cannot contain NUL")
    return text
