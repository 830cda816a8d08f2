"""What is wrong with scenarios as other programs read it: GitHub's annotations, and SARIF for code scanning."""

import json
import re
from typing import Any, Final

from msgspec import Struct

import qgasim

__all__ = ["FORMATS", "Annotation", "annotate", "write_annotations"]

FORMATS: Final = ("text", "github", "sarif")
#: ``file:line:column: text``, or without the place in the file.
_LINE: Final = re.compile(r"(?:(?P<path>.+?)(?::(?P<line>\d+):(?P<column>\d+))?: )?(?P<text>.*)")
_WARNING: Final = "warning: "
#: The schema of the log that GitHub takes for results, see its "SARIF support for code scanning".
_SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"


class Annotation(Struct, frozen=True):
    """Something wrong with a file: *line* and *column* count from 1, and are 0 if it is the whole file."""

    path: str
    line: int
    column: int
    text: str
    is_warning: bool


def annotate(lines: list[str], path: str) -> list[Annotation]:
    """Return what *lines* of a ScenarioError say of the file *path*, or of one that it extends."""
    found: list[Annotation] = []
    for line in lines:
        match = _LINE.fullmatch(line)
        is_placed = match is not None and match["line"] is not None
        text = match["text"] if match and (is_placed or match["path"] == path) else line
        found.append(
            Annotation(
                path=match["path"] if match and is_placed else path,
                line=int(match["line"]) if match and is_placed else 0,
                column=int(match["column"]) if match and is_placed else 0,
                text=text.replace(_WARNING, "", 1),
                is_warning=_WARNING in text,
            )
        )
    return found


def write_annotations(found: list[Annotation], form: str) -> str:
    """Return *found* in one of `FORMATS` but text."""
    if form == "sarif":
        return json.dumps(_to_sarif(found), indent=2)
    return "\n".join(map(_to_github, found))


def _to_github(one: Annotation) -> str:
    """Return a workflow command: see "Workflow commands for GitHub Actions"."""
    kind = "warning" if one.is_warning else "error"
    place = f",line={one.line},col={one.column}" if one.line else ""
    return f"::{kind} file={_escape(one.path, ':,')}{place}::{_escape(one.text)}"


def _escape(text: str, also: str = "") -> str:
    # As @actions/core (command.ts) does: the percent sign first.
    for character in f"%\r\n{also}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _to_sarif(found: list[Annotation]) -> dict[str, Any]:
    """Return a log of the Static Analysis Results Interchange Format, version 2.1.0 (OASIS)."""
    rule = {
        "id": "scenario",
        "shortDescription": {"text": "A scenario that qgasim cannot read as it is meant"},
    }
    driver = {"name": "qgasim", "version": qgasim.__version__, "rules": [rule]}
    results = [
        {
            "ruleId": "scenario",
            "level": "warning" if one.is_warning else "error",
            "message": {"text": one.text},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": one.path},
                        "region": {"startLine": one.line or 1, "startColumn": one.column or 1},
                    }
                }
            ],
        }
        for one in found
    ]
    return {
        "$schema": _SARIF,
        "version": "2.1.0",
        "runs": [
            {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
        ],
    }
