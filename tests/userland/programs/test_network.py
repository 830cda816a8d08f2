"""Interfaces and mount options as ip and mount change and show them.

The kernel's rules are those of Linux 6.1: net/ipv6/addrconf.c, fs/proc_namespace.c (show_mnt_opts()), and
mount(8); what ip refuses is iproute2's 6.1 (ip/iplink.c, ip/ipaddress.c).
"""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import convert

from qgasim.guest import Guest, GuestSettings
from qgasim.userland import USERLANDS
from qgasim.userland.programs.messages import quote, quote_if_odd
from qgasim.userland.programs.mount import change_options
from tests.userland.programs.conftest import Run

NICS = [
    {"name": "lo", "mac": "00:00:00:00:00:00", "addresses": ["127.0.0.1/8", "::1/128"], "mtu": 65536},
    {"name": "eth0", "mac": "52:54:00:12:34:56", "addresses": ["10.0.2.15/24", "2001:db8::5/64"]},
    {"name": "tun0", "addresses": ["10.8.0.2/31"]},
]  # fmt: skip
Ask = Callable[..., tuple[str, str, int]]


def make_guest(userland: str = "gnu") -> Guest:
    settings: dict[str, Any] = {"nics": NICS, "os": {"userland": userland}}
    guest = Guest(convert(settings, GuestSettings), USERLANDS[userland], source=lambda: 0)
    guest.settle()
    return guest


@pytest.fixture
def ask(run: Run) -> Ask:
    def ask_guest(guest: Guest, line: str) -> tuple[str, str, int]:
        out, errors, how = run(guest, line.split())
        assert how.signal is None
        return out.decode(), errors.decode(), how.code

    return ask_guest


@pytest.mark.parametrize("userland", ["busybox", "gnu"])
def test_an_interface_that_goes_down_loses_its_addresses_of_ipv6(ask: Ask, userland: str) -> None:
    guest = make_guest(userland)
    lo, eth0, _ = guest.nics
    for nic, own in ((lo, "::1/128"), (eth0, "fe80::5054:ff:fe12:3456/64")):
        ipv4 = [a for a in nic.addresses if ":" not in a]
        assert ask(guest, f"ip link set {nic.name} down") == ("", "", 0)
        assert not nic.up
        assert nic.addresses == ipv4
        # addrconf_notify(): the interface's own address comes again, made of its hardware address.
        assert ask(guest, f"ip link set {nic.name} up") == ("", "", 0)
        assert nic.addresses == [*ipv4, own]


def test_ip_sets_a_link(ask: Ask) -> None:
    guest = make_guest()
    _, eth0, _ = guest.nics
    assert ask(guest, "ip link set dev eth0 down") == ("", "", 0)
    assert not eth0.up
    assert "eth0: <BROADCAST,MULTICAST> mtu 1500" in ask(guest, "ip link show dev eth0")[0]
    assert ask(guest, "ip addr show up dev eth0") == ("", "", 0)
    assert ask(guest, "ip link set eth0 rubbish")[2] == 255


def test_ip_adds_and_deletes_addresses(ask: Ask) -> None:
    guest = make_guest()
    _, eth0, _ = guest.nics
    assert ask(guest, "ip addr add 192.0.2.9/28 dev eth0") == ("", "", 0)
    assert eth0.addresses == ["10.0.2.15/24", "192.0.2.9/28", "2001:db8::5/64"]
    # rtnetlink(7): the errors are the kernel's.
    exists = "RTNETLINK answers: File exists\n"
    assert ask(guest, "ip addr add 192.0.2.9/28 dev eth0") == ("", exists, 2)
    assert ask(guest, "ip addr del 192.0.2.9/28 dev eth0") == ("", "", 0)
    gone = "RTNETLINK answers: Cannot assign requested address\n"
    assert ask(guest, "ip addr del 192.0.2.9/28 dev eth0") == ("", gone, 2)
    assert (
        ask(guest, "ip addr add local 192.0.2.1/24 dev nowhere")[1]
        == 'Cannot find device "nowhere"\n'
    )
    assert eth0.addresses == ["10.0.2.15/24", "2001:db8::5/64"]
    prefix = 'Error: any valid prefix is expected rather than "rubbish".\n'
    assert ask(guest, "ip addr add rubbish dev eth0") == ("", prefix, 1)


