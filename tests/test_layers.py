"""The rooms of the house and which may import which; a few rules that no linter knows."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent / "qgasim"
#: The rooms, from the bottom up, and what each imports: rooms that stand above it in this table. A room
#: is a module or a package right below `qgasim`.
ROOMS: dict[str, str] = {
    "__init__": "",
    "errors": "",
    "effects": "",
    "matching": "",
    "suggestions": "",
    "states": "",
    "dialect": "",
    "wire": "errors",
    "qapi": "dialect errors wire",
    "guest": "errors matching states",
    "userland": "errors guest matching",
    "faults": "dialect effects errors guest matching qapi states suggestions wire",
    "agent": "dialect effects errors faults guest matching qapi states wire",
    "commands": "agent errors guest qapi wire",
    "qmp": "agent dialect effects errors faults guest qapi wire",
    "simulation": (
        "agent dialect effects errors faults guest matching qapi qmp states suggestions wire"
    ),
    "scenario": (
        "agent commands dialect errors faults guest matching qmp simulation states suggestions"
        " userland"
    ),
    "strategies": "commands dialect faults guest qapi scenario simulation suggestions",
    "conversation": "agent dialect errors qapi wire",
    "findings": "errors faults guest qapi simulation wire",
    "serving": "effects errors guest qmp simulation",
    "client": "errors serving",
    "http": "errors serving suggestions",
    "testing": (
        "agent commands errors faults findings guest matching qmp scenario serving simulation"
        " states suggestions wire"
    ),
    "control": (
        "__init__ agent client conversation dialect errors faults findings guest http matching scenario serving"
        " simulation states suggestions testing wire"
    ),
    "drill": (
        "__init__ control dialect errors faults findings http qmp scenario serving simulation"
        " suggestions testing"
    ),
    "compare": "__init__ client dialect errors qapi scenario simulation wire",
    "record": (
        "__init__ agent client commands compare conversation dialect errors faults guest matching qapi scenario wire"
    ),
    "upstream": (
        "agent client compare conversation dialect effects errors faults guest qapi scenario serving simulation states wire"
    ),
    "pytest_plugin": (
        "__init__ agent control conversation dialect drill errors faults findings guest http scenario"
        " serving simulation suggestions testing upstream wire"
    ),
    "standin": "__init__ agent commands dialect errors qapi scenario serving simulation wire",
    "emulator": ("__init__ control errors guest qmp scenario serving simulation standin testing"),
    "cli": (
        "__init__ agent client compare control conversation dialect drill errors guest http qmp record scenario"
        " serving simulation suggestions testing upstream"
    ),
    "__main__": "cli",
}
#: Modules that may import what does I/O, waits, or comes from another project; a room stands for all of it.
RESTRICTED: dict[str, str] = {
    "trio": (
        "serving http control drill.command drill.runner drill.minimise client.trio testing.trio_guest"
        " testing.waiting pytest_plugin.control pytest_plugin.guests standin.endpoints standin.ports standin.process"
        " emulator.process upstream.link upstream.relay"
    ),
    "h11": "http",
    "socket": "cli.ctl.api serving http client standin.activation standin.endpoints upstream.link upstream.relay",
    "select": "cli.log client serving upstream.link",
    "threading": "cli.__init__ guest.processes.watchdog serving.threads",
    "subprocess": "testing.libvirt drill.command record.virsh",
    "asyncio": "testing.waiting",
    "time": "guest.system.clock client compare.connection standin.log",
    "yaml": "scenario",
    "faker": "scenario.fill",
    "hypothesis": "strategies",
    "pyfakefs": "guest.files userland",
    "passlib": "userland",
    "pybase64": "wire.base64",
    "tempfile": "serving.listen",
    "argparse": "cli",
    "pathlib": "scenario.__init__ scenario.reading pytest_plugin.markers",
    "json": (
        "client cli compare.__init__ compare.probes record emulator.command_line faults.base simulation.journal.__init__"
        " scenario.schema strategies pytest_plugin.markers"
    ),
    "logging": "",
    "attr": "",
    "dataclasses": "",
}
#: Modules in which releases are compared; all others ask the dialect for a fact.
#: (the capabilities: those of types of machine).
COMPARE_RELEASES = {
    "qapi.registry", "dialect.facts", "dialect.releases", "qmp.commands.capabilities",
}  # fmt: skip
#: How many lines a function and a class may have, docstring, comments and decorators included.
FUNCTION_LINES = 50
CLASS_LINES = 250
#: What is longer, and why.
LONG: dict[str, str] = {
    "guest.files.files.Files": "the system calls on files",
    "guest.files.stdio.Stream": "a stream of libio, function by function",
    "guest.files.stdio.Stream.seek": "libio's cases, in their order",
    "guest.files.tree.Tree.locate": "the kernel's walk of a path, in one loop",
    "guest.machine.Machine": "the parts of a machine, and what all others ask of it",
    "guest.machine.Machine.__init__": "the parts of a machine, in the order in which they need each other",
    "testing.live.LiveGuest": "what a test asks of its guest, a method each",
    "userland.shell.expansion.Expander": "the expansions of POSIX, which call each other",
    "userland.shell.interpreter.Shell": "the commands of POSIX, which call each other",
    "userland.shell.lexer.Scanner": "the lexer's states",
    "userland.shell.parser.Parser": "the grammar of POSIX, rule by rule",
    "wire.parser.parse": "the grammar of JSON in one loop, for speed",
}

PATHS: dict[str, Path] = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(ROOT.rglob("*.py"))
}


@cache
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text()) for name, path in PATHS.items()}


def names_imported(node: ast.AST) -> Iterator[str]:
    """Yield each imported name, in functions and for annotations only, too."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)


