"""Where the programs lie, and how they get there."""

from typing import TYPE_CHECKING, Final

from qgasim.userland.programs.images import BUSYBOX, builtin_image
from qgasim.userland.programs.registry import PROGRAMS

if TYPE_CHECKING:
    from qgasim.guest import Guest

__all__ = ["install", "path_of"]

#: Programs in /usr/sbin; all others are in /usr/bin.
SBIN: Final = frozenset({
    "blkid", "chpasswd", "fsfreeze", "halt", "hwclock", "ifconfig", "modprobe", "poweroff",
    "qemu-ga", "reboot", "route", "shutdown", "swapoff", "swapon",
})  # fmt: skip
#: Programs that BusyBox's guest has as files of their own (stand-ins, or Debian's).
NO_APPLETS: Final = frozenset({
    "chpasswd", "getent", "halt", "journalctl", "lsblk", "poweroff", "qemu-ga", "reboot",
    "shutdown", "systemctl", "udevadm",
})  # fmt: skip


def path_of(name: str) -> str:
    """Give the path of the program *name*."""
    return f"/usr/sbin/{name}" if name in SBIN else f"/usr/bin/{name}"


def install(guest: "Guest") -> None:
    """Put all programs of the guest's userland into /usr/bin and /usr/sbin."""
    files = guest.files
    files.makedirs("/usr/bin")
    files.makedirs("/usr/sbin")
    is_busybox = guest.settings.os.userland == "busybox"
    own: dict[str, dict[str, bytes]] = {"/usr/bin": {}, "/usr/sbin": {}}
    for name in PROGRAMS:
        if name in NO_APPLETS or (name == BUSYBOX) is is_busybox:
            own[path_of(name).rpartition("/")[0]][name] = builtin_image(name)
        elif is_busybox:
            files.symlink("/usr/bin/busybox", path_of(name))
    for directory, images in own.items():
        files.write_all(directory, images, 0o755)
    if not is_busybox:
        # Debian's iproute2 is found by both names.
        files.symlink("../bin/ip", "/usr/sbin/ip")
