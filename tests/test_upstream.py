"""What stands before an agent that is not simulated: bytes through it, faults in front of it."""

import random
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pytest

from qgasim.compare import Difference
from qgasim.compare.survey import Listed, Survey
from qgasim.effects import Close, Effect, Wait
from qgasim.errors import ScenarioError
from qgasim.faults import AnyFault, Fault
from qgasim.guest.units import FOR_EVER
from qgasim.scenario import loads
from qgasim.simulation.journal import Journal
from qgasim.upstream import UpstreamChannel
from qgasim.upstream.twin import Twin
from tests.fronting import ModelLink, RealLink, SilentLink, TellingLink, TestLink, front
from tests.generated import load_generator
from tests.offenders import Offenders
from tests.real_agent import RealAgent, needs_qemu_ga
from tests.serving import SECOND, Course

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'
SYNC = b'\xff{"execute":"guest-sync-delimited","arguments":{"id":7}}\n'
SYNCED = b'\xff{"return": 7}\n'
GENERATOR = load_generator()
#: The kinds that need a simulated guest, and why.
IMPOSSIBLE = {
    "crash": "ends the agent's process",
    "kill_on": "ends the agent's process",
    "drop_event": "monitor",
    "delay_event": "monitor",
    "duplicate_event": "monitor",
    "early_event": "monitor",
}
KINDS = [kind for kind in GENERATOR.FAULTS if kind not in IMPOSSIBLE]
#: Requests that every agent answers by the same bytes; each alone, then two at once.
REQUESTS = (
    PING,
    b'{"execute":"guest-sync","arguments":{"id":1},"id":"a"}\n',
    SYNC.removeprefix(b"\xff"),
    b'{"execute":"guest-file-open","arguments":{"path":"/nonexistent/x"}}\n',
    b'{"execute":"guest-nope"}\n',
    PING + b'{"execute":"guest-sync","arguments":{"id":2}}\n',
)


def fault_of(kind: str) -> Fault:
    """Return the documented fault of a kind."""
    (fault,) = loads(f"faults: [{GENERATOR.FAULTS[kind]}]").faults
    return fault


def see(course: Course, effects: Iterator[Effect]) -> list[Any]:
    """Return what a client sees: bytes, ends, and how long nothing comes, which passes meanwhile."""
    seen: list[Any] = []
    while True:
        for effect in effects:
            if isinstance(effect, Wait):
                seen.append(effect.until - course.guest.clock.uptime())
                if effect.until >= FOR_EVER:
                    return [*seen, "hangs"]
                course.clock.now += seen[-1]
            else:
                seen.append(effect)
                if isinstance(effect, Close) and effect.how != "half":
                    return seen
        if not isinstance(course.channel, UpstreamChannel) or course.channel.next_event() != 0:
            return seen
        # What waited for a disturbed request.
        effects = course.channel.wake()


def talk(course: Course) -> list[list[Any]]:
    """Return what a client sees that connects, and sends each of the requests."""
    seen = [see(course, course.channel.connect())]
    for sent in REQUESTS:
        seen.append(see(course, course.channel.receive(sent)))
        if "hangs" in seen[-1] or any(isinstance(s, Close) for s in seen[-1]):
            break
    return [_join(each) for each in seen]


