"""The journal: what it keeps, and how it shows it."""

import json
from pathlib import Path
from typing import Any

from qgasim.faults.content import InjectedError
from qgasim.faults.stream import Split
from qgasim.faults.timing import Delay, Drop, Hang
from qgasim.simulation.journal import KEPT_IN_ALL, Journal, Note
from qgasim.simulation.journal.keeping import KEPT
from tests.noting import Noted
from tests.serving import SECOND, Course, connect, read_line, request, serving

PING = b'{"execute":"guest-ping"}\n'


# -- exchanges -------------------------------------------------------------------------------------


def test_an_exchange_has_time_client_request_and_reply() -> None:
    course = Noted()
    course.clock.now = 20 * SECOND
    course.say("guest-sync", id=7)
    exchange = course.last
    assert (exchange.at, exchange.sent, exchange.replied) == (20 * SECOND,) * 3
    assert exchange.connection == 1
    assert exchange.command == "guest-sync"
    assert exchange.request == {"execute": "guest-sync", "arguments": {"id": 7}}
    assert exchange.arguments == {"id": 7}
    assert exchange.reply == b'{"return": 7}\n'
    assert exchange.faults == ()
    assert exchange.effect == ""


def test_clients_are_counted() -> None:
    course = Noted()
    course.send(PING)
    course.leave()
    course.connect()
    course.send(PING)
    assert [e.connection for e in course.journal.exchanges] == [1, 2]
    assert [(e.kind, e.connection) for e in course.journal.entries if isinstance(e, Note)] == [
        ("connect", 1),
        ("disconnect", 1),
        ("connect", 2),
    ]


def test_what_cannot_be_read_is_kept_as_its_text() -> None:
    course = Noted()
    course.send(b'{"exec')
    course.send(b'\xff{"execute": }\n[1, 2]\n{"execute": 3}\n')
    assert [(e.command, e.request) for e in course.journal.exchanges] == [
        (None, b'{"exec\xff'),
        (None, b'{"execute":}'),
        (None, [1, 2]),
        (None, {"execute": 3}),
    ]


