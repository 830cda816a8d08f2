"""Faults of the monitor, what is found of its clients, and the scenarios that show both."""

import json
from typing import Any

import pytest

from qgasim.errors import ScenarioError
from qgasim.findings import find
from qgasim.guest.units import SECOND
from qgasim.qmp import Monitor
from qgasim.scenario import library, load, loads
from qgasim.simulation.journal import Journal
from qgasim.simulation.simulation import Simulation
from tests.serving import HandClock


class Bench:
    """A scenario with one monitor, and a clock to be advanced by hand."""

    def __init__(self, scenario: Any) -> None:
        self.clock = HandClock()
        self.simulation: Simulation = scenario.build(self.clock)
        self.journal = Journal(self.simulation)
        self.monitor: Monitor = self.simulation.add_monitor("unix:/qmp")

    def negotiate(self) -> None:
        self.monitor.connect()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> list[str]:
        request = {"execute": command, "arguments": arguments}
        self.monitor.receive(json.dumps(request).encode())
        return self.read()

    def read(self) -> list[str]:
        """Return what came: events by name, replies as ``return`` or the error's text."""
        found: list[str] = []
        for line in self.monitor.take_output().splitlines():
            message = json.loads(line)
            error = message.get("error", {}).get("desc")
            found.append(message.get("event") or error or next(iter(message)))
        return found

    def agent(self, command: str, **arguments: str) -> None:
        request = {"execute": command, "arguments": arguments}
        list(self.simulation.channel.receive(json.dumps(request).encode()))

    def answers(self, command: str) -> bool:
        """Ask the agent; return whether something comes at once."""
        request = b'{"execute":"%s"}\n' % command.encode()
        return any(isinstance(effect, bytes) for effect in self.simulation.channel.receive(request))

    def advance(self, seconds: float) -> list[str]:
        for _ in range(20):
            self.clock.now += int(seconds * SECOND / 20)
            self.simulation.guest.settle()
            assert self.simulation.hypervisor is not None
            self.simulation.hypervisor.run()
        return self.read()

    def found(self) -> list[str]:
        return [finding.name for finding in find(self.journal)]


def bench(text: str) -> Bench:
    made = Bench(loads(f"qgasim: 1\nmachine: {{}}\n{text}"))
    made.negotiate()
    return made


# -- faults ----------------------------------------------------------------------------------------


def test_an_event_is_lost_doubled_or_late() -> None:
    lost = bench('faults: [{kind: drop_event, on: "qmp:STOP", times: 1}]')
    assert [lost.ask(each) for each in ("stop", "cont", "stop")] == [
        ["return"], ["RESUME", "return"], ["STOP", "return"],
    ]  # fmt: skip
    doubled = bench('faults: [{kind: duplicate_event, on: "qmp:ST*", copies: 3}]')
    assert doubled.ask("stop") == ["STOP", "STOP", "STOP", "return"]
    late = bench('faults: [{kind: delay_event, on: "qmp:STOP", by: 2s}]')
    assert late.ask("stop") == ["return"]
    # The host's time counts: the guest's stands still.
    assert late.advance(1) == []
    assert late.advance(1.5) == ["STOP"]


def test_an_early_event_comes_before_the_greeting() -> None:
    made = Bench(loads('qgasim: 1\nfaults: [{kind: early_event, on: "qmp:VSERPORT_CHANGE"}]'))
    made.simulation.agent.stop(respawn=False)
    made.simulation.guest.settle()
    made.monitor.connect()
    assert made.read() == ["VSERPORT_CHANGE", "QMP"]


def test_faults_of_commands_are_the_agents() -> None:
    made = bench(
        'faults:\n  - {kind: error, on: "qmp:stop", desc: no, class: DeviceNotFound}\n'
        '  - {kind: delay, on: "qmp:query-name", by: 3s}\n'
        '  - {kind: drop, on: "qmp:query-uuid"}\n  - {kind: close, on: "qmp:query-kvm"}\n'
    )
    assert made.ask("stop") == ["no"]
    assert made.ask("query-status") == ["return"]
    assert made.ask("query-uuid") == []
    assert made.ask("query-name") == []
    # What follows waits behind it; events do not.
    assert made.ask("query-status") == []
    assert made.advance(4) == ["return", "return"]
    made.ask("query-kvm")
    assert made.monitor.has_hung_up
    assert made.simulation.agent.failure is None


def test_a_star_is_for_the_agent_only() -> None:
    made = bench("faults: [{kind: error, desc: no}]")
    assert made.ask("query-status") == ["return"]


