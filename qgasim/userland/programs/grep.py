"""The program grep."""

import re
from collections import deque

from qgasim.guest.files.nodes import decode_name
from qgasim.guest.processes.process import LINE_SIZE, Process, Steps, Waiting
from qgasim.matching import Pattern
from qgasim.userland.programs.getopt import Options, parse, to_number, usage_error
from qgasim.userland.programs.inputs import Source, split_lines
from qgasim.userland.programs.messages import complain, fail, is_busybox, pick
from qgasim.userland.programs.posix_regex import RegexError, compile_regex
from qgasim.userland.programs.registry import program

__all__: list[str] = []

_LONG = {
    "ignore-case": "i", "invert-match": "v", "count": "c", "files-with-matches": "l",
    "files-without-match": "L", "line-number": "n", "quiet": "q", "silent": "q",
    "only-matching": "o", "extended-regexp": "E", "fixed-strings": "F", "basic-regexp": "G",
    "word-regexp": "w", "line-regexp": "x", "recursive": "r",
    "dereference-recursive": "R", "regexp": "e", "file": "f", "no-messages": "s",
    "no-filename": "h", "with-filename": "H", "max-count": "m", "after-context": "A",
    "before-context": "B", "context": "C", "text": "a", "color": "color::",
}  # fmt: skip


@program("grep")
def grep(p: Process) -> Steps:
    """Print lines that match."""
    letters = "ivclLnqoEFGwxrRe:f:shHm:A:B:C:a" + pick(p, "", "y")
    options = yield from parse(p, letters, _LONG, code=2)
    operands = options.operands
    patterns = "\n".join(options.all("e")).split("\n") if "e" in options else []
    for path in options.all("f"):
        data = yield from p.read_file(path)
        patterns += map(decode_name, split_lines(p, data.removesuffix(b"\n")))
    if "e" not in options and "f" not in options:
        if not operands:
            yield from usage_error(p, code=2)
        patterns = operands.pop(0).split("\n")
    matchers = yield from _compile(p, options, patterns)
    is_recursive = "r" in options or "R" in options
    paths = operands or (["."] if is_recursive else ["-"])
    # The name of the only file is told if a directory had to be looked into to find it.
    shows_name = len(paths) > 1 or (is_recursive and p.guest.files.is_dir(paths[0], p.cwd))
    if is_recursive:
        paths = _expand(p, paths, strip=not operands and not is_busybox(p))
    search = yield from _search(p, options, matchers, shows_name=shows_name)
    if search.limit == 0 and not is_busybox(p):
        return 1
    for path in paths:
        if is_recursive and path != "-" and p.guest.files.is_dir(path, p.cwd):
            continue
        yield from search.file(path)
        if search.has_matched and "q" in options:
            return 0
    if search.has_failed:
        return 2
    return 0 if search.has_matched else 1


def _compile(p: Process, options: Options, patterns: list[str]) -> Waiting[list[Pattern]]:
    fixed = "F" in options
    extended = "E" in options
    try:
        return [
            compile_regex(
                pattern,
                extended=extended,
                fixed=fixed,
                ignore_case="i" in options or "y" in options,
            )
            for pattern in patterns
        ]
    except RegexError as error:
        if is_busybox(p):
            yield from fail(p, f"bad regex '{patterns[0]}'", 2)
        yield from fail(p, str(error), 2)
        raise


def _expand(p: Process, paths: list[str], *, strip: bool) -> list[str]:
    """Return the files below *paths*."""
    found: list[str] = []
    for path in paths:
        if not p.guest.files.is_dir(path, p.cwd):
            found.append(path)
            continue
        for name in p.guest.files.listdir(path, p.cwd):
            below = name if strip and path == "." else f"{path.rstrip('/')}/{name}"
            node = p.guest.files.find(below, p.cwd, follow=False)
            if node is not None and node.st_mode & 0o170000 in (0o040000, 0o100000):
                found += _expand(p, [below], strip=False)
    return found


def _search(
    p: Process, options: Options, matchers: list[Pattern], *, shows_name: bool
) -> "Waiting[_Search]":
    limit = options.get("m")
    after = options.get("A") or options.get("C")
    before = options.get("B") or options.get("C")
    search = _Search(p, options, matchers)
    last = options.last("hH")
    search.shows_name = last == "H" if last else shows_name
    search.limit = (yield from _count(p, limit, "invalid max count")) if limit else None
    invalid = ": invalid context length argument"
    search.after = (yield from _count(p, after, after + invalid)) if after else 0
    search.before = (yield from _count(p, before, before + invalid)) if before else 0
    return search


def _count(p: Process, text: str, wrong: str) -> Waiting[int]:
    """Read an option's number; *wrong*: what GNU's grep says of what is none."""
    if not is_busybox(p) and not text.isdecimal():
        yield from fail(p, wrong, 2)
    return (yield from to_number(p, text, is_clamped=True))


