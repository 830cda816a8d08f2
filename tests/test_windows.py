r"""What agents for Windows answer.

Expected texts and rules are those of qga/commands-win32.c, qga/commands.c and qga/vss-win32/requester.cpp
as of 5.1 and 7.2, and of patches where a release is named; Windows' own words are Microsoft's.
"""

import base64
import json
from typing import Any, Final

import pytest

from qgasim.errors import ScenarioError
from qgasim.scenario import load, loads
from tests.schema_check import check_reply, load_schema
from tests.serving import Course

UNSUPPORTED: Final = "this feature or command is not currently supported"
NO_FILE: Final = "The system cannot find the file specified."
DENIED: Final = "Access is denied."
NO_PATH: Final = "The system cannot find the path specified."
SHARED: Final = "The process cannot access the file because it is being used by another process."


def windows(guest: str = "", *, release: str = "7.2", os: str = "", quirks: str = "{}") -> Course:
    """Build a guest that is windows-server-2022 with other settings (YAML)."""
    return Course(
        "qgasim: 1\nextends: windows-server-2022\n"
        f'agent: {{release: "{release}", quirks: {quirks}}}\n'
        f"guest: {{os: {{{os}}}, {guest}}}\n"
    )


def value(course: Course, command: str, **arguments: Any) -> Any:
    reply = course.say(command, **arguments)
    assert "return" in reply, reply
    return reply["return"]


def desc(course: Course, command: str, **arguments: Any) -> str:
    error = course.say(command, **arguments)["error"]
    assert error["class"] == "GenericError"
    text = error["desc"]
    assert isinstance(text, str)
    return text


# -- which commands there are ----------------------------------------------------------------------


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_what_is_told_is_as_the_schema_says(release: str) -> None:
    course = windows(release=release)
    schema = load_schema(course.agent.dialect.version)
    asked = [
        name
        for name, command in schema["commands"].items()
        if (name.startswith("guest-get-") or name in ("guest-network-get-interfaces", "guest-info"))
        and name in course.agent.commands.table
        and not command["arguments"]
    ]
    wrong: list[str] = []
    for name in asked:
        reply = course.say(name)
        if "return" in reply:
            wrong += check_reply(schema, name, reply["return"])
    assert wrong == []
    assert len(asked) > 10


def test_guest_info_lists_what_the_release_has_and_what_it_refuses() -> None:
    def listed(release: str) -> dict[str, bool]:
        commands = value(windows(release=release), "guest-info")["supported_commands"]
        return {each["name"]: each["enabled"] for each in commands}

    # The list of ga_command_init_blockedrpcs().
    assert {name for name, is_enabled in listed("7.2").items() if not is_enabled} == {
        "guest-suspend-hybrid",
        "guest-set-vcpus",
        "guest-get-memory-blocks",
        "guest-set-memory-blocks",
        "guest-get-memory-block-info",
    }
    assert all(listed("11.1").values())
    assert "guest-suspend-hybrid" not in listed("11.1")


@pytest.mark.parametrize("command", ["guest-get-diskstats", "guest-get-cpustats"])
def test_statistics_are_there_up_to_9_0_to_say_that_they_are_not(command: str) -> None:
    assert desc(windows(release="9.0"), command) == UNSUPPORTED
    error = windows(release="9.1").say(command)["error"]
    assert error == {
        "class": "CommandNotFound",
        "desc": f"The command {command} has not been found",
    }


# -- the system ------------------------------------------------------------------------------------

#: Release, kernel, build, whether it is a server; version and version-id.
NAMES: list[tuple[str, str, int, bool, str, str | None]] = [
    ("7.2", "10.0", 19045, False, "Microsoft Windows 10", "10"),
    ("7.2", "10.0", 22000, False, "Microsoft Windows 11", "11"),
    ("7.2", "10.0", 14393, True, "Microsoft Windows Server 2016", "2016"),
    ("7.2", "10.0", 17763, True, "Microsoft Windows Server 2019", "2019"),
    ("7.2", "10.0", 20348, True, "Microsoft Windows Server 2022", "2022"),
    ("7.2", "10.0", 26100, True, "Microsoft Windows Server 2022", "2022"),
    ("9.1", "10.0", 26100, True, "MIcrosoft Windows Server 2025", "2025"),
    ("11.1", "10.0", 26100, True, "Microsoft Windows Server 2025", "2025"),
    ("7.2", "6.3", 9600, True, "Microsoft Windows Server 2012 R2", "2012r2"),
    ("7.2", "6.3", 9600, False, "Microsoft Windows 8.1", "8.1"),
    ("7.2", "6.1", 7601, True, "Microsoft Windows Server 2008 R2", "2008r2"),
    # { 6, 1, "Microsoft Windows 7" "7"}: a NULL was an empty text while there were has_ flags.
    ("7.2", "6.1", 7601, False, "Microsoft Windows 77", ""),
    ("11.1", "6.1", 7601, False, "Microsoft Windows 77", None),
    ("7.2", "5.2", 3790, False, "N/A", "N/A"),
    # By the last build of a release.
    ("5.2", "10.0", 22631, False, "Microsoft Windows 10", "10"),
    ("5.2", "10.0", 17763, True, "Microsoft Windows Server 2019", "2019"),
    ("5.2", "10.0", 14394, True, "Microsoft Windows Server 2019", "2019"),
    ("5.2", "10.0", 20348, True, "N/A", "N/A"),
]


