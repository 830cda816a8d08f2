"""Which guest a test wants: markers, options, the ini file, and what is wrong with them."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final, cast, get_args

import pytest
from msgspec import Struct, field

from qgasim import DEFAULT_SCENARIO
from qgasim.agent.stubs import Stub
from qgasim.dialect import find_dialect
from qgasim.errors import ScenarioError
from qgasim.faults import AnyFault
from qgasim.scenario import find_guest, library
from qgasim.scenario.reading import read_value
from qgasim.simulation.channel import ChannelKind
from qgasim.simulation.timeline import AnyEvent
from qgasim.suggestions import did_you_mean

__all__ = [
    "MARKER",
    "GuestRequest",
    "check_marker",
    "check_module",
    "check_options",
    "make_wish",
    "node_of",
    "read_matrix",
    "read_wish",
]

MARKER: Final = "@pytest.mark.qgasim"
_OVERRIDES: Final = ("machine", "guest", "replies", "faults", "timeline", "nemesis")
_KEYS: Final = ("scenario", "agent", "channel", "seed", "findings", *_OVERRIDES)
_MATRIX_KEYS: Final = ("agents", "scenarios")
#: Lists that are laid over those of a scenario as a whole, and what is in them.
_LISTS: Final[dict[str, Any]] = {
    "replies": list[Stub],
    "faults": list[AnyFault],
    "timeline": list[AnyEvent],
}
_FINDINGS: Final = ("report", "error", "off")
_CHANNELS: Final[tuple[str, ...]] = get_args(ChannelKind)


class GuestRequest(Struct, frozen=True, kw_only=True):
    """Which guest a test wants."""

    scenario: str = DEFAULT_SCENARIO
    agent: str | None = None
    channel: str | None = None
    seed: int | None = None
    findings: str = "report"
    #: Keys of a scenario, laid over those of *scenario*.
    overrides: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_text(self) -> str:
        """Write it as a scenario."""
        written: dict[str, Any] = {"extends": self.scenario, **self.overrides}
        agent = {"release": self.agent, "channel": self.channel}
        if given := {name: value for name, value in agent.items() if value is not None}:
            written["agent"] = given
        if self.seed is not None:
            written["seed"] = self.seed
        return json.dumps(written)

    def to_command(self) -> str:
        """Return the command of a shell that serves such a guest."""
        if self.overrides:
            text = shlex.quote(self.to_text())
            return f"printf %s {text} > guest.yaml && qgasim --scenario guest.yaml"
        parts = ["qgasim", "--scenario", self.scenario]
        for name in ("agent", "channel", "seed"):
            value = getattr(self, name)
            if value is not None:
                parts += [f"--{name}", str(value)]
        return shlex.join(parts)


# -- what is wrong ---------------------------------------------------------------------------------


def check_marker(
    name: str, arguments: tuple[Any, ...], settings: Mapping[str, Any], beside: Path | None
) -> None:
    """Reject a marker with unknown or impossible settings.

    Raises:
        ScenarioError: with a line for all that is wrong, and what was meant.
    """
    if wrong := list(_find_wrong(name, arguments, settings, beside)):
        raise ScenarioError("\n".join(wrong))


def check_module(module: ModuleType) -> None:
    """Check all markers of a module of tests: of itself, its classes and its functions.

    Raises:
        ScenarioError: with a line for all that is wrong, which begins with what is marked, as in ``::test_it: ``.
    """
    wrong = [
        f"{place}: {text}"
        for place, marker in _find_marked(module, "", module.__name__)
        for text in _find_wrong(marker.name, marker.args, marker.kwargs, Path(str(module.__file__)))
    ]
    if wrong:
        raise ScenarioError("\n".join(wrong))


def _find_marked(owner: Any, place: str, module: str) -> Iterator[tuple[str, pytest.Mark]]:
    """Yield the plugin's markers of a module or a class and of what is in it, with the end of the node's id."""
    members = cast("Mapping[str, Any]", vars(owner))
    marks: Any = members.get("pytestmark", [])
    for each in cast("Any", marks if isinstance(marks, list) else [marks]):
        mark: Any = each.mark if isinstance(each, pytest.MarkDecorator) else each
        if isinstance(mark, pytest.Mark) and mark.name in ("qgasim", "qgasim_matrix"):
            yield place, mark
    if isinstance(owner, FunctionType):
        return
    for name, member in list(members.items()):
        # What is imported is another module's.
        if isinstance(member, type | FunctionType) and member.__module__ == module:
            yield from _find_marked(member, f"{place}::{name}", module)


def _find_wrong(
    name: str, arguments: tuple[Any, ...], settings: Mapping[str, Any], beside: Path | None
) -> Iterator[str]:
    marker = f"@pytest.mark.{name}"
    if name == "qgasim_drill" and not arguments:
        # Its settings are read, and told of, when the tests are multiplied.
        return
    known = _KEYS if name == "qgasim" else _MATRIX_KEYS
    if arguments:
        yield f"{marker} takes keywords only, as in {known[0]}=..."
    if name == "qgasim_matrix" and not settings:
        yield f"{marker}: nothing is given to combine (expected agents or scenarios)"
    for key, value in settings.items():
        try:
            if key not in known:
                yield f"{marker}: no such key '{key}'{did_you_mean(key, known)}"
            elif name == "qgasim":
                _check(key, value, f"{marker}: {key}", beside)
            elif not isinstance(value, list | tuple) or not value:
                yield f"{marker}: {key}: expected a list of them, found {value!r}"
            else:
                for each in cast("list[Any]", value):
                    _check(key.removesuffix("s"), each, f"{marker}: {key}", beside)
        except ScenarioError as error:
            yield from str(error).splitlines()


def check_options(config: pytest.Config) -> None:
    """Refuse options, and what the ini file says, if they say what cannot be.

    Raises:
        pytest.UsageError: says what.
    """
    try:
        _read_options(config)
    except ScenarioError as error:
        text = str(error)
    else:
        return
    raise pytest.UsageError(text)


def _check(key: str, value: Any, label: str, beside: Path | None) -> None:
    """Refuse the value of a key. Mappings laid over a scenario are looked at when that is read."""
    if key == "scenario":
        _find(value, label, beside)
    elif key == "agent":
        if find_dialect(str(value)) is None:
            raise ScenarioError(f"{label}: no such release of qemu-ga: '{value}'")
    elif key == "channel" and value not in _CHANNELS:
        hint = did_you_mean(str(value), _CHANNELS)
        known = ", ".join(_CHANNELS)
        raise ScenarioError(f"{label}: expected one of {known}, found {value!r}{hint}")
    elif key == "seed" and type(value) is not int:
        raise ScenarioError(f"{label}: expected a number, found {value!r}")
    elif key == "findings" and value not in _FINDINGS:
        known = ", ".join(_FINDINGS)
        raise ScenarioError(f"{label}: expected one of {known}, found {value!r}")
    elif key in _OVERRIDES:
        _check_override(key, value, label)


def _check_override(key: str, value: Any, label: str) -> None:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ScenarioError(f"{label}: cannot be written in a scenario ({error})") from None
    if key in _LISTS:
        try:
            read_value(value, _LISTS[key], label)
        except ScenarioError as error:
            # The path begins with an index.
            raise ScenarioError(str(error).replace(f"{label}: [", f"{label}[")) from None


# Each test looks: the directory does not change meanwhile.
_library = lru_cache(library)


def _find(scenario: Any, label: str, beside: Path | None) -> str:
    """Return the name of a scenario that comes with qgasim, or the whole path of another."""
    shipped = _library()
    if isinstance(scenario, str) and scenario in shipped:
        return scenario
    if not isinstance(scenario, str | os.PathLike):
        raise ScenarioError(f"{label}: expected a path or a name, found {scenario!r}")
    name = os.fspath(cast("os.PathLike[str]", scenario))
    try:
        path, guest = find_guest(name, beside)
    except ScenarioError as error:
        raise ScenarioError(f"{label}: {error}") from None
    if guest and name.removesuffix(f"#{guest}") in shipped:
        return name
    return f"{path.resolve()}#{guest}" if guest else str(path.resolve())


# -- what is wanted --------------------------------------------------------------------------------


def read_matrix(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each run of a test wants besides, by the run's name."""
    agents: list[str | None] = [str(agent) for agent in settings.get("agents", [])]
    scenarios: list[str | None] = [str(name) for name in settings.get("scenarios", [])]
    return {
        "-".join(part for part in (agent, scenario) if part) or "default": {
            name: value
            for name, value in (("agent", agent), ("scenario", scenario))
            if value is not None
        }
        for agent, scenario in product(agents or [None], scenarios or [None])
    }


