"""The monitor of the machine: what recordings do not show, over sockets and without."""

import asyncio
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import QMPClient

from qgasim.errors import CommandError, VerificationError
from qgasim.guest.units import SECOND
from qgasim.qmp import Board, BoardDevice, Hypervisor, MachineSettings, Monitor, Topology
from qgasim.qmp.monitor import OUTPUT_LIMIT
from qgasim.qmp.registry import COMMANDS, is_free, is_simulated, table_of
from qgasim.qmp.release import RELEASES
from qgasim.scenario import loads
from qgasim.serving.listen import UnixAddress
from qgasim.serving.threads import ServerThreadPool
from qgasim.simulation.journal import Journal
from qgasim.simulation.simulation import Simulation
from qgasim.testing.live import LiveGuest
from qgasim.testing.verification import verify
from tests.offenders import Offenders
from tests.serving import PATIENCE, HandClock

GUEST = "qgasim: 1\nguest: {nics: [{name: eth0, mac: '52:54:00:12:34:56'}]}\n"


class Machine:
    """A machine with a monitor whose client has negotiated, and a clock to be advanced by hand."""

    def __init__(self, text: str = GUEST, board: Board | None = None, **settings: Any) -> None:
        self.clock = HandClock()
        self.simulation = loads(text).build(self.clock)
        self.hypervisor = Hypervisor(
            self.simulation.agent, MachineSettings(**settings), wall_clock=lambda: 0, board=board
        )
        self.monitor = Monitor(self.hypervisor)
        self.monitor.connect()
        self.monitor.receive(b'{"execute":"qmp_capabilities"}')
        self.monitor.take_output()

    def ask(self, command: str, **arguments: Any) -> Any:
        """Ask; return what is returned, or the error. Events before it are lost."""
        self.send(command, **arguments)
        replies = [each for each in self.messages() if "event" not in each]
        assert len(replies) == 1
        return replies[0].get("return", replies[0].get("error"))

    def send(self, command: str, **arguments: Any) -> None:
        names = {name.rstrip("_").replace("_", "-"): value for name, value in arguments.items()}
        self.monitor.receive(json.dumps({"execute": command, "arguments": names}).encode())

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.monitor.take_output().splitlines()]

    def events(self) -> list[str]:
        return [each["event"] for each in self.messages() if "event" in each]

    def advance(self, seconds: float) -> None:
        for _ in range(10):
            self.clock.now += int(seconds * SECOND / 10)
            self.simulation.guest.settle()
            self.hypervisor.run()

    def agent(self, command: str) -> None:
        list(self.simulation.channel.receive(b'{"execute":"%s"}' % command.encode()))


def test_each_release_has_the_commands_of_its_schema() -> None:
    with Offenders() as offenders:
        for release in RELEASES:
            with offenders.case(release.name):
                schema = {e["name"] for e in release.entries if e["meta-type"] == "command"}
                table = table_of(release)
                assert set(table) == schema
                assert sum(is_simulated(entry) for entry in table.values()) >= 60


def test_arguments_are_those_of_the_schema() -> None:
    with Offenders() as offenders:
        for name, made in COMMANDS.items():
            if is_free(name):
                continue
            with offenders.case(name):
                known = [release for release in RELEASES if name in release.commands]
                every = set[str]().union(*(release.arguments_of(name) for release in known))
                assert {parameter.name for parameter in made.parameters} == every


def test_an_argument_that_a_release_has_not_is_unexpected() -> None:
    old, new = Machine(qemu="7.2"), Machine(qemu="10.0")
    assert (
        new.ask("query-dirty-rate", calc_time_unit="millisecond")["calc-time-unit"] == "millisecond"
    )
    error = old.ask("query-dirty-rate", calc_time_unit="millisecond")
    assert error["desc"] == "Parameter 'calc-time-unit' is unexpected"


def test_a_command_that_is_not_simulated_says_so() -> None:
    error = Machine().ask("dump-guest-memory", paging=False, protocol="file:x")
    assert error["desc"] == "qgasim does not simulate dump-guest-memory (QEMU 7.2 has it)"


