"""Programs that run other programs, or say which would run: env, which, timeout, nohup, xargs."""

import signal

from qgasim.guest.files.nodes import decode_name
from qgasim.guest.processes.process import LINE_SIZE, Blocked, Killed, Process, Steps, Waiting
from qgasim.guest.processes.signals import find_signal
from qgasim.userland.programs.getopt import Options, missing_operand, parse, to_number, usage_error
from qgasim.userland.programs.messages import complain, explain, fail, is_busybox, pick, quote
from qgasim.userland.programs.registry import PROGRAMS, program
from qgasim.userland.programs.sleep import to_duration
from qgasim.userland.shell.printf import expand_escapes

__all__: list[str] = []


def _cannot_run(p: Process, name: str, error: OSError) -> Waiting[int]:
    """Report that a program can't be run; return the status for that."""
    label, quoted = p.name, quote(name)
    text = pick(p, f"can't execute '{name}'", f"failed to run command {quoted}")
    if label == "env" and not is_busybox(p):
        text = quoted
    if label == "xargs":
        text = name
    yield from complain(p, f"{text}: {explain(error)}")
    return 127 if isinstance(error, FileNotFoundError) else 126


def _become(p: Process, words: list[str]) -> Steps:
    """Become another program, or say that it can't be run."""
    try:
        steps = p.replace(words)
    except OSError as error:
        return (yield from _cannot_run(p, words[0], error))
    return (yield from steps)


_ENV_LONG = {"ignore-environment": "i", "unset": "u", "chdir": "C", "null": "0"}


@program("env")
def env(p: Process) -> Steps:
    """Run a program with another environment, or print it."""
    arguments = ["-i" if a == "-" and i == 0 else a for i, a in enumerate(p.argv[1:])]
    options = yield from parse(p, "iu:0C:", _ENV_LONG, in_order=True, arguments=arguments, code=125)
    items = [] if "i" in options else list(p.env)
    for name in options.all("u"):
        items = [item for item in items if not item.startswith(name + "=")]
    words = options.operands
    while words and "=" in words[0]:
        word = words.pop(0)
        name = word.partition("=")[0] + "="
        at = next((i for i, item in enumerate(items) if item.startswith(name)), len(items))
        items[at : at + 1] = [word]
    if not words:
        end = "\0" if "0" in options else "\n"
        yield from p.write(1, "".join(item + end for item in items))
        return 0
    if (directory := options.get("C")) is not None:
        try:
            # It has to be there, and a directory.
            p.guest.files.listdir(directory, p.cwd)
        except OSError as error:
            text = f"cannot change directory to {quote(directory)}: {explain(error)}"
            yield from fail(p, text, 125)
        p.cwd = p.guest.files.locate(directory, p.cwd).path
    p.env = items
    return (yield from _become(p, words))


@program("which")
def which(p: Process) -> Steps:
    """Print where programs are."""
    options = yield from parse(p, "as")
    status = 0
    search = p.getenv("PATH") or "/sbin:/usr/sbin:/bin:/usr/bin"
    for name in options.operands:
        places = [name] if "/" in name else [f"{d or '.'}/{name}" for d in search.split(":")]
        found = [path for path in places if p.guest.files.can_execute(path, p.cwd)]
        if not found:
            status = 1
        for path in found if "a" in options else found[:1]:
            yield from p.write(1, path + "\n")
    return status


@program("timeout")
def timeout(p: Process) -> Steps:
    """Run a program, and end it if it takes too long."""
    long = {"signal": "s", "kill-after": "k", "preserve-status": "P", "foreground": "F"}
    options = yield from parse(p, "s:k:", long, in_order=True, code=125)
    if len(options.operands) < 2:
        yield from usage_error(p, code=125)
    limit = yield from to_duration(p, options.operands[0], pick(p, 1, 125))
    grace = yield from to_duration(p, options.get("k") or "0", pick(p, 1, 125))
    number = find_signal(options.get("s") or "TERM")
    if number is None:
        yield from usage_error(p, f"{quote(options.get('s') or '')}: invalid signal", 125)
    try:
        child = p.spawn(options.operands[1:])
    except OSError as error:
        return (yield from _cannot_run(p, options.operands[1], error))
    until = p.guest.clock.uptime() + limit if limit else None
    yield Blocked(until=until, is_ready=lambda: child.exit is not None)
    is_late = child.exit is None
    if is_late:
        p.processes.kill(child.pid, number or signal.SIGTERM)
    if is_late and grace:
        yield Blocked(until=p.guest.clock.uptime() + grace, is_ready=lambda: child.exit is not None)
        if child.exit is None:
            number = signal.SIGKILL
            p.processes.kill(child.pid, number)
    how = yield from p.wait(child)
    if is_late and number == signal.SIGKILL and not is_busybox(p):
        # GNU's sends it to its own group of processes, and cannot catch this one.
        raise Killed(number)
    if is_late and "P" not in options:
        return pick(p, 128 + (how.signal or 0), 124)
    return how.code if how.signal is None else 128 + how.signal


