"""POSIX regular expressions, translated to Python's.

An alternation takes its first match here, where POSIX takes the longest. Python's own can take time
that grows with a power of the text, or worse: those with several repetitions are matched by the
package regex, which can be told when to stop.
"""

import importlib
import re
import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from qgasim.guest.processes.process import Killed
from qgasim.guest.system.clock import host_clock

__all__ = ["Regex", "RegexError", "compile_regex"]

#: How long all matches of an expression that is not surely fast may take, in the host's ns.
MATCH_TIME: Final = 500_000_000
#: glibc's RE_DUP_MAX.
MAX_REPEATS: Final = 0x7FFF
_REPEATS: Final = re.compile(r"(?<!\\)(?:[*+]|\{)")
_CHOICES: Final = re.compile(r"(?<!\\)\|")

CLASSES: Final = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z",
    "space": r" \t\n\r\f\v", "blank": r" \t", "punct": r"!-/:-@\[-`{-~", "print": " -~",
    "graph": "!-~", "cntrl": r"\x00-\x1f\x7f", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
ESCAPES: Final = {
    "w": r"\w", "W": r"\W", "s": r"\s", "S": r"\S", "b": r"\b", "B": r"\B",
    "<": r"\b(?=\w)", ">": r"\b(?<=\w)", "`": r"\A", "'": r"\Z",
}  # fmt: skip


class RegexError(ValueError):
    """A regular expression is wrong; the text is regerror(3)'s."""


class _Translator:
    def __init__(self, pattern: str, *, extended: bool) -> None:
        self.text = pattern
        self.at = 0
        self.extended = extended
        self.groups = 0
        self.depth = 0

    def _looking_at(self, plain: str) -> bool:
        """Return whether the operator *plain* is next: as it is in ERE, after a backslash in BRE."""
        token = plain if self.extended else "\\" + plain
        return self.text.startswith(token, self.at)

    def _skip(self) -> None:
        self.at += 1 if self.extended else 2

    def whole(self) -> str:
        out = self.alternatives()
        if self.at < len(self.text):
            raise RegexError("Unmatched ) or \\)")
        return out

    def alternatives(self) -> str:
        branches = [self.branch()]
        while self._looking_at("|"):
            self._skip()
            branches.append(self.branch())
        return "|".join(branches)

    def branch(self) -> str:
        pieces: list[str] = []
        # Whether something is there that a repetition can repeat.
        has_atom = False
        while self.at < len(self.text) and not self._looking_at("|"):
            if self._looking_at(")") and (self.depth or not self.extended):
                break
            repeat = self._repetition(has_atom=has_atom)
            if repeat is not None:
                if has_atom:
                    pieces[-1] = f"(?:{pieces[-1]}){repeat}"
                continue
            has_atom = not self._is_start_anchor(first=not pieces)
            pieces.append(self._atom(first=not pieces))
        return "".join(pieces)

    def _is_start_anchor(self, *, first: bool) -> bool:
        return self.text[self.at] == "^" and (self.extended or first)

    def _repetition(self, *, has_atom: bool) -> str | None:
        char = self.text[self.at]
        if char == "*":
            if not has_atom and not self.extended:
                return None
            self.at += 1
            return "*"
        for sign in "+?":
            if self._looking_at(sign) and (has_atom or self.extended):
                self._skip()
                return sign
        if self._looking_at("{"):
            start = self.at + (1 if self.extended else 2)
            end = "}" if self.extended else "\\}"
            found = re.compile(r"(\d*)(,?)(\d*)" + re.escape(end)).match(self.text, start)
            if found and (found[1] or found[2]):
                if not has_atom:
                    raise RegexError("Invalid preceding regular expression")
                low, high = int(found[1] or 0), int(found[3] or found[1] or 0)
                if found[3] and low > high:
                    raise RegexError("Invalid content of \\{\\}")
                if max(low, high) > MAX_REPEATS:
                    raise RegexError("Regular expression too big")
                self.at = found.end()
                return "{" + (found[1] or "0") + found[2] + found[3] + "}"
            if not self.extended:
                closed = end in self.text[start:]
                raise RegexError("Invalid content of \\{\\}" if closed else "Unmatched \\{")
        return None

    def _atom(self, *, first: bool) -> str:
        if self._looking_at("("):
            return self._group()
        char = self.text[self.at]
        self.at += 1
        if char == ".":
            return "."
        if char == "[":
            return self._bracket()
        if char == "\\":
            return self._escape()
        if char == "^" and (self.extended or first):
            return r"\A"
        if char == "$" and (self.extended or self._at_end()):
            return r"\Z"
        return re.escape(char)

    def _at_end(self) -> bool:
        return self.at == len(self.text) or self._looking_at(")") or self._looking_at("|")

    def _group(self) -> str:
        self._skip()
        self.depth += 1
        inner = self.alternatives()
        if not self._looking_at(")"):
            raise RegexError("Unmatched ( or \\(")
        self._skip()
        self.depth -= 1
        self.groups += 1
        return f"({inner})"

    def _escape(self) -> str:
        if self.at == len(self.text):
            raise RegexError("Trailing backslash")
        char = self.text[self.at]
        self.at += 1
        if char in ESCAPES:
            return ESCAPES[char]
        if char in "123456789":
            if int(char) > self.groups:
                raise RegexError("Invalid back reference")
            return f"(?:\\{char})"
        if char == "n":
            return "\\n"
        if char == ")" and not self.extended:
            raise RegexError("Unmatched ) or \\)")
        return re.escape(char)

    def _bracket(self) -> str:
        unmatched = "Unmatched [, [^, [:, [., or [="
        out = "["
        if self.at == len(self.text):
            raise RegexError("Invalid regular expression")
        if self.text.startswith("^", self.at):
            out += "^"
            self.at += 1
        is_first = True
        while True:
            if self.at >= len(self.text):
                raise RegexError(unmatched)
            char = self.text[self.at]
            kind = self.text[self.at + 1 : self.at + 2]
            if char == "]" and not is_first:
                self.at += 1
                return out + "]"
            is_first = False
            if char == "[" and kind and kind in ":.=":
                end = self.text.find(kind + "]", self.at + 2)
                if end < 0:
                    raise RegexError(unmatched)
                name = self.text[self.at + 2 : end]
                if kind == ":" and name not in CLASSES:
                    raise RegexError("Invalid character class name")
                out += CLASSES[name] if kind == ":" else re.escape(name)
                self.at = end + 2
            elif kind == "-" and self.text[self.at + 2 : self.at + 3] not in ("", "]"):
                last = self.text[self.at + 2]
                if last < char:
                    raise RegexError("Invalid range end")
                out += f"{re.escape(char)}-{re.escape(last)}"
                self.at += 3
            else:
                out += re.escape(char)
                self.at += 1


