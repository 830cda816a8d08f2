r"""Patterns of the shell: ``*``, ``?`` and brackets, in ``case``, ``${x#...}`` and file names.

A pattern is a string in which ``\`` takes the meaning from the next character. Matching takes time in
proportion to the text times the pattern, whatever they are: a guest's script must not stop the host.
"""

import string
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from msgspec import Struct

from qgasim.guest.files.files import Files
from qgasim.guest.files.nodes import encode_name

__all__ = [
    "escape",
    "find_files",
    "is_pattern",
    "match_prefix",
    "match_suffix",
    "matches",
    "replace",
]

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

    def accepts(self, char: str) -> bool:
        """Return whether *char* matches."""
        return self.is_negated != any(low <= char <= high for low, high in self.ranges)


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


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> list[Element]:
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


def _accepts(element: Element, char: str) -> bool:
    if isinstance(element, str):
        return element == char
    return isinstance(element, AnyChar) or element.accepts(char)


def matches(pattern: str, text: str) -> bool:
    """Return whether *pattern* matches all of *text*."""
    return _matches(compile_pattern(pattern), text)


def _matches(elements: list[Element], text: str) -> bool:
    many = AnyChar(is_many=True)
    at = done = 0
    # Where to go back to: behind the last star, with one more character taken by it.
    star = -1
    taken = 0
    while done < len(text):
        if at < len(elements) and elements[at] == many:
            star, taken = at, done
            at += 1
        elif at < len(elements) and _accepts(elements[at], text[done]):
            at += 1
            done += 1
        elif star >= 0:
            taken += 1
            at, done = star + 1, taken
        else:
            return False
    while at < len(elements) and elements[at] == many:
        at += 1
    return at == len(elements)


def _ends(elements: list[Element], text: str, start: int = 0) -> list[int]:
    """Return how long the parts of *text* from *start* on are that match, in order."""
    many = AnyChar(is_many=True)

    def close(states: set[int]) -> set[int]:
        todo = list(states)
        while todo:
            state = todo.pop()
            if state < len(elements) and elements[state] == many and state + 1 not in states:
                states.add(state + 1)
                todo.append(state + 1)
        return states

    states = close({0})
    found = [0] if len(elements) in states else []
    for at in range(start, len(text)):
        char = text[at]
        following: set[int] = set()
        for state in states:
            if state < len(elements) and _accepts(elements[state], char):
                following.add(state if elements[state] == many else state + 1)
        states = close(following)
        if not states:
            break
        if len(elements) in states:
            found.append(at + 1 - start)
    return found


def match_prefix(pattern: str, text: str, *, is_longest: bool) -> int:
    """Return the length of the shortest or longest beginning that *pattern* matches; -1 if none."""
    ends = _ends(compile_pattern(pattern), text)
    return -1 if not ends else ends[-1] if is_longest else ends[0]


def match_suffix(pattern: str, text: str, *, is_longest: bool) -> int:
    """Return the length of the shortest or longest end that *pattern* matches; -1 if none."""
    ends = _ends(compile_pattern(pattern)[::-1], text[::-1])
    return -1 if not ends else ends[-1] if is_longest else ends[0]


def replace(pattern: str, replacement: str, text: str, *, is_global: bool) -> str:
    """Put *replacement* for the first longest match in *text*, or for all."""
    elements = compile_pattern(pattern)
    if not elements:
        return text
    if not is_pattern(pattern):
        return text.replace(unescape(pattern), replacement, -1 if is_global else 1)
    parts: list[str] = []
    at = 0
    while at < len(text):
        ends = _ends(elements, text, at)
        if ends and ends[-1]:
            parts.append(replacement)
            at += ends[-1]
            if not is_global:
                break
        else:
            parts.append(text[at])
            at += 1
    return "".join(parts) + text[at:]


def find_files(files: Files, pattern: str, cwd: str) -> list[str]:
    """Return the paths that match *pattern*, sorted as bytes; none if there are no such files."""
    prefix = "/" if pattern.startswith("/") else ""
    parts = [part for part in pattern.split("/") if part]
    if not parts:
        return []
    found = list(_walk(files, prefix, parts, cwd))
    if pattern.endswith("/"):
        found = [path + "/" for path in found if files.is_dir(path, cwd)]
    return sorted(found, key=encode_name)


def _walk(files: Files, prefix: str, parts: list[str], cwd: str) -> Iterator[str]:
    part, rest = parts[0], parts[1:]
    if is_pattern(part):
        directory = prefix or "."
        if not files.is_dir(directory, cwd):
            return
        elements = compile_pattern(part)
        names = files.listdir(directory, cwd)
        if elements[0] == ".":
            names += [".", ".."]
        else:
            names = [name for name in names if not name.startswith(".")]
        names = [name for name in names if _matches(elements, name)]
    else:
        names = [unescape(part)]
    for name in names:
        path = prefix + name
        if rest:
            if files.is_dir(path, cwd):
                yield from _walk(files, path + "/", rest, cwd)
        elif files.find(path, cwd, follow=False) is not None:
            yield path
