"""What dash's ``echo`` and ``printf`` make of their arguments (0.5.12's bltin/printf.c)."""

import re
from typing import Final

from qgasim.guest.files.nodes import decode_name, encode_name

__all__ = ["echo", "format_printf"]

ESCAPES: Final = dict(zip(b"abefnrtv\\", b"\a\b\x1b\f\n\r\t\v\\", strict=True))
OCTAL: Final = re.compile(rb"[0-7]{1,3}")
#: That of ``echo`` and ``%b``: behind a 0 as many digits again.
ZERO_OCTAL: Final = re.compile(rb"0[0-7]{0,3}|[0-7]{1,3}")
DIRECTIVE: Final = re.compile(
    rb"%(?P<flags>[#\-+ 0]*)(?P<width>\*|[0-9]*)(?:\.(?P<precision>\*|[0-9]*))?(?P<kind>.?)",
    re.DOTALL,
)
NUMBER: Final = re.compile(
    r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII
)
FLOAT: Final = re.compile(
    r"[ \t\n\v\f\r]*[+-]?([0-9]+\.?[0-9]*(e[+-]?[0-9]+)?|\.[0-9]+(e[+-]?[0-9]+)?|inf(inity)?|nan)",
    re.ASCII | re.IGNORECASE,
)
HEX_FLOAT: Final = re.compile(
    r"[ \t\n\v\f\r]*[+-]?0[xX][0-9a-fA-F]+(\.[0-9a-fA-F]*)?(p[+-]?[0-9]{1,3})?", re.ASCII
)
#: A wider field would only eat the host's memory.
MAX_WIDTH: Final = 1 << 20
MAX_INT: Final = (1 << 63) - 1
MAX_UNSIGNED: Final = (1 << 64) - 1
MAX_DIGITS: Final = 1000


def _expand(raw: bytes, *, octal: re.Pattern[bytes]) -> tuple[bytes, bool]:
    r"""Replace escape sequences; the flag says whether ``\c`` ended the text."""
    out = bytearray()
    at = 0
    while (found := raw.find(b"\\", at)) >= 0:
        out += raw[at:found]
        at = found + 1
        if octal is ZERO_OCTAL and raw[at : at + 1] == b"c":
            return bytes(out), True
        if match := octal.match(raw, at):
            out.append(int(match[0], 8) & 0xFF)
            at = match.end()
        elif at < len(raw) and raw[at] in ESCAPES:
            out.append(ESCAPES[raw[at]])
            at += 1
        else:
            out += b"\\"
    return bytes(out + raw[at:]), False


def echo(arguments: list[str]) -> bytes:
    """Return what ``echo`` writes for *arguments* (without its own name)."""
    newline = b"\n"
    if arguments[:1] == ["-n"]:
        arguments, newline = arguments[1:], b""
    raw, is_cut = _expand(encode_name(" ".join(arguments)), octal=ZERO_OCTAL)
    return raw if is_cut else raw + newline


def format_printf(arguments: list[str]) -> tuple[bytes, list[str], int]:
    """Do what ``printf`` does with *arguments* (without its own name): output, messages, status."""
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    elif arguments and arguments[0].startswith("-") and arguments[0] != "-":
        return b"", [f"Illegal option -{arguments[0][1]}"], 2
    if not arguments:
        return b"", ["usage: printf format [arg ...]"], 2
    run = _Printf(arguments)
    while True:
        before = run.at
        goes_on = run.format_once()
        if not goes_on or run.at == before or run.at >= len(run.arguments):
            return bytes(run.out), run.errors, run.status


