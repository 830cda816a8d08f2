"""``@pytest.mark.qgasim_drill``: a test run once for each guest of a drill."""

import fnmatch
import re
import signal
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import pytest

from qgasim.drill.plan import Run, Selection, plan
from qgasim.errors import ScenarioError
from qgasim.guest.units import SECOND, Duration
from qgasim.scenario import Blueprint, read_value

__all__ = ["limit_time", "read_drill"]

_MARKER: Final = "@pytest.mark.qgasim_drill"
_LONGEST: Final = 86400 * SECOND
_EXPECTED: Final = pytest.mark.xfail(
    strict=True, reason="the marker expects it", raises=(Exception, pytest.fail.Exception)
)


class _Drill(Selection, frozen=True, kw_only=True):
    """The keywords of the marker."""

    #: Names of runs, with wildcards, in which the test is right to fail.
    expect: tuple[str, ...] = ()
    #: How long each run may take.
    time: Duration = 60 * SECOND


class Hung(BaseException):
    """A run took longer than it may. No client catches it, and it is wrong where a failure is expected, too."""


@contextmanager
def limit_time(settings: Mapping[str, Any]) -> Generator[None]:
    """Fail what takes longer than the marker allows: a client that hangs would never end.

    Only the main thread can be interrupted, and only where there are alarms. A limit that is set already, as by
    pytest-timeout, is left to itself.
    """
    drill: _Drill = read_value(settings, _Drill, _MARKER)
    seconds = drill.time / SECOND
    if not hasattr(signal, "setitimer") or any(signal.getitimer(signal.ITIMER_REAL)):
        yield
        return

    def fail(number: int, frame: FrameType | None) -> None:
        raise Hung(f"no end within {seconds:g} s ({_MARKER}: time=...)")

    try:
        before = signal.signal(signal.SIGALRM, fail)
    except ValueError:
        # This is not the main thread.
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_drill(settings: Mapping[str, Any], *, is_strict: bool) -> list[Any]:
    """Return what the test is to be multiplied by, as `pytest.param` has it.

    Args:
        settings: the keywords of the marker.
        is_strict: whether what a client should not do fails the test.

    Raises:
        ScenarioError: they are wrong.
    """
    drill: _Drill = read_value(settings, _Drill, _MARKER)
    if not 0 < drill.time <= _LONGEST:
        raise ScenarioError(f"{_MARKER}: time: expected above 0 and at most a day")
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
        marks.append(_EXPECTED)
    if run.agent is not None:
        try:
            Blueprint(run.make())
        except ScenarioError as error:
            marks.append(pytest.mark.skip(reason=str(error).splitlines()[0]))
    return marks
