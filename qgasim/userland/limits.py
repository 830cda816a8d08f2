"""Numbers and sizes that a client chooses: as large as C's, and no larger than the memory of a program."""

import re
import signal
from typing import Final

from qgasim.guest.processes.process import MEMORY_LIMIT, Killed

__all__ = ["MAX_INT", "check_formats", "check_size", "to_int"]

MAX_INT: Final = (1 << 63) - 1
#: Numbers of more digits are larger than what 64 bits hold.
_DIGITS: Final = 19
_WIDTH: Final = re.compile(r"[0-9]{5,}")


def to_int(digits: str | bytes, base: int = 10) -> int:
    """Return the number that *digits* are; the largest of 64 bits if it is larger, as strtoimax(3) does."""
    digits = digits.lstrip("0") if isinstance(digits, str) else digits.lstrip(b"0")
    if len(digits) > 64 or (base == 10 and len(digits) > _DIGITS):
        return MAX_INT
    return min(int(digits or "0", base), MAX_INT)


def check_size(size: int) -> None:
    """End the program as one that has no more memory, if it is about to make *size* bytes at once."""
    if size > MEMORY_LIMIT:
        raise Killed(signal.SIGKILL)


def check_formats(form: str, times: int = 1) -> None:
    """Do as `check_size` for what the widths in a format make, used so many *times*."""
    check_size(times * sum(to_int(found[0]) for found in _WIDTH.finditer(form)))
