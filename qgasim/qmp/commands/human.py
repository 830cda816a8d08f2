"""The monitor for people, as far as programs use it through QMP."""

import re
from collections.abc import Callable
from functools import cache
from typing import Final

from qgasim.errors import CommandError
from qgasim.qmp.commands import power
from qgasim.qmp.commands.capabilities import shown_help
from qgasim.qmp.commands.queries import list_chardevs
from qgasim.qmp.hypervisor import NO_UUID
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import NOT_SIMULATED, command

__all__: list[str] = []


def _show_status(monitor: Monitor) -> str:
    status = monitor.hypervisor.status
    if status == "running":
        return "VM status: running"
    return "VM status: paused" if status == "paused" else f"VM status: paused ({status})"


def _show_version(monitor: Monitor) -> str:
    numbers = ".".join(str(each) for each in monitor.release.version)
    return numbers + monitor.hypervisor.settings.package


def _show_chardevs(monitor: Monitor) -> str:
    return "\r\n".join(
        f"{each['label']}: filename={each['filename']}" for each in list_chardevs(monitor)
    )


#: What follows ``info``. UNVERIFIED: that a machine without a name has an empty answer.
_INFO: Final[dict[str, Callable[[Monitor], str]]] = {
    "status": _show_status,
    "version": _show_version,
    "name": lambda monitor: monitor.hypervisor.settings.name or "",
    "uuid": lambda monitor: monitor.hypervisor.settings.uuid or NO_UUID,
    "chardev": _show_chardevs,
}
#: The commands, each with the names that it has (hmp-commands.hx).
_ACTIONS: Final[dict[str, Callable[[Monitor], None]]] = {
    "stop|s": power.stop,
    "cont|c": power.cont,
    "system_reset": power.system_reset,
    "system_powerdown": power.system_powerdown,
    "system_wakeup": power.system_wakeup,
    "quit|q": power.quit_,
}
_SPACE: Final = " \t\n\v\f\r"


@cache
def _listed(line: str) -> frozenset[str]:
    """Return the names that ``help`` or ``info`` list."""
    word = 1 if line == "info" else 0
    lines = [
        each.split() for each in shown_help(line).splitlines() if not each.startswith((" ", "\t"))
    ]
    return frozenset(name for words in lines for name in words[word].split("|"))


class _Line:
    """A command line that is being read (monitor/hmp.c)."""

    def __init__(self, text: str) -> None:
        # It is a C string.
        self.text = text.partition("\0")[0]
        self.at = 0

    def skip(self) -> str:
        """Skip blanks; return what follows them."""
        self.at = len(self.text) - len(self.rest.lstrip(_SPACE))
        return self.rest

    @property
    def rest(self) -> str:
        """What was not read."""
        return self.text[self.at :]

    def name(self) -> str:
        """Read the name of a command: it ends before a blank or a slash."""
        self.skip()
        name = re.split(rf"[/{_SPACE}]", self.rest, maxsplit=1)[0]
        self.at += len(name)
        return name

    def unknown(self) -> str:
        """Return the error about a name that was read, and is not known."""
        return f"unknown command: '{self.text[: self.at]}'\r\n"

    def extraneous(self, command: str) -> str:
        """Return the error about what follows a command that takes nothing; "" if nothing does."""
        read = self.text[: self.at].rstrip(_SPACE)
        if not self.skip():
            return ""
        hint = f'Try "help {read}" for more information'
        return f"{command}: extraneous characters at the end of line\r\n{hint}\r\n"


@command()
def human_monitor_command(monitor: Monitor, command_line: str, cpu_index: int | None = None) -> str:
    """Do what a person could have typed; what there is to read is returned, errors included."""
    cpus = monitor.hypervisor.devices.cpus
    if cpu_index is not None and cpu_index not in [cpu.index for cpu in cpus if cpu.path]:
        raise CommandError("Parameter 'cpu-index' expects a CPU number")
    line = _Line(command_line)
    if not line.skip():
        return ""
    name = line.name()
    return _show(monitor, line) if name == "info" else _act(monitor, line, name)


def _act(monitor: Monitor, line: _Line, name: str) -> str:
    """Do what a command says; return the error, if there is one."""
    if name in ("help", "?") and not line.skip():
        return shown_help("help")
    known = next((each for each in _ACTIONS if name in each.split("|")), None)
    if known is None and name in _listed("help"):
        raise CommandError(f"{NOT_SIMULATED} human-monitor-command {name}")
    if known is None:
        return line.unknown()
    if refusal := line.extraneous(known):
        return refusal
    try:
        _ACTIONS[known](monitor)
    except CommandError as error:
        return f"Error: {error}\r\n"
    return ""


def _show(monitor: Monitor, line: _Line) -> str:
    """Return what ``info`` shows."""
    if not line.skip():
        return shown_help("info")
    if line.rest.startswith("/"):
        return line.unknown()
    name = line.name()
    if name not in _INFO and name in _listed("info"):
        raise CommandError(f"{NOT_SIMULATED} human-monitor-command info {name}")
    shown = _INFO.get(name)
    if shown is None:
        return line.unknown()
    return line.extraneous(name) or f"{shown(monitor)}\r\n"
