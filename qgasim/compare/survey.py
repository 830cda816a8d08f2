"""What the real agent says that it is, and which simulated one is to be compared with it."""

from typing import Any, Final

from msgspec import Struct

from qgasim import DEFAULT_SCENARIO
from qgasim.client.blocking import parse
from qgasim.compare.connection import Asked
from qgasim.dialect import FULL_VERSIONS, OLDEST, find_dialect
from qgasim.errors import ClientError
from qgasim.scenario import Scenario, library, load
from qgasim.simulation.simulation import Simulation
from qgasim.wire import is_array, is_object

__all__ = [
    "GUESTS",
    "Listed",
    "Survey",
    "build_like",
    "choose_release",
    "disable_the_same",
    "look",
    "nearest_release",
    "read_commands",
    "read_return",
    "survey",
]

#: The shipped guest that is most like a system, by what guest-get-osinfo calls it.
GUESTS: Final = {
    "alpine": "alpine-3.20",
    "fedora": "fedora-43",
    "freebsd": "freebsd-14",
    "mswindows": "windows-server-2022",
    "rhel": "rhel-9",
    "ubuntu": "ubuntu-24.04",
}


class Listed(Struct, frozen=True):
    """A command as guest-info lists it."""

    is_enabled: bool
    replies: bool


class Survey(Struct, frozen=True):
    """What an agent says of itself; None: it does not say."""

    version: str | None
    commands: dict[str, Listed] | None
    system: str | None
    system_id: str | None
    #: Whether its guest is frozen: then it does not say which system that is.
    is_frozen: bool = False

    @property
    def disabled(self) -> list[str]:
        """The commands that the agent has and refuses."""
        return [name for name, listed in (self.commands or {}).items() if not listed.is_enabled]


def read_return(answer: bytes) -> Any:
    """Return what the first line of an answer returns; None if it is no reply, or an error."""
    return parse(answer.partition(b"\n")[0]).get("return")


def _read_object(answer: bytes) -> dict[str, Any]:
    found = read_return(answer)
    return found if is_object(found) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def read_commands(info: dict[str, Any]) -> dict[str, Listed] | None:
    """Return the commands that guest-info lists, by name; None: it lists none."""
    listed = info.get("supported_commands")
    if not is_array(listed):
        return None
    return {
        str(entry.get("name")): Listed(
            bool(entry.get("enabled")), bool(entry.get("success-response", True))
        )
        for entry in filter(is_object, listed)
    }


def survey(agent: Asked) -> Survey:
    """Ask an agent for its version, commands and guest.

    Raises:
        ClientError: it does not answer, or is frozen.
    """
    found = look(agent)
    if found.is_frozen:
        raise ClientError("the guest is frozen, and so refuses most commands: thaw it first")
    return found


def look(agent: Asked) -> Survey:
    """Ask an agent for its version, commands and guest, as far as it answers.

    Raises:
        ClientError: it does not answer.
    """
    info = _read_object(agent.ask((b'{"execute":"guest-info"}',)))
    is_frozen = read_return(agent.ask((b'{"execute":"guest-fsfreeze-status"}',))) == "frozen"
    asked = b"" if is_frozen else agent.ask((b'{"execute":"guest-get-osinfo"}',))
    system = _read_object(asked)
    return Survey(
        _text(info.get("version")),
        read_commands(info),
        _text(system.get("pretty-name")) or _text(system.get("name")),
        _text(system.get("id")),
        is_frozen,
    )


def build_like(
    found: Survey, *, scenario: str | None, release: str | None, notes: list[str]
) -> tuple[str, Simulation]:
    """Build what is compared with the agent *found*: the scenario's name, and the way to its agent.

    It is of the same release and has the same commands disabled. What had to be assumed is put into
    *notes*.

    Raises:
        ClientError: it is not known which release to simulate.
        ScenarioError: the scenario cannot be built.
    """
    known = library()
    guest = GUESTS.get(found.system_id or "", DEFAULT_SCENARIO)
    name = scenario or (guest if guest in known else DEFAULT_SCENARIO)
    loaded = load(name)
    loaded.agent.release = release or choose_release(found, notes)
    if found.commands is not None:
        disable_the_same(loaded, found, notes)
    return name, loaded.build()


def choose_release(found: Survey, notes: list[str]) -> str:
    """Return the release to simulate; put into *notes* what had to be assumed.

    Raises:
        ClientError: the agent does not tell which it is.
    """
    if found.version is None:
        raise ClientError("guest-info does not tell the agent's release: name one with --agent")
    if find_dialect(found.version) is not None:
        return found.version
    number = found.version.split(".")[0]
    nearest = "{}.{}".format(*nearest_release(int(number) if number.isdecimal() else 0))
    notes.append(
        f"release {found.version!r} is unknown to qgasim; simulated is {nearest} (--agent names another)"
    )
    return nearest


def nearest_release(number: int) -> tuple[int, int]:
    """Return the release that is most like an unknown one whose version begins with *number*."""
    # virtio-win's builds count from 100 on. UNVERIFIED: of which releases of QEMU they are made; from 109 on
    # one is refused in the words of 9.1 when frozen (tp-qemu 0655fa443).
    if number >= 100:
        return (9, 1) if number >= 109 else (8, 2)
    # Of the oldest's number, all that are unknown are older.
    if number <= OLDEST[0]:
        return OLDEST
    return max(release for release in FULL_VERSIONS if release[0] <= number)


def disable_the_same(scenario: Scenario, found: Survey, notes: list[str]) -> None:
    """Block the same commands: that is how an agent was set up, and no difference between agents."""
    _, before = _commands(scenario)
    scenario.agent.allow_rpcs = []
    scenario.agent.block_rpcs = []
    known, unsupported = _commands(scenario)
    disabled = known & set(found.disabled)
    scenario.agent.block_rpcs = sorted(disabled)
    for text, names in (
        ("disabled in the real agent, so in the simulated one, too", disabled - before),
        ("disabled in the scenario, but not here", before - disabled - unsupported),
    ):
        if names:
            notes.append(f"{text}: {', '.join(sorted(names))}")


def _commands(scenario: Scenario) -> tuple[set[str], set[str]]:
    """Return the commands of a scenario's agent, and those of them that it refuses."""
    agent = scenario.build().agent
    return set(agent.commands.table), set(agent.commands.refused)
