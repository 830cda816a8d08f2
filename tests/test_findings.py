"""Findings: for each, a client that gives cause for it, and one nearby that does not."""

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qgasim.client.blocking import SyncClient
from qgasim.faults.connection import HalfClose
from qgasim.faults.stream import Duplicate, Reorder, Truncate
from qgasim.faults.timing import Delay, Drop, Hang, Ignore
from qgasim.findings import KINDS, Finding, find
from qgasim.findings.secrets import find_secret
from qgasim.simulation.journal import Journal
from tests.generated import ROOT
from tests.noting import Noted
from tests.serving import SECOND, connect, request, serving

PING = b'{"execute":"guest-ping"}\n'
FREEZE, THAW = "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"
NO_SYNC, NO_SENTINEL = "no-sync-after-timeout", "sync-without-sentinel"
SENTINEL = b"\xff"


def names(course: Noted) -> list[str]:
    return [finding.name for finding in find(course.journal)]


def get(course: Noted, name: str) -> Finding:
    (finding,) = [finding for finding in find(course.journal) if finding.name == name]
    return finding


def wait(course: Noted, seconds: float) -> None:
    """Let time pass for a client that has run into a time-out: nothing comes."""
    course.clock.now += int(seconds * SECOND)


def synchronise(course: Noted, *, sentinel: bytes = SENTINEL) -> None:
    course.send(sentinel + request("guest-sync-delimited", id=course.clock.now) + b"\n")


# -- frozen-never-thawed ---------------------------------------------------------------------------


def test_a_guest_that_is_left_frozen_is_a_finding() -> None:
    # Bug 33 of docs/library.md: an exception between freeze and thaw left the guest frozen.
    course = Noted()
    course.say(FREEZE)
    assert names(course) == ["frozen-never-thawed"]
    (found,) = get(course, "frozen-never-thawed").found
    assert found == '    12.000 s #1 guest-fsfreeze-freeze → {"return": 1}  (frozen)'


def test_a_freeze_whose_reply_was_lost_must_be_thawed_too() -> None:
    course = Noted()
    course.inject(Drop(on=FREEZE))
    course.say(FREEZE)
    wait(course, 5)
    synchronise(course)
    assert names(course) == ["frozen-never-thawed"]


def test_a_guest_that_was_frozen_twice_and_thawed_once_between_is_a_finding() -> None:
    course = Noted()
    for command in (FREEZE, THAW, "guest-fsfreeze-freeze-list"):
        course.say(command)
    assert names(course) == ["frozen-never-thawed"]


def test_a_guest_that_is_thawed_is_none() -> None:
    course = Noted()
    course.say(FREEZE)
    course.say(THAW)
    assert names(course) == []


def test_a_freeze_that_failed_needs_no_thaw() -> None:
    course = Noted("freeze-errors")
    assert "error" in course.say(FREEZE)
    assert names(course) == []


def test_a_thaw_that_no_agent_has_read_was_asked_for() -> None:
    course = Noted()
    course.inject(Delay(on=FREEZE, by=3600 * SECOND))
    course.say(FREEZE)
    wait(course, 10)
    synchronise(course)
    course.say(THAW)
    assert course.agent.is_frozen
    assert names(course) == []


def test_a_thaw_that_a_fault_prevented_was_asked_for() -> None:
    course = Noted()
    course.inject(Ignore(on=THAW))
    course.say(FREEZE)
    course.say(THAW)
    assert course.agent.is_frozen
    assert names(course) == []


# -- request-while-frozen --------------------------------------------------------------------------


def test_what_a_frozen_guest_must_refuse_is_a_finding() -> None:
    course = Noted()
    for command in (FREEZE, "guest-get-osinfo", FREEZE, THAW):
        course.say(command)
    assert names(course) == ["request-while-frozen"]
    assert len(get(course, "request-while-frozen").found) == 2


def test_what_a_frozen_guest_serves_is_none() -> None:
    course = Noted()
    for command in (FREEZE, "guest-fsfreeze-status", "guest-ping", "guest-info", THAW):
        course.say(command)
    course.say("guest-get-osinfo")
    assert names(course) == []