def test_commands_are_listed_in_order() -> None:
    course = Noted()
    course.send(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":1}}\n[]' + PING)
    course.say("guest-no-such")
    assert course.journal.commands() == ["guest-sync-delimited", "guest-ping", "guest-no-such"]


def test_the_effect_says_what_changed() -> None:
    course = Noted()
    text = "aGVsbG8="
    steps: list[tuple[str, dict[str, Any], str]] = [
        ("guest-file-open", {"path": "/tmp/x", "mode": "w"}, "opened handle 1000"),
        ("guest-file-write", {"handle": 1000, "buf_b64": text}, "wrote 5 bytes to /tmp/x"),
        ("guest-file-close", {"handle": 1000}, "closed handle 1000"),
        ("guest-file-close", {"handle": 1000}, ""),
        ("guest-fsfreeze-freeze", {}, "frozen"),
        ("guest-fsfreeze-status", {}, ""),
        ("guest-fsfreeze-thaw", {}, "thawed"),
        ("guest-fsfreeze-thaw", {}, ""),
        ("guest-set-user-password", {"username": "root", "password": "eA==", "crypted": False},
         "set the password of root"),
        ("guest-get-osinfo", {}, ""),
    ]  # fmt: skip
    for command, arguments, effect in steps:
        course.say(command, **arguments)
        assert course.last.effect == effect, command
        # Programs that the agent runs take their time.
        course.advance(1)


def test_the_effect_of_a_program_is_its_start_and_that_its_end_was_seen() -> None:
    course = Noted()
    pid = course.say("guest-exec", path="/bin/true")["return"]["pid"]
    assert course.last.effect == f"started pid {pid}"
    course.clock.now += SECOND
    assert course.say("guest-exec-status", pid=pid)["return"]["exited"]
    assert course.last.effect == f"collected pid {pid}"


def test_the_effect_of_setting_the_time_is_the_step() -> None:
    course = Noted()
    for step in (3600, -1800):
        course.say("guest-set-time", time=course.guest.clock.now() + step * SECOND)
        assert course.last.effect == f"clock stepped by {step:+} s"
        course.advance(1)


def test_a_clock_that_was_stepped_by_an_event_is_no_effect_of_a_request() -> None:
    scenario = "{extends: debian-12, timeline: [{do: step_clock, at: 20s, forward: 1h}]}"
    course = Noted(scenario)
    course.advance(10)
    course.say("guest-set-time", time=course.guest.clock.now() + SECOND)
    assert course.last.effect == "clock stepped by +1 s"


# -- faults ----------------------------------------------------------------------------------------


def test_a_fault_that_struck_is_named_and_the_next_exchange_is_free_of_it() -> None:
    course = Noted()
    course.inject(InjectedError(desc="no", times=1))
    course.inject(Split(name="slices", times=1))
    course.send(PING + PING)
    course.advance(0)
    assert [e.faults for e in course.journal.exchanges] == [("error", "slices"), ()]


def test_a_reply_that_was_lost_leaves_the_effect() -> None:
    course = Noted()
    course.inject(Drop(on="guest-fsfreeze-freeze"))
    course.say("guest-fsfreeze-freeze")
    assert course.last.reply == b""
    assert course.last.replied is None
    assert course.last.effect == "frozen"


def test_a_command_that_a_fault_kept_from_running_has_no_effect() -> None:
    course = Noted()
    course.inject(InjectedError(on="guest-file-open", desc="no"))
    course.say("guest-file-open", path="/etc/hostname")
    assert course.last.effect == ""


def test_a_fault_of_a_connection_is_noted() -> None:
    course = Noted("{extends: debian-12, faults: [{kind: accept_then_silence}]}")
    course.send(PING)
    assert course.journal.exchanges == []
    assert course.journal.transcript().splitlines() == [
        "    12.000 s #1 connects",
        "    12.000 s -- accept_then_silence fires on #1",
        '    12.000 s #1 {"execute":"guest-ping"} (swallowed)',
    ]


def test_the_death_that_a_fault_causes_comes_after_its_exchange() -> None:
    scenario = "{extends: debian-12, faults: [{kind: kill_on, on: guest-ping}]}"
    course = Noted(scenario)
    course.send(PING)
    course.advance(1)
    assert [str(e).split(" s ", 1)[1] for e in course.journal.entries[1:]] == [
        "#1 guest-ping → (no reply)  [kill_on]",
        "-- up → booting",
        "-- booting → up",
    ]


# -- time ------------------------------------------------------------------------------------------


def test_a_reply_that_waits_is_replied_when_it_goes_out() -> None:
    course = Noted()
    course.inject(Delay(by=30 * SECOND, times=1))
    assert course.send(PING) == b""
    replied = course.last.replied
    assert replied is None
    course.advance(30)
    assert course.last.at == 12 * SECOND
    assert course.last.replied == 42 * SECOND
    assert str(course.last).endswith("  after 30 s  [delay]")


def test_a_reply_in_pieces_is_replied_when_the_last_goes_out() -> None:
    course = Noted()
    course.inject(Split(sizes=(10,), pause=SECOND))
    course.send(PING)
    course.advance(1)
    assert course.last.replied == 13 * SECOND


def test_a_request_that_had_to_wait_was_sent_when_it_came() -> None:
    course = Noted()
    course.inject(Delay(by=30 * SECOND, times=1))
    course.send(PING)
    course.clock.now += 5 * SECOND
    course.send(PING)
    course.advance(30)
    assert [e.sent for e in course.journal.exchanges] == [12 * SECOND, 17 * SECOND]
    assert [e.at for e in course.journal.exchanges] == [12 * SECOND, 47 * SECOND]
    assert "  sent at 17.000 s" in str(course.last)


def test_what_came_together_was_sent_together() -> None:
    course = Noted()
    course.inject(Delay(by=30 * SECOND, times=1))
    course.send(PING + PING)
    course.advance(30)
    assert [e.sent for e in course.journal.exchanges] == [12 * SECOND] * 2


def test_a_request_belongs_to_the_client_that_sent_it() -> None:
    course = Noted()
    course.inject(Delay(by=30 * SECOND, times=1))
    course.send(PING)
    course.send(request("guest-sync", id=1))
    course.leave()
    course.connect()
    course.send(request("guest-sync", id=2))
    assert [(w.connection, json.loads(w.data)["arguments"]) for w in course.journal.waiting] == [
        (1, {"id": 1}),
        (2, {"id": 2}),
    ]
    course.advance(30)
    course.send(request("guest-sync", id=3))
    assert [(e.connection, e.arguments.get("id")) for e in course.journal.exchanges] == [
        (1, None),
        (1, 1),
        (2, 2),
        (2, 3),
    ]
    assert course.journal.waiting == []


def test_what_comes_byte_by_byte_while_the_agent_is_busy_takes_little() -> None:
    course = Noted()
    course.inject(Hang(on="guest-ping"))
    course.send(PING)
    data = request("guest-sync", id=1) * 50
    for byte in data:
        course.send(bytes([byte]))
    assert b"".join(w.data for w in course.journal.waiting) == data
    assert len(course.journal.waiting) == 1000


def test_the_rest_of_what_came_together_belongs_to_a_client_that_has_left() -> None:
    course = Noted()
    course.inject(Delay(by=30 * SECOND, times=1))
    course.send(PING + PING)
    course.leave()
    course.connect()
    course.advance(30)
    assert [e.connection for e in course.journal.exchanges] == [1, 1]
    assert course.journal.exchanges[0].replied is None


def test_a_reply_for_a_client_that_is_gone_is_not_replied() -> None:
    course = Noted()
    course.channel.return_unsent(b"", course.channel.receive(PING))
    course.leave()
    assert course.last.reply
    assert course.last.replied is None
    assert "  not received" in str(course.last)
    course.connect()
    entry = course.journal.entries[-1]
    assert isinstance(entry, Note)
    assert entry.marks == ("bytes for an earlier client",)


def test_what_the_agent_never_reads_is_shown_at_the_end() -> None:
    course = Noted()
    course.inject(Hang(on="guest-ping"))
    course.send(PING)
    course.clock.now += 5 * SECOND
    course.send(request("guest-fsfreeze-thaw"))
    assert course.journal.transcript().splitlines()[1:] == [
        "    12.000 s #1 guest-ping → (no reply)  [hang]",
        '    17.000 s #1 {"execute": "guest-fsfreeze-thaw"} → (not yet read)',
    ]


def test_half_a_request_is_noted_with_the_client_that_leaves_it_and_the_one_that_finds_it() -> None:
    course = Noted()
    course.send(b'{"exec')
    course.leave(unread=b"")
    course.connect()
    assert [str(e).split(" s ", 1)[1] for e in course.journal.entries[1:]] == [
        "#1 disconnects (leaves unread bytes, half a request)",
        "#2 connects (finds half a request)",
    ]


# -- what happens besides --------------------------------------------------------------------------


def test_events_and_states_are_noted() -> None:
    scenario = "{extends: debian-12, timeline: [{do: reboot, at: 20s}]}"
    course = Noted(scenario)
    course.advance(9)
    assert course.send(PING) == b""
    course.advance(60)
    assert [str(e).split(" s ", 1)[1] for e in course.journal.entries[1:]] == [
        "-- reboot",
        "-- up → rebooting",
        "-- rebooting → up",
        '#1 guest-ping → {"return": {}}  sent at 21.000 s',
    ]


def test_an_event_is_shown_with_its_settings() -> None:
    scenario = "{extends: debian-12, timeline: [{do: logs_on, user: ann, after: guest-ping}]}"
    course = Noted(scenario)
    course.send(PING + PING)
    course.advance(0)
    assert "-- logs_on user='ann'\n" in course.journal.transcript()


def test_events_that_wait_for_a_state_still_happen() -> None:
    timeline = "[{do: logs_on, user: ann, on: frozen}]"
    course = Noted(f"{{extends: debian-12, timeline: {timeline}}}")
    course.say("guest-fsfreeze-freeze")
    course.advance(0)
    assert [login.user for login in course.guest.logins][-1:] == ["ann"]


def test_a_remark_of_ones_own_is_kept() -> None:
    course = Noted()
    course.journal.note("the snapshot begins")
    assert course.journal.transcript().endswith("12.000 s -- the snapshot begins")


# -- bounds ----------------------------------------------------------------------------------------


def test_the_oldest_entries_are_dropped_and_counted() -> None:
    course = Noted(limit=10)
    for _ in range(30):
        course.send(PING)
    assert len(course.journal.entries) == 10
    # The client's coming, and 20 of the 30.
    assert course.journal.dropped == 21
    assert course.journal.transcript().splitlines()[0] == "(21 earlier entries)"
    assert course.journal.transcript(last=3).splitlines()[0] == "(28 earlier entries)"
    assert len(course.journal.transcript(last=3).splitlines()) == 4


def test_a_huge_request_and_a_huge_reply_are_kept_in_part_with_their_lengths() -> None:
    course = Noted("{extends: debian-12, guest: {files: {/big: {size: 1MiB}}}}")
    course.say("guest-file-open", path="/tmp/x", mode="w")
    text = "A" * 400_000
    course.say("guest-file-write", handle=1000, buf_b64=text)
    kept = course.last.arguments
    assert kept["handle"] == 1000
    assert kept["buf-b64"] == "A" * 1024 + "… (400000 characters)"
    assert course.last.effect == "wrote 300000 bytes to /tmp/x"
    course.say("guest-file-open", path="/big")
    reply = course.say("guest-file-read", handle=1001, count=1 << 20)
    assert len(course.last.reply) == KEPT
    # A sixth more than base64's four characters for three bytes would be too much.
    assert course.last.reply_length > len(reply["return"]["buf-b64"]) > 1398100
    assert f"… ({course.last.reply_length} bytes)" in str(course.last)
    assert len(course.journal.transcript()) < 3000


def test_what_is_nested_deeply_is_kept_as_text() -> None:
    course = Noted()
    course.send(b'{"execute":"guest-ping","id":' + b"[" * 1000 + b"]" * 1000 + b"}\n")
    course.send(b"[" * 1000 + b"]" * 1000 + b"\n")
    lines = course.journal.to_jsonl().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[1])["request"]["id"].endswith("… (2000 characters)")
    assert json.loads(lines[2])["text"] == "[" * 1000 + "]" * 1000


