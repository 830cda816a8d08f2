"""Commands about a Windows guest as a whole: identity, time, power."""

from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from qgasim.agent import Agent
from qgasim.commands.running import run
from qgasim.commands.system import HostName, OsInfo, Timezone, User
from qgasim.errors import CommandError
from qgasim.guest.hardware.windows_routes import is_loopback
from qgasim.guest.system.power import SleepState
from qgasim.guest.system.windows import find_program, zone_name
from qgasim.guest.units import SECOND
from qgasim.qapi.registry import WINDOWS, command

__all__: list[str] = []


@command(name="guest-get-host-name", since=(2, 10), platforms=WINDOWS)
def windows_get_host_name(agent: Agent) -> HostName:
    """Return the NetBIOS name: in capitals, and no more than 15 characters (GetComputerNameW())."""
    return HostName(agent.guest.hostname.partition(".")[0].upper()[:15])


# -- the system ------------------------------------------------------------------------------------

_CLIENTS: Final = {
    (5, 0): ("Microsoft Windows 2000", "2000"),
    (5, 1): ("Microsoft Windows XP", "xp"),
    (6, 0): ("Microsoft Windows Vista", "vista"),
    (6, 1): ("Microsoft Windows 7", "7"),
    (6, 2): ("Microsoft Windows 8", "8"),
    (6, 3): ("Microsoft Windows 8.1", "8.1"),
}
_SERVERS: Final = {
    (5, 2): ("Microsoft Windows Server 2003", "2003"),
    (6, 0): ("Microsoft Windows Server 2008", "2008"),
    (6, 1): ("Microsoft Windows Server 2008 R2", "2008r2"),
    (6, 2): ("Microsoft Windows Server 2012", "2012"),
    (6, 3): ("Microsoft Windows Server 2012 R2", "2012r2"),
}
Builds: TypeAlias = tuple[tuple[int, str, str], ...]
#: The first builds of releases whose kernel is 10.0.
_CLIENT_BUILDS: Final[Builds] = (
    (10240, "Microsoft Windows 10", "10"),
    (22000, "Microsoft Windows 11", "11"),
)
_SERVER_BUILDS: Final[Builds] = (
    (14393, "Microsoft Windows Server 2016", "2016"),
    (17763, "Microsoft Windows Server 2019", "2019"),
    (20344, "Microsoft Windows Server 2022", "2022"),
    (26040, "Microsoft Windows Server 2025", "2025"),
)
_UNKNOWN: Final = (0, "N/A", "N/A")


def _name(agent: Agent) -> tuple[str, str | None]:
    """Return the version and version-id that ga_get_win_name() finds."""
    system, dialect = agent.guest.settings.os, agent.dialect
    major, _, minor = system.kernel_version.partition(".")
    kernel, build = (int(major), int(minor)), int(system.kernel_release)
    if kernel != (10, 0):
        name = (_SERVERS if system.is_server else _CLIENTS).get(kernel, _UNKNOWN[1:])
        if name[1] == "7" and dialect.joins_windows_7:
            return "Microsoft Windows 77", None if dialect.omits_absent_texts else ""
        return name
    builds = _SERVER_BUILDS if system.is_server else _CLIENT_BUILDS
    if not dialect.knows_windows_11:
        if not system.is_server:
            return builds[0][1:]
        # By the last build of a release, not yet by its first.
        return next((known[1:] for known in builds[:2] if build <= known[0]), _UNKNOWN[1:])
    if system.is_server and not dialect.knows_server_2025:
        builds = builds[:-1]
    # UNVERIFIED: a build before the first; the real agent crashes (it reads from no address).
    return next((known[1:] for known in reversed(builds) if build >= known[0]), _UNKNOWN[1:])


@command(name="guest-get-osinfo", since=(2, 10), platforms=WINDOWS)
def windows_get_osinfo(agent: Agent) -> OsInfo:
    """Return which Windows it is, by its kernel and its build number."""
    system = agent.guest.settings.os
    version, version_id = _name(agent)
    if agent.dialect.misspells_server_2025 and version_id == "2025":
        version = version.replace("Microsoft", "MIcrosoft")
    variant = "server" if system.is_server else "client"
    return OsInfo(
        kernel_release=system.kernel_release,
        kernel_version=system.kernel_version,
        machine=system.machine,
        id="mswindows",
        name="Microsoft Windows",
        pretty_name=system.product,
        version=version,
        version_id=version_id,
        variant=variant,
        variant_id=variant,
    )


