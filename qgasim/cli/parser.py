"""What the commands of the command line share: options, and what is done with bad ones."""

import argparse
import os
import sys
from typing import Final, NoReturn

from qgasim.cli.text import readable

__all__ = ["COMMANDS", "Parser", "mute", "seconds"]

#: The module of each command; a guest is served if none is named.
COMMANDS: Final = {
    "call": "call",
    "check": "scenarios",
    "compare": "compare",
    "ctl": "ctl",
    "init": "scenarios",
    "scenarios": "scenarios",
    "schema": "scenarios",
    "serve": "serve",
    "show": "scenarios",
}

#: What a socket's time-out can hold, and nobody waits for: a year.
_LONGEST: Final = 365 * 86400


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, readable(f"{self.prog}: {message} (try {self.prog} --help)") + "\n")


def mute() -> None:
    """Say nothing more: who read our output has gone, or it cannot be written."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def seconds(text: str) -> float:
    """Read an option's number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, found {text!r}")
    return seconds
