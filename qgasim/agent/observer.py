"""Observers: one base class for all that follows what happens to an agent and its clients.

The journal, a timeline, the live log and the stand-in's narration are observers. They are called in the
order in which they came, while the request is being served: so they note, and do their work later.
Without an observer a request costs one look at an empty list.
"""

from msgspec import Struct

from qgasim.faults import Fault
from qgasim.wire import JsonValue, Message

__all__ = ["Observer"]


class Observer:
    """Base class with a method for each thing that can happen; a subclass overrides what it needs."""

    # -- clients ---------------------------------------------------------------------------------

    def connected(self) -> None:
        """A client has come."""

    def client_waits(self) -> None:
        """Another client has connected, and is served when the present one has left.

        Only told by a server that was asked to (`Server.tells_waiting`), and once for each client that
        is served.
        """

    def disconnected(self, *, is_unread: bool) -> None:
        """The client has left; *is_unread*: it left a reply unread."""

    def queued(self, length: int) -> None:
        """This many bytes of the client have to wait until the agent reads them."""

    def swallowed(self, data: bytes) -> None:
        """The client sent *data*, which a fault keeps from the agent for good."""

    def unsent(self, *, is_cut: bool) -> None:
        """The client is not there to be answered; *is_cut*: it got a part of a reply."""

    # -- requests --------------------------------------------------------------------------------

    def executed(self, command: str, arguments: dict[str, JsonValue], result: object) -> None:
        """A command has run with success; `exchanged` follows."""

    def exchanged(self, request: Message, reply: bytes) -> None:
        """A request was read and answered; *reply* is empty if nothing is sent."""

    def reply_was(self, length: int) -> None:
        """The reply to the latest request had *length* bytes; `exchanged` got the beginning."""

    def noted(self, text: str) -> None:
        """Something else is to be said, as that the agent behind a channel has hung up."""

    def failed(self, text: str) -> None:
        """The simulator has failed, or a limit of it has ended a program, as *text* says."""

    def deferred(self) -> None:
        """The latest reply has to wait for a time in the guest."""

    def resumed(self) -> None:
        """The reply that was deferred is sent now."""

    def handle_given(self, next_handle: int) -> None:
        """A client was given a handle; the number of the next one is *next_handle*."""

    # -- the monitor of the machine --------------------------------------------------------------

    def monitored(self, monitor: int, connection: int, request: Message, reply: bytes) -> None:
        """A request of a client was read by a monitor and answered; both are counted from 1."""

    def told(self, event: str, data: dict[str, JsonValue] | None) -> None:
        """The machine has sent an event to the clients of its monitors."""

    # -- the guest -------------------------------------------------------------------------------

    def changed(self) -> None:
        """The guest or its agent may be in another state: power, process, freeze."""

    def happened(self, event: Struct) -> None:
        """An event of the timeline has happened."""

    def fault_fired(self, faults: tuple[Fault, ...]) -> None:
        """Faults fire at the client that comes, or at the request whose `exchanged` follows."""

    def fault_pinned(self, pins: tuple[Fault, ...]) -> None:
        """A fault has fired by chance, at the request whose `exchanged` follows; *pins* would do the same."""
