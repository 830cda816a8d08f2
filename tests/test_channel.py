"""What a channel keeps and loses, and which client gets it (recorded: tests/golden/7.2/conn-*.jsonl)."""

import socket
from pathlib import Path
from typing import Any

import pytest

from qgasim.effects import Wait
from qgasim.simulation.channel import KEPT_LIMIT
from tests.serving import SECOND, Course, connect, on_exchange, read_line, serving, settle

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'
SYNC = b'{"execute":"guest-sync","arguments":{"id":%d}}\n'
#: The reply waits for a program that takes 60 ms.
SLOW = b'{"execute":"guest-set-time"}\n'
HWCLOCK = "guest: {programs: [{path: /sbin/hwclock, duration: 60ms}]}"


def connected(course: Course) -> bytes:
    return b"".join(effect for effect in course.channel.connect() if type(effect) is bytes)


def defer(course: Course, data: bytes) -> None:
    """Send *data*, and do as a driver does with the first reply that has to wait."""
    effects = course.channel.receive(data)
    wait = next(effects)
    assert isinstance(wait, Wait)
    course.channel.defer(wait.until, effects)


# -- virtio-serial ---------------------------------------------------------------------------------


def test_the_first_client_finds_what_lies_in_the_channel() -> None:
    course = Course('agent: {stale_bytes: "\\xff{\\"ret"}')
    assert connected(course) == b'\xff{"ret'
    assert connected(course) == b""


def test_a_reply_that_could_not_be_sent_goes_to_the_next_client() -> None:
    course = Course()
    course.channel.return_unsent(b"lf a reply\n", course.channel.receive(SYNC % 7))
    course.channel.lose_client(unread=None)
    assert connected(course) == b'lf a reply\n{"return": 7}\n'


def test_a_reply_that_was_sent_is_lost_with_its_client() -> None:
    course = Course()
    assert course.send(PING) == PONG
    course.channel.lose_client(unread=PONG)
    assert connected(course) == b""


def test_a_channel_that_keeps_what_was_unread_gives_it_to_the_next_client() -> None:
    course = Course("agent: {keep_unread: true}")
    assert course.send(PING) == PONG
    course.channel.lose_client(unread=PONG)
    assert connected(course) == PONG


def test_a_reply_that_is_ready_later_goes_to_the_client_that_is_connected_then() -> None:
    course = Course(HWCLOCK)
    defer(course, SLOW + PING)
    course.channel.lose_client(unread=None)
    assert connected(course) == b""
    assert list(course.channel.wake()) == []
    assert course.advance(0.07) == PONG * 2


def test_a_reply_that_is_ready_while_no_client_is_connected_is_kept() -> None:
    course = Course(HWCLOCK)
    defer(course, SLOW + PING)
    course.channel.lose_client(unread=None)
    course.clock.now += SECOND
    course.channel.wake_alone()
    assert connected(course) == PONG * 2


def test_what_comes_while_a_reply_waits_is_answered_after_it() -> None:
    course = Course(HWCLOCK)
    defer(course, SLOW)
    assert course.send(SYNC % 1) == b""
    assert course.channel.is_pending
    assert course.advance(0.07) == PONG
    assert course.advance(0) == b'{"return": 1}\n'
    assert not course.channel.is_pending


