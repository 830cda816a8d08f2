"""Mutated messages for servers of several releases and platforms, each a process of its own.

There is no real agent beside them, so nothing is held back for its sake: what is looked for is a traceback
or an error of qgasim on standard error, an answer that does not come, a resynchronisation that is not
answered, memory that grows, and a SIGTERM that is not obeyed. Run by `make fuzz-server`; the seed and the
number of the message are printed with each failure.
"""

import argparse
import base64
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from qgasim.scenario import load
from tests.command_line import ROOT
from tests.mutation import FILES, LINKS, PROGRAMS, Generator

#: What is served: a release, or a platform with the release that its scenario has.
SERVED: Final = {
    "3.1": ("debian-12", "3.1"),
    "7.2": ("debian-12", "7.2"),
    "11.1": ("debian-12", "11.1"),
    "windows": ("windows-11", None),
    "freebsd": ("freebsd-14", None),
}
#: The guest would be gone for a while. Everything else is served.
BLOCKED: Final = (
    "guest-shutdown",
    "guest-suspend-ram",
    "guest-suspend-disk",
    "guest-suspend-hybrid",
)
#: How long an answer may take, in seconds: one message may have a million tokens, and the machine be busy.
PATIENCE: Final = 60.0
#: How long a server may take to end.
TERM_LIMIT: Final = 1.0
#: How many messages one process gets, and how many it is warmed up with.
PER_SERVER: Final = 25_000
WARM_UP: Final = 2_500
#: How many are sent before the answers are read.
BATCH: Final = 10
#: How much memory may grow between the two, in bytes. The journal's bound is 64 MiB.
GROWTH_LIMIT: Final = 128 << 20


class Failure(Exception):
    """A server did what it must not do."""


class Figures(NamedTuple):
    """What was measured of one process."""

    messages: int
    #: Memory (RSS) after the warm-up and at the end, in bytes, and the most there was.
    before: int
    after: int
    peak: int
    #: How long the server took to end, in seconds.
    term: float


class BoldGenerator(Generator):
    """Makes messages for an agent that acts on nothing real: any command, with any arguments."""

    def __init__(self, seed: int, commands: list[str], *, aborts: bool) -> None:
        super().__init__(seed)
        self._commands = commands
        self._aborts = aborts

    def message(self, handles: list[int]) -> bytes:
        """Make a message, harmless or not."""
        message = self._draw(handles)
        # Before 4.0, an agent aborts on a percent sign, and takes what it has read with it: no answer then.
        return message.replace(b"%", b"&") if self._aborts else message

    def _request(self, handles: list[int]) -> dict[str, Any]:
        if self.random.random() < 0.7:
            return super()._request(handles)
        request: dict[str, Any] = {"execute": self.random.choice(self._commands)}
        if request["execute"].startswith("guest-fsfreeze-freeze") and self.random.random() < 0.9:
            request["execute"] = "guest-fsfreeze-thaw"
        if self.random.random() < 0.5:
            request["arguments"] = self._arguments()
        return request

    def _arguments(self) -> dict[str, Any]:
        """Make arguments that some command takes, right or wrong."""
        choose = self.random.choice
        known: dict[str, Any] = {
            "username": choose(("root", "nobody", "", "a:b", "\n")),
            "password": choose(("eA==", "", "/w==", "=")),
            "crypted": choose((True, False)),
            "keys": [choose(("ssh-rsa AAAA x", "", "a\nb", "\ud800"))],
            "reset": choose((True, False)),
            "time": choose((0, 1, -1, 10**18, 2**63 - 1, -(2**63))),
            "vcpus": [{"logical-id": choose((0, 1, 99)), "online": choose((True, False))}],
            "mem-blks": [{"phys-index": choose((0, 1, 99)), "online": choose((True, False))}],
            "minimum": choose((0, 1, 2**63 - 1, -1)),
            "mountpoints": [choose(("/", "/boot", "C:\\", ""))],
            "id": choose((0, -1, 2**63 - 1)),
            "pid": choose((0, 1, 2**31)),
        }
        names = self.random.sample(list(known), k=choose((1, 1, 2, 3)))
        return {
            name: known[name] if self.random.random() < 0.8 else self._value(2) for name in names
        }


