"""Which requests are meant: patterns for commands and arguments.

Stubs, faults and verifications all name requests in this way.
"""

import fnmatch
import importlib
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

from msgspec import Struct, field

__all__ = ["ABSENT", "Match", "Test", "compile_match", "compile_pattern"]

Test: TypeAlias = Callable[[Any], bool]
#: Stands for the value of a member that is not there.
ABSENT: Final = object()
#: How long a regular expression may take for a value, in seconds of the host; then it does not match.
TIME_LIMIT: Final = 0.25
#: What repeats, escapes aside: an expression with one of them is linear.
_REPETITIONS: Final = re.compile(r"(?<!\\)(?:[*+]|\{\d*,?\d*\})")


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
    # Python makes its groups atomic: it is never slow.
    matches = re.compile(fnmatch.translate(_text("glob", pattern))).match
    return lambda value: isinstance(value, str) and matches(value) is not None


def _regex(pattern: Any) -> Test:
    operand = _text("regex", pattern)
    try:
        compiled = re.compile(operand, re.DOTALL)
    except re.error as error:
        raise ValueError(f"not a regular expression: {pattern!r} ({error})") from None
    if len(_REPETITIONS.findall(operand)) < 2:
        return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None
    # It may take for ever on what a client chooses. The package is imported only then.
    matches = importlib.import_module("regex").compile(operand, re.DOTALL).fullmatch

    def test(value: Any) -> bool:
        try:
            return isinstance(value, str) and matches(value, timeout=TIME_LIMIT) is not None
        except TimeoutError:
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
