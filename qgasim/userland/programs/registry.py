"""The programs by name, and how they come to be there."""

from collections.abc import Callable
from typing import Final

from qgasim.guest.processes.process import Program

__all__ = ["PROGRAMS", "program"]

#: Complete once `qgasim.userland.programs` is imported: see `program`.
PROGRAMS: Final[dict[str, Program]] = {}


def program(*names: str) -> Callable[[Program], Program]:
    """Register a program under *names*."""

    def register(function: Program) -> Program:
        for name in names:
            PROGRAMS[name] = function
        return function

    return register
