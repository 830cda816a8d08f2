"""What `make coverage` refuses."""

from pathlib import Path
from typing import Any

from tests.coverage_gate import BELOW, FILE, TOTAL, find_gaps


def report(percent: float, path: str = "qgasim/a.py", total: float = TOTAL) -> dict[str, Any]:
    return {
        "files": {path: {"summary": {"percent_covered": percent}}},
        "totals": {"percent_covered": total},
    }


def test_what_is_run_as_it_has_to_be_is_silent() -> None:
    assert find_gaps(report(FILE)) == []


def test_a_file_of_which_less_is_known_to_be_run_is_held_to_that() -> None:
    for path, percent in BELOW.items():
        assert Path(path).is_file()
        assert percent < FILE
        assert find_gaps(report(percent, path)) == []
        assert find_gaps(report(percent - 1, path)) == [
            f"{path}: {percent - 1:.1f} % of it is run, expected {percent} %"
        ]


def test_a_file_and_the_whole_are_named_if_too_little_is_run() -> None:
    assert find_gaps(report(FILE - 0.5, total=TOTAL - 1)) == [
        f"qgasim/a.py: {FILE - 0.5} % of it is run, expected {FILE} %",
        f"qgasim: {TOTAL - 1}.00 % of it is run, expected {TOTAL} %",
    ]
