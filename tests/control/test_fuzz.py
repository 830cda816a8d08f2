"""Whatever is sent to the API, no answer says that qgasim has failed."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control.test_document import BODIES, DOCUMENT, operations
from tests.controlling import Api, controlled

#: How many requests are made.
COUNT = 600
VALUES: list[Any] = [
    None, True, 0, 1, -1, 1.5, 2**70, 1e308, "", "x", "guest-ping", "up", "1s", "99999999h", "\0", "ö", "*", "[",
    "{i}", "/etc/passwd", "a\nb: 1", "auto", [], {}, [1], ["guest-ping"], {"command": "guest-*"},
    {"name": "e{i}", "count": 3},
]  # fmt: skip
PATHS: dict[str, list[str]] = {
    "name": ["guest"] * 20 + ["web", "nobody"],
    "number": ["1", "0", "-1", "x"],
    "snapshot": ["s", "%00", "x"],
    "file": ["etc/hostname", "", "..", "proc/1/stat", "tmp/%ff", "dev/null", "proc", "C:/x", "index.html"],
    "pid": ["1", "2", "x", "250"],
}  # fmt: skip
QUERIES = [
    "last",
    "limit",
    "after",
    "command",
    "format",
    "signal",
    "lines",
    "polls_per_second",
    "x",
]
WORDS = ["1", "-1", "x", "", "%00", "*", "[", "99999999999999999999", "true"]


def make_value(chance: random.Random, keys: list[str], level: int = 0) -> Any:
    if level < 3 and chance.random() < 0.3:
        return [make_value(chance, keys, level + 1) for _ in range(chance.randrange(3))]
    if level < 3 and chance.random() < 0.3:
        names = [chance.choice(keys) for _ in range(chance.randrange(4))]
        return {name: make_value(chance, keys, level + 1) for name in names}
    return chance.choice(VALUES)


def make_body(chance: random.Random, name: str, keys: list[str]) -> Any:
    """Make a body: what succeeds with something changed, or anything."""
    if chance.random() < 0.1:
        return chance.randbytes(20)
    body = make_value(chance, keys)
    if name in BODIES and chance.random() < 0.7:
        body = dict(BODIES[name])
        for _ in range(chance.randrange(3)):
            body[chance.choice([*body, chance.choice(keys)])] = make_value(chance, keys)
    if isinstance(body, dict):
        # Nothing is waited for, here.
        body |= {"wait": {"within": "0s"}, "call": {"timeout": "50ms"}, "execute": {"timeout": "50ms"}}.get(name, {})  # fmt: skip
    return body


def requests(seed: int) -> Iterator[tuple[str, Any]]:
    chance = random.Random(seed)
    schemas = DOCUMENT["components"]["schemas"].values()
    keys = sorted({key for schema in schemas for key in schema.get("properties", {})})
    names = [name for name in operations() if not name.startswith("stream")]
    for _ in range(COUNT):
        name = chance.choice(names)
        method, path, _ = operations()[name]
        target = path.format(**{key: chance.choice(words) for key, words in PATHS.items()})
        if chance.random() < 0.2:
            target += f"?{chance.choice(QUERIES)}={chance.choice(WORDS)}"
        has_body = method in {"post", "put", "patch"}
        yield f"{method.upper()} {target}", make_body(chance, name, keys) if has_body else None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_request_makes_it_fail(tmp_path: Path, seed: int) -> None:
    with controlled(tmp_path) as api:
        failed = [
            f"{target} {body!r}: {answer}"
            for target, body in requests(seed)
            if (answer := ask(api, target, body)).status >= 500
        ]
        assert failed == []


def ask(api: Api, target: str, body: Any) -> Any:
    answer = api.ask(target, body)
    if api.ask("GET /v1/guests/guest").status == 404:
        api.post("/guests", {"name": "guest"})
    return answer
