"""The reader of QEMU before 3.1: qobject/json-lexer.c, json-streamer.c and json-parser.c of 2.6 to 2.9.

It differs from the next one in four ways: a byte that begins nothing is passed over alone; escapes are the
lexer's to check, and control characters may be in strings; what the parser never sees (strays, messages that are
too large) is ``Invalid JSON syntax``; of several errors, the last is told, which is that of the outermost value.

UNVERIFIED: 2.5 and 2.10 to 3.0 are taken to do the same.
"""

import re
from typing import Final, TypeAlias, cast

from qgasim.errors import CommandError
from qgasim.wire.parser import (
    COLON,
    COMMA,
    LCURLY,
    LSQUARE,
    RCURLY,
    RSQUARE,
    T_FLOAT,
    T_INTEGER,
    T_KEYWORD,
    T_STRING,
    Token,
    parse_error,
    parse_scalar,
)
from qgasim.wire.reader import (
    DIGITS,
    DQ_ESCAPE,
    DQ_STRING,
    ERROR,
    EXP_DIGITS,
    EXP_E,
    EXP_SIGN,
    KEYWORD,
    LOOKAHEAD,
    MANTISSA,
    MANTISSA_DIGITS,
    MAX_NESTING,
    MAX_TOKEN_COUNT,
    MAX_TOKEN_SIZE,
    MORE,
    RUNS,
    SIGN,
    SQ_ESCAPE,
    SQ_STRING,
    START,
    TABLE,
    ZERO,
    MessageReader,
)
from qgasim.wire.text import from_bytes
from qgasim.wire.values import JsonValue, Message

__all__ = ["FirstReader"]

#: QERR_JSON_PARSING.
_INVALID: Final = "Invalid JSON syntax"
#: Where four hex digits are left of an escape, three, two, one: in one kind of string, and in the other.
_DQ_HEX, _SQ_HEX = (16, 17, 18, 19), (20, 21, 22, 23)
(_PERCENT, _PERCENT_L, _PERCENT_LL, _PERCENT_I, _PERCENT_I6, _PERCENT_I64) = range(24, 30)
#: A place for a value of the caller's, which the agent has none for: it is no value, and no error.
_T_PLACE: Final = 111


def _row(rules: dict[bytes, int], ends: int = ERROR) -> list[int]:
    """Build a state's table; *ends*: the token that another ASCII character ends."""
    row = [ends | LOOKAHEAD if ends else ERROR] * 0x80 + [ERROR] * 0x80
    for characters, state in rules.items():
        for byte in characters:
            row[byte] = state
    return row


def _string(state: int, quote: bytes, escape: int, hexes: tuple[int, ...]) -> dict[int, list[int]]:
    inside = bytes([*range(1, 0xC0), *range(0xC2, 0xF5)])
    table = {
        state: _row({inside: state, b"\\": escape, quote: T_STRING}),
        escape: _row({b"bfnrt/\\'\"": state, b"u": hexes[0]}),
    }
    for place, after in zip(hexes, (*hexes[1:], state), strict=True):
        table[place] = _row({b"0123456789abcdefABCDEF": after})
    return table


_DIGITS: Final = b"0123456789"
_TABLE: Final[dict[int, list[int]]] = {
    **_string(DQ_STRING, b'"', DQ_ESCAPE, _DQ_HEX),
    **_string(SQ_STRING, b"'", SQ_ESCAPE, _SQ_HEX),
    ZERO: _row({_DIGITS: ERROR, b".": MANTISSA}, T_INTEGER),
    EXP_DIGITS: _row({_DIGITS: EXP_DIGITS}, T_FLOAT),
    EXP_SIGN: _row({_DIGITS: EXP_DIGITS}),
    EXP_E: _row({b"+-": EXP_SIGN, _DIGITS: EXP_DIGITS}),
    MANTISSA: _row({_DIGITS: MANTISSA_DIGITS}),
    MANTISSA_DIGITS: _row({_DIGITS: MANTISSA_DIGITS, b"eE": EXP_E}, T_FLOAT),
    DIGITS: _row({_DIGITS: DIGITS, b"eE": EXP_E, b".": MANTISSA}, T_INTEGER),
    SIGN: _row({b"0": ZERO, b"123456789": DIGITS}),
    KEYWORD: _row({bytes(range(ord("a"), ord("z") + 1)): KEYWORD}, T_KEYWORD),
    _PERCENT: _row({b"dipsf": _T_PLACE, b"l": _PERCENT_L, b"I": _PERCENT_I}),
    _PERCENT_L: _row({b"d": _T_PLACE, b"l": _PERCENT_LL}),
    _PERCENT_LL: _row({b"d": _T_PLACE}),
    _PERCENT_I: _row({b"6": _PERCENT_I6}),
    _PERCENT_I6: _row({b"4": _PERCENT_I64}),
    _PERCENT_I64: _row({b"d": _T_PLACE}),
    START: [*TABLE[START]],
}
_TABLE[START][ord("%")] = _PERCENT


