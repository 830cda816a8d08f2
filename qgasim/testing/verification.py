"""Verification: whether a client made the requests that a test expects of it.

A verification that fails says what was asked for, how often it was met, and what came near it. What
cannot be asked (a command that no release has, a pattern that cannot be one) is a `ValueError`, so that
no test passes by a misspelling.
"""

import difflib
import fnmatch
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias, TypedDict

from msgspec import Struct

from qgasim.commands import ALL_COMMANDS
from qgasim.errors import VerificationError
from qgasim.guest.units import SECOND
from qgasim.matching import ABSENT, Match, compile_match, compile_pattern
from qgasim.simulation.journal import Exchange, Journal, Note, show_bytes
from qgasim.suggestions import did_you_mean
from qgasim.testing.events import Duration, to_ns
from qgasim.wire import encode

__all__ = ["Requests", "compile_requests", "in_order", "never", "say_missing", "verify"]

#: A command (``*`` and ``?`` are wildcards), or a command with patterns of its arguments.
Requests: TypeAlias = str | Match


class Placed(TypedDict, total=False):
    """What `never` may be told besides the command."""

    arguments: dict[str, Any] | None
    after: Requests | None
    before: Requests | None
    within: Duration | None


class Counted(Placed, total=False):
    """What `verify` may be told besides the command."""

    at_least: int | None
    at_most: int | None
    times: int | None


#: How many near misses are shown.
SHOWN: Final = 5


def verify(
    journal: Journal,
    command: str,
    *,
    arguments: dict[str, Any] | None = None,
    at_least: int | None = None,
    at_most: int | None = None,
    times: int | None = None,
    after: Requests | None = None,
    before: Requests | None = None,
    within: Duration | None = None,
) -> None:
    """Verify how often *command* was asked for: once or more by default.

    What the agent has read counts, whatever it answered.

    Args:
        journal: of the guest.
        command: its name; ``*`` and ``?`` are wildcards. One of the machine's monitor begins with ``qmp:``.
        arguments: patterns of its arguments, as in stubs; those not named do not matter.
        at_least: how often, or more.
        at_most: how often, or less.
        times: how often exactly.
        after: only what came after such a request counts.
        before: only what came before such a request counts.
        within: how long after or before at most, in guest time: ``"10s"``, or seconds. Without
            *after* and *before*: what counts is the most that came in so long a time.

    Raises:
        VerificationError: it was not so.
        ValueError: what is asked for cannot be.
    """
    _check_counts(at_least=at_least, at_most=at_most, times=times)
    if times is not None and (at_least is not None or at_most is not None):
        raise ValueError("'times' excludes 'at_least' and 'at_most'")
    low, high = (times, times) if times is not None else (at_least, at_most)
    if low is None:
        low = 1 if high is None else 0
    search = _Search(
        journal,
        _requests(command, arguments),
        after,
        before,
        None if within is None else to_ns(within),
    )
    count = len(search.found)
    if count < low or (high is not None and count > high):
        raise VerificationError(search.describe(_say_bounds(low, high), count))


def never(
    journal: Journal,
    command: str,
    *,
    arguments: dict[str, Any] | None = None,
    after: Requests | None = None,
    before: Requests | None = None,
    within: Duration | None = None,
) -> None:
    """Verify that *command* was not asked for; the rest is as in `verify`."""
    if within is not None and after is None and before is None:
        raise ValueError("'within' has no effect without 'after' or 'before'")
    verify(
        journal,
        command,
        arguments=arguments,
        times=0,
        after=after,
        before=before,
        within=within,
    )


def in_order(journal: Journal, *steps: Requests) -> None:
    """Verify that requests came in the order of *steps*, whatever came between them.

    Raises:
        VerificationError: they did not.
        ValueError: a step cannot be.
    """
    if not steps:
        raise ValueError("in_order needs steps")
    tests = [_compile(journal, step) for step in steps]
    exchanges = journal.all_exchanges
    met: list[Exchange] = []
    position = 0
    for number, test in enumerate(tests):
        while position < len(exchanges) and not test(exchanges[position]):
            position += 1
        if position == len(exchanges):
            done = "".join(f"\n  {e}" for e in met) or "\n  nothing"
            wanted = ", then ".join(_say(step) for step in steps)
            text = f"expected in this order: {wanted}\nfound:{done}\nand no {_say(steps[number])}"
            earlier = [e for e in exchanges if test(e)]
            if met and earlier:
                text += f" after that; before that:\n  {earlier[-1]}"
            elif met:
                text += " after that"
            name = _as_match(steps[number]).command
            raise VerificationError(text + _near(journal, name, _as_match(steps[number]), set()))
        met.append(exchanges[position])
        position += 1


