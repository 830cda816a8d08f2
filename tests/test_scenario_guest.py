"""What a scenario's keys mean for the guest: generators, defaults, clocks, files of the host."""

import os
from pathlib import Path

import pytest
from msgspec import structs

from qgasim.errors import ScenarioError
from qgasim.guest.settings import FileSettings, GuestSettings
from qgasim.scenario import Blueprint, Scenario, library, load, loads
from qgasim.scenario.dump import to_yaml
from tests.serving import SECOND, Course, HandClock

# -- short forms and generators --------------------------------------------------------------------


def test_many_interfaces_are_written_once() -> None:
    course = Course(
        "guest: {nics: [{name: 'cali{i}', mac: 'ee:ee:ee:ee:00:{i:02x}', count: 300,"
        " addresses: ['10.0.{i}.1/32']}]}".replace("300", "20")
    )
    nics = course.say("guest-network-get-interfaces")["return"]
    assert [nic["name"] for nic in nics] == [f"cali{i}" for i in range(20)]
    assert nics[19]["hardware-address"] == "ee:ee:ee:ee:00:13"
    assert nics[19]["ip-addresses"][0]["ip-address"] == "10.0.19.1"


def test_made_up_interfaces_differ() -> None:
    course = Course("guest: {nics: [{name: 'e{i}', mac: auto, addresses: [auto], count: 50}]}")
    assert len({nic.mac for nic in course.guest.nics}) == 50


def test_memory_may_be_a_size() -> None:
    course = Course("guest: {memory: 512MiB}")
    assert len(course.say("guest-get-memory-blocks")["return"]) == 4


def test_a_user_needs_only_a_name() -> None:
    course = Course("guest: {users: {root: {}, alice: {}, bob: {uid: 1001}, carol: {}}}")
    lines = course.guest.files.read("/etc/passwd").decode().splitlines()
    assert lines == [
        "root:x:0:0::/root:/bin/sh",
        "alice:x:1000:1000::/home/alice:/bin/sh",
        "bob:x:1001:1001::/home/bob:/bin/sh",
        "carol:x:1002:1002::/home/carol:/bin/sh",
    ]


def test_a_directory_is_a_tree() -> None:
    course = Course(
        "guest: {files: {/srv: {mode: '0750', entries: {a: x, b: {entries: {c: {symlink: ../a}}}}}}}"
    )
    files = course.guest.files
    assert files.read("/srv/b/c") == b"x"
    assert files.get("/srv").st_mode & 0o7777 == 0o750


# -- clocks ----------------------------------------------------------------------------------------

CLOCK = "guest: {clock: {start: 2025-01-01T00:00:00Z, KEY}, users: {root: {}}}"


def test_a_clock_that_drifts_gains_seconds_in_a_million() -> None:
    course = Course(CLOCK.replace("KEY", "drift: 1000"))
    start = course.guest.clock.now() - course.guest.clock.uptime()
    course.clock.now = 1000 * SECOND
    gained = course.guest.clock.now() - course.guest.clock.uptime() - 1_735_689_600 * SECOND
    assert start > 1_735_689_600 * SECOND
    assert gained == SECOND


def test_the_battery_backed_clock_may_show_another_time() -> None:
    course = Course(CLOCK.replace("KEY", "rtc: 2025-01-01T01:00:00Z"))
    before = course.say("guest-get-time")["return"]
    # Without a time, the guest's clock is set by the battery-backed one (guest-set-time's text).
    assert course.say("guest-set-time") == {"return": {}}
    assert course.say("guest-get-time")["return"] - before == 3600 * SECOND


# -- freezing and sleeping -------------------------------------------------------------------------


def test_a_file_system_may_refuse_to_be_frozen() -> None:
    course = Course(
        "guest: {mounts: [{device: rootfs, path: /}, {device: /dev/vdb, path: /srv,"
        " freeze_error: EIO}], disks: [{name: vdb}]}"
    )
    reply = course.say("guest-fsfreeze-freeze")
    # Recorded for another error: fsfreeze/freeze-fails.
    assert reply["error"]["desc"] == "failed to freeze /srv: Input/output error"
    assert course.say("guest-fsfreeze-status") == {"return": "thawed"}


@pytest.mark.parametrize("mode", ["ram", "disk", "hybrid"])
def test_a_way_to_sleep_that_is_not_supported_is_refused(mode: str) -> None:
    others = [m for m in ("ram", "disk", "hybrid") if m != mode]
    course = Course(f"guest: {{power: {{suspend: [{', '.join(others)}]}}}}")
    reply = course.say(f"guest-suspend-{mode}")
    # Recorded: suspend/*-unsupported.
    text = "the requested suspend mode is not supported by the guest"
    assert reply["error"]["desc"] == text
    assert course.guest.power.state == "running"


