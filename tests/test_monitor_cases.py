"""What the real QEMU 7.2 answered where the fuzzer had found a difference (tests/monitor_cases).

A case is a machine: the first line has the arguments of the command line, each other a request with what
followed it. ``python -m tests.test_monitor_cases`` records them again, from the requests that are there.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz_monitor import NEGOTIATE, Ours, deleted, exchange, mask, pair
from tests.offenders import Offenders

CASES = Path(__file__).parent / "monitor_cases"
FILES = sorted(CASES.glob("*.jsonl"))


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    head, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    return head, lines


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_machine_answers_as_recorded(path: Path) -> None:
    head, lines = read(path)
    ours = Ours(tuple(head["arguments"]), head["greeting"].encode())
    ours.connect()
    ours.send(NEGOTIATE)
    gone: list[bytes] = []
    with Offenders() as offenders:
        for line in lines:
            with offenders.case(line["send"]):
                got = exchange(None, ours, line["send"].encode("latin-1"))[1]
                gone += deleted(got)
                assert mask(got) == mask(line["receive"].encode("latin-1"))
    assert sorted(each.decode() for each in gone) == head["gone"]


def record(path: Path) -> None:
    """Ask the real QEMU again."""
    head, lines = read(path)
    with pair(*head["arguments"]) as (real, ours):
        exchange(real, ours, NEGOTIATE)
        head["greeting"] = real.greeting.decode()
        gone: list[bytes] = []
        for line in lines:
            received = exchange(real, ours, line["send"].encode("latin-1"))[0]
            gone += deleted(received)
            line["receive"] = received.decode("latin-1")
        gone += deleted(real.read_until(lambda _: False, 0.3))
        head["gone"] = sorted(each.decode() for each in gone)
    text = "".join(json.dumps(each) + "\n" for each in [head, *lines])
    path.write_text(text)


if __name__ == "__main__":
    for each in FILES:
        record(each)
