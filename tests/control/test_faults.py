"""Faults and stubs that are added to a guest, listed and removed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlling import Api, controlled

FAULTS = "/guests/guest/faults"
STUBS = "/guests/guest/stubs"
PING = {"execute": "guest-ping"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with controlled(tmp_path) as api:
        yield api


def ask(api: Api, command: str = "guest-ping") -> dict[str, object]:
    reply: dict[str, object] = api.post("/guests/guest/call", {"execute": command})
    return reply


def test_a_fault_fires_as_often_as_it_says_and_counts(api: Api) -> None:
    said = {"kind": "error", "on": "guest-ping", "desc": "no", "after": 1, "times": 1}
    answer = api.ask(f"POST /v1{FAULTS}", said)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v1{FAULTS}/1"
    assert answer.json["fault"] == said
    assert ask(api) == {"return": {}}
    assert ask(api) == {"error": {"class": "GenericError", "desc": "no"}}
    assert ask(api) == {"return": {}}
    (fault,) = api.get(FAULTS)
    assert (fault["seen"], fault["fired"], fault["is_spent"]) == (3, 1, True)
    assert api.get("/guests")[0]["faults_fired"] == 1


def test_a_fault_is_added_as_yaml(api: Api) -> None:
    text = b"# on the second ping\nkind: delay\non: {command: guest-ping}\nby: 250ms\nafter: 1\n"
    answer = api.ask(f"POST /v1{FAULTS}", text, Content_Type="application/yaml")
    assert answer.status == 201, answer
    assert answer.json["fault"]["by"] == "250ms"


def test_what_is_wrong_in_yaml_is_told_with_its_line(api: Api) -> None:
    text = b"kind: delay\non: guest-ping\nby: soon\naftr: 1\n"
    answer = api.ask(f"POST /v1{FAULTS}", text, Content_Type="application/yaml")
    assert answer.status == 422
    assert answer.json["errors"] == [
        {
            "detail": "by: expected a duration, as in 250ms or 1h, found 'soon'",
            "line": 3,
            "column": 5,
        },
        {"detail": "unknown key 'aftr' (did you mean 'after'?)", "line": 4, "column": 1},
    ]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({}, "'kind' is missing"),
        ({"kind": "dely"}, "did you mean 'delay'?"),
        ({"kind": "delay", "by": "1s", "on": "guest-pin"}, "did you mean 'guest-ping'?"),
        ({"kind": "delay", "by": -1}, "expected a duration"),
        ([1], "expected a mapping, found a list"),
    ],
    ids=str,
)
def test_what_is_no_fault_is_told(api: Api, said: object, text: str) -> None:
    answer = api.ask(f"POST /v1{FAULTS}", said)
    assert answer.status == 422
    assert text in answer.json["detail"]
    assert api.get(FAULTS) == []


def test_faults_are_removed_one_by_one_and_all_at_once(api: Api) -> None:
    for name in ("a", "b", "c"):
        api.post(FAULTS, {"kind": "error", "on": "guest-ping", "desc": name})
    assert ask(api)["error"]["desc"] == "a"  # type: ignore[index]
    api.delete(f"{FAULTS}/1")
    assert [fault["id"] for fault in api.get(FAULTS)] == [2, 3]
    assert ask(api)["error"]["desc"] == "b"  # type: ignore[index]
    assert api.ask(f"DELETE /v1{FAULTS}/1").status == 404
    assert api.get(f"{FAULTS}/3")["fault"]["desc"] == "c"
    api.delete(FAULTS)
    assert api.get(FAULTS) == []
    assert ask(api) == {"return": {}}
    # A number is not given again.
    assert api.post(FAULTS, {"kind": "ignore", "on": "guest-info"})["id"] == 4


def test_the_faults_and_stubs_of_the_scenario_are_listed_too(tmp_path: Path) -> None:
    text = """
        qgasim: 1
        faults: [{kind: ignore, on: guest-info, name: quiet}]
        replies: [{on: guest-ping, reply: 1}, {on: guest-p*, reply: 2}]
    """
    with controlled(tmp_path, text) as api:
        assert [fault["fault"]["name"] for fault in api.get(FAULTS)] == ["quiet"]
        assert [stub["stub"]["reply"] for stub in api.get(STUBS)] == [1, 2]
        assert [stub["id"] for stub in api.get(STUBS)] == [1, 2]
        api.delete(f"{STUBS}/1")
        assert ask(api) == {"return": 2}


def test_the_latest_stub_answers_first_and_counts(api: Api) -> None:
    api.post(STUBS, {"on": "guest-ping", "reply": {"of": "first"}})
    api.post(STUBS, {"on": "guest-ping", "reply": {"of": "second"}, "times": 1})
    assert ask(api) == {"return": {"of": "second"}}
    assert ask(api) == {"return": {"of": "first"}}
    assert [(stub["id"], stub["answered"]) for stub in api.get(STUBS)] == [(2, 1), (1, 1)]
    api.delete(f"{STUBS}/1")
    assert ask(api) == {"return": {}}
    api.delete(STUBS)
    assert api.get(STUBS) == []


def test_a_stub_outlives_an_upgrade_of_the_agent(api: Api) -> None:
    api.post(STUBS, {"on": "guest-ping", "reply": 5})
    api.post("/guests/guest/events", {"do": "agent_upgrades", "release": "8.2"})
    assert ask(api) == {"return": 5}
    assert api.get("/guests/guest")["agent"].startswith("8.2")


def test_what_is_no_stub_is_told(api: Api) -> None:
    answer = api.ask(f"POST /v1{STUBS}", {"on": "guest-pong", "reply": 1})
    assert answer.status == 422
    assert "has no command 'guest-pong'" in answer.json["detail"]
    assert api.ask(f"GET /v1{STUBS}/9").status == 404


def test_what_was_done_is_noted_in_the_journal(api: Api) -> None:
    api.post(FAULTS, {"kind": "ignore", "on": "guest-info"})
    api.delete(FAULTS)
    api.post(STUBS, {"on": "guest-ping", "reply": 1})
    api.delete(STUBS)
    noted = [entry["text"] for entry in api.get("/guests/guest/journal")["entries"]]
    assert noted == [
        "fault: ignore on='guest-info'",
        "no fault any more: ignore",
        "stub: guest-ping",
        "no stub any more: guest-ping",
    ]


def test_faults_of_the_monitor_are_listed_and_removed_beside_those_of_the_agent(
    tmp_path: Path,
) -> None:
    text = """
        qgasim: 1
        machine: {}
        faults: [{kind: ignore, on: guest-info}, {kind: drop_event, on: "qmp:STOP"}]
    """
    with controlled(tmp_path, text) as api:
        said = {"kind": "error", "on": "qmp:query-status", "desc": "no"}
        assert api.post(FAULTS, said)["fault"] == said
        ids = {fault["fault"]["on"]: fault["id"] for fault in api.get(FAULTS)}
        assert list(ids) == ["guest-info", "qmp:STOP", "qmp:query-status"]
        assert len(set(ids.values())) == 3
        api.delete(f"{FAULTS}/{ids['qmp:STOP']}")
        assert [fault["id"] for fault in api.get(FAULTS)] == [
            ids["guest-info"],
            ids["qmp:query-status"],
        ]
        api.delete(FAULTS)
        assert api.get(FAULTS) == []