def test_a_second_of_events_is_the_first_and_the_last() -> None:
    machine = Machine()
    crash = machine.simulation.agent.crash
    for _ in range(5):
        crash(0)
        machine.simulation.guest.settle()
    # The first at once, then the latest of each second (QEMU's monitor/monitor.c,
    # monitor_qapi_event_queue_no_reenter()).
    assert machine.events() == ["VSERPORT_CHANGE"]
    machine.advance(1.5)
    found = machine.messages()
    assert [each["data"]["open"] for each in found] == [True]


def test_rate_limited_events_come_while_the_guest_stands_still() -> None:
    machine = Machine()
    machine.simulation.agent.crash(0)
    machine.simulation.guest.settle()
    machine.ask("stop")
    machine.advance(1.2)
    assert machine.events() == ["VSERPORT_CHANGE"]


def test_a_module_a_processor_and_a_card_are_the_guests() -> None:
    machine = Machine(max_vcpus=4, memory_slots=2)
    guest = machine.simulation.guest
    machine.ask("object-add", qom_type="memory-backend-ram", id="mem1", size=256 << 20)
    assert machine.ask("device_add", driver="pc-dimm", id="dimm1", memdev="mem1") == {}
    assert (
        machine.ask(
            "device_add", driver="qemu64-x86_64-cpu", id="cpu2", socket_id=0, core_id=2, thread_id=0
        )
        == {}
    )
    assert machine.ask("netdev_add", type="user", id="n") == {}
    assert (
        machine.ask(
            "device_add", driver="virtio-net-pci", id="net1", netdev="n", mac="52:54:00:00:00:01"
        )
        == {}
    )
    machine.advance(1)
    assert [block.index for block in guest.memory.blocks] == [32, 33]
    assert [cpu.id for cpu in guest.vcpus] == [0, 1, 2]
    assert not guest.vcpus[2].online
    assert [nic.mac for nic in guest.nics] == ["52:54:00:12:34:56", "52:54:00:00:00:01"]
    assert machine.events() == ["ACPI_DEVICE_OST", "ACPI_DEVICE_OST"]
    for id in ("dimm1", "cpu2", "net1"):
        assert machine.ask("device_del", id=id) == {}
    machine.advance(2)
    assert (guest.memory.blocks, len(guest.vcpus), len(guest.nics)) == ([], 2, 1)
    assert machine.events().count("DEVICE_DELETED") == 4
    error = machine.ask(
        "device_add", driver="qemu64-x86_64-cpu", socket_id=2, core_id=2, thread_id=0
    )
    assert error["desc"] == "Invalid CPU socket-id: 2 must be in range 0:0"


def test_each_of_many_devices_has_a_name_of_its_own_in_the_guest() -> None:
    machine = Machine(memory_slots=2)
    guest = machine.simulation.guest
    for number in range(200):
        machine.ask("netdev_add", type="user", id=f"n{number}")
        machine.ask("device_add", driver="virtio-net-pci", id=f"net{number}x", netdev=f"n{number}")
    for number in range(30):
        machine.ask("blockdev-add", driver="null-co", node_name=f"d{number}")
        made = machine.ask(
            "device_add", driver="virtio-blk-pci", id=f"v{number}", drive=f"d{number}"
        )
        assert made == {}
    machine.advance(1)
    names = [*(nic.name for nic in guest.nics), *(disk.name for disk in guest.disks)]
    assert len(names) == len(set(names)) == 231
    assert "vdaa" in names
    # The last that QEMU has (net/net.c), for all that come after it.
    assert guest.nics[-1].mac == "52:54:00:12:34:ff"
    machine.ask("device_del", id="net7x")
    machine.advance(2)
    assert len(guest.nics) == 200


