"""The agent as a process: what it serves when, what it forgets, what it keeps. No sockets."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgasim.effects import Close, Wait
from qgasim.wire import Message
from tests.serving import SECOND, Course, request

PING = b'{"execute":"guest-ping"}'
PONG = b'{"return": {}}\n'
NOT_FOUND = "CommandNotFound"
FROZEN = "Command {} has been disabled: the agent is in frozen state"
BLOCKED = "Command {} has been disabled"

#: For tests of many requests that may find it as the one before has left it.
COURSES = {release: Course("debian-12", release=release) for release in ("3.1", "7.2", "11.1")}

#: behaviour.md, section 8.
SERVED_WHILE_FROZEN = {
    "guest-ping",
    "guest-info",
    "guest-sync",
    "guest-sync-delimited",
    "guest-fsfreeze-status",
    "guest-fsfreeze-thaw",
}

#: A request, and the text of its error (behaviour.md, section 3).
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

#: Base64 that is taken, and what comes of it (behaviour.md, section 6).
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


def error(reply: Any) -> str:
    return str(reply["error"]["desc"])


def kill(course: Course, number: int = 9) -> None:
    """Send the agent's process a signal from inside the guest."""
    assert course.agent.process is not None
    course.guest.processes.kill(course.agent.process.pid, number)


# -- one request after the other -------------------------------------------------------------------


def test_a_request_is_executed_when_the_replies_before_it_were_taken() -> None:
    course = Course()
    executed: list[Message] = []
    course.agent.on_exchange = lambda message, _: executed.append(message)
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
    # behaviour.md, section 1: the order of the hash table.
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


# -- frozen ----------------------------------------------------------------------------------------


def test_a_frozen_agent_refuses_all_but_six_commands() -> None:
    course = Course()
    assert course.say("guest-fsfreeze-freeze") == {"return": 1}
    for name in course.agent.table:
        if name not in SERVED_WHILE_FROZEN:
            # Before the arguments are looked at: there are none.
            answer = {"class": NOT_FOUND, "desc": FROZEN.format(name)}
            assert course.say(name) == {"error": answer}
    enabled = {
        command["name"]
        for command in course.say("guest-info")["return"]["supported_commands"]
        if command["enabled"]
    }
    assert enabled == SERVED_WHILE_FROZEN
    assert course.say("guest-fsfreeze-status") == {"return": "frozen"}


def test_a_thawed_agent_serves_everything_again() -> None:
    course = Course()
    before = course.send(b'{"execute":"guest-info"}')
    course.say("guest-fsfreeze-freeze")
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}
    assert course.say("guest-fsfreeze-thaw") == {"return": 0}
    assert course.say("guest-fsfreeze-status") == {"return": "thawed"}
    assert course.send(b'{"execute":"guest-info"}') == before


def test_handles_survive_freezing() -> None:
    course = Course()
    course.say("guest-file-open", path="/etc/hostname")
    course.say("guest-fsfreeze-freeze")
    course.say("guest-fsfreeze-thaw")
    assert course.say("guest-file-close", handle=1000) == {"return": {}}


def test_a_blocked_command_keeps_the_text_of_the_frozen_state() -> None:
    course = Course("qgasim: 1\nagent: {block_rpcs: [guest-exec]}")
    assert error(course.say("guest-exec")) == BLOCKED.format("guest-exec")
    course.say("guest-fsfreeze-freeze")
    course.say("guest-fsfreeze-thaw")
    assert error(course.say("guest-exec")) == FROZEN.format("guest-exec")
    assert "return" in course.say("guest-get-osinfo")


def test_a_freeze_that_finds_nothing_leaves_its_words_to_blocked_commands() -> None:
    # commands-posix.c: ga_set_frozen() comes first, ga_unset_frozen() when nothing was frozen.
    course = Course("qgasim: 1\nagent: {block_rpcs: [guest-exec]}")
    assert course.say("guest-fsfreeze-freeze-list", mountpoints=["/nosuch"]) == {"return": 0}
    assert course.say("guest-fsfreeze-status") == {"return": "thawed"}
    assert error(course.say("guest-exec")) == FROZEN.format("guest-exec")
    assert "return" in course.say("guest-get-osinfo")