def _read_options(config: pytest.Config) -> dict[str, Any]:
    """Return what options and ini file say; the options count more.

    Raises:
        ScenarioError: they say what cannot be.
    """
    wanted: dict[str, Any] = {}
    # Paths are relative to the ini file, or to where pytest was called.
    called = config.invocation_params.dir / "-"
    for name in ("scenario", "agent", "seed", "findings"):
        label = f"qgasim_{name} in {config.inipath or 'the ini file'}"
        found = [(label, config.getini(f"qgasim_{name}"), config.inipath or called)]
        if name != "findings":
            found.append((f"--qgasim-{name}", config.getoption(f"--qgasim-{name}"), called))
        for label, value, beside in found:
            if not value:
                continue
            is_number = name == "seed" and value.strip().removeprefix("-").isdecimal()
            wanted[name] = int(value) if is_number else value
            if name == "scenario":
                wanted[name] = _find(value, label, beside)
            _check(name, wanted[name], label, beside)
    return wanted


def node_of(request: pytest.FixtureRequest) -> Any:
    """Return the test, or what else asks for a fixture."""
    return request.node  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def read_wish(request: pytest.FixtureRequest) -> GuestRequest:
    """Return what a test wants: its marker counts most, then the options, then the ini file.

    The guest of a session is that of the options and the ini file: no test is its only one.

    Raises:
        ScenarioError: it wants what cannot be.
    """
    wanted = _read_options(request.config)
    if request.scope == "session":
        return make_wish(wanted)
    node = node_of(request)
    # From the module's marker to the test's own.
    for marker in reversed(list(node.iter_markers("qgasim"))):
        # Added since the test was collected, perhaps.
        check_marker(marker.name, marker.args, marker.kwargs, request.path)
        wanted |= marker.kwargs
    wanted |= getattr(request, "param", {})
    return make_wish(wanted, beside=request.path)


