"""Builtins that take input apart: ``read`` and ``getopts``."""

import re
from typing import Final

from msgspec import Struct

from qgasim.guest.files.nodes import WouldBlock, decode_name, encode_name
from qgasim.guest.processes.process import Blocked, Steps, Waiting
from qgasim.guest.units import SECOND
from qgasim.userland.shell.builtins import parse_options
from qgasim.userland.shell.interpreter import Shell, builtin
from qgasim.userland.shell.state import ShellError, State, is_name

__all__: list[str] = []

WHITE: Final = " \t\n"
SPACE: Final = " \t\n\v\f\r"
#: What bash leaves where the input ends behind a backslash, and nothing is before it.
DANGLING: Final = b"\x01"
MAX_LINE: Final = 16 << 20


@builtin("getopts")
def getopts(shell: Shell, argv: list[str]) -> Steps:
    """Take the next option off the arguments."""
    state = shell.state
    if len(argv) < 3:
        raise ShellError(state.words.getopts_usage)
    known, name = argv[1], argv[2]
    arguments = argv[3:] or state.arguments
    word, index, offset = _find_option(state.option, arguments)
    if not offset:
        if not word.startswith("-") or word in ("-", "--"):
            state.set("OPTIND", str(index + (word == "--")))
            _set_result(shell, name, "?")
            if not state.flavour.is_dash:
                state.unset("OPTARG")
            return 1
        index, offset = index + 1, 1
    letter = word[offset]
    offset += 1
    at = known.find(letter) if letter != ":" else -1
    result, value, message = letter, None, ""
    if at < 0:
        result, value, message = "?", letter, state.words.getopts_option
    elif known[at + 1 : at + 2] == ":":
        if offset < len(word):
            value, offset = word[offset:], 0
        elif index <= len(arguments):
            value, index, offset = arguments[index - 1], index + 1, 0
        else:
            result, value, message = "?", letter, state.words.getopts_argument
            if known.startswith(":"):
                result = ":"
    if message and not known.startswith(":") and not _is_quiet(state):
        yield from shell.write_error(message.format(letter, name=state.name) + "\n")
        value = None
    is_empty = value is None and not message and not state.flavour.is_bash
    _set_argument(shell, "" if is_empty else value)
    is_within = 0 < offset < len(word)
    if state.flavour.is_bash and not is_within:
        # It goes on with another word; dash and ash with the same place in what is the word by then.
        offset = 0
    state.set("OPTIND", str(index - (is_within and state.flavour.is_bash)))
    state.option = (index, offset)
    _set_result(shell, name, result)
    return 0


def _is_quiet(state: State) -> bool:
    """Return whether ``getopts`` complains of nothing: OPTERR is 0; bash takes any text that is no number for that."""
    switch = state.get("OPTERR") or "1"
    if state.flavour.is_bash:
        return re.match("0*[1-9]", switch) is None
    return not state.flavour.is_dash and switch == "0"


def _find_option(option: tuple[int, int], arguments: list[str]) -> tuple[str, int, int]:
    """Return the word with the next option, the number of the word to look at, and the place in the one before."""
    index, offset = option
    if index > len(arguments) + 1:
        # getoptscmd() of dash's options.c.
        index, offset = 1, 0
    # Within a word of several letters, OPTIND is already that of the next word.
    word = arguments[index - 2] if offset and index - 2 < len(arguments) else ""
    if offset >= len(word):
        return arguments[index - 1] if index <= len(arguments) else "", index, 0
    return word, index, offset


def _set_result(shell: Shell, name: str, result: str) -> None:
    state = shell.state
    if not is_name(name):
        raise ShellError(state.words.bad_name.format(name), state.flavour.error_status)
    state.set(name, result)


def _set_argument(shell: Shell, value: str | None) -> None:
    if value is None:
        shell.state.unset("OPTARG")
    else:
        shell.state.set("OPTARG", value)


class Line(Struct):
    """What ``read`` has read: characters, and whether a backslash took their meaning."""

    text: str
    is_escaped: list[bool]
    is_complete: bool


@builtin("read")
def read(shell: Shell, argv: list[str]) -> Steps:
    """Read a line into variables."""
    state = shell.state
    options, given = parse_options(shell, argv, "rsp:n:t:u:d:")
    if state.flavour.is_dash and not given:
        raise ShellError("arg count")
    names = given or ["REPLY"]
    bad = [name for name in names if not is_name(name)]
    if bad and state.flavour.is_ash:
        yield from shell.write_error(f"{state.name}: read: '{bad[0]}': bad variable name\n")
        return 1
    if state.flavour.is_bash and names[0] in bad:
        raise ShellError(state.words.bad_name.format(names[0]), 1)
    _check_options(state, options)
    number = int(options.get("u", 0))
    if state.flavour.is_bash and number not in shell.p.files:
        what = f"{number}: invalid file descriptor" if "u" in options else f"read error: {number}"
        raise ShellError(f"{what}: Bad file descriptor", 1)
    line = yield from _read_line(shell, options, number)
    if line is None:
        return 1
    if not given:
        state.set("REPLY", line.text)
    else:
        ifs = state.get("IFS")
        separators = WHITE if ifs is None else ifs
        if state.flavour.is_ash:
            values = _split_as_ash(line, names, separators)
        else:
            # bash takes even escaped blanks off the end.
            blank = "".join(set(WHITE) & set(separators)) if state.flavour.is_bash else ""
            values = _split(line, names, separators, blank)
        for name, value in zip(names, values, strict=True):
            if name in bad:
                # dash and bash find it only now.
                raise ShellError(state.words.bad_name.format(name), state.flavour.error_status)
            state.set(name, value)
    return 0 if line.is_complete else 1


