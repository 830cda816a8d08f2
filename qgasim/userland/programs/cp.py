"""Copying files and trees: the program cp, and what mv does between file systems."""

import errno
import os
import stat
from functools import partial
from typing import Final

from msgspec import Struct

from qgasim.guest.files.nodes import PAGE_SIZE, Device, Regular, os_error
from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.processes.process import Blocked, Process, Steps, Waiting
from qgasim.userland.programs.getopt import (
    Options,
    missing_operand,
    not_simulated,
    parse,
    usage_error,
)
from qgasim.userland.programs.lstat import Inode, base_name, find_path, join, look
from qgasim.userland.programs.messages import complain, explain, fail, is_busybox, quote
from qgasim.userland.programs.registry import program

__all__ = ["Copier", "CopyMode", "check_operands", "copy_data", "find_inode", "find_target"]

#: What copying 64 KiB from a device takes, so that an endless copy lets time go on.
DEVICE_TIME: Final = 50_000
_LONG: Final = {
    "archive": "a", "recursive": "r", "force": "f", "dereference": "L",
    "no-dereference": "P",
}  # fmt: skip


class CopyMode(Struct):
    """How a copy is made."""

    is_recursive: bool = False
    #: Whether owner, mode and times are kept.
    preserves: bool = False
    #: Whether links are followed: always, or only those that are named.
    follows: bool = True
    follows_named: bool = True
    forces: bool = False


def find_inode(p: Process, path: str, *, follow: bool = True) -> Inode | None:
    """Do what stat(2) does; None if there is nothing for whatever reason."""
    try:
        return look(p, path, follow=follow)
    except OSError:
        return None


def check_operands(p: Process, options: Options) -> Waiting[tuple[list[str], str, bool]]:
    """Return what to copy or move, where to, and whether that is a directory to put it in."""
    words = list(options.operands)
    if len(words) < 2:
        what = "file operand" if not words else f"destination file operand after {quote(words[0])}"
        yield from missing_operand(p) if is_busybox(p) else usage_error(p, f"missing {what}")
    target = words.pop()
    is_directory = find_target(p, target)
    if is_directory is not True and len(words) > 1:
        if not is_busybox(p):
            error = is_directory or os_error(errno.ENOTDIR)
            yield from fail(p, f"target {quote(target)}: {explain(error)}")
        # BusyBox goes on as if it were one, and fails at each file.
        is_directory = True
    if is_busybox(p) and is_directory is True:
        words = [word.rstrip("/") or word[:1] for word in words]
    return words, target, is_directory is True


def find_target(p: Process, path: str, *, follow: bool = True) -> bool | OSError:
    """Return whether *path* is a directory; the error if it cannot be looked at."""
    try:
        return look(p, path, follow=follow).is_dir
    except OSError as error:
        return error


@program("cp")
def cp(p: Process) -> Steps:
    """Copy files, with ``-r`` directories."""
    options = yield from parse(p, "arRfpdPLH", _LONG)
    sources, target, is_directory = yield from check_operands(p, options)
    is_recursive = any(o in options for o in "arR")
    for path in (sources[0], target) if is_busybox(p) and len(sources) == 1 else ():
        if isinstance(find_target(p, path), NotADirectoryError):
            yield from fail(p, f"can't stat '{path}': Path has non-directory component")
    if is_busybox(p) and is_recursive and (old := find_inode(p, target)) and not old.is_dir:
        # What a directory is to take the place of is looked for in it.
        first = find_inode(p, sources[0], follow=False)
        is_directory = is_directory or (first is not None and first.is_dir)
    links = options.last("LPHda") or ("P" if is_recursive else "L")
    mode = CopyMode(
        is_recursive=is_recursive,
        preserves=any(o in options for o in "ap"),
        follows=links == "L",
        follows_named=links in "LH",
        forces="f" in options,
    )
    copier = Copier(p, mode)
    status = 0
    for source in sources:
        path = join(target, base_name(source)) if is_directory else target
        if is_directory and base_name(source) in (".", ".."):
            path = target
        if not (yield from copier.copy(source, path, is_named=True)):
            status = 1
    return status


