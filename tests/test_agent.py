"""The agent as a process: what it serves when, what it forgets, what it keeps. No sockets."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgasim.effects import Close, Wait
from qgasim.wire import Message
from tests.serving import SECOND, Course, error, on_exchange, request

PING = b'{"execute":"guest-ping"}'
PONG = b'{"return": {}}\n'

#: For tests of many requests that may find it as the one before has left it.
COURSES = {release: Course("debian-12", release=release) for release in ("3.1", "7.2", "11.1")}


#: A request, and the text of its error (recorded: tests/golden/7.2/wire.jsonl, execute-*, extra-member-*).
ENVELOPE: dict[str, tuple[bytes, str]] = {
    "no object": (b"[]", "QMP input must be a JSON object"),
    "nothing in it": (b"{}", "QMP input lacks member 'execute'"),
    "execute is a number": (b'{"execute":1}', "QMP input member 'execute' must be a string"),
    "arguments is null": (
        b'{"execute":"guest-ping","arguments":null}',
        "QMP input member 'arguments' must be an object",
    ),
    "the envelope comes before the command": (
        b'{"execute":"guest-nope","arguments":1}',
        "QMP input member 'arguments' must be an object",
    ),
    "an unknown member": (
        b'{"execute":"guest-ping","control":1}',
        "QMP input member 'control' is unexpected",
    ),
    "two unknown members": (
        b'{"execute":"guest-ping","zzz":1,"aaa":2}',
        "QMP input member 'aaa' is unexpected",
    ),
    "exec-oob": (b'{"exec-oob":"guest-ping"}', "QMP input member 'exec-oob' is unexpected"),
}

#: Base64 that is taken, and what comes of it (recorded: tests/golden/7.2/file.jsonl, write-b64-*).
BASE64: dict[str, tuple[str, bytes]] = {
    "nothing": ("", b""),
    "whole groups": ("aGVsbG8h", b"hello!"),
    "padding": ("aGk=", b"hi"),
    "no padding": ("aGVsbG8", b"hel"),
    "one character": ("a", b""),
    "two characters": ("aG", b""),
    "three characters": ("aGV", b""),
    "padding alone": ("====", b"\0"),
    "too much padding": ("aGk==", b"hi"),
    "two texts": ("aGk=aGk=", b"hihi"),
    "bits that do not count": ("aGl=", b"hi"),
    "a newline": ("aG\nk=", b"hi"),
}
NOT_BASE64 = {
    "a space": "aG k=",
    "a tab": "aG\tk=",
    "a return": "aG\rk=",
    "the alphabet of URLs": "_-__",
    "NUL": "aGk=\0",
    "no ASCII": "aGk\u00e9",
}

HOOKED = """\
qgasim: 1
guest:
  programs:
    - {path: /sbin/hwclock, duration: 60ms}