def test_the_root_may_be_read_only_and_full() -> None:
    course = Course(
        "guest: {disks: [{name: vda}], mounts: [{device: /dev/vda, path: /, type: erofs,"
        " options: 'ro,relatime', size: 64MiB, used: 64MiB}]}"
    )
    (system,) = course.say("guest-get-fsinfo")["return"]
    assert system["used-bytes"] == system["total-bytes"] == 64 << 20
    reply = course.say("guest-file-open", path="/etc/new", mode="w")
    # EROFS, as recorded for a read-only mount (file/open-readonly-fs).
    assert reply["error"]["desc"].endswith("Read-only file system")


# -- files of the host -----------------------------------------------------------------------------


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    tree = tmp_path / "app"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "run").write_text("#!/bin/sh\necho run\n")
    (tree / "bin" / "run").chmod(0o755)
    (tree / "data").write_bytes(b"\xff\x00")
    (tree / "link").symlink_to("/etc/hostname")
    path = tmp_path / "s.yaml"
    path.write_text(
        "guest: {files: {/opt/app: {source: app}, /d: {source: app/data, mode: '0600'}}}"
    )
    return path


def test_a_directory_of_the_host_is_copied_when_the_scenario_is_loaded(beside: Path) -> None:
    scenario = load(beside)
    (beside.parent / "app" / "data").write_bytes(b"changed")
    guest = scenario.build(HandClock()).agent.guest
    assert guest.files.read("/opt/app/data") == b"\xff\x00"
    assert guest.files.read("/opt/app/bin/run") == b"#!/bin/sh\necho run\n"
    assert guest.files.get("/opt/app/bin/run").st_mode & 0o7777 == 0o755
    assert guest.files.get("/d").st_mode & 0o7777 == 0o600
    # A link is a link of the guest: it leads to the guest's file, never to the host's.
    assert guest.files.read("/opt/app/link") == f"{guest.hostname}\n".encode()


def test_a_source_is_relative_to_the_file_that_names_it(beside: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "over.yaml").write_text("extends: ../s.yaml\n")
    guest = load(other / "over.yaml").build(HandClock()).agent.guest
    assert guest.files.read("/d") == b"\xff\x00"


def test_python_may_name_files_of_the_host(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(beside.parent)
    scenario = Scenario(guest=GuestSettings(files={"/d": FileSettings(source="app/data")}))
    assert scenario.build(HandClock()).agent.guest.files.read("/d") == b"\xff\x00"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "s.yaml"
    path.write_text("guest:\n  files:\n    /p: {source: pipe}\n")
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}:3:18: guest.files./p.source: {tmp_path}/pipe: neither a file nor a directory nor"
        " a link"
    )


