"""Scenario files: what their values mean, what is wrong with them and where, what they extend."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgasim.errors import ScenarioError
from qgasim.guest.hardware.network import Nic
from qgasim.guest.settings import GuestSettings
from qgasim.scenario import AgentSettings, Scenario, load, load_sealed, loads
from tests.generated import ROOT
from tests.serving import HandClock, all_guests, request

MS = 1_000_000
SECOND = 1000 * MS

Get = Callable[[Scenario], Any]


def hostname(scenario: Scenario) -> Any:
    return scenario.guest.hostname


def mac(scenario: Scenario) -> Any:
    return scenario.guest.nics[0].mac


def exit_code(scenario: Scenario) -> Any:
    return scenario.guest.programs[0].exit_code


def duration(scenario: Scenario) -> Any:
    return scenario.guest.power.boot_time


def size(scenario: Scenario) -> Any:
    return scenario.guest.disks[0].size


def start(scenario: Scenario) -> Any:
    return scenario.guest.clock.start


def zone(scenario: Scenario) -> Any:
    return scenario.guest.clock.zone


#: A place to write a value, and how to read it.
PLACES: dict[str, tuple[str, Get]] = {
    "hostname": ("guest: {hostname: VALUE}", hostname),
    "mac": ("guest: {nics: [{name: e, mac: VALUE}]}", mac),
    "code": ("guest: {programs: [{path: /p, exit_code: VALUE}]}", exit_code),
    "up": ("guest: {nics: [{name: e, up: VALUE}]}", lambda s: s.guest.nics[0].up),
    "rate": ("guest: {clock: {rate: VALUE}}", lambda s: s.guest.clock.rate),
    "seed": ("seed: VALUE", lambda s: s.seed),
    "zone": ("guest: {clock: {zone: VALUE}}", zone),
    "duration": ("guest: {power: {boot_time: VALUE}}", duration),
    "size": ("guest: {disks: [{name: d, size: VALUE}]}", size),
    "time": ("guest: {clock: {start: VALUE}}", start),
    "respawn": ("agent: {respawn: VALUE}", lambda s: s.agent.respawn),
}

#: What is written at a place, and what it means (YAML 1.2.2, 10.3: the core schema).
MEANINGS: list[tuple[str, str, Any]] = [
    ("hostname", "no", "no"),
    ("hostname", "yes", "yes"),
    ("hostname", "0123", "0123"),
    ("hostname", "1.10", "1.10"),
    ("hostname", "'12'", "12"),
    ("hostname", "true", "true"),
    ("hostname", "2024-06-15", "2024-06-15"),
    ("hostname", "'null'", "null"),
    ("hostname", "null", None),
    ("hostname", "~", None),
    ("hostname", "", None),
    ("mac", "52:54:00:12:34:56", "52:54:00:12:34:56"),
    ("code", "010", 10),
    ("code", "0o10", 8),
    ("code", "0x10", 16),
    ("seed", "-1", -1),
    ("up", "false", False),
    ("up", "True", True),
    ("rate", "2", 2.0),
    ("rate", "2.5e1", 25.0),
    ("zone", "null", None),
    ("zone", "Europe/Prague", "Europe/Prague"),
    ("duration", "250ms", 250 * MS),
    ("duration", "3", 3 * SECOND),
    ("duration", "1.5", 1500 * MS),
    ("duration", "0.1s", 100 * MS),
    ("duration", "2m", 120 * SECOND),
    ("duration", "1h", 3600 * SECOND),
    ("duration", "7ns", 7),
    ("duration", "'2 s'", 2 * SECOND),
    ("size", "4096", 4096),
    ("size", "16MiB", 16 << 20),
    ("size", "1.5G", 3 << 29),
    ("size", "1kB", 1000),
    ("size", "1K", 1024),
    ("time", "2024-06-15T12:00:00Z", 1_718_452_800 * SECOND),
    ("time", "2024-06-15T14:00:00+02:00", 1_718_452_800 * SECOND),
    ("time", "2024-06-15 12:00:00", 1_718_452_800 * SECOND),
    ("time", "1718452800.25", 1_718_452_800_250_000_000),
    ("time", "2024-06-15T12:00:00.123456Z", 1_718_452_800_123_456_000),
    ("respawn", "never", "never"),
    ("respawn", "1s", SECOND),
]

#: What is written at a place, what is expected there, and how what was found is called.
MISTAKES: list[tuple[str, str, str, str]] = [
    ("code", "'1'", "an integer", "'1'"),
    ("code", "1.5", "an integer", "a number (1.5)"),
    ("code", "1_000", "an integer", "'1_000'"),
    ("code", "1:30", "an integer", "'1:30'"),
    ("code", "null", "an integer", "null"),
    ("code", "[1]", "an integer", "a list"),
    ("code", "{}", "an integer", "a mapping"),
    ("code", "true", "an integer", "a boolean (true)"),
    ("up", "yes", "true or false", "'yes'"),
    ("up", "'true'", "true or false", "'true'"),
    ("up", "1", "true or false", "a number (1)"),
    ("rate", "fast", "a number", "'fast'"),
    ("hostname", "[a]", "a text", "a list"),
    ("duration", "soon", "a duration, as in 250ms or 1h", "'soon'"),
    ("duration", "3 weeks", "a duration, as in 250ms or 1h", "'3 weeks'"),
    ("duration", "-1", "a duration, as in 250ms or 1h", "a number (-1)"),
    ("size", "big", "a size, as in 16MiB", "'big'"),
    ("size", "1EB", "a size, as in 16MiB", "'1EB'"),
    ("time", "yesterday", "a time, as in 2024-06-15T12:00:00Z", "'yesterday'"),
    ("time", "2024-02-30", "a time, as in 2024-06-15T12:00:00Z", "'2024-02-30'"),
    ("time", "99999999999999", "a time, as in 2024-06-15T12:00:00Z", "a number (99999999999999)"),
    ("respawn", "often", "a duration, as in 250ms or 1h or never", "'often'"),
]


def faults(call: Callable[[], object]) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        call()
    return str(caught.value).splitlines()


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "text", "meaning"), MEANINGS)
def test_a_value_means(place: str, text: str, meaning: Any) -> None:
    template, get = PLACES[place]
    found = get(loads(template.replace("VALUE", text)))
    assert found == meaning
    assert type(found) is type(meaning)


@pytest.mark.parametrize(("place", "text", "expected", "called"), MISTAKES)
def test_a_value_is_refused(place: str, text: str, expected: str, called: str) -> None:
    template, _ = PLACES[place]
    (fault,) = faults(lambda: loads(template.replace("VALUE", text), "f"))
    assert fault.startswith(f"f:1:{template.index('VALUE') + 1}: ")
    assert fault.endswith(f": expected {expected}, found {called}")


def test_aliases_of_aliases_of_aliases_are_refused() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    (fault,) = faults(lambda: loads("\n".join(lines), "f"))
    assert fault.endswith(": too much, with all aliases followed (expected at most 200000 values)")


def test_an_alias_may_be_used_twice() -> None:
    scenario = loads("guest: {vcpus: [{id: 0, times: &t {user: 5}}, {id: 1, times: *t}]}")
    assert isinstance(scenario.guest.vcpus, list)
    assert [cpu.times.user for cpu in scenario.guest.vcpus] == [5, 5]


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"description: caf\xe9\n")
    assert faults(lambda: load(path)) == [f"{path}:1:17: not UTF-8 (save it so)"]


#: A name that is asked for, and why there is none.
NOT_THERE = {
    "nosuch": "nosuch: no such scenario (`qgasim scenarios` lists them)",
    "debian12": "debian12: no such scenario (did you mean 'debian-12'?)",
    "a/b.yaml": "a/b.yaml: no such file",
    "scenarios/debian-11.yaml": (
        "scenarios/debian-11.yaml: no such file (did you mean 'scenarios/debian-12.yaml'?)"
    ),
    "a" * 80: f"{'a' * 80}: no such scenario (`qgasim scenarios` lists them)",
    "a" * 300 + ".yaml": f"{'a' * 300}.yaml: File name too long",
    "": "'': no such scenario (`qgasim scenarios` lists them)",
    "/": "/: a directory (expected a file in it, or the name of a scenario)",
    "/dev/null": "/dev/null: not a file",
    "\0": "\\x00: no such scenario (`qgasim scenarios` lists them)",
}


@pytest.mark.parametrize("name", NOT_THERE)
def test_a_scenario_that_is_not_there_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ScenarioError) as caught:
        load(name)
    assert str(caught.value) == NOT_THERE[name]


def test_what_python_says_is_checked_when_it_is_built() -> None:
    scenario = Scenario(
        agent=AgentSettings(release="1.0"),
        guest=GuestSettings(nics=[Nic(name="e", mac="52:54:00")]),
    )
    assert faults(scenario.build) == [
        (
            "agent.release: no such release: '1.0' "
            "(expected one from 2.5 to 11.1, as in 7.2 or 7.2.22)"
        ),
        "guest.nics[0].mac: not a MAC address: '52:54:00' (expected six hex pairs)",
    ]


# -- extends ---------------------------------------------------------------------------------------

BASE = """\
description: base
seed: 5
agent: {block_rpcs: [guest-exec]}
guest:
  hostname: one
  clock: {zone: Europe/Prague}
  files: {/a: "1", /b: "2"}
