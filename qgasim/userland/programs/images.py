"""What a program's file holds, and what runs when it is executed.

The file holds a mark, so that a copy or a link of it runs the same, and a file written over it does
not.
"""

import fnmatch
from functools import partial
from typing import TYPE_CHECKING, Final

from qgasim.guest.processes.process import Killed, Process, Program, Steps
from qgasim.userland.programs.messages import complain, explain
from qgasim.userland.programs.registry import PROGRAMS

if TYPE_CHECKING:
    from qgasim.guest import Guest
    from qgasim.guest.settings import ProgramSettings

__all__ = ["BUSYBOX", "SCRIPTED", "builtin_image", "find_builtin"]

BUSYBOX: Final = "busybox"
#: The program that answers as the scenario says.
SCRIPTED: Final = "scripted"
_MAGIC: Final = b"\x7fELF\x02\x01\x01 a program of the simulated guest: "


def builtin_image(name: str) -> bytes:
    """Give the contents of the program *name*'s file."""
    return _MAGIC + name.encode() + b"\n"


def find_builtin(guest: "Guest", head: bytes, argv: list[str]) -> Program | None:
    """Find the program whose file begins with *head*; None if it is none of the guest's own.

    BusyBox is one file that looks at the name by which it was called.
    """
    if not head.startswith(_MAGIC):
        return None
    name = head[len(_MAGIC) :].split(b"\n", 1)[0].decode()
    if name == SCRIPTED:
        return _scripted(guest.settings.programs)
    if name == BUSYBOX:
        return _guarded(PROGRAMS.get(argv[0].rsplit("/", 1)[-1], PROGRAMS[BUSYBOX]))
    code = PROGRAMS.get(name)
    return _guarded(code) if code else None


def _guarded(function: Program) -> Program:
    """Make a program say what went wrong where it doesn't do so itself."""

    def run(p: Process) -> Steps:
        try:
            return (yield from function(p))
        except OSError as error:
            what = str(error.filename) if error.filename else "write error"
            yield from complain(p, f"{what}: {explain(error)}")
            return 1

    return run


def _scripted(entries: "list[ProgramSettings]") -> Program:
    """Make the program that answers as the scenario says."""

    def run(p: Process) -> Steps:
        entry = next((e for e in entries if _matches(e, p)), None)
        if entry is None:
            yield from p.write(2, f"{p.name}: the scenario has no result for {p.argv[1:]}\n")
            return 127
        if entry.duration:
            p.rest = partial(_end_as, entry)
            yield from p.sleep(entry.duration)
        return (yield from _end_as(entry, p))

    return run


def _end_as(entry: "ProgramSettings", p: Process) -> Steps:
    yield from p.write(1, entry.stdout.encode(entry.encoding, "surrogateescape"))
    yield from p.write(2, entry.stderr.encode(entry.encoding, "surrogateescape"))
    if entry.signal is not None:
        raise Killed(entry.signal)
    return entry.exit_code


def _matches(entry: "ProgramSettings", p: Process) -> bool:
    if p.path != _resolved(p, p.guest.inner_path(entry.path)):
        return False
    if entry.args is None:
        return True
    return len(entry.args) == len(p.argv) - 1 and all(
        fnmatch.fnmatchcase(argument, pattern)
        for argument, pattern in zip(p.argv[1:], entry.args, strict=True)
    )


def _resolved(p: Process, path: str) -> str:
    """Give *path* without links, of which /bin and /sbin are two."""
    try:
        return p.guest.files.locate(path).path
    except OSError:
        return path
