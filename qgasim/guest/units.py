"""Quantities: plain integers whose unit a scenario may write out."""

from typing import Annotated, Final

__all__ = ["DAY", "FOR_EVER", "SECOND", "Duration", "Errno", "Size", "Time", "wrap"]

SECOND: Final = 1_000_000_000
"""A second, in ns."""
DAY: Final = 86_400 * SECOND
FOR_EVER: Final = 1 << 62
"""Longer than any client waits, in ns; as an uptime, one that is never reached."""

Size = Annotated[int, "size"]
"""Bytes; a scenario may write ``16MiB``."""
Duration = Annotated[int, "duration"]
"""Nanoseconds; a scenario writes ``250ms``, ``1h`` or a number of seconds."""
Time = Annotated[int, "time"]
"""Nanoseconds since 1970; a scenario writes RFC 3339 or a number of seconds."""
Errno = Annotated[int, "errno"]
"""An error of the kernel; a scenario writes ``EIO`` or its number."""


def wrap(value: int) -> int:
    """Return what a counter of 64 bits shows that has counted to *value*."""
    return value & (1 << 64) - 1
