"""Programs about the machine, run on a small guest.

Expectations are from knowledge of BusyBox 1.35, util-linux 2.38, procps 4, coreutils 9.1, net-tools
and iproute2 6.1; those that a recording shows name its case.
"""

from collections.abc import Callable

import pytest
from msgspec import Struct, convert

from qgasim.guest import Guest, GuestSettings
from qgasim.guest.processes.process import Exit, Process, Steps
from qgasim.userland import USERLANDS

SECOND = 1_000_000_000
#: 2024-06-15T12:00:00Z
NOON = 1_718_452_800 * SECOND
MIB = 1 << 20

SETTINGS: dict[str, object] = {
    "hostname": "oracle.lab",
    "clock": {"start": NOON, "zone": "Europe/Prague"},
    "vcpus": 4,
    "memory": {"blocks": [{"index": i} for i in range(4)]},
    "disks": [
        {"name": "vda", "size": 498 * MIB, "major": 254,
         "partitions": [{"name": "vda1", "size": 96 * MIB}, {"name": "vda3", "size": 16 * MIB}]},
        {"name": "sda", "size": 24 * MIB, "major": 8},
    ],
    "mounts": [
        {"device": "/dev/vda1", "path": "/", "size": 90 * MIB, "reserved": 10 * MIB,
         "used": 20 * MIB},
        {"device": "/dev/vda3", "path": "/data", "options": "rw,nosuid,nodev,relatime",
         "size": 16 * MIB},
        {"device": "/dev/sda", "path": "/mnt/ide disk", "size": 20 * MIB},
    ],
    "nics": [
        {"name": "lo", "mac": "00:00:00:00:00:00", "addresses": ["127.0.0.1/8", "::1/128"],
         "mtu": 65536},
        {"name": "eth0", "mac": "52:54:00:12:34:56",
         "addresses": ["10.0.2.15/24", "fe80::5054:ff:fe12:3456/64"]},
    ],
    "users": {
        "root": {"uid": 0, "gid": 0, "home": "/root"},
        "alice": {"uid": 1000, "gid": 1000, "home": "/home/alice", "password": "!"},
    },
    "logins": [{"user": "alice", "line": "pts/0", "time": NOON + 90 * SECOND, "host": "desk"},
               {"user": "bob", "line": "pts/1", "time": NOON, "kind": "dead"}],
}  # fmt: skip

Run = Callable[..., tuple[bytes, bytes, Exit]]


KERNEL = {"kernel_release": "6.1.0", "kernel_version": "#1 SMP", "machine": "x86_64"}


class Clock(Struct):
    """A host's clock that stands still unless told."""

    now: int = 0

    def __call__(self) -> int:
        return self.now


def make_guest(userland: str = "gnu", clock: Clock | None = None) -> Guest:
    settings = SETTINGS | {"os": KERNEL | {"userland": userland}}
    guest = Guest(convert(settings, GuestSettings), USERLANDS[userland], source=clock or Clock())
    guest.agent_version = "7.2.22"
    guest.settle()
    return guest


@pytest.fixture(params=["busybox", "gnu"])
def guest(request: pytest.FixtureRequest) -> Guest:
    return make_guest(request.param)


def sleeper(p: Process) -> Steps:
    yield from p.sleep(3600 * SECOND)
    return 0


def start(guest: Guest, *argv: str) -> Process:
    process = guest.processes.start(
        sleeper, argv=list(argv), env=[], cwd="/", files={}, parent=1, path="/usr/bin/sleep"
    )
    process.on_exit = lambda _exit: None
    return process


def sh(run: Run, guest: Guest, line: str, stdin: bytes = b"") -> tuple[str, str, int]:
    """Run a command line of plain words (``~`` for a space): output, messages, status."""
    words = [word.replace("~", " ") for word in line.split()]
    out, errors, how = run(guest, words, stdin)
    assert how.signal is None
    return out.decode(), errors.decode(), how.code


