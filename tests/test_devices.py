"""Disks, partitions and what is stacked on them; file systems that are mounted more than once; refusals.

Sources: qga/commands-linux.c of 9.1 (commands-posix.c before): build_guest_fsinfo_for_device() and its
like, get_disk_deps(), qmp_guest_fsfreeze_do_freeze_list(), qmp_guest_fstrim(). The order of a directory of
sysfs is that of the kernel's hash (qgasim/guest/hardware/sysfs.py, recorded).
"""

import base64
from typing import Any

import pytest

from qgasim.errors import ScenarioError
from qgasim.guest.hardware.sysfs import directory_order
from qgasim.scenario import loads
from tests.serving import Course, error

PARTS = "partitions: [{name: sda2}, {name: sda3}]"


def fsinfo(course: Course) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = course.say("guest-get-fsinfo")["return"]
    return found


def disks(course: Course) -> dict[str, dict[str, Any]]:
    return {disk["name"]: disk for disk in course.say("guest-get-disks")["return"]}


def prepended(*names: str) -> list[str]:
    """Return names as they are in a list to which each was put in front, in the order of readdir."""
    return directory_order(names, str)[::-1]


# -- stacks ------------------------------------------------------------------------------------------


def test_a_file_system_on_lvm_is_named_as_in_sysfs() -> None:
    # A report: `lsblk` dm-0, mounted as /dev/mapper/vg0-root; fs->name is the basename of the syspath.
    course = Course(
        f"guest: {{disks: [{{name: sda, bus: scsi, {PARTS}}}, {{name: dm-0, alias: vg0-root,"
        " depends: [sda3], is_virtual: true}], mounts: [{device: /dev/mapper/vg0-root, path: /}]}"
    )
    (root,) = fsinfo(course)
    assert root["name"] == "dm-0"
    assert [disk["dev"] for disk in root["disk"]] == ["/dev/sda3"]
    assert disks(course)["/dev/dm-0"] == {
        "name": "/dev/dm-0",
        "alias": "vg0-root",
        "partition": False,
        "dependencies": ["/dev/sda3"],
    }


@pytest.mark.parametrize(
    ("alias", "device"),
    [
        ("vg0-root", "/dev/mapper/vg0-root"),
        ("vg0-root", "/dev/vg0/root"),
        ("vg0-root", "/dev/dm-0"),
        # lvm(8): the hyphens of names are doubled.
        ("my--vg-root--fs", "/dev/my-vg/root-fs"),
    ],
)
def test_a_logical_volume_is_mounted_by_any_of_its_names(alias: str, device: str) -> None:
    # libmount, canonicalize_dm_name(): /proc/mounts has the name in /dev/mapper.
    course = Course(
        f"guest: {{disks: [{{name: sda, bus: scsi, {PARTS}}}, {{name: dm-0, alias: {alias},"
        f" depends: [sda3]}}], mounts: [{{device: {device}, path: /}}]}}"
    )
    (root,) = fsinfo(course)
    assert root["name"] == "dm-0"
    assert [disk["dev"] for disk in root["disk"]] == ["/dev/sda3"]
    files = course.guest.files
    assert files.read("/proc/mounts").startswith(f"/dev/mapper/{alias} / ".encode())
    assert files.locate(f"/dev/mapper/{alias}").path == "/dev/dm-0"
    # fstab has what an administrator wrote there, and that leads to the device.
    assert files.read("/etc/fstab").startswith(f"{device} / ".encode())
    assert files.locate(device).path == "/dev/dm-0"


def test_a_device_is_the_same_by_any_of_its_names() -> None:
    mounts = "{{device: /dev/vg0/root, path: /}}, {{device: {}, path: /srv}}"
    for other in ("/dev/dm-0", "/dev/mapper/vg0-root", "/dev/vg0/root"):
        with pytest.raises(ScenarioError, match="'/dev/mapper/vg0-root' is mounted at / already"):
            loads(
                "guest: {disks: [{name: sda}, {name: dm-0, alias: vg0-root, depends: [sda]}],"
                f" mounts: [{mounts.format(other)}]}}"
            )
    with pytest.raises(ScenarioError, match=r"alias: not the name of a device: 'vg0/root'"):
        loads("guest: {disks: [{name: dm-0, alias: vg0/root}]}")


