"""The guest's files: what processes do with paths and open files.

Every refusal is an `OSError` with the kernel's errno. All callers are root: permission bits decide
only what may be executed.
"""

import errno
import os
import stat
from collections.abc import Callable, Mapping
from typing import Final

from pyfakefs.fake_file import FakeDirectory, FakeFile

from qgasim.guest.files.nodes import (
    Device,
    Fifo,
    Generated,
    Link,
    Regular,
    Unmade,
    UnmadeLink,
    Volume,
    WouldBlock,
    count_link,
    encode_name,
    os_error,
)
from qgasim.guest.files.open_files import OpenFile, PipeEnd
from qgasim.guest.files.share import SharedDirectory
from qgasim.guest.files.tree import PATH_MAX, Mount, Place, Tree, check_path

__all__ = ["Files"]

#: What a file takes of the host's memory, whatever is in it.
NODE_SIZE: Final = 2048
#: The largest file that `Files.read` returns: as much as the contents of all files can be, holes apart.
READ_LIMIT: Final = 1 << 30
#: The largest file of the system that the agent or a program takes as a whole.
SETTINGS_LIMIT: Final = 4 << 20
#: The numbers of /dev/tty.
TTY: Final = (5, 0)

#: What a path ends in that names no entry of a directory.
_NO_NAMES: Final[tuple[list[str], ...]] = ([], ["."], [".."])


