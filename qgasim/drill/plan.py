"""Which guests a client is run against: one run for each."""

import fnmatch
import os
import random
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final, get_args

from msgspec import Struct, structs

from qgasim import DEFAULT_SCENARIO
from qgasim.dialect import find_dialect
from qgasim.errors import ScenarioError
from qgasim.faults import AnyFault, LegalVariation
from qgasim.scenario import Scenario, check_tags, library, load, loads
from qgasim.scenario.dump import write_yaml, written
from qgasim.scenario.nemesis import DrawnKind, make_fault
from qgasim.suggestions import did_you_mean

__all__ = ["CHANGES", "REQUESTS", "Run", "Selection", "plan"]

#: How many requests the faults of a nemesis are spread over.
REQUESTS: Final = 24
#: At how many places each reply of a variation differs.
CHANGES: Final = 3


class Selection(Struct, frozen=True, kw_only=True, rename={"is_all": "all"}):
    """What a client is to be run against."""

    #: Names of scenarios, with ``*`` and ``?`` as wildcards, or paths of files.
    scenarios: tuple[str, ...] = ()
    #: Scenarios with any of these tags, too.
    tags: tuple[str, ...] = ()
    #: All that come with qgasim.
    is_all: bool = False
    #: Releases of qemu-ga: each run once with each of them; none: that of the scenario.
    agents: tuple[str, ...] = ()
    #: Whether to run each kind of fault, once on the first request and once on every request.
    faults: bool = False
    #: How many runs with faults drawn by chance.
    nemesis: int = 0
    #: How many runs with replies varied within the schema.
    variations: int = 0
    #: The seed of the first of these; each next one has the next.
    seed: int = 0
    #: The scenario that faults, nemesis and variations are laid over.
    guest: str = DEFAULT_SCENARIO


class Run(Struct, frozen=True, kw_only=True):
    """A guest that a client is run against."""

    #: ``freeze-hangs``, ``fault-drop-always`` or ``nemesis-7``, with ``@5.2`` if a release was asked for.
    name: str
    #: The name of a scenario, or the absolute path of its file; of a fleet's guest with ``#vm2``.
    scenario: str
    #: The release of qemu-ga; None: the scenario's.
    agent: str | None = None
    #: Keys of a scenario that are laid over it.
    overrides: dict[str, Any] = {}
    #: What is laid over it; empty: the scenario says what it is about.
    about: str = ""

    @property
    def wanted(self) -> dict[str, Any]:
        """The guest in the words of ``@pytest.mark.qgasim``."""
        agent = {} if self.agent is None else {"agent": self.agent}
        return {"scenario": self.scenario, **agent, **self.overrides}

    def to_yaml(self) -> str:
        """Write it as a scenario."""
        written: dict[str, Any] = {"qgasim": 1, "extends": self.scenario}
        if self.agent is not None:
            written["agent"] = {"release": self.agent}
        return write_yaml(written | self.overrides)

    def make(self) -> Scenario:
        """Return the scenario.

        Raises:
            ScenarioError: there cannot be such a guest.
        """
        return loads(self.to_yaml(), self.name)

    def drawn(self) -> list[AnyFault]:
        """Return the faults that were drawn by chance, of which not all may matter."""
        return self.make().drawn()

    def with_faults(self, faults: Iterable[AnyFault]) -> "Run":
        """Return the run with *faults* in place of what is drawn by chance."""
        kept = {name: value for name, value in self.overrides.items() if name != "nemesis"}
        fixed = [f for f in self.make().faults if not isinstance(f, LegalVariation)]
        said = [written(fault, AnyFault) for fault in [*fixed, *faults]]
        return structs.replace(self, overrides=kept | {"faults": said})


def plan(selection: Selection) -> list[Run]:
    """Return the runs of a selection, in the order in which they are shown.

    Raises:
        ScenarioError: it names a scenario, tag or release that is not there, or selects nothing.
    """
    for agent in selection.agents:
        if find_dialect(agent) is None:
            raise ScenarioError(f"no such release of qemu-ga: '{agent}'")
    runs = [*_plan_scenarios(selection), *_plan_disturbed(selection)]
    if not runs:
        raise ScenarioError(
            "nothing to run (choose by --scenarios, --tag or --all, or add --faults, --nemesis N or "
            "--variations N)"
        )
    return [each for run in runs for each in _with_agents(run, selection.agents)]


