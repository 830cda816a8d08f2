"""What real shells have done: see `tests.userland.record_shells` and `tests.userland.record_invocations`."""

import json

import pytest

from tests.fuzz_userland import SHELLS, Outcome, Simulated
from tests.offenders import Offenders
from tests.userland.record_invocations import GIVEN, INVOCATIONS, SCRIPTS
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
                assert {"script": case["script"]} | to_case(Outcome(*found)) == case


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_is_called_as_the_real_one_was(shell: str) -> None:
    simulated = Simulated(SHELLS[shell], DIRECTORY)
    with Offenders() as offenders:
        for line in INVOCATIONS.read_text().splitlines():
            case = json.loads(line)
            if case["shell"] != shell:
                continue
            with offenders.case(f"{case['arguments']} {case.get('stdin')!r}"):
                found = simulated.call(case["arguments"], case.get("stdin"), SCRIPTS)
                assert found is not None, "the shell does not end"
                given = {key: case[key] for key in GIVEN if key in case}
                assert given | to_case(Outcome(*found)) == case
