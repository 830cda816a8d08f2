"""Programs that tell since when the guest is up, and who is logged in: uptime, who."""

from datetime import tzinfo

from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.guest.system.load import show_load
from qgasim.guest.units import SECOND
from qgasim.userland.programs.getopt import parse
from qgasim.userland.programs.messages import is_busybox
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.timestamps import format_time, local_zone

__all__: list[str] = []


@program("uptime")
def uptime(p: Process) -> Steps:
    """Print how long the guest has been up."""
    options = yield from parse(p, "s", {"since": "s"})
    up = p.guest.boot_uptime()
    if "s" in options:
        since = p.guest.clock.now() - up
        yield from p.write(1, format_time(since, local_zone(p), "%F %T\n"))
        return 0
    days, minutes = up // (86400 * SECOND), up // (60 * SECOND) % 60
    hours = up // (3600 * SECOND) % 24
    text = format_time(p.guest.clock.now(), local_zone(p), " %H:%M:%S up ")
    if days:
        text += f"{days} day{'s' if days != 1 else ''}, "
    text += f"{hours:2}:{minutes:02}" if hours else f"{minutes} min"
    users = sum(login.kind == "user" for login in p.guest.logins)
    # procps 4.0.2 has "0 user"; it reads /proc/loadavg, and BusyBox asks sysinfo(2).
    ending = "s" if users > 1 or is_busybox(p) else ""
    load = ", ".join(show_load(p.guest.load(), rounds=not is_busybox(p)))
    yield from p.write(1, f"{text}, {users:2} user{ending},  load average: {load}\n")
    return 0


@program("who")
def who(p: Process) -> Steps:
    """List who is logged in, or when the guest booted."""
    options = yield from parse(p, "b", {"boot": "b"})
    zone = local_zone(p)
    if "b" in options:
        yield from _print_boot(p, zone)
        return 0
    for login in p.guest.logins:
        if login.kind != "user":
            continue
        if is_busybox(p):
            time = format_time(login.time, zone, "%b %e %H:%M:%S")
            text = f"{login.user:<15} {login.line:<15} {'?':<7} {time:<16.16} {login.host}\n"
        else:
            time = format_time(login.time, zone, "%b %e %H:%M")
            host = f" ({login.host})" if login.host else ""
            text = f"{login.user:<8} {login.line:<12} {time}{host}\n"
        yield from p.write(1, text)
    return 0


def _print_boot(p: Process, zone: tzinfo) -> Waiting[None]:
    """Print when the guest booted (coreutils, src/who.c, print_boottime())."""
    booted = [login.time for login in p.guest.logins if login.kind == "boot"]
    if not booted and p.guest.settings.logins is not None:
        booted = [p.guest.boot_wall_time]
    for at in booted:
        time = format_time(at, zone, "%b %e %H:%M")
        yield from p.write(1, f"{'':<8} {'system boot':<12} {time}\n")
