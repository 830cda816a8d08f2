"""Clients that come, leave and wait, before a real qemu-ga 7.2 and before qgasim.

A course is a list of steps: a client connects, sends, closes, hangs up halfway or leaves an answer unread.
The agent itself is the server (``-m unix-listen``); each course has a new process. What each client
got, and how its connection ended, must be the same. Whatever would be a race is not drawn: a client
that is served closes when it has read everything, unless it leaves an answer unread on purpose.
"""

import argparse
import contextlib
import errno
import os
import random
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qgasim.scenario import load
from qgasim.serving.threads import ServerThread
from tests.real_agent import MARK, PATIENCE, RESYNC, RealAgent

Step = tuple[Any, ...]
#: One that is served and those that fit into the backlog.
PLACES = 3
REQUESTS = (
    b'{"execute":"guest-ping"}',
    b'{"execute":"guest-sync","arguments":{"id":7}}\n',
    b'{"execute":"guest-sync-delimited","arguments":{"id":8}}\n',
    b'{"execute":"guest-file-open","arguments":{"path":"/dev/null"}}\n',
    b'{"execute":"guest-file-close","arguments":{"handle":1000}}\n',
    b'{"execute":"guest-file-read","arguments":{"handle":1001}}\n',
    b'{"execute":"guest-sync-delimited","arguments":{"id":"x"}}',
    b'{"execute":"nope","id":[1,{"a":"b"}]}\n',
    b"junk\n",
    b"\xff",
    b"[1,2",
    b'{"execute":"guest-ping"}' * 5,
)


class Plan:
    """Draws a course; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.steps: list[Step] = []
        #: Clients in the order in which they are served; one that left before that still has a place.
        self._clients: list[int] = []
        self._gone: set[int] = set()
        self._count = 0
        #: What the first client has to read, or may have.
        self._is_pending = False
        #: The rest of a request that was sent in part.
        self._rest = b""
        for _ in range(self._random.randrange(3, 25)):
            if not self._draw():
                return
        while self._clients:
            self._leave()

    def _draw(self) -> bool:
        """Add a step; whether there is an agent after it."""
        choose = self._random.choice
        kind = self._random.random()
        if not self._clients or (kind < 0.2 and len(self._clients) < PLACES):
            self.steps.append(("connect", self._count))
            self._clients.append(self._count)
            self._count += 1
        elif kind < 0.6:
            self._send(choose([client for client in self._clients if client not in self._gone]))
        elif kind < 0.7:
            self.steps.append(("sync", self._clients[0]))
            self._is_pending = False
        elif kind < 0.9:
            self._leave()
        elif kind < 0.95 and self._clients[-1] not in {self._clients[0], *self._gone}:
            # One that waits leaves: what it has sent is done all the same.
            self.steps.append(("close", self._clients[-1]))
            self._gone.add(self._clients[-1])
        elif kind > 0.98:
            self.steps += [("sync", self._clients[0]), ("drop", self._clients[0])]
            return False
        return True

    def _send(self, client: int) -> None:
        text = self._random.choice(REQUESTS)
        pick = self._random.random()
        if self._rest and pick < 0.4:
            text, self._rest = self._rest, b""
        elif pick < 0.7 and len(text) < 100:
            cut = self._random.randrange(1, len(text) + 1)
            text, self._rest = text[:cut], text[cut:]
        self.steps.append(("send", client, text))
        if client == self._clients[0]:
            self._is_pending = True

    def _leave(self) -> None:
        """Let the client that is served leave, having read everything."""
        client = self._clients.pop(0)
        if self._random.random() < 0.3:
            self.steps.append(("half_close", client))
        else:
            if self._is_pending or self._random.random() < 0.5:
                self.steps.append(("sync", client))
                if self._random.random() < 0.5:
                    # No answer comes to this: it may be left behind.
                    self.steps.append(("send", client, b'{"execute":"guest-'))
            self.steps.append(("close", client))
        while self._clients and self._clients[0] in self._gone:
            self._clients.pop(0)
        # What the next one has sent while it waited is being answered.
        self._is_pending = bool(self._clients)


class Clients:
    """Goes through a course at an address; keeps what each client got."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._sockets: dict[int, socket.socket] = {}
        self.got: dict[int, bytes] = {}
        self.ends: dict[int, str] = {}

    def run(self, steps: list[Step]) -> list[tuple[int, bytes, str]]:
        try:
            for name, client, *rest in steps:
                getattr(self, f"_{name}")(client, *rest)
            for client in list(self._sockets):
                self._read_to_end(client)
        finally:
            for sock in self._sockets.values():
                sock.close()
        return [(client, self.got[client], self.ends.get(client, "")) for client in self.got]

    def _connect(self, client: int) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        self._sockets[client] = sock
        self.got[client] = b""
        deadline = time.monotonic() + PATIENCE
        # One that has left may still be in the backlog.
        while (error := sock.connect_ex(self._path)) == errno.EAGAIN:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        if error:
            raise OSError(error, os.strerror(error))

    def _send(self, client: int, text: bytes) -> None:
        self._sockets[client].sendall(text)

    def _sync(self, client: int) -> None:
        sock = self._sockets[client]
        sock.sendall(RESYNC)
        before, got = self.got[client], b""
        while not got.endswith(MARK):
            more = sock.recv(1 << 16)
            if not more:
                raise ConnectionError(f"{client} is hung up on after {before + got!r}")
            got += more
        self.got[client] = before + got

    def _close(self, client: int) -> None:
        self._sockets.pop(client).close()

    def _half_close(self, client: int) -> None:
        self._sockets[client].shutdown(socket.SHUT_WR)
        self._read_to_end(client)
        self._close(client)

    def _drop(self, client: int) -> None:
        """Leave an answer unread: that ends the agent."""
        sock = self._sockets[client]
        sock.sendall(b'{"execute":"guest-ping"}')
        select.select([sock], [], [], PATIENCE)
        self._close(client)

    def _read_to_end(self, client: int) -> None:
        try:
            while more := self._sockets[client].recv(1 << 16):
                self.got[client] += more
            self.ends[client] = "end"
        except OSError as error:
            self.ends[client] = str(error.strerror)


@contextmanager
def ours() -> Iterator[str]:
    scenario = load("debian-12")
    scenario.agent.channel = "unix-listen"
    scenario.agent.respawn = "never"
    with (
        tempfile.TemporaryDirectory(prefix="qgasim-fuzz-") as name,
        ServerThread(scenario.build(), f"{name}/s") as server,
    ):
        yield server.path


@contextmanager
def theirs() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="qgasim-fuzz-") as name:
        directory = Path(name)
        with RealAgent(directory) as real:
            # It was a client like any other.
            real.ask([])
            real.socket.close()
            yield str(real.path)


def find_differences(count: int, seed: int) -> Iterator[str]:
    """Go through *count* courses; say where the two differ."""
    makers: tuple[Callable[[], contextlib.AbstractContextManager[str]], ...] = (theirs, ours)
    for number in range(seed * count, (seed + 1) * count):
        steps = Plan(number).steps
        results: list[Any] = []
        for maker in makers:
            with maker() as path:
                try:
                    results.append(Clients(path).run(steps))
                except OSError as error:
                    results.append(repr(error))
        if results[0] != results[1]:
            shown = "\n".join(f"    {step}" for step in steps)
            yield f"course {number}:\n{shown}\n  real {results[0]}\n  ours {results[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--courses", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = 0
    for text in find_differences(options.courses, options.seed):
        found += 1
        print(text)
    print(f"{options.courses} courses, seed {options.seed}: {found} differences")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
