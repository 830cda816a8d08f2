"""Faults: each kind by its documented example, and the laws that all obey."""

import json
import sys
from itertools import pairwise
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from qgasim.agent.stubs import Stub
from qgasim.effects import Close, Effect, Wait
from qgasim.faults import AnyFault, Fault, FromUptime
from qgasim.faults.content import Edit, InjectedError, Stale
from qgasim.faults.injector import HISTORY_BYTES, History
from qgasim.faults.stream import Bandwidth, Corrupt, Garbage, Split, Truncate
from qgasim.faults.timing import Delay, Growing, Late, Leak, LogNormal, Normal, Uniform
from qgasim.guest.units import FOR_EVER
from qgasim.matching import Match
from qgasim.scenario import loads
from qgasim.scenario.decode import parse_duration
from tests.generated import load_generator
from tests.serving import SECOND, Course, HandClock, on_exchange, request

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'


GENERATOR = load_generator()
EXAMPLES: dict[str, dict[str, Any]] = GENERATOR.EXAMPLES


def course(*faults: Fault, seed: int = 0) -> Course:
    course = Course("debian-12")
    scenario = loads("extends: debian-12")
    scenario.faults = list(faults)  # type: ignore[arg-type]
    scenario.seed = seed
    course.take(scenario.build(course.clock))
    course.clock.now += 12 * SECOND
    return course


# -- the documented examples -----------------------------------------------------------------------


def test_every_kind_has_an_example() -> None:
    assert set(EXAMPLES) == {cls.__struct_config__.tag for cls in get_args(AnyFault)}


def see(course: Course, effects: list[Effect]) -> list[Any]:
    """Return what a client sees, as the examples write it; let the guest's time pass meanwhile."""
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


# -- when they fire --------------------------------------------------------------------------------

DOWN = InjectedError(desc="x")


def fired_at(fault: Fault, count: int = 12, seed: int = 0) -> str:
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
def test_a_fault_fires_when_it_is_told_to(settings: dict[str, Any], pattern: str) -> None:
    assert fired_at(injected(**settings)) == pattern


def test_chance_is_the_same_for_the_same_seed() -> None:
    fault = injected(probability=0.5)
    assert fired_at(fault, 64, seed=1) == fired_at(fault, 64, seed=1) != fired_at(fault, 64, seed=2)
    assert 10 < fired_at(fault, 64).count("x") < 54


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


@pytest.mark.parametrize(
    ("event", "state"),
    [
        ("agent_stops", "booting"),
        ("reboot", "rebooting"),
        ("power_off", "off"),
        ("panic", "crashed"),
        ("pause", "paused"),
        ("suspend", "suspended"),
    ],
)
def test_a_fault_of_connections_may_wait_for_any_state(event: str, state: Any) -> None:
    guest = Course(
        f"{{extends: debian-12, faults: [{{kind: refuse, when: {state}}}],"
        f" timeline: [{{do: {event}, at: 20s}}]}}"
    )
    assert list(guest.channel.connect()) == []
    guest.advance(8.5)
    assert list(guest.channel.connect()) == [Close()]


def test_faults_are_injected_and_switched() -> None:
    guest = course()
    guest.agent.injector.inject(injected(name="down"))
    assert guest.send(PING) != PONG
    guest.agent.injector.switch("down", on=False)
    assert guest.send(PING) == PONG
    guest.agent.injector.switch("down", on=True)
    assert guest.send(PING) != PONG
    with pytest.raises(LookupError, match=r"there is no fault 'up' \(there are: down\)"):
        guest.agent.injector.switch("up", on=True)


# -- what some kinds say ---------------------------------------------------------------------------


def waits(guest: Course, count: int) -> list[float]:
    """Ping *count* times; give how long each reply took, in seconds."""
    took = []
    for _ in range(count):
        seen = see(guest, guest.effects(PING))
        took.append(sum(item for item in seen if isinstance(item, int)) / SECOND)
    return took


@pytest.mark.parametrize(
    ("growing", "expected"),
    [
        (Growing(step=SECOND), [0, 1, 2, 3]),
        (Growing(first=2 * SECOND, step=SECOND, most=4 * SECOND), [2, 3, 4, 4]),
    ],
)
def test_a_delay_grows(growing: Growing, expected: list[float]) -> None:
    assert waits(course(Delay(growing=growing)), 4) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delay", "least", "middle", "most"),
    [
        (Delay(by=SECOND), 1, 1, 1),
        (Delay(uniform=Uniform(least=SECOND, most=3 * SECOND)), 1, 2, 3),
        (Delay(normal=Normal(mean=2 * SECOND, deviation=SECOND)), 0, 2, 8),
        (Delay(lognormal=LogNormal(median=2 * SECOND)), 0, 2, 2000),
    ],
)
def test_a_delay_is_distributed_as_it_says(
    delay: Delay, least: float, middle: float, most: float
) -> None:
    took = sorted(waits(course(delay), 400))
    assert least <= took[0] <= took[-1] <= most
    # The standard error of the median of 400 is less than 0.15 s in each of these.
    assert took[200] == pytest.approx(middle, abs=0.6)


