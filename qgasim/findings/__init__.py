"""Findings: what clients did with a guest and should not have done.

They are made from the journal on demand, so a test that does not ask pays nothing.
"""

from typing import Final

from qgasim.findings import conversation, monitor, secrets, state
from qgasim.findings.evidence import Evidence
from qgasim.findings.kinds import KINDS, Finding, Kind
from qgasim.simulation.journal import Journal

__all__ = [
    "KINDS",
    "POLLS_PER_SECOND",
    "Finding",
    "Kind",
    "conversation",
    "find",
    "monitor",
    "secrets",
    "state",
]

#: More requests for the same in a second are too many.
POLLS_PER_SECOND: Final = 20


def find(journal: Journal, *, polls_per_second: int = POLLS_PER_SECOND) -> list[Finding]:
    """Look for everything that clients should not have done.

    What the journal has dropped is not seen. Call it when the clients are done: what is open or frozen
    then counts as left so.

    Args:
        journal: of the guest.
        polls_per_second: how often a client may ask the same.
    """
    evidence = Evidence(journal, polls_per_second)
    findings = [Finding(kind, tuple(kind.look(evidence))) for kind in KINDS.values()]
    return [finding for finding in findings if finding.found]
