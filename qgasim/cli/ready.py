"""The line for ``--ready-fd``: a program that started the server reads that clients can connect, and where."""

import errno
import fcntl
import json
import os
from contextlib import suppress
from typing import Any

from qgasim.errors import QgaSimError

__all__ = ["check_ready_fd", "write_ready"]


def check_ready_fd(number: int | None) -> None:
    """Raise QgaSimError if the file descriptor cannot be written to."""
    if number is not None:
        try:
            mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
        except (OSError, OverflowError):
            raise QgaSimError(f"--ready-fd {number}: {os.strerror(errno.EBADF)}") from None
        if mode == os.O_RDONLY:
            raise QgaSimError(f"--ready-fd {number}: it is open for reading only")


def write_ready(number: int, line: dict[str, Any]) -> None:
    """Write a line of JSON to a file descriptor, for the program that asked for it."""
    # The program may have ended.
    with suppress(OSError):
        os.write(number, json.dumps(line).encode() + b"\n")
