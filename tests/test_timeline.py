"""Events: what happens, when, and what a client sees of it."""

from typing import Any, get_args

import pytest

from qgasim.effects import Close
from qgasim.errors import ScenarioError
from qgasim.scenario import loads
from qgasim.scenario.dump import to_yaml
from qgasim.simulation.timeline import (
    AgentUpgrades,
    AnyEvent,
    ClockDrifts,
    DiskFills,
    NicDisappears,
    PowerOn,
    ProcessEnds,
    Reboot,
    Resume,
)
from qgasim.states import State
from tests.serving import SECOND, Course

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return": {}}\n'


def state(course: Course) -> State:
    return course.guest.state


def course(*events: str, more: str = "") -> Course:
    """Return a guest that has been up for 12 s, with events."""
    return Course(f"{{extends: debian-12, timeline: [{', '.join(events)}]{more}}}")


def addresses(guest: Course, name: str) -> list[str]:
    nics = guest.say("guest-network-get-interfaces")["return"]
    found = [nic for nic in nics if nic["name"] == name]
    return [a["ip-address"] for nic in found for a in nic.get("ip-addresses", [])]


def users(guest: Course) -> list[str]:
    return [user["user"] for user in guest.say("guest-get-users")["return"]]


def disks(guest: Course) -> list[str]:
    return [disk["name"] for disk in guest.say("guest-get-disks")["return"]]


def used(guest: Course) -> int:
    systems = guest.say("guest-get-fsinfo")["return"]
    return int(next(s["used-bytes"] for s in systems if s["mountpoint"] == "/"))


def time_passed(guest: Course) -> float:
    """Return what the guest's clock is ahead of one that was right at power-on."""
    start = 1_735_689_600 * SECOND
    return (int(guest.say("guest-get-time")["return"]) - start - guest.clock.now) / SECOND


#: An event at 20 s, how to look, and what is seen before and after.
SEEN: dict[str, tuple[str, Any, Any, Any]] = {
    "the agent stops": ("do: agent_stops", lambda c: c.send(PING), PONG, b""),
    "the agent crashes": ("do: agent_crashes, respawn: 1h", lambda c: c.send(PING), PONG, b""),
    "a panic": ("do: panic", lambda c: c.send(PING), PONG, b""),
    "a sleep": ("do: suspend", lambda c: c.send(PING), PONG, b""),
    "a step forward": ("do: step_clock, forward: 1h", time_passed, 0.0, 3600.0),
    "a step back": ("do: step_clock, back: 90s", time_passed, 0.0, -90.0),
    "a new interface": (
        "do: nic_appears, nic: {name: eth9, addresses: [203.0.113.9/24]}",
        lambda c: addresses(c, "eth9"),
        [],
        ["203.0.113.9"],
    ),
    "an interface less": (
        "do: nic_disappears, nic: enp1s0",
        lambda c: bool(addresses(c, "enp1s0")),
        True,
        False,
    ),
    "an address more and one less": (
        'do: addresses, nic: lo, add: [10.0.0.1/8], remove: ["::1/128"]',
        lambda c: addresses(c, "lo"),
        ["127.0.0.1", "::1"],
        ["127.0.0.1", "10.0.0.1"],
    ),
    "a new disk": (
        "do: disk_appears, disk: {name: vdb, size: 1GiB}",
        lambda c: "/dev/vdb" in disks(c),
        False,
        True,
    ),
    "a full disk": (
        "do: disk_fills, path: /, used: 9GiB",
        lambda c: used(c) == 9 << 30,
        False,
        True,
    ),
    "a user who comes": (
        "do: logs_on, user: root",
        users,
        ["debian"],
        ["debian", "root"],
    ),
    "a user who goes": ("do: logs_off, user: debian", users, ["debian"], []),
    "a clock that drifts": (
        "do: clock_drifts, drift: 100000",
        lambda c: round(time_passed(c), 2),
        0.0,
        # It gains a tenth of the tenth of a second since.
        0.01,
    ),
    "a process that ends": (
        "do: process_ends, process: sleep",
        lambda c: [p.name for p in c.guest.processes.live()].count("sleep"),
        2,
        0,
    ),
    "a file that changes": (
        'do: file_changes, path: /etc/motd, file: "new"',
        lambda c: c.guest.files.exists("/etc/motd"),
        False,
        True,
    ),
}


@pytest.mark.parametrize("name", SEEN)
def test_an_event_is_seen_from_its_time_on(name: str) -> None:
    event, look, before, after = SEEN[name]
    guest = course(f"{{{event}, at: 20s}}")
    for _ in range(2):
        guest.say("guest-exec", path="sleep", arg=["1000"])
    assert look(guest) == before
    guest.advance(7.9)
    assert look(guest) == before
    guest.advance(0.2)
    assert look(guest) == after


