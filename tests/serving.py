"""Guests for tests: asked directly, or served on a socket."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import trio
import trio.testing

from qgasim.agent.observer import Observer
from qgasim.effects import Effect
from qgasim.guest.system.clock import SteeredClock
from qgasim.scenario import Blueprint, library, load, loads
from qgasim.serving.threads import ServerThread
from qgasim.simulation.simulation import Simulation
from qgasim.wire import Message

SECOND = 1_000_000_000
#: How long a test waits for what never happens if the test passes, on a machine that does much else.
PATIENCE = 60.0


@lru_cache
def all_guests() -> tuple[str, ...]:
    """Return the names of all guests that come with qgasim, those of fleets one by one."""
    names: list[str] = []
    for name, path in library().items():
        # Read only if need be: this is asked for when tests are collected, by each worker.
        guests = load(name).guests() if "fleet" in path.read_text() else [""]
        names += [f"{name}#{guest}" if guest else name for guest in guests]
    return tuple(names)


class HandClock:
    """Stands still until it is advanced."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def blueprint(scenario: str, release: str | None = None) -> Blueprint:
    """Read a scenario, if it is a file that may be another by now; else only once."""
    is_file = ":" not in scenario and "/" in scenario
    return (_read_blueprint if is_file else _keep_blueprint)(scenario, release)


def _read_blueprint(scenario: str, release: str | None) -> Blueprint:
    loaded = loads(scenario) if ":" in scenario else load(scenario)
    if release is not None:
        loaded.agent.release = release
    return Blueprint(loaded)


_keep_blueprint = lru_cache(maxsize=256)(_read_blueprint)


class Course:
    """A guest and its agent on a clock that is advanced by hand: no sockets, no waiting."""

    def __init__(self, scenario: str = "qgasim: 1", *, release: str | None = None) -> None:
        """Build a scenario: the text of one, or the name or path of one, with another *release*."""
        self.clock = HandClock()
        self.take(blueprint(scenario, release).build(self.clock))
        self.clock.now = 12 * SECOND

    def take(self, simulation: Simulation) -> None:
        """Go on with another simulation, on the same clock."""
        self.simulation = simulation
        self.channel = simulation.channel
        self.agent = simulation.agent
        self.guest = simulation.guest

    def effects(self, data: bytes) -> list[Effect]:
        """Send *data*; give all effects. An error of qgasim is raised, though the agent has answered it."""
        effects = list(self.channel.receive(data))
        if self.agent.failure is not None:
            raise self.agent.failure
        return effects

    def send(self, data: bytes) -> bytes:
        """Send *data*; give the replies."""
        return b"".join(effect for effect in self.effects(data) if type(effect) is bytes)

    def say(self, command: str, **arguments: Any) -> Any:
        """Execute *command* (``_`` in arguments' names means ``-``); give the reply as a value."""
        reply = self.send(request(command, **arguments))
        return json.loads(reply) if reply else None

    def advance(self, seconds: float) -> bytes:
        """Let guest time pass; give what the agent sends by itself."""
        self.clock.now += int(seconds * SECOND)
        return self._wake()

    def catch_up(self) -> bytes:
        """Look at a guest that is late until it is not, as a driver does at once."""
        sent = b""
        while self.guest.processes.is_late:
            sent += self._wake()
        return sent

    def _wake(self) -> bytes:
        return b"".join(effect for effect in self.channel.wake() if type(effect) is bytes)

    def kill_agent(self, number: int = 9) -> None:
        """Send the agent's process a signal from inside the guest."""
        assert self.agent.process is not None
        self.guest.processes.kill(self.agent.process.pid, number)


class _Exchanges(Observer):
    def __init__(self, note: Callable[[Message, bytes], None]) -> None:
        self.note = note

    def exchanged(self, request: Message, reply: bytes) -> None:
        self.note(request, reply)


def on_exchange(simulation: Simulation, note: Callable[[Message, bytes], None]) -> None:
    """Call *note* with each request and its reply."""
    simulation.observe(_Exchanges(note))


def error(reply: Any) -> str:
    """Return the text of an error reply."""
    return str(reply["error"]["desc"])


def request(command: str, **arguments: Any) -> bytes:
    """Write a request."""
    message: dict[str, Any] = {"execute": command}
    if arguments:
        message["arguments"] = {name.replace("_", "-"): v for name, v in arguments.items()}
    return json.dumps(message).encode()


@contextmanager
def serving(
    directory: Path, scenario: str = "debian-12", *, rate: float = 1
) -> Iterator[ServerThread]:
    """Serve a shipped scenario, or the text of one, on a socket in *directory*.

    *rate*: how many seconds of the guest pass in one of the test.
    """
    clock = SteeredClock()
    clock.rate = rate
    with ServerThread(blueprint(scenario).build(clock), str(directory / "s")) as thread:
        yield thread


@contextmanager
def busy(directory: Path) -> Iterator[str]:
    """Serve a guest to one client while two wait, which is all that its queue takes; give its path."""
    with serving(directory) as thread, connect(thread.path) as first:
        first.sendall(b'{"execute":"guest-ping"}')
        read_line(first)
        with connect(thread.path), connect(thread.path):
            yield thread.path


def settle(call: Callable[[Callable[[], object]], object]) -> None:
    """Wait until a server has read and answered what was sent: nothing in its thread can go on.

    *call*: calls a function in the server's thread.
    """
    idle = threading.Event()

    async def wait() -> None:
        await trio.testing.wait_all_tasks_blocked()
        idle.set()

    call(lambda: trio.lowlevel.spawn_system_task(wait))
    assert idle.wait(PATIENCE)


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def read_line(sock: socket.socket) -> bytes:
    """Read a line, not one byte more; what there was if the connection ended before."""
    line = bytearray()
    while not line.endswith(b"\n"):
        there = sock.recv(1 << 16, socket.MSG_PEEK)
        if not there:
            break
        line += sock.recv(there.find(b"\n") + 1 or len(there))
    return bytes(line)
