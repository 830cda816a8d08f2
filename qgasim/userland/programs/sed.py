"""The program sed: its scripts, and what runs them."""

import os
import re
from collections import deque
from contextlib import suppress
from typing import Final

from msgspec import Struct, field

from qgasim.guest.files.nodes import decode_name, encode_name
from qgasim.guest.processes.process import STEP_BYTES, Process, Steps, Waiting
from qgasim.matching import Pattern
from qgasim.userland.limits import check_size, to_int
from qgasim.userland.programs.getopt import Options, not_simulated, parse, usage_error
from qgasim.userland.programs.inputs import Source
from qgasim.userland.programs.lstat import look
from qgasim.userland.programs.messages import complain, explain, fail, is_busybox, pick
from qgasim.userland.programs.posix_regex import RegexError, compile_regex
from qgasim.userland.programs.registry import program

__all__: list[str] = []

_LONG = {
    "quiet": "n", "silent": "n", "expression": "e", "in-place": "i", "regexp-extended": "E",
}  # fmt: skip


_PLAIN: Final = "pd"
#: Commands that sed has besides, and flags of ``s``: those that BusyBox's has, too, and the others.
_KNOWN: Final = "=DPhHgGxyrwTnNbtcaiq:{}", "lWFRevzQ"
_KNOWN_FLAGS: Final = "mMew"
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}


class ScriptError(ValueError):
    """A script is wrong: GNU's text, the place, and BusyBox's text if it has another."""

    def __init__(self, text: str, at: int, busybox: str = "") -> None:
        super().__init__(text)
        self.at = at
        self.busybox = busybox


class NotSimulatedError(Exception):
    """A script has what the real sed knows, and this one does not: the text names it."""


class Address(Struct):
    """Which lines are meant: a number, the last, or those that match."""

    line: int = 0
    is_last: bool = False
    regex: Pattern | None = None


class Instruction(Struct):
    """A command with its addresses."""

    name: str
    first: Address | None = None
    last: Address | None = None
    is_negated: bool = False
    regex: Pattern | None = None
    #: Text, and the numbers of groups (0: all that matched).
    replacement: list[str | int] = field(default_factory=list["str | int"])
    is_global: bool = False
    prints: bool = False
    number: int = 1


def compile_script(text: str, *, extended: bool, is_busybox: bool) -> list[Instruction]:
    """Read a script: `ScriptError` if it is wrong, `NotSimulatedError` if it is more than is known here."""
    return _Compiler(text, extended=extended, is_busybox=is_busybox).compile()


