"""Scenarios: what a user writes, and the agent that it makes.

A `Scenario` is a Struct whose fields are the keys of the YAML file; `load` reads one from a file, by
path or by the name of one that comes with qgasim.
"""

import fnmatch
import json
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from msgspec import Struct, field, structs
from yaml.nodes import MappingNode, Node, ScalarNode

from qgasim.agent import Agent, AgentOptions
from qgasim.channel import Channel, ChannelKind, make_channel
from qgasim.commands import ALL_COMMANDS
from qgasim.dialect import LATEST, OLDEST, QUIRKS, Switch, find_dialect, with_quirks
from qgasim.errors import ScenarioError
from qgasim.faults import AnyFault
from qgasim.guest import Guest, GuestSettings
from qgasim.guest.clock import host_clock
from qgasim.guest.units import Duration
from qgasim.matching import Match
from qgasim.personality import Personality
from qgasim.scenario.checks import CHECKS, Wrong, check, checks, count_up, did_you_mean, join
from qgasim.scenario.decode import Decoder
from qgasim.scenario.document import compose, merge, place_of, plain_value
from qgasim.scenario.fault_checks import FAULT_CHECKS
from qgasim.scenario.fill import fill
from qgasim.scenario.nemesis import Nemesis, draw, tell
from qgasim.scenario.shares import Share, open_shares
from qgasim.scenario.sources import embed
from qgasim.snapshot import NAMED_LIMIT
from qgasim.stubs import Stub
from qgasim.timeline import (
    Addresses,
    AgentUpgrades,
    AnyEvent,
    ClockDrifts,
    DiskFills,
    Event,
    FaultOff,
    FaultOn,
    NicAppears,
    NicDisappears,
    ProcessEnds,
    Revert,
    TakeSnapshot,
    Timeline,
)

__all__ = [
    "AgentSettings",
    "Blueprint",
    "Scenario",
    "find_scenario",
    "library",
    "load",
    "loads",
    "read_value",
]


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
    #: Whether the agent reads a request only when its line has ended, as Apple's does.
    needs_newline: bool = False
    #: Commands that the agent refuses.
    block_rpcs: list[str] = field(default_factory=list[str])
    #: If there are any, the only commands that the agent does not refuse.
    allow_rpcs: list[str] = field(default_factory=list[str])
    #: The guest's script of ``--fsfreeze-hook``.
    fsfreeze_hook: str | None = None
    #: How long after its end the agent is started again.
    respawn: Duration | Literal["never"] = 100_000_000
    #: What an agent that is not qemu-ga does differently.
    personality: Personality = field(default_factory=Personality)


class Scenario(Struct, kw_only=True, forbid_unknown_fields=True):
    """A guest and its agent."""

    #: Version of the scenario language.
    qgasim: Literal[1] = 1
    #: What this scenario is about, in a line or more.
    description: str = ""
    #: Where the behaviour was seen.
    origin: str = ""
    #: The scenario that this one changes: a name or a path relative to this file.
    extends: str | None = None
    #: Everything that is made up or left to chance follows from it.
    seed: int = 0
    #: The agent.
    agent: AgentSettings = field(default_factory=AgentSettings)
    #: The virtual machine.
    guest: GuestSettings = field(default_factory=GuestSettings)
    #: What is answered without asking the guest; the first stub that matches a request answers it.
    replies: list[Stub] = field(default_factory=list[Stub])
    #: What goes wrong; faults that strike together do so in this order.
    faults: list[AnyFault] = field(default_factory=list[AnyFault])
    #: Faults drawn by chance, besides.
    nemesis: Nemesis | None = None
    #: What happens, and when.
    timeline: list[AnyEvent] = field(default_factory=list[AnyEvent])

    def build(
        self, source: Callable[[], int] = host_clock, shares: Iterable[Share] = ()
    ) -> Channel:
        """Make the guest, its agent and the way to it.

        Args:
            source: a monotonic clock in ns that the guest's clocks follow.
            shares: folders of the host that the guest is to have.

        Raises:
            ScenarioError: the scenario cannot be built.
        """
        return Blueprint(self).build(source, shares)

    def filled(self) -> "Scenario":
        """Give the scenario with everything decided that it leaves open."""
        return structs.replace(
            self,
            guest=fill(self.guest, self.seed),
            faults=[*self.faults, *self.drawn()],
            nemesis=None,
        )

    def drawn(self) -> list[AnyFault]:
        """Give the faults that the nemesis draws."""
        return draw(self.nemesis, self.seed) if self.nemesis else []


