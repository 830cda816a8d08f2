"""Scenarios: what a user writes, and the agent that it makes.

A `Scenario` is a Struct whose fields are the keys of the YAML file; `load` reads one from a file, by
path or by the name of one that comes with qgasim.
"""

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from qgasim.commands import ALL_COMMANDS
from qgasim.errors import ScenarioError
from qgasim.guest.settings import ProgramSettings
from qgasim.scenario import guest_checks, machine_checks, program_checks, reply_checks, together
from qgasim.scenario.changes import lay_changes
from qgasim.scenario.checks import join, touch
from qgasim.scenario.decode import Decoder
from qgasim.scenario.document import (
    TEXT_LIMIT,
    compose,
    kind_of,
    merge,
    place_of,
    plain_value,
    read_text,
    say,
)
from qgasim.scenario.fleet import lay_out, pick
from qgasim.scenario.including import include_programs, programs_of
from qgasim.scenario.model import (
    AgentSettings,
    Blueprint,
    Scenario,
    remember_place,
    remember_places,
    tell_wrong,
)
from qgasim.scenario.reading import make_node, read_value
from qgasim.scenario.script_checks import find_missing
from qgasim.scenario.sources import Reader, embed
from qgasim.suggestions import did_you_mean, find_close, not_there

__all__ = [
    "AgentSettings",
    "Blueprint",
    "Scenario",
    "check_tags",
    "find_guest",
    "find_programs",
    "find_scenario",
    "library",
    "load",
    "load_programs",
    "load_sealed",
    "loads",
    "programs_library",
    "read_value",
    "remember_place",
    "warn",
    "warn_of_names",
]

#: They say what must hold: `checks` finds it once they are imported.
_CHECKS: Final = (guest_checks, machine_checks, program_checks, reply_checks, together)
_SUFFIXES: Final = (".yaml", ".yml")
#: How many errors are listed one by one.
_FAULT_LIMIT: Final = 100
#: How many scenarios may extend each other in turn.
_CHAIN_LIMIT: Final = 32
_SHIPPED: Final = (
    Path(__file__).parent.parent / "scenarios",
    Path(__file__).parent.parent.parent / "scenarios",
)


def library() -> dict[str, Path]:
    """Return the scenarios that come with qgasim, by name."""
    for directory in _SHIPPED:
        if directory.is_dir():
            return {path.stem: path for path in sorted(directory.glob("*.yaml"))}
    return {}


def find_scenario(name: str, beside: Path | None = None) -> Path:
    """Find a scenario by name or path, a path being relative to the file *beside*.

    Raises:
        ScenarioError: there is none.
    """
    if "/" not in name and not name.endswith(_SUFFIXES):
        for directory in _SHIPPED:
            if (shipped := directory / f"{name}.yaml").is_file():
                return shipped
    path = Path(name) if beside is None else beside.parent / name
    # An OSError: a name that cannot be one, or a directory that must not be read.
    with suppress(OSError, ValueError):
        if path.is_file():
            return path
    raise ScenarioError(say(name or "''", _why_not(path, name)))


def check_tags(tags: Iterable[str], known: Mapping[str, Iterable[str]]) -> None:
    """Refuse tags that none of the scenarios has.

    Args:
        tags: that are asked for.
        known: the tags of each scenario.

    Raises:
        ScenarioError: says which there is not, and what was meant.
    """
    there = {tag for each in known.values() for tag in each}
    for tag in tags:
        if tag not in there:
            raise ScenarioError(not_there("tag", tag, there))


def programs_library() -> dict[str, Path]:
    """Return the files of programs that come with qgasim, by name."""
    for directory in _SHIPPED:
        if (programs := directory / "programs").is_dir():
            return {path.stem: path for path in sorted(programs.glob("*.yaml"))}
    return {}


