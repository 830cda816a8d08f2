"""What `make coverage` refuses."""

from typing import Any

from tests.coverage_gate import BEHIND, FILE, TOTAL, find_gaps


def report(percent: float, path: str = "qgasim/a.py", total: float = TOTAL) -> dict[str, Any]:
    return {
        "files": {path: {"summary": {"percent_covered": percent}}},
        "totals": {"percent_covered": total},
    }


def test_what_is_run_as_it_has_to_be_is_silent() -> None:
    assert find_gaps(report(FILE)) == []


def test_a_file_and_the_whole_are_named_if_too_little_is_run() -> None:
    assert find_gaps(report(FILE - 0.5, total=TOTAL - 1)) == [
        f"qgasim/a.py: {FILE - 0.5} % of it is run, expected {FILE} %",
        f"qgasim: {TOTAL - 1}.00 % of it is run, expected {TOTAL} %",
    ]


def test_a_file_that_is_behind_may_not_fall_and_leaves_the_list_when_it_has_risen() -> None:
    path, percent = next(iter(BEHIND.items()))
    assert find_gaps(report(percent, path)) == []
    assert find_gaps(report(percent - 1, path)) == [
        f"{path}: {percent - 1}.0 % of it is run, expected {percent} %"
    ]
    assert find_gaps(report(FILE, path)) == [
        f"{path}: {FILE}.0 % of it is run: take it off the list BEHIND"
    ]


def test_what_is_behind_is_below_what_each_file_has_to_have() -> None:
    assert all(percent < FILE for percent in BEHIND.values())
