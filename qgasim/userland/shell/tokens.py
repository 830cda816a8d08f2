"""Tokens: words, operators and redirections, with aliases replaced and here-documents read."""

import re
from abc import abstractmethod
from typing import Final

from msgspec import Struct

from qgasim.userland.shell.flavours import Flavour
from qgasim.userland.shell.lexer import BadSyntax, Scanner
from qgasim.userland.shell.quoting import quote_unprintable
from qgasim.userland.shell.syntax import Redirection, Text, Word

__all__ = ["ENDS", "KEYWORDS", "MAX_TOKENS", "OpenEnd", "Token", "Tokens"]

KEYWORDS: Final = frozenset(
    "! case do done elif else esac fi for function if in then until while { }".split()  # noqa: SIM905
)
#: What ends a list of commands.
ENDS: Final = frozenset(("", ")", ";;", "do", "done", "elif", "else", "esac", "fi", "then", "}"))
OPERATOR: Final = re.compile(r"&&|\|\||;;|[;&|()\n]")
REDIRECTION: Final = re.compile(r"(&>|()([0-9]*)(<<<|<<-|<<|<&|<>|<|>>|>&|>\||>))")
ASH_REDIRECTION: Final = re.compile(r"(&>|()([0-9]*)(<<-|<<|<&|<>|<|>>|>&|>\||>))")
POSIX_REDIRECTION: Final = re.compile(r"(()([0-9]?)(<<-|<<|<&|<>|<|>>|>&|>\||>))")
END: Final = "end of file"
#: A longer command would mean a script that runs wild.
MAX_TOKENS: Final = 1 << 16


class OpenEnd(BadSyntax):
    """bash's script ends in the middle of a command."""


#: Redirections of bash that are not simulated: of a new descriptor, and one that closes the other (``>&3-``).
NAMED_REDIRECTION: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}[<>]")
MOVE: Final = re.compile(r"(?<=[<>]&)[0-9]+-(?![^ \t\n;&|)])")


class Token(Struct, frozen=True):
    """A word, or an operator: then *text* is that, and the word is empty."""

    text: str
    word: Word = ()
    redirection: tuple[int, str] | None = None
    start: int = 0

    @property
    def literal(self) -> str:
        """The word if nothing in it is quoted or expanded; can be a keyword."""
        if len(self.word) == 1 and isinstance(self.word[0], Text) and not self.word[0].is_quoted:
            return self.word[0].text
        return ""


