"""The OpenAPI document of the control API."""

from collections.abc import Iterator
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec
from msgspec import Struct

from qgasim import __version__
from qgasim.agent.stubs import Stub
from qgasim.control.language import Said
from qgasim.faults import AnyFault
from qgasim.http.openapi import PREFIX, make_openapi
from qgasim.http.problems import Problem
from qgasim.http.routes import Answer, EventStream, Route
from qgasim.scenario.checks import fields_of
from qgasim.scenario.decode import hints_of
from qgasim.scenario.schema import comments_of, default_of, describe, make_definitions

__all__ = ["make_document"]

_INFO: Final = {
    "title": "qgasim",
    "summary": "Control simulated QEMU guest agents.",
    "description": (
        "What a test can do with guests, for programs in any language. Bodies are JSON or YAML, in the "
        "language of scenarios: durations are written as `30s`, sizes as `16MiB`. Problems are those of "
        "RFC 9457, with the language's own words in `detail` and `errors`."
    ),
    "version": __version__,
    "license": {"name": "MIT", "identifier": "MIT"},
}


def make_document(routes: list[Route]) -> dict[str, Any]:
    """Return the document of *routes*."""
    return make_openapi(routes, _Schemas(routes), _INFO)


def _plain(hint: Any) -> Any:
    """Return what a body is read as at last."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        return next((mark.what for mark in marks if isinstance(mark, Said)), inner)
    return hint


class _Schemas:
    """Schemas: of bodies in the language of scenarios, of answers by msgspec."""

    def __init__(self, routes: list[Route]) -> None:
        bodies = [_plain(route.body) for route in routes if route.body not in (None, bytes)]
        queries = [route.query for route in routes if route.query is not None]
        hints = [*bodies, *queries, AnyFault, Stub]
        schemas, self._named = make_definitions(*hints, prefix=PREFIX)
        self._read = list(zip(hints, schemas, strict=True))
        for query in queries:
            self._named.pop(query.__name__, None)
        for route in routes:
            for mark in getattr(route.body, "__metadata__", ()):
                if isinstance(mark, Said) and mark.is_partial:
                    del self._named[mark.what.__name__]["required"]
        self._named["AnyFault"] = self.read(AnyFault)
        answers = [route.returns for route in routes if route.returns not in _NO_JSON]
        answers.append(Problem)
        made, named = msgspec.json.schema_components(answers, ref_template=PREFIX + "{name}")
        self._written = list(zip(answers, made, strict=True))
        for cls in _structs_in(answers):
            _add_comments(named[cls.__name__], cls)
        assert not named.keys() & self._named.keys(), "two Structs have the same name"
        self._named |= named

    def read(self, hint: Any) -> dict[str, Any]:
        wanted = _plain(hint)
        return next(schema for known, schema in self._read if known == wanted)

    def written(self, hint: Any) -> dict[str, Any]:
        return next(schema for known, schema in self._written if known == hint)

    def query(self, hint: type[Struct]) -> Iterator[tuple[str, dict[str, Any], bool]]:
        hints, comments = hints_of(hint), comments_of(hint)
        for field in fields_of(hint):
            (schema,), _ = make_definitions(hints[field.name], prefix=PREFIX)
            default = default_of(field, hints[field.name])
            said = {} if default is None else {"default": default}
            described = {**schema, "description": comments[field.name], **said}
            yield field.encode_name, described, field.required

    def components(self) -> dict[str, Any]:
        return self._named


_NO_JSON: Final = (Answer, EventStream, type(None))


def _structs_in(answers: list[Any]) -> set[type[Struct]]:
    found: set[type[Struct]] = set()
    todo = list(answers)
    while todo:
        hint = todo.pop()
        if isinstance(hint, type) and issubclass(hint, Struct):
            if hint not in found:
                found.add(hint)
                todo += hints_of(hint).values()
        else:
            todo += get_args(hint)
    return found


def _add_comments(schema: dict[str, Any], cls: type[Struct]) -> None:
    comments = comments_of(cls)
    schema["description"] = describe(cls)
    for field in fields_of(cls):
        properties = schema["properties"]
        # Beside a reference, 2020-12 allows a description.
        properties[field.encode_name]["description"] = comments[field.name]
