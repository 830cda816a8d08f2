"""What went wrong in qgasim itself while it worked on a request, in words.

A command refuses by `CommandError`. What else it raises is of two kinds. A `GuestError` comes from the
state of the guest, and the real agent would have met with it, too: the client is told what the guest's
kernel says. Everything else is a bug of qgasim or a limit of the host; the reply says so, and the
exception is kept for tests.
"""

from traceback import walk_tb
from types import TracebackType
from typing import Final

from qgasim.errors import CommandError, GuestError, KernelError
from qgasim.guest.files.nodes import WouldBlock

__all__ = ["describe_failure", "explain_failure", "is_of_guest", "refuse"]

_TEXT_LIMIT: Final = 200


def is_of_guest(error: Exception) -> bool:
    """Return whether *error* follows from the guest's state: neither from a bug nor from the host."""
    return isinstance(error, GuestError)


def refuse(command: str, error: Exception) -> CommandError:
    """Return the error reply to a request for *command* that has raised *error*."""
    if not is_of_guest(error):
        return CommandError(f"qgasim failed to execute {command}: {describe_failure(error)}")
    # UNVERIFIED: the words. A call that blocks hangs the real agent until the guest lets it go on.
    reason = str(error)
    if isinstance(error, KernelError):
        reason = error.strerror or reason
    elif isinstance(error, WouldBlock):
        reason = "Resource temporarily unavailable"
    return CommandError(f"failed to execute {command}: {reason}")


def describe_failure(error: Exception) -> str:
    """Return what went wrong and where, in a line."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError):
        return f"the host says: {error.strerror or error}"
    where = _place(error.__traceback__)
    return f"{type(error).__name__}: {str(error)[:_TEXT_LIMIT]!r}{where}"


def explain_failure(command: str, error: Exception) -> str:
    """Return the line for the log of a failure."""
    text = f"qgasim failed to execute {command}: {describe_failure(error)}"
    if isinstance(error, MemoryError | OSError):
        return text
    return f"{text}. This is a bug in qgasim: please report it with the request"


def _place(traceback: TracebackType | None) -> str:
    """Return in which line of qgasim it happened."""
    place = ""
    for frame, line in walk_tb(traceback):
        _, package, module = frame.f_code.co_filename.rpartition("/qgasim/")
        if package:
            place = f" at qgasim/{module}:{line}"
    return place
