"""Programs that show bytes: od, hexdump, base64 and the checksums."""

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from qgasim.guest.files.nodes import decode_name
from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.processes.process import LINE_SIZE, Process, Steps, Waiting
from qgasim.userland.programs.getopt import Options, parse, to_number
from qgasim.userland.programs.inputs import CHUNK, cannot_read, open_input, read_input
from qgasim.userland.programs.messages import (
    complain,
    explain,
    fail,
    is_busybox,
    label,
    pick,
    quote,
    quote_if_odd,
)
from qgasim.userland.programs.registry import program

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


class _Kind(Struct, frozen=True):
    """A way to write bytes."""

    #: How many bytes are written together.
    size: int
    #: How wide their text is, without a space before it.
    width: int
    show: Callable[[bytes], str]
    #: Whether the bytes follow as text (``z``).
    shows_text: bool


def _kind(text: str) -> _Kind:
    size, width, show = _formatter(text.removesuffix("z"))
    return _Kind(size, width, show, text.endswith("z"))


def _formatter(kind: str) -> tuple[int, int, Callable[[bytes], str]]:
    """Return a type's size, the width of its text, and what makes that text."""
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
    for letter, size, shows_text in re.findall(r"([acdoufx])(\d+|[CSILFD])?(z?)", text):
        default = 8 if letter == "f" else 4
        width = _LETTERS.get(size) or int(size or default)
        if letter in "ac":
            kinds.append(letter + shows_text)
        elif width in (1, 2, 4, 8):
            kinds.append(f"{letter}{width}{shows_text}")
        else:
            yield from fail(p, f"invalid type string {quote(text)}")
    rest = re.sub(r"([acdoufx])(\d+|[CSILFD])?z?", "", text)
    if not kinds or (rest and not is_busybox(p)):
        bad = f"invalid character {quote(rest[:1])} in type string {quote(text)}"
        yield from fail(p, pick(p, f"invalid type string {quote(text)}", bad))
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
    if data is None:
        return status
    skip = options.get("j")
    start = (yield from to_number(p, skip, "invalid -j argument")) if skip else 0
    limit = options.get("N")
    if limit:
        data = data[: start + (yield from to_number(p, limit, "invalid -N argument"))]
    if start > len(data):
        yield from fail(p, "cannot skip past end of combined input")
    width = int(options.get("w") or 16)
    dumper = _Dumper(radix, [_kind(kind) for kind in kinds or ["o2"]], width)
    yield from dumper.dump(p, data, start, squeeze="v" not in options)
    return status


def _read_all(p: Process, paths: list[str]) -> Waiting[tuple[bytes | None, int]]:
    """Read files, and give the status; None if none of them could be read."""
    parts: list[bytes] = []
    status = 0
    for path in paths or ["-"]:
        data = yield from read_input(p, path)
        if data is None:
            status = 1
        else:
            parts.append(data)
    return b"".join(parts) if parts else None, status


