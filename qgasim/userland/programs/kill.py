"""Programs about processes: pidof, kill."""

import re
import signal
from collections.abc import Sequence
from typing import NoReturn

from qgasim.guest.processes.process import Blocked, Process, Steps, Waiting
from qgasim.guest.processes.signals import SIGNALS, find_signal
from qgasim.guest.processes.table import NoSuchProcess
from qgasim.userland.limits import to_int
from qgasim.userland.programs.getopt import is_known, not_simulated, parse
from qgasim.userland.programs.messages import complain, fail, is_busybox, pick
from qgasim.userland.programs.registry import program

__all__: list[str] = []


@program("pidof")
def pidof(p: Process) -> Steps:
    """Print the ids of the processes of a name, the latest first. Status 1: there are none."""
    # Recorded: `kill $(pidof sleep)` in exec/running-killed-outside.
    options = yield from parse(p, "s")
    names = [name.rsplit("/", 1)[-1] for name in options.operands]
    pids = [q.pid for name in names for q in p.processes.named(name) if q is not p]
    found = list(dict.fromkeys(map(str, pids)))[: 1 if "s" in options else None]
    if found:
        yield from p.write(1, " ".join(found) + "\n")
    return int(not found)


@program("kill")
def kill(p: Process) -> Steps:
    """Send a signal to processes."""
    arguments = p.argv[1:]
    if arguments[:1] == ["-l"] or (arguments[:1] == ["--list"] and not is_busybox(p)):
        return (yield from _list_signals(p, arguments[1:]))
    first = arguments[0] if arguments else ""
    number, targets = yield from _take_signal(p, arguments)
    for word in targets[: targets.index("--")] if "--" in targets else targets:
        option = word.partition("=")[0]
        if is_known(p, option) and option not in ("-s", "--signal"):
            yield from not_simulated(p, f"option '{option}'")
    if targets == arguments and re.fullmatch(r"-[A-Za-z]\w*", first):
        yield from _refuse_signal(p, first[1:])
    if targets[:1] == ["--"]:
        targets = targets[1:]
    if not targets:
        if is_busybox(p):
            yield from fail(p, "you need to specify whom to kill")
        yield from p.write(2, "\nUsage:\n kill [options] <pid> [...]\n")
        return 1
    failures = 0
    for target in targets:
        if not re.fullmatch("-?[0-9]{1,10}", target):
            odd = f"failed to parse argument: '{target}'"
            yield from complain(p, pick(p, f"invalid number '{target}'", odd))
            failures += 1
        # A process group is its leader: there are no terminals, so hardly any groups.
        elif not (yield from _send(p, to_int(target.lstrip("-+")) or p.pid, number)):
            gone = f"({target}): No such process"
            yield from complain(p, pick(p, f"can't kill pid {target}: No such process", gone))
            failures += 1
    return int(failures > 0)


def _take_signal(p: Process, arguments: Sequence[str]) -> Waiting[tuple[int, list[str]]]:
    """Take ``-9``, ``-KILL`` or ``-s KILL`` off: the signal, and the other arguments."""
    rest = list(arguments)
    for at, word in enumerate(rest):
        if word == "--":
            break
        if word in ("-s", "--signal") and at + 1 < len(rest):
            name, after = rest[at + 1], at + 2
        elif word.startswith("--signal="):
            name, after = word.partition("=")[2], at + 1
        elif word.startswith("-s") and find_signal(word[2:]) is not None:
            name, after = word[2:], at + 1
        elif at == 0 and word.startswith("-") and find_signal(word[1:]) is not None:
            name, after = word[1:], at + 1
        else:
            continue
        number = find_signal(name)
        if number is None:
            yield from _refuse_signal(p, name)
        return number or 0, rest[:at] + rest[after:]
    return signal.SIGTERM, rest


def _refuse_signal(p: Process, name: str) -> Waiting[NoReturn]:
    return fail(p, pick(p, f"bad signal name '{name}'", f"unknown signal name {name}"))


def _list_signals(p: Process, arguments: Sequence[str]) -> Waiting[int]:
    """Do what ``kill -l`` does."""
    # procps looks at the first only, and knows the signals that have names.
    for text in arguments if is_busybox(p) else arguments[:1]:
        number = find_signal(text)
        if text.isdecimal():
            number = int(text[-9:]) & 0x7F if is_busybox(p) else to_int(text)
        if number is None and is_busybox(p):
            yield from fail(p, f"unknown signal '{text}'")
        elif number is None or (not is_busybox(p) and number not in SIGNALS):
            yield from complain(p, f"unknown signal name {text}")
        elif text.isdecimal():
            yield from p.write(1, f"{SIGNALS.get(number, number or 'EXIT')}\n")
        else:
            yield from p.write(1, f"{number}\n")
    if not arguments and is_busybox(p):
        yield from p.write(1, "".join(f"{n:2}) {name}\n" for n, name in SIGNALS.items()))
    elif not arguments:
        names = list(SIGNALS.values())
        lines = [" ".join(names[at : at + 16]) for at in range(0, len(names), 16)]
        yield from p.write(1, "".join(line + "\n" for line in lines))
    return 0


def _send(p: Process, pid: int, number: int) -> Waiting[bool]:
    """Send a signal; return whether a process got it. A program that ends itself does not come back."""
    try:
        p.processes.kill(pid, number)
    except NoSuchProcess:
        return False
    if p.exit is not None:
        yield Blocked()
    if p.is_stopped:
        yield Blocked(until=p.guest.clock.uptime())
    return True
