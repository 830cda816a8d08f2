"""What a drill tells: the line of its progress, the table at its end, and JUnit's XML."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from qgasim.drill.minimise import TIMES, Minimal
from qgasim.drill.repeat import write_test
from qgasim.drill.verdict import Result, Rules
from qgasim.scenario.dump import to_line

__all__ = ["show_minimal", "summarise", "tell_progress", "write_junit", "write_table"]

_HEAD: Final = ("scenario", "verdict", "seconds", "finding", "report")
#: How wide the last two columns may be.
_FINDING: Final = 60
_REPORT: Final = 80
#: What XML 1.0 cannot hold.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def tell_progress(results: Sequence[Result], total: int, elapsed: float) -> str:
    """Return the line of the progress; the time that remains is that of the runs so far."""
    done, wrong = len(results), sum(result.is_wrong for result in results)
    left = f", about {elapsed / done * (total - done):.0f} s left" if done else ""
    return f"{done} of {total} runs, {wrong} wrong{left}"


def write_table(results: Iterable[Result]) -> str:
    """Return the table of all results."""
    rows: list[tuple[str, ...]] = [_HEAD]
    for result in results:
        finding = _cut(", ".join(result.findings) or result.reason, _FINDING)
        report = _cut(result.report, _REPORT)
        rows.append((result.run.name, result.verdict, f"{result.seconds:.2f}", finding, report))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def summarise(results: Sequence[Result]) -> str:
    """Return the counts of the verdicts in a line."""
    counts = Counter(result.verdict for result in results)
    shown = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return f"{len(results)} {'run' if len(results) == 1 else 'runs'}: {shown or 'none'}"


def show_minimal(result: Result, minimal: Minimal, command: Sequence[str], rules: Rules) -> str:
    """Return what matters of a run that failed: as YAML, and as a test of pytest."""
    kept = len(minimal.faults)
    certain = "it fails each time" if minimal.failed == TIMES else "it is flaky"
    counts = f"{minimal.attempts} runs; {minimal.failed} of {TIMES} failed: {certain}"
    return "\n".join(
        [
            f"# {result.run.name}: {minimal.before} faults, of which {kept} matter ({counts})",
            "faults:" if minimal.faults else "faults: []",
            *(f"  - {to_line(fault)}" for fault in minimal.faults),
            "",
            "# the same as a test of pytest",
            write_test(minimal.run, command, rules),
        ]
    ).rstrip("\n")


def write_junit(results: Sequence[Result]) -> bytes:
    """Return the results as JUnit's XML, which CI systems read."""
    wrong = sum(result.is_wrong for result in results)
    skipped = sum(result.verdict == "skipped" for result in results)
    suite = ET.Element(
        "testsuite",
        name="qgasim drill",
        tests=str(len(results)),
        failures=str(wrong),
        errors="0",
        skipped=str(skipped),
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for result in results:
        case = ET.SubElement(
            suite,
            "testcase",
            classname="qgasim.drill",
            name=result.run.name,
            time=f"{result.seconds:.3f}",
        )
        reason = _NOT_XML.sub("?", result.reason or ", ".join(result.findings))
        if result.is_wrong:
            failure = ET.SubElement(case, "failure", type=result.verdict, message=reason)
            failure.text = _NOT_XML.sub("?", result.transcript)
            ET.SubElement(case, "system-out").text = _NOT_XML.sub("?", result.output)
        elif result.verdict == "skipped":
            ET.SubElement(case, "skipped", message=reason)
    suites = ET.Element("testsuites")
    suites.append(suite)
    text: str = ET.tostring(suites, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n".encode()