#: Command, standard output in both userlands.
SAME = [
    ("hostname", "oracle.lab\n"),
    ("hostname -s", "oracle\n"),
    ("hostname -f", "oracle.lab\n"),
    ("uname", "Linux\n"),
    ("uname -a", "Linux oracle.lab 6.1.0 #1 SMP x86_64 GNU/Linux\n"),
    ("uname -srm", "Linux 6.1.0 x86_64\n"),
    ("uname -p", "unknown\n"),
    ("id -u", "0\n"),
    ("id -un", "root\n"),
    ("id -g alice", "1000\n"),
    ("id -Gn alice", "alice\n"),
    ("id alice", "uid=1000(alice) gid=1000(alice) groups=1000(alice)\n"),
    ("date", "Sat Jun 15 14:00:00 CEST 2024\n"),
    ("date -u", "Sat Jun 15 12:00:00 UTC 2024\n"),
    ("date +%s", "1718452800\n"),
    ("date -u -d @0 +%F", "1970-01-01\n"),
    ("date -d 2024-01-01~00:00:00 +%s", "1704063600\n"),
    ("mount -t ext4",
     ("/dev/vda1 on / type ext4 (rw,relatime)\n"
     "/dev/vda3 on /data type ext4 (rw,nosuid,nodev,relatime)\n"
     "/dev/sda on /mnt/ide disk type ext4 (rw,relatime)\n")),
    ("ip -o -4 addr show dev eth0",
     ("2: eth0    inet 10.0.2.15/24 brd 10.0.2.255 scope global eth0"
     "\\       valid_lft forever preferred_lft forever\n")),
    ("ip -6 a s lo", None),
    ("grep -r lab /etc/hostname", "oracle.lab\n"),
    ("grep -rc lab /etc/hostname", "1\n"),
    ("kill -l 9", "KILL\n"),
    ("kill -l KILL", "9\n"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), SAME, ids=[line for line, _ in SAME])
def test_both_userlands_print_the_same(
    run: Run, guest: Guest, line: str, expected: str | None
) -> None:
    out, errors, status = sh(run, guest, line)
    assert (errors, status) == ("", 0)
    if expected is not None:
        assert out == expected


#: Command, what BusyBox and GNU print.
DIFFERENT = [
    # Recorded: exec/id.
    ("id", "uid=0(root) gid=0(root)\n", "uid=0(root) gid=0(root) groups=0(root)\n"),
    ("hwclock -r",
     "Sat Jun 15 14:00:00 2024  0.000000 seconds\n",
     "2024-06-15 14:00:00.001000+02:00\n"),
    ("ip addr show lo",
     ("1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN qlen 1000\n"
     "    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n"
     "    inet 127.0.0.1/8 scope host lo\n       valid_lft forever preferred_lft forever\n"
     "    inet6 ::1/128 scope host \n       valid_lft forever preferred_lft forever\n"),
     ("1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000\n"
     "    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n"
     "    inet 127.0.0.1/8 scope host lo\n       valid_lft forever preferred_lft forever\n"
     "    inet6 ::1/128 scope host \n       valid_lft forever preferred_lft forever\n")),
]  # fmt: skip


def test_only_gnus_hostname_prints_all_addresses(run: Run) -> None:
    assert sh(run, make_guest("gnu"), "hostname -I") == ("10.0.2.15\n", "", 0)
    assert sh(run, make_guest("busybox"), "hostname -I")[2] == 1


@pytest.mark.parametrize(("line", "busybox", "gnu"), DIFFERENT, ids=[row[0] for row in DIFFERENT])
def test_each_userland_prints_its_own(run: Run, line: str, busybox: str, gnu: str) -> None:
    assert sh(run, make_guest("busybox"), line) == (busybox, "", 0)
    assert sh(run, make_guest("gnu"), line) == (gnu, "", 0)


#: How a message about what the real program has, and this one has not, ends.
MISSING = " is not simulated by qgasim (give the program under programs: in the scenario)\n"

