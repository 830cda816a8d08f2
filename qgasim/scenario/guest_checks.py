"""What must hold of a guest besides types: of each part of it, and of what several say together."""

import base64
import binascii
import math
import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, Final

from msgspec import Struct

from qgasim.guest.hardware.devices import (
    BLOCK_LIMIT,
    CpuTimes,
    Disk,
    DiskStats,
    Driver,
    Memory,
    NvmeSmart,
    Partition,
    Vcpu,
)
from qgasim.guest.hardware.network import Counters, Nic, parse_address
from qgasim.guest.settings import (
    ClockSettings,
    FileSettings,
    GuestSettings,
    MountSettings,
    errors_of,
)
from qgasim.guest.system.accounts import Account
from qgasim.guest.system.clock import find_zone
from qgasim.scenario.checks import Wrong, checks, fields_of, join
from qgasim.scenario.fill import AUTO, SYSTEM_USERS, count_up, counted, counts, in_order
from qgasim.scenario.mount_checks import check_depends, check_devices, check_shared_devices
from qgasim.scenario.windows_checks import (
    PCI_ID,
    VOLUME,
    WINDOWS_PATH,
    check_open_errors,
    check_windows,
)
from qgasim.suggestions import did_you_mean

__all__ = [
    "NIC_LIMIT",
    "check_address",
    "check_owners",
    "check_path",
    "check_place",
    "check_range",
]

#: More than Linux can have.
VCPU_LIMIT: Final = 8192
#: A year in half a minute.
RATE_LIMIT: Final = 1_000_000
NIC_LIMIT: Final = 10_000
#: The number after it is -1, which means no user.
ID_LIMIT: Final = (1 << 32) - 2
#: What the kernel takes: NAME_MAX, PATH_MAX, HOST_NAME_MAX.
NAME_LIMIT: Final = 255
PATH_LIMIT: Final = 4095
HOST_NAME_LIMIT: Final = 64
_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_CCW: Final = re.compile(r"[0-9a-f]{1,2}\.[0-3]\.[0-9a-f]{4}/[0-9a-f]{1,2}\.[0-3]\.[0-9a-f]{4}")
_PCI: Final = re.compile(r"[0-9a-fA-F]{1,8}:[0-9a-fA-F]{1,2}:[0-9a-fA-F]{1,2}\.[0-7]")


def _given(value: Struct, *names: str) -> list[str]:
    return [name for name in names if getattr(value, name) is not None]


def _twice(names: Iterable[str], path: str, what: str) -> Wrong:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in seen:
            yield path.format(index), f"{what} '{name}' twice (first in entry {seen[name]})"
        seen.setdefault(name, index)


def check_range(value: Struct, name: str, least: int, most: int) -> Wrong:
    """Check that a field, if it is given, is between two numbers."""
    found = getattr(value, name)
    if found is not None and not least <= found <= most:
        yield name, f"expected from {least} to {most}, found {found}"


def _is_absolute(path: str) -> bool:
    """Return whether a path begins at a root: Windows' have a letter."""
    return path.startswith("/") or WINDOWS_PATH.fullmatch(path) is not None


def check_path(path: str, at: str) -> Wrong:
    """Check that a path of the guest is absolute, and not too long."""
    if not _is_absolute(path):
        yield at, f"expected an absolute path, found '{path}'"
    elif "\0" in path:
        yield at, f"a path cannot contain NUL: '{path}'"
    elif len(path.encode("utf-8", "surrogateescape")) > PATH_LIMIT:
        yield at, f"expected at most {PATH_LIMIT} bytes, found '{path}'"
    else:
        for part in path.split("/"):
            yield from _name(part, at)


def _name(name: str, at: str) -> Wrong:
    if len(name.encode("utf-8", "surrogateescape")) > NAME_LIMIT:
        yield at, f"expected names of at most {NAME_LIMIT} bytes, found '{name}'"


# -- single Structs --------------------------------------------------------------------------------


