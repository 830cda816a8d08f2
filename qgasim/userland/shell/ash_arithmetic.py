"""``$((...))`` as BusyBox 1.35's shell/math.c works it out: C's operators on 64-bit integers.

It is an operator-precedence parser with two stacks, and so is this one, because what it takes for an
expression, and which of several errors it reports, comes of that: both sides of ``&&``, ``||`` and ``?:``
are worked out, and ``:`` is an operator of its own.
"""

import re
from typing import Final

from msgspec import Struct

from qgasim.userland.shell.arithmetic import (
    ASSIGNMENTS,
    DIGITS,
    MAX_LENGTH,
    OPERATORS,
    BadArithmetic,
    Get,
    Set,
    to_signed,
)

__all__ = ["evaluate"]

SYNTAX_ERROR: Final = "arithmetic syntax error"
BAD_CONDITIONAL: Final = "malformed ?: operator"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NUMBER: Final = re.compile(
    r"(?P<based>[1-9][0-9]*#[0-9A-Za-z_@]*)|(?P<number>0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)"
)
OPERATOR: Final = re.compile(
    r"<<=|<<|>>=|>>|\|\||&&|!=|<=|>=|==|\|=|&=|\*=|/=|%=|\+=|-=|\^=|\+\+|--|\*\*|[!<>=|&*/%+\-^~,()?:]"
)
LEVELS: Final = (
    ("(",), (",",), tuple(ASSIGNMENTS), (), ("?", ":"), ("||",), ("&&",), ("|",), ("^",), ("&",),
    ("==", "!="), ("<", "<=", ">", ">="), ("<<", ">>"), ("+", "-"), ("*", "/", "%"), ("**",),
    ("~", "!"), ("u-", "u+"), ("++u", "--u"), ("++", "--"), (")",),
)  # fmt: skip
PRECEDENCE: Final = {name: level for level, names in enumerate(LEVELS) for name in names}
UNARY: Final = PRECEDENCE["~"]
RIGHT_ASSOCIATIVE: Final = frozenset((PRECEDENCE["="], PRECEDENCE["**"], PRECEDENCE["?"]))
PREFIXES: Final = {"+": "u+", "-": "u-", "++": "++u", "--": "--u"}
STEPS: Final = {"++": 1, "++u": 1, "--": -1, "--u": -1}
#: How deep variables may refer to expressions.
MAX_DEPTH: Final = 40


class Number(Struct):
    """An operand: a value, or the name of a variable; behind ``:``, a second value."""

    value: int = 0
    name: str | None = None
    second: int | None = None


def evaluate(text: str, get: Get, assign: Set, names: tuple[str, ...] = ()) -> int:
    """Work out *text*; *get* and *assign* are for variables, *names* those of which this is the value."""
    if len(text) > MAX_LENGTH:
        raise BadArithmetic("out of memory")
    return _Evaluation(text.strip(" \t\n\v\f\r"), get, assign, names).run()


