"""What qemu-ga says: as glib says it before qemu-ga has its log, with a time stamp from then on."""

import os
import time
from typing import Final

__all__ = ["Log"]

#: What is logged without ``--verbose``.
_ALWAYS: Final = frozenset({"critical", "error", "qgasim"})


class Log:
    """The log of qga/main.c; called with a level of glib's and a text."""

    def __init__(self) -> None:
        self.is_verbose = False
        #: Whether nothing is logged: file systems are frozen.
        self.is_suspended = False
        self._has_begun = False
        #: The standard error.
        self._fd = 2

    def begin(self, *, is_verbose: bool) -> None:
        """Log with time stamps to the standard error, debug messages too if *is_verbose*."""
        self._has_begun = True
        self.is_verbose = is_verbose

    def open(self, path: str) -> None:
        """Log to a file.

        Raises:
            OSError: it cannot be opened.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o666)

    def __call__(self, level: str, text: str) -> None:
        """Log *text*, if it is to be logged."""
        if self.is_suspended or (self._has_begun and level not in _ALWAYS and not self.is_verbose):
            return
        now = time.time()
        if self._has_begun:
            line = f"{now:.6f}: {level}: {text}"
        elif level == "debug":
            return
        else:
            clock = time.strftime("%H:%M:%S", time.localtime(now))
            stamp = f"{clock}.{int(now * 1000) % 1000:03d}"
            # qemu-ga sets no locale: glib has no letters but ASCII's.
            plain = text.encode("ascii", "replace").decode()
            line = f"\n** (process:{os.getpid()}): {level.upper()} **: {stamp}: {plain}"
        self._write(f"{line}\n")

    def _write(self, text: str) -> None:
        try:
            os.write(self._fd, text.encode(errors="surrogateescape"))
        except OSError:
            # A full disk, or a pipe without a reader: qemu-ga does not look, either.
            return
