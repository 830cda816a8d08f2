"""A recorded agent and the scenario made of it: both answer alike, or the scenario says why not."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from msgspec import structs

from qgasim.compare import RealAgent, compare
from qgasim.compare.connection import SimulatedAgent
from qgasim.errors import RedactionError
from qgasim.record.redaction import KINDS, Redactor
from qgasim.record.survey import (
    Answer,
    Survey,
    ask_by_wire,
    harmless_requests,
    read_answer,
    redacted,
    take,
)
from qgasim.record.writing import Recorded, record
from qgasim.scenario import load, loads
from qgasim.scenario.model import Scenario
from qgasim.serving.listen import UnixAddress
from qgasim.wire import is_object
from tests.real_agent import RealAgent as QemuGa
from tests.real_agent import needs_qemu_ga
from tests.record.test_redaction import replies
from tests.serving import PATIENCE
from tests.test_compare import CHANGING

KEY = b"a key of the tests"
#: What others extend.
BASES = [
    "alpine-3.20", "debian-12", "fedora-43", "freebsd-14", "haos", "rhel-9", "rhel-10", "ubuntu-24.04",
    "windows-11", "windows-server-2022",
]  # fmt: skip
#: Guests whose recording has stubs or edits: for which commands, and why the model alone cannot answer so.
DIFFERENCES = {
    "disk-as-object": ({"guest-get-fsinfo"}, "its `disk` is no list, which no qemu-ga says"),
    "devices-old-shape": ({"guest-get-devices"}, "the form of a draft of the command"),
    "network-command-fails": (
        {"guest-network-get-interfaces"},
        "an error that nothing in a guest explains",
    ),
    "ip-addresses-absent": (set[str](), "told as interfaces without addresses"),
    "unsupported-2012r2": (
        {"guest-network-get-interfaces", "guest-get-fsinfo"},
        "an error that its release does not have",
    ),
}


def quickly(names: Iterable[str], *quick: str) -> list[Any]:
    """Return parameters of which all but a few are slow together."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def ask(scenario: Scenario) -> Survey:
    return take(ask_by_wire(SimulatedAgent(scenario.build(lambda: 0))))


def record_scenario(scenario: Scenario, *keep: Any, **options: Any) -> tuple[Survey, Recorded]:
    survey = ask(scenario)
    return survey, record(survey, Redactor(KEY, keep), **options)


def answers(*told: tuple[str, Any]) -> Survey:
    return Survey([Answer(command, {}, value) for command, value in told])


def same(one: Survey, other: Survey) -> list[str]:
    """Return the commands that two surveys tell differently."""
    assert [a.command for a in one.answers] == [a.command for a in other.answers]
    pairs = zip(one.answers, other.answers, strict=True)
    return [a.command for a, b in pairs if not a.is_like(b)]


# -- the round trip --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", quickly(BASES, "debian-12", "freebsd-14", "windows-11"))
def test_the_recording_of_a_base_answers_as_the_base_does_without_a_stub(name: str) -> None:
    survey, recorded = record_scenario(load(name), *KINDS)
    assert (recorded.stubs, recorded.unlike) == (0, [])
    assert len(survey.answers) >= 20
    again = loads(recorded.text)
    assert same(survey, ask(again)) == []
    assert load(name).guest.os.family == again.guest.os.family


