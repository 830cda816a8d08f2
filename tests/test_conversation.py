"""Recorded conversations: how they are read, written and replayed."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from qgasim.conversation import (
    ConversationWriter,
    Step,
    pack,
    parse_conversation,
    read_conversation,
    unpack,
)
from qgasim.conversation.exchanges import form_of, key_of, recorded_exchanges
from qgasim.conversation.playing import Played, Player
from qgasim.effects import Close, Wait
from qgasim.errors import ConversationError
from qgasim.scenario import loads
from qgasim.simulation.journal import Journal
from qgasim.upstream.recording import Manner, make_replay
from tests.golden_cases import GOLDEN
from tests.serving import SECOND, Course

META = b'{"meta": {"agent": "7.2.22"}}\n'
PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'


def talk(*steps: Any, meta: dict[str, Any] | None = None) -> list[bytes]:
    """Return the lines of a recording: pairs of what was sent and received, or steps."""
    lines = [msgspec.json.encode({"meta": meta or {"agent": "7.2.22"}}) + b"\n"]
    for step in steps:
        sent, received = step if isinstance(step, tuple) else (None, None)
        made = Step(send=pack(sent), recv=pack(received or b"")) if sent is not None else step
        lines.append(msgspec.json.encode(made) + b"\n")
    return lines


def replay(lines: list[bytes], scenario: str = "extends: debian-12", **manner: Any) -> Course:
    """Return a channel that answers from a recording."""
    course = Course("debian-12")
    conversation = parse_conversation(lines, "talk.jsonl")
    front = make_replay(loads(scenario), conversation, Manner(**manner))
    course.take(front.build(course.clock))
    course.clock.now = 12 * SECOND
    return course


# -- the format ------------------------------------------------------------------------------------


def test_bytes_are_written_as_characters() -> None:
    data = bytes(range(256))
    assert unpack(pack(data)) == data
    step = msgspec.json.decode(b'{"send": ["a", {"repeat": ["bc", 2]}, "d"]}', type=Step)
    assert step.sent == b"abcbcd"


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    now = 5.0
    with path.open("wb") as file:
        writer = ConversationWriter(file.write, lambda: now, {"agent": "7.2.22"})
        writer.connected(1)
        now += 0.25
        writer.sent(1, b"\xff" + PING)
        writer.received(1, PONG)
        writer.received(1, b"", end="EOF")
        writer.sent(1, b"{}", to="qmp")
        writer.closed(1)
    found = read_conversation(str(path))
    assert found.release == "7.2.22"
    assert [(s.at, s.to, s.action, s.sent, s.received, s.end) for s in found.steps] == [
        (0.0, "agent", "connect", b"", b"", None),
        (0.25, "agent", "send", b"\xff" + PING, b"", None),
        (0.25, "agent", "read", b"", PONG, None),
        (0.25, "agent", "read", b"", b"", "EOF"),
        (0.25, "qmp", "send", b"{}", b"", None),
        (0.25, "agent", "close", b"", b"", None),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "talk.jsonl: empty (expected a first line with `meta`)"),
        (b"root:x:0:0\n", "talk.jsonl:1: JSON is malformed: invalid character (byte 0)"),
        (b'{"meta": {"conv', "talk.jsonl:1: the line is cut off"),
        (b'{"send": ""}\n', "talk.jsonl:1: Object contains unknown field `send`"),
        (b'{"meta": {"conversation": 2}}\n', "talk.jsonl:1: version 2 of the format is unknown"),
        (META + b'{"send": "a', "talk.jsonl:2: the line is cut off"),
        (META + b"{}\n\xff\n", "talk.jsonl:3: "),
        (META + b'{"sent": "a"}\n', "talk.jsonl:2: Object contains unknown field `sent`"),
        (META + '{"send": "☃"}\n'.encode(), "talk.jsonl:2: '☃' is not a byte (U+0000 to U+00FF)"),
        (
            META + b'{"recv": {"repeat": ["x", 9]}}\n',
            "talk.jsonl:2: Expected `str | array`, got `object`",
        ),
        (
            META + b'{"recv": [{"repeat": ["x", 99999999999]}]}\n',
            "talk.jsonl:2: more than 80 MiB in a step",
        ),
        (META + b"[" * 3000 + b"\n", "talk.jsonl:2: "),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: bytes, why: str) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_bytes(text)
    with pytest.raises(ConversationError) as error:
        read_conversation(str(path))
    found = str(error.value).removeprefix(f"{tmp_path}/")
    assert found.startswith(why)
    assert "\n" not in found


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConversationError, match=r"^/nonexistent/x: No such file or directory$"):
        read_conversation("/nonexistent/x")


def test_a_replay_says_which_release_it_lacks() -> None:
    with pytest.raises(ConversationError, match=r"^talk.jsonl:1: no `agent` in meta"):
        replay(talk(meta={"x": 1}))
    with pytest.raises(
        ConversationError, match=r"^talk.jsonl:1: no such release of qemu-ga: '0.1'"
    ):
        replay(talk(meta={"agent": "0.1"}))


# -- which reply a request gets --------------------------------------------------------------------


def test_a_request_gets_the_next_reply_to_the_same() -> None:
    course = replay(
        talk(
            (b'{"execute":"guest-get-time"}', b'{"return": 1}\n'),
            (PING, PONG),
            (b'{"execute":"guest-get-time"}', b'{"return": 2}\n'),
        )
    )
    assert course.send(PING) == PONG
    got = [course.say("guest-get-time")["return"] for _ in range(4)]
    assert got == [1, 2, 2, 2]


def test_the_order_of_arguments_does_not_matter_and_their_values_do() -> None:
    ask = b'{"execute":"guest-file-open","arguments":{"path":"/a","mode":"r"}}\n'
    course = replay(talk((ask, b'{"return": 1000}\n')))
    assert course.say("guest-file-open", mode="r", path="/a") == {"return": 1000}
    assert course.say("guest-file-open", mode="w", path="/a")["error"]["desc"] == (
        'the recording has no reply to guest-file-open {"mode": "w", "path": "/a"}'
    )


def test_ids_and_synchronisations_are_bound_anew() -> None:
    sync = b'{"execute":"guest-sync-delimited","arguments":{"id":1},"id":"a"}\n'
    course = replay(
        talk(
            (sync, b'\xff{"return": 1, "id": "a"}\n'),
            (
                b'{"execute":"guest-nope","id":1}\n',
                b'{"id": 1, "error": {"class": "C", "desc": "d"}}\n',
            ),
            (b'{"execute":"guest-sync","arguments":{"id":"x"}}', b'{"error": {}}\n'),
        )
    )
    assert (
        course.send(b'{"execute":"guest-sync-delimited","arguments":{"id":77}}')
        == b'\xff{"return": 77}\n'
    )
    assert course.send(sync) == b'\xff{"return": 1, "id": "a"}\n'
    assert course.send(b'{"execute":"guest-nope","id":[2]}') == (
        b'{"id": [2], "error": {"class": "C", "desc": "d"}}\n'
    )
    assert course.send(b'{"execute":"guest-nope"}') == b'{"error": {"class": "C", "desc": "d"}}\n'
    assert course.send(b'{"execute":"guest-sync","arguments":{"id":"x"}}') == b'{"error": {}}\n'


def opened(path: str, handle: int) -> tuple[bytes, bytes]:
    ask = msgspec.json.encode({"execute": "guest-file-open", "arguments": {"path": path}})
    return ask, b'{"return": %d}\n' % handle


def read(handle: int, text: bytes) -> tuple[bytes, bytes]:
    ask = {"execute": "guest-file-read", "arguments": {"handle": handle}}
    return msgspec.json.encode(ask), b'{"return": "%s"}\n' % text


def test_handles_are_bound_anew() -> None:
    # The agent was started again between the two: the same number is another file.
    course = replay(
        talk(
            opened("/a", 1000),
            read(1000, b"a1"),
            read(1000, b"a2"),
            opened("/b", 1000),
            read(1000, b"b"),
        )
    )
    second = course.say("guest-file-open", path="/b")["return"]
    first = course.say("guest-file-open", path="/a")["return"]
    assert (second, first) == (1000, 1001)
    again = course.say("guest-file-open", path="/a")["return"]
    assert again == 1002
    got = [course.say("guest-file-read", handle=h)["return"] for h in (first, second, first, again)]
    assert got == ["a1", "b", "a2", "a1"]


def test_pids_are_bound_anew() -> None:
    run = b'{"execute":"guest-exec","arguments":{"path":"true"}}'
    asked = b'{"execute":"guest-exec-status","arguments":{"pid":7}}'
    course = replay(
        talk((run, b'{"return": {"pid": 7}}\n'), (asked, b'{"return": {"exited": true}}\n'))
    )
    pids = [course.say("guest-exec", path="true")["return"]["pid"] for _ in range(2)]
    assert pids == [7, 8]
    assert all(course.say("guest-exec-status", pid=pid)["return"]["exited"] for pid in pids)


def test_strictly_the_order_matters() -> None:
    course = replay(
        talk((PING, PONG), (b'{"execute":"guest-info"}', b'{"return": 1}\n')), is_strict=True
    )
    journal = Journal(course.simulation)
    expected = "talk.jsonl:2: expected guest-ping, found guest-info"
    assert course.say("guest-info")["error"]["desc"] == expected
    assert expected in journal.transcript()
    assert course.send(PING) == PONG
    assert course.say("guest-info") == {"return": 1}
    assert course.say("guest-info")["error"]["desc"] == "the recording is over, found guest-info"


def test_the_model_answers_the_rest() -> None:
    course = replay(talk((PING, PONG)), then="model")
    assert course.say("guest-get-host-name") == {"return": {"host-name": "debian"}}


def test_replies_take_as_long_as_they_took() -> None:
    course = replay(
        talk(
            Step(at=1.0, conn=1, action="send", send=pack(PING)),
            Step(at=1.5, conn=1, action="read", recv=pack(PONG)),
        ),
        has_pace=True,
    )
    assert list(course.channel.receive(PING)) == [Wait(SECOND // 2), PONG]


def test_a_connection_ends_as_it_did() -> None:
    course = replay(
        talk(
            Step(conn=1, action="send", send=pack(PING)),
            Step(conn=1, action="read", recv='{"ret', end="EOF"),
            Step(conn=2, action="send", send=pack(PING)),
            Step(conn=2, action="read", end="ConnectionResetError"),
        )
    )
    assert list(course.channel.receive(PING)) == [b'{"ret', Close()]
    assert list(course.channel.receive(PING)) == [Close("reset")]


def test_a_command_that_was_not_answered_is_not() -> None:
    course = replay(talk((b'{"execute":"guest-shutdown"}\n', b""), (PING, PONG)))
    assert course.send(b'{"execute":"guest-shutdown"}\n' + PING) == PONG


def test_faults_stand_in_front() -> None:
    course = replay(talk((PING, PONG)), "extends: debian-12\nfaults: [{kind: crlf}]")
    assert course.send(PING) == b'{"return": {}}\r\n'


def test_in_a_redacted_recording_texts_do_not_matter() -> None:
    ask = b'{"execute":"guest-exec","arguments":{"path":"/bin/x","arg":["arg-1","arg-2"]}}'
    lines = talk((ask, b'{"return": {"pid": 3}}\n'), meta={"agent": "7.2.22", "redacted": True})
    for is_strict in (False, True):
        course = replay(lines, is_strict=is_strict)
        assert "error" in course.say("guest-exec", path="/bin/x", arg=["one"])
        assert course.say("guest-exec", path="/bin/y", arg=["o", 't"']) == {"return": {"pid": 3}}
    assert form_of(key_of({"execute": "a", "arguments": {"b": 'x": "', "c": 1}}, {})) == (
        "a",
        '{"b": *, "c": 1}',
    )


@pytest.mark.slow
def test_the_golden_recordings_can_be_replayed() -> None:
    conversation = read_conversation(str(GOLDEN / "7.2" / "args.jsonl"))
    simulation = make_replay(loads("extends: debian-12"), conversation, Manner()).build()
    agent = simulation.agent
    exchanges = recorded_exchanges(conversation, agent.dialect, agent.commands.table)
    player = Player(exchanges, agent.dialect, is_strict=True)
    for recorded in exchanges[:200]:
        played = player.play(recorded.request)
        assert isinstance(played, Played)
        assert (played.reply[:20], played.end) == (recorded.reply[:20], None)
    received = b"".join(step.received for step in conversation.steps if not step.resync)
    assert sum(recorded.reply.count(b"\n") for recorded in exchanges) == received.count(b"\n")