def _with_agents(run: Run, agents: tuple[str, ...]) -> Iterator[Run]:
    if not agents:
        yield run
    for agent in agents:
        yield structs.replace(run, name=f"{run.name}@{agent}", agent=agent)


def _plan_scenarios(selection: Selection) -> Iterator[Run]:
    shipped = library()
    patterns = [p for p in selection.scenarios if not _is_path(p)]
    for pattern in patterns:
        if not fnmatch.filter(shipped, pattern.partition("#")[0]):
            text = f"no such scenario: '{pattern}'{did_you_mean(pattern, shipped)}"
            raise ScenarioError(f"{text} (`qgasim scenarios` lists them)")
    is_every = selection.is_all or bool(selection.tags)
    named = {n for n in shipped if any(fnmatch.fnmatch(n, p.partition("#")[0]) for p in patterns)}
    known = {name: _load(name) for name in shipped if is_every or name in named}
    check_tags(selection.tags, {name: scenario.tags for name, scenario in known.items()})
    for name, scenario in known.items():
        is_tagged = not set(selection.tags).isdisjoint(scenario.tags)
        for run in _runs_of(name, name, scenario.guests):
            if selection.is_all or is_tagged or _is_named(run.name, name, patterns):
                yield run
    for path in filter(_is_path, selection.scenarios):
        # A guest of a fleet can be named, as in web.yaml#web1.
        scenario = _load(path)
        stem = os.path.basename(path).replace(".yaml", "").replace(".yml", "")
        yield from _runs_of(stem, os.path.abspath(path), scenario.guests)


class _Known(Struct, frozen=True):
    """What a selection asks of a scenario."""

    tags: list[str]
    #: The names of a fleet's guests; of another, one empty name.
    guests: list[str]


def _load(name: str) -> _Known:
    return _load_shipped(name) if not _is_path(name) else _read(name)


def _read(name: str) -> _Known:
    scenario = load(name)
    return _Known(scenario.tags, [*scenario.guests()])


# What comes with qgasim does not change meanwhile.
_load_shipped = cache(_read)


def _is_path(text: str) -> bool:
    return "/" in text or text.partition("#")[0].endswith((".yaml", ".yml"))


def _is_named(name: str, scenario: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name if "#" in p else scenario, p) for p in patterns)


def _runs_of(name: str, scenario: str, guests: list[str]) -> Iterator[Run]:
    """Yield a run for each guest of a scenario: a client is given one."""
    for guest in guests:
        suffix = f"#{guest}" if guest else ""
        yield Run(name=name + suffix, scenario=scenario + suffix)


def _plan_disturbed(selection: Selection) -> Iterator[Run]:
    """Yield the runs in which faults or variations are laid over a guest."""
    if not (selection.faults or selection.nemesis or selection.variations):
        return
    base = selection.guest
    # What it lacks is reported once, here.
    fixed = [written(fault, AnyFault) for fault in load(base).faults]
    base = os.path.abspath(base) if _is_path(base) else base
    if selection.faults:
        for kind in get_args(DrawnKind):
            for how, times in (("once", 1), ("always", None)):
                chance = random.Random(f"drill {selection.seed} {kind}")
                fault = written(make_fault(kind, chance, times=times), AnyFault)
                overrides: dict[str, Any] = {"faults": [*fixed, fault]}
                name, about = f"fault-{kind}-{how}", f"a fault over {base}"
                yield Run(name=name, scenario=base, overrides=overrides, about=about)
    for seed in range(selection.seed, selection.seed + selection.nemesis):
        nemesis: dict[str, Any] = {"seed": seed, "requests": REQUESTS}
        about = f"faults by chance over {base}"
        overrides = {"nemesis": nemesis}
        yield Run(name=f"nemesis-{seed}", scenario=base, overrides=overrides, about=about)
    for seed in range(selection.seed, selection.seed + selection.variations):
        fault = {"kind": "legal_variation", "seed": seed, "changes": CHANGES}
        overrides = {"faults": [*fixed, fault]}
        about = f"legal variations of {base}"
        yield Run(name=f"variation-{seed}", scenario=base, overrides=overrides, about=about)
