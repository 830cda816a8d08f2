"""Replies as people paste them into a bug report: partial, one or many, among other text.

A file is one JSON object of replies by command, a list of requests with their replies, or any text in which
replies stand: what was typed before a reply says which command it is of, else its form does. What cannot be read is
passed over, with its line and why.
"""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from msgspec import Struct, field

from qgasim.commands import ALL_COMMANDS
from qgasim.compare.probes import LOOKING
from qgasim.compare.shapes import find_misfits
from qgasim.dialect import RELEASES
from qgasim.errors import ClientError
from qgasim.qapi.registry import Family
from qgasim.record.survey import Answer, Survey, read_answer
from qgasim.wire import is_array, is_object

__all__ = ["LIMIT", "read_pasted"]

#: How many characters are taken: more than a report holds.
LIMIT: Final = 16 << 20
#: What names a command: a request, ``virsh``, ``qm agent 100 get-fsinfo``, or the name alone.
_NAMED: Final = re.compile(
    r"(guest-[a-z][a-z-]*[a-z])"
    r"|\bqm\s+(?:agent|guest\s+cmd)\s+\S+\s+([a-z][a-z-]*[a-z])"
    r"|/agent/([a-z][a-z-]*[a-z])"
)
#: Where a value may begin: an object, or a list of objects; and what may stand before it in its line.
_START: Final = re.compile(r'\{\s*"|\[\s*\{')
_BEFORE: Final = re.compile(r"[ \t>|`\u2502]*")
#: What lines are quoted by, as in a mail.
_QUOTED: Final = re.compile(r"^[ \t]*> ?", re.MULTILINE)
#: What jq and terminals colour by.
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*+m")
#: What an editor or a web page makes of quotation marks and spaces, and what they were: as many characters.
_TYPESET: Final = str.maketrans("\u201c\u201d\u201e\u201f\u00a0", '""""\x20')
#: Where to go on after a value that cannot be read: where a command is named, or a reply or a request begins.
_NEXT: Final = re.compile(_NAMED.pattern + r'|\{\s*"(?:return|error|execute)"')
#: More of what cannot be read than this: it is no report.
_SKIPPED_LIMIT: Final = 20
#: How often what looks like JSON, within a line, may be none.
_FAILURES_LIMIT: Final = 1000
_NEWLINE: Final = re.compile("\n")
#: The members of which an entry of a list, beside the request, has one.
_HAS_REPLY: Final = frozenset({"return", "error", "reply"})
_FAMILIES: Final[tuple[Family, ...]] = ("linux", "windows", "freebsd")


class _Value(Struct, frozen=True):
    """A value of JSON in a text, where it begins, and the request that stands before it."""

    line: int
    value: Any
    command: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])


def read_pasted(text: str, name: str) -> Survey:
    """Read the replies in a text.

    Args:
        text: the text.
        name: what messages call it: a path.

    Raises:
        ClientError: there is no reply in it that can be read: ``name:line: why``.
    """
    if len(text) > LIMIT:
        raise ClientError(f"{name}: expected at most {LIMIT >> 20} MiB")
    skipped: list[str] = []
    answers: dict[tuple[str, str], Answer] = {}
    values = _find_values(_QUOTED.sub("", _COLOURS.sub("", text)), name, skipped)
    for found in chain.from_iterable(map(_take_apart, values)):
        try:
            for answer in _answers(found, name):
                # Of what is there twice, the last counts.
                answers.pop(_key(answer), None)
                answers[_key(answer)] = answer
        except ClientError as error:
            skipped.append(str(error))
        if len(skipped) > _SKIPPED_LIMIT:
            break
    if not answers or len(skipped) > _SKIPPED_LIMIT:
        nothing = (
            f"{name}:1: no reply of an agent is in it (expected JSON as in "
            '{"guest-get-osinfo": {"return": {...}}}, or what a client printed)'
        )
        raise ClientError(skipped[0] if skipped else nothing)
    return Survey(list(answers.values()), skipped=skipped)


def _key(answer: Answer) -> tuple[str, str]:
    return answer.command, json.dumps(answer.arguments, sort_keys=True)


