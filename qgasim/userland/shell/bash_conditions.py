"""The grammar of bash's ``[[``: parse_cond_command() of parse.y."""

from typing import Final

from qgasim.userland.shell.conditions import BASH
from qgasim.userland.shell.documents import Documents
from qgasim.userland.shell.lexer import BadSyntax
from qgasim.userland.shell.syntax import Simple, Text, Word
from qgasim.userland.shell.tokens import Token

__all__ = ["Conditions"]

CONNECTIVES: Final = {"&&": "-a", "||": "-o"}


class Conditions(Documents):
    """A text in which a condition in ``[[`` can be parsed."""

    def parse_condition(self) -> Simple:
        """Parse ``[[ ... ]]``: a command with the words of ``test``."""
        try:
            return self._parse_condition()
        except BadSyntax as error:
            if "EOF while looking for matching" in str(error):
                # It finds more errors.
                raise self.refuse("[[ with an error of syntax") from None
            raise

    def _parse_condition(self) -> Simple:
        line = self.line
        words: list[Word] = [self.step().word]
        if self.look().literal == "]]":
            raise self.refuse("[[ ]]")
        while True:
            self.skip_newlines()
            words += self._parse_term()
            connective = CONNECTIVES.get(self.look().text)
            if connective is None:
                break
            self.step()
            words.append((Text(connective),))
        token = self.look()
        if token.literal != "]]":
            if self.is_end(token) or token.text == "\n":
                raise self._fail_in("unexpected EOF while looking for `]]'", 2)
            raise self.refuse("[[ with an error of syntax")
        words.append(self.step().word)
        return Simple([], words, [], line)

    def _parse_term(self) -> list[Word]:
        token = self.look()
        if token.text == "(" or token.redirection:
            raise self.refuse("( < and > in [[")
        if not token.word:
            is_end = self.is_end(token)
            name = "EOF" if is_end else self._spell(token)
            message = f"unexpected token `{name}' in conditional command"
            error = self._fail_in(message, 2 if is_end else -1)
            error.line += is_end
            raise error
        if token.literal == "!":
            return [self.step().word, *self._parse_term()]
        is_unary = token.literal in BASH.unary | BASH.refused
        words = [self.step().word]
        token = self.look()
        if is_unary and token.literal != "]]" and token.text not in CONNECTIVES:
            return [*words, self._take_argument("unary operator")]
        if is_unary:
            raise self._fail_argument("unary operator")
        if token.literal == "]]" or token.text in CONNECTIVES:
            return [(Text("-n"),), *words]
        if token.redirection:
            raise self.refuse("( < and > in [[")
        if token.literal == "=~":
            raise self.refuse("=~")
        if token.text == ")":
            message = "syntax error in conditional expression: unexpected token `)'"
            raise self._fail_in(message, -1)
        if token.literal not in BASH.binary:
            found = "" if token.word else f"unexpected token `{self._spell(token)}', "
            raise self._fail_in(f"{found}conditional binary operator expected")
        words.append(self.step().word)
        return [*words, self._take_argument("binary operator")]

    def _take_argument(self, operator: str) -> Word:
        token = self.look()
        if not token.word or token.literal == "]]":
            raise self._fail_argument(operator)
        return self.step().word

    def _fail_argument(self, operator: str) -> BadSyntax:
        name = self._spell(self.look())
        where = "to" if name else "for"
        return self._fail_in(f"unexpected argument `{name}' {where} conditional {operator}")

    def _spell(self, token: Token) -> str:
        return "newline" if token.text == "\n" else token.text or token.literal

    def _fail_in(self, message: str, status: int | None = None) -> BadSyntax:
        """Make the error; without a *status*, it has that of the last command."""
        # What has just been read can be the newline at the end of the line.
        line = self.line - (self.text[self.at - 1 : self.at] == "\n")
        error = BadSyntax(message, line)
        is_end = not self.text[self.at :].strip()
        try:
            while not self.is_end(self.read_token()):
                pass
        except BadSyntax:
            # It reads on, and finds more errors.
            return self.refuse("[[ with an error of syntax")
        error.status = status or (None if is_end else -1)
        return error
