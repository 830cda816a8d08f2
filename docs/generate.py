"""Write what is made of the code: pages of the documentation, and the JSON Schema.

`make docs` calls it; tests/test_docs.py fails when something is stale.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from command_line_page import SHELLS, make_completion, make_manual_page
from commands_page import make_commands_page
from control_page import make_control_page
from msgspec import Struct, UnsetType, structs
from programs_page import make_programs_page
from qmp_page import make_qmp_page

from qgasim.commands import ALL_COMMANDS
from qgasim.dialect import (
    CHANGES,
    QUIRKS,
    RECORDED,
    RELEASES,
    Dialect,
    Family,
    Version,
    find_dialect,
    with_quirks,
)
from qgasim.faults import AnyFault, Fault, connection, content, events, legal, stream, timing
from qgasim.findings import KINDS
from qgasim.qapi.registry import Entry, compile_table
from qgasim.scenario import Scenario, library, load
from qgasim.scenario.decode import Decoder, hints_of, tag_field_of, tag_of, unit_of
from qgasim.scenario.document import compose, core_value
from qgasim.scenario.dump import members_of
from qgasim.scenario.schema import (
    comments_of,
    default_of,
    describe,
    make_schema,
    structs_of,
)
from qgasim.simulation.timeline import AnyEvent, Event
from qgasim.states import FROM_ANY, TRANSITIONS

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
    "In content, as the schema allows": legal,
    "In the connection and the agent": connection,
    "In events of the monitor": events,
}
INTRODUCTION = """\
# Faults

<!-- Made by docs/generate.py (`make docs`); do not edit. -->

What goes wrong, on demand and the same way every time. A scenario lists its faults under `faults`. They fire in this
order, and each changes what the one before has left. [Make a guest fail on demand](howto/failures.md) starts from the
symptoms, and has everything else that can happen to a guest.

```yaml
qgasim: 1
extends: debian-12
faults:
  - {kind: delay, on: guest-get-fsinfo, by: 30s, after: 2, times: 1}
  - {kind: error, on: {command: guest-exec, arguments: {path: {glob: "/opt/*"}}}, desc: "out of memory"}
  - {kind: truncate, on: "guest-file-*", keep: 100, probability: 0.01}
```

If several faults would answer in place of the command, the first one does. In the examples, `>` is sent by the client and
`<` by the agent; `(wait 250ms)` is how long nothing arrives.

## Settings that all faults have
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
    """Return what may be written, with links to the tables of mappings."""
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
        return f"[mapping](scenario.md#{anchor_of(TITLES[hint])})"
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
            sent = [
                f"    > {line}" for text in example["send"] for line in text.strip().split("\n")
            ]
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
    """Return docs/scenario.md: what is written by hand up to the marker, then a table per Struct."""
    written, _, _ = (HERE / "scenario.md").read_text().partition(MARKER)
    common = {field.name for field in structs.fields(Event)}
    parts = [
        f"{with_contents(written)}{MARKER}",
        "<!-- Made by docs/generate.py (`make docs`) from here on; do not edit. -->",
        "",
        "Where mappings are merged, which is outside lists, a list may also be given under `+key`:",
        "it is appended to that of the base. The kinds of faults are in [faults.md](faults.md).",
        "",
    ]
    others = [cls for cls in TITLES if not issubclass(cls, Event | Fault)]
    for cls in others:
        parts += [f"### {TITLES[cls]}", "", describe(cls), "", table(cls, set()), ""]
    parts += ["### `timeline[]`: settings that all events have", "", describe(Event), ""]
    parts += [table(Event, set()), ""]
    for cls in sorted(get_args(AnyEvent), key=lambda cls: str(tag_of(cls))):
        settings = table(cls, common)
        parts += [f"### {TITLES[cls]}", "", describe(cls), ""]
        parts += [settings, ""] if settings else []
    return "\n".join(parts).rstrip("\n") + "\n"


