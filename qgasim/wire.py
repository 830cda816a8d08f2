"""QEMU's JSON dialect: bytes to messages, and values to text.

Nothing here knows a command. A `MessageReader` is the lexer (qobject/json-lexer.c), the streamer
(json-streamer.c) and the parser (json-parser.c) of QEMU up to 11.0, with their states, limits and
texts; `encode` is qobject/json-writer.c, `bucket` the hash of qobject/qdict.c.

A string is what QEMU keeps in a QString, decoded as UTF-8 with ``surrogateescape``; U+0000 is the
two bytes C0 80 ("modified UTF-8"). So every string has an exact byte form, `to_bytes`, that the
guest takes for file names and arguments.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias, cast

from qgasim.errors import CommandError

__all__ = [
    "JsonValue",
    "Message",
    "MessageReader",
    "bucket",
    "encode",
    "encode_string",
    "from_bytes",
    "hash_order",
    "to_bytes",
]

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
Message: TypeAlias = "JsonValue | CommandError"
"""A request as parsed, or the error that stands in its place."""

# json-streamer.c, json-lexer.c: "security considerations".
MAX_TOKEN_SIZE: Final = 64 << 20
MAX_TOKEN_COUNT: Final = 2 << 20
MAX_NESTING: Final = 1 << 10
# json-parser.c, parse_error(): char message[1024].
MAX_PARSE_ERROR: Final = 1023


def from_bytes(raw: bytes) -> str:
    """Make a string of what QEMU would keep as these bytes."""
    return raw.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Give the bytes that QEMU would keep for *text*."""
    return text.encode("utf-8", "surrogateescape")


# --------------------------------------------------------------------------------------
# The lexer's states and tokens. ERROR must be 0: a table's default.

(ERROR, RECOVERY, DQ_ESCAPE, DQ_STRING, SQ_ESCAPE, SQ_STRING, ZERO, EXP_DIGITS) = range(8)
(EXP_SIGN, EXP_E, MANTISSA, MANTISSA_DIGITS, DIGITS, SIGN, KEYWORD, START) = range(8, 16)
(LCURLY, RCURLY, LSQUARE, RSQUARE, COLON, COMMA) = range(100, 106)
(T_INTEGER, T_FLOAT, T_KEYWORD, T_STRING) = range(106, 110)
LOOKAHEAD = 0x80
PUNCTUATION: Final = {
    b"{": LCURLY,
    b"}": RCURLY,
    b"[": LSQUARE,
    b"]": RSQUARE,
    b":": COLON,
    b",": COMMA,
}


def _row(default: int = ERROR, **rules: int) -> list[int]:
    """Build a state's table; a rule is a name of *_CLASSES* and the next state."""
    row = [default] * 256
    for name, state in rules.items():
        for byte in _CLASSES[name]:
            row[byte] = state
    return row


_CLASSES: Final[dict[str, bytes]] = {
    "text": bytes(range(0x20, 0xFE)),
    "control": bytes(range(0x20)),
    "never_utf8": b"\xfe\xff",
    "tab": b"\t",
    "structural": b"[]{}:,",
    "backslash": b"\\",
    "dq": b'"',
    "sq": b"'",
    "zero": b"0",
    "digits": b"0123456789",
    "nonzero": b"123456789",
    "point": b".",
    "e": b"eE",
    "sign": b"+-",
    "minus": b"-",
    "letters": bytes(range(ord("a"), ord("z") + 1)),
    "space": b" \t\r\n",
}
_INTEGER, _FLOAT = T_INTEGER | LOOKAHEAD, T_FLOAT | LOOKAHEAD
_TABLE: Final[dict[int, list[int]]] = {
    # After an error: until a byte that can only begin something new.
    RECOVERY: _row(
        text=RECOVERY,
        control=START | LOOKAHEAD,
        never_utf8=START | LOOKAHEAD,
        tab=RECOVERY,
        structural=START | LOOKAHEAD,
    ),
    DQ_ESCAPE: _row(text=DQ_STRING),
    DQ_STRING: _row(text=DQ_STRING, backslash=DQ_ESCAPE, dq=T_STRING),
    SQ_ESCAPE: _row(text=SQ_STRING),
    SQ_STRING: _row(text=SQ_STRING, backslash=SQ_ESCAPE, sq=T_STRING),
    # No exponent after a lone zero: `0e1` is the two tokens 0 and e, then 1.
    ZERO: _row(_INTEGER, digits=ERROR, point=MANTISSA),
    EXP_DIGITS: _row(_FLOAT, digits=EXP_DIGITS),
    EXP_SIGN: _row(digits=EXP_DIGITS),
    EXP_E: _row(sign=EXP_SIGN, digits=EXP_DIGITS),
    MANTISSA: _row(digits=MANTISSA_DIGITS),
    MANTISSA_DIGITS: _row(_FLOAT, digits=MANTISSA_DIGITS, e=EXP_E),
    DIGITS: _row(_INTEGER, digits=DIGITS, e=EXP_E, point=MANTISSA),
    SIGN: _row(zero=ZERO, nonzero=DIGITS),
    KEYWORD: _row(T_KEYWORD | LOOKAHEAD, letters=KEYWORD),
    START: _row(
        dq=DQ_STRING,
        sq=SQ_STRING,
        zero=ZERO,
        nonzero=DIGITS,
        minus=SIGN,
        letters=KEYWORD,
        space=START,
    ),
}
for _char, _kind in PUNCTUATION.items():
    _TABLE[START][_char[0]] = _kind

