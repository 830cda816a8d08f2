"""``$((...))`` as bash 5.2's expr.c works it out: C's operators on 64-bit integers, with its messages.

The parser looks one token ahead of a name, and reports an error together with the text from the last token
on, as expr.c does.
"""

import re
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from qgasim.userland.shell.arithmetic import DIGITS, OPERATORS, BadArithmetic, to_signed

__all__ = ["evaluate"]

BLANK: Final = " \t\n"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NUMBER: Final = re.compile(r"[0-9][0-9A-Za-z#@_]*")
OPERATOR: Final = re.compile(
    r"<<=|>>=|<<|>>|\|\||&&|!=|<=|>=|==|\*\*|[*/%+\-&^|]=|[-=!<>+*/%&^|~()?:,]"
)
ASSIGNING: Final = frozenset(("*=", "/=", "%=", "+=", "-=", "&=", "^=", "|=", "<<=", ">>="))
LEVELS: Final = (
    ("|",), ("^",), ("&",), ("==", "!="), ("<=", ">=", "<", ">"), ("<<", ">>"), ("+", "-"), ("*", "/", "%"),
)  # fmt: skip
#: How deep variables may refer to expressions, and expressions be nested; bash has 1024.
MAX_DEPTH: Final = 25
#: A longer expression would mean a script that runs wild.
MAX_LENGTH: Final = 1 << 16


class Token(Struct, frozen=True):
    """A token: its *kind* is an operator, ``name``, ``number``, or nothing at the end."""

    kind: str = ""
    name: str = ""
    value: int = 0


def evaluate(
    text: str,
    get: Callable[[str], str | None],
    assign: Callable[[str, str], None],
    depth: int = 0,
) -> int:
    """Work out *text*; *get* and *assign* are for variables."""
    if len(text) > MAX_LENGTH:
        raise BadArithmetic("out of memory")
    return _Evaluation(text, get, assign, depth).run()


class _Tokens:
    """The tokens of an expression; *idle* is how many operands that do not count surround the position."""

    def __init__(
        self,
        text: str,
        get: Callable[[str], str | None],
        assign: Callable[[str, str], None],
        depth: int,
    ) -> None:
        self.text = text
        self.get = get
        self.assign = assign
        self.depth = depth
        self.at = 0
        #: Where the token begins that an error shows.
        self.shown = 0
        self.token: Token = Token()
        self.before: Token = Token()
        self.idle = 0
        self.nesting = 0

    def _fail(self, message: str, end: int | None = None) -> BadArithmetic:
        shown = self.text[:end].lstrip(BLANK)
        return BadArithmetic(f'{shown}: {message} (error token is "{self.text[self.shown : end]}")')

    def _read(self) -> None:
        """Step to the next token."""
        while self.at < len(self.text) and self.text[self.at] in BLANK:
            self.at += 1
        if self.at == len(self.text):
            self._set(Token())
            return
        self.shown = self.at
        if match := NAME.match(self.text, self.at):
            self.at = match.end()
            value = 0
            is_stepped = self.token.kind in ("++x", "--x")
            if is_stepped or self._peek() != "=":
                value = self._value_of(match[0])
            self._set(Token("name", match[0], value))
        elif match := NUMBER.match(self.text, self.at):
            self.at = match.end()
            self._set(Token("number", value=self._to_number(match[0])))
        else:
            self._read_operator()

    def _set(self, token: Token) -> None:
        self.before, self.token = self.token, token

    def _peek(self) -> str:
        """Return the kind of the token behind a name, which may be an error."""
        state = self.at, self.shown, self.before, self.token
        self.idle += 1
        self._set(Token("name"))
        self._read()
        kind = self.token.kind
        self.idle -= 1
        self.at, self.shown, self.before, self.token = state
        return kind

    def _read_operator(self) -> None:
        sign = self.text[self.at : self.at + 2]
        if sign in ("++", "--"):
            self._set(Token(self._read_step(sign)))
            return
        match = OPERATOR.match(self.text, self.at)
        if match is None:
            is_operand = self.token.kind in ("name", "number", ")")
            what = "invalid arithmetic operator" if is_operand else "operand expected"
            raise self._fail(f"syntax error: {what}")
        self.at = match.end()
        self._set(Token(match[0]))

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
                    raise self._fail("invalid number", self.at)
                if not 2 <= value <= 64:
                    raise self._fail("invalid arithmetic base", self.at)
                base, value, has_base = value, 0, True
                if digits[index + 1 : index + 2] in ("", "#"):
                    raise self._fail("invalid integer constant", self.at)
                continue
            digit = DIGITS.index(char.lower() if base <= 36 and char.isalpha() else char)
            if digit >= base:
                raise self._fail("value too great for base", self.at)
            value = to_signed(value * base + digit)
        return value


