"""The rule by which QEMU takes what users call devices, networks and objects (util/id.c)."""

import re
from typing import Final

from qgasim.errors import CommandError

__all__ = ["check_identifier", "is_identifier"]

_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


def is_identifier(text: str) -> bool:
    """Return whether QEMU takes a name: a letter, and then letters, digits, ``-``, ``.`` and ``_``."""
    return _IDENTIFIER.fullmatch(text) is not None


def check_identifier(name: str, value: str) -> None:
    """Refuse a *value* of the parameter *name* that is none.

    Raises:
        CommandError: it is none.
    """
    if not is_identifier(value):
        raise CommandError(f"Parameter '{name}' expects an identifier")