def make_wish(
    wanted: Mapping[str, Any], *, beside: Path | None = None, base: GuestRequest | None = None
) -> GuestRequest:
    """Return a wish.

    Args:
        wanted: keys of the marker.
        beside: the file that paths are relative to; None: to the working directory.
        base: what holds where *wanted* says nothing.

    Raises:
        ScenarioError: it cannot be.
    """
    base = base or GuestRequest()
    scenario, agent = wanted.get("scenario"), wanted.get("agent")
    overrides = {name: wanted[name] for name in _OVERRIDES if wanted.get(name) is not None}
    guest = overrides.get("guest")
    # What is no mapping is reported when it is read.
    if isinstance(guest, dict) and "files" in guest:
        guest = cast("dict[str, Any]", guest)
        directory = Path.cwd() if beside is None else beside.parent
        overrides["guest"] = {**guest, "files": _from(guest["files"], directory)}
    return GuestRequest(
        scenario=base.scenario if scenario is None else _find(scenario, MARKER, beside),
        agent=base.agent if agent is None else str(agent),
        channel=wanted.get("channel") or base.channel,
        seed=base.seed if wanted.get("seed") is None else wanted["seed"],
        findings=wanted.get("findings") or base.findings,
        overrides={**base.overrides, **overrides},
    )


def _from(files: Any, directory: Path) -> Any:
    """Return *files* of a guest with whole paths of those of the host, which *directory* holds."""
    if not isinstance(files, dict):
        return files
    made: dict[str, Any] = {}
    for name, file in cast("dict[str, Any]", files).items():
        made[name] = file
        if isinstance(file, dict):
            settings = made[name] = {**cast("dict[str, Any]", file)}
            if "entries" in settings:
                settings["entries"] = _from(settings["entries"], directory)
            if isinstance(settings.get("source"), str):
                settings["source"] = str(directory / settings["source"])
    return made
