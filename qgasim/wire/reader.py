"""Bytes to messages: the lexer (qobject/json-lexer.c) and the streamer (json-streamer.c).

Their states, limits and texts are those of QEMU up to 11.0; `locating` has those of 11.1.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, Final, Self

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
    parse,
)
from qgasim.wire.text import from_bytes
from qgasim.wire.values import JsonValue, Message

__all__ = ["ERROR", "MORE", "LineReader", "MessageReader"]

# json-streamer.c, json-lexer.c: "security considerations".
MAX_TOKEN_SIZE: Final = 64 << 20
MAX_TOKEN_COUNT: Final = 2 << 20
MAX_NESTING: Final = 1 << 10

# ERROR must be 0: a table's default.
(ERROR, RECOVERY, DQ_ESCAPE, DQ_STRING, SQ_ESCAPE, SQ_STRING, ZERO, EXP_DIGITS) = range(8)
(EXP_SIGN, EXP_E, MANTISSA, MANTISSA_DIGITS, DIGITS, SIGN, KEYWORD, START) = range(8, 16)
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
TABLE: Final[dict[int, list[int]]] = {
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
    TABLE[START][_char[0]] = _kind

# What a state swallows and is again what it was: a token may be 64 MiB long. With the escapes in a
# string, so that what is looked at beyond a run is looked at once for each string.
RUNS: Final = {
    DQ_STRING: re.compile(rb'(?:[^\x00-\x1f"\\\xfe\xff]++|\\[\x20-\xfd])++'),
    SQ_STRING: re.compile(rb"(?:[^\x00-\x1f'\\\xfe\xff]++|\\[\x20-\xfd])++"),
    RECOVERY: re.compile(rb"[^\x00-\x08\x0a-\x1f\[\]{}:,\xfe\xff]++"),
    DIGITS: re.compile(rb"[0-9]++"),
    MANTISSA_DIGITS: re.compile(rb"[0-9]++"),
    EXP_DIGITS: re.compile(rb"[0-9]++"),
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

MORE: Final = CommandError("(the message is not complete)")
"""Stands for no message."""


class MessageReader:
    """Reads messages from bytes that are split anywhere.

    Half a message stays until more comes; only bytes change that, no disconnection does.
    """

    #: The lexer's states, the runs that a state swallows, what is plain in a string, and a whole token.
    table: ClassVar[Mapping[int, Sequence[int]]] = TABLE
    runs: ClassVar[Mapping[int, re.Pattern[bytes]]] = RUNS
    plain_bytes: ClassVar[bytes] = _PLAIN_BYTES
    whole_token: ClassVar[re.Pattern[bytes]] = _WHOLE_TOKEN
    #: The state after what is no token.
    after_error: ClassVar[int] = RECOVERY

    def __init__(self) -> None:
        self._state = START
        self._token = bytearray()
        #: Where in the chunk the token began, and where a byte was looked at to end one.
        self._start: int = 0
        self._looked_at = -1
        self._tokens: list[Token] = []
        #: What is kept of a message that has begun; empty between messages.
        self._open: list[Any] = self._tokens
        self._tokens_seen = 0
        self._braces = 0
        self._brackets = 0
        self._token_size = 0
        # Only a line that starts and ends between two messages may be answered from the memo:
        # then what it means depends on nothing else.
        self._memo: dict[bytes, tuple[Message, ...]] = {}
        self._parse: Callable[[list[Token]], JsonValue] = parse

    @property
    def is_between_messages(self) -> bool:
        """Return whether no byte of a message is waiting for the rest of it."""
        return self._state == START and not self._open

    def copy(self) -> Self:
        """Return a reader that has read the same."""
        made = copy(self)
        made._token = self._token.copy()  # noqa: SLF001
        made._tokens = made._open = self._tokens.copy()  # noqa: SLF001
        return made

    def feed(self, data: bytes) -> Iterator[Message]:
        """Read *data*, giving each message as soon as its last byte is seen.

        The rest of *data* is read when the next message is asked for, so it must be asked for
        until there is none.
        """
        memo = self._memo
        is_long = len(data) > 256 and data.find(b"\n", 0, 256) < 0
        if self._state != START or self._open or is_long:
            yield from self._read(data)
            return
        for line in data.splitlines(keepends=True):
            if self._state != START or self._open or len(line) > 256:
                yield from self._read(line)
                continue
            known = memo.get(line)
            if known is None:
                known = tuple(self._read(line))
                if self._is_lasting(known) and self._state == START and not self._open:
                    if len(memo) >= 512:
                        memo.clear()
                    memo[line] = known
            else:
                self._pass(line)
            yield from known

    def _is_lasting(self, messages: tuple[Message, ...]) -> bool:  # noqa: ARG002
        """Return whether the same line always means the same messages."""
        return True

    def _pass(self, data: bytes) -> None:
        """Take note of bytes that need not be read."""

    def _read(self, data: bytes) -> Iterator[Message]:
        position, end = 0, len(data)
        whole_token = self.whole_token
        while position < end:
            if self._state == START:
                whole = whole_token.match(data, position)
                if whole:
                    position = whole.end()
                    group = whole.lastindex
                    if group is None:
                        continue
                    self._start = whole.start(group)
                    token = whole[group]
                    kind = _GROUP_KINDS[group] or PUNCTUATION[token]
                    message = self._accept(kind, token)
                    if message is not MORE:
                        yield message
                    continue
            position, message = self._step(data, position)
            if message is not MORE:
                yield message

    def _step(self, data: bytes, position: int) -> tuple[int, Message]:
        """Do what json_lexer_feed_char() does for a byte, or for a run of like ones."""
        token = self._token
        if self._state == START:
            self._start = position
        message: Message = MORE
        limit = position + MAX_TOKEN_SIZE + 1 - len(token)
        run = self._find_run(data, position, limit)
        if run > position:
            if self._state != RECOVERY:
                token += memoryview(data)[position:run]
            position = run
        else:
            byte = data[position]
            state = self.table[self._state][byte]
            if state & LOOKAHEAD:
                state &= ~LOOKAHEAD
                self._looked_at = position
            else:
                token.append(byte)
                position += 1
            if state >= LCURLY or state == ERROR:
                message = self._accept(state, bytes(token))
                state = START if state else self.after_error
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
        pattern = self.runs.get(self._state)
        if pattern is None:
            return position
        if self._state == DQ_STRING:
            # Nearly always all is plain up to the closing quote, and that can be told faster.
            quote = data.find(b'"', position, limit)
            end = min(limit, len(data)) if quote < 0 else quote
            if end - position > 256 and not data[position:end].translate(None, self.plain_bytes):
                return end
        match = pattern.match(data, position, limit)
        return match.end() if match else position

    def _accept(self, kind: int, token: bytes) -> Message:
        """Do what json_message_process_token() does; *MORE* if no message is complete."""
        self._count(kind)
        self._tokens.append((kind, token))
        message: Message
        if kind == ERROR:
            message = self._stray(token)
        elif (limit := self._exceeds(token)) is not None:
            message = limit
        else:
            self._tokens_seen += 1
            self._token_size += len(token)
            if self._is_open:
                return MORE
            try:
                message = self._parse(self._tokens)
            except CommandError as error:
                message = error
        if isinstance(message, CommandError):
            message.text = b"".join(text for _, text in self._tokens)
        self._reset()
        return message

    def _count(self, kind: int) -> None:
        """Count what is open."""
        if kind == LCURLY:
            self._braces += 1
        elif kind == RCURLY:
            self._braces -= 1
        elif kind == LSQUARE:
            self._brackets += 1
        elif kind == RSQUARE:
            self._brackets -= 1

    @property
    def _is_open(self) -> bool:
        """Return whether a message has begun whose braces and brackets do not match yet."""
        braces, brackets = self._braces, self._brackets
        return (braces > 0 or brackets > 0) and braces >= 0 and brackets >= 0

    def _exceeds(self, token: bytes) -> CommandError | None:
        """Return the error for a token that makes the message too large."""
        if self._token_size + len(token) + 1 > MAX_TOKEN_SIZE:
            return CommandError("JSON token size limit exceeded")
        if self._tokens_seen + 1 > MAX_TOKEN_COUNT:
            return CommandError("JSON token count limit exceeded")
        if self._brackets + self._braces > MAX_NESTING:
            return CommandError("JSON nesting depth limit exceeded")
        return None

    def _stray(self, token: bytes) -> CommandError:
        """Return the error for what is no token."""
        text = from_bytes(token.partition(b"\0")[0])
        return CommandError(f"JSON parse error, stray '{text}'")

    def _reset(self) -> None:
        """Forget the message."""
        self._braces = self._brackets = self._token_size = self._tokens_seen = 0
        self._tokens.clear()


class LineReader(MessageReader):
    """Collect bytes that are split anywhere, and let *reader* read them when their line ends: not QEMU's way."""

    def __init__(self, reader: MessageReader) -> None:
        super().__init__()
        self._reader = reader
        self._line = bytearray()

    @property
    def is_between_messages(self) -> bool:
        """Return whether no byte waits for the end of its line, or of its message."""
        return not self._line and self._reader.is_between_messages

    def copy(self) -> Self:
        """Return a reader that has read the same."""
        made = copy(self)
        made._reader = self._reader.copy()  # noqa: SLF001
        made._line = self._line.copy()  # noqa: SLF001
        return made

    def feed(self, data: bytes) -> Iterator[Message]:
        """Read what of *data* is in lines that end; what is longer than any message, too."""
        # Only in what is new: a line may come byte by byte.
        end = data.rfind(b"\n") + 1
        if not end and len(self._line) + len(data) > MAX_TOKEN_SIZE:
            end = len(data)
        if not end:
            self._line += data
            return iter(())
        lines = bytes(self._line) + data[:end]
        self._line[:] = data[end:]
        return self._reader.feed(lines)
