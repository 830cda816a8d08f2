"""The guest's shells against real ones, with scripts made by a seed: see `tests.fuzz_userland`."""

import os
import tempfile
from pathlib import Path
from random import Random

import pytest

from tests.fuzz_userland import SHELLS, Verdict, compare
from tests.userland.scripts import Generator

#: Scripts that are compared for each seed: 2,000 with dash, and some with each of the others.
SCRIPTS = 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "seed"), [*(("dash", seed) for seed in range(5)), ("ash", 0), ("bash", 0)]
)
def test_scripts_do_what_they_do_in_the_real_shell(shell: str, seed: int) -> None:
    if not Path(SHELLS[shell].path).exists():
        pytest.skip(f"{SHELLS[shell].path} is not installed")
    random = Random(seed)
    count = SCRIPTS if shell == "dash" else SCRIPTS // 2
    scripts = (Generator(random, shell).script() for _ in range(count))
    # A file system in memory is ten times as fast.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fuzz-userland-", dir=memory) as name:
        Path(name).chmod(0o755)
        different = [
            script
            for verdict, script, _, _ in compare(shell, scripts, Path(name))
            if verdict is Verdict.DIFFERENT
        ]
    assert different == [], "\n---\n".join(different)
