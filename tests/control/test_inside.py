"""What is in a guest: files, processes, calls and programs."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from qgasim.client.blocking import SyncClient
from tests.controlling import Api, controlled

GUEST = "/v1/guests/guest"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with controlled(tmp_path) as api:
        yield api


def test_a_file_is_written_read_and_removed(api: Api) -> None:
    data = bytes(range(256)) * 100
    place = f"{GUEST}/files/srv/new/file"
    assert api.ask(f"PUT {place}", data).status == 204
    answer = api.ask(f"GET {place}")
    assert (answer.body, answer.headers["Content-Type"]) == (data, "application/octet-stream")
    (entry,) = api.ask(f"GET {GUEST}/files/srv/new").json
    assert entry == {"name": "file", "kind": "file", "size": len(data), "mode": "0644"}
    assert api.ask(f"DELETE {GUEST}/files/srv/new").status == 204
    assert api.ask(f"GET {place}").status == 404


def test_the_root_is_listed_and_a_head_has_the_size(api: Api) -> None:
    names = {entry["name"]: entry["kind"] for entry in api.ask(f"GET {GUEST}/files/").json}
    assert names["etc"] == "directory"
    assert names["bin"] == "link"
    answer = api.ask(f"HEAD {GUEST}/files/etc/hostname")
    assert answer.headers["Content-Length"] == "7"


def test_a_name_may_be_any_bytes(api: Api) -> None:
    for name in (b"a b", b"\xff", "ö/ü".encode(), b"%41", b"a?b#c"):
        place = f"{GUEST}/files/tmp/{quote(name)}"
        assert api.ask(f"PUT {place}", b"x").status == 204, name
        assert api.ask(f"GET {place}").body == b"x", name
    names = [entry["name"] for entry in api.ask(f"GET {GUEST}/files/tmp").json]
    assert names == ["a b", r"\udcff", "ö", "%41", "a?b#c"]


def test_windows_has_drives(tmp_path: Path) -> None:
    with controlled(tmp_path, "windows-11") as api:
        place = f"{GUEST}/files/C:/ProgramData/note.txt"
        assert api.ask(f"PUT {place}", b"hello").status == 204
        assert api.ask(f"GET {GUEST}/files/C:/programdata/NOTE.TXT").body == b"hello"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("GET /files/nope", 404),
        ("GET /files/etc/hostname/x", 404),
        ("PUT /files/etc", 409),
        ("PUT /files/proc/nope", 404),
        ("DELETE /files/nope", 404),
        ("PUT /files/proc/uptime", 403),
        ("GET /files/dev/zero", 413),
        ("GET /files/%2e%2e/%2e%2e/etc/hostname", 200),
        ("GET /files/a%00b", 400),
    ],
    ids=str,
)
def test_what_the_kernel_refuses_is_told(api: Api, target: str, status: int) -> None:
    method, path = target.split(" ")
    answer = api.ask(f"{method} {GUEST}{path}", b"x" if method == "PUT" else None)
    if "proc" in path:
        # Which error it is is the guest kernel's.
        assert 400 <= answer.status < 500
    else:
        assert answer.status == status, answer


def test_a_frozen_file_system_is_not_written(api: Api) -> None:
    api.post("/guests/guest/call", {"execute": "guest-fsfreeze-freeze"})
    answer = api.ask(f"PUT {GUEST}/files/tmp/x", b"x")
    assert answer.status == 409
    api.post("/guests/guest/call", {"execute": "guest-fsfreeze-thaw"})
    assert api.ask(f"PUT {GUEST}/files/tmp/x", b"x").status == 204


def test_processes_are_listed_and_ended(api: Api) -> None:
    processes = {each["name"]: each for each in api.get("/guests/guest/processes")}
    assert processes["init"]["pid"] == 1
    agent = processes["qemu-ga"]["pid"]
    assert api.ask(f"DELETE {GUEST}/processes/{agent}?signal=9").status == 204
    # systemd starts it again at once.
    again = {each["name"]: each["pid"] for each in api.get("/guests/guest/processes")}
    assert again["qemu-ga"] != agent
    assert api.ask(f"DELETE {GUEST}/processes/{agent}").status == 404
    assert api.ask(f"DELETE {GUEST}/processes/1?signal=0").status == 422


def test_a_program_runs_and_what_it_wrote_is_decoded(api: Api) -> None:
    body = {
        "path": "sh",
        "arg": ["-c", "cat; echo $X >&2; exit 3"],
        "input": "hällo",
        "env": ["X=y"],
    }
    result = api.post("/guests/guest/exec", body)
    assert (result["stdout"], result["stderr"]) == ("hällo", "y\n")
    assert (result["exitcode"], result["signal"]) == (3, None)
    answer = api.ask(f"POST {GUEST}/exec", {"path": "nope"})
    assert answer.status == 424
    assert "No such file or directory" in answer.json["detail"]


def test_a_call_that_waits_for_another_client_is_told(api: Api) -> None:
    path = api.get("/guests/guest")["address"].removeprefix("unix:")
    with SyncClient(path):
        answer = api.ask(f"POST {GUEST}/call", {"execute": "guest-ping", "timeout": "50ms"})
    assert answer.status == 424
    assert "another client is connected" in answer.json["detail"]


def test_time_that_stands_still_passes_while_a_program_runs(api: Api) -> None:
    api.ask("PATCH /v1/guests/guest/clock", {"rate": 0})
    before = api.get("/guests/guest/clock")["uptime"]
    body = {"path": "sh", "arg": ["-c", "sleep 20; echo hi"], "timeout": "30s"}
    assert api.post("/guests/guest/exec", body)["stdout"] == "hi\n"
    assert 20 <= api.get("/guests/guest/clock")["uptime"] - before < 21
    # But not for longer than the client would wait.
    body = {"path": "sleep", "arg": ["20"], "timeout": "100ms"}
    answer = api.ask(f"POST {GUEST}/exec", body)
    assert answer.status == 424
    assert "time stands still: advance its clock" in answer.json["detail"]
    assert api.get("/guests/guest/clock")["uptime"] - before < 21


def test_a_call_returns_the_error_of_the_agent(api: Api) -> None:
    said = api.post("/guests/guest/call", {"execute": "guest-pong"})
    assert said["error"]["class"] == "CommandNotFound"
    answer = api.ask(f"POST {GUEST}/call", {"execute": "guest-ping", "timeout": "2h"})
    assert answer.status == 422


def test_a_call_goes_over_tcp_too(api: Api) -> None:
    api.post("/guests", {"name": "tcp", "listen": "tcp:0"})
    assert api.post("/guests/tcp/call", {"execute": "guest-ping"}) == {"return": {}}


def test_a_call_to_an_agent_that_is_gone_is_told(tmp_path: Path) -> None:
    with controlled(tmp_path, "{qgasim: 1, agent: {channel: unix-listen, respawn: never}}") as api:
        api.post("/guests/guest/events", {"do": "agent_stops"})
        answer = api.ask(f"POST {GUEST}/call", {"execute": "guest-ping"})
        assert answer.status == 424
