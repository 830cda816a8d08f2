"""What ``echo``, ``printf`` and ``test`` make of their arguments, in the shell and as programs.

The rules and messages are BusyBox 1.35's (coreutils/echo.c, printf.c; test is in `conditions`).
"""

import re
from typing import Final

from qgasim.guest.files.nodes import decode_name, encode_name
from qgasim.userland.limits import check_size
from qgasim.userland.shell.conditions import evaluate_test

__all__ = ["echo", "evaluate_test", "expand_escapes", "format_printf"]

ESCAPES: Final = dict(zip(b"abefnrtv\\", b"\a\b\x1b\f\n\r\t\v\\", strict=True))
OCTAL: Final = re.compile(rb"[0-3]?[0-7]{1,2}")
HEX: Final = re.compile(rb"x([0-9a-fA-F]{1,2})")
DIRECTIVE: Final = re.compile(
    rb"%(?P<flag>[-+ #]?)(?P<width>\*|[0-9]*)(?P<point>\.(?P<precision>\*|[0-9]*))?"
    rb"(?P<size>[lLhz]*)(?P<kind>.?)",
    re.DOTALL,
)
NUMBER: Final = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
FLOAT: Final = re.compile(
    r"\s*[+-]?([0-9]+\.?[0-9]*(e[+-]?[0-9]+)?|\.[0-9]+(e[+-]?[0-9]+)?|inf(inity)?|nan)",
    re.ASCII | re.IGNORECASE,
)
HEX_FLOAT: Final = re.compile(
    r"\s*[+-]?0[xX][0-9a-fA-F]+(\.[0-9a-fA-F]*)?(p[+-]?[0-9]{1,3})?", re.ASCII
)
BLANKS: Final = " \t\n\v\f\r"
#: More than any script means; a wider field would only eat the host's memory.
MAX_WIDTH: Final = 1 << 20
MAX_INT: Final = (1 << 63) - 1
#: Python makes no numbers of more than 4300 digits.
MAX_DIGITS: Final = 1000


def _unescape(raw: bytes, at: int) -> tuple[int, int]:
    r"""Return the byte that the sequence at *at* (behind its ``\``) stands for, and where it ends."""
    if match := OCTAL.match(raw, at):
        return int(match[0], 8), match.end()
    if match := HEX.match(raw, at):
        return int(match[1], 16), match.end()
    if at < len(raw) and raw[at] in ESCAPES:
        return ESCAPES[raw[at]], at + 1
    return 0x5C, at


def expand_escapes(text: str) -> tuple[bytes, bool]:
    r"""Replace the sequences of ``echo -e`` and ``%b``; the flag says whether ``\c`` ended it."""
    raw = encode_name(text)
    out = bytearray()
    at = 0
    while (found := raw.find(b"\\", at)) >= 0:
        out += raw[at:found]
        at = found + 1
        if raw[at : at + 1] == b"c":
            return bytes(out), True
        # Four octal digits if the first is 0.
        if raw[at : at + 1] == b"0" and raw[at + 1 : at + 2] in {b"%d" % i for i in range(8)}:
            at += 1
        byte, at = _unescape(raw, at)
        out.append(byte)
    out += raw[at:]
    return bytes(out), False


def echo(arguments: list[str]) -> bytes:
    """Return what ``echo`` writes for *arguments* (without its own name)."""
    newline, escapes, first = b"\n", False, 0
    for argument in arguments:
        if not re.fullmatch("-[neE]+", argument):
            break
        first += 1
        for letter in argument[1:]:
            if letter == "n":
                newline = b""
            elif letter == "e":
                escapes = True
    text = " ".join(arguments[first:])
    if not escapes:
        return encode_name(text) + newline
    raw, is_cut = expand_escapes(text)
    return raw if is_cut else raw + newline


def format_printf(arguments: list[str]) -> tuple[bytes, list[str], int]:
    """Do what ``printf`` does with *arguments* (without its own name).

    Gives the output, the messages (the caller puts its name and a colon before each) and the status.
    """
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    if not arguments:
        return b"", ["usage: printf FORMAT [ARGUMENT...]"], 2
    run = _Printf(arguments)
    while True:
        before = run.at
        goes_on = run.format_once()
        if not goes_on or run.at == before or run.at >= len(run.arguments):
            return bytes(run.out), run.errors, run.status


