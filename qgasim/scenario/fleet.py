"""Fleets: several guests in one scenario, each laid over what they have in common."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from yaml.nodes import MappingNode, Node, ScalarNode

from qgasim.errors import ScenarioError
from qgasim.scenario.document import DocumentError, core_value, merge
from qgasim.suggestions import did_you_mean

__all__ = ["FLEET_LIMIT", "WITHIN", "lay_out", "pick"]

WITHIN: Final = "a fleet within a fleet"

#: Guests in a fleet.
FLEET_LIMIT: Final = 1000
#: Keys that say what a scenario is about.
_ABOUT: Final = ("qgasim", "description", "origin", "tags", "severity", "expect")
#: Keys that are the fleet's; all others are what its guests have in common.
_OWN: Final = (*_ABOUT, "seed", "extends", "fleet")
_RANGE: Final = re.compile(r"(.*)\{([0-9]{1,4})\.\.([0-9]{1,4})\}(.*)")
_TEXT: Final = "tag:yaml.org,2002:str"


def lay_out(document: Node, base_of: Callable[[ScalarNode], Node | None]) -> Node:
    """Lay each guest of a fleet over what they have in common; other documents stay as they are.

    Args:
        document: a scenario, after all that it extends.
        base_of: gives the scenario that an ``extends`` names: a guest that extends one has nothing in common
            with the others.

    Raises:
        ScenarioError: a scenario that a guest extends is not there.
    """
    fleet = _get(document, "fleet")
    if not isinstance(document, MappingNode) or not isinstance(fleet, MappingNode):
        return document
    common = [(key, value) for key, value in document.value if key.value not in _OWN]
    seed_node = _get(document, "seed")
    seed = core_value(seed_node.value) if isinstance(seed_node, ScalarNode) else 0
    guests: list[tuple[Node, Node]] = []
    for key, value in fleet.value:
        if inner := _get(value, "fleet"):
            raise ScenarioError(str(DocumentError(inner, f"fleet.{key.value}.fleet", WITHIN)))
        for name in _names(key):
            if len(guests) == FLEET_LIMIT:
                raise ScenarioError(
                    str(DocumentError(key, "fleet", f"expected at most {FLEET_LIMIT} guests"))
                )
            base: Node | None = _mapping(key, common)
            extends = _get(value, "extends")
            if isinstance(extends, ScalarNode) and core_value(extends.value) is not None:
                base = base_of(extends)
            number = seed + len(guests) if isinstance(seed, int) else None
            made = merge(base, _own_of(key, name, number))
            made = merge(made, _without(value, "extends"))
            guests.append((_text(key, name), _without(made, "extends")))
    kept = [
        (key, _mapping(value, guests) if key.value == "fleet" else value)
        for key, value in document.value
        if key.value in _OWN and key.value != "extends"
    ]
    return MappingNode(document.tag, kept, document.start_mark)


def _own_of(key: Node, name: str, seed: int | None) -> Node:
    """Return what a guest has if it does not say otherwise: it is called by its name, and seeded."""
    own: list[tuple[Node, Node]] = [
        (_text(key, "guest"), _mapping(key, [(_text(key, "hostname"), _text(key, name))]))
    ]
    if seed is not None:
        own.append((_text(key, "seed"), ScalarNode(_TEXT, str(seed), key.start_mark)))
    return _mapping(key, own)


def pick(document: Node, name: str, base_of: Callable[[ScalarNode], Node | None]) -> Node:
    """Return one guest of a fleet as a scenario of its own.

    Raises:
        ScenarioError: there is no such guest.
    """
    laid = lay_out(document, base_of)
    fleet = _get(laid, "fleet")
    if not isinstance(laid, MappingNode) or not isinstance(fleet, MappingNode):
        raise ScenarioError(f"no fleet, so it has no guest '{name}'")
    known = {key.value: value for key, value in fleet.value}
    if name not in known:
        raise ScenarioError(f"there is no guest '{name}'{did_you_mean(name, known)}")
    told = [(k, v) for k, v in laid.value if k.value in _ABOUT]
    return merge(_mapping(laid, told), known[name])


def _names(key: Node) -> Iterator[str]:
    """Yield the names that a key stands for: ``web{1..3}`` is three."""
    found = _RANGE.fullmatch(key.value) if isinstance(key, ScalarNode) else None
    if found is None:
        yield str(key.value)
        return
    start, first, last, end = found.groups()
    for number in range(int(first), int(last) + 1):
        yield f"{start}{number:0{len(first) if first[0] == '0' else 1}}{end}"


def _get(node: Node, name: str) -> Node | None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == name:
                found: Node = value
                return found
    return None


def _without(node: Node, name: str) -> Node:
    if isinstance(node, ScalarNode) and core_value(node.value) is None:
        return _mapping(node, [])
    if not isinstance(node, MappingNode):
        return node
    kept = [(key, value) for key, value in node.value if key.value != name]
    return MappingNode(node.tag, kept, node.start_mark)


def _mapping(place: Node, members: list[tuple[Node, Node]]) -> MappingNode:
    return MappingNode("tag:yaml.org,2002:map", members, place.start_mark, place.end_mark)


def _text(place: Node, text: str) -> ScalarNode:
    return ScalarNode(_TEXT, text, place.start_mark, place.end_mark, style="'")
