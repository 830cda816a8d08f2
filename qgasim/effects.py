"""What an agent does to its client: the closed vocabulary `bytes | Wait | Close`.

A driver knows these three and nothing else. Plain bytes are to be sent; a memory-poor driver may
join those that follow each other.
"""

from typing import TypeAlias

from msgspec import Struct

__all__ = ["Close", "Effect", "Wait"]


class Wait(Struct, frozen=True):
    """Send nothing more until the guest's uptime is *until* (ns)."""

    until: int


class Close(Struct, frozen=True):
    """Hang up."""


Effect: TypeAlias = bytes | Wait | Close
