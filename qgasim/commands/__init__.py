"""The agent's commands, one module per chapter of its schema."""

from typing import Final

from qgasim.commands import (
    accounts,
    files,
    freebsd,
    hardware,
    processes,
    protocol,
    storage,
    system,
    unsupported,
    windows,
)
from qgasim.qapi.registry import COMMANDS, Command

__all__ = [
    "ALL_COMMANDS",
    "accounts",
    "files",
    "freebsd",
    "hardware",
    "processes",
    "protocol",
    "storage",
    "system",
    "unsupported",
    "windows",
]

#: The schema's order (qga/qapi-schema.json): guest-info lists commands by it.
_ORDER: Final = (
    "guest-sync-delimited", "guest-sync", "guest-ping", "guest-get-time", "guest-set-time",
    "guest-info", "guest-shutdown", "guest-file-open", "guest-file-close", "guest-file-read",
    "guest-file-write", "guest-file-seek", "guest-file-flush", "guest-fsfreeze-status",
    "guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list", "guest-fsfreeze-thaw", "guest-fstrim",
    "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid",
    "guest-network-get-interfaces", "guest-get-vcpus", "guest-set-vcpus", "guest-get-disks",
    "guest-get-fsinfo", "guest-set-user-password", "guest-get-memory-blocks",
    "guest-set-memory-blocks", "guest-get-memory-block-info", "guest-exec-status", "guest-exec",
    "guest-get-host-name", "guest-get-users", "guest-get-timezone", "guest-get-osinfo",
    "guest-get-devices", "guest-ssh-get-authorized-keys", "guest-ssh-add-authorized-keys",
    "guest-ssh-remove-authorized-keys", "guest-get-diskstats", "guest-get-cpustats",
    "guest-get-load", "guest-network-get-route",
)  # fmt: skip

ALL_COMMANDS: Final[list[Command]] = sorted(COMMANDS, key=lambda c: _ORDER.index(c.name))
"""All commands of all releases."""
