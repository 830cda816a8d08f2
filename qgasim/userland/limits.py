"""Numbers and sizes that a client chooses: as large as C's, and no larger than the memory of a program."""

import re
import signal
from typing import Final

from qgasim.guest.processes.process import MEMORY_LIMIT, Killed

__all__ = ["MAX_INT", "check_formats", "check_size", "to_float", "to_int"]

MAX_INT: Final = (1 << 63) - 1
#: Numbers of more digits are larger than what 64 bits hold.
_DIGITS: Final = 19
_WIDTH: Final = re.compile(r"[0-9]{5,}")


_FLOAT: Final = re.compile(
    rb"\s*+(?:(?![-+]?0x[0-9a-f.])([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|[-+]?(?:inf(?:inity)?|nan))"
    rb"|([-+]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[-+]?\d+)?))",
    re.IGNORECASE,
)


def to_float(text: bytes) -> tuple[float, int]:
    """Return the number that *text* begins with, as strtod(3) reads it, and where it ends; 0: there is none."""
    found = _FLOAT.match(text)
    if found is None:
        return 0.0, 0
    if found[1]:
        return float(found[1]), found.end()
    try:
        return float.fromhex(found[2].decode()), found.end()
    except OverflowError:
        return float("inf"), found.end()


def to_int(digits: str | bytes) -> int:
    """Return the number that *digits* are; the largest of 64 bits if it is larger, as strtoimax(3) does."""
    digits = digits.lstrip("0") if isinstance(digits, str) else digits.lstrip(b"0")
    return MAX_INT if len(digits) > _DIGITS else min(int(digits or "0"), MAX_INT)


def check_size(size: int) -> None:
    """End the program as one that has no more memory, if it is about to make *size* bytes at once."""
    if size > MEMORY_LIMIT:
        raise Killed(signal.SIGKILL)


def check_formats(form: str) -> None:
    """Do as `check_size` for what the widths in a format make."""
    check_size(sum(to_int(found[0]) for found in _WIDTH.finditer(form)))
