"""Files of the host that a scenario names: read once, when it is loaded, and kept in it."""

import base64
import os
import stat
from collections.abc import Callable, Iterator

from qgasim.errors import ScenarioError
from qgasim.guest.settings import FileSettings

__all__ = ["Reader", "embed"]

#: How much one scenario may take from the host.
SIZE_LIMIT = 64 << 20
COUNT_LIMIT = 10_000
#: Directories in each other: as many as a scenario can be written with.
DEPTH_LIMIT = 40


class Reader:
    """Reads files and directories, up to the limits."""

    def __init__(self) -> None:
        self.size = 0
        self.count = 0

    def read(self, path: str, given: FileSettings | None = None, depth: int = 0) -> FileSettings:
        """Return what is at *path*; what *given* says of mode, owner and time goes before."""
        self.count += 1
        if self.count > COUNT_LIMIT:
            raise ScenarioError(f"{path}: more than {COUNT_LIMIT} files")
        if depth > DEPTH_LIMIT:
            raise ScenarioError(f"{path}: more than {DEPTH_LIMIT} directories in each other")
        try:
            # A link below the directory that was named stays a link.
            status = os.stat(path) if given else os.lstat(path)
            made = self._contents(path, status.st_mode, depth)
        except OSError as error:
            raise ScenarioError(f"{path}: {error.strerror}") from None
        except ValueError:
            # Before the kernel could: a NUL, or half a surrogate pair.
            raise ScenarioError(f"not a path: {path!r}") from None
        if made.symlink is None:
            made.mode = f"{stat.S_IMODE(status.st_mode):04o}"
        if given is not None:
            made.mode = given.mode or made.mode
            made.owner, made.mtime = given.owner, given.mtime
        return made

    def _contents(self, path: str, mode: int, depth: int) -> FileSettings:
        if stat.S_ISLNK(mode):
            return FileSettings(symlink=os.readlink(path))
        if stat.S_ISDIR(mode):
            names = sorted(os.listdir(path))
            return FileSettings(
                entries={name: self.read(f"{path}/{name}", depth=depth + 1) for name in names}
            )
        if not stat.S_ISREG(mode):
            raise ScenarioError(f"{path}: neither a file nor a directory nor a link")
        with open(path, "rb") as file:
            data = file.read(SIZE_LIMIT - self.size + 1)
        self.size += len(data)
        if self.size > SIZE_LIMIT:
            raise ScenarioError(f"{path}: more than {SIZE_LIMIT >> 20} MiB in all")
        try:
            return FileSettings(text=data.decode())
        except UnicodeDecodeError:
            return FileSettings(base64=base64.b64encode(data).decode())


def embed(
    files: dict[str, str | FileSettings | None],
    directory_of: Callable[[str], str],
    reader: Reader | None = None,
) -> Iterator[tuple[str, str]]:
    """Put the contents in place of each *source*.

    *directory_of* gives what a path in *files* is relative to; *reader* counts what is read. Gives the path of each source that
    cannot be read, and why.
    """
    reader = reader or Reader()
    for path, file in _walk(files):
        assert file.source is not None
        try:
            directory = directory_of(f"{path}.source")
            made = reader.read(os.path.join(directory, file.source), file)
        except ScenarioError as error:
            yield f"{path}.source", str(error)
            continue
        file.source = None
        file.text, file.base64, file.entries, file.mode = (
            made.text, made.base64, made.entries, made.mode,
        )  # fmt: skip


def _walk(
    files: "dict[str, str | FileSettings | None] | dict[str, str | FileSettings]", path: str = ""
) -> Iterator[tuple[str, FileSettings]]:
    for name, file in files.items():
        if isinstance(file, FileSettings):
            inner = f"{path}.{name}" if path else name
            if file.source is not None:
                yield inner, file
            elif file.entries is not None:
                yield from _walk(file.entries, f"{inner}.entries")
