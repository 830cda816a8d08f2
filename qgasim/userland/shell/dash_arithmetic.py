"""``$((...))`` as dash works it out: C's operators without ``++``, ``,`` and ``**`` on 64-bit integers.

The grammar and the messages are those of 0.5.12's arith_yacc.c; the sides of ``&&``, ``||`` and ``?:`` that
do not count are not worked out.
"""

import re
from collections.abc import Callable
from typing import Final

from qgasim.userland.shell.arithmetic import OPERATORS, BadArithmetic, to_signed

__all__ = ["BadNumber", "evaluate"]

TOKEN: Final = re.compile(
    r"[ \t\n]*(?:(?P<number>0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<operator><<=?|>>=?|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^<>=!~?:()])|(?P<end>\Z)|(?P<bad>.))",
    re.DOTALL | re.ASCII,
)
PRECEDENCE: Final = {
    "*": 0, "/": 0, "%": 0, "+": 1, "-": 1, "<<": 2, ">>": 2, "<": 3, "<=": 3, ">": 3, ">=": 3,
    "==": 4, "!=": 4, "&": 5, "^": 6, "|": 7,
}  # fmt: skip
ASSIGNMENTS: Final = frozenset(("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="))
VALUE: Final = re.compile(
    r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)[ \t\n\v\f\r]*"
)
MAX_INT: Final = (1 << 63) - 1
#: How deep expressions may be nested, and how long they may be.
MAX_DEPTH: Final = 60
MAX_LENGTH: Final = 1 << 16


class BadNumber(BadArithmetic):
    """The value of a variable is no number."""


def _to_number(text: str) -> int:
    is_octal = text[0] == "0" and text[1:2] not in ("x", "X")
    return min(int(text[:1000], 8 if is_octal else 0), MAX_INT)


def evaluate(
    text: str, get: Callable[[str], str | None], assign: Callable[[str, str], None]
) -> int:
    """Work out *text*; *get* and *assign* are for variables."""
    if len(text) > MAX_LENGTH:
        raise BadArithmetic("out of memory")
    return _Evaluation(text, get, assign).run()


class _Evaluation:
    """One expression; *skips* is how many operands that do not count surround the position."""

    def __init__(
        self, text: str, get: Callable[[str], str | None], assign: Callable[[str, str], None]
    ) -> None:
        self.text = text
        self.get = get
        self.assign = assign
        self.at = 0
        self.kind = ""
        self.token = ""
        self.depth = 0
        self._step()

    def _step(self) -> None:
        match = TOKEN.match(self.text, self.at)
        assert match is not None
        self.kind = match.lastgroup or ""
        self.token = match[self.kind]
        self.at = match.end()

    def _fail(self, message: str) -> BadArithmetic:
        return BadArithmetic(f'arithmetic expression: {message}: "{self.text}"')

    def run(self) -> int:
        value = self._assignment(is_idle=False)
        if self.kind != "end":
            raise self._fail("expecting EOF")
        return value

    def _accept(self, operator: str) -> bool:
        if self.kind == "operator" and self.token == operator:
            self._step()
            return True
        return False

    def _assignment(self, *, is_idle: bool) -> int:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._fail("expecting primary")
        name, is_name = self.token, self.kind == "name"
        if not is_name:
            value = self._conditional(None, is_idle=is_idle)
            self.depth -= 1
            return value
        self._step()
        operator = self.token if self.kind == "operator" else ""
        if operator not in ASSIGNMENTS:
            value = self._conditional(name, is_idle=is_idle)
            self.depth -= 1
            return value
        self._step()
        value = self._assignment(is_idle=is_idle)
        self.depth -= 1
        if is_idle:
            return value
        if operator != "=":
            value = self._operate(operator[:-1], self._value_of(name), value)
        self.assign(name, str(value))
        return value

    def _operate(self, operator: str, left: int, right: int) -> int:
        if operator in "/%" and not right:
            raise self._fail("division by zero")
        return to_signed(OPERATORS[operator](left, right))

    def _conditional(self, name: str | None, *, is_idle: bool) -> int:
        condition = self._or(name, is_idle=is_idle)
        if not self._accept("?"):
            return condition
        yes = self._assignment(is_idle=is_idle or not condition)
        if not self._accept(":"):
            raise self._fail("expecting ':'")
        no = self._conditional_operand(is_idle=is_idle or bool(condition))
        return yes if condition else no

    def _conditional_operand(self, *, is_idle: bool) -> int:
        return self._conditional(None, is_idle=is_idle)

    def _or(self, name: str | None, *, is_idle: bool) -> int:
        value = self._and(name, is_idle=is_idle)
        if not self._accept("||"):
            return value
        other = self._or(None, is_idle=is_idle or bool(value))
        return int(bool(value or other))

    def _and(self, name: str | None, *, is_idle: bool) -> int:
        value = self._binary(self._primary(name, is_idle=is_idle), 7, is_idle=is_idle)
        if not self._accept("&&"):
            return value
        other = self._and(None, is_idle=is_idle or not value)
        return int(bool(value and other))

    def _binary(self, left: int, level: int, *, is_idle: bool) -> int:
        """Work out the operators up to precedence *level* that follow *left*."""
        while self.kind == "operator" and PRECEDENCE.get(self.token, 99) <= level:
            operator = self.token
            self._step()
            right = self._primary(None, is_idle=is_idle)
            right = self._binary(right, PRECEDENCE[operator] - 1, is_idle=is_idle)
            left = left if is_idle else self._operate(operator, left, right)
        return left

    def _primary(self, name: str | None, *, is_idle: bool) -> int:
        if name is not None:
            return 0 if is_idle else self._value_of(name)
        kind, token = self.kind, self.token
        if kind == "number":
            self._step()
            return _to_number(token)
        if kind == "name":
            self._step()
            return 0 if is_idle else self._value_of(token)
        if kind != "operator" or token not in "(!~+-":
            raise self._fail("expecting primary")
        self._step()
        if token == "(":
            value = self._assignment(is_idle=is_idle)
            if not self._accept(")"):
                raise self._fail("expecting ')'")
            return value
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._fail("expecting primary")
        value = self._primary(None, is_idle=is_idle)
        self.depth -= 1
        match token:
            case "-":
                return to_signed(-value)
            case "!":
                return int(not value)
            case "~":
                return ~value
            case _:
                return value

    def _value_of(self, name: str) -> int:
        text = self.get(name)
        if not text:
            return 0
        match = VALUE.fullmatch(text)
        if match is None:
            raise BadNumber(f"Illegal number: {text}")
        value = _to_number(match[2])
        return -value if match[1] else value
