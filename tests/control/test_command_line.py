"""``--control`` on the command line: what is served, told and refused."""

import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qgasim.client.blocking import SyncClient
from qgasim.control.start import tell_failure
from tests.command_line import ROOT, run
from tests.controlling import Api
from tests.serving import PATIENCE


@contextmanager
def started(*options: str) -> Iterator[tuple[dict[str, Any], "subprocess.Popen[str]"]]:
    """Start qgasim; give what it says when it is ready, and the process, which is to end well."""
    command = [sys.executable, "-m", "qgasim", "--ready-fd=1", *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield json.loads(line), process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE) == 0
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.slow
def test_one_guest_is_controlled_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with started(
        f"--control=unix:{path}",
        "--share",
        f"{tmp_path}=/mnt",
        "--agent=8.2",
        f"--qmp=unix:{tmp_path}/q",
    ) as (
        said,
        process,
    ):
        assert (said["control"], said["name"]) == (f"unix:{path}", "guest")
        assert said["qmp"] == [f"{tmp_path}/q"]
        assert path.stat().st_mode & 0o777 == 0o600
        lines = [process.stdout.readline() for _ in range(5)]  # type: ignore[union-attr]
        assert f"control at unix:{path}\n" in lines
        assert f"sharing {tmp_path} as /mnt\n" in lines
        api = Api(str(path))
        assert api.get("/guests/guest")["agent"] == "8.2.0"
        api.post("/guests/guest/faults", {"kind": "error", "on": "guest-ping", "desc": "no"})
        with SyncClient(said["path"], PATIENCE) as client:
            reply = client.request({"execute": "guest-ping"})
            assert reply["error"]["desc"] == "no"
        made = api.post("/guests", {"name": "second"})["address"].removeprefix("unix:")
        with SyncClient(made, PATIENCE) as client:
            assert client.call("guest-ping") == {}
        # A reset guest has its folder again.
        api.post("/guests/guest/reset")
        assert api.ask("GET /v1/guests/guest/files/mnt").status == 200
        api.close()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    assert re.search(r"^ *[\d.]+ s #1 guest-ping → ", log, re.MULTILINE)
    assert re.search(r"^second +[\d.]+ s #1 guest-ping → ", log, re.MULTILINE)
    assert not path.exists()
    assert not Path(said["path"]).parent.exists()
    assert not Path(made).exists()


@pytest.mark.slow
def test_a_fleet_is_controlled_over_tcp(tmp_path: Path) -> None:
    with started(
        "--scenario=fleet-one-hung", "--quiet", f"--listen=unix:{tmp_path}/f", "--control=tcp:0"
    ) as (said, _):
        assert list(said["fleet"]) == ["vm1", "vm2", "vm3", "vm4", "vm5"]
        _, host, port = said["control"].split(":")
        assert host == "127.0.0.1"
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        connection.request("GET", "/v1/guests")
        guests = json.load(connection.getresponse())
        assert [guest["name"] for guest in guests] == list(said["fleet"])
        assert guests[0]["address"] == f"unix:{said['fleet']['vm1']['path']}"
        connection.close()
    assert not (tmp_path / "f").exists()


