"""A scenario asked what the real agent was asked: what it answers otherwise is answered by stubs."""

import json
from collections.abc import Iterator
from typing import Any, Final

from msgspec import UNSET, Struct, structs

from qgasim.agent.stubs import ErrorReply, Stub
from qgasim.compare.connection import SimulatedAgent
from qgasim.faults import Edit
from qgasim.matching import Match
from qgasim.record.survey import Answer, Survey, ask_by_wire, read_answer
from qgasim.scenario import Scenario
from qgasim.wire import is_array, is_object

__all__ = ["Reconciled", "answers_of", "reconcile"]

#: How many characters of a value are shown.
_SHOWN: Final = 60
_LEFT_OUT: Final = "The agent that was recorded leaves these members out."


class Reconciled(Struct):
    """A scenario that answers as recorded in a survey, and why it has stubs and edits for that."""

    scenario: Scenario
    #: Why, by the path of the stub or fault: ``replies[0]``.
    reasons: dict[str, str]


def answers_of(scenario: Scenario, survey: Survey) -> Iterator[tuple[Answer, Answer]]:
    """Yield each answer of a survey with the one that a scenario gives when its clock begins.

    Raises:
        ClientError: the simulated agent does not answer.
        ScenarioError: the scenario cannot be built.
    """
    ask = ask_by_wire(SimulatedAgent(scenario.build(lambda: 0)))
    for answer in survey.answers:
        reply = ask(answer.command, answer.arguments)
        yield answer, read_answer(answer.command, answer.arguments, reply)


def reconcile(scenario: Scenario, survey: Survey) -> Reconciled:
    """Make a scenario answer as recorded in a survey: by an edit where there are too many members, else by a stub.

    Raises:
        ClientError: the simulated agent does not answer.
        ScenarioError: the scenario cannot be built.
    """
    reasons: dict[str, str] = {}
    done: list[Answer] = []
    # Twice: a command that a stub adds is in the list of commands then.
    for _ in range(2):
        commands = scenario.build().agent.commands
        replies, faults = list(scenario.replies), list(scenario.faults)
        for real, simulated in answers_of(scenario, survey):
            if real.is_like(simulated) or real in done:
                continue
            done.append(real)
            if surplus := _find_surplus(simulated, real):
                reasons[f"faults[{len(faults)}]"] = _LEFT_OUT
                faults.append(Edit(on=real.command, remove=tuple(surplus)))
            else:
                reasons[f"replies[{len(replies)}]"] = _explain(real, simulated)
                is_there = real.command in commands.table.keys() - commands.refused.keys()
                replies.append(_stub(real, adds=not is_there))
        scenario = structs.replace(scenario, replies=replies, faults=faults)
    return Reconciled(scenario, reasons)


def _stub(answer: Answer, *, adds: bool) -> Stub:
    on = (
        Match(command=answer.command, arguments=answer.arguments)
        if answer.arguments
        else answer.command
    )
    if answer.desc is None:
        return Stub(on=on, reply=answer.value, adds=adds)
    error = ErrorReply(error_class=answer.error_class or "GenericError", desc=answer.desc)
    return Stub(on=on, error=error, adds=adds)


def _find_surplus(simulated: Answer, real: Answer) -> list[str]:
    """Return the places of members that only the model has; none if the answers differ in more."""
    if real.desc is not None or simulated.desc is not None:
        return []
    found = _surplus(simulated.value, real.value, "")
    return [] if found is None else list(dict.fromkeys(found))


def _surplus(whole: Any, part: Any, path: str) -> list[str] | None:
    """Return the places as JSON Pointers, ``*`` for each item; None: they differ otherwise."""
    if is_object(whole) and is_object(part):
        if part.keys() - whole.keys():
            return None
        found = [f"{path}/{name}" for name in whole.keys() - part.keys()]
        inner = [_surplus(whole[name], part[name], f"{path}/{name}") for name in part]
    elif is_array(whole) and is_array(part):
        if len(whole) != len(part):
            return None
        found = []
        inner = [_surplus(a, b, f"{path}/*") for a, b in zip(whole, part, strict=True)]
        # What only some items have cannot be set for all.
        if any(each != inner[0] for each in inner):
            return None
    else:
        return [] if json.dumps(whole) == json.dumps(part) else None
    if any(each is None for each in inner):
        return None
    return found + [place for each in inner for place in each or []]


def _explain(real: Answer, simulated: Answer) -> str:
    """Return why a stub is needed."""
    if real.desc is not None or simulated.desc is not None:
        ours = "succeeds" if simulated.desc is None else f"fails ({_show(simulated.desc)})"
        return f"The model {ours} here."
    path, theirs, ours = _first_difference(real.value, simulated.value, "")
    where = f"at {path} " if path else ""
    return f"The model has {where}{_show(ours)}, the recording {_show(theirs)}."


def _first_difference(real: Any, simulated: Any, path: str) -> tuple[str, Any, Any]:
    if is_object(real) and is_object(simulated):
        for name in (*real, *simulated):
            a, b = real.get(name, UNSET), simulated.get(name, UNSET)
            if _differ(a, b):
                return _first_difference(a, b, f"{path}/{name}")
    if is_array(real) and is_array(simulated):
        if len(real) != len(simulated):
            return path, f"{len(real)} items", f"{len(simulated)} items"
        for index, (a, b) in enumerate(zip(real, simulated, strict=True)):
            if _differ(a, b):
                return _first_difference(a, b, f"{path}/{index}")
    return path, real, simulated


def _differ(a: Any, b: Any) -> bool:
    if a is UNSET or b is UNSET:
        return a is not b
    return json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True)


def _show(value: Any) -> str:
    if value is UNSET:
        return "nothing"
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
