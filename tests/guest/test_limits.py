"""What the programs of a guest may take of the server: time in a look, memory; and that it comes back."""

import errno
import signal
import warnings
from typing import Any

import pytest

from qgasim import loads
from qgasim.guest import Guest
from qgasim.guest.processes.process import MEMORY_LIMIT, Exit, Process, Steps
from qgasim.guest.processes.scheduler import STEP_BUDGET
from qgasim.guest.processes.table import PID_MAX
from qgasim.simulation.channel import Channel
from qgasim.simulation.simulation import Simulation
from tests.serving import HandClock, request

pytestmark = pytest.mark.slow

ENDLESS = {
    "copying a device": "cat /dev/zero > /dev/null",
    "a pipe": "cat /dev/zero | cat > /dev/null",
    "counting": "wc /dev/zero",
    "head without a newline": "head -n 1 /dev/zero",
    "translating": "tr x y < /dev/zero > /dev/null",
    "numbers": "seq 1 1000000000000 > /dev/null",
    "the shell's read": "read x < /dev/zero",
    "a hole": "wc -c < /tmp/hole; wc -l /tmp/hole",
    "forks": "f() { f | f & }; f; sleep 1000",
    "files": "while :; do : > /tmp/x; done",
    "directories": "cd /tmp; while :; do mkdir d; cd d; done; sleep 1000",
    "reading what is written": "echo a > /tmp/x; cat < /tmp/x >> /tmp/x",
}
#: What wants all of an endless input at once.
GREEDY = {
    "sort": "sort /dev/zero",
    "tail": "tail /dev/zero",
    "a line": "grep x /dev/zero",
}
#: What a shell refuses.
WILD = {
    "a variable": "x=a; while :; do x=$x$x; done",
    "all of an endless output": "x=$(cat /dev/zero)",
    "arguments": 'set -- a; while :; do set -- "$@" "$@"; done',
    "arithmetic": "s=1; while :; do s=$s+$s; echo $((s)); done",
    "a command": 'eval "$(yes : | head -n 200000 | tr "\\n" ";")"',
}
#: Expressions that Python's re does not come to an end with.
SLOW = {
    "alternatives": "(a|a)*b",
    "repetitions of a repetition": "(a*)*b",
    "many repetitions": "a*a*a*a*a*a*a*a*a*b",
    "a reference": r"(a*)*(a*)*\1\2b",
}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def simulation(clock: HandClock) -> Simulation:
    return loads("extends: debian-12").build(source=clock)


@pytest.fixture
def channel(simulation: Simulation) -> Channel:
    return simulation.channel


@pytest.fixture
def guest(simulation: Simulation) -> Guest:
    files = simulation.guest.files
    files.write("/tmp/hole", b"")
    files.truncate("/tmp/hole", 10 << 40)
    return simulation.guest


def ask(channel: Channel, command: str, **arguments: Any) -> str:
    effects = channel.receive(request(command, **arguments))
    return b"".join(effect for effect in effects if type(effect) is bytes).decode()


def start(guest: Guest, script: str) -> Process:
    null = guest.files.open("/dev/null", 2)
    process = guest.processes.spawn(
        ["/bin/sh", "-c", script], env=["PATH=/bin"], files={0: null, 1: null, 2: null}
    )
    null.close()
    return process


def look(guest: Guest, clock: HandClock, times: int = 1) -> None:
    for _ in range(times):
        clock.now += 100_000_000
        guest.settle()


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_an_endless_program_takes_a_bounded_part_of_a_look(
    guest: Guest, clock: HandClock, script: str
) -> None:
    process = start(guest, script)
    look(guest, clock, 5)
    assert process.exit is None
    # What is left to do is known, so that a server looks again.
    due = guest.next_event()
    assert due is not None
    assert due <= clock.now + 10**12
    before = guest.processes.new_pid()
    start(guest, "exit 0")
    look(guest, clock, 20)
    assert guest.processes.new_pid() > before


@pytest.mark.parametrize("script", GREEDY.values(), ids=GREEDY)
def test_who_wants_too_much_memory_is_killed_and_gives_it_back(
    guest: Guest, clock: HandClock, script: str
) -> None:
    left = guest.memory_budget.left
    process = start(guest, f"{script}; kill -9 $$")
    ends: list[Exit] = []
    process.on_exit = ends.append
    for _ in range(3000):
        look(guest, clock)
        assert all(p.memory <= MEMORY_LIMIT for p in guest.processes.live())
        if ends:
            break
    assert ends
    guest.processes.clear()
    assert guest.memory_budget.left == left


@pytest.mark.parametrize("script", WILD.values(), ids=WILD)
def test_a_shell_refuses_what_would_fill_its_memory(
    guest: Guest, clock: HandClock, script: str
) -> None:
    process = start(guest, script)
    ends: list[Exit] = []
    process.on_exit = ends.append
    for _ in range(2000):
        look(guest, clock)
        if ends:
            break
    # A host that is slow ends it first (`watchdog.STEP_LIMIT`).
    assert ends[0].code in (1, 2) or ends[0].signal == signal.SIGKILL


@pytest.mark.parametrize("pattern", SLOW.values(), ids=SLOW)
def test_a_slow_regular_expression_ends(guest: Guest, clock: HandClock, pattern: str) -> None:
    process = start(guest, f"echo {'a' * 60} | grep -E '{pattern}'")
    ends: list[Exit] = []
    process.on_exit = ends.append
    look(guest, clock, 20)
    # Not found, or killed.
    assert ends[0].code in (1, 137)


