"""Who may import whom, and a few rules of the house that no linter knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "qgasim"
#: What a layer may import of qgasim. A layer is a module or package right below `qgasim`; within
#: a package, everything may import everything but the package itself (see below).
LAYERS: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "naming": set(),
    "effects": set(),
    "dialect": set(),
    "wire": {"errors"},
    "base64": {"errors"},
    "schema": {"dialect"},
    "arguments": {"errors", "dialect", "schema", "wire"},
    "results": {"base64", "dialect", "schema", "wire"},
    "matching": set(),
    "stubs": {"errors", "matching"},
    "states": set(),
    "faults": {"effects", "envelope", "errors", "guest", "matching", "naming", "states", "wire"},
    "registry": {"arguments", "dialect", "errors", "results", "schema", "stubs", "wire"},
    "guest": {"errors"},
    "refusals": {"dialect", "registry"},
    "snapshot": {"guest", "naming"},
    "personality": {"dialect", "guest", "registry"},
    "journal": {
        "effects",
        "envelope",
        "errors",
        "faults",
        "guest",
        "states",
        "timeline",
        "wire",
    },
    "handles": {"guest"},
    "envelope": {"dialect", "errors", "registry", "results", "stubs", "wire"},
    "agent": {
        "dialect",
        "effects",
        "envelope",
        "errors",
        "faults",
        "guest",
        "handles",
        "matching",
        "personality",
        "refusals",
        "registry",
        "snapshot",
        "stubs",
        "wire",
    },
    "timeline": {"dialect", "guest", "matching", "naming", "states"},
    "channel": {"effects", "agent", "guest"},
    "commands": {"errors", "handles", "base64", "schema", "refusals", "registry", "agent", "guest"},
    "scenario": {
        "errors",
        "naming",
        "dialect",
        "agent",
        "channel",
        "commands",
        "faults",
        "guest",
        "matching",
        "personality",
        "snapshot",
        "states",
        "stubs",
        "timeline",
    },
    "verification": {
        "errors",
        "commands",
        "events",
        "guest",
        "journal",
        "matching",
        "naming",
        "wire",
    },
    "findings": {"base64", "channel", "envelope", "errors", "faults", "guest", "journal", "wire"},
    "listen": {"errors"},
    "server": {"effects", "channel", "listen"},
    "foreground": {"channel", "listen", "server"},
    "threads": {"channel", "errors", "listen", "server"},
    "proxy": {"naming"},
    "assigning": {"naming", "scenario"},
    "events": {"scenario"},
    "live": {
        "agent",
        "assigning",
        "channel",
        "errors",
        "events",
        "faults",
        "findings",
        "guest",
        "journal",
        "matching",
        "naming",
        "proxy",
        "scenario",
        "states",
        "stubs",
        "timeline",
        "verification",
    },
    "trio_guest": {"channel", "guest", "live", "scenario", "server"},
    "pytest_plugin": {"__init__", "errors", "testing"},
    "testing": {
        "__init__",
        "channel",
        "dialect",
        "errors",
        "findings",
        "guest",
        "listen",
        "live",
        "naming",
        "scenario",
        "server",
        "threads",
        "trio_guest",
    },
    "client": {"errors"},
    "trio_client": {"client", "errors"},
    "standin": {
        "__init__",
        "agent",
        "channel",
        "commands",
        "dialect",
        "errors",
        "foreground",
        "listen",
        "registry",
        "scenario",
        "server",
    },
    "compare": {
        "__init__",
        "channel",
        "client",
        "dialect",
        "errors",
        "listen",
        "registry",
        "results",
        "scenario",
        "schema",
        "wire",
    },
    "cli": {
        "__init__",
        "client",
        "compare",
        "dialect",
        "errors",
        "foreground",
        "listen",
        "naming",
        "scenario",
        "threads",
        "wire",
    },
}
#: What a layer may import besides for its annotations only (``if TYPE_CHECKING``).
TYPES_ONLY: dict[str, set[str]] = {
    # The public names, imported when they are used.
    "__init__": {
        "agent",
        "client",
        "errors",
        "faults",
        "findings",
        "guest",
        "journal",
        "live",
        "matching",
        "scenario",
        "server",
        "stubs",
        "threads",
        "trio_client",
        "trio_guest",
        "verification",
    },
    "registry": {"agent"},
    "faults": {"agent"},
    "states": {"agent"},
    "snapshot": {"agent"},
    "timeline": {"agent"},
    "agent": {"journal"},
    "cli": {"channel"},
    "journal": {"channel"},
    "pytest_plugin": {"live", "trio_guest"},
}
#: Who may import what does I/O, waits, or is somebody else's.
RESTRICTED: dict[str, set[str]] = {
    "trio": {
        "foreground",
        "server",
        "standin.ports",
        "standin.process",
        "threads",
        "testing.guests",
        "trio_client",
        "trio_guest",
    },
    "socket": {
        "listen",
        "server",
        "client",
        "compare.connection",
        "standin.activation",
        "standin.process",
    },
    "select": {"cli.log", "client", "server"},
    "threading": {"threads"},
    "subprocess": set(),
    "asyncio": set(),
    "time": {"guest.clock", "client", "compare.connection", "standin.log"},
    "yaml": {"scenario"},
    "faker": {"scenario.fill"},
    "pyfakefs": {"guest"},
    "passlib": {"guest"},
    "pybase64": {"base64"},
    "tempfile": {"listen"},
    "argparse": {"cli"},
    "pathlib": {"scenario.__init__", "testing.wishes"},
    "json": {
        "client",
        "trio_client",
        "cli",
        "compare.__init__",
        "compare.probes",
        "faults.base",
        "journal.__init__",
        "scenario.__init__",
        "scenario.schema",
        "testing.wishes",
    },
    "logging": set(),
    "attr": set(),
    "dataclasses": set(),
}
#: How many lines a module may have.
LIMIT = 500
#: A layer in a row of docs/design.md; a package has a slash.
NAME = re.compile(r"`(\w+)/?`")
#: Where releases are compared.
KNOWS_RELEASES = {"registry", "dialect.facts", "dialect.releases"}

MODULES: dict[str, Path] = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES: dict[str, ast.Module] = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(tree: ast.AST, *, types_only: bool = False) -> Iterator[tuple[str, bool]]:
    """Give each imported module, in functions too, and whether it is for annotations only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, types_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner.removeprefix("qgasim.") in LAYERS
                yield (inner if is_module else node.module), types_only
        else:
            yield from imports(node, types_only=types_only or is_type_checking(node))