@program("nohup")
def nohup(p: Process) -> Steps:
    """Run a program that a hang-up does not end."""
    options = yield from parse(p, "", in_order=True, code=125)
    words = options.operands
    if not words:
        yield from missing_operand(p, code=125)
    p.handlers[signal.SIGHUP] = None
    return (yield from _become(p, words))


_XARGS_LONG = {"null": "0", "max-args": "n", "no-run-if-empty": "r", "max-procs": "P",
               "verbose": "t", "replace": "I", "delimiter": "d", "max-lines": "L"}  # fmt: skip


@program("xargs")
def xargs(p: Process) -> Steps:
    """Run a program with arguments from the standard input."""
    letters = "0n:rtI:L:d:P:s:x"
    options = yield from parse(p, letters, _XARGS_LONG, in_order=True)
    data = decode_name((yield from p.read_all(0)))
    p.take_memory(LINE_SIZE * sum(map(data.count, " \t\n\0")))
    replaced = options.get("I")
    separator = yield from _find_separator(p, options)
    if separator is not None:
        items = data.removesuffix(separator).split(separator) if data else []
    elif replaced is not None or "L" in options:
        items = [line.strip() for line in data.splitlines() if line.strip()]
    else:
        items = yield from _split(p, data)
    command = options.operands or ["echo"]
    size = yield from _find_size(p, options)
    if replaced is not None:
        runs = [[word.replace(replaced, item) for word in command] for item in items]
    else:
        runs = [[*command, *items[at : at + size]] for at in range(0, len(items), size)]
        if not items and "r" not in options:
            runs = [command]
    status = 0
    for words in runs:
        if "t" in options:
            yield from p.write(2, " ".join(words) + "\n")
        try:
            child = p.spawn(words)
        except OSError as error:
            return (yield from _cannot_run(p, words[0], error))
        how = yield from p.wait(child)
        if how.signal is not None:
            yield from complain(p, f"{words[0]}: terminated by signal {how.signal}")
            return 125
        if how.code == 255:
            text = pick(p, "exited with status 255; aborting", "exited with status 255; aborting")
            yield from complain(p, f"{words[0]}: {text}")
            return 124
        status = 123 if how.code else status
    return status


def _find_separator(p: Process, options: Options) -> Waiting[str | None]:
    """Return the character between items; None if blanks and quotes count."""
    given = options.get("d")
    if "0" in options or given is None or is_busybox(p):
        return "\0" if "0" in options else given
    separator = decode_name(expand_escapes(given)[0])
    if len(separator) != 1:
        why = "the delimiter must be either a single character or an escape sequence starting with"
        yield from fail(p, f"Invalid input delimiter specification {given}: {why} \\.")
    return separator


def _find_size(p: Process, options: Options) -> Waiting[int]:
    """Return how many items one run takes."""
    letter = "n" if options.get("n") else "L"
    count = options.get(letter)
    if not count:
        return 5000
    if not is_busybox(p) and not count.isdecimal():
        yield from usage_error(p, f'invalid number "{count}" for -{letter} option')
    size = yield from to_number(p, count, is_clamped=True)
    if size < 1:
        wrong = f"value {size} for -{letter} option should be >= 1"
        yield from usage_error(p, "" if is_busybox(p) else wrong)
    return size


def _split(p: Process, text: str) -> Waiting[list[str]]:
    """Take words apart as xargs does, which knows quotes and backslashes."""
    words: list[str] = []
    word: str | None = None
    quoted = ""
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if quoted:
            if char == "\n":
                break
            quoted = "" if char == quoted else quoted
            word = (word or "") + (char if quoted else "")
        elif char in "'\"":
            quoted, word = char, word or ""
        elif char == "\\" and at < len(text):
            word = (word or "") + text[at]
            at += 1
        elif char in " \t\n":
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + char
    if quoted:
        kind = "double" if quoted == '"' else "single"
        gnu = (
            f"unmatched {kind} quote; by default quotes are special to xargs unless you use the -0"
        )
        yield from fail(p, pick(p, f"unmatched {kind} quote", f"{gnu} option"))
    return words if word is None else [*words, word]


@program("busybox")
def busybox(p: Process) -> Steps:
    """Run the applet by whose name it is called, or that the first argument names; or list all."""
    if p.name == "busybox":
        if len(p.argv) < 2 or p.argv[1].startswith("-"):
            yield from p.write(1, "".join(name + "\n" for name in sorted(PROGRAMS)))
            return 0
        p.argv = p.argv[1:]
    applet = PROGRAMS.get(p.name)
    if applet is None or p.name == "busybox":
        yield from p.write(2, f"{p.name}: applet not found\n")
        return 127
    return (yield from applet(p))
