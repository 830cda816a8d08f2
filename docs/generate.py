"""Write what is made of the code: docs/faults.md, the reference in docs/scenario.md, the JSON Schema.

`make docs` calls it; tests/test_docs.py fails when something is stale.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from msgspec import Struct, UnsetType, structs

from qgasim.faults import AnyFault, Fault, connection, content, stream, timing
from qgasim.scenario import Scenario, library, load
from qgasim.scenario.decode import Decoder, hints_of, tag_field_of, tag_of
from qgasim.scenario.document import compose, core_value
from qgasim.scenario.dump import members_of
from qgasim.scenario.schema import (
    comments_of,
    default_of,
    describe,
    make_schema,
    structs_of,
    unit_of,
)

__all__ = ["EXAMPLES", "FAULTS", "MADE"]

HERE = Path(__file__).parent


def read_yaml(name: str) -> Any:
    """Read a file beside this one, by the rules of YAML 1.2."""
    node = compose((HERE / name).read_text(), name)
    assert node
    return Decoder().decode(node, Any, "")


TEXT = (HERE / "examples" / "faults.yaml").read_text()
EXAMPLES: dict[str, dict[str, Any]] = read_yaml("examples/faults.yaml")
#: Each example's fault as it is written.
FAULTS: dict[str, str] = dict(re.findall(r"^(\w+):\n  fault: (.*)", TEXT, re.MULTILINE))
CHAPTERS = {
    "In time": timing,
    "In bytes": stream,
    "In content": content,
    "In the connection and the agent": connection,
}
INTRODUCTION = """\
# Faults

<!-- Made by docs/generate.py (`make docs`); do not edit. -->

What goes wrong, on demand and the same way every time. Faults stand in a scenario under `faults`, and strike in the
order in which they are written; each changes what the one before has left.

```yaml
qgasim: 1
extends: debian-12
faults:
  - {kind: delay, on: guest-get-fsinfo, by: 30s, after: 2, times: 1}
  - {kind: error, on: {command: guest-exec, arguments: {path: {glob: "/opt/*"}}}, desc: "out of memory"}
  - {kind: truncate, on: "guest-file-*", keep: 100, probability: 0.01}
```

Of several faults that would answer in the command's place, the first does. In the examples `wait` says how long
nothing comes.