@pytest.mark.parametrize(
    ("release", "kernel", "build", "is_server", "version", "version_id"), NAMES
)
def test_windows_is_named_by_its_kernel_and_build(
    release: str, kernel: str, build: int, is_server: bool, version: str, version_id: str | None
) -> None:
    course = windows(
        release=release,
        os=f"kernel_version: '{kernel}', kernel_release: '{build}', is_server: {str(is_server).lower()}",
    )
    info = value(course, "guest-get-osinfo")
    assert (info["version"], info.get("version-id")) == (version, version_id)
    kind = "server" if is_server else "client"
    assert (info["variant"], info["variant-id"], info["id"]) == (kind, kind, "mswindows")
    assert (info["kernel-version"], info["kernel-release"]) == (kernel, str(build))


def test_the_quirks_of_names_can_be_switched_off() -> None:
    seven = windows(os="kernel_version: '6.1', is_server: false", quirks="{windows_77: off}")
    info = value(seven, "guest-get-osinfo")
    assert (info["version"], info["version-id"]) == ("Microsoft Windows 7", "7")
    late = windows(os="kernel_release: '26100'", release="9.1", quirks="{windows_2025_typo: off}")
    assert value(late, "guest-get-osinfo")["version"] == "Microsoft Windows Server 2025"


def test_the_host_name_is_that_of_netbios() -> None:
    course = windows("hostname: a-name-of-many-letters")
    assert value(course, "guest-get-host-name") == {"host-name": "A-NAME-OF-MANY-"}


def test_a_user_has_a_domain_and_the_earliest_logon() -> None:
    course = windows(
        "hostname: pc, logins: [{user: alice, time: 1735693200.1234567}, {user: bob, domain: CORP, "
        "time: 1735693000}, {user: alice, domain: CORP, time: 1735693100}]"
    )
    assert value(course, "guest-get-users") == [
        {"user": "alice", "domain": "PC", "login-time": 1735693100},
        {"user": "bob", "domain": "CORP", "login-time": 1735693000},
    ]


@pytest.mark.parametrize(
    ("clock", "zone", "offset"),
    [
        ("zone: Europe/Berlin", "W. Europe Standard Time", 3600),
        ("zone: Europe/Berlin, start: 2025-07-01T00:00:00Z", "W. Europe Daylight Time", 7200),
        (
            "zone: Europe/Berlin, zone_name: Mitteleurop\u00e4ische Zeit",
            "Mitteleurop\u00e4ische Zeit",
            3600,
        ),
        ("zone: Etc/UTC", "Coordinated Universal Time", 0),
        ("zone: Asia/Kolkata", "India Standard Time", 19800),
    ],
)
def test_a_time_zone_has_the_name_that_windows_gives_it(clock: str, zone: str, offset: int) -> None:
    course = windows(f"clock: {{{clock}}}")
    assert value(course, "guest-get-timezone") == {"zone": zone, "offset": offset}


# -- time and power --------------------------------------------------------------------------------


def test_time_goes_by_the_millisecond() -> None:
    course = windows()
    assert value(course, "guest-set-time", time=1_750_000_000_123_456_789) == {}
    assert value(course, "guest-get-time") == 1_750_000_000_123_000_000
    # A space is missing.
    assert desc(course, "guest-set-time", time=-5) == "Time -5is invalid"


def test_without_a_time_the_time_service_sets_it() -> None:
    course = windows("clock: {start: 2025-01-01T00:00:00Z, rtc: 2025-01-01T01:00:00Z}")
    assert value(course, "guest-set-time") == {}
    assert value(course, "guest-get-time") == 1_735_693_212_000_000_000
    stopped = windows(
        "programs: [{path: 'C:\\Windows\\System32\\w32tm.exe', exit_code: 2147943462}]"
    )
    text = "No internet connection on guest, sync not accurate"
    assert desc(windows("nics: []"), "guest-set-time") == text
    text = "Windows Time service not running on the guest"
    assert desc(stopped, "guest-set-time") == text


@pytest.mark.parametrize(
    ("release", "modes"),
    [("5.2", "halt|powerdown|reboot"), ("7.2", "'halt', 'powerdown', or 'reboot'")],
)
def test_shutdown_knows_three_modes(release: str, modes: str) -> None:
    course = windows(release=release)
    assert desc(course, "guest-shutdown", mode="off") == f"Parameter 'mode' expects {modes}"
    assert course.say("guest-shutdown", mode="powerdown") is None
    course.advance(2)
    assert course.guest.power.state == "off"


@pytest.mark.parametrize(
    ("release", "text"),
    [
        ("7.2", "Guest agent command failed, error was 'suspend-to-ram not supported by OS'"),
        ("9.1", "suspend-to-ram not supported by OS"),
    ],
)
def test_windows_suspends_as_it_can(release: str, text: str) -> None:
    course = windows("power: {suspend: [disk]}", release=release)
    assert desc(course, "guest-suspend-ram") == text
    assert course.say("guest-suspend-disk") is None
    course.advance(2)
    assert course.guest.power.state == "off"