class Files(Tree):
    """The tree of mounted volumes, and what processes do with paths in it."""

    def __init__(self, root: Volume, clock: Callable[[], int], options: str) -> None:
        super().__init__(root, options)
        self._now = clock
        #: Whether a running program's file must not be written (ETXTBSY); set by `Processes`.
        self.is_running: Callable[[str], bool] = lambda _path: False

    # -- whole files -----------------------------------------------------------------------

    def read(self, path: str, cwd: str = "/", *, limit: int = READ_LIMIT) -> bytes:
        """Return all that *path* holds.

        Raises:
            OSError: it cannot be read, without waiting (EAGAIN) or because it holds more than *limit*
                bytes (EFBIG): a hole may be as large as a file system, a device has no end.
        """
        try:
            file = self.open(path, os.O_RDONLY | os.O_NONBLOCK, cwd=cwd)
            try:
                if file.size > limit:
                    raise os_error(errno.EFBIG, path)
                parts: list[bytes] = []
                left = limit
                while left > 0 and (part := file.read(min(left, 1 << 20))):
                    parts.append(part)
                    left -= len(part)
                if left == 0 and file.read(1):
                    raise os_error(errno.EFBIG, path)
                return b"".join(parts)
            finally:
                file.close()
        except WouldBlock:
            raise os_error(errno.EAGAIN, path) from None

    def read_settings(self, path: str) -> bytes:
        """Return what a program that takes a file of the system as a whole reads: see `read`.

        UNVERIFIED: what is refused for its size here, a real program would read to the end of its memory.
        """
        return self.read(path, limit=SETTINGS_LIMIT)

    def read_head(self, place: Place, count: int) -> bytes:
        """Return the first *count* bytes of the regular file at *place*, all if there are fewer."""
        file = OpenFile(place.node, place.mount.volume, os.O_RDONLY, self._now, place.path)
        try:
            return file.read(count)
        finally:
            file.close()

    def write(self, path: str, data: bytes, mode: int = 0o644, cwd: str = "/") -> None:
        """Make *path* hold *data*; *mode* is for a new file.

        Raises:
            OSError: that cannot be done, without waiting (EAGAIN: its file system is frozen).
        """
        if not isinstance(data, bytes | bytearray | memoryview):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"expected bytes, as in b'hello' or text.encode(), found {data!r:.80}")
        check_path(path)
        _check_mode(mode)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
            file = self.open(path, flags, mode, cwd)
            try:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
            finally:
                file.close()
        except WouldBlock:
            raise os_error(errno.EAGAIN, path) from None

    def write_all(self, path: str, contents: dict[str, bytes], mode: int) -> None:
        """Make new files in the directory *path*, by name; each at most a page long."""
        volume = self.locate(path).mount.volume
        volume.take(sum(volume.blocks(len(data)) for data in contents.values()))
        self._add_unmade(path, contents, mode, Unmade)

    def symlink_all(self, path: str, targets: Mapping[str, str]) -> None:
        """Make new symbolic links in the directory *path*, by name."""
        contents = {name: encode_name(target) for name, target in targets.items()}
        self._add_unmade(path, contents, 0o777, UnmadeLink)

    def _add_unmade(
        self, path: str, contents: dict[str, bytes], mode: int, kind: type[Unmade]
    ) -> None:
        place = self.locate(path)
        directory, volume, now = place.node, place.mount.volume, self._now()
        assert isinstance(directory, FakeDirectory)
        volume.budget.take(sum(NODE_SIZE + len(data) for data in contents.values()))
        number: int = volume.fakefs.last_ino
        for name, data in contents.items():
            number += 1
            assert name not in directory.entries
            directory.entries[name] = kind(data, mode, volume, number, now)  # type: ignore[assignment]
        volume.fakefs.last_ino = number
        directory.st_mtime_ns = directory.st_ctime_ns = now

    # -- system calls ------------------------------------------------------------------------

    def open(self, path: str, flags: int, mode: int = 0o666, cwd: str = "/") -> OpenFile:
        """Open a file as the kernel does, without a umask."""
        creates = bool(flags & os.O_CREAT)
        exclusive = creates and bool(flags & os.O_EXCL)
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        if creates and path.endswith("/") and self._components(path)[-1:] not in _NO_NAMES:
            # Whatever it names, once the way there was found (fs/namei.c, open_last_lookups()).
            self.locate(path.rstrip("/"), cwd, follow=False)
            raise os_error(errno.EISDIR, path)
        place = self.locate(path, cwd, follow=not exclusive)
        node = place.node
        if node is None:
            if not creates:
                raise os_error(errno.ENOENT, path)
            if place.mount.volume.create_error:
                raise os_error(place.mount.volume.create_error, path)
            node = self._add(place, Regular(place.name, mode & 0o7777, place.mount.volume))
        elif exclusive:
            raise os_error(errno.EEXIST, path)
        elif isinstance(node, FakeDirectory) and (writes or creates):
            raise os_error(errno.EISDIR, path)
        elif writes and isinstance(node, Regular):
            self._check_writable(place.mount)
            if self.is_running(place.path):
                raise os_error(errno.ETXTBSY, path)
            if flags & os.O_TRUNC:
                node.truncate(0)
                node.st_mtime_ns = node.st_ctime_ns = self._now()
        if isinstance(node, Fifo):
            return self._open_fifo(node, flags, place.path)
        if isinstance(node, Device) and (node.major, node.minor) == TTY:
            # No process of the guest has a controlling terminal.
            raise os_error(errno.ENXIO, path)
        if writes and isinstance(node, Generated) and not node.may_write:
            raise os_error(errno.EACCES, path)
        return OpenFile(node, place.mount.volume, flags, self._now, place.path)

    def _open_fifo(self, node: Fifo, flags: int, path: str) -> PipeEnd:
        pipe = node.pipe
        access = flags & os.O_ACCMODE
        if access == os.O_WRONLY and not pipe.meet_reader():
            if flags & os.O_NONBLOCK:
                raise os_error(errno.ENXIO, path)
            raise WouldBlock(pipe.has_met_reader)
        if access == os.O_RDONLY and not flags & os.O_NONBLOCK and not pipe.meet_writer():
            raise WouldBlock(pipe.has_met_writer)
        return PipeEnd(pipe, flags, self._now, node, path)

    def _check_writable(self, mount: Mount) -> None:
        if mount.is_read_only:
            raise os_error(errno.EROFS)
        volume = mount.volume
        if volume.is_frozen:
            raise WouldBlock(lambda: not volume.is_frozen)

    def _add(self, place: Place, node: FakeFile) -> FakeFile:
        """Put a new *node* at an empty *place*."""
        self._check_writable(place.mount)
        place.mount.volume.budget.take(_node_size(node))
        place.mount.volume.adopt(node, self._now())
        self._link(place.directory, place.name, node)
        # A shared folder has made one of its own.
        return place.directory.entries[place.name]

    def _link(self, directory: FakeDirectory, name: str, node: FakeFile) -> None:
        # Not FakeDirectory.add_entry(): it asks which user runs this program on the host.
        directory.entries[name] = node
        node.name = name  # type: ignore[assignment]
        count_link(directory if isinstance(node, FakeDirectory) else node, 1)
        directory.st_mtime_ns = directory.st_ctime_ns = self._now()

    def _unlink(self, place: Place) -> None:
        directory = place.directory
        node: FakeFile = directory.entries.pop(place.name)
        left = 0
        if isinstance(node, FakeDirectory):
            count_link(directory, -1)
        else:
            left = count_link(node, -1)
            if isinstance(node, Regular) and left == 0 and node.open_count == 0:
                node.forget()
        if not left:
            place.mount.volume.budget.take(-_node_size(node))
        directory.st_mtime_ns = directory.st_ctime_ns = self._now()

    def _new_place(self, path: str, cwd: str) -> Place:
        place = self.locate(path, cwd, follow=False, parent=True)
        if place.node is not None:
            raise os_error(errno.EEXIST, path)
        return place

    def _new_file_place(self, path: str, cwd: str) -> Place:
        """Return where something that is no directory is to be made (fs/namei.c, filename_create())."""
        place = self._new_place(path, cwd)
        if path.endswith("/"):
            raise os_error(errno.ENOENT, path)
        return place

    def mkdir(self, path: str, mode: int = 0o755, cwd: str = "/") -> None:
        """Make a directory; EEXIST if anything is there."""
        _check_mode(mode)
        place = self._new_place(path, cwd)
        directory = FakeDirectory(place.name, mode, filesystem=place.mount.volume.fakefs)
        self._add(place, directory)

    def makedirs(self, path: str, mode: int = 0o755) -> None:
        """Make a directory and those above it that are missing."""
        made = ""
        for name in self._components(path):
            made += "/" + name
            if not self.exists(made):
                self.mkdir(made, mode)

    def make_parents(self, path: str) -> None:
        """Make the directories above *path* that are missing."""
        parent = path.rstrip("/").rpartition("/")[0]
        if parent and not self.exists(parent):
            self.makedirs(parent)

    def symlink(self, target: str, path: str, cwd: str = "/") -> None:
        """Make a symbolic link at *path*."""
        if not target:
            raise os_error(errno.ENOENT, target)
        if len(encode_name(target)) >= PATH_MAX:
            raise os_error(errno.ENAMETOOLONG)
        place = self._new_file_place(path, cwd)
        self._add(place, Link(place.name, target, place.mount.volume))

    def mknod(self, path: str, node: Callable[[str, Volume], FakeFile], cwd: str = "/") -> None:
        """Make what *node* builds of a name and a volume."""
        place = self._new_place(path.rstrip("/"), cwd)
        self._add(place, node(place.name, place.mount.volume))

    def mkfifo(self, path: str, mode: int = 0o644, cwd: str = "/") -> None:
        """Make a named pipe."""
        self.mknod(path, lambda name, volume: Fifo(name, mode, volume), cwd)

    def link(self, source: str, path: str, cwd: str = "/") -> None:
        """Add one more name of the file *source*."""
        old = self.locate(source, cwd, follow=False)
        if old.node is None:
            raise os_error(errno.ENOENT, source)
        # fs/namei.c, do_linkat(): what is wrong with the new name is found first.
        place = self._new_file_place(path, cwd)
        if place.mount is not old.mount:
            raise os_error(errno.EXDEV, path)
        if isinstance(old.node, FakeDirectory):
            raise os_error(errno.EPERM, source)
        self._check_writable(place.mount)
        self._link(place.directory, place.name, old.node)

    def unlink(self, path: str, cwd: str = "/") -> None:
        """Remove a name that is not a directory's."""
        place = self.locate(path, cwd, follow=False)
        if place.node is None:
            raise os_error(errno.ENOENT, path)
        if isinstance(place.node, FakeDirectory):
            raise os_error(errno.EISDIR, path)
        self._check_writable(place.mount)
        self._unlink(place)

    def rmdir(self, path: str, cwd: str = "/") -> None:
        """Remove an empty directory."""
        place = self.locate(path, cwd, follow=False)
        node = place.node
        if node is None:
            raise os_error(errno.ENOENT, path)
        if not isinstance(node, FakeDirectory):
            raise os_error(errno.ENOTDIR, path)
        if any(mount.root is node for mount in self.mounts):
            raise os_error(errno.EBUSY, path)
        if node.entries:
            raise os_error(errno.ENOTEMPTY, path)
        self._check_writable(place.mount)
        self._unlink(place)

    def rename(self, source: str, target: str, cwd: str = "/") -> None:
        """Move *source* to *target*, in place of what is there."""
        old = self.locate(source, cwd, follow=False)
        if old.node is None:
            raise os_error(errno.ENOENT, source)
        new = self.locate(target, cwd, follow=False)
        if old.mount is not new.mount:
            raise os_error(errno.EXDEV, target)
        if any(path.rstrip("/").rpartition("/")[2] in ("", ".", "..") for path in (source, target)):
            # fs/namei.c, do_renameat2(): what has no name of its own.
            raise os_error(errno.EBUSY, source)
        self._check_writable(old.mount)
        if new.node is old.node:
            return
        if isinstance(old.node, FakeDirectory) and f"{new.path}/".startswith(f"{old.path}/"):
            raise os_error(errno.EINVAL, target)
        if isinstance(new.node, FakeDirectory):
            if not isinstance(old.node, FakeDirectory):
                raise os_error(errno.EISDIR, target)
            if new.node.entries:
                raise os_error(errno.ENOTEMPTY, target)
        elif new.node is not None and isinstance(old.node, FakeDirectory):
            raise os_error(errno.ENOTDIR, target)
        if isinstance(old.directory, SharedDirectory):
            assert isinstance(new.directory, SharedDirectory)
            old.directory.rename(old.name, new.directory, new.name)
            return
        node = old.node
        if new.node is not None:
            self._unlink(new)
        del old.directory.entries[old.name]
        count_link(old.directory if isinstance(node, FakeDirectory) else node, -1)
        self._link(new.directory, new.name, node)

    def readlink(self, path: str, cwd: str = "/") -> str:
        """Return the target of the symbolic link *path*."""
        node = self.get(path, cwd, follow=False)
        if not isinstance(node, Link):
            raise os_error(errno.EINVAL, path)
        return node.target

    def listdir(self, path: str, cwd: str = "/") -> list[str]:
        """Return the names in a directory, in the order of their making."""
        node = self.get(path, cwd)
        if not isinstance(node, FakeDirectory):
            raise os_error(errno.ENOTDIR, path)
        return list(node.entries)

    def chmod(self, path: str, mode: int, cwd: str = "/") -> None:
        """Set the permission bits."""
        _check_mode(mode)
        place = self.locate(path, cwd)
        if place.node is None:
            raise os_error(errno.ENOENT, path)
        self._check_writable(place.mount)
        place.mount.volume.change(place.node, self._now(), mode=mode)

    def chown(self, path: str, uid: int, gid: int, cwd: str = "/", *, follow: bool = True) -> None:
        """Set the owner; -1 leaves one as it is."""
        place = self.locate(path, cwd, follow=follow)
        if place.node is None:
            raise os_error(errno.ENOENT, path)
        self._check_writable(place.mount)
        place.mount.volume.change(place.node, self._now(), owner=(uid, gid))

    def utime(self, path: str, when: int, cwd: str = "/") -> None:
        """Set the times of access and modification (ns)."""
        place = self.locate(path, cwd)
        if place.node is None:
            raise os_error(errno.ENOENT, path)
        self._check_writable(place.mount)
        place.mount.volume.change(place.node, when, times=(when, when))

    def set_times(
        self,
        path: str,
        accessed: int | None,
        modified: int | None,
        cwd: str = "/",
        *,
        follow: bool = True,
    ) -> None:
        """Do what utimensat(2) does; None leaves a time as it is."""
        place = self.locate(path, cwd, follow=follow)
        if place.node is None:
            raise os_error(errno.ENOENT, path)
        self._check_writable(place.mount)
        place.mount.volume.change(place.node, self._now(), times=(accessed, modified))

    def truncate(self, path: str, length: int, cwd: str = "/") -> None:
        """Cut or lengthen a file to *length* bytes."""
        place = self.locate(path, cwd)
        node = place.node
        if node is None:
            raise os_error(errno.ENOENT, path)
        if isinstance(node, FakeDirectory):
            raise os_error(errno.EISDIR, path)
        if not isinstance(node, Regular):
            raise os_error(errno.EINVAL, path)
        self._check_writable(place.mount)
        if length > node.volume.max_file_size:
            raise os_error(errno.EFBIG, path)
        node.truncate(length)
        node.st_mtime_ns = node.st_ctime_ns = self._now()

    def remove_tree(self, path: str, cwd: str = "/") -> None:
        """Remove *path* and all below it."""
        place = self.locate(path, cwd, follow=False)
        if isinstance(place.node, FakeDirectory):
            for name in list(place.node.entries):
                self.remove_tree(f"{place.path}/{name}")
            self.rmdir(place.path)
        else:
            self.unlink(path, cwd)

    def remove_if_there(self, path: str) -> None:
        """Remove *path* and all below it; nothing there is fine."""
        if self.find(path, follow=False) is not None:
            self.remove_tree(path)

    def add_device(self, path: str, major: int, minor: int, size: int | None = None) -> None:
        """Make a device node; *size*: a block device's bytes."""
        mode = (stat.S_IFCHR | 0o666) if size is None else (stat.S_IFBLK | 0o660)
        self.mknod(path, lambda name, volume: Device(name, mode, volume, major, minor, size))


def _node_size(node: FakeFile) -> int:
    return NODE_SIZE + (len(node.target) if isinstance(node, Link) else 0)


def _check_mode(mode: int) -> None:
    if not isinstance(mode, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"expected a mode as a number, as in 0o644, found {mode!r}")
