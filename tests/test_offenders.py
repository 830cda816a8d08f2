from collections.abc import Iterable

import pytest

from tests.offenders import SHOWN, Offenders


def odd(numbers: Iterable[int]) -> None:
    with Offenders() as offenders:
        for number in numbers:
            with offenders.case(f"number {number}"):
                assert number % 2


def test_all_that_differ_are_told_by_name() -> None:
    with pytest.raises(ExceptionGroup, match="2 cases differ") as told:
        odd(range(4))
    assert [error.__notes__ for error in told.value.exceptions] == [
        ["in the case number 0"],
        ["in the case number 2"],
    ]


def test_nothing_is_raised_where_nothing_differs() -> None:
    with Offenders() as offenders, offenders.case("one"):
        pass
    assert offenders.errors == []


def test_a_bounded_number_is_shown() -> None:
    with pytest.raises(ExceptionGroup) as told:
        odd([0] * (SHOWN + 1))
    assert len(told.value.exceptions) == SHOWN