def test_an_agent_that_writes_without_a_client_stops_when_the_channel_is_full() -> None:
    course = Course()
    many = SYNC % 1234567890 * (2 * KEPT_LIMIT // 23)
    course.channel.return_unsent(b"", course.channel.receive(many))
    course.channel.lose_client(unread=None)
    executed: list[bytes] = []
    on_exchange(course.simulation, lambda _, reply: executed.append(reply))
    course.channel.wake_alone()
    assert executed == []
    assert course.channel.next_event() is None
    kept = connected(course)
    assert KEPT_LIMIT <= len(kept) < KEPT_LIMIT + 100
    rest = course.advance(0)
    assert (kept + rest).count(b"\n") == many.count(b"\n")


def test_the_reply_of_an_agent_that_has_died_does_not_come() -> None:
    course = Course(HWCLOCK)
    defer(course, SLOW + PING)
    course.kill_agent()
    assert course.advance(1) == b""
    assert course.send(PING) == PONG


# -- isa-serial, unix-listen -----------------------------------------------------------------------


def test_a_serial_line_is_slow() -> None:
    course = Course("agent: {channel: isa-serial}")
    wait, reply = course.effects(PING)
    assert isinstance(wait, Wait)
    assert reply == PONG
    # 15 bytes at 11520 a second.
    assert wait.until - course.guest.clock.uptime() == 15 * SECOND // 11520


def test_a_serial_line_is_slow_for_what_had_to_wait_too() -> None:
    course = Course(f"{{agent: {{channel: isa-serial}}, {HWCLOCK}}}")
    defer(course, SLOW)
    assert course.effects(PING) == []
    course.clock.now += SECOND
    *_, reply = course.channel.wake()
    assert reply == PONG
    wait, reply = course.channel.wake()
    assert isinstance(wait, Wait)
    assert reply == PONG


@pytest.mark.parametrize("kind", ["unix-listen", "vsock-listen"])
def test_an_agent_that_listens_itself_keeps_nothing_for_the_next_client(kind: str) -> None:
    course = Course(f"{{agent: {{channel: {kind}}}, {HWCLOCK}}}")
    defer(course, SLOW + PING)
    course.channel.lose_client(unread=None)
    assert connected(course) == b""
    assert course.advance(1) == b""
    assert course.send(PING) == PONG


OPEN = b'{"execute":"guest-file-open","arguments":{"path":"/etc/hostname"}}\n'


@pytest.mark.parametrize("kind", ["unix-listen", "vsock-listen"])
def test_an_agent_that_listens_itself_does_what_a_client_asked_for_that_has_left(kind: str) -> None:
    course = Course(f"{{agent: {{channel: {kind}}}, {HWCLOCK}}}")
    defer(course, SLOW + OPEN)
    assert course.send(OPEN) == b""
    course.channel.lose_client(unread=None)
    assert connected(course) == b""
    # Busy: the next client waits, and gets its own reply only.
    assert course.send(SYNC % 1) == b""
    assert len(course.agent.state.handles) == 0
    assert course.advance(0.07) == b""
    assert len(course.agent.state.handles) == 2
    assert course.advance(0) == b'{"return": 1}\n'


def test_an_agent_that_listens_itself_ends_when_it_comes_to_read_again() -> None:
    course = Course(f"{{agent: {{channel: unix-listen, respawn: never}}, {HWCLOCK}}}")
    defer(course, SLOW + OPEN)
    course.channel.lose_client(unread=b"")
    assert course.channel.is_open
    course.clock.now += SECOND
    course.channel.wake_alone()
    assert course.agent.next_handle == 1001
    assert not course.channel.is_open


@pytest.mark.parametrize(
    ("sent", "more", "ends"),
    [
        # qemu-ga 7.2 reads 4096 bytes at once (strace): an error after bytes is passed over by glib.
        (50, 0, True),
        (4096, 0, True),
        (4097, 0, False),
        (8191, 0, False),
        (8192, 0, True),
        (12_289, 0, False),
        (50, 1, False),
        (50, 4096, True),
        (8191, 1, True),
    ],
)
def test_a_client_that_leaves_replies_unread_ends_an_agent_that_has_read_whole_blocks(
    sent: int, more: int, ends: bool
) -> None:
    course = Course("{agent: {channel: unix-listen, respawn: never}}")
    channel = course.channel
    assert connected(course) == b""
    effects = channel.receive((PING * 2).ljust(sent))
    assert next(effects) == PONG
    # The reply finds no client; then what else is in the socket is taken from it.
    assert list(channel.return_unsent(PONG, effects)) == [PONG]
    if more:
        assert list(channel.receive(b" " * more)) == []
    channel.lose_client(unread=b"")
    assert channel.is_open != ends


def test_an_agent_that_hangs_does_so_for_the_next_client() -> None:
    for kind in ("unix-listen", "virtio-serial"):
        course = Course(f"{{agent: {{channel: {kind}}}, faults: [{{kind: hang, times: 1}}]}}")
        defer(course, PING)
        course.channel.lose_client(unread=None)
        assert connected(course) == b""
        assert course.send(PING) + course.advance(3600) == b""
        course.agent.crash()
        assert course.advance(0.2) == (PONG if kind == "virtio-serial" else b"")


# -- a machine that stands still, a port that closes -------------------------------------------------


@pytest.mark.parametrize("kind", ["unix-listen", "virtio-serial", "isa-serial"])
@pytest.mark.parametrize(
    ("stop", "go_on"),
    [
        (lambda power: power.sleep("ram"), lambda power: power.wake()),
        (lambda power: power.pause(None), lambda power: power.resume()),
    ],
    ids=["suspended", "paused"],
)
def test_a_reply_that_waits_does_not_come_from_a_machine_that_stands_still(
    kind: str, stop: Any, go_on: Any
) -> None:
    course = Course(f"{{agent: {{channel: {kind}}}, {HWCLOCK}}}")
    defer(course, SLOW)
    stop(course.guest.power)
    assert course.advance(10) == b""
    assert course.channel.next_event() is None
    go_on(course.guest.power)
    assert course.advance(0.1) == PONG


def test_a_port_is_open_while_an_agent_runs() -> None:
    course = Course("timeline: [{do: reboot, at: 20s}, {do: agent_stops, at: 1m}]")
    seen = []
    for moment in (12, 21, 30, 61):
        course.advance(moment - course.clock.now / SECOND)
        seen.append(course.channel.port_is_open)
    assert seen == [True, False, True, False]


@pytest.mark.parametrize("kind", ["isa-serial", "unix-listen"])
def test_what_is_no_virtio_port_does_not_tell(kind: str) -> None:
    assert Course(f"agent: {{channel: {kind}}}").channel.port_is_open is None


# -- on a socket -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unix-listen", "virtio-serial", "isa-serial"])
def test_all_that_a_client_sent_is_executed_though_it_left_at_once(
    kind: str, tmp_path: Path
) -> None:
    # More than is received at once, so that a request would be cut.
    count = 4000
    scenario = f"agent: {{channel: {kind}}}"
    # A serial line takes 5 s for the replies.
    with serving(tmp_path, scenario, rate=1000) as thread:
        executed: list[bytes] = []
        on_exchange(thread.simulation, lambda _, reply: executed.append(reply))
        sock = connect(thread.path)

        def send_and_leave() -> None:
            sock.sendall(PING * count)
            sock.close()

        # Both before the server looks.
        thread.call(send_and_leave)
        with connect(thread.path) as other:
            other.sendall(SYNC % 5)
            while not (line := read_line(other)).endswith(b"5}\n"):
                assert line == PONG
        assert executed == [*[PONG] * count, b'{"return": 5}\n']


def test_a_client_that_ends_its_sending_side_gets_no_reply_and_the_next_one_does(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as thread:
        with connect(thread.path) as sock:

            def send_and_end() -> None:
                sock.sendall(SYNC % 5)
                sock.shutdown(socket.SHUT_WR)

            # Both before the server looks.
            thread.call(send_and_end)
            assert sock.recv(100) == b""
        with connect(thread.path) as sock:
            assert read_line(sock) == b'{"return": 5}\n'


def test_the_bytes_of_a_waiting_client_are_executed_even_if_it_has_left(tmp_path: Path) -> None:
    with serving(tmp_path) as thread:
        with connect(thread.path) as first:
            first.sendall(PING)
            assert read_line(first) == PONG
            with connect(thread.path) as second:
                second.sendall(SYNC % 6)
        with connect(thread.path) as third:
            assert read_line(third) == b'{"return": 6}\n'


def test_an_agent_that_listens_itself_answers_before_it_hangs_up(tmp_path: Path) -> None:
    scenario = f"{{agent: {{channel: unix-listen}}, {HWCLOCK}}}"
    with serving(tmp_path, scenario) as thread, connect(thread.path) as sock:
        sock.sendall(SLOW + PING)
        sock.shutdown(socket.SHUT_WR)
        assert [read_line(sock) for _ in range(3)] == [PONG, PONG, b""]


def test_what_was_left_unread_goes_to_the_next_client_if_the_channel_keeps_it(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "agent: {keep_unread: true}") as thread:
        with connect(thread.path) as sock:
            sock.sendall(SYNC % 1 + SYNC % 2)
            settle(thread.call)
        with connect(thread.path) as sock:
            assert [read_line(sock), read_line(sock)] == [b'{"return": 1}\n', b'{"return": 2}\n']


def test_a_client_may_come_and_go_while_a_reply_waits(tmp_path: Path) -> None:
    scenario = "guest: {programs: [{path: /sbin/hwclock, duration: 300ms}]}"
    with serving(tmp_path, scenario) as thread:
        with connect(thread.path) as sock:
            sock.sendall(SLOW)
            settle(thread.call)
        with connect(thread.path):
            settle(thread.call)
        with connect(thread.path) as sock:
            assert read_line(sock) == PONG


# -- the pieces of a long reply (strace of 5.2, 7.2, 10.0 and 11.1: writes of 2047 bytes) -----------------

INFO = b'{"execute":"guest-info"}\n'


class Pieces:
    """A client that notes what each `recv` gave it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def ask(self, request: bytes) -> list[bytes]:
        """Return what was received, one `recv` each, up to the end of the line."""
        self.sock.sendall(request)
        found = [self.sock.recv(1 << 16)]
        while not found[-1].endswith(b"\n"):
            found.append(self.sock.recv(1 << 16))
        return found

    def first_of(self, request: bytes) -> int:
        """Return the size of what the first `recv` mostly gives: a busy machine may wake a client late."""
        sizes = [len(self.ask(request)[0]) for _ in range(9)]
        return max(sizes, key=sizes.count)


@pytest.mark.parametrize(
    "kind",
    # A serial line takes the time that it takes.
    ["virtio-serial", "unix-listen", pytest.param("isa-serial", marks=pytest.mark.slow)],
)
def test_the_first_piece_of_a_long_reply_comes_alone(tmp_path: Path, kind: str) -> None:
    scenario = f"agent: {{channel: {kind}}}"
    with serving(tmp_path, scenario) as thread, connect(thread.path) as sock:
        assert len(b"".join(Pieces(sock).ask(INFO))) > 2 * 1024
        assert Pieces(sock).first_of(INFO) == 2047
        assert Pieces(sock).ask(PING) == [PONG]


def test_how_much_an_agent_writes_at_once_can_be_said(tmp_path: Path) -> None:
    for size, first in ((100, 100), (1 << 20, len(Course().send(INFO)))):
        with (
            serving(tmp_path, f"agent: {{write_size: {size}}}") as thread,
            connect(thread.path) as sock,
        ):
            assert Pieces(sock).first_of(INFO) == first


def test_a_long_reply_begins_a_piece_of_its_own(tmp_path: Path) -> None:
    with serving(tmp_path) as thread, connect(thread.path) as sock:
        sock.sendall(PING + INFO)
        # Read in whole pieces: nothing of the second reply is in the first one's.
        assert sock.recv(len(PONG)) == PONG
        rest = b""
        while not rest.endswith(b"\n"):
            rest += sock.recv(1 << 16)
        assert PONG + rest == Course("debian-12").send(PING + INFO)


def test_what_a_client_did_not_take_of_a_long_reply_goes_to_the_next_one(tmp_path: Path) -> None:
    count = 1 << 20
    scenario = f"guest: {{files: {{/f: {{size: {count}, fill: x}}}}}}"
    read = b'{"execute":"guest-file-read","arguments":{"handle":1000,"count":%d}}\n' % count
    with serving(tmp_path, scenario) as thread:
        with connect(thread.path) as sock:
            sock.sendall(b'{"execute":"guest-file-open","arguments":{"path":"/f"}}\n')
            assert read_line(sock) == b'{"return": 1000}\n'
            sock.sendall(read)
            settle(thread.call)
            begun = sock.recv(2047)
        with connect(thread.path) as sock:
            rest = read_line(sock)
    whole = Course(scenario)
    whole.say("guest-file-open", path="/f")
    reply = whole.send(read)
    assert begun == reply[: len(begun)]
    # What lay in the first client's socket is lost with it; the rest begins where that ended.
    assert rest.endswith(reply[-1000:])
    assert len(rest) < len(reply) - len(begun)
    assert reply.endswith(rest)
