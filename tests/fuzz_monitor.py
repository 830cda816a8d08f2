"""A differential fuzzer: the same requests for the monitors of the real QEMU 7.2 and of qgasim's machine.

Both have the machine of the recordings, without a guest: the processors stand still (``-S``) or run the
firmware. The messages must be equal, byte for byte and in order; times and what is the host's are masked.
What a real QEMU would do to the host is never asked: see `tests.monitor_requests`.

`make fuzz-monitor` runs it for long; tests/test_fuzz_monitor.py for a moment.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from qgasim.guest.units import SECOND
from qgasim.qmp import Hypervisor, Monitor
from qgasim.qmp.registry import NOT_SIMULATED
from qgasim.scenario import Blueprint
from tests.monitor_requests import Requests
from tests.qmp_replay import Recording, scenario_of, settings_of, shape
from tests.real_qemu import ARGUMENTS, PATIENCE, RealMonitor, as_request

RELEASE: Final = "7.2"
#: How many requests one QEMU gets.
PER_MACHINE: Final = 60
NEGOTIATE: Final = as_request("qmp_capabilities")
SYNC: Final = b'{"execute":"query-name","id":"sync"}'
#: Its reply; before the negotiation, an error.
SYNCED: Final = b'"id": "sync"'
#: Members that are the host's, or depend on the pace of the firmware.
VARYING: Final = re.compile(
    r'("(?:seconds|microseconds|thread-id|tm_[a-z]+|pid|actual-size)"): -?[\d.]+'
)
UNSIGNED: Final = r"Invalid parameter type for \1, expected: integer"
#: What is done after the reply, or tells of it then.
LATE: Final = re.compile(rb"cont|stop|reset|device_|object|migrate|quit|wakeup|powerdown|netdev")

#: What removes something, be it that it could not be made.
REMOVES: Final = re.compile(rb"_del|-del|-remove|(device_|netdev_|object-|chardev-)add")


class Ours:
    """The simulated machine: the processors run the firmware, no more."""

    def __init__(self, arguments: tuple[str, ...], greeting: bytes) -> None:
        argv = ["qemu-system-x86_64", *ARGUMENTS, *arguments]
        entry = {"ch": "qmp", "dir": "recv", "data": greeting.decode()}
        settings = settings_of(Recording("fuzz", RELEASE, argv, [entry]))
        self.now = 0
        simulation = Blueprint(scenario_of(settings)).build(source=lambda: self.now)
        #: The firmware finds no system to boot.
        simulation.guest.power.boot_time = 10**6 * SECOND
        self.machine = Hypervisor(simulation.agent, settings, wall_clock=lambda: 0)
        self.machine.agent_address = "unix:ga.sock"
        self.monitor = Monitor(self.machine, "unix:qmp.sock")
        if "-S" not in arguments:
            self.machine.cont()
        self.is_connected = False

    def connect(self) -> bytes:
        if self.is_connected:
            self.monitor.lose_client()
        self.is_connected = True
        self.monitor.connect()
        return self.monitor.take_output()

    def send(self, data: bytes) -> bytes:
        self.monitor.receive(data)
        return self.monitor.take_output()

    def wait(self) -> bytes:
        self.now += SECOND // 50
        self.machine.guest.settle()
        self.machine.run()
        return self.monitor.take_output()


class Difference(Struct):
    """What differs in the messages that follow a request, with what was sent before."""

    seed: int
    course: list[bytes]
    real: bytes
    ours: bytes

    def __str__(self) -> str:
        before = "".join(f"\n  before {data!r:.300}" for data in self.course[-4:-1])
        return (
            f"seed {self.seed}, request {len(self.course)}:{before}\n  sent   {self.course[-1]!r:.1500}\n"
            f"  real   {shown(self.real)}\n  ours   {shown(self.ours)}"
        )


def shown(text: bytes) -> str:
    return repr(text if len(text) < 2500 else text[:1200] + b"..." + text[-1200:])


def mask(text: bytes) -> bytes:
    """Return messages without what is the host's and the firmware's, which resets the machine now and then.

    A device is gone when its last user is: DEVICE_DELETED is told at chance's time, and compared at the end.
    """
    lines = text.decode("utf-8", "surrogateescape").split("\r\n")
    kept = [
        mask_line(line)
        for line in lines
        if '"reason": "guest-reset"' not in line and '"DEVICE_DELETED"' not in line
    ]
    return "\n".join(kept).encode("utf-8", "surrogateescape")


def deleted(text: bytes) -> list[bytes]:
    """Return which devices are told to have gone."""
    return re.findall(rb'"DEVICE_DELETED", "data": (.*)}\r', text)


def mask_line(line: str) -> str:
    if '"iops_rd"' in line or '"wr_highest_offset"' in line:
        # What backs disks depends on the image that is there, and the firmware reads it when it runs.
        return json.dumps(shape(json.loads(line))).replace('"idle_time_ns": "int", ', "")
    # What a PCI device is made of is not simulated.
    line = re.sub(
        r'(, )?\{"name": "[^"]*", "type": "child<(memory-region|virtio-pci-bus)>"\}', "", line
    )
    # Which integers have no sign is not in the schema.
    line = re.sub(r"Parameter ('[\w-]+') expects uint64", UNSIGNED, line)
    return VARYING.sub(r"\1: #", line)


def is_refused(ours: bytes) -> bool:
    """Return whether the request is one that is not simulated, and says so."""
    return NOT_SIMULATED.encode() in ours


@contextmanager
def pair(*arguments: str) -> Iterator[tuple[RealMonitor, Ours]]:
    """Return a real QEMU and a simulated one, neither with a client that has negotiated."""
    with (
        tempfile.TemporaryDirectory(prefix="qgasim-fuzz-") as name,
        RealMonitor(Path(name), *arguments) as real,
    ):
        ours = Ours(arguments, real.greeting)
        assert ours.connect() == real.greeting
        yield real, ours


def is_synced(received: bytes | bytearray) -> bool:
    """Return whether the mark has come, to its end."""
    at = received.find(SYNCED)
    return at >= 0 and b"\n" in received[at:]


def without_mark(received: bytes) -> bytes:
    return b"".join(line for line in received.splitlines(keepends=True) if SYNCED not in line)


def exchange(real: RealMonitor | None, ours: Ours, data: bytes) -> tuple[bytes, bytes]:
    """Send *data*; return what each answers and tells, up to a mark. Half a request is given up."""
    from_ours = ours.send(data)
    if LATE.search(data):
        from_ours += ours.wait()
    marked = ours.send(SYNC)
    is_whole = is_synced(marked)
    from_ours += without_mark(marked)
    from_real = b"" if real is None else _ask(real, data, PATIENCE if is_whole else 0.6)
    if not is_whole and not ours.machine.has_ended:
        from_ours += ours.connect() + ours.send(NEGOTIATE)
        if real is not None:
            from_real += real.connect()
            real.send(NEGOTIATE)
            from_real += real.read_until(lambda got: got.endswith(b"{}}\r\n"))
    return from_real, from_ours


def _ask(real: RealMonitor, data: bytes, patience: float) -> bytes:
    real.send(data)
    received = real.read_until(lambda _: False, 0.03) if LATE.search(data) else b""
    real.send(SYNC)
    # An event may have come behind it.
    received += real.read_until(is_synced, patience)
    if patience == PATIENCE and not is_synced(received) and not real.has_ended:
        raise TimeoutError
    return without_mark(received)


def differences(seed: int, requests: int = PER_MACHINE) -> Iterator[Difference]:
    """Send *requests* to a machine of each kind, or fewer if it ends before; yield the differences."""
    generator = Requests(seed)
    gone_real: list[bytes] = []
    gone_ours: list[bytes] = []
    arguments = generator.arguments()
    with pair(*arguments) as (real, ours):
        course: list[bytes] = []
        for data in generator.requests(requests):
            course.append(data)
            if b'"quit"' in data:
                gone_real += deleted(real.read_until(lambda _: False, 0.1))
            if data == generator.RECONNECT:
                from_real, from_ours = real.connect(), ours.connect()
            else:
                try:
                    from_real, from_ours = exchange(real, ours, data)
                except TimeoutError:
                    # Seen once in some thousand machines that run: QEMU answers nothing any more.
                    return
            if b'"quit"' in data and b'"return": {}' not in from_real:
                break  # The end of the connection has overtaken the reply.
            gone_real += deleted(from_real)
            gone_ours += deleted(from_ours)
            is_alike = arrange(mask(from_real), course) == arrange(mask(from_ours), course)
            if not is_alike and not is_refused(from_ours):
                yield Difference(seed, list(course), from_real, from_ours)
            if ours.machine.has_ended or real.has_ended:
                break
        # The firmware resets a machine that runs, and then unplugs, when it likes.
        is_still = "-S" in arguments and not any(b"cont" in data for data in course)
        if is_still and sorted(gone_real) != sorted(gone_ours):
            course = [b"(devices that have gone)"]
            yield Difference(seed, course, *map(b"\r\n".join, (gone_real, gone_ours)))


def arrange(masked: bytes, course: list[bytes]) -> bytes:
    """Return messages with lists in an order of their own, once something was removed.

    QOM lists by a hash table, and where something was removed there, the next comes to stand.
    """
    if any(b"blockdev" in data or b"device_" in data for data in course):
        # What backs disks is made up.
        masked = b"\n".join(
            b"(nodes)" if b'"iops_rd"' in line or b'"wr_highest_offset"' in line else line
            for line in masked.split(b"\n")
        )
    if not any(REMOVES.search(data) for data in course) and b"qom-list" not in course[-1]:
        return masked
    return b"\n".join(
        b" ".join(sorted(re.split(rb"(?<=\}), |\\r\\n|(?<=\[)(?=\{)|(?<=\})(?=\])", line)))
        for line in masked.split(b"\n")
    )


def kind_of(difference: Difference) -> tuple[str, str, str]:
    """Return by what differences are alike: the command, and both answers without numbers and names."""
    found = re.search(rb"execute[\"']\s*:\s*[\"']([\w-]*)", difference.course[-1])
    plain = [
        re.sub(r"-?\d+|'[^']*'", "#", first_difference(text, other).decode("utf-8", "replace"))[
            :160
        ]
        for text, other in (
            (difference.real, difference.ours),
            (difference.ours, difference.real),
        )
    ]
    return (found[1].decode() if found else "", *plain)  # type: ignore[return-value]


def first_difference(text: bytes, other: bytes) -> bytes:
    """Return the first message that differs."""
    ours, theirs = mask(text).split(b"\n"), mask(other).split(b"\n")
    pairs = zip(ours, [*theirs, *[b""] * len(ours)], strict=False)
    return next((mine for mine, yours in pairs if mine != yours), b"")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    found = 0
    kinds: dict[tuple[str, str, str], int] = {}
    for number in range(options.machines):
        for difference in differences(options.seed + number):
            found += 1
            kind = kind_of(difference)
            kinds[kind] = kinds.get(kind, 0) + 1
            if kinds[kind] == 1:
                print(difference, flush=True)
    for kind, count in sorted(kinds.items(), key=lambda item: -item[1]):
        print(count, json.dumps(kind)[:300])
    took = time.monotonic() - start
    print(f"{options.machines} machines, seed {options.seed}: {found} differences, {took:.0f} s")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
