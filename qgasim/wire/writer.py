"""Values to text: qobject/json-writer.c, and the order of qobject/qdict.c."""

import re
from collections.abc import Iterable
from typing import Final

from qgasim.wire.text import codepoint_at, to_bytes
from qgasim.wire.values import JsonValue

__all__ = ["bucket", "encode", "encode_double", "encode_string", "hash_order"]


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
        codepoint, position = codepoint_at(raw, position)
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
