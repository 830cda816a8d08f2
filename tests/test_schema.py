"""The commands of a release are those of QEMU's schema: names, arguments, results, replies.

tests/spec/schema-7.2.json is qga/qapi-schema.json of QEMU 7.2, written as JSON; and so on.
"""

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import msgspec
import pytest
from msgspec import Struct

from qgasim.commands import ALL_COMMANDS
from qgasim.dialect import RELEASES, Family, find_dialect
from qgasim.qapi.annotations import Alternate, Since
from qgasim.qapi.registry import compile_table
from qgasim.wire import hash_order
from tests.serving import Course, request

ROOT = Path(__file__).parent

#: A type of the schema: a name, or a list of one.
Type: TypeAlias = str | list[str] | None


GUESTS = {
    "debian-12": "debian-12",
    "lab-vm": "lab-vm",
    "nvme": f"extends: {ROOT}/golden/scenarios/nvme.yaml",
}

#: What a command is asked; ``RESULT`` is what the command before it returned.
RESULT = "RESULT"
ARGUMENTS: dict[str, dict[str, Any]] = {
    "guest-sync-delimited": {"id": 1},
    "guest-sync": {"id": 1},
    "guest-set-time": {"time": 1_750_000_000_000_000_000},
    "guest-shutdown": {"mode": "powerdown"},
    "guest-file-open": {"path": "/etc/hostname", "mode": "r"},
    "guest-file-close": {"handle": RESULT},
    "guest-file-read": {"handle": RESULT, "count": 10},
    "guest-file-write": {"handle": RESULT, "buf-b64": "", "count": 0},
    "guest-file-seek": {"handle": RESULT, "offset": 0, "whence": "cur"},
    "guest-file-flush": {"handle": RESULT},
    "guest-fsfreeze-freeze-list": {"mountpoints": ["/"]},
    "guest-fstrim": {"minimum": 0},
    "guest-set-vcpus": {"vcpus": [{"logical-id": 1, "online": False}]},
    "guest-set-user-password": {"username": "root", "password": "YQ==", "crypted": False},
    "guest-set-memory-blocks": {"mem-blks": [{"phys-index": 1, "online": False}]},
    "guest-exec-status": {"pid": RESULT},
    "guest-exec": {"path": "/bin/echo", "arg": ["a"], "env": [], "capture-output": True},
    "guest-ssh-get-authorized-keys": {"username": "root"},
    "guest-ssh-add-authorized-keys": {"username": "root", "keys": ["a"], "reset": False},
    "guest-ssh-remove-authorized-keys": {"username": "root", "keys": ["a"]},
}
BEFORE: dict[str, str] = {
    **dict.fromkeys(
        [f"guest-file-{what}" for what in ("close", "read", "write", "seek", "flush")],
        "guest-file-open",
    ),
    "guest-exec-status": "guest-exec",
    "guest-ssh-get-authorized-keys": "guest-ssh-add-authorized-keys",
}
#: Listed and disabled up to 9.0: Windows only.
DISABLED = {"guest-get-devices"}
#: What is configured in the schemas' conditions, on Linux as it was where qemu-ga was recorded.
_POSIX = {
    "CONFIG_POSIX",
    "defined(CONFIG_POSIX)",
    "CONFIG_FSFREEZE",
    "CONFIG_GETLOADAVG",
    "HAVE_GETIFADDRS",
    "HAVE_UTMPX",
}
CONFIGURED: dict[Family, set[str]] = {
    "linux": _POSIX | {"CONFIG_LINUX", "CONFIG_FSTRIM", "CONFIG_LIBUDEV"},
    "freebsd": _POSIX | {"CONFIG_FREEBSD"},
    "windows": {"CONFIG_WIN32"},
}


def holds(condition: Any, family: Family = "linux") -> bool:
    """Return whether the schema has on a platform what is under a condition."""
    if isinstance(condition, str):
        return condition in CONFIGURED[family]
    if "any" in condition:
        return any(holds(each, family) for each in condition["any"])
    return not holds(condition["not"], family)