_INSIDE: Final = rb"\x01-\xbf\xc2-\xf4"
_RUNS: Final = {
    **{state: RUNS[state] for state in (DIGITS, MANTISSA_DIGITS, EXP_DIGITS, KEYWORD)},
    DQ_STRING: re.compile(rb'(?:(?!["\\])[%s])++' % _INSIDE),
    SQ_STRING: re.compile(rb"(?:(?!['\\])[%s])++" % _INSIDE),
}
_WHOLE_TOKEN: Final = re.compile(
    rb"[ \t\r\n]*+(?:"
    rb"([{}\[\]:,])"
    rb'|("[\x20\x21\x23-\x5b\x5d-\x7f]{0,256}+")'
    rb"|(-?(?:0(?=[\x00-\x2d\x2f\x3a-\x7f])|[1-9][0-9]*+(?=[\x00-\x2d\x2f\x3a-\x44\x46-\x64\x66-\x7f])))"
    rb"|([a-z]++(?=[\x00-\x60\x7b-\x7f]))"
    rb"|\Z)"
)


class FirstReader(MessageReader):
    """Read messages from bytes that are split anywhere, as QEMU before 3.1 does."""

    table = _TABLE
    runs = _RUNS
    plain_bytes = bytes(byte for byte in range(0x20, 0x80) if byte not in b'"\\')
    whole_token = _WHOLE_TOKEN
    after_error = START

    def _accept(self, kind: int, token: bytes) -> Message:
        """Do what json_message_process_token() does; *MORE* if no message is complete."""
        self._count(kind)
        self._tokens.append((kind, token))
        self._tokens_seen += 1
        self._token_size += len(token)
        message: Message
        if kind == ERROR:
            message = CommandError(_INVALID)
        elif not self._is_open:
            try:
                message = _parse(self._tokens)
            except CommandError as error:
                message = error
        elif (
            self._token_size > MAX_TOKEN_SIZE
            or self._tokens_seen > MAX_TOKEN_COUNT
            or self._brackets + self._braces > MAX_NESTING
        ):
            message = CommandError(_INVALID)
        else:
            return MORE
        if isinstance(message, CommandError):
            message.text = b"".join(text for _, text in self._tokens)
        self._reset()
        return message


class _Misplaced(CommandError):
    """What is wrong in a container itself, not in a value of it."""


Container: TypeAlias = list[JsonValue] | dict[str, JsonValue]
#: The open containers; of an object, the key whose value is being read.
Frames: TypeAlias = list[tuple[Container, str | None]]


def _parse(tokens: list[Token]) -> JsonValue:
    """Parse *tokens*; raise the error that is found last: each container tells its own."""
    frames: Frames = []
    try:
        return _descend(tokens, frames)
    except CommandError as error:
        if not frames or (len(frames) == 1 and isinstance(error, _Misplaced)):
            raise
        container, key = frames[0]
        if isinstance(container, list):
            text = "expecting value"
        else:
            text = "key is not a string in object" if key is None else "Missing value in dict"
        raise parse_error(text) from None


def _descend(tokens: list[Token], frames: Frames) -> JsonValue:
    """Parse *tokens*; when that fails, *frames* are those that are open."""
    stream = iter(tokens)
    kind, token = next(stream)
    while True:
        # A value begins here.
        value: JsonValue
        if kind in (LCURLY, LSQUARE):
            opened: Container = {} if kind == LCURLY else []
            is_object = kind == LCURLY
            kind, token = next(stream)
            if kind != (RCURLY if is_object else RSQUARE):
                frames.append((opened, None))
                continue
            value = opened
        else:
            value = _read_scalar(kind, token)
        # A value is complete: hand it to its container, close what closes.
        while True:
            if not frames:
                return value
            _check_key(frames[-1], value)
            kind, token = next(stream)
            if not _put(frames, value, kind):
                break
            value = cast("JsonValue", frames.pop()[0])
        kind, token = next(stream)


def _check_key(frame: tuple[Container, str | None], value: JsonValue) -> None:
    container, key = frame
    if isinstance(container, dict) and key is None and not isinstance(value, str):
        raise _misplaced("key is not a string in object")


def _put(frames: Frames, value: JsonValue, after: int) -> bool:
    """Put a value where it belongs, *after* being the next token; return whether the container ends."""
    container, key = frames[-1]
    if isinstance(container, list):
        container.append(value)
        closing, name = RSQUARE, "list"
    elif key is None:
        if after != COLON:
            raise _misplaced("missing : in object pair")
        frames[-1] = (container, cast("str", value))
        return False
    else:
        container[key] = value
        frames[-1] = (container, None)
        closing, name = RCURLY, "dict"
    if after not in (COMMA, closing):
        raise _misplaced(f"expected separator in {name}")
    return after == closing


def _misplaced(text: str) -> _Misplaced:
    return _Misplaced(str(parse_error(text)))


def _read_scalar(kind: int, token: bytes) -> JsonValue:
    if kind == T_STRING:
        return from_bytes(_ESCAPE.sub(_unescape, token[1:-1]))
    if kind == _T_PLACE:
        raise CommandError(_INVALID)
    return parse_scalar(kind, token)


_ESCAPE: Final = re.compile(rb"\\(?:u(....)|(.))")
_ESCAPES: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def _unescape(escape: re.Match[bytes]) -> bytes:
    """Return what an escape stands for; half a pair is a character, too (wchar_to_utf8()), and U+0000 nothing."""
    if escape[1] is None:
        return _ESCAPES.get(escape[2], escape[2])
    codepoint = int(escape[1], 16)
    return chr(codepoint).encode("utf-8", "surrogatepass") if codepoint else b""
