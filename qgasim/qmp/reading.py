"""Reading arguments by a release's schema (query-qmp-schema), so that all of its commands refuse what QEMU refuses.

The visitor is the agent's (`qapi.arguments`); what it visits is in the schema, but for two things that it
does not name: what kind of integer a member is (`_UNSIGNED`, `_INTEGERS`), and what an alternate is called.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from qgasim.qapi.arguments import (
    JSON_TYPES,
    Member,
    Visit,
    refuse_left,
    visit_alternate,
    visit_enum,
    visit_integer,
    visit_list,
    visit_members,
    wrong_type,
)
from qgasim.qapi.registry import Arguments
from qgasim.qmp.release import Release
from qgasim.wire import is_object

__all__ = ["make_check"]

#: How many bits integers have that are not ``int`` (64, with a sign), by the member: of MigrateSetParameters
#: (qapi/migration.json of QEMU 7.2), BlockDirtyBitmapAdd (block-core.json), x-query-virtio-queue-status (virtio.json) and NetdevHubPortOptions
#: (net.json).
_UNSIGNED: Final = {
    8: (
        "compress-level compress-threads decompress-threads throttle-trigger-threshold cpu-throttle-initial "
        "cpu-throttle-increment max-cpu-throttle multifd-channels multifd-zlib-level multifd-zstd-level"
    ),
    16: "queue",
    32: "x-checkpoint-delay granularity",
    64: (
        "announce-initial announce-max announce-rounds announce-step max-bandwidth downtime-limit "
        "xbzrle-cache-size max-postcopy-bandwidth"
    ),
}
_INTEGERS: Final[dict[str, Visit]] = {
    "hubid": visit_integer(32, is_signed=True),
    **{
        name: visit_integer(bits, is_signed=False)
        for bits, names in _UNSIGNED.items()
        for name in names.split()
    },
}
#: MemoryBackendProperties (qapi/qom.json) have sizes without a sign, others with one: the member, and one beside it.
_SIZES: Final = {"size": "prealloc", "align": "pmem"}


def make_check(release: Release, command: str) -> Callable[[Arguments], Any]:
    """Return what refuses wrong arguments of a command, and else returns them as they are read."""
    visit = _visitor(release).visit_type(release.argument_type(command))
    return lambda arguments: visit(arguments, "")


#: How values of JSON types and of other kinds of types come.
_PYTHON: Final[dict[str, type]] = {
    "string": str,
    "enum": str,
    "object": dict,
    "array": list,
    "int": int,
    "boolean": bool,
    "null": type(None),
}


@cache
def _visitor(release: Release) -> "_Schema":
    return _Schema(release)


class _Schema:
    """What visits the types of a release, each made when it is first needed: they hold one another."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._types: Mapping[str, Mapping[str, Any]] = release.types
        self._made: dict[str, Visit] = {}

    def visit_type(self, name: str) -> Visit:
        """Return what visits a value of a type."""

        def visit(value: Any, path: str) -> Any:
            made = self._made.get(name)
            if made is None:
                made = self._made[name] = self._make(self._types[name])
            return made(value, path)

        return visit

    def _make(self, kind: Mapping[str, Any]) -> Visit:
        meta = kind["meta-type"]
        if meta == "enum":
            return visit_enum(tuple(kind["values"]), self._release.dialect.enum_text)
        if meta == "array":
            return visit_list(self.visit_type(kind["element-type"]))
        if meta == "object":
            return self._object(kind)
        if meta == "alternate":
            return self._alternate([member["type"] for member in kind["members"]])
        return JSON_TYPES[kind["json-type"]]

    def _members(self, kind: Mapping[str, Any]) -> tuple[Member, ...]:
        names = {member["name"] for member in kind["members"]}
        return tuple(
            Member(
                member["name"],
                self._visit_member(member, names),
                "default" in member,
                None,
            )
            for member in kind["members"]
        )

    def _visit_member(self, member: Mapping[str, Any], names: set[str]) -> Visit:
        name = member["name"]
        if member["type"] == "int":
            if _SIZES.get(name) in names:
                return visit_integer(64, is_signed=False)
            if name in _INTEGERS:
                return _INTEGERS[name]
        return self.visit_type(member["type"])

    def _object(self, kind: Mapping[str, Any]) -> Visit:
        base = self._members(kind)
        tag = kind.get("tag")
        variants = {each["case"]: each["type"] for each in kind.get("variants", ())}
        of_variants: dict[str, tuple[Member, ...]] = {}

        def visit(value: Any, path: str) -> Any:
            if not is_object(value):
                raise wrong_type(path, "object")
            prefix = f"{path}." if path else ""
            members, read = base, visit_members(base, value, prefix)
            case = "" if tag is None else value[tag]
            if case in variants:
                if case not in of_variants:
                    of_variants[case] = self._members(self._types[variants[case]])
                members = base + of_variants[case]
                read += visit_members(of_variants[case], value, prefix)
            refuse_left(members, value, prefix)
            return {
                member.name: each
                for member, each in zip(members, read, strict=True)
                if member.name in value
            }

        return visit

    def _alternate(self, types: list[str]) -> Visit:
        """Return what visits one of several types, which JSON tells apart."""
        branches: dict[type, Visit] = {}
        kinds: list[Mapping[str, Any]] = []
        for name in types:
            kind = self._types[name]
            kinds.append(kind)
            branches[_PYTHON[kind.get("json-type", kind["meta-type"])]] = self.visit_type(name)
        return visit_alternate(self._alternate_name(kinds), branches)

    def _alternate_name(self, kinds: list[Mapping[str, Any]]) -> str:
        """Return what QEMU calls an alternate (qapi/*.json): the schema does not say it."""
        metas = {kind.get("json-type", kind["meta-type"]) for kind in kinds}
        has_null = "null" in metas
        if "object" not in metas:
            return "StrOrNull"
        if "enum" in metas:
            return "Qcow2OverlapChecks"
        first = next(kind for kind in kinds if kind["meta-type"] == "object")
        if first.get("tag") == "driver":
            return "BlockdevRefOrNull" if has_null else "BlockdevRef"
        return self._release.bitmap_alternate