# -- hardware --------------------------------------------------------------------------------------


def test_processors_are_counted_and_stay() -> None:
    course = windows("vcpus: [{id: 4}, {id: 2, online: false}, {id: 7}]")
    assert value(course, "guest-get-vcpus") == [
        {"logical-id": number, "online": True, "can-offline": False} for number in (0, 1)
    ]


NICS: Final = (
    "nics: [{name: Loopback, addresses: ['::1/128', 127.0.0.1/8]}, {name: WLAN, up: false}, {name: LAN, mac: "
    "'52:54:00:AB:CD:EF', gateways: [192.0.2.1], addresses: ['fe80::1/64', 'fe80::2%9/64', 192.0.2.7/24]}]"
)


def test_interfaces_have_zones_and_a_disabled_one_is_not_there() -> None:
    loopback, lan = value(windows(NICS), "guest-network-get-interfaces")
    assert "hardware-address" not in loopback
    assert lan["hardware-address"] == "52:54:00:ab:cd:ef"
    # In the order in which Windows has them: not IPv4 first.
    assert [(a["ip-address"], a["prefix"]) for a in lan["ip-addresses"]] == [
        ("fe80::1%2", 64),
        ("fe80::2%9", 64),
        ("192.0.2.7", 24),
    ]
    assert lan["statistics"]["rx-bytes"] == 0


def test_a_build_for_windows_xp_knows_no_prefixes() -> None:
    nics = value(windows(NICS, quirks="{no_prefixes: on}"), "guest-network-get-interfaces")
    assert {a["prefix"] for nic in nics for a in nic["ip-addresses"]} == {-1}


def test_routes_have_the_members_that_windows_knows() -> None:
    routes = value(windows(NICS, release="11.1"), "guest-network-get-route")
    assert routes[0] == {
        "iface": "LAN", "destination": "0.0.0.0", "mask": "0.0.0.0", "gateway": "192.0.2.1",
        "metric": 25, "mtu": 1500, "version": 4,
    }  # fmt: skip
    local = next(route for route in routes if route["destination"] == "::1")
    # A ULONG of 2^32 - 1, read into an int.
    assert local == {
        "iface": "Loopback", "destination": "::1", "desprefixlen": "128", "nexthop": "::",
        "metric": 331, "mtu": -1, "version": 6,
    }  # fmt: skip
    assert [route["version"] for route in routes] == sorted(route["version"] for route in routes)


def test_load_is_averaged_from_the_first_question_on() -> None:
    course = windows("load: [2.0, 2.0, 2.0]", release="10.1")
    assert value(course, "guest-get-load") == {"load1m": 0, "load5m": 0, "load15m": 0}
    course.advance(60)
    load = value(course, "guest-get-load")
    # After as long as an average is formed of, it is at 1 - 1/e.
    assert load["load1m"] == pytest.approx(2 * (1 - 0.36788), rel=1e-3)
    assert load["load1m"] > load["load5m"] > load["load15m"] > 0
    course.agent.crash()
    course.advance(5)
    assert value(course, "guest-get-load")["load1m"] == 0


def test_devices_are_those_of_two_vendors_whose_numbers_have_no_digit_from_c_on() -> None:
    names = ("1af4:1041", "1AF4:10AB", "1b36:000d", "8086:1533")
    devices = ", ".join(
        f"{{name: '{name}', pci_id: '{name}', version: 1.2, date: 2024-04-01T00:00:00Z}}"
        for name in names
    )
    found = value(windows(f"devices: [{devices}]"), "guest-get-devices")
    # DEVICE_PCI_RE: PCI\\VEN_(1AF4|1B36)&DEV_([0-9A-B]{4})
    assert [device["driver-name"] for device in found] == ["1af4:1041", "1AF4:10AB"]
    assert found[0]["id"] == {"type": "pci", "vendor-id": 0x1AF4, "device-id": 0x1041}
    assert found[0]["driver-date"] == 1_711_929_600_000_000_000


# -- disks and volumes -----------------------------------------------------------------------------

DISKS: Final = (
    "disks: [{name: sda, bus: virtio, pci: '0000:00:05.0', unit: 3, serial: A, partitions: [{name: sda1}]}, "
    "{name: nvme0, bus: nvme, unit: 7}, {name: span, is_virtual: true, depends: [sda1, nvme0]}], mounts: "
    "[{device: /dev/sda1, path: 'C:\\', type: NTFS, size: 8GiB, used: 2GiB}, {device: /dev/span, path: 'E:\\', "
    "type: ReFS}, {device: cd, path: '', type: CDFS}]"
)


