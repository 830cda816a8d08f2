"""Linux's signals by name and number (not the host's: that may be another system)."""

from typing import Final

__all__ = ["MAX_SIGNAL", "SIGNALS", "find_signal"]

MAX_SIGNAL: Final = 64
SIGNALS: Final = dict(
    enumerate(
        [
            "HUP",
            "INT",
            "QUIT",
            "ILL",
            "TRAP",
            "ABRT",
            "BUS",
            "FPE",
            "KILL",
            "USR1",
            "SEGV",
            "USR2",
            "PIPE",
            "ALRM",
            "TERM",
            "STKFLT",
            "CHLD",
            "CONT",
            "STOP",
            "TSTP",
            "TTIN",
            "TTOU",
            "URG",
            "XCPU",
            "XFSZ",
            "VTALRM",
            "PROF",
            "WINCH",
            "POLL",
            "PWR",
            "SYS",
        ],
        1,
    )
)
_NUMBERS: Final = {name: number for number, name in SIGNALS.items()} | {"EXIT": 0, "IO": 29}


def find_signal(text: str) -> int | None:
    """Return the number of a signal by its number or name; None if there is none."""
    if text.isdecimal():
        return int(text) if len(text) < 4 and int(text) <= MAX_SIGNAL else None
    return _NUMBERS.get(text.upper().removeprefix("SIG"))
