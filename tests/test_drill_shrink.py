"""Shrinking: from a list that fails to the few entries that matter, with small numbers."""

import sys
import tempfile
from collections.abc import Callable

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct, structs

from qgasim.drill import Drill, Minimal, Result, Rules, Run, Selection, minimise, plan
from qgasim.drill.leftovers import adopting_orphans
from qgasim.drill.pins import pin_variations
from qgasim.drill.report import show_minimal
from qgasim.drill.shrink import halved, shrink
from qgasim.faults import (
    AnyFault,
    CloseConnection,
    Delay,
    Duplicate,
    Edit,
    FromUptime,
    InjectedError,
    LegalVariation,
    Reset,
)
from qgasim.faults.base import join_bytes
from qgasim.guest.units import SECOND
from qgasim.scenario import load
from qgasim.simulation.journal import Journal
from tests.serving import HandClock


class Entry(Struct, frozen=True):
    name: int
    size: int = 0


def shrunk(entries: list[Entry], fails: Callable[[list[Entry]], bool]) -> list[Entry]:
    tried: list[list[Entry]] = []

    async def fails_once(some: list[Entry]) -> bool:
        assert some not in tried, "no list is tried twice"
        tried.append(some)
        return fails(some)

    return trio.run(shrink, entries, fails_once, lambda: False)


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(0, 39), min_size=1, max_size=4))
def test_only_what_matters_is_left_in_its_order(wanted: set[int]) -> None:
    entries = [Entry(name=-number) for number in range(40)]
    least = shrunk(entries, lambda some: wanted <= {-entry.name for entry in some})
    assert [-entry.name for entry in least] == sorted(wanted)


def test_numbers_are_halved_as_long_as_it_fails() -> None:
    entries = [Entry(name=0, size=1000), Entry(name=0, size=7)]
    least = shrunk(entries, lambda some: any(entry.size >= 100 for entry in some))
    assert least == [Entry(name=0, size=125)]


def test_what_fails_by_itself_needs_no_entry() -> None:
    assert shrunk([Entry(name=1)], lambda _: True) == []


def test_the_numbers_of_a_fault_are_halved_each_in_its_turn() -> None:
    fault = Delay(by=3 * SECOND, after=4, when=FromUptime(uptime=SECOND))
    assert Delay(by=3 * SECOND // 2, after=4, when=fault.when) in [*halved(fault)]
    assert Delay(by=3 * SECOND, after=2, when=fault.when) in [*halved(fault)]
    when = FromUptime(uptime=SECOND // 2)
    assert Delay(by=3 * SECOND, after=4, when=when) in [*halved(fault)]
    assert all(each != fault for each in halved(fault))


def test_when_the_time_is_over_the_least_so_far_is_taken() -> None:
    tried = 0

    async def fails(some: list[Entry]) -> bool:
        nonlocal tried
        tried += 1
        return Entry(name=5) in some

    entries = [Entry(name=number) for number in range(64)]
    least = trio.run(shrink, entries, fails, lambda: tried >= 3)
    assert tried == 3
    assert Entry(name=5) in least
    assert len(least) < len(entries)


# -- three clients with a bug each -------------------------------------------------------------------

#: It does all right but for the bug that is planted: 'order' takes the next line for the answer, 'error' takes
#: every answer for a value, 'twice' does not connect a third time.
CLIENT = """\
import json, os, socket, sys
bug, lost = sys.argv[1], 0

def connect():
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(2)
    client.connect(os.environ["QGASIM_SOCKET"])
    return client, client.makefile("rb")

client, file = connect()
for number in range(20):
    while True:
        try:
            client.sendall(b'{"execute":"guest-ping","id":%d}\\n' % number)
            reply = {}
            while reply.get("id") != number:
                line = file.readline()
                if not line:
                    raise ConnectionError
                reply = json.loads(line)
                if bug == "order":
                    assert reply["id"] == number, reply
            break
        except ConnectionError:
            lost += 1
            if bug == "twice" and lost == 2:
                raise
            client, file = connect()
    if bug == "error":
        reply["return"]
"""
KINDS = ["duplicate", "error", "split", "crlf", "close", "reset", "bandwidth"]


def reduce_planted(bug: str, seed: int, directory: str) -> Minimal:
    nemesis = {"seed": seed, "requests": 20, "kinds": KINDS}
    run = Run(name="planted", scenario="debian-12", overrides={"nemesis": nemesis})
    command = [sys.executable, "-I", "-S", "-c", CLIENT, bug]
    drill = Drill(command, directory, Rules(findings="off"))

    async def find() -> Minimal | None:
        result = await drill.attempt(run)
        assert result.verdict == "failed", result
        return (await minimise(drill, result, 60))[0]

    with adopting_orphans():
        minimal = trio.run(find)
    assert minimal is not None
    assert minimal.before > 5
    assert minimal.failed == 3
    return minimal


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "seed", "kinds"),
    [
        ("order", 1, {Duplicate}),
        ("error", 2, {InjectedError}),
        ("twice", 1, {CloseConnection, Reset}),
    ],
)
def test_a_planted_bug_is_reduced_to_two_faults_at_most(
    bug: str, seed: int, kinds: set[type]
) -> None:
    # The path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="qga-") as directory:
        minimal = reduce_planted(bug, seed, directory)
    assert 1 <= len(minimal.faults) <= 2
    assert {type(fault) for fault in minimal.faults} <= kinds
    losses = sum(fault.times or 0 for fault in minimal.faults)
    assert losses == (2 if bug == "twice" else 1)