def test_an_unknown_command_to_a_frozen_guest_is_unknown_and_no_more() -> None:
    course = Noted()
    for command in (FREEZE, "guest-frobnicate", THAW):
        course.say(command)
    assert names(course) == ["unknown-command"]


# -- handle-left-open ------------------------------------------------------------------------------


def test_a_handle_that_is_left_open_is_a_finding() -> None:
    course = Noted()
    for path in ("/etc/hostname", "/etc/os-release", "/etc/passwd"):
        course.say("guest-file-open", path=path)
    course.say("guest-file-close", handle=1001)
    assert names(course) == ["handle-left-open"]
    found = get(course, "handle-left-open").found
    assert [re.sub(".*\\((.*)\\)", r"\1", line) for line in found] == [
        "opened handle 1000",
        "opened handle 1002",
    ]


def test_handles_that_are_closed_are_none() -> None:
    course = Noted()
    course.say("guest-file-open", path="/etc/hostname")
    course.say("guest-file-close", handle=1000)
    assert names(course) == []


def test_a_handle_that_the_client_was_never_told_is_none() -> None:
    course = Noted()
    course.inject(Drop(on="guest-file-open"))
    course.say("guest-file-open", path="/etc/hostname")
    assert course.agent.state.handles
    assert names(course) == []


def test_a_close_that_a_fault_prevented_is_the_clients_good_will() -> None:
    course = Noted()
    course.inject(Ignore(on="guest-file-close"))
    course.say("guest-file-open", path="/etc/hostname")
    course.say("guest-file-close", handle=1000)
    assert names(course) == []


def test_handles_that_ended_with_the_agent_are_none() -> None:
    course = Noted()
    course.say("guest-file-open", path="/etc/hostname")
    course.agent.crash()
    assert names(course) == []


# -- no-sync-after-timeout -------------------------------------------------------------------------

UNANSWERED: list[Callable[[Noted], None]] = [
    lambda course: course.inject(Drop(times=1)),
    lambda course: course.inject(Hang(times=1)),
    lambda course: course.inject(Delay(by=30 * SECOND, times=1)),
    # The rest of a reply without its end may still come.
    lambda course: course.inject(Truncate(keep=5, times=1)),
    lambda course: course.agent.stop(respawn=False),
]


@pytest.mark.parametrize("disturb", UNANSWERED, ids=["drop", "hang", "delay", "truncate", "gone"])
def test_to_go_on_after_a_reply_that_has_not_come_is_a_finding(
    disturb: Callable[[Noted], None],
) -> None:
    course = Noted()
    disturb(course)
    course.send(PING)
    wait(course, 5)
    course.say("guest-get-osinfo")
    assert names(course) == [NO_SYNC]
    (found,) = get(course, NO_SYNC).found
    assert "guest-get-osinfo" in found.splitlines()[0]
    assert "no reply had come to" in found.splitlines()[1]
    assert "guest-ping" in found.splitlines()[2]


@pytest.mark.parametrize("disturb", UNANSWERED, ids=["drop", "hang", "delay", "truncate", "gone"])
def test_to_synchronise_after_a_reply_that_has_not_come_is_right(
    disturb: Callable[[Noted], None],
) -> None:
    course = Noted()
    disturb(course)
    course.send(PING)
    wait(course, 5)
    synchronise(course)
    course.say("guest-get-osinfo")
    assert names(course) == []


def test_a_finding_stays_when_the_late_reply_has_come() -> None:
    course = Noted()
    course.inject(Delay(by=30 * SECOND, times=1))
    course.send(PING)
    wait(course, 5)
    course.send(PING)
    course.advance(30)
    assert names(course) == [NO_SYNC]


def test_to_wait_until_a_late_reply_has_come_is_right() -> None:
    course = Noted()
    course.inject(Delay(by=30 * SECOND, times=1))
    course.send(PING)
    course.advance(30)
    course.send(PING)
    assert names(course) == []


