"""The guest's shells against real ones, with scripts made by a seed: see `tests.fuzz_userland`."""

import tempfile
from pathlib import Path
from random import Random

import pytest

from tests.fuzz_userland import SHELLS, compare
from tests.userland.scripts import Generator

#: Scripts that are compared in each run of the tests, and differences that are known to be left in them.
SCRIPTS = 2000


@pytest.mark.slow
@pytest.mark.parametrize(("shell", "known"), [("dash", 3)])
def test_scripts_do_what_they_do_in_the_real_shell(shell: str, known: int) -> None:
    if not Path(SHELLS[shell].path).exists():
        pytest.skip(f"{SHELLS[shell].path} is not installed")
    random = Random(0)
    scripts = (Generator(random, shell).script() for _ in range(SCRIPTS))
    with tempfile.TemporaryDirectory(prefix="fuzz-userland-") as name:
        Path(name).chmod(0o755)
        different = [script for script, _, _ in compare(shell, scripts, Path(name))]
    assert len(different) <= known, "\n---\n".join(different)
