"""Which requests are meant: patterns for commands and arguments; and all patterns' bounds.

Stubs, faults and verifications all name requests by `Match`. `Pattern` is what every pattern is that a
client, a guest or a scenario has chosen: a regular expression with limits of size and of the host's time,
which does not keep other threads of the interpreter waiting.
"""

import fnmatch
import importlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from msgspec import Struct, field

__all__ = [
    "ABSENT",
    "Cache",
    "Match",
    "Pattern",
    "Test",
    "TooCostly",
    "compile_match",
    "compile_pattern",
]

T = TypeVar("T")
Test: TypeAlias = Callable[[Any], bool]
#: Stands for the value of a member that is not there.
ABSENT: Final = object()
#: How long one match may take, in seconds of the host.
TIME_LIMIT: Final = 0.25
#: How many steps Python's own matching may take at once: a few milliseconds, for which it keeps the
#: interpreter's lock.
STEP_LIMIT: Final = 500_000
#: Python's own keeps the patterns that it has compiled, by number: only short ones go there.
KEPT_LENGTH: Final = 1000
#: How many characters in a row the package regex is given.
RUN_LIMIT: Final = 100
#: Stands for an expression that may take a time exponential in the text.
_EXPONENTIAL: Final = 100
_TOKEN: Final = re.compile(
    r"\\(?P<escape>.)|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])"
    r"|\((?:\?(?:P?<\w+>|[:>=!]|<[=!]))?(?P<open>)|(?P<close>\))"
    r"|(?P<choice>\|)|(?P<many>[*+]|\{\d*,\})|(?P<maybe>\?)"
    r"|\{(?P<low>\d*)(?:,(?P<high>\d+))?\}|.",
    re.DOTALL,
)


class TooCostly(Exception):
    """A match takes longer than it may."""


class Cache(Generic[T]):
    """What was made of texts, the latest used; bounded by the bytes that the texts take."""

    def __init__(self, make: Callable[[str], T], size: int = 1 << 18) -> None:
        self._make = make
        self._size = self._left = size
        self._made: OrderedDict[str, T] = OrderedDict()

    def __call__(self, text: str) -> T:
        """Return what is made of *text*."""
        if text in self._made:
            self._made.move_to_end(text)
            return self._made[text]
        made = self._make(text)
        cost = len(text) + 64
        if cost <= self._size:
            while cost > self._left:
                self._left += len(self._made.popitem(last=False)[0]) + 64
            self._made[text] = made
            self._left -= cost
        return made


