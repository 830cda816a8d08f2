"""Conditions: what ``test``, ``[`` and ``[[`` decide, by one engine with the rules of each shell.

ash is BusyBox 1.35's coreutils/test.c and dash 0.5.12's bltin/test.c, which are of one descent: a grammar
that takes what it is given. bash 5.2's test.c goes by the number of arguments first, as POSIX has it, and so
does coreutils 9.1's, which is of the same descent.
"""

import re
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace
from pyfakefs.fake_file import FakeDirectory, FakeFile

from qgasim.errors import GuestError
from qgasim.guest.files.nodes import Regular, WouldBlock, encode_name
from qgasim.guest.processes.process import Process
from qgasim.userland.shell import patterns
from qgasim.userland.shell.syntax import NOT_SIMULATED

__all__ = ["ASH", "BASH", "DASH", "Rules", "TestError", "decide", "evaluate_test"]

DECIMAL: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)[ \t\n\v\f\r]*")
MAX_INT: Final = (1 << 63) - 1
#: Python makes no numbers of more than 4300 digits.
MAX_DIGITS: Final = 1000
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
Ask: TypeAlias = Callable[[str, str], bool]
BITS: Final = {"u": 0o4000, "g": 0o2000, "k": 0o1000, "x": 0o111}


def _letters(letters: str) -> frozenset[str]:
    return frozenset(f"-{letter}" for letter in letters)


class Rules(Struct, frozen=True, kw_only=True):
    """What distinguishes the ``test`` of a shell; messages have ``{}`` for what they are about."""

    unary: frozenset[str] = _letters("rwxefdcbpugkstznhOGLS")
    binary: frozenset[str] = BINARY
    #: Unary operators that are known and not simulated.
    refused: frozenset[str] = frozenset()
    #: Unary operators about the shell.
    asked: frozenset[str] = frozenset()
    #: Whether the number of arguments decides first what they mean.
    counts: bool = False
    #: Whether what is missing is false, ``(`` at the end is an operand and ``( )`` is false.
    is_lenient: bool = False
    #: Whether an operator without a right operand is an error, rather than an operand.
    wants_right: bool = True
    #: Times of files are compared in units of so many nanoseconds.
    time_unit: int = 1
    #: Whether a file that is not there is older than one that is.
    missing_is_older: bool = False
    #: Whether ``]`` may be followed by anything.
    closes_by_prefix: bool = False
    missing_bracket: str = "missing {}"
    missing_parenthesis: str = "closing paren expected"
    no_unary: str = "{}: unary operator expected"
    no_binary: str = "{}: binary operator expected"
    bad_number: str = "Illegal number: {}"
    bad_empty: str = "Illegal number: "
    out_of_range: str = "Illegal number: {}"


ASH: Final = Rules(
    time_unit=10**9,
    bad_number="{}: bad number",
    bad_empty="bad number",
    out_of_range="{}: out of range",
)
DASH: Final = Rules(binary=BINARY - {"=="}, is_lenient=True, closes_by_prefix=True)
BASH: Final = Rules(
    unary=_letters("abcdefghknoprstuvwxzGLNORS"),
    refused=frozenset(("-N", "-R")),
    asked=frozenset(("-o", "-v")),
    counts=True,
    wants_right=False,
    missing_is_older=True,
    missing_bracket="missing `{}'",
    missing_parenthesis="`)' expected",
    bad_number="{}: integer expression expected",
    bad_empty=": integer expression expected",
    out_of_range="{}: integer expression expected",
)


COREUTILS: Final = Rules(
    unary=_letters("bcdefghknprstuwxzGLNOS"),
    binary=BINARY - {"<", ">"},
    refused=frozenset(("-N",)),
    counts=True,
    wants_right=False,
    missing_is_older=True,
    missing_bracket="missing '{}'",
    missing_parenthesis="')' expected",
    no_unary="'{}': unary operator expected",
    no_binary="'{}': binary operator expected",
    bad_number="invalid integer '{}'",
    bad_empty="invalid integer ''",
)
#: For ``[[``.
BASH_CONDITIONS: Final = replace(ASH, unary=BASH.unary, refused=BASH.refused, asked=BASH.asked)