def test_disks_are_physical_and_the_last_comes_first() -> None:
    disks = value(windows(DISKS), "guest-get-disks")
    names = [r"\\.\PhysicalDrive1", r"\\.\PhysicalDrive0"]
    assert [(disk["name"], disk["partition"]) for disk in disks] == [(n, False) for n in names]
    nvme, first = (disk["address"] for disk in disks)
    no_pci = {"domain": -1, "bus": -1, "slot": -1, "function": -1}
    # Path, target and unit are asked for on some buses only.
    assert (nvme["bus-type"], nvme["unit"], nvme["pci-controller"]) == ("nvme", 0, no_pci)
    assert (first["bus-type"], first["unit"], first["serial"]) == ("scsi", 3, "A")
    old = value(windows(DISKS, release="5.2"), "guest-get-disks")
    assert old[0]["address"]["bus-type"] == "unknown"


def test_volumes_have_windows_names_and_the_last_comes_first() -> None:
    systems = value(windows(DISKS, release="11.1"), "guest-get-fsinfo")
    reserved, span, first = systems
    assert all(
        s["name"].startswith("\\\\?\\Volume{") and s["name"].endswith("}\\") for s in systems
    )
    assert (reserved["mountpoint"], reserved["disk"]) == ("System Reserved", [])
    # Since 10.2 (a report, and the patch that answers it).
    assert reserved["total-bytes"] == 8 << 30
    assert reserved["used-bytes"] < 1 << 16
    older = value(windows(DISKS, release="10.1"), "guest-get-fsinfo")[0]
    assert (older["mountpoint"], "total-bytes" in older) == ("System Reserved", False)
    assert (first["mountpoint"], first["total-bytes"]) == ("C:\\", 8 << 30)
    # With the few files that there are.
    assert 0 <= first["used-bytes"] - (2 << 30) < 1 << 16
    # Windows agents know nothing of what only root could have.
    assert "total-bytes-privileged" not in first
    # The extents of a volume, each before the last.
    assert [d["dev"][-1] for d in span["disk"]] == ["1", "0"]


def test_trimming_is_told_of_each_drive() -> None:
    course = windows(DISKS)
    course.guest.volumes["/dev/span"].can_trim = False
    # The text of defrag.exe; other lines of its output are not told.
    text = "The volume optimization operation requested is not supported by the hardware backing the volume."
    assert value(course, "guest-fstrim") == {
        "paths": [{"path": "E:\\", "error": f"{text} (0x8900002A)"}, {"path": "C:\\"}]
    }
    old = windows(os="kernel_version: '6.1'")
    assert desc(old, "guest-fstrim") == "fstrim is only supported for Win8+"


CD: Final = (
    "disks: [{name: sda}, {name: sr1, bus: sata, pci: '0000:00:1f.2', unit: 1}, {name: sdb}], mounts: "
    "[{device: /dev/sdb, path: 'C:\\Data\\'}, {device: /dev/sr1, path: 'E:\\', type: CDFS, volume: "
    "01234567-89ab-cdef-0123-456789abcdef}, {device: /dev/sda, path: 'C:\\'}], files: {'C:\\Data\\a': x}"
)


def test_a_cd_rom_is_told_by_its_volume_and_is_no_disk() -> None:
    # A report; build_guest_disk_info() of commands-win32.c, and qmp_guest_get_disks(), which asks for disks.
    course = windows(CD)
    names = [disk["name"] for disk in value(course, "guest-get-disks")]
    assert names == [r"\\.\PhysicalDrive1", r"\\.\PhysicalDrive0"]
    _, cd, data = value(course, "guest-get-fsinfo")
    assert cd["disk"][0]["dev"] == "\\\\?\\Volume{01234567-89ab-cdef-0123-456789abcdef}"
    assert data["disk"][0]["dev"] == r"\\.\PhysicalDrive1"


def test_volumes_are_in_the_order_of_the_scenario_and_the_last_comes_first() -> None:
    course = windows(CD)
    points = [fs["mountpoint"] for fs in value(course, "guest-get-fsinfo")]
    assert points == ["C:\\", "E:\\", "C:\\Data\\"]
    # A volume in a directory of another one is there, whatever the order.
    assert course.guest.volumes["/dev/sdb"].file_bytes > 0


def test_trimming_a_volume_that_is_mounted_in_a_directory_fails() -> None:
    # A report: what defrag.exe says.
    paths = value(windows(CD), "guest-fstrim")["paths"]
    text = "The given volume path is invalid. (0x89000001)"
    assert paths == [{"path": "C:\\"}, {"path": "E:\\"}, {"path": "C:\\Data\\", "error": text}]


# -- freezing --------------------------------------------------------------------------------------


def is_held(course: Course, device: str = "/dev/sda2") -> bool:
    value(course, "guest-fsfreeze-status")
    return course.guest.volumes[device].is_frozen


TOO_LATE: Final = "couldn't hold writes: fsfreeze is limited up to 10 seconds: "


def test_writes_are_held_for_ten_seconds() -> None:
    course = windows()
    assert value(course, "guest-fsfreeze-freeze") == 2
    course.advance(9)
    assert is_held(course)
    course.advance(2)
    assert not is_held(course)
    # It goes on saying so.
    assert value(course, "guest-fsfreeze-status") == "frozen"
    assert desc(course, "guest-fsfreeze-thaw") == TOO_LATE
    assert value(course, "guest-fsfreeze-status") == "thawed"
    assert value(course, "guest-fsfreeze-thaw") == 0


