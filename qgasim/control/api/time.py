"""What happens to a guest, and its time: events, the clock, snapshots."""

from typing import Annotated, Any, Final, Literal

from msgspec import Struct, structs

from qgasim.control.control import Control
from qgasim.control.guests import ControlledGuest
from qgasim.control.language import Said
from qgasim.control.registry import refusing, route
from qgasim.guest.units import SECOND, Duration
from qgasim.http.problems import HttpError
from qgasim.scenario.dump import written
from qgasim.scenario.reading import Draft
from qgasim.simulation.timeline import AnyEvent, Timeline
from qgasim.states import State

__all__ = [
    "Advance", "ClockChange", "ClockView", "EventStatus", "NewSnapshot", "SnapshotView",
    "advance", "change_clock", "delete_snapshot", "happen", "list_snapshots", "read_clock",
    "revert", "take_snapshot",
]  # fmt: skip

CHAPTER = "Events, time and snapshots"
#: The keys of an event that say when it happens.
_WHEN: Final = ("at", "since_boot", "after", "on")


class EventStatus(Struct, kw_only=True):
    """What has become of an event."""

    #: Whether it has happened, or will when it is due.
    status: Literal["happened", "planned"]
    #: The event, as in a scenario.
    event: dict[str, Any]
    #: The state of the guest now.
    state: State


@route("POST /v1/guests/{name}/events", chapter=CHAPTER, status=201)
def happen(control: Control, name: str, body: Annotated[Draft, Said(AnyEvent)]) -> EventStatus:
    """Let an event happen: one of a scenario's timeline.

    It happens now, unless it says when: `at` (an uptime), `since_boot`, `after` a request, `on` a state.
    With `delay` alone it happens so long from now.
    """
    guest = control.guest(name)
    is_planned = not body.given.isdisjoint((*_WHEN, "delay"))
    is_from_now = body.keys.isdisjoint(_WHEN)
    with refusing():
        event: AnyEvent = body.read(AnyEvent, **({"at": 0} if is_from_now else {}))
        if not is_planned:
            guest.live.happen(event)
        else:
            if is_from_now:
                event = structs.replace(event, at=guest.simulation.guest.clock.uptime())
            guest.call(lambda: _plan(guest, event))
    event_said = written(event, AnyEvent)
    if is_from_now:
        event_said.pop("at", None)
    status: Literal["happened", "planned"] = "planned" if is_planned else "happened"
    return EventStatus(status=status, event=event_said, state=guest.state)


def _plan(guest: ControlledGuest, event: AnyEvent) -> None:
    timeline = guest.simulation.timeline
    if isinstance(timeline, Timeline):
        timeline.add(event)
    else:
        Timeline([event], guest.simulation)
    guest.simulation.guest.settle()


# -- the clock ---------------------------------------------------------------------------------------


class ClockView(Struct, kw_only=True):
    """A guest's time."""

    #: Seconds since its scenario began.
    uptime: float
    #: The wall-clock time, in ns since 1970.
    now: int
    #: How many seconds of the guest pass in one of the host; 0: it stands still but for `advance`.
    rate: float


class Advance(Struct, kw_only=True):
    """How much time is to pass at once."""

    #: How much, as in `1h`.
    by: Duration


class ClockChange(Struct, kw_only=True):
    """How fast time is to pass."""

    #: How many seconds of the guest pass in one of the host; 0: it stands still but for `advance`.
    rate: float


def _clock(guest: ControlledGuest) -> ClockView:
    clock = guest.simulation.guest.clock
    return ClockView(uptime=clock.uptime() / SECOND, now=clock.now(), rate=guest.live.source.rate)


@route("GET /v1/guests/{name}/clock", chapter=CHAPTER)
def read_clock(control: Control, name: str) -> ClockView:
    """Return the guest's time."""
    return _clock(control.guest(name))


@route("PATCH /v1/guests/{name}/clock", chapter=CHAPTER)
def change_clock(control: Control, name: str, body: ClockChange) -> ClockView:
    """Let time pass faster, slower, or not at all."""
    guest = control.guest(name)
    with refusing():
        guest.live.clock.run(body.rate)
    return _clock(guest)


@route("POST /v1/guests/{name}/clock/advance", chapter=CHAPTER)
def advance(control: Control, name: str, body: Advance) -> ClockView:
    """Let time pass at once: processes, events, replies that wait."""
    guest = control.guest(name)
    with refusing():
        guest.live.clock.advance(body.by / SECOND)
    return _clock(guest)


# -- snapshots ---------------------------------------------------------------------------------------


class SnapshotView(Struct, kw_only=True):
    """A snapshot of a guest."""

    #: What it is called.
    name: str
    #: The guest's uptime at which it was taken, in seconds.
    uptime: float


class NewSnapshot(Struct, kw_only=True):
    """A snapshot to be taken."""

    #: What it is to be called; an earlier one of this name is given up.
    name: str


def _snapshots(guest: ControlledGuest) -> list[SnapshotView]:
    names = guest.simulation.snapshots.names
    return [SnapshotView(name=name, uptime=at / SECOND) for name, at in names.items()]


def _check_snapshot(guest: ControlledGuest, snapshot: str) -> None:
    with refusing(404):
        guest.simulation.snapshots.check(snapshot)


@route("GET /v1/guests/{name}/snapshots", chapter=CHAPTER)
def list_snapshots(control: Control, name: str) -> list[SnapshotView]:
    """List the snapshots, the oldest first."""
    return _snapshots(control.guest(name))


@route("POST /v1/guests/{name}/snapshots", chapter=CHAPTER, status=201)
def take_snapshot(control: Control, name: str, body: NewSnapshot) -> SnapshotView:
    """Take a snapshot of the guest, its memory included."""
    guest = control.guest(name)
    if not 1 <= len(body.name) <= 100:
        raise HttpError(422, "name: expected from 1 to 100 characters")
    with refusing():
        guest.live.snapshot(body.name)
    return next(view for view in _snapshots(guest) if view.name == body.name)


@route("POST /v1/guests/{name}/snapshots/{snapshot}/revert", chapter=CHAPTER)
def revert(control: Control, name: str, snapshot: str) -> ClockView:
    """Go back to a snapshot: everything in the guest, its time, and the agent's memory."""
    guest = control.guest(name)
    _check_snapshot(guest, snapshot)
    with refusing():
        guest.live.revert(snapshot)
    return _clock(guest)


@route("DELETE /v1/guests/{name}/snapshots/{snapshot}", chapter=CHAPTER)
def delete_snapshot(control: Control, name: str, snapshot: str) -> None:
    """Drop a snapshot."""
    guest = control.guest(name)
    with refusing(404):
        guest.simulation.snapshots.drop(snapshot)
