"""The grammar of the shell, one complete command at a time, as ash reads it."""

import re
from typing import Final

from qgasim.userland.shell.bash_conditions import Conditions
from qgasim.userland.shell.lexer import NAME, BadSyntax
from qgasim.userland.shell.syntax import (
    AndOr,
    Assignment,
    Case,
    CaseItem,
    Command,
    For,
    Function,
    Group,
    If,
    Item,
    Loop,
    Parameter,
    Part,
    Pipeline,
    Redirected,
    Redirection,
    Sequence,
    Simple,
    Subshell,
    Text,
    Word,
)
from qgasim.userland.shell.tokens import ENDS, KEYWORDS, MAX_TOKENS, OpenEnd, Token

__all__ = ["KEYWORDS", "SPECIAL", "BadSyntax", "Parser"]

SPECIAL_NAMES: Final = ". : break continue eval exec exit export local readonly return set shift source times trap unset"
#: Builtins whose failure ends a script, before which assignments last, and which no function replaces.
SPECIAL: Final = frozenset(SPECIAL_NAMES.split())

BLANK: Final = re.compile(r"[ \t\n]*+\Z")
#: What only bash makes of words.
BRACES: Final = re.compile(r"\{[^{}]*(,|\.\.)[^{}]*\}")
APPENDING: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+=")
ELEMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\[")
#: What can begin the body of a function in bash.
COMPOUND: Final = frozenset(("{", "[[", "case", "for", "if", "select", "until", "while"))
#: What only bash takes for a delimiter.
DELIMITER: Final = re.compile(r"[ \t]*[^ \t\n;&|<>()]*[$`]")
QUOTES: Final = re.compile(r"""'([^']*)'|"([^"]*)"|\\(.)""")
ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")


class Parser(Conditions):
    """Finds commands in a text. With *aliases*, names that begin commands are replaced."""

    @property
    def is_finished(self) -> bool:
        """Return whether nothing but blanks is left."""
        return BLANK.match(self.text, self.at) is not None

    def parse_command(self) -> Sequence | None:
        """Parse what stands up to the end of a line; None at the end of the text."""
        self.tokens_left = MAX_TOKENS
        token = self.look()
        if token.text == "\n":
            self.step()
            return Sequence([])
        if self.is_end(token):
            return None
        items: list[Item] = []
        while True:
            items.append(self._parse_item())
            token = self.look()
            if self.is_end(token):
                break
            if token.text == "\n":
                self.step()
                break
            if items[-1].is_background and token.text not in (";", "&"):
                continue
            if items[-1].is_background:
                raise self.unexpected()
            if token.text != ";":
                raise self.unexpected()
            self.step()
            if self.look().text == "\n":
                self.step()
                break
            if self.is_end(self.look()):
                break
        return Sequence(items)

    def parse_substitution(self) -> Sequence:
        """Parse commands up to ``)`` and step over it."""
        self.forget_token()
        # dash forgets a document that has not begun by the end of the substitution.
        pending, self.pending = self.pending, []
        self.nesting += 1
        if self.skip_newlines().text == ")":
            self.at = self.look().start + 1
            self.forget_token()
            self.pending = pending
            self.nesting -= 1
            return Sequence([])
        if not self.flavour.is_bash and self._ends_list(self.look()):
            # list() of dash's parser.c has none then, and parsebackq() wants the parenthesis.
            raise self.unexpected(")")
        try:
            body = self._parse_list(")")
            if self.look().text != ")":
                raise self.unexpected(")")
            if self.flavour.is_bash and (count := len(self.pending)):
                text = f"{count} unterminated here-document{'s' if count > 1 else ''}"
                self.warnings.append((f"warning: command substitution: {text}", self.line))
        except BadSyntax as error:
            if isinstance(error, OpenEnd):
                raise OpenEnd("unexpected EOF while looking for matching `)'", error.line) from None
            if self.flavour.is_bash and error.status is not None:
                error.status = 127
            raise
        self.at = self.look().start + 1
        self.forget_token()
        self.pending = [*self.pending, *pending] if self.flavour.is_bash else pending
        self.nesting -= 1
        return body

    def parse_text(self, text: str) -> Sequence:
        """Parse all of another text."""
        # dash counts the lines in backquotes from 1.
        line = 1 if self.flavour.is_dash else self.line
        parser = Parser(text, self.flavour, line, self.aliases)
        # parsebackq() of dash's parser.c reads one list, and forgets what follows it.
        is_empty = parser._ends_list(parser.skip_newlines())
        return Sequence([]) if is_empty else parser._parse_list("")

    def _parse_list(self, end: str) -> Sequence:
        """Parse commands up to something that ends a list; *end* is named if they end otherwise."""
        self.skip_newlines()
        items = [self._parse_item(end)]
        while True:
            token = self.look()
            if token.text == ";" and items[-1].is_background:
                raise self.unexpected()
            if token.text in ("\n", ";"):
                self.step()
                token = self.skip_newlines()
            elif not items[-1].is_background:
                break
            if self._ends_list(token):
                break
            items.append(self._parse_item(end))
        return Sequence(items)

    def _ends_command(self, token: Token) -> bool:
        return token.text in (";", "\n") or self.is_end(token)

    def _ends_list(self, token: Token) -> bool:
        if token.redirection:
            return False
        return (token.literal or "a word") in ENDS if token.word else token.text in ENDS

    def _parse_item(self, end: str = "") -> Item:
        command = self._parse_and_or(end)
        if self.look().text == "&":
            self.step()
            return Item(command, is_background=True)
        return Item(command)

    def _parse_and_or(self, end: str) -> Command:
        left = self._parse_pipeline(end)
        while (operator := self.look().text) in ("&&", "||"):
            self.step()
            self.skip_newlines()
            left = AndOr(left, operator, self._parse_pipeline(end))
        return left

    def _parse_pipeline(self, end: str) -> Command:
        is_negated = False
        while self.look().literal == "!" and (self.flavour.is_bash or not is_negated):
            self.step()
            is_negated = not is_negated
            if self.flavour.is_bash and self._ends_command(self.look()):
                return Pipeline([Simple([], [], [], self.line)], is_negated)
        commands = [self._parse_one(end)]
        while self.look().text == "|":
            self.step()
            self.skip_newlines()
            commands.append(self._parse_one(end))
        return Pipeline(commands, is_negated) if is_negated or len(commands) > 1 else commands[0]

    def _parse_one(self, end: str) -> Command:
        self.replace_alias()
        token = self.look()
        line = self.line
        if token.literal == "function" and not self.flavour.is_dash:
            return self._parse_function_keyword()
        self.nesting += 1
        command = self._parse_compound(token)
        self.nesting -= 1
        if command is None:
            return self._parse_simple(end)
        redirections: list[Redirection] = []
        while self.look().redirection:
            redirections.append(self._parse_redirection())
        if not redirections:
            return command
        if self.look().literal in self.keywords and not self.flavour.is_bash:
            # Behind a redirection it is no keyword, and so nothing that could follow.
            raise self.unexpected(end, keywords=False)
        if isinstance(command, Group) and not self.flavour.is_bash:
            # The braces leave no trace in dash's tree: a subshell alone within them gets the redirection.
            items = command.body.items
            if len(items) == 1 and isinstance(items[0].command, Subshell):
                command = items[0].command
        return Redirected(command, redirections, line)

    def _parse_compound(self, token: Token) -> Command | None:
        """Parse a compound command without its redirections; None if *token* begins none."""
        match token.literal:
            case "if":
                return self._parse_if()
            case "while" | "until":
                self.step()
                condition = self._parse_list("do")
                return Loop(condition, self._parse_do(), token.literal == "until")
            case "for":
                return self._parse_for()
            case "case":
                return self._parse_case()
            case "{":
                self.step()
                body = self._parse_list("}")
                self.expect("}")
                return Group(body)
            case "[[" if self.flavour.is_bash:
                return self.parse_condition()
            case "select" | "coproc" | "time" if self.flavour.is_bash:
                raise self.refuse(token.literal)
            case _ if token.text != "(":
                return None
            case _:
                pass
        line = self.line
        if (arithmetic := self._read_arithmetic_command(token)) is not None:
            return Simple([], [(Text("(("),), arithmetic], [], line)
        self.step()
        body = self._parse_list(")")
        self.expect(")")
        return Subshell(body, self.line)

    def _read_arithmetic_command(self, token: Token) -> Word | None:
        """Read bash's ``((...))``; dash has it not, and would run what is inside as a command."""
        if not (self.flavour.is_bash and self.text.startswith("((", token.start)):
            return None
        start = token.start + 2
        end = self.match_parenthesis(start)
        if self.text[end : end + 1] != ")":
            raise self.refuse("(( that is no arithmetic")
        self.forget_token()
        line, self.at = self.line, end + 1
        return self.scan_arithmetic(self.text[start : end - 1], line)

    def _parse_do(self) -> Sequence:
        self.expect("do")
        body = self._parse_list("done")
        self.expect("done")
        return body

    def _parse_if(self) -> If:
        self.step()
        condition = self._parse_list("then")
        self.expect("then")
        then = self._parse_list("fi")
        otherwise: Sequence | None = None
        match self.look().literal:
            case "elif":
                return If(condition, then, self._parse_if())
            case "else":
                self.step()
                otherwise = self._parse_list("fi")
            case _:
                pass
        self.expect("fi")
        return If(condition, then, otherwise)

    def _parse_for(self) -> For:
        self.step()
        line = self.line
        if self.flavour.is_bash and self.text.startswith("((", self.look().start):
            raise self.refuse("for ((...))")
        if self.flavour.is_bash and not self.look().word:
            raise self.unexpected()
        token = self.look()
        # bash takes any word, and complains of it only when it runs the loop.
        name = self.text[token.start : self.at] if self.flavour.is_bash else token.literal
        if not (self.flavour.is_bash or NAME.fullmatch(name)):
            raise self.fail(self.words.bad_loop_variable)
        self.step()
        words: list[Word] | None = None
        source = f"for {name}"
        if self.skip_newlines().literal == "in":
            self.step()
            source += " in"
            words = []
            while self.look().word:
                if self.flavour.is_bash:
                    self._check_word(self.look(), is_first=False)
                token = self.step()
                words.append(token.word)
                source += f" {self.text[token.start : self.at]}"
            if self.look().text not in (";", "\n"):
                raise self.unexpected()
            self.step()
        elif self.look().text == ";":
            self.step()
        if self.flavour.is_bash and self.skip_newlines().literal == "{":
            self.step()
            body = self._parse_list("}")
            self.expect("}")
            return For(name, words, body, line, source)
        return For(name, words, self._parse_do(), line, source)

    def _parse_case(self) -> Case:
        self.step()
        line = self.line
        if not self.look().word:
            raise self.unexpected("word")
        token = self.step()
        word, source = token.word, f"case {self.text[token.start : self.at]} in"
        self.expect("in")
        items: list[CaseItem] = []
        while self.skip_newlines().literal != "esac":
            if self.look().text == "(":
                self.step()
            patterns: list[Word] = []
            while True:
                if not self.look().word:
                    if self.flavour.is_bash:
                        raise self.unexpected()
                    # ash takes any token for a pattern, and stumbles over the next.
                    self.step()
                    raise self.unexpected(")", keywords=False)
                patterns.append(self.step().word)
                if self.look().text != "|":
                    break
                self.step()
            if self.look().text != ")":
                raise self.unexpected(")", keywords=False)
            self.step()
            token = self.skip_newlines()
            items.append(
                CaseItem(patterns, None if self._ends_list(token) else self._parse_list(";;"))
            )
            if self.skip_newlines().literal == "esac":
                break
            if self.look().text != ";;":
                raise self.unexpected(";;")
            self.step()
            if self.flavour.is_bash and self.text.startswith("((", self.skip_newlines().start):
                raise self.refuse("(( before a pattern")
        self.step()
        return Case(word, items, line, source)

    def _parse_function_keyword(self) -> Function:
        self.step()
        if not self.look().word:
            raise self.unexpected("word")
        name = self.step().literal
        if not (name if self.flavour.is_bash else NAME.fullmatch(name)):
            raise self.fail(self.words.bad_function_name)
        if self.flavour.is_ash:
            self.skip_newlines()
        if self.look().text == "(":
            self.step()
            self.expect(")")
        elif self.flavour.is_ash and self.look().literal not in COMPOUND:
            raise self.unexpected()
        return self._parse_function_body(name)

    def _parse_redirection(self) -> Redirection:
        token = self.step()
        assert token.redirection is not None
        number, operator = token.redirection
        is_document = operator in ("<<", "<<-")
        if is_document and not self.flavour.is_bash and DELIMITER.match(self.text, self.at):
            raise self.refuse("an expansion in the delimiter of a here-document")
        if self.flavour.is_bash and operator in (">&", "<&"):
            self.skip_blanks()
            if self.accept("-"):
                # A token of its own, whatever follows.
                return Redirection(number, operator, (Text("-"),), "-")
        line_token = self.look()
        if not line_token.word:
            raise self.unexpected()
        if self.flavour.is_bash:
            self._check_word(line_token, is_first=False)
        self.step()
        source = self.text[line_token.start : self.at]
        result = Redirection(number, operator, line_token.word, source)
        if is_document:
            delimiter, is_quoted = self._to_delimiter(line_token)
            self.pending.append((result, delimiter, is_quoted, operator == "<<-", self.line))
            result.target = ()
        return result

    def _to_delimiter(self, token: Token) -> tuple[str, bool]:
        texts = [part for part in token.word if isinstance(part, Text)]
        if len(texts) == len(token.word):
            return "".join(part.text for part in texts), any(part.is_quoted for part in texts)
        # An expansion stands for itself.
        source = self.text[token.start : self.at].replace("\\\n", "")
        if "$(" in source:
            raise self.refuse("$( in the delimiter of a here-document")
        delimiter = QUOTES.sub(lambda match: match[match.lastindex or 0], source)
        return delimiter, delimiter != source

    def _parse_simple(self, end: str) -> Command:
        assignments: list[Assignment] = []
        words: list[Word] = []
        redirections: list[Redirection] = []
        line = self.line
        is_test = False
        while True:
            token = self.look()
            if is_test and token.text == "(":
                raise self.refuse("( < and > in [[")
            if token.text == "(" and not words and assignments and self.flavour.is_bash:
                raise self.refuse("arrays")
            if token.redirection:
                redirections.append(self._parse_redirection())
            elif token.word:
                first = not words and not assignments and not redirections
                if first and token.literal in self.keywords:
                    raise self.unexpected()
                if self.flavour.is_bash:
                    self._check_word(token, is_first=not words)
                assignment = None if words else _to_assignment(token.word)
                if assignment is not None:
                    assignments.append(assignment)
                else:
                    words.append(token.word)
                if len(words) == 1 and token.literal == "[[" and not self.flavour.is_dash:
                    is_test = True
                elif token.literal == "]]":
                    is_test = False
                self.step()
                if first and self.flavour.is_bash:
                    # Its line is known when it has looked at the next token.
                    is_over = self.look().text == "\n"
                    line = self.line - is_over
            elif is_test and token.text in ("&&", "||"):
                self.step()
                words.append((Text("-a" if token.text == "&&" else "-o"),))
            elif token.text == "(" and len(words) == 1 and not (assignments or redirections):
                return self._parse_function(words[0])
            else:
                break
        if not (assignments or words or redirections):
            raise self.unexpected(end if self.look().text == "" and end else "")
        return Simple(assignments, words, redirections, line)

    def _check_word(self, token: Token, *, is_first: bool) -> None:
        """Refuse what only bash makes of a word."""
        for part in token.word:
            if isinstance(part, Text) and not part.is_quoted and BRACES.search(part.text):
                raise self.refuse("brace expansion")
        head = token.word[0]
        if is_first and isinstance(head, Text) and not head.is_quoted:
            if APPENDING.match(head.text):
                raise self.refuse("name+=")
            if ELEMENT.match(head.text):
                raise self.refuse("arrays")
        if token.literal == "=~":
            raise self.refuse("=~")

    def _parse_function(self, word: Word) -> Function:
        name = Token("", word).literal
        self.step()
        if self.look().text != ")":
            raise self.unexpected(")", keywords=False)
        is_special = name in SPECIAL and not self.flavour.is_bash
        if not (name if self.flavour.is_bash else NAME.fullmatch(name)) or is_special:
            raise self.fail(self.words.bad_function_name)
        self.step()
        return self._parse_function_body(name)

    def _parse_function_body(self, name: str) -> Function:
        token = self.skip_newlines()
        line = self.line
        is_compound = token.text == "(" or token.literal in COMPOUND
        if self.flavour.is_bash and not is_compound:
            raise self.unexpected()
        return Function(name, self._parse_one(""), line)


def _to_assignment(word: Word) -> Assignment | None:
    first = word[0]
    if not isinstance(first, Text) or first.is_quoted:
        return None
    match = ASSIGNMENT.match(first.text)
    if match is None:
        return None
    rest = first.text[match.end() :]
    value = (Text(rest), *word[1:]) if rest else word[1:]
    return Assignment(match[1], tuple(_cut_head(part, match[0]) for part in value))


def _cut_head(part: Part, head: str) -> Part:
    """Take *head* off what bash shows of a bad substitution: it is about the value alone."""
    if not (isinstance(part, Parameter) and part.operator == "bad" and part.other):
        return part
    shown = part.other[0]
    assert isinstance(shown, Text)
    return Parameter(
        "", part.is_quoted, "bad", (Text(shown.text.removeprefix(head), is_quoted=True),)
    )
