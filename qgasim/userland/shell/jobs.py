"""Builtins for processes and signals."""

import re
import signal
from collections.abc import Callable
from typing import Final, NoReturn

from qgasim.guest.processes.process import Blocked, Process, Steps, Waiting
from qgasim.guest.processes.signals import SIGNALS, find_signal
from qgasim.guest.processes.table import NoSuchProcess
from qgasim.userland.limits import to_int
from qgasim.userland.shell.builtins import bad_option, parse_options, show, to_number
from qgasim.userland.shell.children import SIGNAL_TEXTS, to_status
from qgasim.userland.shell.interpreter import Shell, builtin
from qgasim.userland.shell.quoting import quote_always, quote_singly
from qgasim.userland.shell.state import ERROR_TRAP, Job, ShellError

__all__: list[str] = []


#: What dash and bash list besides, or call otherwise.
_IO: Final = {29: "IO"}
_REAL_TIME: Final = {
    34 + at: name
    for at, name in enumerate(
        [
            "RTMIN",
            *(f"RTMIN+{n}" for n in range(1, 16)),
            *(f"RTMAX-{14 - n}" for n in range(14)),
            "RTMAX",
        ]
    )
}


@builtin("kill")
def kill(shell: Shell, argv: list[str]) -> Steps:
    """Send a signal to processes."""
    words = shell.state.words
    if argv[1:2] == ["-l"]:
        return (yield from _list_signals(shell, argv[2:]))
    number, targets = yield from _take_signal(shell, argv)
    if number is None:
        return 1
    if not targets:
        if shell.state.flavour.is_bash:
            yield from shell.write_error(f"{words.kill_usage}\n")
            return 2
        yield from _complain(shell, words.kill_usage)
        return 1
    failures = 0
    for target in targets:
        if target.startswith("%"):
            pids = [process.pid for process in _get_job(shell, target).processes]
        elif re.fullmatch("-?[0-9]{1,10}", target):
            # A process group is its leader: there are no terminals, so hardly any groups.
            pids = [to_int(target.lstrip("-+")) or shell.p.pid]
        else:
            yield from _complain(shell, words.bad_target.format(target))
            failures += 1
            continue
        for pid in pids:
            if not (yield from _send(shell, pid, number)):
                yield from _warn(shell, words.gone.format(target))
                failures += 1
    if shell.state.flavour.is_bash:
        # One that it could be sent to is enough.
        return int(failures == len(targets))
    return failures & 0xFF if shell.state.flavour.is_ash else min(failures, 1)


def _send(shell: Shell, pid: int, number: int) -> Waiting[bool]:
    """Send a signal; return whether a process got it."""
    p = shell.p
    try:
        p.processes.kill(pid, number)
    except NoSuchProcess:
        return False
    if p.exit is not None:
        # The shell has ended itself: it does not go on.
        yield Blocked(is_ready=lambda: False)
    if p.is_stopped:
        yield Blocked(until=p.guest.clock.uptime())
    return True


def _take_signal(shell: Shell, argv: list[str]) -> Waiting[tuple[int | None, list[str]]]:
    """Take the signal off the arguments; None, after a message: there is no such signal."""
    rest = argv[1:]
    number: int | None = int(signal.SIGTERM)
    if rest and rest[0].startswith("-") and rest[0] != "--":
        name = rest.pop(0)[1:]
        number = find_signal(name)
        is_dash = shell.state.flavour.is_dash
        if name in ("s", "n") and (rest or name == "s" or not is_dash):
            if not rest and not shell.state.flavour.is_ash:
                raise ShellError(shell.state.words.no_argument.format(name), 2 if is_dash else 1)
            name = rest.pop(0) if rest else name
            number = find_signal(name)
        elif is_dash and (number is None or name.startswith("SIG")):
            raise bad_option(shell, "kill", name[0])
        if number is None:
            yield from _complain(shell, shell.state.words.bad_signal.format(name))
    return number, rest[1:] if rest[:1] == ["--"] else rest


def _complain(shell: Shell, text: str) -> Waiting[None]:
    if shell.state.flavour.is_dash:
        raise ShellError(text)
    yield from _warn(shell, text)


def _warn(shell: Shell, text: str) -> Waiting[None]:
    if shell.state.flavour.is_ash:
        return shell.write_error(f"{shell.applet}: {text}\n")
    return shell.complain(text)


