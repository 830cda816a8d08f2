"""What must hold besides types: checks of single Structs, and of what several say together.

Each check gives the path of what is wrong, below the Struct that it looks at, and what is wrong. The
same checks serve YAML, where the path leads to a place in a file, and Python.
"""

import base64
import binascii
import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final, TypeAlias, cast

import msgspec
from msgspec import Struct

from qgasim.guest.clock import find_zone
from qgasim.guest.devices import BLOCK_LIMIT, Disk, Driver, Memory
from qgasim.guest.network import Nic, parse_address
from qgasim.guest.settings import (
    ClockSettings,
    FileSettings,
    GuestSettings,
    MountSettings,
    ProgramSettings,
)
from qgasim.matching import Match, compile_match
from qgasim.scenario.windows_checks import (
    PCI_ID,
    VOLUME,
    WINDOWS_PATH,
    check_encoding,
    check_windows,
)
from qgasim.stubs import Reply, Stub

__all__ = [
    "CHECKS",
    "Wrong",
    "check",
    "check_struct",
    "checks",
    "count_up",
    "did_you_mean",
    "fields_of",
    "join",
]

Wrong: TypeAlias = Iterator[tuple[str, str]]

#: More than Linux can have.
VCPU_LIMIT: Final = 8192
#: A year in half a minute.
RATE_LIMIT: Final = 1_000_000
NIC_LIMIT: Final = 10_000
_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_PCI: Final = re.compile(r"[0-9a-fA-F]{1,8}:[0-9a-fA-F]{1,2}:[0-9a-fA-F]{1,2}\.[0-7]")
_COUNTED: Final = re.compile(r"\{i(:[0-9]*[dxX])?\}")


CHECKS: Final[dict[type, Callable[[Any], Wrong]]] = {}


def checks(cls: type) -> Callable[[Callable[[Any], Wrong]], Callable[[Any], Wrong]]:
    """Register a function as the check of the Struct *cls*."""

    def register(function: Callable[[Any], Wrong]) -> Callable[[Any], Wrong]:
        CHECKS[cls] = function
        return function

    return register


def join(path: str, inner: str) -> str:
    """Put a path below another: ``guest.nics`` and ``[2].mac``."""
    return f"{path}.{inner}" if path and inner and not inner.startswith("[") else path + inner


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give a hint that ends an error message; nothing if *name* resembles none of *known*."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def check_struct(value: Struct) -> Wrong:
    """Check one Struct; those inside it are not looked at again."""
    for cls in type(value).__mro__:
        if cls in CHECKS:
            yield from CHECKS[cls](value)