class _Dumper:
    def __init__(self, radix: str, kinds: list[_Kind], width: int) -> None:
        self.radix = radix
        self.kinds = kinds
        self.width = width
        # Every type is as wide as the widest, counted per byte.
        self.block = max(kind.size for kind in kinds)
        self.room = max((kind.width + 1) * (self.block // kind.size) for kind in kinds)

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
                yield from p.charge_steps(len(out) * _ROW_STEPS)
                yield from p.write(1, "".join(out))
                out.clear()
        if self.radix != "n":
            out.append(self.address(len(data)) + "\n")
        yield from p.write(1, "".join(out))

    def _row(self, row: bytes, kind: _Kind) -> str:
        size = kind.size
        width = self.room * size // self.block
        cells = [row[at : at + size].ljust(size, b"\0") for at in range(0, len(row), size)]
        text = "".join(kind.show(cell).rjust(width) for cell in cells)
        if not kind.shows_text:
            return text
        return f"{text:<{width * self.width // size}}  >{_printable(row)}<"


@program("hexdump", "hd")
def hexdump(p: Process) -> Steps:
    """Print bytes in hexadecimal."""
    options = yield from parse(
        p, "Cvxn:s:cbdoe:", {"canonical": "C", "length": "n", "skip": "s", "no-squeezing": "v"}
    )
    data, status = yield from _read_all(p, options.operands)
    if data is None:
        if not is_busybox(p):
            yield from complain(p, "all input file arguments failed")
        return status
    skip, limit = options.get("s"), options.get("n")
    start = (yield from to_number(p, skip, "invalid offset")) if skip else 0
    if limit:
        data = data[: start + (yield from to_number(p, limit, "invalid length"))]
    is_canonical = "C" in options or p.name == "hd"
    show = _canonical if is_canonical else _characters if "c" in options else _words
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
        out.append(show(at, row))
        if len(out) >= _ROWS:
            yield from p.charge_steps(len(out) * _ROW_STEPS)
            yield from p.write(1, "".join(out))
            out.clear()
    if data[start:]:
        out.append(f"{len(data):08x}\n" if is_canonical else f"{len(data):07x}\n")
    yield from p.write(1, "".join(out))
    return status


def _canonical(at: int, row: bytes) -> str:
    halves = [" ".join(f"{byte:02x}" for byte in half) for half in (row[:8], row[8:])]
    return f"{at:08x}  {halves[0]:<23}  {halves[1]:<23}  |{_printable(row)}|\n"


def _printable(row: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)


def _characters(at: int, row: bytes) -> str:
    text = "".join(f" {_show_char(byte):>3}" for byte in row)
    return f"{at:07x}{text:<64}\n"


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


_CHECK_LONG = {
    "check": "c", "binary": "b", "text": "t", "quiet": "q", "status": "s", "warn": "w",
}  # fmt: skip


@program("md5sum", "sha1sum", "sha256sum", "sha512sum")
def checksum(p: Process) -> Steps:
    """Print or check checksums."""
    options = yield from parse(p, "cbtsw", _CHECK_LONG | pick(p, {}, {"tag": "tag"}))
    kind = p.name.removesuffix("sum")
    status = 0
    check = _Check(p, options, kind)
    for path in options.operands or ["-"]:
        if "c" not in options:
            status = (yield from _print_digest(p, options, kind, path)) or status
            continue
        data = yield from read_input(p, path)
        if data is None:
            status = 1
            continue
        yield from check.lines(decode_name(data).splitlines())
        if not is_busybox(p):
            status = (yield from check.tell(path)) or status
            check = _Check(p, options, kind)
    return (yield from check.tell()) or status


def _print_digest(p: Process, options: Options, kind: str, path: str) -> Steps:
    file = yield from open_input(p, path)
    if file is None:
        return 1
    try:
        digest = yield from _digest(p, kind, file)
    except OSError as error:
        yield from cannot_read(p, path, error)
        return 1
    mark = "*" if "b" in options and not is_busybox(p) else " "
    is_tagged = "tag" in options
    line = f"{kind.upper()} ({path}) = {digest}" if is_tagged else f"{digest} {mark}{path}"
    yield from p.write(1, line + "\n")
    return 0


class _Check:
    """Files that are compared with a list of checksums."""

    def __init__(self, p: Process, options: Options, kind: str) -> None:
        self.p = p
        self.options = options
        self.kind = kind
        self.total = self.wrong = self.unread = self.malformed = 0
        length = 2 * hashlib.new(kind, usedforsecurity=False).digest_size
        # BusyBox takes any line for one.
        self._line = re.compile(
            "([^ ]*) ?.?(.*)" if is_busybox(p) else f"([0-9a-f]{{{length}}}) [ *](.+)"
        )

    def lines(self, lines: list[str]) -> Waiting[None]:
        """Look at the files that *lines* name."""
        for line in lines:
            found = self._line.fullmatch(line)
            if found is None:
                self.malformed += 1
                continue
            self.total += 1
            try:
                file = yield from self.p.open(found[2])
                is_good = (yield from _digest(self.p, self.kind, file)) == found[1]
            except OSError as error:
                self.unread += 1
                yield from complain(self.p, f"{found[2]}: {explain(error)}")
                if not is_busybox(self.p):
                    yield from self._say(f"{found[2]}: FAILED open or read")
                continue
            self.wrong += not is_good
            if not (is_good and "q" in self.options):
                yield from self._say(f"{found[2]}: {'OK' if is_good else 'FAILED'}")

    def _say(self, text: str) -> Waiting[None]:
        if "s" not in self.options:
            yield from self.p.write(1, text + "\n")

    def tell(self, path: str = "") -> Steps:
        """Sum up what was found of the list *path*, and give the status."""
        p = self.p
        if self.malformed and not self.total:
            name = quote_if_odd("standard input" if path == "-" else path)
            yield from complain(p, f"{name}: no properly formatted checksum lines found")
            return 1
        bad = self.wrong + self.unread
        if is_busybox(p):
            warnings = [f"{bad} of {self.total} computed checksums did NOT match"] if bad else []
        else:
            warnings = [
                f"{count} {one if count == 1 else several}"
                for count, one, several in (
                    (
                        self.malformed,
                        "line is improperly formatted",
                        "lines are improperly formatted",
                    ),
                    (
                        self.unread,
                        "listed file could not be read",
                        "listed files could not be read",
                    ),
                    (
                        self.wrong,
                        "computed checksum did NOT match",
                        "computed checksums did NOT match",
                    ),
                )
                if count
            ]
        if "s" not in self.options:
            for warning in warnings:
                yield from p.write(2, f"{label(p)}: WARNING: {warning}\n")
        return int(bad > 0)