class Blueprint:
    """A scenario with nothing wrong and nothing left open: it makes one guest after the other.

    Raises:
        ScenarioError: the scenario cannot be built.
    """

    def __init__(self, scenario: Scenario) -> None:
        wrong = list(check(scenario))
        wrong += embed(scenario.guest.files, lambda _: "")
        if wrong:
            raise ScenarioError(
                "\n".join(f"{path}: {text}" if path else text for path, text in wrong)
            )
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
            faults=tuple(self.scenario.faults),
            seed=scenario.seed,
            personality=settings.personality,
        )
        #: Whether a guest was made of it, with all its files.
        self._is_proven = False

    def build(
        self, source: Callable[[], int] = host_clock, shares: Iterable[Share] = ()
    ) -> Channel:
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
                seed=scenario.seed,
                source=source,
                has_late_files=self._is_proven and not shared,
                shares=shared,
            )
        except (OSError, ValueError) as error:
            # What depends on the files: no check can tell it beforehand.
            raise ScenarioError(f"guest: {error}") from None
        self._is_proven = True
        agent = Agent(guest, self.dialect, ALL_COMMANDS, self.options)
        if scenario.timeline:
            Timeline(scenario.timeline, agent)
        channel = make_channel(
            scenario.agent.channel,
            agent,
            stale_bytes=scenario.agent.stale_bytes.encode("latin-1"),
            keeps_unread=scenario.agent.keep_unread,
        )
        if self._drawn:
            channel.drawn = partial(tell, self._drawn, scenario.seed)
        return channel


CHECKS.update(FAULT_CHECKS)


@checks(Nemesis)
def _check_nemesis(nemesis: Nemesis) -> Wrong:
    if not 0 < nemesis.rate <= 6000:
        yield "rate", f"expected above 0 and at most 6000, found {nemesis.rate}"
    if not nemesis.kinds:
        yield "kinds", "expected one kind or more"


@checks(Event)
def _check_event(event: Event) -> Wrong:
    given = [name for name in ("at", "after", "on") if getattr(event, name) is not None]
    if not given:
        yield "", "it does not say when (expected at, after or on)"
    elif len(given) > 1:
        yield given[1], f"there is '{given[0]}' already (expected one of the two)"
    if event.count != 1 and event.after is None:
        yield "count", "nobody reads this without 'after'"
    elif event.count < 1:
        yield "count", f"expected 1 or more, found {event.count}"


@checks(ClockDrifts)
def _check_drift(event: ClockDrifts) -> Wrong:
    if not abs(event.drift) < 1_000_000:
        yield "drift", f"expected less than a million either way, found {event.drift}"


@checks(ProcessEnds)
def _check_signal(event: ProcessEnds) -> Wrong:
    if not 1 <= event.signal <= 64:
        yield "signal", f"expected a number from 1 to 64, found {event.signal}"


