"""Guests that another process serves, and that it has announced."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlling import Api, controlled, read_event

GUEST = "/v1/guests/db1"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Api]:
    directory = tmp_path / "hub"
    directory.mkdir()
    with controlled(directory) as api:
        yield api


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Api]:
    """The API of another process, with a guest of its own."""
    directory = tmp_path / "other"
    directory.mkdir()
    with controlled(directory) as api:
        api.post("/guests", {"name": "db1", "agent": "8.2"})
        yield api


@pytest.fixture
def attached(hub: Api, other: Api) -> Api:
    """The hub, with the guest of the other process."""
    assert (
        hub.ask("POST /v1/remotes", {"name": "db1", "control": f"unix:{other.path}"}).status == 201
    )
    return hub


def test_what_is_asked_about_it_is_passed_on(attached: Api, other: Api) -> None:
    assert [guest["name"] for guest in attached.get("/guests")] == ["guest", "db1"]
    assert attached.get("/guests/db1")["agent"].startswith("8.2")
    assert attached.get("/health")["guests"] == 2
    fault = {"kind": "error", "on": "guest-ping", "desc": "no"}
    answer = attached.ask(f"POST {GUEST}/faults", fault)
    assert (answer.status, answer.headers["Location"]) == (201, f"{GUEST}/faults/1")
    assert other.get("/guests/db1/faults")[0]["fault"] == fault
    assert attached.post("/guests/db1/call", {"execute": "guest-ping"})["error"]["desc"] == "no"
    assert attached.ask(f"PUT {GUEST}/files/tmp/x", b"hello").status == 204
    assert attached.ask(f"GET {GUEST}/files/tmp/x").body == b"hello"
    assert attached.ask(f"HEAD {GUEST}/files/tmp/x").headers["Content-Length"] == "5"
    # What is wrong is told in the words of the other.
    answer = attached.ask(f"POST {GUEST}/events", b"do: rebot\n", Content_Type="application/yaml")
    assert answer.status == 422
    assert "did you mean 'reboot'?" in answer.json["detail"]


def test_what_happens_to_it_is_in_the_stream_of_all(attached: Api) -> None:
    stream = attached.open("GET /v1/stream?lines=true")
    own = attached.open(f"GET {GUEST}/journal/stream")
    attached.post("/guests/db1/events", {"do": "panic"})
    kind, _, said = read_event(stream)
    assert (kind, said["guest"], said["kind"]) == ("entry", "db1", "state")
    assert said["line"].endswith(said["text"])
    assert read_event(own)[2]["text"] == said["text"]


def test_it_ends_with_its_process(attached: Api, other: Api) -> None:
    stream = attached.open("GET /v1/stream")
    other.delete("/guests/db1")
    kinds = [read_event(stream) for _ in range(1)]
    assert (kinds[0][0], kinds[0][2]) == ("deleted", {"guest": "db1"})
    assert [guest["name"] for guest in attached.get("/guests")] == ["guest"]
    assert attached.ask(f"GET {GUEST}").status == 404


def test_what_cannot_be_attached_is_told(attached: Api, other: Api, tmp_path: Path) -> None:
    there = f"unix:{other.path}"
    for name, control, status in (
        ("db1", there, 409),
        ("guest", there, 409),
        ("nosuch", there, 424),
        ("x", f"unix:{tmp_path}/nothing", 424),
        ("x", "vsock:3:4", 422),
        ("x", "here", 422),
    ):
        answer = attached.ask("POST /v1/remotes", {"name": name, "control": control})
        assert answer.status == status, (name, control, answer)
    assert attached.ask("POST /v1/guests", {"name": "db1"}).status == 409


@pytest.mark.slow
def test_qgasim_qemu_announces_its_guest(hub: Api, tmp_path: Path) -> None:
    stream = hub.open("GET /v1/stream")
    command = [
        sys.executable,
        "-c",
        "import sys; from qgasim.emulator import main; sys.exit(main())",
    ]
    chardev = f"socket,id=c,path={tmp_path}/qga,server=on,wait=off"
    port = "virtserialport,chardev=c,name=org.qemu.guest_agent.0"
    words = ["-name", "guest", "-chardev", chardev, "-device", port]
    with subprocess.Popen(
        [*command, *words],
        env={
            **os.environ,
            "QGASIM_CONTROL": f"unix:{hub.path}",
            "PYTHONPATH": ":".join(sys.path),
        },
    ) as process:
        kind, _, said = read_event(stream)
        # The hub has a guest of this name already.
        name = f"guest-{process.pid}"
        assert (kind, said) == ("created", {"guest": name})
        assert hub.get(f"/guests/{name}")["address"] == f"unix:{tmp_path}/qga"
        assert hub.post(f"/guests/{name}/call", {"execute": "guest-ping"}) == {"return": {}}
        for refused in (f"POST /v1/guests/{name}/reset", f"DELETE /v1/guests/{name}"):
            assert hub.ask(refused).status == 409
        process.terminate()
        assert process.wait(10) == 0
    while read_event(stream)[0] != "deleted":
        pass


@pytest.mark.slow
def test_an_emulator_announces_its_guest_whenever_the_api_is_there(tmp_path: Path) -> None:
    directory = tmp_path / "hub"
    directory.mkdir()
    command = [
        sys.executable,
        "-c",
        "import sys; from qgasim.emulator import main; sys.exit(main())",
    ]
    environment = {
        **os.environ,
        "QGASIM_CONTROL": f"unix:{directory}/control.sock",
        "PYTHONPATH": ":".join(sys.path),
    }
    with subprocess.Popen(
        [*command, "-name", "vm1", "-qmp", f"unix:{tmp_path}/qmp,server=on,wait=off"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == (
            f"qgasim: not announced yet: unix:{directory}/control.sock: No such file or directory\n"
        )
        # When the API is there, and again when that was restarted.
        for _ in range(2):
            with controlled(directory) as hub:
                stream = hub.open("GET /v1/stream?last_event_id=0")
                while read_event(stream)[2]["guest"] != "vm1":
                    pass
                assert [guest["name"] for guest in hub.get("/guests")] == ["guest", "vm1"]
        process.terminate()
        assert process.wait(10) == 0
