"""Programs that turn bytes into text: base64, md5sum, sha256sum."""

import base64
import binascii
import hashlib
import re
from typing import Final

from qgasim.guest.files.nodes import decode_name
from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.programs.getopt import Options, parse, to_number
from qgasim.userland.programs.inputs import CHUNK, cannot_read, open_input, read_input, split_lines
from qgasim.userland.programs.messages import (
    complain,
    explain,
    fail,
    is_busybox,
    label,
    pick,
    quote_if_odd,
)
from qgasim.userland.programs.registry import program

__all__: list[str] = []


@program("base64")
def base64_(p: Process) -> Steps:
    """Encode, or decode with ``-d``."""
    options = yield from parse(p, "dDiw:", {"decode": "d", "wrap": "w", "ignore-garbage": "i"})
    data = yield from read_input(p, (options.operands or ["-"])[0])
    if data is None:
        return 1
    if "d" not in options and "D" not in options:
        wrap = options.get("w") or "76"
        width = yield from to_number(p, wrap, "invalid wrap size", is_clamped=True)
        yield from _encode(p, data, width)
        return 0
    yield from _decode(p, data, _NO_DIGITS if "i" in options else b"\n")
    return 0


#: So many bytes are encoded or decoded in one go: a multiple of three and of four.
_PIECE: Final = 3 << 16
_NO_DIGITS: Final = bytes(
    byte for byte in range(256) if not re.match(rb"[A-Za-z0-9+/=]", bytes([byte]))
)
_GROUPS: Final = re.compile(rb"(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)*+")
_PADDED: Final = re.compile(rb"[^=]++=*+")
_PART: Final = re.compile(rb"[A-Za-z0-9+/]{2,3}")


def _encode(p: Process, data: bytes, width: int) -> Waiting[None]:
    """Write *data* as base64 in lines of *width* characters; 0: without newlines."""
    rest = b""
    for at in range(0, len(data), _PIECE):
        text = rest + base64.b64encode(data[at : at + _PIECE])
        whole = len(text) // width * width if width else len(text)
        rest = text[whole:]
        if width:
            lines = [text[at : at + width] + b"\n" for at in range(0, whole, width)]
            text = b"".join(lines)
        yield from p.write(1, text)
    if rest:
        yield from p.write(1, rest + b"\n")


def _decode(p: Process, data: bytes, ignored: bytes) -> Waiting[None]:
    """Write what base64 without the bytes *ignored* encodes; end the program where that is nothing."""
    rest = b""
    for at in range(0, len(data), _PIECE):
        text = rest + data[at : at + _PIECE].translate(None, ignored)
        size = len(text) if at + _PIECE >= len(data) else len(text) // 4 * 4
        text, rest = text[:size], text[size:]
        good = _GROUPS.match(text)
        assert good is not None
        # What is encoded may be several texts, each with its padding.
        yield from p.write(1, b"".join(map(binascii.a2b_base64, _PADDED.findall(good[0]))))
        if good.end() < size:
            # A group without its end, or with something else in it, is decoded as far as it goes.
            part = _PART.match(text, good.end())
            if part:
                yield from p.write(1, binascii.a2b_base64(part[0] + b"=" * (4 - len(part[0]))))
            yield from fail(p, pick(p, "truncated input", "invalid input"))


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


@program("md5sum", "sha256sum")
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
        yield from check.lines(
            [decode_name(line) for line in split_lines(p, data.removesuffix(b"\n"))]
        )
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
