"""Faults of the connection, and of the agent's process."""

from typing import ClassVar, Literal

from qgasim.effects import Close, Effect
from qgasim.faults.base import Exchange, Fault, join_bytes
from qgasim.guest.units import Duration

__all__ = [
    "AcceptThenSilence",
    "CloseConnection",
    "Crash",
    "HalfClose",
    "KillOn",
    "Refuse",
    "Reset",
]


class _HangUp(Fault, frozen=True, kw_only=True):
    """Ends the connection: before the reply, in its middle, or after it."""

    how: ClassVar[Literal["end", "reset", "half"]] = "end"
    #: When: before the reply, in its middle, or after it.
    at: Literal["before", "middle", "after"] = "before"

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Hang up."""
        close = Close(self.how)
        if self.at == "before":
            return [close]
        if self.at == "after":
            return [*effects, close]
        reply = join_bytes(effects)
        waits: list[Effect] = [effect for effect in effects if not isinstance(effect, bytes)]
        return [*waits, reply[: len(reply) // 2], close]


class CloseConnection(_HangUp, frozen=True, kw_only=True, tag="close"):
    """The connection is closed; the command has run."""


class Reset(_HangUp, frozen=True, kw_only=True, tag="reset"):
    """The connection is reset; the command has run.

    A client of a TCP or unix socket sees ECONNRESET when it has read what was sent before; on other
    sockets this is a close. A fault that is added while a client of a unix socket is connected resets
    the connections after it.
    """

    how = "reset"


class HalfClose(_HangUp, frozen=True, kw_only=True, tag="half_close"):
    """The agent says that it will send nothing more, and goes on reading."""

    how = "half"


class Refuse(Fault, frozen=True, kw_only=True, tag="refuse"):
    """A client that connects is hung up on at once. Counts connections, whatever *on* says."""

    #: Whether the connection is there before it is hung up on; if not, the system refuses it
    #: (ECONNREFUSED), which cannot be counted.
    accepts: bool = True


class AcceptThenSilence(Fault, frozen=True, kw_only=True, tag="accept_then_silence"):
    """What a client sends is swallowed as long as it is connected. Counts connections."""


class Crash(Fault, frozen=True, kw_only=True, tag="crash"):
    """The agent dies when the command has run: no reply; handles and processes' results are gone."""

    #: After how long it is started again; absent: as ``agent.respawn`` says.
    respawn: Duration | None = None

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Die."""
        exchange.crash(self.respawn)
        return []


class KillOn(Fault, frozen=True, kw_only=True, tag="kill_on"):
    """The agent dies when it has read the request, before the command runs."""

    #: After how long it is started again; absent: as ``agent.respawn`` says.
    respawn: Duration | None = None

    def before(self, exchange: Exchange) -> bytes | None:
        """Die."""
        exchange.crash(self.respawn)
        return b""