def test_what_leaks_is_back_when_the_agent_is_started_again() -> None:
    guest = course(Leak(by=SECOND))
    assert waits(guest, 3) == [1, 2, 3]
    guest.agent.crash()
    guest.advance(1)
    assert waits(guest, 2) == [1, 2]


def test_a_reply_put_aside_is_lost_with_its_agent() -> None:
    guest = course(Late(on="guest-sync"))
    assert guest.send(request("guest-sync", id=1)) == b""
    guest.agent.crash()
    guest.advance(1)
    assert guest.send(PING) == PONG


def test_as_many_earlier_replies_are_kept_as_memory_allows() -> None:
    history = History()
    for number in range(5):
        history.add("a", number, bytes(HISTORY_BYTES // 2))
    assert [at for at, _ in history.of("a")] == [3, 4]
    for number in range(10_000):
        history.add("b", number, b"")
    assert history.of("a") == []
    history.add("c", 1, bytes(2 * HISTORY_BYTES))
    assert history.of("b") == []
    assert [at for at, _ in history.of("c")] == [1]


def test_a_client_that_invents_commands_fills_no_memory() -> None:
    guest = course(Stale())
    for number in range(3000):
        guest.send(b'{"execute":"%d"}' % number)
    guest.send(b'{"execute":"%s"}' % (b"x" * 100_000))
    injector = guest.agent.injector
    assert len(injector._history._kept) <= 1024
    assert sum(map(len, injector._by_command)) < 512 * 100


NICS = [{"name": "a", "ips": [1, 2]}, {"name": "b"}]


@pytest.mark.parametrize(
    ("value", "edit", "expected"),
    [
        (NICS, {"remove": ["/*/name"]}, [{"ips": [1, 2]}, {}]),
        (NICS, {"remove": ["/*"]}, []),
        (NICS, {"remove": ["/0/ips/1", "/1"]}, [{"name": "a", "ips": [1]}]),
        (NICS, {"remove": ["/5", "/name", "/0/name/x", "/0/x/y"]}, NICS),
        (NICS, {"set": {"/*/ips": []}}, [{"name": "a", "ips": []}, {"name": "b", "ips": []}]),
        (NICS, {"set": {"": {"x": [1]}}, "remove": ["/x/0"]}, {"x": []}),
        ({"a/b": 1, "c~d": 2}, {"remove": ["/a~1b", "/c~0d"]}, {}),
        ({"a": 1}, {"remove": [""], "retype": {"/a": "string"}}, {}),
        (NICS, {"retype": {"": "object"}}, {"0": NICS[0], "1": NICS[1]}),
        (NICS, {"retype": {"/0/ips/*": "string", "/1/x": "null"}},
         [{"name": "a", "ips": ["1", "2"]}, {"name": "b"}]),
        *[
            ([old], {"retype": {"/0": wanted}}, [new])
            for old, wanted, new in [
                (7, "string", "7"), (True, "string", "true"), ([1], "string", "[1]"),
                ("x", "string", "x"), (7, "boolean", True), ("", "boolean", False),
                (7, "null", None), (7, "array", [7]), ([7], "array", [7]),
                (7, "object", {"0": 7}), ({"a": 1}, "object", {"a": 1}),
                ("7", "integer", 7), ("seven", "integer", 5), (True, "integer", 1),
                ([1, 2], "integer", 2), (None, "integer", 0), (1.5, "integer", 1),
                ("1e999", "number", 5), (2, "number", 2.0),
            ]
        ],
    ],
)  # fmt: skip
def test_a_reply_is_edited(value: Any, edit: dict[str, Any], expected: Any) -> None:
    guest = course(msgspec.convert(edit, Edit))
    guest.agent.commands.add_stub(Stub(on="guest-ping", raw=json.dumps({"return": value}) + "\n"))
    for _ in range(2):
        found = json.loads(guest.send(PING))["return"]
        assert found == expected
        # In Python, True is 1.
        assert repr(found).count("True") == repr(expected).count("True")


def test_what_is_no_request_can_be_disturbed_too() -> None:
    guest = course(Truncate(keep=5))
    assert guest.send(b"[]") == b'{"err'


@pytest.mark.parametrize(
    ("release", "shown"),
    # `dialect.CHANGES`: 4.0 repeats the id, 6.0 writes 17 digits of a double.
    [("3.1", b""), ("5.2", b'"id": 0.333333, '), ("7.2", b'"id": 0.33333333333333331, ')],
)
def test_an_injected_error_has_the_id_as_its_release_writes_it(release: str, shown: bytes) -> None:
    disturbed = Course("faults: [{kind: error, desc: no}]", release=release)
    assert disturbed.send(b'{"execute":"guest-ping","id":0.33333333333333331}\n') == (
        b"{" + shown + b'"error": {"class": "GenericError", "desc": "no"}}\n'
    )


def test_what_is_noted_of_an_exchange_is_what_the_client_sees() -> None:
    guest = course(Truncate(keep=4), InjectedError(desc="x", on="guest-info"))
    noted: list[bytes] = []
    on_exchange(guest.simulation, lambda _, reply: noted.append(reply))
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
    TIMES.map(lambda t: Leak(by=t)),
    st.tuples(TIMES, TIMES).map(lambda t: Delay(growing=Growing(first=t[0], step=t[1]))),
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


#: Each kind as its example has it, for any request.
KINDS = {
    kind: structs.replace(loads(f"faults: [{text}]").faults[0], on="*", after=0, times=None)
    for kind, text in GENERATOR.FAULTS.items()
    # Those of the monitor's events are in test_qmp_misbehaviour.py.
    if not kind.endswith("_event")
}
#: Those at which the command does not run; `stale` is one from the second request on.
WITHOUT_THE_COMMAND = {"error", "hang", "ignore", "kill_on"}


def replies(data: bytes, *faults: Fault) -> bytes:
    return course(*faults).send(data)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(data=REQUESTS, fault=st.one_of(DELAYS, SPLITS))
def test_what_only_takes_time_changes_no_byte(data: bytes, fault: Fault) -> None:
    assert replies(data, fault) == replies(data)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(data=REQUESTS, keep=st.integers(0, 60))
def test_what_truncates_gives_the_beginning_of_each_reply(data: bytes, keep: int) -> None:
    whole: list[bytes] = []
    plain = course()
    on_exchange(plain.simulation, lambda _, reply: whole.append(reply))
    plain.send(data)
    assert replies(data, Truncate(keep=keep)) == b"".join(reply[:keep] for reply in whole)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    data=REQUESTS,
    faults=st.lists(
        st.one_of(DELAYS, SPLITS, BYTES, st.sampled_from(list(KINDS.values()))), max_size=4
    ),
    seed=st.integers(0, 9),
    chance=st.sampled_from([1.0, 0.5]),
)
def test_the_same_seed_gives_the_same_effects(
    data: bytes, faults: list[Fault], seed: int, chance: float
) -> None:
    faults = [structs.replace(fault, probability=chance) for fault in faults]
    first, second = (course(*faults, seed=seed).effects(data) for _ in range(2))
    assert first == second


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    data=REQUESTS,
    fault=st.one_of(DELAYS, SPLITS, BYTES, st.sampled_from(list(KINDS.values()))),
    cuts=st.lists(st.integers(0, 400), max_size=3),
)
def test_whatever_goes_wrong_the_agent_serves_again_when_it_is_over(
    data: bytes, fault: Fault, cuts: list[int]
) -> None:
    guest = course(structs.replace(fault, name="it"))
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        guest.effects(data[start:end])
    guest.agent.injector.switch("it", on=False)
    guest.advance(10)
    sync = b"\xff" + request("guest-sync-delimited", id=5)
    # A reply that was put aside may come after it.
    assert b'\xff{"return": 5}\n' in guest.send(sync)