def find_programs(name: str, beside: Path | None = None) -> Path:
    """Find a file of programs by name or path, a path being relative to the file *beside*.

    Raises:
        ScenarioError: there is none.
    """
    if "/" not in name and not name.endswith(_SUFFIXES):
        known = programs_library()
        if name in known:
            return known[name]
        hint = did_you_mean(name, known) or f" (expected one of {', '.join(known)}, or a path)"
        raise ScenarioError(say(name or "''", f"no such file of programs{hint}"))
    path = Path(name) if beside is None else beside.parent / name
    # An OSError: a name that cannot be one, or a directory that must not be read.
    with suppress(OSError, ValueError):
        if path.is_file():
            return path
    raise ScenarioError(say(name, _what_was_meant(path)))


def _why_not(path: Path, name: str) -> str:
    """Return why *path* is no scenario, and what was meant."""
    is_name = "/" not in name and path.suffix not in _SUFFIXES
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        if not is_name:
            return _what_was_meant(path)
    except OSError as error:
        if not is_name:
            return str(error.strerror)
    else:
        if name:  # "" is the working directory to pathlib only
            is_directory = stat.S_ISDIR(mode)
            expected = "a directory (expected a file in it, or the name of a scenario)"
            return expected if is_directory else "not a file"
    hint = did_you_mean(name, library()) or " (`qgasim scenarios` lists them)"
    return f"no such scenario{hint}"


def _what_was_meant(path: Path) -> str:
    """Return the message that there is no file *path*, and what is like it."""
    with suppress(OSError, ValueError):
        if path.is_symlink():
            return f"a link to '{path.readlink()}', which is not there"
        names = [file.name for file in path.parent.iterdir() if file.suffix in _SUFFIXES]
        if close := find_close(path.name, names):
            return f"no such file (did you mean '{path.parent / close[0]}'?)"
    return "no such file"


def load(name: str | Path, *, changes: Sequence[Node] = ()) -> Scenario:
    """Load a scenario.

    Args:
        name: a path, or the name of a scenario that comes with qgasim; of a fleet, ``NAME#GUEST`` is
            one guest.
        changes: what is laid on it; in a fleet, on what the guests have in common.

    Raises:
        ScenarioError: with a line ``file:line:column: what is wrong`` for each fault.
    """
    path, guest = find_guest(str(name), None)
    node = _compose_file(path, ())
    if guest:
        node = _pick(node, guest, str(path))
    if node is not None:
        node = lay_changes(node, list(changes))
    return _decode(node if guest else _pick(node, "", str(path)), str(path))


def loads(text: str, name: str = "<text>") -> Scenario:
    """Load a scenario from a text; `load` says what can go wrong."""
    node = compose(text, name)
    return _decode(_pick(_extend(node, None, ()), "", name) if node else None, name)


def warn(scenario: Scenario) -> list[str]:
    """Return what works otherwise than it reads, a line each, with its place.

    It is what scripts of the guest use and qgasim does not simulate, and what `warn_of_names` finds.
    """
    missing = find_missing(scenario.guest)
    wrong = [(join("guest.files", path), f"warning: {text}") for path, text in missing]
    return [*warn_of_names(scenario), *str(tell_wrong(scenario, wrong)).splitlines()]


def warn_of_names(scenario: Scenario) -> list[str]:
    """Return which blocked or allowed commands no release has, a line each, with its place.

    They are no errors: qemu-ga ignores them.
    """
    known = {command.name for command in ALL_COMMANDS} | scenario.agent.personality.aliases.keys()
    wrong = [
        (
            f"agent.{key}[{index}]",
            f"warning: no release has the command '{name}'{did_you_mean(name, known)}",
        )
        for key in ("block_rpcs", "allow_rpcs")
        for index, name in enumerate(getattr(scenario.agent, key))
        if name not in known
    ]
    return str(tell_wrong(scenario, wrong)).splitlines()


