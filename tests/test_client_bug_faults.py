"""The scenarios of client bugs in which something goes wrong: what a client sees of it.

What is seen is what the report says that the scenario's `origin` names.
"""

import base64
import json
from typing import Any

import pytest

from qgasim.client.blocking import SyncClient
from qgasim.effects import Close, Wait
from qgasim.errors import ClientError
from qgasim.guest.units import FOR_EVER
from qgasim.scenario import library, load
from tests.serving import PATIENCE, SECOND, Course, connect, read_line, request, serving

PING = request("guest-ping")
PONG = b'{"return": {}}\n'
FREEZE = request("guest-fsfreeze-freeze")
THAW = request("guest-fsfreeze-thaw")
STATUS = request("guest-fsfreeze-status")
SYNC = request("guest-sync", id=77)
STRAY = b'{"error": {"class": "GenericError", "desc": "JSON parse error, stray \'x\'"}}\n'
DELIMITED = request("guest-sync-delimited", id=78)
SILENCE = b""


def ask(course: Course, data: bytes) -> Any:
    """Send a request; give the reply, with how long it takes in seconds if it waits."""
    waited = 0
    got = b""
    for effect in course.channel.receive(data):
        if isinstance(effect, Wait):
            if effect.until >= FOR_EVER:
                return "hangs"
            waited += max(0, effect.until - course.guest.clock.uptime())
            course.clock.now += max(0, effect.until - course.guest.clock.uptime())
        elif isinstance(effect, Close):
            return "closed"
        else:
            got += effect
    return (waited / SECOND, got) if waited else got


#: A scenario, what is sent one after the other, and what comes.
SEEN: dict[str, list[tuple[bytes, Any]]] = {
    "freeze-hangs": [(PING, PONG), (FREEZE, "hangs")],
    "freeze-lost-by-reboot": [(PING, PONG), (FREEZE, SILENCE)],
    "agent-absent": [(PING, SILENCE), (FREEZE, SILENCE)],
    "enabled-not-running": [(request("guest-shutdown"), SILENCE), (PING, SILENCE)],
    "answers-after-30s": [(PING, (30.0, PONG)), (SYNC, (30.0, b'{"return": 77}\n'))],
    "agent-never-up": [(PING, SILENCE)] * 3,
    "ping-timeout-then-ok": [(PING, SILENCE)] * 3 + [(PING, PONG)],
    "slow-decay": [(PING, (0.05, PONG)), (PING, (0.1, PONG)), (PING, (0.15, PONG))],
    "extra-parse-error-line": [
        (DELIMITED, STRAY + b'\xff{"return": 78}\n'),
    ],
    "freeze-unresponsive": [(FREEZE, SILENCE), (STATUS, b'{"return": "thawed"}\n')],
    "freeze-while-paused": [(FREEZE, SILENCE)],
    "thaw-hangs": [(STATUS, b'{"return": "thawed"}\n'), (THAW, "hangs")],
    "exec-status-reply-lost": [
        (request("guest-exec", path="true"), None),
        (request("guest-exec-status", pid=0), SILENCE),
        (
            request("guest-exec-status", pid=0),
            b'{"error": {"class": "GenericError", "desc": "Invalid parameter \'pid\'"}}\n',
        ),
    ],
    "password-silence": [
        (
            request("guest-set-user-password", username="root", password="YQ==", crypted=False),
            SILENCE,
        ),
        (PING, PONG),
    ],
}
#: A scenario, and what the first client finds in the channel.
FOUND = {
    "stale-chain": b'{"return": 1}\n',
    "stale-freeze-reply": b'{"return": 1}\n',
    "half-line-leftover": b'{"return": {"count": 7, "buf-b64": "aGVsb',
}
#: Those that are looked at in a test of their own, below.
OTHERS = {
    "bandwidth-90KBps", "early-connect-black-hole", "every-third-fails", "loaded-host",
    "pipelined-split", "restart-loop", "thaw-deadline", "write-chunk-limit",
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_a_client_sees_what_went_wrong(name: str) -> None:
    course = Course(name)
    course.advance(0)
    for number, (sent, expected) in enumerate(SEEN[name]):
        seen = ask(course, sent)
        if expected is not None:
            assert seen == expected, number


@pytest.mark.parametrize("name", FOUND)
def test_the_first_client_finds_what_another_left(name: str) -> None:
    course = Course(name)
    assert b"".join(e for e in course.channel.connect() if type(e) is bytes) == FOUND[name]


def test_after_a_stale_reply_the_guest_is_frozen_until_it_is_thawed() -> None:
    course = Course("stale-freeze-reply")
    assert course.say("guest-fsfreeze-status") == {"return": "frozen"}
    # In 7.2's words (recorded: fsfreeze/*).
    desc = "Command guest-get-osinfo has been disabled: the agent is in frozen state"
    error = {"class": "CommandNotFound", "desc": desc}
    assert course.say("guest-get-osinfo") == {"error": error}
    assert course.guest.volumes["/dev/vda1"].is_frozen
    # As many as the stale reply says.
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}
    assert course.say("guest-fsfreeze-status") == {"return": "thawed"}
    assert course.say("guest-get-osinfo")["return"]["id"] == "debian"


