"""What a report says of the guests of a test."""

import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

import pytest

from qgasim.pytest_plugin.guests import FOUND, LENT, GuestLease
from qgasim.pytest_plugin.reproduction import write_reproduction
from qgasim.serving.threads import PATIENCE
from qgasim.testing.page import show_guest, show_test

__all__ = ["describe_guests", "forget_guests", "show_guests", "summarise"]

#: How many of the things that a test did are shown.
STEPS: Final = 30
#: How many guests of a test are described.
SHOWN: Final = 5


def describe_guests(item: pytest.Item) -> Iterator[tuple[str, str]]:
    """Yield the sections of a failed test's report: what its guests were asked last."""
    made = guests_of(item)
    for number, lent in enumerate(made[:SHOWN], 1):
        text = f"{_describe(lent)}\nreproduce: {lent.wish.to_command()}"
        yield f"qgasim {lent.live.socket_path}", f"{text}\n{_reproduce(item, lent, number)}"
    if made:
        options = [
            f"--qgasim-{name}={value}"
            for name in ("scenario", "agent", "seed")
            if (value := item.config.getoption(f"--qgasim-{name}"))
        ]
        command = shlex.join(["pytest", item.nodeid, *options])
        more = f"(and {len(made) - SHOWN} more guests)\n" if len(made) > SHOWN else ""
        yield "qgasim", f"{more}rerun: {command}"


def guests_of(item: pytest.Item) -> list[GuestLease]:
    """Return the guests that a test had; of many, those first that were asked something."""
    none: list[GuestLease] = []
    of_session = item.session.stash.get(LENT, none)
    used = [lent for lent in of_session if lent.live.journal.entries]
    made = [*item.stash.get(LENT, none), *used]
    return sorted(made, key=lambda lent: not lent.live.journal.entries)


def _write_again(item: pytest.Item, lent: GuestLease, number: int) -> str:
    """Return a test that does again what was done to a guest."""
    live = lent.live
    journal = live.journal
    guest = f"guest {number}"
    try:
        return write_reproduction(
            item.nodeid, guest, lent.wish, live.steps, journal.entries, journal.dropped
        )
    except OSError as error:  # modules cannot be read: the test lacks descriptors
        return f"# ({error})\n"


def show_guests(item: pytest.Item, report: pytest.TestReport) -> str:
    """Return the part of the page of ``--qgasim-report`` that is about a failed test."""

    def show(number: int, lent: GuestLease) -> str:
        live, again = lent.live, _write_again(item, lent, number)
        findings = [] if lent.wish.findings == "off" else live.findings()
        try:
            return live.call(lambda: show_guest(live, findings, again), PATIENCE)
        except Exception as error:  # noqa: BLE001 - of whatever a test has done to it
            return f"<p>({escape(str(error))})</p>"

    failure = getattr(getattr(report.longrepr, "reprcrash", None), "message", None)
    made = guests_of(item)[:SHOWN]
    shown = [show(number, lent) for number, lent in enumerate(made, 1)]
    name = report.nodeid if report.when == "call" else f"{report.nodeid} ({report.when})"
    return show_test(name, failure or report.longreprtext, shown) if made else ""


def _reproduce(item: pytest.Item, lent: GuestLease, number: int) -> str:
    """Return what was done to a guest, as a test; or where that was written, if a directory is named."""
    live = lent.live
    text = _write_again(item, lent, number)
    directory = item.config.getoption("--qgasim-reproduce") or item.config.getini(
        "qgasim_reproduce"
    )
    if directory:
        name = re.sub(r"[^\w]+", "_", item.nodeid.removesuffix(".py")).strip("_")[-100:]
        path = item.config.rootpath / directory / f"test_again_{name}_{number}.py"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            return f"(--qgasim-reproduce {path}: {error.strerror})"
        return f"the same again, step by step: pytest {shlex.quote(str(path))}"
    if not live.steps.kept:
        return "(--qgasim-reproduce=DIR writes a test that does the same again)"
    done = "\n".join(f"  {step.text}" for step in live.steps.kept[-STEPS:])
    return f"what the test did (--qgasim-reproduce=DIR writes a test that does all of it again):\n{done}"


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
