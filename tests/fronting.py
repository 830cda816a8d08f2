"""Fronts for tests: what stands before an agent, on a clock that is advanced by hand."""

import socket
from collections.abc import Sequence
from typing import Any

from qgasim.scenario import Scenario, loads
from qgasim.upstream import Front, UpstreamChannel
from qgasim.upstream.replies import Request
from tests.serving import PATIENCE, SECOND, Course


class TestLink:
    """Counts what a channel asks for; a subclass answers."""

    __test__ = False
    is_full = False

    def __init__(self) -> None:
        self.channel: UpstreamChannel
        self.connects = self.disconnects = 0

    def attach(self, channel: UpstreamChannel) -> None:
        self.channel = channel

    def connect(self) -> None:
        self.connects += 1

    def disconnect(self, *, leaving_unread: bool = False) -> None:  # noqa: ARG002
        self.disconnects += 1

    def go_on(self) -> None:
        pass

    def ask(self, data: bytes, requests: Sequence[Request]) -> bytes:
        raise NotImplementedError


class ModelLink(TestLink):
    """A simulated agent behind: it answers at once, in pieces of *size* bytes."""

    def __init__(self, size: int = 1 << 20) -> None:
        super().__init__()
        self.behind = Course("debian-12")
        self.size = size
        self.asked = b""
        self.rest: list[bytes] = []

    def ask(self, data: bytes, requests: Sequence[Request]) -> bytes:  # noqa: ARG002
        self.asked += data
        reply = self.behind.send(data)
        self.rest += [reply[at : at + self.size] for at in range(0, len(reply), self.size)]
        return self.rest.pop(0) if self.rest else b""

    def go_on(self) -> None:
        while self.rest:
            self.channel.answered(self.rest.pop(0))


class SilentLink(TestLink):
    """An agent that says what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = b""

    def ask(self, data: bytes, requests: Sequence[Request]) -> bytes:  # noqa: ARG002
        self.asked += data
        return b""


class TellingLink(SilentLink):
    """An agent that answers at once what the test says."""

    answer = b""

    def ask(self, data: bytes, requests: Sequence[Request]) -> bytes:
        super().ask(data, requests)
        return self.answer


class RealLink(TestLink):
    """A real agent behind a connected socket; each request is one that it answers by a line."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.sock = sock
        sock.settimeout(PATIENCE)

    def ask(self, data: bytes, requests: Sequence[Request]) -> bytes:
        self.sock.sendall(data)
        received = b""
        while received.count(b"\n") < len(requests):
            more = self.sock.recv(1 << 16)
            assert more
            received += more
        return received


def front(
    link: TestLink, scenario: Scenario | str = "extends: debian-12", **changed: Any
) -> Course:
    """Return what stands before the agent behind *link*."""
    loaded = loads(scenario) if isinstance(scenario, str) else scenario
    for name, value in changed.items():
        setattr(loaded, name, value)
    course = Course("debian-12")
    course.take(Front(loaded, lambda: link).build(course.clock))
    course.clock.now = 12 * SECOND
    return course
