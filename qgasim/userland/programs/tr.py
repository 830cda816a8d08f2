"""The program tr."""

import re
from typing import Final

from msgspec import Struct

from qgasim.guest.files.nodes import decode_name, encode_name
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.programs.getopt import (
    Options,
    missing_operand,
    not_simulated,
    parse,
    usage_error,
)
from qgasim.userland.programs.messages import explain, fail, is_busybox, quote_text
from qgasim.userland.programs.registry import program

__all__: list[str] = []

_ESCAPES: Final = dict(zip(b"abfnrtv", b"\a\b\f\n\r\t\v", strict=True))
_CLASSES: Final = {
    b"alpha": rb"[A-Za-z]", b"digit": rb"[0-9]", b"alnum": rb"[A-Za-z0-9]", b"upper": rb"[A-Z]",
    b"lower": rb"[a-z]", b"space": rb"[\t-\r ]", b"blank": rb"[\t ]", b"punct": rb"[!-/:-@\[-`{-~]",
    b"cntrl": rb"[\x00-\x1f\x7f]", b"xdigit": rb"[0-9A-Fa-f]",
    # BusyBox has none of these.
    b"print": rb"[ -~]", b"graph": rb"[!-~]",
}  # fmt: skip
_EVERY: Final = bytes(range(256))
_LONG: Final = {"complement": "c", "delete": "d", "squeeze-repeats": "s"}


class _Element(Struct):
    """A part of a set: bytes, all those of a class, or one that fills the set up."""

    values: bytes
    name: bytes = b""
    fills: bool = False

    @property
    def has_case(self) -> bool:
        """Return whether it is a class that stands for its counterpart."""
        return self.name in (b"upper", b"lower")


def _class_values(name: bytes) -> bytes:
    return b"".join(re.findall(_CLASSES[name], _EVERY))


# -- GNU's sets (coreutils 9.1, src/tr.c) ------------------------------------------------------


def _unescape(p: Process, text: bytes) -> Waiting[tuple[bytes, bytes]]:
    """Return the bytes of a set, and the same with a NUL for each that was not written plainly."""
    values, plain = bytearray(), bytearray()
    at = 0
    while at < len(text):
        found = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL).match(text, at)
        if found is None:
            values.append(text[at])
            plain.append(text[at])
            at += 1
            if text[at - 1] == 92:
                warning = "warning: an unescaped backslash at end of string is not portable"
                yield from p.write(2, f"{p.argv[0]}: {warning}\n")
            continue
        digits = found[1]
        if not digits[:1].isdigit() or digits[0] > 0x37:
            values.append(_ESCAPES.get(digits[0], digits[0]))
        elif int(digits, 8) > 0xFF:
            yield from not_simulated(p, f"'{decode_name(found[0])}'")
        else:
            values.append(int(digits, 8))
        plain.append(0)
        at = found.end()
    return bytes(values), bytes(plain)


def _parse_set(p: Process, argument: str) -> Waiting[list[_Element]]:
    values, plain = yield from _unescape(p, encode_name(argument))
    elements: list[_Element] = []
    at = 0
    while at < len(values):
        named = re.compile(rb"\[([:=])(.*?)\1\]", re.DOTALL).match(plain, at)
        repeat = re.compile(rb"\[(.)\*([^\]\0]*)\]", re.DOTALL).match(plain, at)
        if named and named[1] == b":" and named[2] in _CLASSES:
            elements.append(_Element(_class_values(named[2]), named[2]))
            at = named.end()
        elif repeat:
            digits = decode_name(repeat[2])
            if digits and not re.fullmatch(r"0[0-7]*|[1-9][0-9]{0,4}", digits):
                yield from fail(p, f"invalid repeat count {quote_text(digits)} in [c*n] construct")
            count = int(digits or "0", 8 if digits[:1] == "0" else 10)
            p.take_memory(count)
            elements.append(_Element(values[at + 1 : at + 2] * max(count, 1), fills=not count))
            at = repeat.end()
        elif named and named[1] == b":":
            name = decode_name(named[2])
            empty = "missing character class name '[::]'"
            yield from fail(p, f"invalid character class {quote_text(name)}" if name else empty)
        elif named:
            yield from not_simulated(p, f"'{decode_name(named[0])}'")
        elif plain[at + 1 : at + 2] == b"-" and at + 2 < len(values):
            first, last = values[at], values[at + 2]
            if last < first:
                text = "-".join(
                    chr(x)
                    if 0x20 <= x < 0x7F and x != 0x5C
                    else f"\\{x:03o}"
                    if x != 0x5C
                    else "\\\\"
                    for x in (first, last)
                )
                order = "are in reverse collating sequence order"
                yield from fail(p, f"range-endpoints of '{text}' {order}")
            elements.append(_Element(_EVERY[first : last + 1]))
            at += 3
        else:
            elements.append(_Element(values[at : at + 1]))
            at += 1
    return elements


