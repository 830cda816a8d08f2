"""Conditions as dash decides them: ``test`` of 0.5.12's bltin/test.c, with its messages."""

import re
from collections.abc import Callable
from typing import Final

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.processes.process import Process
from qgasim.userland.shell.conditions import TestError, examine

__all__ = ["decide"]

UNARY: Final = frozenset(f"-{letter}" for letter in "rwxefdcbpugkstznhOGLS")
COMPARE: Final[dict[str, Callable[[int], bool]]] = {
    "-eq": lambda order: order == 0,
    "-ne": lambda order: order != 0,
    "-ge": lambda order: order >= 0,
    "-gt": lambda order: order > 0,
    "-le": lambda order: order <= 0,
    "-lt": lambda order: order < 0,
    "=": lambda order: order == 0,
    "!=": lambda order: order != 0,
    "<": lambda order: order < 0,
    ">": lambda order: order > 0,
}
BINARY: Final = frozenset((*COMPARE, "-nt", "-ot", "-ef"))
OTHERS: Final = frozenset(("!", "-a", "-o", "(", ")"))
NUMBER: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]{1,19})[ \t\n\v\f\r]*")
MAX_INT: Final = (1 << 63) - 1


def decide(p: Process, arguments: list[str], name: str) -> bool:
    """Return whether the expression *arguments* holds; `TestError` if it is none."""
    if name == "[":
        if not arguments or not arguments[-1].startswith("]"):
            raise TestError("missing ]")
        arguments = arguments[:-1]
    is_negated = False
    while arguments:
        count = len(arguments)
        is_comparison = count == 3 and arguments[1] in BINARY
        if count in (3, 4) and not is_comparison:
            if arguments[0] == "(" and arguments[-1] == ")":
                arguments = arguments[1:-1]
            elif arguments[0] == "!":
                is_negated = not is_negated
                arguments = arguments[1:]
                continue
        test = _Test(p, arguments)
        result = test.either("" if is_comparison else test.classify(0))
        if test.at + 1 < len(arguments):
            operand = arguments[test.at]
            raise TestError(f"{operand}: unexpected operator" if operand else "unexpected operator")
        return result != is_negated
    return is_negated


class _Test:
    """The parser of test.c: *at* is the last argument that it used; a class is an operator or ""."""

    def __init__(self, p: Process, arguments: list[str]) -> None:
        self.p = p
        self.arguments = arguments
        self.at = 0

    def _get(self, at: int) -> str | None:
        return self.arguments[at] if at < len(self.arguments) else None

    def classify(self, at: int) -> str | None:
        """Return the operator at *at*, "" for an operand, None at the end."""
        text, following = self._get(at), self._get(at + 1)
        if text is None:
            return None
        if text in UNARY:
            is_operand = following is None or (
                self._get(at + 2) is not None and following in BINARY
            )
            return "" if is_operand else text
        if text == "(" and following is None:
            return ""
        return text if text in BINARY or text in OTHERS else ""

    def either(self, kind: str | None) -> bool:
        result = False
        while True:
            result = self._both(kind) or result
            if self.classify(self.at + 1) != "-o":
                return result
            self.at += 2
            kind = self.classify(self.at)

    def _both(self, kind: str | None) -> bool:
        result = True
        while True:
            result = self._negated(kind) and result
            if self.classify(self.at + 1) != "-a":
                return result
            self.at += 2
            kind = self.classify(self.at)

    def _negated(self, kind: str | None) -> bool:
        if kind != "!":
            return self._primary(kind)
        kind = self.classify(self.at + 1)
        if kind is not None:
            self.at += 1
        return not self._negated(kind)

    def _primary(self, kind: str | None) -> bool:
        if kind is None:
            return False
        if kind == "(":
            self.at += 1
            inner = self.classify(self.at)
            if inner == ")":
                return False
            result = self.either(inner)
            self.at += 1
            if self.classify(self.at) != ")":
                raise TestError("closing paren expected")
            return result
        if kind in UNARY:
            self.at += 1
            operand = self._get(self.at)
            if operand is None:
                raise TestError(f"{kind}: argument expected")
            if kind == "-t":
                _to_number(operand)
            return examine(self.p, kind[1], operand)
        if self.classify(self.at + 1) in BINARY:
            return self._compare()
        return self._get(self.at) != ""

    def _compare(self) -> bool:
        left, operator, right = (
            self.arguments[self.at],
            self.arguments[self.at + 1],
            self._get(self.at + 2),
        )
        self.at += 2
        if right is None:
            raise TestError(f"{operator}: argument expected")
        if operator in ("-nt", "-ot", "-ef"):
            files = self.p.guest.files
            one, other = files.find(left, self.p.cwd), files.find(right, self.p.cwd)
            if operator == "-ef":
                return one is not None and one is other
            if operator == "-ot":
                one, other = other, one
            if one is None or other is None:
                return False
            return int(one.st_mtime_ns) > int(other.st_mtime_ns)
        decides = COMPARE[operator]
        if operator.startswith("-"):
            return decides(_to_number(left) - _to_number(right))
        one_raw, other_raw = encode_name(left), encode_name(right)
        return decides((one_raw > other_raw) - (one_raw < other_raw))


def _to_number(text: str) -> int:
    match = NUMBER.fullmatch(text)
    value = int(match[1]) if match is not None else MAX_INT + 1
    if not -MAX_INT - 1 <= value <= MAX_INT:
        raise TestError(f"Illegal number: {text}")
    return value