class TestError(GuestError):
    """The arguments of ``test`` make no expression."""

    __test__ = False


def evaluate_test(p: Process, arguments: list[str]) -> int:
    """Do what the program ``test`` or ``[`` does with *arguments* (without its own name): return its exit status.

    A message goes to the standard error; if that would have to wait, it is lost.
    """
    try:
        is_busybox = p.guest.settings.os.userland == "busybox"
        return 0 if decide(p, arguments, p.name, ASH if is_busybox else COREUTILS) else 1
    except TestError as error:
        file = p.files.get(2)
        if file is not None:
            with suppress(OSError, WouldBlock):
                file.write(encode_name(f"{p.name}: {error}\n"))
        return 2


def decide(
    p: Process, arguments: list[str], name: str, rules: Rules, ask: Ask = lambda _, __: False
) -> bool:
    """Return whether the expression *arguments* holds; `TestError` if it is none.

    *ask* is called with an operator about the shell and its operand.
    """
    if name == "[[" and rules is BASH:
        try:
            return decide(p, arguments, name, BASH_CONDITIONS, ask)
        except TestError:
            # It works out arithmetic, and has a grammar of its own.
            raise TestError(f"an expression of this kind: {NOT_SIMULATED}") from None
    if name.startswith("["):
        closing = "]]" if name.startswith("[[") else "]"
        last = arguments[-1] if arguments else ""
        if last != closing and not (rules.closes_by_prefix and last.startswith(closing)):
            raise TestError(rules.missing_bracket.format(closing))
        arguments = arguments[:-1]
    if len(arguments) <= 1:
        return bool(arguments and arguments[0])
    engine = _CoreutilsTest if rules is COREUTILS else _PosixTest if rules.counts else _Test
    return engine(p, arguments, rules, ask, has_patterns=name == "[[").run()


def _about(subject: str, words: str) -> TestError:
    return TestError(f"{subject}: {words}" if subject else words)


