"""What a client did, judged: verifications, waits and findings."""

from typing import Any

import trio
from msgspec import Struct, field

from qgasim.control.control import Control
from qgasim.control.feed import describe_entry
from qgasim.control.guests import ControlledGuest
from qgasim.control.registry import refusing, route
from qgasim.errors import VerificationError
from qgasim.findings import POLLS_PER_SECOND
from qgasim.guest.units import SECOND, Duration
from qgasim.http.problems import HttpError
from qgasim.matching import Match, compile_match
from qgasim.simulation.journal import Entry, Exchange
from qgasim.states import State

__all__ = [
    "FindingView", "FindingsQuery", "Never", "Order", "Verdict", "Verification", "Waited",
    "WaitedFor", "findings", "in_order", "never", "verify", "wait",
]  # fmt: skip

CHAPTER = "Verification"
#: The longest wait, in seconds of the host.
LONGEST_WAIT = 3600


class Verdict(Struct, kw_only=True):
    """The result of a run: whether a client did what was expected of it."""

    #: Whether it did.
    verified: bool
    #: If not: what was expected, what was found, and what came near.
    message: str = ""


class Never(Struct, kw_only=True):
    """Requests that are not to have been made."""

    #: The command; `*` and `?` are wildcards.
    command: str
    #: Patterns of its arguments, as in stubs; those not named do not matter.
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    #: Only what came after such a request counts.
    after: str | Match | None = None
    #: Only what came before such a request counts.
    before: str | Match | None = None
    #: How long after or before at most, in guest time.
    within: Duration | None = None


class Verification(Never, kw_only=True):
    """Requests that must have been made: once or more by default."""

    #: How often, or more.
    at_least: int | None = None
    #: How often, or less.
    at_most: int | None = None
    #: How often exactly.
    times: int | None = None


class Order(Struct, kw_only=True):
    """Requests that are to have come in this order, whatever came between them."""

    #: Commands, or commands with patterns of their arguments.
    steps: list[str | Match]


def _judge(function: Any) -> Verdict:
    try:
        with refusing():
            function()
    except VerificationError as error:
        return Verdict(verified=False, message=str(error))
    return Verdict(verified=True)


def _within(wanted: Never) -> float | None:
    return None if wanted.within is None else wanted.within / SECOND


@route("POST /v1/guests/{name}/verify", chapter=CHAPTER)
def verify(control: Control, name: str, body: Verification) -> Verdict:
    """Verify how often a command was asked for; what the agent has read counts, whatever it answered."""
    live = control.guest(name).live
    return _judge(
        lambda: live.verify(
            body.command,
            arguments=body.arguments,
            at_least=body.at_least,
            at_most=body.at_most,
            times=body.times,
            after=body.after,
            before=body.before,
            within=_within(body),
        )
    )


@route("POST /v1/guests/{name}/never", chapter=CHAPTER)
def never(control: Control, name: str, body: Never) -> Verdict:
    """Verify that a command was not asked for."""
    live = control.guest(name).live
    return _judge(
        lambda: live.never(
            body.command,
            arguments=body.arguments,
            after=body.after,
            before=body.before,
            within=_within(body),
        )
    )


@route("POST /v1/guests/{name}/in-order", chapter=CHAPTER)
def in_order(control: Control, name: str, body: Order) -> Verdict:
    """Verify that requests came in an order."""
    live = control.guest(name).live
    return _judge(lambda: live.in_order(*body.steps))


# -- waiting -----------------------------------------------------------------------------------------


class WaitedFor(Struct, kw_only=True):
    """What is waited for: a state, or requests for a command."""

    #: Until the guest is in this state.
    state: State | None = None
    #: Until this command was asked for; `*` and `?` are wildcards.
    command: str | None = None
    #: Patterns of the command's arguments, as in stubs.
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    #: How often.
    count: int = 1
    #: Only requests after the entry of the journal with this number count.
    after: int = 0
    #: How long at most, in the host's time; at most an hour.
    within: Duration = 30 * SECOND


class Waited(Struct, kw_only=True):
    """What has become of a wait."""

    #: Whether it has come to pass; false: the time is over.
    reached: bool
    #: The state of the guest now.
    state: State
    #: The request that was waited for, as in the journal.
    entry: dict[str, Any] | None = None
    #: The number of the latest entry of the journal: the next wait may begin after it.
    latest: int


