"""Folders of the host that a guest shares: the only way from a guest to files of the host.

Nothing here is used unless the user has named a folder. A name is looked up from the descriptor of the
directory that it is in, and the host never follows a link: where one leads, the guest works out in its
own tree. So neither links nor ``..`` lead out of the folder. Only regular files, directories and links
are there for the guest; devices, pipes and sockets of the host are not.
"""

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Generator, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import ClassVar, Final
from weakref import WeakValueDictionary

from pyfakefs.fake_file import FakeDirectory, FakeFile

from qgasim.errors import KernelError
from qgasim.guest.files.nodes import (
    MAX_LFS_FILESIZE,
    Link,
    Regular,
    Volume,
    decode_name,
    encode_name,
    os_error,
)

__all__ = ["SharedDirectory", "SharedVolume"]

#: How many files below a folder can be open: the host's descriptors are not for guests to use up.
OPEN_LIMIT: Final = 256
#: How many directories of a folder are kept open on the host.
DIRECTORY_LIMIT: Final = 32
#: No bits that would let a program of the host run as another user.
_PERMISSIONS: Final = 0o777
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
#: A pipe that has just taken a file's place must not block.
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def _refusals() -> Generator[None]:
    """Let what the host's kernel refuses be what the guest's does, as virtiofs has it."""
    try:
        yield
    except KernelError:
        raise
    except OSError as error:
        raise os_error(error.errno or errno.EIO) from error


class _Descriptor:
    """A descriptor of the host, closed when it is no longer referred to."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class SharedVolume(Volume):
    """The file system that a folder of the host is to a guest.

    What the guest writes, makes and removes, the host has at once; what the host does, the guest sees
    when it next looks. Times are the host's. A snapshot of the guest does not keep it.
    """

    NOT_THE_GUESTS: ClassVar[frozenset[str]] = frozenset({"nodes", "root", "_opened"})

    def __init__(self, name: str, folder: str) -> None:
        """Open *folder*; `OSError` if that cannot be done."""
        top = _Descriptor(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
        room = os.fstatvfs(top.number)
        super().__init__(name, "virtiofs", room.f_blocks * room.f_frsize)
        self._top = top
        self.freeze_error = errno.EOPNOTSUPP
        self.can_trim = False
        self.max_file_size = MAX_LFS_FILESIZE
        #: What is in use, by its device and number on the host: a file has one inode.
        self.nodes = WeakValueDictionary[tuple[int, int], FakeFile]()
        #: The directories that are open on the host, the latest used last.
        self._opened: OrderedDict[SharedDirectory, _Descriptor] = OrderedDict()
        status = os.fstat(top.number)
        self.root = SharedDirectory("", self, None, (status.st_dev, status.st_ino))
        copy_status(self.root, status)

    def descriptor(self, directory: "SharedDirectory") -> _Descriptor:
        """Return an open directory of the host; it is closed when more than so many others were asked for."""
        way: list[SharedDirectory] = []
        at = directory
        while at.parent is not None and at not in self._opened:
            way.append(at)
            at = at.parent
        found = self._top if at.parent is None else self._opened[at]
        for step in reversed(way):
            found = self._opened[step] = _open_directory(step, found)
            if len(self._opened) > DIRECTORY_LIMIT:
                self._opened.popitem(last=False)
        if directory in self._opened:
            self._opened.move_to_end(directory)
        return found

    @property
    def file_bytes(self) -> int:
        """Bytes in use on the host's file system."""
        room = os.fstatvfs(self._top.number)
        return (room.f_blocks - room.f_bfree) * room.f_frsize

    def change(
        self,
        node: FakeFile,
        now: int,
        *,
        mode: int | None = None,
        owner: tuple[int, int] = (-1, -1),
        times: tuple[int | None, int | None] = (None, None),
    ) -> None:
        """Change mode or times on the host; EPERM for the owner, which is the user who shares the folder."""
        if any(wanted not in (-1, had) for wanted, had in zip(owner, _owner(node), strict=True)):
            raise os_error(errno.EPERM)
        if isinstance(node, SharedDirectory):
            opened = node.descriptor
        elif isinstance(node, SharedFile):
            opened = node.host_file(writes=False)
        else:
            raise os_error(errno.EPERM)
        at = opened.number
        with _refusals():
            if mode is not None:
                os.fchmod(at, mode & _PERMISSIONS)
            if times != (None, None):
                had = os.fstat(at)
                accessed, modified = times
                os.utime(
                    at,
                    ns=(
                        had.st_atime_ns if accessed is None else accessed,
                        had.st_mtime_ns if modified is None else modified,
                    ),
                )
        super().change(node, now, mode=mode, times=times)