NOT_ALLOWED = "Command {} has been disabled: the command is not allowed"
#: How releases refuse guest-exec, as blocked and as not allowed, while frozen and after the thaw.
REFUSED = [
    ("6.2", "block_rpcs: [guest-exec]", BLOCKED, FROZEN, FROZEN),
    # qga/main.c before 9.1: a command that is not allowed is told so from the start.
    ("8.2", "block_rpcs: [guest-exec]", BLOCKED, FROZEN, FROZEN),
    ("8.2", "allow_rpcs: [guest-fsfreeze-freeze]", NOT_ALLOWED, FROZEN, FROZEN),
    ("10.0", "block_rpcs: [guest-exec]", NOT_ALLOWED, NOT_ALLOWED, NOT_ALLOWED),
    ("10.0", "allow_rpcs: [guest-fsfreeze-freeze]", NOT_ALLOWED, NOT_ALLOWED, NOT_ALLOWED),
]


@pytest.mark.parametrize(("release", "option", "before", "frozen", "after"), REFUSED)
def test_why_a_command_is_refused_depends_on_when(
    release: str, option: str, before: str, frozen: str, after: str
) -> None:
    course = Course(f'qgasim: 1\nagent: {{release: "{release}", {option}}}')

    def refused() -> str:
        return error(course.say("guest-exec"))

    said = [refused()]
    course.say("guest-fsfreeze-freeze")
    said.append(refused())
    course.agent.guest.thaw()
    course.agent.thaw()
    assert [*said, refused()] == [text.format("guest-exec") for text in (before, frozen, after)]


def test_what_may_be_done_while_frozen_is_served_then_although_it_is_blocked() -> None:
    # Since 9.1 (qga/main.c, ga_command_is_allowed()).
    options = "allow_rpcs: [guest-fsfreeze-freeze, guest-sync], block_rpcs: [guest-sync]"
    for release, is_served in (("8.2", False), ("9.1", True)):
        course = Course(f'qgasim: 1\nagent: {{release: "{release}", {options}}}')
        assert "error" in course.say("guest-sync", id=1)
        assert course.say("guest-fsfreeze-freeze") == {"return": 1}
        assert ("return" in course.say("guest-sync", id=1)) == is_served
        if is_served:
            assert course.say("guest-fsfreeze-status") == {"return": "frozen"}
            assert course.say("guest-fsfreeze-thaw") == {"return": 1}
            assert "error" in course.say("guest-sync", id=1)
            assert "error" in course.say("guest-fsfreeze-thaw")


def test_a_blocked_command_of_an_agent_that_starts_frozen_is_refused_as_blocked() -> None:
    # qga/main.c, initialize_agent(): what is blocked comes after what is not safe.
    course = Course("qgasim: 1\nagent: {block_rpcs: [guest-exec]}")
    course.say("guest-fsfreeze-freeze")
    kill(course)
    course.advance(1)
    assert error(course.say("guest-exec")) == BLOCKED.format("guest-exec")
    assert error(course.say("guest-get-osinfo")) == FROZEN.format("guest-get-osinfo")
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}
    assert error(course.say("guest-exec")) == BLOCKED.format("guest-exec")


def test_a_freeze_that_fails_thaws_and_calls_the_hook() -> None:
    # commands-posix.c, qmp_guest_fsfreeze_freeze_list(): qmp_guest_fsfreeze_thaw(NULL).
    hook = "#!/bin/sh\\necho $1 >> /tmp/called\\n[ $1 = freeze ]\\n"
    course = Course(f"""
qgasim: 1
agent: {{fsfreeze_hook: /hook}}
guest:
  files: {{/hook: {{text: "{hook}", mode: "755"}}}}
  mounts:
    - {{device: /dev/vda1, path: /, size: 1000000, freeze_error: EIO}}
    - {{device: /dev/vda2, path: /data, size: 1000000}}
  disks: [{{name: vda, partitions: [{{name: vda1}}, {{name: vda2}}]}}]
""")
    said = error(course.say("guest-fsfreeze-freeze"))
    assert said == "failed to freeze /: Input/output error"
    assert course.say("guest-fsfreeze-status") == {"return": "thawed"}
    assert course.guest.files.read("/tmp/called") == b"freeze\nthaw\n"


