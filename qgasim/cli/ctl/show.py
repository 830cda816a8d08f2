"""What `qgasim ctl` prints: columns, with colours on a terminal."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Any, Final

from qgasim.cli.text import readable
from qgasim.cli.values import write_json

__all__ = ["paint", "show_json", "show_line", "show_settings", "show_table"]

_COLOURS: Final = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}
#: The colour of a guest's state; all others have none.
STATE_COLOURS: Final = {"up": "green", "crashed": "red", "frozen": "yellow", "off": "dim"}


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def paint(text: str, colour: str | None) -> str:
    """Return *text* in a colour, if the standard output is a terminal and NO_COLOR is not set."""
    if colour is None or os.environ.get("NO_COLOR") or not _is_terminal():
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def show_line(text: str, colour: str | None = None) -> None:
    """Print a line at once; what is not printable is shown as an escape."""
    print(paint(readable(text), colour), flush=True)


def show_json(value: Any) -> None:
    """Print what the API has answered; nothing if that is nothing."""
    if value is not None:
        print(write_json(value), flush=True)


def show_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print columns below their heads; on a terminal, lines are no wider than it is."""
    cells = [[readable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    limit = shutil.get_terminal_size().columns if _is_terminal() else None
    for number, row in enumerate([heads, *cells]):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        line = line.rstrip()[:limit]
        if number == 0:
            line = paint(line, "bold")
        elif heads[1] == "STATE":
            state = row[1]
            line = line.replace(f"  {state}", f"  {paint(state, STATE_COLOURS.get(state))}", 1)
        print(line)


def show_settings(settings: dict[str, Any]) -> str:
    """Return a fault or an event as it can be typed: ``kind=hang on=guest-ping``."""
    words = (
        f"{name}={value if isinstance(value, str) else write_json(value, indent=None)}"
        for name, value in settings.items()
    )
    return " ".join(map(shlex.quote, words))
