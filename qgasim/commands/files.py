"""Commands on the guest's files: C streams behind handles."""

import errno
import os
import signal
from typing import Annotated, Final, Literal

from msgspec import Struct

from qgasim.agent import Agent
from qgasim.agent.handles import FileHandle
from qgasim.errors import AgentAbort, CommandError
from qgasim.guest.files.nodes import WouldBlock, os_error
from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.files.stdio import Stream
from qgasim.qapi.annotations import Alternate, Exact
from qgasim.qapi.registry import POSIX, command
from qgasim.wire import base64

__all__ = [
    "FileRead",
    "FileSeek",
    "FileWrite",
    "Whence",
    "add_handle",
    "check_count",
    "check_memory",
    "check_room",
    "count_kept",
    "decode_data",
    "find_handle",
    "read_whence",
]

# qga/commands-posix.c, guest_file_open_modes[].
_FLAGS: Final = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "r+": os.O_RDWR,
    "w+": os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    "a+": os.O_RDWR | os.O_CREAT | os.O_APPEND,
}
_MODES: Final = {
    mode: flags
    for name, flags in _FLAGS.items()
    for mode in ([name, name + "b"] if len(name) == 1 else [name, name + "b", name[0] + "b+"])
}
#: How many files the agent can have open: RLIMIT_NOFILE is 1024 for a service of systemd, and it has
#: streams, its channel and glib's own. UNVERIFIED: how many these are.
HANDLE_LIMIT: Final = 1024 - 8
#: How much of a file one reply may hold before the agent has no more memory.
FETCH_LIMIT: Final = 192 << 20
#: How much of what was read is written into a reply that no client gets: no journal keeps more of it.
UNHEARD_LIMIT: Final = 1 << 16

Whence = Annotated[int | Literal["set", "cur", "end"], Alternate("GuestFileWhence", since=(2, 6))]