@checks(Scenario)
def _check_scenario(scenario: Scenario) -> Wrong:
    dialect = find_dialect(scenario.agent.release)
    if dialect is None:
        known = "{}.{} to {}.{}".format(*OLDEST, *LATEST)
        text = f"no such release: '{scenario.agent.release}' (known: {known})"
        yield "agent.release", text
        return
    for quirk in scenario.agent.quirks:
        if quirk not in QUIRKS:
            yield f"agent.quirks.{quirk}", "no such quirk" + did_you_mean(quirk, QUIRKS)
    family = scenario.guest.os.family
    if any(ord(character) > 0xFF for character in scenario.agent.stale_bytes):
        yield "agent.stale_bytes", "a character above U+00FF is not a byte"
    if scenario.agent.channel in ("unix-listen", "vsock-listen"):
        for name in ("stale_bytes", "keep_unread"):
            if getattr(scenario.agent, name):
                yield f"agent.{name}", f"nobody reads this on the channel {scenario.agent.channel}"
    names = [command.name for command in ALL_COMMANDS if command.is_in(dialect, family)]
    yield from _check_personality(scenario.agent.personality, names)
    names += scenario.agent.personality.aliases
    requests = [
        (f"replies[{i}].on", stub.on) for i, stub in enumerate(scenario.replies) if not stub.adds
    ]
    names += [stub.on for stub in scenario.replies if stub.adds and isinstance(stub.on, str)]
    requests += [(f"faults[{i}].on", fault.on) for i, fault in enumerate(scenario.faults)]
    requests += [
        (f"timeline[{i}].after", e.after) for i, e in enumerate(scenario.timeline) if e.after
    ]
    for path, on in requests:
        name = on.command if isinstance(on, Match) else on
        if not fnmatch.filter(names, name):
            text = f"qemu-ga {scenario.agent.release} has no command '{name}'"
            yield path, text + did_you_mean(name, names)
    yield from _check_timeline(scenario)


def _check_personality(personality: Personality, names: list[str]) -> Wrong:
    for alias, name in personality.aliases.items():
        if name not in names:
            text = f"there is no command '{name}'{did_you_mean(name, names)}"
            yield f"agent.personality.aliases.{alias}", text
    for index, pattern in enumerate(personality.lacks):
        if not fnmatch.filter(names, pattern):
            text = f"there is no command '{pattern}'{did_you_mean(pattern, names)}"
            yield f"agent.personality.lacks[{index}]", text
    if not re.fullmatch("[0-7]{1,5}", personality.file_mode):
        text = f"not a mode: '{personality.file_mode}' (expected octal digits as in \"0644\")"
        yield "agent.personality.file_mode", text
    if personality.read_limit == 0:
        yield "agent.personality.read_limit", "expected 1 or more, found 0"


def _check_timeline(scenario: Scenario) -> Wrong:
    faults = {fault.name for fault in scenario.faults if fault.name}
    mounts = {mount.path for mount in scenario.guest.mounts}
    if not scenario.timeline:
        return
    snapshots = {event.name for event in scenario.timeline if isinstance(event, TakeSnapshot)}
    nics = {count_up(nic.name, i) for nic in scenario.guest.nics for i in range(nic.count)}
    nics |= {event.nic.name for event in scenario.timeline if isinstance(event, NicAppears)}
    for index, event in enumerate(scenario.timeline):
        path = f"timeline[{index}]"
        if isinstance(event, FaultOn | FaultOff) and event.fault not in faults:
            text = f"no fault is called '{event.fault}'{did_you_mean(event.fault, faults)}"
            yield f"{path}.fault", text
        elif isinstance(event, AgentUpgrades) and find_dialect(event.release) is None:
            yield f"{path}.release", f"no such release: '{event.release}'"
        elif isinstance(event, Addresses | NicDisappears) and event.nic not in nics:
            text = f"there is no interface '{event.nic}'{did_you_mean(event.nic, nics)}"
            yield f"{path}.nic", text
        elif isinstance(event, DiskFills) and event.path not in mounts:
            text = f"nothing is mounted at '{event.path}'{did_you_mean(event.path, mounts)}"
            yield f"{path}.path", text
        elif isinstance(event, Revert) and event.to not in snapshots:
            text = f"no event takes a snapshot '{event.to}'{did_you_mean(event.to, snapshots)}"
            yield f"{path}.to", text
    if len(snapshots) > NAMED_LIMIT:
        yield "timeline", f"at most {NAMED_LIMIT} snapshots can be kept, found {len(snapshots)}"


