"""Pipes and FIFOs: pipe(7), fifo(7) and open(2), and how the openers of both sides meet."""

import errno
import os

import pytest

from qgasim.guest import Guest, GuestSettings
from qgasim.guest.files.nodes import WouldBlock
from qgasim.guest.files.pipes import PIPE_SIZE, Pipe
from qgasim.userland import USERLANDS


@pytest.fixture
def guest() -> Guest:
    guest = Guest(GuestSettings(), USERLANDS["gnu"], source=lambda: 0)
    guest.files.makedirs("/w")
    guest.files.mkfifo("/w/fifo")
    return guest


def test_a_reader_waits_for_a_writer_and_finds_it(guest: Guest) -> None:
    files = guest.files
    with pytest.raises(WouldBlock) as waiting:
        files.open("/w/fifo", os.O_RDONLY)
    assert not waiting.value.is_ready()
    writer = files.open("/w/fifo", os.O_WRONLY)
    assert waiting.value.is_ready()
    reader = files.open("/w/fifo", os.O_RDONLY)
    assert writer.write(b"text") == 4
    assert reader.read(100) == b"text"
    # Its writer has gone: that is the end of the file.
    with pytest.raises(WouldBlock):
        reader.read(1)
    writer.close()
    assert reader.read(1) == b""


def test_a_writer_waits_for_a_reader_and_finds_it(guest: Guest) -> None:
    files = guest.files
    with pytest.raises(WouldBlock) as waiting:
        files.open("/w/fifo", os.O_WRONLY)
    assert not waiting.value.is_ready()
    reader = files.open("/w/fifo", os.O_RDONLY)
    assert waiting.value.is_ready()
    writer = files.open("/w/fifo", os.O_WRONLY)
    writer.write(b"x")
    assert reader.read(1) == b"x"
    # No reader is left: EPIPE.
    reader.close()
    with pytest.raises(OSError, match="Broken pipe") as broken:
        writer.write(b"x")
    assert broken.value.errno == errno.EPIPE


def test_a_waiting_opener_finds_its_peer_even_if_that_has_gone_again(guest: Guest) -> None:
    # fifo(7): the kernel wakes the opener when the other side was opened, not while it is open.
    files = guest.files
    with pytest.raises(WouldBlock) as waiting:
        files.open("/w/fifo", os.O_RDONLY)
    writer = files.open("/w/fifo", os.O_WRONLY)
    writer.write(b"left")
    writer.close()
    assert waiting.value.is_ready()
    reader = files.open("/w/fifo", os.O_RDONLY)
    assert reader.read(10) == b"left"
    assert reader.read(10) == b""


def test_a_waiting_writer_finds_a_reader_that_has_gone_again(guest: Guest) -> None:
    files = guest.files
    with pytest.raises(WouldBlock) as waiting:
        files.open("/w/fifo", os.O_WRONLY)
    files.open("/w/fifo", os.O_RDONLY | os.O_NONBLOCK).close()
    assert not waiting.value.is_ready()
    files.open("/w/fifo", os.O_RDONLY).close()
    assert waiting.value.is_ready()
    writer = files.open("/w/fifo", os.O_WRONLY)
    with pytest.raises(OSError, match="Broken pipe"):
        writer.write(b"x")


def test_open_does_not_wait_with_nonblock(guest: Guest) -> None:
    # fifo(7): O_NONBLOCK for reading succeeds, for writing it is ENXIO without a reader.
    files = guest.files
    with pytest.raises(OSError, match="No such device or address") as refused:
        files.open("/w/fifo", os.O_WRONLY | os.O_NONBLOCK)
    assert refused.value.errno == errno.ENXIO
    reader = files.open("/w/fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = files.open("/w/fifo", os.O_WRONLY | os.O_NONBLOCK)
    writer.write(b"x")
    assert reader.read(5) == b"x"


def test_both_sides_at_once_never_wait(guest: Guest) -> None:
    # open(2) of a FIFO with O_RDWR succeeds on Linux.
    both = guest.files.open("/w/fifo", os.O_RDWR)
    assert both.write(b"ab") == 2
    assert both.read(1) == b"a"
    with pytest.raises(OSError, match="Illegal seek") as refused:
        both.seek(0, os.SEEK_SET)
    assert refused.value.errno == errno.ESPIPE


def test_the_other_direction_of_a_side_is_refused(guest: Guest) -> None:
    reader = guest.files.open("/w/fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = guest.files.open("/w/fifo", os.O_WRONLY)
    for wrong in (lambda: reader.write(b"x"), lambda: writer.read(1)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            wrong()


def test_a_pipe_takes_64_kib(guest: Guest) -> None:
    # pipe(7): since Linux 2.6.11, the capacity is 16 pages.
    assert PIPE_SIZE == 65536
    both = guest.files.open("/w/fifo", os.O_RDWR)
    assert both.write(bytes(PIPE_SIZE + 1)) == PIPE_SIZE
    with pytest.raises(WouldBlock) as full:
        both.write(b"x")
    assert not full.value.is_ready()
    assert len(both.read(1)) == 1
    assert full.value.is_ready()
    assert both.write(b"xy") == 1


def test_a_pipe_without_its_other_side_does_not_wait() -> None:
    pipe = Pipe()
    assert pipe.can_read()
    assert pipe.can_write()
    pipe.readers = pipe.writers = 1
    assert not pipe.can_read()
    assert pipe.can_write()
    pipe.data += bytes(PIPE_SIZE)
    assert pipe.can_read()
    assert not pipe.can_write()