@pytest.mark.parametrize("depends", ["[sda2, sdb, sda3]", "[sda3, sda2, sdb]"])
def test_what_a_device_depends_on_is_in_the_order_of_its_slaves(depends: str) -> None:
    course = Course(
        f"guest: {{disks: [{{name: sda, {PARTS}}}, {{name: sdb}}, {{name: md0, depends: {depends}}}],"
        " mounts: [{device: /dev/md0, path: /}]}"
    )
    expected = [f"/dev/{name}" for name in prepended("sda2", "sda3", "sdb")]
    assert [disk["dev"] for disk in fsinfo(course)[0]["disk"]] == expected
    raid = disks(course)["/dev/md0"]
    assert raid["dependencies"] == expected
    # It is in /sys/devices/virtual/block, whatever the scenario says.
    assert "address" not in raid


def test_stacks_are_walked_down_to_the_disks() -> None:
    # LUKS on LVM on RAID and on multipath; each level in the order of its slaves.
    course = Course(
        "guest: {disks: [{name: sda}, {name: sdb}, {name: sdc}, {name: sdd},"
        " {name: md0, depends: [sda, sdb]}, {name: dm-0, alias: mpatha, depends: [sdc, sdd]},"
        " {name: dm-1, alias: vg-lv, depends: [md0, /dev/mapper/mpatha]},"
        " {name: dm-2, alias: luks, depends: [dm-1]}, {name: bcache0, depends: [dm-2]}],"
        " mounts: [{device: /dev/bcache0, path: /}]}"
    )
    slaves = {"md0": ["sda", "sdb"], "dm-0": ["sdc", "sdd"]}
    below = [
        name for top in directory_order(slaves, str) for name in directory_order(slaves[top], str)
    ]
    (root,) = fsinfo(course)
    assert root["name"] == "bcache0"
    assert [disk["dev"] for disk in root["disk"]] == [f"/dev/{name}" for name in below[::-1]]


def test_a_partition_of_a_raid_is_on_no_disk() -> None:
    # It is a virtual device, and its directory in sysfs has no slaves.
    course = Course(
        "guest: {disks: [{name: sda}, {name: md0, depends: [sda], partitions: [{name: md0p1}]}],"
        " mounts: [{device: /dev/md0p1, path: /}]}"
    )
    assert [(fs["name"], fs["disk"]) for fs in fsinfo(course)] == [("md0p1", [])]


# -- mounted twice -----------------------------------------------------------------------------------

BTRFS = (
    "guest: {disks: [{name: vda}], mounts: [{device: /dev/vda, path: /, type: btrfs, size: 39GiB, used:"
    " 1GiB}, {device: /dev/vda, path: /home, type: btrfs, options: 'rw,subvol=/home'}],"
    " files: {/home/a: x, /b: x}}"
)


@pytest.mark.parametrize(("release", "listed"), [("7.2", ["/home", "/"]), ("10.0", ["/"])])
def test_two_mounts_of_a_btrfs_are_subvolumes_of_one(release: str, listed: list[str]) -> None:
    # 10.0 skips what has a device that was seen (56ef123777).
    course = Course(BTRFS, release=release)
    found = fsinfo(course)
    assert [fs["mountpoint"] for fs in found] == listed
    assert len({(fs["total-bytes"], fs["used-bytes"]) for fs in found}) == 1
    assert found[0]["total-bytes"] == 39 << 30
    # The second one is busy.
    assert course.say("guest-fsfreeze-freeze") == {"return": 1}
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}


def test_subvolumes_have_files_of_their_own_and_stay_after_a_reboot() -> None:
    course = Course(BTRFS)
    files = course.guest.files
    files.write("/home/c", b"x")
    course.guest.power.shut_down("reboot", 0)
    course.advance(60)
    assert {"a", "c"} <= set(files.listdir("/home"))
    assert files.find_mount("/home").options == "rw,subvol=/home"  # type: ignore[union-attr]
    assert files.exists("/b")


def test_what_is_covered_by_a_mount_is_made_in_it() -> None:
    course = Course(
        "guest: {mounts: [{device: rootfs, path: /}, {device: tmpfs, path: /var, type: tmpfs}]}"
    )
    assert course.guest.files.get("/var/tmp").st_mode & 0o7777 == 0o1777


