"""The program grep."""

import re
from typing import Final

from qgasim.guest.files.nodes import Regular, decode_name
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.matching import Pattern
from qgasim.userland.programs.getopt import Options, parse, usage_error
from qgasim.userland.programs.inputs import Source
from qgasim.userland.programs.messages import complain, fail, is_busybox
from qgasim.userland.programs.posix_regex import RegexError, compile_regex
from qgasim.userland.programs.registry import program

__all__: list[str] = []

#: Of libc's buffer for the standard output.
_BUFFER_SIZE: Final = 4096

_LONG = {
    "ignore-case": "i", "invert-match": "v", "count": "c", "files-with-matches": "l",
    "line-number": "n", "quiet": "q", "silent": "q", "only-matching": "o", "extended-regexp": "E",
    "fixed-strings": "F", "line-regexp": "x", "recursive": "r", "regexp": "e",
    "no-messages": "s", "no-filename": "h", "with-filename": "H", "text": "a",
}  # fmt: skip


@program("grep")
def grep(p: Process) -> Steps:
    """Print lines that match."""
    options = yield from parse(p, "ivclnqoEFxre:shHay", _LONG)
    operands = options.operands
    if "e" not in options and not operands:
        yield from usage_error(p)
    patterns = "\n".join(options.all("e") or [operands.pop(0)]).split("\n")
    matchers = yield from _compile(p, options, patterns)
    is_recursive = "r" in options
    paths = operands or (["."] if is_recursive and not is_busybox(p) else ["-"])
    if not is_busybox(p) and "v" in options and "x" not in options and not any(patterns):
        # Each line matches, so that it does not even look.
        return 1
    # The name of the only file is shown if a directory had to be looked into to find it.
    shows_name = len(paths) > 1 or (is_recursive and p.guest.files.is_dir(paths[0], p.cwd))
    if is_recursive:
        paths = _expand(p, paths, strip=not operands and not is_busybox(p))
    search = _Search(p, options, matchers)
    last = options.last("hH")
    search.shows_name = last == "H" if last else shows_name
    for path in paths:
        if is_recursive and path != "-" and p.guest.files.is_dir(path, p.cwd):
            continue
        yield from search.file(path)
        if search.has_matched and "q" in options:
            return 0
    yield from search.flush()
    if search.has_failed:
        return 2
    return 0 if search.has_matched else 1


def _compile(p: Process, options: Options, patterns: list[str]) -> Waiting[list[Pattern]]:
    kind = options.last("EF")
    if not is_busybox(p) and {"E", "F"} <= {name for name, _ in options}:
        yield from fail(p, "conflicting matchers specified")
    warnings: list[str] = []
    ignore = bool(options.last("iy"))
    try:
        matchers = [
            compile_regex(
                pattern,
                fixed=kind == "F",
                extended=kind == "E",
                ignore_case=ignore,
                warnings=warnings,
            )
            for pattern in patterns
        ]
        for warning in [] if is_busybox(p) else warnings:
            yield from complain(p, f"warning: {warning}")
    except RegexError as error:
        if is_busybox(p):
            yield from fail(p, f"bad regex '{patterns[0]}'")
        yield from fail(p, str(error))
        raise
    return matchers


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


class _Search:
    """A search through several files."""

    def __init__(self, p: Process, options: Options, matchers: list[Pattern]) -> None:
        self.p = p
        self.options = options
        self.matchers = matchers
        self.shows_name = False
        self.has_matched = False
        self.has_failed = False
        #: What is printed and not written yet.
        self._output = ""

    def print(self, text: str) -> Waiting[None]:
        """Print *text*, which may lie in the buffer of the standard output."""
        self._output += text
        if len(self._output) >= _BUFFER_SIZE:
            yield from self.flush()

    def flush(self) -> Waiting[None]:
        """Write what lies in the buffer."""
        text, self._output = self._output, ""
        if text:
            yield from self.p.write(1, text)

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
        return matcher.search(line, at)

    def file(self, path: str) -> Waiting[None]:
        """Search one file."""
        is_directory = path != "-" and self.p.guest.files.is_dir(path, self.p.cwd)
        source = Source(self.p, [path])
        source.is_quiet = "s" in self.options
        file = _File(self, "(standard input)" if path == "-" else path)
        source.on_file = lambda _path: file.begin(source)
        while not file.is_done and (lines := (yield from source.lines())) and not file.is_output:
            # An applet knows no binary files.
            if not (is_busybox(self.p) or "a" in self.options) and any(
                b"\0" in line for line in lines
            ):
                file.is_binary = True
            out = [file.look(decode_name(raw.removesuffix(b"\n"))) for raw in lines]
            yield from self.print("".join(out))
        if file.is_output:
            yield from complain(self.p, f"{file.name}: input file is also the output")
            source.skip()
            self.has_failed = True
            return
        if file.is_binary and file.wants_lines and file.count:
            yield from complain(self.p, f"{file.name}: binary file matches")
        source.skip()
        self.has_failed = self.has_failed or source.has_failed
        if not source.has_failed or is_directory:
            yield from self._summary(file.name, file.count)

    def _summary(self, name: str, count: int) -> Waiting[None]:
        options = self.options
        if "q" in options:
            return
        if "l" in options:
            yield from self.print(f"{name}\n" if count else "")
        elif "c" in options:
            yield from self.print(f"{name}:{count}\n" if self.shows_name else f"{count}\n")


class _File:
    """A file that is being searched, line by line."""

    def __init__(self, search: _Search, name: str) -> None:
        self._search = search
        self._options = search.options
        self.name = name
        #: Whether lines are printed that match, unless it is binary.
        self.wants_lines = not any(option in search.options for option in "clq")
        self.is_binary = False
        #: How many lines matched.
        self.count = 0
        self.is_done = False
        #: Whether GNU's grep would read what it writes: grepdesc() of its grep.c.
        self.is_output = False
        self._number = 0

    def begin(self, source: Source) -> None:
        """Note whether the file that has been opened is the output, too."""
        p = self._search.p
        output = p.files.get(1)
        if self.wants_lines and not is_busybox(p) and output is not None:
            self.is_output = isinstance(output.node, Regular) and output.node is source.node

    def look(self, line: str) -> str:
        """Look at the next line; return what is printed."""
        if self.is_done:
            return ""
        self._number += 1
        spans = self._search.spans(line)
        if bool(spans) == ("v" in self._options):
            return ""
        self.count += 1
        self._search.has_matched = True
        if not self.wants_lines or self.is_binary:
            self.is_done = "c" not in self._options
            return ""
        if "o" not in self._options:
            return self._format(line)
        if "v" in self._options:
            return ""
        return "".join(self._format(line[a:b]) for a, b in spans if b > a)

    def _format(self, line: str) -> str:
        name = f"{self.name}:" if self._search.shows_name else ""
        return name + (f"{self._number}:" if "n" in self._options else "") + line + "\n"
