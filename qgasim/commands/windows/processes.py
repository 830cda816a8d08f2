"""Commands that run programs in a Windows guest."""

import errno
from typing import Annotated, Final, Literal

from qgasim.agent import Agent
from qgasim.commands.processes import (
    Exec,
    ExecStatus,
    collect,
    describe,
    getenv,
    run,
)
from qgasim.commands.windows.messages import NO_UTF16, is_unicode
from qgasim.errors import AgentAbort, CommandError
from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.processes.process import Process
from qgasim.guest.system.windows import SYSTEM_DIRECTORY, find_program, inner_path
from qgasim.qapi.annotations import Alternate
from qgasim.qapi.registry import WINDOWS, command

__all__: list[str] = []

#: From here on, an exit code is taken for an exception (qga/commands.c).
_EXCEPTIONS: Final = 0xC000_0000


@command(name="guest-exec-status", since=(2, 5), platforms=WINDOWS)
def windows_exec_status(agent: Agent, pid: int) -> ExecStatus:
    """Return whether a program has ended, and once, how and what it wrote.

    An exit code from 0xC0000000 on is told as a signal. Codes are read as signed: an access violation is
    signal -1073741819.
    """
    execution = collect(agent, pid, agent.dialect.windows_unknown_pid_text)
    if execution is None:
        return ExecStatus(exited=False)
    ended = execution.process.exit
    assert ended is not None
    # A process that another one ends (TerminateProcess) has the exit code that the other one passes.
    code = ended.code if ended.signal is None else 1
    shown = code - (1 << 32) if code >= 1 << 31 else code
    is_exception = code >= _EXCEPTIONS
    return describe(
        agent,
        execution,
        exitcode=None if is_exception else shown,
        signal=shown if is_exception else None,
    )


@command(name="guest-exec", since=(2, 5), until=(8, 1), platforms=WINDOWS)
def windows_exec_captures_all(
    agent: Agent,
    path: str,
    arg: list[str] | None = None,
    env: list[str] | None = None,
    input_data: str | None = None,
    capture_output: bool = False,
) -> Exec:
    """Start a program; its output is kept, up to 16 MiB a stream, if *capture-output* is true."""
    return _exec(agent, path, arg, env, input_data, capture_output)


CaptureOutput = Annotated[
    bool | Literal["none", "stdout", "stderr", "separated"], Alternate("GuestExecCaptureOutput")
]


@command(name="guest-exec", since=(8, 1), platforms=WINDOWS)
def windows_exec(
    agent: Agent,
    path: str,
    arg: list[str] | None = None,
    env: list[str] | None = None,
    input_data: str | None = None,
    capture_output: CaptureOutput = False,
) -> Exec:
    """Start a program; of its output is kept what *capture-output* says. Nothing is ``merged``."""
    return _exec(agent, path, arg, env, input_data, capture_output)


def _exec(
    agent: Agent,
    path: str,
    arg: list[str] | None,
    env: list[str] | None,
    input_data: str | None,
    capture: bool | str,
) -> Exec:
    guest = agent.guest
    assert agent.process is not None
    parent = agent.process
    environment = parent.env if env is None else env
    argv = [path, *(arg or [])]

    def spawn(files: dict[int, OpenFile]) -> Process:
        _check_unicode(agent, argv, env or [])
        try:
            return guest.processes.spawn(
                argv,
                env=environment,
                cwd=inner_path(SYSTEM_DIRECTORY),
                files=files,
                parent=parent.pid,
                program=find_program(guest.files, path, getenv(environment, "PATH")),
            )
        except OSError as error:
            # gspawn-win32.c does not say what it could not execute.
            reason = "Permission denied" if error.errno == errno.EACCES else error.strerror
            text = f"Failed to execute child process ({reason})"
            raise CommandError(agent.dialect.exec_failed_text.format(text)) from None

    execution = run(agent, input_data, capture, spawn)
    if capture in ("stdout", "stderr") and agent.dialect.dies_of_single_stream:
        raise AgentAbort
    return Exec(execution.process.pid)


def _check_unicode(agent: Agent, argv: list[str], env: list[str]) -> None:
    """Refuse what cannot be written in UTF-16, as gspawn-win32.c does: U+0000."""
    places = [(text, f"argument vector at {number}") for number, text in enumerate(argv)]
    places += [(text, "environment") for text in env]
    for text, place in places:
        if not is_unicode(text):
            reason = f"Invalid string in {place}: {NO_UTF16}"
            raise CommandError(agent.dialect.exec_failed_text.format(reason))