def _join(seen: list[Any]) -> list[Any]:
    """Join replies that follow each other: one chunk of an agent may hold several."""
    joined: list[Any] = []
    for each in seen:
        if isinstance(each, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += each
        else:
            joined.append(each)
    return joined


def disturbed(link: TestLink, kind: str) -> list[list[Any]]:
    scenario = loads(f"extends: debian-12\nfaults: [{GENERATOR.FAULTS[kind]}]")
    scenario.faults = [_everywhere(fault) for fault in scenario.faults]
    return talk(front(link, scenario))


def _everywhere(fault: Any) -> Any:
    from msgspec import structs

    return structs.replace(fault, on="*")


@cache
def simulated(kind: str) -> list[list[Any]]:
    course = Course("debian-12")
    scenario = loads(f"extends: debian-12\nfaults: [{GENERATOR.FAULTS[kind]}]")
    scenario.faults = [_everywhere(fault) for fault in scenario.faults]
    course.take(scenario.build(course.clock))
    course.clock.now = 12 * SECOND
    return talk(course)


def test_every_kind_of_fault_is_possible_or_says_why_not() -> None:
    assert {*KINDS, *IMPOSSIBLE} == {cls.__struct_config__.tag for cls in get_args(AnyFault)}
    for kind, why in IMPOSSIBLE.items():
        with pytest.raises(
            ScenarioError, match=rf"^faults\[0\]: {kind}: needs a simulated guest: .*{why}"
        ):
            front(
                ModelLink(),
                f"extends: debian-12\nmachine: {{}}\nfaults: [{GENERATOR.FAULTS[kind]}]",
            )


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 1 << 20])
def test_a_fault_before_another_agent_is_seen_as_before_a_simulated_one(size: int) -> None:
    with Offenders() as offenders:
        for kind in KINDS:
            with offenders.case(kind):
                assert disturbed(ModelLink(size), kind) == simulated(kind)


@pytest.mark.slow
@needs_qemu_ga
def test_every_fault_that_can_be_is_seen_before_a_real_agent(tmp_path: Path) -> None:
    with RealAgent(tmp_path) as agent, Offenders() as offenders:
        for kind in KINDS:
            with offenders.case(kind):
                assert disturbed(RealLink(agent.socket), kind) == simulated(kind)


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ("{kind: stale, as_of: 1s}", "as_of looks at an earlier state"),
        ("{kind: refuse, when: booting}", "whether the guest is booting is not known"),
    ],
)
def test_settings_that_need_a_simulated_guest_are_refused(faults: str, why: str) -> None:
    with pytest.raises(ScenarioError, match=why):
        front(ModelLink(), f"extends: debian-12\nfaults: [{faults}]")


def test_events_that_happen_to_the_guest_are_refused() -> None:
    with pytest.raises(ScenarioError, match=r"timeline\[0\]: reboot: needs a simulated guest"):
        front(ModelLink(), "extends: debian-12\ntimeline: [{at: 1s, do: reboot}]")
    fault = "{kind: drop, name: x}"
    front(
        ModelLink(),
        f"extends: debian-12\nfaults: [{fault}]\ntimeline: [{{at: 1s, do: fault_off, fault: x}}]",
    )


# -- bytes -----------------------------------------------------------------------------------------


def test_all_that_is_sent_is_passed_on_as_it_is() -> None:
    link = ModelLink()
    course = front(link)
    list(course.channel.connect())
    sent = [
        PING[:9],
        PING[9:] + b"nonsense\n\xff",
        SYNC,
        b'{"execute":"guest-ping"} {"execute"',
        b":1}",
    ]
    received = b"".join(course.send(piece) for piece in sent)
    assert link.asked == b"".join(sent)
    plain = Course("debian-12")
    assert received == b"".join(plain.send(piece) for piece in sent)


@pytest.mark.parametrize(
    "fault", ["{kind: delay, on: guest-info, by: 1s}", "{kind: drop, on: guest-info}"]
)
def test_requests_that_no_fault_has_are_passed_on_as_they_are(fault: str) -> None:
    link = ModelLink()
    course = front(link, f"extends: debian-12\nfaults: [{fault}]")
    data = PING + SYNC + b'{"execute":\n"guest-ping"}\r\n[1]}x' + SYNC
    for byte in data:
        course.send(bytes([byte]))
    assert link.asked == data


def test_a_request_that_a_fault_answers_is_not_passed_on() -> None:
    link = ModelLink()
    course = front(link, "extends: debian-12\nfaults: [{kind: error, on: guest-info, desc: no}]")
    reply = course.send(PING + b'{"execute":"guest-info"}\n' + PING)
    assert reply == PONG + b'{"error": {"class": "GenericError", "desc": "no"}}\n' + PONG
    assert link.asked == PING + PING


