"""Commands about the system as a whole: identity, time, power."""

import re
from datetime import UTC, datetime
from string import ascii_letters
from typing import Annotated, Final, Literal

from msgspec import Struct

from qgasim.agent import Agent
from qgasim.commands.running import run, run_helper
from qgasim.errors import CommandError
from qgasim.guest.units import SECOND
from qgasim.qapi.annotations import Between, Names
from qgasim.qapi.registry import LINUX, POSIX, command

__all__ = ["HostName", "OsInfo", "Timezone", "User"]


class HostName(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestHostName``."""

    host_name: str


@command(since=(2, 10), platforms=POSIX)
def guest_get_host_name(agent: Agent) -> HostName:
    """Return the host name that the kernel has at present.

    Releases before 5.1 tell the one that it had when they were first asked (`keeps_host_name`).
    """
    name = agent.guest.hostname
    if agent.dialect.keeps_host_name:
        name = agent.state.host_name = agent.state.host_name or name
    return HostName(name)


class OsInfo(Struct, frozen=True, rename="kebab", kw_only=True):
    """QAPI ``GuestOSInfo``."""

    kernel_release: str | None = None
    kernel_version: str | None = None
    machine: str | None = None
    id: str | None = None
    name: str | None = None
    pretty_name: str | None = None
    version: str | None = None
    version_id: str | None = None
    variant: str | None = None
    variant_id: str | None = None


_OS_RELEASE: Final = ("/etc/os-release", "/usr/lib/os-release")
_OS_FIELDS: Final = ("id", "name", "pretty_name", "version", "version_id", "variant", "variant_id")


@command(since=(2, 10), platforms=POSIX)
def guest_get_osinfo(agent: Agent) -> OsInfo:
    """Return what system it is: kernel, and os-release as it is in the guest's files now."""
    system = agent.guest.settings.os
    fields: dict[str, str] = {}
    for path in _OS_RELEASE:
        try:
            fields = _parse_key_file(agent.guest.files.read_settings(path))
        except (OSError, ValueError):
            continue
        break
    return OsInfo(
        kernel_release=system.kernel_release,
        kernel_version=system.kernel_version,
        machine=system.machine,
        **{name: _unquote(fields[name.upper()]) for name in _OS_FIELDS if name.upper() in fields},
    )


def _parse_key_file(raw: bytes) -> dict[str, str]:
    """Read ``KEY=value`` lines as glib's GKeyFile does; ValueError for any other line."""
    fields: dict[str, str] = {}
    for line in raw.decode("utf-8").replace("\r\n", "\n").split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise ValueError(line)
        fields[key.strip()] = value.lstrip()
    return fields


#: What stands between double quotes, and the closing one if there is one.
_QUOTED: Final = re.compile(r'"((?:[^"\\]++|\\[$\'"\\`]|\\)*+)("?)', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([$'\"\\`])")


def _unquote(value: str) -> str:
    """Do what ga_osrelease_replace_special() does: only double quotes count."""
    if not value.startswith('"'):
        return value.split(" ", maxsplit=1)[0].split(";", maxsplit=1)[0]
    quoted = _QUOTED.match(value)
    assert quoted
    result = _ESCAPED.sub(r"\1", quoted[1])
    # Without a closing quote, what C had moved over is left at the end.
    return result if quoted[2] else result + value[len(result) :]


class Timezone(Struct, frozen=True):
    """QAPI ``GuestTimezone``."""

    zone: str | None
    #: No time zone is further from UTC: POSIX's TZ allows for 24 hours.
    offset: Annotated[int, Between(-86400, 86400)]


def _local(agent: Agent, now: int) -> datetime:
    moment = datetime.fromtimestamp(now // SECOND, UTC)
    zone = agent.guest.time_zone()
    return moment if zone is None else moment.astimezone(zone)


@command(since=(2, 10), platforms=POSIX)
def guest_get_timezone(agent: Agent) -> Timezone:
    """Return the time zone of /etc/localtime at present, and its seconds east of Greenwich."""
    local = _local(agent, agent.guest.clock.now())
    offset = local.utcoffset()
    assert offset is not None
    return Timezone(local.tzname(), int(offset.total_seconds()))


class User(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestUser``."""

    user: Annotated[str, Names("user", "lists", is_argument=True)]
    login_time: float
    #: Windows only.
    domain: str | None = None


@command(since=(2, 10), platforms=POSIX)
def guest_get_users(agent: Agent) -> list[User]:
    """List who is logged in, each once with the earliest login."""
    earliest: dict[str, float] = {}
    for login in agent.guest.logins:
        if login.kind != "user":
            continue
        # A name that fills the 32 bytes of ut_user runs on into ut_host, which follows it.
        raw = login.user.encode()[:32]
        name = login.user if len(raw) < 32 else (raw + login.host.encode()[:256]).decode()
        seconds, fraction = divmod(login.time // 1000, 1_000_000)
        when = float(seconds) + fraction / 1_000_000
        earliest[name] = min(earliest.get(name, when), when)
    return [User(name, when) for name, when in earliest.items()]


# -- time ----------------------------------------------------------------------------------------


@command(since=(1, 5), platforms=POSIX)
def guest_get_time(agent: Agent) -> int:
    """Return the guest's time in ns since 1970, exact to the microsecond."""
    return agent.guest.clock.now() // 1000 * 1000


HWCLOCK: Final = "/sbin/hwclock"


@command(since=(1, 5), platforms=POSIX)
def guest_set_time(agent: Agent, time: int | None = None) -> None:
    """Set the time, and the real-time clock by it; without *time*, the other way round."""
    if agent.dialect.checks_hwclock:
        has_it = agent.state.known.setdefault("hwclock", agent.guest.files.can_execute(HWCLOCK))
        if not has_it:
            raise CommandError("this feature or command is not currently supported")
    if time is not None:
        _set_time(agent, time)
    run_helper(
        agent,
        "set hardware clock to system time",
        HWCLOCK,
        ["hwclock", "-s" if time is None else "-w"],
        failed="hwclock failed to set hardware clock to system time",
    )


def _set_time(agent: Agent, time: int) -> None:
    # C's division: towards zero, with the sign left in the rest.
    seconds, rest = divmod(abs(time), SECOND)
    microseconds = rest // 1000
    if time < 0:
        seconds, microseconds = -seconds, -microseconds
    if not 1970 <= _local(agent, seconds * SECOND).year < 2070:
        raise CommandError("Invalid time")
    wanted = seconds * SECOND + microseconds * 1000
    # The kernel refuses times before its own start (settimeofday: EINVAL).
    if microseconds < 0 or wanted < agent.guest.clock.uptime():
        raise CommandError("Failed to set time to guest: Invalid argument")
    agent.guest.clock.set(wanted)


# -- power ---------------------------------------------------------------------------------------

Mode = Literal["halt", "powerdown", "reboot"]
SHUTDOWN: Final = "/sbin/shutdown"
_POWEROFF: Final = {"powerdown": "/sbin/poweroff", "halt": "/sbin/halt", "reboot": "/sbin/reboot"}
_SHUTDOWN_FLAGS: Final = {"powerdown": "-P", "halt": "-H", "reboot": "-r"}


@command(since=(0, 15), replies=False, platforms=POSIX)
def guest_shutdown(agent: Agent, mode: str = "powerdown") -> None:
    """Run the guest's shutdown program. Success is not answered."""
    flag = _SHUTDOWN_FLAGS.get(mode)
    if flag is None:
        # The parenthesis is never closed.
        raise CommandError("mode is invalid (valid values are: halt|powerdown|reboot")
    program = SHUTDOWN
    argv = ["shutdown", "-h", flag, "+0", "hypervisor initiated shutdown"]
    if agent.dialect.prefers_poweroff and agent.guest.files.can_execute(_POWEROFF[mode]):
        program = _POWEROFF[mode]
        argv = [program]
    run_helper(agent, "shutdown", program, argv, failed="child process has failed to shutdown")


Sleep = Literal["disk", "mem", "hybrid"]
_SYSTEMD: Final[dict[Sleep, str]] = {
    "disk": "hibernate",
    "mem": "suspend",
    "hybrid": "hybrid-sleep",
}
_PM_UTILS: Final[dict[Sleep, tuple[str, str]]] = {
    "disk": ("--hibernate", "pm-hibernate"),
    "mem": ("--suspend", "pm-suspend"),
    "hybrid": ("--suspend-hybrid", "pm-suspend-hybrid"),
}
SYS_STATE: Final = "/sys/power/state"


def _status(agent: Agent, *argv: str) -> int:
    """Run a helper found by PATH; its status, -1 if it is not there.

    One that was killed has status 0 (WEXITSTATUS() of what is no exit), and so did well.
    """
    path = agent.guest.find_in_path(argv[0])
    if path is None:
        return -1
    ended, _ = run(agent, path, argv)
    return ended.code


def _suspend(agent: Agent, mode: Sleep) -> None:
    """Try systemd, then pm-utils, then the kernel (commands-posix.c, guest_suspend())."""
    verb = _SYSTEMD[mode]
    is_supported = False
    # Exit status 3 says "not running", 4 "no such service".
    if 0 < _status(agent, "systemctl", "status", f"systemd-{verb}") < 4:
        is_supported = True
        if _status(agent, "systemctl", verb) == 0:
            return
    elif not agent.dialect.tries_all_suspends:
        # No error was set, so it looks as if it was done.
        return
    option, program = _PM_UTILS[mode]
    status = _status(agent, "pm-is-supported", option)
    if status == 0:
        is_supported = True
        if _status(agent, program) == 0:
            return
    elif status == -1 and not agent.dialect.tries_all_suspends:
        # Here, too. Any other status is an error, and the kernel is tried.
        return
    try:
        states = agent.guest.files.read_settings(SYS_STATE).decode("utf-8", "surrogateescape")
    except OSError:
        states = ""
    if mode != "hybrid" and mode in states:
        try:
            if agent.dialect.replaces_sys_state:
                # UNVERIFIED: the reason; glib's six random letters.
                path = f"{SYS_STATE}.{''.join(agent.guest.random.choices(ascii_letters, k=6))}"
                text = f"Failed to create file \u201c{path}\u201d: Permission denied"
                raise CommandError(agent.dialect.no_sleep_text.format(text))
            agent.guest.files.write(SYS_STATE, mode.encode())
        except OSError as error:
            text = agent.dialect.no_sleep_text.format(error.strerror)
            raise CommandError(text) from None
        return
    if not is_supported:
        raise CommandError("the requested suspend mode is not supported by the guest")
    if mode == "hybrid":
        raise CommandError("unknown guest suspend mode")
    # systemd refused, and the kernel cannot: no error was set (commands-linux.c, guest_suspend()).


@command(since=(1, 1), replies=False, platforms=LINUX)
def guest_suspend_disk(agent: Agent) -> None:
    """Suspend to disk. Success is not answered."""
    _suspend(agent, "disk")


@command(since=(1, 1), replies=False, platforms=LINUX)
def guest_suspend_ram(agent: Agent) -> None:
    """Suspend to memory. Success is not answered."""
    _suspend(agent, "mem")


@command(since=(1, 1), replies=False, platforms=LINUX)
def guest_suspend_hybrid(agent: Agent) -> None:
    """Suspend to memory and disk. Success is not answered."""
    _suspend(agent, "hybrid")
