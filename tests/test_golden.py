"""Every recorded exchange of a real agent, replayed.

One release and all connections over a real socket. What a socket and a server add is the same for all
releases, so the exchanges of the others are replayed without.
"""

import fnmatch
import json
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from qgasim.cli.options import serve_parser, with_options
from qgasim.conversation import Step, unpack
from qgasim.conversation.reading import parse_conversation
from qgasim.effects import Effect, Wait
from qgasim.scenario import Blueprint, load
from qgasim.serving.server import Server
from qgasim.serving.threads import ServerThreadPool
from qgasim.simulation.simulation import Simulation
from tests.golden_cases import (
    EXCEPTIONS,
    GOLDEN,
    RECORDED,
    ROOT,
    VARIANTS,
    families,
    mask,
    read_family,
    variant_of,
)
from tests.offenders import Offenders
from tests.serving import PATIENCE, HandClock, settle

T = TypeVar("T")
BASELINE = re.compile(
    rb'{"error": {"class": "GenericError", '
    rb'"desc": "(\d+:\d+: )?JSON parse error, stray \'\\uFFFD\'"}}\n'
)
RESYNC_ID = 987_654_321
RESYNC = b'\xff{"execute":"guest-sync-delimited","arguments":{"id":%d}}\n' % RESYNC_ID
MARK = b'\xff{"return": %d}\n' % RESYNC_ID
SECOND = 1_000_000_000
#: How long the recorded agents had been up.
UPTIME = 12 * SECOND
#: Cases with megabytes: a test of their own, which `make test-quick` leaves out, as most of the releases. They
#: are replayed for the oldest release, the usual one and the newest, each with a reader of its own.
LARGE = re.compile(r".*/(wire/token-.*-64mib|file/read-48mib-of-zeros|exec/output-over-16mib)")
OF_MEGABYTES = ("3.1", "7.2", "11.1")
QUICK = ("7.2",)
#: The release whose exchanges are replayed over a socket.
SERVED = "7.2/"
#: Cases that are compared up to a step. README.md says that all captures after the first vary from run to run;
#: 10.2 and 11.1, recorded once each, agree in every step, and 10.0 agrees with them up to this one.
VARYING = {"10.0/exec/capture-stdout-spoils-later-captures": 10}
#: Files of which a whole test is made, beside those of connections.
FAMILIES = [
    f"{release}/{family}"
    for release in RECORDED
    for family in families(release)
    if not family.startswith("conn-")
]


def cases(family: str) -> dict[str, list[Step]]:
    """Return the cases of a file, such as ``7.2/wire``."""
    release, _, name = family.partition("/")
    return {f"{release}/{case}": steps for case, steps in read_family(release, name).items()}


def recorded(kind: str) -> list[str]:
    """Return the files of a *kind* that there are."""
    return [f"{release}/{kind}" for release in RECORDED if kind in families(release)]


class HastyClock:
    """Runs as the host's, and can be advanced."""

    def __init__(self) -> None:
        self.ahead = -time.monotonic_ns()

    def __call__(self) -> int:
        return time.monotonic_ns() + self.ahead


class Replay(Protocol):
    """One case under replay, on a fresh guest."""

    simulation: Simulation

    def ask(self, request: bytes, expected: bytes) -> bytes:
        """Send *request* and return the reply; *expected* is what was recorded."""
        ...

    def advance(self, seconds: float) -> None:
        """Let guest time pass, and see to what happens in it."""
        ...

    def wake(self) -> None:
        """Wake the guest as QEMU's `system_wakeup` does."""
        ...


class Direct:
    """A replay without a server: what the channel yields is what the client receives."""

    def __init__(self, case: str) -> None:
        self.clock = HandClock()
        self.simulation = build(case, self.clock)
        self.clock.now = UPTIME
        self.received = b""

    def ask(self, request: bytes, expected: bytes) -> bytes:
        channel = self.simulation.channel
        self.perform(channel.receive(request))
        while self.received.count(b"\n") < expected.count(b"\n"):
            due = channel.next_event()
            if due is None:
                break
            self.clock.now += max(0, due - self.simulation.guest.clock.uptime())
            self.perform(channel.wake())
        found, self.received = self.received, b""
        return found

    def perform(self, effects: Iterator[Effect]) -> None:
        for effect in effects:
            if type(effect) is bytes:
                self.received += effect
            elif isinstance(effect, Wait):
                self.simulation.channel.defer(effect.until, effects)
                break

    def advance(self, seconds: float) -> None:
        self.clock.now += int(seconds * SECOND)
        self.perform(self.simulation.channel.wake())
        while self.simulation.guest.processes.is_late:
            self.perform(self.simulation.channel.wake())

    def wake(self) -> None:
        self.simulation.guest.power.wake()


