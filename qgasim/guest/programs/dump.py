"""Programs that show bytes: od, hexdump, base64 and the checksums."""

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Callable
from typing import Final

from qgasim.guest.nodes import decode_name
from qgasim.guest.openfiles import OpenFile
from qgasim.guest.processes import LINE_SIZE, Process, Steps, Waiting
from qgasim.guest.programs.inputs import CHUNK, cannot_read, open_input, read_input
from qgasim.guest.programs.messages import complain, explain, fail, label, pick, quote
from qgasim.guest.programs.options import parse, to_number
from qgasim.guest.programs.registry import program

__all__: list[str] = []

_NAMES: Final = {0: r"\0", 7: r"\a", 8: r"\b", 9: r"\t", 10: r"\n", 11: r"\v", 12: r"\f", 13: r"\r"}
_ASCII: Final = (  # noqa: SIM905
    "nul soh stx etx eot enq ack bel bs ht nl vt ff cr so si dle dc1 dc2 dc3 dc4 nak syn etb can "
    "em sub esc fs gs rs us sp"
).split()
#: So many rows are written at once, and what each takes, in steps.
_ROWS: Final = 1000
_ROW_STEPS: Final = 4
_SHORT: Final = {
    "a": "a", "b": "o1", "c": "c", "d": "u2", "D": "u4", "e": "f8", "f": "f4", "F": "f8",
    "h": "x2", "H": "x4", "i": "d4", "I": "d8", "l": "d8", "L": "d8", "o": "o2", "O": "o4",
    "s": "d2", "x": "x2", "X": "x4", "B": "o2",
}  # fmt: skip
_WIDTHS: Final = {
    "o": {1: 3, 2: 6, 4: 11, 8: 22}, "x": {1: 2, 2: 4, 4: 8, 8: 16},
    "d": {1: 4, 2: 6, 4: 11, 8: 20}, "u": {1: 3, 2: 5, 4: 10, 8: 20},
}  # fmt: skip
_LETTERS: Final = {"C": 1, "S": 2, "I": 4, "L": 8, "F": 4, "D": 8}


def _show_char(byte: int) -> str:
    if byte in _NAMES:
        return _NAMES[byte]
    return chr(byte) if 32 <= byte < 127 else f"{byte:03o}"


def _show_name(byte: int) -> str:
    byte &= 127
    return _ASCII[byte] if byte < 33 else "del" if byte == 127 else chr(byte)


def _formatter(kind: str) -> tuple[int, int, Callable[[bytes], str]]:
    """Give a type's size, the width of its text, and what makes that text."""
    if kind[0] in "ac":
        show = _show_char if kind[0] == "c" else _show_name
        return 1, 3, lambda raw: show(raw[0])
    size = int(kind[1:])
    base = kind[0]
    if base == "f":
        code = "<f" if size == 4 else "<d"
        return size, 15 if size == 4 else 24, lambda raw: f"{struct.unpack(code, raw)[0]:g}"
    width = _WIDTHS[base][size]
    code = {"o": f"0{width}o", "x": f"0{width}x", "d": "d", "u": "d"}[base]
    return size, width, lambda raw: format(int.from_bytes(raw, "little", signed=base == "d"), code)


def _types(p: Process, text: str) -> Waiting[list[str]]:
    kinds: list[str] = []
    for letter, size in re.findall(r"([acdoufx])(\d+|[CSILFD])?z?", text):
        default = 8 if letter == "f" else 4
        width = _LETTERS.get(size) or int(size or default)
        if letter in "ac":
            kinds.append(letter)
        elif width in (1, 2, 4, 8):
            kinds.append(f"{letter}{width}")
        else:
            yield from fail(p, f"invalid type string {quote(text)}")
    if not kinds:
        yield from fail(p, f"invalid type string {quote(text)}")
    return kinds