def test_memory_that_cannot_be_had_is_refused() -> None:
    machine = Machine(memory_slots=256)
    size = 100 << 30
    answers = [
        machine.ask("object-add", qom_type="memory-backend-ram", id=f"m{number}", size=size)
        for number in range(11)
    ]
    assert answers[:10] == [{}] * 10
    assert answers[10]["desc"] == "cannot set up guest memory 'm10': Cannot allocate memory"
    error = machine.ask("object-add", qom_type="memory-backend-ram", id="m", size=-1)
    assert error["desc"] == "cannot set up guest memory 'm': Cannot allocate memory"


def test_a_processor_of_a_machine_with_kvm_is_told_when_it_has_gone() -> None:
    board = Board(machine="pc-i440fx-7.2", topology=Topology(1, 4, 1), has_kvm=True)
    machine = Machine(board=board, max_vcpus=4)
    place = {"socket_id": 0, "core_id": 2, "thread_id": 0}
    machine.ask("device_add", driver="qemu64-x86_64-cpu", id="cpu2", **place)
    machine.advance(1)
    machine.events()
    machine.send("device_del", id="cpu2")
    machine.advance(1)
    deleted = [m["data"] for m in machine.messages() if m.get("event") == "DEVICE_DELETED"]
    path = "/machine/peripheral/cpu2"
    assert deleted == [{"path": f"{path}/lapic"}, {"device": "cpu2", "path": path}]


def test_a_guest_that_boots_gives_back_the_memory_that_it_is_asked_for() -> None:
    board = Board(machine="pc", devices=[BoardDevice(id="b", driver="virtio-balloon-pci")])
    machine = Machine(board=board, memory=512 << 20)
    machine.ask("system_reset")
    assert machine.ask("balloon", value=256 << 20) == {}
    machine.advance(1)
    assert machine.ask("query-balloon") == {"actual": 512 << 20}
    machine.advance(5)
    assert "BALLOON_CHANGE" in machine.events()
    assert machine.ask("query-balloon") == {"actual": 256 << 20}


def test_the_power_button_shuts_the_guest_down_and_ends_qemu() -> None:
    machine = Machine()
    machine.send("system_powerdown")
    assert [m.get("event") for m in machine.messages()] == ["POWERDOWN", None]
    machine.advance(1)
    assert machine.events() == ["VSERPORT_CHANGE", "SHUTDOWN"]
    assert machine.monitor.has_hung_up
    assert not machine.monitor.is_open


def test_a_machine_without_shutdown_stays_and_boots_again() -> None:
    machine = Machine(on_shutdown="pause")
    machine.agent("guest-shutdown")
    machine.advance(2)
    assert machine.events() == ["VSERPORT_CHANGE", "SHUTDOWN", "STOP"]
    assert machine.ask("query-status")["status"] == "shutdown"
    assert machine.ask("cont")["desc"] == "Resetting the Virtual Machine is required"
    machine.ask("system_reset")
    assert machine.ask("query-status")["status"] == "prelaunch"
    machine.ask("cont")
    machine.advance(5)
    assert machine.simulation.agent.is_up


def test_a_machine_suspended_to_disk_tells_open_while_it_writes() -> None:
    # SUSPEND_DISK before SHUTDOWN: tests/golden/7.2/suspend.jsonl, disk-no-systemctl. Linux freezes its
    # devices to make the image and thaws them to write it (kernel/power/hibernate.c): the port is
    # closed, opened and closed.
    machine = Machine()
    machine.agent("guest-suspend-disk")
    machine.advance(8)
    found = [m for m in machine.messages() if "event" in m]
    assert [m["data"]["open"] for m in found[:3]] == [False, True, False]
    assert [m["event"] for m in found[3:]] == ["SUSPEND_DISK", "SHUTDOWN"]


def test_a_reset_of_a_sleeper_wakes_it_from_memory_after_cont() -> None:
    machine = Machine()
    machine.agent("guest-suspend-ram")
    machine.advance(2)
    process = machine.simulation.agent.process
    assert machine.events() == ["VSERPORT_CHANGE", "SUSPEND"]
    machine.send("system_reset")
    assert machine.events() == ["RESET"]
    assert machine.ask("query-status")["status"] == "prelaunch"
    machine.send("cont")
    machine.advance(1)
    assert machine.events() == ["RESUME", "VSERPORT_CHANGE"]
    assert machine.simulation.agent.process is process


