"""Programs whose results a scenario gives: which entry fits, and what comes of it."""

from pathlib import Path
from typing import Any

import pytest

from qgasim.errors import ScenarioError
from qgasim.guest import Guest
from qgasim.scenario import (
    library,
    load,
    load_programs,
    load_sealed,
    loads,
    programs_library,
)
from qgasim.simulation.simulation import Simulation
from tests.serving import SECOND, HandClock
from tests.userland.programs.conftest import Run, run

__all__ = ["run"]

BASE = """
qgasim: 1
agent: {release: "8.2"}
guest:
  hostname: db1
  clock: {start: 2025-01-01T00:00:00Z}
  os: {kernel_release: 6.1.0, machine: riscv64, release: {VERSION_ID: "12"}}
  nics: [{name: eth0, mac: "52:54:00:12:34:56", addresses: [192.0.2.7/24, 2001:db8::7/64]}]
  programs:
"""
Answer = tuple[str, str, int]


def make(*entries: str, clock: HandClock | None = None) -> Guest:
    text = BASE + "".join(f"    - {entry}\n" for entry in entries)
    simulation: Simulation = loads(text).build(clock or HandClock())
    simulation.guest.settle()
    return simulation.guest


def ask(run: Run, guest: Guest, *argv: str, stdin: bytes = b"") -> Answer:
    out, errors, how = run(guest, argv, stdin)
    return out.decode(), errors.decode(), how.code


#: The pattern, arguments that it means, and arguments that it does not.
ARGUMENTS: list[tuple[str, list[list[str]], list[list[str]]]] = [
    ("[]", [[]], [["a"]]),
    ('[status, "--*"]', [["status", "--wait"]], [["status"], ["status", "wait"], ["--wait"]]),
    ('["*", {regex: "[0-9]+"}]', [["a", "12"]], [["a", "1b"], ["a"]]),
    ('"is-active *"', [["is-active", "a"], ["is-active", "a", "b"]], [["is-active"], ["a"]]),
    ('{glob: "a*"}', [["ab"], ["a", "b"]], [["b"], []]),
    ('{regex: "(-y )?update"}', [["update"], ["-y", "update"]], [["-y"], ["update", "-y"]]),
]


@pytest.mark.parametrize(("args", "fit", "others"), ARGUMENTS, ids=[row[0] for row in ARGUMENTS])
def test_arguments_are_matched_one_by_one_or_all_together(
    run: Run, args: str, fit: list[list[str]], others: list[list[str]]
) -> None:
    guest = make(f"{{path: /opt/tool, args: {args}, stdout: it}}")
    for words in fit:
        assert ask(run, guest, "/opt/tool", *words) == ("it", "", 0)
    for words in others:
        text = f"tool: the scenario has no result for {words}\n"
        assert ask(run, guest, "/opt/tool", *words) == ("", text, 127)


#: What is written in a scenario, and what the program writes.
TEMPLATES = [
    ("{hostname} {kernel} {machine}", "db1 6.1.0 riscv64"),
    ("{ip eth0} {ip6 eth0} {mac eth0}", "192.0.2.7 2001:db8::7 52:54:00:12:34:56"),
    ("{os VERSION_ID}/{os NONE}/{release}", "12//8.2.0"),
    ("{arg 1}, {arg 9}, {args}", "a, , a b"),
    ("{time} {uptime}", "2025-01-01T00:00:07Z 7"),
    ("{{hostname} {{.Name}} {} {0}", "{hostname} {{.Name}} {} {0}"),
    ('{"a": {"b": "{hostname}"}}', '{"a": {"b": "db1"}}'),
]


@pytest.mark.parametrize(("written", "shown"), TEMPLATES, ids=[row[0] for row in TEMPLATES])
def test_an_output_shows_values_of_the_guest(run: Run, written: str, shown: str) -> None:
    clock = HandClock()
    quoted = written.replace("'", "''")
    guest = make(f"{{path: /opt/tool, stdout: '{quoted}', stderr: '{quoted}'}}", clock=clock)
    clock.now += 7 * SECOND
    guest.settle()
    assert ask(run, guest, "/opt/tool", "a", "b") == (shown, shown, 0)


def test_an_output_shows_the_values_of_now(run: Run) -> None:
    guest = make('{path: /opt/tool, stdout: "{hostname} {ip eth0} {mac eth0}"}')
    guest.hostname = "renamed"
    guest.nics[0].addresses = ["198.51.100.1/24"]
    assert ask(run, guest, "/opt/tool")[0] == "renamed 198.51.100.1 52:54:00:12:34:56"
    guest.nics.clear()
    assert ask(run, guest, "/opt/tool")[0] == "renamed  "


