"""The requests of a recording, each with the reply that it got."""

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from qgasim.agent.state import make_reader
from qgasim.conversation.pairing import SYNCHRONISING, Pairing
from qgasim.conversation.reading import Conversation
from qgasim.conversation.steps import Step
from qgasim.dialect import Dialect
from qgasim.errors import CommandError
from qgasim.qapi.envelope import read_request, show_id
from qgasim.qapi.registry import Table
from qgasim.wire import Message, encode

__all__ = ["Recorded", "form_of", "key_of", "recorded_exchanges"]

#: A text as QEMU writes one, and what follows it if it is a member's name.
_VALUE: Final = re.compile(r'"(?:[^"\\]|\\.)*+"(: )?')
#: What of a request matters: its command and its arguments as text; or what it is instead.
Key = tuple[str, str]


class Recorded(Struct):
    """A request that was recorded, and its reply."""

    #: The file and the line of the request.
    place: str
    request: Message
    #: When it was sent, in seconds; None: the recording has no times.
    sent: float | None = None
    #: All that came, without the member ``id``; empty: nothing.
    reply: bytes = b""
    #: How long the reply took, in seconds.
    delay: float = 0.0
    #: How the connection ended after it; None: it did not.
    end: str | None = None

    @property
    def key(self) -> Key:
        """What of the request matters."""
        return key_of(self.request, {})


def key_of(request: Message, numbers: dict[str, int]) -> Key:
    """Return what of a request matters: not its ``id``, nor the number of a synchronisation.

    *numbers* stand in place of arguments of these names.
    """
    if isinstance(request, CommandError):
        return ("", f"{request.text!r} {request}")
    command, arguments = read_request(request)
    if command is None:
        return ("", encode(request))
    if command in SYNCHRONISING and type(arguments.get("id")) is int:
        arguments = {**arguments, "id": None}
    return (command, encode(dict(sorted({**arguments, **numbers}.items()))))


def form_of(key: Key) -> Key:
    """Return a key in which all texts of the arguments are the same: their names and numbers matter."""
    command, text = key
    return (command, _VALUE.sub(lambda m: m[0] if m[1] else "*", text)) if command else key


def recorded_exchanges(
    conversation: Conversation, dialect: Dialect, table: Table
) -> list[Recorded]:
    """Return the requests to the agent in order, with their replies.

    Args:
        conversation: the recording.
        dialect: how the recorded agent reads requests.
        table: the commands that it has.
    """
    return list(_Pairer(conversation, dialect, table).pair())


class _Pairer:
    """Goes through a recording step by step."""

    def __init__(self, conversation: Conversation, dialect: Dialect, table: Table) -> None:
        self._conversation = conversation
        self._dialect = dialect
        self._reader = make_reader(dialect)
        self._pairing: Pairing[Recorded] = Pairing(table, dialect)
        self._found: list[Recorded] = []
        self._line = bytearray()
        self._last: Recorded | None = None

    def pair(self) -> Iterator[Recorded]:
        """Yield all requests."""
        case: str | None = None
        for index, step in enumerate(self._conversation.steps):
            if step.to != "agent" or step.resync:
                continue
            if step.case != case:
                # Each began with a synchronised agent.
                case = step.case
                self._reader = make_reader(self._dialect)
                self._lose()
            self._send(step, self._conversation.place_of(index))
            self._receive(step)
        for recorded in self._found:
            shown = show_id(recorded.request, self._dialect)
            recorded.reply = _without_id(recorded.reply, shown.encode("ascii"))
            yield recorded

    def _send(self, step: Step, place: str) -> None:
        for message in self._reader.feed(step.sent):
            recorded = Recorded(place, message, step.at)
            self._found.append(recorded)
            self._pairing.add(message, recorded)

    def _receive(self, step: Step) -> None:
        self._line += step.received
        while end := self._line.find(b"\n") + 1:
            self._take(bytes(self._line[:end]), step)
            del self._line[:end]
        if step.end is not None or step.action == "close":
            if self._line:
                self._take(bytes(self._line), step)
            if step.end is not None:
                waiting = self._pairing.take_all()
                last = waiting[0] if waiting else self._last
                if last is not None:
                    last.end = step.end
            self._lose()

    def _take(self, line: bytes, step: Step) -> None:
        """Take a line that came; one that belongs to no request came after the reply before."""
        _, recorded = self._pairing.take(line)
        recorded = recorded or self._last
        if recorded is None:
            return
        self._last = recorded
        recorded.reply += line
        if step.at is not None and recorded.sent is not None:
            recorded.delay = max(step.at - recorded.sent, 0.0)
        elif step.elapsed_ms is not None:
            recorded.delay = step.elapsed_ms / 1000

    def _lose(self) -> None:
        self._pairing.take_all()
        self._line.clear()
        self._last = None


def _without_id(reply: bytes, shown: bytes) -> bytes:
    """Return a reply without its member ``id``, which is written *shown*."""
    if not shown:
        return reply
    if reply.endswith(b", " + shown + b"}\n"):
        return reply.removesuffix(b", " + shown + b"}\n") + b"}\n"
    return re.sub(rb"^\{" + re.escape(shown) + rb", ", b"{", reply)
