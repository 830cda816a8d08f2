"""The page of the guest's programs: what of each is simulated, and how it was compared."""

import inspect
import json
import re
from collections import Counter
from pathlib import Path

from qgasim.scenario import load_programs, programs_library
from qgasim.scenario.document import compose
from qgasim.userland import USERLANDS
from qgasim.userland.coverage import Coverage, builtins, cover

__all__ = ["make_programs_page"]

HERE = Path(__file__).parent
RECORDED = HERE.parent / "tests" / "userland" / "programs"
INTRODUCTION = """\
# Programs

<!-- Made by docs/programs_page.py (`make docs`); do not edit. -->

What runs in a guest with Linux (or FreeBSD, which has the same). Nothing of the host is run.
`guest.os.userland` says whose programs they are: `gnu` (those of Debian 12: dash, coreutils, grep, sed, findutils,
mawk, procps, util-linux, iproute2) or `busybox` (1.35, as in Alpine). Windows has none.

- What is not here is "not found". [`programs`](scenario.md#programs) in a scenario gives it, or another answer.
- An option that the real program knows, and this one does not, ends it with the status of its usage error and one line:
  `sort: option '--parallel' is not simulated by qgasim (give the program under programs: in the scenario)`.
- An option that the real program does not know either is its usage error.
- `qgasim check` warns if a script of a scenario uses what is not here.

*Recorded* says how many runs of the real program of Debian 12 are replayed (`tests/userland/programs/`); a program without
any is written from its documentation and source, and from the recordings of agents (`tests/golden/`).
"""
SHELLS = """\
`sh` is dash 0.5.12 in a guest with `gnu`, and BusyBox's ash with `busybox`, by the names `dash` and `ash`, too; `bash` is bash 5.2. Random scripts run in these and in
the real ones in the tests, and their output, messages and status must be the same (`make fuzz-userland` for more of them).
What bash has besides, such as arrays, and is not simulated, ends the script with one line that names it. The shells do these
themselves, each what it has: {inside}.
Functions, `eval` and sourced files nest 1,000 deep in dash, which says so, and 8,000 deep in the others, which end by SIGSEGV then."""
OWN = "a syntax of its own"


def count_runs() -> Counter[str]:
    """Count the recorded cases that run each program, by itself or in a script."""
    counts: Counter[str] = Counter()
    for path in sorted(RECORDED.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            argv = json.loads(line).get("argv")
            if not argv:
                continue
            words = {argv[0]}
            if argv[0] in ("sh", "bash", "env", "busybox"):
                for text in argv[1:]:
                    words |= set(re.findall(r"(?:^|[|;&({`\n]|\bdo|\bthen)\s*([\w\[-]+)", text))
            counts.update(words)
    return counts


def show_options(options: tuple[str, ...]) -> str:
    """Show options in one line: the short ones together."""
    short = "".join(option[1:] for option in options if len(option) == 2)
    long = [option for option in options if len(option) > 2]
    parts = [*([f"`-{short}`"] if short else []), *(f"`{option}`" for option in long)]
    return " ".join(parts)


def describe(name: str) -> str:
    """Return the first sentence about a program."""
    function = USERLANDS["gnu"].programs[name]
    text = " ".join(inspect.cleandoc(function.__doc__ or "").split()).replace("``", "`")
    return re.split(r"(?<=[a-z`)])[.:](?: |$)", text)[0].replace("|", "\\|")


def rows_of(userland: str, counts: Counter[str] | None) -> list[str]:
    """Make a table's rows, a program each."""
    rows: list[str] = []
    for name in sorted(USERLANDS[userland].programs):
        found = cover(userland, name)
        there = OWN if found is None else show_options(found.simulated) or "none"
        missing = show_options(found.missing) if found else ""
        if counts is None:
            if isinstance(found, Coverage) and found.missing:
                rows.append(f"| `{name}` | {missing} |")
            continue
        recorded = str(counts[name]) if counts[name] else ""
        rows.append(f"| `{name}` | {describe(name)} | {there} | {missing} | {recorded} |")
    return rows


def make_programs_page() -> str:
    """Make docs/programs.md."""
    inside = ", ".join(f"`{name}`" for name in sorted(builtins()))
    parts = [
        INTRODUCTION,
        "## The list",
        "",
        SHELLS.format(inside=inside),
        "",
        "| program | what it does | options | known to GNU's only | recorded |",
        "| --- | --- | --- | --- | --- |",
        *rows_of("gnu", count_runs()),
        "",
        "## BusyBox",
        "",
        "The same programs, with BusyBox's output and messages. Options that its help names, and that are not simulated:",
        "",
        "| program | not simulated |",
        "| --- | --- |",
        *rows_of("busybox", None),
        "",
        "## Ready-made",
        "",
        "Files of entries for `programs`, that [`include: NAME`](scenario.md#programs) brings in:",
        "",
        "| name | programs | what it answers | where it is from |",
        "| --- | --- | --- | --- |",
    ]
    for name, path in programs_library().items():
        node = compose(path.read_text(), path.name)
        assert node is not None
        said = {key.value: " ".join(str(value.value).split()) for key, value in node.value[:2]}
        paths = dict.fromkeys(entry.path for entry in load_programs(name))
        shown = " ".join(f"`{each}`" for each in paths)
        parts.append(f"| `{name}` | {shown} | {said['description']} | {said['origin']} |")
    return "\n".join(parts) + "\n"