def _join(elements: list[_Element]) -> bytes:
    return b"".join(element.values for element in elements)


def _map_gnu(
    p: Process, first: list[_Element], second: list[_Element], *, is_complement: bool
) -> Waiting[bytes]:
    """Return the table that maps each byte."""
    if any(element.name and not element.has_case for element in second):
        wrong = "when translating, the only character classes that may appear in"
        yield from fail(p, f"{wrong}\nstring2 are 'upper' and 'lower'")
    source = _join(first)
    has_class = any(element.name for element in first)
    if is_complement:
        source = bytes(byte for byte in _EVERY if byte not in source)
        first = [_Element(source)]
    fills = [element for element in second if element.fills]
    if len(fills) > 1:
        yield from fail(p, "only one [c*] repeat construct may appear in string2")
    for element in fills:
        element.values = element.values[:1] * max(0, len(source) - len(_join(second)) + 1)
    if source and not _join(second):
        yield from fail(p, "when not truncating set1, string2 must be non-empty")
    if is_complement and has_class and len(set(_join(second))) != 1:
        wrong = "when translating with complemented character classes,"
        yield from fail(p, f"{wrong}\nstring2 must map all characters in the domain to one")
    table = bytearray(_EVERY)
    left, right = _flatten(first), _flatten(second)
    if is_complement:
        right = [(byte, None) for byte, _ in right]
    i = j = 0
    while i < len(left) and j < len(right):
        (old, mine), (new, other) = left[i], right[j]
        if other is None:
            table[old] = new
            i, j = i + 1, j + 1
        elif mine is None:
            yield from fail(p, "misaligned [:upper:] and/or [:lower:] construct")
        else:
            for pair in zip(mine.values, other.values, strict=True):
                table[pair[0]] = pair[1]
            i, j = i + len(mine.values), j + len(other.values)
    if i < len(left) and second[-1].has_case:
        wrong = "when translating with string1 longer than string2,"
        yield from fail(p, f"{wrong}\nthe latter string must not end with a character class")
    for old, _ in left[i:]:
        table[old] = right[-1][0]
    return bytes(table)


def _flatten(elements: list[_Element]) -> list[tuple[int, _Element | None]]:
    """Return the bytes; with the first of a class that stands for its counterpart comes the class."""
    return [
        (byte, element if element.has_case and not at else None)
        for element in elements
        for at, byte in enumerate(element.values)
    ]


# -- BusyBox's sets (1.35, coreutils/tr.c, expand()) -------------------------------------------

#: A byte, also written with a backslash, or one of two constructs.
_BUSYBOX_TOKEN: Final = re.compile(
    rb"\\x([0-9a-fA-F]{1,2})|\\([0-3]?[0-7]{1,2})|\\([abefnrtv\\])|(.)", re.DOTALL
)
_BUSYBOX_ESCAPES: Final = {**_ESCAPES, 0x65: 0x1B, 0x5C: 0x5C}
_BUSYBOX_CLASS: Final = re.compile(
    rb"\[:(alpha|alnum|digit|lower|upper|space|blank|punct|cntrl|xdigit):\]"
)


