"""Commands about scenarios: list them, check them, show them, begin one."""

import io
import os
import shutil
import sys
import textwrap
from importlib import resources
from itertools import zip_longest
from typing import Any, Final

from qgasim.cli.annotations import FORMATS, Annotation, annotate, write_annotations
from qgasim.cli.hints import hint
from qgasim.cli.parser import Parser
from qgasim.cli.text import complain
from qgasim.errors import QgaSimError, ScenarioError
from qgasim.scenario import Scenario, check_tags, library, load, loads, warn
from qgasim.scenario.document import read_text
from qgasim.scenario.dump import to_yaml

__all__ = ["check", "init", "scenarios", "schema", "show"]

#: How narrow the column of texts may become on a narrow terminal.
_NARROWEST: Final = 30
#: What the standard input is called in messages.
_INPUT: Final = "<stdin>"
_STARTER: Final = """\
# yaml-language-server: $schema={schema}
qgasim: 1
description: What this guest is for, in a line.
# Take a guest that comes with qgasim (`qgasim scenarios` lists them) and change it.
extends: debian-12

agent:
  release: "7.2"
  # Commands that the agent refuses:
  # block_rpcs: [guest-exec, guest-file-open]

guest:
  hostname: db1
  vcpus: 4
  memory: 4GiB
  files:
    /etc/motd: "Welcome to db1\\n"
    # /var/lib/big: {size: 2GiB}
    # /opt/app: {source: ./app}        # a directory beside this file
  programs:
    # What a client runs with guest-exec; the first entry that matches is used.
    - {path: /usr/bin/pg_isready, stdout: "accepting connections\\n"}
    # - {path: /usr/bin/slow, duration: 3s, exit_code: 1, stderr: "gave up\\n"}

# Answers that do not come from the guest:
# replies:
#   - on: guest-get-osinfo
#     error: {desc: "Failed to open file '/etc/os-release'"}
#   - on: {command: guest-exec, arguments: {path: {glob: "/opt/*"}}}
#     in_turn: [{reply: {pid: 4711}, times: 2}, {error: {desc: "out of luck"}}]

# What goes wrong between the agent and its client, and how often:
# faults:
#   - {kind: hang, on: guest-fsfreeze-thaw, times: 1}
#   - {kind: delay, on: "guest-file-*", by: 30s, probability: 0.1}
#   - {kind: truncate, on: guest-get-fsinfo, keep: 100, after: 2, times: 1}

# What happens to the guest, and when:
# timeline:
#   - {at: 1m, do: reboot}
#   - {after: guest-fsfreeze-freeze, delay: 5s, do: agent_crashes, respawn: 10s}
"""


def _read(name: str) -> Scenario:
    """Load a scenario; ``-`` is standard input."""
    return loads(_read_input(), _INPUT) if name == "-" else load(name)


def _read_input() -> str:
    stream: Any = sys.stdin
    if stream is None:
        raise ScenarioError(f"{_INPUT}: it is closed")
    try:
        # As files are read, whatever the locale; a test may have put something without bytes there.
        buffer: io.BufferedIOBase | None = getattr(stream, "buffer", None)
        if buffer is not None:
            return read_text(buffer.read(), _INPUT)
        return str(stream.read())
    except OSError as error:
        raise ScenarioError(f"{_INPUT}: {error.strerror or error}") from None


def scenarios(arguments: list[str]) -> int:
    """List the scenarios that come with qgasim."""
    parser = Parser(prog="qgasim scenarios", description="List the bundled scenarios.")
    parser.add_argument(
        "--search",
        metavar="WORD",
        default="",
        help="only scenarios that mention WORD, in any case (default: all)",
    )
    parser.add_argument("--names", action="store_true", help="print only their names")
    parser.add_argument(
        "--tag",
        metavar="TAG",
        action="append",
        default=[],
        help="only scenarios with TAG; if repeated, with any of the tags (default: all)",
    )
    options = parser.parse_args(arguments)
    known = library()
    loaded = {name: load(path) for name, path in known.items()} if options.tag else {}
    check_tags(options.tag, {name: scenario.tags for name, scenario in loaded.items()})
    width = max(map(len, known), default=0)
    is_found = False
    for name, path in sorted(known.items()):
        # A shell that completes names should not wait for all of them to be loaded.
        if options.names and not options.search and not options.tag:
            print(name)
            is_found = True
            continue
        scenario = loaded.get(name) or load(path)
        texts = [scenario.description.splitlines()[0], " ".join(scenario.origin.split())]
        said = f"{name} {scenario.description} {scenario.expect} {texts[1]}"
        is_chosen = not options.tag or not set(options.tag).isdisjoint(scenario.tags)
        if is_chosen and options.search.lower() in said.lower():
            print(name if options.names else "\n".join(_in_columns(name, width, texts)))
            is_found = True
    if not is_found:
        complain(f"qgasim: no scenario mentions '{options.search}'")
    return int(not is_found)


