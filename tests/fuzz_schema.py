"""Requests that schemathesis makes of the control API's document, and answers held against the document.

`python -m tests.fuzz_schema --examples 200 --seed 1`: so many requests to each operation that are as the document
says, and as many that are not.
"""

import argparse
import os
import tempfile
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any, Final

import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from qgasim.http.access import Access
from qgasim.serving.listen import TcpAddress, parse_address
from tests.control.test_document import BODIES, DOCUMENT
from tests.controlling import controlled
from tests.serving import PATIENCE

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: Names that are there; almost none of those that schemathesis makes is.
NAMES: Final = {
    "name": ["guest"],
    "number": ["1", "2", "3"],
    "snapshot": ["s"],
    "file": ["index.html", "etc/hostname", "etc", "tmp/x", "proc/1/stat", "dev/null"],
    "pid": ["1", "2", "250"],
}
#: How long at most is waited, by operation.
BOUNDS: Final = {
    "wait": {"within": "1ms"},
    "call": {"timeout": "50ms"},
    "execute": {"timeout": "50ms"},
}
#: What there is for the names above: made anew before each operation.
MADE: Final[list[tuple[str, Any]]] = [
    ("", {"name": "guest"}),
    ("/guest/faults", BODIES["add_fault"]),
    ("/guest/stubs", BODIES["add_stub"]),
    ("/guest/snapshots", BODIES["take_snapshot"]),
]


class SchemaFuzz:
    """Asks the API at *url*; sockets of guests that are created lie in *directory*."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url = url
        self._sockets = (f"unix:{directory}/{number}.sock" for number in count())
        self._session = requests.Session()
        self._session.trust_env = False
        #: How often each status was answered.
        self.statuses: Counter[int] = Counter()
        #: The operations that have succeeded.
        self.succeeded: set[str] = set()
        #: What was not as the document says.
        self.failures: list[str] = []

    def run(self, operation: Any, mode: GenerationMode, examples: int, seed: int) -> None:
        """Make requests to an operation."""
        name = operation.definition.raw["operationId"]
        cases = operation.as_strategy(generation_mode=mode)
        self._prepare()

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(st.data())
        def ask(data: st.DataObject) -> None:
            case = data.draw(cases)
            for key in case.path_parameters:
                if data.draw(st.integers(0, 7)) < 7:
                    case.path_parameters[key] = data.draw(st.sampled_from(NAMES[key]))
            if name in BODIES and isinstance(case.body, dict) and data.draw(st.integers(0, 2)) < 2:
                # Nearly what succeeds: commands, for instance, are not in the document.
                given = data.draw(st.sets(st.sampled_from([*case.body, ""]), max_size=2))
                case.body = {key: case.body[key] for key in given if key} | BODIES[name]
            self._bound(case, name)
            self._ask(case, name)

        ask()

    def close(self) -> None:
        self._session.close()

    def _prepare(self) -> None:
        guests = f"{self._url}/v1/guests"
        for guest in self._session.get(guests, timeout=PATIENCE).json():
            self._session.delete(f"{guests}/{guest['name']}", timeout=PATIENCE)
        for path, body in MADE:
            self._session.post(guests + path, json=body, timeout=PATIENCE).raise_for_status()

    def _bound(self, case: Case[Any], name: str) -> None:
        """Keep a request from waiting for long, and from sockets that lie elsewhere."""
        body: Any = case.body
        if not isinstance(body, dict):
            return
        for key, bound in BOUNDS.get(name, {}).items():
            if isinstance(body.get(key, ""), str | int | float):
                body[key] = bound
        if name == "create":
            if "listen" in body:
                body["listen"] = self._move(body["listen"])
            if isinstance(body.get("qmp"), list):
                body["qmp"] = [self._move(each) for each in body["qmp"]]

    def _move(self, address: Any) -> Any:
        try:
            parse_address(str(address))
        except ValueError:
            return address
        return next(self._sockets)

    def _ask(self, case: Case[Any], name: str) -> None:
        arguments = case.as_transport_kwargs(base_url=self._url)
        with self._session.request(**arguments, stream=True, timeout=PATIENCE) as answer:
            if answer.headers.get("Content-Type") == "text/event-stream":
                # It has no end.
                answer.raw.close()
                answer._content = b""
            self.statuses[answer.status_code] += 1
            if answer.ok:
                self.succeeded.add(name)
            response = Response.from_requests(answer, verify=True)
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            self.failures += [f"{name}: {failure}\n{group}" for failure in group.exceptions]


def fuzz(directory: Path, examples: int, seed: int) -> SchemaFuzz:
    """Make *examples* requests of each kind to each operation, and return what was answered.

    What has failed in a route is raised at the end.
    """
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    with controlled(directory, access=Access(TcpAddress("127.0.0.1", 0))) as api:
        made = SchemaFuzz(f"http://127.0.0.1:{api.connection.port}", directory)
        try:
            for result in schema.get_all_operations():
                operation: Any = result.ok()  # type: ignore[union-attr]
                made.run(operation, GenerationMode.POSITIVE, examples, seed)
                is_json = any(body.media_type == "application/json" for body in operation.body)
                # Any text can be part of a path, and any bytes those of a file.
                if operation.query or is_json:
                    made.run(operation, GenerationMode.NEGATIVE, examples, seed)
        finally:
            made.close()
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qga-") as directory:
        os.chdir(directory)
        made = fuzz(Path(directory), options.examples, options.seed)
    print(*made.failures, sep="\n\n")
    print(f"{made.statuses.total()} requests: {dict(sorted(made.statuses.items()))}")
    return 1 if made.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