def module_of(name: str) -> str | None:
    """Return the module of qgasim that an imported name comes from; None: it is not of qgasim."""
    name = name.removeprefix("qgasim.") if name != "qgasim" else "__init__"
    while name:
        for found in (name, f"{name}.__init__"):
            if found in PATHS:
                return found
        name = name.rpartition(".")[0]
    return None


@cache
def names() -> dict[str, list[str]]:
    return {name: list(names_imported(tree)) for name, tree in trees().items()}


@cache
def imports() -> dict[str, set[str]]:
    """Return the modules of qgasim that each module imports."""
    return {
        module: {
            found
            for name in imported
            if name.partition(".")[0] == "qgasim"
            for found in [module_of(name) or "__init__"]
        }
        - {module}
        for module, imported in names().items()
    }


def room_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def test_a_room_imports_the_rooms_that_the_table_says() -> None:
    found: dict[str, set[str]] = {room_of(module): set() for module in PATHS}
    for module, imported in imports().items():
        if module != "__init__":
            found[room_of(module)] |= {room_of(name) for name in imported} - {room_of(module)}
    assert found == {room: set(rooms.split()) for room, rooms in ROOMS.items()}


def test_the_rooms_stand_above_what_they_import() -> None:
    order = list(ROOMS)
    for room, rooms in ROOMS.items():
        assert all(order.index(below) < order.index(room) for below in rooms.split()), room


def cycles() -> list[set[str]]:
    """Return the sets of modules that import each other, directly or not (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        path.append(module)
        for imported in imports()[module] - {"__init__"}:
            if imported not in number:
                visit(imported)
            if imported in path:
                lowest[module] = min(lowest[module], lowest[imported])
        if lowest[module] == number[module]:
            start = path.index(module)
            if len(path) - start > 1:
                found.append(set(path[start:]))
            del path[start:]

    for module in imports():
        if module not in number:
            visit(module)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert cycles() == []


def test_the_design_lists_every_room() -> None:
    page = (ROOT.parent / "docs" / "design.md").read_text()
    rooms = page.partition("## The house")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", rooms, re.MULTILINE)
    place = {name: at for at, row in enumerate(rows) for name in re.findall(r"`(\w+)/?`", row)}
    assert set(place) == {room for room in ROOMS if not room.startswith("__")}
    for room, below in ROOMS.items():
        assert all(
            place[room] <= place[b] for b in below.split() if b in place and room in place
        ), room


def test_only_some_modules_do_io_or_depend_on_others() -> None:
    offenders = [
        f"{module} imports {library}"
        for module, names in names().items()
        for library in {name.partition(".")[0] for name in names} & set(RESTRICTED)
        if not any(
            module == allowed or module.startswith(f"{allowed}.")
            for allowed in RESTRICTED[library].split()
        )
    ]
    assert offenders == []


def is_release(node: ast.expr) -> bool:
    """Return whether an operand is a release's number: its name says so, or it is a pair like (8, 0)."""
    name = ast.unparse(node).rpartition(".")[2]
    is_pair = isinstance(node, ast.Tuple) and all(isinstance(e, ast.Constant) for e in node.elts)
    return is_pair or name in {"version", "since", "release"}


def test_releases_are_compared_in_registry_and_dialect_only() -> None:
    # Equal sets: the check also shows that it sees the comparisons that there are.
    assert {
        module
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops)
        and any(map(is_release, [node.left, *node.comparators]))
    } == COMPARE_RELEASES


def definitions(node: ast.AST, name: str) -> Iterator[tuple[str, ast.stmt, int]]:
    """Yield the functions and classes in a module: name, node and number of lines."""
    for child in ast.iter_child_nodes(node):
        inner = name
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{name}.{child.name}"
            first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            assert child.end_lineno
            yield inner, child, child.end_lineno - first + 1
        yield from definitions(child, inner)


def test_functions_and_classes_are_short_but_for_those_with_a_reason() -> None:
    # Equal sets: an exception that is no longer needed is to be removed.
    long = {
        name: f"{lines} lines"
        for module, tree in trees().items()
        for name, node, lines in definitions(tree, module)
        if lines > (CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES)
    }
    new = {name: lines for name, lines in long.items() if name not in LONG}
    assert new == {}, "part them, or say why not in LONG"
    assert LONG.keys() - long.keys() == set(), "these are short now: take them out of LONG"


def test_no_module_is_private() -> None:
    parts = {part for module in PATHS for part in module.split(".")}
    assert {part for part in parts if part.startswith("_")} == {"__init__", "__main__"}


def test_a_module_says_what_it_is_for_and_what_it_offers() -> None:
    silent = [module for module, tree in trees().items() if not ast.get_docstring(tree)]
    assert silent == []
    closed = [
        module
        for module, tree in trees().items()
        if module not in {"__init__", "__main__"}
        and not any(
            isinstance(node, ast.Assign | ast.AnnAssign) and ast.unparse(node).startswith("__all__")
            for node in tree.body
        )
    ]
    assert closed == []
