"""A survey as a scenario: the nearest guest that comes with qgasim, with all that the survey tells instead."""

import re
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache, partial
from typing import Final, Literal

from msgspec import Struct, field, structs

from qgasim import DEFAULT_SCENARIO
from qgasim.commands import ALL_COMMANDS
from qgasim.compare.survey import Survey as Listing
from qgasim.compare.survey import disable_the_same, nearest_release
from qgasim.dialect import OLDEST, RELEASES, find_dialect
from qgasim.errors import ScenarioError
from qgasim.guest.settings import GuestSettings, OsSettings
from qgasim.record.network import has_no_prefixes, make_nics
from qgasim.record.storage import make_posix_storage, make_windows_storage
from qgasim.record.survey import Survey
from qgasim.record.system import (
    make_clock,
    make_devices,
    make_hostname,
    make_load,
    make_logins,
    make_memory,
    make_os,
    make_vcpus,
)
from qgasim.scenario import Scenario, load

__all__ = ["Draft", "draft"]

#: The guests to extend.
_BASES: Final = (
    "debian-12", "ubuntu-24.04", "fedora-43", "rhel-9", "rhel-10", "alpine-3.20", "haos", "freebsd-14",
    "windows-server-2022", "windows-11",
)  # fmt: skip
Family = Literal["linux", "freebsd", "windows"]
Make = Callable[[GuestSettings, Survey], None]


class Draft(Struct):
    """A scenario that is to answer as a survey tells."""

    #: The guest that it extends.
    base: str
    scenario: Scenario
    #: What had to be assumed, and what could not be said.
    notes: list[str] = field(default_factory=list[str])


def draft(survey: Survey, *, release: str | None = None) -> Draft:
    """Make a scenario of a survey.

    Args:
        survey: without what is private.
        release: that of the agent; absent: the one that it says it is.

    Raises:
        ScenarioError: the base cannot be built.
    """
    name = _choose_base(survey)
    made = Draft(name, load(name))
    _take_agent(made, survey, release)
    is_windows = made.scenario.guest.os.family == "windows"
    storage = make_windows_storage if is_windows else make_posix_storage
    parts: dict[str, Make] = {
        "the system": make_os,
        "the host name": make_hostname,
        "the clock": make_clock,
        "the processors": make_vcpus,
        "the memory": make_memory,
        "disks and file systems": storage,
        "the network": make_nics,
        "logins": make_logins,
        "the load": make_load,
        "devices": make_devices,
    }
    made.scenario.build()
    for what, make in parts.items():
        _take_part(made, survey, what, make)
    if has_no_prefixes(survey):
        made.scenario.agent.quirks = {**made.scenario.agent.quirks, "no_prefixes": "on"}
    return made


def _take_part(made: Draft, survey: Survey, what: str, make: Make) -> None:
    """Take a part of the guest from a survey; if the guest cannot be built so, that of the base stays."""
    changed = structs.replace(made.scenario, guest=deepcopy(made.scenario.guest))
    try:
        make(changed.guest, survey)
        if changed.guest == made.scenario.guest:
            return
        changed.build()
    except ScenarioError as error:
        why = str(error).partition("\n")[0]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # A reply that has not the form of its command.
        why = f"a reply has another form than qemu-ga's ({type(error).__name__}: {error})"
    else:
        made.scenario = changed
        return
    made.notes.append(f"{what} cannot be told as a guest's: {why}")


# -- the base --------------------------------------------------------------------------------------


def _choose_base(survey: Survey) -> str:
    """Choose the guest that has the most in common with the one that was asked."""
    family, told = _family_of(survey), survey.object("guest-get-osinfo")
    best, chosen = (0, 0, 0, 0), DEFAULT_SCENARIO
    for name in _BASES:
        system = _system_of(name)
        release = system.release or {}
        likeness = (
            int(system.family == family),
            int(release.get("ID") == told.get("id") is not None),
            int(release.get("VERSION_ID") == told.get("version-id")),
            int(system.is_server == (told.get("variant-id") == "server")),
        )
        if likeness > best:
            best, chosen = likeness, name
    return chosen


