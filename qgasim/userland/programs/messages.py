"""What programs say when something is wrong, in the words of two userlands."""

import re
from typing import NoReturn, TypeVar

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.processes.process import Process, ProgramExit, Waiting

__all__ = [
    "complain",
    "explain",
    "fail",
    "failure_status",
    "is_busybox",
    "label",
    "pick",
    "quote",
    "quote_if_odd",
    "quote_text",
]

T = TypeVar("T")
#: What need not be quoted; a colon is, for it ends a name in a message.
PLAIN = re.compile(r"[A-Za-z0-9%+,\-./\]_@{}#~]+")
UNPRINTABLE = re.compile(r"[^ -~]+")
_ESCAPES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r"}
#: With what a program ends that fails, where it is not 1: BusyBox's, and the others.
_FAILURES = {"grep": 2, "sort": 2}, {"awk": 2, "env": 125, "grep": 2, "ip": 255, "ls": 2, "sort": 2}


def is_busybox(p: Process) -> bool:
    """Return whether the guest's programs are BusyBox's and not those of GNU, util-linux and procps."""
    return p.guest.settings.os.userland == "busybox"


def pick(p: Process, busybox: T, gnu: T) -> T:
    """Return the one of two that the guest's userland has."""
    return busybox if is_busybox(p) else gnu


def label(p: Process) -> str:
    """Return what a message begins with: GNU programs say how they were called."""
    return p.name if is_busybox(p) else p.argv[0]


def quote(name: str) -> str:
    """Put *name* in quotes as GNU programs do in the C locale (gnulib's quotearg, shell-escape-always)."""
    if "'" in name and '"' not in name and name.isascii():
        return f'"{name}"'
    # Runs of what cannot be printed have quotes of their own.
    shown = "'" + UNPRINTABLE.sub(lambda run: f"'$'{_octal(run[0])}''", name.replace("'", "'\\''"))
    return shown[:-1] if UNPRINTABLE.fullmatch(name[-1:]) else shown + "'"


def _octal(text: str) -> str:
    return "".join(f"\\{_ESCAPES.get(byte, f'{byte:03o}')}" for byte in encode_name(text))


def quote_if_odd(name: str) -> str:
    """Put *name* in quotes only if a shell, or a reader of a message, would not take it for one plain word."""
    is_plain = PLAIN.fullmatch(name) and name not in ("{", "}") and name[0] not in "#~"
    return name if is_plain else quote(name)


def quote_text(text: str) -> str:
    """Put what is no file's name in quotes as GNU programs do in the C locale (gnulib's quote())."""
    shown = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{UNPRINTABLE.sub(lambda run: _octal(run[0]), shown)}'"


def explain(error: OSError) -> str:
    """Return the kernel's text for *error*."""
    return error.strerror or "Unknown error"


def complain(p: Process, text: str) -> Waiting[None]:
    """Write a message to the standard error, if that is open."""
    try:
        yield from p.write(2, f"{label(p)}: {text}\n")
    except OSError:
        return


def failure_status(p: Process) -> int:
    """Return with what the program ends if it cannot do its work."""
    return pick(p, *_FAILURES).get(p.name, 1)


def fail(p: Process, text: str, code: int | None = None) -> Waiting[NoReturn]:
    """Write a message and end with *code*; None: the program's usual one for a failure."""
    yield from complain(p, text)
    raise ProgramExit(failure_status(p) if code is None else code)
