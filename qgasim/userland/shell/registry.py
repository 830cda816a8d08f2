"""The builtins by name, and how they come to be there."""

from collections.abc import Callable
from typing import Final

from qgasim.guest.processes.process import Steps
from qgasim.userland.shell.interpreter import Builtin, Shell

__all__ = ["BUILTINS", "builtin", "immediate_builtin"]

#: What the shell does itself, by name: see `builtin`.
BUILTINS: Final[dict[str, Builtin]] = {}


def builtin(*names: str) -> Callable[[Builtin], Builtin]:
    """Register a builtin under *names*."""

    def register(function: Builtin) -> Builtin:
        for name in names:
            BUILTINS[name] = function
        return function

    return register


def immediate_builtin(
    *names: str,
) -> Callable[[Callable[[Shell, list[str]], int]], Callable[[Shell, list[str]], int]]:
    """Register a builtin that never waits, not even to write."""

    def register(
        function: Callable[[Shell, list[str]], int],
    ) -> Callable[[Shell, list[str]], int]:
        @builtin(*names)
        def run(shell: Shell, argv: list[str]) -> Steps:
            yield from ()
            return function(shell, argv)

        del run
        return function

    return register