@lru_cache(maxsize=len(_BASES))
def _system_of(name: str) -> OsSettings:
    return load(name).guest.os


def _family_of(survey: Survey) -> Family:
    told = survey.object("guest-get-osinfo")
    if told:
        if told.get("id") == "mswindows":
            return "windows"
        return "freebsd" if str(told.get("kernel-version", "")).startswith("FreeBSD") else "linux"
    names = [str(each.get("name")) for each in survey.objects("guest-get-disks") or []]
    places = [str(each.get("mountpoint")) for each in survey.objects("guest-get-fsinfo") or []]
    nics = [str(each.get("name")) for each in survey.objects("guest-network-get-interfaces") or []]
    if any(re.match(r"[A-Z]:\\|\\\\", each) for each in names + places):
        return "windows"
    if any(re.match("Ethernet|Local Area|Loopback", each) for each in nics):
        return "windows"
    return "freebsd" if any(re.match(r"vtnet\d|lo0", each) for each in nics) else "linux"


# -- the agent -------------------------------------------------------------------------------------


def _take_agent(made: Draft, survey: Survey, release: str | None) -> None:
    settings = made.scenario.agent
    version = survey.version
    if release is not None:
        settings.release = release
    elif version is None:
        if any(answer.command == "guest-info" for answer in survey.answers):
            text = f"guest-info does not tell the agent's release: {settings.release} is assumed"
        else:
            text = f"guest-info is not among the replies: release {settings.release} is assumed"
        made.notes.append(f"{text} (--agent names another)")
    elif find_dialect(version) is not None:
        settings.release = version
    else:
        settings.release = _nearest(survey, version, made.scenario.guest.os.family)
        text = f"release {version!r} is unknown to qgasim; simulated is {settings.release}"
        made.notes.append(f"{text} (--agent names another)")
    dialect = find_dialect(settings.release)
    is_other = version is not None and dialect is not None and dialect.full_version != version
    settings.personality = structs.replace(
        settings.personality, version=version if is_other else None
    )
    if survey.commands is not None:
        _take_commands(made, survey)


def _nearest(survey: Survey, version: str, family: Family) -> str:
    """Return the release that is most like one of which qgasim knows nothing: by its commands, then its number."""
    found = re.match(r"\d+", version)
    nearest = nearest_release(int(found[0]) if found else 0)
    listed = survey.commands or {}
    # How many commands each release has not, and how many it has too many: a list may be shortened.
    unlike = {
        release: (len(listed.keys() - names), len(names - listed.keys()))
        for release in (OLDEST, *RELEASES)
        if (dialect := find_dialect("{}.{}".format(*release)))
        for names in [{each.name for each in ALL_COMMANDS if each.is_in(dialect, family)}]
    }
    best = min(unlike, key=lambda release: unlike[release])
    if nearest in unlike and unlike[nearest][0] == unlike[best][0]:
        best = nearest
    return "{}.{}".format(*best)


def _take_commands(made: Draft, survey: Survey) -> None:
    """Offer the commands that guest-info lists, and refuse those that it reports as disabled."""
    listed = survey.commands or {}
    scenario = made.scenario
    disable = partial(disable_the_same, scenario, Listing(None, listed, None, None), [])
    try:
        agent = scenario.build().agent
    except ScenarioError:
        # The base allows what another release cannot be told to allow.
        disable()
        agent = scenario.build().agent
    refused = {name for name in listed if not listed[name].is_enabled}
    if set(agent.commands.refused) & listed.keys() != refused & agent.commands.table.keys():
        disable()
    # Without the last one an agent could not be asked: the list was shortened.
    there = {*listed, "guest-sync-delimited"}
    lacks = tuple(name for name in agent.commands.table if name not in there)
    scenario.agent.personality = structs.replace(scenario.agent.personality, lacks=lacks)
    if more := [name for name in listed if name not in agent.commands.table]:
        made.notes.append(f"commands that qgasim does not know of this release: {', '.join(more)}")