# What a state swallows without changing: a token may be 64 MiB long.
_RUNS: Final = {
    DQ_STRING: re.compile(rb'[^\x00-\x1f"\\\xfe\xff]++'),
    SQ_STRING: re.compile(rb"[^\x00-\x1f'\\\xfe\xff]++"),
    RECOVERY: re.compile(rb"[^\x00-\x08\x0a-\x1f\[\]{}:,\xfe\xff]++"),
    DIGITS: re.compile(rb"[0-9]++"),
    KEYWORD: re.compile(rb"[a-z]++"),
}
_PLAIN_BYTES: Final = bytes(byte for byte in range(0x20, 0xFE) if byte not in b'"\\')
# A whole token of ordinary length that begins in state START and ends inside the chunk; what it does
# not match is left to the table.
_WHOLE_TOKEN: Final = re.compile(
    rb"[ \t\r\n]*+(?:"
    rb"([{}\[\]:,])"
    rb'|("(?:[^\x00-\x1f"\\\xfe\xff]{1,256}+|\\[\x20-\xfd]){0,8}+")'
    rb"|(-?(?:0(?=[^0-9.])|[1-9][0-9]*+(?=[^0-9.eE])))"
    rb"|([a-z]++(?=[^a-z]))"
    rb"|\Z)"
)
_GROUP_KINDS: Final = (0, 0, T_STRING, T_INTEGER, T_KEYWORD)

_Token: TypeAlias = tuple[int, bytes]
_MORE: Final = CommandError("(the message is not complete)")