@pytest.mark.slow
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
    """Return what a command may change."""
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


@pytest.mark.slow
@pytest.mark.parametrize("data", CHANGES, ids=["open", "freeze", "vcpus"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_fault_lets_the_command_run_or_leaves_the_guest_as_it_was(kind: str, data: bytes) -> None:
    plain, disturbed = course(), course(KINDS[kind])
    before = state(plain)
    assert b"return" in plain.send(data)
    disturbed.effects(data)
    runs = kind not in WITHOUT_THE_COMMAND
    assert state(disturbed) == (state(plain) if runs else before)
    assert state(plain) != before


@pytest.mark.parametrize("data", CHANGES, ids=["open", "freeze", "vcpus"])
def test_a_stale_reply_leaves_the_guest_as_it_was(data: bytes) -> None:
    guest = course(Stale(after=1))
    guest.send(data)
    before = state(guest)
    guest.send(data)
    assert state(guest) == before


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


def test_a_reply_that_is_nested_too_deeply_to_be_read_stays_as_it_is() -> None:
    # The deepest id that qemu-ga takes: tests/golden/7.2/wire.jsonl, nest-id-array-1024. Python reads as
    # much since 3.12.
    deep = b"[" * 1023 + b"]" * 1023
    fault = '{"extends": "debian-12", "faults": [{"kind": "edit", "set": {"": 1}}]}'
    edited = Course(fault)
    assert edited.send(PING) == b'{"return": 1}\n'
    value = b"1" if sys.version_info >= (3, 12) else b"{}"
    assert edited.send(PING[:-2] + b',"id":' + deep + b"}") == (
        b'{"return": ' + value + b', "id": ' + deep + b"}\n"
    )


def test_a_time_since_boot_counts_from_the_latest_boot() -> None:
    when = FromUptime(uptime=20 * SECOND, until=30 * SECOND, since_boot=True)
    guest = course(InjectedError(on="guest-ping", desc="no", when=when))
    failed: list[int] = []
    for second in range(12, 80):
        if second == 40:
            guest.guest.power.shut_down("reboot", 0)
        reply = guest.say("guest-ping")
        if reply is not None and "error" in reply:
            failed.append(second)
        guest.advance(1)
    # The reboot takes 2 s.
    assert guest.guest.booted_at == 42 * SECOND
    assert failed == [*range(20, 30), *range(62, 72)]