PECULIAR = {
    "windows": r"""
qgasim: 1
extends: windows-server-2022
agent: {release: "10.0"}
guest:
  disks:
    - {name: sda, bus: sas, size: 64GiB, partitions: [{name: sda1, size: 549MiB}, {name: sda2, size: 63GiB}]}
    - {name: sdb, bus: nvme, size: 6GiB, serial: S3Z9NB0K123, partitions: [{name: sdb1, size: 5GiB}]}
    - {name: sr0, bus: sata, size: 600MiB}
  mounts:
    - {device: /dev/sda2, path: 'C:\', type: NTFS, size: 67980226560, used: 19763851264}
    - {device: /dev/sdb1, path: 'C:\Data\', type: NTFS, size: 4GiB}
    - {device: /dev/sr0, path: 'D:\', type: CDFS, size: 600MiB}
""",
    "linux": """
qgasim: 1
extends: debian-12
agent: {release: "11.1"}
guest:
  load: [0.51, 0.2, 1.5]
  clock: {zone: America/New_York}
  vcpus: [{id: 0, can_offline: false}, {id: 1, online: false}, {id: 7}]
  memory: {block_size: 128MiB, blocks: [{index: 0, can_offline: false}, {index: 32, online: false}]}
  disks:
    - {name: nvme0n1, bus: nvme, pci: "0000:05:00.0", size: 20GiB, partitions: [{name: nvme0n1p1, size: 10GiB},{name: nvme0n1p2, size: 9GiB}], smart: {}}
    - {name: dm-0, bus: unknown, depends: [nvme0n1p2], alias: vg_acme-root, size: 9GiB}
    - {name: sdb, bus: scsi, target: 1, unit: 2, serial: "36001405a1b2c3d4e5f60718293a4b5c6", size: 1GiB}
    - {name: md0, bus: unknown, depends: [sdb], size: 1GiB}
  mounts:
    - {device: /dev/mapper/vg_acme-root, path: /, size: 8GiB, reserved: 400MiB, used: 2GiB}
    - {device: /dev/nvme0n1p1, path: /boot, type: xfs, size: 900MiB, used: 100MiB}
    - {device: /dev/md0, path: /srv/acme, type: xfs, size: 900MiB, used: 100MiB}
    - {device: /dev/nvme0n1p1, path: /mnt/b, bind: /boot}
  nics:
    - {name: lo, mac: "00:00:00:00:00:00", addresses: [127.0.0.1/8, "::1/128"], mtu: 65536}
    - {name: eth0, mac: "52:54:00:00:00:01", addresses: [10.1.2.3/24, "fe80::5054:ff:fe00:1/64", "2a01:4f8:0:1::5/64"], gateways: [10.1.2.1, "fe80::1"]}
    - {name: tun0, addresses: [10.8.0.6/32]}
""",
}


@pytest.mark.parametrize("name", PECULIAR)
def test_peculiar_hardware_needs_no_stub(name: str) -> None:
    survey, recorded = record_scenario(loads(PECULIAR[name]), *KINDS)
    assert (recorded.stubs, recorded.unlike) == (0, [])
    assert same(survey, ask(loads(recorded.text))) == []


def test_devices_that_depend_on_each_other_are_a_stub() -> None:
    told = [
        {"name": f"/dev/dm-{number}", "partition": False, "dependencies": [f"/dev/dm-{1 - number}"]}
        for number in range(2)
    ]
    mounted = [
        {"name": "dm-0", "mountpoint": "/", "type": "ext4", "total-bytes": 1 << 30, "disk": []}
    ]
    recorded = record(
        answers(("guest-get-disks", told), ("guest-get-fsinfo", mounted)), Redactor(KEY)
    )
    assert recorded.unlike == []
    assert "depends on itself" in "".join(recorded.notes)


@pytest.mark.parametrize("name", quickly(DIFFERENCES, "disk-as-object"))
def test_what_no_model_has_is_stubbed(name: str) -> None:
    expected, why = DIFFERENCES[name]
    survey, recorded = record_scenario(load(name), *KINDS)
    again = loads(recorded.text)
    assert {str(stub.on) for stub in again.replies} == expected, why
    assert recorded.stubs == len(expected)
    assert same(survey, ask(again)) == []


def test_a_redacted_recording_answers_what_redaction_left() -> None:
    redactor = Redactor(KEY)
    survey = ask(load("docker-host"))
    recorded = record(survey, redactor)
    told = redacted(survey, redactor)
    assert same(told, ask(loads(recorded.text))) == []
    assert "guest-network-get-interfaces" in same(survey, told)
    assert redactor.leaks(recorded.text) == []


@needs_qemu_ga
@pytest.mark.slow
def test_the_real_agent_and_its_recording_differ_only_in_what_was_replaced(tmp_path: Path) -> None:
    redactor = Redactor(KEY)
    with QemuGa(tmp_path) as qemu_ga:
        # An agent serves one client at a time.
        qemu_ga.socket.close()
        with RealAgent(UnixAddress(str(qemu_ga.path)), PATIENCE) as real:
            survey = take(ask_by_wire(real))
            recorded = record(survey, redactor)
            path = tmp_path / "vm.yaml"
            path.write_text(recorded.text)
            result = compare(real, scenario=str(path))
    assert result.differences == []
    assert recorded.unlike == []
    # A kernel with empty loop devices counts what they did, but qemu-ga lists no empty disk.
    assert {str(stub.on) for stub in loads(recorded.text).replies} <= {"guest-get-diskstats"}
    assert redactor.leaks(recorded.text) == []


# -- what is asked ---------------------------------------------------------------------------------


def test_nothing_is_asked_that_changes_anything() -> None:
    asked = dict(harmless_requests())
    assert asked.keys() & CHANGING == set()
    assert asked["guest-file-open"]["mode"] == "r"
    assert all(asked[name]["handle"] < 0 for name in asked if "handle" in asked[name])


