"""Tokens to values: qobject/json-parser.c."""

import re
from contextlib import suppress
from typing import Final, TypeAlias, cast

from qgasim.errors import AgentAbort, CommandError
from qgasim.wire.text import from_bytes, is_valid, to_bytes
from qgasim.wire.values import JsonValue

__all__ = [
    "COLON",
    "COMMA",
    "LCURLY",
    "LSQUARE",
    "RCURLY",
    "RSQUARE",
    "T_ABORT",
    "T_FLOAT",
    "T_INTEGER",
    "T_KEYWORD",
    "T_STRING",
    "Token",
    "parse",
    "parse_error",
    "parse_scalar",
    "parse_string",
]

(LCURLY, RCURLY, LSQUARE, RSQUARE, COLON, COMMA) = range(100, 106)
(T_INTEGER, T_FLOAT, T_KEYWORD, T_STRING) = range(106, 110)
# A string that ends the agent (`wire.old`): no lexer gives it.
T_ABORT: Final = 110
Token: TypeAlias = tuple[int, bytes]
# json-parser.c, parse_error(): char message[1024].
MAX_PARSE_ERROR: Final = 1023


def parse_error(text: str) -> CommandError:
    return CommandError("JSON parse error, " + from_bytes(to_bytes(text)[:MAX_PARSE_ERROR]))


def parse(tokens: list[Token], *, replaces_duplicates: bool = False) -> JsonValue:
    """Parse balanced *tokens*, or such that close more than they open.

    *replaces_duplicates*: a member whose key was there before takes its place.

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
        if kind in (LCURLY, LSQUARE):
            opened: list[JsonValue] | dict[str, JsonValue] = {} if kind == LCURLY else []
            closing = RCURLY if kind == LCURLY else RSQUARE
            kind, token = next(stream)
            if kind != closing:
                frames.append((opened, None))
                continue
            value = opened
        else:
            value = parse_scalar(kind, token)
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
                        raise parse_error("key is not a string in object")
                    if kind != COLON:
                        raise parse_error("missing : in object pair")
                    frames[-1] = (container, value)
                    break
                if key in container and not replaces_duplicates:
                    raise parse_error("duplicate key")
                container[key] = value
                frames[-1] = (container, None)
                closing, name = RCURLY, "dict"
            if kind == COMMA:
                break
            if kind != closing:
                raise parse_error(f"expected separator in {name}")
            value = cast("JsonValue", container)
            frames.pop()
        kind, token = next(stream)


def parse_scalar(kind: int, token: bytes) -> JsonValue:
    """Parse a value of one token."""
    if kind == T_STRING:
        return parse_string(token)
    if kind in (T_INTEGER, T_FLOAT):
        return _parse_number(kind, token)
    if kind == T_ABORT:
        # What is wrong before the end is found first.
        parse_string(token)
        raise AgentAbort
    if kind != T_KEYWORD:
        raise parse_error("expecting value")
    if token not in _KEYWORDS:
        raise parse_error(f"invalid keyword '{token.decode()}'")
    return _KEYWORDS[token]


_KEYWORDS: Final[dict[bytes, bool | None]] = {b"true": True, b"false": False, b"null": None}


def _parse_number(kind: int, token: bytes) -> int | float:
    # An integer that fits neither int64_t nor uint64_t becomes a double.
    if kind == T_INTEGER and len(token) <= 20:
        number = int(token)
        if -(1 << 63) <= number < 1 << 64:
            return number
    return float(token)


_ESCAPE: Final = re.compile(rb"\\u|\\(?s:.)")
_NON_CHARACTER: Final = re.compile(
    "[\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_LOW_SURROGATE: Final = re.compile(rb"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_HEX4: Final = re.compile(rb"[0-9a-fA-F]{4}")
# What is right, by pieces, so that what is made of it on the way stays small: characters of Unicode's table
# 3-7 (those that Python decodes, too), escapes, pairs of surrogates, U+0000 in both its forms.
_RIGHT: Final = re.compile(
    rb"(?:[\x20-\x5b\x5d-\x7f]{1,256}+|[\xc2-\xdf][\x80-\xbf]"
    rb"|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
    rb"|\\[bfnrt\"'\\/]"
    rb"|\\u(?![dD][89a-fA-F]|[fF][dD][dDeE]|[fF]{3}[eEfF])[0-9a-fA-F]{4}"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD](?![fF]{2}[eEfF])[c-fC-F][0-9a-fA-F]{2}"
    rb"|\xc0\x80){1,65536}+"
)
_HIGH_SURROGATE: Final = re.compile("[\ud800-\udbff]")
_NUL: Final = "\udcc0\udc80"


def parse_string(token: bytes) -> str:
    if b"\\" not in token and token.isascii():
        return str(memoryview(token)[1:-1], "ascii")
    if b"\\" not in token:
        with suppress(UnicodeDecodeError):
            return _check_characters(str(memoryview(token)[1:-1], "utf-8"))
    parts: list[str] = []
    position, end = 1, len(token) - 1
    while position < end:
        right = _RIGHT.match(token, position, end)
        if right:
            parts.append(_unescape(right[0]))
            position = right.end()
            continue
        escape = _ESCAPE.match(token, position)
        if escape is None:
            raise parse_error("invalid UTF-8 sequence in string")
        if escape[0] != b"\\u":
            raise parse_error("invalid escape sequence in string")
        character, position = _parse_unicode_escape(token, position)
        parts.append(character)
    return "".join(parts)


def _unescape(right: bytes) -> str:
    """Decode what `_RIGHT` matches."""
    if b"\\" not in right:
        return _check_characters(right.decode("utf-8", "surrogateescape"))
    # Where two are one, each backslash that is left begins an escape.
    plain = (
        right.replace(b"\\\\", b"\\u005c").replace(b"\\/", b"/").replace(b"\\u0000", b"\xc0\x80")
    )
    text = plain.decode("utf-8", "surrogateescape")
    _check_characters(text)
    text = text.encode("ascii", "backslashreplace").decode("unicode_escape")
    if _HIGH_SURROGATE.search(text):
        units = text.encode("utf-16-le", "surrogatepass")
        text = units.decode("utf-16-le", "surrogatepass")
    return text


def _check_characters(text: str) -> str:
    if _NON_CHARACTER.search(text):
        raise parse_error("invalid UTF-8 sequence in string")
    return text


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
    if not is_valid(codepoint):
        text = from_bytes(token[position:after])
        raise parse_error(f"{text} is not a valid Unicode character")
    return chr(codepoint) if codepoint else _NUL, after
