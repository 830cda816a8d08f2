"""The program sed: its scripts, and what runs them."""

import os
import re
from collections import deque
from contextlib import suppress
from functools import partial
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


#: Stands for the regular expression that was used last.
_PREVIOUS: Final = compile_regex("")


class ScriptError(ValueError):
    """A script is wrong: GNU's text with the place, or BusyBox's."""


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


class _Compiler:
    """Reads scripts: `ScriptError` if one is wrong, `NotSimulatedError` if it is more than is known here."""

    def __init__(self, *, extended: bool, is_busybox: bool) -> None:
        self.text = ""
        #: How many scripts were read.
        self.count = 0
        self.is_busybox = is_busybox
        self.known = _KNOWN[0] if is_busybox else "".join(_KNOWN)
        self.at: int = 0
        self.extended = extended
        self.script: list[Instruction] = []
        #: The regular expression of the address that was read last.
        self.previous: Pattern | None = None

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
        if self.is_busybox:
            return ScriptError(busybox or text)
        at = min(self.at, len(self.text))
        return ScriptError(f"-e expression #{self.count}, char {at}: {text}")

    def compile(self, text: str) -> list[Instruction]:
        """Read one more script; return the instructions of all."""
        self.text, self.at = text, 0
        self.count += 1
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
            if not delimiter and self.is_busybox:
                raise NotSimulatedError("a backslash without an address")
            pattern = self._delimited(delimiter, "unterminated address regex")
            fold = self.peek() == "I" and not self.is_busybox
            if fold:
                self.take()
            regex = self._regex(pattern, fold=fold)
            if self.is_busybox:
                # An empty one is that of the address before.
                if regex is _PREVIOUS and self.previous is None:
                    raise self.wrong("", "no previous regexp")
                regex = self.previous if regex is _PREVIOUS and self.previous else regex
                self.previous = regex
            return Address(regex=regex)
        return None

    def _delimited(self, delimiter: str, unterminated: str) -> str:
        """Take the text up to *delimiter*, which a backslash makes a plain character."""
        out = ""
        in_bracket = False
        while True:
            char = self.take()
            ends = not char or (char == "\n" and not self.is_busybox)
            if ends or (self.is_busybox and delimiter == "\\"):
                self.at -= len(char)
                raise self.wrong(unterminated, f"unmatched '{delimiter}'")
            if in_bracket:
                in_bracket = char != "]" or out.endswith(("[", "[^"))
            elif char == delimiter:
                return out
            elif char == "\\":
                following = self.take()
                # BusyBox leaves the backslash, whatever that means then.
                is_plain = following == delimiter and not self.is_busybox
                out += following if is_plain else "\\" + following
                continue
            else:
                in_bracket = char == "["
            out += char

    def _regex(self, pattern: str, *, fold: bool) -> Pattern:
        if not pattern:
            if fold and not self.is_busybox:
                raise self.wrong("cannot specify modifiers on empty regexp")
            return _PREVIOUS
        for letter in "tnrfv":
            pattern = re.sub(rf"(?<!\\)((?:\\\\)*)\\{letter}", rf"\1{_ESCAPES[letter]}", pattern)
        try:
            return compile_regex(
                pattern,
                extended=self.extended,
                ignore_case=fold,
                is_strict=True,
                pairs=not self.is_busybox,
            )
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
        elif name == "#" and not self.is_busybox:
            raise self.wrong("comments don't accept any addresses")
        elif name not in _PLAIN:
            raise self.wrong(f"unknown command: `{name}'", f"unsupported command {name}")
        self.skip(" \t")
        # BusyBox needs nothing between two commands.
        if self.peek() not in ("", ";", "\n", "}", "#") and not self.is_busybox:
            self.at += 1
            raise self.wrong("extra characters after command")

    def _addresses(self) -> tuple[Address | None, Address | None]:
        """Read the addresses before a command: none, one, or two with a comma."""
        first = self._address()
        if not self.is_busybox:
            self.skip(" \t")
        if first is None or self.peek() != ",":
            return first, None
        self.take()
        if not self.is_busybox:
            self.skip(" \t")
        if self.peek() == "+":
            raise NotSimulatedError("the address '+N'")
        last = self._address()
        if last is None:
            self.at += 1
            raise self.wrong("unexpected `,'", "no address after comma")
        return first, last

    def _substitution(self, instruction: Instruction) -> None:
        delimiter = self.take()
        if delimiter in ("", "\n") and self.is_busybox:
            raise self.wrong("bad format in substitution expression")
        unterminated = "unterminated `s' command"
        pattern = self._delimited(delimiter, unterminated)
        start = self.at
        end = start
        stops = delimiter if self.is_busybox else f"{delimiter}\n"
        while end < len(self.text) and self.text[end] not in stops:
            end += 2 if self.text[end] == "\\" else 1
        if self.text[end : end + 1] != delimiter:
            self.at = end
            raise self.wrong(unterminated, f"unmatched '{delimiter}'")
        self.at = end + 1
        instruction.replacement = _replacement(self.text[start:end], delimiter)
        fold = self._flags(instruction, counts=pattern[:1] != "^" or not self.is_busybox)
        if self.peek() and self.peek() in _KNOWN_FLAGS:
            raise NotSimulatedError(f"the flag '{self.peek()}' of 's'")
        if self.peek() not in ("", ";", "\n", "}", "#", " ", "\t"):
            self.at += 1
            raise self.wrong("unknown option to `s'", "bad option in substitution expression")
        # GNU's has read the end of the command before it looks at what it has.
        end = self.at
        self.at += int(self.peek() in (";", "\n"))
        instruction.regex = self._regex(pattern, fold=fold)
        highest = max(
            (part for part in instruction.replacement if isinstance(part, int)), default=0
        )
        groups = instruction.regex.groups
        if highest > groups and instruction.regex is not _PREVIOUS and not self.is_busybox:
            raise self.wrong(f"invalid reference \\{highest} on `s' command's RHS")
        self.at = end

    def _flags(self, instruction: Instruction, *, counts: bool) -> bool:
        """Read the flags of ``s``; return whether case is ignored. BusyBox takes the last of number and g."""
        seen: list[str] = []
        while (flag := self.peek()) and (flag in "gpiI" or flag.isdecimal()):
            number = self._number()
            if number is None:
                self.take()
            kind = flag if number is None else "number"
            if not self.is_busybox and kind in seen and flag not in "iI":
                self.at += int(kind == "number")
                what = "number" if number is not None else f"`{flag}'"
                raise self.wrong(f"multiple {what} options to `s' command")
            if number == 0 and not self.is_busybox:
                raise self.wrong("number option to `s' command may not be zero")
            seen.append(kind)
            if kind == "p":
                instruction.prints = True
            elif number is not None and counts:
                instruction.number = max(number, 1)
                instruction.is_global = not number or (
                    instruction.is_global and not self.is_busybox
                )
            elif kind == "g" and counts:
                instruction.is_global = True
                instruction.number = 1 if self.is_busybox else instruction.number
        return "i" in seen or "I" in seen


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
    texts = yield from _scripts(p, options, words)
    compiler = _Compiler(extended=bool(options.last("Er")), is_busybox=is_busybox(p))
    script: list[Instruction] = []
    try:
        for text in texts:
            script = compiler.compile(text)
    except NotSimulatedError as error:
        return (yield from not_simulated(p, str(error)))
    except ScriptError as error:
        return (yield from fail(p, str(error)))
    is_quiet = "n" in options or re.match("#n(\n|$)", texts[0]) is not None
    make_editor = partial(_Editor, p, script, is_quiet=is_quiet, previous=compiler.previous)
    if "i" not in options:
        source = Source(p, words)
        yield from make_editor().run(source, 1)
        return 4 if source.has_read_error else pick(p, 1, 2) if source.has_failed else 0
    status = 0
    if not words:
        yield from fail(p, pick(p, "-i requires an argument", "no input files"), pick(p, 1, 4))
    for path in words:
        status = (yield from _edit_in_place(p, make_editor(), path, options)) or status
    return status