def test_results_are_used_in_turn_and_the_last_for_ever(run: Run) -> None:
    guest = make(
        "{path: /opt/tool, args: [a], in_turn: [{exit_code: 1, times: 2}, {exit_code: 2}, {stdout: x}]}",
        "{path: /opt/tool, stdout: other}",
    )
    found = [ask(run, guest, "/opt/tool", "a")[2] for _ in range(5)]
    assert found == [1, 1, 2, 0, 0]
    assert ask(run, guest, "/opt/tool")[0] == "other"
    assert ask(run, guest, "/opt/tool", "a")[0] == "x"


def test_an_entry_that_is_used_up_leaves_the_rest_to_the_next(run: Run) -> None:
    guest = make("{path: /opt/tool, stdout: once, times: 1}", "{path: /opt/tool, stdout: then}")
    assert [ask(run, guest, "/opt/tool")[0] for _ in range(3)] == ["once", "then", "then"]


def test_how_often_results_were_used_is_part_of_a_snapshot(run: Run) -> None:
    entry = "{path: /opt/tool, in_turn: [{stdout: a}, {stdout: b}]}"
    simulation = loads(BASE + f"    - {entry}\n").build(HandClock())
    simulation.guest.settle()
    simulation.snapshots.take("fresh")
    assert ask(run, simulation.guest, "/opt/tool")[0] == "a"
    assert ask(run, simulation.guest, "/opt/tool")[0] == "b"
    simulation.snapshots.revert("fresh")
    assert ask(run, simulation.guest, "/opt/tool")[0] == "a"


def test_the_standard_input_is_read_and_matched(run: Run) -> None:
    guest = make(
        "{path: /opt/tool, stdin: {regex: 'DROP .*'}, exit_code: 1}",
        "{path: /opt/tool, stdin: '*SELECT*', stdout: row}",
        "{path: /opt/tool, stdout: what}",
    )
    assert ask(run, guest, "/opt/tool", stdin=b"DROP TABLE t")[2] == 1
    assert ask(run, guest, "/opt/tool", stdin=b"a SELECT b")[0] == "row"
    assert ask(run, guest, "/opt/tool", stdin=b"\xff")[0] == "what"


def test_what_no_entry_fits_is_for_the_guests_own_program(run: Run) -> None:
    for userland in ("gnu", "busybox"):
        text = BASE.replace("machine: riscv64", f"machine: riscv64, userland: {userland}")
        text += "    - {path: /usr/bin/uname, args: [-r], stdout: mine}\n"
        guest = loads(text).build(HandClock()).guest
        guest.settle()
        assert ask(run, guest, "uname", "-r")[0] == "mine"
        assert ask(run, guest, "uname", "-m")[0] == "riscv64\n"


def test_it_takes_its_time_and_ends_by_a_signal(run: Run) -> None:
    guest = make("{path: /opt/tool, in_turn: [{duration: 3s, stdout: x}, {signal: 9}]}")
    script = "date +%s; /opt/tool; date +%s"
    before, after = ask(run, guest, "sh", "-c", script)[0].split("x")
    assert int(after) - int(before) == 3
    assert run(guest, ["/opt/tool"])[2].signal == 9


# Files of programs.


def test_every_file_of_programs_can_be_included_and_says_what_it_is() -> None:
    for name, path in programs_library().items():
        entries = load_programs(name)
        assert entries
        assert load_programs(path) == entries
        lines = [f"    - include: {name}\n", "    - {path: /opt/last}\n"]
        programs = loads(BASE + "".join(lines)).guest.programs
        assert programs[:-1] == entries
        text = path.read_text()
        assert "\norigin:" in text
        assert text.startswith("description:")


