"""qemu-ga releases: every fact that differs between them, by name.

A command asks its agent's dialect for a fact, never for a number. A `Dialect` begins as qemu-ga 2.5;
`CHANGES` tells what each release after it changed, and from where that is known.
"""

from qgasim.dialect.changes import CHANGES, Change
from qgasim.dialect.facts import BLOCKED_AND_ALLOWED, Dialect, Family, Version
from qgasim.dialect.quirks import QUIRKS, Quirk, Switch, with_quirks
from qgasim.dialect.releases import (
    FULL_VERSIONS,
    LATEST,
    OLDEST,
    RECORDED,
    RELEASES,
    find_dialect,
)

__all__ = [
    "BLOCKED_AND_ALLOWED",
    "CHANGES",
    "FULL_VERSIONS",
    "LATEST",
    "OLDEST",
    "QUIRKS",
    "RECORDED",
    "RELEASES",
    "Change",
    "Dialect",
    "Family",
    "Quirk",
    "Switch",
    "Version",
    "find_dialect",
    "with_quirks",
]
