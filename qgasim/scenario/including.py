"""``include: NAME`` among a guest's programs: the entries of a file of programs, in its place."""

from collections.abc import Callable, Iterator
from typing import Final

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from qgasim.errors import ScenarioError
from qgasim.scenario.document import kind_of, place_of, plain_value

__all__ = ["include_programs", "programs_of"]

Read = Callable[[ScalarNode], SequenceNode]
#: More programs than a user describes.
LIMIT: Final = 10_000


def include_programs(document: Node, read: Read) -> Node:
    """Return a scenario with the entries of the files that its lists of programs name.

    Args:
        document: the scenario, not changed.
        read: gives the entries of a file, by its name.
    """

    def expand(programs: Node) -> Node:
        if not isinstance(programs, SequenceNode):
            return programs
        items = [item for entry in programs.value for item in _expand(entry, read)]
        if len(items) > LIMIT:
            text = f"expected at most {LIMIT} programs, found {len(items)}"
            raise ScenarioError(f"{place_of(programs)}: {text}")
        return SequenceNode(programs.tag, items, programs.start_mark, programs.end_mark)

    def in_guest(guest: Node) -> Node:
        return _change(guest, {"programs": expand, "+programs": expand})

    def in_fleet(fleet: Node) -> Node:
        if not isinstance(fleet, MappingNode):
            return fleet
        guests = [(key, _change(value, {"guest": in_guest})) for key, value in fleet.value]
        return MappingNode(fleet.tag, guests, fleet.start_mark, fleet.end_mark)

    return _change(document, {"guest": in_guest, "fleet": in_fleet})


def _change(node: Node, changes: dict[str, Callable[[Node], Node]]) -> Node:
    """Return a mapping with what some of its keys have changed."""
    if not isinstance(node, MappingNode):
        return node
    if not any(isinstance(key, ScalarNode) and key.value in changes for key, _ in node.value):
        return node
    pairs = [
        (key, changes[key.value](value))
        if isinstance(key, ScalarNode) and key.value in changes
        else (key, value)
        for key, value in node.value
    ]
    return MappingNode(node.tag, pairs, node.start_mark, node.end_mark)


def _expand(entry: Node, read: Read) -> Iterator[Node]:
    name = _included(entry)
    if name is None:
        yield entry
    elif len(entry.value) > 1:
        text = "'include' stands for whole entries (write no other key beside it)"
        raise ScenarioError(f"{place_of(entry)}: guest.programs: {text}")
    elif not isinstance(name, ScalarNode) or not isinstance(plain_value(name), str):
        text = f"expected the name of a file of programs, found {kind_of(name)}"
        raise ScenarioError(f"{place_of(name)}: guest.programs: include: {text}")
    else:
        yield from read(name).value


def _included(entry: Node) -> Node | None:
    """Return what an entry includes; None if it is a program's own."""
    if not isinstance(entry, MappingNode):
        return None
    return next((value for key, value in entry.value if key.value == "include"), None)


def programs_of(document: Node | None, name: str) -> SequenceNode:
    """Return the entries of a file of programs.

    Raises:
        ScenarioError: it is none.
    """
    if not isinstance(document, MappingNode):
        what = "an empty file" if document is None else kind_of(document)
        raise ScenarioError(f"{name}: expected a file of programs, found {what}")
    found: Node | None = None
    for key, value in document.value:
        if key.value == "programs":
            found = value
        elif key.value not in ("description", "origin"):
            text = f"unknown key '{key.value}' (expected one of description, origin, programs)"
            raise ScenarioError(f"{place_of(key)}: {text}")
    if not isinstance(found, SequenceNode):
        what = "none" if found is None else kind_of(found)
        raise ScenarioError(f"{name}: programs: expected a list, found {what}")
    return found
