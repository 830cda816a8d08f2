"""The JSON Schema of scenarios: it takes what the loader takes, and refuses what it refuses."""

import json
from functools import cache
from typing import Any

import jsonschema
import pytest
from msgspec import Struct, defstruct, field
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from qgasim.cli import main
from qgasim.errors import ScenarioError
from qgasim.guest.units import Duration, Size
from qgasim.scenario import library, load, loads
from qgasim.scenario.document import compose, plain_value
from qgasim.scenario.schema import make_schema, structs_of
from tests.generated import ROOT, load_generator


@cache
def schema() -> dict[str, Any]:
    return make_schema()


@cache
def validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(schema())


#: Wrong by its types alone: both must refuse it.
WRONG = [
    "qgasim: 2",
    "sed: 7",
    "seed: x",
    "guest: {vcpus: many}",
    "guest: {hostname: [a]}",
    "guest: {hostnam: a}",
    "guest: {clock: {rate: fast}}",
    "guest: {clock: {start: yesterday}}",
    "guest: {clock: {start: 2024-13-01}}",
    "guest: {clock: {start: 2024-06-15 or so}}",
    "guest: {clock: {start: 253402300800}}",
    "guest: {memory: 1 stone}",
    "guest: {memory: -1}",
    "guest: {mounts: [{path: /}]}",
    "guest: {mounts: [{device: a, path: /, freeze_error: eio}]}",
    "guest: {mounts: [{device: a, path: /, freeze_error: 0}]}",
    "guest: {nics: [{mac: auto}]}",
    "guest: {+nics: [{nam: a}]}",
    "guest: {+nics: [7]}",
    "guest: {+vcpus: 7}",
    "guest: {+hostname: a}",
    "guest: {nics: [{name: a, +addresses: [auto]}]}",
    "replies: [{on: guest-ping, +in_turn: [{reply: 1}]}]",
    "guest: {nics: {name: a}}",
    "guest: {nics: [{name: a, up: maybe}]}",
    "guest: {disks: [{name: a, bus: parallel}]}",
    "guest: {files: {/a: [b]}}",
    "guest: {files: {/a: {kind: socket}}}",
    "guest: {power: {boot_time: soon}}",
    "guest: {power: {suspend: [standby]}}",
    "guest: {users: {alice: 7}}",
    "agent: {channel: pigeon}",
    "agent: {respawn: often}",
    "agent: {block_rpcs: guest-exec}",
    "replies: [{reply: 1}]",
    "replies: [{on: guest-ping, error: {class: X}}]",
    "replies: [{on: {comand: guest-ping}, reply: 1}]",
    "faults: [{kind: delai}]",
    "faults: [{keep: 3}]",
    "faults: [{kind: truncate}]",
    "faults: [{kind: delay, by: never}]",
    "faults: [{kind: truncate, keep: 3, when: thawed}]",
]
#: Unusual, and right.
RIGHT = [
    "guest: {hostname: no, environment: {A: 0123, B: 1.5}}",
    "guest: {hostname: null, clock: {start: 12, zone: null}, logins: null, os: {release: null}}",
    "guest: {+nics: [{name: a}], vcpus: [{id: 0}], memory: {size: 1G, block_size: 128 MiB}}",
    "guest: {files: {/a: null, /b: {entries: {c: d}}}}",
    "guest: {clock: {start: 2024-06-15 12:00, rtc: 2024-06-15T14:00:00.5+02:00}}",
    "guest: {clock: {start: 20240615T120000Z, rtc: 2024-W24-6}}",
    "extends: debian-12\nguest: {+vcpus: [{id: 7}], +disks: [{name: a}], users: {root: {uid: 0}}}",
    "agent: {respawn: never, +block_rpcs: [guest-exec]}",
    "replies: [{on: {command: guest-sync, arguments: {id: {any: true}}}, reply: null}]",
    "faults: [{kind: edit, set: {/a: [1, {b: null}]}, when: {uptime: 1h}}]",
]


