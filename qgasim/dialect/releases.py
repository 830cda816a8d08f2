"""The releases: the oldest, with the changes up to each."""

import re
from functools import lru_cache
from typing import Any, Final

from qgasim.dialect.changes import CHANGES
from qgasim.dialect.facts import Dialect, Version

__all__ = ["FULL_VERSIONS", "LATEST", "OLDEST", "RECORDED", "RELEASES", "find_dialect"]

#: Of those before 3.1, which commands and members there are is known by the ``Since:`` of the reference, and
#: their parser (`qgasim.wire.first`) by its source. UNVERIFIED: that they do all else as 3.1 does.
OLDEST: Final[Version] = (2, 5)
#: The last minor number of a major one; else it is 2.
_LAST_MINOR: Final = {2: 12, 3: 1}
#: The releases that are named, and what each calls itself by default.
FULL_VERSIONS: Final[dict[Version, str]] = {
    (2, 12): "2.12.0",
    (3, 1): "3.1.0",
    (4, 2): "4.2.0",
    (5, 0): "5.0.0",
    (5, 2): "5.2.0",
    (6, 2): "6.2.0",
    (7, 2): "7.2.22",
    (8, 2): "8.2.0",
    (9, 0): "9.0.0",
    (9, 1): "9.1.0",
    (10, 0): "10.0.13",
    (10, 2): "10.2.2",
    (11, 1): "11.1.3",
}
#: The releases whose answers were recorded (tests/golden).
RECORDED: Final = frozenset({(3, 1), (5, 2), (6, 2), (7, 2), (8, 2), (10, 0), (10, 2), (11, 1)})
LATEST: Final[Version] = max(FULL_VERSIONS)

_RELEASE: Final = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?([-~+ (].*)?")


@lru_cache(maxsize=256)
def find_dialect(release: str) -> Dialect | None:
    """Find the dialect of a release as people write it.

    ``7.2``, a full version such as ``7.2.22`` or a distribution's ``8.2.2 (Debian 1:8.2.2+ds)``, or
    ``latest``. None if it is no release, or one that nothing is known of.
    """
    if release == "latest":
        release = "{}.{}".format(*LATEST)
    match = _RELEASE.fullmatch(release)
    if match is None:
        return None
    version = (int(match[1]), int(match[2]))
    if not OLDEST <= version <= LATEST or version[1] > _LAST_MINOR.get(version[0], 2):
        return None
    is_short = match[3] is None and match[4] is None
    full = FULL_VERSIONS.get(version, f"{match[1]}.{match[2]}.0") if is_short else release
    patch = (*version, int(match[3] or FULL_VERSIONS.get(version, "..0").split(".")[2]))
    facts: dict[str, Any] = {}
    for change in CHANGES:
        is_stable = any(patch[:2] == fixed[:2] and patch >= fixed for fixed in change.stable)
        if change.since <= version or is_stable:
            facts |= change.facts
    return Dialect(version=version, full_version=full, **facts)


def _find(version: Version) -> Dialect:
    dialect = find_dialect("{}.{}".format(*version))
    assert dialect
    return dialect


RELEASES: Final[dict[Version, Dialect]] = {version: _find(version) for version in FULL_VERSIONS}