@checks(CpuTimes)
@checks(DiskStats)
@checks(NvmeSmart)
@checks(Counters)
def _check_counters(counters: Struct) -> Wrong:
    """Check what the kernel counts in 64 bits."""
    for field in fields_of(type(counters)):
        yield from check_range(counters, field.name, 0, (1 << 64) - 1)


@checks(ClockSettings)
def _check_clock(clock: ClockSettings) -> Wrong:
    if not 0 < clock.rate <= RATE_LIMIT:
        yield "rate", f"expected above 0 and at most {RATE_LIMIT}, found {clock.rate}"
    if not abs(clock.drift) < 1_000_000:
        yield "drift", f"expected less than a million either way, found {clock.drift}"
    if clock.zone is not None and find_zone(clock.zone) is None:
        yield "zone", f"no such time zone: '{clock.zone}' (expected a name as in Europe/Prague)"


@checks(Nic)
def _check_nic(nic: Nic) -> Wrong:
    if not 1 <= nic.count <= NIC_LIMIT:
        yield "count", f"expected from 1 to {NIC_LIMIT}, found {nic.count}"
        return
    if nic.count > 1 and not counts(nic.name):
        yield "name", f"expected {{i}} in the name of {nic.count} interfaces, found '{nic.name}'"
    if not re.fullmatch(r"[^\0\n]+", nic.name):
        yield "name", f"not a name: '{nic.name}'"
    yield from check_range(nic, "mtu", 0, (1 << 31) - 1)
    if nic.vlan is not None:
        for _, text in check_range(nic.vlan, "id", 1, 4094):
            yield "vlan.id", text
    kinds = [name for name in ("vlan", "bond", "bridge") if getattr(nic, name)]
    if len(kinds) > 1:
        yield kinds[1], f"'{kinds[0]}' and '{kinds[1]}' are mutually exclusive"
    for key, value in (("mac", nic.mac), ("permanent_mac", nic.permanent_mac)):
        for number, mac in counted(value or AUTO, nic.count):
            if mac != AUTO and not _MAC.fullmatch(mac):
                which = f", of the interface {number}" if counts(value or "") and number else ""
                yield key, f"not a MAC address: '{mac}'{which} (expected six hex pairs)"
                break
    for index, address in enumerate(nic.addresses):
        yield from check_address(address, nic.count, f"addresses[{index}]")
    for index, gateway in enumerate(nic.gateways):
        try:
            ip_address(gateway)
        except ValueError:
            text = f"not an address: '{gateway}' (expected one as in 192.0.2.1 or fe80::1)"
            yield f"gateways[{index}]", text


def check_address(address: str, count: int, at: str) -> Wrong:
    """Look for what is no address with its prefix length, of *count* interfaces."""
    for number, one in counted(address, count):
        try:
            if one != AUTO:
                parse_address(one)
        except ValueError:
            which = f", of the interface {number}" if number else ""
            text = f"not an address: '{one}'{which} (expected one as in 192.0.2.7/24 or fe80::1/64)"
            yield at, text
            return


@checks(Disk)
def _check_disk(disk: Disk) -> Wrong:
    if disk.pci is not None and not _PCI.fullmatch(disk.pci):
        yield "pci", f"not a PCI address: '{disk.pci}' (expected one as in 0000:00:06.0)"
    if disk.ccw is not None:
        if not _CCW.fullmatch(disk.ccw):
            text = "expected a subchannel and a device, as in 0.0.0004/0.0.0000"
            yield "ccw", f"not a CCW address: '{disk.ccw}' ({text})"
        if disk.pci is not None:
            yield "ccw", "'pci' and 'ccw' are mutually exclusive"
    yield from _check_device_name(disk)
    if disk.alias is not None and not _is_device_name(disk.alias):
        yield "alias", f"not the name of a device: '{disk.alias}' (expected one as in vg0-root)"
    for name in ("channel", "target", "unit", "minor"):
        yield from check_range(disk, name, 0, (1 << 20) - 1)
    yield from check_range(disk, "major", 0, (1 << 12) - 1)


@checks(Partition)
def _check_device_name(device: Disk | Partition) -> Wrong:
    if not _is_device_name(device.name):
        yield "name", f"not the name of a device: '{device.name}' (expected one as in vda or vda1)"