WRONG = {
    "an ext4 that is mounted twice": (
        "[{device: /dev/vda, path: /}, {device: /dev/vda, path: /srv}]",
        [
            (
                "guest.mounts[1].device: '/dev/vda' is mounted at / already (bind: / shows it here, too; "
                "subvolumes have type: btrfs)"
            )
        ],
    ),
    "a subvolume with a size": (
        (
            "[{device: /dev/vda, path: /, type: btrfs},"
            " {device: /dev/vda, path: /srv, type: btrfs, size: 1GiB, freeze_error: EIO}]"
        ),
        [
            "guest.mounts[1].size: has no effect in a subvolume of the file system at /",
            "guest.mounts[1].freeze_error: has no effect in a subvolume of the file system at /",
        ],
    ),
    "keys beside bind": (
        (
            "[{device: /dev/vda, path: /}, {device: /dev/vda, path: /srv, bind: /mnt, type: xfs, used: 1,"
            " trim_error: EIO}]"
        ),
        [
            "guest.mounts[1].type: has no effect beside 'bind'",
            "guest.mounts[1].used: has no effect beside 'bind'",
            "guest.mounts[1].trim_error: has no effect beside 'bind'",
        ],
    ),
    "another device beside bind": (
        "[{device: /dev/vda, path: /}, {device: /dev/vdb, path: /srv, bind: /mnt}]",
        ["guest.mounts[1].device: expected '/dev/vda', on which /mnt is, found '/dev/vdb'"],
    ),
    "an error of no call": (
        "[{device: /dev/vda, path: /, trim_error: {}}]",
        ["guest.mounts[0].trim_error: expected the error of a call"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_has_no_effect_is_told(name: str) -> None:
    mounts, expected = WRONG[name]
    with pytest.raises(ScenarioError) as caught:
        loads(f"guest: {{disks: [{{name: vda}}, {{name: vdb}}], mounts: {mounts}}}", "f")
    assert [line.split(": ", 1)[1] for line in str(caught.value).splitlines()] == expected


def test_a_device_that_depends_on_itself_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"disks\[1\]\.depends: 'dm-1' depends on itself"):
        loads("guest: {disks: [{name: dm-0, depends: [dm-1]}, {name: dm-1, depends: [dm-0]}]}")


# -- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["iso9660", "squashfs", "udf", "erofs"])
def test_what_is_only_read_cannot_be_trimmed(kind: str) -> None:
    # FITRIM fails with ENOTTY.
    course = Course(
        "guest: {disks: [{name: vda}, {name: sr0}], mounts: [{device: /dev/vda, path: /},"
        f" {{device: /dev/sr0, path: /mnt, type: {kind}, options: ro}}]}}"
    )
    first, _ = course.say("guest-fstrim")["return"]["paths"]
    assert first == {"path": "/mnt", "error": "trim not supported"}
    assert course.say("guest-fsfreeze-freeze") == {"return": 1}


DATA = (
    "guest: {{disks: [{{name: vda}}, {{name: vdb}}], mounts: [{{device: /dev/vda, path: /}},"
    " {{device: /dev/vdb, path: /data, {}}}]}}"
)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        # SELinux, as reported.
        ("trim_error: {open: EACCES}", "failed to open: Permission denied"),
        ("trim_error: EIO", "failed to trim: Input/output error"),
        ("trim_error: {trim: EIO}", "failed to trim: Input/output error"),
        ("trim_error: EOPNOTSUPP", "trim not supported"),
        ("trim_error: ENOTTY", "trim not supported"),
    ],
)
def test_trimming_fails_in_the_call_that_is_named(keys: str, text: str) -> None:
    course = Course(DATA.format(keys))
    data, root = course.say("guest-fstrim")["return"]["paths"]
    assert data == {"path": "/data", "error": text}
    assert "error" not in root


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("freeze_error: {open: EACCES}", "failed to open /data: Permission denied"),
        ("freeze_error: {freeze: EIO}", "failed to freeze /data: Input/output error"),
        ("freeze_error: EIO", "failed to freeze /data: Input/output error"),
    ],
)
def test_freezing_fails_in_the_call_that_is_named(keys: str, text: str) -> None:
    course = Course(DATA.format(keys))
    assert error(course.say("guest-fsfreeze-freeze")) == text
    assert course.say("guest-fsfreeze-status") == {"return": "thawed"}


def test_what_is_busy_or_cannot_be_frozen_is_passed_over() -> None:
    for name in ("EBUSY", "EOPNOTSUPP"):
        assert Course(DATA.format(f"freeze_error: {name}")).say("guest-fsfreeze-freeze") == {
            "return": 1
        }


# -- places, sizes, interfaces -----------------------------------------------------------------------


@pytest.mark.parametrize(("release", "is_told"), [("5.2", False), ("6.0", True), ("11.1", True)])
def test_a_disk_of_s390x_has_a_ccw_address(release: str, is_told: bool) -> None:
    # qapi-schema.json: since 6.0. /sys/devices/css0/0.0.0004/0.0.00ff/virtio1/block/vda
    course = Course(
        "guest: {disks: [{name: vda, ccw: 0.0.0004/0.0.00ff}], mounts: [{device: /dev/vda, path: /}]}",
        release=release,
    )
    address = fsinfo(course)[0]["disk"][0]
    expected = {"cssid": 0, "ssid": 0, "subchno": 4, "devno": 255} if is_told else None
    assert address.get("ccw-address") == expected
    assert address["pci-controller"]["domain"] == -1
    assert disks(course)["/dev/vda"]["address"] == address


