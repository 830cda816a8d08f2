"""Writing a recording: each step is written when it happens, so that what there is, is kept."""

from collections.abc import Callable
from typing import Any

import msgspec

from qgasim.conversation.reading import VERSION
from qgasim.conversation.steps import Step, pack

__all__ = ["ConversationWriter"]


class ConversationWriter:
    """Writes a recording, line by line.

    Args:
        write: takes a line; what it raises ends the recording.
        clock: returns seconds, from any start.
        meta: what is known of the agent.
    """

    def __init__(
        self, write: Callable[[bytes], object], clock: Callable[[], float], meta: dict[str, Any]
    ) -> None:
        self._write = write
        self._clock = clock
        self._start = clock()
        #: How many steps were written.
        self.count = 0
        write(msgspec.json.encode({"meta": {"conversation": VERSION, **meta}}) + b"\n")

    def connected(self, conn: int, *, to: str = "agent") -> None:
        """Write that a client has connected."""
        self._add(Step(to=to, conn=conn, action="connect"))

    def sent(self, conn: int, data: bytes, *, to: str = "agent") -> None:
        """Write what a client sent."""
        self._add(Step(to=to, conn=conn, action="send", send=pack(data)))

    def received(
        self, conn: int, data: bytes, *, to: str = "agent", end: str | None = None
    ) -> None:
        """Write what came back, or how (*end*) the connection was ended."""
        self._add(Step(to=to, conn=conn, action="read", recv=pack(data), end=end))

    def closed(self, conn: int, *, to: str = "agent") -> None:
        """Write that a client has left."""
        self._add(Step(to=to, conn=conn, action="close"))

    def _add(self, step: Step) -> None:
        step.at = round(self._clock() - self._start, 6)
        self.count += 1
        self._write(msgspec.json.encode(step) + b"\n")
