"""Options: simulated, known to the real program only, or known to none."""

import re

import pytest
from msgspec import convert

from qgasim.guest import Guest, GuestSettings
from qgasim.userland import USERLANDS
from qgasim.userland.coverage import cover
from qgasim.userland.programs.getopt import known_options
from tests.offenders import Offenders
from tests.userland.programs.conftest import Run

MISSING = " is not simulated by qgasim (give the program under programs: in the scenario)\n"


def make_guest(userland: str) -> Guest:
    settings = convert({"os": {"userland": userland}}, GuestSettings)
    guest = Guest(settings, USERLANDS[userland], source=lambda: 0)
    guest.settle()
    return guest


@pytest.mark.parametrize("userland", ["busybox", "gnu"])
def test_every_option_that_only_the_real_program_has_stops_it_with_one_line(
    run: Run, userland: str
) -> None:
    guest = make_guest(userland)
    count = 0
    with Offenders() as offenders:
        for name in sorted(USERLANDS[userland].programs):
            covered = cover(userland, name)
            for option in covered.missing if covered else ():
                with offenders.case(f"{name} {option}"):
                    out, errors, how = run(guest, [name, option])
                    assert (out, errors.decode()) == (b"", f"{name}: option '{option}'{MISSING}")
                    assert how.code
                    count += 1
    assert count > 20


#: How a program with a syntax of its own is given an option of the recorded ones: ``{}`` is its name with
#: hyphens, or an operand's name.
SYNTAX = {
    "find": "find /tmp {} 1",
    "ip": "ip {} addr",
    "kill": "kill {} TERM 99999",
}
#: What a program says of an option that it does not know at all.
REFUSAL = r"unknown|unrecognized|invalid option|invalid argument '-"


def spell(name: str, letters: str, long: list[str]) -> list[str]:
    """Write options as a program has them."""
    hyphens = {"find": "-", "ip": "-"}.get(name, "--")
    words = [f"--{n}" if n in ("help", "version") else f"{hyphens}{n}" for n in long]
    return [*(f"-{letter}" for letter in letters), *words]


@pytest.mark.parametrize("userland", ["busybox", "gnu"])
def test_a_syntax_of_its_own_refuses_every_recorded_option_that_is_not_simulated(
    run: Run, userland: str
) -> None:
    guest = make_guest(userland)
    with Offenders() as offenders:
        for name, line in SYNTAX.items():
            for option in spell(name, *known_options(userland, name)):
                with offenders.case(f"{name} {option}"):
                    _, errors, how = run(
                        guest,
                        line.format(option).split(),
                    )
                    text = errors.decode()
                    if MISSING in text:
                        assert (
                            text.removeprefix(f"{name}: ").removeprefix("option ")
                            == f"'{option}'{MISSING}"
                        )
                        assert how.code
                    elif re.search(REFUSAL, text):
                        assert option.lstrip("-") not in text


#: Programs without options, or with a syntax of their own.
UNRECORDED = "[ bash busybox echo false printf sh test true"


def test_the_options_of_all_programs_are_recorded_but_for_a_few() -> None:
    programs = USERLANDS["gnu"].programs
    unrecorded = {name for name in programs if known_options("gnu", name) == ("", [])}
    assert unrecorded == set(UNRECORDED.split())


#: The status is that of the program's usage error (recorded in gnu.jsonl: sort and grep 2, env 125).
STATUSES = [("sort", 2), ("grep", 2), ("env", 125), ("cp", 1), ("cat", 1)]


@pytest.mark.parametrize(("name", "status"), STATUSES)
def test_the_status_is_that_of_a_wrong_option(run: Run, name: str, status: int) -> None:
    guest = make_guest("gnu")
    assert run(guest, [name, "--version"])[2].code == status
    _, errors, how = run(guest, [name, "--no-such-option"])
    assert how.code == status
    assert f"{name}: unrecognized option '--no-such-option'\n".encode() in errors


def test_what_is_simulated_is_asked_of_the_programs() -> None:
    covered = cover("gnu", "sort")
    assert covered is not None
    assert {"-n", "--numeric-sort", "-k"} <= set(covered.simulated)
    assert {"--parallel", "--files0-from", "--version"} <= set(covered.missing)
    assert not set(covered.simulated) & set(covered.missing)
    assert cover("gnu", "find") is None


def test_what_real_programs_know_was_recorded() -> None:
    letters, long = known_options("gnu", "head")
    assert set(letters) >= set("cnqvz")
    assert "zero-terminated" in long
    assert known_options("busybox", "cut") == ("DFObcdfns", [])
    assert known_options("gnu", "nosuch") == ("", [])


#: What has a syntax of its own: a command, and how it ends.
WORDS = [
    ("find . -printf x", "find: '-printf'", 1),
    ("ip -j addr", "ip: option '-j'", 255),
    ("ip netns", "ip: 'netns'", 255),
    ("ip neigh", "ip: 'neigh'", 255),
    ("ip route", "ip: 'route'", 255),
    ("find / -name x , -print", "find: ','", 1),
    ("sed h", "sed: the command 'h'", 1),
    ("sed :a;N;ba", "sed: the command ':'", 1),
    ("awk NR==2", "awk: the script 'NR==2'", 2),
    ("awk {print(1)}", "awk: the script '{print(1)}'", 2),
    ("mount -t tmpfs x /mnt", "mount: 'tmpfs'", 1),
    ("cp -r /dev/null /tmp/x", "cp: a copy of the special file '/dev/null'", 1),
    ("find / -exec ls {} +", "find: '-exec ... {} +'", 1),
    ("sed s/a/b/e", "sed: the flag 'e' of 's'", 1),
    ("sed 0~2d", "sed: the address '0~'", 1),
    ("sed 2,+1d", "sed: the address '+N'", 1),
    ("sort -k1V", "sort: the key option 'V'", 2),
    ("tail -5c", "tail: '-5c'", 1),
    ("tr a [=a=]", "tr: '[=a=]'", 1),
    ("date 010203042025.05", "date: '010203042025.05'", 1),
    ("mount -o bind /tmp /mnt", "mount: 'bind'", 1),
    ("shutdown 15:00", "shutdown: the time '15:00'", 1),
]


@pytest.mark.parametrize(("line", "message", "status"), WORDS, ids=[row[0] for row in WORDS])
def test_a_syntax_of_its_own_says_what_is_missing_too(
    run: Run, line: str, message: str, status: int
) -> None:
    out, errors, how = run(make_guest("gnu"), line.split())
    assert (out, errors.decode(), how.code) == (b"", message + MISSING, status)
