"""Faults drawn by chance: the same for the same seed, and printed so that a run can be repeated."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgasim.effects import Wait
from qgasim.errors import ScenarioError
from qgasim.faults import FromUptime
from qgasim.guest.units import FOR_EVER
from qgasim.scenario import Scenario, loads
from qgasim.scenario.dump import to_yaml
from qgasim.scenario.nemesis import DrawnKind, Nemesis, draw
from qgasim.simulation.journal import Journal
from tests.serving import SECOND, HandClock

PING = b'{"execute":"guest-ping"}\n'


def test_the_same_seed_draws_the_same() -> None:
    nemesis = Nemesis(rate=30)
    assert draw(nemesis, 1) == draw(nemesis, 1) == draw(Nemesis(rate=30, seed=1), 2)
    assert draw(nemesis, 1) != draw(nemesis, 2)


def test_as_many_are_drawn_as_the_rate_says_and_when() -> None:
    nemesis = Nemesis(rate=60, start=100 * SECOND, lasts=1000 * SECOND, longest=3 * SECOND)
    drawn = draw(nemesis, 0)
    # 1000 are expected; the standard deviation is 32.
    assert 850 < len(drawn) < 1150
    begins = []
    for fault in drawn:
        assert isinstance(fault.when, FromUptime)
        assert fault.when.until is not None
        assert 0 < fault.when.until - fault.when.uptime <= 3 * SECOND
        begins.append(fault.when.uptime)
    assert begins == sorted(begins)
    assert begins[0] >= 100 * SECOND
    assert begins[-1] < 1100 * SECOND


def test_all_kinds_are_drawn_and_only_those_that_are_wanted() -> None:
    kinds = {fault.__struct_config__.tag for fault in draw(Nemesis(rate=600), 0)}
    assert kinds == set(get_args(DrawnKind))
    kinds = {fault.__struct_config__.tag for fault in draw(Nemesis(rate=600, kinds=["drop"]), 0)}
    assert kinds == {"drop"}


def test_a_nemesis_by_requests_does_not_depend_on_time() -> None:
    drawn = draw(Nemesis(requests=300), 0)
    assert 80 < len(drawn) < 120
    afters = [fault.after for fault in drawn]
    assert afters == sorted(set(afters))
    assert afters[-1] < 300
    assert {fault.times for fault in drawn} == {1, 2, 3}
    assert {fault.when for fault in drawn} == {None}


def test_a_nemesis_by_requests_has_no_times() -> None:
    text = "nemesis: {requests: 0, rate: 7, longest: 3s}\nextends: debian-12"
    with pytest.raises(ScenarioError) as caught:
        loads(text, "a.yaml").build()
    assert str(caught.value).splitlines() == [
        "a.yaml:1:21: nemesis.requests: expected from 1 to 10000, found 0",
        "a.yaml:1:30: nemesis.rate: 'rate' and 'requests' are mutually exclusive",
        "a.yaml:1:42: nemesis.longest: 'longest' and 'requests' are mutually exclusive",
    ]


def run(scenario: Scenario, seconds: int = 60) -> list[bytes]:
    """Look every tenth of a second, and ping if nothing is awaited; give what comes."""
    clock = HandClock()
    channel = scenario.build(clock).channel
    seen: list[bytes] = []
    for _ in range(10 * seconds):
        clock.now += SECOND // 10
        effects = channel.wake() if channel.is_pending else channel.receive(PING)
        for effect in effects:
            if isinstance(effect, Wait):
                channel.defer(min(effect.until, FOR_EVER), effects)
                break
            if isinstance(effect, bytes):
                seen.append(effect)
    return seen


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_the_journal_tells_of_a_nemesis_goes_wrong_in_the_same_way(seed: int) -> None:
    text = f"extends: debian-12\nseed: {seed}\n"
    drawing = loads(f"{text}nemesis: {{rate: 60, lasts: 2m}}")
    clock = HandClock()
    journal = Journal(drawing.build(clock))
    assert journal.transcript(1).startswith("# drawn by the nemesis")
    clock.now = 60 * SECOND
    told = journal.drawn()
    assert journal.transcript().startswith(told)
    # Only what had begun.
    again = loads(text + told)
    assert 0 < len(again.faults) < len(drawing.filled().faults)
    assert run(again) == run(drawing)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_shown_of_a_nemesis_goes_wrong_in_the_same_way(seed: int) -> None:
    scenario = loads(f"{{extends: debian-12, seed: {seed}, nemesis: {{rate: 60, lasts: 1m}}}}")
    shown = to_yaml(scenario.filled())
    assert "nemesis:" not in shown
    seen = run(scenario)
    assert run(loads(shown)) == seen
    assert set(seen) > {b'{"return": {}}\n'}


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_a_nemesis_does_no_lasting_harm(seed: int) -> None:
    scenario = loads(f"{{extends: debian-12, seed: {seed}, nemesis: {{rate: 120, lasts: 30s}}}}")
    assert run(scenario, 200)[-1] == b'{"return": {}}\n'