#: What stands around the table of contents of docs/scenario.md.
CONTENTS = "<!-- contents, made by docs/generate.py -->\n"
END_OF_CONTENTS = "<!-- end of contents -->\n"


def with_contents(written: str) -> str:
    """Return a page with a list of its sections in the place that it has for one."""
    before, _, rest = written.partition(CONTENTS)
    _, _, after = rest.partition(END_OF_CONTENTS)
    titles = [*re.findall(r"^## (.*)", after, re.MULTILINE), MARKER.removeprefix("## ").strip()]
    lines = [f"- [{title}](#{anchor_of(title)})" for title in titles]
    return "\n".join([f"{before}{CONTENTS}", *lines, "", f"{END_OF_CONTENTS}{after}"])


def anchor_of(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def title_of(cls: type[Struct], place: str) -> str:
    """Return where a Struct stands in a scenario, ``*`` being any key."""
    title = f"`{place}`" if place else "The file"
    return f"{title}, `{tag_field_of(cls)}: {tag}`" if (tag := tag_of(cls)) else title


TITLES = {cls: title_of(cls, place) for cls, place in structs_of(Scenario).items()}


LIBRARY_INTRODUCTION = """\
# The library of scenarios

<!-- Made by docs/generate.py (`make docs`) from docs/library.yaml and scenarios/; do not edit. -->

Each is served by its name, as in `qgasim --scenario nic-without-ip`, and can be extended. `qgasim scenarios` lists them,
`qgasim show NAME` prints one with all that it takes from its base.
`qgasim drill` runs a client against any choice of them: see [howto/drill.md](howto/drill.md).
"""
EXPECTATIONS = """\
## What a careful client does

`qgasim scenarios --tag TAG` lists the scenarios of a tag, `qgasim drill --tag TAG` runs a client against them.
Severity says what a client that gets it wrong does to its users. High: a guest or data is lost, a guest stays frozen,
or something wrong is acted upon. Medium: the client hangs, fails, or reports what is not so. Low: it is slower, or
shows less than it could.
"""


def link(name: str) -> str:
    """Lead to the scenario of this name."""
    return f"[`{name}`](../scenarios/{name}.yaml)"


def make_library_page() -> str:
    """Return docs/library.md: the guests, and what went wrong with clients, with its scenarios."""
    shipped = {name: load(path) for name, path in library().items()}
    known = read_yaml("library.yaml")
    rows: list[dict[str, Any]] = known["rows"]
    told = {name for row in rows for name in row["names"]}
    parts = [LIBRARY_INTRODUCTION, "## Guests", "", "| name | what it is |", "| --- | --- |"]
    parts += [
        f"| {link(name)} | {scenario.description.splitlines()[0]} |"
        for name, scenario in shipped.items()
        if name not in told
    ]
    names = [name for row in rows for name in row["names"]]
    count = len(set(names) & set(shipped))
    parts += ["", "## What went wrong with clients in the field", ""]
    parts += [f"{len(rows)} reports, {count} scenarios."]
    parts += ["A number is that of an issue or a pull request, hexadecimal digits are a commit's."]
    chapter = ""
    for row in rows:
        if row["chapter"] != chapter:
            chapter = row["chapter"]
            parts += ["", f"### {chapter}", "", "| | what went wrong | evidence | scenarios |"]
            parts += ["| --- | --- | --- | --- |"]
        scenarios = ", ".join(
            link(name) if name in shipped else f"{name} (to come)" for name in row["names"]
        )
        cells = [
            str(row["row"]),
            row["wrong"],
            row["evidence"],
            scenarios or "(a check of the client)",
        ]
        parts.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    parts += ["", *make_expectations(shipped)]
    parts += ["", "## Projects", "", "| called | where it is |", "| --- | --- |"]
    parts += [f"| {name} | {place} |" for name, place in known["projects"].items()]
    return "\n".join(parts) + "\n"


def make_expectations(shipped: dict[str, Scenario]) -> list[str]:
    """Return the part of docs/library.md that says what a careful client does."""
    counts = Counter(tag for scenario in shipped.values() for tag in scenario.tags)
    tags = ", ".join(f"`{tag}` ({count})" for tag, count in sorted(counts.items()))
    rows = [
        f"| {link(name)} | {', '.join(scenario.tags)} | {scenario.severity} "
        f"| {scenario.expect.removeprefix('A careful client ').replace('|', '/')} |"
        for name, scenario in shipped.items()
        if scenario.expect
    ]
    head = ["| scenario | tags | severity | a careful client |", "| --- | --- | --- | --- |"]
    return [EXPECTATIONS, f"Tags: {tags}.", "", *head, *rows]


def show_release(version: Version) -> str:
    return "{}.{}".format(*version)


def show_value(value: Any, legend: list[str]) -> str:
    """Show a fact; a wording by its letter."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value not in legend:
        legend.append(value)
    return "abcdefgh"[legend.index(value)]


def how_known(name: str, version: Version) -> str:
    """Return how a fact of a release is known: a mark of docs/versions.md."""
    if version in RECORDED:
        return ""
    if version < min(RECORDED):
        return " d"
    value = getattr(RELEASES[version], name)
    before = [v for v in RECORDED if v < version]
    after = [v for v in RECORDED if v > version]
    sides = [getattr(RELEASES[v], name) for v in (max(before, default=None), min(after)) if v]
    if len(sides) == 2 and sides[0] == sides[1] == value:
        return " ="
    changes = [c for c in CHANGES if name in c.facts and c.since <= version]
    is_read = bool(changes) and changes[-1].known == "read"
    # It had not changed yet, and when it did is read.
    later = [c for c in CHANGES if name in c.facts and c.since > version]
    is_read = is_read or (not changes and bool(later) and later[0].known == "read")
    return " r" if is_read else " d"


def make_versions_page() -> str:
    """Return docs/versions.md: what changed for a client, which command is where, and how it is known."""
    parts = [VERSIONS_INTRODUCTION, *_show_releases(), "", *_show_changes(), ""]
    parts += ["## Quirks", "", "| `agent.quirks` | what | has it |", "| --- | --- | --- |"]
    for name, quirk in QUIRKS.items():
        has = [show_release(v) for v, d in RELEASES.items() if d == with_quirks(d, {name: "on"})]
        parts.append(f"| `{name}` | {quirk.description} | {', '.join(has) or 'none'} |")
    for family in get_args(Family):
        parts += ["", f"## Commands on {FAMILIES[family]}", "", COMMANDS_NOTE[family], ""]
        columns = [show_release(v) for v in RELEASES]
        parts += [f"| command | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
        tables = [compile_table(ALL_COMMANDS, dialect, family) for dialect in RELEASES.values()]
        for name in dict.fromkeys(command.name for command in ALL_COMMANDS):
            marks = [mark_of(table.get(name)) for table in tables]
            parts.append(f"| `{name}` | {' | '.join(marks)} |")
    return "\n".join([*parts, "", FACTS_INTRODUCTION, *_show_facts(), ""])


def _show_releases() -> list[str]:
    """Return a row for each release: which guest has it, what is new in it."""
    rows = ["| release | a guest that has it | new commands on Linux |", "| --- | --- | --- |"]
    guests: dict[Version, list[str]] = {version: [] for version in RELEASES}
    told = {name for row in read_yaml("library.yaml")["rows"] for name in row["names"]}
    for name, path in library().items():
        if name in told or name.startswith("qmp-"):
            continue
        if dialect := find_dialect(load(path).agent.release):
            guests.setdefault(dialect.version, []).append(link(name))
    before: set[str] | None = None
    for version, dialect in RELEASES.items():
        names = set(compile_table(ALL_COMMANDS, dialect, "linux"))
        new = sorted(names - before) if before is not None else []
        shown = ", ".join(f"`{name}`" for name in new)
        shown = shown or ("none" if before else f"{len(names)} commands")
        rows.append(f"| {show_release(version)} | {', '.join(guests[version])} | {shown} |")
        before = names
    return rows


def _show_changes() -> list[str]:
    """Return what each release changed, in the words of the facts."""
    comments = comments_of(Dialect)
    parts = ["## What each release changed", ""]
    parts += ["Wordings are shown as they became; `{}` stands for what differs.", ""]
    for version in dict.fromkeys(change.since for change in CHANGES):
        parts += [f"### In {show_release(version)}", ""]
        for change in CHANGES:
            for name, value in change.facts.items() if change.since == version else ():
                text = comments[name].rstrip(".")
                if isinstance(value, bool):
                    parts.append(f"- {'' if value else 'No longer: '}{text}.")
                else:
                    parts.append(f"- {text}: `{value}`")
        parts.append("")
    return parts[:-1]


def _show_facts() -> list[str]:
    columns = [show_release(v) for v in RELEASES]
    parts = [f"| fact | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    comments = comments_of(Dialect)
    notes: list[str] = []
    for field in structs.fields(Dialect):
        if field.name in ("version", "full_version"):
            continue
        legend: list[str] = []
        cells = [
            show_value(getattr(dialect, field.name), legend) + how_known(field.name, version)
            for version, dialect in RELEASES.items()
        ]
        parts.append(f"| `{field.name}` | {' | '.join(cells)} |")
        notes.append(f"- `{field.name}`: {comments[field.name]}")
        notes += [f"  - {'abcdefgh'[i]}: `{text}`" for i, text in enumerate(legend)]
    parts += ["", "### What the facts mean", "", *notes, "", "### Sources", ""]
    parts += ["| since | also in | fact | how the release is known | source |"]
    parts += ["| --- | --- | --- | --- | --- |"]
    for change in CHANGES:
        stable = ", ".join("{}.{}.{}".format(*release) for release in change.stable)
        facts = ", ".join(f"`{name}`" for name in change.facts)
        since = show_release(change.since)
        parts.append(f"| {since} | {stable} | {facts} | {change.known} | {change.source} |")
    return parts


def mark_of(entry: Entry | None) -> str:
    """Return whether a release has a command, and whether the platform can do it."""
    if entry is None:
        return ""
    if entry.command.only_refuses:
        return "error"
    return "yes" if entry.is_supported else "refused"


FAMILIES = {"linux": "Linux", "freebsd": "FreeBSD", "windows": "Windows"}
COMMANDS_NOTE = {
    "linux": "Checked against the schemas of 5.2, 7.2, 10.0 and 11.1 and the reference of 3.1, from whose `Since:` 2.12 follows.",
    "freebsd": "Checked against the conditions in the schemas of 5.2, 7.2, 10.0 and 11.1. Up to 9.0, what is refused is\n"
    "disabled, and what says error is enabled and answers that it is not supported (qga/commands-posix.c of 7.1,\n"
    "qga/commands-bsd.c; 3.1 is derived).",
    "windows": "Checked against the conditions in the schemas of 5.2, 7.2, 10.0 and 11.1. Up to 9.0, what is refused is\n"
    "disabled, and what says error is enabled and answers that it is not supported (qga/commands-win32.c of 5.1 and 7.2;\n"
    "3.1 is derived).",
}
VERSIONS_INTRODUCTION = """\
# Releases

<!-- Made by docs/generate.py (`make docs`); do not edit. -->

`agent.release` in a scenario, or `--agent`, takes `7.2`, a full version such as `7.2.22` (which guest-info then says),
`latest`, or any release from 2.5 on: one that is not in the table is as the changes say.
To run a test against several, see [the release matrix](howto/release-matrix.md).

The answers of 3.1.0, 5.2.0, 6.2.0 (not all commands), 7.2.22, 8.2.0, 10.0.13, 10.2.2 and 11.1.3 were recorded on Linux; all is
replayed in the tests ([tests/golden](../tests/golden/README.md)). The others follow from the changes between them:
[how each fact is known](#how-each-fact-is-known).
"""
FACTS_INTRODUCTION = """\
## How each fact is known

What differs between releases is a field of `qgasim.dialect.Dialect`; this is what each release has.
Random messages were also sent to 4.2.0, 5.0.0 and 9.0.0, and to 3.1.0, 6.2.0, 8.2.0 and 10.2.2 on Windows. Of releases before 3.1 the
commands and members are known, by the `Since:` of the reference, and how they read JSON, by the source of 2.9; all else is
taken to be as in 3.1. Members of arguments and results carry the release they came with in the code (`Since`).

| mark | how the fact is known of that release |
| --- | --- |
| (none) | recorded |
| = | derived: the same was recorded before and after it |
| r | read: QEMU says in which release it changed |
| d | derived: only known to have changed between two releases, or taken to have been so before the first recording |
"""


FINDINGS_INTRODUCTION = """\
# Findings

<!-- Made by docs/generate.py (`make docs`) from qgasim/findings/; do not edit. -->

What clients did with a guest and should not have done, found in its journal on demand:

```python
from qgasim.findings import find
from qgasim.simulation.journal import Journal
from qgasim.scenario import load

simulation = load("debian-12").build()
journal = Journal(simulation)
list(simulation.channel.receive(b'{"execute": "guest-fsfreeze-freeze"}'))
for finding in find(journal):
    print(finding)
```

Times are the guest's.
Findings are the client's own doing, not what a fault or a late agent caused.
They show the exchanges, but not the arguments of guest-exec and guest-set-user-password; transcripts show all.
"""


def make_findings_page() -> str:
    """Return docs/findings.md: what each kind of finding is, and how to fix it."""
    parts = [FINDINGS_INTRODUCTION]
    for kind in KINDS.values():
        parts += [
            f"## {kind.name}",
            "",
            kind.explanation,
            "",
            f"**Fix:** {kind.remedy}",
            "",
        ]
    return "\n".join(parts).rstrip("\n") + "\n"


def make_states_page() -> str:
    states = ["off", "rebooting", "booting", "up", "frozen", "crashed"]
    lines = [
        "# States of a guest",
        "",
        "<!-- Made by docs/generate.py (`make docs`) from qgasim/states.py; do not edit. -->",
        "",
        "These are the states in `when:` of faults, in `on:` of events, in the journal and in `qga.state`.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    direction LR",
        *(f"    {a} --> {b} : {event}" for (a, event), b in TRANSITIONS.items()),
        *(f"    any --> {b} : {event}" for event, b in FROM_ANY.items()),
        "    any : any state",
        "```",
        "",
        "A guest can be *suspended* or *paused* in every state, and goes on in it when it wakes or is resumed.",
        "",
        f"| event | {' | '.join(states)} |",
        f"| --- |{' --- |' * len(states)}",
    ]
    for event in dict.fromkeys([*(event for _, event in TRANSITIONS), *FROM_ANY]):
        cells = [FROM_ANY.get(event) or TRANSITIONS.get((a, event), "") for a in states]
        lines.append(f"| {event} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def make_schema_file() -> str:
    return json.dumps(make_schema(), indent=1) + "\n"


#: What is made, and how.
MADE: dict[Path, Callable[[], str]] = {
    HERE / "commands.md": make_commands_page,
    HERE / "control.md": lambda: make_control_page(table),
    HERE / "faults.md": make_faults_page,
    HERE / "findings.md": make_findings_page,
    HERE / "library.md": make_library_page,
    HERE / "programs.md": make_programs_page,
    HERE / "qmp.md": make_qmp_page,
    HERE / "scenario.md": make_scenario_page,
    HERE / "states.md": make_states_page,
    HERE / "versions.md": make_versions_page,
    HERE.parent / "packaging" / "man" / "qgasim.1": make_manual_page,
    HERE.parent / "qgasim" / "scenario.schema.json": make_schema_file,
    **{
        HERE.parent / "qgasim" / "cli" / "completions" / f"qgasim.{shell}": partial(
            make_completion, shell
        )
        for shell in SHELLS
    },
}

if __name__ == "__main__":
    for path, make in MADE.items():
        path.write_text(make())
