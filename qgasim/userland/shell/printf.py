r"""``echo`` and ``printf``: one engine, and the rules in which the real ones differ.

The rules are those of dash 0.5.12 (bltin/printf.c), BusyBox 1.35 (coreutils/printf.c, echo.c), bash 5.2
(builtins/printf.def) and coreutils 9.1; `tests.userland.test_real_printf` compares each with the real one.
"""

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

from qgasim.guest.files.nodes import decode_name, encode_name
from qgasim.userland.limits import check_size, to_int
from qgasim.userland.shell.quoting import quote_by_backslashes

__all__ = [
    "ASH",
    "BASH",
    "DASH",
    "ZERO_OCTAL",
    "Complaint",
    "Rules",
    "echo",
    "escapes",
    "expand_dollar_quoted",
    "expand_escapes",
    "format_printf",
]

LETTERS: Final = dict(zip(b'abeEfnrtv\\"', b'\a\b\x1b\x1b\f\n\r\t\v\\"', strict=True))
MAX_INT: Final = (1 << 63) - 1
MAX_UNSIGNED: Final = (1 << 64) - 1
INTEGER: Final = re.compile(
    r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII
)
FLOAT: Final = re.compile(
    r"[ \t\n\v\f\r]*[+-]?(0x([0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(p[+-]?[0-9]+)?|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf(inity)?|nan)",
    re.ASCII | re.IGNORECASE,
)
ESCAPE: Final = (
    rb"""\\(?:(?P<octal>%s)|x(?P<hex>%s)|u(?P<u4>%s)|U(?P<u8>%s)|(?P<cut>%s)|(?P<letter>[%s]))"""
)
NEVER: Final = rb"(?!)"
DIRECTIVE: Final = rb"%%(?P<flags>%s)(?P<width>\*|[0-9]*)(?P<point>\.(?P<precision>\*|[0-9]*))?(?P<size>%s)(?P<kind>.?)"


def escapes(
    octal: bytes,
    *,
    letters: bytes = rb"abefnrtv\\",
    hexadecimal: bytes = b"[0-9a-fA-F]{0,2}",
    has_unicode: bool = False,
    cuts: bool = False,
) -> bytes:
    return ESCAPE % (
        octal,
        hexadecimal,
        b"[0-9a-fA-F]{0,4}" if has_unicode else NEVER,
        b"[0-9a-fA-F]{0,8}" if has_unicode else NEVER,
        b"c" if cuts else NEVER,
        letters,
    )


class Complaint(Struct, frozen=True):
    """A message, and how much of the output is written before it."""

    text: str
    at: int


class Rules(Struct, frozen=True, kw_only=True):
    """What one of the programs does."""

    #: What of the output is written before a message: all of it, or whole lines.
    flushes: Literal["", "all", "lines"] = ""

    #: Escape sequences of the format, of ``%b``, and of ``echo``.
    escapes: bytes
    argument_escapes: re.Pattern[bytes]
    echo_escapes: re.Pattern[bytes]
    #: Those of ``$'...'``, if there is that.
    dollar_escapes: re.Pattern[bytes] = re.compile(NEVER)
    #: Whether ``echo`` replaces them without ``-e``, and has only ``-n``.
    always_escapes: bool = False
    flags: bytes = rb"[#\-+ 0]*"
    sizes: bytes = b"[hjlLtz]*"
    kinds: str = "diouxXeEfFgGcsb"
    #: Kinds that the real program has, and this one does not simulate.
    refused: str = "aA"
    #: Messages: ``{}`` is the directive, ``{kind}`` its last character.
    bad_directive: str
    bad_directive_status: int = 1
    no_kind: str = ""
    no_number: str
    partial_number: str
    out_of_range: str
    #: How arguments are shown in messages.
    quote: Callable[[str], str] = str
    #: Of a width or precision that is not in C's ``int``; without, it is cut to that.
    bad_width: str = ""
    #: Whether text after a number, or none, makes it 0 and is an error; messages about a directive show the rest of the
    #: format, without sizes; and ``-E`` of ``echo`` does nothing.
    is_busybox: bool = False
    #: Whether an empty argument is a number.
    takes_empty: bool = False
    #: Whether a number that is out of range is no failure.
    only_warns_of_range: bool = False
    #: Of ``\\x`` and ``\\u`` without digits; empty if such a sequence stands for itself.
    no_hex: str = ""
    no_unicode: str = ""
    #: Whether these end the program.
    must_have_digits: bool = False
    #: The status after ``\\c``, if not that of what came before.
    cut_status: int | None = None
    #: The message about arguments without a directive.
    excess: str = ""
    #: Which kinds each flag, or a precision (``.``), cannot go with; ``%b`` has none of them then.
    bad_flags: Mapping[str, str] = MappingProxyType({})
    has_plain_b: bool = False
    #: Complained about if more characters than the one after a quote are there.
    excess_characters: str = ""

    @property
    def token(self) -> bytes:
        """The pattern of what is not literal in a format."""
        return self.escapes + b"|" + DIRECTIVE % (self.flags, self.sizes)