IMPORTS: dict[str, list[tuple[str, bool]]] = {
    name: list(imports(tree)) for name, tree in TREES.items()
}


def layer_of(module: str) -> str:
    """Give the layer of a module as it is imported; ``__init__`` for `qgasim` itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_every_layer_is_in_the_table() -> None:
    assert {name.split(".", maxsplit=1)[0] for name in MODULES} == set(LAYERS)


def test_the_table_has_no_cycles() -> None:
    done: set[str] = set()
    while ready := [layer for layer in LAYERS if layer not in done and LAYERS[layer] <= done]:
        done.update(ready)
    assert done == set(LAYERS)


def test_the_design_lists_every_layer_above_what_it_imports() -> None:
    modules = (ROOT.parent / "docs" / "design.md").read_text().partition("## Modules")[2]
    rows = re.findall(r"^\| (`.*?) \|", modules.partition("\n## ")[0], re.MULTILINE)
    listed = [(name, number) for number, row in enumerate(rows) for name in NAME.findall(row)]
    place = dict(listed)
    assert len(place) == len(listed)
    assert set(place) == {layer for layer in LAYERS if not layer.startswith("__")}
    for layer, number in place.items():
        assert all(number <= place[below] for below in LAYERS[layer] - {"__init__"}), layer


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    layer = module.split(".", maxsplit=1)[0]
    for imported, types_only in IMPORTS[module]:
        if imported.split(".", maxsplit=1)[0] != "qgasim":
            continue
        allowed = LAYERS[layer] | {layer}
        if types_only:
            allowed |= TYPES_ONLY.get(layer, set())
        assert layer_of(imported) in allowed, f"{module} imports {imported}"


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_needs_everything_that_it_is_allowed(layer: str) -> None:
    used = {
        (layer_of(imported), types_only)
        for module, imported_modules in IMPORTS.items()
        if module.split(".", maxsplit=1)[0] == layer
        for imported, types_only in imported_modules
        if imported.split(".", maxsplit=1)[0] == "qgasim" and layer_of(imported) != layer
    }
    assert LAYERS[layer] == {name for name, types_only in used if not types_only}
    only = {name for name, types_only in used if types_only} - LAYERS[layer]
    assert TYPES_ONLY.get(layer, set()) == only


@pytest.mark.parametrize("module", MODULES)
def test_a_module_does_not_import_the_package_above_it_except_for_types(module: str) -> None:
    # `Guest` knows its parts; the parts know it only by name.
    if not module.startswith("guest.") or module == "guest.__init__":
        return
    runtime = {imported for imported, types_only in IMPORTS[module] if not types_only}
    assert "qgasim.guest" not in runtime


@pytest.mark.parametrize("library", RESTRICTED)
def test_only_some_modules_import(library: str) -> None:
    found = {
        module
        for module, imported_modules in IMPORTS.items()
        for imported, _ in imported_modules
        if imported.split(".", maxsplit=1)[0] == library
    }
    allowed = RESTRICTED[library]
    left = {m for m in found if m not in allowed and m.split(".", maxsplit=1)[0] not in allowed}
    assert left == set()


def is_release(node: ast.expr) -> bool:
    """Whether an operand is a release's number: a name that says so, or a literal such as (8, 0)."""
    name = ast.unparse(node).rpartition(".")[2]
    is_pair = isinstance(node, ast.Tuple) and all(isinstance(e, ast.Constant) for e in node.elts)
    return is_pair or name in {"version", "since", "release"}


@pytest.mark.parametrize("module", [name for name in MODULES if name not in KNOWS_RELEASES])
def test_releases_are_compared_in_registry_and_dialect_only(module: str) -> None:
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Compare) and any(
            isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops
        ):
            operands = [node.left, *node.comparators]
            assert not any(map(is_release, operands)), f"{module}:{node.lineno}"


def test_the_check_of_comparisons_sees_one() -> None:
    seen = {
        module
        for module in KNOWS_RELEASES
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Compare) and any(map(is_release, [node.left, *node.comparators]))
    }
    assert seen == KNOWS_RELEASES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_not_too_long(module: str) -> None:
    length = len(MODULES[module].read_text().splitlines())
    assert length <= LIMIT, f"{length} lines"


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_private(module: str) -> None:
    for part in module.split("."):
        assert not part.startswith("_") or part in {"__init__", "__main__"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for_and_what_it_offers(module: str) -> None:
    tree = TREES[module]
    assert ast.get_docstring(tree)
    if module not in {"__init__", "__main__"}:
        names = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        assert "__all__" in names
