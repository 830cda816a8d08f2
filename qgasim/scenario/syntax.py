"""What YAML's reader refuses, in words that say how to fix it.

PyYAML has two readers, libyaml's and its own; they find the same faults and word them differently.
"""

import re
from typing import Final

import yaml
from yaml.reader import ReaderError

__all__ = ["explain", "place_in"]

#: Messages of the YAML reader, and ours in their place; what stands in braces is filled in by `_word`.
_WORDS: Final[tuple[tuple[str, str], ...]] = (
    (
        "found character .*that cannot start any token",
        "a text must not begin with {char} (quote it)",
    ),
    (
        "(mapping values|block sequence entries|sequence entries) are not allowed",
        "{what} cannot be here (quote a text that holds one, or look at the indentation)",
    ),
    ("found a tab character", "a tab (indent with spaces)"),
    ("expected '-' indicator", "expected '- ', as in line {line}, or another indentation"),
    ("expected key|expected <block end>", "{stray}"),
    (
        "expected ',' or '[]}]'",
        "expected ',' or '{bracket}', for what was opened in line {line}",
    ),
    (
        "expected (the )?node content",
        "expected a value, found {char} (quote a text that begins with it)",
    ),
    ("found unexpected end of stream", "the quotes that begin here are not closed"),
    (
        "unknown escape character",
        r"a '\' in double quotes begins an escape, and this is none (write '\\', or use single quotes)",
    ),
    (
        "found undefined alias",
        "no anchor '&' of this name comes before (quote a text that begins with '*')",
    ),
    (
        "expected alphabetic or numeric",
        "expected a name after {previous} (quote a text that begins with it)",
    ),
    ("found another document", "a second document (expected one in a file)"),
    ("second occurrence", "this anchor's name is taken, in line {line}"),
    ("incompatible YAML document", "expected %YAML 1.2"),
    ("expected '?<document start>", "{after}"),
    ("maximum nesting depth", "nested too deeply"),
    ("could not find expected ':'", "expected a ':' after the key"),
)


def explain(error: yaml.YAMLError, text: str, name: str) -> str:
    """Return where *text*, of the file *name*, is no YAML, and how to fix it."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        if "quoted" in (error.context or "") and "end of stream" in (error.problem or ""):
            mark = error.context_mark
        if mark is not None:
            return f"{name}:{mark.line + 1}:{mark.column + 1}: {_word(error, mark, text)}"
    if isinstance(error, ReaderError):
        bad = re.search(yaml.reader.Reader.NON_PRINTABLE, text)
        if bad is not None:
            where = place_in(text, bad.start(), name)
            return (
                f"{where}: the character U+{ord(bad[0]):04X} cannot be in a YAML file "
                rf'(write "\u{ord(bad[0]):04x}", in double quotes)'
            )
    return f"{name}: not YAML: {str(error).splitlines()[0]}"


def place_in(text: str, index: int, name: str) -> str:
    """Return where the character *index* of *text* is."""
    before = text[:index]
    return f"{name}:{before.count(chr(10)) + 1}:{index - before.rfind(chr(10))}"


def _word(error: yaml.MarkedYAMLError, mark: yaml.Mark, text: str) -> str:
    problem = error.problem or error.context or "not YAML"
    lines = [*text.splitlines(), "", ""]
    before, here = lines[mark.line][: mark.column], lines[mark.line][mark.column :][:1]
    if here == "\t":
        return "a tab (indent with spaces)"
    line = error.context_mark.line + 1 if error.context_mark else mark.line + 1
    words = next((words for pattern, words in _WORDS if re.search(pattern, problem)), "{problem}")
    return words.format(
        problem=problem,
        char=repr(here),
        previous=repr(before[-1:]),
        line=line,
        what="a '- '" if "sequence" in problem else "a ': '",
        bracket="}" if "flow mapping" in (error.context or "") else "]",
        after="expected '---' after the lines with '%'"
        if text.startswith("%")
        else "something after the end of the document",
        stray="something after the end of a value (quote the whole)"
        if before.strip()
        else f"this indentation matches no line above, back to line {line}",
    )