class _Evaluation:
    """One expression, with the stacks of math.c."""

    def __init__(self, text: str, get: Get, assign: Set, names: tuple[str, ...]) -> None:
        self.text = text
        self.get = get
        self.assign = assign
        self.names = names
        self.numbers: list[Number] = []
        self.operators = ["("]
        #: Whether the last token was an operand, or can be taken for one.
        self.follows_number = False

    def run(self) -> int:
        """Return the value of the expression."""
        if not self.text:
            return 0
        at = 0
        while at < len(self.text):
            if self.text[at] in " \t\n\v\f\r":
                at += 1
            elif match := NAME.match(self.text, at):
                at = match.end()
                self._push(Number(name=match[0]))
            elif match := NUMBER.match(self.text, at):
                at = match.end()
                if at < len(self.text) and (self.text[at].isalnum() or self.text[at] == "_"):
                    raise BadArithmetic(SYNTAX_ERROR)
                self._push(Number(_to_number(match)))
            elif match := OPERATOR.match(self.text, at):
                operator = self._cut_doubled(match[0], match.end())
                at += len(operator)
                self._take(operator)
            else:
                raise BadArithmetic(SYNTAX_ERROR)
        self._take(")")
        if len(self.numbers) != 1 or self.operators:
            raise BadArithmetic(SYNTAX_ERROR)
        return self._resolve(self.numbers[0])

    def _push(self, number: Number) -> None:
        self.numbers.append(number)
        self.follows_number = True

    def _cut_doubled(self, operator: str, end: int) -> str:
        """Return a sign alone for two that neither follow a variable nor stand before one."""
        if operator not in ("++", "--") or (self.numbers and self.numbers[-1].name is not None):
            return operator
        following = self.text[end:].lstrip(" \t\n\v\f\r")[:1]
        is_name = (following.isascii() and following.isalpha()) or following == "_"
        return operator if is_name else operator[0]

    def _take(self, operator: str) -> None:
        """Put an operator on its stack, after those that bind tighter have been applied."""
        if not self.follows_number:
            operator = PREFIXES.get(operator, operator)
        precedence = PRECEDENCE[operator]
        if 0 < precedence < UNARY or operator == ")":
            if not self.follows_number:
                raise BadArithmetic(SYNTAX_ERROR)
            while self.operators:
                before = self.operators.pop()
                if operator == ")":
                    if before == "(":
                        self.follows_number = True
                        return
                elif PRECEDENCE[before] < precedence or (
                    PRECEDENCE[before] == precedence and precedence in RIGHT_ASSOCIATIVE
                ):
                    self.operators.append(before)
                    break
                self._apply(before)
            if operator == ")":
                raise BadArithmetic(SYNTAX_ERROR)
        self.operators.append(operator)
        self.follows_number = operator in ("++", "--")

    def _apply(self, operator: str) -> None:
        if not self.numbers:
            raise BadArithmetic(SYNTAX_ERROR)
        top = self.numbers[-1]
        value = self._resolve(top)
        if operator in ("u-", "u+", "!", "~"):
            value = {"u-": -value, "u+": value, "!": int(not value), "~": ~value}[operator]
        elif operator in STEPS:
            value += STEPS[operator]
        else:
            top, value = self._apply_binary(operator, value)
        value = to_signed(value)
        if operator in ASSIGNMENTS or operator in STEPS:
            if top.name is None:
                raise BadArithmetic(SYNTAX_ERROR)
            self.assign(top.name, str(value))
            # Behind the variable, they leave the value before.
            value -= STEPS.get(operator, 0) if operator in ("++", "--") else 0
        top.value, top.name = to_signed(value), None

    def _apply_binary(self, operator: str, right: int) -> tuple[Number, int]:
        if len(self.numbers) < 2:
            raise BadArithmetic(SYNTAX_ERROR)
        second = self.numbers.pop().second
        if (second is None) is (operator == "?"):
            raise BadArithmetic(BAD_CONDITIONAL)
        top = self.numbers[-1]
        left = 0 if operator == "=" else self._resolve(top)
        if operator == "?":
            assert second is not None
            return top, right if left else second
        if operator == ":":
            if len(self.numbers) < 2:
                raise BadArithmetic(BAD_CONDITIONAL)
            top.second = right
            return top, left
        name = operator if operator == "=" or operator not in ASSIGNMENTS else operator[:-1]
        return top, OPERATORS[name](left, right)

    def _resolve(self, number: Number) -> int:
        name = number.name
        if name is None:
            return number.value
        if name in self.names or len(self.names) > MAX_DEPTH:
            raise BadArithmetic("expression recursion loop detected")
        text = self.get(name)
        number.value = 0
        if text is not None:
            number.value = evaluate(text, self.get, self.assign, (*self.names, name))
        return number.value


def _to_number(match: re.Match[str]) -> int:
    if match["based"]:
        base, _, digits = match["based"].partition("#")
        try:
            return to_signed(_from_base(digits, int(base[:9])))
        except ValueError:
            raise BadArithmetic(SYNTAX_ERROR) from None
    text = match["number"][:1000]
    value = int(text, 8 if text[0] == "0" and text[1:2] not in ("x", "X") else 0)
    # strtoull(3) fails of a larger one, which counts as 0 then.
    return to_signed(value) if value < 1 << 64 else 0


def _from_base(digits: str, base: int) -> int:
    """Return the number that *digits* are, `ValueError` if they are none."""
    if not 2 <= base <= 64 or not digits:
        raise ValueError(base)
    value = 0
    for char in digits:
        digit = DIGITS.index(char.lower() if base <= 36 else char)
        if digit >= base:
            raise ValueError(digits)
        value = value * base + digit
    return value
