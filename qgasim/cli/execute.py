"""``qgasim exec``: run a program in a guest."""

import argparse
import os
import stat
import sys
from typing import TYPE_CHECKING, Final

from qgasim.cli.parser import Parser, add_address, add_timeout
from qgasim.cli.text import complain, readable, write_bytes
from qgasim.errors import ClientError

if TYPE_CHECKING:
    from qgasim.client.blocking import SyncClient
    from qgasim.client.execution import Ended

__all__ = ["exec", "run_and_print"]

#: The exit statuses that tell of what is not the program's own, as those of docker and env.
_NOT_DONE: Final = 125
_NOT_STARTED: Final = 126
_NOT_FOUND: Final = 127
#: The largest exit status that there is on this side.
_LARGEST: Final = 255

_EPILOG: Final = """\
exit status:
  the program's; 128 plus the number of the signal that ended it; 255 for all that are larger, as on Windows
  125  qgasim exec failed: wrong usage, no agent, no answer, request refused
  126  the guest cannot execute the program
  127  the guest has no such program
"""


class _ExecParser(Parser):
    failure_status = _NOT_DONE


def exec(arguments: list[str]) -> int:  # noqa: A001
    """Run a program in a guest; return its exit status."""
    parser = _ExecParser(
        prog="qgasim exec",
        usage="qgasim exec [--timeout S] ADDRESS [--] PROGRAM [ARGUMENT ...]",
        description="Run a program in the guest of an agent, simulated or real; wait for its end, and\n"
        "print what it wrote. A pipe or a file as standard input is the program's input.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_address(parser)
    parser.add_argument(
        "program",
        metavar="PROGRAM",
        nargs=argparse.REMAINDER,
        help="the program and its arguments, not a line for a shell; for one, use sh -c 'ls | wc -l'",
    )
    add_timeout(parser)
    options = parser.parse_args(arguments)
    words: list[str] = options.program
    words = words[1:] if words[:1] == ["--"] else words
    if not words or not words[0]:
        parser.error("expected a program, as in qgasim exec ADDRESS -- uname -r")

    from qgasim.client.blocking import SyncClient

    try:
        stdin = _read_input()
        with SyncClient(options.address, options.timeout) as client:
            return run_and_print(client, words, stdin)
    except ClientError as error:
        complain(readable(str(error)), "qgasim exec: ")
        return _NOT_DONE


def run_and_print(client: "SyncClient", words: list[str], stdin: bytes | None = None) -> int:
    """Run a program, print what it wrote, and return the exit status of `qgasim exec`.

    Raises:
        ClientError: the agent hangs up or does not answer in time; and whatever it refuses but to start
            the program.
    """
    from qgasim.client.execution import run_program

    try:
        ended = run_program(client, words[0], words[1:], stdin)
    except ClientError as error:
        text = str(error)
        # g_spawn_async_with_pipes() of glib, as qemu-ga passes its errors on.
        if "Failed to execute child process" not in text:
            raise
        complain(text, "qgasim exec: ")
        return _NOT_FOUND if "No such file or directory" in text else _NOT_STARTED
    write_bytes(sys.stdout, ended.out)
    write_bytes(sys.stderr, ended.err)
    if ended.is_cut:
        complain("the agent kept only the first 16 MiB of the output", "qgasim exec: ")
    return _status_of(ended)


def _status_of(ended: "Ended") -> int:
    if ended.signal is not None:
        status = 128 + ended.signal
        told = f"exception {ended.signal:#x}"
    else:
        status = ended.status or 0
        told = f"status {status}"
    if 0 <= status <= _LARGEST:
        return status
    complain(f"the program ended with {told}", "qgasim exec: ")
    return _LARGEST


def _read_input() -> bytes | None:
    """Return what the standard input has, if it is a pipe or a file; raise ClientError if that is too much."""
    from qgasim.client.execution import INPUT_LIMIT

    if sys.stdin is None:
        return None
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # it is closed, or nothing of the system's
        return None
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return None
    data = sys.stdin.buffer.read(INPUT_LIMIT + 1)
    if len(data) > INPUT_LIMIT:
        raise ClientError(f"standard input: more than {INPUT_LIMIT >> 20} MiB")
    return data