class _Test:
    """The arguments as an expression: *at* is the next one."""

    def __init__(
        self, p: Process, arguments: list[str], rules: Rules, ask: Ask, *, has_patterns: bool
    ) -> None:
        self.p = p
        self.arguments = arguments
        self.rules = rules
        self.ask = ask
        self.has_patterns = has_patterns
        self.at: int = 0

    def run(self) -> bool:
        """Decide all arguments."""
        words, count, lenient = self.arguments, len(self.arguments), self.rules.is_lenient
        if count == 2 and words[0] == "!":
            return not words[1]
        if count == 3 and words[1] in self.rules.binary:
            return self._compare()
        if count in (3, 4) and words[0] == "!" and (lenient or words[2] in self.rules.binary):
            self.arguments = words[1:]
            return not self.run()
        if lenient and count in (3, 4) and words[0] == "(" and words[-1] == ")":
            self.arguments = words[1:-1]
        result = self._either()
        if self.at < len(self.arguments):
            if lenient:
                raise _about(self.arguments[self.at - 1], "unexpected operator")
            raise TestError(f"{self.arguments[self.at]}: unknown operand")
        return result

    def _get(self, offset: int = 0) -> str | None:
        at = self.at + offset
        return self.arguments[at] if at < len(self.arguments) else None

    def _accept(self, word: str) -> bool:
        if self._get() != word:
            return False
        self.at += 1
        return True

    def _either(self) -> bool:
        result = self._both()
        while self._accept("-o"):
            result = self._both() or result
        return result

    def _both(self) -> bool:
        result = self._negated()
        while self._accept("-a"):
            result = self._negated() and result
        return result

    def _negated(self) -> bool:
        is_negated = False
        while self._accept("!"):
            is_negated = not is_negated
            if self._get() is None and not self.rules.counts:
                return is_negated
        return self._primary() != is_negated

    def _primary(self) -> bool:
        first, second = self._get(), self._get(1)
        lenient = self.rules.is_lenient
        if first is None:
            if lenient:
                return False
            raise TestError("argument expected")
        if first == "(" and not (lenient and second is None):
            return self._parentheses()
        if second in self.rules.binary and self._get(2) is not None:
            return self._compare()
        if first in self.rules.unary and second is not None:
            return self._unary()
        if second in self.rules.binary and self.rules.wants_right:
            raise TestError(f"{second}: argument expected")
        self.at += 1
        return first != ""

    def _parentheses(self) -> bool:
        self.at += 1
        if self.rules.is_lenient and self._accept(")"):
            return False
        result = self._either()
        if not self._accept(")"):
            found = f", found {self._get()}" if self.rules.counts and self._get() else ""
            raise TestError(self.rules.missing_parenthesis + found)
        return result

    def _compare(self) -> bool:
        """Decide the three arguments from here on: operand, operator, operand."""
        left, operator, right = self.arguments[self.at : self.at + 3]
        self.at += 3
        if operator in ("-nt", "-ot", "-ef"):
            return self._compare_files(left, operator, right)
        if self.has_patterns and operator in ("=", "==", "!="):
            return patterns.matches(right, left) == (operator != "!=")
        decides = COMPARE[operator]
        if operator.startswith("-"):
            return decides(self._to_number(left) - self._to_number(right))
        one_raw, other_raw = encode_name(left), encode_name(right)
        return decides((one_raw > other_raw) - (one_raw < other_raw))

    def _compare_files(self, left: str, operator: str, right: str) -> bool:
        files = self.p.guest.files
        one, other = files.find(left, self.p.cwd), files.find(right, self.p.cwd)
        if operator == "-ef":
            return one is not None and one is other
        if operator == "-ot":
            one, other = other, one
        if one is None or other is None:
            return self.rules.missing_is_older and one is not None
        unit = self.rules.time_unit
        return int(one.st_mtime_ns) // unit > int(other.st_mtime_ns) // unit

    def _unary(self) -> bool:
        operator, operand = self.arguments[self.at : self.at + 2]
        self.at += 2
        if operator in self.rules.refused:
            raise TestError(f"{operator}: {NOT_SIMULATED}")
        if operator in self.rules.asked:
            return self.ask(operator, operand)
        if operator == "-t":
            if not self.rules.counts:
                self._to_number(operand)
            elif not DECIMAL.fullmatch(operand):
                self.at -= 1
        return _examine(self.p, "e" if operator == "-a" else operator[1], operand)

    def _to_number(self, text: str) -> int:
        match = DECIMAL.fullmatch(text)
        if match is None:
            raise TestError(self.rules.bad_number.format(text) if text else self.rules.bad_empty)
        value = int(match[1]) if len(match[1]) < MAX_DIGITS else MAX_INT + 1
        if not -MAX_INT - 1 <= value <= MAX_INT:
            raise TestError(self.rules.out_of_range.format(text))
        return value


class _PosixTest(_Test):
    """What the number of arguments decides, before it is an expression."""

    def run(self) -> bool:
        words, count = self.arguments, len(self.arguments)
        if count == 2:
            return self._two()
        if count == 3:
            return self._three()
        if count == 4 and words[0] == "!":
            self.at = 1
            return not self._three()
        if count == 4 and words[0] == "(" and words[3] == ")":
            self.at = 1
            return self._two()
        result = self._either()
        if self.at < count:
            extra = words[self.at]
            is_option = extra.startswith("-")
            raise TestError(
                f"syntax error: `{extra}' unexpected" if is_option else "too many arguments"
            )
        return result

    def _two(self) -> bool:
        first, second = self.arguments[self.at : self.at + 2]
        if first == "!":
            return not second
        if first not in self.rules.unary:
            raise TestError(self.rules.no_unary.format(first))
        return self._unary()

    def _three(self) -> bool:
        left, operator, right = self.arguments[self.at : self.at + 3]
        if operator in self.rules.binary:
            return self._compare()
        if operator in ("-a", "-o"):
            return bool(left and right) if operator == "-a" else bool(left or right)
        if left == "!":
            self.at += 1
            return not self._two()
        if left == "(" and right == ")":
            return bool(operator)
        raise TestError(self.rules.no_binary.format(operator))


