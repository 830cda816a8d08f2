"""QEMU's command line. ``libvirt-9.0.txt`` is what libvirt 9.0 of Debian 12 started a domain with."""

import json
import random
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qgasim.emulator.command_line import (
    CommandLine,
    CommandLineError,
    parse,
    parse_properties,
    parse_size,
)
from qgasim.emulator.hardware import lay_over
from qgasim.emulator.machine import make_board, make_settings
from qgasim.emulator.sockets import find_monitors
from qgasim.guest import GuestSettings
from qgasim.guest.hardware.devices import Memory
from qgasim.scenario import load
from tests.offenders import Offenders

LIBVIRT = shlex.split(Path(__file__).with_name("libvirt-9.0.txt").read_text())


@pytest.fixture
def line() -> CommandLine:
    return parse(LIBVIRT)


def test_what_libvirt_writes_says_the_machine(line: CommandLine) -> None:
    assert (line.name, line.vcpus, line.max_vcpus, line.memory, line.machine) == (
        "db1", 2, 2, 512 << 20, "pc-i440fx-7.2",
    )  # fmt: skip
    assert line.value("uuid") == "11111111-2222-3333-4444-555555555555"
    assert line.has("S")
    assert line.has("no-shutdown")
    assert line.chardevs()["charmonitor"] == {
        "backend": "socket", "id": "charmonitor", "fd": "24", "server": "on", "wait": "off",
    }  # fmt: skip
    port = next(d for d in line.properties("device") if d["driver"] == "virtserialport")
    assert (port["id"], port["name"], port["chardev"]) == (
        "channel0", "org.qemu.guest_agent.0", "charchannel0",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "first", "properties"),
    [
        ("socket,id=a,server", "backend", {"backend": "socket", "id": "a", "server": "on"}),
        ("user,id=n,nofoo", "type", {"type": "user", "id": "n", "foo": "off"}),
        ("a,,b=c,,d", "", {"a,b": "c,d"}),
        ('{"driver": "e1000", "addr": 2}', "driver", {"driver": "e1000", "addr": 2}),
        ("driver=e1000", "driver", {"driver": "e1000"}),
    ],
)
def test_properties_are_read_as_qemu_does(
    text: str, first: str, properties: dict[str, object]
) -> None:
    assert parse_properties(text, first) == properties


@pytest.mark.parametrize(
    ("text", "unit", "size"),
    [("512", "M", 512 << 20), ("2G", "M", 2 << 30), ("1048576k", "M", 1 << 30), ("7", "b", 7)],
)
def test_sizes_have_suffixes(text: str, unit: str, size: int) -> None:
    assert parse_size(text, unit) == size


# The texts are those of qemu-system-x86_64 7.2.22.
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-nonsense"], "-nonsense: invalid option"),
        (["-m"], "-m: requires an argument"),
    ],
)
def test_what_is_no_command_line_is_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandLineError) as error:
        parse(arguments)
    assert str(error.value) == words


def test_numbers_are_checked() -> None:
    with pytest.raises(CommandLineError, match=r"Parameter 'smp\.cpus' expects integer"):
        _ = parse(["-smp", "many"]).vcpus
    with pytest.raises(CommandLineError, match="'size' expects"):
        _ = parse(["-m", "much"]).memory
    with pytest.raises(CommandLineError):
        parse(["-device", "{"]).properties("device")


def test_processors_follow_from_their_parts() -> None:
    assert parse(["-smp", "sockets=2,cores=3,threads=2,maxcpus=24"]).vcpus == 12
    assert parse(["-smp", "sockets=2,cores=3,threads=2,maxcpus=24"]).max_vcpus == 24
    assert parse([]).vcpus == 1


def test_the_hardware_is_laid_over_the_scenarios_guest(line: CommandLine) -> None:
    guest = lay_over(line, load("debian-12").guest)
    assert guest.vcpus == 2
    assert guest.memory == Memory(size=512 << 20)
    assert [(nic.name, nic.mac, nic.addresses) for nic in guest.nics[1:]] == [
        (
            "enp1s0",
            "52:54:00:11:22:33",
            # The addresses that were made of the old hardware address are made of the new one.
            ["192.0.2.17/24", "2001:db8::5054:ff:fe11:2233/64", "fe80::5054:ff:fe11:2233/64"],
        )
    ]


