"""What goes wrong, and what is answered in the guest's place."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from qgasim.agent.stubs import ArmedStub, Stub
from qgasim.control.control import Control
from qgasim.control.guests import ControlledGuest
from qgasim.control.registry import refusing, route
from qgasim.faults import AnyFault, ArmedFault
from qgasim.http.problems import HttpError
from qgasim.scenario.dump import written

__all__ = [
    "FaultStatus", "StubStatus", "add_fault", "add_stub", "list_faults", "list_stubs",
    "remove_fault", "remove_faults", "remove_stub", "remove_stubs",
]  # fmt: skip

CHAPTER = "Faults and stubs"


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


def _fault(armed: ArmedFault) -> FaultStatus:
    times = armed.fault.times
    return FaultStatus(
        id=armed.number,
        fault=written(armed.fault, AnyFault),
        seen=armed.seen,
        fired=armed.struck,
        is_on=armed.is_on,
        is_spent=times is not None and armed.struck >= times,
    )


def _stub(armed: ArmedStub) -> StubStatus:
    return StubStatus(id=armed.number, stub=written(armed.stub, Stub), answered=armed.answered)


def _find_fault(guest: ControlledGuest, number: str) -> ArmedFault:
    for armed in guest.simulation.agent.injector.armed:
        if str(armed.number) == number:
            return armed
    raise HttpError(404, f"there is no fault {number[:100]}")


@route("GET /v1/guests/{name}/faults", chapter=CHAPTER)
def list_faults(control: Control, name: str) -> list[FaultStatus]:
    """List the faults, in the order in which they fire: those of the scenario first."""
    return [_fault(armed) for armed in control.guest(name).simulation.agent.injector.armed]


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
    return _fault(guest.simulation.agent.injector.armed[-1])


@route("GET /v1/guests/{name}/faults/{number}", chapter=CHAPTER)
def read_fault(control: Control, name: str, number: str) -> FaultStatus:
    """Return a fault, and how often it has fired."""
    return _fault(_find_fault(control.guest(name), number))


@route("DELETE /v1/guests/{name}/faults/{number}", chapter=CHAPTER)
def remove_fault(control: Control, name: str, number: str) -> None:
    """Remove a fault."""
    guest = control.guest(name)
    guest.live.withdraw(_find_fault(guest, number))


@route("DELETE /v1/guests/{name}/faults", chapter=CHAPTER)
def remove_faults(control: Control, name: str) -> None:
    """Remove all faults, those of the scenario included."""
    guest = control.guest(name)
    for armed in guest.simulation.agent.injector.armed:
        guest.live.withdraw(armed)


@route("GET /v1/guests/{name}/stubs", chapter=CHAPTER)
def list_stubs(control: Control, name: str) -> list[StubStatus]:
    """List the stubs; the first that matches a request answers it."""
    return [_stub(armed) for armed in control.guest(name).simulation.agent.commands.armed]


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
    return _stub(guest.simulation.agent.commands.armed[0])


def _find_stub(guest: ControlledGuest, number: str) -> ArmedStub:
    for armed in guest.simulation.agent.commands.armed:
        if str(armed.number) == number:
            return armed
    raise HttpError(404, f"there is no stub {number[:100]}")


@route("GET /v1/guests/{name}/stubs/{number}", chapter=CHAPTER)
def read_stub(control: Control, name: str, number: str) -> StubStatus:
    """Return a stub, and how often it has answered."""
    return _stub(_find_stub(control.guest(name), number))


@route("DELETE /v1/guests/{name}/stubs/{number}", chapter=CHAPTER)
def remove_stub(control: Control, name: str, number: str) -> None:
    """Remove a stub."""
    guest = control.guest(name)
    guest.live.unstub(_find_stub(guest, number))


@route("DELETE /v1/guests/{name}/stubs", chapter=CHAPTER)
def remove_stubs(control: Control, name: str) -> None:
    """Remove all stubs, those of the scenario included."""
    guest = control.guest(name)
    for armed in list(guest.simulation.agent.commands.armed):
        guest.live.unstub(armed)
