"""Variables that a shell makes up when they are read; which there are is in bash's manual and BusyBox's ash.c."""

import re
from typing import Final, Protocol

from qgasim.guest.processes.process import Process
from qgasim.guest.units import SECOND
from qgasim.userland.shell.state import State

__all__ = ["read_special", "restart_seconds"]

#: Arrays that bash sets itself, and this one does not; and others of that kind.
_NOT_SIMULATED: Final = frozenset((
    "BASHOPTS", "BASH_ARGC", "BASH_ARGV", "BASH_ARGV0", "BASH_COMMAND", "BASH_LINENO", "BASH_SOURCE", "BASH_VERSINFO",
    "DIRSTACK", "GROUPS", "PIPESTATUS",
))  # fmt: skip


class _Shell(Protocol):
    p: Process
    state: State

    def refuse(self, construct: str) -> Exception:
        """Make the error for what the real shell does and this one does not simulate."""
        ...


def read_special(shell: _Shell, name: str) -> str | None:
    """Return the value that is made up for a variable; None if it is not set."""
    state, guest = shell.state, shell.p.guest
    if not state.flavour.is_dash:
        match name:
            case "RANDOM":
                return str(guest.random.randrange(1 << 15))
            case "FUNCNAME":
                return state.function or (None if state.flavour.is_bash else "")
            case "EPOCHSECONDS":
                return str(guest.clock.now() // SECOND)
            case "EPOCHREALTIME":
                return "{}.{:06}".format(*divmod(guest.clock.now() // 1000, 1_000_000))
            case _:
                pass
    return _read_of_bash(shell, name) if state.flavour.is_bash else None


def _read_of_bash(shell: _Shell, name: str) -> str | None:
    state, p = shell.state, shell.p
    match name:
        case "_":
            return state.specials.last_argument
        case "BASHPID":
            return str(p.pid)
        case "BASH_SUBSHELL":
            return str(state.specials.subshells)
        case "SECONDS":
            return str((p.guest.clock.uptime() - state.specials.started) // SECOND)
        case "SHELLOPTS":
            options = state.flavour.long_options.items()
            return ":".join(long for letter, long in options if letter in state.options)
        case "SRANDOM":
            return str(p.guest.random.randrange(1 << 32))
        case _:
            pass
    if name in _NOT_SIMULATED:
        raise shell.refuse(f"${name}")
    return None


def restart_seconds(shell: _Shell, value: str) -> None:
    """Let ``$SECONDS`` of bash go on from *value*."""
    seconds = int(value) if re.fullmatch("-?[0-9]{1,9}", value) else 0
    shell.state.specials.started = shell.p.guest.clock.uptime() - seconds * SECOND
