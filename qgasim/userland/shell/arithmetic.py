"""``$((...))``: C's operators on 64-bit integers, by the grammar of dash 0.5.12's arith_yacc.c.

`qgasim.userland.shell.bash_arithmetic` adds to this grammar what bash has. BusyBox's is no grammar but two
stacks: `qgasim.userland.shell.ash_arithmetic`. The sides of ``&&``, ``||`` and ``?:`` that do not count are
parsed, and have no effect.
"""

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from msgspec import Struct

from qgasim.errors import GuestError

__all__ = [
    "ASSIGNMENTS",
    "DIGITS",
    "MAX_LENGTH",
    "OPERATORS",
    "BadArithmetic",
    "Evaluation",
    "Get",
    "Set",
    "Token",
    "Words",
    "evaluate",
    "to_signed",
]

#: What returns the value of a variable, None if it is not set; and what sets one.
Get: TypeAlias = Callable[[str], str | None]
Set: TypeAlias = Callable[[str, str], None]
TOKEN: Final = re.compile(
    r"[ \t\n]*(?:(?P<number>0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<operator><<=?|>>=?|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^<>=!~?:()])|(?P<end>\Z)|(?P<bad>.))",
    re.DOTALL | re.ASCII,
)
LEVELS: Final = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<=", ">=", "<", ">"), ("<<", ">>"), ("+", "-"), ("*", "/", "%"),
)  # fmt: skip
ASSIGNMENTS: Final = frozenset(("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="))
VALUE: Final = re.compile(
    r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)[ \t\n\v\f\r]*"
)
DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ@_"
MAX_INT: Final = (1 << 63) - 1
#: A longer expression would mean a script that runs wild.
MAX_LENGTH: Final = 1 << 16


class BadArithmetic(GuestError):
    """The expression is none, or divides by zero."""


class Words(Struct, frozen=True, kw_only=True):
    """What a shell says of an expression; how deep it may be nested, in all and by unary operators."""

    no_operand: str = "expecting primary"
    no_branch: str = "expecting primary"
    no_colon: str = "expecting ':'"
    no_parenthesis: str = "expecting ')'"
    no_end: str = "expecting EOF"
    zero: str = "division by zero"
    too_deep: str = "expecting primary"
    max_depth: int = 60
    max_unary_depth: int = 60


class Token(Struct, frozen=True):
    """A token: its *kind* is an operator, ``name``, ``number``, ``bad``, or nothing at the end."""

    kind: str = ""
    name: str = ""
    value: int = 0


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
    ",": lambda _, b: b,
    "=": lambda _, b: b,
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


def evaluate(text: str, get: Get, assign: Set) -> int:
    """Work out *text* as dash does; *get* and *assign* are for variables."""
    if len(text) > MAX_LENGTH:
        raise BadArithmetic("out of memory")
    return Evaluation(text, get, assign).run()


