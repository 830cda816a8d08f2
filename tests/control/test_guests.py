"""Guests under control: created, looked at, changed, reset and deleted."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qgasim.client.blocking import SyncClient
from tests.controlling import Api, controlled, read_event
from tests.serving import connect, read_line


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with controlled(tmp_path) as api:
        yield api


def path_of(api: Api, name: str = "guest") -> str:
    return str(api.get(f"/guests/{name}")["address"]).removeprefix("unix:")


def test_the_guest_of_the_start_is_listed(api: Api) -> None:
    (guest,) = api.get("/guests")
    assert guest["name"] == "guest"
    assert guest["state"] == "up"
    assert guest["hostname"] == "debian"
    assert api.get("/health")["status"] == "ready"


def test_a_guest_is_created_by_the_name_of_a_scenario(api: Api) -> None:
    body = {"name": "web", "scenario": "freebsd-14", "agent": "8.2", "seed": 7}
    answer = api.ask("POST /v1/guests", body)
    assert answer.status == 201
    assert answer.headers["Location"] == "/v1/guests/web"
    assert answer.json["agent"].startswith("8.2")
    assert answer.json["platform"] == "freebsd"
    assert answer.json["seed"] == 7
    with SyncClient(path_of(api, "web")) as client:
        assert client.call("guest-ping") == {}
    assert [guest["name"] for guest in api.get("/guests")] == ["guest", "web"]


def test_a_guest_is_created_from_a_scenario_as_json_and_as_yaml(api: Api) -> None:
    said = {"qgasim": 1, "guest": {"hostname": "one"}}
    assert api.post("/guests", {"scenario": said})["hostname"] == "one"
    text = "qgasim: 1\nextends: debian-12\nguest: {hostname: two}\n"
    assert api.post("/guests", {"scenario": text})["hostname"] == "two"
    assert [guest["name"] for guest in api.get("/guests")] == ["guest", "guest-1", "guest-2"]


def test_a_guest_has_the_same_mounts_before_and_after_its_files_were_made(api: Api) -> None:
    for scenario in ("debian-12", "windows-11"):
        names = [api.post("/guests", {"scenario": scenario})["name"] for _ in range(2)]
        before = [api.get(f"/guests/{name}")["mounts"] for name in names]
        assert before[0] == before[1] != []
        api.ask(f"GET /v1/guests/{names[1]}/files/")
        assert api.get(f"/guests/{names[1]}")["mounts"] == before[0]


def test_a_guest_is_created_at_an_address(api: Api, tmp_path: Path) -> None:
    made = api.post("/guests", {"listen": f"unix:{tmp_path}/own"})
    assert made["address"] == f"unix:{tmp_path}/own"
    made = api.post("/guests", {"listen": "tcp:0"})
    assert made["address"].startswith("tcp:127.0.0.1:")
    assert not made["address"].endswith(":0")


def test_a_guest_has_monitors_which_a_reset_leaves_where_they_are(api: Api, tmp_path: Path) -> None:
    made = api.post("/guests", {"name": "vm", "qmp": [f"unix:{tmp_path}/qmp", "tcp:0"]})
    assert made["qmp"][0] == f"unix:{tmp_path}/qmp"
    assert api.post("/guests/vm/reset")["qmp"] == made["qmp"]
    with connect(f"{tmp_path}/qmp") as sock:
        assert b'"QMP"' in read_line(sock)
    api.delete("/guests/vm")
    assert not (tmp_path / "qmp").exists()


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"name": "guest"}, 409, "there is a guest 'guest' already"),
        ({"name": "../x"}, 422, "not a guest's name"),
        ({"scenario": "debian-11x"}, 422, "no scenario of qgasim is called 'debian-11x' (did you"),
        ({"scenario": "/etc/passwd"}, 422, "no scenario of qgasim is called"),
        ({"scenario": {"extends": "/etc/passwd"}}, 422, "no scenario of qgasim is called"),
        ({"scenario": {"guest": {"hostnme": "x"}}}, 422, "unknown key 'hostnme' (did you mean 'h"),
        ({"scenario": {"fleet": {"a": {}}}}, 422, "a fleet is several guests"),
        ({"listen": "stdio"}, 422, "stdio"),
        ({"qmp": ["stdio"]}, 422, "qmp: only the guest"),
        ({"listen": "unix"}, 422, "expected unix:PATH"),
        ({"listen": "unix:/nowhere/x"}, 409, "cannot listen"),
        ({"agent": "77"}, 422, "no such release: '77'"),
        ({"nam": "x"}, 422, "unknown key 'nam' (did you mean 'name'?)"),
    ],
    ids=str,
)
def test_what_cannot_be_created_is_told(api: Api, body: object, status: int, text: str) -> None:
    answer = api.ask("POST /v1/guests", body)
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert text in answer.json["detail"]
    assert len(api.get("/guests")) == 1


def test_a_scenario_that_is_sent_reads_no_files_of_the_host(api: Api, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("it is secret")
    said = {"guest": {"files": {"/x": {"source": f"{tmp_path}/secret"}}}}
    answer = api.ask("POST /v1/guests", {"scenario": said})
    assert answer.status == 422
    assert "a scenario that is sent names no files of this machine" in answer.json["detail"]


def test_a_guest_that_is_not_there_is_told(api: Api) -> None:
    answer = api.ask("GET /v1/guests/gest")
    assert answer.status == 404
    assert answer.json["detail"] == "there is no guest 'gest' (did you mean 'guest'?)"


def test_the_scenario_is_given_as_yaml_and_as_json(api: Api) -> None:
    answer = api.ask("GET /v1/guests/guest/scenario")
    assert answer.headers["Content-Type"] == "application/yaml"
    assert answer.body.startswith(b"qgasim: 1\n")
    said = api.ask("GET /v1/guests/guest/scenario?format=json").json
    assert said["guest"]["hostname"] == "debian"
    # It makes the same guest again.
    made = api.post("/guests", {"name": "twin", "scenario": answer.body.decode()})
    mine = api.get("/guests/guest")
    for name in ("nics", "disks", "users", "hostname", "agent"):
        assert made[name] == mine[name]


def test_a_merge_patch_changes_what_it_names(api: Api) -> None:
    before = api.get("/guests/guest")
    nics = [*before["nics"], {"name": "eth9", "addresses": ["192.0.2.99/24"]}]
    answer = api.ask(
        "PATCH /v1/guests/guest",
        {"hostname": "other", "nics": nics, "vcpus": 4, "users": {"bob": {"uid": 1234}}},
    )
    assert answer.status == 200, answer
    with SyncClient(path_of(api)) as client:
        assert client.call("guest-get-host-name") == {"host-name": "other"}
        assert len(client.call("guest-get-vcpus")) == 4
        found = client.call("guest-network-get-interfaces")
    assert "eth9" in [nic["name"] for nic in found]
    passwd = api.ask("GET /v1/guests/guest/files/etc/passwd").body
    assert b"bob:x:1234:1234::/home/bob:/bin/sh\n" in passwd
    assert passwd.startswith(b"root:x:0:0:")
    # null removes a member of a mapping.
    answer = api.ask("PATCH /v1/guests/guest", {"users": {"bob": None}})
    assert "bob" not in answer.json["users"]
    assert answer.json["users"] == before["users"]
    assert b"bob" not in api.ask("GET /v1/guests/guest/files/etc/passwd").body


def test_a_patch_keeps_a_password_that_was_set(api: Api) -> None:
    set_password = {"username": "debian", "password": "c2VjcmV0", "crypted": True}
    assert "return" in api.post(
        "/guests/guest/call", {"execute": "guest-set-user-password", "arguments": set_password}
    )
    before = api.ask("GET /v1/guests/guest/files/etc/shadow").body
    api.ask("PATCH /v1/guests/guest", {"users": {"bob": {}}})
    after = api.ask("GET /v1/guests/guest/files/etc/shadow").body
    assert after.startswith(before)


def test_commands_are_blocked_and_quirks_switched(api: Api) -> None:
    api.ask("PATCH /v1/guests/guest", {"block_rpcs": ["guest-get-time"]})
    said = api.post("/guests/guest/call", {"execute": "guest-get-time"})
    assert said["error"]["class"] == "CommandNotFound"
    api.ask("PATCH /v1/guests/guest", {"block_rpcs": []})
    assert "return" in api.post("/guests/guest/call", {"execute": "guest-get-time"})

    status = {"execute": "guest-exec-status", "arguments": {"pid": 1}}
    plain = api.post("/guests/guest/call", status)
    answer = api.ask("PATCH /v1/guests/guest", {"quirks": {"pid_ld": "on"}})
    assert answer.json["quirks"] == {"pid_ld": "on"}
    assert api.post("/guests/guest/call", status)["error"]["desc"] == "PID ld does not exist"
    api.ask("PATCH /v1/guests/guest", {"quirks": {"pid_ld": None}})
    assert api.post("/guests/guest/call", status) == plain


def test_programs_are_given_results(api: Api) -> None:
    program = {"path": "/usr/bin/lvs", "stdout": "none\n", "exit_code": 3}
    api.ask("PATCH /v1/guests/guest", {"programs": [program]})
    result = api.post("/guests/guest/exec", {"path": "/usr/bin/lvs"})
    assert (result["exitcode"], result["stdout"]) == (3, "none\n")
    api.ask("PATCH /v1/guests/guest", {"programs": []})
    assert api.ask("GET /v1/guests/guest/files/usr/bin/lvs").status == 404


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"nics": [{"name": "a", "mtu": -1}]}, "nics[0].mtu"),
        ({"nics": [{"name": "a"}, {"name": "a"}]}, "the name 'a' twice"),
        ({"hostname": None}, "hostname: cannot be removed"),
        ({"hostnam": "x"}, "unknown key 'hostnam' (did you mean 'hostname'?)"),
        ({"state": "up"}, "unknown key 'state'"),
        ({"quirks": {"pid_l": "on"}}, "no such quirk (did you mean 'pid_ld'?)"),
        ({"vcpus": 0}, "vcpus"),
        ([], "expected a mapping"),
    ],
    ids=str,
)
def test_what_cannot_be_patched_changes_nothing(api: Api, body: object, text: str) -> None:
    before = api.get("/guests/guest")
    answer = api.ask("PATCH /v1/guests/guest", body)
    assert answer.status == 422, answer
    assert text in answer.json["detail"]
    after = api.get("/guests/guest")
    assert {**after, "uptime": 0} == {**before, "uptime": 0}


def test_a_reset_guest_is_as_at_first(api: Api) -> None:
    path = path_of(api)
    api.ask("PATCH /v1/guests/guest", {"hostname": "other"})
    api.post("/guests/guest/faults", {"kind": "ignore", "on": "guest-ping"})
    api.post("/guests/guest/reset")
    assert api.get("/guests/guest")["hostname"] == "debian"
    assert api.get("/guests/guest/faults") == []
    assert api.get("/guests/guest/journal")["entries"] == []
    assert path_of(api) == path
    with SyncClient(path) as client:
        assert client.call("guest-ping") == {}


def test_a_deleted_guest_ends_its_client_streams_and_waits(api: Api) -> None:
    path = path_of(api)
    with SyncClient(path) as client:
        stream = api.open("GET /v1/guests/guest/journal/stream?last_event_id=0")
        assert stream.status == 200
        assert read_event(stream)[0] == "created"
        waiting = api.other()
        waiting.connection.request(
            "POST", "/v1/guests/guest/wait", b'{"command": "guest-get-time", "within": "20s"}'
        )
        # It is being answered by the time that another request on a later connection is.
        api.get("/health")
        api.delete("/guests/guest")
        assert client._socket.recv(10) == b""
        while (event := read_event(stream))[0] != "deleted":
            assert event[0] in {"entry", "update"}
        assert read_event(stream) == ("", "", None)
        answer = waiting.connection.getresponse()
        assert answer.status in {404, 410}
        assert b"guest" in answer.read()
    assert not os.path.exists(path)
    assert api.ask("GET /v1/guests/guest").status == 404


def test_a_guest_can_be_created_again_under_the_same_name(api: Api) -> None:
    for _ in range(3):
        api.delete("/guests/guest")
        assert api.post("/guests", {"name": "guest"})["state"] == "up"
