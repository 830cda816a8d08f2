"""The OpenAPI 3.1 document of an application: made of its routes."""

from collections.abc import Iterable
from typing import Any, Final, Protocol

from msgspec import Struct

from qgasim.http.problems import PROBLEM, Problem
from qgasim.http.routes import Answer, EventStream, Route

__all__ = ["PREFIX", "Schemas", "make_openapi"]

#: What stands before a schema's name in a reference.
PREFIX: Final = "#/components/schemas/"


class Schemas(Protocol):
    """Makes schemas of types."""

    def read(self, hint: Any) -> dict[str, Any]:
        """Return the schema of what a client sends."""
        ...

    def written(self, hint: Any) -> dict[str, Any]:
        """Return the schema of what is answered."""
        ...

    def query(self, hint: type[Struct]) -> Iterable[tuple[str, dict[str, Any], bool]]:
        """Return what may stand behind the question mark: name, schema and whether it must be there."""
        ...

    def components(self) -> dict[str, Any]:
        """Return all schemas that have a name."""
        ...


def make_openapi(routes: Iterable[Route], schemas: Schemas, info: dict[str, Any]) -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, dict[str, Any]] = {}
    chapters: dict[str, None] = {}
    for route in routes:
        chapters[route.chapter] = None
        path = route.path.replace(":path}", "}")
        operations = paths.setdefault(path, {})
        operations[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": info,
        "tags": [{"name": name} for name in chapters],
        # Without a token, or with it: it depends on how the server was started.
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components().items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    summary, _, rest = route.text.partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": route.function.__name__,
        "tags": [route.chapter],
        "summary": " ".join(summary.split()),
    }
    if rest:
        operation["description"] = rest
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            # An empty part of a path is none.
            "schema": {"type": "string", "minLength": 1},
        }
        for name in route.names
    ]
    if route.query is not None:
        parameters += [
            {"name": name, "in": "query", "required": required, "schema": schema}
            for name, schema, required in schemas.query(route.query)
        ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is bytes:
        content: dict[str, Any] = {"application/octet-stream": {}}
        operation["requestBody"] = {"required": False, "content": content}
    elif route.body is not None:
        schema = {"schema": schemas.read(route.body)}
        content = {"application/json": schema, "application/yaml": schema}
        is_needed = not _may_be_empty(schema["schema"], schemas.components())
        operation["requestBody"] = {"required": is_needed, "content": content}
    operation["responses"] = _responses(route, schemas)
    return operation


def _may_be_empty(schema: dict[str, Any], components: dict[str, Any]) -> bool:
    """Return whether an object without members is allowed: that is what an empty body is read as."""
    if "allOf" in schema:
        return all(_may_be_empty(each, components) for each in schema["allOf"])
    if "$ref" in schema:
        return _may_be_empty(components[schema["$ref"].removeprefix(PREFIX)], components)
    return "properties" in schema and not schema.get("required")


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    problem = {PROBLEM: {"schema": schemas.written(Problem)}}
    success: dict[str, Any] = {"description": "Success."}
    if route.status != 204:
        types = (route.produces, *route.alternatives)
        success["content"] = {
            media_type: _content(route, media_type, schemas) for media_type in types
        }
    if route.location is not None:
        success["headers"] = {
            "Location": {"description": "Where it is.", "schema": {"type": "string"}}
        }
    responses = {str(route.status): success}
    for status, text in sorted(route.problems.items()):
        responses[str(status)] = {"description": text, "content": problem}
    responses["default"] = {"description": "What is wrong with the request.", "content": problem}
    return responses


def _content(route: Route, media_type: str, schemas: Schemas) -> dict[str, Any]:
    if route.returns not in (Answer, EventStream):
        return {"schema": schemas.written(route.returns)}
    is_text = media_type.startswith("text/")
    return {"schema": {"type": "string"}} if is_text else {}
