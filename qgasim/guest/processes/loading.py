"""Which program a file is: execve(2), and the search for a name in PATH."""

import errno
import stat
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from qgasim.guest.files.nodes import encode_name, os_error
from qgasim.guest.machine import Machine
from qgasim.guest.processes.process import Program
from qgasim.guest.processes.userland import find_program

__all__ = ["MAX_ARG_STRLEN", "Image", "Loader"]

#: The file that runs, the program in it, the arguments that it gets.
Image: TypeAlias = tuple[str, Program, list[str]]
SHELL: Final = "/bin/sh"
#: Scripts that are each other's interpreters (fs/exec.c, exec_binprm()).
MAX_DEPTH: Final = 5
#: How much of a file the kernel looks at to learn what it is (BINPRM_BUF_SIZE).
_HEAD_SIZE: Final = 256
#: Bytes of one argument or variable, with the NUL at its end (include/uapi/linux/binfmts.h).
MAX_ARG_STRLEN: Final = 131_072
#: Bytes of all of them and of the pointers to them: a quarter of the stack, which is of 8 MiB.
_ALL_LIMIT: Final = 2 << 20
_POINTER: Final = 8
#: What says of a directory in PATH that the name is not there.
_ABSENT: Final = frozenset({errno.EACCES, errno.ENOENT, errno.ENOTDIR})


class Loader:
    """execve(2) and execvp(3) of a machine that has certain programs."""

    def __init__(self, machine: Machine, programs: Mapping[str, Program]) -> None:
        self._machine = machine
        self._programs = programs

    def find(
        self, argv: list[str], env: Sequence[str], name: str, search: str | None, cwd: str
    ) -> Image:
        """Find what runs when *name* is executed with *argv*, as execvp(3) and glib's gspawn.c do.

        A name without a slash is tried in each directory of *search*; None: in *cwd*. The error is
        the last one, or EACCES if there was any.
        """
        if not name:
            raise os_error(errno.ENOENT, name)
        if "/" in name or search is None:
            return self._execute(name, argv, env, cwd)
        denied, number = False, errno.ENOENT
        for directory in search.split(":"):
            try:
                path = f"{directory}/{name}" if directory else name
                return self._execute(path, argv, env, cwd)
            except OSError as error:
                number = error.errno or errno.ENOENT
                if number not in _ABSENT:
                    raise
                denied = denied or number == errno.EACCES
        raise os_error(errno.EACCES if denied else number, name)

    def _execute(self, path: str, argv: list[str], env: Sequence[str], cwd: str) -> Image:
        """Find what the file *path* runs; what the kernel does not know as a program is the shell's."""
        try:
            return self._load(path, argv, env, cwd)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
        return self._load(SHELL, [SHELL, path, *argv[1:]], env, cwd)

    def _load(
        self, path: str, argv: list[str], env: Sequence[str], cwd: str, depth: int = 0
    ) -> Image:
        """Find what execve(2) runs; OSError if it refuses."""
        files = self._machine.files
        place = files.locate(path, cwd)
        if place.node is None:
            raise os_error(errno.ENOENT, path)
        if not stat.S_ISREG(place.node.st_mode) or not place.node.st_mode & 0o111:
            raise os_error(errno.EACCES, path)
        if "noexec" in place.mount.options.split(","):
            raise os_error(errno.EACCES, path)
        if not self._machine.is_windows:
            # As since Linux 6.8; before, what is too large was refused before the file was looked at.
            _check_size(path, argv, env)
        head = files.read_head(place, _HEAD_SIZE)
        if head.startswith(b"#!"):
            if depth >= MAX_DEPTH:
                raise os_error(errno.ELOOP, path)
            words = _parse_interpreter(head[:_HEAD_SIZE])
            if words is None:
                raise os_error(errno.ENOEXEC, path)
            if not words[0]:
                # Without even a newline, the interpreter is "", which is the working directory.
                raise os_error(errno.EACCES, path)
            return self._load(words[0], [*words, path, *argv[1:]], env, cwd, depth + 1)
        code = find_program(self._programs, head)
        if code is None:
            raise os_error(errno.ENOEXEC, path)
        return place.path, code, argv


def _check_size(path: str, argv: Sequence[str], env: Sequence[str]) -> None:
    """Refuse what is too large (fs/exec.c, bprm_stack_limits() and copy_strings())."""
    sizes = [len(encode_name(text)) + 1 for text in (*argv, *env)]
    room = _ALL_LIMIT - _POINTER * len(sizes)
    if max(sizes, default=0) > MAX_ARG_STRLEN or sum(sizes) + len(encode_name(path)) + 1 > room:
        raise os_error(errno.E2BIG, path)


def _parse_interpreter(head: bytes) -> list[str] | None:
    """Read what follows ``#!``: the interpreter, and all the rest as one argument, if there is any.

    None if there is no interpreter, or one that does not end in *head* (fs/binfmt_script.c,
    load_script()). Only blanks and tabs separate, and a NUL ends either.
    """
    line, newline, _ = head[2:].partition(b"\n")
    if not newline or b"\0" in line:
        # Behind what is not there, the kernel sees NULs.
        line = head[2:].ljust(_HEAD_SIZE - 2, b"\0")[: _HEAD_SIZE - 3]
        if not line.strip(b" \t") or not _ends(line.lstrip(b" \t")):
            return None
    line = line.strip(b" \t")
    if not line:
        return None
    end = next((i for i, byte in enumerate(line) if byte in b" \t\0"), len(line))
    words = [line[:end]]
    if line[end : end + 1] not in (b"", b"\0"):
        words.append(line[end:].lstrip(b" \t").partition(b"\0")[0])
    return [word.decode("utf-8", "surrogateescape") for word in words]


def _ends(text: bytes) -> bool:
    """Return whether the first word of *text* ends in it."""
    return any(byte in b" \t\0" for byte in text)
