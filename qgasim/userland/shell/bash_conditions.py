"""The grammar of bash's ``[[``: parse_cond_command() of parse.y."""

from typing import Final

from qgasim.userland.shell.conditions import BASH
from qgasim.userland.shell.documents import Documents
from qgasim.userland.shell.lexer import BadSyntax, Refused
from qgasim.userland.shell.syntax import Simple, Text, Word

__all__ = ["Conditions"]

CONNECTIVES: Final = {"&&": "-a", "||": "-o"}


class Conditions(Documents):
    """A text in which a condition in ``[[`` can be parsed."""

    def parse_condition(self) -> Simple:
        """Parse ``[[ ... ]]``: a command with the words of ``test``."""
        try:
            return self._parse_condition()
        except Refused:
            raise
        except BadSyntax:
            # bash finds more errors.
            raise self._refuse_condition() from None

    def _refuse_condition(self) -> BadSyntax:
        return self.refuse("[[ with an error of syntax")

    def _parse_condition(self) -> Simple:
        line = self.line
        words: list[Word] = [self.step().word]
        while True:
            self.skip_newlines()
            words += self._parse_term()
            connective = CONNECTIVES.get(self.look().text)
            if connective is None:
                break
            self.step()
            words.append((Text(connective),))
        if self.look().literal != "]]":
            raise self._refuse_condition()
        words.append(self.step().word)
        return Simple([], words, [], line)

    def _parse_term(self) -> list[Word]:
        token = self.look()
        if token.text == "(":
            raise self.refuse("( < and > in [[")
        if token.literal == "!":
            return [self.step().word, *self._parse_term()]
        is_unary = token.literal in BASH.unary | BASH.refused
        words = [self._take_word()]
        token = self.look()
        if token.redirection:
            raise self.refuse("( < and > in [[")
        if not is_unary and (token.literal == "]]" or token.text in CONNECTIVES):
            return [(Text("-n"),), *words]
        if token.literal == "=~":
            raise self.refuse("=~")
        if not is_unary:
            if token.literal not in BASH.binary:
                raise self._refuse_condition()
            words.append(self.step().word)
        return [*words, self._take_word()]

    def _take_word(self) -> Word:
        token = self.look()
        if not token.word or token.literal == "]]":
            raise self._refuse_condition()
        return self.step().word