def _is_device_name(name: str) -> bool:
    return re.fullmatch(rf"[^/\0\s]{{1,{NAME_LIMIT}}}", name) is not None


@checks(Driver)
def _check_driver(driver: Driver) -> Wrong:
    if not PCI_ID.fullmatch(driver.pci_id):
        yield "pci_id", f"not a PCI device: '{driver.pci_id}' (expected one as in 1af4:1041)"


@checks(Memory)
def _check_memory(memory: Memory) -> Wrong:
    if memory.block_size <= 0 or memory.size // memory.block_size > BLOCK_LIMIT:
        yield "block_size", f"expected at least 1/{BLOCK_LIMIT} of size"
    yield from _twice((str(b.index) for b in memory.blocks), "blocks[{}].index", "the index")
    for index, block in enumerate(memory.blocks):
        for _, text in check_range(block, "index", 0, (1 << 32) - 1):
            yield f"blocks[{index}].index", text


@checks(Vcpu)
def _check_vcpu(vcpu: Vcpu) -> Wrong:
    yield from check_range(vcpu, "id", 0, VCPU_LIMIT - 1)


@checks(Account)
def _check_account(account: Account) -> Wrong:
    for name in ("uid", "gid"):
        yield from check_range(account, name, 0, ID_LIMIT)
    for name in ("home", "shell", "password", "comment"):
        text = getattr(account, name)
        if text is not None and re.search(r"[\n\0]", text):
            yield name, f"expected one line, found '{text}'"


@checks(MountSettings)
def _check_mount(mount: MountSettings) -> Wrong:
    for name in ("path", "bind"):
        path = getattr(mount, name)
        # Windows has volumes without a path.
        if path:
            yield from check_path(path, name)
    if mount.volume is not None and not VOLUME.fullmatch(mount.volume):
        yield "volume", f"not a GUID: '{mount.volume}' (expected five groups of hex digits)"
    if mount.block_size < 512 or mount.block_size & (mount.block_size - 1):
        yield "block_size", f"expected a power of two from 512, found {mount.block_size}"
    for name in ("freeze_error", "trim_error"):
        failure = getattr(mount, name)
        if failure is not None and not any(errors_of(failure)):
            yield name, "expected the error of a call"
    if mount.used_bytes > mount.size:
        at = "used" if isinstance(mount.used, int) else "used.exactly"
        yield at, f"expected at most the size, {mount.size}, found {mount.used_bytes}"


_CONTENTS: Final = ("text", "base64", "size", "symlink", "entries", "source", "kind")


@checks(FileSettings)
def _check_file(file: FileSettings) -> Wrong:
    contents = _given(file, *_CONTENTS)
    if len(contents) > 1 and set(contents) != {"entries", "kind"}:
        yield contents[1], f"'{contents[0]}' and '{contents[1]}' are mutually exclusive"
    for name in ("base64", "fill_base64"):
        text = getattr(file, name)
        if text is not None and not _is_base64(text):
            yield name, "not base64"
    fills = _given(file, "fill", "fill_base64")
    if fills and file.size is None:
        yield fills[0], "has no effect without 'size'"
    if len(fills) > 1:
        yield fills[1], f"'{fills[0]}' and '{fills[1]}' are mutually exclusive"
    for name in fills:
        if not getattr(file, name):
            yield name, "expected a byte or more"
    if file.owner is not None and not re.fullmatch("[^:]+(:[^:]+)?", file.owner):
        yield "owner", f"not an owner: '{file.owner}' (expected one as in alice or 1000:1000)"
    if file.mode is not None and not re.fullmatch("[0-7]{1,5}", file.mode):
        yield "mode", f"not a mode: '{file.mode}' (expected octal digits as in \"0644\")"
    for name in file.entries or {}:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            yield f"entries.{name}", f"not a name: '{name}' (expected one without '/')"
        yield from _name(name, f"entries.{name}")
    if file.symlink is not None:
        if not file.symlink or "\0" in file.symlink:
            yield "symlink", f"not a path: '{file.symlink}'"
        for name in _given(file, "mode", "owner", "mtime"):
            yield name, "has no effect on a symbolic link"


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