@pytest.mark.slow
def test_a_guest_on_stdio_is_controlled_and_ends_with_its_client(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "qgasim",
        "--listen=stdio",
        "--quiet",
        f"--control=unix:{tmp_path}/c",
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"execute":"guest-ping"}\n')
        process.stdin.flush()
        assert process.stdout.readline() == b'{"return": {}}\n'
        api = Api(f"{tmp_path}/c")
        assert api.get("/guests")[0]["address"] == "stdio"
        assert api.ask("POST /v1/guests/guest/reset").status == 409
        assert api.ask("POST /v1/guests/guest/call", {"execute": "guest-ping"}).status == 409
        api.close()
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def _ask_monitor(path: str, command: str) -> dict[str, Any]:
    """Return what a monitor answers to a new client."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(path)
        with client.makefile("rwb") as lines:
            assert "QMP" in json.loads(lines.readline())
            lines.write(b'{"execute": "qmp_capabilities"}{"execute": "%b"}' % command.encode())
            lines.flush()
            assert json.loads(lines.readline()) == {"return": {}}
            said: dict[str, Any] = json.loads(lines.readline())
            return said


@pytest.mark.slow
def test_monitors_stay_where_they_are_when_a_guest_is_changed_or_reset(tmp_path: Path) -> None:
    paths = [f"{tmp_path}/m1", f"{tmp_path}/m2"]
    with started(
        f"--control=unix:{tmp_path}/c", *(f"--qmp=unix:{path}" for path in paths), "--quiet"
    ) as (said, process):
        assert said["qmp"] == paths
        lines = [process.stdout.readline() for _ in range(4)]  # type: ignore[union-attr]
        assert f"monitor (QMP) on {paths[0]}\n" in lines
        api = Api(f"{tmp_path}/c")
        running = {"return": {"status": "running", "singlestep": False, "running": True}}
        assert _ask_monitor(paths[0], "query-status") == running
        assert api.ask("PATCH /v1/guests/guest", {"quirks": {}, "hostname": "b"}).status == 200
        assert _ask_monitor(paths[1], "query-status") == running
        api.post("/guests/guest/reset")
        assert [_ask_monitor(path, "query-status") for path in paths] == [running, running]
        api.ask("DELETE /v1/guests/guest")
        assert not any(Path(path).exists() for path in paths)
        api.close()


@pytest.mark.slow
def test_a_client_of_the_api_ends_the_process(tmp_path: Path) -> None:
    with started(f"--control=unix:{tmp_path}/c", "--quiet") as (said, process):
        api = Api(f"{tmp_path}/c")
        stream = api.open("GET /v1/stream")
        assert api.ask("POST /v1/stop").status == 204
        assert process.wait(PATIENCE) == 0
        api.close()
        stream.close()
    assert not Path(said["path"]).exists()
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--control=8080"], "--control: expected unix:PATH or tcp:[HOST:]PORT, found '8080'"),
        (["--control=stdio"], "--control: expected unix:PATH or tcp:[HOST:]PORT, found 'stdio'"),
        (["--control-token=x"], "--control-token: has no effect without --control"),
        (["--control=tcp:0.0.0.0:0"], "can be reached from other machines (give --control-token"),
        (["--control=tcp:0", "--control-token=/nowhere"], "/nowhere: No such file or directory"),
        (["--control=unix:/nowhere/x"], "/nowhere/x: cannot listen: No such file or directory"),
        (["--control=tcp:0", "--listen=unix:/nowhere/x"], "/nowhere/x: cannot listen"),
        (
            ["--control=tcp:0", "--scenario=fleet-one-hung", "--listen=tcp:1"],
            "a fleet has a socket",
        ),
        (
            ["--control=tcp:0", "--scenario=fleet-one-hung", "--qmp=tcp:0"],
            "a fleet has no monitors",
        ),
        (["--control=tcp:0", "--agent=77"], "no such release: '77'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_a_line(
    options: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(options) == 2
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_without_control_nothing_of_it_is_imported() -> None:
    code = """
import sys
from qgasim.cli import main
try:
    main(["--listen", "unix:/nowhere/x"])
except SystemExit:
    pass
print([name for name in sys.modules if name == "h11" or name.startswith(("qgasim.http", "qgasim.control"))])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


class Full(io.StringIO):
    """A file for which there is no room."""

    def write(self, _: str) -> int:
        raise OSError


def test_a_bug_in_a_request_is_told_in_a_line_if_it_can_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_failure(ValueError("x" * 1000))
    told = capsys.readouterr().err
    assert told.startswith("qgasim: a request to the control API failed: ValueError('xxx")
    assert (told.count("\n"), len(told) < 600) == (1, True)
    for other in (Full(), None):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", other)
            tell_failure(ValueError())
