"""What the commands of the command line share: options, and what is done with bad ones."""

import argparse
import os
import sys
from typing import NoReturn

__all__ = ["Parser", "mute"]


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (try {self.prog} --help)\n")


def mute() -> None:
    """Say nothing more: who read our output has gone."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
