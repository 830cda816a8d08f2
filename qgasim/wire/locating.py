"""The reader of QEMU 11.1: it parses token by token, and says where an error is.

It differs from the reader before in four ways (recorded: tests/golden/11.1): an error is found at the
token that makes it, not when the braces match; the rest of that message is passed over in silence;
parse errors begin with ``line:column``, counted since the agent was started; some are worded otherwise.
"""

from collections.abc import Iterator
from typing import Final, Self, TypeAlias

from qgasim.errors import CommandError
from qgasim.wire.parser import (
    COLON,
    COMMA,
    LCURLY,
    LSQUARE,
    RCURLY,
    RSQUARE,
    T_STRING,
    parse_error,
    parse_scalar,
    parse_string,
)
from qgasim.wire.reader import ERROR, MORE, START, MessageReader
from qgasim.wire.text import from_bytes
from qgasim.wire.values import JsonValue, Message

__all__ = ["LocatingReader"]

(AFTER_LCURLY, BEFORE_KEY, AFTER_KEY, BEFORE_MEMBER, AFTER_MEMBER) = range(5)
(AFTER_LSQUARE, BEFORE_ELEMENT, AFTER_ELEMENT) = range(5, 8)
VALUE_STATES: Final = (AFTER_LSQUARE, BEFORE_ELEMENT, BEFORE_MEMBER)


class _Frame:
    """A container that is not closed yet."""

    __slots__ = ("container", "key", "state")

    def __init__(self, container: list[JsonValue] | dict[str, JsonValue], state: int) -> None:
        self.container = container
        self.state = state
        self.key = ""

    def copy(self) -> "_Frame":
        """Return one that can be filled without changing this one; what is complete is shared."""
        if self is _PASSED_OVER:
            return self
        made = _Frame(self.container.copy(), self.state)
        made.key = self.key
        return made


_PASSED_OVER: Final = _Frame([], -1)
Stack: TypeAlias = list[_Frame]


