"""Plain words: patterns of English that stopped readers, of which none is left in code and pages."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.page_reader import ROOT

PYTHON = [
    *(ROOT / "qgasim").rglob("*.py"),
    *(ROOT / "tests").rglob("*.py"),
    *(ROOT / "docs").glob("*.py"),
]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
#: A docstring says what is returned or done, not that it is told, and not what something is to be or to have.
VERBS = {"Be", "Give", "Gives", "Have", "Know", "Tell", "Tells", "Say", "Says", "Whether"}
#: Pronouns without a noun (the client, the caller or the test has a name), and passives without a subject.
RIDDLES = re.compile(
    r"\b(?:whoever|whomever|whosesoever|nobody|somebody|anybody|everybody|who\s+\w|whom"
    r"|(?:is|are) said|said of)\b",
    re.IGNORECASE,
)
#: People do things, and programs list them; names are in backticks.
NAMED = re.compile(r"`[^`]*`|\b(?:users?|people|developers|List|Print)\s+who\b")
#: What messages once said, and citations of notes that are not in this repository.
PHRASES = re.compile(
    r"\b(?:nobody reads this|to have it again|to mend it|expected one of the two|in any cut"
    r"|behaviour\.md|qmp\.md,? \d)\b",
    re.IGNORECASE,
)
COMMENT = re.compile(r"(?:^|\s)#:?\s(.*)")
BLOCK = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


@cache
def docstrings() -> list[tuple[str, str]]:
    return [
        (
            f"{path.relative_to(ROOT)}: {getattr(node, 'name', '')}",
            ast.get_docstring(node, clean=False) or "",
        )
        for path in PYTHON
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module)
    ]


def prose() -> Iterator[tuple[str, str]]:
    """Yield the docstrings, comments and pages, without code."""
    yield from docstrings()
    for path in {*PYTHON} - {Path(__file__)}:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if "#" in line and (comment := COMMENT.search(line)):
                yield f"{path.relative_to(ROOT)}:{number}", comment[1]
    for path in PAGES:
        yield str(path.relative_to(ROOT)), BLOCK.sub("", path.read_text())


@pytest.mark.slow
def test_no_docstring_begins_with_a_verb_of_telling() -> None:
    assert [
        name for name, text in docstrings() if text.split()[:1] and text.split()[0] in VERBS
    ] == []


@pytest.mark.slow
def test_what_does_something_is_named() -> None:
    assert [
        f"{where}: {found[0]}"
        for where, text in prose()
        for found in RIDDLES.finditer(NAMED.sub("", text))
    ] == []


@pytest.mark.slow
def test_no_line_is_a_riddle() -> None:
    assert [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in {*PYTHON, *PAGES} - {Path(__file__)}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if PHRASES.search(line)
    ] == []
