"""What lstat(2) tells the guest's programs."""

import errno
import stat
from typing import Final

from msgspec import Struct
from pyfakefs.fake_file import FakeDirectory, FakeFile

from qgasim.guest.files.nodes import Device, Generated, Link, Regular, Volume, os_error
from qgasim.guest.files.tree import Mount, Place
from qgasim.guest.processes.process import Process

__all__ = [
    "Inode",
    "base_name",
    "device_of",
    "find_path",
    "inode_at",
    "join",
    "look",
    "node_kind",
]

#: Where the numbers of devices without a device node (proc, tmpfs) begin.
FIRST_ANONYMOUS: Final = 20


class Inode(Struct, gc=False):
    """A file as ``stat`` sees it; times in ns."""

    path: str
    node: FakeFile
    mount: Mount
    target: str
    mode: int
    size: int
    #: In units of 512 bytes.
    blocks: int
    ino: int
    links: int
    uid: int
    gid: int
    atime: int
    mtime: int
    ctime: int
    major: int = 0
    minor: int = 0

    @property
    def is_dir(self) -> bool:
        """Return whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Return whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_device(self) -> bool:
        """Return whether it is a device node."""
        return stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode)


def _space(node: FakeFile, volume: Volume, target: str) -> tuple[int, int]:
    """Return the size and the number of 512-byte blocks."""
    if isinstance(node, Regular):
        return node.length, node.allocated // 512
    is_virtual = volume.kind in ("proc", "sysfs")
    if isinstance(node, FakeDirectory):
        return (0, 0) if is_virtual else (volume.block_size, volume.block_size // 512)
    if isinstance(node, Generated):
        # sysfs says a page, proc says nothing.
        return (4096 if volume.kind == "sysfs" else 0), 0
    return len(target.encode("utf-8", "surrogateescape")), 0


def look(p: Process, path: str, *, follow: bool = True) -> Inode:
    """Do what stat(2) does, or lstat(2). OSError if there is nothing."""
    return inode_at(p.guest.files.locate(path, p.cwd, follow=follow))


def inode_at(place: Place) -> Inode:
    """Return the file at *place* as ``stat`` sees it. OSError if there is nothing."""
    node = place.node
    if node is None:
        raise os_error(errno.ENOENT, place.path)
    target = node.target if isinstance(node, Link) else ""
    size, blocks = _space(node, place.mount.volume, target)
    result = node.stat_result
    inode = Inode(
        path=place.path,
        node=node,
        mount=place.mount,
        target=target,
        mode=result.st_mode,
        size=size,
        blocks=blocks,
        ino=result.st_ino or 0,
        links=result.st_nlink,
        uid=result.st_uid or 0,
        gid=result.st_gid or 0,
        atime=result.st_atime_ns,
        mtime=result.st_mtime_ns,
        ctime=result.st_ctime_ns,
    )
    if isinstance(node, Device):
        inode.major, inode.minor = node.major, node.minor
    return inode


def find_path(p: Process, path: str) -> str | None:
    """Return the path without links, whose last component may be missing; None if others are."""
    try:
        return p.guest.files.locate(path, p.cwd).path
    except OSError:
        return None


def device_of(p: Process, mount: Mount) -> tuple[int, int]:
    """Return the major and minor number of the device that a file system is on."""
    node = p.guest.files.find(mount.volume.device)
    if isinstance(node, Device):
        return node.major, node.minor
    volumes = list(dict.fromkeys(id(m.volume) for m in p.guest.files.mounts))
    return 0, FIRST_ANONYMOUS + volumes.index(id(mount.volume))


def node_kind(mode: int) -> str:
    """Return the letter of a file's kind, as ``find -type`` knows it."""
    return {"-": "f"}.get(stat.filemode(mode)[0], stat.filemode(mode)[0])


def base_name(path: str) -> str:
    """Return the last component, as basename(3) does."""
    return path.rstrip("/").rsplit("/", 1)[-1] or path[:1]


def join(directory: str, name: str) -> str:
    """Put a name after a directory."""
    return f"{directory.rstrip('/')}/{name}" if directory.rstrip("/") else f"{directory[:1]}{name}"
