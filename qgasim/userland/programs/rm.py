"""The program rm."""

import errno

from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.programs.getopt import Options, missing_operand, parse
from qgasim.userland.programs.lstat import base_name, join, look
from qgasim.userland.programs.messages import complain, explain, is_busybox, pick, quote
from qgasim.userland.programs.registry import program

__all__: list[str] = []

_RM_LONG = {
    "recursive": "r", "force": "f", "dir": "d", "preserve-root": "preserve",
    "no-preserve-root": "everything",
}  # fmt: skip


@program("rm")
def rm(p: Process) -> Steps:
    """Remove files, with ``-r`` directories and all in them."""
    options = yield from parse(p, "rRfd", _RM_LONG)
    if not options.operands:
        if "f" in options:
            return 0
        yield from missing_operand(p)
    status = 0
    for operand in options.operands:
        path = operand.rstrip("/") or operand[:1] if is_busybox(p) else operand
        wrong = _protect(p, path, options)
        if wrong:
            for line in wrong:
                yield from complain(p, line)
            status = 1
        elif not (yield from remove(p, path, options)):
            status = 1
    return status


def _protect(p: Process, path: str, options: Options) -> list[str]:
    """Return why *path* must not be removed; nothing if it may."""
    is_recursive = "r" in options or "R" in options
    if base_name(path) in (".", ".."):
        if is_busybox(p):
            return ["can't remove '.' or '..'"]
        if is_recursive:
            skipped = f"skipping {quote(path)}"
            return [f"refusing to remove '.' or '..' directory: {skipped}"]
    if is_recursive and not is_busybox(p) and "everything" not in options:
        files = p.guest.files
        node = files.find(path, p.cwd, follow=path.endswith("/"))
        if node is not None and node is files.mounts[0].root:
            same = "" if path == "/" else f" (same as {quote('/')})"
            danger = f"it is dangerous to operate recursively on {quote(path)}{same}"
            return [danger, "use --no-preserve-root to override this failsafe"]
    return []


def remove(p: Process, path: str, options: Options) -> Waiting[bool]:
    """Remove *path* and all below it, with rm's messages; False if something is left."""
    files = p.guest.files
    try:
        inode = look(p, path, follow=False)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        if "f" in options and (missing or (error.errno == errno.ENOTDIR and not is_busybox(p))):
            return True
        text = pick(p, f"can't {'remove' if missing else 'stat'} '{path}'", "")
        yield from complain(p, f"{text or f'cannot remove {quote(path)}'}: {explain(error)}")
        return False
    is_recursive = "r" in options or "R" in options
    if inode.is_dir and not is_recursive and "d" not in options:
        text = pick(p, f"'{path}' is a directory", f"cannot remove {quote(path)}: Is a directory")
        yield from complain(p, text)
        return False
    is_done = True
    if inode.is_dir and is_recursive:
        for name in files.listdir(path, p.cwd):
            is_done &= yield from remove(p, join(path, name), options)
        if not is_done and not is_busybox(p):
            return False
    try:
        yield from p.call(files.rmdir if inode.is_dir else files.unlink, path, p.cwd)
    except OSError as error:
        text = pick(p, f"can't remove '{path}'", f"cannot remove {quote(path)}")
        yield from complain(p, f"{text}: {explain(error)}")
        return False
    return is_done