def test_an_event_happens_after_so_many_requests() -> None:
    guest = course("{do: logs_off, user: debian, after: guest-get-users, count: 2, delay: 1s}")
    assert users(guest) == users(guest) == users(guest) == ["debian"]
    guest.advance(1)
    assert users(guest) == []


def test_an_event_may_wait_for_certain_arguments() -> None:
    guest = course(
        "{do: agent_crashes, respawn: 100ms, after: {command: guest-sync, arguments: {id: 7}}}"
    )
    for number in (6, 7):
        assert guest.say("guest-sync", id=number) == {"return": number}
    guest.advance(0)
    assert guest.send(PING) == b""
    # Kept by the channel, as recorded for what comes while no agent runs; answered by the next one.
    assert guest.advance(0.2) == PONG


def test_an_event_happens_on_entering_a_state() -> None:
    guest = course("{do: step_clock, forward: 1h, on: frozen}")
    assert time_passed(guest) == 0
    guest.say("guest-fsfreeze-freeze")
    guest.advance(0)
    guest.say("guest-fsfreeze-thaw")
    assert time_passed(guest) == 3600


def test_a_fault_is_switched_on_and_off() -> None:
    guest = course(
        "{do: fault_off, fault: down, at: 20s}",
        "{do: fault_on, fault: down, at: 30s}",
        more=", faults: [{kind: error, desc: x, name: down}]",
    )
    seen = []
    for _ in range(3):
        seen.append(guest.send(PING) == PONG)
        guest.advance(10)
    assert seen == [False, True, False]


def test_an_agent_that_was_stopped_is_started() -> None:
    guest = course("{do: agent_stops, at: 0s}", "{do: agent_starts, at: 1m}")
    guest.advance(0)
    assert guest.send(PING) == b""
    assert guest.advance(60) == PONG


def test_an_upgraded_agent_says_so_and_has_forgotten_its_handles() -> None:
    guest = course()
    guest.say("guest-file-open", path="/etc/hostname")
    AgentUpgrades(at=0, release="7.2.9").happen(guest.simulation)
    assert guest.say("guest-info")["return"]["version"] == "7.2.9"
    assert "error" in guest.say("guest-file-close", handle=1000)


# -- states ----------------------------------------------------------------------------------------


def test_states_are_named() -> None:
    guest = course(
        "{do: reboot, at: 20s}",
        "{do: suspend, at: 40s}",
        "{do: wake, at: 50s}",
        "{do: power_off, at: 1m}",
    )
    seen = [state(guest)]
    guest.say("guest-fsfreeze-freeze")
    seen.append(state(guest))
    for seconds in (8.5, 10, 10, 10, 10):
        guest.advance(seconds)
        seen.append(state(guest))
    assert seen == ["up", "frozen", "rebooting", "up", "suspended", "up", "off"]


def test_a_guest_is_switched_on_and_boots() -> None:
    guest = course("{do: power_off, at: 20s}", "{do: power_on, at: 30s}")
    guest.say("guest-file-open", path="/etc/hostname")
    seen = []
    for seconds in (8.5, 10, 2):
        guest.advance(seconds)
        seen.append(state(guest))
    assert seen == ["off", "booting", "up"]
    assert guest.send(PING) == PONG
    assert guest.agent.state.handles == {}
    PowerOn(at=0).happen(guest.simulation)
    assert state(guest) == "up"


def test_commands_get_usable_one_after_the_other_at_each_boot() -> None:
    guest = course(
        "{do: fault_on, fault: no exec, on: rebooting}",
        "{do: fault_off, fault: no exec, on: up, delay: 5s}",
        "{do: fault_off, fault: no exec, at: 0s}",
        "{do: reboot, at: 20s}",
        "{do: reboot, at: 40s}",
        more=", faults: [{kind: ignore, on: guest-exec, name: no exec}]",
    )
    guest.advance(0)
    for _ in range(2):
        assert guest.say("guest-exec", path="true") is not None
        guest.advance(12)
        assert guest.send(PING) == PONG
        assert guest.say("guest-exec", path="true") is None
        guest.advance(8)


def test_a_clock_that_drifted_is_put_back_with_the_guest() -> None:
    guest = course()
    guest.simulation.snapshots.take("before")
    ClockDrifts(at=0, drift=500_000).happen(guest.simulation)
    guest.advance(10)
    assert time_passed(guest) == 5
    guest.simulation.snapshots.revert("before")
    guest.advance(10)
    # The guest's time stands where it stood 10 s before.
    assert time_passed(guest) == -10


