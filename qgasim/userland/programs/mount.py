"""Programs about mounts: mount, umount, fsfreeze."""

import errno
import os
import re
from typing import Final

from msgspec import Struct
from pyfakefs.fake_file import FakeDirectory

from qgasim.guest.files.nodes import Device, Volume, decode_name, os_error
from qgasim.guest.files.tree import Mount
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.programs.getopt import not_simulated, parse, usage_error
from qgasim.userland.programs.messages import complain, explain, fail, is_busybox, pick
from qgasim.userland.programs.registry import program

__all__ = ["change_options"]

#: util-linux's status of a failed mount or umount; BusyBox's mount gives -1.
MOUNT_FAILED: Final = 32
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


class MountRequest(Struct):
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


def read_fstab(p: Process) -> list[MountRequest]:
    """Return the lines of /etc/fstab."""
    try:
        text = decode_name(p.guest.files.read_settings("/etc/fstab"))
    except OSError:
        return []
    rows = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [
        MountRequest(
            _plain(row[0]), _plain(row[1]), row[2], row[3].split(",") if len(row) > 3 else []
        )
        for row in rows
        if len(row) > 2
    ]


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _find_volume(p: Process, source: str) -> Volume | None:
    if source not in p.guest.volumes and p.guest.files.exists(source, p.cwd):
        source = p.guest.mount_source(p.guest.files.locate(source, p.cwd).path)
    return p.guest.volumes.get(source)


def do_mount(p: Process, wish: MountRequest) -> None:
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


def _choose(p: Process, wish: MountRequest) -> Volume:
    volume = _find_volume(p, wish.source)
    if volume is not None and wish.kind in ("auto", volume.kind):
        return volume
    if wish.source.startswith(("UUID=", "LABEL=")):
        raise MountError(errno.ENOENT, f"can't find {wish.source}.")
    if volume is None and not p.guest.files.exists(wish.source, p.cwd):
        raise MountError(errno.ENOENT, f"special device {wish.source} does not exist.")
    if volume is None and not isinstance(p.guest.files.find(wish.source, p.cwd), Device):
        raise MountError(
            errno.ENOTBLK, f"{wish.source} is not a block device.", is_from_kernel=True
        )
    bad = f"wrong fs type, bad option, bad superblock on {os.path.normpath(wish.source)}, "
    text = f"{bad}missing codepage or helper program, or other error."
    raise MountError(errno.EINVAL, text, is_from_kernel=True)


@program("mount")
def mount(p: Process) -> Steps:
    """Mount a file system, change how it is mounted, or list what is."""
    options = yield from parse(p, "o:t:", {"options": "o", "types": "t"})
    operands = options.operands
    flags = [flag for text in options.all("o") for flag in text.split(",") if flag]
    if not operands:
        yield from _list(p, options.get("t"))
        return 0
    if "bind" in flags or "rbind" in flags:
        yield from not_simulated(p, "'bind'")
    if options.get("t") in KERNEL_KINDS:
        yield from not_simulated(p, f"'{options.get('t')}'")
    wish = MountRequest("", operands[-1], options.get("t") or "auto", flags)
    if len(operands) > 2:
        yield from usage_error(p, "bad usage")
    if len(operands) == 2:
        wish.source = operands[0]
    elif "remount" not in flags:
        found = _from_fstab(p, operands[0])
        if found is None:
            name = operands[0]
            gnu = f"{name}: can't find in /etc/fstab."
            yield from fail(p, pick(p, f"can't find {name} in /etc/fstab", gnu))
            return 1
        wish = MountRequest(found.source, found.target, found.kind, found.flags + flags)
    return (yield from _try(p, wish))


def _from_fstab(p: Process, name: str) -> MountRequest | None:
    path = os.path.normpath(os.path.join(p.cwd, name))
    return next((e for e in read_fstab(p) if e.target == path or e.source == name), None)


def _try(p: Process, wish: MountRequest) -> Steps:
    try:
        if "remount" in wish.flags:
            yield from _remount(p, wish)
        else:
            do_mount(p, wish)
    except MountError as error:
        if is_busybox(p):
            what = f"mounting {wish.source} on {wish.target} failed: {os.strerror(error.number)}"
            yield from complain(p, what)
            return 255
        yield from complain(p, f"{wish.target}: {error}")
        if error.is_from_kernel:
            hint = "dmesg(1) may have more information after failed mount system call."
            yield from p.write(2, f"       {hint}\n")
        return MOUNT_FAILED
    return 0