class _CoreutilsTest(_PosixTest):
    """What test.c of coreutils 9.1 says otherwise, and that its numbers have any length."""

    def run(self) -> bool:
        if "-l" in self.arguments and len(self.arguments) > 3:
            raise TestError(f"-l: {NOT_SIMULATED}")
        result = self._by_count(len(self.arguments))
        if self.at < len(self.arguments):
            raise TestError(f"extra argument '{self.arguments[self.at]}'")
        return result

    def _by_count(self, count: int) -> bool:
        """Decide *count* arguments from here on: posixtest()."""
        first, last = self._get(), self._get(count - 1)
        if count == 1:
            self.at += 1
            return first != ""
        if count == 2:
            return self._two()
        if count == 3:
            return self._three()
        if count == 4 and first == "!":
            self.at += 1
            return not self._three()
        if count == 4 and first == "(" and last == ")":
            self.at += 1
            result = self._two()
            self.at += 1
            return result
        return self._either()

    def _two(self) -> bool:
        first = self.arguments[self.at]
        if first == "!":
            self.at += 2
            return not self.arguments[self.at - 1]
        if len(first) == 2 and first[0] == "-":
            return self._unary()
        raise self._find_missing()

    def _three(self) -> bool:
        left, operator, right = self.arguments[self.at : self.at + 3]
        if operator in self.rules.binary:
            return self._compare()
        if left == "!":
            self.at += 1
            return not self._two()
        if left == "(" and right == ")":
            self.at += 3
            return operator != ""
        if operator in ("-a", "-o"):
            return self._either()
        raise TestError(self.rules.no_binary.format(operator))

    def _primary(self) -> bool:
        first = self._get()
        if first is None:
            raise self._find_missing()
        if first == "(":
            return self._parentheses()
        if self._get(1) in self.rules.binary and self._get(2) is not None:
            return self._compare()
        if len(first) == 2 and first[0] == "-":
            return self._unary()
        self.at += 1
        return first != ""

    def _parentheses(self) -> bool:
        self.at += 1
        if self._get() is None:
            raise self._find_missing()
        rest = self.arguments[self.at : self.at + 4]
        found = rest.index(")", 1) if ")" in rest[1:] else 0
        result = self._by_count(found or len(self.arguments) - self.at)
        if not self._accept(")"):
            found_text = self._get()
            ending = "" if found_text is None else f", found '{found_text}'"
            raise TestError(self.rules.missing_parenthesis + ending)
        return result

    def _unary(self) -> bool:
        operator, operand = self._get(), self._get(1)
        if operator not in self.rules.unary:
            raise TestError(self.rules.no_unary.format(operator))
        if operand is None:
            raise self._find_missing()
        if operator == "-t":
            self._to_number(operand)
        return super()._unary()

    def _find_missing(self) -> TestError:
        return TestError(f"missing argument after '{self.arguments[-1]}'")

    def _to_number(self, text: str) -> int:
        found = DECIMAL.fullmatch(text)
        if found is None:
            raise TestError(self.rules.bad_number.format(text))
        digits = found[1].lstrip("+-").lstrip("0")
        # What is longer is larger: strintcmp() compares texts.
        value = int(digits[:MAX_DIGITS] or "0") + (len(digits) << 4 * MAX_DIGITS)
        return -value if found[1].startswith("-") else value


def _examine(p: Process, letter: str, operand: str) -> bool:
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