# -- files -----------------------------------------------------------------------------------------

_SHIPPED: Final = (
    Path(__file__).parent.parent / "scenarios",
    Path(__file__).parent.parent.parent / "scenarios",
)


def library() -> dict[str, Path]:
    """Give the scenarios that come with qgasim, by name."""
    for directory in _SHIPPED:
        if directory.is_dir():
            return {path.stem: path for path in sorted(directory.glob("*.yaml"))}
    return {}


def find_scenario(name: str, beside: Path | None = None) -> Path:
    """Find a scenario by name or path, a path being relative to the file *beside*.

    Raises:
        ScenarioError: there is none.
    """
    if "/" not in name and not name.endswith((".yaml", ".yml")):
        known = library()
        if name in known:
            return known[name]
    path = Path(name) if beside is None else beside.parent / name
    # An OSError: a name that cannot be one, or a directory that must not be read.
    with suppress(OSError):
        if path.is_file():
            return path
    raise ScenarioError(f"{name}: no such scenario, neither a file nor one of `qgasim scenarios`")


def load(name: str | Path) -> Scenario:
    """Load a scenario.

    Args:
        name: a path, or the name of a scenario that comes with qgasim.

    Raises:
        ScenarioError: with a line ``file:line:column: what is wrong`` for each fault.
    """
    path = find_scenario(str(name))
    return _decode(_compose_file(path, ()), str(path))


def loads(text: str, name: str = "<text>") -> Scenario:
    """Load a scenario from a text; `load` says what can go wrong."""
    node = compose(text, name)
    return _decode(_extend(node, None, ()) if node else None, name)


def read_value(settings: dict[str, Any], wanted: Any, name: str) -> Any:
    """Read settings from Python as they would be written in a scenario: ``by="30s"``.

    Raises:
        ScenarioError: they are no *wanted*.
    """
    node = compose(json.dumps(settings, default=str), name)
    assert node
    decoder = Decoder()
    value = decoder.decode(node, wanted, "")
    wrong = [(fault.path, str(fault.args[0])) for fault in decoder.faults] or list(check(value))
    if wrong:
        raise ScenarioError(
            "\n".join(
                f"{name}: {path}: {text}" if path else f"{name}: {text}" for path, text in wrong
            )
        )
    return value


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: not UTF-8") from None


def _compose_file(path: Path, above: tuple[Path, ...]) -> Node | None:
    if path.resolve() in above:
        raise ScenarioError(f"{path}: extends itself")
    node = compose(_read(path), str(path))
    return None if node is None else _extend(node, path, (*above, path.resolve()))


def _extend(node: Node, path: Path | None, above: tuple[Path, ...]) -> Node:
    """Lay a document on the one that it extends."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            names_one = isinstance(value, ScalarNode) and plain_value(value) is not None
            if key.value == "extends" and names_one:
                try:
                    base = _compose_file(find_scenario(value.value, path), above)
                except ScenarioError as error:
                    raise ScenarioError(f"{place_of(value)}: extends: {error}") from None
                return merge(base, node)
    return merge(None, node)


def _decode(node: Node | None, name: str) -> Scenario:
    if node is None:
        raise ScenarioError(f"{name}: the file is empty (begin with `qgasim: 1`)")
    decoder = Decoder()
    scenario = decoder.decode(node, Scenario, "")
    if isinstance(scenario, Scenario):

        def directory_of(path: str) -> str:
            return os.path.dirname(decoder.nodes[join("guest.files", path)].start_mark.name)

        for path, text in embed(scenario.guest.files, directory_of):
            decoder.note(path, text, "guest.files")
    if decoder.faults:
        raise ScenarioError("\n".join(map(str, decoder.faults)))
    assert isinstance(scenario, Scenario)
    return scenario