ZERO_OCTAL: Final = rb"0[0-7]{0,3}|[0-7]{1,3}"
DASH: Final = Rules(
    escapes=escapes(rb"[0-7]{1,3}", hexadecimal=NEVER),
    argument_escapes=re.compile(escapes(ZERO_OCTAL, hexadecimal=NEVER, cuts=True)),
    echo_escapes=re.compile(escapes(ZERO_OCTAL, hexadecimal=NEVER, cuts=True)),
    always_escapes=True,
    sizes=b"",
    bad_directive="{}: invalid directive",
    bad_directive_status=2,
    no_kind="missing format character",
    no_number="{}: expected numeric value",
    partial_number="{}: not completely converted",
    out_of_range="{}: Numerical result out of range",
    takes_empty=True,
)
_ASH_OCTAL: Final = rb"[0-3]?[0-7]{1,2}"
_HEX: Final = b"[0-9a-fA-F]{1,2}"
_ASH_ARGUMENT: Final = re.compile(
    escapes(rb"0[0-3]?[0-7]{1,2}|" + _ASH_OCTAL, hexadecimal=_HEX, cuts=True)
)
ASH: Final = Rules(
    flushes="all",
    escapes=escapes(_ASH_OCTAL, hexadecimal=_HEX, cuts=True),
    argument_escapes=_ASH_ARGUMENT,
    echo_escapes=_ASH_ARGUMENT,
    dollar_escapes=re.compile(escapes(rb"[0-7]{1,3}", letters=rb"abfnrtv\\\"'")),
    sizes=b"[lLhz]*",
    kinds="diouxXfeEgGcsb",
    refused="",
    bad_directive="{}: invalid format",
    no_number="invalid number '{}'",
    partial_number="invalid number '{}'",
    out_of_range="invalid number '{}'",
    is_busybox=True,
    has_plain_b=True,
)
BASH: Final = Rules(
    flushes="lines",
    escapes=escapes(rb"[0-7]{1,3}", letters=rb"abefnrtv\\\"'?", has_unicode=True),
    argument_escapes=re.compile(
        escapes(ZERO_OCTAL, letters=rb"abefnrtv\\\"'?", has_unicode=True, cuts=True)
    ),
    echo_escapes=re.compile(escapes(rb"0[0-7]{0,3}", has_unicode=True, cuts=True)),
    dollar_escapes=re.compile(
        escapes(rb"[0-7]{1,3}", letters=rb"abeEfnrtv\\\"'?", has_unicode=True, cuts=True)
        + rb"(?P<control>(?<=c).)?",
        re.DOTALL,
    ),
    flags=rb"[#'\-+ 0]*",
    refused="aAQn(",
    kinds="diouxXeEfFgGcsbq",
    bad_directive="`{kind}': invalid format character",
    no_kind="`{}': missing format character",
    no_number="{}: invalid {base}number",
    partial_number="{}: invalid {base}number",
    out_of_range="warning: {}: Numerical result out of range",
    only_warns_of_range=True,
    takes_empty=True,
    no_hex="missing hex digit for \\x",
    no_unicode="missing unicode digit for \\{}",
    cut_status=0,
)


def _unescape(match: re.Match[bytes]) -> bytes:
    """Return what an escape sequence stands for."""
    if match["octal"] is not None:
        return bytes([int(match["octal"], 8) & 0xFF])
    if match["hex"]:
        return bytes([int(match["hex"], 16)])
    if match["letter"] is None and not (match["u4"] or match["u8"]):
        return match[0]
    if number := match["u4"] or match["u8"]:
        # In the C locale of an agent, what is not ASCII is written as it was read.
        point = int(number, 16)
        if point < 0x80:
            return bytes([point])
        return b"\\u%04X" % point if point <= 0xFFFF else b"\\U%08X" % point
    letter = match["letter"][0]
    return bytes([LETTERS.get(letter, letter)])