class _Compiler:
    def __init__(self, text: str, *, extended: bool, is_busybox: bool) -> None:
        self.text = text
        self.is_busybox = is_busybox
        self.known = _KNOWN[0] if is_busybox else "".join(_KNOWN)
        self.at = 0
        self.extended = extended
        self.script: list[Instruction] = []
        self.last_regex = ""

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        char = self.peek()
        self.at += 1
        return char

    def skip(self, chars: str) -> None:
        while self.peek() and self.peek() in chars:
            self.at += 1

    def wrong(self, text: str, busybox: str = "") -> ScriptError:
        return ScriptError(text, min(self.at, len(self.text)), busybox)

    def compile(self) -> list[Instruction]:
        while True:
            self.skip(" \t\n;")
            if not self.peek():
                break
            if self.peek() == "#":
                self._line()
                continue
            self._instruction()
        return self.script

    def _line(self) -> str:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        line, self.at = self.text[self.at : end], end + 1
        return line

    # -- addresses -----------------------------------------------------------------------------

    def _number(self) -> int | None:
        found = re.compile(r"\d+").match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return to_int(found[0])

    def _address(self) -> Address | None:
        number = self._number()
        if number is not None:
            if not number or (self.peek() == "~" and not self.is_busybox):
                raise NotSimulatedError(f"the address '{number}{self.peek()}'")
            return Address(line=number)
        char = self.peek()
        if char == "$":
            self.take()
            return Address(is_last=True)
        if char and char in "/\\":
            self.take()
            delimiter = self.take() if char == "\\" else "/"
            pattern = self._delimited(delimiter, "unterminated address regex")
            fold = self.peek() == "I" and not self.is_busybox
            if fold:
                self.take()
            return Address(regex=self._regex(pattern, fold=fold))
        return None

    def _delimited(self, delimiter: str, unterminated: str) -> str:
        """Take the text up to *delimiter*, which a backslash makes a plain character."""
        out = ""
        in_bracket = False
        while True:
            char = self.take()
            if not char:
                raise self.wrong(unterminated, f"unmatched '{delimiter}'")
            if in_bracket:
                in_bracket = char != "]" or out.endswith(("[", "[^"))
            elif char == "\\":
                following = self.take()
                out += following if following == delimiter else "\\" + following
                continue
            elif char == delimiter:
                return out
            else:
                in_bracket = char == "[" and unterminated != ""
            out += char

    def _regex(self, pattern: str, *, fold: bool) -> Pattern:
        pattern = pattern or self.last_regex
        self.last_regex = pattern
        for letter in "tnrfv":
            pattern = re.sub(rf"(?<!\\)((?:\\\\)*)\\{letter}", rf"\1{_ESCAPES[letter]}", pattern)
        try:
            return compile_regex(pattern, extended=self.extended, ignore_case=fold)
        except RegexError as error:
            raise self.wrong(str(error), f"bad regex '{pattern}': {error}") from None

    # -- commands ------------------------------------------------------------------------------

    def _instruction(self) -> None:
        first, last = self._addresses()
        self.skip(" \t")
        is_negated = self.peek() == "!"
        self.skip("! \t")
        name = self.take()
        if not name:
            raise self.wrong("missing command")
        instruction = Instruction(name, first, last, is_negated)
        self.script.append(instruction)
        if name == "s":
            self._substitution(instruction)
        elif name in self.known:
            raise NotSimulatedError(f"the command '{name}'")
        elif name not in _PLAIN:
            raise self.wrong(f"unknown command: `{name}'", f"unsupported command {name}")
        self.skip(" \t")
        if self.peek() not in ("", ";", "\n", "}", "#"):
            self.at += 1
            raise self.wrong("extra characters after command")

    def _addresses(self) -> tuple[Address | None, Address | None]:
        """Read the addresses before a command: none, one, or two with a comma."""
        first = self._address()
        self.skip(" \t")
        if first is None or self.peek() != ",":
            return first, None
        self.take()
        self.skip(" \t")
        if self.peek() == "+":
            raise NotSimulatedError("the address '+N'")
        last = self._address()
        if last is None:
            raise self.wrong("unexpected `,'", "no address after comma")
        return first, last

    def _substitution(self, instruction: Instruction) -> None:
        delimiter = self.take()
        unterminated = "unterminated `s' command"
        pattern = self._delimited(delimiter, unterminated)
        start = self.at
        end = start
        while end < len(self.text) and self.text[end] != delimiter:
            end += 2 if self.text[end] == "\\" else 1
        if end >= len(self.text):
            self.at = end
            raise self.wrong(unterminated, f"unmatched '{delimiter}'")
        self.at = end + 1
        instruction.replacement = _replacement(self.text[start:end], delimiter)
        fold = False
        while (flag := self.peek()) and (flag in "gpiI" or flag.isdecimal()):
            number = self._number()
            if number == 0 and not self.is_busybox:
                raise self.wrong("number option to `s' command may not be zero")
            if number is not None:
                instruction.number = number
                # BusyBox takes 0 for all.
                instruction.is_global = instruction.is_global or not number
                continue
            self.take()
            instruction.is_global = instruction.is_global or flag == "g"
            instruction.prints = instruction.prints or flag == "p"
            fold = fold or flag in "iI"
        if self.peek() and self.peek() in _KNOWN_FLAGS:
            raise NotSimulatedError(f"the flag '{self.peek()}' of 's'")
        if self.peek() not in ("", ";", "\n", "}", "#", " ", "\t"):
            self.at += 1
            raise self.wrong("unknown option to `s'", "bad option in substitution expression")
        instruction.regex = self._regex(pattern, fold=fold)
        highest = max(
            (part for part in instruction.replacement if isinstance(part, int)), default=0
        )
        if highest > instruction.regex.groups:
            text = f"invalid reference \\{highest} on `s' command's RHS"
            raise self.wrong(text, f"invalid reference \\{highest} on 's' command's RHS")


