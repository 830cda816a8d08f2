"""The guest's shells against real ones, with scripts made by a seed: see `tests.fuzz_userland`."""

import tempfile
from pathlib import Path
from random import Random

import pytest

from tests.fuzz_userland import SHELLS, compare
from tests.userland.scripts import Generator

#: Scripts that are compared for each seed: 2,000 in all.
SCRIPTS = 500
#: Differences that are known to be left. Two processes of a pipeline write into one stream, and now and then the
#: real shell's traces come out mixed whenever the script is tried.
KNOWN = 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_scripts_do_what_they_do_in_dash(seed: int) -> None:
    if not Path(SHELLS["dash"].path).exists():
        pytest.skip(f"{SHELLS['dash'].path} is not installed")
    random = Random(seed)
    scripts = (Generator(random, "dash").script() for _ in range(SCRIPTS))
    with tempfile.TemporaryDirectory(prefix="fuzz-userland-") as name:
        Path(name).chmod(0o755)
        different = [script for script, _, _ in compare("dash", scripts, Path(name))]
    assert len(different) <= KNOWN, "\n---\n".join(different)
