"""Programs about paths: pwd, basename, dirname."""

import re

from qgasim.guest.processes.process import Process, Steps
from qgasim.userland.programs.getopt import missing_operand, parse, usage_error
from qgasim.userland.programs.lstat import base_name
from qgasim.userland.programs.messages import is_busybox, quote_text
from qgasim.userland.programs.registry import program

__all__: list[str] = []


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
    words = (yield from parse(p, "", in_order=True)).operands
    if not words:
        yield from missing_operand(p)
    if len(words) > 2:
        yield from usage_error(p, "" if is_busybox(p) else f"extra operand {quote_text(words[2])}")
    name = base_name(words[0])
    if len(words) == 2 and name != words[1]:
        name = name.removesuffix(words[1])
    yield from p.write(1, name + "\n")
    return 0


@program("dirname")
def dirname(p: Process) -> Steps:
    """Print a path without its last component."""
    # BusyBox's takes no options.
    words = p.argv[1:] if is_busybox(p) else (yield from parse(p, "")).operands
    words = words[1:] if words[:1] == ["--"] and is_busybox(p) else words
    if not words:
        yield from missing_operand(p)
    if is_busybox(p) and len(words) > 1:
        yield from usage_error(p)
    for word in words:
        parent = _parent(word)
        if parent == "/" and is_busybox(p) and re.match("//(?!/)", word):
            # dirname(3) of glibc leaves two slashes alone.
            parent = "//"
        yield from p.write(1, parent + "\n")
    return 0


def _parent(path: str) -> str:
    stripped = path.rstrip("/")
    if not stripped:
        return "/" if path else "."
    head, slash, _ = stripped.rpartition("/")
    return head.rstrip("/") or ("/" if slash else ".")
