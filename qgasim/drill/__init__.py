"""Drill: run any client against everything that ever went wrong, and shrink what fails.

A `Run` is one guest that a client is run against; `plan` makes them of a `Selection`. `Drill.attempt` serves the
guest and runs the command (`command`, `leftovers`), `judge` decides (`verdict`). `minimise` cuts the faults of
a run that fails down to the few that matter.
"""

from qgasim.drill.minimise import Minimal, minimise
from qgasim.drill.plan import Run, Selection, plan
from qgasim.drill.runner import Drill
from qgasim.drill.verdict import WRONG, Result, Rules, Verdict

__all__ = [
    "WRONG",
    "Drill",
    "Minimal",
    "Result",
    "Rules",
    "Run",
    "Selection",
    "Verdict",
    "minimise",
    "plan",
]