def test_a_place_is_on_one_bus() -> None:
    with pytest.raises(ScenarioError) as caught:
        loads(
            "guest: {disks: [{name: a, pci: '0:0:0.0', ccw: 0.0.0004/0.0.0000}, {name: b, ccw: '4'}]}"
        )
    assert "disks[0].ccw: 'pci' and 'ccw' are mutually exclusive" in str(caught.value)
    assert "disks[1].ccw: not a CCW address: '4'" in str(caught.value)


@pytest.mark.parametrize("options", ["rw", "ro"])
def test_what_is_in_use_can_be_said_exactly(options: str) -> None:
    course = Course(
        "guest: {disks: [{name: vda}, {name: vdb}], mounts: [{device: /dev/vda, path: /, size: 20GiB,"
        f" used: {{exactly: 14206033920}}, options: {options}}}]}}"
    )
    assert fsinfo(course)[0]["used-bytes"] == 14206033920
    if options == "rw":
        course.guest.files.write("/new", b"x" * 5000)
        assert fsinfo(course)[0]["used-bytes"] == 14206033920 + 8192


def test_less_cannot_be_in_use_than_the_files_take() -> None:
    with pytest.raises(
        ScenarioError, match=r"expected at least \d+ bytes, which the files take at /"
    ):
        Course("guest: {mounts: [{device: rootfs, path: /, used: {exactly: 1}}]}")
    with pytest.raises(ScenarioError, match=r"used\.exactly: expected at most the size"):
        loads("guest: {mounts: [{device: rootfs, path: /, size: 1, used: {exactly: 2}}]}")


def macs(course: Course) -> dict[str, str | None]:
    nics = course.say("guest-network-get-interfaces")["return"]
    return {nic["name"]: nic.get("hardware-address") for nic in nics}


def test_vlans_bonds_and_bridges_have_addresses_of_their_parts() -> None:
    # Linux: vlan_dev_init(), bond_enslave(), br_stp_recalculate_bridge_id().
    course = Course(
        "guest: {nics: [{name: br0, bridge: [eth0.7, bond0]}, {name: eth0.7, vlan: {on: eth0, id: 7}},"
        " {name: eth0, mac: '52:54:00:00:00:0b'}, {name: bond0, bond: [eth1, eth2]},"
        " {name: eth1, mac: '52:54:00:00:00:0A'}, {name: eth2, mac: '52:54:00:00:00:01'},"
        " {name: own, mac: '52:54:00:00:00:99', vlan: {on: eth0, id: 8}}]}"
    )
    assert macs(course) == {
        "br0": "52:54:00:00:00:0A",
        "eth0.7": "52:54:00:00:00:0b",
        "eth0": "52:54:00:00:00:0b",
        "bond0": "52:54:00:00:00:0A",
        "eth1": "52:54:00:00:00:0A",
        "eth2": "52:54:00:00:00:0A",
        "own": "52:54:00:00:00:99",
    }


STACKED = (
    "guest: {os: {kernel_release: 6.15.0}, nics: [{name: eth0, mac: '52:54:00:00:00:0a'},"
    " {name: eth0.7, vlan: {on: eth0, id: 7}, counters: {rx_packets: 275, rx_bytes: 25471}},"
    " {name: eth1, mac: '52:54:00:00:00:0b'}, {name: eth2, mac: '52:54:00:00:00:0c'},"
    " {name: bond0, bond: [eth1, eth2]}, {name: br0, bridge: [bond0, eth0.7], up: false}]}"
)
#: As iproute2 6.1 and BusyBox show links that reports show: `bond1.20@bond1`, `MASTER`, `SLAVE`, `noqueue`.
LINKS = """\
1: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc pfifo_fast state UP{} qlen 1000
    link/ether 52:54:00:00:00:0a brd ff:ff:ff:ff:ff:ff
2: eth0.7@eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue master br0 state UP{} qlen 1000
    link/ether 52:54:00:00:00:0a brd ff:ff:ff:ff:ff:ff
3: eth1: <BROADCAST,MULTICAST,SLAVE,UP,LOWER_UP> mtu 1500 qdisc pfifo_fast master bond0 state UP{} qlen 1000
    link/ether 52:54:00:00:00:0b brd ff:ff:ff:ff:ff:ff
4: eth2: <BROADCAST,MULTICAST,SLAVE,UP,LOWER_UP> mtu 1500 qdisc pfifo_fast master bond0 state UP{} qlen 1000
    link/ether 52:54:00:00:00:0b brd ff:ff:ff:ff:ff:ff{}
5: bond0: <BROADCAST,MULTICAST,MASTER,UP,LOWER_UP> mtu 1500 qdisc noqueue master br0 state UP{} qlen 1000
    link/ether 52:54:00:00:00:0b brd ff:ff:ff:ff:ff:ff
6: br0: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN{} qlen 1000
    link/ether 52:54:00:00:00:0a brd ff:ff:ff:ff:ff:ff
"""


