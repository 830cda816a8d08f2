"""Plain words: patterns of English that stopped readers, of which none is left in code and pages."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.page_reader import ROOT

PYTHON = [
    *(ROOT / "qgasim").rglob("*.py"),
    *(ROOT / "tests").rglob("*.py"),
    *(ROOT / "docs").glob("*.py"),
]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
#: A docstring says what is returned or done, not that it is told.
VERBS = {"Give", "Gives", "Tell", "Tells", "Say", "Says", "Whether"}
#: Relative pronouns without a noun, and what messages once said.
RIDDLES = re.compile(
    r"\b(whoever|whomever|whosesoever|of who|by who|nobody reads this|to have it again"
    r"|to mend it|expected one of the two)\b",
    re.IGNORECASE,
)


def docstrings() -> Iterator[tuple[str, str]]:
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                yield (
                    f"{path.relative_to(ROOT)}: {getattr(node, 'name', '')}",
                    ast.get_docstring(node) or "",
                )


@pytest.mark.slow
def test_no_docstring_begins_with_a_verb_of_telling() -> None:
    assert [
        name for name, text in docstrings() if text.split()[:1] and text.split()[0] in VERBS
    ] == []


@pytest.mark.slow
def test_no_line_is_a_riddle() -> None:
    assert [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in {*PYTHON, *PAGES} - {ROOT / "tests" / "test_words.py"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if RIDDLES.search(line)
    ] == []