def test_a_second_freeze_has_ten_seconds_of_its_own() -> None:
    course = windows()
    value(course, "guest-fsfreeze-freeze")
    course.advance(6)
    assert value(course, "guest-fsfreeze-thaw") == 2
    value(course, "guest-fsfreeze-freeze")
    course.advance(6)
    assert is_held(course)
    assert value(course, "guest-fsfreeze-thaw") == 2


def test_a_new_agent_knows_nothing_of_the_snapshot() -> None:
    course = windows()
    value(course, "guest-fsfreeze-freeze")
    course.agent.crash()
    course.advance(15)
    assert value(course, "guest-fsfreeze-status") == "frozen"
    assert value(course, "guest-fsfreeze-thaw") == 0


@pytest.mark.parametrize(
    ("mountpoints", "count"),
    [
        (["C:\\"], 1),
        (["c:\\"], 1),
        ([], 2),
        (["\\\\?\\Volume{2c8c9a4e-0000-0000-0000-100000000000}\\"], 1),
    ],
)
def test_a_list_of_volumes_can_be_frozen(mountpoints: list[str], count: int) -> None:
    course = windows()
    assert value(course, "guest-fsfreeze-freeze-list", mountpoints=mountpoints) == count
    assert value(course, "guest-fsfreeze-thaw") == count


def test_an_unknown_drive_fails_and_nothing_is_frozen() -> None:
    course = windows()
    asked = ["C:\\", "X:\\"]
    text = desc(course, "guest-fsfreeze-freeze-list", mountpoints=asked)
    assert text.startswith("failed to add X:\\ to snapshot set")
    assert value(course, "guest-fsfreeze-status") == "thawed"
    assert not is_held(course)


def test_a_volume_that_vss_does_not_take_fails_all() -> None:
    course = windows(
        "mounts: [{device: /dev/sda2, path: 'C:\\'}, {device: /dev/sda1, path: 'F:\\', freeze_error: EIO}]"
    )
    assert {system["type"] for system in value(course, "guest-get-fsinfo")} == {"NTFS"}
    assert desc(course, "guest-fsfreeze-freeze").startswith("failed to add F:\\ to snapshot set")
    assert value(course, "guest-fsfreeze-status") == "thawed"


def test_without_vss_older_agents_refuse_and_newer_ones_say_why() -> None:
    old, new = (windows(os="has_vss: false", release=release) for release in ("7.2", "9.1"))
    for command in ("guest-get-fsinfo", "guest-fsfreeze-status", "guest-fsfreeze-freeze"):
        error = old.say(command)["error"]
        assert error == {
            "class": "CommandNotFound",
            "desc": f"Command {command} has been disabled",
        }
    assert desc(old, "guest-fsfreeze-freeze-list") == UNSUPPORTED
    text = "fsfreeze not possible as VSS failed to initialize"
    for command in ("status", "freeze", "freeze-list", "thaw"):
        assert desc(new, f"guest-fsfreeze-{command}") == text
    assert len(value(new, "guest-get-fsinfo")) == 2


# -- files -----------------------------------------------------------------------------------------

FILES: Final = "files: {'C:\\Data\\a.txt': hello}"


def opened(course: Course, path: str, mode: str = "r") -> int:
    handle = value(course, "guest-file-open", path=path, mode=mode)
    assert isinstance(handle, int)
    return handle


@pytest.mark.parametrize(
    "path",
    [
        "C:\\Data\\a.txt",
        "c:/data/A.TXT",
        "\\data\\a.txt",
        "..\\..\\Data\\a.txt",
        "\\\\?\\C:\\Data\\a.txt",
    ],
)
def test_a_path_may_be_written_in_many_ways(path: str) -> None:
    course = windows(FILES)
    handle = opened(course, path)
    read = value(course, "guest-file-read", handle=handle)
    assert (base64.b64decode(read["buf-b64"]), read["count"]) == (b"hello", 5)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("C:\\Data\\b.txt", NO_FILE),
        ("C:\\Nowhere\\b.txt", NO_PATH),
        ("Q:\\b.txt", NO_PATH),
        ("C:\\Data", DENIED),
        # Seen under Wine, and in no recording here.
        ("", NO_PATH),
        # What the simulation itself keeps beside the drives.
        ("/dev/null", NO_PATH),
        ("C:\\Data\\a*", "The filename, directory name, or volume label syntax is incorrect."),
    ],
)
def test_a_file_that_cannot_be_opened(path: str, reason: str) -> None:
    text = f"failed to open file '{path}': {reason}"
    assert desc(windows(FILES), "guest-file-open", path=path) == text


def test_modes_are_fourteen_and_ab_is_not_among_them() -> None:
    course = windows(FILES)
    for mode in (
        *("r", "rb", "w", "wb", "a", "r+", "rb+"),
        *("r+b", "w+", "wb+", "w+b", "a+", "ab+", "a+b"),
    ):
        value(course, "guest-file-close", handle=opened(course, "C:\\Data\\b.txt", "w"))
        value(course, "guest-file-close", handle=opened(course, "C:\\Data\\b.txt", mode))
    for mode in ("ab", "x", ""):
        text = desc(course, "guest-file-open", path="C:\\Data\\b.txt", mode=mode)
        assert text == "invalid file open mode"