def test_requests_that_are_sent_together_are_no_time_out() -> None:
    course = Noted()
    course.inject(Delay(by=30 * SECOND, times=1))
    course.send(PING + PING)
    wait(course, 0.05)
    course.send(PING)
    course.advance(30)
    assert names(course) == []


def test_replies_that_were_put_aside_have_come() -> None:
    course = Noted()
    course.inject(Reorder())
    course.send(PING)
    wait(course, 5)
    course.send(PING)
    assert names(course) == []


def test_what_never_answers_needs_no_waiting_for() -> None:
    course = Noted()
    course.say("guest-shutdown", mode="reboot")
    course.advance(30)
    course.send(PING)
    assert names(course) == []


def test_to_synchronise_again_when_that_was_not_answered_is_right() -> None:
    course = Noted()
    course.inject(Drop(times=3))
    course.send(PING)
    for _ in range(3):
        wait(course, 5)
        synchronise(course)
    course.send(PING)
    assert names(course) == []


def test_the_next_client_must_synchronise_too() -> None:
    # Bug 22 of docs/library.md: after a time-out every new connection read the reply to the one before.
    course = Noted()
    course.inject(Delay(by=30 * SECOND, times=1))
    course.send(PING)
    wait(course, 5)
    course.leave()
    course.connect()
    course.send(PING)
    assert names(course) == [NO_SYNC]
    assert "the client found: " in get(course, NO_SYNC).found[0]


def test_who_finds_half_a_request_must_synchronise() -> None:
    course = Noted()
    course.send(b'{"exec')
    course.leave()
    course.connect()
    course.send(b'ute":"guest-ping"}\n' + PING)
    assert names(course) == [NO_SYNC]


def test_who_finds_old_bytes_must_synchronise() -> None:
    # Bug 25 of docs/library.md: a killed client's leftovers come first.
    course = Noted('{extends: debian-12, agent: {stale_bytes: "{\\"ret"}}')
    course.send(PING)
    assert names(course) == [NO_SYNC]
    assert "bytes for an earlier client" in get(course, NO_SYNC).found[0]


def test_the_next_client_on_the_agents_own_socket_begins_anew() -> None:
    course = Noted("{extends: debian-12, agent: {channel: unix-listen}}")
    course.inject(Drop(times=1))
    course.send(PING)
    wait(course, 5)
    course.leave()
    course.connect()
    course.send(PING)
    assert names(course) == []


def test_a_client_is_not_blamed_for_what_an_earlier_one_left_waiting() -> None:
    course = Noted()
    course.agent.stop(respawn=False)
    course.send(PING)
    course.leave()
    wait(course, 5)
    course.connect()
    synchronise(course)
    course.send(PING)
    course.agent.start()
    course.advance(1)
    assert [e.connection for e in course.journal.exchanges] == [1, 2, 2, 2]
    assert names(course) == []


def test_what_a_fault_swallowed_was_not_answered() -> None:
    silence = "{extends: debian-12, faults: [{kind: accept_then_silence, times: 1}]}"
    for goes_on, found in ((synchronise, []), (lambda course: course.send(PING), [NO_SYNC])):
        course = Noted(silence)
        course.send(PING)
        wait(course, 5)
        course.leave()
        course.connect()
        goes_on(course)
        assert names(course) == found


# -- sync-without-sentinel -------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["guest-sync", "guest-sync-delimited"])
@pytest.mark.parametrize(("sentinel", "found"), [(b"", [NO_SENTINEL]), (SENTINEL, [])])
def test_the_byte_before_the_first_request_to_synchronise(
    command: str, sentinel: bytes, found: list[str]
) -> None:
    course = Noted('{extends: debian-12, agent: {stale_bytes: "{\\"ret"}}')
    course.send(sentinel + request(command, id=1) + b"\n" + PING)
    assert names(course) == found


def test_the_byte_ends_half_a_request() -> None:
    course = Noted()
    course.send(b'{"execute":')
    course.leave()
    course.connect()
    synchronise(course)
    course.send(PING)
    assert names(course) == []


