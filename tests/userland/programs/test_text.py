"""The programs of GNU's userland: what the real ones did.

``gnu.jsonl`` holds what they were given and what came of it, a program or script a line, and in its
first line where that was; ``tests/userland/record_gnu.py`` records it. Streams and files are latin-1: a
character is a byte.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from qgasim.guest import Guest, GuestSettings
from qgasim.guest.settings import MountSettings
from qgasim.userland import USERLANDS
from tests.offenders import Offenders
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
