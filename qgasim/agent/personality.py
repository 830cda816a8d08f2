"""How agents that speak QEMU's protocol, and are not qemu-ga, differ from it.

What they answer otherwise are stubs of a scenario; here is what no stub can say.
"""

import fnmatch

from msgspec import Struct, field, structs

from qgasim.dialect import Dialect
from qgasim.guest.units import Duration, Size
from qgasim.qapi.registry import Arguments, Entry, Table

__all__ = ["Personality", "alter"]


class Personality(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What another agent does differently from qemu-ga."""

    #: What guest-info says is the version; absent: the release.
    version: str | None = None
    #: Other names of commands, each with the name that qemu-ga has for it.
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    #: Commands that it does not have, as in ``guest-suspend-*``.
    lacks: tuple[str, ...] = ()
    #: How many bytes guest-file-read gives at most, and if *count* is not said; absent: qemu-ga's limits.
    read_limit: Size | None = None
    #: The mode of files that guest-file-open makes, in octal.
    file_mode: str = "0666"
    #: How long after a freeze it thaws by itself; absent: never.
    thaw_after: Duration | None = None


def alter(table: Table, personality: Personality, dialect: Dialect) -> None:
    """Make the table of qemu-ga that of another agent.

    UNVERIFIED: where guest-info lists aliases; here they follow the schema, so they come first.
    """
    for pattern in personality.lacks:
        for name in fnmatch.filter(table, pattern):
            del table[name]
    if personality.read_limit is not None and "guest-file-read" in table:
        _limit(table["guest-file-read"], personality.read_limit)
    for alias, name in personality.aliases.items():
        if name in table:
            known = table[name]
            command = structs.replace(known.command, name=alias)
            entry = table[alias] = Entry(command, dialect, is_supported=known.is_supported)
            entry.call = known.call


def _limit(entry: Entry, limit: int) -> None:
    """Have guest-file-read give no more than *limit* bytes, whatever it is asked for."""
    call = entry.call

    def read(agent: object, arguments: Arguments) -> object:
        count = arguments.get("count", limit)
        if isinstance(count, int) and count > limit:
            count = limit
        return call(agent, {**arguments, "count": count})  # type: ignore[arg-type]

    entry.call = read
