"""The program busybox, which is all of its applets."""

from typing import Final

from qgasim.guest.processes.process import Process, Steps
from qgasim.userland.programs.registry import PROGRAMS, program

__all__ = ["BUSYBOX", "OWN_FILES"]

BUSYBOX: Final = "busybox"
#: Programs that BusyBox's guest has as files of their own (stand-ins, or Debian's).
OWN_FILES: Final = frozenset(("chpasswd", "halt", "poweroff", "reboot", "shutdown", "systemctl"))


@program("busybox")
def busybox(p: Process) -> Steps:
    """Run the applet by whose name it is called, or that the first argument names; or list all."""
    if p.name == "busybox":
        if len(p.argv) < 2 or p.argv[1].startswith("-"):
            applets = sorted(PROGRAMS.keys() - OWN_FILES - {"bash"})
            yield from p.write(1, "".join(name + "\n" for name in applets))
            return 0
        p.argv = p.argv[1:]
    applet = PROGRAMS.get(p.name)
    if applet is None or p.name in OWN_FILES | {"bash", BUSYBOX}:
        yield from p.write(2, f"{p.name}: applet not found\n")
        return 127
    return (yield from applet(p))