class Served:
    """A replay over a socket."""

    sock: socket.socket

    def __init__(self, host: ServerThreadPool, server: Server, clock: HastyClock) -> None:
        self.host = host
        self.server = server
        self.path = str(server.address)
        self.clock = clock
        self.simulation = server.simulation

    def connect(self) -> socket.socket:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)
        return self.sock

    def call(self, function: Callable[[], T]) -> T:
        return self.host.call(self.server, function)

    def ask(self, request: bytes, expected: bytes) -> bytes:
        self.sock.sendall(request)
        found = receive_lines(self.sock, expected)
        if not expected:
            settle(self.call)
        return found

    def advance(self, seconds: float) -> None:
        def step() -> None:
            self.clock.ahead += int(seconds * SECOND)
            self.simulation.guest.settle()

        self.call(step)

    def wake(self) -> None:
        self.call(self.simulation.guest.power.wake)


@cache
def blueprint(path: Path, options: tuple[str, ...]) -> Blueprint:
    """Return what is the same for all cases of a variant; each has a guest of its own."""
    return Blueprint(with_options(load(path), serve_parser().parse_args(options)))


def build(case: str, clock: Callable[[], int]) -> Simulation:
    path, options = variant_of(case)
    return blueprint(path, tuple(options)).build(clock)


