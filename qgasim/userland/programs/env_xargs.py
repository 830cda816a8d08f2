"""Programs that run other programs, or say which would run: env, which, timeout, nohup, xargs."""

import errno
import re
import signal
from collections.abc import Iterator
from typing import Final

from qgasim.guest.files.nodes import decode_name, encode_name, os_error
from qgasim.guest.processes.loading import MAX_ARG_STRLEN
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
    options = yield from parse(
        p, "iu:0C:", _ENV_LONG, in_order=True, arguments=arguments, code=pick(p, 1, 125)
    )
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


#: So many bytes, or words, are looked at in one go.
_PIECE: Final = 1 << 20
_BATCH: Final = 4096
#: How many items a command takes if no option says so: as many as there is room for.
_MAX_COUNT: Final = (1 << 31) - 1
_XARGS_LONG = {"null": "0", "max-args": "n", "no-run-if-empty": "r", "max-procs": "P",
               "verbose": "t", "replace": "I", "delimiter": "d", "max-lines": "L"}  # fmt: skip


class _TooLong(Exception):
    """An item or a command is longer than the program takes."""

    def __init__(self, text: str, code: int = 1) -> None:
        """*text*: what the program says; *code*: its status then."""
        super().__init__(text)
        self.code = code


@program("xargs")
def xargs(p: Process) -> Steps:
    """Run a program with arguments from the standard input."""
    letters = "0n:rtI:L:d:P:s:x"
    options = yield from parse(p, letters, _XARGS_LONG, in_order=True)
    limit = yield from _find_limit(p, options)
    data = yield from p.read_all(0)
    for at in range(0, len(data), _PIECE):
        # There is an item behind each of these at most.
        ends = sum(data.count(end, at, at + _PIECE) for end in (b" ", b"\t", b"\n", b"\0"))
        p.take_memory(LINE_SIZE * ends)
    text = decode_name(data)
    separator = yield from _find_separator(p, options)
    is_by_line = "I" in options or "L" in options
    try:
        if separator is not None:
            items = text.removesuffix(separator).split(separator) if text else []
        elif is_by_line:
            items = [line.strip() for line in text.splitlines() if line.strip()]
        else:
            items = yield from _split(p, text, limit)
        runs = yield from _make_runs(p, options, items, limit)
        return (yield from _run_all(p, runs, is_told="t" in options))
    except _TooLong as error:
        yield from fail(p, str(error), error.code)
        raise


def _run_all(p: Process, runs: Iterator[list[str]], *, is_told: bool) -> Waiting[int]:
    """Run commands one after another; return the status for all."""
    status = 0
    for words in runs:
        if is_told:
            yield from p.write(2, " ".join(words) + "\n")
        try:
            child = p.spawn(words)
        except OSError as error:
            return (yield from _cannot_run(p, words[0], error))
        how = yield from p.wait(child)
        if how.signal is not None:
            name = pick(p, f"'{words[0]}'", f"{words[0]}:")
            yield from complain(p, f"{name} terminated by signal {how.signal}")
            return 125
        if how.code == 255:
            yield from complain(p, f"{words[0]}: exited with status 255; aborting")
            return 124
        status = 123 if how.code else status
    return status


def _find_limit(p: Process, options: Options) -> Waiting[int]:
    """Return how many bytes a command may have, with a NUL behind each word."""
    given = options.get("s")
    if given is None:
        # findutils 4.9.0: 128 KiB (bc_use_sensible_arg_max()); BusyBox: 32 KiB less 2 KiB (xargs.c).
        return pick(p, 30 << 10, 128 << 10)
    limit = yield from to_number(p, given, is_clamped=True)
    if not is_busybox(p):
        # What execve(2) takes, less the environment and 2 KiB (bc_init_controlinfo()).
        most = (2 << 20) - 2048 - sum(len(encode_name(item)) + 1 for item in p.env)
        if limit > most:
            yield from complain(p, f"value {given} for -s option should be <= {most}")
    return min(limit, 2 << 20)


