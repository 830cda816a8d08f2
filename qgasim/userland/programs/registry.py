"""The programs by name, and how they come to be there."""

from collections.abc import Callable
from functools import wraps
from types import MappingProxyType
from typing import Final

from qgasim.guest.processes.process import Process, Program, Steps
from qgasim.userland.programs.messages import complain, explain, failure_status, is_busybox

#: What BusyBox 1.35's applets do without a standard output, as tried: they say so, say it otherwise ...
CHECKED: Final = frozenset(("cat", "echo", "tail", "tr"))
NAMED: Final = frozenset(("cut", "env", "head", "id", "sort", "uname", "wc"))
#: ... or only end with a status, or not even that.
UNCHECKED: Final = MappingProxyType(
    {"basename": 1, "dirname": 255, "printf": 1, "pwd": 255, "seq": 255}
)
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
            if is_busybox(p) and not error.filename and p.name not in CHECKED:
                # The others look at what became of their output only when they end, if at all.
                if p.name in NAMED:
                    yield from complain(p, f"standard output: {explain(error)}")
                return UNCHECKED.get(p.name, 0)
            yield from complain(p, f"{what}: {explain(error)}")
            return failure_status(p)

    return run