#: Command, message and status of BusyBox, then of GNU.
FAILURES = [
    ("id nosuch", ("id: unknown user nosuch\n", 1), ("id: 'nosuch': no such user\n", 1)),
    ("date -d nonsense", *(2 * (("date: invalid date 'nonsense'\n", 1),))),
    ("sleep -1", ("sleep: invalid number '-1'\n", 1),
     ("sleep: invalid option -- '1'\nTry 'sleep --help' for more information.\n", 1)),
    ("kill 9999",
     ("kill: can't kill pid 9999: No such process\n", 1), ("kill: (9999): No such process\n", 1)),
    ("kill -FOO 1", ("kill: bad signal name 'FOO'\n", 1), ("kill: unknown signal name FOO\n", 1)),
    ("pidof nosuch", ("", 1), ("", 1)),
    ("mount /dev/nosuch /data",
     ("mount: mounting /dev/nosuch on /data failed: No such file or directory\n", 255),
     ("mount: /data: special device /dev/nosuch does not exist.\n", 32)),
    ("mount /dev/vda3 /nosuch",
     ("mount: mounting /dev/vda3 on /nosuch failed: No such file or directory\n", 255),
     ("mount: /nosuch: mount point does not exist.\n", 32)),
    ("mount /dev/vda3 /data",
     ("mount: mounting /dev/vda3 on /data failed: Device or resource busy\n", 255),
     ("mount: /data: /dev/vda3 already mounted on /data.\n", 32)),
    ("mount -o remount,ro /srv",
     ("mount: can't find /srv in /proc/mounts\n", 1),
     ("mount: /srv: mount point not mounted or bad option.\n", 32)),
    ("mount /nosuch", ("mount: can't find /nosuch in /etc/fstab\n", 1),
     ("mount: /nosuch: can't find in /etc/fstab.\n", 1)),
    ("mount -t xfs /dev/vda3 /srv",
     ("mount: mounting /dev/vda3 on /srv failed: Invalid argument\n", 255),
     (("mount: /srv: wrong fs type, bad option, bad superblock on /dev/vda3, missing codepage or "
      "helper program, or other error.\n"
      "       dmesg(1) may have more information after failed mount system call.\n"), 32)),
    ("umount /srv", ("umount: can't unmount /srv: Invalid argument\n", 1),
     ("umount: /srv: not mounted.\n", 32)),
    ("umount /nosuch", ("umount: can't unmount /nosuch: No such file or directory\n", 1),
     ("umount: /nosuch: no mount point specified.\n", 32)),
    ("umount /", ("umount: can't unmount /: Device or resource busy\n", 1),
     ("umount: /: target is busy.\n", 32)),
    ("fsfreeze -u /data", *(2 * (("fsfreeze: /data: unfreeze failed: Invalid argument\n", 1),))),
    ("fsfreeze -f /nosuch",
     *(2 * (("fsfreeze: cannot open /nosuch: No such file or directory\n", 1),))),
    ("fsfreeze -f /proc",
     *(2 * (("fsfreeze: /proc: freeze failed: Operation not supported\n", 1),))),
    ("ip addr add 10.0.2.15/24 dev eth0",
     ("ip: RTNETLINK answers: File exists\n", 2), ("RTNETLINK answers: File exists\n", 2)),
    ("ip addr del 10.9.9.9/24 dev eth0",
     ("ip: RTNETLINK answers: Cannot assign requested address\n", 2),
     ("RTNETLINK answers: Cannot assign requested address\n", 2)),
    ("ip addr show dev eth9", ("ip: can't find device 'eth9'\n", 1),
     ('Device "eth9" does not exist.\n', 1)),
    ("ip link set eth9 up", ("ip: can't find device 'eth9'\n", 1),
     ('Cannot find device "eth9"\n', 1)),
    # Recorded: suspend/hybrid (the agent takes status 3 for "supported").
    ("systemctl status systemd-suspend", ("", 3), ("", 3)),
    ("systemctl status systemd-hibernate.service", ("", 3), ("", 3)),
    ("systemctl is-active sshd", *(2 * (("systemctl: 'is-active'" + MISSING, 1),))),
    ("systemctl status sshd",
     *(2 * (("systemctl: 'status' of other units than those for sleeping" + MISSING, 1),))),
    ("systemctl fly", ("systemctl: fly\n", 1), ("Unknown command verb fly.\n", 1)),
]  # fmt: skip