@program("od")
def od(p: Process) -> Steps:
    """Print bytes as numbers or characters."""
    letters = "A:t:N:j:w::vabBcdDeFfhHiIlLoOsxX"
    options = yield from parse(
        p,
        letters,
        {
            "address-radix": "A",
            "format": "t",
            "read-bytes": "N",
            "skip-bytes": "j",
            "width": "w",
            "output-duplicates": "v",
        },
    )
    kinds: list[str] = []
    for name, value in options:
        if name == "t":
            kinds += yield from _types(p, value)
        elif name in _SHORT:
            kinds.append(_SHORT[name])
    radix = options.get("A") or "o"
    if radix not in "doxn":
        bad = f"invalid output address radix {quote(radix)}; it must be one character from [doxn]"
        yield from fail(p, pick(p, f"bad output address radix '{radix}' (must be [doxn])", bad))
    data, status = yield from _read_all(p, options.operands)
    skip = options.get("j")
    start = (yield from to_number(p, skip, "invalid -j argument")) if skip else 0
    limit = options.get("N")
    if limit:
        data = data[: start + (yield from to_number(p, limit, "invalid -N argument"))]
    if start > len(data):
        yield from fail(p, "cannot skip past end of combined input")
    width = int(options.get("w") or 16)
    dumper = _Dumper(radix, [_formatter(kind) for kind in kinds or ["o2"]], width)
    yield from dumper.dump(p, data, start, squeeze="v" not in options)
    return status


def _read_all(p: Process, paths: list[str]) -> Waiting[tuple[bytes, int]]:
    parts: list[bytes] = []
    status = 0
    for path in paths or ["-"]:
        data = yield from read_input(p, path)
        if data is None:
            status = 1
        else:
            parts.append(data)
    return b"".join(parts), status