class _Evaluation(_Tokens):
    """One expression, from the operator that binds least to the one that binds most."""

    def run(self) -> int:
        """Return the value of the expression."""
        if not self.text.strip(BLANK):
            return 0
        if self.depth > MAX_DEPTH:
            raise self._fail("expression recursion level exceeded")
        self._read()
        value = self._comma()
        if self.token.kind:
            raise self._fail("syntax error in expression")
        return value

    def _comma(self) -> int:
        self.nesting += 1
        if self.nesting > MAX_DEPTH:
            raise self._fail("expression recursion level exceeded")
        value = self._assignment()
        while self.token.kind == ",":
            self._read()
            value = self._assignment()
        self.nesting -= 1
        return value

    def _assignment(self) -> int:
        value = self._conditional()
        operator = self.token.kind
        if operator != "=" and operator not in ASSIGNING:
            return value
        target = self.before
        if target.kind != "name":
            raise self._fail("attempted assignment to non-variable")
        self._read()
        right = self._assignment()
        if operator != "=":
            right = self._operate(operator[:-1], value, right)
        if not self.idle:
            self.assign(target.name, str(right))
        return right

    def _operate(self, operator: str, left: int, right: int, at: int | None = None) -> int:
        if operator in ("/", "%") and not right:
            if not self.idle:
                self.shown = self.shown if at is None else at
                raise self._fail("division by 0")
            right = 1
        return to_signed(OPERATORS[operator](left, right))

    def _guarded(self, parse: Callable[[], int], *, is_idle: bool) -> int:
        """Parse an operand, which has no effects if it *is_idle*; the operator before it is next."""
        self.idle += is_idle
        self._read()
        value = parse()
        self.idle -= is_idle
        return value

    def _is(self, *kinds: str) -> bool:
        return self.token.kind in kinds

    def _conditional(self) -> int:
        condition = self._or()
        if not self._is("?"):
            return condition
        self.idle += not condition
        self._read()
        if self._is("", ":"):
            raise self._fail("expression expected")
        yes = self._comma()
        self.idle -= not condition
        if not self._is(":"):
            raise self._fail("`:' expected for conditional expression")
        self.idle += bool(condition)
        self._read()
        if not self.token.kind:
            raise self._fail("expression expected")
        no = self._conditional()
        self.idle -= bool(condition)
        self.before = Token(":")
        return yes if condition else no

    def _or(self) -> int:
        value = self._and()
        while self.token.kind == "||":
            other = self._guarded(self._and, is_idle=bool(value))
            value = int(bool(value or other))
            self.before = Token("||")
        return value

    def _and(self) -> int:
        value = self._binary(0)
        while self.token.kind == "&&":
            other = self._guarded(lambda: self._binary(0), is_idle=not value)
            value = int(bool(value and other))
            self.before = Token("&&")
        return value

    def _binary(self, level: int) -> int:
        if level == len(LEVELS):
            return self._power()
        value = self._binary(level + 1)
        while (operator := self.token.kind) in LEVELS[level]:
            at = self.at
            while self.text[at : at + 1] and self.text[at] in " \t":
                at += 1
            self._read()
            value = self._operate(operator, value, self._binary(level + 1), at)
            self.before = Token("number")
        return value

    def _power(self) -> int:
        value = self._unary()
        while self.token.kind == "**":
            self._read()
            exponent = self._power()
            self.before = Token("number")
            if exponent < 0:
                raise self._fail("exponent less than 0")
            value = to_signed(pow(value, exponent, 1 << 64))
        return value

    def _unary(self) -> int:
        operator = self.token.kind
        if operator not in ("!", "~", "-", "+"):
            return self._primary()
        self.nesting += 1
        if self.nesting > 2 * MAX_DEPTH:
            raise self._fail("expression recursion level exceeded")
        self._read()
        value = self._unary()
        self.nesting -= 1
        self.before = Token("number")
        return {"!": int(not value), "~": ~value, "-": to_signed(-value), "+": value}[operator]

    def _primary(self) -> int:
        kind, value = self.token.kind, self.token.value
        if kind in ("++x", "--x"):
            self.before = self.token
            self._read()
            value = to_signed(self.token.value + (1 if kind == "++x" else -1))
            if not self.idle:
                self.assign(self.token.name, str(value))
            self.token = Token("number")
        elif kind == "(":
            self._read()
            value = self._comma()
            if self.token.kind != ")":
                raise self._fail("missing `)'")
        elif kind == "name":
            if (step := self._peek()) in ("x++", "x--"):
                name = self.token.name
                self._read()
                if not self.idle:
                    self.assign(name, str(to_signed(value + (1 if step == "x++" else -1))))
                self.token = Token("number")
        elif kind != "number":
            raise self._fail("syntax error: operand expected")
        self._read()
        return value
