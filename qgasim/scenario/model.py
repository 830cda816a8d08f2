"""What a scenario is: its keys, and the guest and agent that are made of it.

The ``#:`` comments become the reference page and the descriptions in the JSON Schema.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, TypeAlias

from msgspec import Struct, field, structs

from qgasim.agent import AgentOptions
from qgasim.agent.personality import Personality
from qgasim.agent.stubs import Stub
from qgasim.commands import ALL_COMMANDS
from qgasim.commands.storage import begin_frozen
from qgasim.dialect import Switch, find_dialect, with_quirks
from qgasim.errors import ScenarioError, SettingsError
from qgasim.faults import AnyFault, is_of_monitor
from qgasim.guest import Guest, GuestSettings
from qgasim.guest.system.clock import host_clock
from qgasim.guest.units import Duration
from qgasim.qmp import MachineSettings
from qgasim.scenario.checks import check
from qgasim.scenario.conform import conform
from qgasim.scenario.document import say
from qgasim.scenario.fill import fill
from qgasim.scenario.nemesis import Nemesis, describe_random_events, draw
from qgasim.scenario.records import check_records
from qgasim.scenario.shares import Share, open_shares
from qgasim.scenario.sources import embed
from qgasim.simulation.channel import WRITE_SIZE, ChannelKind
from qgasim.simulation.simulation import Simulation
from qgasim.simulation.timeline import AnyEvent, Timeline
from qgasim.userland import USERLANDS

__all__ = [
    "AgentSettings",
    "Blueprint",
    "Scenario",
    "Severity",
    "remember_place",
    "remember_places",
    "tell_wrong",
]


#: How bad a mistake is for a client's users.
Severity: TypeAlias = Literal["low", "medium", "high"]


class AgentSettings(Struct, kw_only=True, forbid_unknown_fields=True):
    """The simulated agent: its release and how it was started."""

    #: The release of qemu-ga: ``7.2``, a full version such as ``7.2.22``, or ``latest``.
    release: str = "7.2"
    #: Mistakes of real releases, switched on or off; those not named are as the release has them.
    quirks: dict[str, Switch] = field(default_factory=dict[str, Switch])
    #: What lies between client and agent.
    channel: ChannelKind = "virtio-serial"
    #: What lies in a serial channel when the first client connects: a character from U+0000 to U+00FF
    #: is a byte.
    stale_bytes: str = ""
    #: Whether a serial channel gives what one client left unread to the next, as the buffers of some
    #: hypervisors do.
    keep_unread: bool = False
    #: How many bytes of a reply the agent writes at once: qemu-ga 2047, on every channel. A longer reply
    #: arrives in pieces.
    write_size: int = WRITE_SIZE
    #: Whether file systems are frozen from the beginning, as a client leaves them that froze and never thawed.
    is_frozen: bool = False
    #: Whether the agent reads a request only when its line has ended, as Apple's does.
    needs_newline: bool = False
    #: Commands that the agent refuses; names that it does not know are ignored, as qemu-ga does.
    block_rpcs: list[str] = field(default_factory=list[str])
    #: If there are any, the only commands that the agent does not refuse.
    allow_rpcs: list[str] = field(default_factory=list[str])
    #: The guest's script of ``--fsfreeze-hook``.
    fsfreeze_hook: str | None = None
    #: How long after its end the agent is started again; at once, as by Debian's systemd unit
    #: (``RestartSec=0``), if not given.
    respawn: Duration | Literal["never"] = 0
    #: What an agent that is not qemu-ga does differently.
    personality: Personality = field(default_factory=Personality)


class Scenario(Struct, kw_only=True, forbid_unknown_fields=True, dict=True):
    """A guest and its agent."""

    #: Version of the scenario language.
    qgasim: Literal[1] = 1
    #: What this scenario is about, in a line or more.
    description: str = ""
    #: Where the behaviour was seen.
    origin: str = ""
    #: What it is about, in words by which it is chosen: ``qgasim scenarios --tag``, ``qgasim drill --tag``.
    tags: list[str] = field(default_factory=list[str])
    #: What a client does to its users that gets it wrong: ``high``: a guest or data is lost, a guest
    #: stays frozen, or something wrong is acted upon; ``medium``: the client hangs, fails, or reports
    #: what is not so; ``low``: it is slower, or shows less than it could.
    severity: Severity | None = None
    #: What a careful client does, in a sentence.
    expect: str = ""
    #: The scenario that this one changes: a name or a path relative to this file.
    extends: str | None = None
    #: Everything that is made up or left to chance follows from it.
    seed: int = 0
    #: The agent.
    agent: AgentSettings = field(default_factory=AgentSettings)
    #: The virtual machine.
    guest: GuestSettings = field(default_factory=GuestSettings)
    #: The QEMU around it, as its monitor (QMP) shows it; absent: nothing does.
    machine: MachineSettings | None = None
    #: What is answered without asking the guest; the first stub that matches a request answers it.
    replies: list[Stub] = field(default_factory=list[Stub])
    #: What goes wrong; faults that fire on the same request do so in this order.
    faults: list[AnyFault] = field(default_factory=list[AnyFault])
    #: Faults drawn by chance, besides.
    nemesis: Nemesis | None = None
    #: What happens, and when.
    timeline: list[AnyEvent] = field(default_factory=list[AnyEvent])
    #: Several guests, by name: each is merged into everything else here (or extends a scenario of its
    #: own), and is called and seeded differently. ``web{1..20}`` names twenty.
    fleet: "dict[str, Scenario]" = field(default_factory=dict[str, "Scenario"])

    def build(
        self, source: Callable[[], int] = host_clock, shares: Iterable[Share] = ()
    ) -> Simulation:
        """Make the guest, its agent and the way to it.

        Args:
            source: a monotonic clock in ns that the guest's clocks follow.
            shares: folders of the host that the guest is to have.

        Raises:
            ScenarioError: the scenario cannot be built.
        """
        return Blueprint(self).build(source, shares)

    def filled(self) -> "Scenario":
        """Return the scenario with everything decided that it leaves open."""
        if self.fleet:
            fleet = {name: guest.filled() for name, guest in self.fleet.items()}
            return structs.replace(self, fleet=fleet)
        return structs.replace(
            self,
            guest=fill(self.guest, self.seed),
            faults=[*self.faults, *self.drawn()],
            nemesis=None,
        )

    def guests(self) -> "dict[str, Scenario]":
        """Return the scenario of each guest of a fleet, by name; without a fleet, this one, as ''."""
        return self.fleet or {"": self}

    def drawn(self) -> list[AnyFault]:
        """Return the faults that the nemesis draws."""
        return draw(self.nemesis, self.seed) if self.nemesis else []


def remember_places(scenario: Scenario, place_at: Callable[[str], str]) -> None:
    """Keep where each part of a scenario stands in its file, for what is found wrong later."""
    vars(scenario)["place_at"] = place_at


def remember_place(scenario: Scenario, path: str, place: str) -> None:
    """Keep that what is at *path* now is from another *place*, as ``--agent``."""
    before = _place_at(scenario)
    remember_places(scenario, lambda at: place if at.split("[")[0] == path else before(at))


def _place_at(scenario: Scenario) -> Callable[[str], str]:
    found: Callable[[str], str] | None = vars(scenario).get("place_at")
    return found or (lambda _path: "")


def tell_wrong(scenario: Scenario, wrong: Sequence[tuple[str, str]]) -> ScenarioError:
    """Make the error that says what is *wrong*: the paths, and what is wrong there."""
    place_at = _place_at(scenario)
    lines: list[str] = []
    for path, text in wrong:
        place = place_at(path)
        lines.append(f"{place}: {say(path, text)}" if place else say(path, text))
    return ScenarioError("\n".join(lines))


class Blueprint:
    """A scenario with nothing wrong and nothing left open: it makes one guest after the other.

    Raises:
        ScenarioError: the scenario cannot be built.
    """

    def __init__(self, scenario: Scenario) -> None:
        if scenario.fleet:
            names = ", ".join(list(scenario.fleet)[:3])
            raise ScenarioError(f"a fleet is several guests (expected one of them: {names}, ...)")
        wrong = list(conform(scenario, Scenario))
        if not wrong:
            wrong = [*check(scenario), *embed(scenario.guest.files, lambda _: "")]
        if wrong:
            raise tell_wrong(scenario, wrong)
        self._original = scenario
        settings = scenario.agent
        dialect = find_dialect(settings.release)
        assert dialect, "it was checked"
        self.scenario = scenario.filled()
        self._drawn = scenario.drawn()
        self.dialect = with_quirks(dialect, settings.quirks)
        if settings.personality.version is not None:
            version = settings.personality.version
            self.dialect = structs.replace(self.dialect, full_version=version)
        self.options = AgentOptions(
            block_rpcs=tuple(settings.block_rpcs),
            allow_rpcs=tuple(settings.allow_rpcs),
            fsfreeze_hook=settings.fsfreeze_hook,
            respawn=None if settings.respawn == "never" else settings.respawn,
            needs_newline=settings.needs_newline,
            stubs=tuple(scenario.replies),
            faults=tuple(f for f in self.scenario.faults if not is_of_monitor(f.on)),
            seed=scenario.seed,
            personality=settings.personality,
        )
        #: Whether a guest was made of it, with all its files.
        self._is_proven = False

    def build(
        self, source: Callable[[], int] = host_clock, shares: Iterable[Share] = ()
    ) -> Simulation:
        """Make a guest, its agent and the way to it.

        Args:
            source: a monotonic clock in ns that the guest's clocks follow.
            shares: folders of the host that the guest is to have.

        Raises:
            ScenarioError: its files cannot be made, or a folder cannot be shared.
        """
        scenario = self.scenario
        shared = open_shares(shares)
        try:
            guest = Guest(
                scenario.guest,
                USERLANDS[scenario.guest.os.userland],
                seed=scenario.seed,
                source=source,
                has_late_files=self._is_proven and not shared,
                shares=shared,
            )
        except SettingsError as error:
            # What depends on the files: no check can tell it beforehand.
            raise tell_wrong(self._original, [(f"guest.{error.path}", error.text)]) from None
        except OSError as error:
            raise ScenarioError(f"guest: {error.filename}: {error.strerror}") from None
        guest.check_records = check_records
        self._is_proven = True
        simulation = Simulation(
            guest,
            self.dialect,
            ALL_COMMANDS,
            self.options,
            channel=scenario.agent.channel,
            stale_bytes=scenario.agent.stale_bytes.encode("latin-1"),
            keeps_unread=scenario.agent.keep_unread,
            write_size=scenario.agent.write_size,
            describe_random_events=partial(describe_random_events, self._drawn, scenario.seed),
            machine=scenario.machine,
            machine_faults=[f for f in scenario.faults if is_of_monitor(f.on)],
        )
        if scenario.agent.is_frozen:
            begin_frozen(simulation.agent)
        if scenario.timeline:
            Timeline(scenario.timeline, simulation)
        return simulation
