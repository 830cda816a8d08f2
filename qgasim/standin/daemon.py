"""Becoming a daemon, with a file that says which process it is."""

import fcntl
import os
import sys
from contextlib import suppress

__all__ = ["PidFile", "become_daemon"]


class PidFile:
    """A file with the number of this process, which holds a lock on it (util/oslib-posix.c of 7.2).

    Raises:
        OSError: it cannot be written; the text says it as qemu-ga does.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._owner = os.getpid()
        try:
            fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except OSError as error:
            text = f"Could not create '{path}': {error.strerror}"
            raise OSError(text) from None
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise OSError(f"Cannot lock pid file: {error.strerror}") from None
        try:
            os.ftruncate(fd, 0)
            os.write(fd, f"{self._owner}\n".encode())
        except OSError as error:
            os.close(fd)
            raise OSError(f"Failed to write pid file: {error.strerror}") from None
        # It stays open: the lock lasts as long.

    def remove(self) -> None:
        """Remove it."""
        with suppress(OSError):
            os.unlink(self._path)


def become_daemon(pid_path: str | None) -> PidFile | None:
    """Go on in a child that has its own session, no terminal and / as its directory; the parent ends.

    *pid_path*: where the child's number is written; the working directory is still the old one.

    Raises:
        OSError: the file cannot be written. This is the child; the parent has ended well.
    """
    sys.stdout.flush()
    if os.fork():
        os._exit(0)
    pid_file = None if pid_path is None else PidFile(pid_path)
    os.umask(0o077)
    os.setsid()
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    return pid_file
