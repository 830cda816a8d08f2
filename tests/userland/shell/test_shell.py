"""The shell as a program of the guest: processes, signals, time, and scripts that are none."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qgasim.guest.files.nodes import Regular
from qgasim.guest.processes.process import Exit
from qgasim.userland.shell.conditions import evaluate_test
from qgasim.userland.shell.printf import ASH, Complaint, echo, format_printf
from tests.fuzz_userland import SHELLS, Outcome, Simulated

if TYPE_CHECKING:
    from tests.userland.shell.conftest import Machine

Run: TypeAlias = Callable[[str], tuple[str, str, int | None]]

SECOND = 10**9


def count_open(machine: "Machine", path: str) -> int:
    node = machine.guest.files.get(path)
    assert isinstance(node, Regular)
    return node.open_count


@pytest.mark.parametrize(("name", "number"), [("TERM", 15), ("SEGV", 11), ("INT", 2), ("9", 9)])
def test_a_shell_that_kills_itself_ends_by_the_signal(
    machine: "Machine", name: str, number: int
) -> None:
    # Recorded: exec/signal-TERM and others.
    p = machine.run("sh", "-c", f"kill -{name} $$; echo no")
    assert p.exit == Exit(signal=number)
    assert machine.output() == ""


def test_a_killed_shell_closes_what_it_has_open(machine: "Machine") -> None:
    machine.run("sh", "-c", "{ { kill -9 $$; } >b; } >a 3>c")
    assert [count_open(machine, f"/work/{name}") for name in "abc"] == [0, 0, 0]


def test_the_last_command_takes_the_place_of_the_shell(machine: "Machine") -> None:
    p = machine.start("sh", "-c", "true; sleep 5")
    machine.guest.processes.settle(2 * SECOND)
    assert p.name == "sleep"
    machine.guest.processes.kill(p.pid, 15)
    assert p.exit == Exit(signal=15)


def test_a_shell_with_a_trap_stays(machine: "Machine") -> None:
    p = machine.start("sh", "-c", "trap 'echo bye' EXIT; sleep 5")
    machine.guest.processes.settle(2 * SECOND)
    assert p.name == "sh"


def test_exec_keeps_the_process(machine: "Machine") -> None:
    p = machine.run("sh", "-c", "exec >f; echo $$; exec sh -c 'echo $$'")
    assert machine.guest.files.read("/work/f") == b"%d\n" % p.pid * 2


def test_a_loop_that_does_nothing_takes_time(machine: "Machine") -> None:
    p = machine.start("sh", "-c", "while true; do :; done")
    machine.guest.processes.settle(SECOND // 10)
    assert p.exit is None
    machine.guest.processes.kill(p.pid, 15)
    assert p.exit == Exit(signal=15)


def test_a_trap_runs_when_the_command_has_ended(machine: "Machine") -> None:
    p = machine.start("sh", "-c", "trap 'echo got; exit 4' TERM; sleep 3; echo no")
    machine.guest.processes.settle(SECOND)
    machine.guest.processes.kill(p.pid, 15)
    assert machine.output() == ""
    machine.guest.processes.settle(5 * SECOND)
    assert p.exit == Exit(4)
    assert machine.output() == "got\n"


def test_background_jobs_run_side_by_side(machine: "Machine") -> None:
    before = machine.guest.clock.uptime()
    p = machine.start("sh", "-c", "for i in 3 1 2; do (sleep $i; echo $i) & done; wait; echo end")
    ended = machine.guest.processes.run(p, 60 * SECOND)
    assert machine.output() == "1\n2\n3\nend\n"
    assert 3 * SECOND < ended - before < 4 * SECOND


def test_subshells_know_the_shell_they_are_from(machine: "Machine") -> None:
    p = machine.run("sh", "-c", "(echo $$; echo $(echo $$)); echo $$ | cat")
    assert machine.output() == f"{p.pid}\n" * 3


def test_no_process_is_left_behind(machine: "Machine") -> None:
    machine.run("sh", "-c", "true & (true) | cat; sh -c 'exit 3'; echo $(echo a)")
    assert {p.name for p in machine.guest.processes.table.values() if p.exit is None} <= {"init"}
    assert sum(p.exit is not None for p in machine.guest.processes.table.values()) == 1


def test_the_standard_input_is_a_script(machine: "Machine") -> None:
    p = machine.run("sh", stdin=b"echo a\nif true\nthen echo 'b\nc'; fi\ncat <<E\nd\nE\nexit 3\n")
    assert (machine.output(), p.exit) == ("a\nb\nc\nd\n", Exit(3))


def test_a_script_on_a_pipe_runs_line_by_line(sh: Run) -> None:
    assert sh("{ echo 'echo one'; sleep 9; echo 'echo two'; } | sh")[0] == "one\ntwo\n"


def test_a_script_is_a_file(machine: "Machine") -> None:
    machine.guest.files.write("/work/s", b"echo $0 $# $1\nnosuch\n${x?}\n")
    p = machine.run("sh", "s", "a b", "c")
    assert p.exit == Exit(2)
    assert machine.output() == "s 2 a b\n"
    # BusyBox 1.35: with the script's name go its line numbers.
    assert machine.output(2) == "s: line 2: nosuch: not found\ns: line 3: x: parameter not set\n"


def test_a_file_without_an_interpreter_is_a_script(machine: "Machine") -> None:
    # Recorded: exec/path-no-shebang.
    machine.guest.files.write("/work/noshebang", b"echo hello $1\n", 0o755)
    assert machine.run("/work/noshebang", "you").exit == Exit(0)
    assert machine.output() == "hello you\n"


@pytest.mark.parametrize(
    ("arguments", "stdout", "stderr", "status"),
    [
        (["-c", "echo $0 $1 $#", "a", "b", "c"], "a b 2\n", "", 0),
        (["-c", "nosuch", "name"], "", "name: line 0: nosuch: not found\n", 127),
        (["-ec", "false; echo no"], "", "", 1),
        (["-x", "-c", "echo a"], "a\n", "+ echo a\n", 0),
        (["-o", "errexit", "-c", "echo $-"], "ce\n", "", 0),
        (["-c"], "", "sh: -c requires an argument\n", 2),
        (["-z"], "", "sh: illegal option -z\n", 2),
        (["none"], "", "sh: can't open 'none': No such file or directory\n", 2),
        (["-s", "arg"], "stdin arg\n", "", 0),
    ],
)
def test_arguments(
    machine: "Machine", arguments: list[str], stdout: str, stderr: str, status: int
) -> None:
    # Expected output: BusyBox 1.35 ash.
    p = machine.run("sh", *arguments, stdin=b"echo stdin $1\n")
    assert (machine.output(1), machine.output(2), p.exit) == (stdout, stderr, Exit(status))


def test_the_environment_is_passed_on(machine: "Machine") -> None:
    # Recorded: exec/env-inherited, by an agent whose own SHLVL was one less.
    env = ("HOME=/", "OLDPWD=/", "PATH=/usr/bin", "PWD=/work", "SHLVL=3", "TERM=linux", "qga_pre=")
    p = machine.start("sh", "-c", "x=1; export y=2; env", env=env)
    machine.guest.processes.run(p, 60 * SECOND)
    assert sorted(machine.output().splitlines()) == sorted(
        [*(item for item in env if item != "SHLVL=3"), "SHLVL=4", "y=2"]
    )


def test_without_a_path_the_shell_has_one(machine: "Machine") -> None:
    # Recorded: exec/env-no-path.
    p = machine.start("/bin/sh", "-c", "echo $PATH", env=("X=1",))
    machine.guest.processes.run(p, 60 * SECOND)
    assert machine.output() == "/sbin:/usr/sbin:/bin:/usr/bin\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [("kill -9 $$", "Killed\n"), ("kill -15 $$", "Terminated\n"), ("kill -2 $$", "")],
)
def test_the_signal_that_ended_a_program_is_told(sh: Run, script: str, message: str) -> None:
    # Expected output: BusyBox 1.35 ash.
    number = int(script.split("-")[1].split(" ", maxsplit=1)[0])
    assert sh(f"sh -c '{script}'; echo $?") == (f"{128 + number}\n", message, 0)


def test_any_bytes_pass_through(sh: Run) -> None:
    stdout, _, _ = sh(r"x=$(printf 'a\377\200b'); y=${x#a}; printf %s \"$y\"; echo ${#y}")
    assert os.fsencode(stdout) == b'"\xff\x80b"3\n'


def test_a_full_disk_is_told(sh: Run) -> None:
    assert sh("echo x >/dev/full; echo $?") == (
        "1\n",
        "sh: write error: No space left on device\n",
        0,
    )


def test_bash_words(machine: "Machine") -> None:
    script = "cat <<< 'a  b'; x='a b'; [[ $x == 'a b' && $x != a ]]; echo $?"
    machine.run("bash", "-c", script)
    assert machine.output() == "a  b\n0\n"


@pytest.mark.parametrize(
    "script",
    ["f() { f; }; f", "x=x; while :; do x=$x$x; done", "eval $(printf '(%.0s' $(seq 3000))"],
    ids=["recursion", "memory", "nesting"],
)
def test_a_script_that_runs_wild_ends(machine: "Machine", script: str) -> None:
    p = machine.run("sh", "-c", script)
    assert p.exit is not None
    assert p.exit != Exit(0)


def test_functions_and_eval_nest_as_deep_as_in_the_real_shell() -> None:
    deep = "i=0; f() { i=$((i+1)); [ $i -lt %d ] && f; }; f; echo $i"
    dash = Simulated(SHELLS["dash"], "/work")
    assert dash.run(deep % 999) == Outcome(b"999\n", (), 0)
    # dash 0.5.12 counts; BusyBox 1.35 and bash 5.2.15 use their stack up, at 7,000 to 9,000.
    message = b"sh: 1: Maximum function recursion depth (1000) reached"
    assert dash.run("f() { f; }; f") == Outcome(b"", (message,), 2)
    bash = Simulated(SHELLS["bash"], "/work")
    assert bash.run(deep % 3000) == Outcome(b"3000\n", (), 0)
    assert bash.run('x=\'eval "$x"\'; eval "$x"') == Outcome(b"", (), None)


def test_patterns_cost_no_more_than_they_must(sh: Run) -> None:
    assert sh("case $(printf 'a%.0s' $(seq 500)) in *a*a*a*a*a*a*a*a*b) ;; *) echo no;; esac")[0]


def test_echo_is_for_programs_too() -> None:
    assert echo(["-ne", r"a\tb", r"c\c", "d"], ASH) == b"a\tb c"


def test_printf_is_for_programs_too() -> None:
    assert format_printf(["%s=%d\n", "a", "0x10", "b", "x"], ASH) == (
        b"a=16\nb=0\n",
        [Complaint("invalid number 'x'", 7)],
        1,
    )
    # BusyBox shows the rest of the format.
    assert format_printf(["%z"], ASH) == (b"", [Complaint("%: invalid format", 0)], 1)


def test_test_is_for_programs_too(machine: "Machine") -> None:
    p = machine.start("[", "sleep", "1")
    assert evaluate_test(p, ["-d", "/usr", "]"]) == 0
    assert evaluate_test(p, ["a", "=", "b", "]"]) == 1
    assert evaluate_test(p, ["1"]) == 2
    assert machine.output(2) == "[: missing ]\n"


TOKENS = (
    "echo a|true|false|x=1|x=$x$x|$x|${x:-b}|${x#*}|${x:1:2}|$((x+1))|$((|))|$(|`|'|\"|\\|if|then|else|fi|"
    "while|until|do|done|for i in|case|in|esac|;;|)|(|{|}|f()|f|!|;|&|&&|||| |\n|<|>|>>|<<E|E|2>&1|>&-|*|?|[a]|"
    "~|[|]|[[|]]|test|read y|printf %d|set -e|set -u|set --|shift|break|continue|return|exit 3|local z|"
    "export|readonly x|unset x|eval|.|exec|trap|wait|cd|kill|cat|#|-|=|@|0|é|\x00|\udcff"
)


@pytest.mark.slow
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    words=st.lists(st.sampled_from(TOKENS.split("|")) | st.text(max_size=5), max_size=25),
    separator=st.sampled_from(" \n"),
)
def test_any_text_is_a_script(
    new_machine: "type[Machine]", words: list[str], separator: str
) -> None:
    machine = new_machine()
    script = separator.join(words).replace("\x00", "")
    p = machine.run("sh", "-c", script, limit=SECOND // 20)
    if p.exit is None:
        machine.guest.processes.kill(p.pid, 9)
    assert p.exit is not None
    machine.guest.processes.clear()
    assert count_open(machine, "/tmp/stdin") == 0
