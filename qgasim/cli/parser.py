"""What the commands of the command line share: options, and what is done with bad ones."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from qgasim.cli.text import readable

__all__ = ["COMMANDS", "Parser", "add_address", "add_timeout", "mute", "seconds"]

#: The module of each command; a guest is served if none is named.
COMMANDS: Final = {
    "call": "call",
    "check": "scenarios",
    "compare": "compare",
    "completion": "completion",
    "ctl": "ctl",
    "drill": "drill",
    "exec": "execute",
    "init": "scenarios",
    "record": "record",
    "replay": "replay",
    "scenarios": "scenarios",
    "schema": "scenarios",
    "serve": "serve",
    "shell": "shell",
    "show": "scenarios",
}

#: The longest time-out, in seconds: a year. A socket can still hold it.
_LONGEST: Final = 365 * 86400


class Parser(argparse.ArgumentParser):
    """Reports what is wrong in one line."""

    #: The exit status then.
    failure_status = 2

    def error(self, message: str) -> NoReturn:
        self.exit(
            self.failure_status, readable(f"{self.prog}: {message} (try {self.prog} --help)") + "\n"
        )

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        options, unknown = self.parse_known_args(args, namespace or argparse.Namespace())
        if unknown:
            self.refuse(unknown)
        return options

    def refuse(self, words: list[str]) -> NoReturn:
        """Report words that no argument takes; suggest the option that the first may mean."""
        from qgasim.suggestions import did_you_mean

        hint = did_you_mean(words[0].partition("=")[0], self._option_string_actions)
        self.error(f"unrecognized arguments: {' '.join(words)}{hint}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            from qgasim.suggestions import did_you_mean

            hint = did_you_mean(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(action, f"{error.message}{hint}") from None


def mute() -> None:
    """Write nothing more: the reader of the output has gone, or it cannot be written."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def seconds(text: str) -> float:
    """Read an option's number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, found {text!r}")
    return seconds


def add_address(
    parser: argparse.ArgumentParser, agent: str = "the agent", *, is_optional: bool = False
) -> None:
    """Add the argument that says where an agent is, as `AgentAddress`; None if it *is_optional* and absent."""

    def read(text: str) -> object:
        from qgasim.client.connecting import parse_agent_address

        try:
            return parse_agent_address(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    parser.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?" if is_optional else None,
        type=read,
        help=f"where {agent} is: the path of its unix socket, or unix:PATH, tcp:[HOST:]PORT or "
        "vsock:CID:PORT",
    )


def add_timeout(parser: argparse.ArgumentParser, default: float = 5.0) -> None:
    """Add the option that says how long to wait for an answer."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=default,
        metavar="S",
        help=f"seconds to wait for each answer (default: {default:g})",
    )