def _find_values(text: str, name: str, skipped: list[str]) -> Iterator[_Value]:
    """Yield the objects and lists in a text, each with the request before it; add to *skipped* what is none."""
    straight = text.translate(_TYPESET)
    at = counted = failures = 0
    line = 1
    request: dict[str, Any] = {}
    while (start := _START.search(straight, at)) is not None:
        line += text.count("\n", counted, start.start())
        counted = start.start()
        try:
            value, end = _decode(text, straight, start.start())
        except (json.JSONDecodeError, RecursionError) as error:
            failures += 1
            if failures > _FAILURES_LIMIT:
                # Each takes as long as the text before it.
                skipped.append(f"{name}:{line}: too much that is not JSON, the rest is not read")
                return
            following = _NEWLINE.search(text, start.start())
            if isinstance(error, RecursionError):
                skipped.append(f"{name}:{line}: too many levels")
                request = {}
                following = _NEXT.search(straight, start.end())
            elif _begins_line(text, start.start()):
                skipped.append(f"{name}:{error.lineno}: not JSON, or cut short: {error.msg}")
                request = {}
                following = _NEXT.search(straight, max(error.pos, start.end()))
            # Else a pattern of jq or the like.
            if following is None:
                return
            at = following.start()
            continue
        named = _last_named(text[at : start.start()])
        at = end
        if is_object(value) and "execute" in value and not _HAS_REPLY & value.keys():
            request = value
        elif request:
            yield _Value(line, value, str(request["execute"]), request.get("arguments") or {})
            request = {}
        else:
            yield _Value(line, value, named)


def _decode(text: str, straight: str, at: int) -> tuple[Any, int]:
    """Return the value of JSON that begins at *at*, and where it ends: with typeset quotes only where it must be."""
    decoder = json.JSONDecoder()
    try:
        return decoder.raw_decode(text, at)
    except json.JSONDecodeError:
        return decoder.raw_decode(straight, at)


def _begins_line(text: str, at: int) -> bool:
    return _BEFORE.fullmatch(text, text.rfind("\n", 0, at) + 1, at) is not None


def _last_named(text: str) -> str | None:
    """Return the last command that a text names."""
    named = list(_NAMED.finditer(text))
    if not named:
        return None
    full, of_qm, of_api = named[-1].groups()
    return full or f"guest-{of_qm or of_api}"


def _take_apart(found: _Value) -> Iterator[_Value]:
    """Yield the replies in a list of them, else the value as it is."""
    value = _unwrap(found.value)
    if is_array(value) and value and all(map(_is_reply, value)):
        for each in value:
            yield _Value(found.line, each, found.command, found.arguments)
    else:
        yield found


def _answers(found: _Value, name: str) -> Iterator[Answer]:
    """Yield the answers that a value is, or has in it."""
    value = _unwrap(found.value)
    if is_object(value) and value and all(str(key).startswith("guest-") for key in value):
        for key, reply in value.items():
            yield _answer(key, {}, reply, found, name)
    elif is_array(value) and value and all(is_object(v) and _command_of(v) for v in value):
        for each in value:
            yield _answer(
                str(_command_of(each)), each.get("arguments") or {}, _reply_of(each), found, name
            )
    elif is_object(value) and _command_of(value):
        yield from _answers(_Value(found.line, [value]), name)
    else:
        command = found.command or _guess(value)
        if command is None:
            text = "no command is named for this reply, and its form does not identify one"
            raise ClientError(f"{name}:{found.line}: {text} (name the command in the line above)")
        yield _answer(command, found.arguments, value, found, name)


def _unwrap(value: Any) -> Any:
    """Return what is in the objects that Proxmox VE puts around a reply: ``{"data": {"result": ...}}``."""
    for key in ("data", "result"):
        if is_object(value) and list(value) == [key]:
            value = value[key]
    return value


def _is_reply(value: Any) -> bool:
    return is_object(value) and bool({"return", "error"} & value.keys())


def _command_of(value: dict[str, Any]) -> str | None:
    """Return the command that an entry with its request names."""
    command = value.get("execute", value.get("command"))
    return command if isinstance(command, str) and _HAS_REPLY & value.keys() else None


def _reply_of(value: dict[str, Any]) -> Any:
    return (
        value["reply"]
        if "reply" in value
        else {k: value[k] for k in ("return", "error") if k in value}
    )


def _answer(
    command: str, arguments: dict[str, Any], reply: Any, found: _Value, name: str
) -> Answer:
    if not _is_reply(reply):
        reply = {"return": reply}
    try:
        return read_answer(command, arguments, reply)
    except ClientError as error:
        raise ClientError(f"{name}:{found.line}: {error}") from None


def _guess(value: Any) -> str | None:
    """Return the command that returns such a value; None if none does, or several."""
    if is_object(value) and "return" in value:
        value = value["return"]
    if not (is_object(value) or is_array(value)) or not value:
        return None
    fitting = {
        command.name
        for command in ALL_COMMANDS
        if command.name in LOOKING
        and any(
            not list(find_misfits(value, command.returns, dialect, in_order=False))
            for dialect in RELEASES.values()
            if any(command.is_in(dialect, family) for family in _FAMILIES)
        )
    }
    return fitting.pop() if len(fitting) == 1 else None