@pytest.mark.parametrize(("line", "busybox", "gnu"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failures_say_why(
    run: Run, line: str, busybox: tuple[str, int], gnu: tuple[str, int]
) -> None:
    for userland, expected in (("busybox", busybox), ("gnu", gnu)):
        guest = make_guest(userland)
        assert sh(run, guest, line)[1:] == expected


# -- the machine ----------------------------------------------------------------------------------


def test_the_host_name_can_be_set(run: Run, guest: Guest) -> None:
    # Recorded: system/host-name-changed.
    assert sh(run, guest, "hostname renamed") == ("", "", 0)
    assert guest.hostname == "renamed"
    assert sh(run, guest, "hostname " + "x" * 65)[2] == 1


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["date -s 2025-01-02~03:04:05", "date -s @1735783445"])
def test_date_sets_the_clock(run: Run, guest: Guest, line: str) -> None:
    out, _, status = sh(run, guest, line)
    assert (out, status) == ("Thu Jan  2 03:04:05 CET 2025\n", 0)
    # Starting the program took a millisecond, which the guest's clock is ahead of the host's.
    assert guest.clock.now() == 1735783445 * SECOND - 1_000_000


def test_hwclock_carries_the_time_over(run: Run, guest: Guest) -> None:
    guest.clock.set(NOON + 3600 * SECOND)
    assert guest.clock.rtc() < NOON + 60 * SECOND
    assert sh(run, guest, "/sbin/hwclock -w") == ("", "", 0)
    assert guest.clock.rtc() // SECOND == guest.clock.now() // SECOND
    guest.clock.set(NOON)
    assert sh(run, guest, "/sbin/hwclock --hctosys") == ("", "", 0)
    assert guest.clock.now() >= NOON + 3600 * SECOND


# -- processes ------------------------------------------------------------------------------------


def test_pidof_gives_the_latest_first(run: Run, guest: Guest) -> None:
    first, second = start(guest, "sleep", "60"), start(guest, "/bin/sleep", "60")
    assert sh(run, guest, "pidof sleep")[0] == f"{second.pid} {first.pid}\n"
    assert sh(run, guest, "pidof -s sleep")[0] == f"{second.pid}\n"


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("kill {pid}", 15), ("kill -9 {pid}", 9), ("kill -KILL {pid}", 9),
        ("kill -SIGINT {pid}", 2), ("kill -s HUP {pid}", 1),
    ],
)  # fmt: skip
def test_signals_end_processes(run: Run, guest: Guest, line: str, number: int) -> None:
    # Recorded: exec/running-killed-outside.
    process = start(guest, "sleep", "60")
    assert sh(run, guest, line.format(pid=process.pid)) == ("", "", 0)
    assert process.exit == Exit(signal=number)


def test_signal_0_only_asks(run: Run, guest: Guest) -> None:
    process = start(guest, "sleep", "60")
    assert sh(run, guest, f"kill -0 {process.pid}")[2] == 0
    assert process.exit is None


def test_a_program_can_kill_itself(run: Run, guest: Guest) -> None:
    pid = start(guest, "sleep", "60").pid + 1
    assert run(guest, ["kill", "-9", str(pid)])[2] == Exit(signal=9)


# -- mounts ---------------------------------------------------------------------------------------


def test_a_file_system_is_unmounted_and_mounted_again(run: Run, guest: Guest) -> None:
    # Recorded: fs/fsinfo-umount.
    assert sh(run, guest, "umount /data") == ("", "", 0)
    assert guest.files.find_mount("/data") is None
    assert sh(run, guest, "mount /dev/vda3 /data") == ("", "", 0)
    mount = guest.files.find_mount("/data")
    assert mount is not None
    assert (mount.volume.device, mount.options) == ("/dev/vda3", "rw,relatime")
    assert guest.files.mounts[-1] is mount
    assert sh(run, guest, "umount /dev/vda3") == ("", "", 0)
    assert sh(run, guest, "mount /data") == ("", "", 0)
    assert guest.files.mounts[-1].options == "rw,nosuid,nodev,relatime"