def load_sealed(said: str | dict[str, Any], name: str) -> Scenario:
    """Load a scenario that another program has sent: it names no files of this machine.

    Args:
        said: the name of a scenario that comes with qgasim, YAML (a text of several lines), or what
            JSON says. What it extends or includes comes with qgasim.
        name: what errors call it.

    Raises:
        ScenarioError: as of `load`.
    """
    if isinstance(said, str) and "\n" not in said:
        _check_shipped(said, name)
        return load(said)
    node = compose(said, name) if isinstance(said, str) else make_node(said, name)
    if isinstance(node, MappingNode):
        fleet = next((v for k, v in node.value if k.value == "fleet"), None)
        guests = [v for _, v in fleet.value] if isinstance(fleet, MappingNode) else []
        for each in filter(lambda one: isinstance(one, MappingNode), (node, *guests)):
            for key, value in each.value:
                if key.value == "extends" and isinstance(value, ScalarNode):
                    _check_shipped(value.value, f"{place_of(value)}: extends")
        node = include_programs(node, _read_shipped_programs)
    return _decode(_pick(_extend(node, None, ()), "", name) if node else None, name, is_sealed=True)


def _check_shipped(text: str, where: str) -> None:
    """Refuse what is not the name of a scenario that comes with qgasim, or of a guest of one."""
    shipped = text.partition("#")[0]
    if shipped not in library():
        hint = did_you_mean(shipped, library()) or " (`qgasim scenarios` lists them)"
        raise ScenarioError(
            f"{where}: {say('', f'no scenario of qgasim is called {shipped!r}')}{hint}"
        )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(TEXT_LIMIT + 1)
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from None
    return read_text(data, str(path))


def _compose_file(path: Path, above: tuple[Path, ...]) -> Node | None:
    real = path.resolve()
    if real in above:
        raise ScenarioError(f"{path}: extends itself")
    if len(above) == _CHAIN_LIMIT:
        raise ScenarioError(f"{path}: more than {_CHAIN_LIMIT} that extend each other")
    node = compose(_read(path), str(path))
    return None if node is None else _extend(node, path, (*above, real))


def _compose_base(name: str, beside: Path | None, above: tuple[Path, ...]) -> Node | None:
    path, guest = find_guest(name, beside)
    node = _compose_file(path, above)
    if not isinstance(node, MappingNode | None):
        raise ScenarioError(f"{path}: expected a mapping, found {kind_of(node)}")
    return _pick(node, guest, str(path)) if guest else node


def find_guest(name: str, beside: Path | None) -> tuple[Path, str]:
    """Find a scenario as `find_scenario` does, and say which guest of it is meant; '': all.

    Raises:
        ScenarioError: there is no such scenario.
    """
    start, hash_, guest = name.rpartition("#")
    if hash_ and guest and "/" not in guest:
        return find_scenario(start, beside), guest
    return find_scenario(name, beside), ""


def _pick(node: Node | None, guest: str, name: str) -> Node | None:
    """Return a fleet's guests what they have in common; or one guest of it."""
    if node is None:
        return None

    def base_of(extends: ScalarNode) -> Node | None:
        beside = extends.start_mark.name
        try:
            return _compose_base(extends.value, Path(beside), ())
        except ScenarioError as error:
            raise ScenarioError(f"{place_of(extends)}: extends: {error}") from None

    if not guest:
        return lay_out(node, base_of)
    try:
        return pick(node, guest, base_of)
    except ScenarioError as error:
        raise ScenarioError(f"{name}#{guest}: {error}") from None


def _read_programs(beside: Path | None, name: ScalarNode) -> SequenceNode:
    try:
        path = find_programs(name.value, beside)
        return programs_of(compose(_read(path), str(path)), str(path))
    except ScenarioError as error:
        raise ScenarioError(f"{place_of(name)}: include: {error}") from None