def test_the_byte_may_be_sent_by_itself() -> None:
    course = Noted('{extends: debian-12, agent: {stale_bytes: "{\\"ret"}}')
    course.send(SENTINEL + b"\n")
    synchronise(course, sentinel=b"")
    assert names(course) == []


def test_a_clean_channel_needs_no_such_byte() -> None:
    course = Noted()
    course.send(request("guest-sync", id=1) + b"\n" + PING)
    assert names(course) == []


def test_the_byte_need_not_come_again_on_the_same_connection() -> None:
    course = Noted()
    course.inject(Drop(times=1))
    course.send(PING)
    wait(course, 5)
    synchronise(course, sentinel=b"")
    assert names(course) == []


# -- reply-not-read --------------------------------------------------------------------------------


def test_to_leave_a_reply_unread_is_a_finding(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        journal = thread.call(lambda: Journal(thread.simulation))
        with connect(thread.path) as sock:
            sock.sendall(PING)
            sock.recv(1)
        with SyncClient(thread.path):
            found = thread.call(lambda: find(journal))
    assert [f.name for f in found] == ["reply-not-read"]
    assert "#1 disconnects (leaves unread bytes)" in found[0].found[0]


def test_to_leave_at_once_is_a_finding() -> None:
    course = Noted()
    wait(course, 1)
    effects = course.channel.receive(PING)
    course.channel.return_unsent(b"", effects)
    wait(course, 0.001)
    course.leave()
    assert names(course) == ["reply-not-read"]


def test_to_leave_after_a_time_out_is_none() -> None:
    course = Noted()
    course.inject(Delay(by=30 * SECOND, times=1))
    course.send(PING)
    wait(course, 5)
    course.leave()
    assert names(course) == []


def test_to_leave_when_all_was_read_is_none() -> None:
    course = Noted()
    course.send(PING)
    course.leave()
    assert names(course) == []


def test_to_leave_when_nothing_was_asked_is_none() -> None:
    course = Noted()
    course.leave(unread=b"")
    assert names(course) == []


def test_what_a_fault_sent_besides_need_not_be_read() -> None:
    course = Noted()
    course.inject(Duplicate())
    course.send(PING)
    course.leave(unread=b"")
    assert names(course) == []


@pytest.mark.parametrize("first", [b"", SENTINEL])
def test_what_comes_after_a_fault_hung_up_cannot_be_read(first: bytes) -> None:
    course = Noted()
    course.inject(HalfClose(times=1))
    course.send(first + PING)
    course.leave(unread=b"")
    assert names(course) == []


def test_an_error_in_the_place_of_a_reply_may_send_a_client_away() -> None:
    # The replies to 0xFF and to the synchronisation change places, so that the error comes as the
    # answer to what is asked next.
    course = Noted()
    course.inject(Reorder(times=1))
    course.send(SENTINEL + request("guest-sync-delimited", id=1) + b"\n")
    course.send(PING)
    course.leave(unread=b"")
    assert names(course) == []


def test_a_reply_that_comes_with_the_time_out_need_not_be_read() -> None:
    course = Noted()
    course.inject(Delay(by=SECOND, times=1))
    course.send(PING)
    course.advance(1)
    course.leave(unread=b"")
    assert names(course) == []


def leave_at_once(course: Noted) -> None:
    """Leave before the reply could be sent: all is read at once, and a moment passes."""
    effects = course.channel.receive(SENTINEL + request("guest-sync-delimited", id=1) + b"\n")
    for _ in course.channel.return_unsent(b"", effects):
        pass
    wait(course, 0.001)
    course.leave()


def test_a_client_that_waited_to_be_served_has_not_left_at_once() -> None:
    # A delayed reply keeps the driver from seeing that its client has left. The next clients' requests
    # are read when they have long given up (qgasim drill --nemesis 1 --seed 131).
    course = Noted()
    course.inject(Delay(by=3 * SECOND // 2, times=1))
    course.send(PING)
    course.advance(1.5)
    course.leave()
    for _ in range(3):
        course.connect()
        leave_at_once(course)
    assert names(course) == []


def test_a_client_that_was_served_at_once_has_left_at_once() -> None:
    course = Noted()
    course.send(PING)
    wait(course, 5)
    course.leave()
    wait(course, 0.2)
    course.connect()
    leave_at_once(course)
    assert names(course) == ["reply-not-read"]


def test_a_request_that_was_sent_after_a_time_out_may_wait_to_be_read() -> None:
    # Its client's own reply is late: what it sends then is read when that has gone.
    course = Noted()
    course.inject(Delay(by=3 * SECOND // 2, times=1))
    course.send(PING)
    course.advance(1.5)
    leave_at_once(course)
    assert names(course) == []


# -- polling-too-fast ------------------------------------------------------------------------------


def poll(course: Noted, times: int, pause: float, command: str, **arguments: Any) -> None:
    for _ in range(times):
        course.say(command, **arguments)
        wait(course, pause)


def test_to_poll_without_a_pause_is_a_finding() -> None:
    # Bug 50 of docs/library.md: at most 20 polls a second.
    course = Noted()
    poll(course, 30, 0.01, "guest-exec-status", pid=1)
    assert names(course) == ["polling-too-fast"]
    (found,) = get(course, "polling-too-fast").found
    assert found.endswith("30 times in a second, 30 times in all")


def test_to_poll_20_times_a_second_is_none() -> None:
    course = Noted()
    poll(course, 60, 0.05, "guest-exec-status", pid=1)
    assert names(course) == []


def test_the_limit_can_be_another() -> None:
    course = Noted()
    poll(course, 10, 0.2, "guest-ping")
    assert [f.name for f in find(course.journal, polls_per_second=4)] == ["polling-too-fast"]
    assert find(course.journal, polls_per_second=5) == []


def test_to_ask_for_different_things_is_no_polling() -> None:
    course = Noted()
    for number in range(60):
        poll(course, 1, 0.001, "guest-sync", id=number)
    assert names(course) == []


def test_a_transfer_is_no_polling() -> None:
    course = Noted()
    course.say("guest-file-open", path="/etc/passwd")
    poll(course, 60, 0.001, "guest-file-read", handle=1000, count=10)
    course.say("guest-file-close", handle=1000)
    assert names(course) == []


def test_polls_that_waited_for_a_late_agent_were_not_fast() -> None:
    course = Noted()
    course.agent.stop(respawn=False)
    for _ in range(60):
        synchronise(course)
        wait(course, 1)
    course.agent.start()
    course.advance(1)
    assert len(course.journal.exchanges) == 120
    assert names(course) == []


# -- unknown-command -------------------------------------------------------------------------------


def test_an_unknown_command_is_a_finding() -> None:
    course = Noted()
    course.say("guest-get-load")
    assert names(course) == ["unknown-command"]
    assert "guest-get-load" in get(course, "unknown-command").found[0]


def test_a_command_that_is_switched_off_is_a_finding() -> None:
    # Packages of RHEL 10 do without guest-exec.
    course = Noted("rhel-allowlist")
    course.say("guest-exec", path="/bin/true")
    assert names(course) == ["unknown-command"]


def test_who_has_asked_what_there_is_may_try() -> None:
    course = Noted()
    course.say("guest-info")
    course.say("guest-get-load")
    assert names(course) == []


def test_an_error_that_a_fault_made_is_none() -> None:
    fault = "{kind: error, on: guest-get-users, class: CommandNotFound, desc: no}"
    course = Noted(f"{{extends: debian-12, faults: [{fault}]}}")
    course.say("guest-get-users")
    assert names(course) == []


# -- secret-in-exec --------------------------------------------------------------------------------

HIDDEN = "hunter2"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SECRETS: dict[str, dict[str, Any]] = {
    "an option": {"path": "/opt/x", "arg": [f"--password={HIDDEN}"]},
    "an option and its value": {"path": "/opt/x", "arg": ["--db-password", HIDDEN]},
    "an assignment": {"path": "/opt/x", "arg": ["set", f"api_key={HIDDEN}"]},
    "a script": {"path": "/bin/sh", "arg": ["-c", f"PGPASSWORD={HIDDEN} psql -h db"]},
    "a quoted value": {"path": "/bin/sh", "arg": ["-c", f'export TOKEN="{HIDDEN}"']},
    "the environment": {"path": "/opt/x", "env": ["A=b", f"AWS_SECRET_ACCESS_KEY={HIDDEN}"]},
    "a variable of mysql": {"path": "/opt/x", "env": [f"MYSQL_PWD={HIDDEN}"]},
    "an option of mysql": {"path": "/usr/bin/mysql", "arg": ["-u", "root", f"-p{HIDDEN}"]},
    "sshpass": {"path": "/usr/bin/sshpass", "arg": ["-p", HIDDEN, "ssh", "host"]},
    "a URL": {"path": "/usr/bin/git", "arg": ["clone", f"https://ann:{HIDDEN}@example.org/r"]},
    "a header": {"path": "/bin/curl", "arg": ["-H", f"Authorization: Bearer {HIDDEN}"]},
    "chpasswd in a script": {"path": "/bin/sh", "arg": ["-c", f"echo root:{HIDDEN} | chpasswd"]},
    "chpasswd": {"path": "/usr/sbin/chpasswd", "input-data": b64(f"root:{HIDDEN}\n")},
    "passwd": {"path": "/usr/bin/passwd", "arg": ["--stdin"], "input-data": b64(HIDDEN)},
    "the input": {"path": "/opt/x", "input-data": b64(f'{{"password": "{HIDDEN}"}}')},
    "a key": {
        "path": "/opt/x",
        "input-data": b64(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{HIDDEN}"),
    },
    "the path": {"path": f"/bin/x --password={HIDDEN}"},
}

NO_SECRETS: dict[str, dict[str, Any]] = {
    "no arguments": {"path": "/bin/true"},
    "a file": {"path": "/opt/x", "arg": ["--password-file=/run/secrets/db"]},
    "a path": {"path": "/opt/x", "arg": ["--password=/run/secrets/db"]},
    "a variable": {"path": "/bin/sh", "arg": ["-c", 'psql "password=$PASSWORD"']},
    "what a program says": {"path": "/bin/sh", "arg": ["-c", "x --token $(cat /run/token)"]},
    "an option without a value": {"path": "/opt/x", "arg": ["--password"]},
    "an option before another": {"path": "/opt/x", "arg": ["--password", "--verbose"]},
    "a directory": {"path": "/opt/x", "env": ["PWD=/root", "OLDPWD=/tmp", "HOME=/root"]},
    "a prompt of mysql": {"path": "/usr/bin/mysql", "arg": ["-u", "root", "-p"]},
    "a URL with a port": {"path": "/bin/curl", "arg": ["https://example.org:8443/a@b"]},
    "mkdir": {"path": "/bin/mkdir", "arg": ["-p", "/srv/pass"]},
    "a hash": {"path": "/usr/sbin/chpasswd", "arg": ["-e"], "input-data": b64("root:$6$x$y")},
    "some input": {"path": "/bin/cat", "input-data": b64("the secret of the forest")},
    "an account": {"path": "/usr/bin/getent", "arg": ["passwd", "root"]},
    "other words": {"path": "/opt/x", "arg": ["--bypass=1", "compass=north", "tokens=5"]},
    "no base64": {"path": "/opt/x", "input-data": "*"},
    "wrong types": {"path": 1, "arg": "password=x", "env": [1], "input-data": 7},
}


def ask_exec(arguments: dict[str, Any]) -> Noted:
    course = Noted()
    course.say("guest-exec", **arguments)
    return course


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_clear_is_a_finding_that_does_not_show_it(name: str) -> None:
    course = ask_exec(SECRETS[name])
    assert names(course) == ["secret-in-exec"]
    text = str(get(course, "secret-in-exec"))
    assert HIDDEN not in text
    assert b64(HIDDEN) not in text


@pytest.mark.parametrize("name", NO_SECRETS)
def test_what_holds_no_secret_is_none(name: str) -> None:
    assert names(ask_exec(NO_SECRETS[name])) == []


def test_the_finding_says_where_the_secret_is() -> None:
    course = ask_exec({"path": "/opt/x", "arg": ["-v", "--token=abc"], "env": ["DB_PASS=x"]})
    assert get(course, "secret-in-exec").found == (
        (
            "12.000 s #1 guest-exec of /opt/x: a secret in argument 2 (--token=…), "
            "the environment (DB_PASS=…)"
        ),
    )


def test_no_other_finding_shows_the_secret_either() -> None:
    course = Noted("rhel-allowlist")
    course.inject(Drop(times=1))
    course.send(PING)
    wait(course, 5)
    course.say("guest-exec", **SECRETS["an option"])
    assert names(course) == [NO_SYNC, "unknown-command", "secret-in-exec"]
    assert HIDDEN not in "".join(map(str, find(course.journal)))


def test_the_right_command_for_a_password_is_none() -> None:
    course = Noted()
    course.say("guest-set-user-password", username="root", password=b64(HIDDEN), crypted=False)
    assert names(course) == []


@pytest.mark.parametrize(
    "text", ["a." * 50_000, "a:" * 50_000, "password" * 20_000, "mysql " * 9999]
)
def test_a_long_text_is_searched_soon(text: str) -> None:
    # Whatever it finds: a search that takes minutes would not end here.
    assert find_secret(text) is None or len(text) > 50_000


# -- what a finding says ---------------------------------------------------------------------------


def test_a_finding_says_what_it_is_where_it_was_how_to_mend_it_and_where_to_read_more() -> None:
    course = Noted()
    course.say(FREEZE)
    assert str(get(course, "frozen-never-thawed")).splitlines() == [
        "frozen-never-thawed: A client froze the guest's file systems and never asked for the thaw.",
        '      12.000 s #1 guest-fsfreeze-freeze → {"return": 1}  (frozen)',
        (
            "  Fix: Send guest-fsfreeze-thaw in every case, in a `finally`; after a freeze that "
            "was not answered, too: it may have happened all the same."
        ),
        "  See docs/findings.md#frozen-never-thawed",
    ]


def test_a_finding_shows_only_the_first_of_many() -> None:
    course = Noted()
    for _ in range(8):
        course.say("guest-get-load")
    finding = get(course, "unknown-command")
    assert len(finding.found) == 8
    assert "  ... and 3 more" in str(finding).splitlines()


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_its_section_in_the_documentation(name: str) -> None:
    page = (ROOT / "docs" / "findings.md").read_text()
    assert f"\n## {name}\n" in page
    assert KINDS[name].remedy in page.replace("\n", " ")


def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "findings.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(block, {})
    assert capsys.readouterr().out.startswith("frozen-never-thawed: ")


def test_a_careful_client_gives_no_cause(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        journal = thread.call(lambda: Journal(thread.simulation))
        for _ in range(2):
            with SyncClient(thread.path) as client:
                client.call("guest-info")
                handle = client.call("guest-file-open", path="/etc/hostname")
                client.call("guest-file-read", handle=handle)
                client.call("guest-file-close", handle=handle)
                client.call(FREEZE)
                client.call("guest-fsfreeze-status")
                client.call(THAW)
        found = thread.call(lambda: find(journal))
        assert len(thread.call(lambda: journal.exchanges)) == 18
    assert found == []


def test_an_id_that_is_nested_as_deeply_as_an_agent_takes_it_is_no_trouble() -> None:
    course = Noted()
    course.send(b'{"execute":"guest-ping","id":' + b"[" * 1023 + b"]" * 1023 + b"}\n")
    assert course.journal.exchanges[-1].reply.startswith(b'{"return": {}, "id": [[[')
    assert names(course) == []