class Evaluation:
    """One expression; *idle* is how many operands that do not count surround the position."""

    words = Words()

    def __init__(self, text: str, get: Get, assign: Set) -> None:
        self.text = text
        self.get = get
        self.assign = assign
        self.at = 0
        self.token: Token = Token()
        #: The last token of the operand that has been parsed, for what depends on it.
        self.before: Token = Token()
        self.idle = 0
        self.nesting = 0

    def run(self) -> int:
        """Return the value of the expression."""
        self._read()
        value = self._whole()
        if self.token.kind:
            raise self._fail(self.words.no_end)
        return value

    # -- tokens ------------------------------------------------------------------------------

    def _fail(self, message: str, start: int | None = None) -> BadArithmetic:  # noqa: ARG002
        """Return the error; *start* is where the text begins that is wrong, if not at the token."""
        return BadArithmetic(f'arithmetic expression: {message}: "{self.text}"')

    def _read(self) -> None:
        """Step to the next token."""
        match = TOKEN.match(self.text, self.at)
        assert match is not None
        kind, text = match.lastgroup or "", match[match.lastgroup or 0]
        self.at = match.end()
        if kind == "number":
            self.token = Token(kind, value=_to_number(text))
        elif kind == "name":
            self.token = Token(kind, text)
        else:
            self.token = Token({"operator": text, "end": ""}.get(kind, kind))

    def _value_of(self, name: str) -> int:
        text = None if self.idle else self.get(name)
        if not text:
            return 0
        match = VALUE.fullmatch(text)
        if match is None:
            raise BadArithmetic(f"Illegal number: {text}")
        value = _to_number(match[2])
        return -value if match[1] else value

    # -- the grammar, from the operator that binds least to the one that binds most ------------

    def _whole(self) -> int:
        self._descend(self.words.max_depth)
        value = self._assignment()
        self.nesting -= 1
        return value

    def _descend(self, limit: int) -> None:
        self.nesting += 1
        if self.nesting > limit:
            raise self._fail(self.words.too_deep)

    def _assignment(self) -> int:
        name, at = self.token.name, self.at
        if name:
            self._read()
            operator = self.token.kind
            if operator in ASSIGNMENTS:
                self._read()
                return self._set(name, operator, self._whole())
            self.token, self.at = Token("name", name), at
        return self._conditional()

    def _set(self, name: str, operator: str, value: int, old: int | None = None) -> int:
        if operator != "=":
            left = self._value_of(name) if old is None else old
            value = self._operate(operator[:-1], left, value)
        if not self.idle:
            self.assign(name, str(value))
        return value

    def _operate(self, operator: str, left: int, right: int, start: int | None = None) -> int:
        if operator in ("/", "%") and not right:
            if not self.idle:
                raise self._fail(self.words.zero, start)
            right = 1
        return to_signed(OPERATORS[operator](left, right))

    def _guarded(
        self, parse: Callable[[], int], *, is_idle: bool, ends: tuple[str, ...] = ()
    ) -> int:
        """Parse an operand, which has no effects if it *is_idle*; the operator before it is next."""
        self.idle += is_idle
        self._read()
        if self.token.kind in ends:
            raise self._fail(self.words.no_branch)
        value = parse()
        self.idle -= is_idle
        return value

    def _is(self, *kinds: str) -> bool:
        return self.token.kind in kinds

    def _conditional(self) -> int:
        condition = self._binary()
        if not self._is("?"):
            return condition
        yes = self._guarded(self._whole, is_idle=not condition, ends=("", ":"))
        if not self._is(":"):
            raise self._fail(self.words.no_colon)
        no = self._guarded(self._conditional, is_idle=bool(condition), ends=("",))
        self.before = Token(":")
        return yes if condition else no

    def _binary(self, level: int = 0) -> int:
        if level == len(LEVELS):
            return self._unary()
        value = self._binary(level + 1)
        while self._is(*LEVELS[level]):
            operator, start = self.token.kind, self.at
            is_idle = operator in ("||", "&&") and bool(value) == (operator == "||")
            other = self._guarded(lambda: self._binary(level + 1), is_idle=is_idle)
            value = self._operate(operator, value, other, start)
            self.before = Token("number")
        return value

    def _unary(self) -> int:
        operator = self.token.kind
        if operator not in ("!", "~", "-", "+"):
            return self._primary()
        self._descend(self.words.max_unary_depth)
        self._read()
        value = self._unary()
        self.nesting -= 1
        self.before = Token("number")
        return {"!": int(not value), "~": ~value, "-": to_signed(-value), "+": value}[operator]

    def _primary(self) -> int:
        kind, value = self.token.kind, self.token.value
        if kind == "(":
            self._read()
            value = self._whole()
            if not self._is(")"):
                raise self._fail(self.words.no_parenthesis)
        elif kind == "name":
            value = self._value_of(self.token.name)
        elif kind != "number":
            raise self._fail(self.words.no_operand)
        self._read()
        return value


def _to_number(text: str) -> int:
    is_octal = text[0] == "0" and text[1:2] not in ("x", "X")
    return min(int(text[:1000], 8 if is_octal else 0), MAX_INT)
