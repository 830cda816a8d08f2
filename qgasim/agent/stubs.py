"""Stubs: replies that stand in front of the virtual guest.

A request that the release would refuse (unknown, disabled, wrong arguments) is refused as ever; of
the others, the first stub that matches and has something left to say answers.
"""

from typing import Any

from msgspec import UNSET, Struct, field

from qgasim.errors import CommandError
from qgasim.matching import Match, compile_match
from qgasim.qapi.envelope import write_return
from qgasim.qapi.registry import Entry
from qgasim.wire import encode

__all__ = ["ArmedStub", "ErrorReply", "Reply", "Stub", "write_stubbed"]


class ErrorReply(Struct, kw_only=True, frozen=True):
    """An error, as an agent words it."""

    #: The error's class; agents of today know GenericError and CommandNotFound.
    error_class: str = field(default="GenericError", name="class")
    #: The error's text.
    desc: str

    def to_raise(self) -> CommandError:
        """Make what the agent raises."""
        error = CommandError(self.desc)
        error.error_class = self.error_class
        return error


class Reply(Struct, kw_only=True, frozen=True):
    """What is answered: one of *reply*, *error* and *raw*."""

    #: The value returned: any JSON, whatever the schema says.
    reply: Any = UNSET
    #: An error instead.
    error: ErrorReply | None = None
    #: These bytes instead, nothing added: a character from U+0000 to U+00FF is a byte. Empty: nothing
    #: is answered.
    raw: str | None = None
    #: How often; absent: in a list once, but its last entry (and a stub without a list) for ever.
    times: int | None = None


class Stub(Reply, kw_only=True, frozen=True):
    """What is answered to certain requests, without asking the guest."""

    #: A command (``*`` and ``?`` are wildcards), or a command with patterns of its arguments.
    on: str | Match
    #: Several answers, used in turn.
    in_turn: tuple[Reply, ...] = ()
    #: Whether the command is one that the release does not have, or not on this kind of guest: it is
    #: there then, takes any arguments, and is not found where no stub answers.
    adds: bool = False


class ArmedStub:
    """A stub as one agent has it: it counts.

    *number* tells it from all others that the agent has, or had.
    """

    def __init__(self, stub: Stub, number: int) -> None:
        self.stub = stub
        self.number = number
        self.matches_command, self.matches_arguments = compile_match(stub.on)
        self._left = list(stub.in_turn or (stub,))
        self._used = 0
        #: How often it has answered.
        self.answered = 0

    def answer(self, arguments: dict[str, Any]) -> Reply | None:
        """Return the next answer; None if the arguments do not match or nothing is left."""
        left = self._left
        if not left or not self.matches_arguments(arguments):
            return None
        reply = left[0]
        times = reply.times if reply.times is not None or len(left) == 1 else 1
        self._used += 1
        self.answered += 1
        if times is not None and self._used >= times:
            del left[0]
            self._used = 0
        return reply


def write_stubbed(reply: Reply, entry: Entry, shown_id: str) -> bytes:
    """Write what a stub answers."""
    if reply.raw is not None:
        return reply.raw.encode("latin-1")
    if reply.error is not None:
        raise reply.error.to_raise()
    return write_return(encode(reply.reply), entry, shown_id)
