"""Words: quotes, ``$`` and backquotes in the text of a script.

The messages are those of BusyBox's ash (shell/ash.c).
"""

import re
from abc import ABC, abstractmethod
from typing import Final

from qgasim.errors import GuestError
from qgasim.userland.shell.flavours import Flavour
from qgasim.userland.shell.printf import expand_dollar_quoted
from qgasim.userland.shell.syntax import (
    NOT_SIMULATED,
    Arithmetic,
    Parameter,
    Part,
    Sequence,
    Substitution,
    Text,
    Word,
)

__all__ = ["BadSyntax", "Refused", "Scanner"]

BLANK: Final = re.compile(r"(?:[ \t]|\\\n)*(?:#[^\n]*)?")
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: More parentheses in arithmetic would mean a script that runs wild.
MAX_DEPTH: Final = 200
DIGITS: Final = re.compile(r"[0-9]+")
PLAIN: Final = re.compile(r"""[^ \t\n\\'"$`|&;<>()]+""")
PLAIN_QUOTED: Final = re.compile(r'[^\\"$`]+')
PLAIN_BRACED: Final = re.compile(r"""[^\\'"$`}/:]+""")
PLAIN_ARITHMETIC: Final = re.compile(r"""[^\\"$`()]+""")
#: Up to the next parenthesis or quote, and up to the end of what a quote begins.
PARENTHESIS: Final = re.compile(r"""(?:[^\\()'"`]|\\.)*+([()'"`])""", re.DOTALL)
QUOTED_ENDS: Final = {
    "'": re.compile("[^']*+'"),
    '"': re.compile(r'(?:[^"\\]|\\.)*+"', re.DOTALL),
    "`": re.compile(r"(?:[^`\\]|\\.)*+`", re.DOTALL),
}
UNQUOTED_PARENTHESIS: Final = re.compile(
    r"""\\.|'[^']*+(?:'|\Z)|"(?:[^"\\]|\\.)*+(?:"|\Z)|[()]""", re.DOTALL
)
OPERATOR: Final = re.compile(r":?[-=?+]|##?|%%?|//?|:")
SPECIAL: Final = "@*#?-$!"


class BadSyntax(GuestError):
    """The script cannot be parsed; *line* is where that showed."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line
        #: With which a shell ends that was given the script as an argument; None: that of its last command, if
        #: that failed.
        self.status: int | None = 2


class Refused(BadSyntax):
    """The real shell has this, and this one does not simulate it: the script ends."""


def _is_balanced(text: str) -> bool:
    """Return whether each parenthesis that *text* closes was opened there, and the reverse."""
    depth = 0
    for match in UNQUOTED_PARENTHESIS.finditer(text):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth < 0:
            return False
    return not depth


def join_texts(parts: list[Part]) -> Word:
    """Join texts that follow each other and are quoted alike."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if (
            isinstance(part, Text)
            and isinstance(last, Text)
            and part.text
            and last.text
            and part.is_quoted == last.is_quoted
        ):
            joined[-1] = Text(last.text + part.text, part.is_quoted)
        else:
            joined.append(part)
    return tuple(joined)


