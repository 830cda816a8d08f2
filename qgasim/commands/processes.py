"""Commands that run programs in the guest."""

import errno
import os
from collections.abc import Callable
from typing import Annotated, Final, Literal

from msgspec import Struct

from qgasim.agent import Agent
from qgasim.agent.handles import Execution
from qgasim.errors import CommandError
from qgasim.guest.files.open_files import OpenFile, Sink, Source
from qgasim.guest.processes.process import Process
from qgasim.guest.processes.table import LOAD_TIME
from qgasim.qapi.annotations import Alternate, Exact
from qgasim.qapi.registry import POSIX, command
from qgasim.wire import base64

__all__ = ["Exec", "ExecStatus", "collect", "describe", "getenv", "run"]

OUTPUT_LIMIT: Final = 16 << 20


class Exec(Struct, frozen=True):
    """QAPI ``GuestExec``."""

    pid: Annotated[int, Exact()]


class ExecStatus(Struct, frozen=True, rename="kebab", kw_only=True):
    """QAPI ``GuestExecStatus``."""

    exited: Annotated[bool, Exact()]
    exitcode: Annotated[int, Exact()] | None = None
    signal: Annotated[int, Exact()] | None = None
    out_data: Annotated[bytes, Exact()] | None = None
    err_data: Annotated[bytes, Exact()] | None = None
    out_truncated: Annotated[bool, Exact()] | None = None
    err_truncated: Annotated[bool, Exact()] | None = None


def collect(agent: Agent, pid: int, unknown: str) -> Execution | None:
    """Forget a program that has ended, and give it; None if it has not yet.

    *unknown* is the wording for a pid that is none.
    """
    execution = agent.state.executions.get(pid)
    if execution is None:
        raise CommandError(unknown.format(pid))
    if not execution.is_finished:
        return None
    del agent.state.executions[pid]
    execution.forget()
    return execution


@command(since=(2, 5), platforms=POSIX)
def guest_exec_status(agent: Agent, pid: int) -> ExecStatus:
    """Return whether a program has ended, and once, how and what it wrote."""
    execution = collect(agent, pid, agent.dialect.unknown_pid_text)
    if execution is None:
        return ExecStatus(exited=False)
    ended = execution.process.exit
    assert ended is not None
    exitcode = ended.code if ended.signal is None else None
    return describe(agent, execution, exitcode=exitcode, signal=ended.signal)


def describe(
    agent: Agent, execution: Execution, *, exitcode: int | None, signal: int | None
) -> ExecStatus:
    """Return how a program ended and what it wrote."""
    out, err = execution.out, execution.err
    return ExecStatus(
        exited=True,
        exitcode=exitcode,
        signal=signal,
        out_data=bytes(out.data) if out and out.data else None,
        out_truncated=_tell_truncated(agent, out),
        err_data=bytes(err.data) if err and err.data else None,
        err_truncated=_tell_truncated(agent, err),
    )


def _tell_truncated(agent: Agent, sink: Sink | None) -> bool | None:
    if sink is None or not sink.data:
        return None
    if agent.dialect.tells_truncated:
        return sink.is_truncated
    return False if sink.is_truncated else None


CaptureOutput = Annotated[
    bool | Literal["none", "stdout", "stderr", "separated", "merged"],
    Alternate("GuestExecCaptureOutput"),
]


@command(name="guest-exec", since=(2, 5), until=(8, 1), platforms=POSIX)
def guest_exec_captures_all(
    agent: Agent,
    path: str,
    arg: list[str] | None = None,
    env: list[str] | None = None,
    input_data: str | None = None,
    capture_output: bool = False,
) -> Exec:
    """Start a program; its output is kept, up to 16 MiB a stream, if *capture-output* is true.

    Nothing runs on the host: the programs are the guest's.
    """
    return _exec(agent, path, arg, env, input_data, capture_output)


@command(since=(8, 1), platforms=POSIX)
def guest_exec(
    agent: Agent,
    path: str,
    arg: list[str] | None = None,
    env: list[str] | None = None,
    input_data: str | None = None,
    capture_output: CaptureOutput = False,
) -> Exec:
    """Start a program; of its output is kept what *capture-output* says, up to 16 MiB a stream.

    Nothing runs on the host: the programs are the guest's.
    """
    return _exec(agent, path, arg, env, input_data, capture_output)