def _replacement(text: str, delimiter: str) -> list[str | int]:
    parts: list[str | int] = []
    for found in re.finditer(r"\\(.|\n)|&|[^\\&]+", text):
        escaped = found[1]
        if found[0] == "&":
            parts.append(0)
        elif escaped is None:
            parts.append(found[0])
        elif escaped.isdecimal() and escaped != delimiter:
            parts.append(int(escaped))
        else:
            parts.append(_ESCAPES.get(escaped, escaped) if escaped != delimiter else escaped)
    return parts


@program("sed")
def sed(p: Process) -> Steps:
    """Edit lines by a script."""
    options = yield from parse(p, "nEre:i::", _LONG)
    words = list(options.operands)
    text = yield from _script(p, options, words)
    is_extended = "E" in options or "r" in options
    try:
        script = compile_script(text, extended=is_extended, is_busybox=is_busybox(p))
    except NotSimulatedError as error:
        return (yield from not_simulated(p, str(error)))
    except ScriptError as error:
        where = f"-e expression #1, char {error.at}: {error}"
        return (yield from fail(p, pick(p, error.busybox or str(error), where)))
    if "i" not in options:
        editor = _Editor(p, script, is_quiet="n" in options)
        source = Source(p, words)
        yield from editor.run(source, 1)
        return pick(p, 1, 2) if source.has_failed else 0
    status = 0
    if not words:
        yield from fail(p, pick(p, "-i requires an argument", "no input files"), pick(p, 1, 4))
    for path in words:
        status = (yield from _edit_in_place(p, script, path, options)) or status
    return status


def _script(p: Process, options: Options, words: list[str]) -> Waiting[str]:
    if "e" in options:
        return "\n".join(options.all("e"))
    if not words:
        with suppress(OSError):
            usage = "Usage: sed [OPTION]... {script-only-if-no-other-script} [input-file]...\n"
            yield from p.write(2, pick(p, "", usage))
        yield from usage_error(p)
    return words.pop(0)


def _edit_in_place(
    p: Process, script: list[Instruction], path: str, options: Options
) -> Waiting[int]:
    """Write the result to a new file, which then replaces the old one."""
    files = p.guest.files
    editor = _Editor(p, script, is_quiet="n" in options)
    number = max(p.files, default=2) + 1
    new = f"{path.rpartition('/')[0] or '.'}/sed{''.join(p.guest.random.choices('ABCXYZ019', k=6))}"
    try:
        inode = look(p, path)
        p.files[number] = yield from p.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        yield from complain(
            p, f"{pick(p, '', 'can' + chr(39) + 't read ')}{path}: {explain(error)}"
        )
        return pick(p, 1, 2)
    try:
        yield from editor.run(Source(p, [path]), number)
    finally:
        p.files.pop(number).close()
    yield from p.call(files.chmod, new, inode.mode & 0o7777, p.cwd)
    yield from p.call(files.chown, new, inode.uid, inode.gid, p.cwd)
    suffix = options.get("i")
    if suffix:
        yield from p.call(files.rename, path, path + suffix, p.cwd)
    yield from p.call(files.rename, new, path, p.cwd)
    return 0