def test_others_may_read_a_file_and_not_write_it() -> None:
    course = windows(FILES)
    path = "C:\\Data\\a.txt"
    text = f"failed to open file '{path}': {SHARED}"
    reader = opened(course, path)
    value(course, "guest-file-close", handle=opened(course, path))
    assert desc(course, "guest-file-open", path=path, mode="r+") == text
    value(course, "guest-file-close", handle=reader)
    opened(course, path, "a")
    assert desc(course, "guest-file-open", path="c:\\data\\A.txt").endswith(SHARED)


def test_the_end_is_told_when_nothing_is_left() -> None:
    course = windows(FILES)
    handle = opened(course, "C:\\Data\\a.txt")
    first, second = (value(course, "guest-file-read", handle=handle, count=99) for _ in range(2))
    assert (first["count"], first["eof"]) == (5, False)
    assert (second["count"], second["eof"], second["buf-b64"]) == (0, True, "")


def test_writes_are_there_at_once() -> None:
    course = windows(FILES)
    writer = opened(course, "C:\\Data\\b.txt", "w")
    written = value(course, "guest-file-write", handle=writer, buf_b64="YWJj", count=2)
    assert written == {"count": 2, "eof": False}
    # No buffer of C's, so nothing has to be flushed.
    assert course.guest.files.read("/C:/Data/b.txt") == b"ab"
    assert value(course, "guest-file-flush", handle=writer) == {}
    assert desc(course, "guest-file-read", handle=writer) == f"failed to read file: {DENIED}"
    reader = opened(course, "C:\\Data\\a.txt")
    text = f"failed to write to file: {DENIED}"
    assert desc(course, "guest-file-write", handle=reader, buf_b64="YQ==") == text
    assert desc(course, "guest-file-flush", handle=reader) == f"failed to flush file: {DENIED}"
    wrong = "value '9' is invalid for argument count"
    assert desc(course, "guest-file-write", handle=writer, buf_b64="YQ==", count=9) == wrong


def test_reading_and_writing_may_follow_each_other() -> None:
    course = windows(FILES)
    handle = opened(course, "C:\\Data\\a.txt", "r+")
    value(course, "guest-file-read", handle=handle, count=1)
    value(course, "guest-file-write", handle=handle, buf_b64="WA==")
    assert course.guest.files.read("/C:/Data/a.txt") == b"hXllo"
    sought = value(course, "guest-file-seek", handle=handle, offset=-1, whence="end")
    assert sought == {"position": 4, "eof": False}
    text = "An attempt was made to move the file pointer before the beginning of the file."
    assert desc(course, "guest-file-seek", handle=handle, offset=-1, whence=0) == (
        f"failed to seek file: {text}"
    )
    assert (
        desc(course, "guest-file-seek", handle=handle, offset=0, whence=3)
        == "invalid whence code 3"
    )
    value(course, "guest-file-close", handle=handle)
    assert desc(course, "guest-file-close", handle=handle) == "handle '1000' has not been found"


def test_a_full_volume_and_a_read_only_one_say_so() -> None:
    course = windows(
        "mounts: [{device: /dev/sda2, path: 'C:\\'}, {device: /dev/sda1, path: 'D:\\', size: 1MiB, used: 1MiB}, "
        "{device: cd, path: 'E:\\', options: ro}]"
    )
    handle = opened(course, "D:\\a", "w")
    text = "failed to write to file: There is not enough space on the disk."
    assert desc(course, "guest-file-write", handle=handle, buf_b64="YQ==") == text
    text = "failed to open file 'E:\\a': The media is write protected."
    assert desc(course, "guest-file-open", path="E:\\a", mode="w") == text


# -- programs --------------------------------------------------------------------------------------

PROGRAMS: Final = (
    "programs: [{path: 'C:\\Windows\\System32\\tool.exe', args: [ok], stdout: 'fünf', stderr: e, encoding: cp850}, "
    "{path: 'C:\\Windows\\System32\\tool.exe', args: [crash], exit_code: 3221225477}, "
    "{path: 'C:\\Windows\\System32\\tool.exe', args: [fail], exit_code: 2147942402}, "
    "{path: 'C:\\Windows\\System32\\tool.exe', args: [hang], duration: 1h}, "
    "{path: 'D:\\bin\\own.cmd', exit_code: 300}], environment: {PATH: 'C:\\Windows;D:\\bin'}, mounts: "
    "[{device: /dev/sda2, path: 'C:\\'}, {device: /dev/sda1, path: 'D:\\'}]"
)


def run(course: Course, path: str, *arg: str, capture: Any = True) -> Any:
    pid = value(course, "guest-exec", path=path, arg=list(arg), capture_output=capture)["pid"]
    course.advance(1)
    return value(course, "guest-exec-status", pid=pid)


@pytest.mark.parametrize(
    "path", ["tool", "TOOL.EXE", "C:\\windows\\system32\\tool.exe", "tool.exe"]
)
def test_a_program_is_found_and_writes_in_its_code_page(path: str) -> None:
    status = run(windows(PROGRAMS), path, "ok")
    assert base64.b64decode(status["out-data"]) == b"f\x81nf"
    assert (status["exitcode"], base64.b64decode(status["err-data"])) == (0, b"e")


