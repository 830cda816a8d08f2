"""What must hold of a scenario as a whole: that what it names is there."""

import fnmatch
import re
from typing import Final

from qgasim.agent.personality import Personality
from qgasim.commands import ALL_COMMANDS
from qgasim.dialect import LATEST, OLDEST, QUIRKS, Dialect, find_dialect
from qgasim.faults import is_of_monitor
from qgasim.matching import Match
from qgasim.qmp import MachineSettings
from qgasim.qmp.release import find_release
from qgasim.scenario.checks import Wrong, checks
from qgasim.scenario.fault_checks import FAULT_CHECKS
from qgasim.scenario.fill import counted
from qgasim.scenario.fleet import WITHIN
from qgasim.scenario.guest_checks import NIC_LIMIT, check_address, check_owners, check_place
from qgasim.scenario.model import AgentSettings, Scenario
from qgasim.scenario.nemesis import LIMIT, Nemesis
from qgasim.simulation.snapshot import NAMED_LIMIT
from qgasim.simulation.timeline import (
    Addresses,
    AgentUpgrades,
    ClockDrifts,
    DiskFills,
    Event,
    FaultOff,
    FaultOn,
    FileChanges,
    NicAppears,
    NicDisappears,
    ProcessEnds,
    Revert,
    TakeSnapshot,
)
from qgasim.suggestions import did_you_mean

__all__ = ["no_such_release"]

for _cls, _function in FAULT_CHECKS.items():
    checks(_cls)(_function)


#: The default settings of a nemesis.
_BY_TIME: Final = Nemesis()


@checks(Nemesis)
def _check_nemesis(nemesis: Nemesis) -> Wrong:
    if not 0 < nemesis.rate <= 6000:
        yield "rate", f"expected above 0 and at most 6000, found {nemesis.rate}"
    if not nemesis.kinds:
        yield "kinds", "expected one kind or more"
    if nemesis.requests is not None:
        if not 1 <= nemesis.requests <= LIMIT:
            yield "requests", f"expected from 1 to {LIMIT}, found {nemesis.requests}"
        for name in ("rate", "start", "lasts", "longest"):
            if getattr(nemesis, name) != getattr(_BY_TIME, name):
                yield name, f"'{name}' and 'requests' are mutually exclusive"


#: The keys of an event that say when it happens: it has one of them.
_WHEN: Final = ("at", "since_boot", "after", "on")


@checks(Event)
def _check_event(event: Event) -> Wrong:
    given = [name for name in _WHEN if getattr(event, name) is not None]
    if not given:
        yield "", "no time is given (expected at, since_boot, after or on)"
    elif len(given) > 1:
        yield given[1], f"'{given[0]}' and '{given[1]}' are mutually exclusive"
    if event.count != 1 and event.after is None:
        yield "count", "has no effect without 'after'"
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


@checks(FileChanges)
def _check_file_place(event: FileChanges) -> Wrong:
    yield from check_place(event.path, "path")


@checks(Addresses)
def _check_addresses(event: Addresses) -> Wrong:
    for number, address in enumerate(event.add):
        yield from check_address(address, 1, f"add[{number}]")


#: More than the longest reply.
WRITE_SIZE_LIMIT: Final = 1 << 30


@checks(AgentSettings)
def _check_agent(agent: AgentSettings) -> Wrong:
    dialect = find_dialect(agent.release)
    if dialect is None:
        yield "release", no_such_release(agent.release)
    elif why := _explain_no_start(agent, dialect):
        yield "allow_rpcs", why
    for quirk in agent.quirks:
        if quirk not in QUIRKS:
            yield f"quirks.{quirk}", "no such quirk" + did_you_mean(quirk, QUIRKS)
    if not 1 <= agent.write_size <= WRITE_SIZE_LIMIT:
        yield "write_size", f"expected from 1 to {WRITE_SIZE_LIMIT}, found {agent.write_size}"
    if any(ord(character) > 0xFF for character in agent.stale_bytes):
        yield "stale_bytes", "a character above U+00FF is not a byte"
    if agent.channel in ("unix-listen", "vsock-listen"):
        for name in ("stale_bytes", "keep_unread"):
            if getattr(agent, name):
                yield name, f"has no effect on the channel {agent.channel}"


def _explain_no_start(agent: AgentSettings, dialect: Dialect) -> str | None:
    return dialect.explain_no_start(allows=bool(agent.allow_rpcs), blocks=bool(agent.block_rpcs))


def no_such_release(release: str) -> str:
    """Return the message that there is no such release, and which there are."""
    known = "{}.{} to {}.{}".format(*OLDEST, *LATEST)
    return f"no such release: '{release}' (expected one from {known}, as in 7.2 or 7.2.22)"


