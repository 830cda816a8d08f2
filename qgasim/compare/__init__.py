"""A real agent and a simulated one, asked the same: where do they differ?"""

import json
from collections.abc import Iterator
from typing import Final

from qgasim.compare.connection import RealAgent, SimulatedAgent
from qgasim.compare.pair import Pair
from qgasim.compare.probes import Probe, probes_of
from qgasim.compare.result import Comparison, Difference
from qgasim.compare.survey import Survey, build_like, survey
from qgasim.errors import ClientError

__all__ = ["Comparison", "Difference", "RealAgent", "compare"]

_INFO: Final = b'{"execute":"guest-info"}'


def compare(
    real: RealAgent, *, scenario: str | None = None, release: str | None = None
) -> Comparison:
    """Ask a real agent and a simulated one the same; nothing in the real guest is changed.

    Args:
        real: the real agent.
        scenario: the simulated guest, a path or a name; by default the most similar that comes with
            qgasim.
        release: that of the simulated agent; by default the one that the real agent says it is.

    Raises:
        ClientError: the real agent cannot be asked, or does not tell its release.
        ScenarioError: the scenario cannot be built.
    """
    found = survey(real)
    notes: list[str] = []
    name, simulation = build_like(found, scenario=scenario, release=release, notes=notes)
    agent = simulation.agent
    result = Comparison(found.version, found.system, agent.dialect.full_version, name, notes=notes)
    simulated = SimulatedAgent(simulation)
    own = survey(simulated)
    if found.commands is None:
        notes.append("guest-info does not list the commands: all are asked for")
    else:
        result.differences += _compare_lists(found, own)
    try:
        pair = Pair(real, simulated, agent.commands.table, agent.dialect, result)
        for probe in probes_of(agent.commands.table):
            if _is_common(probe, found, own):
                pair.ask(probe)
    except ClientError as error:
        notes.append(f"given up: {error}; nothing more was asked")
    return result


def _is_common(probe: Probe, found: Survey, own: Survey) -> bool:
    """Return whether both have the command; one that lacks it is named once, from the list."""
    if probe.command is None or found.commands is None:
        return True
    theirs = found.commands.get(probe.command)
    ours = (own.commands or {}).get(probe.command)
    return theirs is not None and ours is not None and theirs.is_enabled == ours.is_enabled


def _compare_lists(found: Survey, own: Survey) -> Iterator[Difference]:
    """Yield where the lists of commands differ."""
    theirs, ours = found.commands or {}, own.commands or {}

    def differ(what: str, real: object, simulated: object) -> Difference:
        return Difference(
            "commands", _INFO, what, json.dumps(real).encode(), json.dumps(simulated).encode()
        )

    if only := [name for name in theirs if name not in ours]:
        yield differ("commands that only the real agent has", only, [])
    if only := [name for name in ours if name not in theirs]:
        yield differ("commands that only the simulated agent has", [], only)
    common = [name for name in theirs if name in ours]
    if common != (order := [name for name in ours if name in theirs]):
        yield differ("the order of the commands", common, order)
    for member, key in (("is_enabled", "enabled"), ("replies", "success-response")):
        real = {name: getattr(theirs[name], member) for name in common}
        simulated = {name: getattr(ours[name], member) for name in common}
        if names := [name for name in common if real[name] != simulated[name]]:
            yield differ(
                f"{key} of commands",
                {name: real[name] for name in names},
                {name: simulated[name] for name in names},
            )
