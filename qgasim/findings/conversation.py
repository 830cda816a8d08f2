"""Findings about the conversation: replies taken for others, and how often a client asks."""

from collections.abc import Iterator
from typing import Final

from qgasim.faults.connection import HalfClose
from qgasim.faults.stream import Duplicate, Garbage, Reorder
from qgasim.faults.timing import Late
from qgasim.findings.evidence import IMPATIENCE, Evidence, Request, show
from qgasim.findings.kinds import finding
from qgasim.guest.units import SECOND
from qgasim.simulation.journal import Note
from qgasim.wire import encode

__all__: list[str] = []

#: Commands that a client must repeat to get on.
REPEATED: Final = ("guest-file-read", "guest-file-write")


@finding(
    remedy="After each time-out, and first on each new connection, send the byte 0xFF and "
    "guest-sync-delimited with a random id, and drop all that comes before 0xFF and that id."
)
def no_sync_after_timeout(evidence: Evidence) -> Iterator[str]:
    """A client went on after a reply that it had not got, without synchronising.

    The reply may still come, and is then taken for the answer to the next request; on a channel of
    QEMU's it even goes to the next client. QEMU's reference asks for guest-sync-delimited on each
    new connection and after each time-out. A request that follows the one before within 100 ms
    counts as sent together with it, not as sent after a time-out.
    """
    for request in evidence.requests:
        if request.debt and not request.is_sync:
            yield f"{request}\n{_because(request)}"


@finding(
    remedy="Send the byte 0xFF right before the first guest-sync or guest-sync-delimited of each "
    "connection."
)
def sync_without_sentinel(evidence: Evidence) -> Iterator[str]:
    """A client synchronised on a channel with leftovers, without the byte 0xFF before.

    An earlier client may have left half a request in the agent, which then takes the request to
    synchronise for the rest of it. Only 0xFF, which is in no JSON, ends it for certain.
    """
    for request in evidence.requests:
        if request.is_inherited and request.is_sync and not request.has_sentinel:
            yield f"{request}\n{_because(request)}"


def _because(request: Request) -> str:
    what = request.debt if not request.is_inherited else f"the client found: {request.debt}"
    return what.replace("\n", "\n  ")


@finding(
    remedy="Read each reply to its end, or until your time-out, before you close the connection."
)
def reply_not_read(evidence: Evidence) -> Iterator[str]:
    """A client left before it had read a reply.

    It does not know what came of its request. An agent that listens on its own socket ends when its
    client leaves something unread; on a channel of QEMU's, the reply can go to the next client. What
    a fault sent besides the replies or in another order need not be read, nor what came after a fault
    had hung up on the client. A client that may have waited for 100 ms has run into a time-out, which is
    no finding: also where it waited to be served.
    """
    # Of all exchanges: a fault may have fired at a byte 0xFF, which is no request.
    excused = {
        exchange.connection
        for exchange in evidence.exchanges
        if any(
            isinstance(f, Duplicate | Garbage | HalfClose | Late | Reorder) for f in exchange.fired
        )
    }
    asked: dict[int, Request] = {}
    for step in evidence.steps:
        if isinstance(step, Request):
            if step.exchange is not None:
                asked[step.connection] = step
            continue
        if step.kind != "disconnect" or step.connection not in asked:
            continue
        request = asked.pop(step.connection)
        if step.connection not in excused and _is_left(request, step):
            yield f"{request}\n{step}"


def _is_left(request: Request, end: Note) -> bool:
    """Return whether a client has certainly left the reply to its last request without waiting for it."""
    exchange = request.exchange
    assert exchange is not None
    if exchange.replied is not None:
        return "unread bytes" in end.marks and exchange.replied - request.waiting_since < IMPATIENCE
    is_at_once = end.at > exchange.sent and end.at - request.waiting_since < IMPATIENCE
    return bool(exchange.reply) and not exchange.fired and is_at_once


@finding(
    remedy="Wait between two looks, longer each time: 100 ms, 200 ms, and so on up to a few seconds."
)
def polling_too_fast(evidence: Evidence) -> Iterator[str]:
    """A client asked the same again and again, more than 20 times in a second.

    The agent is one thread: a client that polls it without a pause takes a processor of the guest, and
    keeps it from the work that is waited for. Transfers of files are left out, and so is what comes
    while the guest's time stands still.
    """
    times: dict[str, list[Request]] = {}
    for request in evidence.requests:
        if request.command is not None and request.command not in REPEATED:
            key = f"{request.command} {encode(request.arguments)}"
            known = times.setdefault(key, [])
            if not known or known[-1].sent != request.sent:
                known.append(request)
    limit = evidence.polls_per_second
    for polls in times.values():
        most, start = 0, 0
        for end, poll in enumerate(polls):
            while poll.sent - polls[start].sent >= SECOND:
                start += 1
            most = max(most, end + 1 - start)
        if most > limit:
            yield f"{polls[0]}\n  {most} times in a second, {len(polls)} times in all"


@finding(
    remedy="Ask guest-info once after the start of the agent, and use what it lists as enabled."
)
def unknown_command(evidence: Evidence) -> Iterator[str]:
    """A client used a command that the agent does not have, without having asked guest-info.

    Releases differ in their commands, and administrators and distributions switch some off; guest-info
    tells. An error after that is the client's answer to a question that it should have asked first.
    """
    has_asked = False
    for exchange in evidence.exchanges:
        reply = exchange.decode_reply()
        if reply is None or exchange.fired:
            continue
        if exchange.command == "guest-info" and "return" in reply:
            has_asked = True
        is_unknown = b'"class": "CommandNotFound"' in exchange.reply and "error" in reply
        is_frozen = (
            exchange.was_frozen
            and exchange.command in evidence.journal.simulation.agent.commands.table
        )
        if is_unknown and not has_asked and not is_frozen:
            yield show(exchange)
