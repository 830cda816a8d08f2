"""How agents that speak QEMU's protocol, and are not qemu-ga, differ from it.

What they answer otherwise are stubs of a scenario; here is what no stub can say.
"""

import fnmatch

from msgspec import Struct, field, structs

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


def alter(table: Table, personality: Personality) -> Table:
    """Return the table of another agent, made from qemu-ga's.

    UNVERIFIED: where guest-info lists aliases; here they follow the schema, so they come first.
    """
    altered = dict(table)
    for pattern in personality.lacks:
        for name in fnmatch.filter(table, pattern):
            del altered[name]
    if personality.read_limit is not None and "guest-file-read" in altered:
        altered["guest-file-read"] = _limited(altered["guest-file-read"], personality.read_limit)
    for alias, name in personality.aliases.items():
        if name in altered:
            known = altered[name]
            command = structs.replace(known.command, name=alias)
            altered[alias] = structs.replace(known, command=command)
    return altered


def _limited(entry: Entry, limit: int) -> Entry:
    """Return guest-file-read that gives no more than *limit* bytes, whatever it is asked for."""
    call = entry.call

    def read(executor: object, arguments: Arguments) -> object:
        count = arguments.get("count", limit)
        if isinstance(count, int) and count > limit:
            count = limit
        return call(executor, {**arguments, "count": count})

    return structs.replace(entry, call=read)
