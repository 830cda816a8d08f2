"""Builtins for processes and signals."""

import re
import signal
from collections.abc import Callable
from typing import NoReturn

from qgasim.guest.processes.process import Blocked, Process, Steps
from qgasim.guest.processes.signals import SIGNALS, find_signal
from qgasim.guest.processes.table import NoSuchProcess
from qgasim.userland.limits import to_int
from qgasim.userland.shell.builtins import bad_option, parse_options, show, to_number
from qgasim.userland.shell.children import SIGNAL_TEXTS, to_status
from qgasim.userland.shell.interpreter import Shell
from qgasim.userland.shell.quoting import quote_always, quote_singly
from qgasim.userland.shell.registry import builtin, immediate_builtin
from qgasim.userland.shell.state import Job, ShellError

__all__: list[str] = []


@builtin("kill")
def kill(shell: Shell, argv: list[str]) -> Steps:
    """Send a signal to processes."""
    p = shell.p
    rest = argv[1:]
    number = int(signal.SIGTERM)
    if rest[:1] == ["-l"]:
        return (yield from _list_signals(shell, rest[1:]))
    if rest and rest[0].startswith("-") and rest[0] != "--":
        name = rest.pop(0)[1:]
        if name == "s" and rest:
            name = rest.pop(0)
        named = find_signal(name)
        if named is None:
            yield from shell.write_error(f"{shell.applet}: bad signal name '{name}'\n")
            return 1
        number = named
    if rest[:1] == ["--"]:
        rest = rest[1:]
    if not rest:
        yield from shell.write_error(f"{shell.applet}: you need to specify whom to kill\n")
        return 1
    failures = 0
    for target in rest:
        if target.startswith("%"):
            pids = [process.pid for process in _get_job(shell, target).processes]
        elif re.fullmatch("-?[0-9]{1,10}", target):
            # A process group is its leader: there are no terminals, so hardly any groups.
            pids = [to_int(target.lstrip("-+")) or p.pid]
        else:
            yield from shell.write_error(f"{shell.applet}: invalid number '{target}'\n")
            failures += 1
            continue
        for pid in pids:
            try:
                p.processes.kill(pid, number)
            except NoSuchProcess:
                message = f"can't kill pid {target}: No such process"
                yield from shell.write_error(f"{shell.applet}: {message}\n")
                failures += 1
            if p.exit is not None:
                # The shell has ended itself: it does not go on.
                yield Blocked(is_ready=lambda: False)
            if p.is_stopped:
                yield Blocked(until=p.guest.clock.uptime())
    return min(failures, 1)


def _list_signals(shell: Shell, arguments: list[str]) -> Steps:
    if not arguments:
        yield from show(shell, [f"{n:2}) {name}" for n, name in SIGNALS.items()])
        return 0
    status = 0
    for text in arguments:
        if text.isdecimal() and len(text) < 9:
            number = to_int(text) & 0x7F
            yield from shell.write(f"{SIGNALS.get(number, number or 'EXIT')}\n")
        elif (found := find_signal(text)) is not None:
            yield from shell.write(f"{found}\n")
        else:
            yield from shell.write_error(f"{shell.applet}: unknown signal '{text}'\n")
            status = 1
    return status


def _get_job(shell: Shell, text: str) -> Job:
    jobs = shell.state.jobs
    name = text.removeprefix("%")
    if name in ("", "%", "+") and jobs:
        return jobs[-1]
    if name == "-" and jobs:
        return jobs[-2:][0]
    for job in jobs:
        if name.isdecimal() and job.number == int(name[:9]):
            return job
    state = shell.state
    status = 127 if state.flavour.is_bash and state.command == "wait" else 2
    raise ShellError(state.words.no_such_job.format(text), status)


@builtin("wait")
def wait(shell: Shell, argv: list[str]) -> Steps:
    """Wait for processes in the background."""
    options, rest = parse_options(shell, argv, "n")
    jobs = shell.state.jobs
    if "n" in options:
        running = [process for job in jobs for process in job.processes if not job.is_reported]
        if not running:
            return 127
        return (yield from _wait_for(shell, running, wants_all=False))
    if not rest:
        everything = [process for job in jobs for process in job.processes]
        status = yield from _wait_for(shell, everything, wants_all=True)
        return status if status > 128 and shell.pending else 0
    status = 0
    for target in rest:
        if target.startswith("%"):
            try:
                processes = _get_job(shell, target).processes
            except ShellError as error:
                if not shell.state.flavour.is_bash:
                    raise
                yield from shell.complain(error)
                status = error.status
                continue
        elif shell.state.flavour.is_bash and not _is_pid(target):
            yield from shell.complain(f"`{target}': not a pid or valid job spec")
            status = 1
            continue
        else:
            pid = to_number(shell, target)
            processes = [q for job in jobs for q in job.processes if q.pid == pid][-1:]
        if not processes:
            if shell.state.flavour.is_bash:
                yield from shell.complain(f"pid {target} is not a child of this shell")
            status = 127
            continue
        status = yield from _wait_for(shell, processes, wants_all=True)
        if shell.pending:
            return status
        how = processes[-1].exit
        if how is not None:
            yield from shell.report(how)
        for job in jobs:
            if job.processes[-1] is processes[-1]:
                job.is_reported = True
    return status


