"""A user's tests, typed strictly: qgasim must be as typed as it says (py.typed)."""

from pathlib import Path

import pytest
from backup import back_up

from qgasim import (
    ClientError,
    Hang,
    LiveGuest,
    Scenario,
    ServerThread,
    SyncClient,
    load,
    loads,
    verify,
)


def test_it_thaws_what_it_froze(qga: LiveGuest) -> None:
    assert back_up(qga.socket_path) > 0
    qga.verify("guest-fsfreeze-thaw", after="guest-fsfreeze-freeze", within="10s")
    assert qga.state == "up"


@pytest.mark.qgasim(agent="10.0")
def test_it_tells_that_a_guest_hangs(qga: LiveGuest) -> None:
    qga.inject(Hang(on="guest-fsfreeze-freeze"))
    with SyncClient(qga.socket_path, timeout=0.1) as client, pytest.raises(ClientError):
        client.call("guest-fsfreeze-freeze")


def test_a_guest_is_made_without_a_fixture(tmp_path: Path) -> None:
    scenario: Scenario = loads("{qgasim: 1, extends: debian-12, guest: {hostname: db1}}")
    simulation = scenario.build()
    with ServerThread(simulation, str(tmp_path / "s")) as thread, SyncClient(thread.path) as client:
        name: str = client.call("guest-get-host-name")["host-name"]
    assert name == "db1"
    assert load("debian-12").seed == 0
    assert callable(verify)
