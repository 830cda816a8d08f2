"""What must hold of stubs besides types."""

import math
import re
from typing import Any, cast

import msgspec

from qgasim.agent.stubs import Reply, Stub
from qgasim.matching import Match, compile_match
from qgasim.scenario.checks import Wrong, checks, join

__all__: list[str] = []


@checks(Reply)
def _check_reply(reply: Reply) -> Wrong:
    given = [n for n in ("error", "raw") if getattr(reply, n) is not None]
    if reply.reply is not msgspec.UNSET:
        given.insert(0, "reply")
    if isinstance(reply, Stub) and reply.in_turn:
        given.append("in_turn")
    if not given:
        what = "reply, error, raw or in_turn" if isinstance(reply, Stub) else "reply, error or raw"
        yield "", f"no answer is given (expected {what})"
    elif len(given) > 1:
        yield given[1], f"'{given[0]}' and '{given[1]}' are mutually exclusive"
    yield from _no_json(reply.reply, "reply")
    if reply.raw is not None and any(ord(character) > 0xFF for character in reply.raw):
        yield "raw", "a character above U+00FF is not a byte"
    if reply.times is not None and reply.times < 1:
        yield "times", f"expected 1 or more, found {reply.times}"


def _no_json(value: Any, path: str) -> Wrong:
    """Look for what JSON cannot say."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path, f"JSON has no {value} (write the bytes with raw)"
    elif isinstance(value, dict):
        for key, item in cast("dict[str, object]", value).items():
            yield from _no_json(item, join(path, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            yield from _no_json(item, f"{path}[{index}]")


@checks(Stub)
def _check_stub(stub: Stub) -> Wrong:
    try:
        compile_match(stub.on)
    except ValueError as error:
        yield "on", str(error)
    name = stub.on.command if isinstance(stub.on, Match) else stub.on
    if stub.adds and not re.fullmatch("[A-Za-z0-9_.-]+", name):
        yield "on", f"not the name of a command that could be added: '{name}'"
    if stub.in_turn and stub.times is not None:
        yield "times", "has no effect beside 'in_turn' (its entries have their own)"
    for index, reply in enumerate(stub.in_turn[:-1]):
        if reply.times is None:
            continue
        if reply.times > 1_000_000:
            yield f"in_turn[{index}].times", f"expected at most 1000000, found {reply.times}"
