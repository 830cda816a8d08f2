"""Programs about paths: pwd, basename, dirname, readlink, realpath, mktemp."""

import errno
import os
import string
from typing import NoReturn

from qgasim.guest.files.nodes import os_error
from qgasim.guest.processes.process import Process, ProgramExit, Steps, Waiting
from qgasim.userland.programs.getopt import Options, missing_operand, parse, usage_error
from qgasim.userland.programs.lstat import base_name, join
from qgasim.userland.programs.messages import complain, explain, is_busybox, pick, quote
from qgasim.userland.programs.registry import program

__all__: list[str] = []

_LETTERS = string.ascii_letters + string.digits


@program("pwd")
def pwd(p: Process) -> Steps:
    """Print the working directory."""
    options = yield from parse(p, "LP", {"logical": "L", "physical": "P"})
    path = p.guest.files.locate(p.cwd).path
    logical = p.getenv("PWD") or ""
    if options.last("LP") == "L" and logical.startswith("/"):
        node = p.guest.files.find(logical)
        if node is not None and node is p.guest.files.find(path):
            path = logical
    yield from p.write(1, path + "\n")
    return 0


@program("basename")
def basename(p: Process) -> Steps:
    """Print the last component of a path, without a suffix."""
    long = {"multiple": "a", "suffix": "s", "zero": "z"}
    options = yield from parse(p, "as:z", long, in_order=True)
    words = options.operands
    if not words:
        yield from missing_operand(p)
    suffix = options.get("s")
    if suffix is None and "a" not in options:
        if len(words) > 2:
            yield from usage_error(p, "" if is_busybox(p) else f"extra operand {quote(words[2])}")
        suffix = words.pop() if len(words) == 2 else None
    end = "\0" if "z" in options else "\n"
    for word in words:
        name = base_name(word)
        if suffix and name != suffix:
            name = name.removesuffix(suffix)
        yield from p.write(1, name + end)
    return 0


@program("dirname")
def dirname(p: Process) -> Steps:
    """Print a path without its last component."""
    options = yield from parse(p, "z", {"zero": "z"})
    if not options.operands:
        yield from missing_operand(p)
    if is_busybox(p) and len(options.operands) > 1:
        yield from usage_error(p)
    end = "\0" if "z" in options else "\n"
    for word in options.operands:
        yield from p.write(1, _parent(word) + end)
    return 0


def _parent(path: str) -> str:
    stripped = path.rstrip("/")
    if not stripped:
        return "/" if path else "."
    head, slash, _ = stripped.rpartition("/")
    return head.rstrip("/") or ("/" if slash else ".")


# -- links -------------------------------------------------------------------------------------


def _resolve(p: Process, path: str, how: str) -> str:
    """Return the path without links: *how* says what may be missing (f: the last, m: all, e: none)."""
    files = p.guest.files
    try:
        place = files.locate(path, p.cwd)
    except OSError as error:
        if how != "m" or not isinstance(error, FileNotFoundError | NotADirectoryError) or not path:
            raise
        rest = path.rstrip("/")
        head = _resolve(p, _parent(rest), how)
        last = base_name(rest)
        return _parent(head) if last == ".." else head if last == "." else join(head, last)
    if place.node is None and how == "e":
        raise os_error(errno.ENOENT, path)
    return place.path


@program("readlink")
def readlink(p: Process) -> Steps:
    """Print where a symbolic link leads."""
    long = {
        "canonicalize": "f", "canonicalize-existing": "e", "canonicalize-missing": "m",
        "no-newline": "n", "quiet": "q", "silent": "q", "verbose": "v", "zero": "z",
    }  # fmt: skip
    options = yield from parse(p, "fnv" if is_busybox(p) else "fenmqsvz", long)
    words = options.operands
    if not words:
        yield from missing_operand(p)
    if is_busybox(p) and len(words) > 1:
        yield from usage_error(p)
    how = options.last("fem")
    end = "\0" if "z" in options else "\n"
    if "n" in options and len(words) == 1:
        end = ""
    status = 0
    for word in words:
        try:
            target = _resolve(p, word, how) if how else p.guest.files.readlink(word, p.cwd)
        except OSError as error:
            status = 1
            if "v" in options:
                yield from complain(p, f"{word}: {explain(error)}")
        else:
            yield from p.write(1, target + end)
    return status


@program("realpath")
def realpath(p: Process) -> Steps:
    """Print paths without links."""
    long = {
        "canonicalize-existing": "e", "canonicalize-missing": "m", "quiet": "q", "zero": "z",
        "no-symlinks": "s", "strip": "s",
    }  # fmt: skip
    options = yield from parse(p, "" if is_busybox(p) else "emqszLP", long)
    if not options.operands:
        yield from missing_operand(p)
    status = 0
    end = "\0" if "z" in options else "\n"
    for word in options.operands:
        try:
            if "s" in options:
                path = os.path.normpath(join(p.cwd, word) if word[:1] != "/" else word)
            else:
                path = _resolve(p, word, options.last("em") or "f")
        except OSError as error:
            status = 1
            if "q" not in options:
                yield from complain(p, f"{word}: {explain(error)}")
        else:
            yield from p.write(1, path + end)
    return status


# -- mktemp ------------------------------------------------------------------------------------


@program("mktemp")
def mktemp(p: Process) -> Steps:
    """Make a file or directory with a name that is not taken, and print it."""
    long = {"directory": "d", "quiet": "q", "dry-run": "u", "suffix": "suffix:", "tmpdir": "p"}
    options = yield from parse(p, "dqtup:", long)
    if len(options.operands) > 1:
        yield from usage_error(p, "" if is_busybox(p) else "too many templates")
    in_tmp = not options.operands or "p" in options or "t" in options
    template = (options.operands or [pick(p, "tmp.XXXXXX", "tmp.XXXXXXXXXX")])[0]
    suffix = options.get("suffix")
    if suffix is None and not is_busybox(p):
        at = template.rfind("X") + 1
        template, suffix = template[:at], template[at:]
    length = len(template) - len(template.rstrip("X"))
    if length < pick(p, 6, 3):
        wrong = f"too few X's in template {quote(template + (suffix or ''))}"
        yield from _refuse(p, options, pick(p, ": Invalid argument", wrong))
    if in_tmp:
        directory = (p.getenv("TMPDIR") if "p" not in options else "") or "/tmp"
        template = join(options.get("p") or directory, template)
    form = template[: len(template) - length]
    while True:
        name = "".join(p.guest.random.choices(_LETTERS, k=length))
        path = form + name + (suffix or "")
        try:
            yield from _make(p, path, options)
        except FileExistsError:
            continue
        except OSError as error:
            kind = "directory" if "d" in options else "file"
            shown = template + (suffix or "")
            text = f"failed to create {kind} via template {quote(shown)}"
            yield from _refuse(p, options, pick(p, "", text) + f": {explain(error)}")
        yield from p.write(1, path + "\n")
        return 0


def _make(p: Process, path: str, options: Options) -> Waiting[None]:
    files = p.guest.files
    if "u" in options:
        return
    if "d" in options:
        yield from p.call(files.mkdir, path, 0o700, p.cwd)
    else:
        file = yield from p.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        file.close()


def _refuse(p: Process, options: Options, text: str) -> Waiting[NoReturn]:
    if "q" not in options:
        yield from complain(p, text)
    raise ProgramExit(1)
