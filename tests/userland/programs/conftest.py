"""Running a program of a guest: what goes in, what comes out."""

import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest

from qgasim.guest import Guest
from qgasim.guest.files.open_files import Sink, Source
from qgasim.guest.processes.process import Exit

Run: TypeAlias = Callable[..., tuple[bytes, bytes, Exit]]

#: An hour: what has not ended by then waits for something that never comes.
LIMIT = 3_600_000_000_000


@pytest.fixture
def run() -> Run:
    """Run *argv* in a guest until it ends: its output, its messages, and how it ended."""

    def run_program(
        guest: Guest,
        argv: Sequence[str],
        stdin: bytes = b"",
        *,
        cwd: str = "/",
        env: Sequence[str] = ("PATH=/usr/sbin:/usr/bin",),
    ) -> tuple[bytes, bytes, Exit]:
        out, errors = Sink(1 << 24), Sink(1 << 24)
        null = guest.files.open("/dev/null", os.O_RDONLY)
        process = guest.processes.spawn(
            list(argv),
            env=list(env),
            cwd=cwd,
            files={0: Source(stdin) if stdin else null, 1: out, 2: errors},
            search="/usr/sbin:/usr/bin",
        )
        null.close()
        ends: list[Exit] = []
        process.on_exit = ends.append
        guest.processes.run(process, guest.clock.uptime() + LIMIT)
        guest.processes.reap(process)
        assert ends, f"{argv} has not ended"
        return bytes(out.data), bytes(errors.data), ends[0]

    return run_program