class _Printf:
    """One call of ``printf``."""

    def __init__(self, arguments: list[str]) -> None:
        self.format = encode_name(arguments[0])
        self.arguments = arguments[1:]
        self.at = 0
        self.out = bytearray()
        self.errors: list[str] = []
        self.status = 0

    def format_once(self) -> bool:
        """Go through the format once; False if that ends the program."""
        raw, at = self.format, 0
        while at < len(raw):
            byte = raw[at]
            at += 1
            if byte == 0x5C:
                if raw[at : at + 1] == b"c":
                    return False
                value, at = _unescape(raw, at)
                self.out.append(value)
            elif byte != 0x25:
                self.out.append(byte)
            elif raw[at : at + 1] == b"%":
                self.out.append(byte)
                at += 1
            elif raw[at : at + 1] == b"b":
                at += 1
                text, is_cut = expand_escapes(self._next())
                self.out += text
                if is_cut:
                    return False
            else:
                match = DIRECTIVE.match(raw, at - 1)
                assert match is not None
                width, precision = self._measure(match["width"]), self._measure(match["precision"])
                if not match["kind"] or match["kind"] not in b"diouxXfeEgGcs":
                    bad = raw[at - 1 : match.start("size")] + raw[match.end("size") :]
                    self._complain(f"{decode_name(bad)}: invalid format")
                    return False
                self._convert(match, width, precision)
                at = match.end()
        return True

    def _complain(self, message: str) -> None:
        self.errors.append(message)
        self.status = 1

    def _next(self) -> str:
        self.at += 1
        return self.arguments[self.at - 1] if self.at <= len(self.arguments) else ""

    def _measure(self, given: bytes | None) -> str:
        """Return a width or precision as digits, the next argument for ``*``."""
        if given != b"*":
            return str(min(int(given[:MAX_DIGITS]), MAX_WIDTH)) if given else ""
        if self.at >= len(self.arguments):
            return "0"
        argument = self._next()
        if (
            not re.fullmatch("-?[0-9]+", argument[:MAX_DIGITS])
            or abs(int(argument[:MAX_DIGITS])) > MAX_INT
        ):
            self.errors.append(f"invalid number '{argument}'")
            return "0"
        return str(max(-MAX_WIDTH, min(int(argument), MAX_WIDTH)))

    def _convert(self, match: re.Match[bytes], width: str, precision: str) -> None:
        kind = match["kind"].decode()
        flags = match["flag"].decode()
        if (match["width"] or b"")[:1] == b"0":
            flags += "0"
        if width.startswith("-"):
            flags, width = flags + "-", width[1:]
        if precision.startswith("-"):
            precision = ""
        elif match["point"]:
            precision = "." + (precision or "0")
        argument = self._next()
        how = "%" + flags + width
        value: bytes | int | float
        if kind == "c":
            value, kind, precision = encode_name(argument)[:1] or b"\0", "s", ""
        elif kind == "s":
            value = encode_name(argument)
        elif kind in "feEgG":
            value = self._float(argument)
        else:
            value = self._integer(argument.lstrip(BLANKS), is_signed=kind in "di")
            if kind == "o" and "#" in flags:
                how, precision = how.replace("#", ""), f".{len(f'{value:o}') + bool(value)}"
            kind = "d" if kind == "u" else kind
            if not value:
                how = how.replace("#", "")
        check_size(len(self.out) + int(width or 0) + int(precision[1:] or 0))
        self.out += f"{how}{precision}{kind}".encode() % value

    def _integer(self, text: str, *, is_signed: bool) -> int:
        if text[:1] in ("'", '"'):
            return (encode_name(text[1:]) or b"\0")[0]
        match = NUMBER.fullmatch(text)
        if match is not None and len(text) < MAX_DIGITS:
            sign, digits = match[1], match[2]
            base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
            value = int(digits, base) * (-1 if sign == "-" else 1)
            if -MAX_INT - 1 <= value <= MAX_INT:
                return value if is_signed else value & 0xFFFFFFFFFFFFFFFF
            if 0 <= value < 1 << 64 and not is_signed:
                return value
        self._complain(f"invalid number '{text}'")
        return 0

    def _float(self, text: str) -> float:
        if text[:1] in ("'", '"'):
            return (encode_name(text[1:]) or b"\0")[0]
        if not text:
            return 0.0
        if HEX_FLOAT.fullmatch(text):
            return float.fromhex(text)
        if not FLOAT.fullmatch(text):
            self._complain(f"invalid number '{text}'")
            return 0.0
        return float(text)
