"""The tree of mounted volumes, and the paths through it.

Paths are walked here as the kernel walks them (component by component, over mounts, links and
``..``), because pyfakefs resolves ``..`` in the text; every refusal is an `OSError` with the
kernel's errno.
"""

import errno
import stat
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from pyfakefs.fake_file import FakeDirectory, FakeFile

from qgasim.guest.files.nodes import Link, Unmade, Volume, encode_name, os_error

__all__ = ["PATH_MAX", "Mount", "Place", "Tree", "check_path"]

NAME_MAX: Final = 255
PATH_MAX: Final = 4096
MAX_LINKS: Final = 40


class Mount(Struct, eq=False):
    """A volume, or a directory of one, at a place in the tree."""

    volume: Volume
    path: str
    root: FakeDirectory
    options: str = "rw,relatime"
    #: The directory that it covers; None for ``/``.
    covers: FakeDirectory | None = None

    @property
    def is_read_only(self) -> bool:
        """Return whether the kernel refuses writes here with EROFS."""
        return "ro" in self.options.split(",")


class Place(Struct):
    """Where a path leads: the directory, the name in it, and what is there now, if anything."""

    mount: Mount
    directory: FakeDirectory
    name: str
    node: FakeFile | None
    path: str


class Tree:
    """What is mounted where, and where paths lead."""

    def __init__(self, root: Volume, options: str) -> None:
        #: In the order of mounting, as in /proc/self/mounts.
        self.mounts: list[Mount] = [Mount(root, "/", root.root, options)]
        self._covered: dict[int, Mount] = {}
        #: Told how many names of a path are walked; set by `Processes`.
        self.on_walk: Callable[[int], None] = lambda _count: None

    def locate(
        self, path: str, cwd: str = "/", *, follow: bool = True, parent: bool = False
    ) -> Place:
        """Walk *path*; the last component may be missing, all others must be there.

        *follow* says whether a link as last component is followed; *parent* asks for a place in
        which an entry can be made, so that ``..`` and ``/`` are refused with EEXIST.
        """
        check_path(path)
        if not path:
            raise os_error(errno.ENOENT, path)
        if len(encode_name(path)) >= PATH_MAX:
            raise os_error(errno.ENAMETOOLONG, path)
        root = self.mounts[0]
        # What has been walked: name, mount and directory, from / on.
        trail: list[tuple[str, Mount, FakeDirectory]] = [("", root, root.root)]
        todo = self._components(path)
        if not path.startswith("/"):
            todo = self._components(cwd) + todo
        todo.reverse()
        self.on_walk(len(todo))
        links = 0
        must_be_directory = path.endswith("/")
        while todo:
            name = todo.pop()
            _, mount, directory = trail[-1]
            if name == ".":
                continue
            if name == "..":
                if len(trail) > 1:
                    trail.pop()
                continue
            if len(encode_name(name)) > NAME_MAX:
                raise os_error(errno.ENAMETOOLONG, path)
            found: FakeFile | Unmade | None = directory.entries.get(name)
            if isinstance(found, Unmade):
                found = directory.entries[name] = found.make(name)
            node = found
            is_last = not todo
            if node is None:
                if is_last:
                    return Place(mount, directory, name, None, self._join(trail, name))
                raise os_error(errno.ENOENT, path)
            if isinstance(node, Link) and (follow or not is_last or must_be_directory):
                links += 1
                if links > MAX_LINKS:
                    raise os_error(errno.ELOOP, path)
                target = node.target
                if target.startswith("/"):
                    del trail[1:]
                if target.endswith("/"):
                    todo.append(".")
                todo += reversed(self._components(target))
                continue
            if isinstance(node, FakeDirectory):
                over = self._covered.get(id(node))
                if over is not None:
                    mount, node = over, _populate(over)
                if is_last and not parent:
                    return Place(mount, directory, name, node, self._join(trail, name))
                trail.append((name, mount, node))
                if is_last:
                    break
                continue
            if not is_last or must_be_directory:
                raise os_error(errno.ENOTDIR, path)
            return Place(mount, directory, name, node, self._join(trail, name))
        name, mount, directory = trail[-1]
        if parent:
            raise os_error(errno.EEXIST, path)
        above = trail[-2][2] if len(trail) > 1 else directory
        return Place(mount, above, name, directory, self._join(trail[:-1], name))

    def look_in(self, above: Place, name: str) -> Place:
        """Return the place of *name* in the directory at *above*; a link is not followed."""
        directory = above.node
        assert isinstance(directory, FakeDirectory)
        mount = above.mount
        node: FakeFile | Unmade | None = directory.entries.get(name)
        if isinstance(node, Unmade):
            node = directory.entries[name] = node.make(name)
        over = self._covered.get(id(node))
        if over is not None:
            mount, node = over, _populate(over)
        return Place(mount, directory, name, node, f"{above.path.rstrip('/')}/{name}")

    @staticmethod
    def _components(path: str) -> list[str]:
        """Return the names in *path*; ``.`` is one of them, for before it there must be a directory."""
        return [name for name in path.split("/") if name]

    @staticmethod
    def _join(trail: list[tuple[str, Mount, FakeDirectory]], name: str) -> str:
        return "/".join([part for part, _, _ in trail] + [name]) or "/"

    def get(self, path: str, cwd: str = "/", *, follow: bool = True) -> FakeFile:
        """Return what is at *path*; ENOENT if nothing is."""
        node = self.locate(path, cwd, follow=follow).node
        if node is None:
            raise os_error(errno.ENOENT, path)
        return node

    def find(self, path: str, cwd: str = "/", *, follow: bool = True) -> FakeFile | None:
        """Return what is at *path*, None if that is nothing for whatever reason."""
        try:
            return self.locate(path, cwd, follow=follow).node
        except OSError:
            return None

    def exists(self, path: str, cwd: str = "/") -> bool:
        """Return whether *path* leads to anything."""
        return self.find(path, cwd) is not None

    def is_dir(self, path: str, cwd: str = "/") -> bool:
        """Return whether *path* leads to a directory."""
        return isinstance(self.find(path, cwd), FakeDirectory)

    def can_execute(self, path: str, cwd: str = "/") -> bool:
        """Return whether root may execute *path*: a regular file with an x bit."""
        node = self.find(path, cwd)
        return node is not None and stat.S_ISREG(node.st_mode) and bool(node.st_mode & 0o111)

    def mount(
        self,
        volume: Volume,
        path: str,
        options: str = "rw,relatime",
        root: FakeDirectory | None = None,
    ) -> Mount:
        """Mount *volume*, or the directory *root* of it, on the directory *path*."""
        return self._mount(Mount(volume, "", root or volume.root, options), path)

    def bind(self, source: str, path: str) -> Mount:
        """Make the directory *source* appear at *path*, too."""
        place = self.locate(source)
        if not isinstance(place.node, FakeDirectory):
            raise os_error(errno.ENOTDIR, source)
        return self._mount(Mount(place.mount.volume, "", place.node, place.mount.options), path)

    def _mount(self, mount: Mount, path: str) -> Mount:
        place = self.locate(path)
        if place.node is None:
            raise os_error(errno.ENOENT, path)
        if not isinstance(place.node, FakeDirectory):
            raise os_error(errno.ENOTDIR, path)
        mount.path = place.path
        mount.covers = place.node
        self._covered[id(place.node)] = mount
        self.mounts.append(mount)
        return mount

    def find_mount(self, path: str) -> Mount | None:
        """Return the topmost mount at exactly *path*."""
        for mount in reversed(self.mounts):
            if mount.path == path:
                return mount
        return None

    def unmount(self, mount: Mount) -> None:
        """Take *mount* away; EBUSY if something is mounted in it or open on it."""
        below = "/" if mount.path == "/" else mount.path + "/"
        if any(m is not mount and m.path.startswith(below) for m in self.mounts):
            raise os_error(errno.EBUSY, mount.path)
        if mount.root is mount.volume.root and mount.volume.open_count:
            raise os_error(errno.EBUSY, mount.path)
        self.mounts.remove(mount)
        del self._covered[id(mount.covers)]

    def detach(self, mount: Mount) -> None:
        """Take *mount* away with what is mounted in it, busy or not, as a lazy unmount does."""
        below = mount.path.rstrip("/") + "/"
        for gone in [m for m in self.mounts if m is mount or m.path.startswith(below)]:
            self.mounts.remove(gone)
            self._covered.pop(id(gone.covers), None)


def _populate(mount: Mount) -> FakeDirectory:
    """Return the root of *mount*, with what is made in it when it is first looked at."""
    volume = mount.volume
    if volume.populate is not None:
        populate, volume.populate = volume.populate, None
        populate()
    return mount.root


def check_path(path: str) -> None:
    """Raise TypeError if a test has given something else than a path."""
    if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"expected the path of a file of the guest as a str, found {path!r}")
