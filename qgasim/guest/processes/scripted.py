"""The program whose results a scenario gives."""

import fnmatch
import re
from functools import partial
from typing import Final

from qgasim.guest.processes.process import Killed, Process, Steps
from qgasim.guest.settings import ProgramSettings
from qgasim.matching import Cache, Pattern

__all__ = ["SCRIPTED", "run_scripted"]

#: The name of `run_scripted`, under which its files find it.
SCRIPTED: Final = "scripted"


_compile: Final = Cache(lambda pattern: Pattern(fnmatch.translate(pattern), re.DOTALL))


def run_scripted(p: Process) -> Steps:
    """Answer as the first entry of ``guest.programs`` says that fits the process's arguments."""
    entry = next((e for e in p.guest.settings.programs if _matches(e, p)), None)
    if entry is None:
        yield from p.write(2, f"{p.name}: the scenario has no result for {p.argv[1:]}\n")
        return 127
    if entry.duration:
        p.rest = partial(_end_as, entry)
        yield from p.sleep(entry.duration)
    return (yield from _end_as(entry, p))


def _end_as(entry: ProgramSettings, p: Process) -> Steps:
    yield from p.write(1, entry.stdout.encode(entry.encoding, "surrogateescape"))
    yield from p.write(2, entry.stderr.encode(entry.encoding, "surrogateescape"))
    if entry.signal is not None:
        raise Killed(entry.signal)
    return entry.exit_code


def _matches(entry: ProgramSettings, p: Process) -> bool:
    if p.path != _resolved(p, p.guest.inner_path(entry.path)):
        return False
    if entry.args is None:
        return True
    return len(entry.args) == len(p.argv) - 1 and all(
        _compile(pattern).fullmatch(argument) is not None
        for argument, pattern in zip(p.argv[1:], entry.args, strict=True)
    )


def _resolved(p: Process, path: str) -> str:
    """Return *path* without links, of which /bin and /sbin are two."""
    try:
        return p.guest.files.locate(path).path
    except OSError:
        return path
