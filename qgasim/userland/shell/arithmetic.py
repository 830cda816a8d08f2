"""``$((...))``: C's operators on 64-bit integers, as BusyBox's shell/math.c works them out.

Like there, both sides of ``&&``, ``||`` and ``?:`` are always worked out.
"""

import re
from collections.abc import Callable
from typing import Final

from qgasim.errors import GuestError

__all__ = ["BadArithmetic", "evaluate", "to_signed"]

TOKEN: Final = re.compile(
    r"\s*(?:(?P<based>[0-9]{1,2}#[0-9A-Za-z_@]+)|(?P<number>0[xX][0-9a-fA-F]+|[0-9]+)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<operator>\+\+|--|\*\*=?|<<=|>>=|<<|>>|&&|\|\||[-+*/%&|^<>=!]=|[-+*/%&|^<>=!~?:,()]))"
)
LEVELS: Final = (
    ("||",),
    ("&&",),
    ("|",),
    ("^",),
    ("&",),
    ("==", "!="),
    ("<", "<=", ">", ">="),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "%"),
)
ASSIGNMENTS: Final = frozenset(
    ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=", "**=")
)
#: How deep variables may refer to expressions, and expressions be nested.
MAX_DEPTH: Final = 40
#: A longer expression would mean a script that runs wild.
MAX_LENGTH: Final = 1 << 16


class BadArithmetic(GuestError):
    """The expression is none, or divides by zero."""


def to_signed(value: int) -> int:
    """Wrap to 64 bits."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _divide(left: int, right: int) -> int:
    if right == 0:
        raise BadArithmetic("divide by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _power(left: int, right: int) -> int:
    if right < 0:
        raise BadArithmetic("exponent less than 0")
    return pow(left, right, 1 << 64)


OPERATORS: Final[dict[str, Callable[[int, int], int]]] = {
    "||": lambda a, b: int(bool(a or b)),
    "&&": lambda a, b: int(bool(a and b)),
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "&": lambda a, b: a & b,
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    "<=": lambda a, b: int(a <= b),
    ">": lambda a, b: int(a > b),
    ">=": lambda a, b: int(a >= b),
    "<<": lambda a, b: a << (b & 63),
    ">>": lambda a, b: a >> (b & 63),
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "%": lambda a, b: a - b * _divide(a, b),
    "**": _power,
}


def evaluate(
    text: str,
    get: Callable[[str], str | None],
    assign: Callable[[str, str], None],
    depth: int = 0,
) -> int:
    """Work out *text*; *get* and *assign* are for variables."""
    if depth > MAX_DEPTH:
        raise BadArithmetic("expression recursion loop detected")
    if len(text) > MAX_LENGTH:
        raise BadArithmetic("out of memory")
    run = _Evaluation(text, get, assign, depth)
    return run.run()


class _Evaluation:
    """One expression: a value is a number, and the name of the variable that it was."""

    def __init__(
        self,
        text: str,
        get: Callable[[str], str | None],
        assign: Callable[[str, str], None],
        depth: int,
    ) -> None:
        self.get = get
        self.assign = assign
        self.depth = depth
        self.nesting = 0
        self.at = 0
        self.tokens: list[tuple[str, str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = TOKEN.match(text, at)
            if match is None:
                raise BadArithmetic("arithmetic syntax error")
            kind = match.lastgroup or ""
            self.tokens.append((kind, match[kind]))
            at = match.end()

    def run(self) -> int:
        if not self.tokens:
            return 0
        value = self._comma()
        if self.at < len(self.tokens):
            raise BadArithmetic("arithmetic syntax error")
        return value

    def _next(self) -> str:
        """Return the operator that is next, or nothing."""
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "operator":
            return self.tokens[self.at][1]
        return ""

    def _accept(self, operator: str) -> bool:
        if self._next() == operator:
            self.at += 1
            return True
        return False

    def _require(self, operator: str) -> None:
        if not self._accept(operator):
            raise BadArithmetic("arithmetic syntax error")

    def _comma(self) -> int:
        value = self._assignment()
        while self._accept(","):
            value = self._assignment()
        return value

    def _assignment(self) -> int:
        self.nesting += 1
        if self.nesting > MAX_DEPTH:
            raise BadArithmetic("arithmetic syntax error")
        try:
            if self.at + 1 < len(self.tokens) and self.tokens[self.at][0] == "name":
                kind, operator = self.tokens[self.at + 1]
                if kind == "operator" and operator in ASSIGNMENTS:
                    name = self.tokens[self.at][1]
                    self.at += 2
                    value = self._assignment()
                    if operator != "=":
                        value = OPERATORS[operator[:-1]](self._value_of(name), value)
                    return self._store(name, value)
            return self._conditional()
        finally:
            self.nesting -= 1

    def _store(self, name: str, value: int) -> int:
        value = to_signed(value)
        self.assign(name, str(value))
        return value

    def _conditional(self) -> int:
        condition = self._binary(0)
        if not self._accept("?"):
            return condition
        yes = self._comma()
        self._require(":")
        no = self._assignment()
        return yes if condition else no

    def _binary(self, level: int) -> int:
        if level == len(LEVELS):
            return self._exponent()
        value = self._binary(level + 1)
        while (operator := self._next()) in LEVELS[level]:
            self.at += 1
            value = to_signed(OPERATORS[operator](value, self._binary(level + 1)))
        return value

    def _exponent(self) -> int:
        value = self._unary()
        if self._accept("**"):
            return to_signed(_power(value, self._exponent()))
        return value

    def _unary(self) -> int:
        operators: list[str] = []
        while (operator := self._next()) in ("+", "-", "!", "~", "++", "--"):
            self.at += 1
            operators.append(operator)
        if operators and operators[-1] in ("++", "--") and self.at < len(self.tokens):
            kind, name = self.tokens[self.at]
            if kind == "name":
                self.at += 1
                step = 1 if operators.pop() == "++" else -1
                value = self._store(name, self._value_of(name) + step)
            else:
                value = self._primary()
        else:
            value = self._primary()
        for operator in reversed(operators):
            if operator == "-":
                value = -value
            elif operator == "!":
                value = int(not value)
            elif operator == "~":
                value = ~value
        return to_signed(value)

    def _primary(self) -> int:
        if self._accept("("):
            value = self._comma()
            self._require(")")
            return value
        if self.at >= len(self.tokens) or self._next():
            raise BadArithmetic("arithmetic syntax error")
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind != "name":
            return _to_number(text)
        value = self._value_of(text)
        if (operator := self._next()) in ("++", "--"):
            self.at += 1
            self._store(text, value + (1 if operator == "++" else -1))
        return value

    def _value_of(self, name: str) -> int:
        text = self.get(name)
        if not text:
            return 0
        return evaluate(text, self.get, self.assign, self.depth + 1)


def _to_number(text: str) -> int:
    base, _, digits = text.partition("#")
    try:
        if digits:
            return to_signed(_from_base(digits, int(base)))
        if text[:2] in ("0x", "0X"):
            return to_signed(int(text, 16))
        return to_signed(int(text, 8 if text[0] == "0" and len(text) > 1 else 10))
    except ValueError:
        raise BadArithmetic("arithmetic syntax error") from None


def _from_base(digits: str, base: int) -> int:
    if not 2 <= base <= 64:
        raise ValueError(base)
    value = 0
    for char in digits:
        if base <= 36:
            char = char.lower()  # noqa: PLW2901
        digit = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ@_".index(char)
        if digit >= base:
            raise ValueError(digits)
        value = value * base + digit
    return value
