"""What the pytest plugin tells: of failed tests, of findings, of markers and options that are wrong."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qgasim import SyncClient
from tests.plugin_run import CLIENT, ROOT, Run

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(pytester, monkeypatch)


# -- failed tests ----------------------------------------------------------------------------------


def test_a_failed_test_shows_what_was_asked_and_how_to_have_the_guest_again(run: Run) -> None:
    result = run(
        CLIENT
        + """
import pytest

@pytest.mark.qgasim(seed=3, agent="10.0")
def test_fails(qga):
    qga.inject(kind="delay", on="guest-ping", by="1500ms")
    with SyncClient(qga.socket_path) as client:
        client.call("guest-get-host-name")
    assert False
""",
        "--qgasim-scenario=debian-12",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- qgasim /*",
            "qemu-ga 10.0.13 in guest 'debian', state up, seed 3",
            "* -- fault: delay on='guest-ping' by=1.5s",
            '*#1 guest-get-host-name → {"return": {"host-name": "debian"}}',
            "reproduce: qgasim --scenario debian-12 --agent 10.0 --seed 3",
            "rerun: pytest *.py::test_fails --qgasim-scenario=debian-12",
        ]
    )


MARKER = r"""
import pytest

@pytest.mark.qgasim(agent="5.2", guest={
    "hostname": "mine",
    "os": {"release": {"PRETTY_NAME": "it's \"mine\" \\ %s"}},
    "files": {"/etc/mine": {"source": "mine.txt"}, "/etc/source": {"entries": {"source": "text"}}},
})
def test_fails(qga_factory):
    qga_factory()
    qga_factory(seed=4, guest={"hostname": "other"})
    assert False
"""


def serve_again(command: str, directory: Path) -> tuple[Any, Any, Any]:
    """Run the command of a report in a shell, elsewhere; ask its guest for its name."""
    program = directory / "qgasim"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m qgasim "$@"\n')
    program.chmod(0o755)
    with subprocess.Popen(
        ["sh", "-c", f"{command} --quiet --exit-with-parent --ready-fd=1"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{directory}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        ready = json.loads(process.stdout.readline())
        with SyncClient(ready["path"]) as client:
            name = client.call("guest-get-host-name")["host-name"]
            pretty = client.call("guest-get-osinfo")["pretty-name"]
            version = client.call("guest-info")["version"]
        os.kill(ready["pid"], 15)
    return name, pretty, version


@pytest.mark.slow
def test_the_command_of_a_failed_test_serves_its_guest_with_all_that_the_marker_says(
    run: Run, tmp_path: Path
) -> None:
    run.pytester.makefile(".txt", mine="from the host")
    result = run(MARKER)
    result.assert_outcomes(failed=1)
    first, second = re.findall("reproduce: (.*)", result.stdout.str())
    assert "mine.txt" in first
    pretty = 'it\'s "mine" \\ %s'
    assert serve_again(first, tmp_path) == ("mine", pretty, "5.2.0")
    # What the factory is given takes the place of what the marker says of the guest.
    debian = "Debian GNU/Linux 12 (bookworm)"
    assert serve_again(second, tmp_path) == ("other", debian, "5.2.0")
    assert '"seed": 4' in second


def test_what_fails_around_a_test_shows_its_guest_too(run: Run) -> None:
    result = run(
        CLIENT
        + """
import pytest

@pytest.fixture
def fails_before(qga):
    qga.journal.note("before")
    raise LookupError

@pytest.fixture
def fails_after(qga):
    yield
    qga.journal.note("after")
    raise LookupError

def test_before(fails_before):
    pass

def test_after(fails_after):
    pass

@pytest.mark.xfail
def test_that_is_known_to_fail(qga):
    qga.journal.note("known")
    assert False
"""
    )
    result.assert_outcomes(passed=1, errors=2, xfailed=1)
    text = result.stdout.str()
    assert "-- before" in text
    assert "-- after" in text
    assert "-- known" not in text


@pytest.mark.slow
def test_a_verification_that_fails_is_shown_where_the_test_asked_for_it(run: Run) -> None:
    result = run(
        CLIENT
        + """