@command(name="guest-get-users", since=(2, 10), platforms=WINDOWS)
def windows_get_users(agent: Agent) -> list[User]:
    """List who is logged on, each name once with its earliest logon and the domain of the first."""
    found: dict[str, User] = {}
    for login in agent.guest.logins:
        if login.kind != "user":
            continue
        # FILETIME counts in 100 ns.
        when = login.time // 100 / 10_000_000
        first = found.get(login.user)
        domain = agent.guest.hostname.upper() if login.domain is None else login.domain
        if first is not None:
            domain, when = first.domain or "", min(first.login_time, when)
        found[login.user] = User(login.user, when, domain)
    return list(found.values())


# -- time ------------------------------------------------------------------------------------------


@command(name="guest-get-timezone", since=(2, 10), platforms=WINDOWS)
def windows_get_timezone(agent: Agent) -> Timezone:
    """Return the time zone by the name that Windows has for it, and its seconds east of Greenwich."""
    clock = agent.guest.settings.clock
    zone = agent.guest.time_zone()
    local = datetime.fromtimestamp(agent.guest.clock.now() // SECOND, zone or UTC)
    offset = local.utcoffset()
    assert offset is not None
    name = clock.zone_name or zone_name(clock.zone, local)
    return Timezone(name, int(offset.total_seconds()))


#: What GetSystemTime() and SetSystemTime() go by (ns).
_TICK: Final = 1_000_000


@command(name="guest-get-time", since=(1, 5), platforms=WINDOWS)
def windows_get_time(agent: Agent) -> int:
    """Return the guest's time in ns since 1970, exact to the millisecond."""
    return agent.guest.clock.now() // _TICK * _TICK


#: HRESULT_FROM_WIN32(ERROR_SERVICE_NOT_ACTIVE)
_NOT_ACTIVE: Final = 0x8007_0426


@command(name="guest-set-time", since=(1, 5), platforms=WINDOWS)
def windows_set_time(agent: Agent, time: int | None = None) -> None:
    """Set the time; without *time*, have ``w32tm`` do so.

    A scenario may have a ``w32tm.exe`` among its programs. Without one the time service does its work.
    UNVERIFIED: what it sets the time by; the battery-backed clock stands in.
    """
    clock = agent.guest.clock
    if time is not None:
        if time < 0:
            # A space is missing.
            raise CommandError(f"Time {time}is invalid")
        clock.set(time // _TICK * _TICK)
        return
    try:
        program = find_program(agent.guest.files, "w32tm", None)
    except OSError:
        _synchronise(agent)
        return
    ended, _ = run(agent, program, ["w32tm", "/resync", "/nowait"])
    if ended.code == _NOT_ACTIVE:
        raise CommandError("Windows Time service not running on the guest")
    if ended.code:
        # UNVERIFIED: Windows' words for other codes.
        text = f"w32tm failed with error (0x{ended.code:x}), couldn't retrieve error message"
        raise CommandError(text)
    _synchronise(agent)


def _synchronise(agent: Agent) -> None:
    agent.guest.clock.set_from_rtc()
    if not any(nic.up and nic.addresses and not is_loopback(nic) for nic in agent.guest.nics):
        # InternetGetConnectedState(). UNVERIFIED: what it takes for a connection.
        raise CommandError("No internet connection on guest, sync not accurate")


# -- power -----------------------------------------------------------------------------------------

Mode = Literal["powerdown", "halt", "reboot"]
_MODES: Final[dict[str, Mode]] = {"powerdown": "powerdown", "halt": "halt", "reboot": "reboot"}


@command(name="guest-shutdown", since=(0, 15), replies=False, platforms=WINDOWS)
def windows_shutdown(agent: Agent, mode: str = "powerdown") -> None:
    """Shut down, applications or no. Success is not answered."""
    how = _MODES.get(mode)
    if how is None:
        raise CommandError(f"Parameter 'mode' expects {agent.dialect.shutdown_modes}")
    guest = agent.guest
    guest.power.shut_down(how, guest.settings.power.shutdown_time)


def _suspend(agent: Agent, state: SleepState) -> None:
    guest = agent.guest
    if state not in guest.settings.power.suspend:
        text = f"suspend-to-{state} not supported by OS"
        raise CommandError(agent.dialect.exec_failed_text.format(text))
    guest.power.sleep(state, guest.settings.power.suspend_time)


@command(name="guest-suspend-disk", since=(1, 1), replies=False, platforms=WINDOWS)
def windows_suspend_disk(agent: Agent) -> None:
    """Hibernate. Success is not answered."""
    _suspend(agent, "disk")


@command(name="guest-suspend-ram", since=(1, 1), replies=False, platforms=WINDOWS)
def windows_suspend_ram(agent: Agent) -> None:
    """Sleep. Success is not answered."""
    _suspend(agent, "ram")
