"""What programs say when something is wrong, in the words of two userlands."""

from typing import NoReturn, TypeVar

from qgasim.guest.processes.process import Process, ProgramExit, Waiting

__all__ = ["complain", "explain", "fail", "is_busybox", "label", "pick", "quote", "quote_if_odd"]

T = TypeVar("T")


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
    """Put *name* in quotes as GNU programs do in the C locale."""
    if "'" in name and '"' not in name:
        return f'"{name}"'
    return "'" + name.replace("'", "'\\''") + "'"


def quote_if_odd(name: str) -> str:
    """Put *name* in quotes only if a shell would not take it for one plain word."""
    plain = name and all(c.isalnum() or c in "-_./,+%@:=^]}" or c > "\x7f" for c in name)
    return name if plain else quote(name)


def explain(error: OSError) -> str:
    """Return the kernel's text for *error*."""
    return error.strerror or "Unknown error"


def complain(p: Process, text: str) -> Waiting[None]:
    """Write a message to the standard error; nobody minds if that is closed."""
    try:
        yield from p.write(2, f"{label(p)}: {text}\n")
    except OSError:
        return


def fail(p: Process, text: str, code: int = 1) -> Waiting[NoReturn]:
    """Write a message and end with *code*."""
    yield from complain(p, text)
    raise ProgramExit(code)