class MessageReader:
    """Take bytes in any cut, give messages.

    Half a message stays until more comes; only bytes change that, no disconnection does.
    """

    def __init__(self) -> None:
        self._state = START
        self._token = bytearray()
        self._tokens: list[_Token] = []
        self._braces = 0
        self._brackets = 0
        self._token_size = 0
        # Only a line that starts and ends between two messages may be answered from the memo:
        # then what it means depends on nothing else.
        self._memo: dict[bytes, tuple[Message, ...]] = {}

    @property
    def is_between_messages(self) -> bool:
        """Whether no byte of a message is waiting for the rest of it."""
        return self._state == START and not self._tokens

    def feed(self, data: bytes) -> Iterator[Message]:
        """Read *data*, giving each message as soon as its last byte is seen.

        The rest of *data* is read when the next message is asked for, so it must be asked for
        until there is none.
        """
        memo = self._memo
        is_long = len(data) > 256 and data.find(b"\n", 0, 256) < 0
        if self._state != START or self._tokens or is_long:
            yield from self._read(data)
            return
        for line in data.splitlines(keepends=True):
            if self._state != START or self._tokens or len(line) > 256:
                yield from self._read(line)
                continue
            known = memo.get(line)
            if known is None:
                known = tuple(self._read(line))
                if self._state == START and not self._tokens:
                    if len(memo) >= 512:
                        memo.clear()
                    memo[line] = known
            yield from known

    def _read(self, data: bytes) -> Iterator[Message]:
        position, end = 0, len(data)
        while position < end:
            if self._state == START:
                whole = _WHOLE_TOKEN.match(data, position)
                if whole:
                    position = whole.end()
                    group = whole.lastindex
                    if group is None:
                        continue
                    token = whole[group]
                    kind = _GROUP_KINDS[group] or PUNCTUATION[token]
                    message = self._accept(kind, token)
                    if message is not _MORE:
                        yield message
                    continue
            position, message = self._step(data, position)
            if message is not _MORE:
                yield message

    def _step(self, data: bytes, position: int) -> tuple[int, Message]:
        """Do what json_lexer_feed_char() does for a byte, or for a run of like ones."""
        token = self._token
        message: Message = _MORE
        limit = position + MAX_TOKEN_SIZE + 1 - len(token)
        run = self._find_run(data, position, limit)
        if run > position:
            if self._state != RECOVERY:
                token += memoryview(data)[position:run]
            position = run
        else:
            byte = data[position]
            state = _TABLE[self._state][byte]
            if state & LOOKAHEAD:
                state &= ~LOOKAHEAD
            else:
                token.append(byte)
                position += 1
            if state >= LCURLY or state == ERROR:
                message = self._accept(state, bytes(token))
                state = START if state else RECOVERY
            if state in (START, RECOVERY):
                token.clear()
            self._state = state
        if len(token) > MAX_TOKEN_SIZE:
            message = self._accept(self._state, bytes(token))
            token.clear()
            self._state = START
        return position, message

    def _find_run(self, data: bytes, position: int, limit: int) -> int:
        """Find the end of what the state swallows from *position* on, *limit* at most."""
        pattern = _RUNS.get(self._state)
        if pattern is None:
            return position
        if self._state == DQ_STRING:
            # Nearly always all is plain up to the closing quote, and that can be told faster.
            quote = data.find(b'"', position, limit)
            end = min(limit, len(data)) if quote < 0 else quote
            if end - position > 256 and not data[position:end].translate(None, _PLAIN_BYTES):
                return end
        match = pattern.match(data, position, limit)
        return match.end() if match else position

    def _accept(self, kind: int, token: bytes) -> Message:
        """Do what json_message_process_token() does; *_MORE* if no message is complete."""
        if kind == LCURLY:
            self._braces += 1
        elif kind == RCURLY:
            self._braces -= 1
        elif kind == LSQUARE:
            self._brackets += 1
        elif kind == RSQUARE:
            self._brackets -= 1
        tokens = self._tokens
        message: Message
        if kind == ERROR:
            text = from_bytes(token.partition(b"\0")[0])
            message = CommandError(f"JSON parse error, stray '{text}'")
        elif self._token_size + len(token) + 1 > MAX_TOKEN_SIZE:
            message = CommandError("JSON token size limit exceeded")
        elif len(tokens) + 1 > MAX_TOKEN_COUNT:
            message = CommandError("JSON token count limit exceeded")
        elif self._brackets + self._braces > MAX_NESTING:
            message = CommandError("JSON nesting depth limit exceeded")
        else:
            tokens.append((kind, token))
            self._token_size += len(token)
            if (
                (self._braces > 0 or self._brackets > 0)
                and self._braces >= 0
                and self._brackets >= 0
            ):
                return _MORE
            try:
                message = _parse(tokens)
            except CommandError as error:
                message = error
        self._braces = self._brackets = self._token_size = 0
        tokens.clear()
        return message


# --------------------------------------------------------------------------------------
# The parser.


def _parse_error(text: str) -> CommandError:
    return CommandError("JSON parse error, " + from_bytes(to_bytes(text)[:MAX_PARSE_ERROR]))


