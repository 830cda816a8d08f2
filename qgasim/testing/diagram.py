"""Sequence diagrams of what happened to a guest: as SVG that needs no scripts, and as Mermaid text.

Three lanes: the client, its agent, the guest, which stands for its machine, too. Rows follow each other in time; a row is an arrow between two
lanes, or a mark on one.
"""

from collections.abc import Iterable, Iterator
from html import escape
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from qgasim.findings import Finding
from qgasim.guest.units import SECOND
from qgasim.simulation.journal import Entry, Exchange, MonitorExchange, Note
from qgasim.simulation.journal.lines import Folding, Handshake

__all__ = ["Row", "draw", "make_rows", "write_mermaid"]

Kind: TypeAlias = Literal[
    "request", "reply", "error", "lost", "effect", "client", "event", "fault", "finding"
]
CLIENT, AGENT, GUEST = 0, 1, 2
#: How many rows are drawn: the latest.
LIMIT: Final = 200
#: How many characters of a text are shown, between two lanes and beside the guest's.
SHOWN: Final = 56
SHOWN_BESIDE: Final = 30
#: Where the lanes stand, how high a row is, and how large all is.
LANES: Final = (130, 560, 800)
ROW: Final = 30
TOP: Final = 64
WIDTH: Final = 1060


class Row(Struct):
    """An arrow, or a mark if it begins and ends on the same lane."""

    at: int
    kind: Kind
    start: int
    end: int
    text: str
    #: All of a text that is cut.
    title: str = ""
    #: Whether file systems are frozen from here on; None: as before.
    freezes: bool | None = None


def make_rows(entries: Iterable[Entry], findings: Iterable[Finding]) -> tuple[list[Row], int]:
    """Return the rows of a diagram, in the order of time, and how many earlier ones were left out."""
    folding = Folding()
    lines = [line for entry in entries for line in folding.feed(entry)] + folding.flush()
    rows: list[Row] = []
    for line in lines:
        what = line.what
        if isinstance(what, Handshake):
            number = what.synchronisation.connection
            text = f"#{number} synchronises"
            rows.append(Row(what.synchronisation.at, "request", CLIENT, AGENT, text))
        elif isinstance(what, Exchange):
            rows += _rows_of(what)
        elif isinstance(what, Note):
            rows.append(_row_of(what))
    # A reply that had to wait stands where it went.
    rows.sort(key=lambda row: row.at)
    left_out = max(len(rows) - LIMIT, 0)
    rows = rows[left_out:]
    last = rows[-1].at if rows else 0
    rows += [
        Row(last, "finding", CLIENT, CLIENT, finding.name, title=str(finding))
        for finding in findings
    ]
    return rows, left_out


def _rows_of(exchange: Exchange) -> Iterator[Row]:
    command, arguments = exchange.show_request()
    asked = f"{exchange.client} {command} {arguments}".replace("  ", " ").rstrip()
    server = GUEST if isinstance(exchange, MonitorExchange) else AGENT
    yield Row(exchange.at, "request", CLIENT, server, asked)
    for fault in exchange.faults:
        yield Row(exchange.at, "fault", server, server, fault)
    if exchange.effect:
        freezes = {"frozen": True, "thawed": False}.get(exchange.effect)
        yield Row(exchange.at, "effect", AGENT, GUEST, exchange.effect, freezes=freezes)
    answered = exchange.error
    replied = exchange.reply.strip().decode("utf-8", "backslashreplace")
    text = answered if answered is not None else replied.removeprefix("\\xff")
    if exchange.reply and exchange.replied is not None:
        waited = exchange.replied - exchange.at
        after = f"after {waited / SECOND:.3g} s: " if waited else ""
        kind: Kind = "reply" if answered is None else "error"
        yield Row(exchange.replied, kind, server, CLIENT, after + text, title=replied)
    elif not exchange.is_silent:
        said = f"not received: {text}" if exchange.reply else "no reply"
        yield Row(exchange.at, "lost", server, CLIENT, said, title=replied)


def _row_of(note: Note) -> Row:
    if note.kind in ("connect", "disconnect"):
        marks = f" ({', '.join(note.marks)})" if note.marks else ""
        text = f"#{note.connection} {note.kind}s{marks}"
        return Row(note.at, "client", CLIENT, CLIENT, text)
    if note.kind == "wait":
        return Row(note.at, "client", CLIENT, CLIENT, f"#{note.connection} {note.text}")
    if note.kind == "swallowed":
        text = note.data.decode("utf-8", "backslashreplace").strip()
        return Row(note.at, "lost", CLIENT, AGENT, f"swallowed: {text}")
    is_fault = note.text.startswith(("fault: ", "no fault "))
    lane = AGENT if is_fault or note.text.startswith("stub: ") else GUEST
    freezes = None
    if note.kind == "state":
        # What ends a freeze without a thaw: the end of the guest, or of the agent's process.
        state = note.text.rpartition(" ")[2]
        freezes = {"frozen": True, "paused": None, "suspended": None}.get(state, False)
    text = f"qmp {note.text}" if note.kind == "qmp" else note.text
    return Row(note.at, "fault" if is_fault else "event", lane, lane, text, freezes=freezes)


# -- SVG -------------------------------------------------------------------------------------------