def _scenario(base: str, release: str | None) -> str:
    """Return the text of a scenario: *base* with the files and programs that the messages name."""
    contents: dict[str, Any] = {}
    for file, data in FILES.items():
        contents[file] = {"base64": base64.b64encode(data).decode()}
    for link, target in LINKS.items():
        contents[link] = {"symlink": target}
    programs = {
        file: {"base64": base64.b64encode(data).decode(), "mode": "755"}
        for file, data in PROGRAMS.items()
    }
    agent: dict[str, Any] = {"block_rpcs": list(BLOCKED)}
    if release is not None:
        agent["release"] = release
    made: dict[str, Any] = {"qgasim": 1, "extends": base, "agent": agent}
    if not base.startswith("windows"):
        made["guest"] = {"files": {"/d": {"entries": contents}, "/x": {"entries": programs}}}
    return json.dumps(made)


class Running:
    """A server and a connection to it."""

    def __init__(self, scenario: Path, directory: Path) -> None:
        self._errors = (directory / "stderr").open("w+b")
        path = directory / "s"
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "qgasim", "--scenario", scenario, "--listen", f"unix:{path}", "--quiet"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        assert self.process.stdout
        if not self.process.stdout.readline():
            raise Failure(f"no server: {self.written()}")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.setblocking(False)
        self._number = 0

    def written(self) -> str:
        """Return what the server wrote to standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def memory(self, name: str = "VmRSS") -> int:
        """Return how much memory the server has, in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

    def ask(self, messages: list[list[bytes]]) -> list[bytes]:
        """Send *messages*, each in pieces and with a resynchronisation after it; return what came before the
        answer to each of these.

        Raises:
            Failure: the server hung up, or an answer is missing.
            TimeoutError: one does not come.
        """
        received = bytearray()
        marks: list[bytes] = []
        for pieces in messages:
            self._number += 1
            marks.append(b'\xff{"return": %d}\n' % self._number)
            # A newline ends a number or a keyword, 0xFF makes the agent forget half a message.
            sync = {"execute": "guest-sync-delimited", "arguments": {"id": self._number}}
            for piece in [*pieces, b"\n\xff" + json.dumps(sync).encode() + b"\n"]:
                self._send(piece, received)
        while not received.endswith(marks[-1]):
            self._receive(received)
        replies: list[bytes] = []
        rest = bytes(received)
        for mark in marks:
            before, found, rest = rest.partition(mark)
            if not found:
                raise Failure(f"no answer {mark!r}")
            replies.append(before)
        return replies

    def _send(self, data: bytes, received: bytearray) -> None:
        left = memoryview(data)
        while left:
            # A server whose replies are not read takes no more requests.
            readable, writable, _ = select.select([self._socket], [self._socket], [], PATIENCE)
            if readable:
                self._receive(received)
            if writable:
                # It need not take as much as there is.
                with suppress(BlockingIOError):
                    left = left[self._socket.send(left) :]
            if not readable and not writable:
                raise TimeoutError("nothing is taken")

    def _receive(self, received: bytearray) -> None:
        if not select.select([self._socket], [], [], PATIENCE)[0]:
            raise TimeoutError("no answer")
        more = self._socket.recv(1 << 16)
        if not more:
            raise Failure(f"hung up after {bytes(received[-200:])!r}")
        received += more

    def terminate(self, pending: bytes = b"") -> float:
        """Send *pending* and then SIGTERM; return how long the server took to end, in seconds.

        What it waited for a processor is not counted: the machine may be busy.
        """
        # It need not be all: half a message is what is wanted.
        self._socket.send(pending)
        before, waited = time.monotonic(), self._waited()
        ended = os.pidfd_open(self.process.pid)
        self.process.terminate()
        is_over = bool(select.select([ended], [], [], PATIENCE)[0])
        os.close(ended)
        if not is_over:
            raise Failure("SIGTERM is not obeyed")
        took = time.monotonic() - before - (self._waited() - waited)
        if status := self.process.wait():
            raise Failure(f"status {status}")
        return took

    def _waited(self) -> float:
        """Return how long the server waited for a processor that others had, in seconds."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9

    def close(self) -> None:
        """End what is left."""
        self._socket.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        self._errors.close()


@contextmanager
def running(scenario: str) -> Iterator[Running]:
    """Serve the text of a scenario."""
    with tempfile.TemporaryDirectory(prefix="qgasim-fuzz-") as name:
        file = Path(name) / "scenario.yaml"
        file.write_text(scenario)
        server = Running(file, Path(name))
        try:
            yield server
        finally:
            server.close()


def run(name: str, messages: int, seed: int) -> Figures:
    """Send *messages* to one process of what *name* stands for in `SERVED`.

    Raises:
        Failure: the server did what it must not do.
    """
    base, release = SERVED[name]
    loaded = load(base)
    if release is not None:
        loaded.agent.release = release
    commands = [c for c in loaded.build().agent.commands.table if c not in BLOCKED]
    generator = BoldGenerator(seed, commands, aborts=name == "3.1")
    handles: list[int] = []
    number, sent = 0, list[list[bytes]]()
    with running(_scenario(base, release)) as server:
        before = server.memory()
        try:
            for number in range(0, messages, BATCH):
                sent = [generator.cuts(generator.message(handles)) for _ in range(BATCH)]
                for pieces, replies in zip(sent, server.ask(sent), strict=True):
                    _follow(handles, b"".join(pieces), replies)
                if number <= min(WARM_UP, messages // 2):
                    before = server.memory()
            after, peak = server.memory(), server.memory("VmHWM")
            if after - before > GROWTH_LIMIT:
                raise Failure(f"memory grew from {before >> 20} to {after >> 20} MiB")  # noqa: TRY301
            # In the middle of work, and with half a message.
            pending = b"".join(generator.message(handles) + b"\n" for _ in range(20))
            term = server.terminate(pending[: 1 << 16])
            if term > TERM_LIMIT:
                raise Failure(f"SIGTERM took {term:.1f} s")  # noqa: TRY301
        except (Failure, OSError) as error:
            if isinstance(error, TimeoutError):
                # Python writes where it is.
                server.process.send_signal(signal.SIGABRT)
                server.process.wait(PATIENCE)
            where = f"{name}, seed {seed}, message {number}: {error!r}\n  sent {sent!r}"
            raise Failure(f"{where[:4000]}\n  stderr {server.written()[-2000:]}") from None
        if written := server.written():
            raise Failure(f"{name}, seed {seed}: {written[:4000]}")
    return Figures(messages, before, after, peak, term)


def _follow(handles: list[int], message: bytes, replies: bytes) -> None:
    """Note which handles were opened and closed, as well as can be seen from outside."""
    if b"guest-file-open" in message:
        for line in replies.splitlines():
            value = line.removeprefix(b'{"return": ').removesuffix(b"}")
            if value.isdigit() and len(value) < 9:
                handles.append(int(value))
    elif b"guest-file-close" in message and b'{"return": {}}' in replies:
        for handle in handles[:]:
            if b"%d" % handle in message:
                handles.remove(handle)
    del handles[:-60]


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz-server", description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000, help="of all servers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--served", nargs="*", choices=SERVED, default=list(SERVED))
    options = parser.parse_args()
    failed = 0
    for name in options.served:
        left, seed, figures = options.messages // len(options.served), options.seed, list[Figures]()
        began = time.monotonic()
        while left > 0:
            try:
                figures.append(run(name, min(left, PER_SERVER), seed))
            except Failure as failure:
                failed += 1
                sys.stdout.write(f"{failure}\n")
            sys.stdout.flush()
            left -= PER_SERVER
            seed += 1
        if figures:
            sys.stdout.write(_show(name, figures, time.monotonic() - began) + "\n")
    return int(failed > 0)


def _show(name: str, figures: list[Figures], took: float) -> str:
    count = sum(one.messages for one in figures)
    growth = max(one.after - one.before for one in figures) / (1 << 20)
    peak = max(one.peak for one in figures) >> 20
    term = max(one.term for one in figures)
    return (
        f"{name}: {count} messages in {took:.0f} s to {len(figures)} servers, each resynchronisation answered;"
        f" RSS {growth:+.1f} MiB at most, peak {peak} MiB; SIGTERM obeyed in {term:.2f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
