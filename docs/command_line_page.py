"""What is made of the parsers of the command line: completion for shells, and the manual page."""

import argparse
from collections.abc import Iterator
from importlib import import_module
from typing import NoReturn
from unittest.mock import patch

import shtab
from argparse_manpage.manpage import Manpage

from qgasim.cli.parser import COMMANDS, Parser

__all__ = ["SHELLS", "make_completion", "make_manual_page"]

SHELLS = ("bash", "zsh", "fish")
MADE_BY = "Made by docs/generate.py (`make docs`); do not edit."
#: What is completed for a metavariable.
SCENARIOS = {**shtab.cmd("qgasim scenarios --names"), "zsh": "_qgasim_scenarios"}
#: shtab's own way for zsh asks for the names when the script is read, once for each option.
PREAMBLE = {
    "zsh": '_qgasim_scenarios() { compadd -- $(qgasim scenarios --names); _files -g "*.y(a|)ml" }'
}
COMPLETE = {
    "FILE-or-NAME": SCENARIOS,
    **dict.fromkeys(("FILE", "PATH", "ADDRESS", "HOST_DIR=GUEST_DIR"), shtab.FILE),
}


class Asked(Exception):
    """A command asks its parser to read a command line."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command, and do nothing of what the command does."""

    def ask(parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise Asked(parser)

    command = getattr(import_module(f"qgasim.cli.{COMMANDS[name]}"), name)
    with patch.object(Parser, "parse_args", ask), patch.object(Parser, "parse_known_args", ask):
        try:
            command([])
        except Asked as asked:
            return asked.parser
    raise AssertionError(f"qgasim {name} has no parser")


def make_parser() -> argparse.ArgumentParser:
    """Return one parser for all: the options of `qgasim serve`, then the commands."""
    serve = parser_of("serve")
    whole = Parser(prog="qgasim", description=serve.description, parents=[serve], add_help=False)
    commands = whole.add_subparsers(title="commands", metavar="COMMAND")
    for name in sorted(COMMANDS):
        one = parser_of(name)
        commands.add_parser(
            name,
            parents=[one],
            add_help=False,
            help=one.description,
            description=one.description,
            epilog=one.epilog if name != "serve" else None,
            formatter_class=one.formatter_class,
        )
    for action in actions_of(whole):
        if action.metavar in COMPLETE:
            action.complete = COMPLETE[action.metavar]  # type: ignore[attr-defined]
    return whole


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for below in action.choices.values():
                yield from actions_of(below)


def make_completion(shell: str) -> str:
    text = shtab.complete(make_parser(), shell, preamble=PREAMBLE)
    first, _, rest = text.partition("\n")
    # zsh looks at the first line.
    return f"{first}\n# {MADE_BY}\n{rest}\n" if shell == "zsh" else f"# {MADE_BY}\n{text}\n"


def make_manual_page() -> str:
    # Usage lines are wrapped to the terminal.
    with patch.dict("os.environ", COLUMNS="100"):
        return f'.\\" {MADE_BY}\n{_make_page()}'


def _make_page() -> Manpage:
    return Manpage(
        make_parser(),
        _data={
            "date": " ",
            "description": "a simulated QEMU guest agent",
            "project_name": "qgasim",
            "manual_title": "qgasim",
        },
    )
