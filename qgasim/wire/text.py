"""Strings as QEMU keeps them.

A string is what QEMU keeps in a QString, decoded as UTF-8 with ``surrogateescape``; U+0000 is the
two bytes C0 80 ("modified UTF-8"). So every string has an exact byte form, `to_bytes`, that the
guest takes for file names and arguments.
"""

from typing import Final

__all__ = ["codepoint_at", "from_bytes", "is_valid", "to_bytes"]


def from_bytes(raw: bytes) -> str:
    """Make a string of what QEMU would keep as these bytes."""
    return raw.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Return the bytes that QEMU would keep for *text*."""
    return text.encode("utf-8", "surrogateescape")


def is_valid(codepoint: int) -> bool:
    """Return whether QEMU takes *codepoint*: no surrogates, no non-characters."""
    return (
        0 <= codepoint <= 0x10FFFF
        and not 0xD800 <= codepoint <= 0xDFFF
        and not 0xFDD0 <= codepoint <= 0xFDEF
        and codepoint & 0xFFFE != 0xFFFE
    )


_SMALLEST: Final = (0x80, 0x800, 0x10000, 0x200000, 0x4000000)


def codepoint_at(raw: bytes, position: int) -> tuple[int, int]:
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
    if is_overlong or not is_valid(codepoint):
        return -1, position
    return codepoint, position