def test_ip_shows_one_family(ask: Ask) -> None:
    out = ask(make_guest(), "ip -o -4 addr show")[0]
    assert [line.split()[1:4] for line in out.splitlines()] == [
        ["lo", "inet", "127.0.0.1/8"],
        ["eth0", "inet", "10.0.2.15/24"],
        ["tun0", "inet", "10.8.0.2/31"],
    ]
    # RFC 3021: a prefix of 31 bits has no broadcast address.
    assert " brd " not in out.splitlines()[2]


def test_a_link_without_a_hardware_address_has_none(ask: Ask) -> None:
    guest = make_guest()
    out = ask(guest, "ip link show tun0")[0]
    assert "<POINTOPOINT,NOARP,UP,LOWER_UP>" in out
    assert out.splitlines()[1].split() == ["link/none"]


@pytest.mark.parametrize(
    ("old", "flags", "new"),
    [
        # mount(8): relatime is the kernel's default since Linux 2.6.30.
        ("rw", "defaults", "rw,relatime"),
        ("rw,relatime", "ro", "ro,relatime"),
        ("ro,relatime", "rw", "rw,relatime"),
        ("rw,relatime", "noatime", "rw,noatime"),
        ("rw,noatime", "relatime", "rw,relatime"),
        ("rw,noatime", "atime", "rw,relatime"),
        # Neither noatime nor relatime is shown: that is strictatime.
        ("rw,relatime", "strictatime", "rw"),
        ("rw,nosuid,nodev,relatime", "suid,dev", "rw,relatime"),
        ("rw,noexec,relatime", "exec", "rw,relatime"),
        ("rw,nodiratime,relatime", "diratime", "rw,relatime"),
        ("rw,sync,relatime", "async", "rw,relatime"),
        # In the kernel's order.
        ("rw,relatime", "noexec,nodev,nosuid", "rw,nosuid,nodev,noexec,relatime"),
        ("rw,relatime,data=ordered", "data=journal", "rw,relatime,data=journal"),
        # What mount keeps for itself does not get to the kernel.
        ("rw,relatime", "auto,nofail,_netdev,user", "rw,relatime"),
    ],
)
def test_mount_options_are_changed_and_shown_as_the_kernel_does(
    old: str, flags: str, new: str
) -> None:
    assert change_options(old, flags.split(",")) == new


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("mount UUID=none /mnt", "can't find UUID=none."),
        ("mount LABEL=none /mnt", "can't find LABEL=none."),
        ("mount /dev/nowhere /mnt", "special device /dev/nowhere does not exist."),
        ("mount /etc/hostname /mnt", "/etc/hostname is not a block device."),
        ("mount /dev/vda1 /nowhere", "mount point does not exist."),
    ],
)
def test_what_cannot_be_mounted_is_named(ask: Ask, line: str, text: str) -> None:
    # util-linux 2.38, libmount/src/context_mount.c, mnt_context_get_mount_excode().
    guest = make_guest()
    guest.files.makedirs("/mnt")
    guest.files.write("/etc/hostname", b"lab\n")
    out, errors, status = ask(guest, line)
    assert (out, status) == ("", 32)
    assert f": {text}\n" in errors


@pytest.mark.parametrize(
    ("name", "quoted", "odd"),
    # As coreutils 9.1 in the C locale: ls 'a b', stat -c %N.
    [
        ("plain", "'plain'", "plain"),
        ("a b", "'a b'", "'a b'"),
        ("it's", '"it\'s"', '"it\'s"'),
        ('it\'s "x"', "'it'\\''s \"x\"'", "'it'\\''s \"x\"'"),
        ("", "''", "''"),
        ("a,b+c", "'a,b+c'", "a,b+c"),
    ],
)
def test_names_are_quoted_as_a_shell_reads_them(name: str, quoted: str, odd: str) -> None:
    assert quote(name) == quoted
    assert quote_if_odd(name) == odd
