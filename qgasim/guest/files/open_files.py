"""Open file descriptions: what a descriptor stands for, with its position."""

import errno
import os
import random
import stat
from collections.abc import Callable

from pyfakefs.fake_file import FakeDirectory, FakeFile

from qgasim.guest.files.nodes import (
    MAX_LFS_FILESIZE,
    Budget,
    Device,
    Generated,
    Regular,
    Volume,
    WouldBlock,
    os_error,
)
from qgasim.guest.files.pipes import PIPE_SIZE, Pipe

__all__ = ["OpenFile", "PipeEnd", "Sink", "Source"]


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
            node.opened(writes=self.can_write)
        self._shown: bytes | None = None

    @property
    def block_size(self) -> int:
        """``st_blksize``: how much C's stdio reads and writes at a time."""
        return self.volume.block_size if self.volume and not self.is_device else 4096

    @property
    def is_device(self) -> bool:
        """Return whether ``S_ISCHR`` or ``S_ISBLK`` holds."""
        return isinstance(self.node, Device)

    @property
    def is_regular(self) -> bool:
        """Return whether ``S_ISREG`` holds."""
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
            return self._read_device(node, count)
        return b""

    def read_part(self, count: int, kept: int) -> tuple[bytes, int]:
        """Do as `read`; return the first *kept* bytes, and how many were read."""
        node = self.node
        if count <= kept or not isinstance(node, Regular | Device):
            data = self.read(count)
            return data[:kept], len(data)
        data = self.read(kept)
        rest = count - kept if len(data) == kept else 0
        size = node.length if isinstance(node, Regular) else node.size_in_bytes
        if size is not None:
            rest = max(0, min(rest, size - self.position))
        self.position += rest
        return data, len(data) + rest

    def _read_device(self, node: Device, count: int) -> bytes:
        name = node.kind
        if node.size_in_bytes is not None:
            count = max(0, min(count, node.size_in_bytes - self.position))
            self.position += count
            return bytes(count)
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
        if isinstance(node, Device):
            return self._write_device(node, len(data))
        return len(data)

    def _write_device(self, node: Device, count: int) -> int:
        if node.size_in_bytes is not None:
            done = min(count, node.size_in_bytes - self.position)
            if done <= 0 < count:
                raise os_error(errno.ENOSPC)
            self.position += done
            return done
        if node.kind == "full":
            raise os_error(errno.ENOSPC)
        return count

    def seek(self, offset: int, whence: int) -> int:
        """Move to *offset* from the start (0), the position (1) or the end (2)."""
        node = self.node
        end = self.size
        limit = self.volume.max_file_size if self.volume else MAX_LFS_FILESIZE
        if isinstance(node, Device):
            if node.size_in_bytes is None:
                # null, zero and full answer any seek with 0 (drivers/char/mem.c, null_lseek).
                self.position = 0
                return 0
            # A disk has no places behind its end (block/fops.c, blkdev_llseek).
            end = limit = node.size_in_bytes
        if whence == os.SEEK_CUR:
            offset += self.position
        elif whence == os.SEEK_END:
            # ext4's hashed directories end at the largest hash (fs/ext4/dir.c, ext4_dir_llseek()).
            offset += MAX_LFS_FILESIZE if isinstance(node, FakeDirectory) else end
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
            node.closed()


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
        """Write what fits; EPIPE if no reader is left."""
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


class Sink(OpenFile):
    """Where a program's output goes: kept up to *limit* bytes, the rest is dropped.

    What is kept is of *budget*, if there is one, until `forget`.
    """

    def __init__(self, limit: int = 1 << 16, budget: Budget | None = None) -> None:
        super().__init__(None, None, os.O_WRONLY, lambda: 0)
        self.data = bytearray()
        self.limit = limit
        self._budget = budget
        self.is_truncated = False
        self.is_closed = False

    def write(self, data: bytes | memoryview) -> int:
        """Keep *data*, or what there is room for."""
        if self.is_closed:
            raise os_error(errno.EPIPE)
        room = self.limit - len(self.data)
        if self._budget is not None:
            room = min(room, self._budget.left)
        kept = data[:room]
        if len(kept) < len(data):
            self.is_truncated = True
        if self._budget is not None:
            self._budget.take(len(kept))
        self.data += kept
        return len(data)

    def forget(self) -> None:
        """Release the memory: what was kept is not asked for any more."""
        if self._budget is not None:
            self._budget.take(-len(self.data))
            self._budget = None

    def _release(self) -> None:
        self.is_closed = True


class Source(OpenFile):
    """What a program reads as its input: *data*, then the end.

    It is of *budget*, if there is one, until it is closed; OSError if there is not so much.
    """

    def __init__(self, data: bytes, budget: Budget | None = None) -> None:
        super().__init__(None, None, os.O_RDONLY, lambda: 0)
        if budget is not None:
            budget.take(len(data))
        self._budget, self._taken = budget, len(data)
        self.data = memoryview(data)

    def read(self, count: int) -> bytes:
        """Read the next *count* bytes."""
        part, self.data = self.data[:count], self.data[count:]
        return bytes(part)

    def _release(self) -> None:
        self.data = memoryview(b"")
        if self._budget is not None:
            self._budget.take(-self._taken)