#: A parser that takes for granted what the schema says is optional.
PARSER = """\
import json, os, socket
with socket.socket(socket.AF_UNIX) as client:
    client.connect(os.environ["QGASIM_SOCKET"])
    for _ in range(2):
        client.sendall(b'{"execute":"guest-get-osinfo"}\\n')
        print(json.loads(client.makefile().readline())["return"]["pretty-name"])
"""


@pytest.mark.slow
def test_a_variation_is_reduced_to_the_edit_that_matters() -> None:
    async def find(drill: Drill) -> tuple[Result, Minimal] | None:
        for run in plan(Selection(variations=20)):
            result = await drill.attempt(run)
            minimal = (await minimise(drill, result, 60))[0] if result.is_wrong else None
            if minimal is not None:
                return result, minimal
        return None

    command = [sys.executable, "-I", "-S", "-c", PARSER]
    with tempfile.TemporaryDirectory(prefix="qga-") as directory, adopting_orphans():
        found = trio.run(find, Drill(command, directory, Rules()))
    assert found is not None
    result, minimal = found
    assert result.reason == "status 1: KeyError: 'pretty-name'"
    (edit,) = minimal.faults
    assert isinstance(edit, Edit)
    assert (edit.on, edit.remove, edit.times) == ("guest-get-osinfo", ("/pretty-name",), 1)
    assert (minimal.before > 1, minimal.failed) == (True, 3)


FAILED = Result(run=Run(name="a", scenario="a"), verdict="failed", status=1)
MISBEHAVED = structs.replace(
    FAILED, verdict="misbehaved", status=0, findings=("handle-left-open", "unknown-command")
)
LEFT = structs.replace(MISBEHAVED, reason="left running: sleep")


@pytest.mark.parametrize(
    ("result", "other", "is_same"),
    [
        (FAILED, FAILED, True),
        (FAILED, structs.replace(FAILED, status=2), False),
        (FAILED, structs.replace(FAILED, status=-11), False),
        (FAILED, structs.replace(FAILED, verdict="hung", status=None), False),
        (MISBEHAVED, structs.replace(MISBEHAVED, findings=("unknown-command",)), True),
        (MISBEHAVED, structs.replace(MISBEHAVED, findings=("reply-not-read",)), False),
        (MISBEHAVED, LEFT, False),
        (LEFT, structs.replace(LEFT, findings=()), True),
    ],
)
def test_to_fail_alike_is_to_fail_for_the_same_reason(
    result: Result, other: Result, is_same: bool
) -> None:
    assert other.fails_like(result) is is_same
    assert result.fails_like(other) is is_same


#: A connection that ends makes it end with status 3, and with status 4 if there was an error before.
TWO_WAYS = """\
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect(os.environ["QGASIM_SOCKET"])
    file, errors = client.makefile(), 0
    for _ in range(3):
        client.sendall(b'{"execute":"guest-ping"}\\n')
        line = file.readline()
        if not line:
            sys.exit(4 if errors else 3)
        errors += "error" in json.loads(line)
"""


@pytest.mark.slow
def test_shrinking_does_not_end_on_another_failure() -> None:
    faults: list[AnyFault] = [InjectedError(desc="no", times=1), CloseConnection(after=1, times=1)]
    run = Run(name="two", scenario="debian-12")

    async def find(drill: Drill) -> Minimal | None:
        result = await drill.attempt(run.with_faults(faults))
        assert result.status == 4
        # As if they were drawn.
        drawn = structs.replace(result, run=run, pinned=tuple(faults))
        return (await minimise(drill, drawn, 60))[0]

    command = [sys.executable, "-I", "-S", "-c", TWO_WAYS]
    with tempfile.TemporaryDirectory(prefix="qga-") as directory, adopting_orphans():
        minimal = trio.run(find, Drill(command, directory, Rules(findings="off")))
    assert minimal is not None
    # By its verdict alone, the connection that ends would be enough.
    assert (minimal.faults, minimal.failed) == (faults, 3)


def test_a_variation_is_pinned_place_by_place_for_the_reply_that_had_it() -> None:
    scenario = load("debian-12")
    scenario.faults = [LegalVariation(seed=3, changes=3)]
    simulation = scenario.build(HandClock())
    journal = Journal(simulation)
    request = b'{"execute": "guest-get-osinfo"}'
    replies = [join_bytes([*simulation.channel.receive(request)]) for _ in range(3)]
    pinned = [*pin_variations(journal.exchanges)]
    assert len(pinned) > 3
    again = load("debian-12")
    again.faults = pinned
    channel = again.build(HandClock()).channel
    assert [join_bytes([*channel.receive(request)]) for _ in range(3)] == replies


def test_what_is_left_is_shown_as_yaml_and_as_a_test() -> None:
    fault = Delay(by=SECOND, times=1)
    run = Run(name="nemesis-7", scenario="debian-12", overrides={"nemesis": {"seed": 7}})
    least = run.with_faults([fault])
    assert least.make().faults == [fault]
    assert least.drawn() == []
    minimal = Minimal(run=least, faults=[fault], before=9, attempts=12, failed=2)
    result = Result(run=run, verdict="failed")
    shown = show_minimal(result, minimal, ["./client", "{socket}"], Rules())
    assert shown.splitlines()[:3] == [
        "# nemesis-7: 9 faults, of which 1 matter (12 runs; 2 of 3 failed: it is flaky)",
        "faults:",
        "  - {kind: delay, times: 1, by: 1s}",
    ]
    assert "    faults=[{'kind': 'delay', 'times': 1, 'by': '1s'}],\n" in shown
    assert "def test_nemesis_7(qga):" in shown
