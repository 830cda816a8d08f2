"""What can be changed of a guest while it runs, by a merge patch (RFC 7396)."""

import re
from collections.abc import Callable
from typing import Any, Final, cast

from msgspec import Struct, structs

from qgasim.control.guests import ControlledGuest
from qgasim.dialect import QUIRKS, Dialect, Switch, find_dialect, with_quirks
from qgasim.errors import ScenarioError
from qgasim.guest.clone import NamedList, clone
from qgasim.guest.hardware.devices import Disk, Vcpu
from qgasim.guest.hardware.network import Nic, derive_mac
from qgasim.guest.machine import make_vcpus
from qgasim.guest.settings import ProgramSettings
from qgasim.guest.setup import change_programs, change_users
from qgasim.guest.system.accounts import Account
from qgasim.scenario import read_value
from qgasim.scenario.checks import check_struct
from qgasim.scenario.dump import written
from qgasim.suggestions import did_you_mean

__all__ = ["Changeable", "merge_patch", "patch", "show_changeable"]


class Changeable(Struct, kw_only=True):
    """What can be changed of a guest while it runs; each as in a scenario."""

    #: The host name.
    hostname: str
    #: The network interfaces.
    nics: list[Nic]
    #: The disks.
    disks: list[Disk]
    #: The processors: how many, or a list.
    vcpus: int | list[Vcpu]
    #: The accounts, by name.
    users: dict[str, Account]
    #: Programs whose results are given.
    programs: list[ProgramSettings]
    #: Commands that the agent refuses; to change them restarts it.
    block_rpcs: list[str]
    #: Mistakes of real releases, switched on or off; to change them restarts the agent.
    quirks: dict[str, Switch]


def _look(guest: ControlledGuest) -> Changeable:
    machine, agent = guest.simulation.guest, guest.simulation.agent
    return Changeable(
        hostname=machine.hostname,
        nics=machine.nics,
        disks=machine.disks,
        vcpus=machine.vcpus,
        users=machine.settings.users,
        programs=machine.settings.programs,
        block_rpcs=list(agent.options.block_rpcs),
        quirks=guest.quirks,
    )


def show_changeable(guest: ControlledGuest) -> dict[str, Any]:
    """Return what can be changed as a scenario would say it."""
    return cast("dict[str, Any]", written(_look(guest), Changeable))


def merge_patch(document: Any, changes: Any) -> Any:
    """Return *document* with *changes*, as RFC 7396 says."""
    if not isinstance(changes, dict):
        return changes
    result: dict[str, Any] = (
        dict(cast("dict[str, Any]", document)) if isinstance(document, dict) else {}
    )
    for name, value in cast("dict[str, Any]", changes).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def patch(guest: ControlledGuest, changes: dict[str, Any]) -> None:
    """Change a guest that runs.

    Raises:
        ScenarioError: it cannot be so, or cannot be changed; nothing is.
        OSError: a file of the guest cannot be written.
    """
    before = show_changeable(guest)
    for name, value in changes.items():
        if value is None and name in before:
            raise ScenarioError(f"{name}: cannot be removed (give what it is to be)")
    wanted: Changeable = read_value(merge_patch(before, changes), Changeable, "guest")
    for name in wanted.quirks:
        if name not in QUIRKS:
            raise ScenarioError(f"quirks.{name}: no such quirk{did_you_mean(name, QUIRKS)}")
    said = written(wanted, Changeable)
    changed = [name for name in changes if name in before and before[name] != said[name]]
    _check(guest, wanted, changed)

    def change() -> None:
        for name in changed:
            _CHANGES[name](guest, getattr(wanted, name))

    try:
        guest.call(change)
    except (TypeError, ValueError) as error:
        raise ScenarioError(str(error)) from None
    if changed:
        guest.live.journal.note(f"changed: {', '.join(changed)}")
        guest.recorder.tell("patched")


def _check(guest: ControlledGuest, wanted: Changeable, changed: list[str]) -> None:
    """Refuse what a scenario could not say of a whole guest, as a name that is there twice."""
    known = {name: getattr(wanted, name) for name in _SETTINGS}
    settings = structs.replace(guest.simulation.guest.settings, **known)
    for path, text in check_struct(settings):
        if re.split(r"[.\[]", path)[0] in changed:
            raise ScenarioError(f"{path}: {text}")


# -- each of them ------------------------------------------------------------------------------------


def _change_hostname(guest: ControlledGuest, hostname: str) -> None:
    guest.simulation.guest.hostname = hostname


def _change_nics(guest: ControlledGuest, nics: list[Nic]) -> None:
    for nic in nics:
        derive_mac(nic, nics)
    guest.simulation.guest.nics = NamedList(nics)


def _change_disks(guest: ControlledGuest, disks: list[Disk]) -> None:
    guest.simulation.guest.disks = NamedList(clone(disks))


def _change_vcpus(guest: ControlledGuest, vcpus: int | list[Vcpu]) -> None:
    guest.simulation.guest.vcpus = make_vcpus(vcpus)


def _change_users(guest: ControlledGuest, users: dict[str, Account]) -> None:
    change_users(guest.simulation.guest, users)


def _change_programs(guest: ControlledGuest, programs: list[ProgramSettings]) -> None:
    change_programs(guest.simulation.guest, programs)


def _change_block_rpcs(guest: ControlledGuest, names: list[str]) -> None:
    guest.simulation.agent.block(names)


def _change_quirks(guest: ControlledGuest, quirks: dict[str, Switch]) -> None:
    agent = guest.simulation.agent
    guest.quirks = quirks
    agent.upgrade(with_quirks(_plain_dialect(guest, agent.dialect), quirks))


def _plain_dialect(guest: ControlledGuest, dialect: Dialect) -> Dialect:
    """Return the release that the agent is now, without quirks."""
    version = "{}.{}".format(*dialect.version[:2])
    release = guest.live.blueprint.scenario.agent.release
    plain = find_dialect(release)
    if plain is None or plain.version[:2] != dialect.version[:2]:
        plain = find_dialect(version)
    assert plain is not None, "the agent has it"
    return structs.replace(plain, full_version=dialect.full_version)


#: The keys that are settings of a guest, and not of its agent.
_SETTINGS: Final = ("hostname", "nics", "disks", "vcpus", "users", "programs")
_CHANGES: Final[dict[str, Callable[[ControlledGuest, Any], None]]] = {
    "hostname": _change_hostname,
    "nics": _change_nics,
    "disks": _change_disks,
    "vcpus": _change_vcpus,
    "users": _change_users,
    "programs": _change_programs,
    "block_rpcs": _change_block_rpcs,
    "quirks": _change_quirks,
}
