"""A line of a recorded conversation: what a client did, and what came back.

The format is that of `tests/golden`: a line of JSON for each step, after a first line with ``meta``. Bytes
are written as Latin-1: the character U+00xx is the byte xx.
"""

from typing import Final, TypeAlias

from msgspec import Struct

__all__ = ["SIZE_LIMIT", "Packed", "Repeat", "Step", "pack", "unpack"]

#: How many bytes one step may send or receive: a request of 64 MiB, and what surrounds it.
SIZE_LIMIT: Final = 80 << 20


class Repeat(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a long text: a unit, and how often it is repeated."""

    repeat: tuple[str, int]


#: Bytes as a line has them: one text, or parts to be joined.
Packed: TypeAlias = str | list[str | Repeat]


class Step(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A step of a conversation.

    With an *action* it is what one client did (``connect``, ``send``, ``read``, ``close``) or what else
    happened. Without one it is a whole exchange: what was sent, and what came until nothing more did.
    """

    #: Seconds since the recording began.
    at: float | None = None
    #: Which conversation of the file the step belongs to.
    case: str = ""
    #: The number of the step within its case.
    step: int = 0
    #: Which socket it was: the agent's, or a monitor's (``qmp``).
    to: str = "agent"
    #: The client's number, from 1; absent: there is only one.
    conn: int | None = None
    #: What was done; empty: this is an exchange.
    action: str = ""
    #: What the operating system said to the action.
    result: str | None = None
    #: The bytes that the client sent.
    send: Packed = ""
    #: The bytes that came back.
    recv: Packed = ""
    #: How the connection ended: ``EOF``, or an error.
    end: str | None = None
    #: How long nothing more came before the next step (ms).
    quiet_ms: int | None = None
    #: The time from sending to the last byte received (ms).
    elapsed_ms: float | None = None
    #: How long the client waited before it sent (ms).
    pause_before_ms: int = 0
    #: The events of QEMU's monitor meanwhile.
    qmp_events: list[str] = []
    #: Names for numbers in the reply (handles, pids).
    bind: dict[str, int] = {}
    #: The numbers in the request that earlier replies have named.
    uses: dict[str, int] = {}
    #: How many newlines the agent had been sent since its start.
    lines_before: int | None = None
    #: Whether this is the resynchronisation after a case.
    resync: bool = False
    note: str = ""

    @property
    def sent(self) -> bytes:
        """The bytes that the client sent."""
        return unpack(self.send)

    @property
    def received(self) -> bytes:
        """The bytes that came back."""
        return unpack(self.recv)


def unpack(packed: Packed) -> bytes:
    """Return the bytes that a recording's text stands for.

    Raises:
        ValueError: a character is no byte, or they are too many.
    """
    parts = [packed] if isinstance(packed, str) else packed
    size = sum(
        len(part) if isinstance(part, str) else len(part.repeat[0]) * part.repeat[1]
        for part in parts
    )
    if size > SIZE_LIMIT:
        raise ValueError(f"more than {SIZE_LIMIT >> 20} MiB in a step")
    text = "".join(
        part if isinstance(part, str) else part.repeat[0] * part.repeat[1] for part in parts
    )
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[error.start]!r} is not a byte (U+0000 to U+00FF)") from None


def pack(data: bytes) -> str:
    """Return the text that stands for *data* in a recording."""
    return data.decode("latin-1")
