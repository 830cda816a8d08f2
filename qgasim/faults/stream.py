"""Faults in the bytes of a reply."""

from typing import Any, Final, Literal

from qgasim.effects import Effect, Wait
from qgasim.faults.base import Exchange, Fault, join_bytes, rewrite, rewrite_value
from qgasim.guest.units import SECOND, Duration, Size

__all__ = [
    "Bandwidth",
    "Bom",
    "Corrupt",
    "Crlf",
    "Duplicate",
    "ExtraSentinel",
    "Garbage",
    "InvalidUtf8",
    "MissingSentinel",
    "NoNewline",
    "Reorder",
    "Split",
    "Truncate",
    "WrongId",
]


#: After how many pieces the rest of a reply comes at once: each is more than a hundred bytes of memory.
PIECES_LIMIT: Final = 1 << 18


class Truncate(Fault, frozen=True, kw_only=True, tag="truncate"):
    """Only the beginning of the reply is sent."""

    #: How many bytes; a reply that is shorter stays whole.
    keep: Size

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Cut."""
        left = self.keep
        cut: list[Effect] = []
        for effect in effects:
            if isinstance(effect, bytes):
                if left:
                    cut.append(effect[:left])
                left -= len(effect[:left])
            else:
                cut.append(effect)
        return cut


class Split(Fault, frozen=True, kw_only=True, tag="split"):
    """The reply comes in pieces, 262,144 at most."""

    #: How many bytes each has; the last size goes for all that follow.
    sizes: tuple[int, ...] = (1,)
    #: How long it takes from piece to piece; if no time at all, they are sent one by one all the same.
    pause: Duration = 0

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Take apart."""
        now, added = exchange.now, 0
        pieces: list[Effect] = []
        number = 0
        for effect in effects:
            if isinstance(effect, Wait):
                # What was to come then comes so much later as the pieces before it took.
                now = effect.until + added
                pieces.append(Wait(now))
            elif not isinstance(effect, bytes):
                pieces.append(effect)
            else:
                at = 0
                while at < len(effect):
                    size = self.sizes[min(number, len(self.sizes) - 1)]
                    if number >= PIECES_LIMIT:
                        size = len(effect)
                    if number:
                        now += self.pause
                        added += self.pause
                        pieces.append(Wait(now))
                    pieces.append(effect[at : at + size])
                    at += size
                    number += 1
        return pieces


class Bandwidth(Fault, frozen=True, kw_only=True, tag="bandwidth"):
    """The reply comes no faster than so many bytes a second."""

    #: How many.
    bytes_per_second: Size
    #: How often a second something comes.
    ticks: int = 10

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Send a piece at each tick."""
        piece = max(1, self.bytes_per_second // self.ticks)
        pause = piece * SECOND // self.bytes_per_second
        return Split(sizes=(piece,), pause=pause).apply(exchange, effects)


class Garbage(Fault, frozen=True, kw_only=True, tag="garbage"):
    """Bytes that no request asked for. Give one of *text*, *hex* and *random*."""

    #: Before the reply, after it, or instead.
    where: Literal["before", "after", "instead"] = "before"
    #: These: a character from U+0000 to U+00FF is a byte.
    text: str = ""
    #: These, in hexadecimal.
    hex: str = ""
    #: How many random bytes.
    random: Size = 0

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Add them."""
        garbage = self.text.encode("latin-1") + bytes.fromhex(self.hex)
        garbage += exchange.random.randbytes(self.random)
        if self.where == "before":
            return [garbage, *effects]
        if self.where == "after":
            return [*effects, garbage]
        return rewrite(effects, lambda _: garbage)


class Corrupt(Fault, frozen=True, kw_only=True, tag="corrupt"):
    """Bits of the reply flip."""

    #: In the bytes at these places, the lowest bit; from the end if negative.
    at: tuple[int, ...] = ()
    #: At so many random places, a random bit.
    bits: int = 0

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Flip."""

        def flip(reply: bytes) -> bytes:
            flipped = bytearray(reply)
            for place in self.at:
                if -len(reply) <= place < len(reply):
                    flipped[place] ^= 1
            for _ in range(self.bits):
                flipped[exchange.random.randrange(len(reply))] ^= 1 << exchange.random.randrange(8)
            return bytes(flipped)

        return rewrite(effects, flip)


class Duplicate(Fault, frozen=True, kw_only=True, tag="duplicate"):
    """The reply comes twice."""

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Send it again."""
        return [*effects, join_bytes(effects)]


class Reorder(Fault, frozen=True, kw_only=True, tag="reorder"):
    """Replies to requests that came together come in the reverse order, after all others."""

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Put the reply aside."""
        exchange.reordered.append(join_bytes(effects))
        return [effect for effect in effects if not isinstance(effect, bytes)]


class _Edited(Fault, frozen=True, kw_only=True):
    """A fault that changes the reply as a whole."""

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Change it."""
        return rewrite(effects, self.change)

    def change(self, reply: bytes) -> bytes:
        """Return what becomes of *reply*."""
        raise NotImplementedError


class NoNewline(_Edited, frozen=True, kw_only=True, tag="no_newline"):
    """The newline after the reply is missing."""

    def change(self, reply: bytes) -> bytes:
        """Take it away."""
        return reply.rstrip(b"\n")


class Crlf(_Edited, frozen=True, kw_only=True, tag="crlf"):
    """The reply ends with a carriage return and a newline."""

    def change(self, reply: bytes) -> bytes:
        """Add the one."""
        return reply.replace(b"\n", b"\r\n")


class MissingSentinel(_Edited, frozen=True, kw_only=True, tag="missing_sentinel"):
    """The byte 0xFF before the reply of guest-sync-delimited is missing."""

    def change(self, reply: bytes) -> bytes:
        """Take it away."""
        return reply.removeprefix(b"\xff")


class ExtraSentinel(_Edited, frozen=True, kw_only=True, tag="extra_sentinel"):
    """The reply is preceded by a byte 0xFF."""

    def change(self, reply: bytes) -> bytes:
        """Add it."""
        return b"\xff" + reply


class Bom(_Edited, frozen=True, kw_only=True, tag="bom"):
    """The reply begins with UTF-8's byte order mark."""

    def change(self, reply: bytes) -> bytes:
        """Add it."""
        return b"\xef\xbb\xbf" + reply


class InvalidUtf8(_Edited, frozen=True, kw_only=True, tag="invalid_utf8"):
    """The first text of the reply has a byte that is not UTF-8 in it."""

    def change(self, reply: bytes) -> bytes:
        """Put it behind the last quotation mark that opens a text."""
        start, quote, end = reply.rpartition(b'"')
        return start + b"\xe9" + quote + end if quote else reply


class WrongId(Fault, frozen=True, kw_only=True, tag="wrong_id"):
    """guest-sync and guest-sync-delimited answer another number."""

    #: What is added to the right one.
    by: int = 1

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Count on."""
        if not exchange.command.startswith("guest-sync"):
            return effects
        return rewrite_value(effects, self._count_on)

    def _count_on(self, number: Any) -> Any:
        return number + self.by