class _Dumper:
    def __init__(
        self, radix: str, kinds: list[tuple[int, int, Callable[[bytes], str]]], width: int
    ) -> None:
        self.radix = radix
        self.kinds = kinds
        self.width = width
        # Every type is as wide as the widest, counted per byte.
        self.block = max(size for size, _, _ in kinds)
        self.room = max((cell + 1) * (self.block // size) for size, cell, _ in kinds)

    def address(self, at: int) -> str:
        return "" if self.radix == "n" else format(at, f"07{self.radix}".replace("07x", "06x"))

    def dump(self, p: Process, data: bytes, start: int, *, squeeze: bool) -> Waiting[None]:
        out: list[str] = []
        before: bytes | None = None
        squeezed = False
        for at in range(start, len(data), self.width):
            row = data[at : at + self.width]
            if squeeze and row == before and len(row) == self.width:
                if not squeezed:
                    out.append("*\n")
                squeezed = True
                continue
            squeezed, before = False, row
            for number, kind in enumerate(self.kinds):
                indent = self.address(at) if number == 0 else " " * len(self.address(at))
                out.append(indent + self._row(row, kind) + "\n")
            if len(out) >= _ROWS:
                yield from p.toil(len(out) * _ROW_STEPS)
                yield from p.write(1, "".join(out))
                out.clear()
        if self.radix != "n":
            out.append(self.address(len(data)) + "\n")
        yield from p.write(1, "".join(out))

    def _row(self, row: bytes, kind: tuple[int, int, Callable[[bytes], str]]) -> str:
        size, _, show = kind
        width = self.room * size // self.block
        cells = [row[at : at + size].ljust(size, b"\0") for at in range(0, len(row), size)]
        return "".join(show(cell).rjust(width) for cell in cells)


@program("hexdump", "hd")
def hexdump(p: Process) -> Steps:
    """Print bytes in hexadecimal."""
    options = yield from parse(
        p, "Cvxn:s:cbdoe:", {"canonical": "C", "length": "n", "skip": "s", "no-squeezing": "v"}
    )
    data, status = yield from _read_all(p, options.operands)
    skip, limit = options.get("s"), options.get("n")
    start = (yield from to_number(p, skip, "invalid offset")) if skip else 0
    if limit:
        data = data[: start + (yield from to_number(p, limit, "invalid length"))]
    is_canonical = "C" in options or p.name == "hd"
    out: list[str] = []
    before: bytes | None = None
    squeezed = False
    for at in range(start, len(data), 16):
        row = data[at : at + 16]
        if row == before and len(row) == 16 and "v" not in options:
            if not squeezed:
                out.append("*\n")
            squeezed = True
            continue
        squeezed, before = False, row
        out.append(_canonical(at, row) if is_canonical else _words(at, row))
        if len(out) >= _ROWS:
            yield from p.toil(len(out) * _ROW_STEPS)
            yield from p.write(1, "".join(out))
            out.clear()
    if data[start:]:
        out.append(f"{len(data):08x}\n" if is_canonical else f"{len(data):07x}\n")
    yield from p.write(1, "".join(out))
    return status


def _canonical(at: int, row: bytes) -> str:
    halves = [" ".join(f"{byte:02x}" for byte in half) for half in (row[:8], row[8:])]
    shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
    return f"{at:08x}  {halves[0]:<23}  {halves[1]:<23}  |{shown}|\n"


def _words(at: int, row: bytes) -> str:
    words = [int.from_bytes(row[i : i + 2], "little") for i in range(0, len(row), 2)]
    text = " ".join(f"{word:04x}" for word in words)
    return f"{at:07x} {text:<39}\n"


@program("base64")
def base64_(p: Process) -> Steps:
    """Encode, or decode with ``-d``."""
    options = yield from parse(p, "dDiw:", {"decode": "d", "wrap": "w", "ignore-garbage": "i"})
    data = yield from read_input(p, (options.operands or ["-"])[0])
    if data is None:
        return 1
    if "d" not in options and "D" not in options:
        text = base64.b64encode(data)
        width = (yield from to_number(p, options.get("w") or "76", "invalid wrap size")) or 0
        p.take_memory(LINE_SIZE * len(text) // (width or len(text) or 1))
        lines = [text[at : at + width] for at in range(0, len(text), width)] if width else [text]
        end = b"\n" if width else b""
        yield from p.write(1, b"".join(line + end for line in lines))
        return 0
    data = re.sub(rb"[^A-Za-z0-9+/=]" if "i" in options else rb"\n", b"", data)
    good = re.match(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", data)
    assert good is not None
    yield from p.write(1, binascii.a2b_base64(good[0]))
    if good.end() < len(data):
        yield from fail(p, pick(p, "truncated input", "invalid input"))
    return 0


def _digest(p: Process, kind: str, file: OpenFile) -> Waiting[str]:
    digest = hashlib.new(kind, usedforsecurity=False)
    try:
        while data := (yield from p.call(file.read, CHUNK)):
            digest.update(data)
    finally:
        file.close()
    return digest.hexdigest()


_CHECK_LONG = {"check": "c", "binary": "b", "text": "t", "quiet": "q", "status": "s", "warn": "w"}


@program("md5sum", "sha1sum", "sha256sum", "sha512sum")
def checksum(p: Process) -> Steps:
    """Print or check checksums."""
    options = yield from parse(p, "cbtsw", _CHECK_LONG | {"quiet": "q"})
    kind = p.name.removesuffix("sum")
    status = 0
    wrong = total = 0
    for path in options.operands or ["-"]:
        if "c" not in options:
            file = yield from open_input(p, path)
            try:
                digest = "" if file is None else (yield from _digest(p, kind, file))
            except OSError as error:
                yield from cannot_read(p, path, error)
                digest = ""
            if digest:
                mark = "*" if "b" in options and pick(p, 0, 1) else " "
                yield from p.write(1, f"{digest} {mark}{path}\n")
            else:
                status = 1
            continue
        data = yield from read_input(p, path)
        if data is None:
            status = 1
            continue
        for line in decode_name(data).splitlines():
            digest, _, name = line.partition(" ")
            total += 1
            try:
                file = yield from p.open(name[1:])
                good = (yield from _digest(p, kind, file)) == digest
            except OSError as error:
                wrong += 1
                yield from complain(p, f"{name[1:]}: {explain(error)}")
                continue
            wrong += not good
            if "s" not in options and not (good and "q" in options):
                yield from p.write(1, f"{name[1:]}: {'OK' if good else 'FAILED'}\n")
    if wrong and "s" not in options:
        yield from p.write(
            2,
            pick(
                p,
                f"{label(p)}: WARNING: {wrong} of {total} computed checksums did NOT match\n",
                f"{label(p)}: WARNING: {wrong} computed checksum{'s' * (wrong > 1)} did NOT match\n",
            ),
        )
    return 1 if wrong else status
