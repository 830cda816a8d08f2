"""The programs of both userlands: what the real ones did.

``gnu.jsonl`` and ``busybox.jsonl`` hold what they were given and what came of it, a program or script a line, and in its
first line where that was; ``tests/userland/record_programs.py`` records it. Streams and files are latin-1: a
character is a byte.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from qgasim.guest import Guest, GuestSettings
from qgasim.guest.settings import MountSettings, OsSettings
from qgasim.userland import USERLANDS
from tests.offenders import Offenders
from tests.userland.programs.conftest import Run

#: `make test-quick` has every eighth of each program's cases.
QUICK = 8
#: Where BusyBox's help begins, which a guest's applets have in short.
HELP: Final = "BusyBox v1.35.0"


def read_cases(userland: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return the files that the cases have, and the cases."""
    text = Path(__file__).with_name(f"{userland}.jsonl").read_text()
    meta, *cases = map(json.loads, text.splitlines())
    return meta["files"], cases


FILES, CASES = read_cases("gnu")
APPLETS: Final = read_cases("busybox")[1]


def by_program() -> dict[str, list[dict[str, Any]]]:
    programs: dict[str, list[dict[str, Any]]] = {}
    for case in CASES:
        programs.setdefault(case["argv"][0], []).append(case)
    return programs


PROGRAMS: Final = by_program()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_does_what_the_real_one_did(run: Run, program: str) -> None:
    check(run, PROGRAMS[program][::QUICK])


def test_an_applet_does_what_the_real_one_did(run: Run) -> None:
    check(run, APPLETS[::QUICK], "busybox")


@pytest.mark.slow
def test_an_applet_does_all_that_the_real_one_did(run: Run) -> None:
    check(run, [case for n, case in enumerate(APPLETS) if n % QUICK], "busybox")


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_does_all_that_the_real_one_did(run: Run, program: str) -> None:
    check(run, [case for n, case in enumerate(PROGRAMS[program]) if n % QUICK])


def make_guest(userland: str) -> Guest:
    settings = GuestSettings(
        os=OsSettings(userland=userland),  # type: ignore[arg-type]
        files={f"/w/{name}": text for name, text in FILES.items()},
        mounts=[MountSettings(device="/dev/vda1", path="/")],
    )
    return Guest(settings, USERLANDS[userland], source=lambda: 0)


def traces(guest: Guest) -> list[Any]:
    """Return what a program leaves behind: whether it has made a file or changed one, and what runs."""
    volume = guest.files.mounts[0].volume
    nodes = [guest.files.get(f"/w/{name}") for name in FILES]
    return [
        *(volume.fakefs.last_ino, volume.used),
        *((node.st_mode, node.st_uid, node.st_gid, node.st_nlink, node.st_mtime) for node in nodes),
        *(process.argv for process in guest.processes.live()),
    ]


def check(run: Run, cases: list[dict[str, Any]], userland: str = "gnu") -> None:
    guest, before = make_guest(userland), None
    with Offenders() as offenders:
        for case in cases:
            # Most leave a guest as it was, and another takes longer to make than they to run.
            if traces(guest) != before:
                guest = make_guest(userland)
                before = traces(guest)
            with offenders.case(json.dumps(case)):
                check_case(run, case, guest)


def check_case(run: Run, case: dict[str, Any], guest: Guest) -> None:
    out, errors, how = run(guest, case["argv"], case.get("stdin", "").encode("latin-1"), cwd="/w")
    status = how.code if how.signal is None else -how.signal
    assert (out.decode("latin-1"), errors.decode("latin-1").partition(HELP)[0], status) == (
        case.get("stdout", ""),
        case.get("stderr", "").partition(HELP)[0],
        case.get("status", 0),
    )
    for name, text in {**FILES, **case.get("wrote", {})}.items():
        assert guest.files.read(f"/w/{name}").decode("latin-1") == text