class LocatingReader(MessageReader):
    """Read messages from bytes that are split anywhere, as QEMU 11.1 does."""

    def __init__(self) -> None:
        super().__init__()
        #: The open containers; while an error is being passed over, `_PASSED_OVER` besides.
        self._stack: Stack = []
        self._open = self._stack
        #: Where the chunk that is being read begins.
        self._line = self._column = 1
        self._data = b""
        #: Where a token began whose first byte had been looked at to end the token before.
        self._late_start = -1

    def copy(self) -> Self:
        """Return a reader that has read the same."""
        made = super().copy()
        made._stack = made._open = [frame.copy() for frame in self._stack]  # noqa: SLF001
        return made

    @property
    def _is_recovering(self) -> bool:
        """Return whether the rest of a message with an error is being passed over."""
        return bool(self._stack) and self._stack[-1] is _PASSED_OVER

    def _is_lasting(self, messages: tuple[Message, ...]) -> bool:
        # An error says where it is, and so is not the same again.
        return not any(isinstance(message, CommandError) for message in messages)

    def _read(self, data: bytes) -> Iterator[Message]:
        self._data = data
        yield from super()._read(data)
        self._start -= len(data)
        self._looked_at -= len(data)
        self._late_start -= len(data)
        self._pass(data)

    def _step(self, data: bytes, position: int) -> tuple[int, Message]:
        # The token may end in another chunk, and by a look at another byte.
        if self._state == START and self._is_late(position):
            self._late_start = position
        return super()._step(data, position)

    def _is_late(self, start: int) -> bool:
        """Return whether the byte at *start*, in this chunk, was looked at to end the token before."""
        before = self._data[start - 1 : start] if start > 0 else b""
        return self._looked_at == start or before.isalnum()

    def _pass(self, data: bytes) -> None:
        newline = data.rfind(b"\n")
        if newline < 0:
            self._column += len(data)
        else:
            self._line += data.count(b"\n")
            self._column = len(data) - newline

    def _locate(self) -> str:
        """Return where the token begins, as QEMU counts.

        It sets the column when the token before has ended. If that took a look at this token's first
        byte, the byte is counted already, and the column is one too many.
        """
        start, data = self._start, self._data
        line, column = self._line, self._column + start
        newline = data.rfind(b"\n", 0, max(0, start))
        if newline >= 0:
            line += data.count(b"\n", 0, start)
            column = start - newline
        if self._late_start == start or self._is_late(start):
            column += 1
        return f"{line}:{column}"

    def _accept(self, kind: int, token: bytes) -> Message:
        self._count(kind)
        if kind == ERROR:
            # It ends the message, and what was passed over, too.
            error = None if self._is_recovering else self._stray(token)
            self._reset()
            return MORE if error is None else self._refuse(error, token)
        message: Message = MORE
        if not self._is_recovering:
            limit = self._exceeds(token)
            if limit is not None:
                message = limit
                self._stack.append(_PASSED_OVER)
            else:
                self._tokens_seen += 1
                self._token_size += len(token)
                try:
                    message = self._take(kind, token)
                except CommandError as error:
                    message = self._refuse(error, token)
                    self._stack.append(_PASSED_OVER)
        if not self._is_open:
            self._reset()
        return message

    def _refuse(self, error: CommandError, token: bytes) -> CommandError:
        located = CommandError(f"{self._locate()}: {error}")
        located.text = token
        return located

    def _stray(self, token: bytes) -> CommandError:
        # UNVERIFIED: that it is cut as the other errors of the parser; it is in the series of patches
        # that made this parser (json_parser_feed() calls parse_error()).
        text = from_bytes(token.partition(b"\0")[0])
        return parse_error(f"stray '{text}'")

    def _reset(self) -> None:
        super()._reset()
        self._stack.clear()

    # -- the parser (qobject/json-parser.c) --------------------------------------------------------

    def _take(self, kind: int, token: bytes) -> Message:
        """Take the next token; give the message if it is complete."""
        frame = self._stack[-1] if self._stack else None
        if frame is None:
            return self._begin(kind, token)
        state = frame.state
        if state == AFTER_LCURLY and kind == RCURLY:
            return self._end()
        if state == AFTER_LSQUARE and kind == RSQUARE:
            return self._end()
        if state in VALUE_STATES:
            return self._begin(kind, token)
        if state in (AFTER_LCURLY, BEFORE_KEY):
            if kind != T_STRING:
                raise parse_error("expecting key")
            frame.key = parse_string(token)
            frame.state = AFTER_KEY
        elif state == AFTER_KEY:
            if kind != COLON:
                raise parse_error("expecting ':'")
            frame.state = BEFORE_MEMBER
        elif state == AFTER_MEMBER:
            if kind == RCURLY:
                return self._end()
            if kind != COMMA:
                raise parse_error("expected ',' or '}'")
            frame.state = BEFORE_KEY
        else:
            if kind == RSQUARE:
                return self._end()
            if kind != COMMA:
                raise parse_error("expected ',' or ']'")
            frame.state = BEFORE_ELEMENT
        return MORE

    def _begin(self, kind: int, token: bytes) -> Message:
        """Take the first token of a value."""
        if kind == LCURLY:
            self._stack.append(_Frame({}, AFTER_LCURLY))
        elif kind == LSQUARE:
            self._stack.append(_Frame([], AFTER_LSQUARE))
        else:
            return self._hand_over(parse_scalar(kind, token))
        return MORE

    def _end(self) -> Message:
        """Close the innermost container."""
        return self._hand_over(self._stack.pop().container)

    def _hand_over(self, value: JsonValue) -> Message:
        """Pass a complete value to its container; without one, it is the message."""
        if not self._stack:
            return value
        frame = self._stack[-1]
        container = frame.container
        if isinstance(container, list):
            container.append(value)
            frame.state = AFTER_ELEMENT
        else:
            if frame.key in container:
                raise parse_error("duplicate key")
            container[frame.key] = value
            frame.state = AFTER_MEMBER
        return MORE
