"""What `kill` and its like have in common."""

import signal
from collections.abc import Sequence
from typing import NoReturn

from qgasim.guest.processes.process import Blocked, Process, Waiting
from qgasim.guest.processes.signals import SIGNALS, find_signal
from qgasim.guest.processes.table import NoSuchProcess
from qgasim.userland.programs.messages import fail, is_busybox, pick

__all__ = ["list_signals", "send", "take_signal"]


def take_signal(p: Process, arguments: Sequence[str]) -> Waiting[tuple[int, list[str]]]:
    """Take ``-9``, ``-KILL`` or ``-s KILL`` off: the signal, and the other arguments."""
    rest = list(arguments)
    number: int | None = signal.SIGTERM
    for at, word in enumerate(rest):
        if word == "--":
            break
        if word in ("-s", "--signal") and at + 1 < len(rest):
            name, after = rest[at + 1], at + 2
        elif word.startswith("--signal="):
            name, after = word.partition("=")[2], at + 1
        elif word.startswith("-s") and find_signal(word[2:]) is not None:
            name, after = word[2:], at + 1
        elif (
            (at == 0 or p.name == "pkill")
            and word.startswith("-")
            and find_signal(word[1:]) is not None
        ):
            name, after = word[1:], at + 1
        else:
            continue
        number = find_signal(name)
        if number is None:
            yield from _bad_signal(p, name)
            break
        return number, rest[:at] + rest[after:]
    return signal.SIGTERM, rest


def _bad_signal(p: Process, name: str) -> Waiting[NoReturn]:
    gnu = f"unknown signal name {name}" if p.name == "kill" else f"{name}: unknown signal"
    return fail(p, pick(p, f"bad signal name '{name}'", gnu))


def list_signals(p: Process, arguments: Sequence[str]) -> Waiting[int]:
    """Do what ``kill -l`` does."""
    status = 0
    for text in arguments:
        number = find_signal(text)
        if number is None and text.isdecimal():
            number = int(text[-9:]) & 0x7F
        if number is None:
            gnu = f"unknown signal name {text}"
            yield from fail(p, pick(p, f"unknown signal '{text}'", gnu))
        elif text.isdecimal():
            yield from p.write(1, f"{SIGNALS.get(number, number)}\n")
        else:
            yield from p.write(1, f"{number}\n")
    if not arguments and is_busybox(p):
        yield from p.write(1, "".join(f"{n:2}) {name}\n" for n, name in SIGNALS.items()))
    elif not arguments:
        names = list(SIGNALS.values())
        lines = [" ".join(names[at : at + 16]) for at in range(0, len(names), 16)]
        yield from p.write(1, "".join(line + "\n" for line in lines))
    return status


def send(p: Process, pid: int, number: int) -> Waiting[bool]:
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
