"""Text for a terminal: nothing in it ends a line, moves the cursor or changes a colour."""

import re
import sys
from typing import Final, TextIO

__all__ = ["LOG_WIDTH", "complain", "readable", "readable_bytes", "readable_lines", "write_bytes"]

#: How many bytes of a request or reply the live log shows.
LOG_WIDTH: Final = 160
_UNPRINTABLE: Final = re.compile(rb"[^ -~]")


def readable_bytes(data: bytes) -> bytes:
    r"""Return *data* with what is not printable ASCII as ``\x1b``, which no JSON has."""
    # Most are as they should be; this is faster than to search them.
    if data.isascii() and data.decode("ascii").isprintable():
        return data
    return _UNPRINTABLE.sub(lambda found: b"\\x%02x" % found[0][0], data)


def readable(text: str) -> str:
    r"""Return *text* with what is not printable as ``\x1b`` or ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def complain(text: str, prefix: str = "") -> None:
    """Report what is wrong on standard error, in lines that begin with *prefix*."""
    if sys.stderr is None:
        # It is closed; print() would take the standard output.
        return
    for line in text.split("\n"):
        print(readable(f"{prefix}{line}"), file=sys.stderr)


def write_bytes(stream: TextIO | None, data: bytes) -> None:
    r"""Write bytes as they are; on a terminal, what would move its cursor or its colours as ``\x1b``."""
    if stream is None or not data:
        return
    stream.flush()
    if stream.isatty():
        stream.write(readable_lines(data))
    else:
        stream.buffer.write(data)
    stream.flush()


def readable_lines(data: bytes) -> str:
    """Return bytes as text whose lines are readable."""
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return "\n".join("\t".join(map(readable, line.split("\t"))) for line in text.split("\n"))
