"""What of each program is simulated: asked of the programs themselves."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

from msgspec import Struct

from qgasim.guest.machine import Machine
from qgasim.guest.processes.process import Process
from qgasim.guest.settings import GuestSettings, OsSettings
from qgasim.userland.catalogue import USERLANDS
from qgasim.userland.programs.getopt import Declared, Question, known_options, split_letters
from qgasim.userland.shell.interpreter import BUILTINS

__all__ = ["Coverage", "builtins", "cover", "names"]


class Coverage(Struct, frozen=True):
    """The options of a program, with their hyphens."""

    simulated: tuple[str, ...]
    #: What the real program knows besides.
    missing: tuple[str, ...]


def builtins() -> frozenset[str]:
    """Return what the shell does itself."""
    # What the parser makes of bash's arithmetic is no command's name.
    return frozenset(BUILTINS) - {"(("}


def names(userland: str) -> frozenset[str]:
    """Return the names by which a guest's programs are called."""
    there = USERLANDS[userland]
    links = (name for names in there.links.values() for name in names)
    return frozenset(links).union(*there.files.values())


def cover(userland: str, name: str) -> Coverage | None:
    """Return the options of a program; None if it has a syntax of its own, or none."""
    declared = _ask(userland, name)
    if declared is None:
        return None
    simulated = [*_hyphens(split_letters(declared.letters)), *(f"--{n}" for n in declared.long)]
    letters, long = known_options(userland, name)
    known = [*_hyphens(letters), *(f"--{n}" for n in long)]
    there = set(simulated)
    return Coverage(tuple(sorted(there, key=_order)), tuple(sorted(set(known) - there, key=_order)))


def _hyphens(letters: str | dict[str, str]) -> Iterator[str]:
    return (f"-{letter}" for letter in letters)


def _order(option: str) -> tuple[bool, str, str]:
    return option.startswith("--"), option.lower(), option


def _ask(userland: str, name: str) -> Declared | None:
    """Run a program up to where it says which options it has."""
    settings = GuestSettings(os=OsSettings(userland=userland))  # type: ignore[arg-type]
    question = Question(name, cast(Machine, SimpleNamespace(settings=settings)))
    steps = USERLANDS[userland].programs[name](cast(Process, question))
    try:
        next(steps, None)
    except Declared as declared:
        return declared
    except (AttributeError, TypeError):
        # It looks at its process before it asks for options: its syntax is its own.
        return None
    return None
