"""Here-documents: their text, and what is expanded in it."""

import re
from typing import Final

from msgspec.structs import replace

from qgasim.userland.shell.lexer import BadSyntax, Refused
from qgasim.userland.shell.syntax import Parameter, Part, Text, Word
from qgasim.userland.shell.tokens import Tokens

__all__ = ["Documents"]

OPEN_BRACE: Final = re.compile(r"\$\{\w+:?[-=?+#%/][^}]*\Z")
PLAIN_BODY: Final = re.compile(r'[^\\$`"]+')


class Documents(Tokens):
    """A text as tokens, with the here-documents that begin at its lines."""

    def read_documents(self) -> None:
        """Read the here-documents that begin at this line."""
        pending, self.pending = self.pending, []
        for redirection, delimiter, is_quoted, strips_tabs, command_line in pending:
            lines: list[str] = []
            first_line = self.line
            while True:
                if not self.peek():
                    if self.flavour.is_bash:
                        self._warn_of_document(lines, delimiter, first_line)
                    break
                end = self.text.find("\n", self.at)
                line = self.text[self.at : end if end >= 0 else len(self.text)]
                self.at += len(line) + 1 if end >= 0 else len(line)
                if end < 0:
                    self.has_seen_end = True
                if strips_tabs:
                    line = line.lstrip("\t")
                if line == delimiter:
                    # The end of the text ends this line, too.
                    self._line += end < 0 and not self.flavour.is_bash
                    break
                lines.append(line + ("\n" if end >= 0 else ""))
            body = "".join(lines)
            if is_quoted:
                redirection.target = (Text(body, is_quoted=True),)
            elif self.flavour.is_bash:
                redirection.target = self._scan_bash_document(body, command_line)
            else:
                redirection.target = self._scan_document(body, first_line)

    def fail_open(self, message: str, closing: str, start: int) -> BadSyntax:
        """Make the error for what lacks its *closing*; bash warns of the documents, too, that then do not begin."""
        error = super().fail_open(message, closing, start)
        for _, delimiter, *_ in self.pending if self.flavour.is_bash else ():
            line = self.line + 1
            text = f"here-document at line {line} delimited by end-of-file (wanted `{delimiter}')"
            self.warnings.append((f"warning: {text}", line))
        return error

    def _warn_of_document(self, lines: list[str], delimiter: str, line: int) -> None:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        line -= self.text[self.at - 1 : self.at] == "\n" or bool(lines)
        text = f"here-document at line {line} delimited by end-of-file (wanted `{delimiter}')"
        self.warnings.append((f"warning: {text}", self.last_line))

    def read_body(self, *, drops_quotes: bool) -> Word:
        """Read all of the text as double-quoted, but for the quotes."""
        self.is_document = True
        parts: list[Part] = []
        line = self.line
        while True:
            self._take(PLAIN_BODY, parts, is_quoted=True)
            char = self.peek()
            if not char:
                if not drops_quotes:
                    self._complete_bad(parts, 0, 0)
                return tuple(parts)
            if char == "\\":
                self._read_quoted_escape(parts, '$`"\\' if drops_quotes else "$`\\")
            elif char == '"':
                self.at += 1
                if not drops_quotes:
                    parts.append(Text(char, is_quoted=True))
            else:
                if self.flavour.is_bash:
                    # It expands, and counts the lines of, each by itself.
                    self._line, self._line_at = line, self.at
                self._read_expansion(parts, is_quoted=True)

    def scan_text(self, text: str, line: int, *, drops_quotes: bool = False) -> Word:
        """Read another text, which begins at *line*, as double-quoted, but for the quotes."""
        scanner = type(self)(text, self.flavour, line, self.aliases)
        scanner.tokens_left = self.tokens_left
        word = scanner.read_body(drops_quotes=drops_quotes)
        # bash's arithmetic is read twice: its end is looked for first.
        self.tokens_left = scanner.tokens_left
        return word

    def _scan_document(self, body: str, line: int) -> Word:
        """Read dash's and ash's document, whose *body* begins at *line*."""
        scanner = type(self)(body, self.flavour, line, self.aliases)
        try:
            return scanner.read_body(drops_quotes=False)
        except BadSyntax as error:
            if scanner.at < len(body) or isinstance(error, Refused):
                raise
            # It goes on behind what would be the end.
            raise self.refuse("a here-document with an open substitution") from None

    def _scan_bash_document(self, body: str, line: int) -> Word:
        try:
            word = self.scan_text(body, line)
        except BadSyntax as error:
            if isinstance(error, Refused):
                raise
            if OPEN_BRACE.search(body):
                raise self.refuse("a here-document with an open brace") from None
            if "`}'" in str(error):
                raw = (Text(body, is_quoted=True),)
                return (Parameter("", is_quoted=True, operator="bad", word=raw),)
            # bash finds it only when it expands the document.
            raise self.refuse("a here-document with an error of syntax") from None
        # There "$*" is joined by blanks, whatever IFS is.
        return tuple(
            replace(part, name="@")
            if isinstance(part, Parameter) and part.name == "*" and part.operator[-1:] != "?"
            else part
            for part in word
        )