def test_a_panic_is_a_crash_and_an_agent_that_is_gone_is_booting() -> None:
    guest = course("{do: agent_stops, at: 0s}", "{do: panic, at: 20s}")
    guest.advance(0)
    assert state(guest) == "booting"
    guest.advance(10)
    assert state(guest) == "crashed"


def test_a_paused_guest_answers_nothing_and_its_time_stands_still() -> None:
    guest = course("{do: pause, lasts: 30s, at: 12s}")
    guest.advance(0)
    uptime = guest.guest.clock.uptime()
    assert guest.send(PING) == b""
    assert guest.advance(29) == b""
    assert state(guest) == "paused"
    assert guest.guest.clock.uptime() == uptime
    assert guest.advance(1) == PONG
    assert state(guest) == "up"
    # Its clock is behind by as much as it stood still.
    assert time_passed(guest) == -30


def test_a_paused_guest_may_have_the_right_time_afterwards() -> None:
    guest = course("{do: pause, lasts: 30s, clock_runs: true, at: 12s}")
    guest.advance(0)
    guest.advance(31)
    assert time_passed(guest) == 0


def test_a_guest_that_is_paused_for_good_is_resumed() -> None:
    guest = course("{do: pause, at: 12s}")
    guest.advance(0)
    guest.advance(1000)
    assert guest.send(PING) == b""
    Resume(at=0).happen(guest.simulation)
    assert guest.advance(0) == PONG


def test_what_runs_in_a_paused_guest_goes_on_where_it_was() -> None:
    guest = course("{do: pause, lasts: 1h, at: 13s}")
    pid = guest.say("guest-exec", path="sleep", arg=["10"])["return"]["pid"]
    guest.advance(1)
    guest.advance(3605)
    assert guest.say("guest-exec-status", pid=pid) == {"return": {"exited": False}}
    guest.advance(5)
    assert guest.say("guest-exec-status", pid=pid)["return"]["exited"]


def test_after_a_migration_the_clock_is_behind() -> None:
    guest = course("{do: migrate, blackout: 800ms, at: 12s}")
    guest.advance(0)
    assert guest.send(PING) == b""
    assert guest.advance(0.8) == PONG
    assert time_passed(guest) == pytest.approx(-0.8)


def test_a_guest_that_is_off_hangs_up() -> None:
    guest = course("{do: power_off, at: 20s}")
    guest.clock.now += 10 * SECOND
    assert list(guest.channel.wake()) == [Close()]


# -- from Python, and what is wrong ----------------------------------------------------------------


def test_an_event_may_happen_at_once() -> None:
    guest = course()
    Reboot(at=0).happen(guest.simulation)
    guest.advance(0)
    assert guest.guest.power.events == ["RESET"]


def test_what_is_not_there_cannot_change() -> None:
    guest = course()
    with pytest.raises(LookupError, match="there is no interface 'eth9'"):
        NicDisappears(at=0, nic="eth9").happen(guest.simulation)
    with pytest.raises(LookupError, match="there is no process 'nope'"):
        ProcessEnds(at=0, process="nope").happen(guest.simulation)
    with pytest.raises(LookupError, match="there is no mount point '/nope'"):
        DiskFills(at=0, path="/nope", used=1).happen(guest.simulation)


@pytest.mark.parametrize(
    ("release", "starts"), [("8.0", True), ("8.1", False), ("9.0", False), ("9.1", True)]
)
def test_an_upgrade_to_an_agent_that_does_not_start_is_refused(
    release: str, *, starts: bool
) -> None:
    # qga/main.c of 8.1 to 9.0: a list of what is blocked and one of what is allowed.
    guest = Course("agent: {release: '7.2', block_rpcs: [guest-info], allow_rpcs: [guest-ping]}")
    upgrade = AgentUpgrades(at=0, release=release)
    if starts:
        upgrade.happen(guest.simulation)
    else:
        with pytest.raises(ScenarioError, match=rf"qemu-ga {release}\.0 does not start: wrong com"):
            upgrade.happen(guest.simulation)
    assert guest.agent.dialect.full_version == (f"{release}.0" if starts else "7.2.22")
    assert guest.say("guest-ping") == {"return": {}}


def test_a_scenario_with_events_can_be_written_again() -> None:
    text = ", ".join(f"{{{event}, at: 20s}}" for event, *_ in SEEN.values())
    scenario = loads(f"{{extends: debian-12, timeline: [{text}]}}")
    assert loads(to_yaml(scenario)).timeline == scenario.timeline


