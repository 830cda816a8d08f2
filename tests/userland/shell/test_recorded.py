"""Scripts that real shells have run: see `tests.userland.record_shells`."""

import json

import pytest

from tests.fuzz_userland import SHELLS, Outcome, Simulated
from tests.offenders import Offenders
from tests.userland.record_shells import DIRECTORY, RECORDINGS, to_case


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_does_what_the_real_shell_did(shell: str) -> None:
    simulated = Simulated(SHELLS[shell], DIRECTORY)
    with Offenders() as offenders:
        for line in (RECORDINGS / f"{shell}.jsonl").read_text().splitlines():
            case = json.loads(line)
            with offenders.case(case["script"]):
                found = simulated.run(case["script"])
                assert found is not None, "the script does not end"
                assert to_case(case["script"], Outcome(*found)) == case