def test_what_no_release_has_is_refused_with_its_place() -> None:
    with pytest.raises(ScenarioError) as caught:
        loads('qgasim: 1\nfaults: [{kind: drop_event, on: "qmp:SUSPENDED"}]', "f")
    assert str(caught.value) == (
        "f:2:33: faults[0].on: QEMU 7.2 has no command or event 'qmp:SUSPENDED'"
        " (did you mean 'qmp:SUSPEND'?)"
    )
    with pytest.raises(ScenarioError, match="expected an event of the monitor"):
        loads("qgasim: 1\nfaults: [{kind: drop_event, on: guest-ping}]", "f")
    with pytest.raises(ScenarioError, match=r"f:2:17: machine.uuid: expected a UUID"):
        loads("qgasim: 1\nmachine: {uuid: x}", "f")
    with pytest.raises(ScenarioError, match=r"machine.max_vcpus: expected 2 .* to 255, found 1"):
        loads("qgasim: 1\nmachine: {max_vcpus: 1}", "f")


def test_a_fault_is_switched_by_the_timeline() -> None:
    made = bench(
        'faults: [{kind: drop_event, on: "qmp:*", name: deaf}]\n'
        "timeline: [{do: fault_off, fault: deaf, at: 5s}]"
    )
    assert made.ask("stop") == ["return"]
    made.ask("cont")
    made.advance(6)
    assert made.ask("stop") == ["STOP", "return"]


def test_an_event_of_the_timeline_follows_a_command_or_an_event_of_the_monitor() -> None:
    closed = '{command: "qmp:VSERPORT_CHANGE", arguments: {open: false}}'
    made = bench(
        "timeline:\n"
        '- {do: panic, after: "qmp:query-name", count: 2}\n'
        f"- {{do: agent_stops, after: {closed}, delay: 5s}}\n"
        '- {do: reboot, after: "*"}\n'
    )
    made.ask("query-name")
    made.advance(1)
    states = [made.simulation.guest.state]
    made.ask("query-name")
    made.advance(1)
    assert [*states, made.simulation.guest.state] == ["up", "crashed"]
    made = bench('timeline: [{do: reboot, after: "qmp:STOP"}]')
    made.ask("stop")
    made.ask("cont")
    assert "RESET" in made.advance(1)
    with pytest.raises(
        ScenarioError, match=r"no command or event 'qmp:STOPP' \(did you mean 'qmp:STOP'"
    ):
        loads('qgasim: 1\ntimeline: [{do: reboot, after: "qmp:STOPP"}]').build()


def test_a_nemesis_draws_faults_of_events_where_it_is_asked_to() -> None:
    text = "qgasim: 1\nmachine: {}\nnemesis: {requests: 20, seed: 3, kinds: [drop_event, delay_event, early_event, duplicate_event]}"
    drawn = loads(text).build(HandClock()).armed_faults
    assert {type(armed.fault).__name__ for armed in drawn} >= {"DropEvent", "DelayEvent"}
    assert all(armed.fault.on == "qmp:*" for armed in drawn)
    plain = loads("qgasim: 1\nmachine: {}\nnemesis: {requests: 200}").build(HandClock())
    assert plain.hypervisor is not None
    assert plain.hypervisor.injector.armed == ()


# -- findings --------------------------------------------------------------------------------------


def test_a_client_that_does_not_negotiate_is_found() -> None:
    made = Bench(loads("qgasim: 1"))
    made.monitor.connect()
    made.ask("query-status")
    assert made.found() == ["monitor-not-negotiated"]


def test_a_suspend_that_was_believed_is_found_and_one_that_was_waited_for_is_not() -> None:
    naive, right = bench(""), bench("")
    for made in (naive, right):
        made.agent("guest-suspend-ram")
    assert naive.ask("system_wakeup") == ["Unable to wake up: guest is not in suspended state"]
    assert naive.found() == ["suspend-believed"]
    assert right.advance(1) == ["VSERPORT_CHANGE", "SUSPEND"]
    assert right.ask("system_wakeup") == ["WAKEUP", "return"]
    assert right.ask("system_wakeup") == ["Unable to wake up: guest is not in suspended state"]
    assert right.found() == []


def test_a_shutdown_taken_for_the_end_is_found() -> None:
    made = Bench(load("qmp-shutdown-stays"))
    made.negotiate()
    made.ask("system_powerdown")
    assert made.advance(3)[-2:] == ["SHUTDOWN", "STOP"]
    made.ask("cont")
    assert made.found() == ["shutdown-taken-for-the-end"]
    right = Bench(load("qmp-shutdown-stays"))
    right.negotiate()
    right.ask("system_powerdown")
    right.advance(3)
    right.ask("system_reset")
    right.ask("cont")
    assert right.found() == []


def test_a_halt_that_was_waited_for_as_a_shutdown_is_found() -> None:
    naive, right = bench(""), bench("")
    for made in (naive, right):
        made.agent("guest-shutdown", mode="halt")
        # The port is closed, and nothing else is told (recorded: tests/golden/qmp).
        assert made.advance(60) == ["VSERPORT_CHANGE"]
        made.ask("query-status")
    assert right.found() == []
    for _ in range(2):
        naive.ask("query-status")
    assert naive.found() == ["halt-awaited-as-shutdown"]
    # A client that looks, resets the machine and looks again has understood.
    for _ in range(5):
        right.ask("system_reset")
        right.advance(30)
        right.ask("query-status")
    assert right.found() == []


