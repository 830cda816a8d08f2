"""Changes to a scenario that a command line says: one setting, or one more fault."""

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from qgasim.errors import ScenarioError
from qgasim.scenario.document import compose, merge

__all__ = ["add_fault", "change_setting", "lay_changes"]


def change_setting(text: str, name: str) -> Node:
    """Read ``guest.hostname=db1``: a path of keys, and a value in YAML.

    Args:
        text: what the user wrote.
        name: what errors call it, as in ``--set``.

    Returns:
        the document to lay on a scenario.

    Raises:
        ScenarioError: it is none.
    """
    path, equals, said = text.partition("=")
    keys = path.split(".")
    value = compose(said, f"{name} {path}") if equals and all(keys) else None
    if value is None:
        raise ScenarioError(f"{name}: expected KEY=VALUE, as in guest.hostname=db1, found {text!r}")
    for key in reversed(keys):
        value = _mapping(key, value)
    return value


def add_fault(text: str, name: str) -> Node:
    """Read ``{kind: hang, on: guest-ping}``: a fault in YAML, to be added to those of a scenario.

    Args:
        text: what the user wrote.
        name: what errors call it, as in ``--fault``.

    Returns:
        the document to lay on a scenario.

    Raises:
        ScenarioError: it is no YAML.
    """
    fault = compose(text, name)
    if fault is None:
        raise ScenarioError(f"{name}: expected a fault, as in '{{kind: hang, on: guest-ping}}'")
    mark = fault.start_mark
    return _mapping("+faults", SequenceNode(_tag("seq"), [fault], mark, fault.end_mark))


def lay_changes(node: Node, changes: list[Node]) -> Node:
    """Lay *changes* on a scenario, one after the other."""
    for change in changes:
        node = merge(node, change, opens="fleet")
    return node


def _mapping(key: str, value: Node) -> Node:
    mark: yaml.Mark = value.start_mark
    return MappingNode(
        _tag("map"), [(ScalarNode(_tag("str"), key, mark, mark), value)], mark, value.end_mark
    )


def _tag(kind: str) -> str:
    return f"tag:yaml.org,2002:{kind}"
