"""What a guest's file systems are made of: inodes and open files.

Inodes are pyfakefs objects (`FakeFile`, `FakeDirectory`) in a `FakeFilesystem` per volume, which
counts the space; pyfakefs is not patched in anywhere and reads nothing of the host. What it does
not have is here: contents in pages (a 64 MiB file written in pieces stays linear, a hole costs
nothing), devices, pipes, and files whose contents the guest's state gives.
"""

import errno
import os
import random
import stat
from collections.abc import Callable
from typing import Final

from pyfakefs.fake_file import FakeDirectory, FakeFile
from pyfakefs.fake_filesystem import FakeFilesystem

from qgasim.errors import GuestError

__all__ = [
    "Budget",
    "Device",
    "Fifo",
    "Generated",
    "Link",
    "OpenFile",
    "Pipe",
    "PipeEnd",
    "Regular",
    "Volume",
    "WouldBlock",
    "count_link",
    "decode_name",
    "encode_name",
    "os_error",
    "touch",
]

PAGE_SIZE: Final = 256 * 1024
PIPE_SIZE: Final = 64 * 1024
MAX_LFS_FILESIZE: Final = (1 << 63) - 1


def os_error(number: int, path: str = "") -> OSError:
    """Make the error that the guest's kernel gives, with its text in English."""
    return OSError(number, os.strerror(number), path)


def encode_name(name: str) -> bytes:
    """Give the bytes of a file name or argument."""
    return name.encode("utf-8", "surrogateescape")


def decode_name(raw: bytes) -> str:
    """Make a file name or argument of bytes."""
    return raw.decode("utf-8", "surrogateescape")


class WouldBlock(GuestError):
    """A process has to wait until `is_ready()`: an empty pipe, a frozen file system."""

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        super().__init__("the call would block")
        self.is_ready = is_ready


#: Types without a freeze_fs operation (Linux 6.1: fs/fat/inode.c and its like; fs/ioctl.c).
_NEVER_FROZEN: Final = frozenset({"vfat", "msdos", "exfat", "iso9660", "squashfs", "udf"})


class Budget:
    """How much of the host's memory the contents of a guest's files may take, in bytes.

    A guest's disks may be far larger; a client must not be able to fill the host by filling them.
    """

    def __init__(self, limit: int = 1 << 30) -> None:
        self.left = limit

    def take(self, size: int) -> None:
        """Count *size* more bytes; ENOSPC if there are not so many."""
        if size > self.left:
            raise os_error(errno.ENOSPC)
        self.left -= size


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
        self.can_trim = True
        self.fakefs = FakeFilesystem(path_separator="/", total_size=size - used)
        self.root: FakeDirectory = self.fakefs.root
        self.root.st_mode = stat.S_IFDIR | 0o755
        #: Free bytes that a trim would report; what was trimmed is not reported again.
        self.untrimmed = size + reserved - used
        self.adopt(self.root, now)
        # The largest offset: 2^32 - 1 blocks in a file of ext4.
        self.max_file_size = MAX_LFS_FILESIZE if kind == "tmpfs" else block_size * 0xFFFFFFFF

    @property
    def used(self) -> int:
        """Bytes in use, the file system's own included."""
        total, _, free = self.fakefs.get_disk_usage("/")
        return self.overhead + total - free

    @property
    def free(self) -> int:
        """Bytes that files can still have."""
        return self.size - self.used

    def take(self, size: int) -> None:
        """Count *size* more bytes in use; ENOSPC if there are not so many."""
        self.fakefs.change_disk_usage(size, "", self.root.st_dev)
        if size < 0:
            self.untrimmed -= size

    def trim(self) -> int:
        """Discard the free blocks; give the bytes that were not discarded before."""
        free = self.size + self.reserved - self.used
        trimmed, self.untrimmed = min(self.untrimmed, free), 0
        return trimmed

    def adopt(self, node: FakeFile, now: int) -> None:
        """Give a new inode its number, owner and times (*now*: ns)."""
        self.fakefs.last_ino += 1
        node.st_ino = self.fakefs.last_ino
        node.st_dev = self.root.st_dev
        node.st_uid = node.st_gid = 0
        node.st_nlink = 2 if isinstance(node, FakeDirectory) else 0
        touch(node, now)


def count_link(node: FakeFile, change: int) -> int:
    """Change the number of *node*'s names; give the new number."""
    result: int = node.stat_result.st_nlink + change
    node.stat_result.st_nlink = result
    return result


