"""What the plugin keeps of a failed test: a test that does the same again, a page, sections in JUnit's XML."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from qgasim.testing.diagram import CLIENT, GUEST, Row, make_rows, write_mermaid
from qgasim.testing.steps import Steps, show_value
from tests.noting import Noted
from tests.plugin_run import CLIENT as IMPORTS
from tests.plugin_run import Run

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(pytester, monkeypatch)


FAILS = (
    IMPORTS
    + """
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from qgasim import ClientError, Delay
from qgasim.matching import Match

@pytest.mark.qgasim(seed=3, agent="10.0", machine={}, guest={"hostname": "<mine>"})
def test_fails(qga):
    qga.clock.stop()
    end = qga.inject(kind="error", on="guest-get-users", desc="not now")
    qga.inject(Delay(on=Match(command="guest-get-vcpus"), by=2_000_000_000))
    qga.stub("guest-get-timezone", reply={"zone": "MOON", "offset": 0})
    qga.guest.files.write("/etc/motd", b"hel\\0lo")
    qga.guest.nics["enp1s0"].up = False
    with pytest.raises(LookupError):
        qga.nic_disappears("nope")
    with SyncClient(qga.socket_path) as client:
        with pytest.raises(ClientError):
            client.call("guest-get-users")
        end()
        client.call("guest-get-users")
        client.call("guest-get-timezone")
        handle = client.call("guest-file-open", path="/etc/motd")
        assert client.call("guest-file-read", handle=handle)["count"] == 6
        client.call("guest-file-close", handle=handle)
        client.call("guest-fsfreeze-freeze")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(qga.qmp_path)
        with client.makefile("rb") as lines:
            for command in (b"qmp_capabilities", b"query-status"):
                lines.readline()
                client.sendall(b'{"execute": "%b"}' % command)
            lines.readline()
    qga.clock.advance(timedelta(hours=1))
    qga.pause(lasts="1m")
    qga.clock.advance("2m")
    qga.reboot()
    Path("transcript").write_text(qga.transcript())
    assert False, "<b>&"
