"""What tells a client that a guest has booted again, and what the kernel counts since then."""

import re
import uuid
from typing import Literal

import pytest
from msgspec import structs

from qgasim.guest import Guest, GuestSettings
from qgasim.guest.hardware.devices import CpuTimes, Vcpu
from qgasim.guest.settings import ClockSettings, OsSettings
from qgasim.guest.system.accounts import Login
from qgasim.simulation.memento import Memento
from qgasim.userland import USERLANDS
from tests.serving import Course
from tests.userland.programs.conftest import Run, run

__all__ = ["run"]

SECOND = 10**9
#: 2024-06-15T12:00:00Z
NOON = 1_718_452_800 * SECOND


class Machine:
    """A guest and the host's clock that it follows."""

    def __init__(self, settings: GuestSettings, seed: int = 0) -> None:
        self.now = 0
        userland = USERLANDS[settings.os.userland]
        self.guest = Guest(settings, userland, source=lambda: self.now, seed=seed)
        self.guest.settle()

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)
        self.guest.settle()

    def reboot(self) -> None:
        """Boot again; a boot takes 2 s."""
        self.guest.power.shut_down("reboot", 0)
        self.wait(2)
        assert self.guest.power.state == "running"

    def read(self, path: str) -> str:
        return self.guest.files.read(path).decode()


def make(**settings: object) -> Machine:
    given: dict[str, object] = {"clock": ClockSettings(start=NOON)}
    return Machine(structs.replace(GuestSettings(), **(given | settings)))


BOOT_ID = "/proc/sys/kernel/random/boot_id"


def test_uptime_counts_from_the_latest_boot() -> None:
    machine = make()
    machine.wait(100)
    assert machine.read("/proc/uptime").split()[0] == "100.00"
    machine.reboot()
    machine.wait(5)
    assert machine.read("/proc/uptime").split()[0] == "5.00"
    # What a scenario plans counts on.
    assert machine.guest.clock.uptime() == 107 * SECOND
    assert machine.guest.booted_at == 102 * SECOND
    assert machine.guest.boot_uptime() == 5 * SECOND


def test_the_idle_time_of_proc_uptime_is_that_of_all_processors() -> None:
    # fs/proc/uptime.c, uptime_proc_show().
    machine = make(vcpus=4)
    machine.wait(10)
    assert machine.read("/proc/uptime") == "10.00 40.00\n"


def test_programs_show_the_latest_boot(run: Run) -> None:
    machine = make(clock=ClockSettings(start=NOON, zone=None))
    machine.wait(3600)
    for argv, shown in (
        (["uptime", "-s"], b"2024-06-15 12:00:00\n"),
        (["who", "-b"], b"         system boot  Jun 15 12:00\n"),
    ):
        assert run(machine.guest, argv)[0] == shown
    machine.reboot()
    machine.wait(60)
    for argv, shown in (
        (["uptime", "-s"], b"2024-06-15 13:00:02\n"),
        (["who", "-b"], b"         system boot  Jun 15 13:00\n"),
        (["uptime"], b" 13:01:02 up 1 min,  0 user,  load average: 0.00, 0.00, 0.00\n"),
    ):
        assert run(machine.guest, argv)[0].startswith(shown), argv


def test_who_shows_the_boot_that_a_scenario_logs_and_none_without_utmp(run: Run) -> None:
    boot = Login(user="reboot", line="~", kind="boot", time=NOON - 86_400 * SECOND)
    user = Login(user="alice", line="tty1", time=NOON)
    machine = make(logins=[boot, user], clock=ClockSettings(start=NOON, zone=None))
    line = b"         system boot  Jun 14 12:00\n"
    assert run(machine.guest, ["who", "-b"])[0] == line
    assert run(machine.guest, ["who"])[0] == b"alice    tty1         Jun 15 12:00\n"
    assert run(make(logins=None).guest, ["who", "-b"])[0] == b""


def test_setting_the_clock_moves_what_the_kernel_works_out_but_not_utmp(run: Run) -> None:
    # kernel/time/timekeeping.c, getboottime64(): what was added to the clock is in it.
    machine = make(clock=ClockSettings(start=NOON, zone=None))
    machine.guest.clock.set(NOON + 3600 * SECOND)
    assert run(machine.guest, ["who", "-b"])[0] == b"         system boot  Jun 15 12:00\n"
    assert run(machine.guest, ["uptime", "-s"])[0] == b"2024-06-15 13:00:00\n"
    assert f"\nbtime {NOON // SECOND + 3600}\n" in machine.read("/proc/stat")


def test_a_boot_has_an_id_until_the_next() -> None:
    # drivers/char/random.c, proc_do_uuid(): a random UUID (version 4), made once.
    machine = make()
    first = machine.read(BOOT_ID)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n", first)
    assert uuid.UUID(first.strip()).version == 4
    machine.wait(100)
    assert machine.read(BOOT_ID) == first
    machine.reboot()
    second = machine.read(BOOT_ID)
    assert second != first
    machine.reboot()
    assert machine.read(BOOT_ID) not in {first, second}