def test_large_exchanges_leave_room_for_fewer() -> None:
    course = Noted()
    data = request("guest-file-write", handle=1, buf_b64="A" * (KEPT - 200))
    for _ in range(KEPT_IN_ALL // KEPT + 100):
        course.send(data)
    kept = sum(len(e.arguments["buf-b64"]) for e in course.journal.exchanges)
    assert 0.99 * KEPT_IN_ALL < kept <= KEPT_IN_ALL
    assert course.journal.dropped > 90


# -- writing ---------------------------------------------------------------------------------------


def test_each_entry_is_a_line_of_json() -> None:
    course = Noted()
    course.send(b"\xff" + request("guest-sync-delimited", id=3) + b"\n")
    course.send('{"execute":"guest-nön"}'.encode())
    course.leave()
    lines = [json.loads(line) for line in course.journal.to_jsonl().splitlines()]
    assert [line["kind"] for line in lines] == [
        "connect",
        "exchange",
        "exchange",
        "exchange",
        "disconnect",
    ]
    assert lines[1]["text"] == "\xff"
    assert lines[2] == {
        "kind": "exchange",
        "at": 12 * SECOND,
        "sent": 12 * SECOND,
        "connection": 1,
        "command": "guest-sync-delimited",
        "request": {"execute": "guest-sync-delimited", "arguments": {"id": 3}},
        "text": None,
        "reply": '\xff{"return": 3}\n',
        "reply_length": 15,
        "replied": 12 * SECOND,
        "faults": [],
        "effect": "",
    }
    assert lines[3]["command"] == "guest-nön"


def test_a_transcript_is_one_line_per_entry_whatever_the_bytes() -> None:
    course = Noted()
    course.send(b'{"execute":"a\\nb","id":"\\u0007"}\n\xff\n')
    course.send(b'{"execute":"guest-ping","id":1}\n"\x1b')
    shown = course.journal.transcript()
    assert len(shown.splitlines()) == len(course.journal.entries)
    assert set(shown) & {"\x1b", "\x07"} == set()
    assert "#1 \\xff → " in shown
    assert '#1 {"execute": "guest-ping", "id": 1} → ' in shown


def test_a_command_that_does_not_answer_is_known_to_be_silent() -> None:
    course = Noted()
    course.say("guest-shutdown")
    assert course.last.is_silent
    assert course.last.effect == "shutting down"


def test_a_guest_without_a_journal_behaves_the_same() -> None:
    course, plain = Noted(), Course("debian-12")
    list(plain.channel.connect())
    for data in [PING, b'{"execute":', b'"guest-info"}\n', b"\xff\n", b"[]\n"]:
        assert course.send(data) == plain.send(data)


# -- on a socket -----------------------------------------------------------------------------------


def test_clients_on_a_socket_are_noted_as_they_come_and_go(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        journal = thread.call(lambda: Journal(thread.simulation))
        with connect(thread.path) as sock:
            sock.sendall(PING)
            read_line(sock)
        with connect(thread.path) as sock:
            sock.sendall(PING)
            sock.recv(1)
        with connect(thread.path) as sock:
            sock.sendall(PING)
            read_line(sock)
            entries = thread.call(lambda: journal.entries)
    shown = [str(e).split(" s ", 1)[1] for e in entries]
    pong = '{"return": {}}'
    assert shown == [
        "#1 connects",
        f"#1 guest-ping → {pong}",
        "#1 disconnects",
        "#2 connects",
        f"#2 guest-ping → {pong}",
        "#2 disconnects (leaves unread bytes)",
        "#3 connects",
        f"#3 guest-ping → {pong}",
    ]
