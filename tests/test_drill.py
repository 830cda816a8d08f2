"""Drills: which guests a client is run against, how it is judged, and what is left of it."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import trio
from msgspec import structs

from qgasim.drill import Drill, Result, Rules, Run, Selection, plan
from qgasim.drill.command import OUTPUT_LIMIT, Ended
from qgasim.drill.leftovers import adopting_orphans
from qgasim.drill.repeat import file_name, join_command, write_file, write_test
from qgasim.drill.report import summarise, tell_progress, write_junit, write_table
from qgasim.drill.verdict import judge, shown_output
from qgasim.errors import ScenarioError
from qgasim.scenario import library, load
from tests.command_line import run, started
from tests.page_reader import wait_for
from tests.serving import PATIENCE

#: A client that only connects; `exec` saves a process.
CONNECT = "exec socat -u /dev/null UNIX-CONNECT:$QGASIM_SOCKET"
PING = """\
import os, socket
with socket.socket(socket.AF_UNIX) as client:
    client.connect(os.environ["QGASIM_SOCKET"])
    client.sendall(b'{"execute":"guest-ping"}\\n')
    assert client.recv(100) == b'{"return": {}}\\n'
"""
HERE = Run(name="debian-12", scenario="debian-12")
Attempt = Callable[..., Result]


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    """Run a command once, as a drill does."""
    # The path of a socket is short.
    directory = tempfile.mkdtemp(prefix="qga-")

    def attempt(*command: str, run: Run = HERE, **rules: object) -> Result:
        made = Rules(**rules)  # type: ignore[arg-type]
        with adopting_orphans():
            return trio.run(Drill(command, directory, made).attempt, run)

    yield attempt
    # Each attempt has removed its own.
    os.rmdir(directory)


# -- which guests ----------------------------------------------------------------------------------


def names(**selection: object) -> list[str]:
    return [run.name for run in plan(Selection(**selection))]  # type: ignore[arg-type]


def test_scenarios_are_chosen_by_name_tag_and_file(tmp_path: Path) -> None:
    assert names(scenarios=("nic-with*",)) == ["nic-with-five-ips", "nic-without-ip"]
    assert names(scenarios=("fleet-one-hung#vm[12]",)) == [
        "fleet-one-hung#vm1", "fleet-one-hung#vm2",
    ]  # fmt: skip
    assert names(tags=("account",)) == ["password-silence", "ssh-key-newline", "users-log-off"]
    (tmp_path / "mine.yaml").write_text("extends: debian-12\nfleet: {a: , b: }\n")
    (first, second) = plan(Selection(scenarios=(f"{tmp_path}/mine.yaml",)))
    assert (first.name, second.name) == ("mine#a", "mine#b")
    assert second.make().agent.release == "7.2"


@pytest.mark.slow
def test_all_are_all_guests_of_all_scenarios() -> None:
    guests = sum(len(load(path).guests()) for path in library().values())
    assert len(names(is_all=True)) == guests
    assert len(set(names(is_all=True))) == guests


def test_each_run_is_run_with_each_release() -> None:
    runs = plan(Selection(scenarios=("freeze-hangs",), agents=("5.2", "10.0")))
    assert [(run.name, run.make().agent.release) for run in runs] == [
        ("freeze-hangs@5.2", "5.2"),
        ("freeze-hangs@10.0", "10.0"),
    ]


def test_faults_and_nemesis_are_laid_over_a_guest() -> None:
    runs = plan(Selection(faults=True, nemesis=2, seed=7, guest="freeze-hangs"))
    assert [run.name for run in runs[-2:]] == ["nemesis-7", "nemesis-8"]
    by_name = {run.name: run.make() for run in runs}
    fixed = load("freeze-hangs").faults
    once, always = by_name["fault-drop-once"].faults, by_name["fault-drop-always"].faults
    assert [*fixed] == once[:1] == always[:1]
    assert (once[1].times, always[1].times) == (1, None)
    assert by_name["nemesis-7"].drawn() != by_name["nemesis-8"].drawn()
    assert plan(Selection(nemesis=1, seed=8))[0].drawn() == by_name["nemesis-8"].drawn()


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        ({}, "nothing to run (choose by --scenarios, "),
        ({"tags": ("freez",)}, "there is no tag 'freez' (did you mean 'freeze'?)"),
        (
            {"scenarios": ("freeze-hang",)},
            "no such scenario: 'freeze-hang' (did you mean 'freeze-h",
        ),
        ({"scenarios": ("x.yaml",)}, "x.yaml: no such file"),
        ({"is_all": True, "agents": ("7",)}, "no such release of qemu-ga: '7'"),
        ({"nemesis": 1, "guest": "nix"}, "nix: no such scenario"),
    ],
)
def test_what_cannot_be_chosen_is_told(selection: dict[str, object], text: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        plan(Selection(**selection))  # type: ignore[arg-type]
    assert str(caught.value).startswith(text)


# -- the verdict -----------------------------------------------------------------------------------


def ended(status: int | None, output: bytes = b"", left: tuple[str, ...] = ()) -> Ended:
    return Ended(status=status, seconds=1.0, output=output, printed=len(output), left=left)


#: How the command has ended, findings, whether it has connected, whether a failure is right; the verdict.
JUDGED: list[tuple[Ended, list[str], bool, bool, str, str]] = [
    (ended(0), [], True, False, "ok", ""),
    (ended(0), [], False, False, "failed", "status 0, and it never connected to its guest"),
    (ended(0), ["x"], True, False, "misbehaved", ""),
    (ended(0), [], True, True, "unexpected", "status 0, where --expect says that it fails"),
    (ended(0), ["x"], True, True, "misbehaved", ""),
    (ended(3, b"a\nb \n"), [], True, False, "failed", "status 3: b"),
    (ended(3), [], False, True, "expected", "status 3"),
    (ended(3), ["x"], True, False, "failed", "status 3"),
    (ended(3), ["x"], True, True, "misbehaved", ""),
    (ended(-11), [], True, False, "failed", "ended by SIGSEGV"),
    (ended(-60), [], True, False, "failed", "ended by signal 60"),
    (ended(None), [], True, True, "hung", "no end within 60 s"),
    (ended(0, left=("sleep",)), [], True, False, "misbehaved", "left running: sleep"),
]


@pytest.mark.parametrize(
    ("how", "findings", "has_connected", "expects", "verdict", "reason"), JUDGED
)
def test_the_verdict(
    how: Ended, findings: list[str], has_connected: bool, expects: bool, verdict: str, reason: str
) -> None:
    rules = Rules(expect=("debian-*",) if expects else ())
    assert judge(how, findings, rules, HERE, has_connected=has_connected) == (verdict, reason)


def test_findings_that_are_only_reported_do_not_count() -> None:
    rules = Rules(findings="report")
    assert judge(ended(0), ["x"], rules, HERE, has_connected=True) == ("ok", "")


def test_a_failure_is_expected_for_all_releases_or_for_one() -> None:
    assert Rules(expect=("a",)).expects_failure(Run(name="a@5.2", scenario="a"))
    assert Rules(expect=("a@5.*",)).expects_failure(Run(name="a@5.2", scenario="a"))
    assert not Rules(expect=("a@5.*",)).expects_failure(Run(name="a@7.2", scenario="a"))


# -- commands, good and bad ------------------------------------------------------------------------


def test_a_client_that_does_all_right_passes(attempt: Attempt) -> None:
    result = attempt(sys.executable, "-I", "-S", "-c", PING)
    assert (result.verdict, result.reason, result.findings) == ("ok", "", ())
    assert result.report.startswith("Debian 12.5 genericcloud image")


def test_the_sockets_are_in_the_arguments_and_in_the_environment(attempt: Attempt) -> None:
    script = """
    test "$0 $1" = "$QGASIM_SOCKET $QGASIM_QMP" || exit 1
    test -S "$0" && test -S "$1" && test -S "${QGASIM_CONTROL#unix:}" && test "$2" = "a=$0" || exit 2
    """
    result = attempt("sh", "-c", script + CONNECT, "{socket}", "{qmp}", "a={socket}")
    assert (result.verdict, result.output) == ("ok", "")


def test_a_client_that_leaves_the_guest_frozen_is_found(attempt: Attempt) -> None:
    script = PING.replace("guest-ping", "guest-fsfreeze-freeze").replace("assert ", "")
    result = attempt(sys.executable, "-I", "-S", "-c", script)
    assert (result.verdict, result.findings) == ("misbehaved", ("frozen-never-thawed",))
    assert "Send guest-fsfreeze-thaw in every case" in result.transcript


def test_a_command_that_hangs_is_ended_with_its_children(attempt: Attempt, tmp_path: Path) -> None:
    script = (
        f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/pid; {CONNECT.removeprefix('exec ')}; wait"
    )
    began = time.monotonic()
    result = attempt("sh", "-c", script, limit=0.3)
    assert (result.verdict, result.reason) == ("hung", "no end within 0.3 s")
    assert time.monotonic() - began < 30
    assert_gone(tmp_path)


#: A process that was forked has its parent's name until it runs its program.
UNTIL_IT_RUNS = "until grep -q sleep /proc/$!/comm; do :; done"


@pytest.mark.parametrize(
    ("script", "left"),
    [
        (f"sleep 61 & echo $! > {{}}/pid; {UNTIL_IT_RUNS}", "sleep"),
        # A daemon: in a session of its own, its parent gone.
        (f"setsid sh -c 'sleep 62 & echo $! > {{}}/pid; {UNTIL_IT_RUNS}'", "sleep"),
    ],
    ids=["child", "daemon"],
)
def test_what_a_command_leaves_running_is_told_of_and_ended(
    attempt: Attempt, tmp_path: Path, script: str, left: str
) -> None:
    result = attempt("sh", "-c", f"{script.format(tmp_path)}\n{CONNECT}")
    assert (result.verdict, result.reason) == ("misbehaved", f"left running: {left}")
    assert_gone(tmp_path)


def test_a_daemon_that_hides_is_ended_with_the_drill(attempt: Attempt, tmp_path: Path) -> None:
    hidden = f"env -i setsid sh -c 'echo $$ > {tmp_path}/pid; exec >&- 2>&- sleep 63' &"
    assert attempt("sh", "-c", f"{hidden}\nsleep 0.1\n{CONNECT}").verdict in ("ok", "misbehaved")
    assert_gone(tmp_path)


def assert_gone(directory: Path) -> None:
    pid = int((directory / "pid").read_text())
    assert pid > 1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_of_a_long_output_the_end_is_kept(attempt: Attempt) -> None:
    script = f"head -c 1000000 /dev/zero | tr '\\0' x; printf '\\nlast\\033[m\\n'; {CONNECT}"
    result = attempt("sh", "-c", script)
    assert result.verdict == "ok"
    assert len(result.output) < OUTPUT_LIMIT + 100
    assert result.output.startswith(f"({1_000_009 - OUTPUT_LIMIT} bytes before are left out)\nxxx")
    assert result.output.endswith("x\nlast\\x1b[m\n")


def test_a_command_has_no_terminal_and_no_input(attempt: Attempt) -> None:
    script = "cat; test -t 0 || test -t 1 || echo no terminal; exec 3< /dev/tty"
    result = attempt("sh", "-c", script)
    assert result.verdict == "failed"
    assert result.output.startswith("no terminal\n")
    assert "/dev/tty" in result.reason


def test_a_command_that_cannot_be_executed_is_told(attempt: Attempt, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    result = attempt(f"{tmp_path}/text")
    reason = f"{tmp_path}/text: cannot be started: Exec format error"
    assert (result.verdict, result.reason) == ("failed", reason)


def test_a_guest_that_cannot_be_with_a_release_is_skipped(attempt: Attempt) -> None:
    settings = {"agent": {"release": "7.2", "quirks": {"nix": True}}}
    result = attempt("true", run=Run(name="a", scenario="debian-12", overrides=settings))
    assert result.verdict == "skipped"
    assert "nix" in result.reason


# -- what is told ----------------------------------------------------------------------------------

RESULTS = [
    Result(run=HERE, verdict="ok", seconds=0.5, report="where"),
    Result(
        run=Run(name="b", scenario="b"),
        verdict="failed",
        reason="status 1: \x07",
        seconds=2.0,
        output="\x00]]>",
        transcript="it was asked",
    ),
    Result(run=Run(name="c", scenario="c"), verdict="misbehaved", findings=("x", "y")),
    Result(run=Run(name="d", scenario="d"), verdict="skipped", reason="why"),
]


def test_the_table() -> None:
    assert write_table(RESULTS).splitlines() == [
        "scenario   verdict     seconds  finding      report",
        "debian-12  ok          0.50                  where",
        "b          failed      2.00     status 1: \x07",
        "c          misbehaved  0.00     x, y",
        "d          skipped     0.00     why",
    ]
    assert summarise(RESULTS) == "4 runs: 1 ok, 1 failed, 1 misbehaved, 1 skipped"


def test_the_progress() -> None:
    assert tell_progress([], 10, 0.0) == "0 of 10 runs, 0 wrong"
    assert tell_progress(RESULTS, 10, 8.0) == "4 of 10 runs, 2 wrong, about 12 s left"


def test_junit() -> None:
    root = ET.fromstring(write_junit(RESULTS))
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "2", "1")
    failed = suite[1]
    assert (failed.get("name"), failed.get("time")) == ("b", "2.000")
    assert failed.find("failure") is not None
    assert failed.findtext("failure") == "it was asked"
    assert failed.findtext("system-out") == "?]]>"


def test_a_test_that_fails_again_has_the_same_client() -> None:
    run = Run(name="fleet-one-hung#vm2@5.2", scenario="fleet-one-hung#vm2", agent="5.2")
    assert file_name(run) == "FAIL-fleet-one-hung-vm2@5.2.yaml"
    again = Run(name="FAIL-fleet-one-hung-vm2@5.2", scenario="./FAIL-fleet-one-hung-vm2@5.2.yaml")
    assert file_name(again) == file_name(run)
    text = write_test(run, ["./client", "{socket}", "--at={socket}"], Rules(limit=5))
    compile(text, "test_again.py", "exec")
    assert "    scenario='fleet-one-hung#vm2',\n    agent='5.2',\n    findings='error',\n" in text
    assert "def test_fleet_one_hung_vm2_5_2(qga):" in text
    assert "['./client', qga.socket_path, f'--at={qga.socket_path}']" in text


def test_the_first_line_of_a_failure_says_why() -> None:
    failed, misbehaved = RESULTS[1:3]
    both = structs.replace(misbehaved, reason="left running: z")
    for result, line in (
        (failed, "# b: failed: status 1: \x07\n"),
        (misbehaved, "# c: misbehaved: x, y\n"),
        (both, "# c: misbehaved: left running: z, x, y\n"),
    ):
        assert write_file(result, result.run, ["true"], "x.yaml", Rules()).startswith(line)


def test_a_failure_is_repeated_by_the_same_rules() -> None:
    rules = Rules(limit=0.5, findings="off", expect=("c*",))
    text = write_file(RESULTS[2], RESULTS[2].run, ["true"], "out/FAIL-c@5.2.yaml", rules)
    options = "--scenarios out/FAIL-c@5.2.yaml --time 0.5s --findings off --expect FAIL-c@5.2"
    assert f"# reproduce: qgasim drill {options} -- true\n" in text


def test_a_command_is_written_in_a_line() -> None:
    assert join_command(["a b", "{socket}", "--x={qmp}"]) == "'a b' {socket} '--x={qmp}'"
    assert join_command(["sh", "it's\n\\é\x01"]) == r"sh $'it\'s\n\\é\x01'"


def test_shown_output_is_readable() -> None:
    assert shown_output(ended(0, b"a\tb\r\n\xff\x1b")) == "a\tb\n\\xff\\x1b"


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_drill_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    client = [sys.executable, "-I", "-S", "-c", PING]
    arguments = ["drill", "--scenarios", "error-everywhere,agent-never-up,docker-host"]
    arguments += ["--time", "500ms", "--junit", "o.xml", "--html", "o.html", "-j", "3"]
    assert run([*arguments, "--expect", "no*", "--", *client]) == 1
    printed = capfd.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["agent-never-up", "hung"],
        ["docker-host", "ok"],
        ["error-everywhere", "ok"],
    ]
    assert "client bug 11: bpg aec09e4e" in lines[1]
    assert lines[-2:] == [
        "3 runs: 2 ok, 1 hung",
        "wrote FAIL-agent-never-up.yaml, with the command that repeats each",
    ]
    assert ET.parse("o.xml").getroot()[0].get("failures") == "1"
    page = Path("o.html").read_text()
    assert "<h2>agent-never-up</h2>" in page
    assert "<svg" in page
    again = Path("FAIL-agent-never-up.yaml").read_text()
    assert again.endswith("qgasim: 1\nextends: agent-never-up\n")
    assert (
        "# reproduce: qgasim drill --scenarios ./FAIL-agent-never-up.yaml --time 0.5s -- " in again
    )
    again_arguments = ["drill", "--scenarios", "./FAIL-agent-never-up.yaml", "--time", "0.5"]
    (tmp_path / "expect").write_text("# a comment\nFAIL-agent*\n")
    assert run([*again_arguments, "--expect", "@expect", "--", *client]) == 1
    assert "FAIL-agent-never-up  hung" in capfd.readouterr().out


@pytest.mark.slow
def test_a_drill_that_is_interrupted_tells_what_it_has_and_leaves_nothing(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    # The first run ends at once; the second stays.
    script = f"test -e {tmp_path}/first || {{ touch {tmp_path}/first; {CONNECT}; }}; sleep 64 & echo $! > {pid}; wait"
    arguments = ["drill", "--scenarios", "nic-with*", "-j", "1", "--failures", str(tmp_path)]
    with started(*arguments, "--", "sh", "-c", script) as program:
        wait_for(pid)
        program.send_signal(signal.SIGINT)
        printed, told = program.communicate(timeout=PATIENCE)
    assert program.returncode == 130
    assert printed.splitlines()[1].startswith("nic-with-five-ips  ok ")
    assert printed.endswith("\n1 run: 1 ok\n")
    assert told == "interrupted: 1 of 2 runs left out\n"
    assert_gone(tmp_path)


def test_a_terminal_is_shown_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    host, terminal = os.openpty()
    with open(terminal, "w", encoding="utf-8") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        arguments = ["drill", "--scenarios", "nic-without-ip", "--failures", str(tmp_path)]
        assert run([*arguments, "--", "true"]) == 1
        shown = ""
        while not shown.endswith("\r\x1b[K"):
            shown += os.read(host, 1000).decode()
    os.close(host)
    assert "\r\x1b[K1 of 1 runs, 1 wrong, about 0 s left" in shown
    assert "it never connected to its guest" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--all"], "qgasim drill: expected a command behind --, as in qgasim drill --all -- "),
        (["--all", "--", "no-such-client"], "qgasim: no-such-client: there is no such program\n"),
        (["--", "true"], "qgasim: nothing to run (choose by "),
        (["--tag", "freez", "--", "true"], "qgasim: there is no tag 'freez' (did you mean"),
        (["--time", "soon", "--", "true"], "qgasim: --time: "),
        (["--time", "0", "--", "true"], "qgasim: --time: expected above 0 and at most a day, f"),
        (["-j", "0", "--", "true"], "qgasim drill: argument -j/--jobs: expected a number from 1 "),
        (["--all", "--junit", "no/a.xml", "--", "true"], "qgasim: no/a.xml: No such file or dire"),
        (["--expect", "@nix", "--", "true"], "qgasim drill: argument --expect: nix: No such file"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    arguments: list[str], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["drill", *arguments]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(text)
    assert printed.err.count("\n") == 1