def _exec(
    agent: Agent,
    path: str,
    arg: list[str] | None,
    env: list[str] | None,
    input_data: str | None,
    capture: bool | str,
) -> Exec:
    assert agent.process is not None
    parent = agent.process
    environment = parent.env if env is None else env
    search = getenv(environment, "PATH")
    if search is None:
        search = getenv(parent.env, "PATH")

    def spawn(files: dict[int, OpenFile]) -> Process:
        try:
            return agent.guest.processes.spawn(
                [path, *(arg or [])],
                env=environment,
                cwd=parent.cwd,
                files=files,
                parent=parent.pid,
                # glib's, without a PATH at all (gspawn.c).
                search="/bin:/usr/bin:." if search is None else search,
                delay=LOAD_TIME,
            )
        except OSError as error:
            text = f"Failed to execute child process \u201c{path}\u201d ({error.strerror})"
            if error.errno == errno.EAGAIN:
                # gspawn.c: fork(2) has failed, and nothing was executed.
                text = f"Failed to fork ({error.strerror})"
            raise CommandError(agent.dialect.exec_failed_text.format(text)) from None

    execution = run(agent, input_data, capture, spawn)
    if agent.dialect.spoils_captures:
        is_single, has_input = capture in ("stdout", "stderr"), input_data is not None
        _spoil(agent, execution, is_single=is_single, has_input=has_input)
    return Exec(execution.process.pid)


def run(
    agent: Agent,
    input_data: str | None,
    capture: bool | str,
    spawn: Callable[[dict[int, OpenFile]], Process],
) -> Execution:
    """Let *spawn* start a program with its files, by descriptor; remember it."""
    given = None if input_data is None else base64.decode(input_data)
    guest = agent.guest
    memory = guest.memory_budget
    try:
        null = guest.files.open("/dev/null", os.O_RDWR)
    except OSError as error:
        # gspawn.c of glib 2.74: CHILD_OPEN_FAILED.
        text = f"Failed to open file to remap file descriptor ({error.strerror})"
        raise CommandError(agent.dialect.exec_failed_text.format(text)) from None
    try:
        source = null if given is None else Source(given, memory)
    except OSError as error:
        # UNVERIFIED: the words; a real machine has swapped for long by then.
        raise CommandError(f"Failed to fork ({error.strerror})") from None
    out = err = None
    if capture in (True, "stdout", "separated", "merged"):
        out = Sink(OUTPUT_LIMIT, memory)
    if capture in (True, "stderr", "separated"):
        err = Sink(OUTPUT_LIMIT, memory)
    ours = {file for file in (null, source, out, err) if file}
    files: dict[int, OpenFile] = {
        0: source,
        1: out or null,
        2: (out if capture == "merged" else err) or null,
    }
    try:
        execution = Execution(spawn(files), out, err)
    finally:
        for file in ours:
            file.close()
    agent.state.executions[execution.process.pid] = execution
    return execution


#: What comes of capturing one stream: once, and twice.
_LOST_INPUT: Final = "has lost its standard input"
_READS_TOO_MUCH: Final = "reads what later programs write"


def _spoil(agent: Agent, execution: Execution, *, is_single: bool, has_input: bool) -> None:
    """Do what comes of an end of file that was read from the wrong file.

    UNVERIFIED: what 10.2 and 11.1 were recorded to do, once each. What later captures lose varies from run to
    run, and from the tenth step on did so in 10.0.
    """
    known = agent.state.known
    if known.get(_READS_TOO_MUCH):
        # A program that never seems to end is still listened to, and what the next ones write to their
        # standard output with it.
        execution.out = None
    elif is_single:
        execution.is_stuck = known[_READS_TOO_MUCH] = known.get(_LOST_INPUT, False)
        known[_LOST_INPUT] = known["spoils the next input"] = True
    elif has_input and known.pop("spoils the next input", False):
        execution.out = execution.err = None


def getenv(env: list[str], name: str) -> str | None:
    """Return the value of a variable in an environment, None if it is not set."""
    return next((item[len(name) + 1 :] for item in env if item.startswith(f"{name}=")), None)
