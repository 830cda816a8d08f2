"""Conditions as bash decides them: ``test`` of 5.2's test.c, with its messages."""

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.processes.process import Process
from qgasim.userland.shell import conditions
from qgasim.userland.shell.conditions import COMPARE, DECIMAL, MAX_INT, TestError, examine
from qgasim.userland.shell.syntax import NOT_SIMULATED

__all__ = ["decide"]

UNARY = frozenset(f"-{letter}" for letter in "abcdefghknoprstuvwxzGLNORS")
BINARY = frozenset((*COMPARE, "-nt", "-ot", "-ef"))
REFUSED = frozenset(("-o", "-v", "-N", "-R"))


def decide(p: Process, arguments: list[str], name: str) -> bool:
    """Return whether the expression *arguments* holds; `TestError` if it is none."""
    if name == "[[":
        try:
            return conditions.decide(p, arguments, name)
        except TestError:
            # It works out arithmetic, and has a grammar of its own.
            raise TestError(f"an expression of this kind: {NOT_SIMULATED}") from None
    if name == "[":
        if arguments[-1:] != ["]"]:
            raise TestError("missing `]'")
        arguments = arguments[:-1]
    test = _Test(p, arguments)
    result = test.posix()
    if test.at < len(arguments):
        extra = arguments[test.at]
        is_option = extra.startswith("-")
        raise TestError(
            f"syntax error: `{extra}' unexpected" if is_option else "too many arguments"
        )
    return result


class _Test:
    """The parser of test.c: *at* is the next argument."""

    def __init__(self, p: Process, arguments: list[str]) -> None:
        self.p = p
        self.arguments = arguments
        self.at = 0

    def posix(self) -> bool:
        """Decide by the number of arguments, as POSIX has it."""
        words, count = self.arguments, len(self.arguments)
        if count <= 1:
            self.at = count
            return bool(words and words[0])
        if count == 2:
            result = self._two()
        elif count == 3:
            return self._three()
        elif count == 4 and words[0] == "!":
            self.at = 1
            return not self._three()
        elif count == 4 and words[0] == "(" and words[3] == ")":
            self.at = 1
            result = self._two()
        else:
            return self._expression()
        self.at = count
        return result

    def _two(self) -> bool:
        first, second = self.arguments[self.at : self.at + 2]
        if first == "!":
            return not second
        if first not in UNARY:
            raise TestError(f"{first}: unary operator expected")
        return self._unary()

    def _three(self) -> bool:
        left, operator, right = self.arguments[self.at : self.at + 3]
        if operator in BINARY:
            result = self._binary()
        elif operator in ("-a", "-o"):
            result = bool(left and right) if operator == "-a" else bool(left or right)
        elif left == "!":
            self.at += 1
            result = not self._two()
        elif left == "(" and right == ")":
            result = bool(operator)
        else:
            raise TestError(f"{operator}: binary operator expected")
        self.at = len(self.arguments)
        return result

    def _get(self) -> str | None:
        return self.arguments[self.at] if self.at < len(self.arguments) else None

    def _require(self) -> str:
        word = self._get()
        if word is None:
            raise TestError("argument expected")
        return word

    def _expression(self) -> bool:
        self._require()
        return self._or()

    def _or(self) -> bool:
        result = self._and()
        if self._get() == "-o":
            self.at += 1
            other = self._or()
            return result or other
        return result

    def _and(self) -> bool:
        result = self._term()
        if self._get() == "-a":
            self.at += 1
            other = self._and()
            return result and other
        return result

    def _term(self) -> bool:
        word = self._require()
        if word == "!":
            is_negated = False
            while word == "!":
                self.at += 1
                word = self._require()
                is_negated = not is_negated
            return self._term() != is_negated
        if word == "(":
            self.at += 1
            self._require()
            result = self._expression()
            closing = self._get()
            if closing != ")":
                raise TestError("`)' expected" + (f", found {closing}" if closing else ""))
            self.at += 1
            return result
        following = self.arguments[self.at + 1 : self.at + 3]
        if len(following) == 2 and following[0] in BINARY:
            return self._binary()
        if following and word in UNARY:
            return self._unary()
        self.at += 1
        return word != ""

    def _unary(self) -> bool:
        operator = self.arguments[self.at]
        self.at += 1
        if operator in REFUSED:
            raise TestError(f"{operator}: {NOT_SIMULATED}")
        if operator == "-t":
            operand = self._get()
            if operand is not None and DECIMAL.fullmatch(operand):
                self.at += 1
            return False
        operand = self._require()
        self.at += 1
        return examine(self.p, "e" if operator == "-a" else operator[1], operand)

    def _binary(self) -> bool:
        left, operator, right = self.arguments[self.at : self.at + 3]
        self.at += 3
        if operator in ("-nt", "-ot", "-ef"):
            files = self.p.guest.files
            one, other = files.find(left, self.p.cwd), files.find(right, self.p.cwd)
            if operator == "-ef":
                return one is not None and one is other
            if operator == "-ot":
                one, other = other, one
            # What is not there is older than what is.
            if one is None or other is None:
                return one is not None
            return int(one.st_mtime_ns) > int(other.st_mtime_ns)
        decides = COMPARE[operator]
        if operator.startswith("-"):
            return decides(_to_number(left) - _to_number(right))
        one_raw, other_raw = encode_name(left), encode_name(right)
        return decides((one_raw > other_raw) - (one_raw < other_raw))


def _to_number(text: str) -> int:
    match = DECIMAL.fullmatch(text)
    value = int(match[1]) if match is not None and len(match[1]) < 1000 else MAX_INT + 1
    if not -MAX_INT - 1 <= value <= MAX_INT:
        raise TestError(f"{text}: integer expression expected")
    return value