class Regex:
    """A compiled expression. A program whose matches take too long is killed."""

    def __init__(self, text: str, flags: int) -> None:
        self._pattern = re.compile(text, flags)
        self.groups = self._pattern.groups
        self._limited: Any = None
        repeats = len(_REPEATS.findall(text))
        if repeats > 1 or (repeats and _CHOICES.search(text)):
            self._limited = importlib.import_module("regex").compile(text, flags)
        self._left = MATCH_TIME

    def search(self, text: str, at: int = 0) -> re.Match[str] | None:
        """Find the first match from *at* on."""
        if self._limited is None:
            return self._pattern.search(text, at)
        return self._limit(partial(self._limited.search, text, at, timeout=self._time_left()))

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """Match all of *text*."""
        if self._limited is None:
            return self._pattern.fullmatch(text)
        return self._limit(partial(self._limited.fullmatch, text, timeout=self._time_left()))

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Find all matches, also the empty ones between."""
        if self._limited is None:
            yield from self._pattern.finditer(text)
            return
        found = self._limited.finditer(text, timeout=self._time_left())
        while (match := self._limit(partial(next, found, None))) is not None:
            yield match

    def _time_left(self) -> float:
        # Never 0, which would be no limit.
        return max(self._left, 1) / 1e9

    def _limit(self, function: Callable[[], Any]) -> re.Match[str] | None:
        start = host_clock()
        try:
            match: re.Match[str] | None = function()
        except TimeoutError:
            raise Killed(signal.SIGKILL) from None
        self._left -= host_clock() - start
        return match


def compile_regex(
    pattern: str, *, extended: bool = False, fixed: bool = False, ignore_case: bool = False
) -> Regex:
    """Compile a basic or *extended* regular expression, or a *fixed* string."""
    text = re.escape(pattern) if fixed else _Translator(pattern, extended=extended).whole()
    return Regex(text, re.DOTALL | (re.IGNORECASE if ignore_case else 0))
