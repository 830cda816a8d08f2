"""What a guest's file systems are made of: inodes and open files.

Inodes are pyfakefs objects (`FakeFile`, `FakeDirectory`) in a `FakeFilesystem` per volume, which
counts the space; pyfakefs is not patched in anywhere and reads nothing of the host. What it does
not have is here: contents in pages (a 64 MiB file written in pieces stays linear, a hole costs
nothing), devices, pipes, and files whose contents the guest's state gives.
"""

import codecs
import errno
import os
import stat
from collections.abc import Callable
from typing import AnyStr, Final, cast

from msgspec import Struct
from pyfakefs.fake_file import FakeDirectory, FakeFile
from pyfakefs.fake_filesystem import FakeFilesystem

from qgasim.errors import GuestError, KernelError
from qgasim.guest.files.pipes import Pipe

__all__ = [
    "Budget",
    "Device",
    "Fifo",
    "Generated",
    "Link",
    "Regular",
    "Unmade",
    "UnmadeLink",
    "Volume",
    "WouldBlock",
    "count_link",
    "decode_name",
    "encode_name",
    "os_error",
    "touch",
]

PAGE_SIZE: Final = 256 * 1024
MAX_LFS_FILESIZE: Final = (1 << 63) - 1


#: Kernel errors that are Python's `FileNotFoundError` and its like as well, by errno.
_KINDS: Final[dict[int, type[KernelError]]] = {
    number: type(f"Kernel{kind.__name__}", (KernelError, kind), {})
    for number in errno.errorcode
    if (kind := type(OSError(number, ""))) is not OSError
}


def os_error(number: int, path: str | None = None) -> KernelError:
    """Make the error that the guest's kernel gives, with its text in English."""
    return _KINDS.get(number, KernelError)(number, os.strerror(number), path)


#: How much of a text is converted in one go: Python keeps the interpreter's lock meanwhile, and what is not
#: UTF-8 takes it 50 ns a byte.
_PIECE: Final = 1 << 18


def encode_name(name: str) -> bytes:
    """Return the bytes of a file name, an argument or a text."""
    if len(name) <= _PIECE:
        return name.encode("utf-8", "surrogateescape")
    pieces = (name[at : at + _PIECE] for at in range(0, len(name), _PIECE))
    return b"".join(piece.encode("utf-8", "surrogateescape") for piece in pieces)


def decode_name(raw: bytes) -> str:
    """Return the file name, argument or text that *raw* holds."""
    if len(raw) <= _PIECE:
        return raw.decode("utf-8", "surrogateescape")
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    pieces = [decode(raw[at : at + _PIECE]) for at in range(0, len(raw), _PIECE)]
    return "".join([*pieces, decode(b"", final=True)])


class WouldBlock(GuestError):
    """A process has to wait until `is_ready()`: an empty pipe, a frozen file system."""

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        super().__init__("the call would block")
        self.is_ready = is_ready


#: Types without a freeze_fs operation (Linux 6.1: fs/fat/inode.c, fs/erofs/super.c and their like;
#: fs/ioctl.c).
_NEVER_FROZEN: Final = frozenset({"vfat", "msdos", "exfat", "erofs", "iso9660", "squashfs", "udf"})
#: Types without FITRIM: they are only read, or lie on discs (fs/isofs, fs/squashfs, fs/udf, fs/erofs).
_NEVER_TRIMMED: Final = frozenset({"erofs", "iso9660", "squashfs", "udf"})


class Budget:
    """How much of the host's memory the contents of a guest's files may take, in bytes.

    A guest's disks may be far larger; a client must not be able to fill the host by filling them.
    *error* is the errno of a request for more.
    """

    def __init__(self, limit: int = 1 << 30, error: int = errno.ENOSPC) -> None:
        self.left = limit
        self._error = error

    def take(self, size: int) -> None:
        """Count *size* more bytes; OSError if there are not so many."""
        if size > self.left:
            raise os_error(self._error)
        self.left -= size


class _Filesystem(FakeFilesystem):
    """A pyfakefs file system of which no path is asked but ``/``."""

    # Its own functions import unittest.mock and asyncio, which were a fifth of the time to start.

    def normcase(self, path: AnyStr) -> AnyStr:
        """Return *path*, as it is."""
        return path

    def normpath(self, path: AnyStr) -> AnyStr:
        """Return *path*, as it is."""
        return path


