"""What clients did, as the findings look at it: each request, and in what state it met the channel.

It is made from a journal on demand: executed requests, and those that no agent has read.
"""

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct, field

from qgasim.errors import CommandError
from qgasim.faults.stream import Reorder
from qgasim.qapi.envelope import read_request
from qgasim.simulation.channel import VirtioSerial
from qgasim.simulation.journal import Exchange, Journal, MonitorExchange, Note, show_time
from qgasim.wire import MessageReader

__all__ = ["IMPATIENCE", "Evidence", "Request", "show"]

#: What follows sooner was sent together with the request before, and what leaves sooner has not
#: waited for its reply; what comes later has run into a time-out (ns).
IMPATIENCE: Final = 100_000_000
#: Commands that are shown without their arguments.
SECRET: Final = ("guest-exec", "guest-set-user-password")
SYNC: Final = ("guest-sync", "guest-sync-delimited")


class Request(Struct, kw_only=True):
    """A request as a client sent it."""

    connection: int
    sent: int
    command: str | None
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    #: Since when the client may have waited: *sent*, or earlier where it could not be read at once.
    waiting_since: int = 0
    #: When its whole reply had gone to the client; None if it has not.
    answered: int | None = None
    #: Whether nothing is ever answered to it.
    is_silent: bool = False
    #: Whether the byte 0xFF came right before it.
    has_sentinel: bool = False
    #: Why the client could not know what the next thing that it reads is an answer to; empty: it
    #: could.
    debt: str = ""
    #: Whether the debt is an earlier client's.
    is_inherited: bool = False
    #: None if no agent has read it.
    exchange: Exchange | None = None

    @property
    def is_sync(self) -> bool:
        """Return whether it synchronises."""
        return self.command in SYNC

    @property
    def has_waited(self) -> bool:
        """Return whether its reply had to wait, or was not received."""
        exchange = self.exchange
        if exchange is None or not exchange.reply:
            return False
        return exchange.replied is None or exchange.replied > exchange.at

    def is_owed_at(self, time: int) -> bool:
        """Return whether its reply was still to come then."""
        return not self.is_silent and (self.answered is None or self.answered > time)

    def __str__(self) -> str:
        """Return its line, as in a transcript."""
        if self.exchange is not None:
            return show(self.exchange)
        return f"{show_time(self.sent)} #{self.connection} {self.command} → (not read)"


