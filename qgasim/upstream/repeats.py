"""Requests that were asked before: what can follow them is known, so they are passed on without the queues."""

from collections.abc import Sequence
from typing import Final

from qgasim.conversation.pairing import SYNCHRONISING, is_answered
from qgasim.qapi.registry import Table
from qgasim.upstream.disturbing import OF_FREEZE
from qgasim.upstream.replies import Request

__all__ = ["Repeats", "is_simple_reply"]

#: How many requests, and how long ones, are remembered.
COUNT: Final = 512
SIZE: Final = 256


class Repeats(dict[bytes, tuple[Request]]):
    """Lines that were answered at once, each with the one request that it is.

    Args:
        table: the agent's commands.
    """

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table

    def note(self, data: bytes, requests: Sequence[Request]) -> None:
        """Remember *data*, which stood between two messages, if any line that follows it is its reply."""
        if len(data) > SIZE or len(requests) != 1:
            return
        message = requests[0].message
        name = message.get("execute") if type(message) is dict and "id" not in message else None
        if type(name) is not str or name.startswith(OF_FREEZE) or name in SYNCHRONISING:
            return
        if is_answered(message, self._table):
            if len(self) >= COUNT:
                self.clear()
            self[data] = (Request(message, requests[0].sender),)


def is_simple_reply(data: bytes) -> bool:
    """Return whether *data* is one line, and not one by which a client finds its place."""
    return data.find(b"\n") + 1 == len(data) > 0 and data[0] != 0xFF
