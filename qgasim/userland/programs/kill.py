"""Programs about processes: pidof, kill, pgrep, pkill."""

import re
from collections.abc import Callable, Sequence
from typing import Final

from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.guest.processes.signals import SIGNALS
from qgasim.userland.limits import to_int
from qgasim.userland.programs.getopt import Options, is_known, not_simulated, parse, usage_error
from qgasim.userland.programs.messages import complain, fail, is_busybox, pick
from qgasim.userland.programs.posix_regex import RegexError, compile_regex
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.signals import list_signals, send, take_signal

__all__: list[str] = []


@program("pidof")
def pidof(p: Process) -> Steps:
    """Print the ids of the processes of a name, the latest first. Status 1: there are none."""
    # Recorded: `kill $(pidof sleep)` in exec/running-killed-outside.
    options = yield from parse(p, "so:qS:", {"single-shot": "s", "omit-pid": "o"})
    omitted = {p.pid}
    for text in options.all("o"):
        for part in text.split(","):
            if part == "%PPID":
                omitted.add(p.parent)
            elif part.isdecimal():
                omitted.add(to_int(part))
    found: list[int] = []
    for name in options.operands:
        base = name.rsplit("/", 1)[-1]
        pids = [q.pid for q in p.processes.named(base)]
        found += [pid for pid in pids if pid not in omitted and pid not in found]
    if "s" in options:
        found = found[:1]
    if found and "q" not in options:
        separator = options.get("S") or " "
        yield from p.write(1, separator.join(map(str, found)) + "\n")
    return int(not found)


@program("kill")
def kill(p: Process) -> Steps:
    """Send a signal to processes."""
    arguments = p.argv[1:]
    if arguments[:1] in (["-l"], ["--list"]):
        return (yield from list_signals(p, arguments[1:]))
    if arguments[:1] in (["-L"], ["--table"]) and not is_busybox(p):
        cells = [f"{n:2} {name if n % 7 == 0 else name.ljust(8)}" for n, name in SIGNALS.items()]
        lines = ["".join(cells[at : at + 7]) for at in range(0, len(cells), 7)]
        yield from p.write(1, "".join(line + "\n" for line in lines))
        return 0
    first = arguments[0] if arguments else ""
    number, targets = yield from take_signal(p, arguments)
    for word in targets[: targets.index("--")] if "--" in targets else targets:
        option = word.partition("=")[0]
        if is_known(p, option) and option not in ("-s", "--signal"):
            yield from not_simulated(p, f"option '{option}'")
    if targets == arguments and re.fullmatch(r"-[A-Za-z]\w*", first):
        name = first[1:]
        yield from fail(p, pick(p, f"bad signal name '{name}'", f"unknown signal name {name}"))
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
        elif not (yield from send(p, to_int(target.lstrip("-+")) or p.pid, number)):
            gone = f"({target}): No such process"
            yield from complain(p, pick(p, f"can't kill pid {target}: No such process", gone))
            failures += 1
    return int(failures > 0)


_PGREP_LONG: Final = {
    "full": "f", "exact": "x", "list-name": "l", "list-full": "a", "inverse": "v", "newest": "n",
    "oldest": "o", "parent": "P", "count": "c", "ignore-case": "i", "delimiter": "d",
    "echo": "e",
}  # fmt: skip


def _matches(p: Process, options: Options, code: int) -> Waiting[list[Process]]:
    """Find the processes that the arguments of pgrep and pkill mean, by id."""
    pattern = options.operands[0] if options.operands else ""
    parents = {to_int(x) for t in options.all("P") for x in t.split(",") if x.isdecimal()}
    if not options.operands and not parents:
        yield from usage_error(p, "no matching criteria specified", code)
    try:
        regex = compile_regex(pattern, extended=True, ignore_case="i" in options)
    except RegexError as error:
        yield from fail(p, str(error), code)
        return []
    look: Callable[[str], re.Match[str] | None] = (
        regex.fullmatch if "x" in options else regex.search
    )
    found: list[Process] = []
    for process in p.processes.live():
        if process is p:
            continue
        text = " ".join(process.argv) if "f" in options else process.name
        is_match = look(text) is not None and (not parents or process.parent in parents)
        if is_match != ("v" in options):
            found.append(process)
    if "n" in options:
        return found[-1:]
    return found[:1] if "o" in options else found


@program("pgrep")
def pgrep(p: Process) -> Steps:
    """Print the ids of processes whose names match. Status 1: there are none."""
    options = yield from parse(p, "flaxvnoP:cid:", _PGREP_LONG, code=2)
    found = yield from _matches(p, options, 2)
    if "c" in options:
        yield from p.write(1, f"{len(found)}\n")
        return int(not found)
    lines = [_describe(options, process) for process in found]
    if lines:
        separator = options.get("d") or "\n"
        yield from p.write(1, separator.join(lines) + "\n")
    return int(not found)


def _describe(options: Options, process: Process) -> str:
    if "a" in options or ("l" in options and "f" in options):
        return f"{process.pid} {' '.join(process.argv)}"
    return f"{process.pid} {process.name}" if "l" in options else str(process.pid)


@program("pkill")
def pkill(p: Process) -> Steps:
    """Send a signal to the processes whose names match. Status 1: there are none."""
    arguments: Sequence[str] = p.argv[1:]
    number, rest = yield from take_signal(p, arguments)
    options = yield from parse(p, "flaxvnoP:cie", _PGREP_LONG, code=2, arguments=rest)
    found = yield from _matches(p, options, 2)
    for process in found:
        yield from send(p, process.pid, number)
        if "e" in options:
            yield from p.write(1, f"{process.name} killed (pid {process.pid})\n")
    if "c" in options:
        yield from p.write(1, f"{len(found)}\n")
    return int(not found)
