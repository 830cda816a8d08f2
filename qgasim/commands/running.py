"""Programs of the guest that a command runs and waits for (qga/commands-posix.c, ga_run_command())."""

import os
import signal
from collections.abc import Iterable
from typing import Final

from qgasim.agent import Agent
from qgasim.errors import AgentAbort, CommandError
from qgasim.guest.files.nodes import decode_name
from qgasim.guest.files.open_files import OpenFile, Sink, Source
from qgasim.guest.processes.process import Exit
from qgasim.guest.units import SECOND

__all__ = ["run", "run_helper"]

#: How long a helper program may run that the agent waits for (ns).
HELPER_LIMIT: Final = 3600 * SECOND


def run(agent: Agent, path: str, argv: Iterable[str], stdin: bytes = b"") -> tuple[Exit, bytes]:
    """Run a program of the guest and wait for it; return its end, and what it wrote.

    The reply waits as long as the program runs. A program that cannot be started ends with status 1,
    as after a failed exec in the child.
    """
    guest = agent.guest
    argv = list(argv)
    output = Sink()
    try:
        null = guest.files.open("/dev/null", os.O_RDWR)
    except OSError:
        # reopen_fd_to_null() does not mind (qga/commands-posix.c): the program has what the agent has.
        null = Source(b"")
    files: dict[int, OpenFile] = {0: Source(stdin) if stdin else null, 1: output, 2: output}
    assert agent.process is not None
    try:
        process = guest.processes.spawn(
            argv, env=agent.process.env, files=files, parent=agent.process.pid, program=path
        )
    except OSError as error:
        return Exit(1), f"failed to exec '{path}': {error.strerror}\n".encode()
    finally:
        null.close()
    agent.helpers.append(argv)
    process.on_exit = lambda _: None
    now = guest.clock.uptime()
    ended = guest.processes.run(process, now + HELPER_LIMIT)
    guest.processes.reap(process)
    if ended > now:
        agent.state.busy_until = max(agent.state.busy_until, ended)
    return process.exit or Exit(signal=9), bytes(output.data)


def run_helper(
    agent: Agent, action: str, path: str, argv: list[str], *, failed: str, stdin: bytes = b""
) -> None:
    """Run a program of the guest that has to succeed.

    *failed* is the wording of a failure in releases that do not tell what the program wrote;
    the others say that it failed to do *action*, and why.

    Raises:
        CommandError: it did not succeed.
        AgentAbort: it wrote something that the release cannot read.
    """
    ended, output = run(agent, path, argv, stdin)
    if output and agent.dialect.dies_of_helper_output:
        raise AgentAbort(signal.SIGSEGV)
    # A C string.
    wrote = decode_name(output.partition(b"\0")[0]) if agent.dialect.tells_helper_output else ""
    if ended.signal is not None:
        text = "child process has terminated abnormally"
    elif not ended.code:
        return
    elif not agent.dialect.tells_helper_output:
        raise CommandError(failed)
    else:
        text = f"child process has failed to {action}"
        wrote = wrote or f"exit status {ended.code}"
    raise CommandError(f"{text}: {wrote}" if wrote else text)
