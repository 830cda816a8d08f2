"""Guests: created, looked at, changed and deleted while the process runs."""

import re
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Struct, field

from qgasim.control.control import Control
from qgasim.control.guests import ControlledGuest, Start, make_blueprint
from qgasim.control.language import Said
from qgasim.control.patching import Changeable, patch, show_changeable
from qgasim.control.registry import refusing, route
from qgasim.control.remotes import Remote
from qgasim.guest.files.tree import Mount
from qgasim.guest.units import SECOND
from qgasim.http.problems import HttpError
from qgasim.http.routes import Answer
from qgasim.scenario import Blueprint
from qgasim.scenario.dump import to_yaml
from qgasim.scenario.reading import read_yaml
from qgasim.serving.listen import (
    Stdio,
    TcpAddress,
    UnixAddress,
    VsockAddress,
    name_address,
    parse_address,
)
from qgasim.states import State

__all__ = [
    "GuestDetails", "GuestSummary", "NewGuest", "NewRemote", "RemoteGuest", "ScenarioQuery", "attach", "create", "delete", "describe",
    "list_guests", "patch_guest", "read", "reset", "scenario", "summarise",
]  # fmt: skip

CHAPTER = "Guests"
#: What is a name of a guest, as in a fleet.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


class GuestSummary(Struct, kw_only=True):
    """A guest, in a list."""

    #: What it is called here; its host name may be another.
    name: str
    #: The state that it is in.
    state: State
    #: The release of its qemu-ga.
    agent: str
    #: The host name.
    hostname: str
    #: Where clients of the agent connect, as `--listen` has it.
    address: str
    #: The seed of everything that was made up.
    seed: int
    #: Whether a client is connected.
    is_connected: bool
    #: How many requests the agent has read.
    requests: int
    #: How many of them it has answered by an error.
    errors: int
    #: How often faults have fired.
    faults_fired: int


class GuestDetails(GuestSummary, kw_only=True):
    """A guest, with everything that can be changed while it runs."""

    #: Which qemu-ga it has: that for Linux, Windows or FreeBSD.
    platform: Literal["linux", "freebsd", "windows"]
    #: The guest's time since its scenario began, in seconds; reboots do not end it.
    uptime: float
    #: Whether the guest has opened its port, as QMP's VSERPORT_CHANGE tells; null: no port tells.
    port_is_open: bool | None
    #: Where clients of the machine's monitors (QMP) connect.
    qmp: list[str]
    #: What failed in qgasim itself, if something did.
    failure: str | None
    #: The network interfaces, as in a scenario.
    nics: list[dict[str, Any]]
    #: The disks, as in a scenario.
    disks: list[dict[str, Any]]
    #: The processors, as in a scenario.
    vcpus: list[dict[str, Any]]
    #: What is mounted, in that order: `path`, `device`, `type`, `is_frozen`.
    mounts: list[dict[str, Any]]
    #: The accounts by name, as in a scenario.
    users: dict[str, dict[str, Any]]
    #: Programs whose results are given, as in a scenario.
    programs: list[dict[str, Any]]
    #: Commands that the agent refuses.
    block_rpcs: list[str]
    #: Mistakes of real releases that were switched on or off.
    quirks: dict[str, str]


class NewGuest(Struct, kw_only=True):
    """A guest to be created."""

    #: What it is called: letters, digits, `.`, `_` and `-`; absent: it is numbered.
    name: str | None = None
    #: The name of a scenario that comes with qgasim, a scenario, or the YAML of one.
    scenario: str | dict[str, Any] = "debian-12"
    #: The release of qemu-ga; absent: the scenario's.
    agent: str | None = None
    #: Where clients connect: `unix:PATH`, `tcp:[HOST:]PORT` or `vsock:CID:PORT`; absent: a unix
    #: socket of its own.
    listen: str | None = None
    #: Where clients of the machine's monitors (QMP) connect, as `listen`.
    qmp: list[str] = field(default_factory=list[str])
    #: The seed of everything that is made up; absent: the scenario's.
    seed: int | None = None


def summarise(guest: ControlledGuest) -> GuestSummary:
    return GuestSummary(**_summary(guest))


def _summary(guest: ControlledGuest) -> dict[str, Any]:
    counts, simulation = guest.recorder.counts, guest.simulation
    return {
        "name": guest.name,
        "state": guest.state,
        "agent": simulation.agent.dialect.full_version,
        "hostname": simulation.guest.hostname,
        "address": guest.address,
        "seed": guest.live.blueprint.scenario.seed,
        "is_connected": guest.is_connected,
        "requests": counts.requests,
        "errors": counts.errors,
        "faults_fired": counts.faults.total(),
    }


def _mounts(guest: ControlledGuest) -> list[dict[str, Any]]:
    """Return what is mounted, without making the guest's files if that was not necessary yet."""
    machine = guest.simulation.guest
    if machine.has_files:
        return [_show_mount(mount) for mount in machine.files.mounts]
    return _mounts_at_birth(guest.live.blueprint)


@lru_cache(maxsize=64)
def _mounts_at_birth(blueprint: Blueprint) -> list[dict[str, Any]]:
    return [_show_mount(mount) for mount in blueprint.build().guest.files.mounts]


def _show_mount(mount: Mount) -> dict[str, Any]:
    volume = mount.volume
    return {
        "path": mount.path,
        "device": volume.device,
        "type": volume.kind,
        "is_frozen": volume.is_frozen,
    }