# -- asking ----------------------------------------------------------------------------------------


def _check_counts(**given: Any) -> None:
    for name, value in given.items():
        if value is not None and not (isinstance(value, int) and value >= 0):
            raise ValueError(f"{name}: expected how often, as a number, found {value!r}")


def _requests(command: str, arguments: dict[str, Any] | None) -> Match:
    return Match(command=_as_match(command).command, arguments=arguments or {})


def _as_match(requests: Requests) -> Match:
    if not isinstance(requests, str | Match):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"expected a command's name or a Match, found {requests!r}")  # noqa: TRY004
    return Match(command=requests) if isinstance(requests, str) else requests


def compile_requests(
    journal: Journal, command: str, arguments: dict[str, Any] | None
) -> Callable[[Exchange], bool]:
    """Return the test of an exchange that `verify` uses; ValueError if it could never be met."""
    return _compile(journal, _requests(command, arguments))


def say_missing(
    journal: Journal, command: str, arguments: dict[str, Any] | None, times: int, awaited: str
) -> str:
    """Return what was awaited, how often it was met, and what came near."""
    search = _Search(journal, _requests(command, arguments), None, None, None)
    return search.describe(f"{_say_bounds(times, None)} {awaited}", len(search.found))


def _compile(journal: Journal, requests: Requests) -> Callable[[Exchange], bool]:
    """Make the test of an exchange; ValueError if it could never be met."""
    match = _as_match(requests)
    known = _known(journal)
    if not fnmatch.filter(known, match.command):
        hint = did_you_mean(match.command, known)
        program = "QEMU" if match.command.startswith("qmp:") else "qemu-ga"
        raise ValueError(f"no release of {program} has a command '{match.command}'{hint}")
    matches_command, matches_arguments = compile_match(match)
    is_of_monitor = match.command.startswith("qmp:")
    return lambda e: (
        e.command is not None
        # `*` is for the agent's commands only.
        and e.command.startswith("qmp:") == is_of_monitor
        and matches_command(e.command)
        and matches_arguments(e.arguments)
    )


def _known(journal: Journal) -> set[str]:
    """Return the names of all commands; the monitor's begin with ``qmp:``, if there is one."""
    known = {command.name for command in ALL_COMMANDS}
    known |= set(journal.simulation.agent.commands.table)
    if journal.simulation.hypervisor is not None:
        known |= {f"qmp:{name}" for name in journal.simulation.hypervisor.release.commands}
    return known


class _Search:
    """Which requests count, and how near the others came."""

    def __init__(
        self,
        journal: Journal,
        wanted: Match,
        after: Requests | None,
        before: Requests | None,
        within: int | None,
    ) -> None:
        self.journal = journal
        self.wanted = wanted
        self.after = after
        self.before = before
        self.within = within
        is_wanted = _compile(journal, wanted)
        is_first = _compile(journal, after) if after is not None else None
        is_last = _compile(journal, before) if before is not None else None
        exchanges = journal.all_exchanges
        self.found: list[Exchange] = []
        #: What matches, and comes at a wrong time.
        self.misplaced: list[_Near] = []
        for index, exchange in enumerate(exchanges):
            if not is_wanted(exchange):
                continue
            wrong: list[str] = []
            if is_first is not None:
                earlier = [e for e in exchanges[:index] if is_first(e)]
                wrong += self._judge(exchange, earlier[-1:], "after", after)
            if is_last is not None:
                later = [e for e in exchanges[index + 1 :] if is_last(e)]
                wrong += self._judge(exchange, later[:1], "before", before)
            if wrong:
                self.misplaced.append(_Near(exchange, f"called {', '.join(wrong)}"))
            else:
                self.found.append(exchange)
        if within is not None and after is None and before is None:
            self.found = _densest(self.found, within)

    def _judge(
        self, exchange: Exchange, others: list[Exchange], word: str, asked: Requests | None
    ) -> list[str]:
        """Return what is wrong with the time of *exchange*, seen from the nearest that it refers to."""
        assert asked is not None
        if not others:
            return [f"with no {_say(asked)} {'before' if word == 'after' else 'after'} it"]
        apart = abs(exchange.at - others[0].at)
        if self.within is None or apart <= self.within:
            return []
        much = _seconds(apart - self.within)
        return [f"{much} too {'late' if word == 'after' else 'early'}"]

    def describe(self, bounds: str, count: int) -> str:
        """Return what was asked for, how often it was met, and what came near."""
        asked = _say(self.wanted)
        for word, requests in (("after", self.after), ("before", self.before)):
            if requests is not None:
                asked += f" {word} {_say(requests)}"
        if self.within is not None:
            asked += f" within {_seconds(self.within)}"
        text = f"expected {asked} {bounds}, found {_times(count)}"
        text += "".join(f"\n  {exchange}" for exchange in self.found[:SHOWN])
        if len(self.found) > SHOWN:
            text += f"\n  ... and {len(self.found) - SHOWN} more"
        if self.journal.dropped:
            text += f"\n({self.journal.dropped} entries before them were dropped from the journal)"
        near = [str(each) for each in self.misplaced]
        seen = {id(e) for e in self.found} | {id(near.exchange) for near in self.misplaced}
        return text + _near(self.journal, self.wanted.command, self.wanted, seen, near)


