"""What Windows says of failures, in English: the texts of FormatMessage()."""

import errno
from typing import Final

from qgasim.errors import CommandError

__all__ = [
    "ACCESS_DENIED",
    "NO_FILE",
    "NO_PATH",
    "NO_UTF16",
    "SHARED",
    "UNSUPPORTED",
    "failed",
    "is_unicode",
]

ACCESS_DENIED: Final = "Access is denied."
NO_FILE: Final = "The system cannot find the file specified."
NO_PATH: Final = "The system cannot find the path specified."
SHARED: Final = "The process cannot access the file because it is being used by another process."
#: glib's word for a text that cannot be written in UTF-16.
NO_UTF16: Final = "Invalid byte sequence in conversion input"
#: QERR_UNSUPPORTED
UNSUPPORTED: Final = "this feature or command is not currently supported"

_TEXTS: Final = {
    errno.EACCES: ACCESS_DENIED,
    errno.EBADF: ACCESS_DENIED,
    errno.EBUSY: SHARED,
    errno.EINVAL: "The parameter is incorrect.",
    errno.EISDIR: ACCESS_DENIED,
    errno.ENAMETOOLONG: "The filename or extension is too long.",
    errno.ENOENT: NO_FILE,
    errno.ENOSPC: "There is not enough space on the disk.",
    errno.ENOTDIR: NO_PATH,
    errno.EROFS: "The media is write protected.",
    errno.ETXTBSY: SHARED,
}


def failed(what: str, error: OSError) -> CommandError:
    """Make the error of error_setg_win32(): what failed, and why in Windows' words.

    UNVERIFIED: what Windows says where it has no such error; the kernel's words stand in.
    """
    return CommandError(f"{what}: {_TEXTS.get(error.errno or 0, error.strerror)}")


def is_unicode(text: str) -> bool:
    """Return whether *text* can be written in UTF-16: U+0000 cannot, as QEMU has it (C0 80)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
