"""Commands as bash shows them that has parsed them: what ``set -x`` says of ``for`` and ``case``."""

from typing import Final

from qgasim.userland.shell.flavours import BASH
from qgasim.userland.shell.parser import Parser
from qgasim.userland.shell.quoting import quote_singly
from qgasim.userland.shell.syntax import Sequence, Text
from qgasim.userland.shell.tokens import KEYWORDS, Token

__all__ = ["show_words"]

#: Descriptors that are not shown, by what opens them.
USUAL: Final = {"<": 0, "<>": 1, ">": 1, ">>": 1, ">|": 1}


def show_words(source: str) -> str:
    """Return *source*, the words of a command, as bash shows it; "" if that is not simulated."""
    try:
        return _Shown(source, BASH).show_words()
    except _Unknown:
        return ""


class _Unknown(Exception):
    """Raised at what this does not know how to show."""


class _Shown(Parser):
    """Reads words, and notes what bash shows in another form than it was written."""

    changes: list[tuple[int, int, str]]

    def show_words(self) -> str:
        """Return all words, a blank between them."""
        shown: list[str] = []
        while not self.is_end(token := self.read_token()):
            shown.append(self._show(token))
        return " ".join(shown)

    def read_token(self) -> Token:
        self.changes = []
        return super().read_token()

    def _show(self, token: Token) -> str:
        """Return how the word *token* is shown, which has just been read."""
        text, at = "", token.start
        for start, end, shown in self.changes:
            text += self.text[at:start] + shown
            at = end
        return text + self.text[at : self.at]

    def _read_dollar_quoted(self) -> Text:
        start = self.at - 1
        text = super()._read_dollar_quoted()
        self.changes.append((start, self.at, quote_singly(text.text)))
        return text

    def parse_substitution(self) -> Sequence:
        """Parse commands up to ``)``, and note how they are shown."""
        start, before = self.at, self.changes
        sequence = super().parse_substitution()
        end, self.at = self.at, start
        self.forget_token()
        shown = self._show_commands(end - 1)
        self.at = end
        self.changes = [*before, (start, end, f"{shown})")]
        return sequence

    def _show_commands(self, end: int) -> str:
        """Return how the commands up to *end* are shown: simple ones, and what joins them."""
        shown = ""
        words: list[str] = []
        redirections: list[str] = []
        while True:
            self.skip_blanks()
            token = self.read_token() if self.at < end else Token("")
            if token.redirection:
                redirections.append(self._show_redirection(token))
            elif token.word and not (not words and token.literal in KEYWORDS - {"!", "in"}):
                words.append(self._show(token))
            elif token.text in (";", "|", "&&", "||") or not (token.word or token.text):
                shown += " ".join([*words, *redirections])
                if not token.text:
                    return shown.removesuffix("; ")
                words, redirections = [], []
                shown += "; " if token.text == ";" else f" {token.text} "
            else:
                raise _Unknown

    def _show_redirection(self, token: Token) -> str:
        assert token.redirection is not None
        number, operator = token.redirection
        target = self._show(self.read_token())
        if operator in (">&", "<&") and (target.isdecimal() or target == "-"):
            return f"{number}{operator if target != '-' else '>&'}{target}"
        if operator not in USUAL:
            raise _Unknown
        return f"{'' if number == USUAL[operator] else number}{operator} {target}"
