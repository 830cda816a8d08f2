"""Recorded conversations of QEMU's monitor and the agent, replayed without sockets: see research digest in docs/qmp.md.

A recording is one clock with the sends and receives of several sockets. Each socket must get the same messages
in the same order; when they come is looser, as the real guest took other times.
"""

import json
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from qgasim.effects import Close, Effect, Wait
from qgasim.guest.units import SECOND
from qgasim.qmp import Hypervisor, MachineSettings, Monitor
from qgasim.qmp.settings import DimmSettings
from qgasim.scenario import Blueprint, Scenario, loads
from qgasim.simulation.simulation import Simulation

RECORDINGS = Path(__file__).parent / "golden" / "qmp"
#: How long a message is waited for, beyond the time at which it was recorded, in seconds.
PATIENCE = 90
#: Queries whose numbers and names depend on the image that was there, and when it was asked.
LOOSE = ("query-block", "query-blockstats", "query-named-block-nodes")
#: Members whose values are the host's, or depend on the firmware's and the guest's pace.
VARYING = {
    "thread-id", "thread_id", "pc", "offset", "seconds", "microseconds", "pid", "total-time", "downtime",
    "expected-downtime", "setup-time", "tm_sec", "tm_min", "tm_hour", "halted",
}  # fmt: skip
GUEST = """
qgasim: 1
agent: {release: 7.2.22, respawn: 100ms}
guest:
  os:
    release: {ID: debian, NAME: Debian GNU/Linux, VERSION: 12 (bookworm), VERSION_ID: "12", PRETTY_NAME: Debian 12}
  vcpus: 2
  clock: {start: "2024-06-15T12:00:00Z"}
  disks: [{name: vda, size: 522190848, serial: LAB-VDA-0001, partitions: [{name: vda1}, {name: vda2}]}]
  mounts: [{device: /dev/vda1, path: /}, {device: /dev/vda2, path: /data}]
  nics:
    - {name: lo, mac: "00:00:00:00:00:00", addresses: [127.0.0.1/8, "::1/128"]}
    - {name: eth0, mac: "52:54:00:12:34:56", addresses: [10.0.2.15/24, "fec0::15/64", "fe80::5054:ff:fe12:3456/64"]}
"""