def describe(guest: ControlledGuest) -> GuestDetails:
    machine = guest.simulation.guest
    failure = guest.simulation.agent.failure
    known: dict[str, Any] = _summary(guest) | show_changeable(guest)
    known |= {
        "platform": machine.settings.os.family,
        "uptime": machine.clock.uptime() / SECOND,
        "port_is_open": guest.simulation.channel.port_is_open,
        "qmp": [name_address(each) for each in guest.qmp_addresses],
        "mounts": _mounts(guest),
        "failure": None if failure is None else repr(failure),
    }
    return GuestDetails(**known)


@route("GET /v1/guests", chapter=CHAPTER)
async def list_guests(control: Control) -> list[GuestSummary]:
    """List all guests, in the order in which they were created; then those that other processes serve."""
    found = [summarise(guest) for guest in control.guests.by_name.values()]
    for said in await control.remotes.describe():
        with suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(said, type=GuestSummary))
    return found


class NewRemote(Struct, kw_only=True):
    """A guest that another process serves."""

    #: What it is called there, and here.
    name: str
    #: Where the control API of that process is served: `unix:PATH` or `tcp:[HOST:]PORT`.
    control: str


class RemoteGuest(Struct, kw_only=True):
    """A guest that another process serves, and that is known here."""

    #: What it is called.
    name: str
    #: Where the control API of its process is served.
    control: str


@route(
    "POST /v1/remotes",
    chapter=CHAPTER,
    status=201,
    location="/v1/guests/{name}",
    problems={
        409: "There is a guest of this name.",
        424: "The process does not answer, or has no guest of this name.",
    },
)
async def attach(control: Control, body: NewRemote) -> RemoteGuest:
    """Register a guest that another process serves, as `qgasim-qemu` announces its own.

    It is listed here, what happens to it is in the stream of all guests, and all that is asked about it
    is passed on to that process, with the token of this one. When that process ends, so does the guest.
    """
    address = _parse_address("control", body.control)
    if isinstance(address, VsockAddress):
        raise HttpError(422, "control: expected unix:PATH or tcp:[HOST:]PORT")
    await control.remotes.attach(Remote(body.name, address))
    return RemoteGuest(name=body.name, control=name_address(address))


@route(
    "POST /v1/guests",
    chapter=CHAPTER,
    status=201,
    location="/v1/guests/{name}",
    problems={409: "There is a guest of this name, or the address cannot be listened on."},
)
def create(control: Control, body: NewGuest) -> GuestDetails:
    """Create a guest, and serve it.

    A scenario that is sent names no files of this machine, and extends only what comes with qgasim.
    """
    if body.name is not None and not _NAME.fullmatch(body.name):
        text = (
            f"not a guest's name: '{body.name[:100]}' (expected letters, digits, '.', '_' and '-')"
        )
        raise HttpError(422, f"name: {text}")
    with refusing():
        start = Start(
            blueprint=make_blueprint(body.scenario, body.agent, body.seed),
            address=None if body.listen is None else _parse_address("listen", body.listen),
            qmp=tuple(_parse_address("qmp", text) for text in body.qmp),
        )
        return describe(control.guests.add(body.name, start))


def _parse_address(name: str, text: str) -> UnixAddress | TcpAddress | VsockAddress:
    try:
        address = parse_address(text)
    except ValueError as error:
        raise HttpError(422, f"{name}: {error}") from None
    if isinstance(address, Stdio):
        text = "only the guest with which qgasim was started can be on stdio"
        raise HttpError(422, f"{name}: {text}")
    return address


@route("GET /v1/guests/{name}", chapter=CHAPTER)
def read(control: Control, name: str) -> GuestDetails:
    """Describe a guest."""
    return describe(control.guest(name))


@route("PATCH /v1/guests/{name}", chapter=CHAPTER)
def patch_guest(
    control: Control, name: str, body: Annotated[dict[str, Any], Said(Changeable, is_partial=True)]
) -> GuestDetails:
    """Change a guest while it runs, by a merge patch (RFC 7396).

    What can be changed are the members that a scenario has, too: `hostname`, `nics`, `disks`, `vcpus`,
    `users`, `programs`, `block_rpcs` and `quirks`. Lists are replaced as a whole. The last two restart
    the agent, as they would a real one.
    """
    guest = control.guest(name)
    with refusing():
        patch(guest, body)
    return describe(guest)


@route("DELETE /v1/guests/{name}", chapter=CHAPTER)
def delete(control: Control, name: str) -> None:
    """Delete a guest.

    Its client is hung up on, its streams end, and requests that wait for it are answered with 410.
    """
    control.guests.delete(name)


@route("POST /v1/guests/{name}/reset", chapter=CHAPTER)
def reset(control: Control, name: str) -> GuestDetails:
    """Begin again with a new guest of the same scenario at the same address.

    The journal is empty then, and what was injected, stubbed and changed since is gone.
    """
    guest = control.guest(name)
    with refusing():
        guest.reset()
    return describe(guest)


class ScenarioQuery(Struct, kw_only=True):
    """How a scenario is written."""

    #: The format.
    format: Literal["yaml", "json"] = "yaml"


@route(
    "GET /v1/guests/{name}/scenario",
    chapter=CHAPTER,
    produces="application/yaml",
    alternatives=("application/json",),
)
def scenario(control: Control, name: str, query: ScenarioQuery) -> Answer:
    """Return the scenario that the guest was made of, with everything decided that it left open."""
    text = to_yaml(control.guest(name).live.blueprint.scenario)
    if query.format == "yaml":
        return Answer(body=text.encode("utf-8", "surrogateescape"), media_type="application/yaml")
    said = read_yaml(text, Any, "scenario")
    return Answer(body=msgspec.json.encode(said), media_type="application/json")