def test_a_stub_answers_in_place_of_the_agent() -> None:
    link = ModelLink()
    course = front(
        link, "extends: debian-12\nreplies: [{on: guest-get-host-name, reply: {host-name: x}}]"
    )
    assert course.say("guest-get-host-name") == {"return": {"host-name": "x"}}
    assert link.asked == b""


def test_what_follows_a_disturbed_request_waits_for_its_end() -> None:
    link = ModelLink()
    course = front(link, "extends: debian-12\nfaults: [{kind: hang, on: guest-info}]")
    effects = course.channel.receive(PING + b'{"execute":"guest-info"}\n' + PING)
    assert next(effects) == PONG
    assert isinstance(next(effects), Wait)
    assert link.asked == PING


def test_replies_that_come_late_come_in_the_order_of_the_requests() -> None:
    link = SilentLink()
    course = front(link, "extends: debian-12\nfaults: [{kind: crlf, on: guest-info}]")
    assert course.send(PING) == b""
    assert course.channel.needs_attention
    assert course.channel.next_event() != 0
    link.channel.answered(PONG[:5])
    assert list(course.channel.wake()) == []
    link.channel.answered(PONG[5:])
    assert course.channel.next_event() == 0
    assert list(course.channel.wake()) == [PONG]
    assert not course.channel.is_pending


def test_what_no_client_asked_for_is_delivered() -> None:
    link = SilentLink()
    course = front(link)
    link.channel.answered(b"{}\n")
    assert list(course.channel.wake()) == [b"{}\n"]


def test_a_command_that_is_silent_is_not_waited_for() -> None:
    link = SilentLink()
    course = front(link)
    course.send(b'{"execute":"guest-shutdown"}\n' + SYNC)
    link.channel.answered(b'\xff{"return": 7}\n')
    assert list(course.channel.wake()) == [b'\xff{"return": 7}\n']
    course.send(b'{"execute":"guest-shutdown"}\n')
    assert not course.channel.is_pending


def test_replies_to_an_earlier_client_are_told_apart_by_what_they_echo() -> None:
    """At a virtio-serial port they come to the next one."""
    link = SilentLink()
    course = front(link)
    journal = Journal(course.simulation)
    sync, delimited = (
        b'{"execute":"guest-sync%s","arguments":{"id":8}}\n' % kind for kind in (b"", b"-delimited")
    )
    named = b'{"execute":"guest-ping","id":"a"}\n'
    refused = b'{"error": {"class": "GenericError", "desc": "x"}}\n'
    pong = b'{"return": {}, "id": "a"}\n'
    talk: list[tuple[bytes, list[bytes], bytes]] = [
        (PING + delimited, [SYNCED, b'\xff{"return": 8}\n'], b""),
        (delimited, [SYNCED, refused], refused),
        (sync, [b'{"return": 7}\n', b'{"return": 8}\n'], b'{"return": 8}\n'),
        (named, [pong], pong),
        (named, [b'{"return": {}, "id": "b"}\n', PONG, refused, pong], pong),
        (named, [b'{"id": "a", "error": {}}\n'], b'{"id": "a", "error": {}}\n'),
    ]
    for sent, lines, _ in talk:
        course.send(sent)
        link.channel.answered(b"".join(lines))
        assert list(course.channel.wake()) == lines
        assert not course.channel.is_pending
    # What a synchronisation passes over was lost.
    assert journal.exchanges[0].reply == b""
    assert [each.reply for each in journal.exchanges[2:]] == [reply for *_, reply in talk[1:]]


def test_a_long_reply_is_delivered_as_it_comes() -> None:
    link = SilentLink()
    course = front(link)
    journal = Journal(course.simulation)
    course.send(b'{"execute":"guest-file-read","arguments":{"handle":1000}}\n')
    sent = b""
    for _ in range(100):
        link.channel.answered(b"A" * 65536)
        sent += b"".join(e for e in course.channel.wake() if isinstance(e, bytes))
    assert len(sent) == 100 * 65536
    link.channel.answered(b"\n")
    assert list(course.channel.wake()) == [b"\n"]
    (exchange,) = journal.exchanges
    assert exchange.reply_length == 100 * 65536 + 1
    assert len(exchange.reply) <= 65536