def test_the_guests_own_alarm_wakes_it() -> None:
    machine = Machine()
    machine.simulation.guest.files.write("/sys/class/rtc/rtc0/wakealarm", b"+5\n")
    machine.agent("guest-suspend-ram")
    machine.advance(2)
    assert machine.events() == ["VSERPORT_CHANGE", "SUSPEND"]
    machine.advance(5)
    assert machine.events() == ["WAKEUP", "VSERPORT_CHANGE"]
    assert machine.simulation.agent.is_up


def test_a_sleeper_can_be_stopped_since_10_0() -> None:
    for release, status in (("7.2", "suspended"), ("10.0", "paused")):
        machine = Machine(qemu=release)
        machine.agent("guest-suspend-ram")
        machine.advance(2)
        machine.ask("stop")
        assert machine.ask("query-status")["status"] == status


def test_the_clock_comes_behind_the_processors() -> None:
    # Asked of QEMU 7.2.22 with -smp 1, 2, 3, 4 and 8; of the others, recorded with 2.
    for release, count, path in (
        ("7.2", 1, "device[9]"),
        ("7.2", 8, "device[16]"),
        ("11.1", 2, "device[4]/rtc"),
    ):
        machine = Machine(f"qgasim: 1\nguest: {{vcpus: {count}}}\n", qemu=release)
        request = b'{"execute":"guest-set-time","arguments":{"time":1000000000000000000}}'
        list(machine.simulation.channel.receive(request))
        (event,) = machine.messages()
        assert event["data"]["qom-path"] == f"/machine/unattached/{path}"


def test_what_follows_an_expired_watchdog() -> None:
    # Asked of QEMU 7.2.22 with -device ib700 (its timer is started by a write to port 0x443).
    expected = {
        "reset": ["WATCHDOG", "VSERPORT_CHANGE", "RESET"],
        "shutdown": ["WATCHDOG", "POWERDOWN"],
        "poweroff": ["WATCHDOG"],
        "pause": ["WATCHDOG", "STOP"],
        "debug": ["WATCHDOG"],
        "none": ["WATCHDOG"],
        "inject-nmi": ["WATCHDOG"],
    }
    with Offenders() as offenders:
        for action, events in expected.items():
            with offenders.case(action):
                machine = Machine(watchdog="reset", on_powerdown="ignore", on_shutdown="pause")
                machine.ask("set-action", watchdog=action)
                machine.simulation.guest.files.write("/dev/watchdog", b"1")
                machine.advance(31)
                assert machine.events()[: len(events)] == events
                assert machine.hypervisor.has_ended == (action == "poweroff")


def test_a_panic_that_is_to_end_qemu_is_a_shutdown_that_can_be_kept() -> None:
    # Asked of QEMU 7.2.22 with -device pvpanic (written to port 0x505).
    machine = Machine(on_panic="pause", on_shutdown="pause")
    machine.ask("set-action", panic="exit-failure")
    machine.simulation.guest.power.panic()
    found = [m["data"] for m in machine.messages() if "data" in m]
    assert found == [{"action": "poweroff"}, {"guest": True, "reason": "guest-panic"}]
    assert not machine.hypervisor.has_ended


def test_a_halt_is_told_by_the_port_only() -> None:
    machine = Machine()
    list(
        machine.simulation.channel.receive(
            b'{"execute":"guest-shutdown","arguments":{"mode":"halt"}}'
        )
    )
    machine.advance(3)
    assert machine.events() == ["VSERPORT_CHANGE"]
    assert machine.ask("query-status")["status"] == "running"


@pytest.mark.parametrize("on_shutdown", ["poweroff", "pause"])
def test_without_reboot_a_reset_is_a_shutdown(on_shutdown: Any) -> None:
    machine = Machine(on_reboot="shutdown", on_shutdown=on_shutdown)
    machine.simulation.guest.power.shut_down("reboot", 0)
    machine.advance(1)
    found = [m for m in machine.messages() if m.get("event") == "SHUTDOWN"]
    assert found[0]["data"] == {"guest": True, "reason": "guest-reset"}
    assert machine.hypervisor.has_ended == (on_shutdown == "poweroff")


