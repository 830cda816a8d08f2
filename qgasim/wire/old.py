"""The reader of QEMU before 5.0, with the mistakes that its parser had then.

Each can be absent, because they were mended one by one (`qgasim.dialect` says when).
"""

import re
from functools import partial
from typing import Final

from qgasim.wire.parser import T_ABORT, T_STRING, Token, parse
from qgasim.wire.reader import MessageReader
from qgasim.wire.values import JsonValue

__all__ = ["OldReader"]


class OldReader(MessageReader):
    """Read messages from bytes that are split anywhere, as old releases do."""

    def __init__(
        self,
        *,
        drops_percent: bool = False,
        replaces_duplicates: bool = False,
        ignores_extra_braces: bool = False,
    ) -> None:
        """Make a reader with these mistakes.

        Args:
            drops_percent: in strings, ``%`` is dropped, and what follows it stands for itself.
            replaces_duplicates: of members with the same key, the last counts.
            ignores_extra_braces: a ``}`` too many does not end a message in which a ``[`` is open.
        """
        super().__init__()
        self._ignores_extra_braces = ignores_extra_braces
        self._parse = partial(
            _parse_dropping if drops_percent else parse, replaces_duplicates=replaces_duplicates
        )

    @property
    def _is_open(self) -> bool:
        if self._ignores_extra_braces:
            # The number of brackets is looked at twice, that of braces is not.
            return self._brackets >= 0 and (self._braces > 0 or self._brackets > 0)
        return super()._is_open


def _parse_dropping(tokens: list[Token], *, replaces_duplicates: bool) -> JsonValue:
    tokens = [
        _drop_percent(token) if kind == T_STRING and b"%" in token else (kind, token)
        for kind, token in tokens
    ]
    return parse(tokens, replaces_duplicates=replaces_duplicates)


# What the parser takes as one: an escape (after \u, any four bytes), or a percent sign with a byte.
_PIECE: Final = re.compile(rb"\\u(?s:.{4})|\\(?s:.)|%((?s:.))|(?s:.)")


def _drop_percent(token: bytes) -> Token:
    """Return a token that means what *token* means to a parser that drops percent signs.

    The parser of 3.1 goes by the quote that it sees first, the lexer by the one that is not escaped. If the
    former takes the closing quote for text, it runs into the end of the token, and aborts.
    """
    quote, end = token[:1], len(token) - 1
    parts = [quote]
    position = 1
    while position <= end:
        piece = _PIECE.match(token, position)
        assert piece
        if piece[0] == quote:
            # What the lexer has taken for more of the string is not looked at.
            return T_STRING, b"".join([*parts, quote])
        literal = piece[1]
        position = piece.end()
        if literal is None:
            parts.append(piece[0])
        else:
            parts.append(b"\\" + literal if literal in (b"\\", quote) else literal)
    return T_ABORT, b"".join([*parts, quote])
