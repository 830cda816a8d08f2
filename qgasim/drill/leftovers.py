"""What a command leaves running: found among the descendants of this process, and ended.

A process whose parent ends becomes a child of the nearest ancestor that has asked for orphans (a subreaper), which
a drill has: so a daemon of the command cannot leave. It is told from the processes of other runs by its session,
or by the mark in its environment. Only descendants are ever ended.
"""

import ctypes
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from msgspec import Struct

__all__ = ["adopting_orphans", "end_leftovers", "has_leftovers"]

#: prctl(2), of linux/prctl.h.
_PR_SET_CHILD_SUBREAPER: Final = 36
#: How often new ones are looked for: a process can start another while it is being ended.
_ROUNDS: Final = 200


class _Process(Struct, frozen=True):
    pid: int
    name: str
    parent: int
    session: int
    is_zombie: bool


@contextmanager
def adopting_orphans() -> Generator[None]:
    """Adopt orphaned descendants; at the end, end those that were not claimed."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    own = {process.pid for process in _children()}
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        for _ in range(_ROUNDS):
            left = [process for process in _children() if process.pid not in own]
            if not left:
                break
            for process in left:
                _end(process)
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def has_leftovers(session: int, mark: str) -> bool:
    """Return whether something of a command is still running; see `end_leftovers`."""
    left = _find_leftovers(session, mark)
    for process in left:
        if process.is_zombie:
            _end(process)
    return any(not process.is_zombie for process in left)


def end_leftovers(session: int, mark: str) -> list[str]:
    """End all that a command has left running; return the names of the programs.

    Args:
        session: that the command was started in; its process itself has ended, and was waited for.
        mark: ``NAME=VALUE`` of its environment that no other run has.
    """
    names: dict[int, str] = {}
    for _ in range(_ROUNDS):
        left = _find_leftovers(session, mark)
        if not left:
            break
        for process in left:
            if not process.is_zombie:
                names[process.pid] = process.name
            _end(process)
    return [names[pid] for pid in sorted(names)]


def _find_leftovers(session: int, mark: str) -> list[_Process]:
    return [p for p in _descendants() if p.session == session or _is_marked(p.pid, mark)]


def _is_marked(pid: int, mark: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return os.fsencode(mark) in file.read(1 << 20).split(b"\0")
    except OSError:  # it has ended, or is another user's
        return False


def _end(process: _Process) -> None:
    """Kill a descendant, and wait for it if it is a child."""
    with suppress(OSError):
        # Not by its number: that may be another's by now.
        handle = os.pidfd_open(process.pid)
        try:
            if _read(process.pid) == process:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


def _children() -> list[_Process]:
    own = os.getpid()
    return [process for process in _all() if process.parent == own]


def _descendants() -> Iterator[_Process]:
    """Yield the descendants of this process."""
    by_parent: dict[int, list[_Process]] = {}
    for process in _all():
        by_parent.setdefault(process.parent, []).append(process)
    todo = [os.getpid()]
    while todo:
        children = by_parent.pop(todo.pop(), [])
        todo += [child.pid for child in children]
        yield from children


def _all() -> Iterator[_Process]:
    for name in os.listdir("/proc"):
        if name.isdecimal() and (process := _read(int(name))):
            yield process


def _read(pid: int) -> _Process | None:
    """Read /proc/PID/stat; its second field may hold blanks and brackets."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            start, _, rest = file.read().rpartition(b")")
    except OSError:
        return None
    state, parent, _group, session, *_ = rest.split()
    name = start.partition(b"(")[2].decode(errors="replace")
    return _Process(pid, name, int(parent), int(session), state == b"Z")
