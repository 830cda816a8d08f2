"""Events, the clock and snapshots of a guest under control."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlling import Api, controlled

EVENTS = "/guests/guest/events"
CLOCK = "/guests/guest/clock"
SNAPSHOTS = "/guests/guest/snapshots"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with controlled(tmp_path) as api:
        # Its time stands still, but for what the test says.
        assert api.ask("PATCH /v1/guests/guest/clock", {"rate": 0}).status == 200
        yield api


def state(api: Api) -> str:
    return str(api.get("/guests")[0]["state"])


def test_an_event_happens_now(api: Api) -> None:
    assert api.post(EVENTS, {"do": "reboot"})["state"] == "rebooting"
    api.post(f"{CLOCK}/advance", {"by": "1m"})
    assert state(api) == "up"
    said = api.post(EVENTS, {"do": "panic"})
    assert said == {"status": "happened", "event": {"do": "panic"}, "state": "crashed"}


def test_an_event_is_planned_by_uptime_and_by_delay(api: Api) -> None:
    uptime = api.get(CLOCK)["uptime"]
    said = api.post(EVENTS, {"do": "panic", "at": uptime + 3600})
    assert said["status"] == "planned"
    said = api.post(EVENTS, {"do": "reboot", "delay": "10m"})
    assert said["event"] == {"do": "reboot", "delay": "10m"}
    assert state(api) == "up"
    api.post(f"{CLOCK}/advance", {"by": "10m"})
    assert state(api) == "rebooting"
    api.post(f"{CLOCK}/advance", {"by": "51m"})
    assert state(api) == "crashed"


def test_an_event_is_planned_after_a_request_and_on_a_state(api: Api) -> None:
    api.post(EVENTS, {"do": "panic", "after": "guest-ping", "count": 2})
    api.post(EVENTS, {"do": "power_off", "on": "crashed"})
    ping = {"execute": "guest-ping"}
    assert api.post("/guests/guest/call", ping) == {"return": {}}
    assert state(api) == "up"
    api.ask("POST /v1/guests/guest/call", ping)
    assert state(api) == "off"


def test_an_event_since_boot_counts_from_the_present_boot_too(api: Api) -> None:
    uptime = api.get(CLOCK)["uptime"]
    api.post(EVENTS, {"do": "panic", "since_boot": uptime + 60})
    api.post(f"{CLOCK}/advance", {"by": "59s"})
    assert state(api) == "up"
    api.post(f"{CLOCK}/advance", {"by": "2s"})
    assert state(api) == "crashed"


@pytest.mark.parametrize(
    ("said", "status", "text"),
    [
        ({"do": "rebot"}, 422, "did you mean 'reboot'?"),
        ({}, 422, "'do' is missing"),
        ({"do": "nic_disappears", "nic": "eth7"}, 422, "there is no interface 'eth7'"),
        ({"do": "reboot", "at": "1s", "on": "up"}, 422, "'at' and 'on' are mutually exclusive"),
        ({"do": "revert", "to": "x"}, 422, "there is no snapshot 'x'"),
        ({"do": "nic_appears", "nic": {"name": "lo"}}, 409, "File exists"),
    ],
    ids=str,
)
def test_what_cannot_happen_is_told(api: Api, said: object, status: int, text: str) -> None:
    answer = api.ask(f"POST /v1{EVENTS}", said)
    assert answer.status == status, answer
    assert text in answer.json["detail"]


def test_time_stands_still_is_advanced_and_runs(api: Api) -> None:
    before = api.get(CLOCK)
    assert before["rate"] == 0
    after = api.post(f"{CLOCK}/advance", {"by": "1h"})
    assert after["uptime"] == pytest.approx(before["uptime"] + 3600)
    assert after["now"] - before["now"] == 3600 * 10**9
    assert api.get(CLOCK)["uptime"] == after["uptime"]
    assert api.ask(f"PATCH /v1{CLOCK}", {"rate": 2}).json["rate"] == 2


@pytest.mark.parametrize("by", ["-1s", "soon", None, 1e300])
def test_what_is_no_time_is_told(api: Api, by: object) -> None:
    assert api.ask(f"POST /v1{CLOCK}/advance", {"by": by}).status == 422
    assert api.ask(f"PATCH /v1{CLOCK}", {"rate": -1}).status == 422


def test_a_snapshot_is_taken_gone_back_to_and_given_up(api: Api) -> None:
    taken = api.post(SNAPSHOTS, {"name": "clean"})
    api.ask("PUT /v1/guests/guest/files/tmp/x", b"hello")
    api.post(f"{CLOCK}/advance", {"by": "1h"})
    assert api.post(f"{SNAPSHOTS}/clean/revert")["uptime"] == taken["uptime"]
    assert api.ask("GET /v1/guests/guest/files/tmp/x").status == 404
    assert api.get(SNAPSHOTS) == [taken]
    api.delete(f"{SNAPSHOTS}/clean")
    assert api.get(SNAPSHOTS) == []
    answer = api.ask(f"POST /v1{SNAPSHOTS}/clean/revert")
    assert answer.status == 404
    assert "there is no snapshot 'clean'" in answer.json["detail"]


def test_there_are_so_many_snapshots_and_no_more(api: Api) -> None:
    for number in range(16):
        api.post(SNAPSHOTS, {"name": str(number)})
    answer = api.ask(f"POST /v1{SNAPSHOTS}", {"name": "more"})
    assert answer.status == 409
    assert "16 snapshots already" in answer.json["detail"]


def test_what_is_wrong_with_an_event_in_yaml_is_told_with_its_line(api: Api) -> None:
    text = b"do: partition\nnic: enp1s0\nfro: 1m\n"
    answer = api.ask(f"POST /v1{EVENTS}", text, Content_Type="application/yaml")
    assert answer.status == 422
    assert [(e["line"], e["column"]) for e in answer.json["errors"]] == [(1, 5)]
    text = b"# later\ndo: reboot\ndelay: soon\natt: 5\n"
    answer = api.ask(f"POST /v1{EVENTS}", text, Content_Type="application/yaml")
    assert [(e["line"], e["column"]) for e in answer.json["errors"]] == [(3, 8), (4, 1)]
