"""What an agent does to its client: the closed vocabulary `bytes | Wait | Close`.

A driver knows these three and nothing else. Plain bytes are to be sent; those that follow each
other may be joined.
"""

from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["Close", "Effect", "Wait"]


class Wait(Struct, frozen=True):
    """Send nothing more until the guest's uptime is *until* (ns)."""

    until: int


class Close(Struct, frozen=True):
    """Hang up: in good order, by a reset, or only for sending."""

    how: Literal["end", "reset", "half"] = "end"


Effect: TypeAlias = bytes | Wait | Close
