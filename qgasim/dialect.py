"""qemu-ga releases: every fact that differs between them, by name.

A command asks its agent's dialect for a fact, never for a number.
"""

from typing import Final, TypeAlias

from msgspec import Struct

__all__ = ["RELEASES", "Dialect", "Version", "find_dialect"]

Version: TypeAlias = tuple[int, int]


class Dialect(Struct, frozen=True, kw_only=True, cache_hash=True):
    """What one release of qemu-ga does differently from others."""

    #: Major and minor number.
    version: Version
    #: What guest-info says, unless the scenario says otherwise.
    full_version: str
    #: Wording for a command that the administrator blocked.
    blocked_text: str
    #: Wording for a command that must wait for the thaw.
    frozen_text: str
    #: A blocked command keeps the wording of the frozen state after the thaw (qga/main.c,
    #: ga_enable_non_blocked(): only commands that get enabled lose their reason).
    keeps_frozen_text: bool
    #: Wording of guest-exec's refusal; ``{}`` is glib's text.
    exec_failed_text: str

    def has(self, since: Version) -> bool:
        """Whether the release has what came with *since*."""
        return since <= self.version


RELEASES: Final[dict[Version, Dialect]] = {
    dialect.version: dialect
    for dialect in (
        # Recorded: tests/golden/7.2.
        Dialect(
            version=(7, 2),
            full_version="7.2.22",
            blocked_text="Command {} has been disabled",
            frozen_text="Command {} has been disabled: the agent is in frozen state",
            keeps_frozen_text=True,
            exec_failed_text="Guest agent command failed, error was '{}'",
        ),
    )
}


def find_dialect(release: str) -> Dialect | None:
    """Find the dialect of a release as people write it: ``7.2``, or a full version, ``7.2.22``."""
    parts = release.split(".")
    if len(parts) < 2 or not all(part.isdecimal() for part in parts[:2]):
        return None
    return RELEASES.get((int(parts[0]), int(parts[1])))
