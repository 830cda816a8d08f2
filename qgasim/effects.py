"""What an agent does to its client: the closed vocabulary `bytes | Wait | Close`.

A driver knows these three and nothing else. Plain bytes are to be sent; a memory-poor driver may
join those that follow each other.
"""

from typing import Final, Literal, TypeAlias

from msgspec import Struct

__all__ = ["FOR_EVER", "Close", "Effect", "Wait"]

#: An uptime that does not come.
FOR_EVER: Final = 1 << 62


class Wait(Struct, frozen=True):
    """Send nothing more until the guest's uptime is *until* (ns)."""

    until: int


class Close(Struct, frozen=True):
    """Hang up: in good order, by a reset, or only for sending."""

    how: Literal["end", "reset", "half"] = "end"


Effect: TypeAlias = bytes | Wait | Close
