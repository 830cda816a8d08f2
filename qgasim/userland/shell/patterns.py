r"""Patterns of the shell: ``*``, ``?`` and brackets, in ``case``, ``${x#...}`` and file names.

A pattern is a string in which ``\`` takes the meaning from the next character. It becomes a regular
expression whose matches take time in proportion to the text times the pattern: what is between two stars is
taken where it is first found, for then most is left for the rest.
"""

import re
import string
from functools import partial
from typing import Final

from msgspec import Struct

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.processes.process import LINE_SIZE, Process, Waiting
from qgasim.matching import Cache, Pattern
from qgasim.userland.limits import check_size

#: How long a match may take, in seconds of the host.
MATCH_TIME: Final = 0.5

__all__ = [
    "escape",
    "find_files",
    "is_pattern",
    "match_prefix",
    "match_suffix",
    "matches",
    "replace",
    "replace_end",
    "strip",
]

#: The slashes that begin a path, its names, and the slashes behind each.
PARTS: Final = re.compile(r"\A/*|[^/]+|/+")
CLASSES: Final = {
    "alpha": string.ascii_letters,
    "digit": string.digits,
    "alnum": string.ascii_letters + string.digits,
    "upper": string.ascii_uppercase,
    "lower": string.ascii_lowercase,
    "space": " \t\n\v\f\r",
    "blank": " \t",
    "punct": string.punctuation,
    "xdigit": string.hexdigits,
    "print": string.ascii_letters + string.digits + string.punctuation + " ",
    "graph": string.ascii_letters + string.digits + string.punctuation,
    "cntrl": "".join(map(chr, [*range(32), 127])),
}


class Bracket(Struct, frozen=True):
    """``[...]``: the characters between each of *ranges*, or all others."""

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool

    @property
    def expression(self) -> str:
        """The regular expression that matches the same."""
        ranges = [f"{re.escape(a)}-{re.escape(b)}" for a, b in self.ranges if a <= b]
        if not ranges:
            return "." if self.is_negated else "(?!)"
        return f"[{'^' if self.is_negated else ''}{''.join(ranges)}]"


class AnyChar(Struct, frozen=True):
    """``*`` (*is_many*) or ``?``."""

    is_many: bool


Element = str | Bracket | AnyChar


def escape(text: str) -> str:
    """Make the pattern that matches *text* and nothing else."""
    return "".join("\\" + char if char in "\\*?[]!^-" else char for char in text)


def is_pattern(pattern: str) -> bool:
    """Return whether *pattern* could match more than one text."""
    return any(not isinstance(element, str) for element in compile_pattern(pattern))


def unescape(pattern: str) -> str:
    """Return the text that a pattern without special characters matches."""
    return "".join(element for element in compile_pattern(pattern) if isinstance(element, str))


def _compile(pattern: str) -> list[Element]:
    """Cut a pattern into what each matches."""
    elements: list[Element] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "\\" and at < len(pattern):
            elements.append(pattern[at])
            at += 1
        elif char in "*?":
            many = AnyChar(is_many=True)
            if char == "?":
                elements.append(AnyChar(is_many=False))
            elif not elements or elements[-1] != many:
                elements.append(many)
        elif char == "[" and (found := _compile_bracket(pattern, at)) is not None:
            bracket, at = found
            elements.append(bracket)
        else:
            elements.append(char)
    return elements


def _compile_bracket(pattern: str, at: int) -> tuple[Bracket, int] | None:
    is_negated = pattern[at : at + 1] in ("!", "^")
    at += is_negated
    start = at
    ranges: list[tuple[str, str]] = []
    if "]" not in pattern[start + 1 :]:
        return None
    while at < len(pattern):
        char = pattern[at]
        if char == "]" and at > start:
            return Bracket(tuple(ranges), is_negated), at + 1
        if pattern.startswith("[:", at) and (end := pattern.find(":]", at)) > 0:
            ranges += [(c, c) for c in CLASSES.get(pattern[at + 2 : end], "")]
            at = end + 2
            continue
        at += 1
        if char == "\\" and at < len(pattern):
            char = pattern[at]
            at += 1
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] not in ("", "]"):
            high = pattern[at + 1]
            at += 2
            if high == "\\" and at < len(pattern):
                high = pattern[at]
                at += 1
            ranges.append((char, high))
        else:
            ranges.append((char, char))
    return None


compile_pattern: Final = Cache(_compile)


def _write(elements: list[Element], *, is_longest: bool, is_whole: bool = False) -> Pattern:
    """Return the expression that matches the longest or the shortest beginning of a text, or a *whole* one."""
    runs: list[list[str]] = [[]]
    for element in elements:
        if isinstance(element, AnyChar) and element.is_many:
            runs.append([])
        elif isinstance(element, str):
            runs[-1].append(re.escape(element))
        else:
            runs[-1].append("." if isinstance(element, AnyChar) else element.expression)
    texts = ["".join(run) for run in runs]
    text = texts[0] + "".join(f"(?>.*?{run})" for run in texts[1:-1])
    if len(texts) > 1:
        text += (".*" if is_longest else ".*?") + texts[-1]
    if is_whole:
        text += r"\Z"
    return Pattern(text, re.DOTALL, weight=(max(len(elements), 1), 1), limit=MATCH_TIME)


