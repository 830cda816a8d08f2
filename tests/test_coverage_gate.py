"""What `make coverage` refuses."""

from typing import Any

from tests.coverage_gate import FILE, TOTAL, find_gaps


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