def _remount(p: Process, wish: MountRequest) -> Waiting[None]:
    files = p.guest.files
    place = files.locate(wish.target, p.cwd) if files.exists(wish.target, p.cwd) else None
    found = files.find_mount(place.path) if place else None
    if found is None:
        found = next((m for m in files.mounts if m.volume.device == wish.target), None)
    if found is None:
        if is_busybox(p):
            yield from fail(p, f"can't find {wish.target} in /proc/mounts")
        raise MountError(errno.EINVAL, "mount point not mounted or bad option.")
    found.options = change_options(found.options, wish.flags)


def _list(p: Process, kinds: str | None) -> Waiting[None]:
    for m in p.guest.files.mounts:
        if kinds is None or m.volume.kind in kinds.split(","):
            line = f"{m.volume.device} on {m.path} type {m.volume.kind} ({m.options})\n"
            yield from p.write(1, line)


@program("umount")
def umount(p: Process) -> Steps:
    """Take mounts away."""
    options = yield from parse(p, "lf", {"lazy": "l", "force": "f"})
    files = p.guest.files
    if not options.operands:
        yield from usage_error(p, "bad usage")
    status = 0
    for target in options.operands:
        found = _find_mounted(p, target)
        try:
            if found is None:
                missing = errno.EINVAL if files.exists(target, p.cwd) else errno.ENOENT
                raise os_error(missing, target)
            _unmount(p, found, is_lazy="l" in options)
        except OSError as error:
            status = pick(p, 1, MOUNT_FAILED)
            gnu = {
                errno.EINVAL: "not mounted.",
                errno.ENOENT: "no mount point specified.",
                errno.EBUSY: "target is busy.",
            }.get(error.errno or 0, explain(error))
            text = f"can't unmount {target}: {explain(error)}"
            yield from complain(p, pick(p, text, f"{target}: {gnu}"))
    return status


def _find_mounted(p: Process, target: str) -> Mount | None:
    files = p.guest.files
    if files.exists(target, p.cwd):
        found = files.find_mount(files.locate(target, p.cwd).path)
        if found is not None:
            return found
    return next((m for m in reversed(files.mounts) if m.volume.device == target), None)


def _unmount(p: Process, mount: Mount, *, is_lazy: bool) -> None:
    """Take a mount away; EBUSY if a process works in it."""
    files = p.guest.files
    if mount is files.mounts[0]:
        raise os_error(errno.EBUSY, mount.path)
    if is_lazy:
        files.detach(mount)
        return
    cwds = [q.cwd for q in p.processes.live()]
    if any(cwd == mount.path or cwd.startswith(mount.path + "/") for cwd in cwds):
        raise os_error(errno.EBUSY, mount.path)
    files.unmount(mount)


@program("fsfreeze")
def fsfreeze(p: Process) -> Steps:
    """Freeze or thaw a file system."""
    # util-linux's messages for both userlands.
    options = yield from parse(p, "fu", {"freeze": "f", "unfreeze": "u"})
    action = options.last("fu")
    if not action:
        yield from usage_error(p, "neither --freeze or --unfreeze specified")
    if not options.operands:
        yield from usage_error(p, "no filename specified")
    path = options.operands[0]
    try:
        place = p.guest.files.locate(path, p.cwd)
        if place.node is None:
            raise os_error(errno.ENOENT, path)
    except OSError as error:
        yield from fail(p, f"cannot open {path}: {explain(error)}")
        return 1
    if not isinstance(place.node, FakeDirectory):
        yield from fail(p, f"{path}: is not a directory")
    volume = place.mount.volume
    if action == "f":
        number = volume.freeze_error or (errno.EOPNOTSUPP if volume.kind in KERNEL_KINDS else 0)
        number = errno.EBUSY if volume.is_frozen else number
        if number:
            yield from fail(p, f"{path}: freeze failed: {os.strerror(number)}")
        volume.is_frozen = True
        return 0
    if not volume.is_frozen:
        yield from fail(p, f"{path}: unfreeze failed: {os.strerror(errno.EINVAL)}")
    volume.is_frozen = False
    # Processes that wait to write can go on.
    p.guest.is_busy = True
    return 0
