"""What a report says of the guests of a test."""

import contextlib
import shlex
from collections.abc import Iterable, Iterator
from typing import Final

import pytest

from qgasim.pytest_plugin.guests import FOUND, LENT, GuestLease
from qgasim.serving.threads import PATIENCE

__all__ = ["describe_guests", "forget_guests", "summarise"]

#: How many guests of a test are described.
SHOWN: Final = 5


def describe_guests(item: pytest.Item) -> Iterator[tuple[str, str]]:
    """Yield the sections of a failed test's report: what its guests were asked last."""
    none: list[GuestLease] = []
    of_session = item.session.stash.get(LENT, none)
    used = [lent for lent in of_session if lent.live.journal.entries]
    made = [*item.stash.get(LENT, none), *used]
    # Of many, those that were asked something.
    shown = sorted(made, key=lambda lent: not lent.live.journal.entries)[:SHOWN]
    for lent in shown:
        text = f"{_describe(lent)}\nto have it again: {lent.wish.to_command()}"
        yield f"qgasim {lent.live.socket_path}", text
    if made:
        options = [
            f"--qgasim-{name}={value}"
            for name in ("scenario", "agent", "seed")
            if (value := item.config.getoption(f"--qgasim-{name}"))
        ]
        command = shlex.join(["pytest", item.nodeid, *options])
        more = f"(and {len(made) - SHOWN} more guests)\n" if len(made) > SHOWN else ""
        yield "qgasim", f"{more}to run it again: {command}"


def _describe(lent: GuestLease) -> str:
    live = lent.live
    try:
        return live.call(live.describe, PATIENCE)
    except Exception as error:  # noqa: BLE001 - of whatever a test has done to it: a report must be
        text = f"({error})"
    with contextlib.suppress(Exception):
        # What is written down can be read all the same.
        text += f"\n{live.journal.transcript(40)}"
    return text


def forget_guests(item: pytest.Item) -> None:
    """Let go of a test's guests, when all is reported."""
    if LENT in item.stash:
        del item.stash[LENT]


def summarise(reports: Iterable[object]) -> Iterator[str]:
    """Yield a line for each finding of the tests that *reports* are about."""
    for report in reports:
        if not isinstance(report, pytest.TestReport) or report.when != "teardown":
            continue
        for title, text in report.sections:
            if FOUND in title:
                first = [part.partition("\n")[0] for part in text.split("\n\n")]
                yield from (f"{report.nodeid}: {line}" for line in first)
