"""Which program a file is: execve(2), and the search for a name in PATH."""

import errno
import stat
from typing import TYPE_CHECKING, Final, TypeAlias

from qgasim.guest.nodes import os_error

if TYPE_CHECKING:
    from qgasim.guest import Guest
    from qgasim.guest.processes import Program

__all__ = ["Image", "find_image"]

#: The file that runs, the program in it, the arguments that it gets.
Image: TypeAlias = "tuple[str, Program, list[str]]"
SHELL: Final = "/bin/sh"
#: Scripts that are each other's interpreters (fs/exec.c, exec_binprm()).
MAX_DEPTH: Final = 5
#: What says of a directory in PATH that the name is not there.
_ABSENT: Final = frozenset({errno.EACCES, errno.ENOENT, errno.ENOTDIR})


def find_image(guest: "Guest", argv: list[str], name: str, search: str | None, cwd: str) -> Image:
    """Find what runs when *name* is executed with *argv*, as execvp(3) and glib's gspawn.c do.

    A name without a slash is tried in each directory of *search*; None: in *cwd*. The error is the
    last one, or EACCES if there was any.
    """
    if not name:
        raise os_error(errno.ENOENT, name)
    if "/" in name or search is None:
        return _execute(guest, name, argv, cwd)
    denied, number = False, errno.ENOENT
    for directory in search.split(":"):
        try:
            return _execute(guest, f"{directory}/{name}" if directory else name, argv, cwd)
        except OSError as error:
            number = error.errno or errno.ENOENT
            if number not in _ABSENT:
                raise
            denied = denied or number == errno.EACCES
    raise os_error(errno.EACCES if denied else number, name)


def _execute(guest: "Guest", path: str, argv: list[str], cwd: str) -> Image:
    """Find what the file *path* runs; what the kernel does not know as a program is the shell's."""
    try:
        return _load(guest, path, argv, cwd)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    return _load(guest, SHELL, [SHELL, path, *argv[1:]], cwd)


def _load(guest: "Guest", path: str, argv: list[str], cwd: str, depth: int = 0) -> Image:
    """Find what execve(2) runs; OSError if it refuses."""
    files = guest.files
    place = files.locate(path, cwd)
    if place.node is None:
        raise os_error(errno.ENOENT, path)
    if not stat.S_ISREG(place.node.st_mode) or not place.node.st_mode & 0o111:
        raise os_error(errno.EACCES, path)
    if "noexec" in place.mount.options.split(","):
        raise os_error(errno.EACCES, path)
    head = files.read(place.path)[:4096]
    if head.startswith(b"#!"):
        if depth >= MAX_DEPTH:
            raise os_error(errno.ELOOP, path)
        line, newline, _ = head[2:].partition(b"\n")
        words = line.strip().decode("utf-8", "surrogateescape")
        if not words:
            # Without even a newline, the interpreter is "", which is the working directory.
            raise os_error(errno.ENOEXEC if newline or line else errno.EACCES, path)
        interpreter, _, argument = words.partition(" ")
        arguments = [interpreter, *([argument.strip()] if argument else []), path, *argv[1:]]
        return _load(guest, interpreter, arguments, cwd, depth + 1)
    code = guest.find_program(head, argv)
    if code is None:
        raise os_error(errno.ENOEXEC, path)
    return place.path, code, argv