class SharedDirectory(FakeDirectory):
    """A directory below the folder, or the folder."""

    NOT_THE_GUESTS: ClassVar[frozenset[str]] = frozenset({"entry", "parent"})

    def __init__(
        self,
        name: str,
        volume: SharedVolume,
        parent: "SharedDirectory | None",
        key: tuple[int, int],
    ) -> None:
        super().__init__(name, 0o755, filesystem=volume.fakefs)
        self.volume = volume
        #: Where it was last found, and by which name; None: it is the folder.
        self.parent = parent
        self.entry = name
        #: Its device and number on the host.
        self.key = key
        self._entries = _Entries(self)  # type: ignore[assignment]

    @property
    def descriptor(self) -> _Descriptor:
        """The host's open directory, as long as it is held."""
        return self.volume.descriptor(self)

    def rename(self, name: str, target: "SharedDirectory", new_name: str) -> None:
        """Move an entry of this directory to *target*, in place of what is there."""
        source, goal = self.descriptor, target.descriptor
        with _refusals():
            os.rename(
                encode_name(name),
                encode_name(new_name),
                src_dir_fd=source.number,
                dst_dir_fd=goal.number,
            )


class _Entries(MutableMapping[str, FakeFile]):
    """What is in a directory at this moment."""

    def __init__(self, directory: SharedDirectory) -> None:
        self._directory = directory

    def __getitem__(self, name: str) -> FakeFile:
        at = self._directory.descriptor
        with _refusals():
            try:
                status = os.stat(encode_name(name), dir_fd=at.number, follow_symlinks=False)
            except FileNotFoundError:
                raise KeyError(name) from None
            if not _is_shown(status.st_mode):
                raise KeyError(name)
            nodes = self._directory.volume.nodes
            key = (status.st_dev, status.st_ino)
            node = nodes.get(key)
            if node is None or stat.S_IFMT(node.st_mode) != stat.S_IFMT(status.st_mode):
                node = nodes[key] = self._make(name, status, at)
        if isinstance(node, SharedFile | SharedDirectory):
            node.parent, node.entry = self._directory, name
        if isinstance(node, SharedFile):
            node.allocated = status.st_blocks * 512
        copy_status(node, status)
        return node

    def _make(self, name: str, status: os.stat_result, at: _Descriptor) -> FakeFile:
        volume = self._directory.volume
        if stat.S_ISDIR(status.st_mode):
            return SharedDirectory(name, volume, self._directory, (status.st_dev, status.st_ino))
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(encode_name(name), dir_fd=at.number)
            return Link(name, decode_name(target), volume)
        return SharedFile(name, self._directory)

    def __setitem__(self, name: str, node: FakeFile) -> None:
        """Make on the host what *node* is; one more name if it is there already."""
        raw, mode = encode_name(name), stat.S_IMODE(node.st_mode) & _PERMISSIONS
        at = self._directory.descriptor
        source = node.parent.descriptor if isinstance(node, SharedFile) else at
        with _refusals():
            if isinstance(node, SharedFile):
                os.link(
                    encode_name(node.entry),
                    raw,
                    src_dir_fd=source.number,
                    dst_dir_fd=at.number,
                    follow_symlinks=False,
                )
            elif isinstance(node, FakeDirectory):
                os.mkdir(raw, mode, dir_fd=at.number)
            elif isinstance(node, Link):
                os.symlink(encode_name(node.target), raw, dir_fd=at.number)
            elif isinstance(node, Regular):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE
                os.close(os.open(raw, flags, mode, dir_fd=at.number))
            else:
                raise os_error(errno.EPERM)

    def __delitem__(self, name: str) -> None:
        raw = encode_name(name)
        is_directory = isinstance(self[name], FakeDirectory)
        at = self._directory.descriptor
        with _refusals():
            if is_directory:
                os.rmdir(raw, dir_fd=at.number)
            else:
                os.unlink(raw, dir_fd=at.number)

    def __iter__(self) -> Iterator[str]:
        names: list[str] = []
        at = self._directory.descriptor
        with _refusals(), os.scandir(at.number) as entries:
            for entry in entries:
                # The host may just have removed it.
                with suppress(FileNotFoundError):
                    if _is_shown(entry.stat(follow_symlinks=False).st_mode):
                        names.append(decode_name(os.fsencode(entry.name)))
        return iter(names)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class SharedFile(Regular):
    """A regular file below the folder, open on the host while it is open in the guest."""

    NOT_THE_GUESTS: ClassVar[frozenset[str]] = frozenset(
        {"entry", "parent", "_reading", "_writing"}
    )

    def __init__(self, name: str, parent: SharedDirectory) -> None:
        self._reading: _Descriptor | None = None
        self._writing: _Descriptor | None = None
        super().__init__(name, 0o644, parent.volume)
        #: Where it was last found, and by which name.
        self.parent = parent
        self.entry = name

    def host_file(self, *, writes: bool) -> _Descriptor:
        """Return the host's open file; it is kept while the file is open in the guest."""
        found = self._writing if writes else self._reading or self._writing
        if found is None:
            flags = (os.O_RDWR if writes else os.O_RDONLY) | _FILE
            at = self.parent.descriptor
            with _refusals():
                found = _Descriptor(os.open(encode_name(self.entry), flags, dir_fd=at.number))
            if not stat.S_ISREG(os.fstat(found.number).st_mode):
                raise os_error(errno.ENXIO, self.entry)
            if self.open_count and writes:
                self._writing = found
            elif self.open_count:
                self._reading = found
        return found

    @property
    def length(self) -> int:
        """How long it is now."""
        found = self._reading or self._writing
        if found is not None:
            return os.fstat(found.number).st_size
        at = self.parent.descriptor
        with _refusals():
            status = os.stat(encode_name(self.entry), dir_fd=at.number, follow_symlinks=False)
        return status.st_size

    def opened(self, *, writes: bool) -> None:
        """Open it on the host; `OSError` if the host refuses, or too many are open."""
        if self.volume.open_count >= OPEN_LIMIT:
            raise os_error(errno.ENFILE)
        super().opened(writes=writes)
        try:
            self.host_file(writes=writes)
        except OSError:
            self.closed()
            raise

    def closed(self) -> None:
        """Close it on the host after the last."""
        super().closed()
        if not self.open_count:
            self._reading = self._writing = None

    def hole_at(self, position: int) -> int:  # noqa: ARG002
        """Return 0: what the host has as a hole is read."""
        return 0

    def read(self, position: int, count: int) -> bytes:
        """Read up to *count* bytes at *position*."""
        file = self.host_file(writes=False)
        with _refusals():
            return os.pread(file.number, count, position)

    def write(self, position: int, data: bytes | memoryview) -> int:
        """Write *data*, or as much as the host takes."""
        file = self.host_file(writes=True)
        with _refusals():
            return os.pwrite(file.number, data, position)

    def truncate(self, length: int) -> None:
        """Cut or lengthen to *length* bytes."""
        file = self.host_file(writes=True)
        with _refusals():
            os.ftruncate(file.number, length)

    def forget(self) -> None:
        """Do nothing: the space is the host's."""


def _open_directory(directory: SharedDirectory, parent: _Descriptor) -> _Descriptor:
    with _refusals():
        found = _Descriptor(os.open(encode_name(directory.entry), _DIRECTORY, dir_fd=parent.number))
        status = os.fstat(found.number)
    if (status.st_dev, status.st_ino) != directory.key:
        # The host has put another in its place since the guest has looked.
        raise os_error(errno.ENOENT, directory.entry)
    return found


def _is_shown(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _owner(node: FakeFile) -> tuple[int, int]:
    return node.st_uid, node.st_gid


def copy_status(node: FakeFile, status: os.stat_result) -> None:
    """Bring *node* up to date with the host; the user who shares the folder is the guest's root."""
    result = node.stat_result
    result.st_mode = stat.S_IFMT(status.st_mode) | status.st_mode & _PERMISSIONS
    result.st_ino, result.st_nlink = status.st_ino, status.st_nlink
    result.st_uid = 0 if status.st_uid == os.geteuid() else status.st_uid
    result.st_gid = 0 if status.st_gid == os.getegid() else status.st_gid
    result.st_atime_ns = status.st_atime_ns
    result.st_mtime_ns = status.st_mtime_ns
    result.st_ctime_ns = status.st_ctime_ns