# -- what several say together ---------------------------------------------------------------------


@checks(GuestSettings, "hostname", "os.family")
def _check_hostname(guest: GuestSettings) -> Wrong:
    name = guest.hostname
    if name is None:
        return
    if not name or re.search(r"[\0\s]", name):
        yield "hostname", f"not a host name: '{name}'"
    elif guest.os.family == "linux" and len(name.encode()) > HOST_NAME_LIMIT:
        yield "hostname", f"expected at most {HOST_NAME_LIMIT} bytes, found '{name}'"


@checks(GuestSettings, "load")
def _check_load(guest: GuestSettings) -> Wrong:
    for index, load in enumerate(guest.load):
        if not (math.isfinite(load) and load >= 0):
            yield f"load[{index}]", f"expected 0 or more, found {load}"


@checks(GuestSettings, "environment")
def _check_environment(guest: GuestSettings) -> Wrong:
    for name, value in guest.environment.items():
        if not name or "=" in name or "\0" in name + value:
            yield f"environment.{name}", f"not a variable: '{name}' (expected a name without '=')"


@checks(GuestSettings, "vcpus")
def _check_vcpus(guest: GuestSettings) -> Wrong:
    if not isinstance(guest.vcpus, int):
        if not 1 <= len(guest.vcpus) <= VCPU_LIMIT:
            yield "vcpus", f"expected from 1 to {VCPU_LIMIT}, found {len(guest.vcpus)}"
        yield from _twice((str(cpu.id) for cpu in guest.vcpus), "vcpus[{}].id", "the id")
    elif not 1 <= guest.vcpus <= VCPU_LIMIT:
        yield "vcpus", f"expected from 1 to {VCPU_LIMIT}, found {guest.vcpus}"


@checks(GuestSettings, "memory")
def _check_size_of_memory(guest: GuestSettings) -> Wrong:
    if isinstance(guest.memory, int):
        most = BLOCK_LIMIT * Memory().block_size
        if guest.memory > most:
            text = f"expected at most {most >> 40}TiB in blocks of 128MiB (give a block_size)"
            yield "memory", text


@checks(GuestSettings, "users", "os.family")
def _check_users(guest: GuestSettings) -> Wrong:
    for name, account in guest.users.items():
        if not re.fullmatch(r"[^:/\0\n]+", name):
            yield f"users.{name}", f"not a user's name: '{name}'"
        if guest.os.family == "windows":
            continue
        for key in ("home", "shell", "password", "comment"):
            if ":" in (getattr(account, key) or ""):
                yield (
                    f"users.{name}.{key}",
                    "cannot contain ':', which separates fields in /etc/passwd",
                )


@checks(GuestSettings, "nics")
def _check_nics(guest: GuestSettings) -> Wrong:
    names: dict[str, int] = {}
    seen: dict[str, str] = {}
    for number, nic in enumerate(guest.nics):
        if nic.count > NIC_LIMIT:
            # Told already; to count so far would take for ever.
            continue
        for _, name in counted(nic.name, nic.count):
            if name in names:
                text = f"the name '{name}' twice (first in entry {names[name]})"
                yield f"nics[{number}].name", text
                break
            names[name] = number
        for index, address in enumerate(nic.addresses):
            for count, one in counted(address, nic.count):
                ip = one.partition("/")[0]
                if ip in seen and not _may_repeat(ip):
                    yield f"nics[{number}].addresses[{index}]", f"{seen[ip]} has {ip} already"
                    break
                seen.setdefault(ip, count_up(nic.name, count))