def touch(node: FakeFile, now: int) -> None:
    """Set all three times of *node* to *now* (ns)."""
    node.st_atime_ns = node.st_mtime_ns = node.st_ctime_ns = now


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
        #: Bytes from the first to the last, holes included.
        self.length = 0
        self.allocated = 0
        #: Open files; an inode without a name lives until the last is closed.
        self.open_count = 0

    def _unwritten(self, start: int, end: int) -> bytes:
        fill = self.fill
        if fill == b"\0":
            return bytes(end - start)
        skip = start % len(fill)
        return (fill * ((end - start + skip) // len(fill) + 1))[skip : skip + end - start]

    def read(self, position: int, count: int) -> bytes:
        """Read up to *count* bytes at *position*."""
        end = min(position + count, self.length)
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
                self._grow(index, start + len(piece))
            self.pages[index][start : start + len(piece)] = piece
            done += len(piece)
        self.length = max(self.length, position + done)
        return done

    def _room(self, index: int) -> int:
        """Give how long a page can become with the blocks that are left."""
        block = self.volume.block_size
        have = len(self.pages.get(index, b""))
        room = -(-have // block) * block + self.volume.free // block * block
        return min(room, have + self.volume.budget.left)

    def _grow(self, index: int, length: int) -> None:
        """Make a page at least *length* long, which must not be more than its `_room`."""
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
        page += self._unwritten(base + have, base + length)

    def truncate(self, length: int) -> None:
        """Cut or lengthen to *length* bytes."""
        if length < self.length:
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
        self.length = length

    def forget(self) -> None:
        """Give the space back: the last name and the last open file are gone."""
        self.volume.take(-self.allocated)
        self.volume.budget.take(-sum(map(len, self.pages.values())))
        self.allocated = 0
        self.pages.clear()


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


class Link(FakeFile):
    """A symbolic link."""

    def __init__(self, name: str, target: str, volume: Volume) -> None:
        super().__init__(name, stat.S_IFLNK | 0o777, "", filesystem=volume.fakefs)
        self.target = target


class Fifo(FakeFile):
    """A named pipe."""

    def __init__(self, name: str, mode: int, volume: Volume) -> None:
        super().__init__(name, stat.S_IFIFO | mode, "", filesystem=volume.fakefs)
        self.pipe = Pipe()


class Device(FakeFile):
    """A character or block device: ``null``, ``zero``, ``full``, ``random`` or a disk's name."""

    def __init__(self, name: str, mode: int, volume: Volume, major: int, minor: int) -> None:
        super().__init__(name, mode, "", filesystem=volume.fakefs)
        self.kind = name
        self.major, self.minor = major, minor


class Pipe:
    """Bytes between processes: at most 64 KiB wait."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.readers = 0
        self.writers = 0
        # Who opens one side of a FIFO and waits for the other is counted by whoever comes there, so
        # that it finds its peer even if that has gone again.
        self._awaits_reader = self._awaits_writer = False
        self._met_reader = self._met_writer = False

    def meet_reader(self) -> bool:
        """Whether the side to write to can be opened; if not, its opener waits."""
        if self._met_reader:
            self._met_reader = False
            self.writers -= 1
        elif self._awaits_writer:
            self._awaits_writer, self._met_writer = False, True
            self.readers += 1
        elif not self.readers:
            self._awaits_reader = True
            return False
        return True

    def meet_writer(self) -> bool:
        """Whether the side to read from can be opened; if not, its opener waits."""
        if self._met_writer:
            self._met_writer = False
            self.readers -= 1
        elif self._awaits_reader:
            self._awaits_reader, self._met_reader = False, True
            self.writers += 1
        elif not self.writers:
            self._awaits_writer = True
            return False
        return True

    def has_met_reader(self) -> bool:
        """Whether an opener that waits for a reader can go on."""
        return self._met_reader or self.readers > 0

    def has_met_writer(self) -> bool:
        """Whether an opener that waits for a writer can go on."""
        return self._met_writer or self.writers > 0

    def can_read(self) -> bool:
        """Whether a read would not wait."""
        return bool(self.data) or not self.writers

    def can_write(self) -> bool:
        """Whether a write would not wait."""
        return len(self.data) < PIPE_SIZE or not self.readers


class OpenFile:
    """An open file description: an inode, a position and how it may be used.

    ``read`` and ``write`` raise `OSError` as the kernel would, and `WouldBlock`.
    """

    def __init__(
        self,
        node: FakeFile | None,
        volume: Volume | None,
        flags: int,
        clock: Callable[[], int],
        path: str = "",
    ) -> None:
        self.node = node
        self.volume = volume
        self.flags = flags
        self.path = path
        self.position = 0
        self.users = 1
        self._clock = clock
        access = flags & os.O_ACCMODE
        self.can_read = access != os.O_WRONLY
        self.can_write = access != os.O_RDONLY
        if isinstance(node, Regular):
            node.open_count += 1
        self._shown: bytes | None = None

    @property
    def block_size(self) -> int:
        """``st_blksize``: how much C's stdio reads and writes at a time."""
        return self.volume.block_size if self.volume else 4096

    @property
    def is_regular(self) -> bool:
        """Whether ``S_ISREG`` holds."""
        return self.node is not None and stat.S_ISREG(self.node.st_mode)

    @property
    def size(self) -> int:
        """``st_size``."""
        node = self.node
        return node.length if isinstance(node, Regular) else 0

    def read(self, count: int) -> bytes:
        """Read up to *count* bytes; none at the end."""
        if not self.can_read:
            raise os_error(errno.EBADF)
        node = self.node
        if isinstance(node, Regular):
            data = node.read(self.position, count)
            self.position += len(data)
            return data
        if isinstance(node, FakeDirectory):
            raise os_error(errno.EISDIR)
        if isinstance(node, Generated):
            if self._shown is None or self.position == 0:
                self._shown = node.show()
            data = self._shown[self.position : self.position + count]
            self.position += len(data)
            return data
        if isinstance(node, Device):
            return self._read_device(node.kind, count)
        return b""

    def _read_device(self, name: str, count: int) -> bytes:
        if name in ("zero", "full"):
            return bytes(count)
        if name in ("random", "urandom"):
            source = random.Random(self.position)
            self.position += count
            return source.randbytes(count)
        return b""

    def write(self, data: bytes | memoryview) -> int:
        """Write *data*, or as much of it as goes in."""
        if not self.can_write:
            raise os_error(errno.EBADF)
        node = self.node
        if isinstance(node, Regular):
            volume = node.volume
            if volume.is_frozen:
                raise WouldBlock(lambda: not volume.is_frozen)
            if self.flags & os.O_APPEND:
                self.position = node.length
            done = node.write(self.position, data)
            self.position += done
            node.st_mtime_ns = node.st_ctime_ns = self._clock()
            return done
        if isinstance(node, Generated):
            if node.store is None:
                raise os_error(errno.EIO)
            node.store(bytes(data))
            return len(data)
        if isinstance(node, Device) and node.kind == "full":
            raise os_error(errno.ENOSPC)
        return len(data)

    def seek(self, offset: int, whence: int) -> int:
        """Move to *offset* from the start (0), the position (1) or the end (2)."""
        node = self.node
        if isinstance(node, Device):
            # null, zero and full answer any seek with 0 (drivers/char/mem.c, null_lseek).
            self.position = 0
            return 0
        limit = self.volume.max_file_size if self.volume else MAX_LFS_FILESIZE
        if whence == os.SEEK_CUR:
            offset += self.position
        elif whence == os.SEEK_END:
            if isinstance(node, FakeDirectory):
                # ext4's hashed directories end at the largest hash (recorded: file/seek-dir).
                self.position = MAX_LFS_FILESIZE
                return self.position
            offset += self.size
        if not 0 <= offset <= (MAX_LFS_FILESIZE if isinstance(node, FakeDirectory) else limit):
            raise os_error(errno.EINVAL)
        self.position = offset
        return offset

    def retain(self) -> None:
        """Count one more descriptor (after ``fork`` or ``dup``)."""
        self.users += 1

    def close(self) -> None:
        """Count one descriptor less; the last one closes."""
        self.users -= 1
        if self.users == 0:
            self._release()

    def _release(self) -> None:
        node = self.node
        if isinstance(node, Regular):
            node.open_count -= 1
            if node.st_nlink == 0 and node.open_count == 0:
                node.forget()


class PipeEnd(OpenFile):
    """One end of a `Pipe` or FIFO."""

    def __init__(
        self,
        pipe: Pipe,
        flags: int,
        clock: Callable[[], int],
        node: FakeFile | None = None,
        path: str = "",
    ) -> None:
        super().__init__(node, None, flags, clock, path)
        self.pipe = pipe
        pipe.readers += self.can_read
        pipe.writers += self.can_write

    def read(self, count: int) -> bytes:
        """Read what is there; wait while there is a writer but nothing to read."""
        if not self.can_read:
            raise os_error(errno.EBADF)
        pipe = self.pipe
        if not pipe.data and pipe.writers and count:
            raise WouldBlock(pipe.can_read)
        data = bytes(pipe.data[:count])
        del pipe.data[:count]
        return data

    def write(self, data: bytes | memoryview) -> int:
        """Write what fits; EPIPE if nobody will ever read it."""
        if not self.can_write:
            raise os_error(errno.EBADF)
        pipe = self.pipe
        if not pipe.readers:
            raise os_error(errno.EPIPE)
        room = PIPE_SIZE - len(pipe.data)
        if room <= 0:
            raise WouldBlock(pipe.can_write)
        pipe.data += data[:room]
        return min(room, len(data))

    def seek(self, offset: int, whence: int) -> int:  # noqa: ARG002
        """Fail: a pipe has no positions."""
        raise os_error(errno.ESPIPE)

    def _release(self) -> None:
        self.pipe.readers -= self.can_read
        self.pipe.writers -= self.can_write