@pytest.mark.parametrize(
    ("path", "arg", "member", "number"),
    [
        # guest-exec-status keeps the code in C's int, and tells 64 bits of it.
        ("tool", ["crash"], "signal", 0xC0000005 - (1 << 32)),
        ("tool", ["fail"], "exitcode", 0x80070002 - (1 << 32)),
        ("own", [], "exitcode", 300),
    ],
)
def test_an_exit_code_has_32_bits_and_an_exception_is_a_signal(
    path: str, arg: list[str], member: str, number: int
) -> None:
    status = run(windows(PROGRAMS), path, *arg)
    assert {name: status[name] for name in ("exitcode", "signal") if name in status} == {
        member: number
    }


def test_a_program_that_is_ended_from_outside_has_exit_code_1() -> None:
    course = windows(PROGRAMS)
    pid = value(course, "guest-exec", path="tool", arg=["hang"])["pid"]
    course.advance(1)
    assert value(course, "guest-exec-status", pid=pid) == {"exited": False}
    course.guest.processes.kill(pid, 9)
    assert value(course, "guest-exec-status", pid=pid) == {"exited": True, "exitcode": 1}


@pytest.mark.parametrize(
    ("release", "text"),
    [
        (
            "7.2",
            "Guest agent command failed, error was 'Failed to execute child process (No such file or directory)'",
        ),
        ("11.1", "Failed to execute child process (No such file or directory)"),
    ],
)
@pytest.mark.parametrize("path", ["nope.exe", "/bin/sh", "echo", "C:\\Windows"])
def test_a_program_that_is_not_there(release: str, text: str, path: str) -> None:
    assert desc(windows(release=release), "guest-exec", path=path) == text


def test_streams_are_captured_one_by_one_and_never_merged() -> None:
    # The agent would die of it.
    course = windows(PROGRAMS, release="10.0", quirks="{windows_single_stream: off}")
    for _ in range(3):
        # What closes the agent's standard input on Linux is a file descriptor.
        assert "err-data" not in run(course, "tool", "ok", capture="stdout")
    assert set(run(course, "tool", "ok", capture="separated")) >= {"out-data", "err-data"}
    refused = course.say("guest-exec", path="tool", capture_output="merged")
    assert "does not accept value 'merged'" in refused["error"]["desc"]
    old = windows(PROGRAMS).say("guest-exec", path="tool", capture_output="stdout")
    assert old["error"]["desc"] == "Invalid parameter type for 'capture-output', expected: boolean"


# -- accounts --------------------------------------------------------------------------------------


def test_a_password_is_set_in_the_clear() -> None:
    course = windows()
    for release, text in (("7.2", UNSUPPORTED), ("11.1", "'crypted' must be off on this host")):
        other = windows(release=release)
        said = desc(other, "guest-set-user-password", username="x", password="YQ==", crypted=True)
        assert said == text
    given = {"password": base64.b64encode("gehe\u00edm".encode()).decode(), "crypted": False}
    assert value(course, "guest-set-user-password", username="administrator", **given) == {}
    assert course.guest.passwords == {"Administrator": "gehe\u00edm"}
    text = desc(course, "guest-set-user-password", username="nobody", **given)
    assert text == "failed to set password: The user name could not be found."
    text = desc(course, "guest-set-user-password", username="x", password="/w==", crypted=False)
    assert text == (
        "Guest agent command failed, error was 'Invalid byte sequence in conversion input'"
    )


ADMINS: Final = "C:\\ProgramData\\ssh\\administrators_authorized_keys"
KEYS: Final = 'users: {Administrator: {is_admin: true, authorized_keys: "# ours\\nssh-rsa A"}, other: {is_admin: true}, bob: {}}'


def test_administrators_share_their_keys() -> None:
    course = windows(KEYS, release="9.1")
    added = {"username": "other", "keys": ["ssh-ed25519 B", "ssh-rsa A"]}
    assert value(course, "guest-ssh-add-authorized-keys", **added) == {}
    keys = value(course, "guest-ssh-get-authorized-keys", username="Administrator")
    assert keys == {"keys": ["ssh-ed25519 B", "ssh-rsa A"]}
    shared = course.guest.inner_path(ADMINS)
    assert course.guest.files.read(shared) == b"# ours\nssh-rsa A\nssh-ed25519 B"
    removed = {"username": "other", "keys": ["ssh-rsa A"]}
    assert value(course, "guest-ssh-remove-authorized-keys", **removed) == {}
    assert course.guest.files.read(shared) == b"# ours\nssh-ed25519 B"


def test_a_user_has_a_file_of_keys_in_the_profile() -> None:
    course = windows(KEYS, release="9.1")
    path = "C:\\Users\\bob\\.ssh\\authorized_keys"
    missing = f"Failed to open file \u201c{path}\u201d: No such file or directory"
    for command, more in (("get", {}), ("remove", {"keys": ["ssh-rsa A"]})):
        text = desc(course, f"guest-ssh-{command}-authorized-keys", username="bob", **more)
        assert text == f"failed to read '{path}': {missing}"
    reset = {"username": "bob", "keys": ["ssh-rsa C"], "reset": True}
    assert value(course, "guest-ssh-add-authorized-keys", **reset) == {}
    assert course.guest.files.read("/C:/Users/bob/.ssh/authorized_keys") == b"ssh-rsa C"
    said = desc(course, "guest-ssh-get-authorized-keys", username="nobody")
    assert said == "User nobody was not found"


