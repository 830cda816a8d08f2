"""Verification: what passes, and what a failure says."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from qgasim.errors import QgaSimError, VerificationError
from qgasim.faults.timing import Hang
from qgasim.matching import Match
from qgasim.testing.verification import in_order, never, verify
from tests.noting import Noted

FREEZE, THAW = "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"
STATUS = "guest-exec-status"


def after(course: Noted, seconds: float, command: str, **arguments: Any) -> None:
    course.advance(seconds)
    course.say(command, **arguments)


@pytest.fixture
def course() -> Noted:
    """A client that freezes at 13 s, thaws at 25 s, and asks for two programs."""
    course = Noted()
    after(course, 1, FREEZE)
    after(course, 12, THAW)
    after(course, 1, STATUS, pid="7")
    after(course, 1, STATUS, pid=8)
    return course


def failure(verification: Callable[..., None], *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(VerificationError) as caught:
        verification(*args, **kwargs)
    return str(caught.value).splitlines()


# -- what passes -----------------------------------------------------------------------------------

PASSES: list[tuple[str, dict[str, Any]]] = [
    (THAW, {}),
    (THAW, {"times": 1}),
    (THAW, {"at_least": 1, "at_most": 1}),
    (THAW, {"after": FREEZE}),
    (THAW, {"after": FREEZE, "within": "12s"}),
    (THAW, {"after": FREEZE, "within": 12}),
    (THAW, {"after": FREEZE, "within": 12.5}),
    (THAW, {"after": "guest-fsfreeze-*"}),
    (FREEZE, {"before": THAW, "within": "12s"}),
    (FREEZE, {"times": 0, "after": THAW}),
    ("guest-ping", {"at_most": 3}),
    ("guest-fsfreeze-*", {"times": 2}),
    (STATUS, {"times": 2}),
    (STATUS, {"arguments": {"pid": 8}, "times": 1}),
    (STATUS, {"arguments": {"pid": {"any": True}}, "times": 2}),
    (STATUS, {"arguments": {"pid": {"glob": "*"}}, "times": 1}),
    (STATUS, {"after": Match(command=STATUS, arguments={"pid": "7"}), "times": 1}),
    # Of the two, one second apart.
    (STATUS, {"at_most": 1, "within": "0.9s"}),
    (STATUS, {"at_least": 2, "within": "1s"}),
]


@pytest.mark.parametrize(("command", "asked"), PASSES)
def test_a_verification_passes(course: Noted, command: str, asked: dict[str, Any]) -> None:
    verify(course.journal, command, **asked)
    # The opposite does not.
    turned = {k: v for k, v in asked.items() if k not in {"times", "at_least", "at_most"}}
    with pytest.raises(VerificationError):
        verify(course.journal, command, **turned, at_least=3)


def test_never_passes_where_nothing_was_asked_for(course: Noted) -> None:
    never(course.journal, "guest-shutdown")
    never(course.journal, FREEZE, after=THAW)
    never(course.journal, STATUS, arguments={"pid": 9})
    never(course.journal, THAW, after=FREEZE, within="10s")


def test_steps_in_their_order_pass_whatever_is_between(course: Noted) -> None:
    in_order(course.journal, FREEZE, THAW)
    in_order(course.journal, FREEZE, Match(command=STATUS, arguments={"pid": 8}))
    in_order(course.journal, FREEZE, THAW, STATUS, STATUS)


def test_a_command_that_a_stub_adds_can_be_verified() -> None:
    stub = "{on: guest-get-load, adds: true, reply: {}}"
    course = Noted(f"{{extends: debian-12, replies: [{stub}]}}")
    course.say("guest-get-load")
    verify(course.journal, "guest-get-load")


def test_a_command_of_another_release_can_be_verified_to_be_absent(course: Noted) -> None:
    never(course.journal, "guest-get-devices")


# -- what a failure says ---------------------------------------------------------------------------


def test_a_failed_verification_is_an_assertion_and_an_error_of_qgasim(course: Noted) -> None:
    with pytest.raises(AssertionError):
        verify(course.journal, "guest-ping")
    with pytest.raises(QgaSimError):
        verify(course.journal, "guest-ping")


def test_a_failure_says_what_was_asked_for_and_the_count(course: Noted) -> None:
    assert failure(verify, course.journal, "guest-ping", at_least=2, at_most=5) == [
        "expected guest-ping at least twice and at most 5 times, found none"
    ]


def test_a_failure_shows_what_was_found(course: Noted) -> None:
    assert failure(never, course.journal, FREEZE) == [
        "expected guest-fsfreeze-freeze never, found once",
        '      13.000 s #1 guest-fsfreeze-freeze → {"return": 1}  (frozen)',
    ]


def test_a_failure_shows_only_the_first_of_many(course: Noted) -> None:
    for _ in range(8):
        course.say("guest-ping")
    lines = failure(verify, course.journal, "guest-ping", times=2)
    assert lines[0] == "expected guest-ping exactly twice, found 8 times"
    assert len(lines) == 7
    assert lines[6] == "  ... and 3 more"


def test_wrong_arguments_are_a_near_miss_with_what_the_agent_said_of_them(course: Noted) -> None:
    # The words are recorded: tests/golden/7.2, args/exec-status/pid-*.
    assert failure(verify, course.journal, STATUS, arguments={"pid": 7}) == [
        "expected guest-exec-status with pid=7 at least once, found none",
        "near misses:",
        (
            '  26.000 s #1 guest-exec-status: called with pid="7": '
            "Invalid parameter type for 'pid', expected: integer"
        ),
        "  27.000 s #1 guest-exec-status: called with pid=8: Invalid parameter 'pid'",
    ]


def test_arguments_that_the_agent_took_are_compared_with_what_was_wanted(course: Noted) -> None:
    course.say("guest-file-open", path="/etc/hostname")
    wanted = {"path": {"glob": "/tmp/*"}, "mode": "w"}
    assert failure(verify, course.journal, "guest-file-open", arguments=wanted)[1:] == [
        "near misses:",
        (
            '  27.000 s #1 guest-file-open: called with path="/etc/hostname", '
            'not path={"glob": "/tmp/*"}, mode="w"'
        ),
    ]


def test_a_call_without_arguments_is_a_near_miss(course: Noted) -> None:
    # Bug 51 of docs/library.md: the pid was not sent.
    course.say(STATUS)
    lines = failure(verify, course.journal, STATUS, arguments={"pid": 9})
    assert lines[-1].endswith("called with no arguments: Parameter 'pid' is missing")


def test_a_call_that_came_too_late_says_by_how_much(course: Noted) -> None:
    assert failure(verify, course.journal, THAW, after=FREEZE, within="10s") == [
        (
            "expected guest-fsfreeze-thaw after guest-fsfreeze-freeze within 10 s at least once, "
            "found none"
        ),
        "near misses:",
        "  25.000 s #1 guest-fsfreeze-thaw: called 2 s too late",
    ]


def test_a_call_that_came_too_early_says_by_how_much(course: Noted) -> None:
    lines = failure(verify, course.journal, FREEZE, before=THAW, within="10s")
    assert lines[-1] == "  13.000 s #1 guest-fsfreeze-freeze: called 2 s too early"


def test_a_call_on_the_wrong_side_is_a_near_miss(course: Noted) -> None:
    lines = failure(verify, course.journal, FREEZE, after=THAW)
    assert lines[-1] == (
        "  13.000 s #1 guest-fsfreeze-freeze: called with no guest-fsfreeze-thaw before it"
    )
    lines = failure(verify, course.journal, THAW, before=FREEZE)
    assert lines[-1] == (
        "  25.000 s #1 guest-fsfreeze-thaw: called with no guest-fsfreeze-freeze after it"
    )


def test_a_command_that_the_client_misspelled_is_a_near_miss() -> None:
    course = Noted()
    course.say("guest-fsfreeze-taw")
    assert failure(verify, course.journal, THAW)[1:] == [
        "near misses:",
        "  12.000 s #1 guest-fsfreeze-taw: did you mean guest-fsfreeze-thaw?",
    ]


def test_what_was_sent_and_never_read_is_a_near_miss() -> None:
    course = Noted()
    course.inject(Hang(on=FREEZE))
    course.say(FREEZE)
    after(course, 5, THAW)
    assert failure(verify, course.journal, THAW)[-1] == (
        "  17.000 s #1: sent, and not yet read by the agent"
    )


def test_what_a_fault_swallowed_is_a_near_miss() -> None:
    course = Noted("{extends: debian-12, faults: [{kind: accept_then_silence}]}")
    course.say(THAW)
    assert failure(verify, course.journal, THAW)[-1] == (
        "  12.000 s #1: sent, and swallowed by a fault"
    )


def test_a_failure_says_that_the_journal_is_not_complete() -> None:
    course = Noted(limit=5)
    for _ in range(7):
        course.say("guest-ping")
    lines = failure(verify, course.journal, "guest-ping", times=7)
    assert lines[-1] == "(3 entries before them were dropped from the journal)"


def test_steps_out_of_order_show_how_far_it_got(course: Noted) -> None:
    assert failure(in_order, course.journal, THAW, FREEZE) == [
        "expected in this order: guest-fsfreeze-thaw, then guest-fsfreeze-freeze",
        "found:",
        '      25.000 s #1 guest-fsfreeze-thaw → {"return": 1}  (thawed)',
        "and no guest-fsfreeze-freeze after that; before that:",
        '      13.000 s #1 guest-fsfreeze-freeze → {"return": 1}  (frozen)',
    ]


def test_a_first_step_that_is_missing_shows_that_nothing_was_found(course: Noted) -> None:
    wanted = Match(command=STATUS, arguments={"pid": 9})
    lines = failure(in_order, course.journal, wanted, THAW)
    assert lines[1:4] == ["found:", "  nothing", "and no guest-exec-status with pid=9"]
    assert lines[4] == "near misses:"


# -- what cannot be asked --------------------------------------------------------------------------

MISTAKES: list[tuple[Callable[..., None], list[Any], dict[str, Any], str]] = [
    (verify, ["guest-fsfreeze-taw"], {}, ("no release of qemu-ga has a command 'guest-fsfreeze-taw' "
     "(did you mean 'guest-fsfreeze-thaw'?)")),
    (never, ["guest-fsfreze-thaw"], {}, ("no release of qemu-ga has a command 'guest-fsfreze-thaw' "
     "(did you mean 'guest-fsfreeze-thaw'?)")),
    (never, ["xyz"], {}, "no release of qemu-ga has a command 'xyz'"),
    (verify, [THAW], {"after": "guest-freeze"}, "no release of qemu-ga has a command 'guest-freeze'"),
    (verify, [THAW], {"before": "gest-ping"}, "(did you mean 'guest-ping'?)"),
    (in_order, [FREEZE, "guest-thaw"], {}, "no release of qemu-ga has a command 'guest-thaw'"),
    (in_order, [], {}, "in_order needs steps"),
    (verify, [THAW], {"within": "soon"}, "expected a duration, as in 250ms or 1h, found 'soon'"),
    (verify, [THAW], {"within": -1}, "expected a duration, as in 250ms or 1h, found -1"),
    (verify, [THAW], {"times": 1, "at_most": 2}, "'times' excludes 'at_least' and 'at_most'"),
    (verify, [THAW], {"times": "two"}, "times: expected how often, as a number, found 'two'"),
    (verify, [THAW], {"at_least": -1}, "at_least: expected how often, as a number, found -1"),
    (verify, [5], {}, "expected a command's name or a Match, found 5"),
    (in_order, [[FREEZE, THAW]], {}, "expected a command's name or a Match, found ['guest-fsfreeze-"),
    (verify, [STATUS], {"arguments": {"pid": {"regex": "("}}}, "not a regular expression: '('"),
    (never, [THAW], {"within": "1s"}, "'within' has no effect without 'after' or 'before'"),
]  # fmt: skip


@pytest.mark.parametrize(("verification", "args", "kwargs", "text"), MISTAKES)
def test_what_cannot_be_asked_is_no_failure_but_a_mistake(
    course: Noted,
    verification: Callable[..., None],
    args: list[Any],
    kwargs: dict[str, Any],
    text: str,
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        verification(course.journal, *args, **kwargs)
    assert text in str(caught.value)


def test_the_error_of_a_reply_that_is_nested_too_deeply_is_not_read() -> None:
    course = Noted()
    deep = b"[" * 1022 + b"]" * 1022
    course.send(b'{"execute":"nope","id":7}{"execute":"nope","id":' + deep + b"}")
    texts = [exchange.error for exchange in course.journal.exchanges]
    # Python before 3.12 reads fewer levels than qemu-ga.
    is_read = sys.version_info >= (3, 12)
    text = "The command nope has not been found"
    assert texts == [text, text if is_read else None]
