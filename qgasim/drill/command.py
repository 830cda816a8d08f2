"""A command that is run: for so long, with so much of its output kept, and nothing of it left running."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import trio
from msgspec import Struct

from qgasim.drill.leftovers import end_leftovers, has_leftovers
from qgasim.errors import QgaSimError

__all__ = ["OUTPUT_LIMIT", "Ended", "run_command"]

#: How many bytes of what a command prints are kept: the last.
OUTPUT_LIMIT: Final = 64 << 10
#: How long is waited for the end of its output when it has ended, in seconds: a process that has hidden
#: from us may hold the other end.
_PATIENCE: Final = 0.5
#: How long its other processes may take to end after it, in seconds.
_GRACE: Final = 0.25


class Ended(Struct, frozen=True):
    """How a command has ended."""

    #: Its exit status, negative: the signal that ended it; None: it was ended, for it took too long.
    status: int | None
    #: How long it has run.
    seconds: float
    #: What it printed on standard output and standard error: the last of it.
    output: bytes
    #: How many bytes it printed in all.
    printed: int
    #: The programs that it left running.
    left: tuple[str, ...]


class _Output:
    """The last bytes of an output."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.printed = 0

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        with suppress(trio.ClosedResourceError):
            async for data in stream:
                self.printed += len(data)
                self.kept += data
                if len(self.kept) > 2 * OUTPUT_LIMIT:
                    del self.kept[:-OUTPUT_LIMIT]


async def run_command(
    command: Sequence[str], environment: Mapping[str, str], mark: str, limit: float
) -> Ended:
    """Run a command without input or terminal, in a session of its own.

    Args:
        command: the program and its arguments.
        environment: what its environment has beside that of this process.
        mark: the name in *environment* whose value no other run has.
        limit: how many seconds it may take.

    Raises:
        QgaSimError: it cannot be started.
    """
    began = trio.current_time()
    process = await _start(command, environment)
    assert process.stdout
    output, is_late = _Output(), False
    left: list[str] = []
    async with process.stdout, trio.open_nursery() as nursery:
        nursery.start_soon(output.read, process.stdout)
        try:
            with trio.move_on_after(limit) as scope:
                await process.wait()
            is_late = scope.cancelled_caught
        finally:
            seconds = trio.current_time() - began
            with trio.CancelScope(shield=True):
                with suppress(ProcessLookupError):
                    # What it has started and not left is ended with it.
                    if process.returncode is None:
                        os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
                mark = f"{mark}={environment[mark]}"
                with trio.move_on_after(0 if is_late else _GRACE):
                    while has_leftovers(process.pid, mark):  # noqa: ASYNC110 - the kernel tells only parents
                        await trio.sleep(0.01)
            left = end_leftovers(process.pid, mark)
        nursery.cancel_scope.deadline = trio.current_time() + _PATIENCE
    return Ended(
        status=None if is_late else process.returncode,
        seconds=seconds,
        output=bytes(output.kept[-OUTPUT_LIMIT:]),
        printed=output.printed,
        left=() if is_late else tuple(left),
    )


async def _start(command: Sequence[str], environment: Mapping[str, str]) -> trio.Process:
    try:
        return await trio.lowlevel.open_process(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise QgaSimError(f"{command[0]}: cannot be started: {reason}") from None