@checks(Scenario, "agent", "timeline")
def _check_upgrades(scenario: Scenario) -> Wrong:
    for index, event in enumerate(scenario.timeline):
        if not isinstance(event, AgentUpgrades):
            continue
        dialect = find_dialect(event.release)
        if dialect is None:
            yield f"timeline[{index}].release", no_such_release(event.release)
        elif why := _explain_no_start(scenario.agent, dialect):
            yield f"timeline[{index}].release", why


@checks(Scenario, "fleet")
def _check_fleet(scenario: Scenario) -> Wrong:
    for name, guest in scenario.fleet.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", name):
            text = f"not a guest's name: '{name}' (expected letters, digits, '.', '_' and '-')"
            yield f"fleet.{name}", text
        if guest.fleet:
            yield f"fleet.{name}.fleet", WITHIN


@checks(Scenario)
def _check_alone(scenario: Scenario) -> Wrong:
    """Check that a fleet says all of its guests: YAML's are laid over the rest, Python's are not."""
    alone = Scenario()
    for name in ("agent", "guest", "replies", "faults", "nemesis", "timeline"):
        if scenario.fleet and getattr(scenario, name) != getattr(alone, name):
            yield name, "has no effect beside 'fleet' (give it to the guests)"


@checks(Scenario, "agent", "guest.os", "guest.mounts")
def _check_frozen(scenario: Scenario) -> Wrong:
    if not scenario.agent.is_frozen:
        return
    if scenario.guest.os.family != "linux":
        yield "agent.is_frozen", "a guest can begin frozen only if guest.os.family is linux"
    for i, mount in enumerate(scenario.guest.mounts):
        if mount.freeze_error:
            yield (
                f"guest.mounts[{i}].freeze_error",
                "contradicts agent.is_frozen (a freeze that fails freezes nothing)",
            )


@checks(Scenario, "agent", "guest.os", "machine", "replies", "faults", "timeline")
def _check_commands(scenario: Scenario) -> Wrong:
    dialect = find_dialect(scenario.agent.release)
    if dialect is None:
        return
    family = scenario.guest.os.family
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
    machine = find_release((scenario.machine or MachineSettings()).qemu)
    of_machine = machine.names() if any(is_of_monitor(on) for _, on in requests) else []
    for path, on in requests:
        name = on.command if isinstance(on, Match) else on
        if is_of_monitor(on) and not path.startswith("replies"):
            if not fnmatch.filter(of_machine, name):
                text = f"QEMU {machine.name} has no command or event '{name}'"
                yield path, text + did_you_mean(name, of_machine)
        elif not fnmatch.filter(names, name):
            text = f"qemu-ga {scenario.agent.release} has no command '{name}'"
            yield path, text + did_you_mean(name, names)
    for index, stub in enumerate(scenario.replies):
        if isinstance(stub.on, Match) and not stub.adds:
            yield from _check_arguments(stub.on, f"replies[{index}].on")


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


def _check_arguments(on: Match, at: str) -> Wrong:
    """Look for arguments that the command has in no release: a request with them is refused before."""
    known = {
        parameter.name
        for command in ALL_COMMANDS
        if command.name == on.command
        for parameter in command.parameters
    }
    if not any(command.name == on.command for command in ALL_COMMANDS):
        return
    for name, pattern in on.arguments.items():
        if name not in known and pattern != {"absent": True}:
            text = f"{on.command} has no argument '{name}'"
            yield f"{at}.arguments.{name}", text + did_you_mean(name, known)


@checks(Scenario, "faults", "timeline", "guest.nics", "guest.mounts", "guest.users")
def _check_timeline(scenario: Scenario) -> Wrong:
    faults = {fault.name for fault in scenario.faults if fault.name}
    mounts = {mount.path for mount in scenario.guest.mounts}
    if not scenario.timeline:
        return
    snapshots = {event.name for event in scenario.timeline if isinstance(event, TakeSnapshot)}
    nics = {
        name
        for nic in scenario.guest.nics
        for _, name in counted(nic.name, min(nic.count, NIC_LIMIT))
    }
    nics |= {event.nic.name for event in scenario.timeline if isinstance(event, NicAppears)}
    for index, event in enumerate(scenario.timeline):
        path = f"timeline[{index}]"
        if isinstance(event, FileChanges):
            yield from check_owners(event.file, f"{path}.file", set(scenario.guest.users))
        if isinstance(event, FaultOn | FaultOff) and event.fault not in faults:
            text = f"no fault is called '{event.fault}'{did_you_mean(event.fault, faults)}"
            yield f"{path}.fault", text
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
