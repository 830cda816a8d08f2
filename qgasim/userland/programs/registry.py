"""The programs by name, and how they come to be there."""

from collections.abc import Callable
from functools import wraps
from typing import Final

from qgasim.guest.processes.process import Process, Program, Steps
from qgasim.userland.programs.messages import complain, explain

__all__ = ["PROGRAMS", "program"]

#: Complete once `qgasim.userland.programs` is imported: see `program`.
PROGRAMS: Final[dict[str, Program]] = {}


def program(*names: str) -> Callable[[Program], Program]:
    """Register a program under *names*."""

    def register(function: Program) -> Program:
        for name in names:
            PROGRAMS[name] = _guarded(function)
        return function

    return register


def _guarded(function: Program) -> Program:
    """Make a program report the errors of files that it does not report itself."""

    @wraps(function)
    def run(p: Process) -> Steps:
        try:
            return (yield from function(p))
        except OSError as error:
            what = str(error.filename) if error.filename else "write error"
            yield from complain(p, f"{what}: {explain(error)}")
            # grep's failures are 2; 1 is "no match".
            return 2 if p.name == "grep" else 1

    return run