def test_a_user_without_a_profile_gets_no_keys() -> None:
    course = windows("users: {bob: {has_home: false}}", release="9.1")
    text = desc(course, "guest-ssh-add-authorized-keys", username="bob", keys=["ssh-rsa A"])
    assert text == f"failed to create directory C:\\Users\\bob\\.ssh: {NO_PATH}"


# -- settings --------------------------------------------------------------------------------------


def test_a_guest_of_which_only_windows_is_said_is_a_whole_one() -> None:
    course = Course("qgasim: 1\nguest: {os: {family: windows}}")
    info = value(course, "guest-get-osinfo")
    assert (info["version"], info["pretty-name"]) == ("Microsoft Windows 10", "Windows 10 Pro")
    assert [s["mountpoint"] for s in value(course, "guest-get-fsinfo")] == ["C:\\"]
    handle = opened(course, "C:\\Windows\\Temp\\x", "w")
    assert handle == 1000


def test_a_reboot_leaves_the_drives_where_they_were() -> None:
    course = windows(
        "mounts: [{device: /dev/sda2, path: 'C:\\'}, {device: /dev/sda1, path: 'C:\\Data\\'}]"
    )
    handle = opened(course, "C:\\Data\\kept.txt", "w")
    value(course, "guest-file-write", handle=handle, buf_b64="YQ==")
    course.say("guest-shutdown", mode="reboot")
    course.advance(60)
    handle = opened(course, "C:\\Data\\kept.txt")
    assert value(course, "guest-file-read", handle=handle)["count"] == 1
    assert [mount.path for mount in course.guest.files.mounts] == ["/", "/C:", "/C:/Data"]


#: What is wrong in a guest's settings, and where.
WRONG: list[tuple[str, str]] = [
    (
        "{os: {family: windows, kernel_version: new}}",
        "guest.os.kernel_version: expected Windows' version as in '10.0', found 'new'",
    ),
    (
        "{os: {family: windows, kernel_release: 22H2}}",
        "guest.os.kernel_release: expected Windows' build as in '20348', found '22H2'",
    ),
    (
        "{os: {family: windows}, mounts: [{device: x, path: /}]}",
        "guest.mounts: expected one to have the path C:\\",
    ),
    (
        "{os: {family: windows}, mounts: [{device: x, path: 'C:\\'}, {device: y, path: /d}]}",
        "guest.mounts[1].path: expected a path of Windows as in 'D:\\', found '/d'",
    ),
    (
        "{os: {family: windows}, mounts: [{device: x, path: 'C:\\'}, {device: x, path: 'D:\\'}]}",
        "guest.mounts[1].device: there is a volume on 'x' already",
    ),
    (
        "{mounts: [{device: x, path: /}, {device: y, path: 'D:\\'}]}",
        "guest.mounts[1].path: expected an absolute path, found 'D:\\'",
    ),
    (
        "{devices: [{name: a, pci_id: 1af4:1041, version: 1, date: 0}]}",
        "guest.devices: has no effect on a guest without Windows",
    ),
    (
        "{os: {family: windows}, devices: [{name: a, pci_id: '1041', version: 1, date: 0}]}",
        "guest.devices[0].pci_id: not a PCI device: '1041' (expected one as in 1af4:1041)",
    ),
    (
        "{os: {family: windows}, mounts: [{device: x, path: 'C:\\', volume: c}]}",
        "guest.mounts[0].volume: not a GUID: 'c' (expected five groups of hex digits)",
    ),
    (
        "{programs: [{path: /bin/x, encoding: cp-none}]}",
        "guest.programs[0].encoding: cannot write the output in 'cp-none' (expected one as in cp850)",
    ),
    (
        "{programs: [{path: /bin/x, stdout: \u0431, encoding: cp850}]}",
        "guest.programs[0].encoding: cannot write the output in 'cp850' (expected one as in cp850)",
    ),
]


@pytest.mark.parametrize(("guest", "text"), WRONG)
def test_what_is_wrong_with_a_windows_guest_is_said(guest: str, text: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        loads(f"qgasim: 1\nguest: {guest}").build()
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["windows-11", "windows-server-2022", "virtio-win-109"])
def test_the_shipped_windows_guests_are_told_by_settings_not_by_stubs(name: str) -> None:
    assert load(name).replies == []


def test_an_agent_of_virtio_win_says_its_own_version() -> None:
    for name, version, release in (
        ("virtio-win-107", "107.0.1", (8, 2)),
        ("virtio-win-109", "109.0.0", (9, 1)),
    ):
        course = Course(name)
        assert value(course, "guest-info")["version"] == version
        assert course.agent.dialect.version == release
        assert json.dumps(value(course, "guest-get-osinfo")).count("2022") == 2 + 1
