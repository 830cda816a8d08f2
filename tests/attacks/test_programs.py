"""What a program of the guest may take: the host's memory, and its time.

Each example of a client's that once hung the server or filled its memory has its case here. Where the real
program refuses it, the words are those of Debian 12's (GNU grep 3.8, coreutils 9.1, run in 300 MB of memory).
"""

import base64
import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from qgasim.effects import Wait
from qgasim.guest.processes.process import MEMORY_LIMIT, Killed, Process, Steps
from qgasim.guest.processes.scheduler import HELPER_STEPS
from qgasim.guest.processes.watchdog import TooLong, Watchdog, watchdog
from qgasim.guest.units import SECOND
from qgasim.serving.foreground import _hurry_at
from qgasim.serving.server import LOOK_TIME, Server
from qgasim.simulation.journal import Journal
from tests.serving import Course, request

KILLED = {"signal": 9}
DIGITS = "9" * 5000
#: Scripts, their ends, and what they write at most, in the beginning.
REFUSED = {
    "an expression of many repetitions": (
        "grep -E 'x*b{60000}{60000}' /etc/passwd",
        2,
        "grep: Regular expression too big\n",
    ),
    "an expression that is large when written out": (
        "grep -E 'x*b{30000}{30000}' /etc/passwd",
        2,
        "grep: Memory exhausted\n",
    ),
    "a number of repetitions": (
        r"grep 'x\{1,99999999999\}' /etc/passwd",
        2,
        "grep: Regular expression too big\n",
    ),
    "a number of repetitions, in sed": (
        r"sed -E 's/x{32767}{32767}/y/' /etc/passwd",
        1,
        "sed: -e expression #1, char 20: Memory exhausted\n",
    ),
    "a number of bytes": (
        f"head -c {DIGITS} /etc/passwd",
        1,
        f"head: invalid number of bytes: ‘{DIGITS}’: Value too large for defined data type\n",  # noqa: RUF001
    ),
    "a field": (f"cut -c {DIGITS} /etc/passwd", 1, "cut: byte/character offset "),
    "the root directory": ("mv / x", 1, "mv: cannot move '/' to 'x': Device or resource busy\n"),
    "a variable": ("x=a; while :; do x=$x$x; done", 1, "/bin/sh: 1: out of memory\n"),
    # They were of options that are no longer simulated.
    "a width of seq": ("seq -f %2000000000f 1", 1, "seq: option '-f' is not simulated by qgasim"),
    "many fields": (f"cut -f {DIGITS} /tmp/a", 1, "cut: field number"),
    "a status": (f"exit {DIGITS}", 2, "/bin/sh: "),
    "a test": (f"test {DIGITS} -gt 1", 2, "/bin/sh: "),
}
#: Scripts that are ended as programs that have no more memory.
GREEDY = {
    "a width of printf": "printf '%1000000s' $(seq 1 1000)",
    "an exponent": "exec seq 1e999999999",
    "a width of date": "exec date +%2000000000d",
    "a width of stat": "exec stat -c %2000000000n /",
    "variables": "x=$(printf %01000000d 1); while :; do eval v$((i=i+1))=$x; done",
    "local variables": "x=$(printf %01000000d 1); f() { local v=$x$1; f $1; }; f 1",
    "functions": 'x=$(printf %01000000d 1); while :; do eval "f$((i=i+1))() { echo $x; }"; done',
    "aliases": 'x=$(printf %01000000d 1); while :; do alias "a$((i=i+1))=$x"; done',
    "sed's replacement": f"sed 's/a/{'&' * 1000}/g' /tmp/a; kill -9 $$",
}
#: Scripts of which one step is long: they are ended, or do it in a moment.
LONG = {
    "references in arithmetic": "".join(f"x{i}=x{i + 1}+x{i + 1};" for i in range(1, 38))
    + "x38=1; echo $((x1))",
    "case": "case $(printf %060000d 0) in *$(printf %030000d 0)1) echo yes;; esac",
    "alternatives": f"echo {'a' * 32} | grep -cE '{'a?' * 32 + 'a' * 32}'",
    "a lot of alternatives": "grep -cE '(a|a)*(a|a)*b' /tmp/a",
    "a reference": r"expr_=$(sed -E 's/(.*)(.*)(.*)\1x/y/' /tmp/a)",
    "a prefix": "x=$(cat /tmp/a); echo ${x##*a*a*a*b} > /dev/null",
    "a name in find": f"find / -name '{'*a' * 500}*b'",
}


