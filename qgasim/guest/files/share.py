"""Folders of the host that a guest shares: the only way from a guest to files of the host.

Nothing here is used unless somebody named a folder. A name is looked up from the descriptor of the
directory that it is in, and the host never follows a link: where one leads, the guest works out in its
own tree. So neither links nor ``..`` lead out of the folder. Only regular files, directories and links
are there for the guest; devices, pipes and sockets of the host are not.
"""

import errno
import os
import stat
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from typing import ClassVar, Final
from weakref import WeakValueDictionary

from pyfakefs.fake_file import FakeDirectory, FakeFile

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
#: No bits that would let a program of the host run as somebody else.
_PERMISSIONS: Final = 0o777
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
#: A pipe that has just taken a file's place must not block.
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK


class _Descriptor:
    """A descriptor of the host, closed when nobody has it any longer."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class SharedVolume(Volume):
    """The file system that a folder of the host is to a guest.

    What the guest writes, makes and removes, the host has at once; what the host does, the guest sees
    when it next looks. Times are the host's. A snapshot of the guest does not keep it.
    """

    NOT_THE_GUESTS: ClassVar[frozenset[str]] = frozenset({"nodes", "root"})

    def __init__(self, name: str, folder: str) -> None:
        """Open *folder*; `OSError` if that cannot be done."""
        top = _Descriptor(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
        room = os.fstatvfs(top.number)
        super().__init__(name, "virtiofs", room.f_blocks * room.f_frsize)
        self._top = top
        self.freeze_error = errno.EOPNOTSUPP
        self.can_trim = False
        self.max_file_size = MAX_LFS_FILESIZE
        #: What somebody holds, by its device and number on the host: a file has one inode.
        self.nodes = WeakValueDictionary[tuple[int, int], FakeFile]()
        self.root = SharedDirectory("", self, top)
        copy_status(self.root, os.fstat(top.number))

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
        """Change mode or times on the host; EPERM for the owner, which is who shares the folder."""
        if any(wanted not in (-1, had) for wanted, had in zip(owner, _owner(node), strict=True)):
            raise os_error(errno.EPERM)
        if isinstance(node, SharedDirectory):
            opened = node.descriptor
        elif isinstance(node, SharedFile):
            opened = node.host_file(writes=False)
        else:
            raise os_error(errno.EPERM)
        at = opened.number
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

    NOT_THE_GUESTS: ClassVar[frozenset[str]] = frozenset({"descriptor"})

    def __init__(self, name: str, volume: SharedVolume, descriptor: _Descriptor) -> None:
        super().__init__(name, 0o755, filesystem=volume.fakefs)
        self.volume = volume
        self.descriptor = descriptor
        self._entries = _Entries(self)  # type: ignore[assignment]

    def rename(self, name: str, target: "SharedDirectory", new_name: str) -> None:
        """Move an entry of this directory to *target*, in place of what is there."""
        os.rename(
            encode_name(name),
            encode_name(new_name),
            src_dir_fd=self.descriptor.number,
            dst_dir_fd=target.descriptor.number,
        )


class _Entries(MutableMapping[str, FakeFile]):
    """What is in a directory at this moment."""

    def __init__(self, directory: SharedDirectory) -> None:
        self._directory = directory

    @property
    def _at(self) -> int:
        return self._directory.descriptor.number

    def __getitem__(self, name: str) -> FakeFile:
        try:
            status = os.stat(encode_name(name), dir_fd=self._at, follow_symlinks=False)
        except FileNotFoundError:
            raise KeyError(name) from None
        if not _is_shown(status.st_mode):
            raise KeyError(name)
        nodes = self._directory.volume.nodes
        key = (status.st_dev, status.st_ino)
        node = nodes.get(key)
        if node is None or stat.S_IFMT(node.st_mode) != stat.S_IFMT(status.st_mode):
            node = nodes[key] = self._make(name, status.st_mode)
        if isinstance(node, SharedFile):
            node.parent, node.entry = self._directory, name
            node.allocated = status.st_blocks * 512
        copy_status(node, status)
        return node

    def _make(self, name: str, mode: int) -> FakeFile:
        volume = self._directory.volume
        if stat.S_ISDIR(mode):
            opened = _Descriptor(os.open(encode_name(name), _DIRECTORY, dir_fd=self._at))
            return SharedDirectory(name, volume, opened)
        if stat.S_ISLNK(mode):
            return Link(name, decode_name(os.readlink(encode_name(name), dir_fd=self._at)), volume)
        return SharedFile(name, self._directory)

    def __setitem__(self, name: str, node: FakeFile) -> None:
        """Make on the host what *node* is; one more name if it is there already."""
        raw, mode = encode_name(name), stat.S_IMODE(node.st_mode) & _PERMISSIONS
        if isinstance(node, SharedFile):
            os.link(
                encode_name(node.entry),
                raw,
                src_dir_fd=node.parent.descriptor.number,
                dst_dir_fd=self._at,
                follow_symlinks=False,
            )
        elif isinstance(node, FakeDirectory):
            os.mkdir(raw, mode, dir_fd=self._at)
        elif isinstance(node, Link):
            os.symlink(encode_name(node.target), raw, dir_fd=self._at)
        elif isinstance(node, Regular):
            _Descriptor(
                os.open(raw, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, mode, dir_fd=self._at)
            )
        else:
            raise os_error(errno.EPERM)

    def __delitem__(self, name: str) -> None:
        raw = encode_name(name)
        if isinstance(self[name], FakeDirectory):
            os.rmdir(raw, dir_fd=self._at)
        else:
            os.unlink(raw, dir_fd=self._at)

    def __iter__(self) -> Iterator[str]:
        names: list[str] = []
        with os.scandir(self._at) as entries:
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
            found = _Descriptor(
                os.open(encode_name(self.entry), flags, dir_fd=self.parent.descriptor.number)
            )
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
        at = self.parent.descriptor.number
        return os.stat(encode_name(self.entry), dir_fd=at, follow_symlinks=False).st_size

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
        return os.pread(file.number, count, position)

    def write(self, position: int, data: bytes | memoryview) -> int:
        """Write *data*, or as much as the host takes."""
        file = self.host_file(writes=True)
        return os.pwrite(file.number, data, position)

    def truncate(self, length: int) -> None:
        """Cut or lengthen to *length* bytes."""
        file = self.host_file(writes=True)
        os.ftruncate(file.number, length)

    def forget(self) -> None:
        """Do nothing: the space is the host's."""


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