def test_verify(qga):
    with SyncClient(qga.socket_path) as client:
        client.request({"execute": "guest-exec-status", "arguments": {"pid": "7"}})
    qga.verify("guest-exec-status", arguments={"pid": 7})

def test_inject(qga):
    qga.inject(kind="delay", on="guest-pin", by="1s")

def test_stub(qga):
    qga.stub("guest-png", reply={})

def test_misspelled(qga):
    qga.never("guest-exce")
"""
    )
    result.assert_outcomes(failed=4)
    text = result.stdout.str()
    assert 'called with pid="7": Invalid parameter type' in text
    assert (
        "inject: on: qemu-ga 7.2.22 has no command 'guest-pin' (did you mean 'guest-ping'?)" in text
    )
    assert (
        "stub: on: qemu-ga 7.2.22 has no command 'guest-png' (did you mean 'guest-ping'?)" in text
    )
    assert "no release of qemu-ga has a command 'guest-exce' (did you mean 'guest-exec'?)" in text
    # Nothing of qgasim's own code.
    assert "qgasim/" not in text.replace("docs/", "")


@pytest.mark.slow
def test_a_test_that_has_failed_is_told_of_even_if_its_guest_is_stuck(run: Run) -> None:
    result = run(
        """
import threading, time

def test_fails(qga):
    qga.journal.note("stuck")
    busy = threading.Event()
    def block():
        busy.set()
        time.sleep(30)
    threading.Thread(target=lambda: qga.call(block), daemon=True).start()
    busy.wait()
    assert False

def test_next(qga):
    assert qga.state == "up"
""",
        "-W",
        "default",
        process=True,
    )
    result.assert_outcomes(passed=1, failed=1, warnings=1)
    text = result.stdout.str()
    assert "(the thread that serves it was busy for 1 s)" in text
    assert "-- stuck" in text
    assert "LeftBehindWarning" in text


# -- findings --------------------------------------------------------------------------------------

FREEZES = (
    CLIENT
    + """
import pytest

def freeze(live):
    with SyncClient(live.socket_path) as client:
        client.call("guest-fsfreeze-freeze")

@pytest.mark.qgasim(findings="error")
def test_strict(qga):
    freeze(qga)

def test_lax(qga):
    freeze(qga)

@pytest.mark.qgasim(findings="off")
def test_off(qga):
    freeze(qga)

def test_factory(qga_factory):
    freeze(qga_factory(findings="error"))

def test_session(qga_session):
    freeze(qga_session)

@pytest.mark.qgasim(findings="error")
def test_right(qga):
    with SyncClient(qga.socket_path) as client:
        client.call("guest-fsfreeze-freeze")
        client.call("guest-fsfreeze-thaw")
"""
)
FAILED = re.compile(r"ERROR at teardown of (\w+)")
SHOWN = re.compile(r"\.py::(\w+): frozen-never-thawed")


def test_findings_fail_the_test_that_asks_for_it_and_are_shown_else(run: Run) -> None:
    result = run(FREEZES)
    result.assert_outcomes(passed=6, errors=2)
    text = result.stdout.str()
    assert FAILED.findall(text) == ["test_strict", "test_factory"]
    assert SHOWN.findall(text) == ["test_lax", "test_session"]
    assert "See docs/findings.md#frozen-never-thawed" in text
    result.stdout.fnmatch_lines(["reproduce: qgasim --scenario debian-12"])


def test_the_ini_file_has_findings_fail_every_test(run: Run) -> None:
    result = run(FREEZES, ini="qgasim_findings = error")
    result.assert_outcomes(passed=6, errors=4)
    text = result.stdout.str()
    assert FAILED.findall(text) == ["test_strict", "test_lax", "test_factory", "test_session"]
    assert SHOWN.findall(text) == []


@pytest.mark.slow
def test_findings_come_from_workers_of_xdist(run: Run) -> None:
    pytest.importorskip("xdist")
    result = run(FREEZES, "-n", "2", process=True)
    result.assert_outcomes(passed=6, errors=2)
    assert sorted(SHOWN.findall(result.stdout.str())) == ["test_lax", "test_session"]


FAILING = """
from qgasim import SyncClient

def test_key(qga):
    qga.guest.nics["nope"]