@pytest.mark.slow
@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_whole_is_split(release: str) -> None:
    """However bytes are cut, the replies are the same; garbage kills nothing."""
    chance = random.Random(release)
    parts = [
        b'{"execute":"query-name"}', b'{"execute":"stop","id":[1,{"a":null}]}', b"}", b"\xff", b'{"x"',
        b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}', b'{"exec-oob":"yank"}',
        b'{"execute":"device_add","arguments":{"driver":[]}}', b'{"execute":"object-add","arguments":{}}',
        b"[[[[", b'"', b"nul", b"\x00\n", b"{}", b'{"execute":"cont"}', b'{"execute":"query-chardev"}',
        b'{"execute":"qom-get","arguments":{"path":"//","property":"a"}}', b'{"execute":1}', b" \r\n",
        b'{"execute":"migrate","arguments":{"uri":"x"}}', b'{"execute":"device_del","arguments":{"id":"net0"}}',
        b'{"execute":"human-monitor-command","arguments":{"command-line":"info \\u0000"}}',
    ]  # fmt: skip
    with Offenders() as offenders:
        for number in range(25):
            data = b"".join(chance.choice(parts) for _ in range(20))
            if chance.random() < 0.5:
                at = chance.randrange(len(data))
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            with offenders.case(f"{number}: {data!r}"):
                whole, split = (Machine(qemu=release) for _ in range(2))
                whole.monitor.receive(data)
                for byte in data:
                    split.monitor.receive(bytes([byte]))
                assert whole.monitor.take_output() == split.monitor.take_output()
                assert whole.simulation.agent.failure is None


def test_what_is_not_read_is_bounded() -> None:
    machine = Machine()
    request = b'{"execute":"query-qmp-schema"}'
    while not machine.monitor.is_full:
        machine.monitor.receive(request)
    for _ in range(1000):
        machine.hypervisor.emit("STOP")
    assert len(machine.monitor.take_output()) < OUTPUT_LIMIT + (1 << 20)


def test_a_revert_leaves_the_monitor_as_it_is() -> None:
    machine = Machine()
    machine.simulation.snapshots.take("s")
    machine.ask("query-name")
    machine.simulation.snapshots.revert("s")
    assert machine.ask("query-status")["status"] == "running"


# -- over sockets ----------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Any) -> Iterator[tuple[Simulation, str, str]]:
    simulation = loads(GUEST + "machine: {name: lab}\n").build()
    Journal(simulation)
    with ServerThreadPool() as pool:
        qmp = str(tmp_path / "qmp")
        pool.serve(simulation, str(tmp_path / "qga"), [UnixAddress(qmp)])
        yield simulation, str(tmp_path / "qga"), qmp


def test_a_client_of_qemu_qmp_holds_a_conversation(served: tuple[Simulation, str, str]) -> None:
    async def talk() -> list[str]:
        client = QMPClient("lab")
        await client.connect(served[2])
        assert await client.execute("query-name") == {"name": "lab"}
        events: list[str] = []
        with client.listener() as listener:
            await client.execute("stop")
            await client.execute("cont")
            events += [str((await listener.get())["event"]) for _ in range(2)]
        assert len(await client.execute("query-qmp-schema")) > 1000  # type: ignore[arg-type]
        await client.execute("system_reset")
        await client.disconnect()
        return events

    assert asyncio.run(talk()) == ["STOP", "RESUME"]


