"""Sockets that systemd opened for this process (util/systemd.c and qga/main.c of 7.2)."""

import fcntl
import os
import re
import socket
from collections.abc import MutableMapping
from typing import Final

from qgasim.standin.config import Refused

__all__ = ["FIRST_FD", "NotOpen", "find_method"]

#: The first of the file descriptors that systemd hands over.
FIRST_FD: Final = 3
_NUMBER: Final = re.compile(r"\s*\+?([0-9]+)")


class NotOpen(Exception):
    """A socket that was announced is not there."""


def find_method(environment: MutableMapping[str, str]) -> str | None:
    """Return the method by which the socket at `FIRST_FD` is served; None if there is none.

    The variables that say so are taken out of *environment*.

    Raises:
        NotOpen: there is no such file descriptor.
        Refused: it cannot be served.
    """
    pid, count = (_NUMBER.fullmatch(environment.get(name, "")) for name in _NAMES[:2])
    if pid is None or count is None or int(pid[1]) != os.getpid():
        return None
    for name in _NAMES:
        environment.pop(name, None)
    number = int(count[1])
    for fd in range(FIRST_FD, FIRST_FD + number):
        try:
            fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            text = f"Socket activation failed: invalid file descriptor fd = {fd}: {reason}"
            raise NotOpen(text) from None
    if number > 1:
        raise Refused("qemu-ga only supports listening on one socket")
    return _method() if number else None


_NAMES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def _method() -> str:
    try:
        with socket.socket(fileno=os.dup(FIRST_FD)) as sock:
            # What does not listen qemu-ga would take, and never serve.
            listens = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
            if listens and sock.family == socket.AF_UNIX:
                return "unix-listen"
            if listens and sock.family == getattr(socket, "AF_VSOCK", None):
                return "vsock-listen"
    except OSError:
        pass
    raise Refused("unsupported listen fd type")
