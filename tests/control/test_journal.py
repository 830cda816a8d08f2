"""The journal of a guest under control, its stream, and what is judged by it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from qgasim.client.blocking import SyncClient
from qgasim.control.feed import Feed, Record
from qgasim.conversation import parse_conversation
from qgasim.conversation.exchanges import recorded_exchanges
from qgasim.scenario import loads
from tests.controlling import Api, controlled, read_event

GUEST = "/guests/guest"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with controlled(tmp_path) as api:
        yield api


def ask(api: Api, *commands: str, name: str = "guest") -> None:
    path = api.get(f"/guests/{name}")["address"].removeprefix("unix:")
    with SyncClient(path) as client:
        for command in commands:
            client.call(command)


def test_the_journal_is_read_page_by_page(api: Api) -> None:
    ask(api, "guest-ping", "guest-info", "guest-ping")
    page = api.get(f"{GUEST}/journal")
    while page["entries"][-1]["kind"] != "disconnect":
        # The server may see later that the client has hung up.
        page = api.get(f"{GUEST}/journal")
    numbers = [entry["number"] for entry in page["entries"]]
    assert numbers == list(range(1, page["latest"] + 1))
    first = api.get(f"{GUEST}/journal?limit=2")
    assert first["entries"] == page["entries"][:2]
    assert first["next"] == 2
    second = api.get(f"{GUEST}/journal?after={first['next']}")
    assert second["entries"] == page["entries"][2:]
    assert api.get(f"{GUEST}/journal?after={second['next']}")["entries"] == []


def test_the_journal_is_filtered_by_command(api: Api) -> None:
    ask(api, "guest-ping", "guest-get-time", "guest-ping", "guest-get-users")
    page = api.get(f"{GUEST}/journal?command=guest-get-*&lines=true")
    assert [entry["command"] for entry in page["entries"]] == ["guest-get-time", "guest-get-users"]
    assert "guest-get-time → " in page["entries"][0]["line"]
    page = api.get(f"{GUEST}/journal?command=guest-ping&limit=1")
    rest = api.get(f"{GUEST}/journal?command=guest-ping&after={page['next']}")
    assert len(rest["entries"]) == 1


def test_a_number_that_is_not_there_yet_has_nothing_after_it(api: Api) -> None:
    ask(api, "guest-ping")
    page = api.get(f"{GUEST}/journal?after={10**30}")
    assert page["entries"] == []
    assert api.get(f"{GUEST}/journal?after=-1") == api.get(f"{GUEST}/journal")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "lines=maybe", "before=1", "after=1&after=2"]
)
def test_a_wrong_question_is_told(api: Api, query: str) -> None:
    assert api.ask(f"GET /v1{GUEST}/journal?{query}").status in {400, 422}


def test_the_transcript_is_text(api: Api) -> None:
    ask(api, "guest-ping")
    answer = api.ask(f"GET /v1{GUEST}/transcript")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    lines = answer.body.decode().splitlines()
    assert lines[-2].endswith('guest-ping → {"return": {}}')
    last = api.ask(f"GET /v1{GUEST}/transcript?last=1").body.decode().splitlines()
    # A handshake is two entries in one line.
    assert last == [f"({len(lines)} earlier entries)", lines[-1]]


def test_the_journal_is_saved_as_a_conversation(api: Api) -> None:
    ask(api, "guest-ping")
    ask(api, "guest-get-host-name")
    answer = api.ask(f"GET /v1{GUEST}/conversation")
    assert answer.headers["Content-Type"] == "application/jsonl; charset=utf-8"
    conversation = parse_conversation(answer.body.splitlines(keepends=True), "saved")
    agent = loads("extends: debian-12").build().agent
    exchanges = recorded_exchanges(conversation, agent.dialect, agent.commands.table)
    assert [(e.request, e.reply) for e in exchanges if e.key[0].startswith("guest-get")] == [
        ({"execute": "guest-get-host-name"}, b'{"return": {"host-name": "debian"}}\n')
    ]
    actions = [step.action for step in conversation.steps]
    assert actions.count("connect") == actions.count("close") == 2


# -- streams -----------------------------------------------------------------------------------------


def test_a_stream_tells_what_happens_and_goes_on_where_it_ended(api: Api) -> None:
    stream = api.open(f"GET /v1{GUEST}/journal/stream?lines=true")
    assert stream.headers["Content-Type"] == "text/event-stream"
    ask(api, "guest-ping")
    seen = [read_event(stream) for _ in range(5)]
    assert {kind for kind, _, _ in seen} == {"entry"}
    commands = [data.get("command") for _, _, data in seen]
    assert commands == [None, None, "guest-sync-delimited", "guest-ping", None]
    assert "guest-ping" in seen[3][2]["line"]
    # From the ping on, as a browser asks after its connection broke.
    again = api.open(f"GET /v1{GUEST}/journal/stream", Last_Event_ID=seen[2][1])
    kind, number, data = read_event(again)
    assert (kind, number, data["command"]) == ("entry", seen[3][1], "guest-ping")


def test_all_guests_are_in_one_stream_and_one_guest_in_its_own(tmp_path: Path) -> None:
    with controlled(tmp_path, "debian-12", "alpine-3.20") as api:
        everything = api.open("GET /v1/stream?last_event_id=0")
        own = api.open("GET /v1/guests/guest2/journal/stream?last_event_id=0")
        ask(api, "guest-ping")
        ask(api, "guest-info", name="guest2")
        found: list[str] = []
        while "guest2 guest-info" not in found:
            kind, _, data = read_event(everything)
            found.append(f"{data['guest']} {data.get('command') or kind}")
        assert found[:2] == ["guest created", "guest2 created"]
        assert "guest guest-ping" in found
        while True:
            kind, _, data = read_event(own)
            assert data["guest"] == "guest2"
            if data.get("command") == "guest-info":
                break


def test_a_reply_that_waited_is_told_again(api: Api) -> None:
    api.ask(f"PATCH /v1{GUEST}/clock", {"rate": 0})
    api.post(f"{GUEST}/faults", {"kind": "delay", "on": "guest-ping", "by": "1h"})
    stream = api.open(f"GET /v1{GUEST}/journal/stream")
    waiting = api.other()
    body = json.dumps({"execute": "guest-ping", "timeout": "20s"}).encode()
    waiting.connection.request("POST", f"/v1{GUEST}/call", body)
    while (event := read_event(stream))[2].get("command") != "guest-ping":
        pass
    # What is put down meanwhile does not hide which reply it was.
    api.post(f"{GUEST}/stubs", {"on": "guest-info", "reply": 1})
    assert read_event(stream)[2]["text"] == "stub: guest-info"
    assert event[2]["replied"] is None
    api.post(f"{GUEST}/clock/advance", {"by": "1h"})
    assert waiting.connection.getresponse().status == 200
    kind, _, data = read_event(stream)
    assert (kind, data["number"]) == ("update", event[2]["number"])
    assert data["replied"] - data["at"] >= 3600 * 10**9


def test_a_stream_of_another_process_begins_at_the_beginning(api: Api) -> None:
    for given in ("other-1", "test-999", "nonsense", ""):
        stream = api.open("GET /v1/stream", Last_Event_ID=given)
        assert read_event(stream)[0] == "created"


@pytest.mark.trio
async def test_a_reader_that_falls_behind_is_told_how_much_was_lost() -> None:
    feed = Feed("f")
    for _ in range(10_100):
        feed.add(Record("reset", "guest", 0, None))
    stream = feed.stream(40)
    assert await anext(stream) == b'id: f-100\nevent: lost\ndata: {"count":60}\n\n'
    assert (await anext(stream)).startswith(b"id: f-101\nevent: reset\n")
    await stream.aclose()  # type: ignore[attr-defined]


# -- verification ------------------------------------------------------------------------------------


def test_verification_says_what_python_says(api: Api) -> None:
    ask(api, "guest-ping", "guest-fsfreeze-freeze", "guest-fsfreeze-thaw")
    verify = f"{GUEST}/verify"
    assert api.post(verify, {"command": "guest-ping"}) == {"verified": True, "message": ""}
    said = api.post(verify, {"command": "guest-ping", "times": 2})
    assert not said["verified"]
    assert said["message"].startswith("expected guest-ping exactly twice, found once")
    assert api.post(
        verify, {"command": "guest-fsfreeze-thaw", "after": "guest-ping", "within": "1m"}
    )["verified"]
    assert api.post(f"{GUEST}/never", {"command": "guest-exec"})["verified"]
    assert not api.post(f"{GUEST}/never", {"command": "guest-ping"})["verified"]
    steps = ["guest-ping", {"command": "guest-fsfreeze-*"}]
    assert api.post(f"{GUEST}/in-order", {"steps": steps})["verified"]
    said = api.post(f"{GUEST}/in-order", {"steps": steps[::-1]})
    assert "expected in this order" in said["message"]


@pytest.mark.parametrize(
    ("what", "said", "text"),
    [
        ("verify", {"command": "guest-pong"}, "did you mean guest-ping"),
        ("verify", {"command": "guest-ping", "times": -1}, "expected how often"),
        ("verify", {}, "'command' is missing"),
        ("never", {"command": "guest-ping", "within": "1s"}, "within"),
        ("in-order", {"steps": []}, "in_order needs steps"),
        ("in-order", {"steps": None}, "'steps' is missing"),
    ],
    ids=str,
)
def test_what_cannot_be_verified_is_told(api: Api, what: str, said: object, text: str) -> None:
    answer = api.ask(f"POST /v1{GUEST}/{what}", said)
    assert answer.status == 422, answer
    assert text.replace("'", "") in answer.json["detail"].replace("'", "")


def test_findings_are_listed(api: Api) -> None:
    ask(api, "guest-fsfreeze-freeze")
    found = {finding["name"]: finding for finding in api.get(f"{GUEST}/findings")}
    assert "frozen-never-thawed" in found
    assert found["frozen-never-thawed"]["page"] == "docs/findings.md#frozen-never-thawed"


# -- waiting -----------------------------------------------------------------------------------------


def test_what_was_asked_before_need_not_be_waited_for(api: Api) -> None:
    ask(api, "guest-ping")
    said = api.post(f"{GUEST}/wait", {"command": "guest-ping", "within": "20s"})
    assert said["reached"]
    assert said["entry"]["command"] == "guest-ping"
    again = {"command": "guest-ping", "after": said["latest"], "within": "0s"}
    assert not api.post(f"{GUEST}/wait", again)["reached"]


def test_a_request_is_waited_for(api: Api) -> None:
    waiting = api.other()
    body = json.dumps({"command": "guest-ping", "count": 2, "within": "20s"}).encode()
    waiting.connection.request("POST", f"/v1{GUEST}/wait", body)
    ask(api, "guest-ping", "guest-info", "guest-ping")
    said = json.load(waiting.connection.getresponse())
    assert said["reached"]


def test_a_state_is_waited_for_that_comes_by_time(api: Api) -> None:
    api.ask(f"PATCH /v1{GUEST}/clock", {"rate": 1000})
    api.post(f"{GUEST}/events", {"do": "reboot"})
    said = api.post(f"{GUEST}/wait", {"state": "up", "within": "20s"})
    assert said["reached"]
    assert said["state"] == "up"


@pytest.mark.parametrize(
    "said", [{}, {"state": "up", "command": "guest-ping"}, {"state": "upp"}, {"state": "up", "within": "2h"},
             {"command": "guest-ping", "count": 0}], ids=str,
)  # fmt: skip
def test_what_cannot_be_waited_for_is_told(api: Api, said: object) -> None:
    assert api.ask(f"POST /v1{GUEST}/wait", said).status == 422