def _check_options(state: State, options: dict[str, str]) -> None:
    words = state.words
    wanted = (
        ("t", r"[0-9]{1,9}(\.[0-9]{0,9})?" + "?" * state.flavour.is_bash, words.bad_timeout),
        ("n", "[0-9]{1,9}", words.bad_count),
        ("u", "[0-9]{1,9}", words.bad_file),
    )
    for letter, pattern, message in wanted:
        if letter in options and not re.fullmatch(pattern, options[letter]):
            raise ShellError(message.format(options[letter]), state.flavour.error_status)


def _read_line(shell: Shell, options: dict[str, str], number: int) -> Waiting[Line | None]:
    delimiter = encode_name((options.get("d", "\n") or "\0")[0])[:1]
    limit = int(options.get("n", 0))
    if not limit and "n" in options and shell.state.flavour.is_bash:
        return Line("", [], is_complete=True)
    deadline = None
    if "t" in options:
        deadline = shell.p.guest.clock.uptime() + int(float(options["t"] or 0) * SECOND)
    raw = bytearray()
    escaped: list[bool] = []
    is_escape = is_complete = False
    while True:
        if limit and len(raw) >= limit:
            is_complete = True
            break
        byte = yield from _read_byte(shell, number, deadline)
        if byte is None:
            return None
        if not byte or len(raw) > MAX_LINE:
            break
        if byte == b"\0" and delimiter != b"\0":
            continue
        if is_escape:
            is_escape = False
            if byte != b"\n":
                raw += byte
                escaped.append(True)
        elif byte == b"\\" and "r" not in options:
            is_escape = True
        elif byte == delimiter:
            is_complete = True
            break
        else:
            raw += byte
            escaped.append(False)
    if is_escape and shell.state.flavour.is_bash:
        raw += DANGLING
        escaped.append(True)
    text = decode_name(bytes(raw))
    marks: list[bool] = []
    at = 0
    for char in text:
        marks.append(escaped[at])
        at += len(encode_name(char))
    return Line(text, marks, is_complete)


def _read_byte(shell: Shell, number: int, deadline: int | None) -> Waiting[bytes | None]:
    """Read a byte, nothing at the end; None if that fails or takes too long."""
    file = shell.p.files.get(number)
    while file is not None:
        yield from shell.p.charge_steps(1)
        try:
            return file.read(1)
        except WouldBlock as block:
            if deadline is not None and shell.p.guest.clock.uptime() >= deadline:
                return None
            yield Blocked(until=deadline, is_ready=block.is_ready)
        except OSError as error:
            if shell.state.flavour.is_bash:
                raise ShellError(f"read error: {number}: {error.strerror}", 1) from None
            break
    # What cannot be read is at its end.
    return b""


def _split_as_ash(line: Line, names: list[str], separators: str) -> list[str]:
    """Split as shell_builtin_read() of BusyBox's shell_common.c does, escaped characters included."""
    values: list[str] = []
    value = ""
    # 0 within a word; 2 where one separator that is not blank may come before it.
    start = 1
    for char, is_escaped in zip(line.text, line.is_escaped, strict=True):
        if not is_escaped:
            is_separator = char in separators
            if start and is_separator:
                if char in SPACE:
                    continue
                start -= 1
                if start == 1:
                    continue
            start = 0
            if is_separator and len(values) < len(names) - 1:
                values.append(value)
                value, start = "", 2 if char in SPACE else 1
                continue
        value += char
    blank = "".join(char for char in separators if char in SPACE)
    value = value.rstrip(blank)
    if value and value[-1] in separators:
        rest = value[:-1].rstrip(blank)
        # The last variable takes one field, or all that is left with the separators.
        value = value if any(char in separators for char in rest) else rest
    values.append(value)
    return values + [""] * (len(names) - len(values))


def _split(line: Line, names: list[str], separators: str, blank: str) -> list[str]:
    kinds = "".join(
        "c" if is_escaped or char not in separators else "w" if char in WHITE else "s"
        for char, is_escaped in zip(line.text, line.is_escaped, strict=True)
    ).rstrip("w")
    # A field ends with blanks, and one separator among them that is none.
    match = re.match("w*+" + "(c*+)w*+s?+w*+" * (len(names) - 1) + "(.*)", kinds)
    assert match is not None
    start, end = match.span(len(names))
    if kinds.count("s", start) == 1 and kinds.endswith("s"):
        # One separator at the end of the last value does not count, if it is the only one.
        end = max(start, len(kinds[:-1].rstrip("w")))
    values = [line.text[slice(*match.span(index))] for index in range(1, len(names))]
    values.append(line.text[start:end].rstrip(blank) if blank else line.text[start:end])
    mark = DANGLING.decode()
    return [value if value == mark else value.removesuffix(mark) for value in values]
