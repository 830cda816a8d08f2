"""``@pytest.mark.qgasim_drill``: a test run once for each guest of a drill."""

import fnmatch
import re
from collections.abc import Mapping
from typing import Any, Final

import pytest

from qgasim.drill.plan import Run, Selection, plan
from qgasim.errors import ScenarioError
from qgasim.scenario import Blueprint, read_value

__all__ = ["read_drill"]

_MARKER: Final = "@pytest.mark.qgasim_drill"


class _Drill(Selection, frozen=True, kw_only=True):
    """The keywords of the marker."""

    #: Names of runs, with wildcards, in which the test is right to fail.
    expect: tuple[str, ...] = ()


def read_drill(settings: Mapping[str, Any], *, is_strict: bool) -> list[Any]:
    """Return what the test is to be multiplied by, as `pytest.param` has it.

    Args:
        settings: the keywords of the marker.
        is_strict: whether what a client should not do fails the test.

    Raises:
        ScenarioError: they are wrong.
    """
    drill: _Drill = read_value(settings, _Drill, _MARKER)
    try:
        runs = plan(drill)
    except ScenarioError as error:
        raise ScenarioError(f"{_MARKER}: {error}") from None
    wanted = {"findings": "error"} if is_strict else {}
    return [
        pytest.param(run.wanted | wanted, id=_name(run), marks=_marks_of(run, drill))
        for run in runs
    ]


def _name(run: Run) -> str:
    """Return the name of a run without what separates tests for a shell, or for pytest."""
    return re.sub(r"[\[\]:]", "-", run.name)


def _marks_of(run: Run, drill: _Drill) -> list[pytest.MarkDecorator]:
    marks: list[pytest.MarkDecorator] = []
    names = (run.name, run.name.partition("@")[0])
    if any(fnmatch.fnmatch(name, each) for name in names for each in drill.expect):
        marks.append(pytest.mark.xfail(strict=True, reason="the marker expects it"))
    if run.agent is not None:
        try:
            Blueprint(run.make())
        except ScenarioError as error:
            marks.append(pytest.mark.skip(reason=str(error).splitlines()[0]))
    return marks