def _scripts(p: Process, options: Options, words: list[str]) -> Waiting[list[str]]:
    if "e" in options:
        return options.all("e")
    if not words:
        with suppress(OSError):
            usage = "Usage: sed [OPTION]... {script-only-if-no-other-script} [input-file]...\n"
            yield from p.write(2, pick(p, "", usage))
        yield from usage_error(p)
    return [words.pop(0)]


def _edit_in_place(p: Process, editor: "_Editor", path: str, options: Options) -> Waiting[int]:
    """Write the result to a new file, which then replaces the old one."""
    files = p.guest.files
    number = max(p.files, default=2) + 1
    new = f"{path.rpartition('/')[0] or '.'}/sed{''.join(p.guest.random.choices('ABCXYZ019', k=6))}"
    try:
        inode = look(p, path)
        if inode.is_dir and not is_busybox(p):
            yield from fail(p, f"couldn't edit {path}: not a regular file", 4)
        if inode.is_dir:
            yield from complain(p, f"can't move '{new}' to '{path}': Is a directory")
            return 1
        p.files[number] = yield from p.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        yield from complain(p, pick(p, "", "can't read ") + f"{path}: {explain(error)}")
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
    def __init__(
        self,
        p: Process,
        script: list[Instruction],
        *,
        is_quiet: bool,
        previous: Pattern | None,
    ) -> None:
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
        #: The regular expression that was used last.
        self.previous = previous

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

    def _find_regex(self, regex: Pattern) -> Waiting[Pattern]:
        """Return *regex*, or the one that was used last if it is empty."""
        if regex is not _PREVIOUS:
            self.previous = regex
        if self.previous is None:
            yield from self._flush()
            text = "-e expression #1, char 0: no previous regular expression"
            yield from fail(self.p, pick(self.p, "no previous regexp", text))
        return self.previous or regex

    # -- addresses -----------------------------------------------------------------------------

    def _matches(self, address: Address) -> Waiting[bool]:
        if address.regex is not None:
            regex = address.regex
            if not is_busybox(self.p):
                regex = yield from self._find_regex(regex)
            return regex.search(self.space) is not None
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
                    regex = yield from self._find_regex(instruction.regex or _PREVIOUS)
                    self._substitute(instruction, regex)
                case "d":
                    return
                case _:
                    self._print(self.space)
        if not self.is_quiet:
            self._print(self.space)

    def _substitute(self, instruction: Instruction, regex: Pattern) -> None:
        parts: list[str] = []
        at = count = size = 0
        last_end = -1
        for found in regex.finditer(self.space):
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
    groups = found.re.groups
    return "".join(
        part if isinstance(part, str) else found[part] or "" if part <= groups else ""
        for part in replacement
    )
