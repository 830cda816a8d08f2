"""``qgasim completion``: what a shell needs to complete commands, options and scenarios."""

from importlib import resources
from typing import Final

from qgasim.cli.parser import Parser

__all__ = ["completion"]

_SHELLS: Final = ["bash", "zsh", "fish"]
_EPILOG: Final = 'as in: eval "$(qgasim completion bash)"; qgasim completion fish | source'


def completion(arguments: list[str]) -> int:
    """Print a script for a shell; docs/generate.py has made it of the options."""
    parser = Parser(
        prog="qgasim completion",
        description="Print a script that lets a shell complete qgasim's commands and options.",
        epilog=_EPILOG,
    )
    parser.add_argument("shell", metavar="SHELL", choices=_SHELLS, help="bash, zsh or fish")
    shell = parser.parse_args(arguments).shell
    path = resources.files("qgasim").joinpath("cli", "completions", f"qgasim.{shell}")
    print(path.read_text("utf-8"), end="")
    return 0