class FileRead(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestFileRead``."""

    count: Annotated[int, Exact()]
    buf_b64: Annotated[bytes, Exact()]
    eof: Annotated[bool, Exact()]


class FileWrite(Struct, frozen=True):
    """QAPI ``GuestFileWrite``."""

    count: Annotated[int, Exact()]
    eof: bool


class FileSeek(Struct, frozen=True):
    """QAPI ``GuestFileSeek``."""

    position: Annotated[int, Exact()]
    eof: bool


def find_handle(agent: Agent, handle: int) -> FileHandle:
    """Return what a handle stands for."""
    try:
        return agent.state.handles[handle]
    except KeyError:
        raise CommandError(f"handle '{handle}' has not been found") from None


def check_count(count: int, most: int) -> None:
    """Refuse to read or write a negative number of bytes, or more than *most*."""
    if not 0 <= count <= most:
        raise CommandError(f"value '{count}' is invalid for argument count")


def count_kept(agent: Agent, count: int) -> int:
    """Return how many of *count* bytes that are read are needed.

    Fetching and encoding them is nearly all of a long read's work, and a client that has gone may have left
    a thousand of them behind: it is left out where no client gets the reply.
    """
    return min(count, FETCH_LIMIT if agent.is_heard else UNHEARD_LIMIT)


def check_memory(done: int) -> None:
    """End the agent if it has read more than there is memory for, with base64 and JSON beside it.

    From 5.0 on no more than 48 MiB can be asked for, "to avoid crashes" (commit 1329651fb4).
    UNVERIFIED: how much it takes depends on the machine, and whether the kernel or glib ends the agent.
    """
    if done > FETCH_LIMIT:
        raise AgentAbort(signal.SIGKILL)


def decode_data(buf_b64: str, count: int | None) -> bytes:
    """Return what is to be written: all of *buf_b64*, or its first *count* bytes."""
    data = base64.decode(buf_b64)
    if count is None:
        return data
    check_count(count, len(data))
    return data[:count]


def _failed(what: str, error: OSError) -> CommandError:
    # util/error.c, error_setg_errno(): no errno, no words about it.
    return CommandError(f"{what}: {error.strerror}" if error.errno else what)


@command(since=(0, 15), platforms=POSIX)
def guest_file_open(agent: Agent, path: str, mode: str = "r") -> int:
    """Open a file as ``fopen`` does, and give its handle.

    A new file has mode 0666, whatever the umask.
    """
    flags = _MODES.get(mode)
    if flags is None:
        raise CommandError(f"invalid file open mode '{mode}'")
    try:
        check_room(agent)
        file = _open(agent, path, flags | os.O_NONBLOCK)
    except OSError as error:
        raise _failed(f"failed to open file '{path}' (mode: '{mode}')", error) from None
    return add_handle(agent, file)


def check_room(agent: Agent) -> None:
    """Raise the kernel's error for a file that is one too many."""
    if len(agent.state.handles) >= HANDLE_LIMIT:
        raise os_error(errno.EMFILE)


def add_handle(agent: Agent, file: OpenFile) -> int:
    """Assign a handle to an open file."""
    try:
        handle = agent.number_handle()
    except OSError:
        file.close()
        raise CommandError("failed to commit persistent state to disk") from None
    agent.state.handles[handle] = FileHandle(Stream(file))
    return handle


def _open(agent: Agent, path: str, flags: int) -> OpenFile:
    files = agent.guest.files
    assert agent.process is not None
    cwd = agent.process.cwd
    try:
        if flags & os.O_CREAT:
            # First as a new file (so a dangling link is not followed), then as an old one.
            try:
                mode = int(agent.options.personality.file_mode, 8)
                return files.open(path, flags | os.O_EXCL, mode, cwd)
            except FileExistsError:
                flags &= ~os.O_CREAT
        return files.open(path, flags, cwd=cwd)
    except WouldBlock:
        raise os_error(errno.EAGAIN) from None


@command(since=(0, 15), platforms=POSIX)
def guest_file_close(agent: Agent, handle: int) -> None:
    """Close a file.

    The real agent keeps the handle if the last flush fails, and uses freed memory when it is named
    again; here it is gone. UNVERIFIED: what a second close says then.
    """
    stream = find_handle(agent, handle).stream
    del agent.state.handles[handle]
    try:
        stream.close()
    except OSError as error:
        raise _failed("failed to close handle", error) from None


@command(since=(0, 15), platforms=POSIX)
def guest_file_read(agent: Agent, handle: int, count: int = 4096) -> FileRead:
    """Read up to *count* bytes, which may be no more than 48 MiB (`read_limit`)."""
    file = find_handle(agent, handle)
    check_count(count, agent.dialect.read_limit)
    stream = file.stream
    if file.last == "write":
        try:
            stream.flush()
        except OSError as error:
            raise _failed("failed to flush file", error) from None
        file.last = ""
    try:
        data, done = stream.read_part(count, count_kept(agent, count))
    except OSError as error:
        raise _failed("failed to read file", error) from None
    else:
        check_memory(done)
        file.last = "read"
        return FileRead(done, data, stream.at_end)
    finally:
        stream.at_end = stream.has_failed = False


@command(since=(0, 15), platforms=POSIX)
def guest_file_write(
    agent: Agent, handle: int, buf_b64: str, count: int | None = None
) -> FileWrite:
    """Write *buf-b64*, or its first *count* bytes."""
    file = find_handle(agent, handle)
    stream = file.stream
    if file.last == "read":
        try:
            stream.seek(0, os.SEEK_CUR)
        except OSError as error:
            raise _failed("failed to seek file", error) from None
        file.last = ""
    data = decode_data(buf_b64, count)
    try:
        written = stream.write(data)
    except OSError as error:
        raise _failed("failed to write to file", error) from None
    else:
        file.last = "write"
        return FileWrite(written, stream.at_end)
    finally:
        stream.at_end = stream.has_failed = False


def read_whence(whence: int | str) -> int:
    """Return the number of *whence*: 0 the start, 1 the position, 2 the end."""
    if isinstance(whence, str):
        return ("set", "cur", "end").index(whence)
    if not 0 <= whence <= 2:
        raise CommandError(f"invalid whence code {whence}")
    return whence


@command(since=(0, 15), platforms=POSIX)
def guest_file_seek(agent: Agent, handle: int, offset: int, whence: Whence) -> FileSeek:
    """Move to *offset* from the start, the position or the end."""
    file = find_handle(agent, handle)
    start = read_whence(whence)
    stream = file.stream
    try:
        stream.seek(offset, start)
    except OSError as error:
        if error.errno == errno.ESPIPE:
            file.last = ""
        raise _failed("failed to seek file", error) from None
    else:
        file.last = ""
        return FileSeek(stream.tell(), stream.at_end)
    finally:
        stream.at_end = stream.has_failed = False


@command(since=(0, 15), platforms=POSIX)
def guest_file_flush(agent: Agent, handle: int) -> None:
    """Write what is buffered."""
    file = find_handle(agent, handle)
    try:
        file.stream.flush()
    except OSError as error:
        raise _failed("failed to flush file", error) from None
    file.last = ""
