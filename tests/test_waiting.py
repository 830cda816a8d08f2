"""Waiting for a guest: until it is in a state, until its client has asked for something."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio

from qgasim import Client, SyncClient, VerificationError
from qgasim.testing.live import LiveGuest
from qgasim.testing.trio_guest import TrioGuest


@contextmanager
def meanwhile(function: Callable[[], object]) -> Iterator[None]:
    """Call *function* in another thread."""
    thread = threading.Thread(target=function)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def ping(live: LiveGuest) -> None:
    with SyncClient(live.socket_path) as client:
        client.call("guest-ping")


def observers(live: LiveGuest) -> int:
    return len(live.simulation.agent.observers)


# -- in a thread -------------------------------------------------------------------------------------


def test_a_state_that_is_reached_later_is_waited_for(qga: LiveGuest) -> None:
    before = observers(qga)
    qga.clock.stop()
    qga.reboot()
    with meanwhile(lambda: qga.clock.advance("10m")):
        qga.wait_for(state="up", within="30s")
    assert qga.state == "up"
    assert observers(qga) == before


def test_the_end_of_a_pause_is_waited_for(qga: LiveGuest) -> None:
    qga.clock.stop()
    qga.pause(lasts="1m")
    with meanwhile(lambda: qga.clock.advance("2m")):
        qga.wait_for(state="up", within="30s")
    pause, end = (e for e in qga.journal.entries if e.to_json()["kind"] == "state")
    # The guest's time has stood still.
    assert (str(end), end.at) == (str(pause).replace("up → paused", "paused → up"), pause.at)


def test_a_state_that_the_guest_is_in_needs_no_time(qga: LiveGuest) -> None:
    qga.wait_for(state="up", within=0)


def test_a_state_that_is_not_reached_is_told_with_the_one_that_is(qga: LiveGuest) -> None:
    before = observers(qga)
    qga.clock.stop()
    qga.reboot()
    with pytest.raises(VerificationError) as raised:
        qga.wait_for(state="up", within=0)
    assert str(raised.value) == (
        "expected the guest to be up within 0 s, found rebooting\n"
        "(its clock stands still: qga.clock.advance() lets time pass)"
    )
    assert observers(qga) == before


def test_a_state_that_there_is_not_is_refused(qga: LiveGuest) -> None:
    with pytest.raises(ValueError, match=r"^no such state: 'frozn' \(did you mean 'frozen'\?\)$"):
        qga.wait_for(state="frozn")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_request_that_comes_later_is_waited_for(qga: LiveGuest) -> None:
    before = observers(qga)
    with meanwhile(lambda: ping(qga)):
        exchange = qga.wait_request("guest-ping", within="30s")
    assert exchange.command == "guest-ping"
    assert observers(qga) == before


def test_requests_that_came_before_count(qga: LiveGuest) -> None:
    ping(qga)
    ping(qga)
    assert qga.wait_request("guest-p*", times=2, within=0) is qga.journal.exchanges[-1]


@pytest.mark.qgasim(findings="off")  # handles stay open
def test_arguments_and_how_often_tell_requests_apart(qga: LiveGuest) -> None:
    def ask() -> None:
        with SyncClient(qga.socket_path) as client:
            for path in ("/etc/hostname", "/etc/motd", "/etc/hostname"):
                client.request({"execute": "guest-file-open", "arguments": {"path": path}})

    with meanwhile(ask):
        asked = {"path": {"glob": "*/hostname"}}
        exchange = qga.wait_request("guest-file-open", arguments=asked, times=2, within="30s")
    assert exchange is [e for e in qga.journal.exchanges if e.arguments.get("path")][-1]


def test_a_request_that_does_not_come_is_told_with_what_came_near(qga: LiveGuest) -> None:
    with SyncClient(qga.socket_path) as client:
        client.request({"execute": "guest-file-open", "arguments": {"path": "/etc/motd"}})
    with pytest.raises(VerificationError) as raised:
        qga.wait_request("guest-file-open", arguments={"path": "/etc/hostname"}, within=0)
    first, *rest = str(raised.value).splitlines()
    assert first.endswith("within 0 s, found none")
    assert 'called with path="/etc/motd"' in "\n".join(rest)


def test_a_command_that_no_release_has_is_refused(qga: LiveGuest) -> None:
    with pytest.raises(
        ValueError, match=r"has a command 'guest-pin' \(did you mean 'guest-ping'\?\)"
    ):
        qga.wait_request("guest-pin")


@pytest.mark.qgasim(machine={})
def test_a_request_to_the_monitor_is_waited_for(qga: LiveGuest) -> None:
    def ask() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(qga.qmp_path)
            with client.makefile("rb") as lines:
                for command in ("qmp_capabilities", "query-status"):
                    lines.readline()
                    client.sendall(json.dumps({"execute": command}).encode())
                lines.readline()

    with meanwhile(ask):
        exchange = qga.wait_request("qmp:query-status", within="30s")
    assert exchange.command == "qmp:query-status"


# -- in a task ---------------------------------------------------------------------------------------


def test_tasks_of_asyncio_wait(qga: LiveGuest) -> None:
    before = observers(qga)

    async def wait() -> None:
        asked = asyncio.to_thread(ping, qga)
        exchange, _ = await asyncio.gather(
            qga.async_wait_request("guest-ping", within="30s"), asked
        )
        assert exchange.command == "guest-ping"
        await qga.async_wait_for(state="up", within="30s")
        with pytest.raises(VerificationError, match=r"^expected the guest to be off within 0 s"):
            await qga.async_wait_for(state="off", within=0)
        task = asyncio.create_task(qga.async_wait_for(state="off", within="1h"))
        await asyncio.sleep(0)
        assert observers(qga) == before + 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(wait())
    assert observers(qga) == before


@pytest.mark.trio
async def test_tasks_of_trio_wait_for_a_guest_in_a_thread(qga: LiveGuest) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, ping, qga)
        exchange = await qga.async_wait_request("guest-ping", within="30s")
    assert exchange.command == "guest-ping"


@pytest.mark.trio
async def test_tasks_of_trio_wait_on_its_clock(
    qga_trio: TrioGuest, autojump_clock: trio.testing.MockClock
) -> None:
    async def ask_later() -> None:
        await trio.sleep(3600)
        async with Client(await qga_trio.open_stream()) as client:
            await client.call("guest-ping")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_later)
        with pytest.raises(VerificationError, match="within 60 s, found none"):
            await qga_trio.async_wait_request("guest-ping", within="1m")
        await qga_trio.async_wait_request("guest-ping", within="2h")
    qga_trio.reboot()
    await qga_trio.async_wait_for(state="up", within="10m")
    before = observers(qga_trio)
    with trio.move_on_after(1) as scope:
        await qga_trio.async_wait_for(state="off", within="1h")
    assert scope.cancelled_caught
    assert observers(qga_trio) == before


@pytest.mark.trio
async def test_the_task_that_serves_a_guest_looks_without_waiting(qga_trio: TrioGuest) -> None:
    qga_trio.wait_for(state="up")
    with pytest.raises(VerificationError, match="found none"):
        qga_trio.wait_request("guest-ping", within="1h")