def _parse(tokens: list[_Token]) -> JsonValue:
    """Parse balanced *tokens*, or such that close more than they open.

    Raises the first error that QEMU's recursive descent meets. A loop, because 1024 levels are
    more than Python's stack is sure to hold.
    """
    # A frame per open container; in an object, the key whose value is being read.
    frames: list[tuple[list[JsonValue] | dict[str, JsonValue], str | None]] = []
    stream = iter(tokens)
    kind, token = next(stream)
    while True:
        # A value begins here.
        value: JsonValue
        if kind == T_STRING:
            value = _parse_string(token)
        elif kind in (LCURLY, LSQUARE):
            opened: list[JsonValue] | dict[str, JsonValue] = {} if kind == LCURLY else []
            closing = RCURLY if kind == LCURLY else RSQUARE
            kind, token = next(stream)
            if kind != closing:
                frames.append((opened, None))
                continue
            value = opened
        elif kind in (T_INTEGER, T_FLOAT):
            value = _parse_number(kind, token)
        elif kind == T_KEYWORD:
            if token not in _KEYWORDS:
                raise _parse_error(f"invalid keyword '{token.decode()}'")
            value = _KEYWORDS[token]
        else:
            raise _parse_error("expecting value")
        # A value is complete: hand it to its container, close what closes.
        while True:
            if not frames:
                return value
            # pyright loses itself in a recursive alias and a loop.
            container, key = frames[-1]  # pyright: ignore[reportUnknownVariableType]
            kind, token = next(stream)
            if isinstance(container, list):
                container.append(value)  # pyright: ignore[reportUnknownMemberType]
                closing, name = RSQUARE, "list"
            else:
                if key is None:
                    if not isinstance(value, str):
                        raise _parse_error("key is not a string in object")
                    if kind != COLON:
                        raise _parse_error("missing : in object pair")
                    frames[-1] = (container, value)
                    break
                if key in container:
                    raise _parse_error("duplicate key")
                container[key] = value
                frames[-1] = (container, None)
                closing, name = RCURLY, "dict"
            if kind == COMMA:
                break
            if kind != closing:
                raise _parse_error(f"expected separator in {name}")
            value = cast("JsonValue", container)
            frames.pop()
        kind, token = next(stream)


_KEYWORDS: Final[dict[bytes, bool | None]] = {b"true": True, b"false": False, b"null": None}


def _parse_number(kind: int, token: bytes) -> int | float:
    # An integer that fits neither int64_t nor uint64_t becomes a double.
    if kind == T_INTEGER and len(token) <= 20:
        number = int(token)
        if -(1 << 63) <= number < 1 << 64:
            return number
    return float(token)