class _Printf:
    """One call of ``printf``."""

    def __init__(self, arguments: list[str]) -> None:
        raw = encode_name(arguments[0])
        self.format = raw
        self.arguments = arguments[1:]
        self.at = 0
        self.out = bytearray()
        self.errors: list[str] = []
        self.status = 0

    def format_once(self) -> bool:
        """Go through the format once; False if that ends the program."""
        raw, at = self.format, 0
        while at < len(raw):
            if raw[at] == 0x5C:
                end = at + 1
                match = OCTAL.match(raw, end)
                end = match.end() if match else min(end + 1, len(raw))
                self.out += _expand(raw[at:end], octal=OCTAL)[0]
                at = end
            elif raw[at] != 0x25:
                self.out.append(raw[at])
                at += 1
            elif raw[at + 1 : at + 2] == b"%":
                self.out += b"%"
                at += 2
            else:
                directive = DIRECTIVE.match(raw, at)
                assert directive is not None
                if not self._convert(directive):
                    return False
                at = directive.end()
        return True

    def _complain(self, message: str) -> None:
        self.errors.append(message)
        self.status = 1

    def _next(self) -> str | None:
        self.at += 1
        return self.arguments[self.at - 1] if self.at <= len(self.arguments) else None

    def _measure(self, given: bytes | None) -> int | None:
        if given is None:
            return None
        value = self._integer(self._next()) if given == b"*" else int(given[:MAX_DIGITS] or b"0")
        return max(-MAX_WIDTH, min(value, MAX_WIDTH))

    def _convert(self, match: re.Match[bytes]) -> bool:
        width = self._measure(match["width"]) or 0
        precision = self._measure(match["precision"])
        kind, flags = match["kind"].decode("latin-1"), match["flags"].decode()
        if width < 0:
            flags, width = flags + "-", -width
        limit = "" if precision is None or precision < 0 else f".{precision}"
        how = f"%{flags}{width or ''}"
        value: bytes | int | float
        is_cut = False
        match kind:
            case "b":
                value, is_cut = _expand(encode_name(self._next() or ""), octal=ZERO_OCTAL)
                kind = "s"
            case "c":
                value, kind, limit = encode_name(self._next() or "")[:1] or b"\0", "s", ""
            case "s":
                value = encode_name(self._next() or "")
            case "d" | "i" | "o" | "u" | "x" | "X":
                value = self._integer(self._next(), is_signed=kind in "di")
                if kind == "o" and "#" in flags:
                    how, limit = how.replace("#", ""), f".{len(f'{value:o}') + bool(value)}"
                if not value:
                    how = how.replace("#", "")
                kind = "d" if kind in "ui" else kind
            case "a" | "A" | "e" | "E" | "f" | "F" | "g" | "G":
                value = self._float(self._next())
            case _:
                bad = decode_name(match[0])
                self.errors.append(f"{bad}: invalid directive")
                self.status = 2
                return False
        self.out += f"{how}{limit}{kind}".encode() % value
        return not is_cut

    def _integer(self, text: str | None, *, is_signed: bool = True) -> int:
        if text is None:
            return 0
        if text[:1] in ("'", '"'):
            return (encode_name(text[1:]) or b"\0")[0]
        match = NUMBER.match(text)
        if match is None:
            if text:
                self._complain(f"{text}: expected numeric value")
            return 0
        digits = match[2][:MAX_DIGITS]
        is_octal = digits[0] == "0" and digits[1:2] not in ("x", "X")
        value = int(digits, 8 if is_octal else 0) * (-1 if match[1] == "-" else 1)
        if match.end() < len(text):
            self._complain(f"{text}: not completely converted")
        if is_signed:
            clipped = max(-MAX_INT - 1, min(value, MAX_INT))
            is_in_range = clipped == value
        else:
            # strtoumax(3) takes a sign, and wraps.
            is_in_range = abs(value) <= MAX_UNSIGNED
            clipped = value & MAX_UNSIGNED if is_in_range else MAX_UNSIGNED
        if match.end() == len(text) and not is_in_range:
            self._complain(f"{text}: Numerical result out of range")
        return clipped

    def _float(self, text: str | None) -> float:
        if text is None:
            return 0.0
        if text[:1] in ("'", '"'):
            return (encode_name(text[1:]) or b"\0")[0]
        found = HEX_FLOAT.match(text) or FLOAT.match(text)
        if not text:
            return 0.0
        if found is None:
            self._complain(f"{text}: expected numeric value")
            return 0.0
        if found.end() < len(text):
            self._complain(f"{text}: not completely converted")
        return float.fromhex(found[0]) if "x" in found[0].lower() else float(found[0])
