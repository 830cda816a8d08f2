"""The command line: reads options, says what is wrong in one line, and calls the library."""

import io
import sys
from collections.abc import Sequence

__all__ = ["main"]

#: The status of who was ended by SIGINT.
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    try:
        # All that takes long is imported here, where an interrupt is met.
        return _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return _INTERRUPTED


def _main(arguments: list[str]) -> int:
    from importlib import import_module

    from qgasim.cli.parser import COMMANDS, mute
    from qgasim.cli.text import complain
    from qgasim.errors import QgaSimError

    name = arguments.pop(0) if arguments and arguments[0] in COMMANDS else "serve"
    _be_lenient()
    try:
        # Only what the command needs: `qgasim --help` should not wait for the rest.
        module = import_module(f"qgasim.cli.{COMMANDS[name]}")
        status: int = getattr(module, name)(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except QgaSimError as error:
        complain(str(error), "qgasim: ")
        return 2
    except BrokenPipeError:
        mute()
        return 1
    except OSError as error:
        # Mostly of the standard output; all others are told by who knows of what they are.
        mute()
        reason = error.strerror or str(error)
        text = f"{error.filename}: {reason}" if error.filename else f"cannot write: {reason}"
        complain(text, "qgasim: ")
        return 2
    return status


def _be_lenient() -> None:
    """Write what the terminal's encoding has no character for as an escape."""
    for stream in (sys.stdout, sys.stderr):
        # None: it is closed; and somebody else's may be none of Python's own.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