class Copier:
    """Copies, with the messages of cp; the methods give False if something was not copied."""

    def __init__(self, p: Process, mode: CopyMode) -> None:
        self.p = p
        self.mode = mode
        self.busybox = is_busybox(p)

    def complain(self, busybox: str, gnu: str, error: OSError | None = None) -> Waiting[bool]:
        why = f": {explain(error)}" if error else ""
        yield from complain(self.p, (busybox if self.busybox else gnu) + why)
        return False

    def copy(self, source: str, target: str, *, is_named: bool = False) -> Waiting[bool]:
        """Copy *source* so that it becomes *target*."""
        p, mode = self.p, self.mode
        follow = mode.follows_named if is_named else mode.follows
        shown, aim = quote(source), quote(target)
        try:
            inode = look(p, source, follow=follow)
        except OSError as error:
            return (
                yield from self.complain(f"can't stat '{source}'", f"cannot stat {shown}", error)
            )
        old = None
        try:
            old = look(p, target, follow=not self.busybox and (follow or not inode.is_link))
        except NotADirectoryError as error:
            return (yield from self.complain(f"can't stat '{target}'", f"cannot stat {aim}", error))
        except OSError:
            pass
        if self._is_same(source, inode, old):
            text = f"{shown} and {aim} are the same file"
            return (yield from self.complain(text, text))
        if inode.is_dir:
            return (yield from self._copy_directory(source, target, inode, old))
        if old is not None and old.is_dir and not self.busybox:
            text = f"cannot overwrite directory {aim} with non-directory"
            return (yield from self.complain("", text))
        if inode.is_link:
            return (yield from self._copy_link(target, inode, old))
        if mode.is_recursive and not stat.S_ISREG(inode.mode):
            yield from not_simulated(p, f"a copy of the special file '{source}'")
        return (yield from self._copy_file(source, target, inode))

    def _is_same(self, source: str, inode: Inode, old: Inode | None) -> bool:
        """Return whether *source* is the old file, or a link to it that would take its place."""
        if old is None:
            return False
        if inode.is_link and not old.is_link and not self.busybox:
            aim = find_inode(self.p, source)
            return aim is not None and aim.node is old.node
        return old.node is inode.node

    def _copy_directory(
        self, source: str, target: str, inode: Inode, old: Inode | None
    ) -> Waiting[bool]:
        p, mode = self.p, self.mode
        files = p.guest.files
        shown, aim = quote(source), quote(target)
        if not mode.is_recursive:
            text = f"omitting directory {shown}"
            return (yield from self.complain(text, f"-r not specified; {text}"))
        if old is not None and not old.is_dir:
            text = f"cannot overwrite non-directory {aim} with directory {shown}"
            return (yield from self.complain(f"target '{target}' is not a directory", text))
        place = find_path(p, target)
        top = inode.path.rstrip("/")
        is_inside = place is not None and f"{place}/".startswith(f"{top}/")
        if is_inside:
            text = f"cannot copy a directory, {shown}, into itself, {aim}"
            inside = source.rstrip("/") + (place or "").removeprefix(top)
            yield from self.complain(f"recursion detected, omitting directory '{inside}'", text)
            if old is not None or (place or "").count("/") != top.count("/") + 1:
                return False
        # The names are read first: a copy into a directory of the source must end.
        names = files.listdir(source, p.cwd)
        if old is None:
            try:
                yield from p.call(files.mkdir, target, 0o700, p.cwd)
            except OSError as error:
                gnu = f"cannot create directory {aim}"
                return (yield from self.complain(f"can't create directory '{target}'", gnu, error))
        is_done = not is_inside
        for name in names:
            is_done &= yield from self.copy(join(source, name), join(target, name))
        if mode.preserves:
            yield from self._preserve(target, inode)
        elif old is None:
            yield from p.call(files.chmod, target, inode.mode & 0o777 & ~p.umask, p.cwd)
        return is_done

    def _open_target(self, target: str, inode: Inode) -> Waiting[OpenFile]:
        p, files = self.p, self.p.guest.files
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        rights = inode.mode & 0o777
        try:
            return (yield from p.open(target, flags, rights))
        except OSError:
            if not self.mode.forces or files.find(target, p.cwd, follow=False) is None:
                raise
            if files.is_dir(target, p.cwd):
                raise
        yield from p.call(files.unlink, target, p.cwd)
        return (yield from p.open(target, flags, rights))

    def _copy_file(self, source: str, target: str, inode: Inode) -> Waiting[bool]:
        p = self.p
        try:
            read = yield from p.open(source)
        except OSError as error:
            gnu = f"cannot open {quote(source)} for reading"
            return (yield from self.complain(f"can't open '{source}'", gnu, error))
        try:
            write = yield from self._open_target(target, inode)
        except OSError as error:
            read.close()
            gnu = f"cannot create regular file {quote(target)}"
            if isinstance(error, IsADirectoryError) and target.endswith("/"):
                error = os_error(errno.EISDIR if self.busybox else errno.ENOTDIR)
            if self.busybox and self.mode.forces and isinstance(error, FileNotFoundError):
                return (
                    yield from self.complain(f"can't create '{target}': Path does not exist", "")
                )
            return (yield from self.complain(f"can't create '{target}'", gnu, error))
        try:
            yield from copy_data(p, read, write, target)
        except OSError as error:
            gnu = f"error writing {quote(target)}"
            return (yield from self.complain("write error", gnu, error))
        finally:
            read.close()
            write.close()
        if self.mode.preserves:
            yield from self._preserve(target, inode)
        return True

    def _copy_link(self, target: str, inode: Inode, old: Inode | None) -> Waiting[bool]:
        p, files = self.p, self.p.guest.files
        if old is not None and self.busybox and not self.mode.forces:
            return (yield from self.complain(f"can't create '{target}': File exists", ""))
        try:
            if old is not None:
                yield from p.call(files.unlink, target, p.cwd)
            yield from p.call(files.symlink, inode.target, target, p.cwd)
        except OSError as error:
            gnu = f"cannot create symbolic link {quote(target)}"
            text = f"can't create symlink '{target}' to '{inode.target}'"
            return (yield from self.complain(text, gnu, error))
        if self.mode.preserves:
            yield from self._preserve(target, inode)
        return True

    def _preserve(self, target: str, inode: Inode) -> Waiting[None]:
        p, files = self.p, self.p.guest.files
        is_link = inode.is_link
        owner = partial(files.chown, follow=not is_link)
        yield from p.call(owner, target, inode.uid, inode.gid, p.cwd)
        if not is_link:
            yield from p.call(files.chmod, target, inode.mode & 0o7777, p.cwd)
        times = partial(files.set_times, follow=not is_link)
        yield from p.call(times, target, inode.atime, inode.mtime, p.cwd)


def copy_data(p: Process, source: OpenFile, target: OpenFile, path: str) -> Waiting[None]:
    """Copy all from *source* to the new file *target*, which is *path*; holes stay holes."""
    node = source.node
    is_sparse = isinstance(node, Regular) and isinstance(target.node, Regular)
    while True:
        if is_sparse and isinstance(node, Regular):
            hole = node.hole_at(source.position)
            source.position += hole
            target.position += hole
        data = yield from p.call(source.read, PAGE_SIZE if is_sparse else 65536)
        if not data:
            break
        view = memoryview(data)
        while view:
            view = view[(yield from p.call(target.write, view)) :]
        if isinstance(node, Device):
            yield Blocked(until=p.guest.clock.uptime() + DEVICE_TIME)
    if is_sparse and target.size < target.position:
        yield from p.call(p.guest.files.truncate, path, target.position, p.cwd)
