"""Which commands an agent refuses, and in which words (qga/main.c).

Each function returns the refusals from now on: the text for each command that is refused. Commands that
are not in the mapping are served.
"""

from collections.abc import Container, Mapping
from typing import TypeAlias

from qgasim.dialect import Dialect
from qgasim.qapi.registry import Table

__all__ = ["Refusals", "refuse_blocked", "refuse_frozen", "serve_thawed"]

#: The text of the refusal, by command.
Refusals: TypeAlias = Mapping[str, str]


def refuse_blocked(
    table: Table, dialect: Dialect, *, blocked: Container[str], allowed: Container[str] | None
) -> Refusals:
    """Return what an agent refuses for good, from its start.

    *allowed*: the only commands that are served; None: there is no such list.
    """
    refusals: dict[str, str] = {}
    for name, entry in table.items():
        if not entry.is_supported or name in blocked:
            refusals[name] = dialect.blocked_text.format(name)
        elif allowed is not None and name not in allowed:
            refusals[name] = dialect.not_allowed_text.format(name)
    return refusals


def refuse_frozen(
    refused: Refusals, table: Table, dialect: Dialect, *, at_start: bool = False
) -> Refusals:
    """Return what is refused while file systems are frozen, *refused* being refused before.

    *at_start*: they are frozen since an earlier process. What is blocked was told last then, and so is
    refused in its own words (initialize_agent()).
    """
    refusals = dict(refused)
    for name, entry in table.items():
        if at_start and name in refused and not dialect.frees_while_frozen:
            continue
        if not entry.command.while_frozen:
            refusals[name] = dialect.frozen_text.format(entry.command.name)
        elif dialect.frees_while_frozen:
            refusals.pop(name, None)
    return refusals


def serve_thawed(refused: Refusals, blocked: Refusals, dialect: Dialect) -> Refusals:
    """Return what is refused after a thaw: what is *blocked*; *refused* was refused before."""
    if not dialect.keeps_frozen_text:
        return blocked
    # A blocked command keeps the words that it had while frozen, or is served still.
    return {name: text for name, text in refused.items() if name in blocked}
