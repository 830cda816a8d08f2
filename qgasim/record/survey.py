"""What an agent answers to harmless requests, and the same without what is private in it."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import UNSET, Struct, field, structs

from qgasim.client.blocking import parse
from qgasim.compare.connection import Asked
from qgasim.compare.probes import LOOKING, READING
from qgasim.compare.survey import Listed, read_commands
from qgasim.errors import ClientError
from qgasim.record.redaction import Redactor
from qgasim.wire import is_array, is_object

__all__ = [
    "Answer",
    "Ask",
    "Survey",
    "ask_by_wire",
    "harmless_requests",
    "object_in",
    "objects_in",
    "read_answer",
    "redacted",
    "take",
]

Ask = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Sends a command with its arguments; returns the reply as an object. Raises ClientError."""


class Answer(Struct, frozen=True):
    """What a command answered: a value, or an error."""

    command: str
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    #: The value returned.
    value: Any = UNSET
    #: The error's text and class; no class: whatever passed the error on has left it out.
    desc: str | None = None
    error_class: str | None = None

    def is_like(self, other: "Answer") -> bool:
        """Return whether two answers say the same; the order of members does not count."""
        if self.desc is None and other.desc is None:
            return json.dumps(self.value, sort_keys=True) == json.dumps(other.value, sort_keys=True)
        classes = {self.error_class, other.error_class} - {None}
        return self.desc == other.desc and len(classes) < 2


def object_in(value: Any) -> dict[str, Any]:
    """Return an object that may be absent; TypeError if it is another value."""
    if is_object(value):
        return value
    if value is not None:
        raise TypeError(f"expected an object, found {json.dumps(value):.40}")
    return {}


def objects_in(value: Any) -> list[dict[str, Any]]:
    """Return a list of objects that may be absent; TypeError if it is another value."""
    if is_array(value):
        return [object_in(each) for each in value]
    if value is not None:
        raise TypeError(f"expected a list, found {json.dumps(value):.40}")
    return []


class Survey(Struct):
    """What an agent answered, in the order in which it was asked."""

    answers: list[Answer] = field(default_factory=list[Answer])
    #: Why it was asked no more; None: it has answered everything.
    failure: str | None = None
    #: What was pasted and cannot be read, each with its place and why.
    skipped: list[str] = field(default_factory=list[str])

    def value(self, command: str) -> Any:
        """Return what a command returned; None if it was not asked, or failed."""
        found = next((a.value for a in self.answers if a.command == command), UNSET)
        return None if found is UNSET else found

    def object(self, command: str) -> dict[str, Any]:
        """Return the object that a command returned; an empty one if it returned none."""
        value = self.value(command)
        return value if is_object(value) else {}

    def objects(self, command: str) -> list[dict[str, Any]] | None:
        """Return the list of objects that a command returned; None if it returned none."""
        value = self.value(command)
        return list(filter(is_object, value)) if is_array(value) else None

    @property
    def version(self) -> str | None:
        """The agent's version as guest-info tells it."""
        version = self.object("guest-info").get("version")
        return version if isinstance(version, str) else None

    @property
    def commands(self) -> dict[str, Listed] | None:
        """The agent's commands as guest-info lists them."""
        return read_commands(self.object("guest-info"))


#: What is asked first: what there is to ask, and whether it can be asked now.
_FIRST: Final = ("guest-info", "guest-fsfreeze-status")


def harmless_requests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what a survey asks: commands that only read, with arguments that lead to nothing."""
    for command in (*_FIRST, *(name for name in LOOKING if name not in _FIRST)):
        yield command, {}
    for command, arguments in READING.items():
        if not command.startswith("guest-sync"):
            yield command, arguments


def take(ask: Ask, on_answer: Callable[[Answer], None] = lambda _: None) -> Survey:
    """Ask an agent all that is harmless and that it says it has.

    An agent that does not answer any more is asked nothing else; what it answered before is kept.

    Args:
        ask: sends a request.
        on_answer: called with each answer.

    Raises:
        ClientError: it does not answer at all, or is frozen.
    """
    survey = Survey()
    commands: dict[str, Listed] | None = None
    for command, arguments in harmless_requests():
        if commands is not None and command not in commands:
            continue
        try:
            answer = read_answer(command, arguments, ask(command, arguments))
        except ClientError as error:
            if not survey.answers:
                raise
            survey.failure = f"{error} (asked for {command})"
            break
        survey.answers.append(answer)
        on_answer(answer)
        if command == "guest-info":
            commands = survey.commands
        elif command == "guest-fsfreeze-status" and answer.value == "frozen":
            raise ClientError("the guest is frozen, and so refuses most commands: thaw it first")
    return survey


def read_answer(command: str, arguments: dict[str, Any], reply: dict[str, Any]) -> Answer:
    """Return the answer that a reply is.

    Raises:
        ClientError: it is no reply.
    """
    reply = _without_surrogates(reply)
    if "return" in reply:
        return Answer(command, arguments, reply["return"])
    error = reply.get("error")
    if is_object(error) and isinstance(error.get("desc"), str):
        kind = error.get("class")
        return Answer(
            command,
            arguments,
            desc=error["desc"],
            error_class=kind if isinstance(kind, str) else None,
        )
    raise ClientError(f"not a reply to {command}: {json.dumps(reply)[:80]}")


def _without_surrogates(value: Any) -> Any:
    """Return a value with half characters as QEMU writes what is none: no YAML can say them."""
    if is_object(value):
        return {_without_surrogates(key): _without_surrogates(each) for key, each in value.items()}
    if is_array(value):
        return [_without_surrogates(each) for each in value]
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def ask_by_wire(agent: Asked) -> Ask:
    """Return the function that asks *agent* as the wire has it."""

    def ask(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        line = agent.ask((json.dumps(request).encode(),)).partition(b"\n")[0]
        reply = parse(line)
        if not reply:
            raise ClientError(f"not a reply to {command}: {line[:80]!r}")
        return reply

    return ask


def redacted(survey: Survey, redactor: Redactor) -> Survey:
    """Return a survey with private values replaced."""
    for answer in survey.answers:
        if answer.value is not UNSET:
            redactor.learn(answer.command, answer.value)
    # Twice: what the first pass finds private, the second finds in all other values, too.
    for answer in survey.answers:
        _redact(answer, redactor)
    return Survey([_redact(answer, redactor) for answer in survey.answers], survey.failure)


def _redact(answer: Answer, redactor: Redactor) -> Answer:
    value, desc = answer.value, answer.desc
    return structs.replace(
        answer,
        value=value if value is UNSET else redactor.redact(answer.command, value),
        desc=None if desc is None else redactor.redact_text(desc),
    )