def test_remounting_keeps_other_options(run: Run, guest: Guest) -> None:
    # Recorded: file/open-readonly-fs.
    assert sh(run, guest, "mount -o remount,ro /data") == ("", "", 0)
    mount = guest.files.find_mount("/data")
    assert mount is not None
    assert mount.options == "ro,nosuid,nodev,relatime"
    assert sh(run, guest, "mount -o remount,rw,noatime,dev,data=ordered /data")[2] == 0
    assert mount.options == "rw,nosuid,noatime,data=ordered"


def test_a_busy_mount_goes_only_lazily(run: Run, guest: Guest) -> None:
    guest.files.write("/data/x", b"")
    file = guest.files.open("/data/x", 0)
    assert sh(run, guest, "umount /data")[2] in (1, 32)
    assert sh(run, guest, "umount -l /data") == ("", "", 0)
    assert guest.files.find_mount("/data") is None
    file.close()


def test_a_mount_in_which_a_process_works_is_busy(run: Run, guest: Guest) -> None:
    start(guest, "sleep", "60").cwd = "/data"
    assert "busy" in sh(run, guest, "umount /data")[1]


def test_fsfreeze_freezes_and_thaws(run: Run, guest: Guest) -> None:
    # Recorded: fsfreeze/outside-frozen-before.
    def is_frozen() -> bool:
        return guest.volumes["/dev/vda3"].is_frozen

    assert sh(run, guest, "fsfreeze --freeze /data") == ("", "", 0)
    assert is_frozen()
    busy = "fsfreeze: /data: freeze failed: Device or resource busy\n"
    assert sh(run, guest, "fsfreeze -f /data") == ("", busy, 1)
    guest.is_busy = False
    assert sh(run, guest, "fsfreeze --unfreeze /data") == ("", "", 0)
    assert not is_frozen()
    assert guest.is_busy


# -- network --------------------------------------------------------------------------------------


def test_addresses_are_added_and_deleted(run: Run, guest: Guest) -> None:
    # Recorded: net/extra-address.
    eth0 = guest.nics[1]
    assert sh(run, guest, "ip addr add 10.9.8.7/32 dev eth0") == ("", "", 0)
    assert eth0.addresses == ["10.0.2.15/24", "10.9.8.7/32", "fe80::5054:ff:fe12:3456/64"]
    assert sh(run, guest, "ip addr add fd00::1/64 dev eth0")[2] == 0
    assert eth0.addresses[-1] == "fd00::1/64"
    assert sh(run, guest, "ip addr del 10.9.8.7/32 dev eth0") == ("", "", 0)
    assert eth0.addresses == ["10.0.2.15/24", "fe80::5054:ff:fe12:3456/64", "fd00::1/64"]


def test_links_are_switched(run: Run, guest: Guest) -> None:
    eth0 = guest.nics[1]
    assert sh(run, guest, "ip link set eth0 down") == ("", "", 0)
    assert (eth0.up, eth0.addresses) == (False, ["10.0.2.15/24"])
    assert "state DOWN" in sh(run, guest, "ip link show eth0")[0]
    assert sh(run, guest, "ip link set eth0 up")[2] == 0
    assert (eth0.up, eth0.addresses) == (True, ["10.0.2.15/24", "fe80::5054:ff:fe12:3456/64"])


def test_ip_is_in_both_directories() -> None:
    files = make_guest("gnu").files
    assert files.can_execute("/sbin/ip")
    assert files.can_execute("/bin/ip")


# -- passwords ------------------------------------------------------------------------------------


def shadow(guest: Guest, name: str) -> list[str]:
    lines = guest.files.read("/etc/shadow").decode().splitlines()
    return next(line.split(":") for line in lines if line.startswith(f"{name}:"))


def test_a_password_is_hashed(run: Run, guest: Guest) -> None:
    # Recorded: password/good.
    from passlib.hash import sha512_crypt  # type: ignore[import-untyped]

    before = shadow(guest, "alice")
    guest.clock.set(NOON + 86400 * SECOND)
    assert sh(run, guest, "chpasswd", b"alice:a:b:c\n") == ("", "", 0)
    name, text, day, *rest = shadow(guest, "alice")
    assert (name, day, rest) == ("alice", "19890", before[3:])
    assert text.startswith("$6$")
    assert len(text.split("$")[2]) == 16
    assert sha512_crypt.verify("a:b:c", text)
    assert shadow(guest, "root")[1] == "*"