def _compile_ends(pattern: str, *, is_longest: bool, is_reversed: bool = False) -> Pattern:
    elements = compile_pattern(pattern)
    return _write(elements[::-1] if is_reversed else elements, is_longest=is_longest)


_whole: Final = Cache(lambda text: _write(compile_pattern(text), is_longest=True, is_whole=True))
#: The beginnings and the ends that match, by whether the longest is wanted.
_beginnings: Final = {
    longest: Cache(partial(_compile_ends, is_longest=longest)) for longest in (False, True)
}
_ends: Final = {
    longest: Cache(partial(_compile_ends, is_longest=longest, is_reversed=True))
    for longest in (False, True)
}


def matches(pattern: str, text: str) -> bool:
    """Return whether *pattern* matches all of *text*."""
    return _whole(pattern).match(text) is not None


def match_prefix(pattern: str, text: str, *, is_longest: bool) -> int:
    """Return the length of the shortest or longest beginning that *pattern* matches; -1 if none."""
    found = _beginnings[is_longest](pattern).match(text)
    return -1 if found is None else found.end()


def match_suffix(pattern: str, text: str, *, is_longest: bool) -> int:
    """Return the length of the shortest or longest end that *pattern* matches; -1 if none."""
    found = _ends[is_longest](pattern).match(text[::-1])
    return -1 if found is None else found.end()


def strip(operator: str, pattern: str, text: str) -> str:
    """Take a beginning (``#``, ``##``) or an end (``%``, ``%%``) off that *pattern* matches.

    A text with zeros in it is one of C for each part: subevalvar() of dash's and BusyBox's shells looks only at
    the first, but for the shortest end, and drops what stands behind an end that is taken off.
    """
    first, zero, _ = text.partition("\0")
    is_longest = len(operator) == 2
    if operator[0] == "#":
        if zero and is_longest and matches(pattern, first):
            return ""
        return text[max(match_prefix(pattern, first, is_longest=is_longest), 0) :]
    if is_longest:
        length = match_suffix(pattern, first, is_longest=True)
        return text if length < 0 else first[: len(first) - length]
    parts = text.split("\0")
    for count in range(len(parts), 0, -1):
        length = match_suffix(pattern, parts[count - 1], is_longest=False)
        if length >= 0:
            text = "\0".join(parts[:count])
            return text[: len(text) - length]
    return text


def replace_end(anchor: str, pattern: str, replacement: str, text: str) -> str:
    """Put *replacement* for what *pattern* matches at the beginning (``#``) or the end (``%``) of *text*."""
    find = match_prefix if anchor == "#" else match_suffix
    length = find(pattern, text, is_longest=True)
    if length < 0:
        return text
    check_size(len(text) + len(replacement))
    return (
        replacement + text[length:] if anchor == "#" else text[: len(text) - length] + replacement
    )


def replace(pattern: str, replacement: str, text: str, *, is_global: bool) -> str:
    """Put *replacement* for the first longest match in *text*, or for all."""
    elements = compile_pattern(pattern)
    if not elements:
        return text
    if not is_pattern(pattern):
        check_size(len(text) + text.count(unescape(pattern)) * len(replacement))
        return text.replace(unescape(pattern), replacement, -1 if is_global else 1)
    parts: list[str] = []
    at = 0
    for found in _beginnings[True](pattern).finditer(text):
        if found.end() > found.start():
            parts += [text[at : found.start()], replacement]
            at = found.end()
            if not is_global:
                break
    check_size(sum(map(len, parts)))
    return "".join(parts) + text[at:]


def find_files(p: Process, pattern: str, *, joins: bool) -> Waiting[list[str]]:
    """Return the paths that match *pattern*, sorted as bytes; none if there are no such files.

    Slashes stay as they are, but with *joins*, as in bash, several become one behind what is a pattern.
    """
    prefix, *parts = PARTS.findall(pattern)
    if joins:
        first = next(index for index, part in enumerate(parts) if is_pattern(part))
        parts[first:] = ["/" if part.startswith("/") else part for part in parts[first:]]
    found: list[str] = []
    before = p.memory
    yield from _walk(p, prefix, parts, found)
    p.take_memory(before - p.memory)
    return sorted(found, key=encode_name)


def _walk(p: Process, prefix: str, parts: list[str], found: list[str]) -> Waiting[None]:
    """Find what matches *parts* behind *prefix*; every other part is slashes."""
    files, part, rest = p.guest.files, parts[0], parts[1:]
    if is_pattern(part):
        directory = prefix or "."
        if not files.is_dir(directory, p.cwd):
            return
        names = files.listdir(directory, p.cwd)
        if compile_pattern(part)[0] == ".":
            names += [".", ".."]
        else:
            names = [name for name in names if not name.startswith(".")]
        names = [name for name in names if matches(part, name)]
    else:
        names = [unescape(part)]
    for name in names:
        path = prefix + name
        yield from p.charge_steps(1)
        if len(rest) > 1:
            if files.is_dir(path, p.cwd):
                yield from _walk(p, path + rest[0], rest[1:], found)
        elif rest:
            if files.is_dir(path, p.cwd):
                found.append(path + rest[0])
        elif files.find(path, p.cwd, follow=False) is not None:
            p.take_memory(len(path) + LINE_SIZE)
            found.append(path)
