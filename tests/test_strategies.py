"""Hypothesis' strategies: what they make is valid, and finds what parsers overlook."""

import importlib
import json
import sys
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from qgasim.dialect import Family
from qgasim.faults import AnyFault, find_edit
from qgasim.scenario import Scenario, load
from qgasim.scenario.checks import check
from qgasim.simulation.timeline import AnyEvent
from qgasim.strategies import cuts, errors, faults, guests, replies, timelines
from tests.serving import Course
from tests.test_schema import SPECS, Spec, check_value
from tests.test_variations import load_parsers

#: No shrinking: all must hold.
FEW = settings(
    max_examples=15,
    database=None,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
WINDOWS = Spec("11.1", "windows")


@given(st.data())
@FEW
def test_a_reply_is_valid_by_the_schema_but_for_members_and_values_to_come(
    data: st.DataObject,
) -> None:
    spec = data.draw(st.sampled_from([*SPECS, WINDOWS]))
    name = data.draw(st.sampled_from(list(spec.commands)))
    # Two changes could be a member to come, and more in it.
    value = data.draw(replies(name, spec.release, spec.family, changes=1))
    text = json.dumps(value)
    if "x-invented" not in text and "nvme" not in text and "total-bytes-privileged" not in text:
        check_value(spec, value, spec.commands[name]["returns"], name, in_order=False)


@pytest.mark.parametrize(
    ("command", "parse"),
    [("guest-network-get-interfaces", "addresses"), ("guest-get-fsinfo", "usage"), ("guest-get-osinfo", "system")],
)  # fmt: skip
def test_what_a_naive_parser_is_caught_by_shrinks_to_one_change(command: str, parse: str) -> None:
    parser = getattr(load_parsers(), parse)
    shown: list[Any] = []

    @given(replies(command))
    @settings(FEW, max_examples=60, phases=tuple(Phase), report_multiple_bugs=False)
    def parses(value: Any) -> None:
        shown.append(value)
        parser(value)

    with pytest.raises((LookupError, ValueError, ZeroDivisionError, AssertionError)):
        parses()
    # What it shrinks to is parsed last.
    edit = find_edit(Course("debian-12", release="11.1").say(command)["return"], shown[-1])
    assert edit is not None
    assert len(edit.set) + len(edit.remove) == 1


@given(replies("guest-exec-status", changes=0), replies("guest-ping", "2.5"), errors("7.2"))
@FEW
def test_what_cannot_be_asked_is_made_of_its_type(status: Any, pong: Any, error: Any) -> None:
    check_value(SPECS[-1], status, "GuestExecStatus", "guest-exec-status", in_order=False)
    assert set(pong) <= {"x-invented"}
    assert set(error) == {"class", "desc"}


def build(scenario: Scenario) -> None:
    assert list(check(scenario)) == []
    scenario.build(lambda: 0)


@given(st.data())
@FEW
def test_guests_can_be_built(data: st.DataObject) -> None:
    build(data.draw(guests(family=data.draw(st.sampled_from(get_args(Family))))))


@given(faults(), timelines())
@FEW
def test_faults_and_timelines_can_be_of_a_scenario(
    fault: AnyFault, timeline: list[AnyEvent]
) -> None:
    scenario = load("debian-12")
    scenario.faults, scenario.timeline = [fault], timeline
    build(scenario)


@given(st.binary(max_size=40), st.data())
@FEW
def test_pieces_are_the_whole(whole: bytes, data: st.DataObject) -> None:
    pieces = data.draw(cuts(whole))
    assert b"".join(pieces) == whole
    assert all(pieces)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: replies("guest-pong"), "there is no command 'guest-pong'"),
        (lambda: replies("guest-get-load", "7.2"), "there is no command 'guest-get-load'"),
        (lambda: replies("guest-ping", "1.0"), "no such release: '1.0'"),
        (lambda: errors("one"), "no such release: 'one'"),
    ],
)
def test_what_is_not_there_is_said(make: Any, said: str) -> None:
    with pytest.raises(LookupError, match=said):
        make()


def test_without_hypothesis_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "qgasim.strategies")
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match=r"pip install 'qgasim\[hypothesis\]'"):
        importlib.import_module("qgasim.strategies")
