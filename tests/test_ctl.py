"""``qgasim ctl``: what it asks, prints and refuses; its guests are served in a thread."""

import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qgasim.cli.ctl.commands import COMMANDS
from qgasim.client.blocking import SyncClient
from qgasim.http.access import Access
from qgasim.serving.listen import TcpAddress, UnixAddress
from tests.command_line import ROOT, run
from tests.controlling import Api, controlled
from tests.serving import PATIENCE


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("QGASIM_CONTROL", f"unix:{tmp_path}/control.sock")
    with controlled(tmp_path) as api:
        yield api


class Typed:
    """Types commands, and reads what they print."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *words: str, status: int = 0) -> str:
        found = run(["ctl", *words])
        out, err = self._capfd.readouterr()
        assert (found, err) == (status, ""), out + err
        return out

    def json(self, *words: str, status: int = 0) -> Any:
        return json.loads(self(*words, "--json", status=status))

    def refused(self, *words: str) -> str:
        """Return the only line on standard error."""
        assert run(["ctl", *words]) == 2
        out, err = self._capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1), err
        return err.rstrip("\n")


@pytest.fixture
def typed(capfd: pytest.CaptureFixture[str]) -> Typed:
    return Typed(capfd)


def ask(api: Api, *commands: str) -> list[Any]:
    """Ask the guest as a client."""
    path = api.get("/guests")[0]["address"].removeprefix("unix:")
    with SyncClient(path, PATIENCE) as client:
        return [client.request({"execute": command}) for command in commands]


# -- guests -----------------------------------------------------------------------------------------


def test_guests_are_listed_in_columns(api: Api, typed: Typed, tmp_path: Path) -> None:
    ask(api, "guest-ping")
    assert typed("guests") == (
        "NAME   STATE  AGENT   REQUESTS  ERRORS  FAULTS  ADDRESS\n"
        # Those of the handshake are 0xFF, which is answered by an error, and guest-sync-delimited.
        f"guest  up     7.2.22  3         1       0       unix:{tmp_path}/guest.sock\n"
    )
    assert typed.json("guests") == api.get("/guests")


def test_a_guest_is_created_and_deleted(api: Api, typed: Typed, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("{qgasim: 1, extends: debian-12, guest: {hostname: mine}}")
    listen = f"unix:{tmp_path}/web.sock"
    words = ["--scenario", str(path), "--agent=8.2", "--seed=5", f"--listen={listen}"]
    assert typed("new", "web", *words) == f"web {listen}\n"
    made = api.get("/guests/web")
    assert (made["hostname"], made["agent"], made["seed"]) == ("mine", "8.2.0", 5)
    assert typed.json("new", "--scenario", "ubuntu-24.04")["name"] == "guest-1"
    monitors = [f"unix:{tmp_path}/q1", f"unix:{tmp_path}/q2"]
    shown = typed("new", "vm", *(f"--qmp={monitor}" for monitor in monitors))
    assert shown == f"vm unix:{tmp_path}/vm.sock {monitors[0]} {monitors[1]}\n"
    assert typed("rm", "web", "guest-1", "vm") == ""
    assert [guest["name"] for guest in api.get("/guests")] == ["guest"]


def test_the_name_may_be_left_out_where_there_is_one_guest(api: Api, typed: Typed) -> None:
    assert typed.json("patch", "hostname=web2")["hostname"] == "web2"
    api.post("/guests", {"name": "other"})
    assert typed.refused("reset") == (
        "qgasim ctl: there are 2 guests: guest, other (name one by --guest)"
    )
    assert typed.json("reset", "-g", "guest")["hostname"] == "debian"
    assert typed.json("--guest=other", "reset")["name"] == "other"
    typed("rm", "guest", "other")
    assert typed.refused("faults") == "qgasim ctl: there is no guest"
    assert typed.refused("faults", "-g", "a/b") == "qgasim ctl: there is no guest 'a/b'"


# -- faults, events, time ---------------------------------------------------------------------------


def test_a_fault_is_injected_listed_and_cleared(api: Api, typed: Typed) -> None:
    assert typed("inject", "kind=error", "on=guest-ping", "desc=not now", "times=1") == "fault 1\n"
    assert typed("inject", "{kind: delay, on: {command: guest-info}, by: 1ms}") == "fault 2\n"
    assert typed("inject", "hang", 'on={"command": "guest-get-time"}') == "fault 3\n"
    assert ask(api, "guest-ping")[0]["error"]["desc"] == "not now"
    assert typed("faults").splitlines() == [
        "ID  STATE  SEEN  FIRED  FAULT",
        "1   spent  1     1      kind=error on=guest-ping times=1 'desc=not now'",
        """2   on     0     0      kind=delay 'on={"command": "guest-info"}' by=1ms""",
        """3   on     0     0      kind=hang 'on={"command": "guest-get-time"}'""",
    ]
    typed("clear", "1", "3")
    assert [armed["id"] for armed in typed.json("faults")] == [2]
    typed("clear")
    assert typed.json("faults") == []


def test_what_is_said_may_be_in_a_file_or_on_the_standard_input(
    api: Api, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fault.yaml").write_text("# mine\nkind: hang\non: guest-ping\n")
    typed("inject", f"@{tmp_path}/fault.yaml")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"kind: hang\non: guest-info\n")))
    typed("inject", "@-")
    faults = [armed["fault"] for armed in api.get("/guests/guest/faults")]
    assert faults == [{"kind": "hang", "on": "guest-ping"}, {"kind": "hang", "on": "guest-info"}]
    assert typed.refused("inject", "@/nowhere").endswith("/nowhere: No such file or directory")


def test_time_passes_and_what_was_can_be_again(api: Api, typed: Typed) -> None:
    typed("snapshot", "first")
    before = api.get("/guests/guest/clock")["uptime"]
    assert typed("advance", "1h").startswith("uptime 36")
    assert typed("event", "reboot") == "happened, the guest is rebooting\n"
    assert typed.json("event", "do=panic", "delay=1h")["status"] == "planned"
    assert typed("snapshot").split()[:3] == ["NAME", "UPTIME", "first"]
    assert typed.json("snapshot")[0]["name"] == "first"
    assert before - 1 < typed.json("revert", "first")["uptime"] < 3600
    assert api.get("/guests/guest")["state"] == "up"


# -- what clients did ---------------------------------------------------------------------------------


def test_what_was_asked_is_verified(api: Api, typed: Typed) -> None:
    ask(api, "guest-info", "guest-ping", "guest-ping")
    assert typed("verify", "guest-ping", "times=2") == ""
    assert typed.json("verify", "command=guest-p*", "at_least=1")["verified"] is True
    assert typed("verify", "--never", "guest-get-time") == ""
    assert typed("verify", "--in-order", "guest-info", "guest-ping") == ""
    lines = typed("verify", "guest-ping", "times=3", status=1).splitlines()
    assert lines[0] == "expected guest-ping exactly 3 times, found twice"
    assert len(lines) == 3
    assert typed.json("verify", "--never", "guest-ping", status=1)["verified"] is False
    assert typed("verify", "--in-order", "guest-ping", "guest-info", status=1)


def test_a_wait_ends_when_it_is_reached_or_the_time_is_over(api: Api, typed: Typed) -> None:
    assert typed("wait", "state=up") == "the guest is up\n"
    over = typed("wait", "guest-ping", "within=1ms", status=1)
    assert over == "the time is over, the guest is up\n"
    assert typed.json("wait", "guest-ping", "within=1ms", status=1)["reached"] is False


def test_the_journal_is_printed(api: Api, typed: Typed) -> None:
    ask(api, "guest-ping", "guest-info")
    lines = typed("journal").splitlines()
    assert "#1 connects" in lines[0]
    assert 'guest-ping → {"return": {}}' in lines[3]
    assert len(typed("journal", "--after", "3").splitlines()) == len(lines) - 3
    (only,) = typed.json("journal", "--only", "guest-p*")
    assert only["command"] == "guest-ping"


def test_a_journal_of_several_pages_is_whole(
    api: Api, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(api, *["guest-ping"] * 20)
    monkeypatch.setattr("qgasim.cli.ctl.commands._PAGE", 7)
    numbers = [entry["number"] for entry in typed.json("journal")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(typed.json("journal", "--only", "guest-ping")) == 20


@pytest.mark.parametrize("json_too", [False, True])
def test_a_journal_is_followed_until_the_guest_is_deleted(
    json_too: bool, api: Api, typed: Typed, capfd: pytest.CaptureFixture[str]
) -> None:
    ask(api, "guest-ping")
    api.post("/guests/guest/reset")
    ask(api, "guest-info")
    deleting = threading.Thread(target=lambda: api.delete("/guests/guest"))
    # The stream is there when it is read: what was before comes first, and the end after that.
    deleting.start()
    words = ["--json"] if json_too else []
    status = run(["ctl", "-g", "guest", "journal", "-f", *words])
    deleting.join(PATIENCE)
    out, err = capfd.readouterr()
    if status == 2:  # the guest was deleted before it was asked for
        assert "there is no guest 'guest'" in err
        return
    assert (status, err) == (0, "")
    assert "guest-ping" in out
    assert "guest-info" in out
    if json_too:
        assert all(json.loads(line)["number"] for line in out.splitlines())


def test_findings_are_printed_with_their_places(api: Api, typed: Typed) -> None:
    assert typed("findings") == ""
    ask(api, "guest-fsfreeze-freeze")
    lines = typed("findings").splitlines()
    assert lines[0].startswith("frozen-never-thawed: ")
    assert "guest-fsfreeze-freeze" in lines[1]
    assert lines[2].startswith("  Fix: ")
    assert lines[3] == "  See docs/findings.md#frozen-never-thawed"
    assert typed.json("findings")[0]["name"] == "frozen-never-thawed"


def test_a_finding_of_many_lines_is_printed_as_lines(api: Api, typed: Typed) -> None:
    typed("inject", "drop", "on=guest-ping", "times=1")
    path = api.get("/guests")[0]["address"].removeprefix("unix:")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        sock.sendall(b'{"execute": "guest-ping"}\n')
        typed("wait", "guest-ping", "within=10s")
        typed("advance", "1m")
        sock.sendall(b'{"execute": "guest-ping"}\n')
        assert sock.recv(100) == b'{"return": {}}\n'
    printed = typed("findings")
    assert printed.startswith("no-sync-after-timeout: A client went on after a reply")
    assert "\\n" not in printed


# -- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inject", "kind=eror"], "kind: expected one of"),
        (["inject", "{kind: eror}"], "line 1, column 8: kind: expected one of"),
        (["inject", "kind=hang", "on=guest-pin"], "no command 'guest-pin' (did you mean"),
        (["inject", "kind=hang", "x"], "expected key=value, found 'x'"),
        (["inject", "kind=hang", "kind=hang"], "'kind' is given twice"),
        (["patch", "hostnam=x"], "hostnam"),
        (["new", "a b"], "name: not a guest's name: 'a b'"),
        (["new", "--scenario=/nowhere.yaml"], "/nowhere.yaml: No such file or directory"),
        (["advance", "soon"], "by: "),
        (["revert", "s"], "no snapshot 's'"),
        (["clear", "7"], "7"),
        (["journal", "-f", "--only=x"], "--only: not with --follow"),
        (["--control=unix:/nowhere", "guests"], "unix:/nowhere: No such file or directory"),
        (["--control=tcp:0", "guests"], "expected unix:PATH or tcp:[HOST:]PORT, found 'tcp:0'"),
        (["--control=8080", "guests"], "expected unix:PATH or tcp:[HOST:]PORT, found '8080'"),
        (["--token-file=/nowhere", "guests"], "--token-file /nowhere: No such file or directory"),
        (["explode"], "invalid choice: 'explode'"),
        ([], "the following arguments are required: COMMAND"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_a_line(
    words: list[str], said: str, api: Api, typed: Typed
) -> None:
    assert said in typed.refused(*words)


def test_without_an_address_it_says_how_to_name_one(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QGASIM_CONTROL", raising=False)
    assert "--control ADDRESS, or QGASIM_CONTROL" in typed.refused("guests")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 500 No\r\nContent-Length: 23\r\n\r\n{"title": 3, "errors":1}',
    ],
    ids=str,
)
def test_another_server_is_told_apart(answer: bytes, typed: Typed, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/s")
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1 << 16)
                sock.send(answer)

        server = threading.Thread(target=serve)
        server.start()
        said = typed.refused(f"--control=unix:{tmp_path}/s", "guests")
        server.join(PATIENCE)
    assert "no control API" in said or "connection" in said


def test_the_token_is_sent(tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "0123456789abcdef"
    (tmp_path / "token").write_text(f"{token}\n")
    with controlled(tmp_path, access=Access(TcpAddress("127.0.0.1", 0), token)) as api:
        monkeypatch.setenv("QGASIM_CONTROL", f"tcp:{api.connection.port}")
        assert "expected the token" in typed.refused("guests")
        assert typed("--token-file", f"{tmp_path}/token", "guests")
        monkeypatch.setenv("QGASIM_CONTROL_TOKEN", token)
        assert typed("--control", f"tcp:127.0.0.1:{api.connection.port}", "guests")
        monkeypatch.setenv("QGASIM_CONTROL_TOKEN", "a\nb")
        assert "characters that no token has" in typed.refused("guests")


# -- how it looks -------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colours_unless_it_wants_none(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for no_color, has_colours in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", no_color)
        monkeypatch.setenv("COLUMNS", "20")
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        assert run(["ctl", "guests"]) == 0
        assert ("\x1b[32mup\x1b[0m" in terminal.getvalue()) is has_colours
        shown = terminal.getvalue().splitlines()[1].replace("\x1b[32m", "").replace("\x1b[0m", "")
        assert shown == "guest  up     7.2.22"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["ctl", command, "--help"]) == 0
    assert capfd.readouterr().out.startswith(f"usage: qgasim ctl {command}")


def test_it_imports_nothing_of_what_serves() -> None:
    code = """
import sys
from qgasim.cli import main
main(["ctl", "--control=unix:/nowhere", "guests"])
heavy = {"trio", "msgspec", "yaml", "h11", "pyfakefs", "asyncio"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_an_address_is_a_unix_socket_or_tcp(tmp_path: Path) -> None:
    with controlled(tmp_path, access=Access(UnixAddress(f"{tmp_path}/control.sock"))):
        assert run(["ctl", "--control", f"unix:{tmp_path}/control.sock", "guests"]) == 0
