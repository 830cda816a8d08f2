"""C's buffered streams, as glibc keeps them.

qemu-ga's file commands are ``fread``, ``fwrite``, ``fseek`` and so on, and the buffer shows: what
was written is not in the file before a flush, what was read ahead does not change when the file
does. The names are glibc's (libio/fileops.c, genops.c, 2.36) without their ``_IO_``; pointers are
indices into the buffer. An error is an `OSError`, where C has a flag and errno; one that C has no flag
for shows in a count that is too small.
"""

import errno
import os
from typing import Final

from qgasim.guest.files.nodes import WouldBlock, os_error
from qgasim.guest.files.open_files import OpenFile

__all__ = ["Stream"]

UNKNOWN: Final = -1


class Stream:
    """A ``FILE`` on an open file.

    It has the flags of C's: the end-of-file flag `at_end` and the error flag `has_failed`. Callers
    clear them; an error that they left makes the next read or write fail, without an errno.
    """

    def __init__(self, file: OpenFile) -> None:
        self.file = file
        self.at_end = False
        self.has_failed = False
        self.is_appending = bool(file.flags & os.O_APPEND)
        self._buffer = bytearray()
        self._buffer_size = 0
        self._read_base = self._read = self._read_end = 0
        self._write_base = self._write = self._write_end = 0
        self._is_putting = False
        self._offset = UNKNOWN

    # -- system calls ------------------------------------------------------------------------

    def _sys_read(self, count: int) -> bytes:
        return self._sys_read_part(count, count)[0]

    def _sys_read_part(self, count: int, kept: int) -> tuple[bytes, int]:
        try:
            data, done = self.file.read_part(count, kept)
        except WouldBlock:
            raise os_error(errno.EAGAIN) from None
        if not done:
            self.at_end = True
        return data, done

    def _try_read(self, count: int, kept: int) -> tuple[bytes, int]:
        try:
            return self._sys_read_part(count, kept)
        except OSError:
            self.has_failed = True
            raise

    def _sys_write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            try:
                done = self.file.write(view)
            except WouldBlock:
                self.has_failed = True
                raise os_error(errno.EAGAIN) from None
            except OSError:
                self.has_failed = True
                raise
            view = view[done:]
            if self._offset >= 0:
                self._offset += done

    def _allocate(self) -> None:
        if not self._buffer_size:
            self._buffer_size = self.file.block_size
            self._buffer = bytearray(self._buffer_size)

    def _set_get(self, base: int, at: int, end: int) -> None:
        self._read_base, self._read, self._read_end = base, at, end

    # -- reading -----------------------------------------------------------------------------

    def read(self, count: int) -> bytes:
        """``fread``: up to *count* bytes, fewer only at the end."""
        return self.read_part(count, count)[0]

    def read_part(self, count: int, kept: int) -> tuple[bytes, int]:
        """Do as `read`; return at least the first *kept* bytes, and how many were read."""
        parts: list[bytes] = []
        left = count
        try:
            if count:
                self._allocate()
                left = self._read_into(parts, count, kept)
        except OSError:
            if self.has_failed:
                raise
        if self.has_failed:
            raise os_error(0)
        data = b"".join(parts)
        return data, max(len(data), count - left)

    def _read_into(self, parts: list[bytes], want: int, kept: int) -> int:
        """Read *want* bytes, the first *kept* of them into *parts*; return how many could not be read."""
        while want:
            have = self._read_end - self._read
            if want <= have:
                parts.append(bytes(self._buffer[self._read : self._read + want]))
                self._read += want
                return 0
            if have > 0:
                parts.append(bytes(self._buffer[self._read : self._read_end]))
                want -= have
                self._read += have
            if want < self._buffer_size:
                if not self._underflow():
                    break
                continue
            self._set_get(0, 0, 0)
            self._write_base = self._write = self._write_end = 0
            data, done = self._try_read(want - want % self._buffer_size, kept)
            if not done:
                break
            parts.append(data)
            want -= done
            if self._offset != UNKNOWN:
                self._offset += done
        return want

    def _underflow(self) -> bool:
        if self._is_putting:
            # Before anything is refused (libio/genops.c, __underflow()).
            self._switch_to_get_mode()
        if self._read < self._read_end:
            return True
        if self.at_end:
            return False
        if not self.file.can_read:
            self.has_failed = True
            raise os_error(errno.EBADF)
        self._switch_to_get_mode()
        self._set_get(0, 0, 0)
        self._write_base = self._write = self._write_end = 0
        data, _ = self._try_read(self._buffer_size, self._buffer_size)
        self._buffer[: len(data)] = data
        self._read_end = len(data)
        if not data:
            self._offset = UNKNOWN
            return False
        if self._offset != UNKNOWN:
            self._offset += len(data)
        return True

    def _switch_to_get_mode(self) -> None:
        if self._write > self._write_base:
            self._do_flush()
        self._read_base = 0
        self._read_end = max(self._read_end, self._write)
        self._read = self._write_base = self._write_end = self._write
        self._is_putting = False

    # -- writing -----------------------------------------------------------------------------

    def write(self, data: bytes) -> int:
        """``fwrite``: all of *data*, into the buffer as far as it goes."""
        view = memoryview(data)
        try:
            space = self._write_end - self._write
            if view and space > 0:
                view = view[self._put(view[:space]) :]
            if view:
                self._overflow()
                rest = len(view) % self._buffer_size if self._buffer_size >= 128 else 0
                whole = len(view) - rest
                if whole:
                    self._do_write(view[:whole])
                view = view[whole:]
                while view:
                    # Up to the buffer's end, not `_write_end`: a long read may have left that at 0.
                    if self._write == self._buffer_size:
                        self._do_flush()
                    view = view[self._put(view[: self._buffer_size - self._write]) :]
        except OSError:
            if self.has_failed:
                raise
        if self.has_failed:
            raise os_error(0)
        return len(data) - len(view)

    def _put(self, data: memoryview) -> int:
        self._buffer[self._write : self._write + len(data)] = data
        self._write += len(data)
        return len(data)

    def _overflow(self) -> None:
        if not self.file.can_write:
            self.has_failed = True
            raise os_error(errno.EBADF)
        if not self._is_putting:
            self._allocate()
            if self._read == self._buffer_size:
                self._read_end = self._read = 0
            self._write = self._write_base = self._read
            self._write_end = self._buffer_size
            self._read_base = self._read = self._read_end
            self._is_putting = True
        self._do_flush()

    def _do_flush(self) -> None:
        pending = memoryview(bytes(self._buffer[self._write_base : self._write]))
        if pending:
            self._do_write(pending)

    def _do_write(self, data: memoryview) -> None:
        if self.is_appending:
            self._offset = UNKNOWN
        elif self._read_end != self._write_base:
            self._offset = self.file.seek(self._write_base - self._read_end, os.SEEK_CUR)
        try:
            self._sys_write(data)
        finally:
            # What could not be written is gone, as in C.
            self._set_get(0, 0, 0)
            self._write_base = self._write = 0
            self._write_end = self._buffer_size

    # -- position ----------------------------------------------------------------------------

    def seek(self, offset: int, whence: int) -> None:
        """``fseek``."""
        must_be_exact = self._read_base == self._read_end and self._write_base == self._write
        if self._write > self._write_base or self._is_putting:
            self._switch_to_get_mode()
        self._allocate()
        if whence == os.SEEK_CUR:
            offset -= self._read_end - self._read
            if self._offset == UNKNOWN:
                self._seek_file(offset, whence)
                return
            offset += self._offset
            if offset < 0:
                raise os_error(errno.EINVAL)
        elif whence == os.SEEK_END:
            if not self.file.is_regular:
                self._seek_file(offset, whence)
                return
            offset += self.file.size
        if self._offset != UNKNOWN:
            start = self._offset - self._read_end
            if start <= offset < self._offset:
                self._set_get(0, offset - start, self._read_end)
                self._write_base = self._write = self._write_end = 0
                self.at_end = False
                self.file.seek(self._offset, os.SEEK_SET)
                return
        if not self.file.can_read:
            self._seek_file(offset, os.SEEK_SET)
            return
        # To the start of a block, and read up to the place.
        block = offset & ~(self._buffer_size - 1)
        delta = offset - block
        result = self.file.seek(block, os.SEEK_SET)
        count = 0
        if delta:
            try:
                data = self._sys_read(delta if must_be_exact else self._buffer_size)
            except OSError:
                data = None
            count = len(data or b"")
            self._buffer[:count] = data or b""
            if count < delta:
                self._seek_file(delta if data is None else delta - count, os.SEEK_CUR)
                return
        self._set_get(0, delta, count)
        self._write_base = self._write = self._write_end = 0
        self._offset = result + count
        self.at_end = False
        if offset == -1:
            # What is returned is the place asked for, and -1 means failure, but errno is not set.
            # A device that takes any place for its beginning (/dev/zero) gets that far.
            raise os_error(0)

    def _seek_file(self, offset: int, whence: int) -> None:
        self._offset = self.file.seek(offset, whence)
        self.at_end = False
        self._set_get(0, 0, 0)
        self._write_base = self._write = self._write_end = 0

    def tell(self) -> int:
        """``ftell``."""
        change = 0
        if self._buffer_size:
            if self._write <= self._write_base:
                change = self._read - self._read_end
            elif self.is_appending:
                self._offset = self.file.seek(0, os.SEEK_END)
                change = self._write - self._write_base
            else:
                change = self._write - self._read_end
        if self._offset != UNKNOWN:
            return self._offset + change
        return self.file.seek(0, os.SEEK_CUR) + change

    def flush(self) -> None:
        """``fflush``: write what is pending, or give back what was read ahead."""
        if self._write > self._write_base:
            self._do_flush()
        ahead = self._read_end - self._read
        if ahead:
            try:
                self.file.seek(-ahead, os.SEEK_CUR)
                self._read_end = self._read
            except OSError as error:
                if error.errno != errno.ESPIPE:
                    raise
        self._offset = UNKNOWN

    def close(self) -> None:
        """``fclose``: flush and close; closed even if the flush fails."""
        try:
            if self._is_putting:
                self._do_flush()
        finally:
            self.file.close()
