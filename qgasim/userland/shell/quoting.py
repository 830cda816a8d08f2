"""How shells show text so that it could be read back."""

import re
from typing import Final

from qgasim.guest.files.nodes import encode_name

__all__ = [
    "quote",
    "quote_always",
    "quote_as_bash",
    "quote_by_backslashes",
    "quote_doubly",
    "quote_singly",
    "quote_unprintable",
]

#: What bash's ``$'...'`` has names for.
ESCAPES: Final = dict(zip(b"\a\b\t\n\v\f\r\x1b'\\", "abtnvfrE'\\", strict=True))
UNPRINTABLE: Final = re.compile(r"[^ -~]")
#: sh_contains_shell_metas() and sh_backslash_quote() of bash's lib/sh/shquote.c.
META: Final = re.compile(r"""[ \t\n'"\\|&;()<>!{}*\[?\]^$`]|\A[#~]|(?<=[:=])~""")
BACKSLASHED: Final = re.compile(r"""[ '"\\|&;()<>!{}*\[?\]^$`,]|\A[#~]""")


def quote_as_bash(text: str) -> str:
    """Put *text* in quotes as bash's ``set -x`` does, if it has a character that means something."""
    if not text:
        return "''"
    if META.search(text):
        return quote_singly(text)
    return quote_unprintable(text)


def quote_singly(text: str) -> str:
    """Put *text* in single quotes as bash does."""
    if text == "'":
        return "\\'"
    return "'" + text.replace("'", "'\\''") + "'"


def quote_doubly(text: str) -> str:
    """Put *text* in double quotes as bash does."""
    return '"' + re.sub(r'["$`\\]', r"\\\g<0>", text) + '"'


def quote_by_backslashes(text: str) -> str:
    """Return *text* as ``%q`` of bash's ``printf`` shows it."""
    if not text:
        return "''"
    if UNPRINTABLE.search(text):
        return quote_unprintable(text)
    return BACKSLASHED.sub(r"\\\g<0>", text)


def quote_unprintable(text: str) -> str:
    """Return *text* as it is, or in bash's ``$'...'`` if some of it cannot be printed."""
    if not UNPRINTABLE.search(text):
        return text
    shown = (
        f"\\{ESCAPES[byte]}"
        if byte in ESCAPES
        else chr(byte)
        if 0x20 <= byte < 0x7F
        else f"\\{byte:03o}"
        for byte in encode_name(text)
    )
    return f"$'{''.join(shown)}'"


def quote(text: str) -> str:
    """Put *text* in quotes as ``set -x`` of BusyBox does, if it needs any."""
    for byte in encode_name(text):
        char = chr(byte)
        if char < "+" or ";" <= char <= "?" or char in "`[\\" or char > "z":
            return quote_always(text)
    return text


def quote_always(text: str) -> str:
    """Put *text* in quotes."""
    quoted = re.sub("'+", """'"\\g<0>"'""", text)
    # What ends with a quote has no empty pair behind it.
    return f"'{quoted}'".removesuffix("''") if text.endswith("'") else f"'{quoted}'"