class _Editor:
    def __init__(self, p: Process, script: list[Instruction], *, is_quiet: bool) -> None:
        self.p = p
        self.script = script
        self.is_quiet = is_quiet
        self.space = ""
        self.number = 0
        #: Whether the line in the pattern space had a newline at its end.
        self.has_end = True
        self.waiting: deque[bytes] = deque()
        self.source = Source(p, [])
        self.out = 1
        self.lines: list[str] = []
        #: Ranges that have begun, and the line at which they end (None: at the second address).
        self.open: dict[int, int | None] = {}
        self.needs_end = False

    def run(self, source: Source, out: int) -> Waiting[None]:
        """Edit all lines of *source*."""
        self.source, self.out = source, out
        while (yield from self._next()):
            yield from self._cycle()
            if len(self.lines) > 1000:
                yield from self._flush()
        yield from self._flush()

    def _flush(self) -> Waiting[None]:
        text = "".join(self.lines)
        self.lines.clear()
        yield from self.p.write(self.out, encode_name(text))

    def _fill(self) -> Waiting[None]:
        """See to it that there are two lines to read if the input has so many."""
        while len(self.waiting) < 2:
            lines = yield from self.source.lines()
            if not lines:
                return
            self.waiting.extend(lines)

    def _next(self) -> Waiting[bool]:
        yield from self._fill()
        if not self.waiting:
            return False
        self.space = self._take()
        return True

    def _take(self) -> str:
        raw = self.waiting.popleft()
        self.has_end = raw.endswith(b"\n")
        self.number += 1
        return decode_name(raw.removesuffix(b"\n"))

    def _is_last(self) -> Waiting[bool]:
        yield from self._fill()
        return not self.waiting

    def _print(self, text: str) -> None:
        # Text after a last line without newline begins on a line of its own.
        start = "\n" if self.needs_end else ""
        self.needs_end = not self.has_end
        self.lines.append(start + text + ("\n" if self.has_end else ""))

    def _end_cycle(self, *, prints: bool = True) -> None:
        if prints and not self.is_quiet:
            self._print(self.space)

    # -- addresses -----------------------------------------------------------------------------

    def _matches(self, address: Address) -> Waiting[bool]:
        if address.regex is not None:
            return address.regex.search(self.space) is not None
        if address.is_last:
            return (yield from self._is_last())
        return self.number == address.line

    def _is_chosen(self, at: int, instruction: Instruction) -> Waiting[bool]:
        first, last = instruction.first, instruction.last
        if first is None:
            chosen = True
        elif last is None:
            chosen = yield from self._matches(first)
        elif at in self.open:
            chosen = yield from self._is_inside(at, last)
        else:
            chosen = yield from self._matches(first)
            if chosen:
                end = None if last.regex is not None or last.is_last else last.line
                if last.is_last or end is None or end > self.number:
                    self.open[at] = end
        return chosen != instruction.is_negated

    def _is_inside(self, at: int, last: Address) -> Waiting[bool]:
        end = self.open[at]
        if end is None:
            if (yield from self._matches(last)):
                del self.open[at]
            return True
        if self.number >= end:
            del self.open[at]
        return self.number <= end

    # -- commands ------------------------------------------------------------------------------

    def _cycle(self) -> Waiting[None]:
        for at, instruction in enumerate(self.script):
            yield from self.p.charge_steps(1 + len(self.space) // STEP_BYTES)
            if not (yield from self._is_chosen(at, instruction)):
                continue
            match instruction.name:
                case "s":
                    self._substitute(instruction)
                case "d":
                    self._end_cycle(prints=False)
                    return
                case _:
                    self._print(self.space)
        self._end_cycle()

    def _substitute(self, instruction: Instruction) -> None:
        assert instruction.regex is not None
        parts: list[str] = []
        at = count = size = 0
        last_end = -1
        for found in instruction.regex.finditer(self.space):
            if found.start() == found.end() == last_end:
                continue
            last_end = found.end()
            count += 1
            if count < instruction.number:
                continue
            parts += [self.space[at : found.start()], _expand(instruction.replacement, found)]
            size += len(parts[-1])
            check_size(size)
            at = found.end()
            if not instruction.is_global:
                break
        if not parts:
            return
        self.space = "".join(parts) + self.space[at:]
        if instruction.prints:
            self._print(self.space)


def _expand(replacement: list[str | int], found: re.Match[str]) -> str:
    return "".join(part if isinstance(part, str) else found[part] or "" for part in replacement)