def test_an_event_that_leads_back_into_its_own_state_happens_once() -> None:
    guest = course(
        "{do: agent_upgrades, release: 7.2.9, on: up}", "{do: agent_crashes, at: 13s, respawn: 1s}"
    )
    guest.advance(5)
    assert guest.say("guest-info")["return"]["version"] == "7.2.9"


#: Each kind of event, with its least settings, as a test says it.
FROM_PYTHON: dict[str, dict[str, Any]] = {
    "addresses": {"nic": "lo", "add": ["10.0.0.1/8"]},
    "agent_crashes": {"respawn": "1s"},
    "agent_starts": {},
    "agent_stops": {},
    "agent_upgrades": {"release": "8.2"},
    "clock_drifts": {"drift": 10},
    "disk_appears": {"disk": {"name": "vdz", "size": "1GiB"}},
    "disk_fills": {"path": "/", "used": "9GiB"},
    "fault_off": {"fault": "it"},
    "fault_on": {"fault": "it"},
    "file_changes": {"path": "/etc/motd", "file": "x"},
    "logs_off": {"user": "debian"},
    "logs_on": {"user": "root"},
    "migrate": {"blackout": "1ms"},
    "nic_appears": {"nic": {"name": "eth9"}},
    "nic_disappears": {"nic": "enp1s0"},
    "panic": {},
    "pause": {"lasts": "1ms"},
    "power_off": {},
    "power_on": {},
    "process_ends": {"process": "qemu-ga"},
    "reboot": {},
    "resume": {},
    "revert": {"to": "s"},
    "snapshot": {"name": "s"},
    "step_clock": {"forward": "1h"},
    "suspend": {"mode": "ram"},
    "wake": {},
}


def test_every_kind_of_event_can_be_called_from_python(qga: Any) -> None:
    assert FROM_PYTHON.keys() == {cls.__struct_config__.tag for cls in get_args(AnyEvent)}
    qga.inject(kind="drop", on="guest-info", name="it")
    qga.snapshot(name="s")
    for kind, settings in FROM_PYTHON.items():
        getattr(qga, kind)(**settings)
        assert f"-- {kind}" in qga.transcript(1) + qga.transcript(3)
        qga.revert(to="s")
    assert qga.state == "up"


@pytest.mark.parametrize(
    "scenario",
    [
        "guest: {power: {boot_time: 0s}}\ntimeline: [{do: reboot, at: 13s}, {do: reboot, on: up}]",
        "timeline: [{do: suspend, at: 13s}, {do: wake, on: suspended}, {do: suspend, on: up}]",
        """\
guest: {power: {boot_time: 0s}}
timeline: [{do: power_off, at: 13s}, {do: power_on, on: off}, {do: power_off, on: up}]""",
    ],
    ids=["reboots", "sleep and wake", "off and on"],
)
def test_events_that_bring_each_other_about_in_no_time_leave_a_look_its_end(scenario: str) -> None:
    course = Course(scenario)
    for _ in range(3):
        course.advance(2)
        due = course.channel.next_event()
        assert due is not None
        assert due <= course.clock.now


# -- since boot ------------------------------------------------------------------------------------


def test_an_event_since_boot_happens_after_each_boot() -> None:
    guest = course("{do: logs_on, since_boot: 20s, user: ann}", "{do: reboot, at: 40s}")
    guest.advance(10)
    assert [login.user for login in guest.guest.logins].count("ann") == 1
    # The reboot begins at 40 s and takes 2 s; utmp is empty then.
    guest.advance(20)
    assert guest.guest.logins == []
    guest.advance(10)
    assert guest.guest.booted_at == 42 * SECOND
    assert guest.guest.logins == []
    guest.advance(10)
    assert [login.user for login in guest.guest.logins] == ["ann"]


def test_an_event_since_boot_is_off_if_the_guest_boots_again_before() -> None:
    guest = course(
        "{do: logs_on, since_boot: 30s, user: ann}",
        "{do: reboot, at: 20s}",
        "{do: reboot, at: 40s}",
    )
    guest.advance(58)
    assert guest.guest.booted_at == 42 * SECOND
    assert guest.guest.logins == []
    guest.advance(2)
    assert [login.user for login in guest.guest.logins] == ["ann"]


def test_an_event_since_boot_does_not_happen_twice_in_a_boot_that_is_gone_back_to() -> None:
    guest = course("{do: logs_on, since_boot: 20s, user: ann}")
    guest.simulation.snapshots.take("then")
    guest.advance(10)
    guest.simulation.snapshots.revert("then")
    guest.advance(30)
    assert "ann" not in [login.user for login in guest.guest.logins]
