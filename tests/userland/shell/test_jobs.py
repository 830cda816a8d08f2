"""Jobs and signals in the shell: POSIX's kill, wait, jobs and trap; messages are BusyBox's (1.35, ash.c)."""

from collections.abc import Callable

import pytest

Sh = Callable[[str], tuple[str, str, int | None]]


@pytest.mark.parametrize(
    ("script", "out"),
    [
        # POSIX, kill: "%n" and the like are job control job ids.
        ("sleep 9 & kill %1; wait %1; echo $?", "143\n"),
        ("sleep 9 & kill %%; wait %+; echo $?", "143\n"),
        ("sleep 9 & sleep 8 & kill -s KILL %-; wait %1; echo $?; kill %2", "137\n"),
        ("sleep 9 & kill -HUP %1; wait $!; echo $?", "129\n"),
        # POSIX, 2.11: without job control, what is in the background ignores SIGINT.
        ("sleep 9 & kill -INT %1; wait $!; echo $?", "0\n"),
        ("sleep 9 & kill -s 0 $! && echo there; kill -9 $!", "there\n"),
        # POSIX, wait: without operands it is 0, with one it is that process's; 127 if there is none.
        ("sh -c 'exit 3' & wait; echo $?", "0\n"),
        ("sh -c 'exit 3' & wait %1; echo $?", "3\n"),
        ("sh -c 'exit 3' & true & wait %1 %2; echo $?", "0\n"),
        ("wait 99999; echo $?", "127\n"),
        # bash's wait -n: the next one that ends.
        ("sleep 5 & sh -c 'sleep 1; exit 4' & wait -n; echo $?; kill %1", "4\n"),
        ("wait -n; echo $?", "127\n"),
        ("sleep 9 & jobs -p >out; grep -qx $! out && echo same; kill $!", "same\n"),
        ("sleep 9 & jobs -l >out; grep -o \"$! Running\" out | sed 's/.* //'; kill $!", "Running\n"),
        # POSIX, wait: a trapped signal ends it at once with a status above 128.
        ("trap 'echo got' USR1; (sleep 1; kill -USR1 $$) & sleep 9 & wait %2; echo $?; kill %2",
         "got\n138\n"),
        # POSIX, trap: the actions are written so that the shell can read them again.
        ("trap 'echo a' INT; trap \"echo 'b'\" HUP; trap", "trap -- 'echo '\"'\"'b'\"'\" HUP\ntrap -- 'echo a' INT\n"),
        ("trap 'echo x' INT TERM; trap - INT; trap", "trap -- 'echo x' TERM\n"),
        ("trap 'echo x' EXIT; trap", "trap -- 'echo x' EXIT\nx\n"),
        ("trap 'echo x' INT; trap INT; trap", ""),
        ("trap '' TERM; kill $$; echo alive", "alive\n"),
        # POSIX, times: two lines.
        ("times | wc -l", "2\n"),
        ("kill -l 9 TERM 143", "KILL\n15\nTERM\n"),
        ("kill -l | sed -n '15p'", "15) TERM\n"),
        # POSIX, ulimit: without a number the limit is written.
        ("ulimit -n 64; ulimit -n; ulimit -S -n", "64\n64\n"),
        ("ulimit; ulimit -f; ulimit -f 100; ulimit", "unlimited\nunlimited\n100\n"),
    ],
)  # fmt: skip
def test_what_a_script_does_with_its_jobs(sh: Sh, script: str, out: str) -> None:
    assert sh(script)[0] == out


@pytest.mark.parametrize(
    ("script", "why", "status"),
    [
        ("kill", "you need to specify whom to kill", 1),
        ("kill -FOO 9999", "bad signal name 'FOO'", 1),
        ("kill 99999", "can't kill pid 99999: No such process", 1),
        ("kill here", "invalid number 'here'", 1),
        ("kill -l FOO", "unknown signal 'FOO'", 1),
        ("kill %7", "%7: no such job", 2),
        ("wait %7", "%7: no such job", 2),
        ("trap x FOO", "FOO: invalid signal specification", 1),
        ("fg", "No current job", 2),
        ("ulimit -n many", "invalid number 'many'", 1),
        ("ulimit -Q", "invalid option -- 'Q'", 1),
    ],
)
def test_what_the_shell_refuses(sh: Sh, script: str, why: str, status: int) -> None:
    out, errors, how = sh(script)
    assert (out, how) == ("", status)
    # Before it are the shell's name, and the builtin's or the line.
    assert errors.endswith(f": {why}\n")


def test_a_shell_that_kills_itself_does_not_go_on(sh: Sh) -> None:
    assert sh("echo on; kill $$; echo no") == ("on\n", "", None)


def test_a_shell_that_stops_itself_goes_on_when_it_is_told_to(sh: Sh) -> None:
    assert sh("(sleep 1; kill -CONT $$) & kill -STOP $$; echo on")[0] == "on\n"


def test_the_jobs_that_have_ended_are_shown_once(sh: Sh) -> None:
    script = "sleep 9 & false & sh -c 'kill -9 $$' & sleep 1; jobs; echo -; jobs; kill %1"
    out = sh(script)[0]
    # What is shown and has ended is no job any more, and the next is the current one (BusyBox 1.35).
    first, second = out.split("-\n", 1)[0], out.rpartition("\n-\n")[2]
    assert [line.split()[1] for line in first.splitlines()] == ["Killed", "Done(1)", "Running"]
    assert [line[:4] for line in out.partition("\n-\n")[0].splitlines()] == ["[3]+", "[2]+", "[1]+"]
    assert [line.split()[1] for line in second.splitlines()] == ["Running"]
