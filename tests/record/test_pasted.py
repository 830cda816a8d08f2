"""Replies as they are pasted into bug reports."""

import json
from pathlib import Path

import pytest

from qgasim.errors import ClientError
from qgasim.record.pasted import read_pasted
from qgasim.record.redaction import Redactor
from qgasim.record.writing import record
from qgasim.scenario import loads

#: Written after public bug reports; each file says which. What is expected: the commands, the base, how many stubs.
PASTED = {
    "domfsinfo-error.txt": ("guest-get-fsinfo guest-exec-status guest-get-users", "debian-12", 2),
    "hidden-by-hand.txt": ("guest-network-get-interfaces", "debian-12", 1),
    "home-assistant.txt": ("guest-get-osinfo guest-get-fsinfo", "haos", 0),
    "osinfo-in-review.txt": ("guest-get-osinfo", "rhel-9", 0),
    "proxmox-api-go.txt": ("guest-network-get-interfaces", "debian-12", 0),
    "proxmox-inventory.txt": ("guest-network-get-interfaces", "debian-12", 0),
    "pvesh-table.txt": ("guest-network-get-interfaces", "debian-12", 0),
    "virsh-jq.txt": ("guest-network-get-interfaces", "debian-12", 0),
    "windows-interfaces.json": ("guest-info guest-network-get-interfaces", "windows-11", 1),
    "windows-volumes.json": (
        "guest-get-osinfo guest-get-fsinfo guest-get-host-name", "windows-server-2022", 0,
    ),
}  # fmt: skip


def read(name: str) -> str:
    return (Path(__file__).parent / "pasted" / name).read_text()


def test_there_are_ten() -> None:
    files = {path.name for path in (Path(__file__).parent / "pasted").iterdir()}
    assert files == PASTED.keys()
    assert len(files) == 10


@pytest.mark.parametrize("name", PASTED)
def test_what_was_pasted_becomes_a_guest(name: str) -> None:
    commands, base, stubs = PASTED[name]
    survey = read_pasted(read(name), name)
    assert [answer.command for answer in survey.answers] == commands.split()
    redactor = Redactor(b"a key of the tests")
    recorded = record(survey, redactor)
    assert (recorded.replies, recorded.stubs, recorded.unlike) == (len(survey.answers), stubs, [])
    assert loads(recorded.text).extends == base
    assert redactor.leaks(recorded.text) == []


REFUSED = {
    "nothing": ("", "x:1: no reply of an agent is in it"),
    "prose": (
        "[root@kvm ~]# virsh list\n[1] 4711\n${HOME} {print $1}\n",
        "x:1: no reply of an agent is in it",
    ),
    "cut short": (
        'guest-get-users\n{"return": [\n  {"user": "a",\n',
        "x:4: not JSON, or cut short: ",
    ),
    "no command": ('one\ntwo\n{"return": {"x": 1}}\n', "x:3: no command is named"),
    "several commands": ('{"return": [{}]}', "x:1: no command is named"),
    "no reply": ('{"guest-get-users": {"error": 7}}', "x:1: not a reply to guest-get-users"),
    "deep": ('{"a":' * 100_000, "x:1: too many levels"),
    "deep replies": ('{"return":' * 100_000, "x:1: too many levels"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_reply_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ClientError) as raised:
        read_pasted(text, "x")
    assert str(raised.value).startswith(said)


def test_what_cannot_be_read_is_passed_over_with_its_line() -> None:
    text = """\
# qm guest cmd 101 get-users
[
   { "user" : "a",
# qm guest cmd 101 get-host-name
\x1b[1;39m{ \x1b[0m\x1b[34;1m"host-name"\x1b[0m : "b" }
{"return": [{"x": 1}]}
virsh # qemu-agent-command vm '{"execute":"guest-get-timezone"}'
{ \u201creturn\u201d: {\u201coffset\u201d:\u00a00 } }
Line [{"return": {"id": "debian", "pretty-name": "\u201cours\u201d"}}]
{"guest-get-vcpus": {"error": 7}, "guest-get-load": {"return":
"""
    survey = read_pasted(text, "x")
    assert [(each.command, each.value) for each in survey.answers] == [
        ("guest-get-host-name", {"host-name": "b"}),
        ("guest-get-timezone", {"offset": 0}),
        ("guest-get-osinfo", {"id": "debian", "pretty-name": "\u201cours\u201d"}),
    ]
    assert [said[:20] for said in survey.skipped] == [
        "x:4: not JSON, or cu",
        "x:6: no command is n",
        "x:11: not JSON, or c",
    ]
    with pytest.raises(ClientError, match=r"^x:1: no command is named"):
        read_pasted('{"return": [{}]}\n' * 21 + text, "x")


def test_of_what_is_told_twice_the_last_counts() -> None:
    text = json.dumps({"guest-get-host-name": {"host-name": "a"}}) + "\n"
    survey = read_pasted(text + text.replace('"a"', '"b"'), "x")
    assert survey.object("guest-get-host-name") == {"host-name": "b"}


NAMED = '{"execute": "guest-get-users"}\n%s\n{"guest-get-host-name": {"host-name": "b"}}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # Its request is not that of the next reply.
        (NAMED % '{"return": [{"user": "a",', ["x:3: not JSON, or c"]),
        (NAMED % ('{"return": ' + "[" * 100_000), ["x:2: too many level"]),
        # One entry of a list.
        (
            '[{"return": {"host-name": "b"}}, {"return": {"x": 1}}]',
            ["x:1: no command is "],
        ),
    ],
    ids=["cut", "deep", "listed"],
)
def test_what_cannot_be_read_takes_nothing_else_with_it(text: str, said: list[str]) -> None:
    survey = read_pasted(text, "x")
    assert [(each.command, each.value) for each in survey.answers] == [
        ("guest-get-host-name", {"host-name": "b"})
    ]
    assert [each[:19] for each in survey.skipped] == said


def test_a_text_of_braces_is_not_read_to_its_end() -> None:
    survey = read_pasted('{"guest-get-host-name": {"host-name": "b"}}\n' + 'a {"\n' * 100_000, "x")
    assert survey.skipped == ["x:1002: too much that is not JSON, the rest is not read"]