def _make_runs(
    p: Process, options: Options, items: list[str], limit: int
) -> Waiting[Iterator[list[str]]]:
    """Return the commands that are run, one by one; `_TooLong` at the first that cannot be."""
    command = options.operands or ["echo"]
    replaced = options.get("I")
    if replaced:
        # BusyBox leaves it to execve(2) to refuse what comes of it.
        return (_replace(command, replaced, item, limit, is_busybox(p)) for item in items)
    count = yield from _find_size(p, options)
    if not items:
        return iter([] if "r" in options else [command])
    return _group(command, items, count, limit)


def _replace(
    command: list[str], replaced: str, item: str, limit: int, is_lenient: bool
) -> list[str]:
    """Put *item* in the place of *replaced*; what comes of it is measured before it is built."""
    if len(encode_name(item)) >= limit:
        raise _TooLong("argument line too long")
    most = MAX_ARG_STRLEN if is_lenient else limit
    left = limit
    words: list[str] = []
    for word in command:
        size = len(word) + word.count(replaced) * (len(item) - len(replaced))
        if size >= most:
            if not is_lenient:
                raise _TooLong("command too long")
            raise _TooLong(f"{command[0]}: {explain(os_error(errno.E2BIG))}", 126)
        words.append(word.replace(replaced, item))
        left -= size + 1
        if left < 0 and not is_lenient:
            raise _TooLong("argument list too long")
    return words


def _group(command: list[str], items: list[str], count: int, limit: int) -> Iterator[list[str]]:
    """Put as many items into each command as it takes: *count*, and *limit* bytes."""
    least = sum(len(encode_name(word)) + 1 for word in command)
    words, size = list(command), least
    for item in items:
        length = len(encode_name(item)) + 1
        if length > limit or least + length > limit:
            raise _TooLong("argument line too long")
        if size + length > limit or len(words) - len(command) >= count:
            yield words
            words, size = list(command), least
        words.append(item)
        size += length
    yield words


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
        return _MAX_COUNT
    if not is_busybox(p) and not count.isdecimal():
        yield from usage_error(p, f'invalid number "{count}" for -{letter} option')
    size = yield from to_number(p, count, is_clamped=True)
    if size < 1:
        wrong = f"value {size} for -{letter} option should be >= 1"
        yield from usage_error(p, "" if is_busybox(p) else wrong)
    return size


#: A word of xargs, which knows quotes and backslashes; blanks; or what is no word, the beginning of a quote.
_WORD: Final = re.compile(
    r"""((?:[^ \t\n'"\\]++|\\.|\\\Z|"[^"\n]*+"|'[^'\n]*+')++)|[ \t\n]++|(['"\\])""", re.DOTALL
)
_QUOTED: Final = re.compile(r"""\\(.)|"([^"]*+)"|'([^']*+)'""", re.DOTALL)


def _split(p: Process, text: str, limit: int) -> Waiting[list[str]]:
    """Take words apart; `_TooLong` if one has more than *limit* characters."""
    words: list[str] = []
    at = 0
    while at < len(text):
        # No more is looked at in one go than a word may have.
        found = _WORD.match(text, at, at + limit + 1)
        assert found is not None
        word, quote_mark = found[1], found[2]
        if quote_mark is not None:
            rest = text[at + 1 : at + 1 + limit]
            if quote_mark == "\\" or (len(rest) == limit and "\n" not in rest):
                raise _TooLong("argument line too long")
            kind = "double" if quote_mark == '"' else "single"
            gnu = f"unmatched {kind} quote; by default quotes are special to xargs unless you use the -0"
            yield from fail(p, pick(p, f"unmatched {kind} quote", f"{gnu} option"))
        at = found.end()
        if word is None:
            continue
        if len(word) > limit:
            raise _TooLong("argument line too long")
        words.append(_QUOTED.sub(_unquote, word) if _SPECIAL.search(word) else word)
        if len(words) % _BATCH == 0:
            yield from p.charge_steps(_BATCH)
    return words


_SPECIAL: Final = re.compile(r"""['"\\]""")


def _unquote(found: re.Match[str]) -> str:
    return found[1] or found[2] or found[3] or ""


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
