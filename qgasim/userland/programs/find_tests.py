"""What find can ask about a file: its name, kind, size, age, owner."""

from collections.abc import Callable
from typing import Final, TypeAlias

from msgspec import Struct

from qgasim.guest.processes.process import Process
from qgasim.guest.units import DAY, SECOND
from qgasim.userland.limits import to_int
from qgasim.userland.programs.lstat import Inode, base_name, look, node_kind
from qgasim.userland.programs.messages import is_busybox, quote
from qgasim.userland.shell.patterns import matches

__all__ = ["MAKERS", "File", "find_reason"]

_UNITS: Final = {"": 512, "b": 512, "c": 1, "w": 2, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class File(Struct):
    """A file that was found, under the name by which it was found."""

    path: str
    inode: Inode
    depth: int


Judge: TypeAlias = Callable[[File], bool]


def _comparison(text: str) -> Callable[[int], bool] | None:
    """Read ``N``, ``+N`` or ``-N``."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isdecimal():
        return None
    number = to_int(digits)
    if text[0] == "+":
        return lambda value: value > number
    if text[0] == "-":
        return lambda value: value < number
    return lambda value: value == number


def _name(p: Process, word: str, pattern: str) -> Judge:
    return lambda file: matches(pattern, base_name(file.path))


def _folded_name(p: Process, word: str, pattern: str) -> Judge:
    return lambda file: matches(pattern.lower(), base_name(file.path).lower())


def _path(p: Process, word: str, pattern: str) -> Judge:
    return lambda file: matches(pattern, file.path)


def _type(p: Process, word: str, kinds: str) -> Judge | None:
    known = all(len(kind) == 1 and kind in "fdlpcbs" for kind in kinds.split(","))
    return (lambda file: node_kind(file.inode.mode) in kinds.split(",")) if known else None


def _size(p: Process, word: str, text: str) -> Judge | None:
    unit = text[-1:] if text[-1:] in _UNITS else ""
    compare = _comparison(text.removesuffix(unit))
    size = _UNITS[unit]
    return compare and (lambda file: compare(-(-file.inode.size // size)))


def _newer(p: Process, word: str, path: str) -> Judge:
    when = look(p, path).mtime
    return lambda file: file.inode.mtime > when


def _age(p: Process, word: str, text: str) -> Judge | None:
    compare = _comparison(text)
    in_minutes = word.endswith("min")
    unit = 60 * SECOND if in_minutes else DAY
    # GNU counts full days, but a minute that has begun, too (findutils 4.9, pred_timewindow()).
    begun = int(in_minutes and text[:1] != "-" and not is_busybox(p))
    now = p.guest.clock.now()

    def judge(file: File) -> bool:
        return compare is not None and compare((now - file.inode.mtime) // unit + begun)

    return compare and judge


#: The tests: each makes a judge of its name and argument, None if the argument is wrong.
MAKERS: Final[dict[str, Callable[[Process, str, str], Judge | None]]] = {
    "-name": _name, "-iname": _folded_name, "-path": _path, "-type": _type, "-size": _size,
    "-newer": _newer, "-mtime": _age, "-mmin": _age,
}  # fmt: skip


def find_reason(word: str, text: str) -> str:
    """Return what GNU's find says about *text*, which is no argument for *word*."""
    if word == "-type":
        if all(kind and kind[0] in "fdlpcbs" for kind in text.split(",")):
            return "Must separate multiple arguments to -type using: ','"
        if text.endswith(",") and text[:1] in "fdlpcbs":
            return (
                "Last file type in list argument to -type is missing, i.e., list is ending on: ','"
            )
        return f"Unknown argument to -type: {text}"
    return {
        "-size": f"invalid -size type `{text[-1:]}'" if text else "invalid null argument to -size",
        "-maxdepth": f"Expected a positive decimal integer argument to {word}, but got {quote(text)}",
        "-mindepth": f"Expected a positive decimal integer argument to {word}, but got {quote(text)}",
    }.get(word, f"invalid argument `{text}' to `{word}'")
