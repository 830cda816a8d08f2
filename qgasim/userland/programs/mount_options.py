"""What mount(8) makes of its arguments: mount options, /etc/fstab, devices, the mount itself."""

import errno
import os
import re
from typing import Final

from msgspec import Struct

from qgasim.guest.files.nodes import Device, Volume, decode_name, os_error
from qgasim.guest.processes.process import Process

__all__ = [
    "KERNEL_KINDS",
    "GuestRequest",
    "MountError",
    "change_options",
    "do_mount",
    "find_device",
    "read_fstab",
]

#: Kinds of file systems that need no device.
KERNEL_KINDS: Final = frozenset({
    "tmpfs", "proc", "sysfs", "devtmpfs", "devpts", "ramfs", "cgroup", "cgroup2", "debugfs",
    "mqueue", "securityfs", "tracefs", "bpf", "configfs", "hugetlbfs", "pstore",
})  # fmt: skip
#: What mount(8) keeps for itself.
_OWN_FLAGS: Final = frozenset({
    "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "_netdev", "nofail",
    "remount", "bind", "rbind", "loop", "exec", "suid", "dev", "async", "rw", "ro",
})  # fmt: skip
_TIMES: Final = ("noatime", "relatime", "strictatime")
_SWITCHES: Final = ("nosuid", "nodev", "noexec", "sync", "dirsync", "mand", "nodiratime", *_TIMES)


class MountError(Exception):
    """Mounting has failed, with the kernel's *number* and util-linux's text."""

    def __init__(self, number: int, text: str, *, is_from_kernel: bool = False) -> None:
        super().__init__(text)
        self.number = number
        self.is_from_kernel = is_from_kernel


class GuestRequest(Struct):
    """What is to be mounted where, and how."""

    source: str
    target: str
    kind: str = "auto"
    flags: list[str] = []


def change_options(old: str, flags: list[str]) -> str:
    """Return mount options changed by *flags*, in the order of /proc/mounts."""
    kept = [flag for flag in old.split(",") if flag]
    for flag in flags:
        if flag in ("ro", "rw"):
            kept = [flag, *(k for k in kept if k not in ("ro", "rw"))]
        elif flag in _TIMES:
            kept = [k for k in kept if k not in _TIMES] + [flag]
        elif flag in ("exec", "suid", "dev", "diratime"):
            kept = [k for k in kept if k != f"no{flag}"]
        elif flag == "async":
            kept = [k for k in kept if k != "sync"]
        elif flag == "atime":
            kept = [k for k in kept if k != "noatime"]
        elif flag not in _OWN_FLAGS:
            name = flag.partition("=")[0]
            kept = [k for k in kept if k.partition("=")[0] != name] + [flag]
    if not any(k in _TIMES for k in kept):
        kept.append("relatime")
    kept = [k for k in kept if k != "strictatime"]
    first = [k for k in kept if k in ("ro", "rw")] or ["rw"]
    switches = [s for s in _SWITCHES if s in kept]
    return ",".join([*first, *switches, *(k for k in kept if k not in (*first, *switches))])


def read_fstab(p: Process) -> list[GuestRequest]:
    """Return the lines of /etc/fstab."""
    try:
        text = decode_name(p.guest.files.read_settings("/etc/fstab"))
    except OSError:
        return []
    rows = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [
        GuestRequest(
            _plain(row[0]), _plain(row[1]), row[2], row[3].split(",") if len(row) > 3 else []
        )
        for row in rows
        if len(row) > 2
    ]


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def find_device(p: Process, path: str) -> Device | None:
    """Return the device node at *path*."""
    node = p.guest.files.find(path, p.cwd)
    return node if isinstance(node, Device) else None


def _find_volume(p: Process, source: str) -> Volume | None:
    if source not in p.guest.volumes and p.guest.files.exists(source, p.cwd):
        source = p.guest.mount_source(p.guest.files.locate(source, p.cwd).path)
    return p.guest.volumes.get(source)


def _new_volume(p: Process, wish: GuestRequest) -> Volume:
    """Make what needs no device; all mounts of /proc, say, are the same."""
    same = (m.volume for m in p.guest.files.mounts if m.volume.kind == wish.kind)
    volume = next(same, None)
    if volume is not None and wish.kind != "tmpfs":
        return volume
    memory = p.guest.memory
    size = sum(block.online for block in memory.blocks) * memory.block_size // 2 or 64 << 20
    for flag in wish.flags:
        found = re.fullmatch(r"size=(\d{1,15})([kmgKMG]?)", flag)
        if found:
            size = int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2].lower()]
    return Volume(wish.source, wish.kind, size, budget=p.guest.budget)


def do_mount(p: Process, wish: GuestRequest) -> None:
    """Mount what *wish* says; `MountError` if that can't be."""
    files = p.guest.files
    target = files.locate(wish.target, p.cwd) if files.exists(wish.target, p.cwd) else None
    if target is None:
        raise MountError(errno.ENOENT, "mount point does not exist.")
    try:
        volume = _choose(p, wish)
        above = files.find_mount(target.path)
        if above is not None and above.volume is volume and above.root is volume.root:
            raise MountError(errno.EBUSY, f"{wish.source} already mounted on {wish.target}.")
        if target.path == "/":
            raise os_error(errno.EBUSY, "/")
        files.mount(volume, target.path, change_options("rw", wish.flags))
    except OSError as error:
        text = {
            errno.ENOTDIR: "mount point is not a directory.",
            errno.EBUSY: f"{wish.source} already mounted or mount point busy.",
        }.get(error.errno or 0, f"mount failed: {error.strerror}.")
        raise MountError(error.errno or 0, text, is_from_kernel=True) from None


def _choose(p: Process, wish: GuestRequest) -> Volume:
    volume = _find_volume(p, wish.source)
    if volume is None and wish.kind in KERNEL_KINDS:
        return _new_volume(p, wish)
    if volume is not None and wish.kind in ("auto", volume.kind):
        return volume
    if wish.source.startswith(("UUID=", "LABEL=")):
        raise MountError(errno.ENOENT, f"can't find {wish.source}.")
    if volume is None and not p.guest.files.exists(wish.source, p.cwd):
        raise MountError(errno.ENOENT, f"special device {wish.source} does not exist.")
    if volume is None and find_device(p, wish.source) is None:
        raise MountError(
            errno.ENOTBLK, f"{wish.source} is not a block device.", is_from_kernel=True
        )
    bad = f"wrong fs type, bad option, bad superblock on {os.path.normpath(wish.source)}, "
    text = f"{bad}missing codepage or helper program, or other error."
    raise MountError(errno.EINVAL, text, is_from_kernel=True)