def test_record(qga):
    qga.guest.nics[0].addresses.append("zzz")

def test_event(qga):
    qga.nic_disappears("zz")

def test_fault(qga):
    qga.inject(kind="dealy")

def test_client(qga):
    with SyncClient(qga.socket_path) as client:
        client.call("guest-pong")

def test_own(qga):
    qga.call(lambda: 1 / 0)

def test_factory(qga_factory):
    qga_factory(scenario="x")
"""


def test_a_traceback_shows_the_code_of_the_test_only(run: Run) -> None:
    result = run(FAILING)
    result.assert_outcomes(failed=7)
    places = [line for line in result.stdout.lines if re.search(r"\.py:\d+: ", line)]
    # That of a function of the test which qgasim has called has two entries.
    assert len(places) == 8
    assert [line for line in places if not line.startswith("test_a_traceback")] == []
    assert "proxy.py" in run(FAILING, "--full-trace", "-k", "test_key").stdout.str()


# -- what is wrong ---------------------------------------------------------------------------------


MARKERS = {
    "qgasim(scenarioo='debian-12')": "no such key 'scenarioo' (did you mean 'scenario'?)",
    "qgasim(agent='1.0')": "agent: no such release of qemu-ga: '1.0'",
    "qgasim('debian-12')": "takes keywords only, as in scenario=...",
    "qgasim(findings='never')": "findings: expected one of report, error, off, found 'never'",
    "qgasim(scenario='debian12')": "no such scenario (did you mean 'debian-12'?)",
    "qgasim(channel='virtio')": "found 'virtio' (did you mean 'virtio-serial'?)",
    "qgasim(seed='x')": "seed: expected a number, found 'x'",
    "qgasim(guest={'hostname': b'x'})": "guest: cannot be written in a scenario",
    "qgasim_matrix(agent=['5.2'])": "no such key 'agent' (did you mean 'agents'?)",
    "qgasim_matrix(agents='5.2')": "agents: expected a list of them, found '5.2'",
    "qgasim_matrix(agents=[])": "agents: expected a list of them, found []",
    "qgasim_matrix()": "nothing is given to combine (expected agents or scenarios)",
    "qgasim_drill(tag='freeze')": "unknown key 'tag' (did you mean 'tags'?)",
    "qgasim_drill(tags=['freez'])": "there is no tag 'freez' (did you mean 'freeze'?)",
    "qgasim_drill(nemesis='3')": "nemesis: expected an integer, found '3'",
    "qgasim_drill(all=True, time=0)": "time: expected above 0 and at most a day",
    "qgasim_drill()": "nothing to run (choose by",
    "qgasim_drill('all')": "takes keywords only",
}


def test_a_wrong_marker_is_an_error_when_tests_are_collected(run: Run) -> None:
    for number, marker in enumerate(MARKERS):
        text = f"import pytest\n\n@pytest.mark.{marker}\ndef test_it(qga):\n    pass\n"
        run.pytester.makepyfile(**{f"test_{number}": text})
    result = run("def test_right(qga):\n    pass\n")
    result.assert_outcomes(errors=len(MARKERS))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    lines = result.stdout.lines
    for number, (marker, text) in enumerate(MARKERS.items()):
        name = marker.partition("(")[0]
        (line,) = [line for line in lines if line.startswith(f"test_{number}.py::test_it: ")]
        assert line.startswith(f"test_{number}.py::test_it: @pytest.mark.{name}")
        assert text in line
    assert "qgasim/testing" not in result.stdout.str()


@pytest.mark.slow
def test_all_wrong_markers_of_a_file_are_told_at_once(run: Run) -> None:
    result = run(
        """
import pytest

pytestmark = pytest.mark.qgasim(seed="x")

@pytest.mark.qgasim(faults=[{"kind": "dealy"}, {"kind": "delay"}], agent="1.0")
def test_faults(qga):
    pass

class TestMore:
    @pytest.mark.qgasim(timeline=[{"do": "rebot", "at": "1s"}])
    def test_timeline(self, qga):
        pass

    @pytest.mark.qgasim(replies=[{"on": "guest-ping"}])
    @pytest.mark.qgasim_matrix(agent=["5.2"])
    def test_replies(self, qga):
        pass
