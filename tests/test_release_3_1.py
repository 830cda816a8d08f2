"""The oldest release has the commands, arguments and members of its reference, and nothing newer.

tests/spec/qemu-ga-reference-3.1.txt is "QEMU Guest Agent protocol reference" of QEMU 3.1.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from msgspec import Struct

from qgasim.commands import ALL_COMMANDS
from qgasim.dialect import RELEASES
from qgasim.qapi.annotations import Alternate, is_in, strip
from qgasim.qapi.registry import compile_table
from tests.serving import Course
from tests.test_schema import ARGUMENTS as ASKED
from tests.test_schema import BEFORE, RESULT

REFERENCE = Path(__file__).parent / "spec" / "qemu-ga-reference-3.1.txt"
DIALECT = RELEASES[3, 1]
TABLE = compile_table(ALL_COMMANDS, DIALECT)
#: Members that no Linux guest has.
LEFT_OUT = {("GuestUser", "domain")}


class Entry:
    """A command or type of the reference."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        #: Name, type and whether it may be absent, of each argument or member; or each value.
        self.members = [
            (name, type_, bool(optional))
            for name, type_, optional in re.findall(
                r"^     '([\w-]+): ([^']+)'( \(optional\))?$", text, re.MULTILINE
            )
        ]
        self.values = re.findall(r"^     '([\w-]+)'$", text, re.MULTILINE)
        returns = re.search(r"Returns: .*?'?(Guest[A-Z]\w+)'?", text)
        self.returns = returns[1] if returns else None
        since = re.search(r"^     Since: (\d+)\.(\d+)", text, re.MULTILINE)
        assert since, text
        self.since = (int(since[1]), int(since[2]))


def read_reference() -> dict[str, Entry]:
    text = REFERENCE.read_text().split("Commands and Events Index\n****")[0]
    parts = re.split(r"^ -- (\w+): ([\w-]+)\n", text, flags=re.MULTILINE)[1:]
    return {
        name: Entry(kind, body)
        for kind, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


REFERENCES = read_reference()
COMMANDS = {name: entry for name, entry in REFERENCES.items() if entry.kind == "Command"}
#: What the reference calls by a name that it does not have.
MISNAMED = {"GuestNetworkInfo": "GuestNetworkInterface"}
SCALARS = {"int": int, "string": str, "boolean": bool, "number": float}


def check_type(annotation: Any, type_: str, where: str) -> None:
    found, marks = strip(annotation)
    if type_.startswith("array of "):
        assert get_origin(found) in {list, tuple}, where
        check_type(get_args(found)[0], type_.removeprefix("array of "), where + "[]")
    elif type_ in SCALARS:
        # Bytes are written in base64.
        assert found is SCALARS[type_] or (type_ == "string" and found is bytes), where
    elif REFERENCES[type_].kind == "Alternate":
        assert [mark.name for mark in marks if isinstance(mark, Alternate)] == [type_], where
    elif REFERENCES[type_].kind == "Enum":
        assert get_origin(found) is Literal, where
        # The agent of 3.1 has no name for what came later: tests/golden/5.2, fs/nvme-fsinfo.
        assert set(get_args(found)) - {"nvme"} <= set(REFERENCES[type_].values), where
    else:
        check_struct(found, type_, where)


def check_struct(cls: Any, type_: str, where: str) -> None:
    assert issubclass(cls, Struct), where
    assert cls.__doc__
    assert f"``{type_}``" in cls.__doc__, where
    fields = {f.encode_name: f for f in msgspec.structs.fields(cls) if is_in(f.type, DIALECT)}
    members = [m for m in REFERENCES[type_].members if (type_, m[0]) not in LEFT_OUT]
    assert set(fields) == {name for name, _, _ in members}, where
    for name, member_type, is_optional in members:
        check_type(fields[name].type, member_type, f"{where}.{name}")
        may_be_absent = type(None) in get_args(fields[name].type)
        assert is_optional or not may_be_absent, f"{where}.{name}"


def test_the_reference_was_read() -> None:
    assert len(COMMANDS) == 35
    assert COMMANDS["guest-exec"].members[4] == ("capture-output", "boolean", True)
    assert REFERENCES["QGASeek"].values == ["set", "cur", "end"]


def test_the_commands_are_those_of_the_reference_in_its_order() -> None:
    assert list(TABLE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_came_when_the_reference_says(name: str) -> None:
    assert TABLE[name].command.since == COMMANDS[name].since


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_arguments_of_the_reference(name: str) -> None:
    parameters = [p for p in TABLE[name].command.parameters if is_in(p.annotation, DIALECT)]
    assert [(p.name, p.is_optional) for p in parameters] == [
        (m[0], m[2]) for m in COMMANDS[name].members
    ]
    for parameter, member in zip(parameters, COMMANDS[name].members, strict=True):
        check_type(parameter.annotation, member[1], f"{name}: {parameter.name}")


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if entry.returns])
def test_a_command_returns_what_the_reference_says(name: str) -> None:
    annotation = strip(TABLE[name].command.returns)[0]
    if get_origin(annotation) in {list, tuple}:
        annotation = strip(get_args(annotation)[0])[0]
    type_ = COMMANDS[name].returns
    assert type_
    check_type(annotation, MISNAMED.get(type_, type_), name)


def names_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(names_in, value.values()))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reply_has_no_member_that_the_reference_does_not_name(name: str) -> None:
    course = Course("lab-vm", release="3.1")
    result: Any = None
    if name in BEFORE:
        result = ask(course, BEFORE[name], None)["return"]
        result = result["pid"] if name == "guest-exec-status" else result
        course.advance(1)
    reply = ask(course, name, result)
    known = {member[0] for entry in REFERENCES.values() for member in entry.members}
    assert names_in(reply) <= known | {"return"}
    assert reply == {} or "return" in reply


def ask(course: Course, name: str, result: Any) -> Any:
    arguments = {k: result if v == RESULT else v for k, v in ASKED.get(name, {}).items()}
    sent = json.dumps({"execute": name, **({"arguments": arguments} if arguments else {})})
    reply = course.send(sent.encode()).removeprefix(b"\xff")
    return json.loads(reply) if reply else {}


@pytest.mark.parametrize("name", sorted({c.name for c in ALL_COMMANDS} - set(COMMANDS)))
def test_a_newer_command_does_not_exist(name: str) -> None:
    reply = Course("lab-vm", release="3.1").say(name)
    text = f"The command {name} has not been found"
    assert reply == {"error": {"class": "CommandNotFound", "desc": text}}


def test_a_request_has_no_id_yet() -> None:
    # "qmp: common 'id' handling & make QGA conform to spec" came with 4.0.
    reply = Course("lab-vm", release="3.1").send(b'{"execute": "guest-ping", "id": 1}')
    text = "QMP input member 'id' is unexpected"
    assert json.loads(reply) == {"error": {"class": "GenericError", "desc": text}}