def _read_shipped_programs(name: ScalarNode) -> SequenceNode:
    """Return the programs of a file that comes with qgasim; refuse another."""
    known = programs_library()
    if name.value not in known:
        text = f"no file of programs of qgasim is called {name.value!r}"
        hint = did_you_mean(name.value, known) or f" (expected one of {', '.join(known)})"
        raise ScenarioError(f"{place_of(name)}: include: {say('', text)}{hint}")
    return _read_programs(None, name)


def load_programs(name: str | Path) -> list[ProgramSettings]:
    """Load a file of programs, for ``GuestSettings(programs=[...])``.

    Args:
        name: a path, or the name of one that comes with qgasim.

    Raises:
        ScenarioError: with a line ``file:line:column: what is wrong`` for each fault.
    """
    path = find_programs(str(name))
    decoder = Decoder()
    found = programs_of(compose(_read(path), str(path)), str(path))
    programs: list[ProgramSettings] = decoder.decode(found, list[ProgramSettings], "programs")
    if decoder.errors:
        raise ScenarioError("\n".join(map(str, decoder.errors)))
    return programs


def _extend(node: Node, path: Path | None, above: tuple[Path, ...]) -> Node:
    """Lay a document, with what it includes, on the one that it extends."""
    node = include_programs(node, partial(_read_programs, path))
    if isinstance(node, MappingNode):
        for key, value in node.value:
            names_one = isinstance(value, ScalarNode) and plain_value(value) is not None
            if key.value == "extends" and names_one:
                try:
                    base = _compose_base(value.value, path, above)
                except ScenarioError as error:
                    raise ScenarioError(f"{place_of(value)}: extends: {error}") from None
                return merge(base, node, opens="fleet")
    return merge(None, node, opens="fleet")


def _decode(node: Node | None, name: str, *, is_sealed: bool = False) -> Scenario:
    if node is None:
        raise ScenarioError(f"{name}:1:1: the file is empty (begin with `qgasim: 1`)")
    decoder = Decoder()
    scenario = decoder.decode(node, Scenario, "")
    if isinstance(scenario, Scenario):
        _embed(scenario, decoder, name if is_sealed else None)
    if decoder.errors:
        # What is wrong with the file itself, in its order, and then what it extends.
        decoder.errors.sort(key=lambda error: _order(error.node, name))
        # What the guests of a fleet have in common is wrong once.
        once: dict[tuple[str, str], str] = {}
        for error in decoder.errors:
            once.setdefault((place_of(error.node), str(error.args[0])), str(error))
        lines = [*once.values()]
        if len(lines) > _FAULT_LIMIT:
            lines[_FAULT_LIMIT:] = [f"{name}: and {len(lines) - _FAULT_LIMIT} more"]
        raise ScenarioError("\n".join(lines))
    assert isinstance(scenario, Scenario)
    remember_places(scenario, decoder.place_at)
    for guest in scenario.fleet:
        remember_places(scenario.fleet[guest], partial(_place_in_fleet, decoder, guest))
    return scenario


def _place_in_fleet(decoder: Decoder, guest: str, path: str) -> str:
    return decoder.place_at(join(f"fleet.{guest}", path))


def _embed(scenario: Scenario, decoder: Decoder, sealed: str | None) -> None:
    """Read the files of the host that a scenario names; they are relative to where it names them.

    *sealed*: the document that may name none.
    """
    reader = Reader()
    for name, guest in scenario.guests().items():
        start = f"fleet.{name}.guest.files" if name else "guest.files"
        if any(touch(path, (start,)) for path in decoder.broken):
            continue

        def directory_of(path: str, start: str = start) -> str:
            place = decoder.nodes[join(start, path)].start_mark.name
            if place == sealed:
                raise ScenarioError("a scenario that is sent names no files of this machine")
            return os.path.dirname(place)

        for path, text in embed(guest.guest.files, directory_of, reader):
            decoder.note(path, text, start)


def _order(node: Node, name: str) -> tuple[bool, str, int]:
    mark = node.start_mark
    return mark.name != name, mark.name, mark.index