"""
    )
    result.assert_outcomes(errors=1)
    lines = [
        line for line in result.stdout.lines if line.startswith("test_all_wrong") and ": " in line
    ]
    shown = [
        re.sub("expected one of .*, found", "found", line.partition(".py")[2]) for line in lines
    ]
    matrix, marker = "@pytest.mark.qgasim_matrix", "@pytest.mark.qgasim"
    assert shown == [
        f": {marker}: seed: expected a number, found 'x'",
        f"::test_faults: {marker}: faults[0].kind: found 'dealy' (did you mean 'delay'?)",
        f"::test_faults: {marker}: faults[1]: no delay is given (expected by, uniform, normal, lognormal or growing)",
        f"::test_faults: {marker}: agent: no such release of qemu-ga: '1.0'",
        f"::TestMore::test_timeline: {marker}: timeline[0].do: found 'rebot' (did you mean 'reboot'?)",
        f"::TestMore::test_replies: {matrix}: no such key 'agent' (did you mean 'agents'?)",
        f"::TestMore::test_replies: {marker}: replies[0]: no answer is given (expected reply, error, raw or in_turn)",
    ]


def test_a_guest_that_is_no_mapping_fails_its_test_in_a_line(run: Run) -> None:
    result = run(
        """
import pytest

@pytest.mark.qgasim(guest="db1")
def test_it(qga):
    pass

def test_factory(qga_factory):
    with pytest.raises(TypeError, match="^qga_factory.. takes 0 positional arguments"):
        qga_factory("debian-12")
"""
    )
    result.assert_outcomes(errors=1, passed=1)
    text = "@pytest.mark.qgasim: guest: expected a mapping, found 'db1'"
    assert text in result.stdout.str()
    assert "qgasim/testing" not in result.stdout.str()


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        ("qgasim(scenarioo='x')", "no such key 'scenarioo' (did you mean 'scenario'?)"),
        ("qgasim_matrix(agents=['5.2'])", "pytest does not multiply tests of unittest"),
        ("qgasim_drill(all=True)", "pytest does not multiply tests of unittest"),
    ],
)
def test_a_wrong_marker_of_unittest_is_an_error_when_tests_are_collected(
    run: Run, marker: str, text: str
) -> None:
    result = run(
        f"""
import pytest, unittest

@pytest.mark.{marker}
class Test(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def guest(self, qga):
        self.qga = qga

    def test_it(self):
        pass
"""
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert text in result.stderr.str()


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--qgasim-agent=1.0", "--qgasim-agent: no such release of qemu-ga: '1.0'"),
        ("--override-ini=qgasim_findings=no", "expected one of report, error, off, found 'no'"),
    ],
)
def test_a_wrong_option_is_told_before_the_first_test(run: Run, option: str, text: str) -> None:
    result = run("def test_it(qga):\n    pass\n", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert text in result.stderr.str()


@pytest.mark.slow
def test_a_wrong_option_is_told_by_workers_of_xdist(run: Run) -> None:
    pytest.importorskip("xdist")
    result = run("def test_it(qga):\n    pass\n", "--qgasim-agent=1.0", "-n", "1", process=True)
    result.assert_outcomes(errors=1)
    assert "--qgasim-agent: no such release of qemu-ga: '1.0'" in result.stdout.str()


def test_a_wrong_option_is_no_matter_to_tests_without_a_guest(run: Run) -> None:
    run("def test_it():\n    pass\n", "--qgasim-agent=1.0").assert_outcomes(passed=1)


def test_a_scenario_that_is_wrong_is_told_in_its_own_words(run: Run) -> None:
    result = run(
        "import pytest\n\n@pytest.mark.qgasim(guest={'hostnme': 'x'})\ndef test(qga):\n    pass\n"
    )
    result.assert_outcomes(errors=1)
    text = "@pytest.mark.qgasim: guest: unknown key 'hostnme' (did you mean 'hostname'?)"
    # The summary has it, too, shortened or, where CI is set, whole.
    assert result.stdout.lines.count(text) == 1
    assert "Traceback" not in result.stdout.str()
