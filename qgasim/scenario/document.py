"""YAML documents by the rules of YAML 1.2, with the place of everything.

PyYAML reads the syntax; what a plain scalar means is decided here and in `decode`, by the type that
is wanted, so that ``no``, ``0123`` and ``52:54:00:12:34:56`` stay the texts they look like.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from qgasim.errors import ScenarioError
from qgasim.scenario.syntax import explain, place_in

__all__ = [
    "LEVEL_LIMIT",
    "TEXT_LIMIT",
    "DocumentError",
    "Node",
    "check_tag",
    "compose",
    "core_value",
    "kind_of",
    "merge",
    "place_of",
    "plain_value",
    "read_text",
    "say",
]

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Characters in a document.
TEXT_LIMIT: Final = 16 << 20
#: Nodes that one document may expand to: aliases of aliases grow without end.
NODE_LIMIT: Final = 200_000
#: Lists and mappings in each other: more than a user writes, and less than Python can follow.
LEVEL_LIMIT: Final = 100
_TOO_DEEP: Final = f"nested too deeply (expected at most {LEVEL_LIMIT} levels)"
#: What PyYAML makes of nodes without a tag.
_KNOWN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("bool", "float", "int", "map", "merge", "null", "seq", "str", "timestamp", "value")
)


class DocumentError(Exception):
    """Something wrong at a node: where, and what."""

    def __init__(self, node: Node, path: str, text: str) -> None:
        super().__init__(text)
        self.node = node
        self.path = path

    def __str__(self) -> str:
        return f"{place_of(self.node)}: {say(self.path, str(self.args[0]))}"


def say(path: str, text: str) -> str:
    """Return what is wrong at *path* in one line of bearable length."""
    text = re.sub(r"(\S{100})\S{100,}", r"\1...", text)
    line = f"{path}: {text}" if path else text
    return _UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], line)


_UNPRINTABLE: Final = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def check_tag(node: Node, path: str) -> None:
    """Refuse tags (``!!binary``): they have no meaning in a scenario."""
    if node.tag not in _KNOWN_TAGS:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        hint = " (bytes are written as {base64: ...})" if tag == "!!binary" else ""
        raise DocumentError(node, path, f"unsupported tag {tag}{hint}")


def place_of(node: Node) -> str:
    """Return where a node is: ``file:line:column``."""
    mark = node.start_mark
    return f"{mark.name}:{mark.line + 1}:{mark.column + 1}"


def read_text(data: bytes, name: str) -> str:
    """Return the text of a file; *name* is what errors call it.

    Raises:
        ScenarioError: it is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        where = place_in(before, len(before), name)
        raise ScenarioError(f"{where}: not UTF-8 (save it so)") from None


@lru_cache(maxsize=64)
def compose(text: str, name: str) -> Node | None:
    """Read a document into nodes; None if it is empty. *name* is what errors call the file.

    The same text of the same file gives the same nodes again: they are never changed.
    """
    if len(text) > TEXT_LIMIT:
        where = place_in(text, TEXT_LIMIT, name)
        raise ScenarioError(f"{where}: too long (expected at most {TEXT_LIMIT >> 20} MiB)")
    try:
        loader = _Loader(text)
    except UnicodeEncodeError as error:
        where = place_in(text, error.start, name)
        raise ScenarioError(f"{where}: not Unicode: half a surrogate pair") from None
    except yaml.YAMLError as error:
        raise ScenarioError(explain(error, text, name)) from None
    loader.name = name
    try:
        node: Node | None = loader.get_single_node()
    except yaml.YAMLError as error:
        raise ScenarioError(explain(error, text, name)) from None
    except RecursionError:
        raise ScenarioError(f"{_find_deepest(text, name)}: {_TOO_DEEP}") from None
    except ValueError as error:
        raise ScenarioError(f"{name}: not YAML: {error}") from None
    finally:
        loader.dispose()
    if node is not None:
        _name(node, name)
    return node


def _find_deepest(text: str, name: str) -> str:
    """Return the place of what is nested too deeply in *text*."""
    # The whole document is none of them.
    depth = -1
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > LEVEL_LIMIT and event.start_mark is not None:
            return f"{name}:{event.start_mark.line + 1}:{event.start_mark.column + 1}"
    return name


