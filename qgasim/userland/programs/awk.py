"""The program awk, as far as one prints columns with it: ``awk -F: '/re/ {print $1, $NF}'``."""

import re
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from qgasim.guest.files.nodes import decode_name
from qgasim.guest.processes.process import Process, Steps
from qgasim.matching import Pattern
from qgasim.userland.limits import to_int
from qgasim.userland.programs.getopt import not_simulated, parse, usage_error
from qgasim.userland.programs.inputs import Source
from qgasim.userland.programs.messages import fail, is_busybox, pick
from qgasim.userland.programs.posix_regex import RegexError, compile_regex
from qgasim.userland.programs.registry import program
from qgasim.userland.shell.printf import expand_escapes

__all__: list[str] = []

#: A rule that is known here: an expression, and what is printed of a line that matches it.
_RULE: Final = re.compile(
    r"""[\s;]*(?:/((?:[^/\\]|\\.)++)/\s*)?(?:\{\s*print\b((?:[^"{};()]|"(?:[^"\\]|\\.)*+")*+)[\s;]*\})?[\s;]*"""
)
#: A value: a text, a field, or a number; and what stands between two that are printed apart.
_VALUE: Final = re.compile(
    r"""\s*(?:"((?:[^"\\]|\\.)*+)"|\$(NF|NR|\d+)|(NF|NR|\d{1,15}(?![\w.])))|\s*(,)"""
)


class _Rule(Struct):
    """``/regex/ {print values}``: *values* are the texts, names and numbers of each item."""

    regex: Pattern | None
    items: list[list[tuple[str, str]]]


def _read(text: str) -> list[_Rule] | None:
    """Return the rules of a script; None if it is more than is known here."""
    rules: list[_Rule] = []
    at = 0
    while at < len(text):
        found = _RULE.match(text, at)
        if found is None or not (found[1] or found[2] is not None):
            return None
        items = _read_items(found[2] or "")
        if items is None:
            return None
        regex = _compile(found[1].replace("\\/", "/")) if found[1] else None
        rules.append(_Rule(regex, items))
        at = found.end()
    return rules


def _read_items(text: str) -> list[list[tuple[str, str]]] | None:
    items: list[list[tuple[str, str]]] = [[]]
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _VALUE.match(text, at)
        if found is None or (found[4] and not items[-1]):
            return None
        if found[4]:
            items.append([])
        elif found[1] is not None:
            plain = decode_name(expand_escapes(found[1].replace('\\"', '"'))[0])
            items[-1].append(("text", plain))
        else:
            items[-1].append(("field", found[2]) if found[2] else ("number", found[3]))
        at = found.end()
    return None if len(items) > 1 and not items[-1] else items


def _show(value: tuple[str, str], line: str, fields: list[str], number: int) -> str:
    kind, text = value
    if kind == "text":
        return text
    index = {"NF": len(fields), "NR": number}.get(text)
    if index is None:
        index = to_int(text)
    if kind == "number":
        return str(index)
    return line if not index else fields[index - 1] if index <= len(fields) else ""


def _compile(pattern: str) -> Pattern:
    try:
        return compile_regex(pattern, extended=True, is_strict=True)
    except RegexError as error:
        raise RegexError(f"bad regex '{pattern}': {error}") from None


def _splitter(separator: str) -> Callable[[str], list[str]]:
    if separator == " ":
        return lambda line: re.findall(r"[^ \t\n]+", line)
    if not separator:
        return list
    if separator == "\t" or (len(separator) == 1 and separator != "\\"):
        return lambda line: line.split(separator) if line else []
    regex = _compile(separator)

    def split(line: str) -> list[str]:
        fields: list[str] = []
        at = 0
        for found in regex.finditer(line):
            if found.end() > found.start():
                fields.append(line[at : found.start()])
                at = found.end()
        return [*fields, line[at:]] if line else []

    return split


@program("awk")
def awk(p: Process) -> Steps:
    """Print columns of lines."""
    options = yield from parse(p, "F:", in_order=True)
    words = options.operands
    if not words and is_busybox(p):
        yield from usage_error(p)
    if not words:
        yield from not_simulated(p, "a call without a script")
    given = options.get("F")
    separator = " " if given is None else decode_name(expand_escapes(given)[0])
    if separator == "\\" and is_busybox(p):
        yield from not_simulated(p, "a backslash as separator")
    try:
        rules = _read(words[0])
        split = _splitter(separator)
    except RegexError as error:
        if not is_busybox(p):
            yield from not_simulated(p, f"what mawk says of the {error}")
        return (yield from fail(p, str(error)))
    if rules is None:
        yield from not_simulated(p, f"the script '{words[0]}'")
        return 2
    source = Source(p, words[1:])
    source.stops_at_failure = True
    number = 0
    while lines := (yield from source.lines()):
        out: list[str] = []
        for raw in lines:
            line = decode_name(raw.removesuffix(b"\n"))
            fields = split(line)
            number += 1
            for rule in rules:
                if rule.regex is None or rule.regex.search(line):
                    items = (
                        "".join(_show(value, line, fields, number) for value in item)
                        for item in rule.items
                    )
                    out.append((" ".join(items) if rule.items[0] else line) + "\n")
        yield from p.write(1, "".join(out))
    return pick(p, 1, 2) if source.has_failed else 0
