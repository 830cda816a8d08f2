"""What the machine around a guest costs: prints a list of figures as JSON, in the order of `bench.machine`.

How many requests a monitor (QMP) answers in a second, to those of QEMU's own where that is installed (else null); how long it
takes from `virsh start` to the first answer of the agent; how long a hundred domains take to start, and MiB of memory for each
(both null where libvirt is not installed).
"""

import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qgasim.serving.listen import make_directory
from qgasim.testing.libvirt import Libvirt, LibvirtDomain, describe_domain, find_missing

DOMAINS = 100
STATUS = b'{"execute":"query-status"}\n'
PING = '{"execute":"guest-ping"}'


@contextmanager
def monitor(command: list[str], path: str) -> Iterator[socket.socket]:
    """Run a program with a monitor at *path*; give a connection that has negotiated."""
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
        socket.socket(socket.AF_UNIX) as sock,
    ):
        try:
            for _ in range(1000):
                if not sock.connect_ex(path):
                    break
                time.sleep(0.01)
            sock.recv(4096)
            sock.send(b'{"execute":"qmp_capabilities"}\n')
            sock.recv(4096)
            yield sock
        finally:
            process.terminate()


def asked(sock: socket.socket, count: int) -> float:
    """Return how many requests are answered in a second."""
    start = time.perf_counter()
    for _ in range(count):
        sock.send(STATUS)
        while not sock.recv(4096).endswith(b"\n"):
            pass
    return count / (time.perf_counter() - start)


def round_trips(top: str) -> tuple[float, float | None]:
    """Return the rate of our monitor, and its ratio to QEMU's."""
    ours = [
        sys.executable,
        "-m",
        "qgasim",
        "--quiet",
        f"--listen=unix:{top}/a",
        f"--qmp=unix:{top}/m",
    ]
    qemu = shutil.which("qemu-system-x86_64")
    real = [
        str(qemu),
        "-machine",
        "none",
        "-display",
        "none",
        "-qmp",
        f"unix:{top}/r,server=on,wait=off",
    ]
    with monitor(ours, f"{top}/m") as first:
        if qemu is None:
            return max(asked(first, 5000) for _ in range(5)), None
        with monitor(real, f"{top}/r") as second:
            pairs = [(asked(first, 5000), asked(second, 5000)) for _ in range(7)]
    return statistics.median(a for a, _ in pairs), statistics.median(a / b for a, b in pairs)


def memory(libvirt: Libvirt) -> float:
    """Return the MiB that an emulator has for itself, of what others do not share, on average."""
    sizes = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"EMULATOR_OF={libvirt.emulator}" not in path.joinpath("environ").read_text():
                continue
            text = path.joinpath("smaps_rollup").read_text()
        except OSError:
            continue
        sizes.append(
            sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        )
    return statistics.mean(sizes) / 1024


def first_answer(domain: LibvirtDomain) -> float:
    """Return how long it takes from `virsh start` to the first answer of the agent."""
    virsh = domain.libvirt.virsh
    virsh("destroy", domain.name)
    start = time.perf_counter()
    virsh("start", domain.name)
    while virsh("qemu-agent-command", domain.name, PING).returncode:
        pass
    return time.perf_counter() - start


def domains() -> tuple[float, float, float]:
    directory = make_directory("qgasim-")
    Path(directory, "guest.yaml").write_text(
        "qgasim: 1\nextends: debian-12\nguest: {power: {boot_time: 10ms, shutdown_time: 10ms}}\n"
    )
    try:
        with Libvirt(directory) as libvirt:

            def define(name: str) -> LibvirtDomain:
                environment = {
                    "QGASIM_SCENARIO": f"{directory}/guest.yaml",
                    "EMULATOR_OF": libvirt.emulator,
                }
                return LibvirtDomain(libvirt, name, describe_domain(name, environment))

            one = define("one")
            soonest = statistics.median(first_answer(one) for _ in range(5))
            one.close()
            start = time.perf_counter()
            for number in range(DOMAINS):
                define(f"vm{number}")
            took = time.perf_counter() - start
            return soonest, took, memory(libvirt)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="qgasim-bench-") as top:
        rate, ratio = round_trips(top)
    libvirt = (None, None, None) if find_missing() else domains()
    print(json.dumps([rate, ratio, *libvirt]))


if __name__ == "__main__":
    main()
