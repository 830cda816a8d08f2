"""Base64 as qemu-ga takes it: util/base64.c in front of glib's decoder, which never fails."""

import re
from itertools import compress
from typing import Final

import pybase64

from qgasim.errors import CommandError

__all__ = ["decode", "encode"]

_IS_NO_PADDING: Final = bytes(byte != ord("=") for byte in range(256))
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
    result = pybase64.b64decode(groups.replace("=", "A"), validate=True)
    # The third character of a group decides over the second byte, the fourth over the third.
    marks = groups.encode("ascii").translate(_IS_NO_PADDING)
    kept = bytearray(b"\1") * len(result)
    kept[1::3], kept[2::3] = marks[2::4], marks[3::4]
    return bytes(compress(result, kept))
