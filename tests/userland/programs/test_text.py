"""The programs of GNU's userland: what the real ones did.

``gnu.jsonl`` holds what they were given and what came of it, a program or script a line, and in its
first line where that was; ``tests/userland/record_gnu.py`` records it. Streams and files are latin-1: a
character is a byte.
"""

import base64
import json
import random
from pathlib import Path
from typing import Any, Final

import pytest

from qgasim.guest import Guest, GuestSettings
from qgasim.guest.settings import MountSettings
from qgasim.userland import USERLANDS
from tests.offenders import Offenders
from tests.serving import Course
from tests.userland.programs.conftest import Run

META, *CASES = map(json.loads, Path(__file__).with_name("gnu.jsonl").read_text().splitlines())
FILES: Final[dict[str, str]] = META["files"]


#: `make test-quick` has every eighth of each program's cases.
QUICK = 8


def by_program() -> dict[str, list[dict[str, Any]]]:
    programs: dict[str, list[dict[str, Any]]] = {}
    for case in CASES:
        programs.setdefault(case["argv"][0], []).append(case)
    return programs


PROGRAMS: Final = by_program()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_does_what_the_real_one_did(run: Run, program: str) -> None:
    check(run, PROGRAMS[program][::QUICK])


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_does_all_that_the_real_one_did(run: Run, program: str) -> None:
    check(run, [case for n, case in enumerate(PROGRAMS[program]) if n % QUICK])


def check(run: Run, cases: list[dict[str, Any]]) -> None:
    with Offenders() as offenders:
        for case in cases:
            with offenders.case(json.dumps(case)):
                check_case(run, case)


def check_case(run: Run, case: dict[str, Any]) -> None:
    settings = GuestSettings(
        files={f"/w/{name}": text for name, text in FILES.items()},
        mounts=[MountSettings(device="/dev/vda1", path="/")],
    )
    guest = Guest(settings, USERLANDS["gnu"], source=lambda: 0)
    out, errors, how = run(guest, case["argv"], case.get("stdin", "").encode("latin-1"), cwd="/w")
    status = how.code if how.signal is None else -how.signal
    assert (out.decode("latin-1"), errors.decode("latin-1"), status) == (
        case.get("stdout", ""),
        case.get("stderr", ""),
        case.get("status", 0),
    )
    for name, text in {**FILES, **case.get("wrote", {})}.items():
        assert guest.files.read(f"/w/{name}").decode("latin-1") == text


#: xargs of findutils 4.9.0 and of BusyBox 1.35.0: options, input, status, error text, and how long the lines
#: of the output are.
LONG_COMMANDS = [
    ("debian-12", ["echo"], b"a" * 140_000, 1, "xargs: argument line too long\n", []),
    ("debian-12", ["echo"], b"a" * 131_000, 0, "", [131_000]),
    ("debian-12", ["echo"], b"a " * 100_000, 0, "", [131_065, 68_933]),
    ("debian-12", ["-0", "echo"], b"a\0" * 100_000, 0, "", [131_065, 68_933]),
    ("debian-12", ["-I", "x", "echo", "x" * 7], b"b" * 20_000, 1, "xargs: command too long\n", []),
    ("debian-12", ["-I", "x", "echo", "x"], b"b" * 140_000, 1, "xargs: argument line too long\n", []),
    ("debian-12", ["-I", "x", "echo", "x", "x"], b"b" * 70_000, 1, "xargs: argument list too long\n", []),
    ("debian-12", ["-s", "50", "echo"], b"aaaaaaaaa " * 10, 0, "", [39, 39, 19]),
    ("debian-12", ["-s", "50", "echo"], b"a" * 60, 1, "xargs: argument line too long\n", []),
    ("alpine-3.20", ["echo"], b"a" * 131_000, 1, "xargs: argument line too long\n", []),
    ("alpine-3.20", ["echo"], b"a " * 20_000, 0, "", [30_713, 9_285]),
    ("alpine-3.20", ["-I", "x", "echo", "x" * 7], b"b" * 20_000, 126, "xargs: echo: Argument list too long\n", []),
    ("alpine-3.20", ["-s", "50", "echo"], b"aaaaaaaaa " * 10, 0, "", [39, 39, 19]),
]  # fmt: skip


def test_xargs_measures_a_command_before_it_is_built(run: Run) -> None:
    with Offenders() as offenders:
        for scenario, arguments, stdin, *expected in LONG_COMMANDS:
            with offenders.case(f"{scenario} {arguments!s:.60}"):
                out, errors, how = run(Course(scenario).guest, ["xargs", *arguments], stdin)
                lengths = [len(line) for line in out.splitlines()]
                assert [how.code, errors.decode(), lengths] == expected


def test_base64_works_in_pieces(run: Run) -> None:
    guest = Course("debian-12").guest
    data = random.Random(1).randbytes(300_001)
    encoded = run(guest, ["base64"], data)[0]
    assert encoded == base64.encodebytes(data)
    assert run(guest, ["base64", "-w", "0"], data)[0] == base64.b64encode(data)
    assert run(guest, ["base64", "-d"], encoded)[0] == data
    # coreutils 9.1: several texts in one, and a group that is not whole.
    assert run(guest, ["base64", "-d"], b"YQ==YmM=\nZGVm")[0] == b"abcdef"
    out, errors, how = run(guest, ["base64", "-d"], b"YWJjZGU")
    assert (out, errors, how.code) == (b"abcde", b"base64: invalid input\n", 1)


def test_cut_joins_ranges_not_bytes(run: Run) -> None:
    # coreutils 9.1; characters are bytes.
    guest = Course("debian-12").guest
    joined = "--output-delimiter=:"
    for options, out in (
        (["-b", "1-2,4-5", joined], b"ab:de\n"),
        (["-b", "1-2,3-4", joined], b"ab:cd\n"),
        (["-b", "1-3,2-4", joined], b"abcd\n"),
        (["-b", "4,1", joined], b"a:d\n"),
        (["-b", "2-3", "--complement", joined], b"a:defgh\n"),
    ):
        assert run(guest, ["cut", *options], b"abcdefgh\n")[0] == out
    assert run(guest, ["cut", "-c", "1-2"], "äöü\n".encode())[0] == "ä\n".encode()
