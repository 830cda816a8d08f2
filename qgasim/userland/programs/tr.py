"""The program tr."""

import re
from typing import Final

from qgasim.guest.files.nodes import decode_name, encode_name
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.programs.getopt import missing_operand, not_simulated, parse, usage_error
from qgasim.userland.programs.messages import explain, fail, is_busybox, pick, quote
from qgasim.userland.programs.registry import program

__all__: list[str] = []

ESCAPES: Final = {
    ord("a"): 7, ord("b"): 8, ord("f"): 12, ord("n"): 10, ord("r"): 13, ord("t"): 9, ord("v"): 11,
    ord("\\"): 92,
}  # fmt: skip
CLASSES: Final = {
    b"alpha": rb"[A-Za-z]", b"digit": rb"[0-9]", b"alnum": rb"[A-Za-z0-9]", b"upper": rb"[A-Z]",
    b"lower": rb"[a-z]", b"space": rb"[\t-\r ]", b"blank": rb"[\t ]", b"punct": rb"[!-/:-@\[-`{-~]",
    b"print": rb"[ -~]", b"graph": rb"[!-~]", b"cntrl": rb"[\x00-\x1f\x7f]",
    b"xdigit": rb"[0-9A-Fa-f]",
}  # fmt: skip
EVERY: Final = bytes(range(256))
_LONG = {"complement": "c", "delete": "d", "squeeze-repeats": "s"}


def _unescape(text: bytes) -> list[tuple[int, bool]]:
    """Return the bytes of a set, and whether each was written plainly."""
    out: list[tuple[int, bool]] = []
    at = 0
    while at < len(text):
        byte = text[at]
        if byte == 92 and at + 1 < len(text):
            octal = re.compile(rb"[0-3]?[0-7]{1,2}").match(text, at + 1)
            if octal:
                out.append((int(octal[0], 8), False))
                at = octal.end()
                continue
            following = text[at + 1]
            out.append((ESCAPES.get(following, following), False))
            at += 2
            continue
        out.append((byte, True))
        at += 1
    return out


def _expand(p: Process, argument: str) -> Waiting[bytes]:
    """Return the bytes that a set stands for."""
    items = _unescape(encode_name(argument))
    plain = bytes(byte if is_plain else 0 for byte, is_plain in items)
    values = bytes(byte for byte, _ in items)
    out = bytearray()
    at = 0
    while at < len(items):
        named = re.compile(rb"\[:(\w+):\]").match(plain, at)
        special = re.compile(rb"\[(=.=|.\*\d*)\]", re.DOTALL).match(plain, at)
        if named:
            found = CLASSES.get(named[1])
            if found is None:
                name = named[1].decode()
                yield from fail(p, f"invalid character class {quote(name)}")
            else:
                out += b"".join(re.findall(found, EVERY))
            at = named.end()
        elif special:
            yield from not_simulated(p, f"'{decode_name(special[0])}'")
        elif plain[at + 1 : at + 2] == b"-" and at + 2 < len(items):
            if is_busybox(p) and plain[at : at + 1] == b"[" and plain[at + 4 : at + 5] == b"]":
                out.append(91)
                at += 1
                continue
            first, last = values[at], values[at + 2]
            if last < first:
                text = f"{chr(first)}-{chr(last)}"
                order = f"range-endpoints of {quote(text)} are in reverse collating sequence order"
                yield from fail(p, pick(p, f"range '{text}' is in reverse order", order))
            out += bytes(range(first, last + 1))
            at += 3
        else:
            out.append(values[at])
            at += 1
    return bytes(out)


def _read(p: Process) -> Waiting[bytes]:
    data = b""
    try:
        data = yield from p.read(0)
    except OSError as error:
        yield from fail(p, f"read error: {explain(error)}")
    return data


@program("tr")
def tr(p: Process) -> Steps:
    """Replace, delete and squeeze bytes."""
    options = yield from parse(p, "cCds", _LONG, in_order=True)
    deletes, squeezes = "d" in options, "s" in options
    sets = options.operands
    wanted = 2 if deletes == squeezes else 1
    if not sets:
        yield from missing_operand(p)
    # BusyBox's copies what it is not told to replace by anything.
    if len(sets) < wanted and (deletes or not is_busybox(p)):
        why = "Two strings must be given when translating."
        if deletes:
            why = "Two strings must be given when both deleting and squeezing repeats."
        if not is_busybox(p):
            yield from p.write(2, f"{p.argv[0]}: missing operand after {quote(sets[-1])}\n{why}\n")
        yield from usage_error(p)
    if is_busybox(p):
        # What follows them is not looked at.
        sets = sets[: 1 if deletes and not squeezes else 2]
    if len(sets) > (1 if deletes and not squeezes else 2):
        why = ""
        if deletes and len(sets) == 2:
            why = "\nOnly one string may be given when deleting without squeezing repeats."
        extra = sets[1 if deletes and not squeezes else 2]
        yield from usage_error(p, f"extra operand {quote(extra)}{why}")
    first = yield from _expand(p, sets[0])
    if "c" in options or "C" in options:
        first = bytes(byte for byte in EVERY if byte not in first)
    second = b""
    if len(sets) == 2:
        second = yield from _expand(p, sets[1])
    translates = len(sets) == 2 and not deletes
    table = EVERY
    if translates:
        if not second:
            yield from fail(p, "when not truncating set1, string2 must be non-empty")
        mapping = dict(zip(first, second.ljust(len(first), second[-1:]), strict=False))
        table = bytes(mapping.get(byte, byte) for byte in EVERY)
    squeezed = second if len(sets) == 2 else first
    last = b""
    while data := (yield from _read(p)):
        out = data.translate(table, first if deletes else b"")
        if squeezes and out:
            pattern = b"([" + re.escape(squeezed) + b"])\\1+" if squeezed else b"(?!)()"
            out = re.sub(pattern, rb"\1", last + out, flags=re.DOTALL)
            out, last = out[len(last) :], out[-1:]
        yield from p.write(1, out)
    return 0