class Evidence:
    """All that clients did with one guest."""

    def __init__(self, journal: Journal, polls_per_second: int) -> None:
        self.journal = journal
        self.polls_per_second = polls_per_second
        #: Requests, and what happened between them, in the order of their sending.
        self.steps: list[Request | Note] = []
        for entry in journal.entries:
            if isinstance(entry, Note):
                self.steps.append(entry)
                self.steps += _read(entry.connection, entry.at, entry.data, MessageReader())
            elif not isinstance(entry, MonitorExchange):
                self.steps.append(_tell(entry))
        reader = MessageReader()
        for waiting in journal.waiting:
            self.steps += _read(waiting.connection, waiting.sent, waiting.data, reader)
        self.steps.sort(key=_order)
        self._skip_sentinels()
        self._work_out_waiting()
        self._work_out_debts()

    @property
    def requests(self) -> list[Request]:
        """All requests, read or not."""
        return [step for step in self.steps if isinstance(step, Request)]

    @property
    def exchanges(self) -> list[Exchange]:
        """The requests that an agent has read."""
        return self.journal.exchanges

    def _skip_sentinels(self) -> None:
        """Take away what only ends half a request, and mark what it stands before."""
        steps: list[Request | Note] = []
        marked = -1
        for step in self.steps:
            if isinstance(step, Request):
                if step.command is None and step.has_sentinel:
                    marked = step.connection
                    continue
                step.has_sentinel = step.connection == marked
                marked = -1
            steps.append(step)
        self.steps = steps

    def _work_out_waiting(self) -> None:
        """Find since when clients may have waited for their requests to be read.

        A request is noted when it is read. That may be long after it was sent: a client is not read from
        while another one is connected, or while its own latest reply has to wait.
        """
        # When it was last not free to read, and since when; None: until the next step.
        taken, came = 0, 0
        free: int | None = -IMPATIENCE
        for step in self.steps:
            at = step.sent if isinstance(step, Request) else step.at
            is_late = free is None or at - free < IMPATIENCE
            since = taken if is_late else at
            if isinstance(step, Request):
                step.waiting_since = since
                if step.exchange is not None and step.has_waited:
                    taken, free = since, step.exchange.replied
                else:
                    free = at if free is None else free
            elif step.kind == "disconnect":
                taken, free = came, at
            else:
                came = since if step.kind == "connect" else came
                free = at if free is None else free

    def _work_out_debts(self) -> None:
        """Find the requests before which a client should have synchronised.

        The channel between host and guest outlives a client only if it is one of QEMU's; on the
        agent's own socket, each client begins anew.
        """
        outlives = isinstance(self.journal.simulation.channel, VirtioSerial)
        owed: Request | None = None
        inherited = ""
        latest: dict[int, Request] = {}
        for step in self.steps:
            if isinstance(step, Note):
                if step.kind == "connect":
                    inherited = ", ".join(step.marks) if outlives else ""
                    if not outlives:
                        owed = None
                    elif owed is not None and owed.is_owed_at(step.at):
                        inherited = "no reply had come to an earlier client"
                elif step.kind == "disconnect" and "unread bytes" in step.marks and outlives:
                    owed = latest.get(step.connection)
                    if owed is not None:
                        owed.answered = None
                continue
            latest[step.connection] = step
            if inherited:
                step.debt, step.is_inherited = inherited, True
                inherited = ""
                owed = None
            elif (
                owed is not None
                and owed.connection == step.connection
                and owed.is_owed_at(step.sent)
                and step.sent - owed.sent >= IMPATIENCE
            ):
                step.debt = f"no reply had come to\n{owed}"
                owed = None
            if step.is_sync or owed is None or not owed.is_owed_at(step.sent):
                owed = step


def show(exchange: Exchange) -> str:
    """Return the line of an exchange, without arguments that may be secret."""
    if exchange.command in SECRET:
        return f"{show_time(exchange.at)} #{exchange.connection} {exchange.command} (not shown)"
    return str(exchange)


def _order(step: Request | Note) -> tuple[int, int, int]:
    """Return what sorts steps; at the same moment, by the client that came first, and from coming to leaving."""
    if isinstance(step, Request):
        return step.sent, step.connection, 1
    return step.at, step.connection, {"connect": 0, "disconnect": 2}.get(step.kind, 1)


def _tell(exchange: Exchange) -> Request:
    answered = exchange.replied if _is_whole(exchange) else None
    if any(isinstance(fault, Reorder) for fault in exchange.fired):
        # It was put aside until all that came with it was answered.
        answered = exchange.at
    return Request(
        connection=exchange.connection,
        sent=exchange.sent,
        command=exchange.command,
        arguments=exchange.arguments,
        answered=answered,
        is_silent=exchange.is_silent,
        has_sentinel=isinstance(exchange.request, bytes) and exchange.request.endswith(b"\xff"),
        exchange=exchange,
    )


def _is_whole(exchange: Exchange) -> bool:
    is_cut = exchange.reply_length > len(exchange.reply)
    return is_cut or exchange.reply.endswith(b"\n") or exchange.decode_reply() is not None


def _read(connection: int, sent: int, data: bytes, reader: MessageReader) -> Iterator[Request]:
    """Read what no agent has read."""
    for message in reader.feed(data):
        request = Request(connection=connection, sent=sent, command=None)
        if isinstance(message, CommandError):
            request.has_sentinel = message.text.endswith(b"\xff")
        else:
            request.command, request.arguments = read_request(message)
        yield request
