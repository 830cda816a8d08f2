"""The command line: reads options, says what is wrong in one line, and calls the library."""

import io
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["main"]

#: The exit status after SIGINT (128 + 2).
_INTERRUPTED = 130
#: What ends a server.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with _ending_on_signals():
            # All that takes long is imported here, where a signal is met.
            return _main(arguments[:])
    except _Ended as ended:
        # A server (it is called by its options alone) that had not begun to serve has nothing to finish.
        is_server = not arguments or arguments[0].startswith("-")
        return 0 if is_server else 128 + ended.number
    except KeyboardInterrupt:
        return _INTERRUPTED


class _Ended(KeyboardInterrupt):
    """A signal has come, and what is going on is left."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _end(number: int, _frame: object) -> NoReturn:
    # A second one must not keep from cleaning up.
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise _Ended(number)


@contextmanager
def _ending_on_signals() -> Generator[None]:
    """Let signals that end a server raise `_Ended`; one that is ignored (nohup) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, _end)
        for number in _SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        # Mostly of the standard output; other errors are reported where it is known what they are of.
        mute()
        reason = error.strerror or str(error)
        text = f"{error.filename}: {reason}" if error.filename else f"cannot write: {reason}"
        complain(text, "qgasim: ")
        return 2
    return status


def _be_lenient() -> None:
    """Write what the terminal's encoding has no character for as an escape."""
    for stream in (sys.stdout, sys.stderr):
        # None: it is closed; and one that a caller has put there may not be a file of Python's.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