class Volume:
    """A file system on a device, mounted or not.

    *size* is what ``statfs`` gives as the blocks that users can have, *reserved* what root has
    beyond that, *used* what is taken by the file system itself before any file; all in bytes.
    """

    def __init__(
        self,
        device: str,
        kind: str,
        size: int,
        *,
        reserved: int = 0,
        used: int = 0,
        block_size: int = 4096,
        now: int = 0,
        budget: Budget | None = None,
    ) -> None:
        self.budget = budget or Budget()
        self.device = device
        self.kind = kind
        self.size = size
        self.reserved = reserved
        self.overhead = used
        self.block_size = block_size
        self.is_frozen = False
        #: The errno with which it refuses to be frozen; 0 if it does not.
        self.freeze_error = errno.EOPNOTSUPP if kind in _NEVER_FROZEN else 0
        #: The errno with which it refuses new files; 0 if it does not.
        self.create_error = 0
        #: The errno with which its directory cannot be opened to freeze it, and to trim it; 0: it can.
        self.freeze_open_error = self.trim_open_error = 0
        #: Whether it can be trimmed, on a device that discards.
        self.can_trim = kind not in _NEVER_TRIMMED
        #: The errno with which it refuses to be trimmed; 0 if it does not.
        self.trim_error = 0
        self.fakefs = _Filesystem(path_separator="/", total_size=size - used)
        self.root: FakeDirectory = self.fakefs.root
        self.root.st_mode = stat.S_IFDIR | 0o755
        #: Open files on it.
        self.open_count = 0
        #: Makes its files when it is first looked into; None: they are there.
        self.populate: Callable[[], None] | None = None
        #: Free bytes that a trim would report; what was trimmed is not reported again.
        self.untrimmed = size + reserved - used
        self.adopt(self.root, now)
        # The largest offset: 2^32 - 1 blocks in a file of ext4.
        self.max_file_size = MAX_LFS_FILESIZE if kind == "tmpfs" else block_size * 0xFFFFFFFF

    @property
    def file_bytes(self) -> int:
        """Bytes in use by files."""
        # Not get_disk_usage(): that defines a class at each call.
        points = cast("dict[str, dict[str, int]]", self.fakefs.mount_points)  # pyright: ignore[reportUnknownMemberType]
        return points["/"]["used_size"]

    @property
    def used(self) -> int:
        """Bytes in use, the file system's own included."""
        return self.overhead + self.file_bytes

    @property
    def free(self) -> int:
        """Bytes that files can still have."""
        return self.size - self.used

    def take(self, size: int) -> None:
        """Count *size* more bytes in use; ENOSPC if there are not so many."""
        self.fakefs.change_disk_usage(size, self.device, self.root.st_dev)
        if size < 0:
            self.untrimmed -= size

    def make_subvolume(self, now: int) -> FakeDirectory:
        """Make a directory to be mounted beside the root, as btrfs has them."""
        node = FakeDirectory("", 0o755, self.fakefs)
        self.adopt(node, now)
        return node

    def blocks(self, length: int) -> int:
        """Return the bytes in whole blocks that *length* bytes take."""
        return -(-length // self.block_size) * self.block_size

    def trim(self) -> int:
        """Discard the free blocks; give the bytes that were not discarded before."""
        free = self.size + self.reserved - self.used
        trimmed, self.untrimmed = min(self.untrimmed, free), 0
        return trimmed

    def adopt(self, node: FakeFile, now: int, number: int | None = None) -> None:
        """Set the number of a new inode (by default the next one), owner and times (*now*: ns)."""
        if number is None:
            self.fakefs.last_ino += 1
        # Not through the inode itself, which looks at each attribute's name first.
        result = node.stat_result
        result.st_ino = self.fakefs.last_ino if number is None else number
        result.st_dev = self.root.stat_result.st_dev
        result.st_uid = result.st_gid = 0
        result.st_nlink = 2 if isinstance(node, FakeDirectory) else 0
        touch(node, now)

    def change(
        self,
        node: FakeFile,
        now: int,
        *,
        mode: int | None = None,
        owner: tuple[int, int] = (-1, -1),
        times: tuple[int | None, int | None] = (None, None),
    ) -> None:
        """Change attributes of an inode at *now*.

        *owner* is of user and group, *times* of access and modification (ns); -1 and None leave one
        as it is.
        """
        if mode is not None:
            node.st_mode = stat.S_IFMT(node.st_mode) | mode & 0o7777
        uid, gid = owner
        if uid >= 0:
            node.st_uid = uid
        if gid >= 0:
            node.st_gid = gid
        accessed, modified = times
        if accessed is not None:
            node.st_atime_ns = accessed
        if modified is not None:
            node.st_mtime_ns = modified
        node.st_ctime_ns = now


def count_link(node: FakeFile, change: int) -> int:
    """Change the number of *node*'s names; give the new number."""
    result: int = node.stat_result.st_nlink + change
    node.stat_result.st_nlink = result
    return result


def touch(node: FakeFile, now: int) -> None:
    """Set all three times of *node* to *now* (ns)."""
    result = node.stat_result
    result.st_atime_ns = result.st_mtime_ns = result.st_ctime_ns = now


class Regular(FakeFile):
    """A regular file: pages, each as long as what was written to it.

    *fill* is what a part that was never written reads as, repeated from the file's beginning;
    none but a scenario's large files has other than zeros.
    """

    def __init__(self, name: str, mode: int, volume: Volume, fill: bytes = b"\0") -> None:
        super().__init__(name, stat.S_IFREG | mode, "", filesystem=volume.fakefs)
        self.volume = volume
        self.fill = fill
        self.pages: dict[int, bytearray] = {}
        self._length = 0
        #: Bytes in blocks of its own.
        self.allocated = 0
        #: Open files; an inode without a name lives until the last is closed.
        self.open_count = 0

    @property
    def length(self) -> int:
        """Bytes from the first to the last, holes included."""
        return self._length

    def opened(self, *, writes: bool) -> None:  # noqa: ARG002
        """Count one more open file, which may be for writing."""
        self.open_count += 1
        self.volume.open_count += 1

    def closed(self) -> None:
        """Count one open file less; without a name, it is gone after the last."""
        self.open_count -= 1
        self.volume.open_count -= 1
        if self.open_count == 0 and self.stat_result.st_nlink == 0:
            self.forget()

    def hold(self, data: bytes) -> None:
        """Hold *data*, whose space was taken already: for a new file of at most a page."""
        self.pages[0] = bytearray(data)
        self._length = len(data)
        self.allocated = self.volume.blocks(len(data))

    def hole_at(self, position: int) -> int:
        """Return how many bytes from *position* on are in pages to which nothing was written."""
        index = position // PAGE_SIZE
        if self.fill != b"\0" or index in self.pages or position >= self._length:
            return 0
        following = min((page for page in self.pages if page > index), default=None)
        end = self._length if following is None else min(self._length, following * PAGE_SIZE)
        return end - position

    def _unwritten(self, start: int, end: int) -> bytes:
        fill = self.fill
        if fill == b"\0":
            return bytes(end - start)
        skip = start % len(fill)
        return (fill * ((end - start + skip) // len(fill) + 1))[skip : skip + end - start]

    def read(self, position: int, count: int) -> bytes:
        """Read up to *count* bytes at *position*."""
        end = min(position + count, self._length)
        parts: list[bytes | memoryview] = []
        while position < end:
            index, start = divmod(position, PAGE_SIZE)
            stop = min(start + end - position, PAGE_SIZE)
            page = self.pages.get(index, b"")
            if start < len(page):
                stop = min(stop, len(page))
                parts.append(memoryview(page)[start:stop])
            else:
                parts.append(self._unwritten(position, position + stop - start))
            position += stop - start
        return b"".join(parts)

    def write(self, position: int, data: bytes | memoryview) -> int:
        """Write as much of *data* as there is room for; ENOSPC if there is none at all."""
        if position >= self.volume.max_file_size:
            raise os_error(errno.EFBIG)
        done = 0
        while done < len(data):
            index, start = divmod(position + done, PAGE_SIZE)
            piece = data[done : done + PAGE_SIZE - start]
            page = self.pages.get(index)
            grows = start + len(piece) - (len(page) if page is not None else 0)
            if grows > 0:
                room = self._room(index) - start
                if room <= 0:
                    if done:
                        break
                    raise os_error(errno.ENOSPC)
                piece = piece[:room]
                self._grow(index, start, start + len(piece))
            self.pages[index][start : start + len(piece)] = piece
            done += len(piece)
        self._length = max(self._length, position + done)
        return done

    def _room(self, index: int) -> int:
        """Return how long a page can become with the blocks that are left."""
        block = self.volume.block_size
        have = len(self.pages.get(index, b""))
        room = -(-have // block) * block + self.volume.free // block * block
        return min(room, have + self.volume.budget.left)

    def _grow(self, index: int, start: int, length: int) -> None:
        """Take what a page of *length* bytes needs, at most its `_room`; fill it up to *start*."""
        page = self.pages.get(index)
        block = self.volume.block_size
        have = len(page) if page is not None else 0
        more = (-(-length // block) - -(-have // block)) * block
        if length > have:
            self.volume.budget.take(length - have)
        if more > 0:
            self.volume.take(more)
            self.allocated += more
        if page is None:
            page = self.pages[index] = bytearray()
        base = index * PAGE_SIZE
        if have < start:
            page += self._unwritten(base + have, base + start)

    def truncate(self, length: int) -> None:
        """Cut or lengthen to *length* bytes."""
        if length < self._length:
            block = self.volume.block_size
            last, within = divmod(length, PAGE_SIZE)
            for index in [i for i in self.pages if i >= last]:
                page = self.pages[index]
                keep = min(within, len(page)) if index == last else 0
                freed = (-(-len(page) // block) - -(-keep // block)) * block
                self.volume.take(-freed)
                self.volume.budget.take(keep - len(page))
                self.allocated -= freed
                if keep:
                    del page[keep:]
                else:
                    del self.pages[index]
            if length == 0:
                self.fill = b"\0"
        self._length = length

    def forget(self) -> None:
        """Release the space: the last name and the last open file are gone."""
        self.volume.take(-self.allocated)
        self.volume.budget.take(-sum(map(len, self.pages.values())))
        self.allocated = 0
        self.pages.clear()


class Unmade(Struct):
    """A regular file or a link of a new guest: its inode is made at the first look.

    Its number is given and its space is taken from the start. Most guests are never asked about most
    of their programs, and an inode takes ten times as long and as much.
    """

    data: bytes
    mode: int
    volume: Volume
    number: int
    now: int

    def make(self, name: str) -> FakeFile:
        """Make the file."""
        volume = self.volume
        node = Regular(name, self.mode, volume)
        volume.adopt(node, self.now, self.number)
        count_link(node, 1)
        node.hold(self.data)
        return node


class Generated(FakeFile):
    """A file of /proc or /sys: reading shows the guest's state, writing may change it."""

    def __init__(
        self,
        name: str,
        mode: int,
        volume: Volume,
        show: Callable[[], bytes],
        store: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(name, stat.S_IFREG | mode, "", filesystem=volume.fakefs)
        self.show = show
        self.store = store
        #: sysfs does not let root open what cannot be written (fs/kernfs/file.c); proc does.
        self.may_write = store is not None or volume.kind != "sysfs"


class Link(FakeFile):
    """A symbolic link."""

    def __init__(self, name: str, target: str, volume: Volume) -> None:
        super().__init__(name, stat.S_IFLNK | 0o777, "", filesystem=volume.fakefs)
        self.target = target


class UnmadeLink(Unmade):
    """A symbolic link of a new guest, as `Unmade`: its data are its target."""

    def make(self, name: str) -> Link:
        """Make the link."""
        node = Link(name, decode_name(self.data), self.volume)
        self.volume.adopt(node, self.now, self.number)
        count_link(node, 1)
        return node


class Fifo(FakeFile):
    """A named pipe."""

    def __init__(self, name: str, mode: int, volume: Volume) -> None:
        super().__init__(name, stat.S_IFIFO | mode, "", filesystem=volume.fakefs)
        self.pipe = Pipe()


class Device(FakeFile):
    """A character or block device: ``null``, ``zero``, ``full``, ``random`` or a disk's name.

    *size*: a block device's bytes. What is on a disk besides the files is not known here: it reads as
    zeros, as the first KiB of an ext4 file system does, and what is written to it is lost.
    """

    def __init__(
        self, name: str, mode: int, volume: Volume, major: int, minor: int, size: int | None = None
    ) -> None:
        super().__init__(name, mode, "", filesystem=volume.fakefs)
        self.kind = name
        self.major, self.minor = major, minor
        self.size_in_bytes = size
