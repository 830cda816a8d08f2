"""What goes wrong, and what is answered in the guest's place."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Generic, TypeVar

from msgspec import Meta, Struct

from qgasim.agent.stubs import ArmedStub, Stub
from qgasim.control.control import Control
from qgasim.control.guests import ControlledGuest
from qgasim.control.registry import refusing, route
from qgasim.faults import AnyFault, ArmedFault
from qgasim.http.problems import HttpError
from qgasim.scenario.dump import written
from qgasim.simulation.simulation import Simulation
from qgasim.testing.live import LiveGuest

__all__ = [
    "FaultStatus", "StubStatus", "add_fault", "add_stub", "list_faults", "list_stubs", "read_fault",
    "read_stub", "remove_fault", "remove_faults", "remove_stub", "remove_stubs",
]  # fmt: skip

CHAPTER = "Faults and stubs"
Armed = TypeVar("Armed", bound=ArmedFault | ArmedStub)


class FaultStatus(Struct, kw_only=True):
    """A fault of a guest, and what it has done."""

    #: By which it is removed.
    id: int
    #: The fault, as in a scenario.
    fault: Annotated[
        dict[str, Any], Meta(extra_json_schema={"$ref": "#/components/schemas/AnyFault"})
    ]
    #: How many requests it was about.
    seen: int
    #: How often it fired.
    fired: int
    #: Whether it is switched on.
    is_on: bool
    #: Whether it will fire no more, having done so as often as it was to.
    is_spent: bool


class StubStatus(Struct, kw_only=True):
    """A stub of a guest, and what it has done."""

    #: By which it is removed.
    id: int
    #: The stub, as in a scenario.
    stub: Annotated[dict[str, Any], Meta(extra_json_schema={"$ref": "#/components/schemas/Stub"})]
    #: How often it has answered.
    answered: int


class _Collection(Generic[Armed]):
    """The faults of a guest, or its stubs: found by number, and removed.

    Args:
        what: what one of them is called.
        members: lists those of a simulation, in their order.
        remove: removes one from a guest.
    """

    def __init__(
        self,
        what: str,
        members: Callable[[Simulation], Sequence[Armed]],
        remove: Callable[[LiveGuest, Armed], None],
    ) -> None:
        self._what = what
        self._members = members
        self._remove = remove

    def all(self, guest: ControlledGuest) -> Sequence[Armed]:
        return self._members(guest.simulation)

    def find(self, guest: ControlledGuest, number: str) -> Armed:
        """Return the one with *number*; HttpError: there is none."""
        for armed in self.all(guest):
            if str(armed.number) == number:
                return armed
        raise HttpError(404, f"there is no {self._what} {number[:100]}")

    def remove(self, guest: ControlledGuest, number: str) -> None:
        self._remove(guest.live, self.find(guest, number))

    def remove_all(self, guest: ControlledGuest) -> None:
        for armed in tuple(self.all(guest)):
            self._remove(guest.live, armed)


_FAULTS: Final = _Collection[ArmedFault]("fault", lambda s: s.armed_faults, LiveGuest.withdraw)
_STUBS: Final = _Collection[ArmedStub]("stub", lambda s: s.agent.commands.armed, LiveGuest.unstub)


def _fault(armed: ArmedFault) -> FaultStatus:
    times = armed.fault.times
    return FaultStatus(
        id=armed.number,
        fault=written(armed.fault, AnyFault),
        seen=armed.seen,
        fired=armed.fired,
        is_on=armed.is_on,
        is_spent=times is not None and armed.fired >= times,
    )


def _stub(armed: ArmedStub) -> StubStatus:
    return StubStatus(id=armed.number, stub=written(armed.stub, Stub), answered=armed.answered)


@route("GET /v1/guests/{name}/faults", chapter=CHAPTER)
def list_faults(control: Control, name: str) -> list[FaultStatus]:
    """List the faults, in the order in which they fire: those of the scenario first.

    Those of the machine's monitor (`on: "qmp:..."`) follow those of the agent.
    """
    return [_fault(armed) for armed in _FAULTS.all(control.guest(name))]


@route(
    "POST /v1/guests/{name}/faults",
    chapter=CHAPTER,
    status=201,
    location="/v1/guests/{name}/faults/{id}",
)
def add_fault(control: Control, name: str, body: AnyFault) -> FaultStatus:
    """Let something go wrong from now on: a fault, as in a scenario."""
    guest = control.guest(name)
    with refusing():
        guest.live.inject(body)
    return _fault(max(_FAULTS.all(guest), key=lambda armed: armed.number))


@route("GET /v1/guests/{name}/faults/{number}", chapter=CHAPTER)
def read_fault(control: Control, name: str, number: str) -> FaultStatus:
    """Return a fault, and how often it has fired."""
    return _fault(_FAULTS.find(control.guest(name), number))


@route("DELETE /v1/guests/{name}/faults/{number}", chapter=CHAPTER)
def remove_fault(control: Control, name: str, number: str) -> None:
    """Remove a fault."""
    _FAULTS.remove(control.guest(name), number)


@route("DELETE /v1/guests/{name}/faults", chapter=CHAPTER)
def remove_faults(control: Control, name: str) -> None:
    """Remove all faults, those of the scenario included."""
    _FAULTS.remove_all(control.guest(name))


@route("GET /v1/guests/{name}/stubs", chapter=CHAPTER)
def list_stubs(control: Control, name: str) -> list[StubStatus]:
    """List the stubs; the first that matches a request answers it."""
    return [_stub(armed) for armed in _STUBS.all(control.guest(name))]


@route(
    "POST /v1/guests/{name}/stubs",
    chapter=CHAPTER,
    status=201,
    location="/v1/guests/{name}/stubs/{id}",
)
def add_stub(control: Control, name: str, body: Stub) -> StubStatus:
    """Answer in place of the guest, before all other stubs: a stub, as in a scenario."""
    guest = control.guest(name)
    with refusing():
        guest.live.stub(body)
    return _stub(max(_STUBS.all(guest), key=lambda armed: armed.number))


@route("GET /v1/guests/{name}/stubs/{number}", chapter=CHAPTER)
def read_stub(control: Control, name: str, number: str) -> StubStatus:
    """Return a stub, and how often it has answered."""
    return _stub(_STUBS.find(control.guest(name), number))


@route("DELETE /v1/guests/{name}/stubs/{number}", chapter=CHAPTER)
def remove_stub(control: Control, name: str, number: str) -> None:
    """Remove a stub."""
    _STUBS.remove(control.guest(name), number)


@route("DELETE /v1/guests/{name}/stubs", chapter=CHAPTER)
def remove_stubs(control: Control, name: str) -> None:
    """Remove all stubs, those of the scenario included."""
    _STUBS.remove_all(control.guest(name))
