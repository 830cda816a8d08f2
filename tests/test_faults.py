"""Faults: each kind by its documented example, and the laws that all obey."""

from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qgasim.effects import FOR_EVER, Close, Effect, Wait
from qgasim.faults import AnyFault, Fault, FromUptime
from qgasim.faults.content import InjectedError
from qgasim.faults.stream import Bandwidth, Corrupt, Garbage, Split, Truncate
from qgasim.faults.timing import Delay, Drop, LogNormal, Normal, Uniform
from qgasim.matching import Match
from qgasim.scenario import loads
from qgasim.scenario.decode import parse_duration
from tests.generated import load_generator
from tests.serving import SECOND, Course, HandClock, request

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'


GENERATOR = load_generator()
EXAMPLES: dict[str, dict[str, Any]] = GENERATOR.EXAMPLES


def course(*faults: Fault, seed: int = 0) -> Course:
    course = Course("debian-12")
    scenario = loads("extends: debian-12")
    scenario.faults = list(faults)  # type: ignore[arg-type]
    scenario.seed = seed
    course.channel = scenario.build(course.clock)
    course.agent = course.channel.agent
    course.guest = course.agent.guest
    course.clock.now += 12 * SECOND
    return course


# -- the documented examples -----------------------------------------------------------------------


def test_every_kind_has_an_example() -> None:
    assert set(EXAMPLES) == {cls.__struct_config__.tag for cls in get_args(AnyFault)}


def see(course: Course, effects: list[Effect]) -> list[Any]:
    """Tell what a client sees, as the examples write it; let the guest's time pass meanwhile."""
    seen: list[Any] = []
    for effect in effects:
        if isinstance(effect, Wait):
            if effect.until >= FOR_EVER:
                return [*seen, "wait for ever"]
            seen.append(effect.until - course.guest.clock.uptime())
            course.clock.now += seen[-1]
        elif isinstance(effect, Close):
            seen.append({"end": "close"}.get(effect.how, effect.how))
        else:
            seen.append(effect)
    return seen


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_example_shows_what_a_client_sees(kind: str) -> None:
    example = EXAMPLES[kind]
    (fault,) = loads(f"faults: [{GENERATOR.FAULTS[kind]}]").faults
    guest = course(fault)
    seen = see(guest, list(guest.channel.connect()))
    for sent in example["send"]:
        seen += see(guest, guest.effects(sent.encode("latin-1")))
        if "wait for ever" in seen:
            break
    if "wait for its start" in example["see"]:
        assert guest.agent.process is None
        assert guest.advance(1.9) == b""
        seen = ["wait for its start", guest.advance(0.2)]
    expected = [
        parse_duration(item["wait"])
        if isinstance(item, dict)
        else item
        if item in {"close", "reset", "half"} or item.startswith("wait")
        else item.encode("latin-1")
        for item in example["see"]
    ]
    assert seen == expected


# -- when they strike ------------------------------------------------------------------------------

DOWN = InjectedError(desc="x")


def struck(fault: Fault, count: int = 12, seed: int = 0) -> str:
    guest = course(fault, seed=seed)
    return "".join("-x"[guest.send(PING) != PONG] for _ in range(count))


def injected(**settings: Any) -> InjectedError:
    return InjectedError(desc="x", **settings)


@pytest.mark.parametrize(
    ("settings", "pattern"),
    [
        ({}, "xxxxxxxxxxxx"),
        ({"after": 3}, "---xxxxxxxxx"),
        ({"times": 2}, "xx----------"),
        ({"every": 3}, "--x--x--x--x"),
        ({"after": 2, "every": 2, "times": 3}, "---x-x-x----"),
        ({"on": "guest-sync"}, "------------"),
        ({"on": "guest-p*"}, "xxxxxxxxxxxx"),
        ({"on": Match(command="guest-ping", arguments={"x": 1})}, "------------"),
        ({"when": "frozen"}, "------------"),
        ({"when": "up"}, "xxxxxxxxxxxx"),
    ],
)
def test_a_fault_strikes_when_it_is_told_to(settings: dict[str, Any], pattern: str) -> None:
    assert struck(injected(**settings)) == pattern


def test_chance_is_the_same_for_the_same_seed() -> None:
    fault = injected(probability=0.5)
    assert struck(fault, 64, seed=1) == struck(fault, 64, seed=1) != struck(fault, 64, seed=2)
    assert 10 < struck(fault, 64).count("x") < 54


def test_a_fault_may_wait_for_a_state_or_a_time() -> None:
    guest = course(
        injected(on="guest-fsfreeze-status", when="frozen"),
        injected(on="guest-ping", when=FromUptime(uptime=20 * SECOND)),
    )
    assert guest.say("guest-fsfreeze-status") == {"return": "thawed"}
    guest.say("guest-fsfreeze-freeze")
    assert "error" in guest.say("guest-fsfreeze-status")
    assert guest.send(PING) == PONG
    guest.advance(10)
    assert guest.send(PING) != PONG


def test_faults_are_injected_and_switched() -> None:
    guest = course()
    guest.agent.disturber.inject(injected(name="down"))
    assert guest.send(PING) != PONG
    guest.agent.disturber.switch("down", on=False)
    assert guest.send(PING) == PONG
    guest.agent.disturber.switch("down", on=True)
    assert guest.send(PING) != PONG
    with pytest.raises(KeyError):
        guest.agent.disturber.switch("up", on=True)


def test_what_is_no_request_can_be_disturbed_too() -> None:
    guest = course(Truncate(keep=5))
    assert guest.send(b"[]") == b'{"err'


