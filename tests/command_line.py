"""The command line, called as a function and started as a program."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qgasim.cli import main
from tests.serving import PATIENCE

ROOT = Path(__file__).parent.parent


def run(arguments: list[str]) -> int | str | None:
    """Return the exit status, however it is given."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


@contextmanager
def closed_pipe() -> Iterator[int]:
    """Return the end of a pipe for writing that has no end for reading."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@contextmanager
def started(*arguments: str, stdout: int = subprocess.PIPE) -> Iterator["subprocess.Popen[str]"]:
    program = subprocess.Popen(
        [sys.executable, "-m", "qgasim", *arguments],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        # Each line is written by itself, as to a terminal.
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield program
    finally:
        if program.poll() is None:
            program.kill()
        program.communicate(timeout=PATIENCE)


def ready_lines(program: "subprocess.Popen[str]") -> list[str]:
    assert program.stdout is not None
    return [program.stdout.readline() for _ in range(4)]


def end(program: "subprocess.Popen[str]", number: int) -> tuple[int, str]:
    """Send a signal; give the exit status and what was written to stderr."""
    program.send_signal(number)
    _, err = program.communicate(timeout=PATIENCE)
    return program.returncode, err