def _expand(raw: bytes, escape: re.Pattern[bytes]) -> tuple[bytes, bool]:
    r"""Replace escape sequences; the flag says whether ``\c`` ended the text."""
    out = bytearray()
    at = 0
    for match in escape.finditer(raw):
        out += raw[at : match.start()]
        if match["cut"]:
            return bytes(out), True
        out += _unescape(match)
        at = match.end()
    return bytes(out + raw[at:]), False


def expand_dollar_quoted(text: str, rules: Rules) -> str:
    """Replace the sequences of ``$'...'``; what is behind a zero byte bash does not see, and ash no zero byte."""

    def replace(match: re.Match[bytes]) -> bytes:
        if not match["cut"]:
            return _unescape(match)
        control = match["control"]
        return b"\\c" if not control else b"\x7f" if control == b"?" else bytes([control[0] & 0x1F])

    raw = rules.dollar_escapes.sub(replace, encode_name(text))
    return decode_name(raw.split(b"\0")[0] if rules is BASH else raw.replace(b"\0", b""))


def expand_escapes(text: str) -> tuple[bytes, bool]:
    r"""Replace the sequences of ``echo -e``; the flag says whether ``\c`` ended it."""
    return _expand(encode_name(text), ASH.echo_escapes)


def echo(arguments: list[str], rules: Rules) -> bytes:
    """Return what ``echo`` writes for *arguments* (without its own name)."""
    newline, escapes, first = b"\n", rules.always_escapes, 0
    if rules.always_escapes:
        first = int(arguments[:1] == ["-n"])
        newline = b"" if first else newline
    else:
        for argument in arguments:
            if not re.fullmatch("-[neE]+", argument):
                break
            first += 1
            for letter in argument[1:]:
                if letter == "n":
                    newline = b""
                else:
                    escapes = letter == "e" or (escapes and rules.is_busybox)
    text = encode_name(" ".join(arguments[first:]))
    if not escapes:
        return text + newline
    raw, is_cut = _expand(text, rules.echo_escapes)
    return raw if is_cut else raw + newline


def format_printf(arguments: list[str], rules: Rules) -> tuple[bytes, list[Complaint], int]:
    """Do what ``printf`` does with *arguments*, the format and what is to be put into it.

    Return the output, the messages (the caller puts its name before each) and the status.
    """
    run = _Printf(arguments, rules)
    while True:
        before = run.at
        try:
            goes_on = run.format_once()
        except _Ended:
            goes_on = False
        if goes_on and run.at == before < len(run.arguments) and rules.excess:
            run.say(rules.excess.format(rules.quote(run.arguments[run.at])))
        if not goes_on or run.at == before or run.at >= len(run.arguments):
            return bytes(run.out), run.errors, run.status


class _Ended(Exception):
    """Raised where a message ends the program."""


