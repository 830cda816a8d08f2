"""Values to text: qobject/json-writer.c, and the order of qobject/qdict.c."""

import re
from collections.abc import Iterable
from typing import Final

from qgasim.wire.text import codepoint_at, is_valid, to_bytes
from qgasim.wire.values import JsonValue

__all__ = ["bucket", "encode", "encode_double", "encode_string", "hash_order"]


def bucket(key: str) -> int:
    """Return the bucket of a QDict that holds *key*: members come out bucket by bucket."""
    raw = to_bytes(key)
    value = 0x238F13AF * len(raw)
    # Each 24th byte is shifted alike.
    for index in range(min(24, len(raw))):
        value += sum(raw[index::24]) << (index * 5 % 24)
    return (1103515243 * value + 12345 & 0xFFFFFFFF) % 512


def hash_order(names: Iterable[str]) -> list[str]:
    """Return *names*, in the order of their insertion, in the order in which a QDict has them.

    Bucket by bucket; in a bucket, the latest first.
    """
    latest_first = list(names)
    latest_first.reverse()
    return sorted(latest_first, key=bucket)


_PLAIN: Final = re.compile(r"[ !#-\[\]-~]*+")
_LONG_PLAIN: Final = re.compile(r"([ !#-\[\]-~]{256,}+)")
#: Bytes that are not of Python's UTF-8; some of them are of QEMU's.
_RAW: Final = re.compile("([\udc80-\udcff]+)")
#: What mod_utf8_codepoint() takes for one, right or not: the first byte says how many may follow.
_SEQUENCE: Final = re.compile(
    rb"[\xc0-\xdf][\x80-\xbf]?+|[\xe0-\xef][\x80-\xbf]{0,2}+|[\xf0-\xf7][\x80-\xbf]{0,3}+"
    rb"|[\xf8-\xfb][\x80-\xbf]{0,4}+|[\xfc\xfd][\x80-\xbf]{0,5}+|[\x80-\xbf\xfe\xff]"
)
_SEQUENCES_RUN: Final = re.compile(rb"(?:%b){1,65536}+" % _SEQUENCE.pattern)
_KEPT_CHARACTERS: Final = 4096
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
    if len(text) < 256:
        return f'"{_write(text)}"'
    # Every other part is a run of what is written as it is.
    parts = _LONG_PLAIN.split(text)
    parts[::2] = map(_write, parts[::2])
    return f'"{"".join(parts)}"'


def _write(text: str) -> str:
    parts = _RAW.split(text)
    for index, part in enumerate(parts):
        parts[index] = _write_raw(to_bytes(part)) if index % 2 else part.translate(_CHARACTERS)
    return "".join(parts)


def _write_raw(raw: bytes) -> str:
    """Write bytes in which no sequence begins that Python takes."""
    nuls = len(raw) // 2
    if raw == b"\xc0\x80" * nuls:
        return "\\u0000" * nuls
    # By pieces, so that what is made of it on the way stays small.
    return "".join(
        "".join(map(_SEQUENCES.__getitem__, _SEQUENCE.findall(raw, start, end)))
        for start, end in (piece.span() for piece in _SEQUENCES_RUN.finditer(raw))
    )


def _write_character(codepoint: int) -> str:
    if not is_valid(codepoint):
        codepoint = 0xFFFD
    if codepoint in _WRITTEN:
        return _WRITTEN[codepoint]
    if codepoint > 0xFFFF:
        high, low = divmod(codepoint - 0x10000, 0x400)
        return f"\\u{0xD800 + high:04X}\\u{0xDC00 + low:04X}"
    if codepoint < 0x20 or codepoint >= 0x7F:
        return f"\\u{codepoint:04X}"
    return chr(codepoint)


class _Characters(dict[int, str]):
    """How characters are written; as many as are often written are kept."""

    def __missing__(self, codepoint: int) -> str:
        text = _write_character(codepoint)
        if len(self) < _KEPT_CHARACTERS:
            self[codepoint] = text
        return text


_CHARACTERS: Final = _Characters()


class _Sequences(dict[bytes, str]):
    """How sequences of bytes are written that Python does not take for UTF-8; as in `_Characters`."""

    def __missing__(self, raw: bytes) -> str:
        text = _write_character(codepoint_at(raw, 0)[0])
        if len(self) < _KEPT_CHARACTERS:
            self[raw] = text
        return text


_SEQUENCES: Final = _Sequences()


def encode_double(value: float, *, is_exact: bool = True) -> str:
    """Write a double: with 17 significant digits, or if not *is_exact*, as QEMU before 6.0 did."""
    if is_exact:
        return f"{value:.17g}"
    text = f"{value:.6f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def encode(value: JsonValue, *, exact_doubles: bool = True) -> str:
    """Write any JSON value.

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
            parts.append(encode_double(item, is_exact=exact_doubles))
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