def test_only_what_guest_info_lists_is_asked() -> None:
    asked: list[str] = []

    def answer(command: str, _: dict[str, Any]) -> dict[str, Any]:
        asked.append(command)
        if command == "guest-info":
            commands = [
                {"name": "guest-info", "enabled": True},
                {"name": "guest-ping", "enabled": False},
            ]
            return {"return": {"version": "7.2.0", "supported_commands": commands}}
        return {"error": {"class": "CommandNotFound", "desc": "no"}}

    survey = take(answer)
    assert asked == ["guest-info", "guest-ping"]
    assert survey.answers[1].error_class == "CommandNotFound"


# -- releases and platforms ------------------------------------------------------------------------


@pytest.mark.parametrize("release", quickly(["2.5", "2.12", "3.1", "11.1"], "2.5"))
def test_other_releases_are_told(release: str) -> None:
    scenario = load("debian-12")
    scenario.agent.release = release
    survey, recorded = record_scenario(scenario, *KINDS)
    assert (recorded.stubs, recorded.unlike, recorded.notes) == (0, [], [])
    again = loads(recorded.text)
    assert again.agent.release == survey.version
    assert same(survey, ask(again)) == []


def test_members_that_an_older_agent_leaves_out_are_edited_away() -> None:
    # Before 2.11 there were no statistics (the reference's Since); 2.4 is not simulated, its version is told.
    scenario = load("debian-12")
    scenario.agent.release = "2.5"
    survey = ask(scenario)
    for answer in survey.answers:
        if answer.command == "guest-info":
            answer.value["version"] = "2.4.1"
        if answer.command == "guest-get-vcpus":
            for cpu in answer.value:
                del cpu["can-offline"]
    recorded = record(survey, Redactor(KEY, KINDS))
    again = loads(recorded.text)
    assert again.agent.release == "2.5"
    assert again.agent.personality.version == "2.4.1"
    assert [(fault.on, fault.remove) for fault in again.faults] == [  # type: ignore[union-attr]
        ("guest-get-vcpus", ("/*/can-offline",))
    ]
    assert (recorded.stubs, recorded.unlike) == (0, [])
    assert same(survey, ask(again)) == []


def test_an_agent_with_fewer_commands_lacks_them_and_a_blocked_one_is_blocked() -> None:
    scenario = load("debian-12")
    scenario.agent.block_rpcs = ["guest-exec", "guest-get-users"]
    survey = ask(scenario)
    commands = survey.object("guest-info")["supported_commands"]
    survey.object("guest-info")["supported_commands"] = [
        each for each in commands if each["name"] != "guest-get-diskstats"
    ]
    survey.answers = [a for a in survey.answers if a.command != "guest-get-diskstats"]
    recorded = record(survey, Redactor(KEY, KINDS))
    again = loads(recorded.text)
    assert set(again.agent.block_rpcs) - {"guest-get-devices"} == {"guest-exec", "guest-get-users"}
    assert again.agent.personality.lacks == ("guest-get-diskstats",)
    assert same(survey, ask(again)) == []


UNKNOWN = {
    "1.4.0": ("debian-12", "2.5", "2.5"),
    "108.0.2": ("windows-server-2022", "8.2", "8.2"),
    # Its commands are more than those of the release that its number stands for.
    "107.0.1": ("windows-server-2022", "10.0", "9.1"),
    "2.3.1": ("debian-12", "10.0", "10.0"),
}


@pytest.mark.parametrize("version", quickly(UNKNOWN, "107.0.1"))
def test_an_unknown_release_is_told_by_its_number_or_its_commands(version: str) -> None:
    base, real, expected = UNKNOWN[version]
    scenario = load(base)
    scenario.agent.release = real
    scenario.agent.personality = structs.replace(scenario.agent.personality, version=version)
    survey, recorded = record_scenario(scenario, *KINDS)
    again = loads(recorded.text)
    assert (again.agent.release, again.agent.personality.version) == (expected, version)
    assert recorded.notes[0].startswith(f"release {version!r} is unknown to qgasim")
    assert same(survey, ask(again)) == []


# -- what cannot be told as a guest's --------------------------------------------------------------


def test_a_part_that_cannot_be_built_is_stubbed_and_noted() -> None:
    disk = {"bus-type": "virtio", "bus": 0, "target": 0, "unit": 0}
    twice = [
        {"name": "vda1", "mountpoint": path, "type": "ext4", "disk": [disk]}
        for path in ("/a\0b", "/")
    ]
    recorded = record(answers(("guest-get-fsinfo", twice)), Redactor(KEY))
    assert recorded.unlike == []
    assert recorded.stubs == 1
    assert recorded.notes[1].startswith(
        "disks and file systems cannot be told as a guest's: guest.mounts["
    )