def test_what_is_not_allowed_is_blocked_before_and_after_a_thaw() -> None:
    allowed = "[guest-fsfreeze-freeze, guest-fsfreeze-thaw]"
    course = Course(f"qgasim: 1\nagent: {{allow_rpcs: {allowed}}}")
    assert error(course.say("guest-ping")) == BLOCKED.format("guest-ping")
    assert course.say("guest-fsfreeze-freeze") == {"return": 1}
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}
    assert course.say("guest-ping")["error"]["class"] == NOT_FOUND


def test_sigterm_does_not_end_a_frozen_agent() -> None:
    course = Course()
    course.say("guest-fsfreeze-freeze")
    process = course.agent.process
    kill(course, 15)
    course.advance(1)
    assert course.agent.process is process
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}
    kill(course, 15)
    course.advance(1)
    assert course.agent.process is not process


def test_an_agent_killed_while_frozen_starts_frozen() -> None:
    course = Course()
    course.say("guest-fsfreeze-freeze")
    process = course.agent.process
    kill(course)
    course.advance(1)
    assert course.agent.process is not process
    assert course.say("guest-fsfreeze-status") == {"return": "frozen"}
    assert error(course.say("guest-get-osinfo")) == FROZEN.format("guest-get-osinfo")
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}
    assert "return" in course.say("guest-get-osinfo")


# -- the process -----------------------------------------------------------------------------------


def test_a_new_process_has_no_handles_but_counts_on() -> None:
    course = Course()
    assert course.say("guest-file-open", path="/etc/hostname") == {"return": 1000}
    kill(course)
    course.advance(1)
    assert error(course.say("guest-file-close", handle=1000)) == (
        "handle '1000' has not been found"
    )
    assert course.say("guest-file-open", path="/etc/hostname") == {"return": 1001}


def test_a_new_process_does_not_know_what_the_old_one_started() -> None:
    course = Course()
    pid = course.say("guest-exec", path="/bin/sleep", arg=["1"])["return"]["pid"]
    kill(course)
    course.advance(2)
    assert error(course.say("guest-exec-status", pid=pid)) == "Invalid parameter 'pid'"


def test_half_a_request_is_lost_with_the_process() -> None:
    course = Course()
    course.send(b'{"execute":"guest-')
    kill(course)
    course.advance(1)
    assert course.send(PING) == PONG


@pytest.mark.parametrize(("number", "kept"), [(15, b"hi"), (9, b"")], ids=["terminated", "killed"])
def test_what_is_buffered_is_kept_by_sigterm_and_lost_by_sigkill(number: int, kept: bytes) -> None:
    # behaviour.md, section 5.
    course = Course()
    course.say("guest-file-open", path="/tmp/a", mode="w")
    course.say("guest-file-write", handle=1000, buf_b64="aGk=")
    assert course.guest.files.read("/tmp/a") == b""
    kill(course, number)
    assert course.guest.files.read("/tmp/a") == kept


def test_requests_wait_for_the_new_process() -> None:
    course = Course("agent: {respawn: 100ms}")
    kill(course)
    assert course.send(PING) == b""
    assert course.send(PING) == b""
    assert course.advance(0.05) == b""
    assert course.advance(0.06) == PONG * 2


def test_an_agent_that_has_died_is_started_again_at_once() -> None:
    # /lib/systemd/system/qemu-guest-agent.service of Debian 12: Restart=always, RestartSec=0.
    course = Course()
    course.say("guest-file-open", path="/etc/hostname")
    kill(course)
    assert course.send(PING) == PONG
    assert "error" in course.say("guest-file-close", handle=1000)


def test_an_agent_that_is_not_started_again_answers_nothing_and_takes_a_megabyte() -> None:
    course = Course("qgasim: 1\nagent: {respawn: never}")
    kill(course)
    assert course.send(PING) == b""
    assert course.advance(3600) == b""
    assert not course.channel.is_full
    assert course.send(b" " * (1 << 20)) == b""
    assert course.channel.is_full


def test_a_stopped_process_answers_when_it_goes_on() -> None:
    course = Course()
    kill(course, 19)
    assert course.send(PING) == b""
    kill(course, 18)
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
    # behaviour.md, section 10: the parenthesis is never closed.
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