def count_reboots(made: Bench, times: int) -> None:
    """Ask for as many reboots as a client does that takes each RESET for one."""
    made.agent("guest-shutdown", mode="reboot")
    asked = seen = 1
    for _ in range(400):
        seen += made.advance(0.05).count("RESET")
        while asked < min(seen, times):
            made.agent("guest-shutdown", mode="reboot")
            asked += 1


def wait_until_up(made: Bench) -> None:
    """Wait as a careful client does: for RESET, and then for the port."""
    events: list[str] = []
    while "RESET" not in events or made.simulation.guest.state != "up":
        events += made.advance(0.05)


@pytest.mark.parametrize("firmware", [0, 3])
def test_a_reset_that_was_counted_as_a_reboot_is_found(firmware: int) -> None:
    made = Bench(loads(f"qgasim: 1\nmachine: {{firmware_resets: {firmware}}}"))
    made.negotiate()
    count_reboots(made, 2)
    assert made.found() == ["reset-counted-as-reboot"]


@pytest.mark.parametrize("firmware", [0, 3])
def test_reboots_that_were_waited_for_are_not(firmware: int) -> None:
    made = Bench(loads(f"qgasim: 1\nmachine: {{firmware_resets: {firmware}}}"))
    made.negotiate()
    for _ in range(3):
        made.agent("guest-shutdown", mode="reboot")
        wait_until_up(made)
    assert made.found() == []


def test_an_agent_that_is_asked_whether_it_is_back_is_no_finding() -> None:
    made = Bench(load("qmp-resets-by-firmware"))
    made.negotiate()
    made.agent("guest-shutdown", mode="reboot")
    while "RESET" not in made.advance(0.05):
        pass
    request = {"execute": "guest-sync-delimited", "arguments": {"id": 7}}
    made.simulation.channel.receive(b"\xff" + json.dumps(request).encode())
    made.advance(60)
    assert made.found() == []


def test_resets_that_no_monitor_told_of_were_not_counted() -> None:
    made = Bench(loads("qgasim: 1\nmachine: {firmware_resets: 3}"))
    made.agent("guest-shutdown", mode="reboot")
    while made.simulation.guest.state == "up":
        made.advance(0.05)
    made.agent("guest-shutdown", mode="reboot")
    assert made.found() == []


def test_an_unplug_that_was_believed_is_found() -> None:
    made = bench("guest: {nics: [{name: eth0, mac: '52:54:00:00:00:01'}]}")
    made.ask("device_del", id="net0")
    made.ask("device_add", driver="virtio-net-pci", id="net0", netdev="hostnet0")
    assert made.found() == ["unplug-believed"]


def test_a_command_that_is_not_simulated_is_found() -> None:
    made = bench("")
    made.ask("query-pci")
    assert made.found() == ["monitor-command-not-simulated"]


# -- the library -----------------------------------------------------------------------------------

SCENES = {
    "qmp-event-before-greeting", "qmp-panic-pauses", "qmp-port-event-late", "qmp-port-opens-twice",
    "qmp-power-button-ignored", "qmp-resets-by-firmware", "qmp-shutdown-stays",
    "qmp-suspend-event-lost", "qmp-wakeup-fails",
}  # fmt: skip


def test_every_scenario_of_the_monitor_is_shown() -> None:
    assert {name for name in library() if name.startswith("qmp-")} == SCENES


def played(name: str) -> Bench:
    made = Bench(load(name))
    made.negotiate()
    return made


def test_the_scenarios_show_what_they_say() -> None:
    made = played("qmp-panic-pauses")
    assert made.advance(12) == ["GUEST_PANICKED", "STOP"]
    made = played("qmp-port-opens-twice")
    made.simulation.agent.crash(2 * SECOND)
    assert made.advance(3) == ["VSERPORT_CHANGE"] * 4
    made = played("qmp-port-event-late")
    made.simulation.agent.crash(2 * SECOND)
    assert made.advance(4) == []
    assert made.advance(4) == ["VSERPORT_CHANGE"] * 2
    made = played("qmp-power-button-ignored")
    assert made.ask("system_powerdown") == ["POWERDOWN", "return"]
    assert made.advance(60) == []
    made = played("qmp-resets-by-firmware")
    assert made.ask("system_reset") == ["VSERPORT_CHANGE", "RESET", "return"]
    assert made.advance(1) == ["RESET"] * 3
    made = played("qmp-suspend-event-lost")
    made.agent("guest-suspend-ram")
    assert made.advance(2) == ["VSERPORT_CHANGE"]
    assert made.ask("system_wakeup") == ["WAKEUP", "return"]
    made = played("qmp-wakeup-fails")
    made.agent("guest-suspend-ram")
    made.advance(2)
    assert made.ask("system_wakeup") == ["Unable to wake up: guest is not in suspended state"]
    assert made.ask("system_wakeup") == ["WAKEUP", "return"]
    made = Bench(load("qmp-event-before-greeting"))
    made.advance(1.5)
    made.monitor.connect()
    assert made.read() == ["VSERPORT_CHANGE", "QMP"]