def test_a_reply_that_is_not_of_its_release_is_noted() -> None:
    commands = [
        {"name": name, "enabled": True, "success-response": True}
        for name in ("guest-info", "guest-get-fsinfo")
    ]
    info = {"version": "7.2.0", "supported_commands": commands}
    told = [
        {"name": "vda1", "mountpoint": "/", "type": "ext4", "disk": [], "total-bytes-privileged": 9}
    ]
    recorded = record(answers(("guest-info", info), ("guest-get-fsinfo", told)), Redactor(KEY))
    # A member of 9.1.
    assert recorded.notes[-1].startswith(
        "not of the form that 7.2.0 has: guest-get-fsinfo ([].total-bytes-privil"
    )


def test_a_bind_mount_and_a_root_without_a_device_are_told() -> None:
    disk: dict[str, Any] = {
        "bus-type": "virtio", "bus": 0, "target": 0, "unit": 0, "dev": "/dev/vda1",
        "pci-controller": {"domain": 0, "bus": 0, "slot": 5, "function": 0},
    }  # fmt: skip
    entry = {
        "name": "vda1",
        "type": "ext4",
        "used-bytes": 4 << 20,
        "total-bytes": 1 << 30,
        "disk": [disk],
    }
    told = [{**entry, "mountpoint": path} for path in ("/var/lib", "/data")]
    recorded = record(answers(("guest-get-fsinfo", told)), Redactor(KEY))
    assert (recorded.stubs, recorded.unlike) == (0, [])
    mounts = {mount.path: mount for mount in loads(recorded.text).guest.mounts}
    assert mounts["/"].device == "rootfs"
    assert mounts["/var/lib"].bind == "/data"


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [None, 7, "text", [], [7], {}, [{}], [[]], {"x": 1}, [{"name": 7, "disk": 7}]],
    ids=json.dumps,
)
def test_any_value_can_be_told(value: Any) -> None:
    commands = [command for command, arguments in harmless_requests() if not arguments]
    recorded = record(answers(*((command, value) for command in commands)), Redactor(KEY))
    # guest-fsfreeze-status and guest-ping among them.
    assert recorded.replies == len(commands)
    assert recorded.unlike == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["\x85", "\x7f", "\u2028", "\U0001f600", "a\x1bb", "null", ""], ids=ascii
)
def test_any_text_can_be_told(text: str) -> None:
    recorded = record(answers(("guest-get-timezone", {"zone": text, "offset": 1})), Redactor(KEY))
    assert (recorded.stubs, recorded.unlike) == (1, [])


def test_half_a_character_is_told_as_qemu_writes_what_is_none() -> None:
    assert read_answer("guest-x", {}, {"return": {"\ud800": ["\udc00a"]}}).value == {
        "\ufffd": ["\ufffda"]
    }


# -- redaction -------------------------------------------------------------------------------------


def test_nothing_is_written_if_an_original_would_be_in_it() -> None:
    # A kernel's name is left as it is.
    survey = answers(
        ("guest-get-users", [{"user": "acme7", "login-time": 1.5}]),
        (
            "guest-get-osinfo",
            {"id": "linux", "kernel-release": "6.1-acme7", "kernel-version": "#1"},
        ),
    )
    with pytest.raises(
        RedactionError, match=r"^nothing is written: 'acme7' \(users\) would still be in it"
    ):
        record(survey, Redactor(KEY))
    assert "acme7" in record(survey, Redactor(KEY, ["users"])).text


def test_the_originals_of_a_served_guest_are_nowhere() -> None:
    scenario = load("debian-12")
    scenario.guest.hostname = "db7.corp.example.net"
    nic = scenario.guest.nics[1]
    nic.mac, nic.addresses = "9c:b6:d0:12:34:56", ["10.20.30.40/24", "fe80::9eb6:d0ff:fe12:3456/64"]
    scenario.guest.disks[0].serial = "S3Z9NB0K123456A"
    scenario.guest.logins[0].user = "jdoe"  # type: ignore[index]
    _, recorded = record_scenario(scenario)
    for original in ("db7", "corp", "12:34:56", "10.20.30.40", "fe12:3456", "S3Z9NB0K", "jdoe"):
        assert original not in recorded.text
    again = loads(recorded.text).guest
    assert again.nics[1].mac
    assert is_object(again.users)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(replies)
def test_no_original_value_is_in_the_text_that_is_written(told: dict[str, Any]) -> None:
    redactor = Redactor(KEY)
    recorded = record(answers(*told.items()), redactor)
    assert redactor.leaks(recorded.text) == []
    # The search itself, without its rules: what is long cannot be there by chance.
    assert [o for o in redactor.replacements if len(o) > 7 and o in recorded.text] == []
    assert recorded.unlike == []
