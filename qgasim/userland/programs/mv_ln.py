"""Programs that give files other names: mv and ln."""

import errno

from qgasim.guest.files.nodes import os_error
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.programs.cp import Copier, CopyMode, check_operands, find_inode, find_target
from qgasim.userland.programs.getopt import Options, missing_operand, parse, usage_error
from qgasim.userland.programs.lstat import Inode, base_name, find_path, join, look
from qgasim.userland.programs.messages import (
    complain,
    explain,
    is_busybox,
    pick,
    quote,
    quote_if_odd,
)
from qgasim.userland.programs.registry import program

__all__: list[str] = []


@program("mv")
def mv(p: Process) -> Steps:
    """Move or rename files and directories."""
    options = yield from parse(p, "f", {"force": "f"})
    sources, target, is_directory = yield from check_operands(p, options)
    status = 0
    for source in sources:
        path = join(target, base_name(source)) if is_directory else target
        try:
            is_done = yield from _move(p, source, path)
        except OSError as error:
            gnu = f"cannot move {quote(source)} to {quote(path)}"
            text = pick(p, f"can't rename '{source}'", gnu)
            yield from complain(p, f"{text}: {explain(error)}")
            is_done = False
        if not is_done:
            status = 1
    return status


def _move(p: Process, source: str, target: str) -> Waiting[bool]:
    inode = find_inode(p, source, follow=source.endswith("/"))
    old = find_inode(p, target, follow=False)
    if is_busybox(p):
        try:
            look(p, target)
        except NotADirectoryError:
            yield from complain(p, f"can't stat '{target}': Path has non-directory component")
            return False
        except OSError:
            pass
    elif wrong := _find_obstacle(p, source, target, inode, old):
        yield from complain(p, wrong)
        return False
    if target.endswith("/") and inode is not None and not inode.is_dir:
        raise os_error(errno.ENOTDIR)
    try:
        # rename(2) does nothing for two names of one file.
        if inode is None or old is None or inode.node is not old.node:
            yield from p.call(p.guest.files.rename, source, target, p.cwd)
    except OSError as error:
        if error.errno != errno.EXDEV or inode is None:
            raise
        if not (yield from _move_over(p, source, target, inode, old)):
            return False
    return True


def _find_obstacle(
    p: Process, source: str, target: str, inode: Inode | None, old: Inode | None
) -> str:
    """Return GNU's message if the move can't be; empty if it can."""
    if inode is None:
        try:
            look(p, source, follow=False)
        except OSError as error:
            return f"cannot stat {quote(source)}: {explain(error)}"
        return ""
    found = find_target(p, target, follow=False)
    if isinstance(found, NotADirectoryError):
        return f"cannot stat {quote(target)}: {explain(found)}"
    names = f"{quote(source)} and {quote(target)}"
    if old is not None and (inode.path == old.path or inode.node is old.node):
        return f"{names} are the same file"
    if inode.is_link and old is not None and not old.is_link:
        aim = find_inode(p, source)
        if aim is not None and aim.node is old.node:
            return f"{names} are the same file"
    if old is not None and old.is_dir and not inode.is_dir:
        return f"cannot overwrite directory {quote(target)} with non-directory"
    if old is not None and inode.is_dir and not old.is_dir:
        return f"cannot overwrite non-directory {quote(target)} with directory {quote(source)}"
    path = find_path(p, target)
    if inode.is_dir and path is not None and f"{path}/".startswith(f"{inode.path}/"):
        return f"cannot move {quote(source)} to a subdirectory of itself, {quote(target)}"
    return ""


def _move_over(
    p: Process, source: str, target: str, inode: Inode, old: Inode | None
) -> Waiting[bool]:
    """Move to another file system: copy, then remove."""
    files = p.guest.files
    if old is not None:
        if old.is_dir != inode.is_dir:
            sides = ("", "non-") if old.is_dir else ("non-", "")
            yield from complain(p, f"can't overwrite {sides[0]}directory with {sides[1]}directory")
            return False
        yield from p.call(files.rmdir if old.is_dir else files.unlink, target, p.cwd)
    mode = CopyMode(is_recursive=True, preserves=True, follows=False, follows_named=False)
    if not (yield from Copier(p, mode).copy(source, target, is_named=True)):
        return False
    yield from p.call(files.remove_tree, source, p.cwd)
    return True


# -- ln ----------------------------------------------------------------------------------------


@program("ln")
def ln(p: Process) -> Steps:
    """Make links."""
    options = yield from parse(p, "sfn", {"symbolic": "s", "force": "f", "no-dereference": "n"})
    words = list(options.operands)
    if not words:
        yield from missing_operand(p) if is_busybox(p) else usage_error(p, "missing file operand")
    directory = words.pop() if len(words) > 1 else "."
    found = find_target(p, directory, follow="n" not in options)
    is_directory = found is True
    if len(words) > 1 and not is_directory and not is_busybox(p):
        error = found if isinstance(found, OSError) else os_error(errno.ENOTDIR)
        yield from complain(p, f"target {quote(directory)}: {explain(error)}")
        return 1
    status = 0
    for word in words:
        path = join(directory, base_name(word)) if is_directory else directory
        path = path.removeprefix("./") if directory == "." and is_busybox(p) else path
        wrong = yield from _link(p, word, path, options)
        if wrong:
            yield from complain(p, wrong)
            status = 1
    return status


def _link(p: Process, target: str, path: str, options: Options) -> Waiting[str]:
    """Make one link; give the message if that fails."""
    files = p.guest.files
    is_soft = "s" in options
    try:
        inode = None if is_soft else look(p, target, follow=False)
    except OSError as error:
        return f"{pick(p, target, f'failed to access {quote(target)}')}: {explain(error)}"
    if inode is not None and inode.is_dir and not is_busybox(p):
        return f"{target}: hard link not allowed for directory"
    old = find_inode(p, path, follow=False)
    if old is not None and "f" in options and not is_busybox(p):
        aim = find_inode(p, target) if is_soft else inode
        if old.is_dir:
            return f"{quote_if_odd(path)}: cannot overwrite directory"
        if aim and aim.node is old.node and (aim.links == 1 or aim.path == old.path):
            return f"{quote(target)} and {quote(path)} are the same file"
    try:
        if old is not None and "f" in options and not old.is_dir:
            yield from p.call(files.unlink, path, p.cwd)
        yield from p.call(files.symlink if is_soft else files.link, target, path, p.cwd)
    except OSError as error:
        kind = "symbolic" if is_soft else "hard"
        text = f"failed to create {kind} link {quote(path)}"
        plain = (errno.EEXIST, errno.ENOSPC, errno.EROFS)
        if not is_soft and error.errno not in plain:
            text += f" => {quote(target)}"
        elif is_soft and not target:
            text += " -> ''"
        return f"{pick(p, path, text)}: {explain(error)}"
    return ""
