"""Names that are not there: what was meant."""

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = ["did_you_mean", "find_close", "not_there"]

#: How many names are listed one by one.
_SHOWN: Final = 20


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint that ends an error message; nothing if *name* resembles none of *known*."""
    close = find_close(name, known)
    return f" (did you mean '{close[0]}'?)" if close else ""


def find_close(name: str, known: Iterable[str]) -> list[str]:
    """Return the one of *known* that *name* resembles most, if it resembles any."""
    known = list(known)
    if whole := [one for one in known if name and one == f"guest-{name}"]:
        return whole
    # Long names take long to compare, and are no slip of the pen.
    close = difflib.get_close_matches(name, known, n=1) if len(name) < 100 else []
    return close or [one for one in known if name and one.startswith(f"guest-{name}-")][:1]


def not_there(what: str, name: str, known: Iterable[str]) -> str:
    """Return a message: there is no *what* called *name*, what was meant, and which there are."""
    known = sorted({one for one in known if one})
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    there = f"there are: {', '.join(known[:_SHOWN])}{more}" if known else "there is none at all"
    return f"there is no {what} '{name}'{did_you_mean(name, known)} ({there})"