@pytest.mark.slow
def test_qmp_shell_holds_a_session(served: tuple[Simulation, str, str]) -> None:
    """QEMU's own shell for people, with commands of the protocol and for people."""
    shell = str(Path(sys.executable).with_name("qmp-shell"))

    def typed(*options: str, text: str) -> list[str]:
        done = subprocess.run(
            [shell, *options, served[2]],
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return [line.removeprefix("(QEMU) ") for line in done.stdout.splitlines()]

    lines = typed(text="query-name\nstop\nset-action shutdown=pause panic=none\nnope\n")
    assert lines[:2] == ["Welcome to the QMP low-level shell!", "Connected to QEMU 7.2.22"]
    replies = [json.loads(line) for line in lines if line.startswith("{")]
    assert {"return": {"name": "lab"}} in replies
    assert replies[-1]["error"]["class"] == "CommandNotFound"
    lines = typed("-H", text="info status\ncont\ninfo status\n")
    assert "VM status: paused" in lines
    assert served[0].hypervisor is not None
    assert served[0].hypervisor.guest.power.keeps_machine


def test_one_client_at_a_time_and_the_next_is_greeted(served: tuple[Simulation, str, str]) -> None:
    first, second = (socket.socket(socket.AF_UNIX) for _ in range(2))
    with first, second:
        for client in (first, second):
            client.settimeout(10)
            client.connect(served[2])
        assert b'"QMP"' in first.recv(1000)
        second.send(b'{"execute":"qmp_capabilities"}{"execute":"query-status"}')
        first.close()
        got = b""
        while got.count(b"\r\n") < 3:
            got += second.recv(1000)
        assert got.endswith(b'"running": true}}\r\n')


@pytest.mark.slow
def test_a_client_that_reads_late_gets_all_in_order(served: tuple[Simulation, str, str]) -> None:
    # QEMU keeps what a client does not read, without a limit, and goes on executing (monitor/monitor.c,
    # monitor_puts()).
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(served[2])
        requests = [b'{"execute":"query-qmp-schema","id":%d}' % n for n in range(10)]
        client.sendall(b'{"execute":"qmp_capabilities"}' + b"".join(requests))
        client.sendall(b'{"execute":"stop","id":10}')
        end = time.monotonic() + PATIENCE
        while not served[0].guest.power.is_paused:
            assert time.monotonic() < end
        got = b""
        while got.count(b"\r\n") < 14:
            got += client.recv(1 << 16)
    ids = [json.loads(line).get("id") for line in got.splitlines()]
    assert ids == [None, None, *range(10), None, 10]


def test_half_close_is_answered_and_quit_ends_both(served: tuple[Simulation, str, str]) -> None:
    with socket.socket(socket.AF_UNIX) as agent, socket.socket(socket.AF_UNIX) as client:
        for each, path in ((agent, served[1]), (client, served[2])):
            each.settimeout(10)
            each.connect(path)
        client.send(b'{"execute":"qmp_capabilities"}{"execute":"quit"}')
        client.shutdown(socket.SHUT_WR)
        got = b""
        while data := client.recv(1000):
            got += data
        assert got.endswith(b'"reason": "host-qmp-quit"}}\r\n{"return": {}}\r\n')
        assert agent.recv(1000) == b""


@pytest.mark.qgasim(machine={})
def test_the_fixture_has_both_conversations_in_one_journal(qga: LiveGuest) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(qga.qmp_path)
        client.send(b'{"execute":"qmp_capabilities"}{"execute":"stop"}{"execute":"cont"}')
        got = b""
        while got.count(b"\r\n") < 6:
            got += client.recv(1000)
    qga.verify("qmp:cont", after="qmp:stop", times=1)
    qga.never("qmp:quit")
    with pytest.raises(VerificationError, match="qmp:stop after qmp:cont"):
        qga.verify("qmp:stop", after="qmp:cont")
    with pytest.raises(ValueError, match="no release of QEMU has a command 'qmp:const'"):
        qga.verify("qmp:const")
    transcript = qga.journal.transcript()
    assert "qmp#1 stop → " in transcript
    assert "qmp STOP" in transcript
    assert qga.journal.commands() == []


def test_a_command_error_is_no_agents(served: tuple[Simulation, str, str]) -> None:
    assert CommandError("x").error_class == "GenericError"
    verify(Journal(served[0]), "guest-ping", times=0)