class Tokens(Scanner):
    """A text as tokens, of which one can be looked at in advance.

    With *aliases*, names that begin commands are replaced.
    """

    def __init__(
        self,
        text: str,
        flavour: Flavour,
        line: int = 0,
        aliases: dict[str, str] | None = None,
    ) -> None:
        super().__init__(text, flavour, line)
        self._redirection = REDIRECTION if flavour.is_bash else ASH_REDIRECTION
        self.keywords = KEYWORDS
        if flavour.is_dash:
            self._redirection, self.keywords = POSIX_REDIRECTION, KEYWORDS - {"function"}
        #: Looked at as the text is read: a command can define one for the next line.
        self.aliases = {} if aliases is None else aliases
        #: Here-documents whose text begins after the next newline: how to read each.
        self.pending: list[tuple[Redirection, str, bool, bool, int]] = []
        #: What there is to say of the text, and the lines.
        self.warnings: list[tuple[str, int]] = []
        self._token: Token | None = None
        #: How many compound commands are open around the position.
        self.nesting = 0
        #: How many tokens the command may still have.
        self.tokens_left = MAX_TOKENS

    def look(self) -> Token:
        """Return the next token without stepping over it."""
        if self._token is None:
            self._token = self.read_token()
        return self._token

    def step(self) -> Token:
        token = self.look()
        self._token = None
        if token.text == "\n":
            self.read_documents()
        return token

    def is_end(self, token: Token) -> bool:
        if token.text or token.word or token.redirection:
            return False
        if self.pending:
            self.read_documents()
        return True

    def read_token(self) -> Token:
        self.tokens_left -= 1
        if self.tokens_left < 0:
            raise self.fail("out of memory")
        self.skip_blanks()
        start = self.at
        if match := self._redirection.match(self.text, start):
            self.at = match.end()
            following = self.peek(2)[:1]
            if not self.flavour.is_dash:
                self._check_redirection(match[1], following)
            operator = match[4] or match[1]
            number = match[3] or ("0" if operator[0] == "<" else "1")
            return Token("", (), (int(number), operator), start)
        if match := OPERATOR.match(self.text, start):
            self.at = match.end()
            if match[0] != "\n" and self.peek() == "&" and match[0] == "|" and self.flavour.is_bash:
                raise self.refuse("|&")
            if self.flavour.is_bash and match[0][0] == ";" and self.peek() == "&":
                raise self.refuse(f"{match[0]}&")
            return Token(match[0], start=start)
        saved = self._token
        word = self.read_word()
        self._token = saved
        if self.flavour.is_bash and NAMED_REDIRECTION.match(self.text, start):
            raise self.refuse("{name}<" if self.peek() == "<" else "{name}>")
        return Token("", word, start=start)

    def _check_redirection(self, operator: str, following: str) -> None:
        if operator in ("<", ">") and following == "(":
            raise self.refuse(f"{operator}(...)")
        if operator == "&>" and following == ">" and self.flavour.is_bash:
            raise self.refuse("&>>")
        if self.flavour.is_bash and MOVE.match(self.text, self.at):
            raise self.refuse(f"{operator}...-")

    def skip_newlines(self) -> Token:
        while self.look().text == "\n":
            self.step()
        return self.look()

    def _name(self, token: Token, *, keywords: bool = True) -> str:
        if token.redirection:
            return "redirection"
        if token.word:
            is_keyword = keywords and token.literal in self.keywords
            return f'"{token.literal}"' if is_keyword else "word"
        return {"": END, "\n": "newline"}.get(token.text, f'"{token.text}"')

    def _fail_near(self) -> BadSyntax:
        """Make bash's message about the token, which shows the line, too."""
        token = self.look()
        start = token.start
        if self.is_end(token):
            line = self.line + (not self.text.endswith("\n"))
            return OpenEnd("syntax error: unexpected end of file", line)
        name = "newline" if token.text == "\n" else self.text[start : self.at]
        if "$(" in name or "$'" in name:
            # It shows the commands in another form than they were written.
            raise self.refuse("an error of syntax at $( or $'")
        if token.redirection:
            digits = re.match("[0-9]+", name)
            name = digits[0] if digits else token.redirection[1]
        last = self.at - (token.text == "\n")
        end = self.text.find("\n", last)
        shown = self.text[self.text.rfind("\n", 0, last) + 1 : None if end < 0 else end]
        line = self.line - (token.text == "\n")
        if self.pending and (not self.nesting or token.text == "\n"):
            # The documents that begin at the line have been read.
            self.at = len(self.text) if end < 0 else end + 1
            self.read_documents()
            line = self.last_line
        message = f"syntax error near unexpected token `{quote_unprintable(name)}'"
        return BadSyntax(f"{message}\n`{shown}'", line)

    def unexpected(self, expected: str = "", *, keywords: bool = True) -> BadSyntax:
        if self.flavour.is_bash:
            return self._fail_near()
        message = self.words.unexpected.format(self._name(self.look(), keywords=keywords))
        if expected:
            message += (
                f" (expecting {expected if expected == 'word' else chr(34) + expected + chr(34)})"
            )
        return self.fail(message)

    def expect(self, what: str) -> None:
        """Step over the keyword or operator *what*, newlines before it included."""
        token = self.look() if what == ")" else self.skip_newlines()
        if what not in (token.literal, token.text):
            raise self.unexpected(what)
        self.step()

    def replace_alias(self, used: frozenset[str] = frozenset()) -> None:
        """Put the alias that begins a command in its place."""
        token = self.look()
        name = token.literal
        # A script of bash replaces none.
        if not self.flavour.is_bash and name in self.aliases and name not in used:
            self.text = self.aliases[name] + self.text[self.at :]
            self._line, self._line_at = self.line, 0
            self.at = 0
            self._token = None
            self.replace_alias(used | {name})

    def forget_token(self) -> None:
        """Read on from the position: it was changed."""
        self._token = None

    @abstractmethod
    def read_documents(self) -> None:
        """Read the here-documents that begin at this line."""
