"""Mistakes of releases that can be switched on and off by name."""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct, field, structs

from qgasim.dialect.facts import Dialect

__all__ = ["QUIRKS", "Quirk", "Switch", "with_quirks"]

Switch: TypeAlias = Literal["on", "off"]
"""Whether an agent has a quirk (YAML 1.2 takes ``on`` and ``off`` for texts)."""


class Quirk(Struct, frozen=True, kw_only=True):
    """A mistake that some releases have, and that can be switched on and off by name."""

    description: str
    #: The facts of an agent with it, and of one without.
    on: Mapping[str, Any]
    off: Mapping[str, Any] = field(default_factory=dict[str, Any])


QUIRKS: Final[dict[str, Quirk]] = {
    "list_orders": Quirk(
        description="guest-get-vcpus lists processors in the order of a directory of sysfs, which is "
        "that of a hash, and not by their numbers.",
        on={"reads_cpu_directory": True},
        off={"reads_cpu_directory": False},
    ),
    "no_sysfs_sleep": Quirk(
        description="The guest can only be suspended by systemd or pm-utils: /sys/power/state is "
        "written in a way in which it cannot be.",
        on={"replaces_sys_state": True},
        off={"replaces_sys_state": False},
    ),
    "poweroff": Quirk(
        description="guest-shutdown runs /sbin/poweroff, /sbin/halt and /sbin/reboot where they are there, as "
        "Alpine's package does where there is no /sbin/shutdown, and 10.2 and later in any case.",
        on={"prefers_poweroff": True},
        off={"prefers_poweroff": False},
    ),
    "single_stream_capture": Quirk(
        description="guest-exec with `capture-output` `stdout` or `stderr` spoils later captures.",
        on={"spoils_captures": True},
        off={"spoils_captures": False},
    ),
    "windows_single_stream": Quirk(
        description="On Windows, guest-exec with `capture-output` `stdout` or `stderr` ends the agent.",
        on={"dies_of_single_stream": True},
        off={"dies_of_single_stream": False},
    ),
    "silent_abort": Quirk(
        description="The agent aborts after guest-shutdown and guest-suspend-* if they succeed: they are not "
        "answered then.",
        on={"aborts_without_reply": True},
        off={"aborts_without_reply": False},
    ),
    "helper_output_crash": Quirk(
        description="The agent dies when a program that it waits for (hwclock, chpasswd, shutdown, the freeze "
        "hook) writes something, and when it cannot be started.",
        on={"dies_of_helper_output": True},
        off={"dies_of_helper_output": False},
    ),
    "pid_ld": Quirk(
        description="guest-exec-status says `PID ld does not exist` whatever the pid (on Windows `PID lld`).",
        on={
            "unknown_pid_text": "PID ld does not exist",
            "windows_unknown_pid_text": "PID lld does not exist",
        },
        off=dict.fromkeys(
            ("unknown_pid_text", "windows_unknown_pid_text"), "PID {} does not exist"
        ),
    ),
    "untold_truncation": Quirk(
        description="guest-exec-status has `out-truncated` and `err-truncated` only if the output was "
        "truncated, and says false.",
        on={"tells_truncated": False},
        off={"tells_truncated": True},
    ),
    "route_signs": Quirk(
        description="guest-network-get-route tells large metrics and flags of IPv6 routes as negative, "
        "and as far too large.",
        on={"extends_route_signs": True},
        off={"extends_route_signs": False},
    ),
    "windows_77": Quirk(
        description="Windows 7 is `Microsoft Windows 77` without a `version-id`.",
        on={"joins_windows_7": True},
        off={"joins_windows_7": False},
    ),
    "windows_2025_typo": Quirk(
        description="Windows Server 2025 is `MIcrosoft Windows Server 2025`.",
        on={"misspells_server_2025": True},
        off={"misspells_server_2025": False},
    ),
    "no_prefixes": Quirk(
        description="Addresses on Windows have prefix -1, as in builds for Windows XP. No release has "
        "it by itself.",
        on={"tells_prefixes": False},
        off={"tells_prefixes": True},
    ),
}


def with_quirks(dialect: Dialect, quirks: Mapping[str, Switch]) -> Dialect:
    """Return the dialect of an agent with some quirks switched on or off."""
    facts: dict[str, Any] = {}
    for name, switch in quirks.items():
        facts |= QUIRKS[name].on if switch == "on" else QUIRKS[name].off
    return structs.replace(dialect, **facts)