def test_the_guest_reboots_when_the_freeze_was_read() -> None:
    course = Course("freeze-lost-by-reboot")
    course.send(FREEZE)
    course.advance(0)
    assert course.guest.power.events == ["RESET"]
    assert course.send(PING) == SILENCE
    assert course.advance(21) == PONG


def test_the_second_connection_is_served(tmp_path: Any) -> None:
    with serving(tmp_path, "early-connect-black-hole") as thread:
        with pytest.raises(ClientError, match="no answer"):
            SyncClient(thread.path, timeout=0.3)
        with SyncClient(thread.path, timeout=PATIENCE) as client:
            assert client.call("guest-ping") == {}


def test_every_connection_is_closed_at_once(tmp_path: Any) -> None:
    with serving(tmp_path, "restart-loop") as thread:
        for _ in range(3):
            with connect(thread.path) as sock:
                assert read_line(sock) == b""


def test_every_third_look_fails() -> None:
    course = Course("every-third-fails")
    seen = ["return" in course.say("guest-get-fsinfo") for _ in range(6)]
    assert seen == [True, True, False] * 2


def test_a_loaded_host_answers_late_and_sometimes_very_late() -> None:
    course = Course("loaded-host")
    delays = sorted(ask(course, PING)[0] for _ in range(200))
    assert 2.5 < delays[100] < 6
    assert delays[-1] > 30


def test_the_second_reply_comes_late_and_in_pieces() -> None:
    course = Course("pipelined-split")
    data = DELIMITED + request("guest-get-osinfo")
    pieces = [e for e in course.channel.receive(data) if type(e) is bytes]
    assert pieces[0] == b'\xff{"return": 78}\n'
    assert [len(piece) for piece in pieces[1:3]] == [20, 1]
    assert json.loads(b"".join(pieces[1:]))["return"]["id"] == "debian"


def test_a_file_comes_at_90_kilobytes_a_second() -> None:
    course = Course("bandwidth-90KBps")
    course.guest.files.write("/tmp/big", bytes(67_500))
    course.say("guest-file-open", path="/tmp/big")
    took, reply = ask(course, request("guest-file-read", handle=1000, count=67_500))
    # In base64 it is 90 kB.
    assert took == pytest.approx(len(reply) / 90_000, rel=0.15)


@pytest.mark.parametrize(
    ("name", "limit", "count", "desc"),
    [
        ("thaw-deadline", 30, 1, "fsfreeze hook has failed with status 3"),
        # The real agent says nothing after the colon.
        ("vss-ten-seconds", 10, 2, "couldn't hold writes: fsfreeze is limited up to 10 seconds: "),
    ],
)
def test_a_late_thaw_is_an_error_and_thaws(name: str, limit: int, count: int, desc: str) -> None:
    course = Course(name)
    if name == "thaw-deadline":
        # A thaw after a failed freeze thaws nothing.
        assert ask(course, FREEZE).startswith(b'{"error"')
        assert course.say("guest-fsfreeze-thaw") == {"return": 0}
    for is_late in (False, True, False):
        ask(course, FREEZE)
        assert course.say("guest-fsfreeze-status") == {"return": "frozen"}
        course.advance(limit + 1 if is_late else limit - 3)
        reply = course.say("guest-fsfreeze-thaw")
        error = {"error": {"class": "GenericError", "desc": desc}}
        assert reply == (error if is_late else {"return": count})
        assert course.say("guest-fsfreeze-status") == {"return": "thawed"}


def test_61440_bytes_can_be_written_at_once_and_no_byte_more() -> None:
    course = Course("write-chunk-limit")
    handle = course.say("guest-file-open", path="/tmp/f", mode="w")["return"]
    for size, is_written in ((61_440, True), (61_441, False)):
        data = base64.b64encode(bytes(size)).decode()
        reply = course.say("guest-file-write", handle=handle, buf_b64=data)
        assert ("return" in reply) == is_written
    # A MiB less a byte is what `qm guest exec --pass-stdin` takes (PR 188).
    for size, is_run in ((1_048_575, True), (1_048_576, False)):
        data = base64.b64encode(bytes(size)).decode()
        reply = course.say("guest-exec", path="cat", input_data=data)
        assert ("return" in reply) == is_run


@pytest.mark.slow
def test_every_scenario_with_faults_is_seen_here() -> None:
    with_faults = {
        name
        for name in library()
        if (scenario := load(name)).origin.startswith("client bug")
        and (scenario.faults or scenario.agent.stale_bytes)
    }
    seen = SEEN.keys() | FOUND.keys() | OTHERS
    assert with_faults - {"staged-readiness"} <= seen
    assert seen <= set(library())