def test_the_id_of_a_boot_follows_from_the_seed() -> None:
    ids = [Machine(GuestSettings(), seed).read(BOOT_ID) for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


def test_what_a_snapshot_keeps_has_the_boot_of_its_time() -> None:
    machine = make()
    guest, before = machine.guest, machine.read(BOOT_ID)
    machine.wait(10)
    kept, mark = Memento([guest], without=guest.outside()), guest.clock.mark()
    machine.reboot()
    assert machine.read(BOOT_ID) != before
    assert guest.booted_at == 12 * SECOND
    kept.restore()
    guest.clock.revert(mark)
    assert machine.read(BOOT_ID) == before
    assert guest.booted_at == 0
    assert machine.read("/proc/uptime").startswith("10.00 ")


@pytest.mark.parametrize(
    ("load", "proc", "busybox"),
    [
        ((0.0, 0.0, 0.0), "0.00 0.00 0.00", "0.00, 0.00, 0.00"),
        # 0.15 is 307/2048: rounded, or not.
        ((0.15, 1.0, 12.345), "0.15 1.00 12.35", "0.14, 1.00, 12.34"),
        ((99.99, 0.01, 0.5), "99.99 0.01 0.50", "99.99, 0.00, 0.50"),
    ],
)
def test_the_load_is_the_same_wherever_it_is_shown(
    run: Run, load: tuple[float, float, float], proc: str, busybox: str
) -> None:
    # fs/proc/loadavg.c: rounded to 2 digits; BusyBox's uptime cuts what sysinfo(2) gives.
    gnu = proc.replace(" ", ", ")
    for system, shown in ((OsSettings(), gnu), (OsSettings(userland="busybox"), busybox)):
        machine = make(load=load, os=system)
        assert machine.read("/proc/loadavg").startswith(f"{proc} 1/")
        assert run(machine.guest, ["uptime"])[0].endswith(f"load average: {shown}\n".encode())


def test_proc_loadavg_counts_processes_and_has_the_latest_id() -> None:
    # Documentation/filesystems/proc.rst: running and all of them, and the process created last.
    machine = make()
    process = machine.guest.processes.spawn(["/bin/sleep", "9"], env=[], files={})
    alive = len(machine.guest.processes.live())
    assert machine.read("/proc/loadavg") == f"0.00 0.00 0.00 1/{alive} {process.pid}\n"


def test_proc_stat_says_what_the_kernel_counts() -> None:
    # Documentation/filesystems/proc.rst, "Miscellaneous kernel statistics in /proc/stat".
    machine = make(
        vcpus=[
            Vcpu(id=1, times=CpuTimes(user=20, idle=1000, guestnice=70)),
            Vcpu(id=0, times=CpuTimes(user=100, system=50)),
            Vcpu(id=2, online=False, times=CpuTimes(user=10)),
        ]
    )
    machine.wait(2)
    forks, switches = machine.guest.processes.forks, machine.guest.processes.switches
    assert forks == 1
    assert machine.read("/proc/stat").splitlines() == [
        "cpu  13 0 5 500 0 0 0 0 0 7",
        "cpu0 10 0 5 200 0 0 0 0 0 0",
        "cpu1 2 0 0 300 0 0 0 0 0 7",
        "intr 0",
        f"ctxt {switches}",
        f"btime {NOON // SECOND}",
        "processes 1",
        "procs_running 1",
        "procs_blocked 0",
        "softirq 0 0 0 0 0 0 0 0 0 0 0",
    ]
    machine.reboot()
    machine.wait(1)
    lines = machine.read("/proc/stat").splitlines()
    assert lines[:3] == [
        "cpu  0 0 0 200 0 0 0 0 0 0",
        "cpu0 0 0 0 100 0 0 0 0 0 0",
        "cpu1 0 0 0 100 0 0 0 0 0 0",
    ]
    assert f"btime {NOON // SECOND + 4}" in lines
    assert "processes 1" in lines


def test_the_commands_say_the_same_as_the_files() -> None:
    course = Course("debian-12", release="10.0")
    course.guest.vcpus[0].times.user = 12_340
    course.advance(3)
    assert course.say("guest-get-load")["return"]["load1m"] == course.guest.load()[0]
    stats = course.say("guest-get-cpustats")["return"]
    rows = course.guest.files.read("/proc/stat").decode().splitlines()[1:]
    for each, row in zip(stats, rows, strict=False):
        assert row == f"cpu{each['cpu']} " + " ".join(
            str(each[name] // 10)
            for name in CpuTimes.__struct_fields__
        )  # fmt: skip


@pytest.mark.parametrize(
    ("userland", "users", "loads"), [("gnu", "0 user", "0.51"), ("busybox", "0 users", "0.50")]
)
def test_uptime_says_users_and_loads_as_its_program_does(
    run: Run, userland: Literal["gnu", "busybox"], users: str, loads: str
) -> None:
    machine = make(os=OsSettings(userland=userland), clock=ClockSettings(start=NOON, zone=None))
    machine.guest.load = lambda: (0.5075, 0.0, 0.0)  # type: ignore[method-assign]
    machine.wait(90000)
    shown = run(machine.guest, ["uptime"])[0].decode()
    # procps 4.0.2 and BusyBox 1.35, side by side on one machine.
    assert shown.startswith(f" 13:00:00 up 1 day,  1:00,  {users},  load average: {loads}, ")
