"""The programs that a guest has: they are given to it, as a mapping, by what builds it.

A program's file holds a mark with its name, so that a copy or a link of it runs the same, and a file
written over it does not.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from qgasim.guest.files.files import Files
from qgasim.guest.processes.process import Program

__all__ = ["NOTHING", "Userland", "find_program", "install", "program_image"]

_MAGIC: Final = b"\x7fELF\x02\x01\x01 a program of the simulated guest: "


class Userland(Struct, frozen=True, kw_only=True):
    """What can run in a guest, and the files by which it is run."""

    #: The programs, by name.
    programs: Mapping[str, Program]
    #: The names of programs, by directory and name of their files.
    files: Mapping[str, Mapping[str, str]]
    #: Symbolic links: their targets, by directory and name.
    links: Mapping[str, Mapping[str, str]]


#: The userland of a guest without programs.
NOTHING: Final = Userland(
    programs=MappingProxyType({}), files=MappingProxyType({}), links=MappingProxyType({})
)


def program_image(name: str) -> bytes:
    """Return the contents of the program *name*'s file."""
    return _MAGIC + name.encode() + b"\n"


def find_program(programs: Mapping[str, Program], head: bytes) -> Program | None:
    """Return the program whose file begins with *head*; None if there is none."""
    if not head.startswith(_MAGIC):
        return None
    return programs.get(head[len(_MAGIC) :].split(b"\n", 1)[0].decode())


def install(userland: Userland, files: Files) -> None:
    """Make the files of all programs."""
    for directory in userland.files:
        files.makedirs(directory)
    for directory, targets in userland.links.items():
        files.symlink_all(directory, targets)
    for directory, names in userland.files.items():
        images = {name: program_image(program) for name, program in names.items()}
        files.write_all(directory, images, 0o755)
