"""The recording as a scenario's text, and the proof that it answers as the agent did."""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import UNSET, Struct, field

from qgasim.agent import Agent
from qgasim.compare.shapes import find_misfits
from qgasim.errors import RedactionError
from qgasim.record.drafting import draft
from qgasim.record.proof import answers_of, reconcile
from qgasim.record.redaction import Redactor, strings_of
from qgasim.record.survey import Answer, Survey, redacted
from qgasim.scenario import Scenario, load, loads
from qgasim.scenario.dump import laid_over, to_yaml_over

__all__ = ["Recorded", "record"]


class Recorded(Struct):
    """A scenario made of a survey."""

    #: The scenario, as YAML.
    text: str
    #: How many replies there are, how many of them are the model's, and how many are stubs.
    replies: int
    stubs: int
    #: The commands that are still answered otherwise.
    unlike: list[str]
    #: What had to be assumed, and what could not be said.
    notes: list[str] = field(default_factory=list[str])


def record(
    survey: Survey,
    redactor: Redactor,
    *,
    release: str | None = None,
    source: str = "a real agent",
) -> Recorded:
    """Make a scenario of what an agent answered; nothing private is in it.

    Args:
        survey: what it answered.
        redactor: replaces what is private.
        release: that of the agent; absent: the one that it says it is.
        source: what was recorded, for the scenario's description.

    Raises:
        RedactionError: a private value would be in the text.
        ScenarioError: the base cannot be built as an agent of that release.
    """
    told = redacted(survey, redactor)
    made = draft(told, release=release)
    reconciled = reconcile(made.scenario, told)
    scenario = reconciled.scenario
    scenario.description = f"Recorded: {source}{_describe(told)}."
    scenario.origin = _origin(redactor)
    below = load(made.base)
    _refuse_leaks(laid_over(scenario, below), redactor)
    text = to_yaml_over(scenario, below, made.base, reconciled.reasons)
    # The text itself is asked, not what it was made of.
    pairs = list(answers_of(loads(text, "the recording"), told))
    return Recorded(
        text,
        replies=len(pairs),
        stubs=len([path for path in reconciled.reasons if path.startswith("replies")]),
        unlike=[real.command for real, simulated in pairs if not real.is_like(simulated)],
        notes=[*made.notes, *_tell_misfits(made.scenario, told)],
    )


def _tell_misfits(scenario: Scenario, survey: Survey) -> Iterator[str]:
    """Return which replies have not the form of their release: the agent may be another than it says."""
    agent = scenario.build().agent
    misfits = {
        answer.command: found[0]
        for answer in survey.answers
        if answer.command in agent.commands.table and answer.value is not UNSET
        if (found := list(_misfits(answer, agent)))
    }
    if misfits:
        first = next(iter(misfits.values()))
        names = ", ".join(misfits)
        yield f"not of the form that {scenario.agent.release} has: {names} ({first})"


def _misfits(answer: Answer, agent: Agent) -> Iterator[str]:
    returns = agent.commands.table[answer.command].command.returns
    return find_misfits(answer.value, returns, agent.dialect, in_order=False)


def _describe(survey: Survey) -> str:
    told = survey.object("guest-get-osinfo")
    system = told.get("pretty-name") or told.get("name")
    parts = [f"qemu-ga {survey.version}" if survey.version else None, system]
    said = ", ".join(str(part) for part in parts if part)
    return f", {said}" if said else ""


def _origin(redactor: Redactor) -> str:
    if not redactor.replacements:
        return "qgasim record; nothing in it was private."
    kinds: Sequence[str] = sorted({each.kind for each in redactor.replacements.values()})
    return f"qgasim record; replaced, each value by one of the same form: {', '.join(kinds)}."


def _refuse_leaks(plain: dict[str, Any], redactor: Redactor) -> None:
    """Raise RedactionError if a value that was replaced is in what is to be written."""
    leaks = redactor.leaks("\n".join(strings_of(plain)))
    if leaks:
        kind = redactor.replacements[leaks[0]].kind
        raise RedactionError(
            f"nothing is written: {leaks[0]!r} ({kind}) would still be in it (--keep {kind} leaves it in)"
        )