def _name(root: Node, name: str) -> None:
    """Write *name* into the marks (the C loader calls all files alike); refuse endless aliases."""
    todo: list[tuple[Node, tuple[int, ...]]] = [(root, ())]
    count = 0
    while todo:
        node, above = todo.pop()
        count += 1
        mark = node.start_mark
        node.start_mark = yaml.Mark(name, mark.index, mark.line, mark.column, None, 0)
        if id(node) in above:
            raise ScenarioError(f"{place_of(node)}: an alias of something that it is in")
        if len(above) > LEVEL_LIMIT:
            raise ScenarioError(f"{place_of(node)}: {_TOO_DEEP}")
        if count > NODE_LIMIT:
            text = f"too much, with all aliases followed (expected at most {NODE_LIMIT} values)"
            raise ScenarioError(f"{place_of(node)}: {text}")
        inner = (*above, id(node))
        if isinstance(node, MappingNode):
            for key, value in node.value:
                todo += [(key, inner), (value, inner)]
        elif isinstance(node, SequenceNode):
            todo += [(item, inner) for item in node.value]


_PLAIN: Final[tuple[tuple[re.Pattern[str], Callable[[str], int | float | bool | None]], ...]] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]{1,40}"), int),
    (re.compile(r"0o[0-7]{1,40}"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]{1,40}"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda _: float("nan")),
)


def plain_value(node: ScalarNode) -> str | int | float | bool | None:
    """Return what a scalar means in YAML 1.2's core schema."""
    return str(node.value) if node.style else core_value(node.value)


def core_value(text: str) -> str | int | float | bool | None:
    """Return what an unquoted text means in YAML 1.2's core schema."""
    for pattern, convert in _PLAIN:
        if pattern.fullmatch(text):
            return convert(text)
    return text


def kind_of(node: Node) -> str:
    """Return what a node is, for an error message."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    assert isinstance(node, ScalarNode)
    value = plain_value(node)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"a boolean ({node.value})"
    if isinstance(value, int | float):
        return f"a number ({node.value})"
    text = node.value if len(node.value) <= 40 else node.value[:37] + "..."
    return repr(text)


def _nothing(node: Node) -> MappingNode:
    return MappingNode("tag:yaml.org,2002:map", [], node.start_mark, node.end_mark)


def merge(base: Node | None, over: Node, *, opens: str = "", is_open: bool = False) -> Node:
    """Lay *over* on *base*: mappings are merged key by key, ``+key`` appends to a list.

    Args:
        base: what is below; None: nothing.
        over: what is above.
        opens: a key below which ``+key`` stays what it is where there is no list yet: the result is
            still to be laid on something.
        is_open: whether this is below such a key.
    """
    if not isinstance(over, MappingNode):
        return over
    if not isinstance(base, MappingNode):
        base = _nothing(over)
    result: dict[str, tuple[Node, Node]] = {}
    # What is wrong is left as it is: keys that are no texts, and second ones.
    wrong: list[tuple[Node, Node]] = []
    for key, value in base.value:
        is_wrong = not isinstance(key, ScalarNode) or key.value in result
        if is_wrong:
            wrong.append((key, value))
        else:
            result[key.value] = (key, value)
    seen: set[str] = set()
    for key, value in over.value:
        name = key.value
        if not isinstance(key, ScalarNode) or name in seen:
            wrong.append((key, value))
            continue
        seen.add(name)
        if name.startswith("+") and isinstance(value, SequenceNode):
            _append(result, key, value, is_open=is_open)
            continue
        if is_open:
            result.pop(f"+{name}", None)
        below = result[name][1] if name in result else _nothing(value)
        result[name] = (key, merge(below, value, is_open=is_open or name == opens))
    return MappingNode(over.tag, [*result.values(), *wrong], over.start_mark, over.end_mark)


def _append(
    result: dict[str, tuple[Node, Node]], key: ScalarNode, more: SequenceNode, *, is_open: bool
) -> None:
    """Append *more* to the list that *key*, without its plus, has in *result*."""
    name = key.value[1:]
    for known in (name, key.value):
        old = result.get(known)
        if old is not None and isinstance(old[1], SequenceNode):
            items = [*old[1].value, *more.value]
            result[known] = (
                old[0], SequenceNode(more.tag, items, more.start_mark, more.end_mark),
            )  # fmt: skip
            return
    if is_open:
        result[key.value] = (key, more)
    else:
        result[name] = (ScalarNode(key.tag, name, key.start_mark), more)
