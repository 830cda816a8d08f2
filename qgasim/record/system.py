"""The system, its clock, accounts, processors and memory, as far as an agent tells of them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from qgasim.guest.hardware.devices import CpuTimes, Driver, Memory, MemoryBlock, Vcpu
from qgasim.guest.settings import GuestSettings
from qgasim.guest.system.accounts import Account, Login
from qgasim.guest.system.clock import find_zone
from qgasim.guest.system.windows import ZONES, zone_name
from qgasim.guest.units import SECOND
from qgasim.record.survey import Survey

__all__ = [
    "make_clock",
    "make_devices",
    "make_hostname",
    "make_load",
    "make_logins",
    "make_memory",
    "make_os",
    "make_vcpus",
]

#: What guest-get-osinfo calls the fields of /etc/os-release that it tells.
_OS_FIELDS: Final = {
    "id": "ID",
    "name": "NAME",
    "pretty-name": "PRETTY_NAME",
    "version": "VERSION",
    "version-id": "VERSION_ID",
    "variant": "VARIANT",
    "variant-id": "VARIANT_ID",
}


def make_os(guest: GuestSettings, survey: Survey) -> None:
    """Set the guest's system from a survey."""
    told = survey.object("guest-get-osinfo")
    if not told:
        return
    system = guest.os
    for key in ("kernel-release", "kernel-version", "machine"):
        if key in told:
            setattr(system, key.replace("-", "_"), told[key])
    if system.family == "windows":
        system.product = told.get("pretty-name", system.product)
        system.is_server = told.get("variant-id") == "server"
        return
    fields = {_OS_FIELDS[key]: str(value) for key, value in told.items() if key in _OS_FIELDS}
    before = system.release or {}
    if all(before.get(key) == fields.get(key) for key in ("ID", "VERSION_ID", "VARIANT_ID")):
        # The rest of the file is the base's: the agent does not tell it.
        fields = before | fields
    system.release = fields or None


def make_hostname(guest: GuestSettings, survey: Survey) -> None:
    """Set the guest's host name from a survey."""
    guest.hostname = survey.object("guest-get-host-name").get("host-name", guest.hostname)


# -- time ------------------------------------------------------------------------------------------


def make_clock(guest: GuestSettings, survey: Survey) -> None:
    """Let a guest's clock begin at the time at which it was asked, in its time zone."""
    now = survey.value("guest-get-time")
    if isinstance(now, int):
        guest.clock.start = now
    told = survey.object("guest-get-timezone")
    offset = told.get("offset")
    if not isinstance(offset, int):
        return
    moment = datetime.fromtimestamp(guest.clock.start // SECOND, UTC)
    name = told.get("zone")
    zones = _zones_at(guest.clock.zone, moment, offset)
    if guest.os.family != "windows":
        named = (zone for zone, local in zones if local.tzname() == name)
        guest.clock.zone = next(named, guest.clock.zone)
        return
    # Windows' names are in its language: the recorded name is kept unless it is the English one.
    found = list(zones)
    english = next((zone for zone, local in found if zone_name(zone, local) == name), None)
    guest.clock.zone = english or (found[0][0] if found else guest.clock.zone)
    guest.clock.zone_name = None if english else name


def _zones_at(first: str | None, moment: datetime, offset: int) -> Iterator[tuple[str, datetime]]:
    """Yield the zones whose clocks are *offset* seconds ahead at *moment*, and what they show."""
    # Well-known ones first: several agree at a time of the year.
    for name in (first or "Etc/UTC", "Etc/UTC", *ZONES, *sorted(available_timezones())):
        # The guest has those that come with Python's package only.
        if find_zone(name) is None:
            continue
        local = moment.astimezone(ZoneInfo(name))
        ahead = local.utcoffset()
        if ahead is not None and ahead.total_seconds() == offset:
            yield name, local


# -- accounts --------------------------------------------------------------------------------------


def make_logins(guest: GuestSettings, survey: Survey) -> None:
    """Set the guest's logins from a survey, and accounts for them."""
    users = survey.objects("guest-get-users")
    if users is None:
        return
    if not users and guest.logins is None:
        return
    is_windows = guest.os.family == "windows"
    guest.logins = [
        Login(
            user=str(each["user"]),
            # To 100 ns on Windows, else to the microsecond.
            time=_nanoseconds(each.get("login-time", 0), 100 if is_windows else 1000),
            domain=each.get("domain"),
        )
        for each in users
    ]
    for login in guest.logins:
        guest.users.setdefault(login.user, Account())


def _nanoseconds(seconds: float, unit: int) -> int:
    """Return a time in seconds as so many *unit* nanoseconds."""
    return round(Fraction(seconds) * SECOND / unit) * unit


# -- hardware --------------------------------------------------------------------------------------


def make_vcpus(guest: GuestSettings, survey: Survey) -> None:
    """Set the guest's processors from a survey."""
    listed = survey.objects("guest-get-vcpus")
    if not listed:
        return
    rows = survey.objects("guest-get-cpustats") or []
    times = {row.get("cpu"): row for row in rows if row.get("type") == "linux"}
    cpus = [
        Vcpu(
            id=each["logical-id"],
            online=each.get("online", True),
            can_offline=each.get("can-offline", False),
            times=_times(times.get(each["logical-id"], {})),
        )
        for each in sorted(listed, key=lambda each: int(each["logical-id"]))
    ]
    usual = [Vcpu(id=number, can_offline=number > 0) for number in range(len(cpus))]
    is_usual = cpus == usual or guest.os.family == "windows"
    guest.vcpus = len(cpus) if is_usual else cpus


def _times(row: dict[str, Any]) -> CpuTimes:
    return CpuTimes(**{name: row[name] for name in CpuTimes.__struct_fields__ if name in row})


def make_memory(guest: GuestSettings, survey: Survey) -> None:
    """Set the guest's memory from a survey."""
    told = survey.objects("guest-get-memory-blocks")
    size = survey.object("guest-get-memory-block-info").get("size")
    if told is None or not isinstance(size, int):
        if any(answer.command == "guest-get-memory-block-info" for answer in survey.answers):
            # It fails where the kernel has no blocks.
            guest.memory = 0
        return
    blocks = [
        MemoryBlock(
            index=each["phys-index"],
            online=each.get("online", True),
            can_offline=each.get("can-offline", False),
        )
        for each in sorted(told, key=lambda each: int(each["phys-index"]))
    ]
    usual = [MemoryBlock(index=number) for number in range(len(blocks))]
    if blocks == usual:
        guest.memory = Memory(block_size=size, size=size * len(blocks))
    else:
        guest.memory = Memory(block_size=size, blocks=blocks)


def make_load(guest: GuestSettings, survey: Survey) -> None:
    """Set the guest's load from a survey."""
    told = survey.object("guest-get-load")
    if told:
        guest.load = (float(told["load1m"]), float(told["load5m"]), float(told["load15m"]))


def make_devices(guest: GuestSettings, survey: Survey) -> None:
    """Set the guest's devices from a survey."""
    listed = survey.objects("guest-get-devices")
    if listed is None or guest.os.family != "windows":
        return
    guest.devices = [
        Driver(
            name=each["driver-name"],
            pci_id=f"{each['id']['vendor-id']:04x}:{each['id']['device-id']:04x}",
            version=each["driver-version"],
            date=each["driver-date"],
        )
        for each in listed
    ]
