"""The program whose results a scenario gives."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from qgasim.guest.processes.process import Killed, Process, Program, Steps, Waiting
from qgasim.guest.processes.template import fill_in
from qgasim.guest.settings import ProgramResult, ProgramSettings, TextPattern
from qgasim.matching import Cache, Test, compile_pattern

__all__ = ["SCRIPTED", "Scripted", "compile_text"]

#: The name of `Scripted.run`, under which its files find it.
SCRIPTED: Final = "scripted"


_GLOBS: Final = Cache(lambda text: compile_pattern({"glob": text}))
_REGEXES: Final = Cache(lambda text: compile_pattern({"regex": text}))


def compile_text(pattern: str | TextPattern) -> Test:
    """Make the test of a text; a text with wildcards is a pattern, too.

    Raises:
        ValueError: the pattern cannot be one.
    """
    if isinstance(pattern, str):
        return _GLOBS(pattern)
    if pattern.regex is not None:
        return _REGEXES(pattern.regex)
    return _GLOBS(pattern.glob or "")


class Scripted:
    """What ``guest.programs`` says, and how often each entry of it was the result.

    Arguments that no entry fits are for the guest's own program of that name, if it has one.
    """

    def __init__(self, programs: Mapping[str, Program]) -> None:
        self._programs = programs
        #: By the number of the entry.
        self._used: dict[int, int] = {}

    def run(self, p: Process) -> Steps:
        """Answer as the first entry says that fits the arguments and the standard input."""
        given: str | None = None
        for number, entry in enumerate(p.guest.settings.programs):
            result = find_result(entry, self._used.get(number, 0))
            if result is None or not _fits(entry, p):
                continue
            if entry.stdin is not None:
                if given is None:
                    given = (yield from p.read_all(0)).decode(entry.encoding, "surrogateescape")
                if not compile_text(entry.stdin)(given):
                    continue
            self._used[number] = self._used.get(number, 0) + 1
            return (yield from _give(result, entry.encoding, p))
        own = self._programs.get(p.path.rpartition("/")[2])
        if own is not None and given is None and not p.guest.is_windows:
            return (yield from own(p))
        yield from p.write(2, f"{p.name}: the scenario has no result for {p.argv[1:]}\n")
        return 127


def find_result(entry: ProgramSettings, used: int) -> ProgramResult | None:
    """Return the result of *entry* after it was used so many times; None if none is left."""
    results = entry.in_turn or [entry]
    for result in results:
        times = result.times
        if times is None:
            if result is results[-1]:
                return result
            times = 1
        if used < times:
            return result
        used -= times
    return None


def _give(result: ProgramResult, encoding: str, p: Process) -> Steps:
    if result.duration:
        p.rest = partial(_end_as, result, encoding)
        yield from p.sleep(result.duration)
    return (yield from _end_as(result, encoding, p))


def _end_as(result: ProgramResult, encoding: str, p: Process) -> Steps:
    yield from _write(p, 1, result.stdout, encoding)
    yield from _write(p, 2, result.stderr, encoding)
    if result.signal is not None:
        raise Killed(result.signal)
    return result.exit_code


def _write(p: Process, number: int, text: str, encoding: str) -> Waiting[None]:
    yield from p.write(number, fill_in(text, p).encode(encoding, "surrogateescape"))


def _fits(entry: ProgramSettings, p: Process) -> bool:
    """Return whether it is this entry's program, with its arguments."""
    if p.path != _resolved(p, p.guest.inner_path(entry.path)):
        return False
    patterns, arguments = entry.args, p.argv[1:]
    if patterns is None:
        return True
    if isinstance(patterns, list):
        return len(patterns) == len(arguments) and all(
            compile_text(pattern)(argument)
            for pattern, argument in zip(patterns, arguments, strict=True)
        )
    return compile_text(patterns)(" ".join(arguments))


def _resolved(p: Process, path: str) -> str:
    """Return *path* without links, of which /bin and /sbin are two."""
    try:
        return p.guest.files.locate(path).path
    except OSError:
        return path