class Spec:
    """The schema of a release on a platform, and its commands here."""

    def __init__(self, release: str, family: Family = "linux") -> None:
        self.schema: dict[str, dict[str, Any]] = json.loads(
            (ROOT / "spec" / f"schema-{release}.json").read_text()
        )
        self.enums = {
            name: [
                v if isinstance(v, str) else v["name"]
                for v in values
                if isinstance(v, str) or holds(v.get("if", {"any": [*CONFIGURED[family]]}), family)
            ]
            for name, values in self.schema["enums"].items()
        }
        self.commands: dict[str, Any] = {
            name: entry
            for name, entry in self.schema["commands"].items()
            if "if" not in entry or holds(entry["if"], family)
        }
        self.release = release
        major, _, minor = release.partition(".")
        self.version = (int(major), int(minor))
        self.table = compile_table(ALL_COMMANDS, RELEASES[self.version], family)
        self.family = family

    def __repr__(self) -> str:
        return self.release if self.family == "linux" else f"{self.release}-{self.family}"


KNOWN = ("5.2", "7.2", "10.0", "11.1")
SPECS = [Spec(release) for release in KNOWN]
OTHERS = [Spec(release, family) for family in ("freebsd", "windows") for release in KNOWN]


def offenders(check: Callable[[str], None], names: Iterable[str]) -> list[str]:
    """Return for each of *names* what *check* finds wrong with it."""
    found: list[str] = []
    for name in names:
        try:
            check(name)
        except AssertionError as error:
            found.append(f"{name}: {error}")
    return found


# -- the schema and the registry -------------------------------------------------------------------


def bare(annotation: Any) -> tuple[Any, list[Any]]:
    """Take an annotation apart: without ``None``, and with its marks."""
    marks: list[Any] = []
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            marks += more
        elif get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation):
            rest = [a for a in get_args(annotation) if a is not type(None)]
            annotation = Union[tuple(rest)]  # noqa: UP007
        else:
            return annotation, marks


def is_new(spec: Spec, annotation: Any) -> bool:
    return any(isinstance(m, Since) and m.version > spec.version for m in bare(annotation)[1])


def members_of(spec: Spec, kind: str) -> dict[str, Any] | None:
    """Return the members of a struct or union of the schema."""
    if kind in spec.schema["unions"]:
        union = spec.schema["unions"][kind]
        (variant,) = union["data"].values()
        more = members_of(spec, variant) or {}
        return {union["discriminator"]: {"type": union["base"]["type"]}, **more}
    if kind in spec.schema["structs"]:
        found: dict[str, Any] = spec.schema["structs"][kind]["members"]
        return found
    return None


def check_type(spec: Spec, annotation: Any, kind: Type, where: str) -> None:
    """Check that an annotation says the same as the schema."""
    found, marks = bare(annotation)
    if kind is None:
        assert found in (None, type(None)), where
    elif isinstance(kind, list):
        assert get_origin(found) in {list, tuple}, where
        check_type(spec, get_args(found)[0], kind[0], where + "[]")
    elif kind in spec.schema["alternates"]:
        assert [m.name for m in marks if isinstance(m, Alternate)] == [kind], where
    elif kind in spec.enums:
        assert get_origin(found) is Literal, where
        # The type of a union is the one value that there is. A bus that the release does not know is
        # not told (tests/golden/5.2, fs/nvme-fsinfo).
        unknown = set() if spec.version >= (7, 1) else {"nvme"}
        assert set(get_args(found)) - unknown <= set(spec.enums[kind]), where
    elif (members := members_of(spec, kind)) is not None:
        check_struct(spec, found, kind, members, where)
    else:
        scalars: dict[str, type] = {"str": str, "bool": bool, "number": float}
        # Bytes are written in base64: a string.
        assert found is scalars.get(kind, int) or (kind == "str" and found is bytes), where
        assert [m for m in marks if isinstance(m, str)] == [kind] * kind.startswith("uint"), where