def draw(rows: list[Row], names: tuple[str, str, str], label: str) -> str:
    """Return a diagram as an SVG element whose colours are classes of the page."""
    height = TOP + ROW * (len(rows) + 1)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">',
        *_draw_lanes(names, height),
        *_draw_freezes(rows),
    ]
    for number, row in enumerate(rows):
        parts += _draw_row(row, TOP + ROW * (number + 1), rows[number - 1] if number else None)
    return "\n".join([*parts, "</svg>"])


def _draw_lanes(names: tuple[str, str, str], height: int) -> Iterator[str]:
    for x, name in zip(LANES, names, strict=True):
        yield f'<line class="lane" x1="{x}" y1="44" x2="{x}" y2="{height}"/>'
        yield f'<rect class="head" x="{x - 95}" y="8" width="190" height="34" rx="8"/>'
        shown = escape(_cut(name, 26))
        yield f'<text class="name" x="{x}" y="30" text-anchor="middle">{shown}</text>'


def _draw_freezes(rows: list[Row]) -> Iterator[str]:
    start: int | None = None
    for number, row in enumerate([*rows, Row(0, "event", GUEST, GUEST, "", freezes=False)]):
        y = TOP + ROW * (number + 1)
        if row.freezes and start is None:
            start = y
        elif row.freezes is False and start is not None:
            x = LANES[GUEST]
            size = f'width="12" height="{y - start}" rx="3"'
            yield f'<rect class="frozen" x="{x - 6}" y="{start}" {size}><title>frozen</title></rect>'
            start = None


def _draw_row(row: Row, y: int, before: Row | None) -> Iterator[str]:
    title = f"<title>{escape(row.title or row.text)}</title>"
    if before is None or f"{row.at / SECOND:.3f}" != f"{before.at / SECOND:.3f}":
        yield f'<text class="time" x="4" y="{y + 4}">{row.at / SECOND:.3f} s</text>'
    yield f'<g class="{row.kind}">{title}'
    start, end = LANES[row.start], LANES[row.end]
    if row.start == row.end:
        yield from _draw_mark(row, start, y)
    else:
        step = 8 if end > start else -8
        tip = end - (12 * step // 8 if row.kind == "lost" else 0)
        yield f'<line class="arrow" x1="{start}" y1="{y}" x2="{tip}" y2="{y}"/>'
        if row.kind == "lost":
            yield f'<path class="cross" d="M{tip - 5} {y - 5}l10 10m0 -10l-10 10"/>'
        else:
            yield f'<path class="tip" d="M{end} {y}l{-step} -4v8z"/>'
        between = SHOWN if CLIENT in (row.start, row.end) else SHOWN_BESIDE
        text = escape(_cut(row.text, between))
        yield f'<text x="{(start + end) // 2}" y="{y - 5}" text-anchor="middle">{text}</text>'
    yield "</g>"


def _draw_mark(row: Row, x: int, y: int) -> Iterator[str]:
    shapes = {
        "fault": f'<path class="mark" d="M{x + 2} {y - 9}l-7 10h5l-2 8l7 -10h-5z"/>',
        "finding": f'<path class="mark" d="M{x - 4} {y + 9}v-18l13 5l-13 5"/>',
    }
    yield shapes.get(row.kind, f'<circle class="mark" cx="{x}" cy="{y}" r="4"/>')
    shown = SHOWN_BESIDE if row.start != CLIENT else SHOWN
    yield f'<text x="{x + 14}" y="{y + 4}">{escape(_cut(row.text, shown))}</text>'


def _cut(text: str, length: int) -> str:
    text = "".join(c if c.isprintable() else "�" for c in text)
    return text if len(text) <= length else f"{text[: length - 1]}…"


# -- Mermaid ---------------------------------------------------------------------------------------

_LETTERS: Final = "CAG"
#: What Mermaid may take for syntax.
_SPECIAL: Final = frozenset('#;:"<>%{}')


def write_mermaid(rows: list[Row], names: tuple[str, str, str]) -> str:
    """Return a diagram as Mermaid text; a freeze is an activation of the guest."""
    lines = ["sequenceDiagram"]
    for letter, name in zip(_LETTERS, names, strict=True):
        lines.append(f"    participant {letter} as {_quote(name)}")
    is_frozen = False
    for row in rows:
        start, end, text = _LETTERS[row.start], _LETTERS[row.end], _quote(row.text)
        if row.start == row.end:
            prefix = {"fault": "fault: ", "finding": "finding: "}.get(row.kind, "")
            shown = text if row.text.startswith(("fault: ", "no fault ")) else prefix + text
            lines.append(f"    Note over {start}: {shown}")
        else:
            arrow = {"reply": "-->>", "error": "-->>", "lost": "--x"}.get(row.kind, "->>")
            lines.append(f"    {start}{arrow}{end}: {text}")
        if row.freezes is not None and row.freezes != is_frozen:
            is_frozen = row.freezes
            lines.append(f"    {'activate' if is_frozen else 'deactivate'} G")
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    """Return a text in which Mermaid finds nothing of its own: its entities are ``#35;``."""
    shown = _cut(text, 100)
    return "".join(f"#{ord(c)};" if c in _SPECIAL else c for c in shown) or " "
