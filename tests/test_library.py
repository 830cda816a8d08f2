"""The whole library: every scenario is served, asked everything, and written again."""

import json
from typing import Any

import pytest
from msgspec import structs

from qgasim.cli import main
from qgasim.scenario import library, load, loads
from qgasim.scenario.dump import to_yaml
from tests.generated import ROOT, load_generator
from tests.schema_check import check_reply, load_schema
from tests.serving import Course, all_guests, request

#: Every command with the least that it takes; ``$h`` and ``$p`` stand for a handle and a pid.
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("guest-sync-delimited", {"id": 1}),
    ("guest-sync", {"id": 2}),
    ("guest-ping", {}),
    ("guest-info", {}),
    ("guest-get-time", {}),
    ("guest-get-host-name", {}),
    ("guest-get-osinfo", {}),
    ("guest-get-timezone", {}),
    ("guest-get-users", {}),
    ("guest-get-vcpus", {}),
    ("guest-get-memory-blocks", {}),
    ("guest-get-memory-block-info", {}),
    ("guest-get-fsinfo", {}),
    ("guest-get-disks", {}),
    ("guest-get-diskstats", {}),
    ("guest-get-cpustats", {}),
    ("guest-get-devices", {}),
    ("guest-get-load", {}),
    ("guest-network-get-interfaces", {}),
    ("guest-network-get-route", {}),
    ("guest-fsfreeze-status", {}),
    ("guest-file-open", {"path": "/etc/hostname"}),
    ("guest-file-read", {"handle": "$h", "count": 3}),
    ("guest-file-seek", {"handle": "$h", "offset": 0, "whence": 0}),
    ("guest-file-write", {"handle": "$h", "buf_b64": ""}),
    ("guest-file-flush", {"handle": "$h"}),
    ("guest-file-close", {"handle": "$h"}),
    ("guest-exec", {"path": "echo", "arg": ["a"], "capture_output": True}),
    ("guest-exec-status", {"pid": "$p"}),
    ("guest-ssh-get-authorized-keys", {"username": "root"}),
    ("guest-ssh-add-authorized-keys", {"username": "root", "keys": ["ssh-ed25519 AAAA a"]}),
    ("guest-ssh-remove-authorized-keys", {"username": "root", "keys": []}),
    ("guest-set-user-password", {"username": "root", "password": "YQ==", "crypted": False}),
    ("guest-set-vcpus", {"vcpus": []}),
    ("guest-set-memory-blocks", {"mem_blks": []}),
    ("guest-fstrim", {}),
    ("guest-set-time", {}),
    ("guest-fsfreeze-freeze", {}),
    ("guest-fsfreeze-thaw", {}),
    ("guest-fsfreeze-freeze-list", {"mountpoints": ["/"]}),
    ("guest-fsfreeze-thaw", {}),
]
#: Other agents, which do not keep to the schema in what is stubbed.
NOT_QEMU_GA = {"mac-guest-agent", "opnsense"}
#: Success is not answered, and the guest is another one afterwards.
LAST = ["guest-shutdown", "guest-suspend-ram", "guest-suspend-disk", "guest-suspend-hybrid"]


def is_tampered(course: Course, command: str) -> bool:
    """Return whether the scenario itself says what the command answers, or that it does not."""
    agent = course.agent
    return bool(agent.commands.stubs.get(command) or agent.injector.find(command))


def check(course: Course, command: str, reply: bytes) -> list[str]:
    message = json.loads(reply.removeprefix(b"\xff"))
    if "error" in message:
        return [] if set(message["error"]) == {"class", "desc"} else [f"{command}: {message}"]
    return check_reply(load_schema(course.agent.dialect.version), command, message["return"])


#: A command, what it returned, and what is wrong with that.
NOT_IN_THE_SCHEMA: list[tuple[str, Any, str]] = [
    ("guest-ping", [], "guest-ping: expected nothing, found []"),
    ("guest-sync", True, "guest-sync: expected int, found True"),
    ("guest-get-users", {}, "guest-get-users: expected a list, found {}"),
    ("guest-get-host-name", {}, "guest-get-host-name.host-name is missing"),
    ("guest-get-host-name", {"host-name": "a", "x": 1}, "guest-get-host-name: 'x' is unexpected"),
    ("guest-fsfreeze-status", "cold", "guest-fsfreeze-status: no GuestFsfreezeStatus: 'cold'"),
    (
        "guest-get-memory-blocks",
        [{"phys-index": -1, "online": True}],
        "guest-get-memory-blocks[0].phys-index: expected uint64, found -1",
    ),
    ("guest-nope", {}, "guest-nope: no such command"),
]


