"""Stubs: which requests they answer, with what, and how often."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgasim.agent.stubs import ErrorReply, Reply, Stub
from qgasim.matching import Match, compile_match, compile_pattern
from qgasim.scenario import Scenario
from tests.serving import Course, HandClock

#: A pattern, values that it matches and values that it does not.
PATTERNS: list[tuple[Any, list[Any], list[Any]]] = [
    (1, [1], [2, "1", True, None]),
    (True, [True], [1, "true", False]),
    (None, [None], [0, ""]),
    ("a", ["a"], ["b", "A", ["a"]]),
    ([1, {"glob": "a*"}], [[1, "a"], [1, "ab"]], [[1], [1, "b"], [1, "a", 2], "1a"]),
    ([], [[]], [[1], None]),
    ({"a": 1}, [{"a": 1}, {"a": 1, "b": 2}], [{}, {"a": 2}, [1]]),
    ({"a": {"b": {"glob": "x?"}}}, [{"a": {"b": "xy"}}], [{"a": {"b": "x"}}, {"a": "xy"}]),
    ({"equal": {"glob": "a"}}, [{"glob": "a"}], ["a"]),
    ({"glob": "/bin/*"}, ["/bin/ls", "/bin/a/b"], ["bin/ls", 1, None]),
    ({"regex": "[0-9]+"}, ["12"], ["12a", "", 12]),
    ({"regex": "a.b"}, ["a\nb"], ["ab"]),
    ({"a": {"any": True}}, [{"a": None}, {"a": 1}], [{}]),
    ({"a": {"absent": True}}, [{}, {"b": 1}], [{"a": None}]),
]

#: A pattern that cannot be one, and the error.
NO_PATTERNS: list[tuple[Any, str]] = [
    ({"regex": "("}, "not a regular expression: '('"),
    ({"regex": 1}, "regex takes a text, not 1"),
    ({"glob": []}, "glob takes a text, not []"),
    ({"any": False}, "any takes true, not False"),
    ({"absent": "yes"}, "absent takes true, not 'yes'"),
]


@pytest.mark.parametrize(("pattern", "yes", "no"), PATTERNS)
def test_a_pattern_matches(pattern: Any, yes: list[Any], no: list[Any]) -> None:
    test = compile_pattern(pattern)
    assert [value for value in yes if not test(value)] == []
    assert [value for value in no if test(value)] == []


@pytest.mark.parametrize(("pattern", "text"), NO_PATTERNS)
def test_a_pattern_that_cannot_be_one_is_refused(pattern: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        compile_pattern({"deep": [pattern]})


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text("ab", max_size=2)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.slow
@given(value=JSON)
def test_every_value_is_a_pattern_that_matches_itself(value: Any) -> None:
    assert compile_pattern(value)(value)
    assert compile_pattern({"equal": value})(value)


def test_a_command_may_be_named_by_wildcards() -> None:
    matches, _ = compile_match("guest-file-*")
    assert matches("guest-file-open")
    assert not matches("guest-ping")
    matches, _ = compile_match(Match())
    assert matches("guest-ping")


# -- in an agent -----------------------------------------------------------------------------------


def course(*stubs: Stub) -> Course:
    course = Course()
    course.take(Scenario(replies=list(stubs)).build(HandClock()))
    return course


def test_a_stub_answers_in_place_of_the_guest() -> None:
    agent = course(Stub(on="guest-get-host-name", reply={"b": 1, "a": [None]}))
    # An object comes back in the order of QEMU's hash (qobject/qdict.c).
    assert agent.send(b'{"execute":"guest-get-host-name","id":7}') == (
        b'{"return": {"a": [null], "b": 1}, "id": 7}\n'
    )
    assert agent.say("guest-ping") == {"return": {}}


def test_a_stub_may_answer_with_an_error() -> None:
    error = ErrorReply(desc="no\u00e9", error_class="CommandDisabled")
    agent = course(Stub(on="guest-ping", error=error))
    assert agent.send(b'{"execute":"guest-ping","id":[]}') == (
        b'{"id": [], "error": {"class": "CommandDisabled", "desc": "no\\u00E9"}}\n'
    )


def test_a_stub_may_answer_with_bytes() -> None:
    agent = course(Stub(on="guest-ping", raw="\xff\x00half"), Stub(on="guest-info", raw=""))
    assert agent.send(b'{"execute":"guest-ping","id":1}') == b"\xff\x00half"
    assert agent.send(b'{"execute":"guest-info"}') == b""


def test_the_delimiter_stays_before_a_stubbed_sync() -> None:
    agent = course(Stub(on="guest-sync-delimited", reply=1))
    reply = agent.send(b'{"execute":"guest-sync-delimited","arguments":{"id":2}}')
    assert reply == b'\xff{"return": 1}\n'


def test_the_first_stub_that_matches_answers() -> None:
    agent = course(
        Stub(on=Match(command="guest-sync", arguments={"id": 1}), reply="one"),
        Stub(on=Match(command="guest-*", arguments={"id": {"any": True}}), reply="any"),
    )
    answers = [agent.say("guest-sync", id=number)["return"] for number in (1, 2)]
    assert answers == ["one", "any"]
    assert agent.say("guest-ping") == {"return": {}}


def test_answers_are_used_in_turn_and_the_last_one_sticks() -> None:
    turns = (Reply(reply=1), Reply(error=ErrorReply(desc="two"), times=2), Reply(reply=3))
    agent = course(Stub(on="guest-ping", in_turn=turns))
    answers = [agent.say("guest-ping") for _ in range(6)]
    two = {"error": {"class": "GenericError", "desc": "two"}}
    three = {"return": 3}
    assert answers == [{"return": 1}, two, two, three, three, three]


def test_when_nothing_is_left_the_guest_answers_again() -> None:
    turns = (Reply(reply=1), Reply(reply=2, times=1))
    agent = course(Stub(on="guest-ping", in_turn=turns), Stub(on="guest-ping", reply=3, times=1))
    answers = [agent.say("guest-ping")["return"] for _ in range(4)]
    assert answers == [1, 2, 3, {}]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (b'{"execute":"guest-sync"}', b"Parameter 'id' is missing"),
        (b'{"execute":"guest-sync","arguments":{"id":1,"x":2}}', b"Parameter 'x' is unexpected"),
        (b'{"execute":"guest-pong"}', b"The command guest-pong has not been found"),
        (b'{"execute":"guest-get-devices"}', b"Command guest-get-devices has been disabled"),
    ],
)
def test_what_the_release_refuses_is_refused_whatever_a_stub_says(
    request_: bytes, text: bytes
) -> None:
    reply = course(Stub(on="guest-*", reply=1)).send(request_)
    assert text in reply


def test_a_stub_counts_on_when_the_agent_is_started_again() -> None:
    agent = course(Stub(on="guest-ping", in_turn=(Reply(reply=1), Reply(reply=2))))
    assert agent.say("guest-ping")["return"] == 1
    process = agent.simulation.agent.process
    assert process is not None
    agent.simulation.guest.processes.kill(process.pid, 9)
    agent.simulation.agent.start()
    assert agent.say("guest-ping")["return"] == 2


def test_a_stub_may_add_a_command_that_the_release_does_not_have() -> None:
    added = Match(command="guest-get-load", arguments={"x": 1})
    agent = course(Stub(on=added, reply={"load1m": 0.5}, adds=True))
    assert agent.say("guest-get-load", x=1, y=2) == {"return": {"load1m": 0.5}}
    assert agent.say("guest-get-load")["error"] == {
        "class": "CommandNotFound",
        "desc": "The command guest-get-load has not been found",
    }
    names = [c["name"] for c in agent.say("guest-info")["return"]["supported_commands"]]
    assert "guest-get-load" in names
    # Other agents do not have it.
    assert "error" in Course().say("guest-get-load", x=1)


def test_a_stub_may_add_a_command_of_another_kind_of_guest() -> None:
    agent = course(Stub(on="guest-get-devices", reply=[], adds=True))
    assert agent.say("guest-get-devices") == {"return": []}