class _Printf:
    """One call of ``printf``."""

    def __init__(self, arguments: list[str], rules: Rules) -> None:
        self.rules = rules
        self.token = re.compile(rules.token, re.DOTALL)
        self.format = encode_name(arguments[0])
        self.arguments = arguments[1:]
        self.at = 0
        self.out = bytearray()
        self.errors: list[Complaint] = []
        self.status = 0

    def format_once(self) -> bool:
        """Go through the format once; False if that ends the program."""
        at = 0
        for match in self.token.finditer(self.format):
            self.out += self.format[at : match.start()]
            at = match.end()
            if match["kind"] is None:
                goes_on = self._take_escape(match)
            elif match[0] == b"%%":
                self.out += b"%"
                goes_on = True
            else:
                goes_on = self._convert(match)
            if not goes_on:
                return False
        self.out += self.format[at:]
        return True

    def _take_escape(self, match: re.Match[bytes]) -> bool:
        """Write what an escape sequence stands for; False if that ends the program."""
        rules = self.rules
        if match["cut"]:
            self.status = self.status if rules.cut_status is None else rules.cut_status
            return False
        digits = match["hex"] if match["hex"] is not None else match["u4"] or match["u8"]
        is_unicode = match["u4"] is not None or match["u8"] is not None
        message = ""
        if (match["hex"] is not None or is_unicode) and not digits:
            message = (rules.no_unicode or rules.no_hex) if is_unicode else rules.no_hex
        elif is_unicode and rules.must_have_digits:
            message = _check_character(match["u4"], match["u8"])
        if message:
            self.say(message.format(decode_name(match[0][1:2])))
            self.status = 1 if rules.must_have_digits else self.status
        if message and rules.must_have_digits:
            return False
        self.out += _unescape(match)
        return True

    def _expand_argument(self, raw: bytes) -> tuple[bytes, bool]:
        r"""Replace the escape sequences of ``%b``; False if ``\\c`` ended it."""
        before, self.out = self.out, bytearray()
        at, goes_on = 0, True
        for match in self.rules.argument_escapes.finditer(raw):
            self.out += raw[at : match.start()]
            at = match.end()
            if not (goes_on := self._take_escape(match)):
                break
        else:
            self.out += raw[at:]
        text, self.out = bytes(self.out), before
        return text, goes_on

    def say(self, text: str) -> None:
        """Add a message."""
        lines = self.out.rfind(b"\n") + 1
        at = {"all": len(self.out), "lines": lines, "": 0}[self.rules.flushes]
        self.errors.append(Complaint(text, at))

    def _complain(self, message: str, text: str) -> None:
        base = "octal " if re.match("0[0-9]", text) else "hex " if text[:2] == "0x" else ""
        self.say(message.format(self.rules.quote(text), base=base))
        self.status = 1

    def _next(self) -> str | None:
        self.at += 1
        return self.arguments[self.at - 1] if self.at <= len(self.arguments) else None

    def _measure(self, given: bytes | None, what: str) -> int | None:
        """Return a width or precision, the next argument for ``*``; None if there is none."""
        if given is None:
            return None
        if given != b"*":
            return to_int(given)
        argument = self._next()
        if argument is None:
            return 0
        if self.rules.is_busybox:
            value = to_int(argument.lstrip("-")) if re.fullmatch("-?[0-9]+", argument) else 1 << 31
            if value >= 1 << 31:
                self.say(self.rules.no_number.format(argument))
                return 0
            return -value if argument.startswith("-") else value
        value = self._integer(argument)
        in_int = (value + (1 << 31)) % (1 << 32) - (1 << 31)
        if self.rules.bad_width and value != in_int:
            self._complain(self.rules.bad_width.replace("{what}", what), argument)
            raise _Ended
        return in_int

    def _is_bad(self, match: re.Match[bytes], kind: str) -> bool:
        rules = self.rules
        if kind not in rules.kinds or not kind:
            return True
        if kind == "b":
            return rules.has_plain_b and match[0] != b"%b"
        used = match["flags"].decode() + ("." if match["point"] else "")
        return any(kind in rules.bad_flags.get(flag, "") for flag in used)

    def _refuse_directive(self, match: re.Match[bytes], kind: str) -> bool:
        rules = self.rules
        if kind and kind in rules.refused:
            self._complain("%{}: not simulated by qgasim (give the command under programs:)", kind)
            return False
        shown = decode_name(match[0])
        if rules.is_busybox:
            shown = decode_name(match.string[match.start() : match.start("size")])
            shown += decode_name(match.string[match.end("size") :])
        form = rules.bad_directive if kind or not rules.no_kind else rules.no_kind
        self.say(form.format(shown, kind=decode_name(match["kind"])))
        self.status = rules.bad_directive_status
        return False

    def _convert(self, match: re.Match[bytes]) -> bool:
        """Write what a directive makes of the next argument; False if that ends the program."""
        kind, flags = match["kind"].decode("latin-1"), match["flags"].decode()
        width = self._measure(match["width"], "field width") or 0
        precision = self._measure(match["precision"], "precision")
        if self._is_bad(match, kind):
            return self._refuse_directive(match, kind)
        if width < 0:
            flags, width = flags + "-", -width
        if match["width"][:1] == b"0" and "0" not in flags:
            flags += "0"
        if precision is not None and precision < 0:
            precision = None
        check_size(len(self.out) + width + (precision or 0))
        flags = flags.replace("'", "").replace("I", "")
        argument, goes_on = self._next(), True
        if kind in "csbq":
            raw = encode_name(argument or "")
            if kind == "q":
                raw = encode_name(quote_by_backslashes(argument or ""))
            elif kind == "b":
                raw, goes_on = self._expand_argument(raw)
            elif kind == "c":
                raw, precision = raw[:1] or b"\0", None
            text = raw if precision is None else raw[:precision]
            self.out += text.ljust(width) if "-" in flags else text.rjust(width)
        else:
            is_float = kind in "eEfFgG"
            value = self._float(argument) if is_float else self._integer(argument, kind in "di")
            self.out += _format_number(value, kind, flags, width, precision)
        return goes_on

    def _find_number(
        self, pattern: re.Pattern[str], text: str | None
    ) -> tuple[re.Match[str] | None, int | None]:
        """Return the number that begins *text*, or the character that it quotes instead."""
        rules = self.rules
        if text is None and not rules.is_busybox:
            return None, 0
        text = text or ""
        if rules.is_busybox and pattern is INTEGER:
            text = text.lstrip(" \t\n\v\f\r")
        if text[:1] in ("'", '"') and text:
            raw = encode_name(text[1:])
            if not raw and rules.excess_characters:
                self._complain(rules.no_number, text)
            if len(raw) > 1 and rules.excess_characters:
                self.say(rules.excess_characters.format(decode_name(raw[1:])))
            return None, (raw or b"\0")[0]
        match = pattern.match(text)
        if match is None:
            if text or not rules.takes_empty:
                self._complain(rules.no_number, text)
        elif match.end() < len(text):
            self._complain(rules.partial_number, text)
            match = None if rules.is_busybox else match
        return match, 0 if match is None else None

    def _integer(self, text: str | None, is_signed: bool = True) -> int:
        match, instead = self._find_number(INTEGER, text)
        if match is None:
            return instead or 0
        digits = match[2]
        base = 10 if digits[0] != "0" else 16 if digits[1:2] in ("x", "X") else 8
        # Of a longer number no more is needed than that it is out of range.
        value = int(digits[:100], base) * (-1 if match[1] == "-" else 1)
        if is_signed:
            clipped = max(-MAX_INT - 1, min(value, MAX_INT))
            is_in_range = clipped == value
        else:
            # strtoumax(3) takes a sign, and wraps.
            lowest = -MAX_INT - 1 if self.rules.is_busybox else -MAX_UNSIGNED
            is_in_range = lowest <= value <= MAX_UNSIGNED
            clipped = value & MAX_UNSIGNED if is_in_range else MAX_UNSIGNED
        if match.end() == len(match.string) and not is_in_range:
            self._complain_of_range(match.string)
            return 0 if self.rules.is_busybox else clipped
        return clipped

    def _complain_of_range(self, text: str) -> None:
        status = self.status
        self._complain(self.rules.out_of_range, text)
        self.status = status if self.rules.only_warns_of_range else 1

    def _float(self, text: str | None) -> float:
        if self.rules.is_busybox and not text:
            return 0.0
        match, instead = self._find_number(FLOAT, text)
        if match is None:
            return instead or 0.0
        found = match[0]
        try:
            value = float.fromhex(found) if "x" in found.lower() else float(found)
        except OverflowError:
            value = -math.inf if found.lstrip().startswith("-") else math.inf
        # UNVERIFIED: bash and coreutils compute with long double, in which more is in range.
        if math.isinf(value) and "n" not in found.lower() and match.end() == len(match.string):
            self._complain_of_range(match.string)
        return value


