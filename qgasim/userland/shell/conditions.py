"""Conditions: what ``test``, ``[`` and ``[[`` decide, as BusyBox 1.35's coreutils/test.c does."""

import re
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pyfakefs.fake_file import FakeDirectory, FakeFile

from qgasim.errors import GuestError
from qgasim.guest.files.nodes import Regular, WouldBlock, encode_name
from qgasim.guest.processes.process import Process
from qgasim.userland.shell import patterns

__all__ = ["TestError", "decide", "evaluate_test", "examine"]

DECIMAL: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)[ \t\n\v\f\r]*")
MAX_INT: Final = (1 << 63) - 1
#: Python makes no numbers of more than 4300 digits.
MAX_DIGITS: Final = 1000


class TestError(GuestError):
    """The arguments of ``test`` make no expression."""

    __test__ = False


UNARY: Final = frozenset(f"-{letter}" for letter in "rwxefdcbpugkstznhOGLS")
COMPARE: Final[dict[str, Callable[[int], bool]]] = {
    "-eq": lambda order: order == 0,
    "-ne": lambda order: order != 0,
    "-ge": lambda order: order >= 0,
    "-gt": lambda order: order > 0,
    "-le": lambda order: order <= 0,
    "-lt": lambda order: order < 0,
    "=": lambda order: order == 0,
    "==": lambda order: order == 0,
    "!=": lambda order: order != 0,
    "<": lambda order: order < 0,
    ">": lambda order: order > 0,
}
BINARY: Final = frozenset((*COMPARE, "-nt", "-ot", "-ef"))
KINDS: Final = {
    "f": stat.S_IFREG,
    "d": stat.S_IFDIR,
    "c": stat.S_IFCHR,
    "b": stat.S_IFBLK,
    "p": stat.S_IFIFO,
    "S": stat.S_IFSOCK,
}
BITS: Final = {"u": 0o4000, "g": 0o2000, "k": 0o1000, "x": 0o111}


def evaluate_test(p: Process, arguments: list[str], name: str | None = None) -> int:
    """Do what ``test`` does with *arguments* (without its own name): give its exit status.

    As *name* (the process's if not given) ``[`` and ``[[`` want their closing bracket. A message
    goes to the standard error; if that would have to wait, it is lost.
    """
    name = p.name if name is None else name
    try:
        return 0 if decide(p, arguments, name) else 1
    except TestError as error:
        file = p.files.get(2)
        if file is not None:
            with suppress(OSError, WouldBlock):
                file.write(encode_name(f"{name}: {error}\n"))
        return 2


def decide(p: Process, arguments: list[str], name: str = "test") -> bool:
    """Return whether the expression *arguments* holds; `TestError` if it is none."""
    if name.startswith("["):
        closing = "]]" if name.startswith("[[") else "]"
        if arguments[-1:] != [closing]:
            raise TestError(f"missing {closing}")
        arguments = arguments[:-1]
    if len(arguments) <= 1:
        return bool(arguments and arguments[0])
    test = _Test(p, arguments, has_patterns=name == "[[")
    if len(arguments) == 2 and arguments[0] == "!":
        return not arguments[1]
    if len(arguments) == 3 and arguments[1] in BINARY:
        return test.compare()
    if len(arguments) == 4 and arguments[0] == "!" and arguments[2] in BINARY:
        test.at = 1
        return not test.compare()
    result = test.either()
    if test.at + 1 < len(arguments):
        raise TestError(f"{arguments[test.at + 1]}: unknown operand")
    return result


class _Test:
    """The parser of test.c, which leaves *at* on the last argument that it used."""

    def __init__(self, p: Process, arguments: list[str], *, has_patterns: bool) -> None:
        self.p = p
        self.has_patterns = has_patterns
        self.arguments = arguments
        self.at = 0

    def _get(self, offset: int = 0) -> str | None:
        at = self.at + offset
        return self.arguments[at] if at < len(self.arguments) else None

    def either(self) -> bool:
        result = self._both()
        if self._get(1) == "-o":
            self.at += 2
            other = self.either()
            return result or other
        return result

    def _both(self) -> bool:
        result = self._negated()
        if self._get(1) == "-a":
            self.at += 2
            other = self._both()
            return result and other
        return result

    def _negated(self) -> bool:
        if self._get() != "!":
            return self._primary()
        if self._get(1) is None:
            return True
        self.at += 1
        return not self._negated()

    def _primary(self) -> bool:
        first, second = self._get(), self._get(1)
        if first is None:
            raise TestError("argument expected")
        if first == "(":
            self.at += 1
            result = self.either()
            self.at += 1
            if self._get() != ")":
                raise TestError("closing paren expected")
            return result
        if second in BINARY and self._get(2) is not None:
            return self.compare()
        if first in UNARY and second is not None:
            self.at += 1
            return self._examine(first[1], second)
        if second in BINARY:
            raise TestError(f"{second}: argument expected")
        return first != ""

    def compare(self) -> bool:
        """Decide the three arguments from here on: operand, operator, operand."""
        left, operator, right = self.arguments[self.at : self.at + 3]
        self.at += 2
        if operator in ("-nt", "-ot", "-ef"):
            files = self.p.guest.files
            one, other = files.find(left, self.p.cwd), files.find(right, self.p.cwd)
            if one is None or other is None:
                return False
            if operator == "-ef":
                return one is other
            seconds = int(one.st_mtime_ns) // 10**9 - int(other.st_mtime_ns) // 10**9
            return seconds > 0 if operator == "-nt" else seconds < 0
        if self.has_patterns and operator in ("=", "==", "!="):
            return patterns.matches(right, left) == (operator != "!=")
        decides = COMPARE[operator]
        if operator.startswith("-"):
            return decides(_to_number(left) - _to_number(right))
        one_raw, other_raw = encode_name(left), encode_name(right)
        return decides((one_raw > other_raw) - (one_raw < other_raw))

    def _examine(self, letter: str, operand: str) -> bool:
        if letter == "t":
            _to_number(operand)
        return examine(self.p, letter, operand)


def examine(p: Process, letter: str, operand: str) -> bool:
    """Return whether the unary test *letter* holds for *operand*."""
    if letter == "z":
        return not operand
    if letter == "n":
        return bool(operand)
    if letter == "t":
        # No program of the guest has a terminal.
        return False
    node = p.guest.files.find(operand, p.cwd, follow=letter not in "hL")
    return node is not None and _has(node, letter)


def _has(node: FakeFile, letter: str) -> bool:
    mode: int = node.st_mode
    if letter in "hL":
        return stat.S_ISLNK(mode)
    if letter in KINDS:
        return stat.S_IFMT(mode) == KINDS[letter]
    if letter in BITS:
        return bool(mode & BITS[letter])
    if letter == "s":
        return isinstance(node, FakeDirectory) or (isinstance(node, Regular) and node.length > 0)
    if letter in "OG":
        return int(node.st_uid if letter == "O" else node.st_gid) == 0
    return True


def _to_number(text: str) -> int:
    match = DECIMAL.fullmatch(text)
    if match is None:
        raise TestError(f"{text}: bad number" if text else "bad number")
    value = int(match[1]) if len(match[1]) < MAX_DIGITS else MAX_INT + 1
    if not -MAX_INT - 1 <= value <= MAX_INT:
        raise TestError(f"{text}: out of range")
    return value