"""


def extended(directory: Path, text: str) -> Scenario:
    (directory / "base.yaml").write_text(BASE)
    (directory / "over.yaml").write_text("extends: base.yaml\n" + text)
    return load(directory / "over.yaml")


def test_mappings_are_merged_and_everything_else_is_replaced(tmp_path: Path) -> None:
    scenario = extended(
        tmp_path,
        "agent: {block_rpcs: [guest-ping]}\nguest: {hostname: two, files: {/b: '3', /c: '4'}}\n",
    )
    assert scenario.description == "base"
    assert scenario.seed == 5
    assert scenario.agent.block_rpcs == ["guest-ping"]
    assert scenario.guest.hostname == "two"
    assert scenario.guest.clock.zone == "Europe/Prague"
    assert scenario.guest.files == {"/a": "1", "/b": "3", "/c": "4"}


def test_a_plus_appends_to_a_list(tmp_path: Path) -> None:
    scenario = extended(tmp_path, "agent: {+block_rpcs: [guest-ping]}")
    assert scenario.agent.block_rpcs == ["guest-exec", "guest-ping"]


def test_a_plus_makes_a_list_that_was_not_there(tmp_path: Path) -> None:
    scenario = extended(tmp_path, "agent: {+allow_rpcs: [guest-ping]}")
    assert scenario.agent.allow_rpcs == ["guest-ping"]


def test_null_takes_away_what_the_base_has(tmp_path: Path) -> None:
    scenario = extended(tmp_path, "guest: {files: {/a: null}, clock: {zone: null}}")
    assert scenario.guest.files == {"/a": None, "/b": "2"}
    assert scenario.guest.clock.zone is None


def test_null_takes_away_an_entry_of_a_mapping_or_a_whole_list_or_mapping(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(
        "extends: base.yaml\n"
        "agent: {quirks: {pid_ld: on}}\n"
        "guest:\n"
        "  vcpus: [{id: 3}]\n"
        "  nics: [{name: a}]\n"
        "  users: {root: {}, alice: {}}\n"
        "  environment: {A: b, C: d}\n"
    )
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "less.yaml").write_text(
        "extends: more.yaml\n"
        "agent: {quirks: {pid_ld: null}, block_rpcs: null}\n"
        "guest:\n"
        "  vcpus:\n"
        "  nics:\n"
        "  users: {alice: null}\n"
        "  environment: {A: null}\n"
        "replies:\n"
    )
    scenario = load(tmp_path / "less.yaml")
    assert scenario.agent == AgentSettings()
    assert scenario.guest.vcpus == GuestSettings().vcpus
    assert scenario.guest.nics == []
    assert list(scenario.guest.users) == ["root"]
    assert scenario.guest.environment == {"C": "d"}
    assert scenario.replies == []


def test_a_scalar_needs_a_value(tmp_path: Path) -> None:
    assert faults(lambda: extended(tmp_path, "seed:\nguest: {power: {swap: null}}")) == [
        f"{tmp_path}/over.yaml:2:6: seed: expected an integer, found null",
        f"{tmp_path}/over.yaml:3:23: guest.power.swap: expected true or false, found null",
    ]


def test_a_base_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("root:x:0:0:root\n")
    (tmp_path / "over.yaml").write_text("extends: base.yaml\n")
    assert faults(lambda: load(tmp_path / "over.yaml")) == [
        (
            f"{tmp_path}/over.yaml:1:10: extends: {tmp_path}/base.yaml: expected a mapping, "
            "found 'root:x:0:0:root'"
        )
    ]


def test_a_chain_of_bases_has_an_end(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    (fault,) = faults(lambda: load(tmp_path / "0.yaml"))
    assert fault.endswith("32.yaml: more than 32 that extend each other")


def test_a_text_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert faults(lambda: load(path)) == [f"{path}:1:16777217: too long (expected at most 16 MiB)"]


def test_a_base_may_extend_another_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "two.yaml").write_text("extends: ../one.yaml\nseed: 2\n")
    (tmp_path / "one.yaml").write_text("extends: debian-12\nseed: 1\ndescription: one\n")
    (tmp_path / "three.yaml").write_text("extends: dir/two.yaml\n")
    scenario = load(tmp_path / "three.yaml")
    assert (scenario.seed, scenario.description) == (2, "one")
    assert scenario.guest.hostname == "debian"


def test_extending_nothing_is_extending_nothing() -> None:
    assert loads("extends: null\nseed: 3").seed == 3


def test_a_fault_in_a_base_has_its_place_there(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1\nguest:\n  vcpus: many\n")
    (tmp_path / "over.yaml").write_text("extends: base.yaml\nseed: x\n")
    assert faults(lambda: load(tmp_path / "over.yaml")) == [
        f"{tmp_path}/over.yaml:2:7: seed: expected an integer, found 'x'",
        f"{tmp_path}/base.yaml:3:10: guest.vcpus: expected an integer or a list, found 'many'",
    ]


def test_a_file_that_extends_itself_is_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("extends: two.yaml\n")
    two.write_text("extends: one.yaml\n")
    assert faults(lambda: load(one)) == [
        f"{one}:1:10: extends: {two}:1:10: extends: {one}: extends itself"
    ]


def test_an_empty_base_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("# nothing\n")
    (tmp_path / "over.yaml").write_text("extends: base.yaml\nseed: 4\n")
    assert load(tmp_path / "over.yaml").seed == 4


# -- whatever is written ---------------------------------------------------------------------------

PIECES = [
    "qgasim: 1\n", "guest:", "agent:", "  ", "\n", "- ", "[", "]", "{", "}", ",", ": ", "? ", "&a ",
    "*a", "!!int ", "!x ", "'", '"', "\\", "#", "|", ">", "%YAML 1.2\n", "---\n", "...\n", "<<: ",
    "extends: debian-12\n", "extends: ", "+files", "files: ", "vcpus: ", "nics: ", "memory: ", "~",
    "size: 1G", "block_size: 0", "9" * 30, "-1", ".nan", "1e999", "0x", "é", "\u2028", "\t", "\x85",
    "\ud800", "\0", "clock: ", "start: ", "2024-13-01", "0001-01-01T00:00:00+23:59", "rate: ",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(PIECES).map(repr)
)
KEYS = st.sampled_from(
    ["guest", "agent", "seed", "extends", "vcpus", "nics", "memory", "size", "block_size", "clock",
     "start", "rate", "files", "/a", "+nics", "mounts", "path", "name", "disks", "pci", "x"]
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(map(str, items))}]"),
        st.lists(st.tuples(KEYS, inner), max_size=4).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items) + "}"
        ),
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text(), TREES)
)
def test_whatever_is_written_loads_or_is_refused_in_order(text: object) -> None:
    said = "nothing"
    try:
        loads(str(text))
    except ScenarioError as error:
        said = str(error)
    assert said


# -- what is made up -------------------------------------------------------------------------------

OPEN = """\
qgasim: 1
guest:
  nics:
    - {name: eth0, mac: auto, addresses: [auto, 203.0.113.7/32]}
    - {name: eth1, mac: auto}
  disks: [{name: vda, serial: auto}]