def test_each_path_and_each_start_counts_as_work(guest: Guest, clock: HandClock) -> None:
    process = start(guest, "i=0; while :; do echo $i; i=$((i+1)); done > /dev/null")
    look(guest, clock, 30)
    builtins = process.turns
    other = start(guest, "while :; do [ -e /usr/share/zoneinfo/Etc/UTC ]; done")
    look(guest, clock, 30)
    assert other.exit is process.exit is None
    assert builtins < 30 * STEP_BUDGET


def test_a_program_that_fails_ends_alone(guest: Guest, clock: HandClock) -> None:
    def fail(_: Process) -> Steps:
        yield from ()
        raise ValueError("a mistake")

    process = guest.processes.start(
        fail, argv=["wrong"], env=[], cwd="/", files={}, parent=0, path="/bin/wrong"
    )
    ends: list[Exit] = []
    process.on_exit = ends.append
    with pytest.warns(RuntimeWarning, match="wrong failed, and is ended: ValueError"):
        look(guest, clock)
    assert ends[0].signal == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look(guest, clock)


def test_so_many_processes_run_and_no_more(
    channel: Channel, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(list(guest.processes.live()))
    monkeypatch.setattr("qgasim.guest.processes.table.TASKS_MAX", before + 10)
    text = ""
    for _ in range(11):
        assert "error" not in text
        text = ask(channel, "guest-exec", path="/bin/sleep", arg=["infinity"])
    # glib's words for a fork(2) that fails.
    assert text == (
        '{"error": {"class": "GenericError", "desc": "Guest agent command failed, error was '
        "'Failed to fork (Resource temporarily unavailable)'\"}}\n"
    )
    guest.processes.clear()


def test_ended_programs_that_no_client_asks_about_are_no_processes_that_run(
    channel: Channel, guest: Guest, clock: HandClock
) -> None:
    for _ in range(300):
        ask(channel, "guest-exec", path="/bin/true")
    look(guest, clock, 5)
    pid = ask(channel, "guest-exec", path="/bin/sh", arg=["-c", "true | true"])
    look(guest, clock, 5)
    number = int("".join(filter(str.isdigit, pid)))
    assert '"exitcode": 0' in ask(channel, "guest-exec-status", pid=number)


def test_process_ids_do_not_run_out_for_ever(guest: Guest) -> None:
    guest.processes.table.update(dict.fromkeys(range(50, PID_MAX), guest.processes.table[1]))
    with pytest.raises(OSError, match="Resource temporarily") as caught:
        start(guest, "true")
    assert caught.value.errno == errno.EAGAIN


def test_what_programs_wrote_and_read_is_counted_until_it_is_asked_for(
    channel: Channel, guest: Guest, clock: HandClock
) -> None:
    left = guest.memory_budget.left
    started = ask(
        channel,
        "guest-exec",
        **{
            "path": "/bin/sh",
            "arg": ["-c", "head -c 1000000 /dev/zero; sleep 1"],
            "input-data": "eHg=" * 1000,
            "capture-output": True,
        },
    )
    pid = int("".join(filter(str.isdigit, started)))
    look(guest, clock, 3)
    assert guest.memory_budget.left <= left - 1_000_000 - 2000
    look(guest, clock, 20)
    assert guest.memory_budget.left == left - 1_000_000
    assert len(ask(channel, "guest-exec-status", pid=pid)) > 1_333_333
    assert guest.memory_budget.left == left


def test_output_is_truncated_where_memory_ends(
    channel: Channel, guest: Guest, clock: HandClock
) -> None:
    guest.memory_budget.left = 5000
    arguments = {
        "path": "/bin/sh",
        "arg": ["-c", "head -c 10000 /dev/zero"],
        "capture-output": True,
    }
    pid = int("".join(filter(str.isdigit, ask(channel, "guest-exec", **arguments))))
    look(guest, clock, 3)
    assert '"out-truncated": true' in ask(channel, "guest-exec-status", pid=pid)


def test_files_without_contents_take_room_too(guest: Guest) -> None:
    left = guest.budget.left
    guest.files.write("/tmp/a", b"")
    guest.files.mkdir("/tmp/d")
    assert guest.budget.left < left
    guest.files.rename("/tmp/a", "/tmp/d/a")
    guest.files.remove_tree("/tmp/d")
    assert guest.budget.left == left
    guest.budget.left = 100
    with pytest.raises(OSError, match="No space left"):
        guest.files.write("/tmp/a", b"")


# As qemu-ga 7.2 on Linux 6 (asked with these arguments).
@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        (["a" * 131_071], True),
        (["a" * 131_072], False),
        (["a" * 11] * 100_000, True),
        (["a" * 12] * 100_000, False),
        (["a" * 131_071] * 15, True),
        (["a" * 131_071] * 16, False),
    ],
    ids=["longest", "longer", "many", "more", "15 long", "16 long"],
)
def test_arguments_can_be_too_long(channel: Channel, arguments: list[str], *, fits: bool) -> None:
    text = ask(channel, "guest-exec", path="/bin/true", arg=arguments, env=[])
    assert ("return" in text) == fits
    assert ("\\u201C/bin/true\\u201D (Argument list too long)'" in text) != fits
