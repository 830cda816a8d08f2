"""Values as a scenario would say them, read from Python, JSON, YAML or words: one language, one wording."""

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePath
from typing import Any, Final, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from qgasim.errors import ScenarioError
from qgasim.scenario.decode import Decoder
from qgasim.scenario.document import LEVEL_LIMIT, compose, say

__all__ = ["Draft", "make_node", "read_value", "read_words", "read_yaml"]

#: What Python has for addresses.
_ADDRESSES: Final = (IPv4Address, IPv6Address, IPv4Network, IPv6Network)
_TAG: Final = "tag:yaml.org,2002:"


def read_value(settings: Any, wanted: Any, name: str) -> Any:
    """Read settings from Python as they would be written in a scenario: ``by="30s"``.

    Raises:
        ScenarioError: they are no *wanted*; each line begins with *name* and the path.
    """
    return _read(make_node(settings, name), wanted, name, has_places=False)


def read_yaml(text: str, wanted: Any, name: str) -> Any:
    """Read YAML.

    Raises:
        ScenarioError: it is no *wanted*; each line begins with *name*, line and column.
    """
    node = compose(text, name)
    if node is None:
        node = make_node({}, name)
    return _read(node, wanted, name, has_places=True)


def read_words(pairs: Mapping[str, str], wanted: Any, name: str) -> Any:
    """Read settings that are all words, as behind the question mark of an address.

    Raises:
        ScenarioError: they are no *wanted*.
    """
    mark = yaml.Mark(name, 0, 0, 0, None, 0)
    items = [(_scalar(key, "'", mark), _scalar(word, None, mark)) for key, word in pairs.items()]
    node = MappingNode(f"{_TAG}map", cast("Any", items), mark, mark)
    return _read(node, wanted, name, has_places=False)


class Draft:
    """A mapping that is read later, when it is clear what it leaves out; it knows its places.

    `read_value` and `read_yaml` make one where a `Draft` is wanted.
    """

    def __init__(self, node: Node, name: str, *, has_places: bool) -> None:
        self._node = node
        self._name = name
        self._has_places = has_places
        values: dict[str, Any] = _read(node, dict[str, Any], name, has_places=has_places)
        #: The keys that are there, and those of them that are not null.
        self.keys = frozenset(values)
        self.given = frozenset(key for key, value in values.items() if value is not None)

    def read(self, wanted: Any, **missing: Any) -> Any:
        """Return what it says as a *wanted*; *missing*: values for keys that it does not have.

        Raises:
            ScenarioError: it is no *wanted*.
        """
        added = make_node({k: v for k, v in missing.items() if k not in self.keys}, self._name)
        node = MappingNode(
            self._node.tag,
            [*self._node.value, *added.value],
            self._node.start_mark,
            self._node.end_mark,
        )
        return _read(node, wanted, self._name, has_places=self._has_places)


def _read(node: Node, wanted: Any, name: str, *, has_places: bool) -> Any:
    if wanted is Draft:
        return Draft(node, name, has_places=has_places)
    decoder = Decoder()
    value = decoder.decode(node, wanted, "")
    if has_places:
        wrong = [str(error) for error in decoder.errors]
    else:
        wrong = [f"{name}: {say(error.path, str(error.args[0]))}" for error in decoder.errors]
    if wrong:
        raise ScenarioError("\n".join(wrong))
    return value


def make_node(value: Any, name: str) -> Node:
    """Return *value* as a node of a document.

    Raises:
        ScenarioError: no scenario could say it.
    """
    try:
        return _make(value, yaml.Mark(name, 0, 0, 0, None, 0), 0)
    except (TypeError, ValueError) as error:
        raise ScenarioError(f"{name}: cannot be written in a scenario ({error})") from None


def _make(value: Any, mark: yaml.Mark, level: int) -> Node:
    if level > LEVEL_LIMIT:
        raise ValueError(f"more than {LEVEL_LIMIT} levels")
    if isinstance(value, Mapping):
        items = [
            (_scalar(_key(key), "'", mark), _make(item, mark, level + 1))
            for key, item in cast("Mapping[object, object]", value).items()
        ]
        return MappingNode(f"{_TAG}map", cast("Any", items), mark, mark)
    if isinstance(value, list | tuple):
        nodes = [_make(item, mark, level + 1) for item in cast("Sequence[object]", value)]
        return SequenceNode(f"{_TAG}seq", nodes, mark, mark)
    if isinstance(value, str):
        return _scalar(value, "'", mark)
    if value is None:
        return _scalar("null", None, mark)
    if isinstance(value, bool):
        return _scalar("true" if value else "false", None, mark)
    if isinstance(value, int):
        return _scalar(str(value), None, mark)
    if isinstance(value, float):
        text = repr(value) if math.isfinite(value) else f"{value}".replace("inf", ".inf")
        return _scalar(".nan" if math.isnan(value) else text, None, mark)
    return _make(_write(value), mark, level)


def _scalar(text: str, style: str | None, mark: yaml.Mark) -> ScalarNode:
    return ScalarNode(f"{_TAG}str", text, mark, mark, style=style)


def _key(key: object) -> str:
    """Return a key as JSON would write it."""
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int | float):
        return str(key)
    raise TypeError(f"keys must be texts, not {type(key).__name__}")


def _write(value: object) -> str | float:
    """Return what stands for *value* in a scenario."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes: give a text, or base64 of a file")
    if isinstance(value, _ADDRESSES):
        return str(value)
    raise TypeError(f"{type(value).__name__} is nothing that it has")
