"""Measure what stands before a real agent, and a recording in its place; print the figures as JSON.

Without qemu-ga only the replay is measured.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench.bench import BLOCKED, MIB, PING, Peer, compare, pings

#: How many pings a round has, and how many rounds there are.
PINGS, ROUNDS = 1000, 5
#: How many exchanges the recording has.
EXCHANGES = 10_000


def _peak(peer: Peer) -> float:
    """Return the most memory that a server has had, in MiB."""
    for line in Path(f"/proc/{peer.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _qgasim(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "qgasim", *arguments, "--quiet"]


def _real(top: str, name: str) -> tuple[list[str], str]:
    program = shutil.which("qemu-ga") or shutil.which("qemu-ga", path="/usr/sbin")
    assert program
    os.mkdir(f"{top}/{name}")
    path = f"{top}/{name}/s"
    return [program, "-m", "unix-listen", "-t", f"{top}/{name}", "-p", path, "-b", BLOCKED], path


def _median_pings(peers: list[Peer]) -> list[float]:
    """Return what a ping takes each of *peers*, the median of all.

    Of single pings: on a busy machine one in a hundred waits for its turn for milliseconds, and the more processes
    take part, the more of them.
    """
    took: list[list[float]] = [[] for _ in peers]
    for _ in range(ROUNDS):
        for peer, times in zip(peers, took, strict=True):
            for _ in range(PINGS):
                start = time.perf_counter()
                pings(peer, 1)
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in took]


def _ratio(direct: Peer, through: Peer) -> float:
    at_direct, at_proxy = _median_pings([direct, through])
    return at_direct / at_proxy


def proxied(top: str) -> list[float]:
    """Return how a ping through the proxy compares, and what a read of 48 MiB takes of memory.

    The former twice: where the system puts the processes, and with all on one processor. Three processes that wake each
    other are put together or apart by chance, and apart each waking costs as much as the agent's whole answer.
    """
    command, path = _real(top, "direct")
    direct = Peer("direct", command, path, top)
    command, path = _real(top, "behind")
    behind = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(path)
    proxy = f"{top}/proxy"
    upstream = _qgasim("--upstream", path, "--channel", "unix-listen", "--listen", f"unix:{proxy}")
    through = Peer("through", upstream, proxy, top)
    try:
        ratios = [_ratio(direct, through)]
        processors = os.sched_getaffinity(0)
        processes = (0, direct.process.pid, behind.pid, through.process.pid)
        for process in processes:
            os.sched_setaffinity(process, {min(processors)})
        ratios.append(_ratio(direct, through))
        for process in processes:
            os.sched_setaffinity(process, processors)
        before = _peak(through)
        through.buffer = memoryview(bytearray(80 * MIB))
        handle = through.call("guest-file-open", path="/dev/zero")
        read = b'{"execute":"guest-file-read","arguments":{"handle":%d,"count":%d}}\n'
        assert len(through.ask(read % (handle, 48 * MIB))) > 64 * MIB
        return [*ratios, _peak(through) - before]
    finally:
        through.stop()
        direct.stop()
        behind.terminate()
        behind.wait()


def wait_for(path: str) -> None:
    """Wait until a server listens; it is left alone again."""
    for _ in range(1000):
        with socket.socket(socket.AF_UNIX) as sock:
            if sock.connect_ex(path) == 0:
                return
        time.sleep(0.01)


def replayed(top: str) -> float:
    """Return how fast a recording of many exchanges answers, to the model."""
    step = {"send": PING.decode(), "recv": '{"return": {}}\n'}
    lines = [json.dumps({"meta": {"agent": "7.2.22"}}), *[json.dumps(step)] * EXCHANGES]
    Path(f"{top}/talk.jsonl").write_text("\n".join(lines) + "\n")
    replay = _qgasim("replay", f"{top}/talk.jsonl", "--listen", f"unix:{top}/replay")
    ours = _qgasim("--listen", f"unix:{top}/model")
    peers = [Peer("model", ours, f"{top}/model", top), Peer("replay", replay, f"{top}/replay", top)]
    try:
        work: Callable[[Peer], int] = partial(pings, count=EXCHANGES)
        rates = compare(peers, 5, work)
        return rates["replay"][0] / rates["model"][0]
    finally:
        for peer in peers:
            peer.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="qgasim-bench-") as directory:
        is_installed = shutil.which("qemu-ga", path="/usr/sbin:/usr/bin") is not None
        before: list[float | None] = [*proxied(directory)] if is_installed else [None] * 3
        print(json.dumps([*before, replayed(directory)]))
