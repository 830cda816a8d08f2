"""Programs that make directories and change what an inode says: mkdir, touch, chmod, chown."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from functools import partial

from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.limits import to_int
from qgasim.userland.programs.getopt import (
    Options,
    missing_operand,
    not_simulated,
    parse,
    usage_error,
)
from qgasim.userland.programs.lstat import Inode, join, look
from qgasim.userland.programs.messages import (
    complain,
    explain,
    fail,
    is_busybox,
    pick,
    quote,
    quote_text,
)
from qgasim.userland.programs.modes import parse_mode
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.timestamps import UnknownDateError, find_time, format_time, local_zone
from qgasim.userland.programs.user_names import find_user, groups

__all__: list[str] = []

Change = Callable[[str, bool], Waiting[None]]


# -- mkdir -------------------------------------------------------------------------------------


@program("mkdir")
def mkdir(p: Process) -> Steps:
    """Make directories, with ``-p`` those above them, too."""
    options = yield from parse(p, "m:p", {"mode": "m", "parents": "p"})
    if not options.operands and not is_busybox(p):
        yield from missing_operand(p)
    text = options.get("m")
    mode = None
    if text is not None:
        mode = parse_mode(_clean(p, text), 0o777, is_directory=True, umask=p.umask)
        if mode is None:
            yield from fail(p, "invalid mode " + pick(p, f"'{text}'", quote_text(text)))
    if not options.operands:
        yield from missing_operand(p)
    status = 0
    for path in options.operands:
        failed = yield from _make(p, path, mode, options)
        if failed is not None:
            where, error = failed
            gnu = f"cannot create directory {quote(where)}"
            text = pick(p, f"can't create directory '{where}'", gnu)
            yield from complain(p, f"{text}: {explain(error)}")
            status = 1
    return status


def _make(
    p: Process, path: str, mode: int | None, options: Options
) -> Waiting[tuple[str, OSError] | None]:
    """Make a directory; return what could not be made, and why."""
    files = p.guest.files
    steps = [path]
    if "p" in options:
        ends = [found.end() for found in re.finditer(r"[^/]+", path)]
        steps = [path[:end] for end in ends] or [path]
    for at, step in enumerate(steps):
        is_last = at == len(steps) - 1
        if "p" in options and files.is_dir(step, p.cwd):
            continue
        try:
            yield from p.call(files.mkdir, step, 0o777 & ~p.umask, p.cwd)
            if is_last and mode is not None:
                yield from p.call(files.chmod, step, mode, p.cwd)
        except FileExistsError as error:
            if is_last:
                return step, error
            return pick(p, f"{step}/", step), NotADirectoryError(20, os.strerror(20))
        except OSError as error:
            return step, error
    return None


def _clean(p: Process, mode: str) -> str:
    """Return *mode* without what BusyBox passes over: a comma at the end, or nothing at all."""
    return (mode.removesuffix(",") or "u+") if is_busybox(p) else mode


# -- touch -------------------------------------------------------------------------------------


@program("touch")
def touch(p: Process) -> Steps:
    """Set the times of files, which are made if they are not there."""
    long = {"no-create": "c", "date": "d", "no-dereference": "h"}
    options = yield from parse(p, "cd:h", long)
    if not options.operands:
        yield from missing_operand(p) if is_busybox(p) else usage_error(p, "missing file operand")
    now = p.guest.clock.now()
    when = now
    follow = "h" not in options
    for text in options.all("d"):
        # BusyBox keeps the time of the day.
        is_day = is_busybox(p) and re.fullmatch(r"\d{4}-\d\d?-\d\d?", text)
        time = format_time(now, local_zone(p), " %T") if is_day else ""
        try:
            found = find_time(text + time, now, local_zone(p), is_busybox=is_busybox(p))
        except UnknownDateError:
            return (yield from not_simulated(p, f"the date '{text}'"))
        if found is None:
            what = pick(p, "invalid date", "invalid date format")
            yield from fail(p, f"{what} {quote_text(text)}")
        else:
            when = found
    set_times = partial(p.guest.files.set_times, follow=follow)
    status = 0
    for path in options.operands:
        try:
            try:
                yield from p.call(set_times, path, when, when, p.cwd)
            except FileNotFoundError:
                if "c" in options:
                    continue
                if not follow and not (is_busybox(p) and path):
                    raise
                flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK
                (yield from p.open(path, flags)).close()
                yield from p.call(set_times, path, when, when, p.cwd)
        except OSError as error:
            verb = "cannot touch" if follow and "c" not in options else "setting times of"
            text = pick(p, path, f"{verb} {quote(path)}")
            yield from complain(p, f"{text}: {explain(error)}")
            status = 1
    return status


# -- chmod -------------------------------------------------------------------------------------


@program("chmod")
def chmod(p: Process) -> Steps:
    """Change permission bits."""
    arguments, mode = _take_minus(p.argv[1:])
    options = yield from parse(p, "R", {"recursive": "R"}, arguments=arguments)
    paths = options.operands
    if mode is None:
        if not paths:
            yield from missing_operand(p)
        mode = paths.pop(0)
    if not paths:
        yield from missing_operand(p, None if len(arguments) < len(p.argv) - 1 else mode)
    text = _clean(p, mode)
    if parse_mode(text) is None and not is_busybox(p):
        yield from usage_error(p, f"invalid mode: {quote_text(mode)}")

    def change(path: str, follow: bool) -> Waiting[None]:
        inode = look(p, path)
        if not follow and look(p, path, follow=False).is_link:
            return
        new = parse_mode(text, inode.mode & 0o7777, is_directory=inode.is_dir, umask=p.umask)
        if new is None:
            yield from fail(p, f"invalid mode '{mode}'")
        yield from p.call(p.guest.files.chmod, path, new, p.cwd)

    return (yield from _change_all(p, paths, options, change))


def _take_minus(arguments: list[str]) -> tuple[list[str], str | None]:
    """Take the mode out if it looks like an option (``-x``, ``-w+r``)."""
    for at, argument in enumerate(arguments):
        if argument == "--":
            break
        if re.fullmatch(r"-[rwxXstugo,+=-]+", argument) and argument[1:2] != "-":
            return [*arguments[:at], *arguments[at + 1 :]], argument
    return arguments, None


def _change_all(p: Process, paths: list[str], options: Options, change: Change) -> Steps:
    status = 0
    follow = "h" not in options
    for path in paths:
        if "R" not in options:
            steps: Iterator[tuple[str, bool]] = iter([(path, follow)])
        else:
            steps = _walk(p, path)
        for step, follows in steps:
            try:
                yield from change(step, follows)
            except OSError as error:
                yield from _refuse(p, step, error)
                status = 1
    return status


def _refuse(p: Process, path: str, error: OSError) -> Waiting[None]:
    text = f"cannot access {quote(path)}"
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        what = "permissions" if p.name == "chmod" else "ownership"
        text = f"changing {what} of {quote(path)}"
    elif p.guest.files.find(path, p.cwd, follow=False) is not None:
        verb = "operate on dangling symlink" if p.name == "chmod" else "dereference"
        text = f"cannot {verb} {quote(path)}"
        if p.name == "chmod":
            yield from complain(p, pick(p, f"{path}: {explain(error)}", text))
            return
    yield from complain(p, f"{pick(p, path, text)}: {explain(error)}")


def _walk(p: Process, path: str, *, is_top: bool = True) -> Iterator[tuple[str, bool]]:
    """Return *path* and all below it; links are followed only at the top."""
    yield path, is_top and p.name == "chmod"
    node: Inode | None = None
    try:
        node = look(p, path, follow=is_top and p.name == "chmod")
    except OSError:
        return
    if stat.S_ISDIR(node.mode):
        for name in p.guest.files.listdir(path, p.cwd):
            yield from _walk(p, join(path, name), is_top=False)


# -- chown -------------------------------------------------------------------------------------


@program("chown")
def chown(p: Process) -> Steps:
    """Change the owner, the group or both."""
    options = yield from parse(p, "Rh", {"recursive": "R", "no-dereference": "h"})
    paths = options.operands
    if not paths:
        yield from missing_operand(p)
    spec = paths.pop(0)
    uid, gid = yield from _read_owner(p, spec)
    if not paths:
        yield from missing_operand(p, spec)

    def change(path: str, follow: bool) -> Waiting[None]:
        setter = partial(p.guest.files.chown, follow=follow)
        yield from p.call(setter, path, uid, gid, p.cwd)

    return (yield from _change_all(p, paths, options, change))


def _read_owner(p: Process, spec: str) -> Waiting[tuple[int, int]]:
    """Read ``user``, ``user:group``, ``user:`` (its own group) or ``:group``; -1 is none."""
    user, colon, group = spec.partition(":")
    uid = gid = -1
    if user:
        account = find_user(p, user)
        if account is not None:
            uid, gid = account.uid, account.gid if colon and not group else -1
        elif user.isdecimal():
            uid = to_int(user)
        else:
            yield from fail(p, pick(p, f"unknown user {user}", f"invalid user: {quote_text(spec)}"))
    if group:
        found = next((g.gid for g in groups(p) if g.name == group), None)
        if found is None and not group.isdecimal():
            yield from fail(
                p, pick(p, f"unknown group {group}", f"invalid group: {quote_text(spec)}")
            )
        gid = to_int(group) if found is None else found
    return uid, gid
