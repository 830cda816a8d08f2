"""POSIX regular expressions, translated to Python's.

An alternation takes its first match here, where POSIX takes the longest. What a match may take is bounded
by `qgasim.matching`: real programs match in a time that grows with the text, Python may not.
"""

import re
from typing import Final

from qgasim.matching import Pattern

__all__ = ["RegexError", "compile_regex"]

#: How long a match may take, in seconds of the host.
MATCH_TIME: Final = 0.5
#: glibc's RE_DUP_MAX.
MAX_REPEATS: Final = 0x7FFF
MAX_DIGITS: Final = 100
#: How many characters an expression may have with its repetitions written out. glibc writes them out until
#: it has no more memory (REG_ESPACE).
MAX_SIZE: Final = 1 << 16
TOO_LARGE: Final = "Memory exhausted"

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
    def __init__(self, pattern: str, *, extended: bool, is_strict: bool, pairs: bool) -> None:
        self.text = pattern
        #: Whether a repetition of nothing, or a parenthesis too many, are wrong, and not plain.
        self.is_strict = is_strict
        self.pairs = pairs
        self.warnings: list[str] = []
        self.at = 0
        self.extended = extended
        self.groups = 0
        self.depth = 0
        #: The size of what was read last, its repetitions written out; how often that is repeated.
        self.size = 0
        self._times = 1

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
        size = self.size
        while self._looking_at("|"):
            self._skip()
            branches.append(self.branch())
            size += self.size
        self.size = size
        return "|".join(branches)

    def branch(self) -> str:
        pieces: list[str] = []
        sizes = [1]
        # Whether something is there that a repetition can repeat.
        has_atom = False
        while self.at < len(self.text) and not self._looking_at("|"):
            if self._looking_at(")") and (self.depth or not self.extended or self.pairs):
                break
            repeat = self._repetition(has_atom=has_atom)
            if repeat is not None:
                if has_atom:
                    pieces[-1] = f"(?:{pieces[-1]}){repeat}"
                    sizes[-1] *= self._times
                    if sum(sizes) > MAX_SIZE:
                        raise RegexError(TOO_LARGE)
                continue
            has_atom = not self._is_start_anchor(first=not pieces)
            self.size = 1
            pieces.append(self._atom(first=not pieces))
            sizes.append(self.size)
        self.size = sum(sizes)
        if self.size > MAX_SIZE:
            raise RegexError(TOO_LARGE)
        return "".join(pieces)

    def _is_start_anchor(self, *, first: bool) -> bool:
        return self.text[self.at] == "^" and (self.extended or first)

    def _repetition(self, *, has_atom: bool) -> str | None:
        char = self.text[self.at]
        self._times = 1
        if char == "*":
            if not has_atom and not self.extended:
                return None
            self._need_atom("*", has_atom=has_atom)
            self.at += 1
            return "*"
        for sign in "+?":
            if self._looking_at(sign) and (has_atom or self.extended):
                self._need_atom(sign, has_atom=has_atom)
                self._skip()
                return sign
        if self._looking_at("{") and (has_atom or self.extended or self.is_strict):
            if self.is_strict:
                self._need_atom("{...}", has_atom=has_atom)
            start = self.at + (1 if self.extended else 2)
            end = "}" if self.extended else "\\}"
            found = re.compile(r"(\d*)(,?)(\d*)" + re.escape(end)).match(self.text, start)
            if found and (found[1] or found[2]):
                self._need_atom("{...}", has_atom=has_atom)
                if max(len(found[1]), len(found[3])) > MAX_DIGITS:
                    raise RegexError("Regular expression too big")
                low, high = int(found[1] or 0), int(found[3] or found[1] or 0)
                if found[3] and low > high:
                    raise RegexError("Invalid content of \\{\\}")
                if max(low, high) > MAX_REPEATS:
                    raise RegexError("Regular expression too big")
                self.at = found.end()
                self._times = max(low, high, 1)
                return "{" + (found[1] or "0") + found[2] + found[3] + "}"
            if not self.extended:
                closed = end in self.text[start:]
                raise RegexError("Invalid content of \\{\\}" if closed else "Unmatched \\{")
        return None

    def _need_atom(self, sign: str, *, has_atom: bool) -> None:
        if not has_atom and self.is_strict:
            raise RegexError("Invalid preceding regular expression")
        if not has_atom:
            self.warnings.append(f"{sign} at start of expression")

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


def compile_regex(
    pattern: str,
    *,
    extended: bool = False,
    fixed: bool = False,
    ignore_case: bool = False,
    is_strict: bool = False,
    pairs: bool = False,
    warnings: list[str] | None = None,
) -> Pattern:
    """Compile a basic or *extended* regular expression, or a *fixed* string.

    *is_strict*: as regcomp(3) does, and not as grep, which takes more and has *warnings*. *pairs*: as GNU's sed,
    which wants both of two parentheses.
    """
    text = re.escape(pattern)
    if not fixed:
        translator = _Translator(pattern, extended=extended, is_strict=is_strict, pairs=pairs)
        text = translator.whole()
        if warnings is not None:
            warnings += translator.warnings
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    try:
        return Pattern(text, flags, limit=MATCH_TIME)
    except ValueError:
        raise RegexError(TOO_LARGE) from None