def _densest(exchanges: list[Exchange], within: int) -> list[Exchange]:
    """Return the most that came in so long a time."""
    best: list[Exchange] = []
    start = 0
    for end, exchange in enumerate(exchanges):
        while exchange.at - exchanges[start].at > within:
            start += 1
        if end + 1 - start > len(best):
            best = exchanges[start : end + 1]
    return best


# -- what came near --------------------------------------------------------------------------------


class _Near(Struct):
    """A request that is not what was asked for, and why."""

    exchange: Exchange
    why: str

    def __str__(self) -> str:
        exchange = self.exchange
        return f"{exchange.at / SECOND:.3f} s #{exchange.connection} {exchange.command}: {self.why}"


def _near(
    journal: Journal, command: str, wanted: Match, seen: set[int], near: Iterable[str] = ()
) -> str:
    """Describe requests that came near: the same command, or one whose name is like it."""
    lines = list(near)
    matches_command, _ = compile_match(Match(command=command))
    called: dict[str, Exchange] = {}
    for exchange in journal.all_exchanges:
        if exchange.command is None or id(exchange) in seen:
            continue
        if not matches_command(exchange.command):
            called.setdefault(exchange.command, exchange)
        elif wanted.arguments:
            lines.append(str(_Near(exchange, _differences(exchange, wanted))))
    close = difflib.get_close_matches(command, called)
    known = _known(journal)
    lines += [
        str(_Near(called[name], f"did you mean {command}?")) for name in close if name not in known
    ]
    lines += _not_read(journal, command)
    if not lines:
        return ""
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\nnear misses:" + "".join(f"\n  {line}" for line in [*lines[:SHOWN], *more])


def _differences(exchange: Exchange, wanted: Match) -> str:
    """Return how the arguments differ from what was wanted."""
    arguments = exchange.arguments
    shown = ", ".join(f"{name}={encode(value)}" for name, value in arguments.items())
    text = f"called with {show_bytes(shown.encode(), len(shown)) or 'no arguments'}"
    if exchange.error is not None:
        return f"{text}: {exchange.error}"
    wrong = [
        f"{name}={encode(pattern)}"
        for name, pattern in wanted.arguments.items()
        if not compile_pattern(pattern)(arguments.get(name, ABSENT))
    ]
    return f"{text}, not {', '.join(wrong)}"


def _not_read(journal: Journal, command: str) -> list[str]:
    """Return the lines about requests that were sent, and that no agent has read."""
    name = command.encode()
    lines = [
        f"{w.sent / SECOND:.3f} s #{w.connection}: sent, and not yet read by the agent"
        for w in journal.waiting
        if name in w.data
    ]
    swallowed = [e for e in journal.entries if isinstance(e, Note) and name in e.data]
    return lines + [
        f"{note.at / SECOND:.3f} s #{note.connection}: sent, and swallowed by a fault"
        for note in swallowed
    ]


# -- words -----------------------------------------------------------------------------------------


def _say(requests: Requests) -> str:
    match = _as_match(requests)
    if not match.arguments:
        return match.command
    shown = ", ".join(f"{name}={encode(pattern)}" for name, pattern in match.arguments.items())
    return f"{match.command} with {shown}"


def _say_bounds(low: int, high: int | None) -> str:
    if high == 0:
        return "never"
    if low == high:
        return f"exactly {_times(low)}"
    bounds = [f"at least {_times(low)}"] if low else []
    bounds += [f"at most {_times(high)}"] if high is not None else []
    return " and ".join(bounds)


def _times(count: int) -> str:
    return {0: "none", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _seconds(duration: int) -> str:
    return f"{duration / SECOND:g} s"
