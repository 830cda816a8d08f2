"""``-daemonize`` and ``-pidfile``: when the parent ends, the monitor listens and the file is written (os-posix.c)."""

import os

__all__ = ["Parent", "detach"]


class Parent:
    """The process that was started, seen from the daemon: it waits to be told."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def release(self) -> None:
        """Let it end well, and leave its files and terminal."""
        os.chdir("/")
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        os.write(self._pipe, b"\0")
        os.close(self._pipe)


def detach() -> Parent:
    """Go on in a child that has its own session. The parent ends as the child says, with 1 if that fails."""
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        told = os.read(reader, 1)
        if not told:
            os.waitpid(child, 0)
        os._exit(0 if told else 1)
    os.close(reader)
    os.setsid()
    os.umask(0o027)
    return Parent(writer)