_ESCAPES: Final = {
    b'\\"': '"',
    b"\\'": "'",
    b"\\\\": "\\",
    b"\\/": "/",
    b"\\b": "\b",
    b"\\f": "\f",
    b"\\n": "\n",
    b"\\r": "\r",
    b"\\t": "\t",
}
_STRING_PART: Final = re.compile(
    rb"[\x20-\x5b\x5d-\x7f]++"  # plain ASCII
    rb"|\\u(?s:.{0,4})|\\(?s:.)"
    rb"|[\x80-\xff]"  # the start of a longer sequence
)
_LOW_SURROGATE: Final = re.compile(rb"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_HEX4: Final = re.compile(rb"[0-9a-fA-F]{4}")
_NUL: Final = "\udcc0\udc80"


def _parse_string(token: bytes) -> str:
    if b"\\" not in token and token.isascii():
        return str(memoryview(token)[1:-1], "ascii")
    parts: list[str] = []
    position, end = 1, len(token) - 1
    while position < end:
        match = _STRING_PART.match(token, position)
        assert match, "the lexer lets nothing else into a string"
        part = match[0]
        if part in _ESCAPES:
            parts.append(_ESCAPES[part])
            position = match.end()
        elif part.startswith(b"\\u"):
            character, position = _parse_unicode_escape(token, position)
            parts.append(character)
        elif part[0] == 0x5C:
            raise _parse_error("invalid escape sequence in string")
        elif part[0] < 0x80:
            # A run of plain bytes may reach over the closing quote.
            position = min(match.end(), end)
            parts.append(token[match.start() : position].decode("ascii"))
        else:
            codepoint, after = _codepoint(token, position)
            if codepoint < 0:
                raise _parse_error("invalid UTF-8 sequence in string")
            parts.append(chr(codepoint) if codepoint else _NUL)
            position = after
    return "".join(parts)


def _parse_unicode_escape(token: bytes, position: int) -> tuple[str, int]:
    after = position + 6
    match = _HEX4.match(token, position + 2)
    codepoint = int(match[0], 16) if match else -1
    if 0xD800 <= codepoint <= 0xDBFF and token[after : after + 2] == b"\\u":
        low = _LOW_SURROGATE.match(token, after)
        if low:
            codepoint = 0x10000 + ((codepoint & 0x3FF) << 10)
            codepoint |= int(low[1], 16) & 0x3FF
            after = low.end()
        else:
            codepoint = -1
    if not _is_valid(codepoint):
        text = from_bytes(token[position:after])
        raise _parse_error(f"{text} is not a valid Unicode character")
    return chr(codepoint) if codepoint else _NUL, after


def _is_valid(codepoint: int) -> bool:
    """Tell whether QEMU takes *codepoint*: no surrogates, no non-characters."""
    return (
        0 <= codepoint <= 0x10FFFF
        and not 0xD800 <= codepoint <= 0xDFFF
        and not 0xFDD0 <= codepoint <= 0xFDEF
        and codepoint & 0xFFFE != 0xFFFE
    )


_SMALLEST: Final = (0x80, 0x800, 0x10000, 0x200000, 0x4000000)


def _codepoint(raw: bytes, position: int) -> tuple[int, int]:
    """Do what mod_utf8_codepoint() of util/unicode.c does.

    Returns the code point, -1 if the sequence is invalid, and the position after the sequence.
    """
    byte = raw[position]
    position += 1
    if byte < 0x80:
        return byte, position
    if byte >= 0xFE or not byte & 0x40:
        return -1, position
    mask, length = 0x80, 0
    while byte & mask:
        mask >>= 1
        length += 1
    codepoint = byte & (mask - 1)
    for _ in range(length - 1):
        byte = raw[position] if position < len(raw) else 0
        if byte & 0xC0 != 0x80:
            return -1, position
        position += 1
        codepoint = codepoint << 6 | byte & 0x3F
    is_overlong = codepoint < _SMALLEST[length - 2] and not (codepoint == 0 and length == 2)
    if is_overlong or not _is_valid(codepoint):
        return -1, position
    return codepoint, position


# --------------------------------------------------------------------------------------
# The writer.


def bucket(key: str) -> int:
    """Give the bucket of a QDict that holds *key*: members come out bucket by bucket."""
    raw = to_bytes(key)
    value = 0x238F13AF * len(raw)
    for index, byte in enumerate(raw):
        value += byte << (index * 5 % 24)
    return (1103515243 * value + 12345 & 0xFFFFFFFF) % 512


def hash_order(names: Iterable[str]) -> list[str]:
    """Give *names*, in the order of their insertion, in the order in which a QDict has them.

    Bucket by bucket; in a bucket, the latest first.
    """
    latest_first = list(names)
    latest_first.reverse()
    return sorted(latest_first, key=bucket)


_PLAIN: Final = re.compile(r"[ !#-\[\]-~]*+")
_WRITTEN: Final = {
    0x22: '\\"',
    0x5C: "\\\\",
    0x08: "\\b",
    0x0C: "\\f",
    0x0A: "\\n",
    0x0D: "\\r",
    0x09: "\\t",
}


def encode_string(text: str) -> str:
    """Write *text* as QEMU does: all ASCII, U+FFFD for each sequence that is not UTF-8."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    raw = to_bytes(text)
    parts = ['"']
    position = 0
    while position < len(raw):
        codepoint, position = _codepoint(raw, position)
        if codepoint < 0:
            codepoint = 0xFFFD
        if codepoint in _WRITTEN:
            parts.append(_WRITTEN[codepoint])
        elif codepoint > 0xFFFF:
            high, low = divmod(codepoint - 0x10000, 0x400)
            parts.append(f"\\u{0xD800 + high:04X}\\u{0xDC00 + low:04X}")
        elif codepoint < 0x20 or codepoint >= 0x7F:
            parts.append(f"\\u{codepoint:04X}")
        else:
            parts.append(chr(codepoint))
    parts.append('"')
    return "".join(parts)


def encode(value: JsonValue) -> str:
    """Write any JSON value as QEMU 6.0 and later do (5.2 wrote doubles otherwise).

    A loop, because an ``id`` may be nested 1023 deep.
    """
    parts: list[str] = []
    # What is still to be written, last first; a tuple holds finished text.
    todo: list[JsonValue | tuple[str]] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, tuple):
            parts.append(item[0])
        elif isinstance(item, str):
            parts.append(encode_string(item))
        elif isinstance(item, bool):
            parts.append("true" if item else "false")
        elif isinstance(item, int):
            parts.append(str(item))
        elif isinstance(item, float):
            parts.append(f"{item:.17g}")
        elif item is None:
            parts.append("null")
        elif isinstance(item, list):
            parts.append("[")
            todo.append(("]",))
            for index in range(len(item) - 1, -1, -1):
                todo.append(item[index])
                if index:
                    todo.append((", ",))
        else:
            parts.append("{")
            todo.append(("}",))
            keys = hash_order(item)
            for index in range(len(keys) - 1, -1, -1):
                key = keys[index]
                todo.append(item[key])
                todo.append((f"{', ' if index else ''}{encode_string(key)}: ",))
    return "".join(parts)
