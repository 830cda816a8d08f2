"""What the naive client does to its users, found without a virtual machine.

Each test says what a right client would do; as the client is wrong, each is expected to fail.
"""

from collections.abc import Iterator

import pytest
from naive_client import NaiveClient

from qgasim import LiveGuest


@pytest.fixture
def client(qga: LiveGuest) -> Iterator[NaiveClient]:
    made = NaiveClient(qga.socket_path)
    yield made
    made.close()


@pytest.mark.xfail(
    raises=KeyError, strict=True, reason="an interface without addresses has no list"
)
def test_an_interface_without_addresses_is_skipped(qga: LiveGuest, client: NaiveClient) -> None:
    qga.guest.nics["enp1s0"].addresses.clear()
    assert client.addresses() == ["127.0.0.1", "::1"]


@pytest.mark.xfail(strict=True, reason="the guest stays frozen")
@pytest.mark.qgasim(findings="off")
def test_what_was_frozen_is_thawed_if_the_copy_fails(qga: LiveGuest, client: NaiveClient) -> None:
    def fail() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        client.backup(fail)
    assert qga.state == "up"


@pytest.mark.xfail(raises=OSError, strict=True, reason="a time-out has closed its file for good")
def test_a_late_answer_is_not_taken_for_the_next_one(qga: LiveGuest, client: NaiveClient) -> None:
    qga.clock.stop()
    qga.inject(kind="delay", on="guest-get-host-name", by="5s", times=1)
    with pytest.raises(TimeoutError):
        client.call("guest-get-host-name")
    qga.clock.advance("10s")
    assert client.call("guest-get-timezone")["zone"] == "UTC"


@pytest.mark.xfail(raises=KeyError, strict=True, reason="there is no exit code then")
def test_a_program_that_a_signal_ended_has_failed(qga: LiveGuest, client: NaiveClient) -> None:
    assert client.run("sh", "-c", "kill -9 $$") != 0


@pytest.mark.xfail(strict=True, reason="it asks a thousand times a second")
def test_a_program_that_runs_long_is_not_asked_all_the_time(
    qga: LiveGuest, client: NaiveClient
) -> None:
    client.run("sleep", "1")
    assert "polling-too-fast" not in [finding.kind.name for finding in qga.findings()]