def check_struct(spec: Spec, cls: Any, kind: str, members: dict[str, Any], where: str) -> None:
    assert isinstance(cls, type), where
    assert issubclass(cls, Struct), where
    fields = {f.encode_name: f for f in msgspec.structs.fields(cls) if not is_new(spec, f.type)}
    assert set(fields) == set(members), where
    for name, field in fields.items():
        check_type(spec, field.type, members[name]["type"], f"{where}.{name}")
        may_be_absent = type(None) in get_args(field.type) or not field.required
        assert members[name].get("optional") or not may_be_absent, f"{where}.{name}"


@pytest.mark.parametrize("spec", [*SPECS, *OTHERS], ids=repr)
def test_the_table_has_the_commands_of_the_schema_in_its_order(spec: Spec) -> None:
    assert list(spec.table) == list(spec.commands)


def conditional(name: str) -> Any:
    """Return the condition that the schema of 11.1 has for a command."""
    return SPECS[-1].schema["commands"][name].get("if")


@pytest.mark.parametrize("spec", OTHERS, ids=repr)
def test_a_platform_can_do_what_the_conditions_of_the_schema_of_11_1_say(spec: Spec) -> None:
    # Before 9.1, the others were listed, and refused or answered by an error.
    can = {n for n, e in spec.table.items() if e.is_supported and not e.command.only_refuses}
    newer = {"guest-ssh-get-authorized-keys", "guest-ssh-add-authorized-keys"}
    newer |= {"guest-ssh-remove-authorized-keys", "guest-get-load", "guest-network-get-route"}
    if repr(spec) == "5.2-freebsd":
        newer |= {name for name, _, since in LATER["freebsd"] if since == "7.2"}
    said = {n for n in spec.commands if not conditional(n) or holds(conditional(n), spec.family)}
    assert can - newer == said - newer


LATER: dict[Family, list[tuple[str, str, str]]] = {
    "windows": [
        ("guest-get-disks", "5.1", "5.2"),
        ("guest-get-devices", "5.1", "5.2"),
        # Pull request qga-pull-2024-05-01.
        ("guest-ssh-get-authorized-keys", "9.0", "9.1"),
        ("guest-ssh-add-authorized-keys", "9.0", "9.1"),
        ("guest-ssh-remove-authorized-keys", "9.0", "9.1"),
        # Pull request qga-pull-2025-06-12.
        ("guest-get-load", "10.0", "10.1"),
        # The schema says 10.3, which was released as 11.0.
        ("guest-network-get-route", "10.2", "11.0"),
    ],
    # Pull request qga-pull-2022-10-26.
    "freebsd": [
        ("guest-fsfreeze-status", "7.1", "7.2"),
        ("guest-fsfreeze-freeze", "7.1", "7.2"),
        ("guest-fsfreeze-freeze-list", "7.1", "7.2"),
        ("guest-fsfreeze-thaw", "7.1", "7.2"),
        ("guest-network-get-interfaces", "7.1", "7.2"),
        ("guest-set-user-password", "7.1", "7.2"),
        ("guest-get-load", "9.2", "10.0"),
    ],
}


@pytest.mark.parametrize(
    ("family", "name", "before", "since"),
    [(family, *row) for family, rows in LATER.items() for row in rows],
)
def test_a_platform_could_do_a_command_later(
    family: Family, name: str, before: str, since: str
) -> None:
    def can(release: str) -> bool:
        dialect = find_dialect(release)
        assert dialect
        entry = compile_table(ALL_COMMANDS, dialect, family).get(name)
        return entry is not None and entry.is_supported and not entry.command.only_refuses

    assert (can(before), can(since)) == (False, True)


@pytest.mark.parametrize("spec", [*SPECS, *OTHERS], ids=repr)
def test_a_command_has_the_arguments_of_the_schema(spec: Spec) -> None:
    assert offenders(partial(check_arguments, spec), spec.commands) == []


