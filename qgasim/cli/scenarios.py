"""Commands about scenarios: list them, check them, show them, begin one."""

import os
import sys
from importlib import resources
from typing import Final

from qgasim.cli.parser import Parser
from qgasim.errors import QgaSimError, ScenarioError
from qgasim.scenario import Scenario, library, load, loads
from qgasim.scenario.dump import to_yaml

__all__ = ["check", "init", "scenarios", "schema", "show"]

_STARTER: Final = """\
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
"""


def _read(name: str) -> Scenario:
    """Load a scenario; ``-`` is standard input."""
    return loads(sys.stdin.read(), "<stdin>") if name == "-" else load(name)


def scenarios(arguments: list[str]) -> int:
    """List the scenarios that come with qgasim."""
    parser = Parser(
        prog="qgasim scenarios", description="List the scenarios that come with qgasim."
    )
    parser.add_argument("--search", metavar="WORD", default="", help="only those that mention WORD")
    options = parser.parse_args(arguments)
    known = library()
    width = max(map(len, known), default=0)
    for name, path in known.items():
        scenario = load(path)
        line = f"{name:{width}} {scenario.description.splitlines()[0]}"
        if options.search.lower() in f"{line} {scenario.description} {scenario.origin}".lower():
            print(line)
            print(f"{'':{width}} {' '.join(scenario.origin.split())}")
    return 0


def check(arguments: list[str]) -> int:
    """Say all that is wrong with scenarios; status 1 if anything is."""
    parser = Parser(prog="qgasim check", description="Say all that is wrong with scenarios.")
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="a file, a directory of them, a name, or -"
    )
    status = 0
    for name in parser.parse_args(arguments).files:
        for path in _files(name):
            try:
                for scenario in _read(path).guests().values():
                    scenario.build()
            except ScenarioError as error:
                print(error, file=sys.stderr)
                status = 1
    return status


def _files(name: str) -> list[str]:
    if not os.path.isdir(name):
        return [name]
    found = [f"{name.rstrip('/')}/{file}" for file in sorted(os.listdir(name))]
    return [path for path in found if path.endswith((".yaml", ".yml"))]


def show(arguments: list[str]) -> int:
    """Print a scenario after `extends`, with everything decided that it leaves open."""
    parser = Parser(
        prog="qgasim show",
        description="Print a scenario with what it extends, and with nothing left open.",
    )
    parser.add_argument("scenario", metavar="FILE-or-NAME", help="a file, a name, or -")
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


def init(arguments: list[str]) -> int:
    """Write a scenario to start from."""
    parser = Parser(prog="qgasim init", description="Write a scenario to start from.")
    parser.add_argument("file", metavar="FILE", nargs="?", default="scenario.yaml")
    path = parser.parse_args(arguments).file
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(_STARTER)
    except OSError as error:
        raise QgaSimError(f"{path}: {error.strerror}") from None
    print(f"wrote {path}; try: qgasim --scenario {path}")
    return 0