def output_of(course: Course, *argv: str) -> str:
    pid = course.say("guest-exec", path=argv[0], arg=list(argv[1:]), capture_output=True)["return"]
    course.advance(1)
    told = course.say("guest-exec-status", **pid)["return"]
    return base64.b64decode(told["out-data"]).decode()


def test_ip_shows_what_interfaces_are_made_of() -> None:
    gnu, mode = output_of(Course(STACKED), "ip", "link"), " mode DEFAULT group default"
    permanent = " permaddr 52:54:00:00:00:0c"
    assert gnu == LINKS.format(mode, mode, mode, mode, permanent, mode, mode)
    busybox = Course(STACKED.replace("os: {", "os: {userland: busybox, "))
    assert output_of(busybox, "ip", "link") == LINKS.format(*[""] * 7)


def test_proc_shows_vlans_and_bonds() -> None:
    # net/8021q/vlanproc.c; drivers/net/bonding/bond_procfs.c, and what 6.15 showed in a report of the kernel's.
    files = Course(STACKED).guest.files
    assert files.read("/proc/net/vlan/config").decode() == (
        "VLAN Dev name\t | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n"
        "eth0.7         | 7  | eth0\n"
    )
    assert files.read("/proc/net/vlan/eth0.7").decode() == (
        "eth0.7  VID: 7\t REORDER_HDR: 1  dev->priv_flags: 81021\n"
        "         total frames received          275\n"
        "          total bytes received        25471\n"
        "      Broadcast/Multicast Rcvd            0\n\n"
        "      total frames transmitted            0\n"
        "       total bytes transmitted            0\n"
        "Device: eth0\n"
        "INGRESS priority mappings: 0:0  1:0  2:0  3:0  4:0  5:0  6:0 7:0\n"
        " EGRESS priority mappings: \n"
    )
    slave = (
        "\nSlave Interface: {}\nMII Status: up\nSpeed: Unknown\nDuplex: Unknown\nLink Failure Count: 0\n"
        "Permanent HW addr: {}\nSlave queue ID: 0\n"
    )
    assert files.read("/proc/net/bonding/bond0").decode() == (
        "Ethernet Channel Bonding Driver: v6.15.0\n\nBonding Mode: load balancing (round-robin)\n"
        "MII Status: up\nMII Polling Interval (ms): 0\nUp Delay (ms): 0\nDown Delay (ms): 0\n"
        "Peer Notification Delay (ms): 0\n"
        + slave.format("eth1", "52:54:00:00:00:0b")
        + slave.format("eth2", "52:54:00:00:00:0c")
    )
    assert not Course().guest.files.exists("/proc/net/vlan")


def test_a_vlan_takes_what_was_made_up() -> None:
    course = Course(
        "guest: {nics: [{name: 'eth{i}.7', count: 2, vlan: {on: 'eth{i}', id: 7}, addresses: [auto]},"
        " {name: 'eth{i}', count: 2, mac: auto}]}"
    )
    found = macs(course)
    assert found["eth0.7"] == found["eth0"] != found["eth1.7"] == found["eth1"]


def test_what_an_interface_is_made_of_is_there() -> None:
    with pytest.raises(ScenarioError) as caught:
        loads(
            "guest: {nics: [{name: a, vlan: {on: eth0, id: 4095}}, {name: b, bond: [c], bridge: [c]},"
            " {name: c, bridge: [b]}, {name: d}, {name: e, bond: [d]}, {name: f, bridge: [d]}]}",
            "f",
        )
    assert {line.split(": ", 1)[1] for line in str(caught.value).splitlines()} == {
        "guest.nics[0].vlan.id: expected from 1 to 4094, found 4095",
        "guest.nics[0].vlan.on: no interface is called 'eth0'",
        "guest.nics[1].bridge: 'bond' and 'bridge' are mutually exclusive",
        "guest.nics[5].bridge: 'd' is part of 'e' already",
        "guest.nics[1]: 'b' is made of interfaces that are made of it",
        "guest.nics[2]: 'c' is made of interfaces that are made of it",
    }