def _parse_busybox(p: Process, argument: str) -> Waiting[bytes]:
    text = encode_name(argument)
    at = 0

    def take() -> int:
        nonlocal at
        found = _BUSYBOX_TOKEN.match(text, at)
        assert found is not None
        at = found.end()
        if found[3] or found[4]:
            return _BUSYBOX_ESCAPES[found[3][0]] if found[3] else found[4][0]
        return int(found[1], 16) if found[1] else int(found[2], 8)

    out = bytearray()
    while at < len(text):
        start = at
        first = take()
        if text[at : at + 1] == b"-" and at + 1 < len(text):
            at += 1
            # A range that runs backwards has nothing in it.
            out += _EVERY[first : take() + 1]
        elif named := _BUSYBOX_CLASS.match(text, start):
            out += _class_values(named[1])
            at = named.end()
        elif text.startswith(b"[=", start):
            out += text[start + 2 : start + 3]
            if text[start + 3 : start + 5] != b"=]":
                yield from usage_error(p)
            at = start + 5
        else:
            out.append(first)
    return bytes(out)


# -- both --------------------------------------------------------------------------------------


@program("tr")
def tr(p: Process) -> Steps:
    """Replace, delete and squeeze bytes."""
    options = yield from parse(p, "cCds", _LONG, in_order=True)
    deletes, squeezes = "d" in options, "s" in options
    sets = yield from _check_sets(p, options)
    is_complement = bool(options.last("cC"))
    translates = len(sets) == 2 and not deletes
    table = _EVERY
    second = b""
    if is_busybox(p):
        first = yield from _parse_busybox(p, sets[0])
        if is_complement:
            first = bytes(byte for byte in _EVERY if byte not in first)
        if len(sets) == 2 and not sets[1]:
            yield from fail(p, "STRING2 cannot be empty")
        if len(sets) == 2:
            second = yield from _parse_busybox(p, sets[1])
        if translates:
            # What has no counterpart becomes the last one, or a 0 (map()).
            second = second or b"0"
            mapping = dict(zip(first, second.ljust(len(first), second[-1:]), strict=False))
            table = bytes(mapping.get(byte, byte) for byte in _EVERY)
    else:
        elements = yield from _parse_set(p, sets[0])
        others = (yield from _parse_set(p, sets[1])) if len(sets) == 2 else []
        if any(element.fills for element in elements):
            yield from fail(p, "the [c*] repeat construct may not appear in string1")
        if translates:
            table = yield from _map_gnu(p, elements, others, is_complement=is_complement)
        elif any(element.fills for element in others):
            yield from fail(p, "the [c*] construct may appear in string2 only when translating")
        first, second = _join(elements), _join(others)
        if is_complement:
            first = bytes(byte for byte in _EVERY if byte not in first)
    squeezed = (second if len(sets) == 2 else first) if squeezes else b""
    pattern = re.compile(
        b"([" + re.escape(squeezed) + b"])\\1+" if squeezed else b"(?!)()", re.DOTALL
    )
    last = b""
    while data := (yield from _read(p)):
        out = data.translate(table, first if deletes else b"")
        if squeezed and out:
            out = pattern.sub(rb"\1", last + out)
            out, last = out[len(last) :], out[-1:]
        yield from p.write(1, out)
    return 0


def _check_sets(p: Process, options: Options) -> Waiting[list[str]]:
    """Return the one or two sets that are used."""
    deletes, squeezes = "d" in options, "s" in options
    sets = options.operands
    if not sets:
        yield from missing_operand(p)
    if is_busybox(p):
        # What follows them is not looked at.
        return sets[:2]
    most = 1 if deletes and not squeezes else 2
    if len(sets) < 2 and deletes == squeezes:
        why = "Two strings must be given when translating."
        if deletes:
            why = "Two strings must be given when both deleting and squeezing repeats."
        yield from p.write(2, f"{p.argv[0]}: missing operand after {quote_text(sets[-1])}\n{why}\n")
        yield from usage_error(p)
    if len(sets) > most:
        why = ""
        if most == 1 and len(sets) == 2:
            why = "\nOnly one string may be given when deleting without squeezing repeats."
        yield from usage_error(p, f"extra operand {quote_text(sets[most])}{why}")
    return sets


def _read(p: Process) -> Waiting[bytes]:
    data = b""
    try:
        data = yield from p.read(0)
    except OSError as error:
        yield from fail(p, f"read error: {explain(error)}")
    return data
