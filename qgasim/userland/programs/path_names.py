"""Programs about paths: pwd, basename, dirname."""

from qgasim.guest.processes.process import Process, Steps
from qgasim.userland.programs.getopt import missing_operand, parse, usage_error
from qgasim.userland.programs.lstat import base_name
from qgasim.userland.programs.messages import is_busybox, quote
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
