"""The OpenAPI document and the routes say the same, and answers are what it says."""

import json
from pathlib import Path
from typing import Any

import jsonschema

from qgasim.control.api import ROUTES
from qgasim.control.document import make_document
from tests.controlling import controlled

DOCUMENT: dict[str, Any] = json.loads(json.dumps(make_document(ROUTES)))
#: How requests are made that succeed, in this order; what is not here needs nothing.
BODIES: dict[str, Any] = {
    "create": {"name": "web"},
    "patch_guest": {"hostname": "x"},
    "add_fault": {"kind": "delay", "on": "guest-ping", "by": "1s", "times": 1},
    "add_stub": {"on": "guest-info", "reply": 1},
    "happen": {"do": "reboot", "delay": "1h"},
    "change_clock": {"rate": 1},
    "advance": {"by": "1s"},
    "take_snapshot": {"name": "s"},
    "verify": {"command": "guest-ping"},
    "never": {"command": "guest-ping"},
    "in_order": {"steps": ["guest-ping"]},
    "wait": {"state": "up"},
    "call": {"execute": "guest-info"},
    "execute": {"path": "true"},
}
VALUES = {"name": "guest", "number": "1", "snapshot": "s", "file": "etc/hostname", "pid": "1"}
#: Those that end what others need, or have no end.
LAST = ("revert", "reset", "delete")
WITHOUT = ("stream", "stream_journal", "page_file", "kill")


def operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {
        operation["operationId"]: (method, path, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }


def test_each_route_is_an_operation_and_each_operation_a_route() -> None:
    routes = {(r.method.lower(), r.path.replace(":path}", "}")) for r in ROUTES}
    assert routes == {(method, path) for method, path, _ in operations().values()}
    assert len(operations()) == len(ROUTES), "two functions have the same name"


def test_all_is_described_and_all_references_lead_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for name in operations():
        assert operations()[name][2]["summary"].endswith("."), name
    todo: list[Any] = [DOCUMENT]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if isinstance(reference := value.get("$ref"), str):
                assert reference.removeprefix("#/components/schemas/") in schemas
            todo += value.values()
        elif isinstance(value, list):
            todo += value
    for name, schema in schemas.items():
        for key, member in schema.get("properties", {}).items():
            assert "description" in member or "const" in member or "enum" in member, (name, key)


def test_a_body_may_be_absent_if_none_of_its_members_is_needed() -> None:
    needed = {
        name: operation["requestBody"]["required"]
        for name, (_, _, operation) in operations().items()
        if "requestBody" in operation
    }
    assert not any(needed[name] for name in ("create", "patch_guest", "write_file"))
    assert all(needed[name] for name in ("add_fault", "happen", "advance", "verify", "call"))


def check(value: Any, schema: dict[str, Any]) -> None:
    """Raise what `jsonschema` has against *value*."""
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def test_answers_are_what_the_document_says(tmp_path: Path) -> None:
    names = [name for name in operations() if name not in (*LAST, *WITHOUT)]
    removing = [name for name in names if name.startswith(("remove", "delete"))]
    order = [*(n for n in names if n not in removing), "revert", *removing, *LAST[1:]]
    (tmp_path / "other").mkdir()
    with controlled(tmp_path) as api, controlled(tmp_path / "other") as other:
        bodies = BODIES | {"attach": {"name": "db1", "control": f"unix:{other.path}"}}
        other.post("/guests", {"name": "db1"})
        for name in order:
            method, path, operation = operations()[name]
            body = bodies.get(name)
            if body is not None:
                check(body, operation["requestBody"]["content"]["application/json"]["schema"])
            if name == "write_file":
                body = b"hello"
            answer = api.ask(f"{method.upper()} {path.format(**VALUES)}", body)
            if name in {"remove_fault", "remove_stub"} and answer.status == 404:
                continue  # removed with all others
            (success,) = [status for status in operation["responses"] if status.startswith("2")]
            assert str(answer.status) == success, (name, answer)
            content = operation["responses"][success].get("content")
            if content is None:
                assert answer.body == b""
                continue
            media_type = answer.headers["Content-Type"]
            assert media_type in content, (name, media_type)
            if media_type == "application/json" and "schema" in content[media_type]:
                check(answer.json, content[media_type]["schema"])


def test_problems_are_what_the_document_says(tmp_path: Path) -> None:
    schema = DOCUMENT["components"]["schemas"]["Problem"]
    with controlled(tmp_path) as api:
        for name, (method, path, _) in operations().items():
            if "{name}" in path:
                answer = api.ask(f"{method.upper()} {path.format(**VALUES | {'name': 'nobody'})}")
                assert 400 <= answer.status < 500, name
                assert answer.headers["Content-Type"] == "application/problem+json"
                check(answer.json, schema)


def test_the_document_is_served(tmp_path: Path) -> None:
    with controlled(tmp_path) as api:
        assert api.get("/openapi.json") == DOCUMENT


def test_the_page_may_load_only_what_is_its_own(tmp_path: Path) -> None:
    with controlled(tmp_path) as api:
        answer = api.ask("GET /")
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self';")
        for path in ("/page/nope.js", "/page/../api/page.py", "/page/%2e%2e/api/page.py", "/page/"):
            assert api.ask(f"GET {path}").status == 404, path


def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    with controlled(tmp_path) as api:
        api.post(
            "/guests/guest/faults",
            {"kind": "error", "on": "guest-ping", "desc": "no", "name": 'a"b'},
        )
        api.post("/guests/guest/call", {"execute": "guest-ping"})
        answer = api.ask("GET /v1/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.body.decode().splitlines()
    assert "qgasim_guests 1" in lines
    assert 'qgasim_requests_total{guest="guest"} 3' in lines
    assert 'qgasim_connections_total{guest="guest"} 1' in lines
    assert 'qgasim_faults_fired_total{guest="guest",fault="a\\"b"} 1' in lines
    assert 'qgasim_guest_state{guest="guest",state="up"} 1' in lines
