"""Programs about the lengths of files: truncate, and sync, which has nothing to do."""

import os
import re
from typing import Final

from qgasim.guest.processes.process import Process, Steps
from qgasim.userland.limits import MAX_INT, to_int
from qgasim.userland.programs.getopt import missing_operand, parse, usage_error
from qgasim.userland.programs.lstat import look
from qgasim.userland.programs.messages import complain, explain, fail, is_busybox, pick, quote
from qgasim.userland.programs.registry import program

__all__ = ["find_size"]

_UNITS: Final = {
    "": 1, "c": 1, "w": 2, "b": 512, "kB": 1000, "k": 1 << 10, "K": 1 << 10, "KiB": 1 << 10,
    "kD": 1000, "MB": 10**6, "M": 1 << 20, "MiB": 1 << 20, "MD": 10**6, "GB": 10**9, "G": 1 << 30,
    "GiB": 1 << 30, "TB": 10**12, "T": 1 << 40, "TiB": 1 << 40, "KB": 1000, "m": 1 << 20,
    "g": 1 << 30, "t": 1 << 40,
}  # fmt: skip


def find_size(text: str) -> int | None:
    """Read ``1M``, ``4k``, ``2x512`` as dd and truncate do; None if it is no number."""
    total = 1
    for part in text.split("x"):
        found = re.fullmatch(r"(\d+)([a-zA-Z]*)", part)
        if not found or found[2] not in _UNITS:
            return None
        total *= to_int(found[1]) * _UNITS[found[2]]
    return total


@program("truncate")
def truncate(p: Process) -> Steps:
    """Cut or lengthen files."""
    long = {"size": "s", "no-create": "c", "reference": "r"}
    options = yield from parse(p, "cs:" if is_busybox(p) else "cs:r:", long)
    text, reference = options.get("s"), options.get("r")
    if text is None and reference is None:
        why = "you must specify either '--size' or '--reference'"
        yield from usage_error(p, "" if is_busybox(p) else why)
    if not options.operands:
        yield from missing_operand(p) if is_busybox(p) else usage_error(p, "missing file operand")
    text = (text or "0").strip()
    sign = text[0] if text and text[0] in "+-<>/%" else ""
    size = find_size(text[len(sign) :])
    if size is None or (sign in ("/", "%") and not size):
        wrong = f"invalid number '{text}'"
        yield from fail(p, pick(p, wrong, f"Invalid number: {quote(text)}"))
        return 1
    if size >= MAX_INT and not is_busybox(p):
        why = "Value too large for defined data type"
        yield from fail(p, f"Invalid number: {quote(text)}: {why}")
    base = look(p, reference).size if reference is not None else None
    status = 0
    for path in options.operands:
        try:
            if p.guest.files.locate(path, p.cwd).node is None:
                if "c" in options:
                    continue
                file = yield from p.open(path, os.O_WRONLY | os.O_CREAT)
                file.close()
            old = look(p, path).size if base is None else base
            if base is not None and options.get("s") is None:
                sign, size = "+", 0
            yield from p.call(p.guest.files.truncate, path, _new_size(sign, size, old), p.cwd)
        except OSError as error:
            shown = pick(p, f"{path}: open", f"cannot open {quote(path)} for writing")
            yield from complain(p, f"{shown}: {explain(error)}")
            status = 1
    return status


def _new_size(sign: str, size: int, old: int) -> int:
    return {
        "": lambda: size,
        "+": lambda: old + size,
        "-": lambda: max(0, old - size),
        "<": lambda: min(old, size),
        ">": lambda: max(old, size),
        "/": lambda: old // size * size,
        "%": lambda: -(-old // size) * size,
    }[sign]()


@program("sync")
def sync(p: Process) -> Steps:
    """Do nothing: what was written is in the file at once. Files that are named must be there."""
    options = yield from parse(p, "df", {"data": "d", "file-system": "f"})
    status = 0
    for path in options.operands:
        try:
            look(p, path)
        except OSError as error:
            text = pick(p, path, f"error opening {quote(path)}")
            yield from complain(p, f"{text}: {explain(error)}")
            status = 1
    return status