class Recording(Struct):
    """A file: what was done, with which command line, and what went over which socket when."""

    name: str
    release: str
    argv: list[str]
    entries: list[dict[str, Any]]

    @property
    def options(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for option, value in zip(self.argv[1:], [*self.argv[2:], ""], strict=True):
            if option.startswith("-"):
                found.setdefault(option, []).append("" if value.startswith("-") else value)
        return found


def read(path: Path) -> Recording:
    head, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    return Recording(f"{path.parent.name}/{path.stem}", head["qemu"], head["argv"], lines)


def split_options(text: str) -> dict[str, str]:
    first, *rest = text.split(",")
    return {"": first, **dict(part.partition("=")[::2] for part in [first, *rest])}


def size(text: str) -> int:
    units = {"M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text) << 20


def settings_of(recording: Recording) -> MachineSettings:
    """Return the machine that a command line describes."""
    options = recording.options
    sizes = {o["id"]: size(o["size"]) for o in map(split_options, options.get("-object", []))}
    devices = [split_options(text) for text in options["-device"]]
    memory, smp = split_options(options["-m"][0]), split_options(options["-smp"][0])
    actions: dict[str, str] = {}
    for text in options.get("-action", []):
        actions |= split_options(text)
    has_pvpanic = any(device[""] == "pvpanic" for device in devices)
    keeps = "-no-shutdown" in options or actions.get("shutdown") == "pause"
    panic = actions.get("panic", "pause" if "-no-shutdown" in options else "poweroff")
    has_watchdog = any(device[""] == "i6300esb" for device in devices)
    start = "incoming" if "-incoming" in options else "prelaunch"
    greeting = next(e["data"] for e in recording.entries if '"QMP"' in e["data"])
    return MachineSettings(
        qemu=recording.release,  # type: ignore[arg-type]
        package=json.loads(greeting.splitlines()[0])["QMP"]["version"]["package"],
        name="lab",
        uuid=options["-uuid"][0],
        start=start,  # type: ignore[arg-type]
        on_shutdown="pause" if keeps else "poweroff",
        on_reboot="shutdown" if "-no-reboot" in options else "reset",
        on_panic=panic if has_pvpanic else None,  # type: ignore[arg-type]
        on_powerdown="shutdown" if obeys(recording) else "ignore",
        watchdog=actions.get("watchdog", "reset") if has_watchdog else None,  # type: ignore[arg-type]
        max_vcpus=int(smp.get("maxcpus", smp[""])),
        memory=size(memory[""]),
        memory_slots=int(memory.get("slots", 0)),
        max_memory=size(memory["maxmem"]) if "maxmem" in memory else None,
        dimms=[
            DimmSettings(id=device["id"], size=sizes[device["memdev"]])
            for device in devices
            if device[""] == "pc-dimm"
        ],
    )


def obeys(recording: Recording) -> bool:
    """Return whether the guest heeds its power button: it went down, and no other command told it to."""
    sent = "".join(e["data"] for e in recording.entries if e["dir"] == "send")
    went = any('"guest-shutdown"}' in e["data"] and e["dir"] == "recv" for e in recording.entries)
    told = ("guest-shutdown", "poweroff", "guest-suspend", "sysrq")
    return went and "system_powerdown" in sent and not any(word in sent for word in told)


def scenario_of(settings: MachineSettings) -> Scenario:
    scenario = loads(GUEST)
    blocks = [{"index": i} for i in range((settings.memory or 0) >> 27)]
    for number, dimm in enumerate(settings.dimms):
        blocks += [{"index": 32 + number * 2 + i} for i in range(dimm.size >> 27)]
    guest = loads(
        json.dumps({"qgasim": 1, "guest": {"memory": {"block_size": 1 << 27, "blocks": blocks}}})
    ).guest
    scenario.guest = structs.replace(scenario.guest, memory=guest.memory)
    return scenario


def messages(entries: list[dict[str, Any]], channel: str) -> Iterator[str]:
    text = "".join(e["data"] for e in entries if e["ch"] == channel and e["dir"] == "recv")
    yield from text.splitlines()


class Replay:
    """A recording that is being replayed."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.now = 0
        settings = settings_of(recording)
        simulation = Blueprint(scenario_of(settings)).build(source=lambda: self.now)
        self.simulation: Simulation = simulation
        self.plan_boot(0)
        if settings.start == "incoming":
            # What the agent had open on the other host.
            request = b'{"execute":"guest-file-open","arguments":{"path":"/etc/os-release"}}'
            list(simulation.agent.receive(request))
        self.channel = simulation.channel
        self.machine = Hypervisor(simulation.agent, settings, wall_clock=lambda: 0)
        self.machine.agent_address = "unix:/run/lab/ga.sock"
        count = len(recording.options["-qmp"])
        self.monitors = {
            name: Monitor(self.machine, f"unix:/run/lab/{name}.sock")
            for name in ("qmp", "qmp2")[:count]
        }

        if not {"-S", "-incoming"} & recording.options.keys():
            self.machine.cont()
        #: Which client's turn it is at each monitor, and what those that wait for theirs have sent.
        self.turns: dict[str, str] = {}
        self.waiting: dict[str, bytearray] = {}
        self.sockets = {
            e["ch"]: e["data"].partition(".")[0] for e in recording.entries if e["dir"] == "connect"
        }
        #: What each client has received, message by message.
        names = {*self.sockets, *self.monitors, "qga"}
        self.got: dict[str, deque[str]] = {name: deque() for name in sorted(names)}
        self.partial = dict.fromkeys(self.got, "")
        self.half = dict.fromkeys(self.got, "")
        self.closed: set[str] = set()
        self.asked: dict[str, deque[str]] = {name: deque() for name in self.got}
        self.compared = 0
        self.notes: list[str] = []

    # -- time ------------------------------------------------------------------------------------

    def advance(self, until: int) -> None:
        """Let the host's time pass, and see to what happens in it."""
        self.pump()
        while (at := self.next_event()) is not None and at < until:
            self.now = max(self.now, at)
            before = self.now
            self.pump()
            if self.next_event() == before:
                self.now += 1_000_000
        self.now = max(self.now, until)
        self.pump()

    def next_event(self) -> int | None:
        times = [self.machine.next_time()]
        clock = self.simulation.guest.clock
        for event in (self.channel.next_event(), self.simulation.guest.next_event()):
            if event is not None and not clock.is_stopped:
                times += [self.now + int(clock.host_delay(event) * SECOND)]
        return min((at for at in times if at is not None), default=None)

    def pump(self) -> None:
        self.simulation.guest.settle()
        self.machine.run()
        if self.channel_is_open:
            self.perform(self.channel.wake())
        self.collect()

    channel_is_open = False

    def perform(self, effects: Iterator[Effect]) -> None:
        for effect in effects:
            if type(effect) is bytes:
                self.take("qga", effect)
            elif isinstance(effect, Wait):
                self.channel.defer(effect.until, effects)
                return
            elif isinstance(effect, Close):
                self.closed.add("qga")
                self.channel_is_open = False
                self.channel.lose_client(unread=None)
                return

    def collect(self) -> None:
        for socket, monitor in self.monitors.items():
            name = self.turns.get(socket, socket)
            if output := monitor.take_output():
                self.take(name, output)
            if monitor.has_hung_up:
                self.closed.add(name)

    def take(self, name: str, data: bytes) -> None:
        text = self.partial[name] + data.decode("latin-1")
        end = "\n" if name == "qga" else "\r\n"
        *lines, self.partial[name] = text.split(end)
        self.got[name] += lines

    # -- entries ---------------------------------------------------------------------------------

    def run(self) -> None:
        entries = self.reorder(self.recording.entries)
        for index, entry in enumerate(entries):
            self.plan_boot(entry["t"])
            self.advance(max(self.now, int(entry["t"] * SECOND)))
            self.step(entry, entries[index + 1 :])
        self.advance(self.now + 2 * SECOND)
        for name in self.got:
            assert not self.filtered(self.got[name]), (name, list(self.got[name])[:3])

    def plan_boot(self, since: float) -> None:
        """Let a boot that begins now take as long as it took."""
        opened = (
            entry["t"]
            for entry in self.recording.entries
            if entry["t"] > since and '"VSERPORT_CHANGE"' in entry["data"]
            if '"open": true' in entry["data"]
        )
        answered = (
            entry["t"] - 0.1
            for entry in self.recording.entries
            if entry["t"] > since and entry["ch"] == "qga" and entry["dir"] == "recv"
        )
        end = next(opened, None) or next(answered, 1000.0)
        self.simulation.guest.power.boot_time = int((end - since) * SECOND)

    @staticmethod
    def reorder(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the entries with what a note says was sent before its answer."""
        result: list[dict[str, Any]] = []
        for entry in entries:
            if entry["dir"] == "note" and entry["data"].startswith("sent byte by byte: "):
                data = entry["data"].partition(": ")[2]
                sends = [
                    {"t": result[-1]["t"], "ch": "qmp", "dir": "send", "data": c} for c in data
                ]
                result[-1:-1] = sends
            result.append(entry)
        return result

    def step(self, entry: dict[str, Any], rest: list[dict[str, Any]]) -> None:
        name, data = entry["ch"], entry["data"]
        kind = entry["dir"]
        if kind == "note":
            self.note(data)
        elif kind == "connect":
            self.connect(name)
        elif kind == "send":
            if not self.is_lost(name, data, rest):
                self.send(name, data.encode("latin-1"))
        elif kind == "close":
            self.close(name)
        elif kind == "recv":
            text = self.half[name] + data
            *lines, self.half[name] = text.split("\n" if name == "qga" else "\r\n")
            for line in lines:
                self.expect(name, line)
        # A half-close ends by itself; else the process is gone.
        elif name not in self.closed and name != "qga":
            assert not self.got[name], list(self.got[name])
        elif name not in self.closed:
            raise AssertionError(f"{name} should be closed")

    def note(self, text: str) -> None:
        if text == "SIGTERM":
            self.machine.quit("host-signal")
            self.pump()
        elif found := re.match(r"query-qmp-schema: (\d+) bytes", text):
            line = self.next_message("qmp")
            assert len(line) + 2 == int(found[1]), (len(line) + 2, text)
        elif found := re.match(r"qemu exit status (-?\d+)", text):
            assert self.machine.has_ended
            assert self.machine.exit_status == int(found[1])
        elif text == "qemu still runs":
            assert not self.machine.has_ended

    def connect(self, name: str) -> None:
        if name == "qga":
            self.channel_is_open = True
            self.perform(self.channel.connect())
        elif self.monitors[self.sockets[name]].has_client:
            self.waiting[name] = bytearray()
        else:
            self.turns[self.sockets[name]] = name
            self.monitors[self.sockets[name]].connect()
        self.pump()

    def close(self, name: str) -> None:
        if name == "qga":
            self.channel_is_open = False
            self.channel.lose_client(unread=None)
        elif self.turns.get(self.sockets[name]) == name:
            self.collect()
            socket = self.sockets[name]
            self.monitors[socket].lose_client()
            following = [each for each in self.waiting if self.sockets[each] == socket]
            if following:
                self.connect(following[0])
                self.monitors[socket].receive(bytes(self.waiting.pop(following[0])))
                self.collect()
        self.got[name].clear()

    @staticmethod
    def is_lost(name: str, data: str, rest: list[dict[str, Any]]) -> bool:
        """Return whether a request was lost as its client closed at once: chance, which the next state tells."""
        following = next(e for e in rest if e["ch"] == name or e["dir"] == "note")
        if name == "qga" or following["dir"] != "close":
            return False
        status = next(json.loads(e["data"]) for e in rest if '"status"' in e["data"])
        is_running = status["return"]["status"] == "running"
        return bool(is_running != ("cont" in data))

    def send(self, name: str, data: bytes) -> None:
        for found in re.finditer(rb'"execute"\s*:\s*"([^"]*)"', data):
            command = found[1].decode()
            if not command.startswith(("guest-shutdown", "guest-suspend")):
                self.asked[name].append(command)
        if name == "qga":
            if b"guest-exec" in data and b"setsid" in data:
                self.disturb_agent()
                data = json.dumps({"execute": "guest-exec", "arguments": {"path": "true"}}).encode()
            self.perform(self.channel.receive(data))
        elif name in self.waiting:
            self.waiting[name] += data
        else:
            self.monitors[self.sockets[name]].receive(data)
        self.collect()

    def disturb_agent(self) -> None:
        """Do what the recorded script did to the agent, at the times at which the port told it."""
        start = self.now / SECOND
        events = [
            (e["t"], json.loads(line)["data"]["open"])
            for e in self.recording.entries
            if e["dir"] == "recv" and e["t"] > start
            for line in e["data"].splitlines()
            if "VSERPORT_CHANGE" in line
        ]
        closed = next((t for t, is_open in events if not is_open), start + 0.1)
        opened = next((t for t, is_open in events if is_open and t > closed), closed + 0.1)
        gap = int((opened - closed) * SECOND)
        crash = lambda: self.simulation.agent.crash(gap)  # noqa: E731
        self.machine.call_in_guest(int((closed - start) * SECOND), crash)

    # -- comparing -------------------------------------------------------------------------------

    def next_message(self, name: str) -> str:
        limit = self.now + PATIENCE * SECOND
        while not self.filtered(self.got[name]) and self.now < limit:
            self.advance(self.now + SECOND // 20)
        if not self.got[name]:
            raise AssertionError(f"nothing came on {name}")
        return self.got[name].popleft()

    def filtered(self, got: deque[str]) -> deque[str]:
        while got and is_noise(got[0]):
            got.popleft()
        return got

    def expect(self, name: str, line: str) -> None:
        if is_noise(line) or not line:
            return
        if self.is_firmware_reset(name, line):
            return
        if "dev: ps2-mouse" in line:
            # Not simulated: see EXCEPTIONS in test_qmp_golden.py.
            assert "does not simulate" in self.next_message(name)
            self.asked[name].popleft()
            return
        self.compared += 1
        try:
            line.encode("ascii")
            found = self.next_message(name)
        except AssertionError:
            raise AssertionError(f"{self.now / SECOND:.3f}: nothing for {line}") from None
        command = ""
        if '"return"' in line[:10] or '"error"' in line:
            command = self.asked[name].popleft() if self.asked[name] else ""
        expected, actual = loosen(line, command, name), loosen(found, command, name)
        assert actual == expected, (
            f"{self.now / SECOND:.3f}\n got      {actual}\n expected {expected}"
        )
        self.last[name] = line

    @property
    def last(self) -> dict[str, str]:
        found: dict[str, str] = self.__dict__.setdefault("_last", {})
        return found

    def is_firmware_reset(self, name: str, line: str) -> bool:
        """Return whether the firmware has reset the machine once more: its own affair."""
        if '"guest-reset"' not in line or '"RESET"' not in line:
            return False
        before = self.last.get(name, "")
        return not ("VSERPORT_CHANGE" in before and '"open": false' in before)


def is_noise(line: str) -> bool:
    """Return whether it is chance that a message comes."""
    return '"event": "MIGRATION_PASS"' in line


def loosen(line: str, command: str, name: str) -> str:
    """Return a message without what depends on the machine and its pace."""
    if name != "qga" and command not in LOOSE:
        masked = re.sub(r'"(\w[\w-]*)": -?[\d.]+(?=[,}])', _mask, line)
        masked = re.sub(r'"pc": -?\d+|"halted": \w+', "", masked)
        if command == "query-migrate":
            masked = re.sub(r": [\d.]+", ": #", masked)
        return masked
    if name == "qga" and command in ("guest-sync", "guest-ping", "") and len(line) < 100:
        return line
    try:
        value = json.loads(line)
    except ValueError:
        return line
    return json.dumps(shape(value), sort_keys=name == "qga")


def _mask(found: re.Match[str]) -> str:
    return f'"{found[1]}": #' if found[1] in VARYING else found[0]


def shape(value: Any) -> Any:
    """Return what keys and types a value has."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__
