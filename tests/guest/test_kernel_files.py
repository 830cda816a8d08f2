"""What /proc and /sys show and take: the kernel's documentation (proc(5), Documentation/ABI)."""

from typing import Any

import pytest
from msgspec import convert

from qgasim.guest import Guest, GuestSettings
from qgasim.userland import USERLANDS

KIB = 1024
MIB = 1 << 20


def make_guest(**settings: Any) -> Guest:
    base: dict[str, Any] = {
        "hostname": "lab",
        "vcpus": [{"id": 0, "can_offline": False}, {"id": 1}],
        "memory": {"block_size": 128 * MIB, "blocks": [{"index": i} for i in range(4)]},
        "nics": [{"name": "eth0", "mac": "52:54:00:12:34:56", "mtu": 9000}],
        "os": {"kernel_release": "6.1.0", "kernel_version": "#1 SMP"},
    }
    guest = Guest(convert(base | settings, GuestSettings), USERLANDS["gnu"], source=lambda: 0)
    guest.settle()
    return guest


def read(guest: Guest, path: str) -> str:
    return guest.files.read(path).decode()


def store(guest: Guest, path: str, text: str) -> None:
    file = guest.files.open(path, 1)
    file.write(text.encode())
    file.close()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/proc/sys/kernel/ostype", "Linux\n"),
        ("/proc/sys/kernel/hostname", "lab\n"),
        ("/proc/sys/kernel/osrelease", "6.1.0\n"),
        ("/sys/class/net/eth0/address", "52:54:00:12:34:56\n"),
        ("/sys/class/net/eth0/mtu", "9000\n"),
        ("/sys/class/net/eth0/operstate", "up\n"),
        ("/sys/devices/system/cpu/cpu1/online", "1\n"),
        ("/sys/devices/system/memory/memory2/state", "online\n"),
        ("/sys/devices/system/memory/memory2/removable", "1\n"),
        # In hexadecimal (Documentation/admin-guide/mm/memory-hotplug.rst).
        ("/sys/devices/system/memory/block_size_bytes", "8000000\n"),
        ("/sys/power/wakeup_count", "0\n"),
    ],
)
def test_a_file_shows_what_the_guest_is(path: str, text: str) -> None:
    assert read(make_guest(), path) == text


def test_the_version_begins_as_the_kernel_writes_it() -> None:
    # linux_proc_banner: "%s version %s ... %s\n".
    text = read(make_guest(), "/proc/version")
    assert text.startswith("Linux version 6.1.0")
    assert text.endswith("#1 SMP\n")


def test_a_processor_goes_offline_and_online() -> None:
    guest = make_guest()
    path = "/sys/devices/system/cpu/cpu1/online"
    assert read(guest, "/proc/cpuinfo").count("processor\t: ") == 2
    store(guest, path, "0\n")
    assert read(guest, path) == "0\n"
    assert [cpu.online for cpu in guest.vcpus] == [True, False]
    assert read(guest, "/proc/cpuinfo").count("processor\t: ") == 1
    assert "cpu1 " not in read(guest, "/proc/stat")
    store(guest, path, "1")
    assert read(guest, "/proc/cpuinfo").count("processor\t: ") == 2
    with pytest.raises(OSError, match="Invalid argument"):
        store(guest, path, "maybe")
    # The first one has no such file (drivers/base/cpu.c, hotpluggable).
    assert not guest.files.exists("/sys/devices/system/cpu/cpu0/online")


@pytest.mark.parametrize("word", ["online", "online_kernel", "online_movable"])
def test_a_block_of_memory_goes_offline_and_online(word: str) -> None:
    guest = make_guest()
    path = "/sys/devices/system/memory/memory3/state"

    def total() -> int:
        name, size, unit = read(guest, "/proc/meminfo").splitlines()[0].split()
        assert (name, unit) == ("MemTotal:", "kB")
        return int(size) * KIB

    assert total() == 4 * 128 * MIB
    store(guest, path, "offline\n")
    assert read(guest, path) == "offline\n"
    assert total() == 3 * 128 * MIB
    store(guest, path, word)
    assert read(guest, path) == "online\n"
    assert total() == 4 * 128 * MIB
    with pytest.raises(OSError, match="Invalid argument"):
        store(guest, path, "gone")


def test_the_wakeup_count_is_what_was_read() -> None:
    # Documentation/ABI/testing/sysfs-power: writing another number fails.
    guest = make_guest()
    store(guest, "/sys/power/wakeup_count", "0\n")
    with pytest.raises(OSError, match="Invalid argument"):
        store(guest, "/sys/power/wakeup_count", "7\n")


@pytest.mark.parametrize(("word", "kind"), [("mem", "ram"), ("freeze", "ram")])
def test_the_guest_sleeps_when_a_state_is_written(word: str, kind: str) -> None:
    guest = make_guest(power={"suspend": ["ram", "disk"]})
    # Documentation/admin-guide/pm/sleep-states.rst: /sys/power/state lists what can be written.
    assert read(guest, "/sys/power/state") == "freeze mem disk\n"
    slept: list[str] = []
    guest.power.sleep = slept.append  # type: ignore[method-assign,assignment]
    store(guest, "/sys/power/state", word)
    assert slept == [kind]


def test_a_state_that_is_not_listed_is_refused() -> None:
    guest = make_guest(power={"suspend": []})
    assert read(guest, "/sys/power/state") == "freeze\n"
    for word in ("mem", "disk", "standby"):
        with pytest.raises(OSError, match="Invalid argument"):
            store(guest, "/sys/power/state", word)


def test_hibernation_needs_swap() -> None:
    guest = make_guest(power={"suspend": ["disk"]})
    guest.has_swap = False
    # kernel/power/swap.c, swsusp_write(): no swap has room.
    with pytest.raises(OSError, match="Cannot allocate memory"):
        store(guest, "/sys/power/state", "disk")


def test_uptime_and_load_are_figures() -> None:
    guest = make_guest()
    # proc(5): seconds, and those that processors were idle.
    assert all(float(word) >= 0 for word in read(guest, "/proc/uptime").split())
    averages = read(guest, "/proc/loadavg").split()
    assert len(averages) == 5
    assert averages[3].startswith("1/")


def test_a_mount_is_escaped_as_fstab_is() -> None:
    # proc(5), getmntent(3): \040 is a space, \011 a tab, \012 a newline, \134 a backslash.
    guest = make_guest(
        mounts=[{"device": "/dev/sda1", "path": "/"}, {"device": "x", "path": "/a b"}]
    )
    assert "x /a\\040b ext4 rw,relatime 0 0\n" in read(guest, "/proc/mounts")