def test_what_is_noted_of_an_exchange_is_what_the_client_sees() -> None:
    guest = course(Truncate(keep=4), InjectedError(desc="x", on="guest-info"))
    noted: list[bytes] = []
    guest.agent.on_exchange = lambda _, reply: noted.append(reply)
    sent = guest.send(PING) + guest.send(b'{"execute":"guest-info"}')
    assert b"".join(noted) == sent == b'{"re{"er'


# -- laws ------------------------------------------------------------------------------------------

REQUESTS = st.lists(
    st.sampled_from(
        [
            PING,
            b'{"execute":"guest-info"}',
            b'{"execute":"guest-sync-delimited","arguments":{"id":3}}',
            b'{"execute":"guest-file-open","arguments":{"path":"/etc/hostname"}}',
            b'{"execute":"guest-nope","id":[1]}',
            b"junk ",
            b'\xff{"execute":',
        ]
    ),
    max_size=6,
).map(b"".join)
TIMES = st.integers(0, 10 * SECOND)
DELAYS = st.one_of(
    TIMES.map(lambda t: Delay(by=t)),
    TIMES.map(lambda t: Delay(uniform=Uniform(most=t))),
    st.tuples(TIMES, TIMES).map(lambda t: Delay(normal=Normal(mean=t[0], deviation=t[1]))),
    TIMES.map(lambda t: Delay(lognormal=LogNormal(median=t))),
)
SPLITS = st.one_of(
    st.builds(
        Split,
        sizes=st.lists(st.integers(1, 50), min_size=1, max_size=4).map(tuple),
        pause=TIMES,
    ),
    st.builds(Bandwidth, bytes_per_second=st.integers(1, 10_000), ticks=st.integers(1, 20)),
)
#: What changes bytes only.
BYTES = st.one_of(
    st.builds(Truncate, keep=st.integers(0, 100)),
    st.builds(Corrupt, bits=st.integers(1, 5)),
    st.builds(
        Garbage, random=st.integers(1, 20), where=st.sampled_from(["before", "after", "instead"])
    ),
)


def replies(data: bytes, *faults: Fault) -> bytes:
    return course(*faults).send(data)


@settings(max_examples=40, deadline=None)
@given(data=REQUESTS, fault=st.one_of(DELAYS, SPLITS))
def test_what_only_takes_time_changes_no_byte(data: bytes, fault: Fault) -> None:
    assert replies(data, fault) == replies(data)


@settings(max_examples=40, deadline=None)
@given(data=REQUESTS, keep=st.integers(0, 60))
def test_what_truncates_gives_the_beginning_of_each_reply(data: bytes, keep: int) -> None:
    whole: list[bytes] = []
    plain = course()
    plain.agent.on_exchange = lambda _, reply: whole.append(reply)
    plain.send(data)
    assert replies(data, Truncate(keep=keep)) == b"".join(reply[:keep] for reply in whole)


@settings(max_examples=30, deadline=None)
@given(data=REQUESTS, faults=st.lists(st.one_of(DELAYS, SPLITS, BYTES), max_size=4))
def test_the_same_seed_gives_the_same_bytes(data: bytes, faults: list[Fault]) -> None:
    assert replies(data, *faults) == replies(data, *faults)


@settings(max_examples=30, deadline=None)
@example(data=PING, faults=[Split(pause=1), Bandwidth(bytes_per_second=1, ticks=1)])
@given(data=REQUESTS, faults=st.lists(st.one_of(DELAYS, SPLITS, BYTES), max_size=4))
def test_waits_never_go_back(data: bytes, faults: list[Fault]) -> None:
    waits: list[int] = []
    guest = course(*faults)
    for effect in guest.channel.receive(data):
        if isinstance(effect, Wait):
            waits.append(effect.until)
            guest.clock.now += max(0, effect.until - guest.guest.clock.uptime())
    assert waits == sorted(waits)


def state(guest: Course) -> Any:
    """Give what a command may change."""
    return (
        guest.agent.next_handle,
        guest.agent.is_frozen,
        guest.guest.files.listdir("/tmp"),
        [cpu.online for cpu in guest.guest.vcpus],
    )


CHANGES = [
    request("guest-file-open", path="/tmp/new", mode="w"),
    request("guest-fsfreeze-freeze"),
    b'{"execute":"guest-set-vcpus","arguments":{"vcpus":[{"logical-id":1,"online":false}]}}',
]


@pytest.mark.parametrize("data", CHANGES)
def test_an_injected_error_leaves_the_guest_as_it_was_and_a_lost_reply_does_not(
    data: bytes,
) -> None:
    plain, failed, lost = course(), course(InjectedError(desc="x")), course(Drop())
    before = state(plain)
    assert b"return" in plain.send(data)
    assert b"error" in failed.send(data)
    assert lost.send(data) == b""
    assert state(failed) == before
    assert state(lost) == state(plain) != before


def test_delays_add_up() -> None:
    *_, wait, reply = course(Delay(by=2 * SECOND), Delay(by=3 * SECOND)).effects(PING)
    assert (wait, reply) == (Wait(17 * SECOND), PONG)


def test_faults_compose_in_the_order_in_which_they_are_written() -> None:
    cut, junk = Truncate(keep=4), Garbage(text="ab")
    assert replies(PING, cut, junk) == b'ab{"re'
    assert replies(PING, junk, cut) == b'ab{"'


def test_a_scenario_with_faults_can_be_written_again() -> None:
    from qgasim.scenario.dump import to_yaml

    scenario = loads(f"faults: [{', '.join(GENERATOR.FAULTS.values())}]")
    assert loads(to_yaml(scenario)).faults == scenario.faults
    scenario.build(HandClock())