class Scanner(ABC):
    """A position in the text of a script, and words read from there on."""

    def __init__(self, text: str, flavour: Flavour, line: int = 0) -> None:
        self.text = text
        self.flavour = flavour
        self.words = flavour.words
        self.at: int = 0
        #: Whether the text is that of a here-document.
        self.is_document = False
        self._line = line
        self._line_at = 0
        #: Whether the end of the text was looked at: with more text the result may differ.
        self.has_seen_end = False

    @property
    def line(self) -> int:
        """The number of the line at the position."""
        self._line += self.text.count("\n", self._line_at, self.at)
        self._line_at = self.at
        return self._line

    @property
    def last_line(self) -> int:
        """The number of the last line of what was parsed; dash is a line ahead."""
        return self.line - (self.flavour.is_bash and self.text[self.at - 1 : self.at] == "\n")

    def go_back(self, line: int) -> None:
        """Count on from *line*, as bash does when it drops a command there."""
        self._line -= self.last_line - line

    def fail_open(self, message: str, closing: str, start: int) -> BadSyntax:
        """Make the error for something that begins at *start* and lacks its *closing*."""
        if not self.flavour.is_bash:
            return self.fail(message)
        self.at = len(self.text)
        line = self.line - self.text.count("\n", start)
        error = BadSyntax(f"unexpected EOF while looking for matching `{closing}'", line)
        error.status = None
        return error

    def fail(self, message: str) -> BadSyntax:
        """Make the error for the place where we are."""
        return BadSyntax(self.words.syntax_error.format(message), self.line)

    def refuse(self, construct: str) -> BadSyntax:
        """Make the error for a construct that the real shell has and this one does not simulate."""
        return Refused(f"{construct}: {NOT_SIMULATED}", self.line)

    def peek(self, count: int = 1) -> str:
        """Return the next characters, fewer at the end."""
        if self.at + count > len(self.text):
            self.has_seen_end = True
        return self.text[self.at : self.at + count]

    def accept(self, what: str) -> bool:
        """Step over *what* if it is next."""
        if self.peek(len(what)) == what:
            self.at += len(what)
            return True
        return False

    def skip_blanks(self) -> None:
        """Step over blanks, joined lines and a comment."""
        match = BLANK.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        if self.at == len(self.text):
            self.has_seen_end = True

    @abstractmethod
    def parse_substitution(self) -> Sequence:
        """Parse commands up to ``)`` and step over it."""

    @abstractmethod
    def parse_text(self, text: str) -> Sequence:
        """Parse all of another text."""

    @abstractmethod
    def scan_text(self, text: str, line: int, *, drops_quotes: bool = False) -> Word:
        """Read another text, which begins at *line*, as double-quoted, but for the quotes."""

    def read_word(self) -> Word:
        """Read a word; empty if there is none here."""
        parts: list[Part] = []
        start = self.at
        while True:
            self._take(PLAIN, parts)
            char = self.peek()
            if char == "\\":
                self._read_escape(parts)
            elif char and char in "'\"$`":
                self._read_special(parts)
            else:
                self._complete_bad(parts, 0, start)
                return tuple(parts)

    def _complete_bad(self, parts: list[Part], first: int, start: int) -> None:
        """Make all from *start* on what bash shows of a bad substitution among the *parts*."""
        if not self.flavour.is_bash:
            return
        for index, part in enumerate(parts[first:], first):
            if isinstance(part, Parameter) and part.operator == "bad" and not part.other:
                raw = (Text(self.text[start : self.at], is_quoted=True),)
                # *other* marks what is complete.
                parts[index] = Parameter("", part.is_quoted, "bad", raw, raw)

    def _take(self, plain: re.Pattern[str], parts: list[Part], *, is_quoted: bool = False) -> None:
        match = plain.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
            parts.append(Text(match[0], is_quoted))

    def _read_escape(self, parts: list[Part]) -> None:
        pair = self.peek(2)
        self.at += len(pair)
        if len(pair) < 2:
            parts.append(Text("\\", is_quoted=True))
        elif pair[1] != "\n":
            parts.append(Text(pair[1], is_quoted=True))

    def _read_special(self, parts: list[Part]) -> None:
        """Read quotes or an expansion outside of double quotes."""
        char = self.peek()
        if char == "'":
            parts.append(self._read_single_quoted())
        elif char == '"':
            self._read_double_quoted(parts)
        else:
            self._read_expansion(parts, is_quoted=False)

    def _read_single_quoted(self) -> Text:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            start, self.at = self.at, len(self.text)
            self.has_seen_end = True
            raise self.fail_open(self.words.unterminated_quote, "'", start)
        text = self.text[self.at + 1 : end]
        self.at = end + 1
        return Text(text, is_quoted=True)

    def _read_double_quoted(self, parts: list[Part]) -> None:
        start = self.at
        self.at += 1
        before = len(parts)
        while True:
            self._take(PLAIN_QUOTED, parts, is_quoted=True)
            char = self.peek()
            if char == '"':
                self._complete_bad(parts, before, start + 1)
                self.at += 1
                if len(parts) == before:
                    parts.append(Text("", is_quoted=True))
                return
            if not char:
                raise self.fail_open(self.words.unterminated_quote, '"', start)
            if char == "\\":
                self._read_quoted_escape(parts, '$`"\\')
            else:
                self._read_expansion(parts, is_quoted=True)

    def _read_quoted_escape(self, parts: list[Part], special: str) -> None:
        pair = self.peek(2)
        self.at += len(pair)
        if pair[1:] == "\n":
            return
        parts.append(Text(pair[1:] if pair[1:] and pair[1] in special else pair, is_quoted=True))

    def _read_expansion(self, parts: list[Part], *, is_quoted: bool) -> None:
        """Read what ``$`` or a backquote begins."""
        if self.peek() == "`":
            parts.append(Substitution(self._read_backquoted(is_quoted=is_quoted), is_quoted))
            return
        self.at += 1
        if self.flavour.is_bash and self.peek(2) == "((":
            parts.append(self._read_bash_arithmetic(is_quoted=is_quoted))
        elif self.accept("(("):
            parts.append(Arithmetic(self._read_arithmetic(), is_quoted))
        elif self.accept("("):
            parts.append(Substitution(self.parse_substitution(), is_quoted))
        elif self.accept("{"):
            parts.append(self._read_braced(is_quoted=is_quoted))
        elif not is_quoted and not self.flavour.is_dash and self.peek() == "'":
            parts.append(self._read_dollar_quoted())
        elif self.flavour.is_bash and self.peek() == "[":
            raise self.refuse("$[...]")
        elif not is_quoted and self.flavour.is_bash and self.peek() == '"':
            raise self.refuse('$"..."')
        elif name := self._read_name(is_braced=False):
            parts.append(Parameter(name, is_quoted))
        else:
            parts.append(Text("$", is_quoted))

    def _read_name(self, *, is_braced: bool) -> str:
        match = NAME.match(self.text, self.at)
        if match is None and is_braced:
            match = DIGITS.match(self.text, self.at)
        char = self.peek()
        if match is not None:
            self.at = match.end()
            self.peek()
            return match[0]
        if char and (char in SPECIAL or char in "0123456789"):
            self.at += 1
            return char
        return ""

    def _read_dollar_quoted(self) -> Text:
        self.at += 1
        start = self.at
        while (char := self.peek()) != "'":
            if not char:
                raise self.fail(self.words.unterminated_quote)
            self.at += 2 if char == "\\" else 1
        raw = self.text[start : self.at]
        self.at += 1
        return Text(expand_dollar_quoted(raw, self.flavour.printf), is_quoted=True)

    def _read_backquoted(self, *, is_quoted: bool) -> Sequence | str:
        start = self.at
        self.at += 1
        special = '$`\\"' if is_quoted else "$`\\"
        out: list[str] = []
        while (char := self.peek()) != "`":
            if not char:
                raise self.fail_open("EOF in backquote substitution", "`", start)
            self.at += 1
            if char == "\\":
                following = self.peek()
                self.at += len(following)
                if following == "\n":
                    continue
                char = following if following and following in special else char + following
            out.append(char)
        self.at += 1
        text = "".join(out)
        return text if self.flavour.is_bash else self.parse_text(text)

    def _read_bash_arithmetic(self, *, is_quoted: bool) -> Arithmetic | Substitution:
        """Read ``$((``: arithmetic if its parentheses end together, else a subshell in a substitution.

        parse_comsub() of bash's parse.y looks for the parenthesis, param_expand() of subst.c decides.
        """
        line, start = self.line, self.at + 1
        self.at = self.match_parenthesis(start)
        text = self.text[start : self.at - 1]
        if not (text.endswith(")") and _is_balanced(text[1:-1])):
            return Substitution(text, is_quoted)
        return Arithmetic(self.scan_arithmetic(text[1:-1], line), is_quoted)

    def scan_arithmetic(self, text: str, line: int) -> Word:
        """Read bash's arithmetic; there is a complaint about an open brace only when it is expanded."""
        try:
            return self.scan_text(text, line, drops_quotes=True)
        except BadSyntax as error:
            if error.status is not None:
                raise
        word = (Text(text, is_quoted=True),)
        return (Parameter("", is_quoted=True, operator="bad", word=word),)

    def match_parenthesis(self, start: int) -> int:
        """Return where the text goes on behind the parenthesis that ends what begins at *start*."""
        at, depth = start, 1
        while depth:
            match = PARENTHESIS.match(self.text, at)
            if match is None:
                raise self._fail_in_parenthesis(")", start, start)
            at, char = match.end(), match[1]
            if char == "(" and self.text[at - 2] == "$" and self.text[at : at + 1] != "(":
                self.at = at
                self.parse_substitution()
                at = self.at
            elif char in "()":
                depth += 1 if char == "(" else -1
            elif (end := QUOTED_ENDS[char].match(self.text, at)) is not None:
                at = end.end()
            else:
                raise self._fail_in_parenthesis(char, at, start)
        return at

    def _fail_in_parenthesis(self, closing: str, at: int, start: int) -> BadSyntax:
        if "${" in self.text[start:] and '"' in self.text[start:]:
            # Quotes within braces within quotes are not looked at: bash may find another one open.
            return self.refuse("(( that is open, or a quote in it")
        return self.fail_open("", closing, at)

    def _read_arithmetic(self) -> Word:
        """Read up to ``))``."""
        parts: list[Part] = []
        depth = 0
        start = self.at
        while True:
            self._take(PLAIN_ARITHMETIC, parts, is_quoted=True)
            char = self.peek()
            if not char:
                raise self.fail_open(self.words.missing_parentheses, ")", start)
            if char == ")" and depth == 0:
                if self.accept("))"):
                    return tuple(parts)
                # "Unbalanced parens" are no error to dash's readtoken1().
                parts.append(Text(char, is_quoted=True))
                self.at += 1
                continue
            if char in "()":
                depth += 1 if char == "(" else -1
                if depth > MAX_DEPTH:
                    raise self.fail(self.words.missing_parentheses)
                parts.append(Text(char, is_quoted=True))
                self.at += 1
            elif char == '"':
                self.at += 1
                parts.append(Text(char, is_quoted=True))
            elif char == "\\":
                self._read_quoted_escape(parts, '$`"\\')
            else:
                self._read_expansion(parts, is_quoted=True)

    def _read_braced(self, *, is_quoted: bool) -> Parameter:
        start = self.at - 2
        is_bash = self.flavour.is_bash
        if self.peek() == "#" and self.peek(2) != "#}":
            length = self._read_length(start, is_quoted=is_quoted)
            if length is not None:
                return length
        if is_bash and self.peek() == "!":
            raise self.refuse("${!name}")
        name = self._read_name(is_braced=True)
        if is_bash and (char := self.peek()) and char in "[^,@":
            raise self.refuse("arrays" if char == "[" else f"${{name{char}}}")
        if not name and self.peek():
            return self._read_bad_substitution("", start, is_quoted=is_quoted)
        if self.accept("}"):
            return Parameter(name, is_quoted, is_braced=True)
        if not self.peek():
            raise self._fail_in_brace(start, is_quoted=is_quoted)
        match = OPERATOR.match(self.text, self.at)
        if match is None or not (
            not self.flavour.is_dash
            or self.peek(2) == ":}"
            or match[0][0] in "-=?+#%"
            or match[0][:1] + match[0][1:2] in (":-", ":=", ":?", ":+")
        ):
            if not is_bash:
                # They take a character for an operator, whatever it is; dash does not count a newline.
                self._line -= self.flavour.is_dash and self.peek() == "\n"
                self.at += 1 + (self.flavour.is_dash and self.peek() == ":")
            return self._read_bad_substitution(name, start, is_quoted=is_quoted)
        operator = match[0]
        self.at = match.end()
        if operator == ":" and self.peek() == "}":
            if not is_bash:
                raise self.refuse("${name:}")
            return self._read_bad_substitution(name, start, is_quoted=is_quoted)
        stop = operator[0] if operator in ("/", "//", ":") else ""
        # What bash says of a missing parameter is not quoted by what is around it.
        is_inner = is_quoted and not (is_bash and operator[-1] == "?")
        word = self._read_braced_word(stop, operator, start, is_quoted=is_inner)
        other: Word | None = None
        if stop and self.accept(stop):
            other = self._read_braced_word("", operator, start, is_quoted=is_quoted)
        self.at += 1
        return Parameter(name, is_quoted, operator, word, other, is_braced=True)

    def _read_length(self, start: int, *, is_quoted: bool) -> Parameter | None:
        """Read ``${#name}``; None if it is ``$#`` with an operator."""
        self.at += 1
        name = self._read_name(is_braced=True)
        if name and self.accept("}"):
            return Parameter(name, is_quoted, "length", is_braced=True)
        if not self.peek():
            raise self.fail_open(self.words.missing_brace, "}", start)
        if self.flavour.is_bash and self.peek() == "[":
            raise self.refuse("arrays")
        self.at = start + 2
        if not name and self.peek(3)[2:] == "}":
            return self._read_bad_substitution(name, start, is_quoted=is_quoted)
        return None

    def _fail_in_brace(self, start: int, *, is_quoted: bool, is_open: bool = False) -> BadSyntax:
        words = self.words
        is_quote_missed = (is_open or is_quoted) and not self.is_document
        message = words.unterminated_quote if is_quote_missed else words.missing_brace
        return self.fail_open(message, '"' if is_open else "}", start)

    def _read_bad_substitution(self, name: str, start: int, *, is_quoted: bool) -> Parameter:
        """Read on to the brace: there is a complaint only when this is expanded."""
        self._read_braced_word("", "-", start, is_quoted=is_quoted)
        self.at += 1
        raw = Text(self.text[start : self.at], is_quoted=True)
        return Parameter(name, is_quoted, "bad", (raw,))

    def _read_braced_word(self, stop: str, operator: str, start: int, *, is_quoted: bool) -> Word:
        """Read up to *stop* or ``}``, not over it; *start* is where the braces begin."""
        parts: list[Part] = []
        # In double quotes a single quote only quotes a pattern.
        is_pattern = operator[0] in "#%/"
        is_open = False
        #: Where the text within bash's single quotes ends, in which no brace closes and ``"`` means nothing.
        quote_start, quote_end = self.at, -1
        while True:
            quoted = (is_quoted and not is_pattern) or is_open
            self._take(PLAIN_BRACED, parts, is_quoted=quoted)
            char = self.peek()
            is_single = self.at <= quote_end
            if not char:
                start = quote_start if is_open else start
                raise self._fail_in_brace(start, is_quoted=quoted, is_open=is_open)
            if not is_open and not is_single and char in ("}", stop):
                return join_texts(parts)
            if char in "}/:":
                self.at += 1
                parts.append(Text(char, quoted))
            elif char == '"' and (is_quoted or is_open):
                if not is_single:
                    is_open, quote_start = not is_open, self.at
                self.at += 1
                parts.append(Text("", is_quoted=True))
            elif char == "'" and quoted:
                if self.flavour.is_bash and not is_open and not is_single:
                    quote_end = self.text.find("'", self.at + 1)
                    if quote_end < 0:
                        raise self.fail_open("", "'", self.at)
                self.at += 1
                parts.append(Text(char, quoted))
            elif char == "\\":
                if quoted:
                    self._read_quoted_escape(parts, '$`"\\}')
                else:
                    self._read_escape(parts)
            elif char in "$`":
                is_taken = self.flavour.is_bash or (is_pattern and not self.flavour.is_dash)
                is_taken = is_taken and not (is_open or self.is_document)
                if is_taken and self.peek(2) == "$'":
                    self.at += 1
                    parts.append(self._read_dollar_quoted())
                    continue
                self._read_expansion(parts, is_quoted=is_quoted or is_open)
            else:
                self._read_special(parts)