"""


# -- one request after the other -------------------------------------------------------------------


def test_a_request_is_executed_when_the_replies_before_it_were_taken() -> None:
    course = Course()
    executed: list[Message] = []
    on_exchange(course.simulation, lambda message, _: executed.append(message))
    effects = course.channel.receive(PING * 3)
    for number in (1, 2, 3):
        assert next(effects) == PONG
        assert len(executed) == number
    assert next(effects, None) is None


def test_a_request_sees_what_the_one_before_it_did() -> None:
    course = Course()
    opened = request("guest-file-open", path="/tmp/a", mode="w")
    closed = request("guest-file-close", handle=1000)
    again = request("guest-file-close", handle=1000)
    assert course.send(opened + closed + again).splitlines() == [
        b'{"return": 1000}',
        b'{"return": {}}',
        b'{"error": {"class": "GenericError", "desc": "handle \'1000\' has not been found"}}',
    ]


def test_a_request_in_two_pieces_is_one_request() -> None:
    course = Course()
    assert course.send(b'{"execute":"guest-') == b""
    assert course.send(b'ping"}') == PONG


def test_an_id_comes_back_after_a_result_and_before_an_error() -> None:
    # The order of the hash table (recorded: tests/golden/7.2/wire.jsonl, id-object and
    # id-with-envelope-error).
    course = Course()
    assert course.send(b'{"execute":"guest-ping","id":{"b":1,"a":null}}') == (
        b'{"return": {}, "id": {"a": null, "b": 1}}\n'
    )
    assert course.send(b'{"id":"x","execute":1}') == (
        b'{"id": "x", "error": {"class": "GenericError", '
        b'"desc": "QMP input member \'execute\' must be a string"}}\n'
    )


@pytest.mark.parametrize("name", ENVELOPE)
def test_an_envelope_that_is_wrong_is_refused(name: str) -> None:
    text, answer = ENVELOPE[name]
    assert json.loads(Course().send(text)) == {"error": {"class": "GenericError", "desc": answer}}


def test_only_a_delimited_sync_that_succeeds_is_marked() -> None:
    course = Course()
    assert course.send(request("guest-sync-delimited", id=1)) == b'\xff{"return": 1}\n'
    assert course.send(PING) == PONG
    assert course.send(request("guest-sync-delimited")) == (
        b'{"error": {"class": "GenericError", "desc": "Parameter \'id\' is missing"}}\n'
    )
    assert course.send(PING) == PONG


# -- the process -----------------------------------------------------------------------------------


def test_a_new_process_has_no_handles_but_counts_on() -> None:
    course = Course()
    assert course.say("guest-file-open", path="/etc/hostname") == {"return": 1000}
    course.kill_agent()
    course.advance(1)
    assert error(course.say("guest-file-close", handle=1000)) == (
        "handle '1000' has not been found"
    )
    assert course.say("guest-file-open", path="/etc/hostname") == {"return": 1001}


def test_a_new_process_does_not_know_what_the_old_one_started() -> None:
    course = Course()
    pid = course.say("guest-exec", path="/bin/sleep", arg=["1"])["return"]["pid"]
    course.kill_agent()
    course.advance(2)
    assert error(course.say("guest-exec-status", pid=pid)) == "Invalid parameter 'pid'"


def test_half_a_request_is_lost_with_the_process() -> None:
    course = Course()
    course.send(b'{"execute":"guest-')
    course.kill_agent()
    course.advance(1)
    assert course.send(PING) == PONG


@pytest.mark.parametrize(("number", "kept"), [(15, b"hi"), (9, b"")], ids=["terminated", "killed"])
def test_what_is_buffered_is_kept_by_sigterm_and_lost_by_sigkill(number: int, kept: bytes) -> None:
    # SIGTERM lets main() return (qga/main.c, quit_handler()), so the C library flushes. SIGKILL:
    # tests/golden/7.2/file.jsonl, unwritten-data-lost-with-agent.
    course = Course()
    course.say("guest-file-open", path="/tmp/a", mode="w")
    course.say("guest-file-write", handle=1000, buf_b64="aGk=")
    assert course.guest.files.read("/tmp/a") == b""
    course.kill_agent(number)
    assert course.guest.files.read("/tmp/a") == kept


def test_requests_wait_for_the_new_process() -> None:
    course = Course("agent: {respawn: 100ms}")
    course.kill_agent()
    assert course.send(PING) == b""
    assert course.send(PING) == b""
    assert course.advance(0.05) == b""
    assert course.advance(0.06) == PONG * 2


def test_an_agent_that_has_died_is_started_again_at_once() -> None:
    # /lib/systemd/system/qemu-guest-agent.service of Debian 12: Restart=always, RestartSec=0.
    course = Course()
    course.say("guest-file-open", path="/etc/hostname")
    course.kill_agent()
    assert course.send(PING) == PONG
    assert "error" in course.say("guest-file-close", handle=1000)


def test_an_agent_that_is_not_started_again_answers_nothing_and_takes_a_megabyte() -> None:
    course = Course("qgasim: 1\nagent: {respawn: never}")
    course.kill_agent()
    assert course.send(PING) == b""
    assert course.advance(3600) == b""
    assert not course.channel.is_full
    assert course.send(b" " * (1 << 20)) == b""
    assert course.channel.is_full


def test_a_stopped_process_answers_when_it_goes_on() -> None:
    course = Course()
    course.kill_agent(19)
    assert course.send(PING) == b""
    course.kill_agent(18)
    assert course.advance(0) == PONG


def test_an_agent_that_is_the_server_is_not_there_until_it_is_started_again() -> None:
    course = Course("qgasim: 1\nagent: {channel: unix-listen, respawn: 1s}")
    course.channel.lose_client(unread=None)
    assert course.send(PING) == PONG
    course.channel.lose_client(unread=b"")
    assert not course.channel.is_open
    course.advance(2)
    assert course.send(PING) == PONG


# -- helpers ---------------------------------------------------------------------------------------


def test_a_reply_waits_for_the_program_that_the_agent_runs() -> None:
    course = Course(HOOKED)
    sync = b'{"execute":"guest-set-time"}'
    first, wait, second, third = course.effects(PING + sync + PING)
    assert (first, second, third) == (PONG, PONG, PONG)
    assert isinstance(wait, Wait)
    # The program is started, and runs 60 ms.
    assert 12.06 <= wait.until / SECOND < 12.07
    assert list(course.agent.helpers) == [["hwclock", "-s"]]


def test_a_program_that_takes_no_time_to_speak_of_is_waited_for_a_moment() -> None:
    course = Course()
    wait, reply = course.effects(b'{"execute":"guest-set-time"}')
    assert isinstance(wait, Wait)
    assert 12 < wait.until / SECOND < 12.02
    assert reply == PONG


# -- asleep ----------------------------------------------------------------------------------------


def test_a_suspended_guest_answers_after_it_woke_up() -> None:
    course = Course()
    assert course.say("guest-suspend-ram") is None
    course.advance(1)
    assert course.guest.power.events == ["SUSPEND"]
    assert course.send(PING) == b""
    assert course.advance(60) == b""
    course.guest.power.wake()
    assert course.advance(0) == PONG
    assert course.guest.power.events == ["SUSPEND", "WAKEUP"]


def test_a_guest_can_be_woken_by_its_scenario() -> None:
    course = Course("qgasim: 1\nguest: {power: {wake_after: 5s}}")
    assert course.say("guest-suspend-ram") is None
    course.advance(1)
    assert course.send(PING) == b""
    assert course.advance(5) == PONG


@pytest.mark.parametrize("how", ["sleep", "pause"])
def test_an_agent_that_died_while_its_guest_did_not_run_is_started_when_it_does(how: str) -> None:
    course = Course("qgasim: 1\nagent: {respawn: 1s}")
    power = course.guest.power
    power.sleep("ram") if how == "sleep" else power.pause(None)
    course.advance(1)
    course.agent.crash()
    course.advance(60)
    assert course.agent.process is None
    power.wake() if how == "sleep" else power.resume()
    course.advance(2)
    assert course.send(PING) == PONG


# -- off -------------------------------------------------------------------------------------------


def test_a_shutdown_is_not_answered_and_hangs_up() -> None:
    course = Course()
    data = PING + b'{"execute":"guest-shutdown","id":1}' + PING
    assert course.send(data) == PONG * 2
    course.clock.now += SECOND
    assert list(course.channel.wake()) == [Close()]
    assert course.guest.power.events == ["SHUTDOWN"]
    assert [" ".join(argv) for argv in course.agent.helpers] == [
        "shutdown -h -P +0 hypervisor initiated shutdown"
    ]


def test_a_halted_guest_answers_nothing_and_gives_no_event() -> None:
    course = Course()
    assert course.say("guest-shutdown", mode="halt") is None
    course.advance(1)
    assert course.send(PING) == b""
    assert course.advance(3600) == b""
    assert course.guest.power.events == []


def test_after_a_reboot_there_is_a_new_agent_that_counts_on() -> None:
    course = Course()
    course.say("guest-file-open", path="/etc/hostname")
    course.say("guest-fsfreeze-status")
    assert course.say("guest-shutdown", mode="reboot") is None
    course.advance(1)
    assert course.guest.power.events == ["RESET"]
    assert course.send(PING) == b""
    assert course.advance(5) == PONG
    assert error(course.say("guest-file-close", handle=1000)) == (
        "handle '1000' has not been found"
    )
    assert course.say("guest-file-open", path="/etc/hostname") == {"return": 1001}


def test_after_a_reboot_nothing_is_frozen() -> None:
    course = Course()
    assert course.say("guest-fsfreeze-freeze") == {"return": 1}
    course.guest.power.shut_down("reboot", 0)
    course.advance(30)
    assert course.say("guest-fsfreeze-status") == {"return": "thawed"}
    assert "return" in course.say("guest-get-host-name")


def test_an_unknown_mode_of_shutdown_is_refused() -> None:
    # The parenthesis is never closed (recorded: tests/golden/7.2/shutdown.jsonl, invalid-bogus).
    assert error(Course().say("guest-shutdown", mode="off")) == (
        "mode is invalid (valid values are: halt|powerdown|reboot"
    )


# -- disks ------------------------------------------------------------------------------------------


def test_disks_that_depend_on_each_other_end_nowhere() -> None:
    course = Course("debian-12")
    disk = course.guest.disks[0]
    root = course.guest.files.mounts[0].volume
    root.device = f"/dev/{disk.name}"
    disk.depends = [disk.name]
    systems = {s["mountpoint"]: s["disk"] for s in course.say("guest-get-fsinfo")["return"]}
    assert systems["/"] == []


# -- base64 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASE64)
def test_base64_is_taken_as_glib_takes_it(name: str) -> None:
    text, data = BASE64[name]
    course = Course()
    course.say("guest-file-open", path="/tmp/a", mode="w")
    reply = course.say("guest-file-write", handle=1000, buf_b64=text)
    assert reply == {"return": {"count": len(data), "eof": False}}
    course.say("guest-file-close", handle=1000)
    assert course.guest.files.read("/tmp/a") == data


@pytest.mark.parametrize("name", NOT_BASE64)
def test_what_is_not_base64_is_refused(name: str) -> None:
    course = Course()
    course.say("guest-file-open", path="/tmp/a", mode="w")
    reply = course.say("guest-file-write", handle=1000, buf_b64=NOT_BASE64[name])
    assert error(reply) == "Base64 data contains invalid characters"


# -- any bytes -------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b":",
            b",",
            b'"',
            b"'",
            b"\\",
            b"\xff",
            b"\x00",
            b"\n",
            b"1",
            b"x",
            b"%",
        ),
        *(PING, b'{"execute":', b'"arguments":', b'"id":', b'"guest-sync"', b'{"id":1}', b"null"),
        b'{"execute":"guest-file-open","arguments":{"path":',
        b'{"execute":"guest-exec-status","arguments":{"pid":1}}',
    ]
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(st.one_of(PIECES, st.binary(max_size=4)), max_size=12), size=st.integers(1, 9)
)
@pytest.mark.parametrize("release", COURSES)
def test_whatever_was_sent_0xff_and_a_good_request_are_answered(
    release: str, parts: list[bytes], size: int
) -> None:
    course = COURSES[release]
    data = b"".join(parts)
    replies = b"".join(course.send(data[i : i + size]) for i in range(0, len(data), size))
    last = course.send(b"\xff" + PING)
    for reply in (replies + last).splitlines():
        assert {"return", "error"} & set(json.loads(reply.lstrip(b"\xff")))
    assert last.endswith(PONG)