"""
QUESTIONS = b"".join(
    request(name)
    for name in (
        "guest-get-host-name",
        "guest-network-get-interfaces",
        "guest-get-disks",
        "guest-get-users",
        "guest-exec",
    )
)
PASSWD = b'{"execute":"guest-file-open","arguments":{"path":"/etc/passwd"}}' + request(
    "guest-file-read", handle=1000
)


def answers(scenario: Scenario) -> bytes:
    channel = scenario.build(HandClock()).channel
    return b"".join(e for e in channel.receive(QUESTIONS + PASSWD) if type(e) is bytes)


def test_the_same_seed_gives_the_same_guest() -> None:
    scenario = loads(OPEN)
    assert answers(scenario) == answers(scenario) == answers(loads(OPEN))


def test_another_seed_gives_another_guest() -> None:
    one, other = loads(OPEN), loads(OPEN + "seed: 1\n")
    assert answers(one) != answers(other)
    guests = [scenario.build(HandClock()).agent.guest for scenario in (one, other)]
    assert guests[0].hostname != guests[1].hostname
    assert guests[0].nics[0].mac != guests[1].nics[0].mac
    assert guests[0].disks[0].serial != guests[1].disks[0].serial


def test_what_is_made_up_is_of_the_right_form() -> None:
    guest = loads(OPEN).build(HandClock()).agent.guest
    first, second = guest.nics
    assert first.mac is not None
    # QEMU's own prefix.
    assert first.mac.startswith("52:54:00:")
    assert first.mac != second.mac
    # What is given stays; an address for documentation (RFC 5737) and a link-local one are added.
    assert first.addresses[0] == "203.0.113.7/32"
    assert first.ipv4()[1][0].rpartition(".")[0] in {"192.0.2", "198.51.100", "203.0.113"}
    # RFC 4291, appendix A: the address with ff:fe in its middle and the seventh bit turned.
    octets = [int(part, 16) for part in first.mac.split(":")]
    ((address, prefix),) = first.ipv6()
    assert prefix == 64
    groups = [int(group, 16) for group in address.removeprefix("fe80::").split(":")]
    assert groups == [
        0x5054,
        octets[2] << 8 | 0xFF,
        0xFE << 8 | octets[3],
        octets[4] << 8 | octets[5],
    ]
    assert guest.hostname.isascii()
    passwd = guest.files.read("/etc/passwd").decode().splitlines()
    assert passwd[0] == "root:x:0:0:root:/root:/bin/sh"
    assert any(":1000:1000:" in line for line in passwd)


def test_what_is_given_is_not_made_up() -> None:
    text = "guest: {hostname: h, users: {root: {uid: 0, gid: 0, home: /root}}}"
    guest = loads(text).build(HandClock()).agent.guest
    assert guest.hostname == "h"
    assert guest.files.read("/etc/passwd") == b"root:x:0:0::/root:/bin/sh\n"


def test_building_does_not_change_the_scenario() -> None:
    scenario = loads(OPEN)
    scenario.build(HandClock())
    assert scenario == loads(OPEN)
    assert scenario.guest.hostname is None


@pytest.mark.parametrize("name", all_guests())
def test_a_shipped_scenario_can_be_built_and_describes_itself(name: str) -> None:
    scenario = load(name)
    assert scenario.description
    assert scenario.origin
    # What each answers is asked in test_library.py.
    assert scenario.build(HandClock()).agent.guest.hostname


def test_what_another_program_sent_includes_only_what_comes_with_qgasim() -> None:
    sent = "qgasim: 1\nguest:\n  programs:\n    - include: {}\n"
    assert load_sealed(sent.format("systemctl"), "sent").guest.programs
    with pytest.raises(ScenarioError, match=r"^sent:4:16: include: no file of programs of qgasim"):
        load_sealed(sent.format("../secret.yaml"), "sent")
