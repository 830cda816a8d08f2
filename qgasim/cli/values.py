"""Values on the command line: ``key=value``, where a value is JSON or else a string, and JSON that is printed."""

import json
import sys
from typing import Any, Final

__all__ = ["cut", "read_json", "read_pairs", "write_json"]

#: How many characters of a wrong word are shown.
_WIDTH: Final = 100
#: What some terminals take for commands, and JSON may have as it is.
_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}


def read_pairs(words: list[str]) -> dict[str, Any]:
    """Return what ``key=value`` words say; ValueError: one is none, or is given twice."""
    result: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"expected key=value, found {cut(word)!r}")
        if key in result:
            raise ValueError(f"{cut(key)!r} is given twice")
        try:
            result[key] = read_json(value)
        except ValueError:
            result[key] = value
    return result


def cut(word: str) -> str:
    """Return *word*, or as much of it as a message shows."""
    return word if len(word) <= _WIDTH else f"{word[:_WIDTH]}..."


def read_json(text: str) -> Any:
    """Read JSON; ValueError if it is none."""

    def refuse(name: str) -> None:
        raise ValueError(f"no value of JSON: {name}")

    try:
        # Python's own would take NaN for a number.
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("too many levels") from None


def write_json(value: Any, indent: int | None = 2) -> str:
    """Write JSON with the characters that the standard output has, the others as escapes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False).translate(_CONTROLS)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text