#: A file of programs, what is asked, and what is answered: with the sources that the file names.
READY_MADE: list[tuple[str, list[str], Answer]] = [
    ("systemctl", ["systemctl", "is-active", "sshd"], ("active\n", "", 0)),
    ("systemctl", ["systemctl", "is-active", "--quiet", "sshd"], ("", "", 0)),
    ("systemctl", ["systemctl", "is-active", "nosuch"], ("inactive\n", "", 3)),
    ("systemctl", ["systemctl", "is-system-running", "--wait"], ("running\n", "", 0)),
    ("systemctl", ["systemctl", "restart", "sshd"], ("", "", 0)),
    # The guest's own.
    ("systemctl", ["systemctl", "status", "systemd-suspend"], ("", "", 3)),
    ("systemctl", ["systemctl", "fly"], ("", "Unknown command verb fly.\n", 1)),
    ("cloud-init", ["cloud-init", "status"], ("status: running\n", "", 0)),
    ("cloud-init", ["cloud-init", "status", "--wait"], ("\nstatus: done\n", "", 0)),
    ("accounts", ["useradd", "-m", "deploy"], ("", "", 0)),
    ("accounts", ["useradd", "root"], ("", "useradd: user 'root' already exists\n", 9)),
    ("tar", ["tar", "--version"], ("tar (GNU tar) 1.34\n", "", 0)),
    ("tar", ["tar", "-xzf", "x.tgz", "-C", "/opt"], ("", "", 0)),
    ("python3", ["python3", "--version"], ("Python 3.11.2\n", "", 0)),
    ("python3", ["python3", "-c", "print(1)"], ("", "", 0)),
    ("dnf", ["dnf", "-y", "update"], ("Dependencies resolved.\nNothing to do.\nComplete!\n", "", 0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "argv", "answer"), READY_MADE, ids=[" ".join(row[1]) for row in READY_MADE]
)
def test_ready_made_programs_answer(run: Run, name: str, argv: list[str], answer: Answer) -> None:
    guest = make(f"include: {name}")
    assert ask(run, guest, *argv) == answer


def test_apt_says_what_it_does(run: Run) -> None:
    guest = make("include: apt")
    for line, last in (
        ("apt-get update", "Reading package lists..."),
        ("apt-get -y upgrade", "0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded."),
        ("apt list --upgradable", "Listing..."),
        ("apt-get install -y qemu-guest-agent", "0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded."),
    ):  # fmt: skip
        out, _, status = ask(run, guest, *line.split())
        assert (out.splitlines()[-1], status) == (last, 0)


def test_powershell_answers_with_carriage_returns() -> None:
    text = """
qgasim: 1
extends: windows-11
guest: {hostname: PC7, programs: [{include: powershell}]}
"""
    guest: Any = loads(text).build(HandClock()).guest
    shell = "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"
    assert guest.settings.programs[0].path == shell
    assert guest.settings.programs[0].stdout == "{hostname}\r\n"
    assert "windows-11" in library()


def test_what_a_list_appends_and_a_fleet_has_is_included_too() -> None:
    text = """
qgasim: 1
extends: rhel-9
guest: {+programs: [{include: tar}]}
"""
    assert len(loads(text).guest.programs) > len(load_programs("tar"))
    fleet = "qgasim: 1\nfleet: {a: {guest: {programs: [{include: tar}]}}, b: {}}"
    guests = loads(fleet).guests()
    assert len(guests["a"].guest.programs) == len(load_programs("tar"))


#: A file of programs that is none, and the error.
NO_FILES = {
    "empty": ("", "expected a file of programs, found an empty file"),
    "a list": ("- a\n", "expected a file of programs, found a list"),
    "nothing in it": ("origin: x\n", "programs: expected a list, found none"),
    "no list": ("programs: {}\n", "programs: expected a list, found a mapping"),
    "another key": (
        "guest: {}\n",
        "unknown key 'guest' (expected one of description, origin, programs)",
    ),
}


@pytest.mark.parametrize(("text", "message"), NO_FILES.values(), ids=NO_FILES)
def test_a_file_that_is_none_of_programs_is_said_where_it_is_included(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    (tmp_path / "s.yaml").write_text(
        "qgasim: 1\nguest: {programs: [{include: ./mine.yaml}]}\n",
    )
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path / "s.yaml")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/s.yaml:2:30: include: {tmp_path}/mine.yaml")
    assert said.endswith(f": {message}")


def test_what_is_wrong_in_a_file_of_programs_has_its_place_there(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("programs:\n  - {path: /a, stdot: x}\n")
    (tmp_path / "s.yaml").write_text("qgasim: 1\nguest: {programs: [{include: ./mine.yaml}]}\n")
    for do in (lambda: load(tmp_path / "s.yaml"), lambda: load_programs(mine)):
        with pytest.raises(ScenarioError, match=r"mine.yaml:2:16: .*did you mean 'stdout'"):
            do()


#: What is written among the programs, and the error.
NO_INCLUDES = [
    ("{include: systemct}", "include: systemct: no such file of programs (did you mean 'systemctl'?)"),
    ("{include: ./no.yaml}", "include: ./no.yaml: no such file"),
    ("{include: [a]}", "guest.programs: include: expected the name of a file of programs, found a list"),
    (
        "{include: apt, path: /x}",
        "guest.programs: 'include' stands for whole entries (write no other key beside it)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "message"), NO_INCLUDES, ids=[row[0] for row in NO_INCLUDES])
def test_what_cannot_be_included_is_said_with_its_place(entry: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=r"^f:2:\d+: ") as caught:
        loads(f"qgasim: 1\nguest: {{programs: [{entry}]}}", "f")
    assert str(caught.value).endswith(message)


def test_what_another_program_sends_includes_no_files_of_this_machine(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("programs: [{path: /a}]\n")
    guest = "{guest: {+programs: [{include: NAME}]}}"
    sent = f"qgasim: 1\nguest: {{programs: [{{include: NAME}}]}}\nfleet: {{a: {guest}}}\n"
    assert load_sealed(sent.replace("NAME", "tar"), "sent").guests()
    for text in (sent, f"qgasim: 1\nfleet: {{a: {guest}}}\n"):
        for name in (str(mine), "../mine.yaml", "./mine"):
            with pytest.raises(ScenarioError, match="include: no file of programs of qgasim"):
                load_sealed(text.replace("NAME", name), "sent")
