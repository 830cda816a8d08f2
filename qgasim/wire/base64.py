"""Base64 as qemu-ga takes it: util/base64.c in front of glib's decoder, which never fails."""

import re
from typing import Final

import pybase64

from qgasim.errors import CommandError

__all__ = ["decode", "encode"]

_VALID: Final = re.compile(r"[A-Za-z0-9+/=\n]*+")


def encode(data: bytes) -> bytes:
    """Write *data* in base64, in one line."""
    return pybase64.b64encode(data)


def decode(text: str) -> bytes:
    """Read base64 as ``g_base64_decode`` does.

    An incomplete last group is dropped; padding may stand anywhere and ends nothing.
    """
    if len(text) % 4 == 0:
        try:
            return pybase64.b64decode(text, validate=True)
        except ValueError:
            pass
    if not _VALID.fullmatch(text):
        raise CommandError("Base64 data contains invalid characters")
    groups = text.replace("\n", "")
    groups = groups[: len(groups) // 4 * 4]
    result = bytearray(pybase64.b64decode(groups.replace("=", "A"), validate=True))
    for at in reversed([m.start() for m in re.finditer("=", groups)]):
        # The third character of a group decides over the second byte, the fourth over the third.
        byte = at // 4 * 3 + at % 4 - 1
        if at % 4 >= 2:
            del result[byte]
    return bytes(result)
