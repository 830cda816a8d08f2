"""Sorting in pieces gives what sorting at once gives; keys of sort."""

import random

import pytest

from qgasim.guest.processes.process import Process, Steps
from qgasim.userland.programs.sort import PIECE, sort_in_pieces
from tests.serving import Course
from tests.userland.programs.conftest import Run


@pytest.mark.parametrize("is_reverse", [False, True])
@pytest.mark.parametrize("count", [0, 1, PIECE, 3 * PIECE + 7])
def test_pieces_are_put_together_as_python_sorts(count: int, *, is_reverse: bool) -> None:
    chance = random.Random(count)
    # Half of the keys are alike: items with the same key stay in their order.
    items = [(chance.choice((3, chance.randrange(10**6))), number) for number in range(count)]
    done: list[list[tuple[int, int]]] = []

    def run(p: Process) -> Steps:
        ordered = yield from sort_in_pieces(p, items, lambda item: item[0], is_reverse=is_reverse)
        done.append(ordered)
        return 0

    course = Course("debian-12")
    course.guest.processes.start(
        run, argv=["x"], env=[], cwd="/", files={}, parent=1, path="/bin/true"
    )
    while not done:
        course.advance(1)
    assert done == [sorted(items, key=lambda item: item[0], reverse=is_reverse)]


def test_a_blank_at_the_end_of_a_line_begins_a_field(run: Run) -> None:
    # GNU sort 9.1 in the C locale.
    lines = b"0007 B\n0007 \n10\na 9\n"
    assert run(Course("debian-12").guest, ["sort", "-k2"], lines)[0] == b"10\n0007 \na 9\n0007 B\n"
