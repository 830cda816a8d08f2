"""Lines for people: what transcripts and the live log show of entries.

A line consists of pieces, each with a role: a terminal shows that as a colour, and shortens what is long
until the line fits.
"""

from collections.abc import Iterable
from typing import Final, TypeGuard
from unicodedata import east_asian_width

from msgspec import Struct

from qgasim.simulation.journal.entries import (
    NOTICEABLE,
    SHOWN,
    Entry,
    Exchange,
    Note,
    Piece,
    Role,
    show_time,
)

__all__ = ["Folding", "Line", "Reply", "join", "paint"]

#: What says that bytes before it are no request.
_SENTINEL: Final = b"\xff"
#: What gives way on a line that is too long, in this order, and how much of it stays.
_ELASTIC: Final[tuple[tuple[Role, int], ...]] = (("reply", 24), ("error", 48), ("arguments", 16))
_COLOURS: Final[dict[Role, str]] = {
    "time": "2",
    "command": "1",
    "arrow": "2",
    "error": "31",
    "fault": "33",
    "delay": "33",
    "effect": "32",
    "event": "34",
}
#: Colours of clients, one after the other.
_CLIENT_COLOURS: Final = ("36", "35", "32", "34", "33")


class Handshake(Struct):
    """The byte 0xFF, which ends half a request, and the synchronisation behind it: one line for the two."""

    synchronisation: Exchange

    def pieces(self, shown: int = SHOWN) -> list[Piece]:
        """Return its line, in pieces."""
        exchange = self.synchronisation
        pieces = exchange.pieces(shown)[:2]
        number = exchange.arguments.get("id")
        return [
            *pieces,
            ("command", "synchronises"),
            ("arguments", f" ({exchange.command} {number})"),
            *exchange.sent_pieces(),
        ]


class Reply(Struct):
    """A reply that had to wait, when it goes."""

    at: int
    exchange: Exchange

    def pieces(self, shown: int = SHOWN) -> list[Piece]:
        """Return its line, in pieces."""
        exchange = self.exchange
        return [
            ("time", f"{show_time(self.at)} "),
            ("client", f"#{exchange.connection} "),
            ("command", exchange.command or "(no command)"),
            *exchange.reply_pieces(shown),
        ]


class Line(Struct):
    """What one line shows."""

    what: Exchange | Note | Handshake | Reply
    #: How many entries it stands for.
    entries: int = 1
    #: Whether its reply waits, and is shown when it goes.
    is_waiting: bool = False

    def __str__(self) -> str:
        """Return it as plain text."""
        return join(self.pieces())

    def pieces(self, shown: int = SHOWN) -> list[Piece]:
        """Return what it consists of, with so much of a request and a reply as *shown* says."""
        if isinstance(self.what, Exchange):
            return self.what.pieces(shown, is_waiting=self.is_waiting)
        return self.what.pieces(shown)


class Folding:
    """Makes lines of entries as they come: a handshake is one line."""

    def __init__(self) -> None:
        self._kept: Exchange | None = None

    def feed(self, entry: Entry) -> list[Line]:
        """Take an entry; return the lines that can be shown now."""
        kept, self._kept = self._kept, None
        if kept is not None and _is_synchronisation(entry, kept):
            return [Line(Handshake(entry), 2)]
        lines = [] if kept is None else [Line(kept)]
        if type(entry) is Exchange and entry.request == _SENTINEL and _is_ordinary(entry):
            self._kept = entry
            return lines
        return [*lines, Line(entry)]

    def flush(self) -> list[Line]:
        """Return what was kept for what did not come."""
        kept, self._kept = self._kept, None
        return [] if kept is None else [Line(kept)]


def _is_ordinary(exchange: Exchange) -> bool:
    """Return whether it was answered when it was read, as it was asked."""
    return not exchange.fired and exchange.at == exchange.replied


def _is_synchronisation(entry: Entry, kept: Exchange) -> TypeGuard[Exchange]:
    return (
        isinstance(entry, Exchange)
        and entry.command in ("guest-sync-delimited", "guest-sync")
        and entry.connection == kept.connection
        and entry.sent - kept.sent < NOTICEABLE
        and _is_ordinary(entry)
        and entry.error is None
    )


def join(pieces: Iterable[Piece]) -> str:
    """Return pieces as plain text."""
    return "".join(text for _, text in pieces)


def paint(pieces: list[Piece], width: int | None = None, *, in_colour: bool) -> str:
    """Return pieces as a terminal shows them.

    Args:
        pieces: of a line.
        width: how many columns there are; None: as many as it takes.
        in_colour: whether roles are shown as colours.
    """
    if width is not None:
        pieces = _fit(pieces, width)
    if not in_colour:
        return join(pieces)
    return "".join(_paint_piece(role, text) for role, text in pieces)


def _paint_piece(role: Role, text: str) -> str:
    colour = _COLOURS.get(role)
    if role == "client":
        number = int("0" + "".join(filter(str.isdecimal, text)))
        colour = _CLIENT_COLOURS[(number - 1) % len(_CLIENT_COLOURS)]
    return text if colour is None else f"\x1b[{colour}m{text}\x1b[0m"


def _fit(pieces: list[Piece], width: int) -> list[Piece]:
    """Shorten what is long, until all is not longer than *width*."""
    fitted = list(pieces)
    excess = sum(_columns(text) for _, text in pieces) - width
    for elastic, least in _ELASTIC:
        for number, (role, text) in enumerate(fitted):
            if excess <= 0:
                return fitted
            columns = _columns(text)
            if role == elastic and columns > least:
                shorter = _shorten(text, max(columns - excess, least))
                fitted[number] = role, shorter
                excess -= columns - _columns(shorter)
    return _end_at(fitted, width) if excess > 0 else fitted


def _end_at(pieces: list[Piece], width: int) -> list[Piece]:
    """Let the line end at *width*."""
    ended: list[Piece] = []
    for role, text in pieces:
        columns = _columns(text)
        if columns > width:
            return [*ended, (role, _shorten(text, width))]
        ended.append((role, text))
        width -= columns
    return ended


def _shorten(text: str, columns: int) -> str:
    """Return the beginning of *text*, and an ellipsis, in so many columns."""
    left = columns - 1
    for number, character in enumerate(text):
        left -= _columns(character)
        if left < 0:
            return f"{text[:number]}…" if columns > 0 else ""
    return text


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
