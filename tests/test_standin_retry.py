"""An agent that opens its channel again: it is the same agent, behind the same channel."""

import socket
from pathlib import Path

import pytest
import trio

from qgasim.effects import Close
from qgasim.serving.listen import AgentSocket
from qgasim.serving.server import Server
from qgasim.simulation.channel import Channel
from qgasim.simulation.journal import Journal
from qgasim.simulation.simulation import Simulation
from qgasim.standin import endpoints, guest
from qgasim.standin.config import Config
from qgasim.standin.endpoints import AgentListener, Opening
from qgasim.standin.log import Log
from tests.serving import PATIENCE

PING = b'{"execute":"guest-ping"}\n'
NEMESIS = """\
qgasim: 1
nemesis: {rate: 60, lasts: 1m, longest: 1ms}
"""


@pytest.fixture
def simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    """Return what ``qgasim-ga -m unix-listen --retry-path`` serves, with a nemesis."""
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(NEMESIS)
    monkeypatch.setenv("QGASIM_SCENARIO", str(scenario))
    config = Config(texts={"method": "unix-listen"})
    config.flags["retry-path"] = True
    return guest.build(config)


@pytest.fixture
def channel(simulation: Simulation) -> Channel:
    return simulation.channel


def break_channel(channel: Channel) -> None:
    list(channel.connect())
    list(channel.receive(PING))
    channel.lose_client(unread=b"some")


def test_a_lost_channel_lets_no_client_connect_until_it_is_opened_again(channel: Channel) -> None:
    process = channel.agent.process
    break_channel(channel)
    assert (channel.is_lost, channel.is_open) == (True, False)
    channel.reopen()
    assert (channel.is_lost, channel.is_open) == (False, True)
    assert channel.agent.process is process is not None


def test_a_channel_that_is_lost_while_its_agent_is_busy_is_lost_when_that_is_done(
    channel: Channel,
) -> None:
    list(channel.connect())
    channel.defer(1, iter(()))
    channel.lose_client(unread=b"some")
    assert channel.is_open
    # The next client is there already: it loses its connection, and what it asked for.
    list(channel.connect())
    assert list(channel.receive(PING)) == [Close()]
    assert channel.is_lost
    assert channel.waiting == []


def test_a_channel_that_was_opened_again_is_the_same(simulation: Simulation) -> None:
    journal = Journal(simulation)
    channel = simulation.channel
    saved: list[Channel] = []
    save = channel.save
    channel.save = lambda: (saved.append(channel), save())[1]  # type: ignore[method-assign, func-returns-value]
    break_channel(channel)
    channel.reopen()
    simulation.snapshots.take("then")
    assert saved == [channel]
    assert simulation.channel is channel
    assert journal.transcript().startswith("# drawn by the nemesis")
    assert journal.drawn().startswith("# drawn by the nemesis")


def test_a_server_opens_a_lost_channel_again(
    simulation: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "RETRY_INTERVAL", 0)
    path = str(tmp_path / "s")
    journal, channel = Journal(simulation), simulation.channel
    server = Server(simulation, AgentListener(AgentSocket(path), Opening(Log(), retries=True)))

    reopened = trio.Event()
    reopen = channel.reopen
    monkeypatch.setattr(channel, "reopen", lambda: (reopen(), reopened.set()))

    async def main() -> bytes:
        server.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve)
            with trio.fail_after(PATIENCE):
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(path)
                    sock.sendall(PING + b'{"execute":"guest-')
                    while not journal.exchanges:
                        await trio.lowlevel.checkpoint()
                    # It is closed with the reply unread.
                await reopened.wait()
                async with await trio.open_unix_socket(path) as stream:
                    await stream.send_all(b'ping"}')
                    reply = bytes(await stream.receive_some())
            nursery.cancel_scope.cancel()
        return reply

    assert trio.run(main) == b'{"return": {}}\n'
    assert journal.transcript().startswith("# drawn by the nemesis")
