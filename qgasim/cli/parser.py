"""What the commands of the command line share: options, and what is done with bad ones."""

import argparse
import os
import sys
from typing import Final, NoReturn

__all__ = ["Parser", "mute", "seconds"]

#: What a socket's time-out can hold, and nobody waits for: a year.
_LONGEST: Final = 365 * 86400


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (try {self.prog} --help)\n")


def mute() -> None:
    """Say nothing more: who read our output has gone."""
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
