"""The live log: the lines of a transcript, as things happen."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgasim import SyncClient
from qgasim.cli.log import LiveLog, LogFormat
from qgasim.simulation.journal.entries import Piece
from qgasim.simulation.journal.lines import join, paint
from tests.command_line import ROOT, started
from tests.noting import Noted
from tests.serving import connect, read_line

SCENARIO = """
qgasim: 1
faults:
  - {kind: delay, on: guest-fsfreeze-thaw, by: 30s}
  - {kind: split, on: guest-get-timezone, sizes: [10, 20, 100], pause: 1s}
  - {kind: hang, on: guest-get-users}
"""


@contextmanager
def logged(path: Path, *, layout: LogFormat = "text", in_full: bool = False) -> Iterator[Noted]:
    """A guest whose log is written to a file, on a clock that is moved by hand."""
    course = Noted(SCENARIO)
    log = LiveLog(str(path), in_full=in_full, is_quiet=True, layout=layout)
    with log:
        log.observe(course.simulation)
        course.leave()
        course.connect()
        yield course


def lines_of(path: Path) -> list[str]:
    return [line.lstrip() for line in path.read_text().splitlines()]


def test_the_log_is_the_transcript(tmp_path: Path) -> None:
    with logged(tmp_path / "log") as course:
        course.send(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":7}}\n')
        course.say("guest-ping")
        course.say("guest-file-open", path="/etc/hostname")
        course.say("guest-fsfreeze-freeze")
        course.say("guest-get-users")
        course.leave()
        shown = course.journal.transcript().splitlines()[1:]
    assert lines_of(tmp_path / "log") == [line.lstrip() for line in shown]
    assert "12.000 s #2 synchronises (guest-sync-delimited 7)" in lines_of(tmp_path / "log")
    assert any(line.endswith("(frozen)") for line in shown)
    assert any(line.endswith("(no reply)  [hang]") for line in shown)


def test_a_reply_that_waits_is_shown_when_it_goes(tmp_path: Path) -> None:
    with logged(tmp_path / "log") as course:
        course.say("guest-fsfreeze-freeze")
        course.send(b'{"execute": "guest-fsfreeze-thaw"}')
        assert lines_of(tmp_path / "log")[-1] == (
            "12.000 s #2 guest-fsfreeze-thaw → (waits)  [delay]  (thawed)"
        )
        course.advance(29)
        assert len(lines_of(tmp_path / "log")) == 4
        course.advance(1)
        assert lines_of(tmp_path / "log")[4:] == [
            '42.000 s #2 guest-fsfreeze-thaw → {"return": 1}  after 30 s  [delay]'
        ]


def test_a_reply_in_pieces_is_shown_when_its_last_piece_goes(tmp_path: Path) -> None:
    with logged(tmp_path / "log") as course:
        course.send(b'{"execute": "guest-get-timezone"}')
        assert course.advance(1)
        waiting = lines_of(tmp_path / "log")[-1]
        assert course.advance(1)
        gone = lines_of(tmp_path / "log")[-1]
    assert waiting.endswith("→ (waits)  [split]")
    assert gone.endswith("after 2 s  [split]")


def test_a_reply_that_never_goes_is_shown_at_the_end(tmp_path: Path) -> None:
    with logged(tmp_path / "log") as course:
        course.send(b'{"execute": "guest-fsfreeze-thaw"}')
        course.leave()
    last = '12.000 s #2 guest-fsfreeze-thaw → {"return": 0}  not received  [delay]'
    assert lines_of(tmp_path / "log")[-2:] == ["12.000 s #2 disconnects", last]


def test_a_byte_without_what_it_stands_before_is_shown(tmp_path: Path) -> None:
    with logged(tmp_path / "log") as course:
        course.send(b"\xff")
        course.say("guest-ping")
        course.send(b"\xff")
    shown = [re.sub(" → .*", "", line) for line in lines_of(tmp_path / "log")]
    alone = "12.000 s #2 \\xff"
    assert shown == [
        "12.000 s #1 disconnects",
        "12.000 s #2 connects",
        alone,
        "12.000 s #2 guest-ping",
        alone,
    ]


def test_each_line_of_a_json_log_is_an_entry_of_the_journal(tmp_path: Path) -> None:
    with logged(tmp_path / "log", layout="json") as course:
        course.send(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":7}}\n')
        course.send(b'{"execute": "guest-fsfreeze-thaw"}')
        assert len((tmp_path / "log").read_text().splitlines()) == 4
        course.advance(30)
        course.leave()
        kept = course.journal.to_jsonl().splitlines()[1:]
    written = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line) for line in written] == [json.loads(line) for line in kept]


@pytest.mark.slow
def test_monitors_and_the_machine_are_in_the_log(tmp_path: Path) -> None:
    path, qmp = tmp_path / "log", tmp_path / "q"
    options = ("--quiet", f"--log={path}", f"--qmp=unix:{qmp}")
    with started(f"--listen=unix:{tmp_path}/s", *options) as program:
        assert program.stdout
        while not program.stdout.readline().startswith("try: "):
            pass
        with connect(str(qmp)) as client:
            for command in ("qmp_capabilities", "stop", "query-status"):
                read_line(client)
                client.sendall(json.dumps({"execute": command}).encode())
            while b'"paused"' not in read_line(client):
                pass
    shown = [re.sub(r"^ *[\d.]+ s ", "", line) for line in path.read_text().splitlines()]
    assert shown[0] == 'qmp#1 qmp_capabilities → {"return": {}}'
    assert {"qmp STOP", "-- up → paused"} <= set(shown)
    assert shown[-1].startswith('qmp#1 query-status → {"return": {"status": "paused"')


def test_a_guest_that_replaces_another_of_its_name_goes_on_in_the_log(tmp_path: Path) -> None:
    log = LiveLog(str(tmp_path / "log"), in_full=False, is_quiet=True)
    with log:
        for _ in range(2):
            course = Noted(SCENARIO)
            log.observe(course.simulation, "web")
            course.connect()
            # It may be the begin of a handshake, and is kept until it is known that it is not.
            course.send(b"\xff")
    shown = [re.sub(r"[\d.]+ s ", "", line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len([line for line in shown if "\\xff" in line]) == 2
    assert all(line.startswith("web ") for line in shown)


def test_in_full_nothing_is_left_out(tmp_path: Path) -> None:
    text = "x" * 300_000
    request = json.dumps({"execute": "guest-ping", "id": text}).encode()
    with logged(tmp_path / "log", in_full=True) as course:
        course.send(request)
    assert lines_of(tmp_path / "log")[-1].count(text) == 2


# -- on a terminal ---------------------------------------------------------------------------------

PIECES: list[Piece] = [
    ("time", "     0.415 s "),
    ("client", "#1 "),
    ("command", "guest-network-get-interfaces"),
    ("arrow", " → "),
    ("reply", '{"return": [{"name": "lo", "ip-addresses": [{"ip-address-type": "ipv4"'),
    ("fault", "  [delay]"),
    ("effect", "  (frozen)"),
]


def test_a_line_that_is_too_long_keeps_what_happened() -> None:
    shown = paint(PIECES, 100, in_colour=False)
    assert shown == (
        '     0.415 s #1 guest-network-get-interfaces → {"return": [{"name": "lo", "ip-ad…'
        "  [delay]  (frozen)"
    )
    assert len(shown) == 100


def test_colours_are_around_the_same_text() -> None:
    shown = paint(PIECES, None, in_colour=True)
    assert re.sub(r"\x1b\[\d+m", "", shown) == join(PIECES)
    assert "\x1b[33m  [delay]\x1b[0m" in shown


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.sampled_from(["time", "reply", "arguments", "event"]), st.text())),
    st.integers(1, 60),
)
def test_a_line_is_never_longer_than_the_terminal_is_wide(pieces: list[Piece], width: int) -> None:
    shown = paint(pieces, width, in_colour=False)
    whole = join(pieces)
    assert len(shown) <= width
    assert len(whole) > width // 2 or shown == whole


@pytest.mark.slow
@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_colours_unless_no_color_is_set(no_color: str, tmp_path: Path) -> None:
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (24, 60))
    with subprocess.Popen(
        [sys.executable, "-m", "qgasim", "--listen", f"unix:{tmp_path}/s"],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": no_color},
        stdout=subprocess.PIPE,
        stderr=there,
    ) as program:
        assert program.stdout
        program.stdout.readline()
        program.stdout.readline()
        with SyncClient(f"{tmp_path}/s") as client:
            client.call("guest-network-get-interfaces")
        shown = ""
        while "disconnects" not in shown:
            shown += os.read(here, 1000).decode()
        program.terminate()
    os.close(here)
    os.close(there)
    assert ("\x1b[" in shown) == (not no_color)
    plain = re.sub(r"\x1b\[\d+m", "", shown).splitlines()
    assert max(map(len, plain)) == 60
    assert [line[15:].split()[0] for line in plain[:3]] == [
        "connects",
        "synchronises",
        "guest-network-get-interfaces",
    ]


# -- clients that wait -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_client_that_waits_is_shown_with_the_one_that_it_waits_for(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with started("--listen", f"unix:{path}") as program:
        assert program.stdout
        assert program.stderr
        program.stdout.readline()
        program.stdout.readline()
        with connect(str(path)) as first:
            first.sendall(b'{"execute":"guest-ping"}')
            read_line(first)
            with connect(str(path)) as second:
                shown = [program.stderr.readline() for _ in range(3)]
                first.close()
                second.sendall(b'{"execute":"guest-ping"}')
                read_line(second)
                shown += [program.stderr.readline() for _ in range(3)]
    told = [re.sub(r"^ *\d+\.\d+ s ", "", line).rstrip() for line in shown]
    assert re.fullmatch(r"#2 waits: #1 has been connected for [\d.e-]+ s", told.pop(2))
    assert told == [
        "#1 connects",
        '#1 guest-ping → {"return": {}}',
        "#1 disconnects",
        "#2 connects",
        '#2 guest-ping → {"return": {}}',
    ]