def test_no_more_is_read_than_can_wait() -> None:
    link = SilentLink()
    course = front(link)
    is_full: list[bool] = []
    for sent, reply in ((PING * 9_999, b""), (PING, b""), (b"", PONG)):
        course.send(sent)
        link.channel.answered(reply)
        list(course.channel.wake())
        is_full.append(course.channel.is_full)
    link.is_full = True
    assert [*is_full, course.channel.is_full] == [False, True, False, True]


def test_bytes_without_end_are_no_agents() -> None:
    link = SilentLink()
    course = front(link, "extends: debian-12\nfaults: [{kind: crlf}]")
    journal = Journal(course.simulation)
    course.send(PING)
    for _ in range(81):
        link.channel.answered(bytes(1 << 20))
    seen = [e for e in course.channel.wake() if isinstance(e, Close)]
    assert seen == [Close("reset")]
    assert "more than 80 MiB without a newline: this is no agent" in journal.transcript()


def test_an_agent_that_hangs_up_is_the_end_for_its_client() -> None:
    link = SilentLink()
    course = front(link)
    journal = Journal(course.simulation)
    list(course.channel.connect())
    course.send(PING)
    link.channel.answered(b'{"retu')
    link.channel.ended(Close(), "/x: the agent hung up")
    assert list(course.channel.wake()) == [b'{"retu', Close()]
    course.channel.lose_client(unread=None)
    assert link.disconnects == 1
    assert "/x: the agent hung up" in journal.transcript()
    list(course.channel.connect())
    assert not course.channel.is_pending


def test_a_client_that_leaves_is_answered_no_more() -> None:
    link = SilentLink()
    course = front(link)
    journal = Journal(course.simulation)
    list(course.channel.connect())
    course.send(PING)
    course.channel.lose_client(unread=None)
    assert [(e.command, e.reply) for e in journal.exchanges] == [("guest-ping", b"")]
    assert not course.channel.is_pending


def test_a_freeze_of_the_agent_behind_is_noticed() -> None:
    link = ModelLink()
    course = front(
        link, "extends: debian-12\nfaults: [{kind: error, on: guest-ping, desc: no, when: frozen}]"
    )
    assert course.send(PING) == PONG
    assert course.say("guest-fsfreeze-freeze") == {"return": 1}
    assert course.agent.is_frozen
    assert course.send(PING) != PONG
    course.say("guest-fsfreeze-thaw")
    assert course.send(PING) == PONG


def test_the_journal_has_what_was_asked_and_what_struck() -> None:
    course = front(
        ModelLink(), "extends: debian-12\nfaults: [{kind: drop, on: guest-ping, after: 1}]"
    )
    journal = Journal(course.simulation)
    list(course.channel.connect())
    course.send(PING)
    course.send(PING)
    assert [(e.command, e.reply, e.faults) for e in journal.exchanges] == [
        ("guest-ping", PONG, ()),
        ("guest-ping", b"", ("drop",)),
    ]


def test_replies_are_the_same_however_they_are_cut() -> None:
    whole = list(chain.from_iterable(talk(front(ModelLink()))))
    for size in (1, 2, 5):
        assert list(chain.from_iterable(talk(front(ModelLink(size))))) == whole


def test_a_line_without_the_number_is_no_reply_to_a_resynchronisation() -> None:
    # It answers what a client before this one asked.
    link = TellingLink()
    course = front(link)
    journal = Journal(course.simulation)
    list(course.channel.connect())
    link.answer = b""
    course.send(b'{"execute":"guest-sync","arguments":{"id":7}}\n')
    for value in (b"[]", b"8", b"7"):
        link.channel.answered(b'{"return": %b}\n' % value)
        list(course.channel.wake())
    assert [(e.command, e.reply) for e in journal.exchanges] == [("guest-sync", b'{"return": 7}\n')]