class _Search:
    """A search through several files."""

    def __init__(self, p: Process, options: Options, matchers: list[Pattern]) -> None:
        self.p = p
        self.options = options
        self.matchers = matchers
        self.shows_name = False
        self.limit: int | None = None
        self.after = self.before = 0
        self.has_matched = False
        self.has_failed = False
        #: Whether a line has been printed, of whatever file.
        self.has_printed = False

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Return where *line* matches, from left to right, without overlaps."""
        spans: list[tuple[int, int]] = []
        at = 0
        while at <= len(line):
            found = [m for x in self.matchers if (m := self._match(x, line, at))]
            if not found:
                break
            best = min(found, key=lambda m: (m.start(), -m.end()))
            spans.append(best.span())
            at = best.end() if best.end() > best.start() else best.end() + 1
            if "o" not in self.options:
                break
        return spans

    def _match(self, matcher: Pattern, line: str, at: int) -> re.Match[str] | None:
        if "x" in self.options:
            return matcher.fullmatch(line) if at == 0 else None
        while (found := matcher.search(line, at)) and "w" in self.options:
            start, end = found.span()
            before = line[start - 1 : start] if start else ""
            after = line[end : end + 1]
            if not (_is_word(before) or _is_word(after)):
                return found
            at = start + 1
        return found

    def file(self, path: str) -> Waiting[None]:
        """Search one file."""
        source = Source(self.p, [path])
        source.is_quiet = "s" in self.options
        file = _File(self, "(standard input)" if path == "-" else path)
        while not file.is_done and (lines := (yield from source.lines())):
            # An applet knows no binary files.
            if not (is_busybox(self.p) or "a" in self.options) and any(
                b"\0" in line for line in lines
            ):
                file.is_binary = True
            out = [file.look(decode_name(raw.removesuffix(b"\n"))) for raw in lines]
            yield from self.p.write(1, "".join(out))
        if file.is_binary and file.wants_lines and file.count:
            yield from complain(self.p, f"{file.name}: binary file matches")
        source.skip()
        self.has_failed = self.has_failed or source.has_failed
        if not source.has_failed:
            yield from self._summary(file.name, file.count)

    def _summary(self, name: str, count: int) -> Waiting[None]:
        options = self.options
        if "q" in options:
            return
        if "c" in options:
            yield from self.p.write(1, f"{name}:{count}\n" if self.shows_name else f"{count}\n")
        if ("l" in options and count) or ("L" in options and not count):
            yield from self.p.write(1, f"{name}\n")


class _File:
    """A file that is being searched, line by line."""

    def __init__(self, search: _Search, name: str) -> None:
        self._search = search
        self._options = search.options
        self.name = name
        #: Whether lines are printed that match, unless it is binary.
        self.wants_lines = not any(option in search.options for option in "clLq")
        self.is_binary = False
        #: How many lines matched.
        self.count = 0
        self.is_done = False
        self._number = 0
        #: The number of the last line that was printed.
        self._shown_to = 0
        #: Lines that are printed if one after them matches.
        self._recent: deque[tuple[int, str]] = deque(maxlen=search.before)
        #: How many of the next lines are printed although they do not match.
        self._trailing = 0

    def look(self, line: str) -> str:
        """Look at the next line; give what is printed now."""
        if self.is_done:
            return ""
        search = self._search
        self._number += 1
        spans = search.spans(line)
        if bool(spans) == ("v" in self._options):
            return self._pass(line)
        if self.count == search.limit:
            # The lines after the last match end where there would be another.
            self.is_done = True
            return ""
        self.count += 1
        search.has_matched = True
        if not self.wants_lines or self.is_binary:
            self.is_done = "c" not in self._options or self.count == search.limit
            return ""
        shown = self._show(line, spans)
        self.is_done = self.count == search.limit and (not self._trailing or is_busybox(search.p))
        return shown

    def _pass(self, line: str) -> str:
        """Pass over a line that does not match."""
        if not self._trailing or not self.wants_lines or self.is_binary:
            search = self._search
            if self._recent.maxlen:
                if len(self._recent) == self._recent.maxlen:
                    search.p.take_memory(-LINE_SIZE - len(self._recent[0][1]))
                search.p.take_memory(LINE_SIZE + len(line))
            self._recent.append((self._number, line))
            return ""
        self._trailing -= 1
        self._shown_to = self._number
        self.is_done = self.count == self._search.limit and not self._trailing
        return self._format("-", self._number, line)

    def _show(self, line: str, spans: list[tuple[int, int]]) -> str:
        """Return a line that matches, with those before it."""
        search = self._search
        if "o" in self._options:
            parts = [line[a:b] for a, b in spans if b > a and "v" not in self._options]
            return "".join(self._format(":", self._number, part) for part in parts)
        gap = search.has_printed and (search.before or search.after)
        is_apart = gap and self._number - len(self._recent) > self._shown_to + 1
        out = ["--\n"] if is_apart else []
        out += [self._format("-", number, text) for number, text in self._recent]
        search.p.take_memory(-sum(LINE_SIZE + len(text) for _, text in self._recent))
        self._recent.clear()
        out.append(self._format(":", self._number, line))
        search.has_printed = True
        self._shown_to, self._trailing = self._number, search.after
        return "".join(out)

    def _format(self, mark: str, number: int, line: str) -> str:
        where = f"{number}{mark}" if "n" in self._options else ""
        return (self.name + mark if self._search.shows_name else "") + where + line + "\n"


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
