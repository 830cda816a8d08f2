"""Fleets: several guests in one scenario, and how they are served."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from qgasim.cli import main
from qgasim.client.blocking import SyncClient
from qgasim.errors import ClientError, ScenarioError
from qgasim.faults.timing import Delay, Hang
from qgasim.scenario import AgentSettings, Scenario, load, loads
from qgasim.scenario.dump import to_yaml
from tests.generated import ROOT
from tests.serving import PATIENCE, Course, connect, read_line, request

FLEET = """\
qgasim: 1
description: A fleet.
extends: debian-12
seed: 7
guest:
  nics: [{name: eth0, mac: auto, addresses: [auto]}]
faults: [{kind: delay, by: 1s}]
fleet:
  web{1..3}:
  db: {guest: {hostname: database}, +faults: [{kind: hang}], seed: 99}
  old: {extends: alpine-3.20, agent: {release: "5.2"}}
"""


def test_each_guest_is_laid_over_what_they_have_in_common() -> None:
    fleet = loads(FLEET).fleet
    assert list(fleet) == ["web1", "web2", "web3", "db", "old"]
    assert [guest.faults for guest in fleet.values()] == [
        [Delay(by=1_000_000_000)],
        [Delay(by=1_000_000_000)],
        [Delay(by=1_000_000_000)],
        [Delay(by=1_000_000_000), Hang()],
        # It extends something else.
        [],
    ]
    assert fleet["web1"].guest.os.release == load("debian-12").guest.os.release
    assert fleet["old"].guest.os.release == load("alpine-3.20").guest.os.release
    assert [guest.agent.release for guest in fleet.values()] == ["7.2"] * 4 + ["5.2"]


def test_each_guest_has_its_name_and_makes_up_its_own() -> None:
    guests = {name: one.filled().guest for name, one in loads(FLEET).fleet.items()}
    assert [guest.hostname for guest in guests.values()] == [
        "web1", "web2", "web3", "database", "old",
    ]  # fmt: skip
    assert [guest.seed for guest in loads(FLEET).fleet.values()] == [7, 8, 9, 99, 11]
    nics = [guest.nics[0] for name, guest in guests.items() if name != "old"]
    assert len({nic.mac for nic in nics}) == len({nic.addresses[0] for nic in nics}) == 4


def test_a_range_of_names_may_have_zeros() -> None:
    fleet = loads('fleet: {"n{08..11}.a": {}, "m{2..2}": null}').fleet
    assert list(fleet) == ["n08.a", "n09.a", "n10.a", "n11.a", "m2"]


def test_a_fleet_can_be_extended(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(FLEET)
    (tmp_path / "over.yaml").write_text(
        "extends: base.yaml\n"
        "agent: {release: '8.2'}\n"
        "fleet: {db: {agent: {release: '9.1'}}, new: {guest: {vcpus: 9}}, old: null}\n"
    )
    scenario = load(tmp_path / "over.yaml")
    # The keys of the base come first; what was a range there is one here.
    assert {name: one.agent.release for name, one in scenario.fleet.items()} == {
        "web1": "8.2", "web2": "8.2", "web3": "8.2", "db": "9.1", "old": "8.2", "new": "8.2",
    }  # fmt: skip
    assert scenario.fleet["new"].guest.vcpus == 9
    assert scenario.fleet["db"].guest.hostname == "database"


def test_one_guest_of_a_fleet_is_a_scenario(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    (tmp_path / "one.yaml").write_text("extends: fleet.yaml#db\nseed: 1\nfaults: []\n")
    picked = load(f"{tmp_path}/fleet.yaml#db")
    assert (picked.description, picked.seed, picked.fleet) == ("A fleet.", 99, {})
    assert picked.guest == load(tmp_path / "fleet.yaml").fleet["db"].guest
    one = load(tmp_path / "one.yaml")
    assert (one.guest.hostname, one.seed, one.faults) == ("database", 1, [])
    assert Course("fleet-one-hung#vm1").say("guest-get-host-name") == {
        "return": {"host-name": "vm1"}
    }


def test_a_fleet_is_written_as_it_is() -> None:
    filled = loads(FLEET).filled()
    text = to_yaml(filled)
    assert loads(text) == filled
    assert to_yaml(loads(text).filled()) == text


def test_files_of_the_host_are_relative_to_the_scenario_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "app").write_text("app")
    (tmp_path / "dir" / "base.yaml").write_text("guest: {files: {/app: {source: app}}}\n")
    (tmp_path / "own").write_text("own")
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "extends: dir/base.yaml\n"
        "fleet:\n"
        "  a: {guest: {files: {/own: {source: own}}}}\n"
        "  b: {extends: dir/base.yaml}\n"
    )
    fleet = load(path).fleet
    files = fleet["a"].build().agent.guest.files
    assert (files.read("/app"), files.read("/own")) == (b"app", b"own")
    assert fleet["b"].build().agent.guest.files.read("/app") == b"app"


#: A fleet, and all that is wrong with it.
WRONG: dict[str, tuple[str, list[str]]] = {
    "what they have in common is wrong once": (
        "guest: {vcpus: 0, hostnam: a}\nfleet: {a: {}, b: {}, c: {agent: {release: '1.0'}}}",
        [
            "f:1:16: fleet.a.guest.vcpus: expected from 1 to 8192, found 0",
            "f:1:19: fleet.a.guest: unknown key 'hostnam' (did you mean 'hostname'?)",
            (
                "f:2:44: fleet.c.agent.release: no such release: '1.0' "
                "(expected one from 2.5 to 11.1, as in 7.2 or 7.2.22)"
            ),
        ],
    ),
    "a name that is none": (
        "fleet: {a/b: {}}",
        [
            (
                "f:1:14: fleet.a/b: not a guest's name: 'a/b' "
                "(expected letters, digits, '.', '_' and '-')"
            )
        ],
    ),
    "a name twice": ("fleet: {a2: {}, 'a{1..3}': {}}", ["f:1:17: fleet: duplicate key 'a2'"]),
    "a fleet in a fleet": (
        "fleet: {a: {fleet: {b: {}}}}",
        ["f:1:20: fleet.a.fleet: a fleet within a fleet"],
    ),
    "too many guests": (
        "fleet: {'a{0..9999}': {}}",
        ["f:1:9: fleet: expected at most 1000 guests"],
    ),
    "no mapping": ("fleet: [a]", ["f:1:8: fleet: expected a mapping, found a list"]),
    "a guest that is no mapping": (
        "fleet: {a: 7}",
        ["f:1:12: fleet.a: expected a mapping, found a number (7)"],
    ),
    "a base that is not there": (
        "fleet: {a: {extends: debian12}}",
        ["f:1:22: extends: debian12: no such scenario (did you mean 'debian-12'?)"],
    ),
    "no guest": (
        "extends: fleet-one-hung#vm9",
        [
            (
                f"f:1:10: extends: {ROOT}/scenarios/fleet-one-hung.yaml#vm9: "
                "there is no guest 'vm9' (did you mean 'vm5'?)"
            )
        ],
    ),
    "a guest of no fleet": (
        "extends: debian-12#a",
        [(f"f:1:10: extends: {ROOT}/scenarios/debian-12.yaml#a: no fleet, so it has no guest 'a'")],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_fleet_is_said_with_its_place(name: str) -> None:
    text, expected = WRONG[name]
    with pytest.raises(ScenarioError) as caught:
        loads(text, "f")
    assert str(caught.value).splitlines() == expected


def test_a_fleet_is_no_single_guest() -> None:
    with pytest.raises(ScenarioError) as caught:
        loads(FLEET).build()
    assert str(caught.value) == (
        "a fleet is several guests (expected one of them: web1, web2, web3, ...)"
    )


def test_pythons_fleet_has_nothing_in_common(tmp_path: Path) -> None:
    fleet = {"a": Scenario(agent=AgentSettings(release="8.2")), "b": Scenario(seed=4)}
    assert loads(to_yaml(Scenario(fleet=fleet))).fleet["b"].seed == 4
    wrong = Scenario(fleet=fleet, agent=AgentSettings(release="8.2"))
    (tmp_path / "a.yaml").write_text("fleet: {a: {guest: {files: {/a: b, /a/c: d}}}}")
    assert main(["check", str(tmp_path / "a.yaml")]) == 1
    with pytest.raises(ScenarioError):
        loads(to_yaml(wrong).replace("fleet:", "fleet: 1\n#"))


def test_check_makes_every_guest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("fleet:\n  a:\n  b: {guest: {files: {/a: b, /a/c: d}}}\n")
    assert main(["check", str(path)]) == 1
    assert capfd.readouterr().err == (f"{path}:3:36: guest.files./a/c: Not a directory: '/a/c'\n")


# -- served ----------------------------------------------------------------------------------------


@contextmanager
def served(scenario: str, *options: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """Serve a fleet in a process of its own; give what it says when it is ready, and the process."""
    command = [sys.executable, "-m", "qgasim", "--scenario", scenario, "--ready-fd=1", *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline()), process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.slow
def test_every_guest_has_a_socket_in_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "fleet"
    with served("fleet-one-hung", "--listen", f"unix:{directory}", "--agent=8.2") as (
        said,
        process,
    ):
        assert said["path"] == str(directory)
        names = ["vm1", "vm2", "vm3", "vm4", "vm5"]
        assert list(said["fleet"]) == names
        assert said["fleet"]["vm3"] == {
            "address": f"{directory}/vm3.sock",
            "path": f"{directory}/vm3.sock",
            "agent": "8.2.0",
            "hostname": "vm3",
            "seed": 2,
        }
        assert sorted(os.listdir(directory)) == [f"{name}.sock" for name in names]
        lines = [process.stdout.readline() for _ in range(7)]
        assert lines[0] == "a fleet of 5 guests, seed 0\n"
        assert lines[5] == f"vm5  qemu-ga 8.2.0  listening on {directory}/vm5.sock\n"
        assert lines[6] == f"try: {sys.executable} -m qgasim call {directory}/vm1.sock guest-info\n"
        with SyncClient(f"{directory}/vm4.sock", PATIENCE) as client:
            assert client.call("guest-get-host-name") == {"host-name": "vm4"}
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert re.search(r"^vm4 +\d+\.\d+ s #1 guest-get-host-name → ", log, re.MULTILINE)
        assert not directory.exists()


@pytest.mark.slow
def test_one_hung_guest_does_not_hold_up_the_others() -> None:
    """Client bug 7: a client that asks one after the other, and waits for each, never sees the later ones."""
    with served("fleet-one-hung", "--quiet") as (said, _):
        paths = {name: guest["path"] for name, guest in said["fleet"].items()}
        with connect(paths["vm2"]) as hung:
            # It takes the request, and does not answer: the naive client is here for ever.
            hung.sendall(request("guest-ping") + b"\n")
            seen: list[str] = []
            for name in ("vm1", "vm3", "vm4", "vm5"):
                with SyncClient(paths[name], PATIENCE) as client:
                    seen.append(client.call("guest-get-host-name")["host-name"])
            assert seen == ["vm1", "vm3", "vm4", "vm5"]
            hung.settimeout(0.2)
            with pytest.raises(TimeoutError):
                read_line(hung)


@pytest.mark.slow
def test_what_goes_wrong_with_one_guest_is_different_with_each() -> None:
    """Client bug 8: a client that gives up at the first that fails never gets to the last."""
    met: dict[str, str] = {}
    with served("fleet-mixed-health", "--quiet") as (said, _):
        for name, guest in said["fleet"].items():
            try:
                with SyncClient(guest["path"], 0.5) as client:
                    met[name] = client.call("guest-get-host-name")["host-name"]
            except ClientError as error:
                met[name] = str(error).removeprefix(f"{guest['path']}: ")
    assert met == {
        "healthy1": "healthy1",
        "absent": "no answer within 0.5 s",
        "rogue": "no answer within 0.5 s",
        "refusing": "GenericError: this feature or command is not currently supported",
        "slow": "no answer within 0.5 s",
        "healthy2": "healthy2",
    }


#: What is typed, and the one line that is the answer.
REFUSED: list[tuple[list[str], str]] = [
    (
        ["--listen", "tcp:4444"],
        (
            "qgasim: --listen: a fleet has a socket for each guest (expected unix:DIRECTORY) "
            "(try qgasim --help)\n"
        ),
    ),
    (
        ["--share", "/tmp=/mnt"],
        (
            "qgasim: --share: a fleet shares no folders (serve one guest, as in NAME#GUEST) "
            "(try qgasim --help)\n"
        ),
    ),
    (
        ["--listen", "unix:/no/such/directory"],
        "qgasim: /no/such/directory: cannot make the directory: No such file or directory\n",
    ),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_what_a_fleet_cannot_be_served_with_is_told(
    options: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with suppress(SystemExit):
        assert main(["--scenario", "fleet-one-hung", *options]) == 2
    assert capfd.readouterr().err == said