def check_arguments(spec: Spec, name: str) -> None:
    arguments = spec.commands[name]["arguments"]
    parameters = [p for p in spec.table[name].command.parameters if not is_new(spec, p.annotation)]
    assert [p.name for p in parameters] == list(arguments)
    for p in parameters:
        assert p.is_optional == arguments[p.name].get("optional", False)
        check_type(spec, p.annotation, arguments[p.name]["type"], f"{name}: {p.name}")


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("kind", ["GuestLogicalProcessor", "GuestMemoryBlock"])
def test_a_struct_that_is_an_argument_is_read_in_the_order_of_the_schema(
    spec: Spec, kind: str
) -> None:
    commands = {
        "GuestLogicalProcessor": "guest-set-vcpus",
        "GuestMemoryBlock": "guest-set-memory-blocks",
    }
    (parameter,) = spec.table[commands[kind]].command.parameters
    cls = get_args(bare(parameter.annotation)[0])[0]
    names = [field.encode_name for field in msgspec.structs.fields(cls)]
    assert names == list(spec.schema["structs"][kind]["members"])


@pytest.mark.parametrize("spec", [*SPECS, *OTHERS], ids=repr)
def test_a_command_returns_what_the_schema_says(spec: Spec) -> None:
    assert offenders(partial(check_returns, spec), spec.commands) == []


def check_returns(spec: Spec, name: str) -> None:
    check_type(spec, spec.table[name].command.returns, spec.commands[name]["returns"], name)
    assert spec.table[name].command.replies == spec.commands[name].get("success-response", True)


# -- the replies -----------------------------------------------------------------------------------


RANGES = {"int": (-(1 << 63), 1 << 63), "uint16": (0, 1 << 16), "uint64": (0, 1 << 64)}


def check_value(spec: Spec, value: Any, kind: Type, where: str, *, in_order: bool = True) -> None:
    """Check that a value of a reply is of a type of the schema, and its members *in_order*."""
    if kind is None:
        assert value == {}, where
    elif isinstance(kind, list):
        assert type(value) is list, where
        for number, item in enumerate(value):
            check_value(spec, item, kind[0], f"{where}[{number}]", in_order=in_order)
    elif kind in spec.enums:
        assert value in spec.enums[kind], where
    elif (members := members_of(spec, kind)) is not None:
        assert type(value) is dict, where
        assert set(value) <= set(members), where
        assert {n for n, m in members.items() if not m.get("optional")} <= set(value), where
        if in_order:
            assert list(value) == hash_order([name for name in members if name in value]), where
        for name, member in value.items():
            kind = members[name]["type"]
            check_value(spec, member, kind, f"{where}.{name}", in_order=in_order)
    elif kind == "number":
        assert type(value) in (int, float), where
    else:
        scalars: dict[str, type] = {"str": str, "bool": bool}
        assert type(value) is scalars.get(kind, int), where
        if type(value) is int:
            lowest, highest = RANGES[kind]
            assert lowest <= value < highest, where


def ask(spec: Spec, course: Course, name: str, result: Any) -> bytes:
    arguments = {
        key: result if value == RESULT else value for key, value in ARGUMENTS.get(name, {}).items()
    }
    return course.send(request(name, **arguments))


@pytest.mark.slow
@pytest.mark.parametrize("guest", GUESTS)
@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_a_reply_has_the_members_and_types_of_the_schema(spec: Spec, guest: str) -> None:
    assert offenders(partial(check_reply, spec, guest), spec.commands) == []


def check_reply(spec: Spec, guest: str, name: str) -> None:
    course = Course(GUESTS[guest], release=spec.release)
    result: Any = None
    if name in BEFORE:
        result = json.loads(ask(spec, course, BEFORE[name], None))["return"]
        result = result["pid"] if name == "guest-exec-status" else result
        course.advance(1)
    reply = ask(spec, course, name, result)
    if name in DISABLED:
        text = course.agent.dialect.blocked_text.format(name)
        assert json.loads(reply) == {"error": {"class": "CommandNotFound", "desc": text}}
    elif spec.commands[name].get("success-response", True):
        value = json.loads(reply.removeprefix(b"\xff"))
        assert list(value) == ["return"], value
        check_value(spec, value["return"], spec.commands[name]["returns"], name)
    else:
        assert reply == b""


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_every_argument_is_given_at_least_once(spec: Spec) -> None:
    given = {name: set(arguments) for name, arguments in ARGUMENTS.items()}
    left = {
        (name, argument)
        for name, entry in spec.commands.items()
        for argument in entry["arguments"]
        if argument not in given.get(name, set())
    }
    assert left == {("guest-exec", "input-data")}