def check(value: Any, path: str = "") -> Wrong:
    """Check *value* and everything in it."""
    if isinstance(value, Struct):
        for inner, text in check_struct(value):
            yield join(path, inner), text
        for field in fields_of(type(value)):
            yield from check(getattr(value, field.name), join(path, field.encode_name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from check(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield from check(item, join(path, key))


@lru_cache(maxsize=256)
def fields_of(cls: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Give the fields of a Struct."""
    return msgspec.structs.fields(cls)


def _given(value: Struct, *names: str) -> list[str]:
    return [name for name in names if getattr(value, name) is not None]


def _twice(names: Iterable[str], path: str, what: str) -> Wrong:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in seen:
            yield path.format(index), f"{what} '{name}' twice (first in entry {seen[name]})"
        seen.setdefault(name, index)


# -- single Structs --------------------------------------------------------------------------------


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
    if nic.count > 1 and not _COUNTED.search(nic.name):
        yield "name", f"expected {{i}} in the name of {nic.count} interfaces, found '{nic.name}'"
    mac = count_up(nic.mac, 0) if nic.mac else None
    if mac is not None and mac != "auto" and not _MAC.fullmatch(mac):
        yield "mac", f"not a MAC address: '{nic.mac}' (expected six hex pairs)"
    for index, address in enumerate(nic.addresses):
        if address == "auto":
            continue
        try:
            parse_address(count_up(address, 0))
        except ValueError:
            text = f"not an address: '{address}' (expected one as in 192.0.2.7/24 or fe80::1/64)"
            yield f"addresses[{index}]", text


def count_up(text: str, number: int) -> str:
    """Put *number* in place of ``{i}`` in *text*."""
    return _COUNTED.sub(lambda match: match[0].format(i=number), text)


@checks(Disk)
def _check_disk(disk: Disk) -> Wrong:
    if disk.pci is not None and not _PCI.fullmatch(disk.pci):
        yield "pci", f"not a PCI address: '{disk.pci}' (expected one as in 0000:00:06.0)"


@checks(Driver)
def _check_driver(driver: Driver) -> Wrong:
    if not PCI_ID.fullmatch(driver.pci_id):
        yield "pci_id", f"not a PCI device: '{driver.pci_id}' (expected one as in 1af4:1041)"


@checks(Memory)
def _check_memory(memory: Memory) -> Wrong:
    if memory.block_size <= 0 or memory.size // memory.block_size > BLOCK_LIMIT:
        yield "block_size", f"expected at least 1/{BLOCK_LIMIT} of size"
    yield from _twice((str(b.index) for b in memory.blocks), "blocks[{}].index", "the index")


@checks(MountSettings)
def _check_mount(mount: MountSettings) -> Wrong:
    for name in ("path", "bind"):
        path = getattr(mount, name)
        if path and not (path.startswith("/") or WINDOWS_PATH.fullmatch(path)):
            yield name, f"expected an absolute path, found '{path}'"
    if mount.volume is not None and not VOLUME.fullmatch(mount.volume):
        yield "volume", f"not a GUID: '{mount.volume}' (expected five groups of hex digits)"
    if mount.block_size < 512 or mount.block_size & (mount.block_size - 1):
        yield "block_size", f"expected a power of two from 512, found {mount.block_size}"
    if mount.used > mount.size:
        yield "used", f"expected at most the size, {mount.size}, found {mount.used}"


_CONTENTS: Final = ("text", "base64", "size", "symlink", "entries", "source", "kind")


@checks(FileSettings)
def _check_file(file: FileSettings) -> Wrong:
    contents = _given(file, *_CONTENTS)
    if len(contents) > 1 and set(contents) != {"entries", "kind"}:
        yield contents[1], f"there is '{contents[0]}' already (expected one of the two)"
    for name in ("base64", "fill_base64"):
        text = getattr(file, name)
        if text is not None and not _is_base64(text):
            yield name, "not base64"
    fills = _given(file, "fill", "fill_base64")
    if fills and file.size is None:
        yield fills[0], "nobody reads this without 'size'"
    if len(fills) > 1:
        yield fills[1], "there is 'fill' already (expected one of the two)"
    for name in fills:
        if not getattr(file, name):
            yield name, "expected a byte or more"
    if file.owner is not None and not re.fullmatch("[^:]+(:[^:]+)?", file.owner):
        yield "owner", f"not an owner: '{file.owner}' (expected one as in alice or 1000:1000)"
    if file.mode is not None and not re.fullmatch("[0-7]{1,5}", file.mode):
        yield "mode", f"not a mode: '{file.mode}' (expected octal digits as in \"0644\")"
    if file.symlink is not None:
        for name in _given(file, "mode", "owner", "mtime"):
            yield name, "nobody reads this of a symbolic link"


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


@checks(ProgramSettings)
def _check_program(program: ProgramSettings) -> Wrong:
    if not program.path.startswith("/") and program.path[1:2] != ":":
        yield "path", f"expected an absolute path, found '{program.path}'"
    if program.signal is not None and not 1 <= program.signal <= 64:
        yield "signal", f"expected from 1 to 64, found {program.signal}"
    yield from check_encoding(program)
    if program.signal is not None and program.exit_code:
        yield "exit_code", "nobody reads this of a program that a signal ends"


@checks(Reply)
def _check_reply(reply: Reply) -> Wrong:
    given = [n for n in ("error", "raw") if getattr(reply, n) is not None]
    if reply.reply is not msgspec.UNSET:
        given.insert(0, "reply")
    if isinstance(reply, Stub) and reply.in_turn:
        given.append("in_turn")
    if not given:
        what = "reply, error, raw or in_turn" if isinstance(reply, Stub) else "reply, error or raw"
        yield "", f"no answer is given (expected {what})"
    elif len(given) > 1:
        yield given[1], f"there is '{given[0]}' already (expected one of the two)"
    if reply.raw is not None and any(ord(character) > 0xFF for character in reply.raw):
        yield "raw", "a character above U+00FF is not a byte"
    if reply.times is not None and reply.times < 1:
        yield "times", f"expected 1 or more, found {reply.times}"


@checks(Stub)
def _check_stub(stub: Stub) -> Wrong:
    try:
        compile_match(stub.on)
    except ValueError as error:
        yield "on", str(error)
    name = stub.on.command if isinstance(stub.on, Match) else stub.on
    if stub.adds and not re.fullmatch("[A-Za-z0-9_.-]+", name):
        yield "on", f"not the name of a command that could be added: '{name}'"
    if stub.in_turn and stub.times is not None:
        yield "times", "nobody reads this beside 'in_turn' (its entries have their own)"
    for index, reply in enumerate(stub.in_turn[:-1]):
        if reply.times is None:
            continue
        if reply.times > 1_000_000:
            yield f"in_turn[{index}].times", f"expected at most 1000000, found {reply.times}"


# -- what several say together ---------------------------------------------------------------------


@checks(GuestSettings)
def _check_guest(guest: GuestSettings) -> Wrong:
    if isinstance(guest.vcpus, int):
        if not 1 <= guest.vcpus <= VCPU_LIMIT:
            yield "vcpus", f"expected from 1 to {VCPU_LIMIT}, found {guest.vcpus}"
    else:
        yield from _twice((str(cpu.id) for cpu in guest.vcpus), "vcpus[{}].id", "the id")
    yield from _check_nics(guest.nics)
    yield from _twice((disk.name for disk in guest.disks), "disks[{}].name", "the name")
    yield from check_windows(guest)
    yield from _check_mounts(guest)
    for path, file in guest.files.items():
        if not path.startswith("/") and path[1:2] != ":":
            yield join("files", path), f"expected an absolute path, found '{path}'"
        yield from _check_owners(file, join("files", path), set(guest.users))


def _check_nics(nics: list[Nic]) -> Wrong:
    yield from _twice((nic.name for nic in nics), "nics[{}].name", "the name")
    seen: dict[str, str] = {}
    for number, nic in enumerate(nics):
        for index, address in enumerate(nic.addresses):
            ip = address.partition("/")[0]
            if ip in seen and not _may_repeat(ip):
                yield f"nics[{number}].addresses[{index}]", f"{seen[ip]} has {ip} already"
            seen.setdefault(ip, nic.name)


def _may_repeat(ip: str) -> bool:
    """Whether an address is no interface's own: made up later, counted up, or link-local."""
    try:
        return ip_address(ip).is_link_local
    except ValueError:
        return True


def _check_mounts(guest: GuestSettings) -> Wrong:
    root = "C:\\" if guest.os.family == "windows" else "/"
    if not guest.mounts or guest.mounts[0].path.upper() != root:
        yield "mounts", f"expected the first to have the path {root}"
    if guest.mounts == GuestSettings(os=guest.os).mounts:
        return
    known = {name for disk in guest.disks for name in (disk.name, disk.alias) if name}
    known |= {part.name for disk in guest.disks for part in disk.partitions}
    for index, mount in enumerate(guest.mounts):
        device = mount.device.removeprefix("/dev/").removeprefix("mapper/")
        if mount.device.startswith("/dev/") and device not in known:
            hint = did_you_mean(device, known)
            yield f"mounts[{index}].device", f"no disk or partition is called '{device}'{hint}"
    for index, disk in enumerate(guest.disks):
        for number, name in enumerate(disk.depends):
            if name.removeprefix("/dev/").removeprefix("mapper/") not in known:
                hint = did_you_mean(name, known)
                text = f"no disk or partition is called '{name}'{hint}"
                yield f"disks[{index}].depends[{number}]", text


def _check_owners(file: Any, path: str, users: set[str]) -> Wrong:
    if not isinstance(file, FileSettings):
        return
    if file.owner is not None and users:
        for name in file.owner.split(":"):
            if not (name.isdecimal() or name in users):
                yield join(path, "owner"), f"there is no user '{name}'{did_you_mean(name, users)}"
    for name, entry in (file.entries or {}).items():
        yield from _check_owners(entry, f"{path}.entries.{name}", users)