def _list_signals(shell: Shell, arguments: list[str]) -> Steps:
    words, is_applet = shell.state.words, shell.state.flavour.is_ash
    if not arguments:
        if is_applet:
            lines = [f"{n:2}) {name}" for n, name in SIGNALS.items()]
        elif shell.state.flavour.is_bash:
            cells = [f"{n:2}) SIG{name}" for n, name in (SIGNALS | _IO | _REAL_TIME).items()]
            lines = ["\t".join(cells[at : at + 5]) for at in range(0, len(cells), 5)]
            lines[-1] += "\t"
        else:
            numbers = {number: str(number) for number in (0, 16, 32, 33)}
            lines = [(SIGNALS | _IO | _REAL_TIME | numbers)[number] for number in range(65)]
        yield from show(shell, lines)
        return 0
    status = 0
    is_dash = shell.state.flavour.is_dash
    for text in arguments[:1] if is_dash else arguments:
        if is_dash and not text.isdecimal():
            raise ShellError(words.bad_target.format(text))
        number = to_int(text) if text.isdecimal() and len(text) < 9 else None
        if is_applet and number is not None:
            yield from shell.write(f"{SIGNALS.get(number & 0x7F, number & 0x7F or 'EXIT')}\n")
        elif number is not None and (known := number - 128 if number > 128 else number) in SIGNALS:
            yield from shell.write(f"{SIGNALS[known]}\n")
        elif number == 0 and shell.state.flavour.is_bash:
            yield from shell.write("EXIT\n")
        elif number is None and (found := find_signal(text)) is not None:
            yield from shell.write(f"{found}\n")
        else:
            yield from _complain(shell, words.bad_listed.format(text))
            if is_applet:
                return 1
            status = 1
    return status


def _known_jobs(shell: Shell) -> list[Job]:
    """Return the jobs that have numbers; bash takes them from those that were waited for."""
    state = shell.state
    return [job for job in state.jobs if not (state.flavour.is_bash and job.is_waited)]


def _get_job(shell: Shell, text: str) -> Job:
    state, jobs = shell.state, _known_jobs(shell)
    name = text.removeprefix("%")
    is_current = name in ("", "%", "+")
    if is_current and jobs:
        return jobs[-1]
    if name == "-" and (len(jobs) > 1 or (jobs and state.flavour.is_bash)):
        return jobs[-2:][0]
    for job in jobs:
        if name.isdecimal() and job.number == int(name[:9]):
            return job
    if state.flavour.is_bash:
        status = 127 if state.command == "wait" else 1
        raise ShellError(state.words.no_such_job.format(text), status)
    if is_current or name == "-":
        raise ShellError(f"No {'current' if is_current else 'previous'} job")
    raise ShellError(state.words.no_such_job.format(text))


@builtin("wait")
def wait(shell: Shell, argv: list[str]) -> Steps:
    """Wait for processes in the background."""
    options, rest = parse_options(shell, argv, "n")
    jobs = shell.state.jobs
    if "n" in options:
        running = [process for job in jobs for process in job.processes if not job.is_waited]
        if not running:
            return 127
        return (yield from _wait_for(shell, running, wants_all=False))
    if not rest:
        everything = [process for job in jobs for process in job.processes]
        status = yield from _wait_for(shell, everything, wants_all=True)
        shell.state.forget_jobs()
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
            yield from shell.report(processes[-1].pid, how)
        for job in jobs:
            if job.processes[-1] is processes[-1]:
                job.is_waited = True
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
    """Show processes in the background, or those that are named."""
    options, names = parse_options(shell, argv, "lp")
    state, jobs = shell.state, _known_jobs(shell)
    if jobs and state.flavour.is_bash:
        raise shell.refuse("jobs with their commands")
    status = 0
    for name in names or [f"%{job.number}" for job in reversed(jobs)]:
        try:
            job = _get_job(shell, name)
        except ShellError as error:
            if not state.flavour.is_bash:
                raise
            yield from shell.complain(error)
            status = error.status
            continue
        mark = "+" if job in state.jobs[-1:] else "-" if job in state.jobs[-2:] else " "
        first, *others = (process.pid for process in job.processes)
        head = f"[{job.number}]" + (f"{mark}  " if state.flavour.is_ash else f" {mark} ")
        if "p" in options:
            text = f"{first}\n"
        elif "l" in options:
            text = f"{head}{first} {_describe(job)}".ljust(33)
            text += (
                "".join(f" |\n{'':{len(head)}}{pid}".ljust(len(head) + 27) for pid in others) + "\n"
            )
        else:
            text = f"{head}{_describe(job)}".ljust(33) + " | " * len(others) + "\n"
        yield from shell.write(text)
        if job.is_done:
            state.jobs.remove(job)
    return status