def test_a_request_that_was_asked_before_is_followed_as_the_first_was() -> None:
    # It goes a shorter way, unless something is under way: what can be seen is the same.
    link = TellingLink()
    course = front(link)
    journal = Journal(course.simulation)
    list(course.channel.connect())
    for at_once, later, seen in (
        (PONG, b"", PONG),
        (PONG, b"", PONG),
        (b"", PONG, PONG),
        (b'{"ret', b'urn": {}}\n', PONG),
        (PONG + b"{}\n", b"", PONG + b"{}\n"),
        # Of an earlier client, as its first byte says: this one's reply is still to come.
        (SYNCED, PONG, SYNCED + PONG),
        (PONG, b"", PONG),
    ):
        link.answer = at_once
        received = course.send(PING)
        if later:
            link.channel.answered(later)
            received += b"".join(e for e in course.channel.wake() if isinstance(e, bytes))
        assert received == seen
        assert not course.channel.is_pending
    assert [(e.command, e.reply) for e in journal.exchanges] == [("guest-ping", PONG)] * 7
    # What is answered but not yet delivered goes first.
    zone = b'{"execute":"guest-get-timezone"}\n'
    link.answer = b""
    course.send(zone)
    link.channel.answered(b'{"return": {"offset": 0}}\n')
    link.answer = PONG
    assert course.send(PING) == b'{"return": {"offset": 0}}\n' + PONG
    # The end of a request is none by itself, nor is one behind half a request.
    start, end = b'{"execute":', b'"guest-get-users"}\n'
    refused = b'{"error": {}}\n'
    for sent, answer in ((start, b""), (end, PONG), (end, refused), (start, b""), (PING, refused)):
        link.answer = answer
        assert course.send(sent) == answer
    assert link.asked == PING * 7 + zone + PING + start + end + end + start + PING
    assert [each.command for each in journal.exchanges[8:]] == [
        "guest-ping",
        "guest-get-users",
        None,
        None,
    ]


def test_the_same_freeze_is_noticed_each_time() -> None:
    link = TellingLink()
    course = front(link)
    freeze, thaw = (b'{"execute":"guest-fsfreeze-%s"}\n' % what for what in (b"freeze", b"thaw"))
    for _ in range(2):
        for sent in (freeze, thaw):
            link.answer = b'{"return": 1}\n'
            course.send(sent)
            assert course.agent.is_frozen == (sent is freeze)


def test_a_handshake_that_took_its_time_is_one_line_all_the_same() -> None:
    link = SilentLink()
    course = front(link)
    journal = Journal(course.simulation)
    course.send(SYNC)
    course.clock.now += SECOND // 50
    stray = "JSON parse error, stray '\\uFFFD'"
    link.channel.answered(b'{"error": {"desc": "%b"}}\n' % stray.encode() + SYNCED)
    list(course.channel.wake())
    (line,) = [line for line in journal.transcript().splitlines() if "sync" in line]
    assert line.endswith("#0 synchronises (guest-sync-delimited 7)  sent at 0.000 s")
    assert stray not in journal.transcript()


def talk_at_random(seed: int, *, is_short: bool = True) -> tuple[bytes, bytes, list[Any]]:
    """Return what passes an agent that answers at once, in parts and late, and what the journal has of it."""
    chance = random.Random(seed)
    requests = [*REQUESTS, b"garbage\n", b'{"execute":', b'"guest-ping"}\n', b"[1]}", PING.strip()]
    link, plain = TellingLink(), Course("debian-12")
    course = front(link)
    journal = Journal(course.simulation)
    late = received = expected = sent = b""
    for _ in range(20):
        data = b"".join(chance.choices(requests, k=chance.choice((1, 1, 1, 2))))
        data = data[: chance.choice((len(data), len(data), chance.randrange(1, 30)))]
        reply = plain.send(data)
        sent, expected, late = sent + data, expected + reply, late + reply
        cut = len(late) if chance.random() < 0.6 else chance.randrange(len(late) + 1)
        link.answer, late = late[:cut], late[cut:]
        if not is_short:
            assert isinstance(course.channel, UpstreamChannel)
            course.channel._repeats.clear()
        received += course.send(data)
        if late and chance.random() < 0.5:
            link.channel.answered(late)
            late = b""
            received += b"".join(e for e in course.channel.wake() if isinstance(e, bytes))
    link.channel.answered(late)
    received += b"".join(e for e in course.channel.wake() if isinstance(e, bytes))
    assert (link.asked, received) == (sent, expected)
    return sent, received, [(each.request, each.reply) for each in journal.exchanges]