@pytest.fixture
def course() -> Iterator[Course]:
    course = Course("debian-12")
    course.guest.files.write("/tmp/a", b"a" * 100_000)
    yield course
    course.guest.processes.clear()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the watchdog wait for less."""
    monkeypatch.setattr(watchdog, "limit", 100_000_000)


def execute(course: Course, script: str | None, stdin: bytes = b"") -> dict[str, object]:
    """Run a script to its end; return its status, with what it wrote as texts."""
    arguments: dict[str, object] = {"arg": ["-c", script] if script is not None else []}
    if stdin:
        arguments["input_data"] = base64.b64encode(stdin).decode()
    said = course.say("guest-exec", path="/bin/sh", capture_output=True, **arguments)
    pid = said["return"]["pid"]
    for _ in range(2000):
        course.advance(1)
        status: dict[str, object] = course.say("guest-exec-status", pid=pid)["return"]
        if status["exited"]:
            for name in ("out-data", "err-data"):
                status[name] = base64.b64decode(str(status.get(name, ""))).decode()
            return status
    raise AssertionError(script)


@pytest.mark.parametrize(("script", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_the_programs_words(
    course: Course, script: str, code: int, words: str
) -> None:
    status = execute(course, script)
    assert str(status["err-data"]).startswith(words.replace("‘", "'").replace("’", "'"))  # noqa: RUF001
    assert status["exitcode"] == code


@pytest.mark.slow
@pytest.mark.parametrize("script", GREEDY.values(), ids=GREEDY)
def test_what_would_take_too_much_memory_ends_its_program(course: Course, script: str) -> None:
    left = course.guest.memory_budget.left
    assert execute(course, script)["signal"] == 9
    course.guest.processes.clear()
    assert course.guest.memory_budget.left == left


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["0", "[0]"])
def test_a_replacement_that_would_take_too_much_memory_ends_its_shell(pattern: str) -> None:
    # dash has none.
    course = Course("alpine-3.20")
    script = f"x=$(printf %01000000d 0); y=${{x//{pattern}/$x}}"
    assert execute(course, script)["signal"] == 9


@pytest.mark.slow
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("script", LONG.values(), ids=LONG)
def test_a_long_step_ends(course: Course, script: str) -> None:
    assert execute(course, script)["exited"]
    assert "return" in course.say("guest-ping")


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_a_word_without_an_end_is_read_in_steps_or_ends_the_shell(course: Course) -> None:
    assert execute(course, None, b"x" * 4_000_000)["exited"]


@pytest.mark.slow
def test_a_pattern_of_many_directories_lets_others_go_on(course: Course) -> None:
    course.say("guest-exec", path="/bin/sh", arg=["-c", "echo " + "/*/.." * 20 + "/*"])
    for _ in range(3):
        course.advance(1)
    assert execute(course, "echo here")["out-data"] == "here\n"


def loop(p: Process) -> Steps:
    yield from p.sleep(1)
    while True:
        pass


def test_a_step_that_takes_too_long_ends_with_a_message(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "limit", 1)
    course.guest.processes._loader._programs = {
        **course.guest.processes._loader._programs,
        "true": loop,
    }
    status = execute(course, "exec true")
    assert status["signal"] == 9
    assert str(status["err-data"]).startswith("true: ended by qgasim: a step of this program took")
    journal = Journal(course.simulation)
    assert execute(course, "/bin/true")["signal"] == 9
    assert "true: ended by qgasim" in journal.transcript()


class Finalised:
    """An object that takes for ever to go: Python drops what is raised in a finaliser."""

    def __del__(self) -> None:
        while True:
            pass


def loop_in_a_finaliser(p: Process) -> Steps:
    yield from p.sleep(1)
    Finalised()
    while True:
        pass


def test_a_step_ends_quietly_though_python_drops_the_first_end(
    course: Course, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watchdog, "limit", 1)
    course.guest.processes._loader._programs = {
        **course.guest.processes._loader._programs,
        "true": loop_in_a_finaliser,
    }
    status = execute(course, "exec true")
    assert status["signal"] == 9
    assert str(status["err-data"]).startswith("true: ended by qgasim: a step of this program took")
    assert capfd.readouterr().err == ""


def wait_for(event: Callable[[], None]) -> None:
    """Let something happen that ends this."""
    event()
    while True:
        pass


def test_a_step_ends_at_once_when_the_server_is_to_end() -> None:
    dog = Watchdog(limit=10**12)
    dog._is_awake = True
    dog.begin()
    with pytest.raises(TooLong):
        wait_for(dog.hurry)
    dog.end()


def test_a_signal_is_noted_and_ends_the_step_that_it_interrupts() -> None:
    noted: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: noted.append(number))
    try:
        _hurry_at([signal.SIGUSR1])
        assert watchdog.begin()
        with pytest.raises(TooLong):
            wait_for(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    finally:
        watchdog.end()
        signal.signal(signal.SIGUSR1, before)
    assert noted == [signal.SIGUSR1]


def test_no_step_can_be_ended_while_the_watchdogs_thread_is_being_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Else the new thread got the end, and the server hung at a SIGTERM right after its start (1 of 30).
    seen: list[dict[int, object]] = []

    class Thread(threading.Thread):
        def start(self) -> None:
            seen.append(dict(dog._steps))

        def is_alive(self) -> bool:
            return bool(seen)

    monkeypatch.setattr("qgasim.guest.processes.watchdog.threading.Thread", Thread)
    dog = Watchdog()
    assert dog.begin()
    assert seen == [{}]
    assert len(dog._steps) == 1
    dog.end()


def test_a_step_that_ended_in_time_is_left_alone() -> None:
    now = 0
    dog = Watchdog(limit=10, clock=lambda _: now)
    dog._is_awake = True
    assert dog.begin()
    assert not dog.begin()
    dog.look()
    now = 9
    dog.look()
    dog.end()
    now = 100
    dog.look()
    assert dog.begin()
    dog.end()
    assert not dog.look()


def test_memory_that_is_asked_for_is_counted_before_it_is_there() -> None:
    course = Course("debian-12")
    process = course.guest.processes.live()[0]
    with pytest.raises(Killed):
        process.take_memory(MEMORY_LIMIT + 1)


@pytest.mark.slow
def test_a_helper_runs_ahead_of_the_clock_for_so_many_steps(course: Course) -> None:
    course.guest.files.write("/sbin/hwclock", b"#!/bin/sh\nwhile :; do :; done\n")
    before = course.guest.processes.worked
    effects = list(course.channel.receive(request("guest-set-time")))
    assert course.guest.processes.worked - before < 2 * HELPER_STEPS
    # The agent waits for it as long as it waits for a helper.
    assert isinstance(effects[0], Wait)
    assert effects[0].until >= course.guest.clock.uptime() + 3600 * SECOND
    # It goes on as time passes.
    course.advance(1)
    assert "/sbin/hwclock" in course.guest.processes.live()[-1].argv


def test_a_look_at_a_guest_that_loops_is_short_where_others_wait(course: Course) -> None:
    course.say("guest-exec", path="/bin/sh", arg=["-c", "while :; do :; done"])
    guest = course.guest
    guest.look_time = -1
    before = guest.processes.switches
    course.advance(1)
    # One step, and what is left is done later.
    assert guest.processes.switches == before + 1
    assert guest.processes.is_late
    guest.look_time = None
    course.advance(0)
    assert guest.processes.switches > before + 100


def test_a_server_makes_its_looks_short() -> None:
    simulation = Course("debian-12").simulation
    Server(simulation, "/nowhere")
    assert simulation.guest.look_time == LOOK_TIME
