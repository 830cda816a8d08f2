"""Measure qgasim beside the real agent and a bare echo server.

The same blocking client asks them in turn, and the ratio of medians counts: the machine is shared and
noisy. Without qemu-ga only qgasim and the echo server are measured. Nothing here passes or fails.
"""

import argparse
import base64
import contextlib
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
from pathlib import Path

HERE = Path(__file__).parent
PING = b'{"execute":"guest-ping"}\n'
ECHOES = "for i in $(seq 20000); do echo $i; done >/dev/null"
INTERFACES = b'{"execute":"guest-network-get-interfaces"}\n'
#: Whatever would change the machine that qemu-ga runs on.
BLOCKED = (
    "guest-shutdown,guest-set-time,guest-suspend-disk,guest-suspend-ram,guest-suspend-hybrid,"
    "guest-fsfreeze-freeze,guest-fsfreeze-freeze-list,guest-fstrim,guest-set-vcpus,"
    "guest-set-memory-blocks,guest-set-user-password,guest-ssh-get-authorized-keys,"
    "guest-ssh-add-authorized-keys,guest-ssh-remove-authorized-keys"
)
MIB = 1 << 20
#: How long it takes to be woken depends on what was done in the milliseconds before.
ENOUGH_PINGS = 20_000
#: Gives a program a network of its own, with the interfaces of four-nics.yaml: both list the same.
IN_NAMESPACE = [
    "unshare", "--net", "--map-root-user", "sh", "-ec",
    """
    nic() {
        nic=$1
        shift
        ip link add "$nic" type ifb || ip link add "$nic" type dummy
        ip link set "$nic" addrgenmode none
        ip link set "$nic" up
        for address; do ip address add "$address" dev "$nic"; done
    }
    ip link set lo up
    nic enp1s0 192.0.2.17/24 2001:db8::5054:ff:fe8a:1f6e/64 fe80::5054:ff:fe8a:1f6e/64
    nic enp2s0 198.51.100.2/24 fe80::5054:ff:fe00:2/64
    nic enp3s0 203.0.113.3/24 fe80::5054:ff:fe00:3/64
    exec "$@"
    """,
    "sh",
]  # fmt: skip


class Peer:
    """A server process and a connection to it."""

    def __init__(self, name: str, command: list[str], path: str, directory: str) -> None:
        self.name = name
        self.directory = directory
        self.buffer = memoryview(bytearray(8 * MIB))
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while True:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.005)

    def cpu(self) -> float:
        """Seconds of CPU that the server has used."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]) / 1e9

    def resident(self) -> float:
        """MiB of memory that the server has."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def ask(self, request: bytes) -> memoryview:
        """Send *request*; give the reply, which the next one overwrites."""
        self.socket.sendall(request)
        # One buffer for all replies: the client's own work is not what is measured.
        size = 0
        while True:
            more = self.socket.recv_into(self.buffer[size:])
            if not more:
                raise ConnectionError(self.name)
            size += more
            if self.buffer[size - 1] == 0x0A:
                return self.buffer[:size]

    def call(self, command: str, **arguments: object) -> object:
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        request = json.dumps({"execute": command, "arguments": named}).encode() + b"\n"
        reply = json.loads(bytes(self.ask(request)))
        assert "return" in reply, reply
        return reply["return"]

    def stop(self) -> None:
        self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            # qemu-ga may miss a SIGTERM that comes while it changes clients.
            self.process.kill()
            self.process.wait()


# Each gives how many things were done.


def pings(peer: Peer, count: int) -> int:
    # No more than a client has to do: what it takes would be in the time of both.
    send, receive = peer.socket.send, peer.socket.recv
    for _ in range(count):
        send(PING)
        while not (reply := receive(64)).endswith(b"\n"):
            if not reply:
                raise ConnectionError(peer.name)
    return count


def batches(peer: Peer, count: int) -> int:
    for _ in range(count):
        peer.socket.sendall(PING * 100)
        left = 100
        while left > 0:
            left -= peer.socket.recv(65536).count(b"\n")
    return count * 100


def interfaces(peer: Peer, count: int) -> int:
    for _ in range(count):
        peer.ask(INTERFACES)
    return count


def executions(peer: Peer, count: int, *arguments: str) -> int:
    """Run a program *count* times, each to its status, which must be 0."""
    for _ in range(count):
        path, *rest = arguments
        started = peer.call("guest-exec", path=path, arg=rest)
        assert isinstance(started, dict)
        while True:
            status = peer.call("guest-exec-status", pid=started["pid"])
            assert isinstance(status, dict)
            if status["exited"]:
                assert status.get("exitcode") == 0, (arguments, status)
                break
    return count


def _path(peer: Peer) -> str:
    return f"{peer.directory}/file"


