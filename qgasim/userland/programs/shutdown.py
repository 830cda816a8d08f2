"""Programs that switch the machine off or send it to sleep: shutdown, poweroff, systemctl, ..."""

import re
from typing import Final, Literal

from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.guest.system.power import SleepState
from qgasim.guest.units import SECOND
from qgasim.userland.limits import to_int
from qgasim.userland.programs.getopt import Options, not_simulated, parse
from qgasim.userland.programs.messages import fail, is_busybox, pick
from qgasim.userland.programs.registry import program

__all__: list[str] = []

Way = Literal["powerdown", "halt", "reboot"]
SLEEPS: Final[dict[str, SleepState]] = {
    "suspend": "ram",
    "hibernate": "disk",
    "hybrid-sleep": "hybrid",
}
WAYS: Final[dict[str, Way]] = {"poweroff": "powerdown", "halt": "halt", "reboot": "reboot"}


def _go_down(p: Process, way: Way, delay: int = 0) -> None:
    """Begin to go down; as with systemd, the caller lives to tell."""
    p.guest.power.shut_down(way, delay + p.guest.settings.power.shutdown_time)


@program("shutdown")
def shutdown(p: Process) -> Steps:
    """Power off, halt or reboot, now or later. Words after the time are a message, which is not shown."""
    # `shutdown -h -H +0 hypervisor initiated shutdown` is what the agent runs (recorded:
    # shutdown/halt); without a time we go down at once, where systemd waits for a minute.
    options = yield from parse(p, "hPHrc", {"halt": "H", "poweroff": "P", "reboot": "r"})
    if "c" in options:
        p.guest.power.cancel()
        return 0
    delay = yield from _delay(p, options)
    _go_down(p, "reboot" if "r" in options else "halt" if "H" in options else "powerdown", delay)
    return 0


def _delay(p: Process, options: Options) -> Waiting[int]:
    when = options.operands[0] if options.operands else "now"
    if when == "now":
        return 0
    if found := re.fullmatch(r"\+?(\d{1,7})", when):
        return to_int(found[1]) * 60 * SECOND
    if re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", when):
        yield from not_simulated(p, f"the time '{when}'")
    return (yield from fail(p, f"Failed to parse time specification: {when}"))


@program("poweroff", "halt", "reboot")
def go_down(p: Process) -> Steps:
    """Power off, halt or reboot."""
    options = yield from parse(p, "fp", {"force": "f", "poweroff": "p"})
    _go_down(p, "powerdown" if "p" in options else WAYS.get(p.name, "powerdown"))
    return 0


#: What systemd's knows besides (systemctl(1) of systemd 252): the most usual of it.
_KNOWN: Final = frozenset({
    "cat", "daemon-reexec", "daemon-reload", "disable", "edit", "enable", "get-default", "is-active",
    "is-enabled", "is-failed", "is-system-running", "isolate", "kexec", "kill", "link",
    "list-dependencies", "list-jobs", "list-sockets", "list-timers", "list-unit-files", "list-units",
    "mask", "preset", "reload", "reload-or-restart", "reset-failed", "restart", "set-default",
    "set-property", "show", "show-environment", "start", "stop", "try-restart", "unmask",
})  # fmt: skip


@program("systemctl")
def systemctl(p: Process) -> Steps:
    """Stand in for systemd's: it sleeps and shuts down; of services it knows nothing."""
    options = yield from parse(p, "qfi", {"quiet": "q", "force": "f"})
    verb = options.operands[0] if options.operands else "list-units"
    if verb in SLEEPS:
        # It answers before the machine sleeps (recorded: suspend/hybrid).
        p.guest.power.sleep(SLEEPS[verb], p.guest.settings.power.suspend_time)
    elif verb in WAYS:
        _go_down(p, WAYS[verb])
    elif verb == "status":
        return (yield from _status(p, options.operands[1:]))
    elif verb in _KNOWN:
        yield from not_simulated(p, f"'{verb}'")
    else:
        name = verb if is_busybox(p) else f"{verb}."
        yield from p.write(2, pick(p, f"systemctl: {name}\n", f"Unknown command verb {name}\n"))
        return 1
    return 0


def _status(p: Process, units: list[str]) -> Steps:
    """Print the state of units for sleeping, which do not run (recorded: status 3, no output)."""
    for unit in units[:1]:
        name = unit.removesuffix(".service")
        if sleep := SLEEPS.get(name.removeprefix("systemd-")):
            return 3 if sleep in p.guest.settings.power.suspend else 4
    return (yield from not_simulated(p, "'status' of other units than those for sleeping"))
