"""Commands on the files of a Windows guest: handles of CreateFile(), without C's buffers."""

import os
from typing import Final

from qgasim.agent import Agent
from qgasim.commands.files import (
    FileRead,
    FileSeek,
    FileWrite,
    Whence,
    add_handle,
    check_count,
    check_memory,
    check_room,
    count_kept,
    decode_data,
    find_handle,
    read_whence,
)
from qgasim.commands.windows.messages import (
    ACCESS_DENIED,
    NO_PATH,
    NO_UTF16,
    SHARED,
    failed,
    is_unicode,
)
from qgasim.errors import CommandError
from qgasim.guest.files.open_files import OpenFile
from qgasim.qapi.registry import WINDOWS, command

__all__: list[str] = []

_NEW: Final = os.O_CREAT | os.O_TRUNC
_APPEND: Final = os.O_CREAT | os.O_APPEND
#: guest_file_open_modes[]: "ab" is missing.
_MODES: Final = {
    "r": os.O_RDONLY,
    "rb": os.O_RDONLY,
    "w": os.O_WRONLY | _NEW,
    "wb": os.O_WRONLY | _NEW,
    "a": os.O_WRONLY | _APPEND,
    **dict.fromkeys(("r+", "rb+", "r+b"), os.O_RDWR),
    **dict.fromkeys(("w+", "wb+", "w+b"), os.O_RDWR | _NEW),
    **dict.fromkeys(("a+", "ab+", "a+b"), os.O_RDWR | _APPEND),
}
_NOT_IN_NAMES: Final = frozenset('<>"|?*')


@command(name="guest-file-open", since=(0, 15), platforms=WINDOWS)
def windows_file_open(agent: Agent, path: str, mode: str = "r") -> int:
    """Open a file as CreateFile does: others may read it meanwhile, and not write it.

    Names may be written in any case. UNVERIFIED: for programs that have the file open it is taken that
    they share it.
    """
    flags = _MODES.get(mode)
    if flags is None:
        # The text with the mode is written into an error that the agent drops.
        raise CommandError("invalid file open mode")
    if not is_unicode(path):
        raise CommandError(agent.dialect.no_utf16_text.format(NO_UTF16))
    what = f"failed to open file '{path}'"
    if not path:
        # CreateFile() takes no path for one that is not there.
        raise CommandError(f"{what}: {NO_PATH}")
    bare = path.removeprefix("\\\\?\\")
    if _NOT_IN_NAMES & set(bare):
        text = "The filename, directory name, or volume label syntax is incorrect."
        raise CommandError(f"{what}: {text}")
    inner = agent.guest.inner_path(path)
    files = agent.guest.files
    if not files.is_dir(inner.rpartition("/")[0] or "/") or inner.count("/") < 2:
        raise CommandError(f"{what}: {NO_PATH}")
    if files.is_dir(inner):
        raise CommandError(f"{what}: {ACCESS_DENIED}")
    _check_shared(agent, inner, flags, what)
    try:
        check_room(agent)
        file = files.open(inner, flags)
    except OSError as error:
        raise failed(what, error) from None
    return add_handle(agent, file)


def _check_shared(agent: Agent, inner: str, flags: int, what: str) -> None:
    """Refuse what the agent's other handles of the file do not allow (FILE_SHARE_READ)."""
    node = agent.guest.files.find(inner)
    wants_write = flags & os.O_ACCMODE != os.O_RDONLY
    for handle in agent.state.handles.values():
        other = handle.stream.file
        if node is not None and other.node is node and (wants_write or other.can_write):
            raise CommandError(f"{what}: {SHARED}")


def _file(agent: Agent, handle: int) -> OpenFile:
    return find_handle(agent, handle).stream.file


@command(name="guest-file-close", since=(0, 15), platforms=WINDOWS)
def windows_file_close(agent: Agent, handle: int) -> None:
    """Close a file."""
    file = _file(agent, handle)
    del agent.state.handles[handle]
    file.close()


@command(name="guest-file-read", since=(0, 15), platforms=WINDOWS)
def windows_file_read(agent: Agent, handle: int, count: int = 4096) -> FileRead:
    """Read up to *count* bytes (`read_limit`); the end is reported when nothing is left to read."""
    file = _file(agent, handle)
    check_count(count, agent.dialect.read_limit)
    try:
        data, done = file.read_part(count, count_kept(agent, count))
    except OSError as error:
        raise failed("failed to read file", error) from None
    check_memory(done)
    return FileRead(done, data, not data)


@command(name="guest-file-write", since=(0, 15), platforms=WINDOWS)
def windows_file_write(
    agent: Agent, handle: int, buf_b64: str, count: int | None = None
) -> FileWrite:
    """Write *buf-b64*, or its first *count* bytes, at once."""
    file = _file(agent, handle)
    data = decode_data(buf_b64, count)
    try:
        # An empty write is allowed only where one that is not would be, and does not make a file longer
        # (WriteFile()).
        written = file.write(data) if data or not file.can_write else 0
    except OSError as error:
        raise failed("failed to write to file", error) from None
    return FileWrite(written, eof=False)


@command(name="guest-file-seek", since=(0, 15), platforms=WINDOWS)
def windows_file_seek(agent: Agent, handle: int, offset: int, whence: Whence) -> FileSeek:
    """Move to *offset* from the start, the position or the end."""
    file = _file(agent, handle)
    try:
        position = file.seek(offset, read_whence(whence))
    except OSError:
        text = "An attempt was made to move the file pointer before the beginning of the file."
        raise CommandError(f"failed to seek file: {text}") from None
    return FileSeek(position, eof=False)


@command(name="guest-file-flush", since=(0, 15), platforms=WINDOWS)
def windows_file_flush(agent: Agent, handle: int) -> None:
    """Make the system write its buffers; a file that is open for reading cannot be flushed."""
    if not _file(agent, handle).can_write:
        raise CommandError(f"failed to flush file: {ACCESS_DENIED}")