def _is_pid(text: str) -> bool:
    return re.fullmatch("[0-9]{1,12}", text) is not None and int(text) < 1 << 31


def _wait_for(shell: Shell, processes: list[Process], *, wants_all: bool) -> Steps:
    """Wait for the end of all or any; a signal with a trap breaks that off."""

    def is_done() -> bool:
        ended = (process.exit is not None for process in processes)
        return bool(shell.pending) or (all(ended) if wants_all else any(ended))

    if not is_done():
        yield Blocked(is_ready=is_done)
    if shell.pending:
        return 128 + shell.pending[0]
    status = 0
    for process in processes:
        if process.exit is not None:
            shell.p.processes.reap(process)
            status = to_status(process.exit)
    return status


def _describe(job: Job) -> str:
    if not job.is_done:
        return "Running"
    how = job.processes[-1].exit
    assert how is not None
    if how.signal is not None:
        return SIGNAL_TEXTS.get(how.signal, f"Unknown signal {how.signal}")
    return f"Done({how.code})" if how.code else "Done"


@builtin("jobs")
def show_jobs(shell: Shell, argv: list[str]) -> Steps:
    """Show processes in the background."""
    options, _ = parse_options(shell, argv, "lp")
    jobs = [job for job in shell.state.jobs if not job.is_reported]
    for index, job in reversed(list(enumerate(jobs, 1))):
        mark = "+" if index == len(jobs) else "-" if index == len(jobs) - 1 else " "
        if "p" in options:
            line = str(job.processes[0].pid)
        else:
            pid = f"{job.processes[-1].pid} " if "l" in options else ""
            line = f"[{job.number}]{mark}  {pid}{_describe(job):<27}"
        yield from shell.write(f"{line}\n")
        job.is_reported = job.is_done
    return 0


@immediate_builtin("fg", "bg")
def foreground(shell: Shell, argv: list[str]) -> NoReturn:
    """Fail: there is no terminal to control jobs from."""
    if shell.state.flavour.is_bash:
        raise ShellError("no job control", 1)
    if len(argv) > 1:
        raise ShellError(shell.state.words.no_such_job.format(argv[1]))
    raise ShellError("No current job")


@builtin("trap")
def trap(shell: Shell, argv: list[str]) -> Steps:
    """Set what to run when signals come."""
    state = shell.state
    _, rest = parse_options(shell, argv, "")
    if not rest:
        prefix = "SIG" if state.flavour.is_bash else ""
        show_action = quote_singly if state.flavour.is_bash else quote_always
        traps = state.traps if state.shown_traps is None else state.shown_traps
        lines = [
            f"trap -- {show_action(action)} {f'{prefix}{SIGNALS[number]}' if number in SIGNALS else number or 'EXIT'}"
            for number, action in sorted(traps.items())
        ]
        yield from show(shell, lines)
        return 0
    action: str | None = None
    if len(rest) > 1:
        action = rest.pop(0)
    elif state.flavour.is_bash and find_signal(rest[0]) is None:
        raise ShellError(f"usage: trap{state.flavour.usages['trap']}")
    status = 0
    for name in rest:
        number = find_signal(name)
        if number is None:
            message = state.words.bad_trap.format(name)
            if state.flavour.ends_trap_at_error:
                yield from shell.write_error(f"trap: {message}\n")
                return 1
            yield from shell.complain(message)
            status = 1
            continue
        state.shown_traps = None
        if action is None or action == "-":
            state.traps.pop(number, None)
            shell.p.handlers.pop(number, None)
            continue
        state.set_action(state.traps, number, action)
        if number:
            shell.p.handlers[number] = _make_handler(shell, number) if action else None
    return status


def _make_handler(shell: Shell, number: int) -> Callable[[], None]:
    return lambda: shell.pending.append(number)


@builtin("times")
def times(shell: Shell, argv: list[str]) -> Steps:
    """Show the processor time used: none, for the guest has no such account."""
    if shell.state.flavour.is_bash:
        parse_options(shell, argv, "")
    yield from shell.write("0m0.000s 0m0.000s\n" * 2)
    return 0


@builtin("ulimit")
def ulimit(shell: Shell, argv: list[str]) -> Steps:
    """Show or set limits; none has any effect."""
    limits = shell.state.limits
    rest = [word for word in argv[1:] if word not in ("-S", "-H")]
    letter = rest.pop(0)[-1] if rest and rest[0].startswith("-") else "f"
    if letter not in "acdefilmnpqrstuvwx":
        if not shell.state.flavour.has_applet_messages:
            raise bad_option(shell, "ulimit", letter)
        yield from shell.write_error(f"ulimit: invalid option -- '{letter}'\n")
        return 1
    defaults = {"c": "0", "e": "0", "n": "1024", "r": "0", "s": "8192", "l": "64"}
    if rest:
        if not re.fullmatch("[0-9]{1,18}|unlimited", rest[0]):
            yield from shell.write_error(f"{shell.applet}: invalid number '{rest[0]}'\n")
            return 1
        limits[letter] = rest[0]
    else:
        yield from shell.write(f"{limits.get(letter, defaults.get(letter, 'unlimited'))}\n")
    return 0