class Serving:
    """Serves the guests of all cases in one thread, one after the other."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "s")
        self.host = ServerThreadPool()

    @contextmanager
    def replaying(self, case: str) -> Iterator[Served]:
        clock = HastyClock()
        simulation = build(case, clock)
        clock.ahead += UPTIME
        if not self.host.is_there:
            # A case that failed has taken it along.
            self.host = ServerThreadPool()
        server = self.host.serve(simulation, self.path)
        try:
            yield Served(self.host, server, clock)
        finally:
            has_ended = self.host.stop(server)
        if error := self.host.failure(server):
            raise error
        assert has_ended


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving(tmp_path_factory.mktemp("golden"))
    yield serving
    assert serving.host.close()


def receive(sock: socket.socket, count: int) -> bytes:
    """Receive until there are *count* bytes, or the end."""
    parts: list[bytes] = []
    while count > 0:
        data = sock.recv(min(count, 1 << 20))
        if not data:
            break
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


def receive_lines(sock: socket.socket, expected: bytes) -> bytes:
    """Receive as many lines as *expected* has."""
    if len(expected) > 1 << 20:
        return receive(sock, len(expected))
    data = b""
    while data.count(b"\n") < expected.count(b"\n"):
        more = sock.recv(1 << 16)
        if not more:
            break
        data += more
    return data


@pytest.mark.parametrize(
    "family",
    [
        family
        if family.startswith(tuple(f"{release}/" for release in QUICK))
        else pytest.param(family, marks=pytest.mark.slow)
        for family in FAMILIES
    ],
)
def test_recorded_cases_are_answered_as_recorded(family: str, serving: Serving) -> None:
    with Offenders() as offenders:
        for case, steps in cases(family).items():
            if case not in EXCEPTIONS and not LARGE.fullmatch(case):
                with offenders.case(case):
                    replay_case(serving, case, steps)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [f"{release}/{name}" for release in OF_MEGABYTES for name in ("wire", "file", "exec")]
)
def test_recorded_cases_of_megabytes_are_answered_as_recorded(
    family: str, serving: Serving
) -> None:
    large = {case: steps for case, steps in cases(family).items() if LARGE.fullmatch(case)}
    with Offenders() as offenders:
        for case, steps in large.items():
            with offenders.case(case):
                replay_case(serving, case, steps)


def test_each_exception_is_a_recorded_case() -> None:
    for case in [*EXCEPTIONS, *VARYING]:
        release, family, _ = case.split("/")
        assert case in cases(f"{release}/{family}")


def replay_case(serving: Serving, case: str, steps: list[Step]) -> None:
    if case.startswith(SERVED):
        with serving.replaying(case) as replay, replay.connect():
            replay_steps(replay, case, steps)
    else:
        direct = Direct(case)
        replay_steps(direct, case, steps)
        assert direct.simulation.agent.failure is None


def replay_steps(replay: Replay, case: str, steps: list[Step]) -> None:
    names: dict[str, int] = {}
    replay.ask(lines_before(steps), b"")
    for step in steps:
        if case in VARYING and step.step >= VARYING[case]:
            break
        if step.action:
            act(replay, step.action, step)
        elif not step.resync:
            exchange(replay, step, names)
    if replay.simulation.agent.is_up:
        resynchronise(replay, next((s for s in steps if s.resync), None))


def lines_before(steps: list[Step]) -> bytes:
    """Return what brings the agent to the line that it was at: 11.1 counts them since it was started."""
    return b"\n" * next((s.lines_before for s in steps if s.lines_before is not None), 0)


def exchange(replay: Replay, step: Step, names: dict[str, int]) -> None:
    """Send what was sent, and compare what comes; *names* are the numbers that the case has bound."""
    replay.advance(step.pause_before_ms / 1000)
    request, expected = step.sent, step.received
    for name, recorded in step.uses.items():
        if recorded == 999_999:
            continue
        ours = b"%d" % names[name]
        request = re.sub(rb"\b%d\b" % recorded, ours, request)
        expected = re.sub(rb"\b%d\b" % recorded, ours, expected)
    found = replay.ask(request, expected)
    # Most replies, and the long ones, are the same without looking at what may differ.
    assert found == expected or mask(request, found) == mask(request, expected)
    for name in step.bind:
        number = re.search(rb'"(?:return|pid)": (\d+)', found)
        assert number
        names[name] = int(number[1])
    replay.advance(((step.quiet_ms or 0) + (step.elapsed_ms or 0)) / 1000)


def act(replay: Replay, action: str, step: Step) -> None:
    """Do what the hypervisor did, and look at what it saw."""
    power = replay.simulation.guest.power
    if action.startswith("wait for "):
        replay.advance(1)
        for event in step.qmp_events or re.findall(r'"([A-Z_]+)", ', step.note):
            assert event in power.events
    elif action == "qmp system_wakeup":
        replay.wake()
        assert ("WAKEUP" in power.events) == ("WAKEUP" in step.qmp_events)
    elif action == "qmp query-status":
        is_suspended = '"suspended"' in step.note
        assert (power.state == "suspended") == is_suspended
    elif waited := re.fullmatch(r"wait ([\d.]+) s", action):
        replay.advance(float(waited[1]))
    else:
        assert action == "which helper programs the agent has run so far", action
        run = [" ".join(argv).removeprefix("/sbin/") for argv in replay.simulation.agent.helpers]
        assert run == [entry.removeprefix("/sbin/") for entry in json.loads(step.note)]


def resynchronise(replay: Replay, recorded: Step | None) -> None:
    """Do what the recorder did after each case: nothing may be left over."""
    found = replay.ask(RESYNC, b"\n" + MARK if recorded is None else recorded.received)
    assert found.endswith(MARK), found
    before = found.removesuffix(MARK)
    if recorded is None:
        assert BASELINE.fullmatch(before), before
    else:
        assert before == recorded.received.rpartition(b"\xff")[0]


# -- conn-unix -------------------------------------------------------------------------------------


def outcome(function: Any, *arguments: Any) -> str:
    """Return what the operating system said."""
    try:
        function(*arguments)
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def read_silence(
    replay: Served, sock: socket.socket, expected: bytes, end: str | None
) -> tuple[bytes, str | None]:
    """Read the lines or the end that are expected, and what else there is; tell how it ended, if it did."""
    data = b""
    sock.settimeout(PATIENCE)
    while True:
        if end is None and data.count(b"\n") >= expected.count(b"\n"):
            settle(replay.call)
            sock.settimeout(0)
        try:
            more = sock.recv(1 << 16)
        except BlockingIOError:
            return data, None
        except OSError as error:
            return data, f"{type(error).__name__}: {error}"
        finally:
            sock.settimeout(PATIENCE)
        if not more:
            return data, "EOF"
        data += more


def sent_and_closed(steps: list[Step]) -> Iterator[list[Step]]:
    """Return the steps one by one, but a request together with the close that comes before its reply."""
    left = deque(steps)
    while left:
        taken = [left.popleft()]
        if taken[0].action == "send" and left and left[0].action == "close":
            taken.append(left.popleft())
        yield taken


@pytest.mark.parametrize("family", recorded("conn-unix"))
def test_recorded_connections_are_treated_as_recorded(family: str, serving: Serving) -> None:
    with Offenders() as offenders:
        for case, steps in cases(family).items():
            with offenders.case(case):
                replay_connections(serving, case, steps)


def replay_connections(serving: Serving, case: str, steps_of_case: list[Step]) -> None:
    sockets: dict[int, socket.socket] = {}
    pids: dict[int, int] = {}
    with serving.replaying(case) as replay:
        try:
            for steps in sent_and_closed(steps_of_case):
                if "/close-before-reply" in case and steps[0].conn == 2:
                    # README.md: whether the agent ends is not reproducible.
                    break
                if len(steps) > 1:
                    # The agent must not get to answer between the two.
                    replay.call(partial(conn_steps, replay, sockets, steps, pids))
                else:
                    conn_steps(replay, sockets, steps, pids)
                if steps[-1].action == "close":
                    settle(replay.call)
        finally:
            for sock in sockets.values():
                sock.close()


def conn_steps(
    replay: Served, sockets: dict[int, socket.socket], steps: list[Step], pids: dict[int, int]
) -> None:
    for step in steps:
        conn_step(replay, sockets, step, pids)


def conn_step(
    replay: Served, sockets: dict[int, socket.socket], step: Step, pids: dict[int, int]
) -> None:
    action = step.action
    number = step.conn or 0
    if action == "connect":
        sock = sockets[number] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        result = outcome(sock.connect, replay.path) or "connected"
        if "refused" in result and step.result == "connected" and has_ended(replay):
            # The agent ended at the client before. Whether it lived to see the connection of this
            # one (which was reset then) is a race between the two, in the recordings as well.
            sockets.pop(number).close()
            return
        assert result == step.result
    elif number and number not in sockets:
        return
    elif action == "send":
        request = re.sub(rb'"pid":(\d+)', lambda m: b'"pid":%d' % pids[int(m[1])], step.sent)
        sockets[number].setblocking(True)
        assert (outcome(sockets[number].sendall, request) or "sent") == step.result
    elif action == "read":
        expected = step.received
        found, end = read_silence(replay, sockets[number], expected, step.end)
        assert mask(b"", found) == mask(b"", expected)
        if recorded := re.search(rb'"pid": (\d+)', expected):
            ours = re.search(rb'"pid": (\d+)', found)
            assert ours
            pids[int(recorded[1])] = int(ours[1])
        assert end == step.end
    elif action == "close":
        sockets[number].close()
    elif action == "shut down the sending side":
        sockets[number].shutdown(socket.SHUT_WR)
    elif action == "SIGTERM to the agent":
        replay.call(replay.simulation.agent.terminate)
    elif action == "look at the socket file":
        assert Path(replay.path).exists()
    elif action == "the agent process ended":
        assert has_ended(replay)
    else:
        waited = re.fullmatch(r"wait ([\d.]+) s", action)
        assert waited, action
        let_pass(replay, float(waited[1]))


def has_ended(replay: Served) -> bool:
    return replay.simulation.agent.process is None


def let_pass(replay: Served, seconds: float) -> None:
    """Let guest time pass, but not before what was sent has been read."""
    settle(replay.call)
    replay.advance(seconds)
    settle(replay.call)


# -- a client of the hypervisor's socket -----------------------------------------------------------


@pytest.mark.parametrize("family", recorded("conn-virtio"))
def test_recorded_reconnections_are_treated_as_recorded(family: str, serving: Serving) -> None:
    with Offenders() as offenders:
        for case, steps in cases(family).items():
            with offenders.case(case):
                replay_reconnections(serving, case, steps)


def replay_reconnections(serving: Serving, case: str, steps: list[Step]) -> None:
    names: dict[str, int] = {}
    with serving.replaying(case) as replay:
        replay.connect()
        replay.ask(lines_before(steps), b"")
        try:
            for step in steps:
                if step.action:
                    reconnect(replay, step)
                elif not step.send:
                    expected = step.received
                    assert read_silence(replay, replay.sock, expected, None) == (expected, None)
                elif not step.resync:
                    exchange(replay, step, names)
            resynchronise(replay, next((s for s in steps if s.resync), None))
        finally:
            replay.sock.close()


def reconnect(replay: Served, step: Step) -> None:
    """Do what the client did: wait, or leave and connect again."""
    action = step.action
    if waited := re.fullmatch(r"wait ([\d.]+) s", action):
        let_pass(replay, float(waited[1]))
        return
    sent = re.fullmatch(
        r"send (?s:.*), pause ([\d.]+) s without reading, close, connect again", action
    )
    if sent:
        replay.sock.sendall(unpack(json.loads(step.note)))
        let_pass(replay, float(sent[1]))
    else:
        assert action == "close, then connect again"
    replay.sock.close()
    replay.connect()


# -- the recordings themselves ---------------------------------------------------------------------


@pytest.mark.slow
def test_every_variant_named_in_a_recording_is_described() -> None:
    for path in GOLDEN.glob("*/*.jsonl"):
        with path.open("rb") as lines:
            scenario: Any = parse_conversation([next(lines)], str(path)).meta["scenario"]
        for glob in scenario.get("variants", {}) if isinstance(scenario, dict) else {}:
            name = f"{path.stem}/{glob}"
            assert any(fnmatch.fnmatchcase(name, ours) for ours in VARIANTS), name


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_can_be_served(variant: dict[str, Any]) -> None:
    options = serve_parser().parse_args(variant["options"])
    channel = with_options(load(ROOT / variant["scenario"]), options).build().channel
    reply = b"".join(e for e in channel.receive(b'{"execute":"guest-info"}') if type(e) is bytes)
    assert reply.startswith(b'{"return": {"version": "7.2.22"')