"""
)


def without_times(text: str) -> list[str]:
    return [re.sub(r"^ *[\d.]+ s ", "", line) for line in text.splitlines()]


# -- the same again ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_file_of_a_failed_test_does_the_same_again(run: Run) -> None:
    result = run(FAILS, "--qgasim-reproduce=again/here")
    result.assert_outcomes(failed=1)
    asked = without_times(Path("transcript").read_text())
    (path,) = Path("again/here").iterdir()
    result.stdout.fnmatch_lines([f"the same again, step by step: pytest */{path}"])
    again = run.pytester.runpytest_inprocess("-s", str(path))
    again.assert_outcomes(passed=1)
    shown = without_times(again.stdout.str())
    begin = shown.index(asked[0])
    assert shown[begin : begin + len(asked)] == asked
    assert "qmp#1 query-status" in "".join(asked)
    assert "[error]" in "".join(asked)


def test_without_a_directory_the_report_has_the_steps(run: Run) -> None:
    result = run(FAILS)
    text = result.stdout.str()
    section = text[text.index("what the test did (--qgasim-reproduce=DIR") :].partition("\n---")[0]
    steps = [line.strip() for line in section.splitlines()[1:]]
    assert steps[:6] == [
        "qga.clock.run(0.0)",
        "end_2 = qga.inject(kind='error', on='guest-get-users', desc='not now')",
        "qga.inject(Delay(on=Match(command='guest-get-vcpus'), by=2000000000))",
        "qga.stub('guest-get-timezone', reply={'zone': 'MOON', 'offset': 0})",
        r"qga.guest.files.write('/etc/motd', b'hel\x00lo')",
        "qga.guest.nics['enp1s0'].up = False",
    ]
    # What was refused has changed nothing.
    assert steps[6].startswith("# qga.nic_disappears(nic='nope')")
    assert steps[7] == "end_2()"
    assert steps[-1].startswith("qga.reboot(")


@pytest.mark.slow
def test_a_directory_of_the_ini_file_will_do(run: Run) -> None:
    ini = "qgasim_reproduce = kept"
    run(
        "def test_fails(qga_factory):\n    qga_factory()\n    qga_factory()\n    assert 0\n",
        ini=ini,
    )
    names = sorted(path.name for path in Path("kept").iterdir())
    assert [name[-5:] for name in names] == ["_1.py", "_2.py"]
    run.pytester.runpytest_inprocess("kept").assert_outcomes(passed=2)


def test_a_directory_that_cannot_be_made_is_told(run: Run) -> None:
    Path("file").write_text("")
    result = run("def test_fails(qga):\n    assert 0\n", "--qgasim-reproduce=file")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["(--qgasim-reproduce */file/*: *)"])


def test_steps_are_bounded_and_say_what_they_leave_out() -> None:
    steps = Steps()
    for number in range(1001):
        steps.add(0, 0, f"qga.guest.x = {number}")
    assert (len(steps.kept), steps.dropped) == (1000, 1)
    assert Steps().add(0, 0, "x" * 4001).text.startswith("# 'xxx")


def test_what_cannot_be_written_as_python_is_a_comment() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (object(), lambda: None, loop):
        assert Steps().add(0, 0, f"qga.stub({show_value(value)})").text.startswith("# qga.stub(")


# -- the page ----------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page refers to, and the elements that it leaves open."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.names: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.refers += [str(value) for name, value in attrs if name in ("src", "href", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_has_each_failed_test_and_needs_nothing_else(run: Run) -> None:
    ping = "    with SyncClient(qga.socket_path) as client:\n        client.call('guest-ping')\n"
    others = (
        f"\ndef test_other(qga):\n{ping}    assert 0\n"
        f"\ndef test_passes(qga):\n{ping}"
        "\ndef test_alone():\n    assert 0\n"
    )
    result = run(FAILS + others, "--qgasim-report=out/page.html")
    result.assert_outcomes(passed=1, failed=3)
    text = Path("out/page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.refers == []
    assert not {"script", "link", "img", "iframe"} & set(page.names)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    assert page.open in ([], ["html"])  # its end may be left out
    # Those with a guest.
    assert "<h1>qgasim: 2 failed tests</h1>" in text
    names = re.findall(r"<article><h2>.*::(\w+)</h2>", text)
    assert names == ["test_fails", "test_other"]
    assert "<b>&amp;" not in text
    assert "AssertionError: &lt;b&gt;&amp;" in text
    # One for each guest: a bar while it was frozen, marks of the fault and of the finding.
    assert page.names.count("svg") == 2
    assert text.count('<rect class="frozen"') == 1
    assert '<g class="fault"><title>error</title>' in text
    assert '<g class="finding"><title>frozen-never-thawed' in text
    for line in Path("transcript").read_text().splitlines():
        assert line in unescape(text)


def test_the_page_has_the_diagram_as_mermaid_text(run: Run) -> None:
    run(FAILS, "--qgasim-report=page.html")
    text = unescape(Path("page.html").read_text())
    lines = text[text.index("sequenceDiagram") :].partition("</pre>")[0].splitlines()
    shown = [line.strip() for line in lines]
    assert shown[1:4] == [
        "participant C as client",
        "participant A as qemu-ga 10.0.13",
        "participant G as guest #60;mine#62;",
    ]
    freeze = shown.index("C->>A: #35;1 guest-fsfreeze-freeze")
    assert shown[freeze + 1 : freeze + 3] == ["A->>G: frozen", "activate G"]
    # A pause is not the end of the freeze, the reboot is: it ends the agent.
    assert shown[shown.index("deactivate G") - 1] == "Note over G: frozen → booting"
    assert "C->>G: qmp#35;1 query-status" in shown
    assert "Note over C: finding: frozen-never-thawed" in shown
    assert "Note over A: no fault any more#58; error" in shown


def test_a_test_that_fails_twice_is_one(run: Run) -> None:
    result = run(
        FAILS.replace('{"hostname": "<mine>"}', '{}, findings="error"'),
        "--qgasim-report=page.html",
        "--junitxml=junit.xml",
    )
    result.assert_outcomes(failed=1, errors=1)
    text = Path("page.html").read_text()
    assert "<h1>qgasim: 1 failed test</h1>" in text
    assert text.count("(teardown)</h2>") == 1
    told = [part.text or "" for part in ET.parse("junit.xml").iter("system-out")]
    assert sum("rerun: pytest" in part for part in told) == 1


def test_a_run_without_failures_has_a_page_that_says_so(run: Run) -> None:
    run("def test_it(qga):\n    pass\n", "--qgasim-report=page.html").assert_outcomes(passed=1)
    assert "<h1>qgasim: no failed tests</h1>" in Path("page.html").read_text()


def test_a_page_that_cannot_be_written_is_told(run: Run) -> None:
    Path("file").write_text("")
    result = run("def test_it(qga):\n    pass\n", "--qgasim-report=file/page.html")
    assert "--qgasim-report file/page.html: " in result.stderr.str()
    assert "Traceback" not in result.stderr.str()


@pytest.mark.slow
def test_the_page_comes_from_workers_of_xdist(run: Run) -> None:
    pytest.importorskip("xdist")
    options = ("-n", "2", "--qgasim-report=page.html", "--junitxml=junit.xml")
    run(FAILS, *options, process=True).assert_outcomes(failed=1)
    assert "test_fails</h2>" in Path("page.html").read_text()
    told = [part.text or "" for part in ET.parse("junit.xml").iter("system-out")]
    assert sum("rerun: pytest" in part for part in told) == 1


def test_a_reply_that_waits_stands_where_it_goes() -> None:
    course = Noted("qgasim: 1\nfaults: [{kind: delay, on: guest-ping, by: 30s}]\n")
    course.connect()
    course.send(b'{"execute": "guest-ping"}')
    course.advance(10)
    course.journal.note("meanwhile")
    course.advance(20)
    rows, left_out = make_rows(course.journal.entries, [])
    assert left_out == 0
    assert [row.kind for row in rows[-4:]] == ["request", "fault", "event", "reply"]
    assert rows[-1].text.startswith("after 30 s: ")


def test_only_the_latest_rows_are_drawn() -> None:
    course = Noted("qgasim: 1\n")
    for number in range(300):
        course.journal.note(str(number))
    rows, left_out = make_rows(course.journal.entries, [])
    assert len(rows) == 200
    assert rows[-1].text == "299"
    assert left_out == len(course.journal.entries) - 200


def test_mermaid_finds_nothing_of_its_own_in_a_text() -> None:
    rows = [Row(0, "request", CLIENT, GUEST, "a;b#c:\n%%{init} <x>")]
    last = write_mermaid(rows, ("client", "agent", "guest")).splitlines()[-1]
    assert last.strip().startswith("C->>G: ")
    assert not set(last.partition(": ")[2]) & set(":%{}<>\n")


# -- JUnit's XML -------------------------------------------------------------------------------------


def test_the_sections_of_a_failed_test_are_in_the_xml(run: Run) -> None:
    run(FAILS, "--junitxml=junit.xml").assert_outcomes(failed=1)
    (case,) = ET.parse("junit.xml").iter("testcase")
    told = "".join(part.text or "" for part in case.iter("system-out"))
    for line in Path("transcript").read_text().splitlines():
        assert line in told
    assert "reproduce: printf" in told
    assert "rerun: pytest" in told
    assert "end_2 = qga.inject(" in told


FREEZES = (
    IMPORTS
    + """
import pytest

def freeze(qga):
    with SyncClient(qga.socket_path) as client:
        client.call("guest-fsfreeze-freeze")

def test_shown(qga):
    freeze(qga)

@pytest.mark.qgasim(findings="error")
def test_fails(qga):
    freeze(qga)
"""
)


def test_findings_of_tests_that_pass_are_in_the_xml_too(run: Run) -> None:
    run(FREEZES, "--junitxml=junit.xml").assert_outcomes(passed=2, errors=1)
    cases = {case.get("name"): case for case in ET.parse("junit.xml").iter("testcase")}
    (told,) = cases["test_shown"].iter("system-out")
    assert "frozen-never-thawed: " in str(told.text)
    (error,) = cases["test_fails"].iter("error")
    assert str(error.text).startswith("frozen-never-thawed: ")


def test_a_finding_that_fails_a_test_is_the_first_that_is_said(run: Run) -> None:
    text = run(FREEZES).stdout.str()
    lines = text[text.index("ERROR at teardown of test_fails") :].splitlines()
    assert lines[1].startswith("frozen-never-thawed: ")