def _in_columns(name: str, width: int, texts: list[str]) -> list[str]:
    """Return lines: a name in its column, and *texts* in the next one, wrapped to the terminal."""
    if sys.stdout is not None and sys.stdout.isatty():
        left = max(shutil.get_terminal_size().columns - width - 2, _NARROWEST)
        texts = [line for text in texts for line in textwrap.wrap(text, left) or [""]]
    return [
        f"{label:{width}}  {text}".rstrip()
        for label, text in zip_longest([name], texts, fillvalue="")
    ]


def check(arguments: list[str]) -> int:
    """Report every error in scenarios; status 1 if there is one, 2 if there are no scenarios."""
    parser = Parser(
        prog="qgasim check",
        description="Report every error in the given scenarios, with file, line and column. Warn about what "
        "their scripts use and qgasim does not simulate. Exit status: 0 no errors, 1 errors, 2 nothing to check.",
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="a file, a directory (its .yaml and .yml files), the name of a bundled scenario, or - for "
        "standard input",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text; annotations for GitHub Actions; or SARIF, on standard output (default: text)",
    )
    options = parser.parse_args(arguments)
    status = 0
    found: list[Annotation] = []
    for name in options.files:
        paths = _files(name)
        if not paths:
            text = f"{name}: nothing to check (no .yaml or .yml file is in it)"
            complain(text, "qgasim check: ")
            status = 2
        for path in paths:
            lines, is_wrong = _check(path)
            status = max(status, int(is_wrong))
            if options.format == "text":
                for line in lines:
                    complain(line)
            found += annotate(lines, path)
    if options.format != "text" and (told := write_annotations(found, options.format)):
        print(told)
    return status


def _check(path: str) -> tuple[list[str], bool]:
    """Return what is to be told of a scenario, and whether it is wrong."""
    lines: list[str] = []
    try:
        for scenario in _read(path).guests().values():
            scenario.build()
            lines += warn(scenario)
    except ScenarioError as error:
        return [*lines, *str(error).splitlines()], True
    return lines, False


def _files(name: str) -> list[str]:
    """Return the files of a directory, or what is none."""
    if not os.path.isdir(name):
        return [name]
    found = [f"{name.rstrip('/')}/{file}" for file in sorted(os.listdir(name))]
    return [path for path in found if path.endswith((".yaml", ".yml"))]


def show(arguments: list[str]) -> int:
    """Print a scenario after `extends`, with everything decided that it leaves open."""
    parser = Parser(
        prog="qgasim show",
        description="Print a scenario in full, as YAML: merged with what it extends, and with all generated "
        "values filled in. It describes the same guest.",
    )
    parser.add_argument(
        "scenario",
        metavar="FILE-or-NAME",
        help="a file, the name of a bundled scenario, or - for standard input; NAME#GUEST is one guest "
        "of a fleet",
    )
    scenario = _read(parser.parse_args(arguments).scenario)
    print(to_yaml(scenario.filled()), end="")
    return 0


def schema(arguments: list[str]) -> int:
    """Print the JSON Schema of scenarios."""
    Parser(
        prog="qgasim schema",
        description="Print the JSON Schema (draft-07) of scenarios, for editors.",
    ).parse_args(arguments)
    print(resources.files("qgasim").joinpath("scenario.schema.json").read_text("utf-8"), end="")
    return 0


def _schema_from(path: str) -> str:
    """Return where editors find the schema: relative to *path* if qgasim is installed beside or below it."""
    installed = str(resources.files("qgasim").joinpath("scenario.schema.json"))
    directory = os.path.dirname(os.path.abspath(path))
    is_below = os.path.commonpath([directory, installed]) == directory != "/"
    return os.path.relpath(installed, directory) if is_below else installed


def init(arguments: list[str]) -> int:
    """Write a scenario to start from."""
    parser = Parser(
        prog="qgasim init", description="Write a scenario to start from, with comments."
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default="scenario.yaml",
        help="the file to write; it must not exist yet (default: scenario.yaml)",
    )
    path = parser.parse_args(arguments).file
    if not path:
        parser.error("FILE: expected a path, found ''")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(_STARTER.replace("{schema}", _schema_from(path)))
    except OSError as error:
        raise QgaSimError(f"{path}: {error.strerror}") from None
    print(f"wrote {path}; try: {hint('--scenario', path)}")
    return 0
