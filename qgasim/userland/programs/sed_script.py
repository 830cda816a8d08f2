"""sed's scripts: text to instructions."""

import re
from typing import Final

from msgspec import Struct, field

from qgasim.matching import Pattern
from qgasim.userland.limits import to_int
from qgasim.userland.programs.posix_regex import RegexError, compile_regex

__all__ = ["Address", "Instruction", "NotSimulatedError", "ScriptError", "compile_script"]

_PLAIN: Final = "pdnN"
#: Commands that sed has besides, and flags of ``s``: those that BusyBox's has, too, and the others.
_KNOWN: Final = "=DPhHgGxyrwT", "lWFRevzQ"
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
    text: str = ""
    #: Where ``b``, ``t`` and a block that is not chosen go on.
    jump: int = 0
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
        self.known = _KNOWN[0] if is_busybox else "".join(_KNOWN)
        self.at = 0
        self.extended = extended
        self.script: list[Instruction] = []
        self.blocks: list[Instruction] = []
        self.labels: dict[str, int] = {}
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
        if self.blocks:
            raise ScriptError("unmatched `{'", 0, "unmatched '{'")
        for instruction in self.script:
            if instruction.name in "bt" and instruction.text:
                if instruction.text not in self.labels:
                    label = instruction.text
                    text = f"can't find label for jump to `{label}'"
                    raise ScriptError(
                        text, len(self.text), f"can't find label for jump to '{label}'"
                    )
                instruction.jump = self.labels[instruction.text]
            elif instruction.name in "bt":
                instruction.jump = len(self.script)
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
            if self.peek() == "~" or not number:
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
            fold = self.peek() == "I"
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
        if name == ":":
            self.labels[self._label()] = len(self.script)
            return
        if name == "}":
            if not self.blocks:
                raise self.wrong("unexpected `}'")
            self.blocks.pop().jump = len(self.script)
            return
        self.script.append(instruction)
        if name == "{":
            self.blocks.append(instruction)
            return
        if name == "s":
            self._substitution(instruction)
        elif name in "aic":
            instruction.text = self._text()
            return
        elif name in "bt":
            instruction.text = self._label()
            return
        elif name == "q":
            self.skip(" \t")
            instruction.text = str(self._number() or 0)
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

    def _label(self) -> str:
        found = re.compile(r"[ \t]*([^;\n}]*)").match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return found[1].strip()

    def _text(self) -> str:
        """Take the text of ``a``, ``i`` or ``c``, in one line or after a backslash."""
        self.skip(" \t")
        if self.peek() == "\\":
            self.take()
            self.skip(" \t")
            if self.peek() == "\n":
                self.take()
        lines = self._line()
        while lines.endswith("\\") and self.at <= len(self.text):
            lines = f"{lines[:-1]}\n{self._line()}"
        if not lines:
            raise self.wrong("expected \\ after `a', `c' or `i'")
        return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), lines)

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
            if number is not None:
                instruction.number = number
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