class Pattern:
    """A regular expression of Python's syntax whose matches are bounded.

    What surely takes few steps is matched by Python's own; all else by the package regex, which can be told
    when to stop and lets other threads run meanwhile.
    """

    def __init__(
        self,
        text: str,
        flags: int = 0,
        *,
        weight: tuple[int, int] | None = None,
        limit: float = TIME_LIMIT,
    ) -> None:
        """Compile *text*.

        *weight*: matching n characters takes at most ``weight[0] * n ** weight[1]`` steps; None: it is
        estimated. *limit*: how long a match may take, in seconds of the host.

        Raises:
            ValueError: it is no regular expression.
        """
        self.text, self.flags, self._limit = text, flags, limit
        self._factor, self._power = _weigh(text) if weight is None else weight
        self._bounded: Any = None
        self._plain: re.Pattern[str] | None = None
        if len(text) <= KEPT_LENGTH:
            try:
                self._plain = re.compile(text, flags)
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(str(error)) from None
        self.groups: int = (self._plain or self._regex()).groups

    def _regex(self) -> Any:
        """Return the expression as compiled by the package regex, which is imported only then."""
        if self._bounded is None:
            regex = importlib.import_module("regex")
            try:
                self._bounded = regex.compile(_break_up(self.text), self.flags, cache_pattern=False)
            except (regex.error, RecursionError, OverflowError) as error:
                raise ValueError(str(error)) from None
        return self._bounded

    def _is_cheap(self, length: int) -> bool:
        if self._plain is None:
            return False
        return (
            self._power < _EXPONENTIAL and self._factor * (length + 1) ** self._power < STEP_LIMIT
        )

    def search(self, text: str, at: int = 0) -> re.Match[str] | None:
        """Find the first match from *at* on; `TooCostly` if that takes too long."""
        if self._plain is not None and self._is_cheap(len(text) - at):
            return self._plain.search(text, at)
        return cast("re.Match[str] | None", self._run(self._regex().search, text, at))

    def match(self, text: str) -> re.Match[str] | None:
        """Match the beginning of *text*; `TooCostly` if that takes too long."""
        if self._plain is not None and self._is_cheap(len(text)):
            return self._plain.match(text)
        return cast("re.Match[str] | None", self._run(self._regex().match, text))

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """Match all of *text*; `TooCostly` if that takes too long."""
        if self._plain is not None and self._is_cheap(len(text)):
            return self._plain.fullmatch(text)
        return cast("re.Match[str] | None", self._run(self._regex().fullmatch, text))

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Find all matches, also the empty ones between; `TooCostly` if that takes too long."""
        if self._plain is not None and self._is_cheap(len(text)):
            yield from self._plain.finditer(text)
            return
        found = self._run(self._regex().finditer, text)
        try:
            yield from cast("Iterator[re.Match[str]]", found)
        except TimeoutError:
            raise TooCostly from None

    def _run(self, function: Callable[..., Any], *arguments: object) -> Any:
        try:
            return function(*arguments, timeout=self._limit, concurrent=True)
        except TimeoutError:
            raise TooCostly from None


def _break_up(text: str) -> str:
    """Put something that always matches into long texts without operators.

    The package regex searches for the longest of them first; to prepare for that takes it a time that grows
    with the third power of the length, during which it keeps the interpreter's lock.
    """
    if len(text) < RUN_LIMIT:
        return text
    parts: list[str] = []
    at = length = 0
    for token in _TOKEN.finditer(text):
        if token.lastgroup not in (None, "escape"):
            length = 0
            continue
        length += 1
        # An operator may follow, which concerns this character.
        if length > RUN_LIMIT:
            parts += [text[at : token.start()], "(?!(?!))"]
            at, length = token.start(), 1
    return "".join(parts) + text[at:]


def _weigh(text: str) -> tuple[int, int]:
    """Return how many steps a search may take: a factor, and the power of the text's length.

    Each repetition multiplies by the length, each choice by two; one within another is exponential.
    """
    factor = power = 1
    size = 0
    # Of each open group, whether something in it can match in several ways; then of the last atom.
    varies = [False]
    last_varies = False
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        size += 1
        if kind == "open":
            varies.append(False)
        elif kind == "close" and len(varies) > 1:
            last_varies = varies.pop()
            varies[-1] |= last_varies
            continue
        elif kind in ("choice", "maybe"):
            factor = min(2 * factor, STEP_LIMIT)
            varies[-1] = True
        elif kind in ("many", "low", "high"):
            if last_varies:
                return factor, _EXPONENTIAL
            if kind == "low":
                size += int(token["low"][:9] or 0)
            else:
                power += 1
                varies[-1] = True
        elif kind == "escape" and token["escape"].isdigit():
            power += 1
        last_varies = False
    return factor * max(size, 1), power


class Match(Struct, kw_only=True, frozen=True):
    """Requests: a command, and what its arguments are like."""

    #: The command's name; ``*`` and ``?`` are wildcards.
    command: str = "*"
    #: Patterns of arguments, by name; arguments that are not named here do not matter.
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])


def compile_match(on: str | Match) -> tuple[Callable[[str], bool], Test]:
    """Make the tests of a request's command and of its arguments.

    Raises:
        ValueError: a pattern cannot be one.
    """
    match = Match(command=on) if isinstance(on, str) else on
    matches_name = re.compile(fnmatch.translate(match.command)).match
    return lambda name: matches_name(name) is not None, _members(match.arguments)


def compile_pattern(pattern: Any) -> Test:
    """Make the test of a value.

    A mapping with one of the keys ``equal``, ``glob``, ``regex``, ``any`` and ``absent`` says how to
    compare. Another mapping matches an object with at least these members, a list matches item by
    item, and everything else the value that is equal to it.

    Raises:
        ValueError: the pattern cannot be one.
    """
    if isinstance(pattern, dict):
        members = cast("dict[str, object]", pattern)
        if len(members) == 1:
            ((how, operand),) = members.items()
            if how in _OPERATORS:
                return _OPERATORS[how](operand)
        return _members(members)
    if isinstance(pattern, list):
        return _items(cast("list[object]", pattern))
    return _equal(pattern)


def _items(patterns: list[object]) -> Test:
    tests = [compile_pattern(pattern) for pattern in patterns]

    def test(value: Any) -> bool:
        if not isinstance(value, list):
            return False
        items = cast("list[object]", value)
        return len(items) == len(tests) and all(t(v) for t, v in zip(tests, items, strict=True))

    return test


def _members(patterns: dict[str, object]) -> Test:
    tests = [(name, compile_pattern(pattern)) for name, pattern in patterns.items()]

    def test(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        members = cast("dict[str, object]", value)
        return all(each(members.get(name, ABSENT)) for name, each in tests)

    return test


def _equal(wanted: Any) -> Test:
    # In JSON, true is not 1.
    return lambda value: value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _glob(pattern: Any) -> Test:
    return _bounded(fnmatch.translate(_text("glob", pattern)), pattern)


def _regex(pattern: Any) -> Test:
    return _bounded(_text("regex", pattern), pattern)


def _bounded(text: str, pattern: str) -> Test:
    """Return the test of a value by a regular expression; what takes too long does not match."""
    try:
        compiled = Pattern(text, re.DOTALL)
    except ValueError as error:
        raise ValueError(f"not a regular expression: {pattern!r} ({error})") from None

    def test(value: Any) -> bool:
        try:
            return isinstance(value, str) and compiled.fullmatch(value) is not None
        except TooCostly:
            return False

    return test


def _text(how: str, operand: Any) -> str:
    if not isinstance(operand, str):
        raise ValueError(f"{how} takes a text, not {operand!r}")  # noqa: TRY004
    return operand


def _is_there(operand: Any) -> Test:
    _must_be_true("any", operand)
    return lambda value: value is not ABSENT


def _is_absent(operand: Any) -> Test:
    _must_be_true("absent", operand)
    return lambda value: value is ABSENT


def _must_be_true(how: str, operand: Any) -> None:
    if operand is not True:
        raise ValueError(f"{how} takes true, not {operand!r}")


_OPERATORS: Final[dict[str, Callable[[Any], Test]]] = {
    "equal": _equal,
    "glob": _glob,
    "regex": _regex,
    "any": _is_there,
    "absent": _is_absent,
}
