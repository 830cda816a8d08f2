"""What must hold of the programs whose results a scenario gives."""

import codecs
from collections.abc import Iterator
from typing import Final

from qgasim.guest.processes.scripted import compile_text
from qgasim.guest.processes.template import PLACEHOLDERS, PLACEHOLDERS_OF, placeholders
from qgasim.guest.settings import GuestSettings, ProgramResult, ProgramSettings, TextPattern
from qgasim.scenario.checks import Wrong, checks
from qgasim.scenario.guest_checks import check_path, check_range
from qgasim.suggestions import did_you_mean

__all__: list[str] = []

#: How often a result can be given before the next one.
TIMES_LIMIT: Final = 1_000_000


@checks(TextPattern)
def _check_pattern(pattern: TextPattern) -> Wrong:
    if (pattern.glob is None) is (pattern.regex is None):
        yield "", "expected one of 'glob' and 'regex'"
    elif pattern.regex is not None:
        try:
            compile_text(pattern)
        except ValueError as error:
            yield "regex", str(error)


@checks(ProgramResult)
def _check_result(result: ProgramResult) -> Wrong:
    yield from check_range(result, "signal", 1, 64)
    yield from check_range(result, "times", 1, TIMES_LIMIT)
    if result.signal is not None and result.exit_code:
        yield "exit_code", "has no effect on a program that a signal ends"
    for key in ("stdout", "stderr"):
        for name, word in placeholders(getattr(result, key)):
            if wrong := _find_wrong(name, word):
                yield key, wrong


def _find_wrong(name: str, word: str | None) -> str:
    """Return what is wrong with a name in braces; nothing if it has a value."""
    known, shown = (PLACEHOLDERS, name) if word is None else (PLACEHOLDERS_OF, f"{name} {word}")
    if name in known:
        return "" if name != "arg" or (word or "").isdecimal() else _no_number(shown)
    if name in PLACEHOLDERS_OF:
        return f"{{{name}}} needs a word, as in {{{name} {_EXAMPLES[name]}}}"
    if name in PLACEHOLDERS:
        return f"{{{name}}} takes no word, but found {{{shown}}}"
    hint = did_you_mean(name, {**PLACEHOLDERS, **PLACEHOLDERS_OF})
    return f"there is no value {{{shown}}}{hint}; a brace itself is written {{{{{shown}}}"


#: A word that each of `PLACEHOLDERS_OF` could have.
_EXAMPLES: Final = {"ip": "eth0", "ip6": "eth0", "mac": "eth0", "os": "VERSION_ID", "arg": "1"}


def _no_number(shown: str) -> str:
    return f"{{{shown}}}: expected the number of an argument"


@checks(ProgramSettings)
def _check_program(program: ProgramSettings) -> Wrong:
    yield from check_path(program.path, "path")
    yield from _check_encoding(program)
    if not program.in_turn:
        return
    for name in ("stdout", "stderr", "exit_code", "signal", "duration", "times"):
        if getattr(program, name) != getattr(_NO_RESULT, name):
            yield name, "has no effect beside 'in_turn' (its entries have their own)"


_NO_RESULT: Final = ProgramResult()


def _check_encoding(program: ProgramSettings) -> Wrong:
    """Check that a program's output can be written in its encoding."""
    try:
        codecs.lookup(program.encoding)
        for _, result in _results(program):
            (result.stdout + result.stderr).encode(program.encoding, "surrogateescape")
    except (LookupError, ValueError):
        # A ValueError: a character that it does not have, or a codec that is none of texts.
        yield (
            "encoding",
            f"cannot write the output in '{program.encoding}' (expected one as in cp850)",
        )


def _results(program: ProgramSettings) -> Iterator[tuple[str, ProgramResult]]:
    """Yield a program's results, and where they are below it."""
    yield "", program
    for index, result in enumerate(program.in_turn):
        yield f"in_turn[{index}].", result


@checks(GuestSettings, "programs", "os.family")
def _check_exit_codes(guest: GuestSettings) -> Wrong:
    # Windows' have 32 bits, and are read as signed and as unsigned.
    is_windows = guest.os.family == "windows"
    least, most = (-1 << 31, (1 << 32) - 1) if is_windows else (0, 255)
    for index, program in enumerate(guest.programs):
        for at, result in _results(program):
            for name, text in check_range(result, "exit_code", least, most):
                yield f"programs[{index}].{at}{name}", text


@checks(GuestSettings, "programs", "nics")
def _check_interfaces(guest: GuestSettings) -> Wrong:
    """Check that an interface of which an output shows something is there."""
    names = [nic.name for nic in guest.nics]
    if any("{" in name for name in names):
        return
    for index, program in enumerate(guest.programs):
        for at, result in _results(program):
            for key in ("stdout", "stderr"):
                for name, word in placeholders(getattr(result, key)):
                    if name in ("ip", "ip6", "mac") and word is not None and word not in names:
                        text = f"no interface is called '{word}'{did_you_mean(word, names)}"
                        yield f"programs[{index}].{at}{key}", text
