"""The real agent and ours, asked the same: a part of what `make fuzz` does."""

import base64

import pytest

from tests import fuzz, fuzz_connections, mutation
from tests.real_agent import needs_qemu_ga
from tests.serving import Course

#: `make fuzz` sends more.
MESSAGES = 250


@pytest.mark.slow
@needs_qemu_ga
def test_the_real_agent_and_ours_answer_mutated_messages_alike() -> None:
    with fuzz.pair() as (real, ours):
        found = list(fuzz.differences(real, ours, MESSAGES, seed=0))
    assert not found, "\n".join(map(str, found[:5]))


@needs_qemu_ga
def test_the_fuzzer_sees_a_difference() -> None:
    with fuzz.pair() as (real, ours):
        ours.agent.next_handle += 1
        found = next(fuzz.differences(real, ours, MESSAGES, seed=0))
    assert '"return": 1000}' in str(found)
    assert '"return": 1001}' in str(found)


@pytest.mark.slow
@needs_qemu_ga
def test_clients_that_come_and_leave_find_both_alike() -> None:
    assert list(fuzz_connections.find_differences(40, seed=0)) == []


@needs_qemu_ga
def test_the_courses_of_clients_see_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qgasim.agent.agent.FIRST_HANDLE", 2000)
    found = next(fuzz_connections.find_differences(40, seed=0))
    assert '"return": 1000}' in found.partition("\n  ours ")[0]
    assert '"return": 2000}' in found.partition("\n  ours ")[2]


def test_a_message_is_refused_if_it_would_reach_beyond_the_directory() -> None:
    refused = [
        b'{"execute":"guest-file-open","arguments":{"path":"/etc/passwd"}}',
        b'{"execute":"guest-file-open","arguments":{"path":"d/../../x","mode":"w"}}',
        b'{"execute":"guest-exec","arguments":{"path":"true"}}',
        b'{"execute":"guest-exec","arguments":{"path":"/bin/true"}}',
        b'{"execute":"guest-fsfreeze-thaw"}',
        b'x{"id":1,\'execute\':"guest-fsfreeze-thaw"}',
    ]
    assert not any(map(mutation.is_harmless, refused))


def test_the_same_seed_makes_the_same_messages() -> None:
    one, two = mutation.Generator(3), mutation.Generator(3)
    assert [one.message([1000]) for _ in range(50)] == [two.message([1000]) for _ in range(50)]


# -- what the fuzzer has found ---------------------------------------------------------------------


@pytest.mark.parametrize(("offset", "reply"), [(5, None), (-5, (1 << 63) - 6), (0, (1 << 63) - 1)])
def test_a_seek_from_the_end_of_a_directory_counts_from_its_largest_hash(
    offset: int, reply: int | None
) -> None:
    # qemu-ga 7.2.22 on ext4; fs/ext4/dir.c, ext4_dir_llseek().
    course = Course("debian-12")
    handle = course.say("guest-file-open", path="/etc")["return"]
    said = course.say("guest-file-seek", handle=handle, offset=offset, whence="end")
    if reply is None:
        assert said["error"]["desc"] == "failed to seek file: Invalid argument"
    else:
        assert said == {"return": {"position": reply, "eof": False}}


def test_a_block_written_after_a_read_that_was_refused_is_written_at_once() -> None:
    # qemu-ga 7.2.22 with glibc 2.36: the read leaves the stream no buffer to put the block into.
    course = Course("debian-12")
    writer = course.say("guest-file-open", path="/tmp/x", mode="w")["return"]
    course.say("guest-file-write", handle=writer, buf_b64="iw==")
    said = course.say("guest-file-read", handle=writer, count=100)
    assert said["error"]["desc"] == "failed to read file: Bad file descriptor"
    block = base64.b64encode(bytes(4096)).decode()
    assert course.say("guest-file-write", handle=writer, buf_b64=block)["return"]["count"] == 4096
    assert len(course.guest.files.read("/tmp/x")) == 4097


def test_a_device_that_takes_any_place_for_its_beginning_does_not_take_minus_one() -> None:
    # qemu-ga 7.2.22 on Linux 6.1: lseek() of /dev/zero gives 0 (drivers/char/mem.c, null_lseek()), but
    # fseek() returns -1 as the place, and no errno (found by `qgasim compare`).
    course = Course("debian-12")
    handle = course.say("guest-file-open", path="/dev/zero")["return"]
    course.say("guest-file-read", handle=handle, count=5)
    said = course.say("guest-file-seek", handle=handle, offset=-1, whence="set")
    assert said == {"error": {"class": "GenericError", "desc": "failed to seek file"}}