def plain(node: Node | None) -> Any:
    """Read a document as an editor does: without knowing what type is wanted."""
    if isinstance(node, MappingNode):
        return {key.value: plain(value) for key, value in node.value}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.value]
    assert isinstance(node, ScalarNode)
    return plain_value(node)


def faults(text: str) -> list[str]:
    return [error.message for error in validator().iter_errors(plain(compose(text, "f")))]


def test_it_is_a_schema_of_draft_07() -> None:
    jsonschema.Draft7Validator.check_schema(schema())


@pytest.mark.parametrize("name", library())
def test_it_takes_every_scenario_that_comes_with_qgasim(name: str) -> None:
    assert faults(library()[name].read_text()) == []


@pytest.mark.parametrize("text", [*RIGHT, *load_generator().FAULTS.values()])
def test_it_takes_what_the_loader_takes(text: str) -> None:
    text = f"faults: [{text}]" if text.startswith("{kind") else text
    loads(text)
    assert faults(text) == []


@pytest.mark.parametrize("text", WRONG)
def test_it_refuses_what_the_loader_refuses(text: str) -> None:
    with pytest.raises(ScenarioError):
        loads(text)
    assert faults(text) != []


def test_every_key_has_a_description() -> None:
    # Others are texts, with what editors offer.
    structs = {name: part for name, part in schema()["definitions"].items() if "properties" in part}
    missing = [
        (name, key)
        for name, part in {"Scenario": schema(), **structs}.items()
        for key, value in part["properties"].items()
        if not value.get("description")
    ]
    assert missing == []
    assert {cls.__name__ for cls in structs_of(type(load("debian-12")))} == {
        "Scenario",
        *structs,
    }


class Leaf(Struct, forbid_unknown_fields=True):
    """A Struct that names itself."""

    #: What must be given.
    name: str
    #: More of the same.
    leaves: "dict[str, Leaf]" = field(default_factory=dict[str, "Leaf"])


class Tree(Struct, forbid_unknown_fields=True):
    """A Struct with another, merged and in a list."""

    #: Merged with that of a base.
    merged: Leaf | None = None
    #: One, or several.
    listed: "Twig | list[Twig]" = field(default_factory=list["Twig"])
    #: A size.
    size: Size = 3 << 20
    #: How long.
    waits: list[Duration] = field(default_factory=lambda: [1500 * 10**6])


class Twig(Struct, forbid_unknown_fields=True):
    """A Struct in lists."""

    #: What must be given.
    name: str


class Bough(Struct, forbid_unknown_fields=True):
    """A Struct in lists only."""

    #: Of these.
    twigs: list[Twig]


def test_what_a_base_may_give_is_not_required() -> None:
    validator = jsonschema.Draft7Validator(make_schema(Tree))
    assert validator.is_valid({"merged": {"leaves": {"a": {"leaves": {}}}}})
    assert not validator.is_valid({"merged": {"nam": "a"}})
    assert validator.is_valid({"listed": {}, "+listed": [{"name": "a"}]})
    assert not validator.is_valid({"+listed": [7]})
    validator = jsonschema.Draft7Validator(make_schema(Bough))
    assert validator.is_valid({"twigs": [{"name": "a"}], "+twigs": [{"name": "b"}]})
    assert not validator.is_valid({"twigs": [{}]})


def test_a_default_is_what_one_would_write() -> None:
    properties = make_schema(Tree)["properties"]
    assert properties["size"]["default"] == "3MiB"
    assert properties["waits"]["default"] == ["1500ms"]
    assert "default" not in properties["merged"]


def test_two_structs_of_one_name_are_refused() -> None:
    other = defstruct("Twig", [("leaf", Leaf)])
    both = defstruct("Both", [("one", Twig), ("two", other)])
    with pytest.raises(AssertionError, match="same name"):
        make_schema(both)


def test_every_scenario_names_the_schema_for_editors() -> None:
    line = "# yaml-language-server: $schema=../qgasim/scenario.schema.json"
    assert [n for n, p in library().items() if not p.read_text().startswith(f"{line}\n")] == []
    assert (ROOT / "scenarios" / line.rpartition("=")[2]).is_file()


def test_the_schema_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capfd.readouterr().out) == schema()