def _check_character(short: bytes | None, long: bytes | None) -> str:
    """Return what coreutils says of a character that C does not let one name; empty if it does."""
    digits, size, mark = (short, 4, "u") if short is not None else (long or b"", 8, "U")
    if len(digits) < size:
        return "missing hexadecimal number in escape"
    point = int(digits, 16)
    if (point < 0xA0 and point not in b"$@`") or 0xD800 <= point <= 0xDFFF:
        return f"invalid universal character name \\{mark}{point:0{size}x}"
    return ""


def _format_number(value: float, kind: str, flags: str, width: int, precision: int | None) -> bytes:
    """Format *value* as C does, where Python's own formatting differs."""
    if kind in "eEfFgG":
        if not math.isfinite(value):
            flags, precision = flags.replace("0", ""), None
    else:
        if kind in "oxXu":
            flags = flags.replace("+", "").replace(" ", "")
        if precision is not None:
            flags = flags.replace("0", "")
        if kind == "o" and "#" in flags:
            precision = max(precision or 0, len(f"{value:o}") + bool(value))
        if kind == "o" or not value:
            flags = flags.replace("#", "")
        if not value and precision == 0:
            sign = "+" if "+" in flags else " " if " " in flags else ""
            return f"%{flags}{width or ''}s".encode() % sign.encode()
    limit = "" if precision is None else f".{precision}"
    return f"%{flags}{width or ''}{limit}{'d' if kind == 'u' else kind}".encode() % value