def test_too_much_is_refused(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qgasim.scenario.sources.SIZE_LIMIT", 10)
    with pytest.raises(ScenarioError, match="more than 0 MiB in all"):
        load(beside)


# -- written again ---------------------------------------------------------------------------------

ODD = """\
qgasim: 1
description: "no"
seed: 5
agent: {respawn: 1500us, block_rpcs: [guest-exec]}
guest:
  hostname: "0x10"
  clock: {start: 1735689600.123456789, zone: null}
  mounts: [{device: rootfs, path: /, size: 1000, freeze_error: EIO}]
  files:
    /a: "\\0\\u20ac\\n"
    /b: "one\\ntwo\\n"
    /c: null
    /d: {entries: {e: {base64: /w==}}}
  environment: {A: "", B: "~", C: " x"}
  logins: null
replies:
  - on: {command: guest-exec, arguments: {arg: [{glob: "1e5"}, "null", 1.5, true]}}
    in_turn: [{reply: "1e5"}, {error: {class: X, desc: "0o7"}}, {raw: "\\xff", times: 2}]
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [*library(), "odd"])
def test_a_scenario_that_is_written_loads_to_the_same_guest(name: str) -> None:
    scenario = loads(ODD) if name == "odd" else load(name)
    filled = structs.replace(scenario.filled(), extends=None)
    again = loads(to_yaml(filled))
    assert again == filled
    assert again.filled() == filled


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "0999-12-31T23:59:59.500000Z"])
def test_an_early_year_is_written_with_four_digits(time: str) -> None:
    # RFC 3339 has four; C's %Y writes 999 and 1.
    scenario = loads(f"guest: {{files: {{/a: {{text: a, mtime: {time}}}}}}}")
    text = to_yaml(scenario)
    assert f"mtime: '{time}'" in text
    assert loads(text) == scenario


def test_the_file_systems_of_a_guest_whose_files_are_made_late_are_there() -> None:
    blueprint = Blueprint(load("debian-12"))
    first, late = (blueprint.build(HandClock()).guest for _ in range(2))
    assert "files" not in vars(late)
    assert list(late.volumes) == list(first.volumes)
    assert late.volumes


def test_a_guest_whose_files_are_made_late_is_the_same() -> None:
    blueprint = Blueprint(load("debian-12"))
    clocks = HandClock(), HandClock()
    first, late = (blueprint.build(clock).agent for clock in clocks)
    assert "files" not in vars(late.guest)
    for agent, clock in zip((first, late), clocks, strict=True):
        clock.now = 3_600_000_000_000
        agent.guest.clock.set(agent.guest.clock.now() + 7_200_000_000_000)
    for agent in (first, late):
        files = agent.guest.files
        assert files.get("/etc/hostname").st_mtime_ns == agent.guest.settings.clock.start
        assert files.read("/etc/hostname") == b"debian\n"
        assert files.can_execute("/usr/sbin/qemu-ga")
    request = b'{"execute": "guest-get-fsinfo"}'
    answers = [[*agent.receive(request)] for agent in (first, late)]
    assert answers[0] == answers[1]


def test_looking_at_a_program_for_the_first_time_changes_nothing() -> None:
    files = load("debian-12").build(HandClock()).agent.guest.files
    volume = files.mounts[0].volume
    used, left, last = volume.used, volume.budget.left, volume.fakefs.last_ino
    nodes = [files.get(f"/usr/bin/{name}", follow=False) for name in files.listdir("/usr/bin")]
    assert len({node.st_ino for node in nodes}) == len(nodes) > 40
    assert {(node.st_uid, node.st_nlink) for node in nodes} == {(0, 1)}
    assert (volume.used, volume.budget.left, volume.fakefs.last_ino) == (used, left, last)


@pytest.mark.slow
def test_a_program_that_is_removed_gives_its_space_back() -> None:
    files = load("debian-12").build(HandClock()).agent.guest.files
    volume = files.mounts[0].volume
    used, block = volume.used, volume.block_size
    files.unlink("/usr/bin/cat")
    assert volume.used == used - block
    assert "cat" not in files.listdir("/usr/bin")


def test_a_blueprint_builds_guests_of_their_own() -> None:
    scenario = loads("qgasim: 1\nguest: {hostname: a}")
    make = Blueprint(scenario).build
    scenario.guest.hostname = "b"
    first, second = make(HandClock()).agent.guest, make(HandClock()).agent.guest
    first.files.write("/only-here", b"")
    first.nics.clear()
    assert (first.hostname, second.hostname) == ("a", "a")
    assert not second.files.exists("/only-here")


# -- counters ----------------------------------------------------------------------------------------


def test_counters_wrap_at_64_bits_as_they_grow() -> None:
    # struct rtnl_link_stats64 and qapi's uint64: both count modulo 2^64.
    course = Course(
        "guest: {nics: [{name: eth0, addresses: [192.0.2.7/24], counters: {rx_packets:"
        " 18446744073709551610, rx_bytes: 5}, growth: {rx_packets: 1, rx_bytes: 18446744073709551615}}]}"
    )
    (nic,) = course.say("guest-network-get-interfaces")["return"]
    assert nic["statistics"]["rx-packets"] == 18446744073709551610 + 12 - (1 << 64) == 6
    # Less by one in each of 12 seconds.
    assert nic["statistics"]["rx-bytes"] == (5 - 12) % (1 << 64)


def test_times_of_processors_wrap_at_64_bits() -> None:
    course = Course("guest: {vcpus: [{id: 0, times: {idle: 18446744073709551000}}]}")
    (cpu,) = course.say("guest-get-cpustats")["return"]
    assert cpu["idle"] == 18446744073709551000 + 12_000 - (1 << 64)
    ticks = course.guest.files.read("/proc/stat").split()[4]
    assert int(ticks) == cpu["idle"] // 10


@pytest.mark.parametrize("release", ["3.1", "5.2", "7.2", "10.0", "11.1"])
def test_an_interface_without_an_address_has_no_statistics(release: str) -> None:
    # Recorded after `ip addr flush`; commands-posix.c asks for them after `if (!address_item) continue`.
    course = Course(
        "guest: {nics: [{name: eth0, mac: '52:54:00:00:00:01', counters: {rx_bytes: 5}},"
        " {name: eth1, mac: '52:54:00:00:00:02', addresses: [fe80::1/64]}]}",
        release=release,
    )
    bare, other = course.say("guest-network-get-interfaces")["return"]
    assert bare == {"name": "eth0", "hardware-address": "52:54:00:00:00:01"}
    assert "statistics" in other