## Settings that all have
"""


def table(cls: type[Struct], leave_out: set[str]) -> str:
    comments, hints = comments_of(cls), hints_of(cls)
    rows = [
        f"| `{field.encode_name}` | {say_type(hints[field.name])} "
        f"| {show_default(field, hints[field.name])} | {comments[field.name]} |"
        for field in structs.fields(cls)
        if field.name not in leave_out
    ]
    head = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows]) if rows else ""


NAMES = {
    str: "text", int: "integer", float: "number", bool: "boolean", Any: "any value",
    type(None): "null",
}  # fmt: skip
#: What needs no quotes.
BARE = re.compile(r"[\w./-]+")


def say_type(hint: Any) -> str:
    """Say what may be written, with links to the tables of mappings."""
    origin = get_origin(hint)
    if unit := unit_of(hint):
        return unit
    if origin is Annotated:
        return say_type(get_args(hint)[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(hint))
    if origin in (list, tuple):
        return f"list of {say_type(get_args(hint)[0])}"
    if origin is dict:
        return f"mapping to {say_type(get_args(hint)[1])}"
    if tag_of(hint):
        return f"mapping with `{tag_field_of(hint)}`"
    if hint in TITLES:
        anchor = re.sub(r"[^\w -]", "", TITLES[hint].lower()).replace(" ", "-")
        return f"[mapping](scenario.md#{anchor})"
    members = [member for member in members_of(hint) if member is not UnsetType]
    # A union of kinds is named by its tag, once.
    said = dict.fromkeys(
        say_type(member) if member is not hint else NAMES[hint] for member in members
    )
    return " or ".join(said)


def show_default(field: structs.FieldInfo, hint: Any) -> str:
    if field.required:
        return "required"
    default = default_of(field, hint)
    if default in (None, ""):
        return ""
    if isinstance(default, str) and core_value(default) == default and BARE.fullmatch(default):
        return f"`{default}`"
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def make_faults_page() -> str:
    common = {field.name for field in structs.fields(Fault)}
    parts = [INTRODUCTION, table(Fault, set()), ""]
    kinds = {cls.__struct_config__.tag: cls for cls in get_args(AnyFault)}
    for title, module in CHAPTERS.items():
        parts += [f"## {title}", ""]
        for kind, cls in sorted(kinds.items()):
            if cls.__module__ != module.__name__:
                continue
            example = EXAMPLES[kind]
            parts += [f"### `{kind}`", "", describe(cls), ""]
            if settings := table(cls, common):
                parts += [settings, ""]
            parts += ["```yaml", f"faults:\n  - {FAULTS[kind]}", "```", ""]
            sent = [f"    > {text.strip()!s}" for text in example["send"]]
            seen = [f"    < {show_seen(item)}" for item in example["see"]]
            parts += [*sent, *seen, ""] if sent or seen else []
    return "\n".join(parts)


def show_seen(item: Any) -> str:
    if isinstance(item, dict):
        return f"(wait {item['wait']})"
    is_bytes = item.startswith(("{", "\xff", "\xef", "z", "D", "t", " "))
    return repr(item.encode("latin-1"))[2:-1] if is_bytes else f"({item})"


MARKER = "## All keys\n"


def make_scenario_page() -> str:
    """Give docs/scenario.md: what is written by hand up to the marker, then a table per Struct."""
    written, _, _ = (HERE / "scenario.md").read_text().partition(MARKER)
    parts = [
        f"{written}{MARKER}",
        "<!-- Made by docs/generate.py (`make docs`) from here on; do not edit. -->",
        "",
        "Where mappings are merged, which is outside lists, a list may also be given under `+key`:",
        "it is appended to that of the base. The kinds of faults are in [faults.md](faults.md).",
        "",
    ]
    for cls, title in TITLES.items():
        if cls not in get_args(AnyFault):
            parts += [f"### {title}", "", describe(cls), "", table(cls, set()), ""]
    return "\n".join(parts).rstrip("\n") + "\n"


def title_of(cls: type[Struct], place: str) -> str:
    """Say where a Struct stands in a scenario, ``*`` being any key."""
    title = f"`{place}`" if place else "The file"
    return f"{title}, `{tag_field_of(cls)}: {tag}`" if (tag := tag_of(cls)) else title


TITLES = {cls: title_of(cls, place) for cls, place in structs_of(Scenario).items()}


LIBRARY_INTRODUCTION = """\
# The library of scenarios

<!-- Made by docs/generate.py (`make docs`) from docs/library.yaml and scenarios/; do not edit. -->

Each is served by its name, as in `qgasim --scenario nic-without-ip`, and can be extended. `qgasim scenarios` lists them,
`qgasim show NAME` prints one with all that it takes from its base.
"""


def make_library_page() -> str:
    """Give docs/library.md: the guests, and what went wrong with clients, with its scenarios."""
    shipped = {name: load(path) for name, path in library().items()}
    rows: list[dict[str, Any]] = read_yaml("library.yaml")["rows"]
    told = {name for row in rows for name in row["names"]}
    parts = [LIBRARY_INTRODUCTION, "## Guests", "", "| name | what it is |", "| --- | --- |"]
    parts += [
        f"| `{name}` | {scenario.description.splitlines()[0]} |"
        for name, scenario in shipped.items()
        if name not in told
    ]
    names = [name for row in rows for name in row["names"]]
    count = len(set(names) & set(shipped))
    parts += ["", "## What went wrong with clients in the field", ""]
    parts += [f"{len(rows)} reports; {count} of their {len(set(names))} scenarios are there."]
    chapter = ""
    for row in rows:
        if row["chapter"] != chapter:
            chapter = row["chapter"]
            parts += ["", f"### {chapter}", "", "| | what went wrong | evidence | scenarios |"]
            parts += ["| --- | --- | --- | --- |"]
        scenarios = ", ".join(
            f"`{name}`" if name in shipped else f"{name} (to come)" for name in row["names"]
        )
        cells = [
            str(row["row"]),
            row["wrong"],
            row["evidence"],
            scenarios or "(a check of the client)",
        ]
        parts.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(parts) + "\n"


def make_schema_file() -> str:
    return json.dumps(make_schema(), indent=1) + "\n"


#: What is made, and how.
MADE: dict[Path, Callable[[], str]] = {
    HERE / "faults.md": make_faults_page,
    HERE / "library.md": make_library_page,
    HERE / "scenario.md": make_scenario_page,
    HERE.parent / "qgasim" / "scenario.schema.json": make_schema_file,
}

if __name__ == "__main__":
    for path, make in MADE.items():
        path.write_text(make())