def write_blocks(peer: Peer, size: int, block: int) -> int:
    data = base64.b64encode(os.urandom(block))
    handle = peer.call("guest-file-open", path=_path(peer), mode="w")
    # Made once, for the same reason.
    request = b'{"execute":"guest-file-write","arguments":{"handle":%d,"buf-b64":"%s"}}\n'
    written = request % (handle, data)
    for _ in range(size // block):
        assert bytes(peer.ask(written)).startswith(b'{"return"')
    peer.call("guest-file-close", handle=handle)
    return size // block


def read_blocks(peer: Peer, size: int, block: int) -> int:
    handle = peer.call("guest-file-open", path=_path(peer), mode="r")
    request = b'{"execute":"guest-file-read","arguments":{"handle":%d,"count":%d}}\n'
    for _ in range(size // block):
        peer.ask(request % (handle, block))
    peer.call("guest-file-close", handle=handle)
    return size // block


def compare(
    peers: list[Peer], rounds: int, work: Callable[[Peer], int]
) -> dict[str, tuple[float, float]]:
    """Do *work* in turn; give each peer's median rate (a second) and least CPU (µs each)."""
    rates: dict[str, list[float]] = {peer.name: [] for peer in peers}
    costs: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for peer in peers:
        work(peer)
    for _ in range(rounds):
        for peer in peers:
            cpu, start = peer.cpu(), time.perf_counter()
            done = work(peer)
            rates[peer.name].append(done / (time.perf_counter() - start))
            costs[peer.name].append((peer.cpu() - cpu) / done * 1e6)
    return {name: (statistics.median(rates[name]), min(costs[name])) for name in rates}


#: Prints the CPU (ms) that a scenario takes: the first time, and the least of the times after it.
LOADING = """
import sys, time
import pyfakefs.fake_pathlib  # which pyfakefs imports when it is first used
from qgasim.scenario import load
times = []
for _ in range(12):
    start = time.process_time()
    load(sys.argv[1]).build()
    times.append((time.process_time() - start) * 1e3)
print(times[0], min(times[1:]))
"""


def loading(scenario: str) -> tuple[float, float]:
    command = [sys.executable, "-c", LOADING, scenario]
    first, again = subprocess.run(command, capture_output=True, check=True).stdout.split()
    return float(first), float(again)


def main() -> None:
    # The servers start as they do for users: from compiled modules.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    package = str(HERE.parent.parent / "qgasim")
    subprocess.run([sys.executable, "-m", "compileall", "-q", package], check=False)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="less of everything")
    short = parser.parse_args().short
    scale, rounds = (1, 3) if short else (5, 5)
    with tempfile.TemporaryDirectory(prefix="qgasim-bench-") as top:
        _bench(top, scale, rounds)


def _start(top: str) -> dict[str, Peer]:
    peers: dict[str, Peer] = {}
    commands = {
        "qgasim": _served(str(HERE / "four-nics.yaml"), f"{top}/qgasim.sock"),
        "echo": [sys.executable, str(HERE / "echo_server.py"), f"{top}/echo.sock"],
    }  # fmt: skip
    real = shutil.which("qemu-ga") or shutil.which("qemu-ga", path="/usr/sbin")
    if real:
        os.mkdir(f"{top}/state")
        commands["real"] = [
            *_namespace(), real, "-m", "unix-listen", "-t", f"{top}/state", "-p", f"{top}/real.sock",
            "-b", BLOCKED,
        ]  # fmt: skip
    for name, command in commands.items():
        directory = "/tmp" if name == "qgasim" else top
        peers[name] = Peer(name, command, f"{top}/{name}.sock", directory)
    return peers


def _served(scenario: str, path: str) -> list[str]:
    command = [sys.executable, "-m", "qgasim", "--scenario", scenario]
    return [*command, "--listen", f"unix:{path}", "--quiet"]


#: Makes 100,000 files, and one of 10 MB.
FURNISH = """
mkdir /tmp/many; cd /tmp/many; for i in 1 2 3 4 5 6 7 8 9 10; do touch $(seq ${i}00000 ${i}09999); done
seq 200000 | sed 's/.*/&7919 is where a line of a log begins, and ends./' | head -c 10000000 > /tmp/big
"""


def programs(ours: Peer, rounds: int) -> None:
    """Print how fast programs of the guest work on much."""
    executions(ours, 1, "/bin/sh", "-c", FURNISH)
    rows = {
        "ls -l of 100,000 files, s": ("ls -l /tmp/many > /dev/null", 1, "at most 1"),
        "sort of 10 MB, MB/s": ("sort /tmp/big > /dev/null", 10, "at least 5"),
        "sort -rn of 10 MB, MB/s": ("sort -rn /tmp/big > /dev/null", 10, "at least 5"),
        "grep of 10 MB, MB/s": ("grep '^[1-9]9*1.*log' /tmp/big > /dev/null", 10, "at least 5"),
    }
    for name, (script, size, aim) in rows.items():
        took: list[float] = []
        for _ in range(rounds):
            start = time.perf_counter()
            executions(ours, 1, "/bin/sh", "-c", script)
            took.append(time.perf_counter() - start)
        value = statistics.median(took)
        print(f"{name:30} {size / value if size > 1 else value:10.1f}{'':31}  {aim}")


def faults_that_do_not_match(top: str, ours: Peer, scale: int, rounds: int) -> tuple[float, float]:
    """Return the CPU per ping (µs) without faults and with 20 that are about other requests."""
    kinds = ("ignore", "delay, by: 1s", "truncate, keep: 3", "error, desc: no", "crash")
    requests = (
        "guest-file-*",
        "guest-exec",
        "{command: guest-sync, arguments: {id: 1}}",
        "'*-get-*'",
    )
    faults = [f"  - {{kind: {kind}, on: {request}}}" for kind in kinds for request in requests]
    text = [f"qgasim: 1\nextends: {HERE}/four-nics.yaml\nfaults:", *faults]
    Path(f"{top}/faults.yaml").write_text("\n".join(text))
    command = _served(f"{top}/faults.yaml", f"{top}/faults.sock")
    disturbed = Peer("with faults", command, f"{top}/faults.sock", top)
    # On one processor: on two, most of what a server takes is to look for the next request.
    processors = os.sched_getaffinity(0)
    processes = (0, ours.process.pid, disturbed.process.pid)
    try:
        for process in processes:
            os.sched_setaffinity(process, {min(processors)})
        result = compare([ours, disturbed], 4 * rounds, lambda p: pings(p, 1000 * scale))
    finally:
        for process in processes:
            os.sched_setaffinity(process, processors)
        disturbed.stop()
    return result[ours.name][1], result[disturbed.name][1]


def _namespace() -> list[str]:
    """Return what starts a program in a network of its own; nothing where that cannot be had."""
    with contextlib.suppress(OSError):
        tried = subprocess.run([*IN_NAMESPACE, "true"], capture_output=True, check=False)
        if tried.returncode == 0:
            return IN_NAMESPACE
    print("(no network namespaces here: the real agent lists this machine's interfaces)")
    return []


def _bench(top: str, scale: int, rounds: int) -> None:
    start = time.process_time()
    peers = _start(top)
    ours = peers["qgasim"]
    ours.ask(PING)
    started, idle = ours.cpu(), ours.resident()
    both = [peer for name, peer in peers.items() if name != "echo"]
    everyone = list(peers.values())
    size = 64 * MIB
    rows: list[tuple[str, str, list[Peer], Callable[[Peer], int], float]] = [
        ("guest-ping", "/s", everyone, lambda p: pings(p, ENOUGH_PINGS), 0),
        ("100 pings per write", "/s", everyone, lambda p: batches(p, 50 * scale), 8.0),
        ("guest-network-get-interfaces", "/s", both, lambda p: interfaces(p, 200 * scale), 3.0),
        ("file write, 4 MiB blocks", "/s", both, lambda p: write_blocks(p, size, 4 * MIB), 5.0),
        ("file read, 4 MiB blocks", "/s", both, lambda p: read_blocks(p, size, 4 * MIB), 5.0),
        ("guest-exec of true", "/s", both, lambda p: executions(p, 50 * scale, "/bin/true"), 5.0),
        ("20,000 echoes", "/s", both, lambda p: executions(p, 1, "/bin/sh", "-c", ECHOES), 0),
        ("64 MiB written in 48 KiB", "/s", both, lambda p: write_blocks(p, size, 48 << 10), 3.0),
    ]
    try:
        print(f"{'':30} {'qgasim':>10} {'real':>10} {'echo':>10} {'ratio':>7}  at least")
        for name, unit, peers_asked, work, least in rows:
            result = compare(peers_asked, rounds, work)
            rate = {key: value[0] for key, value in result.items()}
            real = rate.get("real")
            ratio = f"{rate['qgasim'] / real:7.2f}" if real else f"{'-':>7}"
            cells = [
                f"{rate[n]:10.1f}" if n in rate else f"{'-':>10}"
                for n in ("qgasim", "real", "echo")
            ]
            aim = f"{least:.1f}" if least else ""
            print(f"{name + ' ' + unit:30} {' '.join(cells)} {ratio}  {aim}".rstrip())
            if name == "guest-ping":
                # The ratio to the real agent depends on the machine: how long it takes to wake a client.
                rate_to_echo = rate["qgasim"] / rate["echo"]
                print(f"{'  to echo':30} {'':32} {rate_to_echo:7.2f}  1.1")
                costs = {key: value[1] for key, value in result.items()}
                cells = [
                    f"{costs[n]:10.1f}" if n in costs else f"{'-':>10}"
                    for n in ("qgasim", "real", "echo")
                ]
                against = costs["qgasim"] / costs["echo"]
                print(
                    f"{'  CPU per ping, µs':30} {' '.join(cells)} {against:7.2f}  (to echo) at most 1.2"
                )
        programs(ours, rounds)
        without, disturbed = faults_that_do_not_match(top, ours, scale, rounds)
        print(
            f"{'CPU per ping, 20 faults, µs':30} {disturbed:10.1f}{'':22}"
            f" {disturbed / without:7.2f}  (to none, {without:.1f}) at most 1.1"
        )
        print(f"{'CPU until the first ping, s':30} {started:10.2f}{'':31}  at most 0.5")
        print(f"{'memory of an idle guest, MiB':30} {idle:10.1f}{'':31}  at most 80")
        done = subprocess.run(
            [sys.executable, str(HERE / "fixture.py"), str(40 * scale)],
            capture_output=True,
            check=True,
            cwd=HERE.parent.parent,
            env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        )
        names = {
            "a test with a guest, ms": 5,
            "a test with a guest, ms of CPU": 4,
            "1,000 guests answer, s": 3,
            "1,000 guests, MB": 100,
            "an hour's time-out, ms": 50,
        }
        for (name, most), value in zip(names.items(), json.loads(done.stdout), strict=True):
            print(f"{name:30} {value:10.1f}{'':31}  at most {most}")
        for program in FIGURES:
            # A hundred domains of libvirt take minutes.
            if scale > 1 or program != "machine.py":
                figures(program)
        drill(top)
        for name, at_first, again in (("debian-12", 60, 10), ("k8s-node", 60, 50)):
            for which, took, most in zip(
                ("first", "again"), loading(name), (at_first, again), strict=True
            ):
                row = f"load {name} {which}, ms of CPU"
                print(f"{row:30} {took:10.1f}{'':31}  at most {most}")
        if "real" in peers:
            took = recording(peers["real"])
            print(f"{'record the real agent, s':30} {took:10.2f}{'':31}  at most 2")
    finally:
        for peer in peers.values():
            peer.stop()
    print(f"(client: {time.process_time() - start:.1f} s of CPU; {os.cpu_count()} processors)")


def recording(real: Peer) -> float:
    """Return the seconds in which the real agent is recorded, by a process of its own."""
    path = real.socket.getpeername()
    # It serves one client at a time.
    real.socket.close()
    took: list[float] = []
    for _ in range(3):
        start = time.perf_counter()
        command = [sys.executable, "-m", "qgasim", "record", path]
        subprocess.run(command, capture_output=True, check=True)
        took.append(time.perf_counter() - start)
    return statistics.median(took)


#: What other programs beside this one print, in this order, and what is wanted.
FIGURES = {
    "control.py": {
        "control requests /s": "at least 2000",
        "ping with a stream, to without": "at least 0.7",
        "list 1,000 guests, ms": "at most 50",
        "create 1,000 guests, s": "at most 3",
        "CPU of a start with control, s": "at most 0.3",
    },
    "conversations.py": {
        "proxied ping, to direct": "at least 0.45",
        "  all on one processor": "at least 0.45",
        "  MiB for a read of 48 MiB": "at most 32",
        "replay, to the model": "at least 0.5",
    },
    "machine.py": {
        "requests to a monitor, /s": "",
        "  to QEMU's own": "at least 1.5",
        "virsh start to an answer, s": "at most 1",
        "100 domains of libvirt, s": "at most 60",
        "  memory of each, MiB": "at most 50",
    },
}


def figures(program: str) -> None:
    """Print what one of these programs has measured; nothing for what cannot be measured here."""
    root = HERE.parent.parent
    done = subprocess.run(
        [sys.executable, str(HERE / program)],
        capture_output=True,
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    rows = zip(FIGURES[program].items(), json.loads(done.stdout), strict=True)
    for (name, aim), value in rows:
        if value is not None:
            print(f"{name:30} {value:10.2f}{'':31}  {aim}".rstrip())


def drill(top: str) -> None:
    """Print what a drill takes beside its command: one that ends at once."""
    start = time.perf_counter()
    options = ["drill", "--all", "-j", "2", "--failures", f"{top}/failures"]
    subprocess.run(
        [sys.executable, "-m", "qgasim", *options, "--", "true"],
        stdout=subprocess.DEVNULL,
        check=False,
        cwd=HERE.parent.parent,
    )
    took = time.perf_counter() - start
    print(f"{'drill --all of true, s':30} {took:10.1f}{'':31}  at most 30")


if __name__ == "__main__":
    main()