@pytest.mark.parametrize(("command", "value", "wrong"), NOT_IN_THE_SCHEMA)
def test_the_check_sees_what_is_not_in_the_schema(command: str, value: Any, wrong: str) -> None:
    assert check_reply(load_schema((7, 2)), command, value) == [wrong]


def test_every_command_is_asked() -> None:
    commands = {name for name, _ in ASKED} | set(LAST)
    assert commands >= set(load_schema((7, 2))["commands"])


@pytest.mark.slow
@pytest.mark.parametrize("name", all_guests())
def test_a_scenario_answers_every_command_as_its_releases_schema_says(name: str) -> None:
    course = Course(name)
    scenario = load(name)
    is_report = scenario.origin.startswith("client bug") or name in NOT_QEMU_GA
    if scenario.faults:
        # What goes wrong with replies is looked at in test_client_bug_faults.py.
        scenario.faults = []
        course.take(scenario.build(course.clock))
    names: dict[str, int] = {"$h": 1000, "$p": 1}
    wrong: list[str] = []
    asked = 0
    for command, arguments in ASKED:
        given = {
            key: names.get(value, value) if isinstance(value, str) else value
            for key, value in arguments.items()
        }
        # A reply that waits for a program is waited for.
        reply = course.send(request(command, **given) + b"\n")
        asked += 1
        # What a report is about may be invalid; a guest's own stubs may not.
        if not course.agent.is_up or (is_report and is_tampered(course, command)):
            continue
        wrong += check(course, command, reply)
        value = json.loads(reply.removeprefix(b"\xff")).get("return")
        if command == "guest-file-open" and isinstance(value, int):
            names["$h"] = value
        if command == "guest-exec" and isinstance(value, dict):
            names["$p"] = value["pid"]
    assert wrong == []
    assert asked == len(ASKED)


@pytest.mark.parametrize("command", LAST)
@pytest.mark.parametrize("name", ["debian-12", "alpine-3.20", "empty", "rhel-10"])
def test_what_ends_a_guest_is_answered_by_an_error_or_not_at_all(name: str, command: str) -> None:
    course = Course(name)
    reply = course.send(request(command))
    assert not reply or check(course, command, reply) == []
    # The empty guest cannot sleep; without systemd no guest can sleep in both ways at once (recorded:
    # tests/golden/7.2/suspend.jsonl, hybrid-no-systemctl).
    is_refused = name == "empty" and "suspend" in command
    is_refused |= name == "alpine-3.20" and command == "guest-suspend-hybrid"
    assert bool(reply) == is_refused


@pytest.mark.slow
@pytest.mark.parametrize("name", library())
def test_what_is_shown_loads_to_the_same_guest(name: str) -> None:
    filled = structs.replace(load(name).filled(), extends=None)
    assert loads(to_yaml(filled)) == filled


@pytest.mark.slow
def test_the_library_is_clean(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(ROOT / "scenarios")]) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_every_scenario_of_a_report_is_in_the_table_of_reports() -> None:
    rows = load_generator().read_yaml("library.yaml")["rows"]
    told = {name: row["row"] for row in rows for name in row["names"]}
    for name, path in library().items():
        origin = load(path).origin
        if origin.startswith("client bug"):
            assert name in told, name
            assert str(told[name]) in origin.partition(":")[0], name
    assert [row["row"] for row in rows] == list(range(1, 109))


@pytest.mark.slow
def test_every_scenario_has_tags_and_says_what_a_careful_client_does() -> None:
    shipped = {name: load(path) for name, path in library().items()}
    assert [name for name, scenario in shipped.items() if not scenario.tags] == []
    plain = {name for name, scenario in shipped.items() if "guest" in scenario.tags}
    assert {name for name, scenario in shipped.items() if not scenario.severity} == plain
    for name in shipped.keys() - plain:
        assert shipped[name].expect.startswith("A careful client "), name


@pytest.mark.slow
def test_every_guest_says_where_it_is_from() -> None:
    assert [name for name in library() if not load(name).origin] == []
    assert [name for name in library() if len(load(name).description.splitlines()[0]) > 110] == []
