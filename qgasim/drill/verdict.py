"""What a run has shown of a client."""

import fnmatch
from collections.abc import Sequence
from signal import Signals
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from qgasim.drill.command import Ended
from qgasim.drill.plan import Run
from qgasim.faults import AnyFault

__all__ = ["WRONG", "FindingsMode", "Result", "Rules", "Verdict", "judge", "shown_output"]

#: ``ok``: status 0, nothing found; ``expected``: it failed, as was said that it would; ``skipped``: there
#: is no such guest with this release. All others are wrong: ``failed``, ``hung``: it did not end in time;
#: ``misbehaved``: it did to the guest what clients should not do, or left processes running;
#: ``unexpected``: it succeeded where it was said that it fails.
Verdict: TypeAlias = Literal[
    "ok", "expected", "skipped", "failed", "hung", "misbehaved", "unexpected"
]
WRONG: Final = frozenset[Verdict]({"failed", "hung", "misbehaved", "unexpected"})
#: What findings do: ``error``: they are wrong, ``report``: they are shown, ``off``.
FindingsMode: TypeAlias = Literal["error", "report", "off"]


class Rules(Struct, frozen=True, kw_only=True):
    """How a client is judged."""

    #: How many seconds each run may take.
    limit: float = 60.0
    #: What findings do.
    findings: FindingsMode = "error"
    #: Names of runs, with wildcards, in which a failure is right.
    expect: tuple[str, ...] = ()

    def expects_failure(self, run: Run) -> bool:
        """Return whether a failure of this run is right."""
        names = (run.name, run.name.partition("@")[0])
        return any(fnmatch.fnmatch(name, each) for name in names for each in self.expect)


class Result(Struct, frozen=True, kw_only=True):
    """What has come of a run."""

    run: Run
    verdict: Verdict
    #: Why, in a line; empty: there is nothing to say.
    reason: str = ""
    #: The command's exit status, as `Ended.status`; None, too, if it was not run.
    status: int | None = None
    seconds: float = 0.0
    #: The names of what the client did and should not have done.
    findings: tuple[str, ...] = ()
    #: Where the behaviour was seen, or what it is.
    report: str = ""
    #: What a careful client does.
    expect: str = ""
    #: What the command printed: the last of it.
    output: str = ""
    #: What the guest was asked, and all findings in full.
    transcript: str = ""
    #: The faults that repeat the variations of its replies, one for each place.
    pinned: tuple[AnyFault, ...] = ()
    #: The part of the page about it; empty unless it is asked for.
    page: str = ""

    @property
    def is_wrong(self) -> bool:
        """Return whether the client needs a fix."""
        return self.verdict in WRONG

    def fails_like(self, other: "Result") -> bool:
        """Return whether the client failed as in *other*: with the same verdict, for the same reason.

        The reason of a failed command is its exit status, of one that misbehaved what it did: something of
        that is enough.
        """
        if self.verdict != other.verdict:
            return False
        if self.verdict == "failed":
            return self.status == other.status
        if self.verdict == "misbehaved":
            # Without findings, it left something running.
            is_same = bool(self.reason) == bool(other.reason)
            return is_same and (
                bool(self.reason) or not {*self.findings}.isdisjoint(other.findings)
            )
        return True


def judge(  # noqa: PLR0911 - one for each verdict
    ended: Ended, findings: Sequence[str], rules: Rules, run: Run, *, has_connected: bool
) -> tuple[Verdict, str]:
    """Return the verdict and its reason.

    Args:
        ended: how the command has ended.
        findings: the names of what it did and should not have done.
        rules: what counts.
        run: what it was run against.
        has_connected: whether it has connected to the guest at all.
    """
    expects_failure = rules.expects_failure(run)
    is_found = bool(findings) and rules.findings == "error"
    if ended.status is None:
        return "hung", f"no end within {rules.limit:g} s"
    if ended.left:
        return "misbehaved", f"left running: {', '.join(ended.left[:5])}"
    if is_found and (ended.status == 0 or expects_failure):
        return "misbehaved", ""
    if ended.status:
        return "expected" if expects_failure else "failed", _why_failed(ended)
    if expects_failure:
        return "unexpected", "status 0, where --expect says that it fails"
    if not has_connected:
        return "failed", "status 0, and it never connected to its guest"
    return "ok", ""


def _why_failed(ended: Ended) -> str:
    status = ended.status or 0
    if status < 0:
        try:
            return f"ended by {Signals(-status).name}"
        except ValueError:
            return f"ended by signal {-status}"
    lines = shown_output(ended).strip().splitlines()
    return f"status {status}: {lines[-1].strip()}" if lines else f"status {status}"


def shown_output(ended: Ended) -> str:
    """Return what a command printed, as text whose lines are readable, with a note of what was cut."""
    text = ended.output.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    lines = (
        "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in line)
        for line in text.split("\n")
    )
    cut = ended.printed - len(ended.output)
    head = f"({cut} bytes before are left out)\n" if cut else ""
    return head + "\n".join(lines)