@builtin("fg", "bg")
def foreground(shell: Shell, argv: list[str]) -> NoReturn:
    """Fail: there is no terminal to control jobs from."""
    if shell.state.flavour.is_bash:
        raise ShellError("no job control", 1)
    _, names = parse_options(shell, argv, "")
    _get_job(shell, names[0] if names else "%")
    raise ShellError(f"job {names[0] if names else '(null)'} not created under job control")


@builtin("trap")
def trap(shell: Shell, argv: list[str]) -> Steps:
    """Set what to run when signals come."""
    state = shell.state
    _, rest = parse_options(shell, argv, "")
    if not rest:
        prefix = "SIG" if state.flavour.is_bash else ""
        show_action = quote_singly if state.flavour.is_bash else quote_always
        traps = state.traps if state.shown_traps is None else state.shown_traps
        known = SIGNALS if state.flavour.is_ash else SIGNALS | _IO | _REAL_TIME
        names = {number: f"{prefix}{name}" for number, name in known.items()}
        names |= {0: "EXIT", ERROR_TRAP: "ERR"}
        lines = [
            f"trap -- {show_action(action)} {names.get(number, number)}"
            for number, action in sorted(traps.items())
        ]
        yield from show(shell, lines)
        return 0
    action: str | None = None
    if len(rest) > 1:
        action = rest.pop(0)
    elif state.flavour.is_bash and _find_trap(shell, rest[0]) is None:
        raise ShellError(f"usage: trap{state.flavour.usages['trap']}")
    status = 0
    for name in rest:
        number = _find_trap(shell, name)
        if number is None:
            message = state.words.bad_trap.format(name)
            if state.flavour.is_dash:
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
        if 0 < number < ERROR_TRAP:
            shell.p.handlers[number] = _make_handler(shell, number) if action else None
    return status


def _find_trap(shell: Shell, name: str) -> int | None:
    """Return what a trap can be set for; None: there is no such signal."""
    flavour = shell.state.flavour
    if not flavour.is_dash and (name.upper() if flavour.is_bash else name) == "ERR":
        return ERROR_TRAP
    if name.upper() in ("DEBUG", "RETURN") and flavour.is_bash:
        raise shell.refuse(name)
    if flavour.is_dash and name.upper().startswith("SIG"):
        return None
    if not flavour.is_ash and name.upper().removeprefix("SIG") in _REAL_TIME.values():
        return next(
            n for n, known in _REAL_TIME.items() if known == name.upper().removeprefix("SIG")
        )
    return find_signal(name)


def _make_handler(shell: Shell, number: int) -> Callable[[], None]:
    return lambda: shell.pending.append(number)


@builtin("times")
def times(shell: Shell, argv: list[str]) -> Steps:
    """Show the processor time used: none, for the guest has no such account."""
    if shell.state.flavour.is_bash:
        parse_options(shell, argv, "")
    zero = "0m0.000s" if not shell.state.flavour.is_dash else "0m0.000000s"
    yield from shell.write(f"{zero} {zero}\n" * 2)
    return 0


@builtin("ulimit")
def ulimit(shell: Shell, argv: list[str]) -> Steps:
    """Show or set a limit; none has any effect."""
    state = shell.state
    flavour, limits = state.flavour, state.limits
    rest = [word for word in argv[1:] if word not in ("-S", "-H")]
    letter = rest.pop(0)[1:] if rest and rest[0][:1] == "-" and rest[0] != "-" else "f"
    if letter not in flavour.limits:
        if not flavour.is_ash:
            raise bad_option(shell, "ulimit", letter[:1])
        yield from shell.write_error(f"ulimit: invalid option -- '{letter[:1]}'\n")
        return 1
    if letter == "a" or rest[:1] in (["soft"], ["hard"]):
        raise shell.refuse(f"ulimit {rest[0] if rest else '-a'}")
    if rest and not re.fullmatch("[0-9]{1,18}|unlimited", rest[0]):
        if flavour.is_dash:
            raise ShellError("bad number")
        yield from _complain_of_limit(shell, rest[0])
        return 1
    if rest:
        limits[letter] = rest[0]
    else:
        defaults = {"c": "0", "e": "0", "n": "1024", "r": "0", "s": "8192", "l": "64"}
        yield from shell.write(f"{limits.get(letter, defaults.get(letter, 'unlimited'))}\n")
    return 0


def _complain_of_limit(shell: Shell, text: str) -> Waiting[None]:
    if shell.state.flavour.is_bash:
        yield from shell.complain(f"{text}: invalid number")
    else:
        yield from shell.write_error(f"{shell.applet}: invalid number '{text}'\n")
