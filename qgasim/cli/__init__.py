"""The command line: reads options, says what is wrong in one line, and calls the library."""

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from qgasim.cli.parser import mute

__all__ = ["main"]

#: The module of each command; a guest is served if none is named.
_COMMANDS: Final = {
    "call": "call",
    "check": "scenarios",
    "compare": "compare",
    "init": "scenarios",
    "scenarios": "scenarios",
    "schema": "scenarios",
    "serve": "serve",
    "show": "scenarios",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    from qgasim.errors import QgaSimError

    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments.pop(0) if arguments and arguments[0] in _COMMANDS else "serve"
    # Only what the command needs: `qgasim --help` should not wait for the rest.
    module = import_module(f"qgasim.cli.{_COMMANDS[name]}")
    try:
        status: int = getattr(module, name)(arguments)
    except QgaSimError as error:
        for line in str(error).splitlines():
            print(f"qgasim: {line}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        mute()
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status