def test_network_interfaces_are_those_of_the_command_line() -> None:
    nic = "virtio-net-pci,mac=52:54:00:00:00:0{}"
    guest = load("debian-12").guest
    two = lay_over(parse(["-device", nic.format(1), "-device", nic.format(2)]), guest)
    assert [(nic.name, nic.mac) for nic in two.nics] == [
        ("lo", "00:00:00:00:00:00"),
        ("enp1s0", "52:54:00:00:00:01"),
        ("eth0", "52:54:00:00:00:02"),
    ]
    assert [nic.name for nic in lay_over(parse(["-nodefaults"]), guest).nics] == ["lo"]


def test_disks_get_their_serials_and_places() -> None:
    arguments = [
        "-device", "virtio-blk-pci,drive=a,serial=ONE,bus=pci.0,addr=0x7",
        "-device", "virtio-blk-pci,drive=b,serial=TWO,bus=pci.0,addr=0x8",
        "-device", "scsi-hd,drive=c,channel=0,scsi-id=1,lun=2",
        "-drive", "file=/iso,media=cdrom,if=ide",
    ]  # fmt: skip
    disks = lay_over(parse(arguments), load("debian-12").guest).disks
    assert [(d.name, d.bus, d.serial, d.pci, d.target, d.unit) for d in disks] == [
        ("vda", "virtio", "ONE", "0000:00:07.0", 0, 0),
        ("vdb", "virtio", "TWO", "0000:00:08.0", 0, 0),
        ("sda", "scsi", None, None, 1, 2),
        ("sr0", "sata", None, None, 0, 0),
    ]
    assert [p.name for p in disks[0].partitions] == ["vda1", "vda14", "vda15"]


def test_what_the_command_line_leaves_open_stays() -> None:
    guest = GuestSettings(vcpus=3)
    assert lay_over(parse([]), guest).vcpus == 3


VALUES = [
    "",
    "x",
    "-1",
    "9" * 20,
    "1e3",
    "0",
    "off",
    "nope",
    "\0",
    "٣",
    "é" * 300,
    "{",
    "[]",
    "null",
    "1.5",
    "a,,b",
    "=",
    "0x",
]
#: What can stand for a value of JSON.
OBJECTS: list[Any] = [None, 1, -1, True, [], {"a": [1]}, "x", 10**30, 1.5, ""]
MORE = shlex.split("""
    -m 512,slots=4,maxmem=2G -action shutdown=pause -drive file=/x,id=d,if=virtio -device virtio-blk-pci,drive=d,addr=0x7
    -object memory-backend-ram,id=m0,size=128M -device pc-dimm,id=dimm0,memdev=m0 -qmp unix:/q,server=on,wait=off
    -device e1000,mac=52:54:00:00:00:01,id=nic -smp cpus=2,sockets=1,cores=2,threads=1,maxcpus=4 -machine q35,memory-backend=m0
""")


def change(chance: random.Random, word: str) -> str:
    """Change a value somewhere in a word."""
    if word.startswith("{"):
        said = json.loads(word)
        return json.dumps({**said, chance.choice(list(said)): chance.choice(OBJECTS)})
    parts = word.split(",")
    at = chance.randrange(len(parts))
    name, equals, _ = parts[at].partition("=")
    parts[at] = name * (chance.random() < 0.7) + equals + chance.choice(VALUES)
    return ",".join(parts)


def test_any_command_line_is_taken_or_refused() -> None:
    chance = random.Random(1)
    guest = load("debian-12").guest
    with Offenders() as offenders:
        for _ in range(400):
            words = [*LIBVIRT[1:], *MORE]
            for at in chance.sample(range(len(words)), 2):
                words[at] = change(chance, words[at])
            with offenders.case(str(words)), suppress(CommandLineError):
                line = parse(words)
                make_settings(line, "7.2")
                make_board(line, lay_over(line, guest), "7.2")
                list(find_monitors(line))
