"""``$((...))`` as bash 5.2's expr.c works it out: C's operators on 64-bit integers, with its messages.

The parser looks one token ahead of a name, and reports an error together with the text from the last token
on, as expr.c does.
"""

import re
from typing import Final

from qgasim.userland.shell.arithmetic import (
    ASSIGNMENTS,
    DIGITS,
    LEVELS,
    MAX_LENGTH,
    BadArithmetic,
    Evaluation,
    Get,
    Set,
    Token,
    Words,
    to_signed,
)

__all__ = ["evaluate"]

BLANK: Final = " \t\n"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NUMBER: Final = re.compile(r"[0-9][0-9A-Za-z#@_]*")
OPERATOR: Final = re.compile(
    r"<<=|>>=|<<|>>|\|\||&&|!=|<=|>=|==|\*\*|[*/%+\-&^|]=|[-=!<>+*/%&^|~()?:,]"
)
STEPS: Final = {"++x": 1, "x++": 1, "--x": -1, "x--": -1}
#: How deep variables may refer to expressions, and expressions be nested; bash has 1024.
MAX_DEPTH: Final = 25


def evaluate(text: str, get: Get, assign: Set, depth: int = 0) -> int:
    """Work out *text*; *get* and *assign* are for variables."""
    if len(text) > MAX_LENGTH:
        raise BadArithmetic("out of memory")
    return _Evaluation(text, get, assign, depth).run()


class _Evaluation(Evaluation):
    """One expression: the tokens as bash reads them, and its operators besides."""

    words = Words(
        no_operand="syntax error: operand expected",
        no_branch="expression expected",
        no_colon="`:' expected for conditional expression",
        no_parenthesis="missing `)'",
        no_end="syntax error in expression",
        zero="division by 0",
        too_deep="expression recursion level exceeded",
        max_depth=MAX_DEPTH,
        max_unary_depth=2 * MAX_DEPTH,
    )

    def __init__(self, text: str, get: Get, assign: Set, depth: int) -> None:
        super().__init__(text, get, assign)
        self.depth = depth
        #: Where the token begins that an error shows.
        self.shown = 0

    def run(self) -> int:
        """Return the value of the expression."""
        if not self.text.strip(BLANK):
            return 0
        return super().run()

    # -- tokens ------------------------------------------------------------------------------

    def _fail(
        self, message: str, start: int | None = None, end: int | None = None
    ) -> BadArithmetic:
        shown = self.text[:end].lstrip(BLANK)
        token = self.text[self.shown : end] if start is None else self.text[start:].lstrip(" \t")
        return BadArithmetic(f'{shown}: {message} (error token is "{token}")')

    def _read(self) -> None:
        """Step to the next token."""
        while self.at < len(self.text) and self.text[self.at] in BLANK:
            self.at += 1
        if self.at == len(self.text):
            self._step(Token())
            return
        self.shown = self.at
        if match := NAME.match(self.text, self.at):
            self.at = match.end()
            value = 0
            is_stepped = self.token.kind in ("++x", "--x")
            if is_stepped or self._peek() != "=":
                value = self._value_of(match[0])
            self._step(Token("name", match[0], value))
        elif match := NUMBER.match(self.text, self.at):
            self.at = match.end()
            self._step(Token("number", value=self._to_number(match[0])))
        else:
            self._read_operator()

    def _step(self, token: Token) -> None:
        self.before, self.token = self.token, token

    def _peek(self) -> str:
        """Return the kind of the token behind a name, which may be an error."""
        state = self.at, self.shown, self.before, self.token
        self.idle += 1
        self._step(Token("name"))
        self._read()
        kind = self.token.kind
        self.idle -= 1
        self.at, self.shown, self.before, self.token = state
        return kind

    def _read_operator(self) -> None:
        sign = self.text[self.at : self.at + 2]
        if sign in ("++", "--"):
            self._step(Token(self._read_step(sign)))
            return
        match = OPERATOR.match(self.text, self.at)
        if match is None:
            is_operand = self.token.kind in ("name", "number", ")")
            what = "invalid arithmetic operator" if is_operand else "operand expected"
            raise self._fail(f"syntax error: {what}")
        self.at = match.end()
        self._step(Token(match[0]))

    def _read_step(self, sign: str) -> str:
        """Read ``++`` or ``--``: behind a name, before one, or two signs."""
        self.at += 2
        if self.token.kind == "name":
            return f"x{sign}"
        if self.token.kind == "number" and self.before.kind in ("++x", "--x"):
            raise self._fail(f"{sign}: assignment requires lvalue")
        if NAME.match(self.text[self.at :].lstrip(BLANK)):
            return f"{sign}x"
        self.at -= 1
        return sign[0]

    def _value_of(self, name: str) -> int:
        if self.idle:
            return 0
        text = self.get(name)
        if text and self.depth >= MAX_DEPTH:
            raise self._fail(self.words.too_deep)
        return evaluate(text, self.get, self.assign, self.depth + 1) if text else 0

    def _to_number(self, text: str) -> int:
        base, digits, has_base = 10, text, False
        if text[0] == "0" and len(text) > 1:
            base, digits, has_base = 8, text[1:], True
            if text[1] in "xX":
                base, digits = 16, text[2:]
        value = 0
        for index, char in enumerate(digits):
            if char == "#":
                if has_base:
                    raise self._fail("invalid number", end=self.at)
                if not 2 <= value <= 64:
                    raise self._fail("invalid arithmetic base", end=self.at)
                base, value, has_base = value, 0, True
                if digits[index + 1 : index + 2] in ("", "#"):
                    raise self._fail("invalid integer constant", end=self.at)
                continue
            digit = DIGITS.index(char.lower() if base <= 36 and char.isalpha() else char)
            if digit >= base:
                raise self._fail("value too great for base", end=self.at)
            value = to_signed(value * base + digit)
        return value

    # -- the grammar -------------------------------------------------------------------------

    def _whole(self) -> int:
        self._descend(self.words.max_depth)
        value = self._assignment()
        while self._is(","):
            self._read()
            value = self._assignment()
        self.nesting -= 1
        return value

    def _assignment(self) -> int:
        value = self._conditional()
        operator = self.token.kind
        if operator not in ASSIGNMENTS:
            return value
        target = self.before
        if target.kind != "name":
            raise self._fail("attempted assignment to non-variable")
        self._read()
        return self._set(target.name, operator, self._assignment(), value)

    def _binary(self, level: int = 0) -> int:
        if level == len(LEVELS):
            return self._power()
        return super()._binary(level)

    def _power(self) -> int:
        value = self._unary()
        while self._is("**"):
            self._read()
            exponent = self._power()
            self.before = Token("number")
            if exponent < 0:
                raise self._fail("exponent less than 0")
            value = to_signed(pow(value, exponent, 1 << 64))
        return value

    def _primary(self) -> int:
        kind, name, value = self.token.kind, self.token.name, self.token.value
        step = self._peek() if kind == "name" else kind
        if step in ("++x", "--x"):
            self.before = self.token
            self._read()
            name, value = self.token.name, to_signed(self.token.value + STEPS[step])
            self._set(name, "=", value)
            self.token = Token("number")
        elif step in ("x++", "x--"):
            self._read()
            self._set(name, "=", to_signed(value + STEPS[step]))
            self.token = Token("number")
        elif kind != "name":
            return super()._primary()
        self._read()
        return value