@checks(GuestSettings, "nics")
def _check_parts_of_nics(guest: GuestSettings) -> Wrong:
    if not any(nic.is_made_of_others for nic in guest.nics):
        return
    if any(nic.count > NIC_LIMIT for nic in guest.nics):
        # Told already.
        return
    known = {name for nic in guest.nics for _, name in counted(nic.name, nic.count)}
    for number, nic in enumerate(guest.nics):
        places = [("vlan.on", nic.vlan.on)] if nic.vlan else []
        for key in ("bond", "bridge"):
            places += [(f"{key}[{i}]", name) for i, name in enumerate(getattr(nic, key))]
        for at, name in places:
            missing = next((n for _, n in counted(name, nic.count) if n not in known), None)
            if missing is not None:
                hint = did_you_mean(missing, known)
                yield f"nics[{number}].{at}", f"no interface is called '{missing}'{hint}"
    masters: dict[str, str] = {}
    for number, nic in enumerate(guest.nics):
        for count, owner in counted(nic.name, nic.count):
            for key, name in [("bond", n) for n in nic.bond] + [("bridge", n) for n in nic.bridge]:
                part = count_up(name, count)
                if masters.setdefault(part, owner) != owner:
                    yield f"nics[{number}].{key}", f"'{part}' is part of '{masters[part]}' already"
    done = {nic.name for nic in in_order(guest.nics)}
    for number, nic in enumerate(guest.nics):
        if nic.name not in done:
            yield f"nics[{number}]", f"'{nic.name}' is made of interfaces that are made of it"


def _may_repeat(ip: str) -> bool:
    """Return whether an address is no interface's own: made up later, or link-local."""
    try:
        return ip_address(ip).is_link_local
    except ValueError:
        return True


checks(GuestSettings, "os", "mounts", "devices")(check_windows)
checks(GuestSettings, "os", "mounts")(check_open_errors)


@checks(GuestSettings, "disks")
def _check_disks(guest: GuestSettings) -> Wrong:
    yield from _twice((disk.name for disk in guest.disks), "disks[{}].name", "the name")
    names = {disk.name for disk in guest.disks}
    for index, disk in enumerate(guest.disks):
        for number, part in enumerate(disk.partitions):
            if part.name in names:
                at = f"disks[{index}].partitions[{number}].name"
                yield at, f"the name '{part.name}' twice"
            names.add(part.name)


checks(GuestSettings, "disks")(check_depends)
checks(GuestSettings, "mounts", "disks")(check_devices)
checks(GuestSettings, "mounts", "os.family")(check_shared_devices)


@checks(GuestSettings, "mounts", "os.family")
def _check_mount_points(guest: GuestSettings) -> Wrong:
    if guest.os.family == "windows":
        # Its volumes are listed in any order.
        if not any(mount.path.upper() == "C:\\" and mount.bind is None for mount in guest.mounts):
            yield "mounts", "expected one to have the path C:\\"
    elif not guest.mounts or guest.mounts[0].path != "/":
        yield "mounts", "expected the first to have the path /"
    elif guest.mounts[0].bind is not None:
        yield "mounts[0].bind", "expected a file system of its own at /"


@checks(GuestSettings, "files", "users")
def _check_files(guest: GuestSettings) -> Wrong:
    for path, file in guest.files.items():
        yield from check_place(path, join("files", path))
        yield from check_owners(file, join("files", path), set(guest.users))


def check_place(path: str, at: str) -> Wrong:
    """Look for what is wrong with *path*, as the place of a file."""
    yield from check_path(path, at)
    if path.strip("/") == "":
        yield at, "the root is there already (name what is in it)"


def check_owners(file: Any, path: str, users: set[str]) -> Wrong:
    """Yield what is wrong with the owners of *file*, and of what is in it: each must be one of *users*."""
    if not isinstance(file, FileSettings):
        return
    if file.owner is not None and file.owner.count(":") < 2:
        known = users or SYSTEM_USERS
        for name in file.owner.split(":"):
            if name.isdecimal():
                if int(name) > ID_LIMIT:
                    yield join(path, "owner"), f"expected at most {ID_LIMIT}, found {name}"
            elif name not in known:
                yield join(path, "owner"), f"there is no user '{name}'{did_you_mean(name, known)}"
    for name, entry in (file.entries or {}).items():
        yield from check_owners(entry, f"{path}.entries.{name}", users)
