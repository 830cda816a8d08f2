"""``--qgasim-control``: guests of a test run, controlled from outside."""

import shutil
from collections.abc import Iterator

import pytest

import qgasim.control.start
import qgasim.pytest_plugin.control  # noqa: F401
from qgasim.serving.listen import make_directory
from tests.plugin_run import CLIENT, Run

pytest_plugins = ["pytester"]

TESTS = f"""
import json, sys
import pytest
{CLIENT}
from tests.controlling import Api

@pytest.fixture
def api(request):
    address = request.config.getoption("--qgasim-control")
    api = Api(address.removeprefix("unix:"))
    yield api
    api.close()

def test_one(qga, qga_factory, api):
    other = qga_factory()
    assert [guest["name"] for guest in api.get("/guests")] == ["test_one", "test_one-2"]
    api.post("/guests/test_one/faults", {{"kind": "error", "on": "guest-ping", "desc": "no"}})
    with SyncClient(qga.socket_path) as client:
        assert api.get("/guests/test_one")["is_connected"]
        assert client.request({{"execute": "guest-ping"}})["error"]["desc"] == "no"
    api.post("/guests/test_one/clock/advance", {{"by": "1h"}})
    assert qga.clock.uptime > 3600
    qga.verify("guest-ping", times=1)
    assert api.post("/guests/test_one/call", {{"execute": "guest-info"}})["return"]
    assert api.ask("POST /v1/guests/test_one/reset").status == 409
    assert "fault: error" in api.ask("GET /v1/guests/test_one/transcript").body.decode()

def test_two(qga_session, api):
    assert [guest["name"] for guest in api.get("/guests")] == ["session"]
    qga_session.reboot()

def test_three(qga_session, api):
    assert [guest["name"] for guest in api.get("/guests")] == ["session"]
    assert api.get("/guests/session")["state"] == "up"
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(pytester, monkeypatch)


@pytest.fixture
def address() -> Iterator[str]:
    directory = make_directory("qga-")
    yield f"unix:{directory}/control"
    shutil.rmtree(directory)


def test_guests_of_a_run_are_controlled_from_outside(run: Run, address: str) -> None:
    result = run(TESTS, f"--qgasim-control={address}")
    result.assert_outcomes(passed=3)


@pytest.mark.parametrize("text", ["here", "vsock:1:2", "tcp:0.0.0.0:0"])
def test_what_is_no_address_is_told_before_the_first_test(run: Run, text: str) -> None:
    result = run("def test_it(qga): pass", f"--qgasim-control={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --*control*"])
