"""Base64 as qemu-ga takes it: util/base64.c in front of glib's decoder, which never fails."""

import binascii
import re
from typing import Final

from qgasim.errors import CommandError

__all__ = ["decode", "encode"]

_VALID: Final = re.compile(r"[A-Za-z0-9+/=\n]*+")


def encode(data: bytes) -> str:
    """Write *data* in base64, in one line."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode(text: str) -> bytes:
    """Read base64 as ``g_base64_decode`` does.

    An incomplete last group is dropped; padding may stand anywhere and ends nothing.
    """
    if len(text) % 4 == 0:
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except ValueError:
            pass
    if not _VALID.fullmatch(text):
        raise CommandError("Base64 data contains invalid characters")
    groups = text.replace("\n", "")
    groups = groups[: len(groups) // 4 * 4]
    result = bytearray(binascii.a2b_base64(groups.replace("=", "A")))
    for at in reversed([m.start() for m in re.finditer("=", groups)]):
        # The third character of a group decides over the second byte, the fourth over the third.
        byte = at // 4 * 3 + at % 4 - 1
        if at % 4 >= 2:
            del result[byte]
    return bytes(result)