class _Search:
    """Looks for what is waited for; each entry of the journal is looked at once."""

    def __init__(self, guest: ControlledGuest, wanted: WaitedFor) -> None:
        self._guest = guest
        self._wanted = wanted
        self._journal = guest.live.journal
        self._position = wanted.after
        self._left = wanted.count
        match = Match(command=wanted.command or "*", arguments=wanted.arguments)
        self._matches_command, self._matches_arguments = compile_match(match)

    def look(self) -> Waited | None:
        """Return what is answered; None: it has not come to pass."""
        guest, wanted = self._guest, self._wanted
        state = guest.state
        if self._journal is not guest.live.journal:
            # It was reset: the numbers begin again.
            self._journal, self._position = guest.live.journal, 0
        if wanted.command is None:
            return self.answer(reached=True) if state == wanted.state else None
        for number, entry in self._journal.after(self._position):
            self._position = number
            if self._is_wanted(entry):
                self._left -= 1
                if self._left <= 0:
                    said = describe_entry(number, entry, with_line=True)
                    return self.answer(reached=True, entry=said)
        return None

    def _is_wanted(self, entry: Entry) -> bool:
        return (
            isinstance(entry, Exchange)
            and entry.command is not None
            and self._matches_command(entry.command)
            and self._matches_arguments(entry.arguments)
        )

    def answer(self, *, reached: bool, entry: dict[str, Any] | None = None) -> Waited:
        guest = self._guest
        latest = guest.live.journal.count
        return Waited(reached=reached, state=guest.state, entry=entry, latest=latest)


@route(
    "POST /v1/guests/{name}/wait",
    chapter=CHAPTER,
    problems={410: "The guest was deleted meanwhile."},
)
async def wait(control: Control, name: str, body: WaitedFor) -> Waited:
    """Wait until a command was asked for or a state is reached, or until the time is over.

    What was asked before counts, too, unless `after` says otherwise: a client that was faster is not missed.
    """
    guest = control.guest(name)
    if (body.state is None) == (body.command is None):
        raise HttpError(422, "expected one of 'state' and 'command'")
    if body.within > LONGEST_WAIT * SECOND:
        raise HttpError(422, f"within: expected at most {LONGEST_WAIT} s")
    if not body.count >= 1:
        raise HttpError(422, f"count: expected 1 or more, found {body.count}")
    with refusing():
        search = _Search(guest, body)
    return await guest.wait(lambda: _wait(control, guest, search, body.within / SECOND))


async def _wait(
    control: Control, guest: ControlledGuest, search: _Search, patience: float
) -> Waited:
    end = trio.current_time() + patience
    while True:
        found = search.look()
        if found is not None:
            return found
        if trio.current_time() >= end:
            return search.answer(reached=False)
        machine = guest.simulation.guest
        event = machine.next_event()
        deadline = end
        if event is not None:
            deadline = min(end, trio.current_time() + machine.clock.host_delay(event))
        with trio.move_on_at(deadline):
            await control.feed.wait()
        await trio.lowlevel.checkpoint()


# -- findings ----------------------------------------------------------------------------------------


class FindingView(Struct, kw_only=True):
    """Something that clients did and should not have done."""

    #: What it is called, as in `frozen-never-thawed`.
    name: str
    #: What it is and why it matters.
    explanation: str
    #: What the client should do instead.
    remedy: str
    #: Where it was found: the requests, a text each.
    found: list[str]
    #: Where to read more.
    page: str


class FindingsQuery(Struct, kw_only=True):
    """What clients may do."""

    #: How often a client may ask the same in a second.
    polls_per_second: int = POLLS_PER_SECOND


@route("GET /v1/guests/{name}/findings", chapter=CHAPTER)
def findings(control: Control, name: str, query: FindingsQuery) -> list[FindingView]:
    """Find what clients should not have done.

    Ask when they are done: what is open or frozen then counts as left so.
    """
    if query.polls_per_second < 1:
        raise HttpError(422, "polls_per_second: expected 1 or more")
    found = control.guest(name).live.findings(query.polls_per_second)
    return [
        FindingView(
            name=each.name,
            explanation=each.kind.explanation,
            remedy=each.kind.remedy,
            found=list(each.found),
            page=each.page,
        )
        for each in found
    ]
