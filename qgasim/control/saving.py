"""A journal saved as a recorded conversation, which `qgasim replay` answers from."""

from qgasim.conversation import ConversationWriter
from qgasim.guest.units import SECOND
from qgasim.simulation.journal import Exchange, Journal, MonitorExchange, Note
from qgasim.wire import encode

__all__ = ["save_conversation"]


def save_conversation(journal: Journal) -> bytes:
    """Return what a journal has of clients of the agent, as lines of JSON.

    What was kept only in part is left out, as is what was sent and not yet read.
    """
    lines: list[bytes] = []
    now = 0.0
    agent = journal.simulation.agent
    meta = {"agent": agent.dialect.full_version, "saved": "journal"}
    writer = ConversationWriter(lines.append, lambda: now, meta)
    for entry in journal.entries:
        now = entry.at / SECOND
        if isinstance(entry, Note):
            if entry.kind == "connect":
                writer.connected(entry.connection)
            elif entry.kind == "disconnect":
                writer.closed(entry.connection)
        elif not isinstance(entry, MonitorExchange):
            _save_exchange(writer, entry)
    return b"".join(lines)


def _save_exchange(writer: ConversationWriter, exchange: Exchange) -> None:
    request = exchange.request
    is_clipped = "… (" in str(request) or exchange.reply_length > len(exchange.reply)
    if is_clipped:
        return
    raw = request if isinstance(request, bytes) else encode(request).encode("ascii")
    writer.sent(exchange.connection, raw + b"\n")
    if exchange.reply:
        writer.received(exchange.connection, exchange.reply)