@pytest.mark.parametrize("text", ["$6$abcdefgh$0123456789", "plainword", ""])
def test_an_encrypted_password_is_taken_as_it_is(run: Run, guest: Guest, text: str) -> None:
    # Recorded: password/crypted, password/crypted-not-a-hash.
    assert sh(run, guest, "chpasswd -e", f"alice:{text}\n".encode()) == ("", "", 0)
    assert ":".join(shadow(guest, "alice")) == f"alice:{text}:19889:0:99999:7:::"


@pytest.mark.parametrize(
    ("line", "stdin"),
    [
        ("chpasswd", b"nosuch:secret\n"),
        ("chpasswd", b":secret\n"),
        ("chpasswd", b"alice:\n"),
        ("chpasswd", b"alice:" + b"x" * 513 + b"\n"),
        ("chpasswd", b"alice\n"),
        ("chpasswd -e", b"nosuch:$6$x$y\n"),
        ("chpasswd -e", b"alice:$6$x$y\nnosuch:$6$x$y\n"),
    ],
    ids=["unknown", "no-user", "empty", "long", "no-colon", "unknown-crypted", "all-or-none"],
)
def test_a_bad_password_line_changes_nothing(
    run: Run, guest: Guest, line: str, stdin: bytes
) -> None:
    # Recorded: password/unknown-user, empty-user, empty, long.
    before = guest.files.read("/etc/shadow")
    out, errors, status = sh(run, guest, line, stdin)
    assert (out, status) == ("", 1)
    assert "\nchpasswd: " in f"\n{errors}"
    assert guest.files.read("/etc/shadow") == before


# -- power ----------------------------------------------------------------------------------------


DOWN = [
    # Recorded: shutdown/only-sbin-shutdown, shutdown/halt.
    ("/sbin/shutdown -h -P +0 hypervisor~initiated~shutdown", "off", ["SHUTDOWN"]),
    ("/sbin/shutdown -h -H +0 hypervisor~initiated~shutdown", "halted", []),
    ("/sbin/shutdown -h -r +0 hypervisor~initiated~shutdown", "rebooting", ["RESET"]),
    ("shutdown now", "off", ["SHUTDOWN"]),
    ("shutdown", "off", ["SHUTDOWN"]),
    ("poweroff", "off", ["SHUTDOWN"]),
    ("poweroff -f", "off", ["SHUTDOWN"]),
    ("halt", "halted", []),
    ("halt -p", "off", ["SHUTDOWN"]),
    ("reboot -f", "rebooting", ["RESET"]),
    ("systemctl reboot", "rebooting", ["RESET"]),
    # Recorded: suspend/hybrid.
    ("systemctl hybrid-sleep", "suspended", ["SUSPEND"]),
    ("systemctl suspend", "suspended", ["SUSPEND"]),
    ("systemctl hibernate", "off", ["SUSPEND_DISK", "SHUTDOWN"]),
]


@pytest.mark.parametrize("userland", ["busybox", "gnu"])
@pytest.mark.parametrize(("line", "state", "events"), DOWN, ids=[row[0] for row in DOWN])
def test_the_machine_goes_down_after_the_answer(
    run: Run, userland: str, line: str, state: str, events: list[str]
) -> None:
    clock = Clock()
    guest = make_guest(userland, clock)
    assert sh(run, guest, line) == ("", "", 0)
    assert guest.power.state == "running"
    clock.now += SECOND
    guest.settle()
    assert (guest.power.state, guest.power.events) == (state, events)


def test_a_later_shutdown_can_be_cancelled(run: Run) -> None:
    clock = Clock()
    guest = make_guest("gnu", clock)
    sh(run, guest, "shutdown +1")
    clock.now += 30 * SECOND
    guest.settle()
    assert guest.power.state == "running"
    assert sh(run, guest, "shutdown -c") == ("", "", 0)
    clock.now += 60 * SECOND
    guest.settle()
    assert guest.power.state == "running"
    assert sh(run, make_guest("gnu"), "shutdown nonsense")[2] == 1