def test_whatever_is_asked_goes_the_short_way_as_the_long_one() -> None:
    with Offenders() as offenders:
        for seed in range(24):
            with offenders.case(str(seed)):
                assert talk_at_random(seed) == talk_at_random(seed, is_short=False)


# -- a simulated twin ------------------------------------------------------------------------------


#: An agent that tells nothing of itself.
UNKNOWN = Survey(None, None, None, None)


def differences(
    course: Course, link: SilentLink, *talk: tuple[bytes, bytes], survey: Survey = UNKNOWN
) -> list[str]:
    """Return where a simulated agent answers otherwise than the one behind."""
    found: list[Difference] = []
    course.simulation.observe(Twin(course.simulation, found.append, survey))
    for sent, reply in talk:
        course.send(sent)
        link.channel.answered(reply)
        list(course.channel.wake())
    return [difference.what for difference in found]


def test_a_twin_is_asked_what_changes_nothing() -> None:
    link = SilentLink()
    found = differences(
        front(link),
        link,
        (PING, PONG),
        (PING, b'{"return": 1}\n'),
        (b'{"execute":"guest-get-timezone"}', b'{"return": {"zone": "CET", "offset": 3600}}\n'),
        (b'{"execute":"guest-get-timezone"}', b'{"return": {"offset": 0}}\n'),
        (b'{"execute":"guest-get-host-name"}', b'{"return": {"name": "x"}}\n'),
        (b'{"execute":"guest-nope"}', b'{"error": {"class": "CommandNotFound", "desc": "no"}}\n'),
        (b'{"execute":"guest-shutdown"}', b'{"error": {"class": "GenericError", "desc": "x"}}\n'),
        (b'{"execute":"guest-exec","arguments":{"path":"/x"}}', b'{"return": {"pid": 1}}\n'),
    )
    # The second ping, and the second look at the zone, are not compared again.
    assert found == [
        (
            "name: a member that the simulated agent does not have; host-name: a member that "
            "the simulated agent always has is absent"
        ),
        "the answers",
    ]


@pytest.mark.parametrize(
    ("system", "guest"),
    [
        ("mswindows", "windows-server-2022"),
        ("rhel", "rhel-9"),
        ("debian", "debian-12"),
        (None, "debian-12"),
    ],
)
def test_a_twin_is_the_guest_nearest_to_the_one_behind(system: str | None, guest: str) -> None:
    found: list[Difference] = []
    survey = Survey("7.2.22", None, None, system)
    twin = Twin(front(SilentLink()).simulation, found.append, survey)
    assert (twin.result.scenario, twin.result.release) == (guest, "7.2.22")


def test_a_twin_has_the_same_commands_disabled() -> None:
    survey = Survey("7.2.22", {"guest-get-timezone": Listed(False, True)}, None, "rhel")
    link = SilentLink()
    asked = b'{"execute":"guest-get-timezone"}'
    refused = b'{"error": {"class": "CommandNotFound", "desc": "Command guest-get-timezone has been disabled"}}\n'
    assert differences(front(link), link, (asked, refused), survey=survey) == []


def test_a_twin_leaves_out_what_faults_have_changed() -> None:
    link = SilentLink()
    course = front(link, "extends: debian-12\nfaults: [{kind: crlf, on: guest-ping}]")
    assert differences(course, link, (PING, PONG)) == []
