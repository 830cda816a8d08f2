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
from tests.userland.programs.conftest import Run

META, *CASES = map(json.loads, Path(__file__).with_name("gnu.jsonl").read_text().splitlines())
FILES: Final[dict[str, str]] = META["files"]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=f"{n}-{' '.join(case['argv'])[-80:]}",
            # `make test-quick` has every eighth.
            marks=[pytest.mark.slow] if n % 8 else [],
        )
        for n, case in enumerate(CASES)
    ],
)
def test_a_program_does_what_the_real_one_did(run: Run, case: dict[str, Any]) -> None:
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
