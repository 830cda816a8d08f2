"""Which commands an agent refuses, and in which words (qga/main.c)."""

from collections.abc import Container

from qgasim.dialect import Dialect
from qgasim.qapi.registry import Entry, Table

__all__ = ["refuse_blocked", "refuse_frozen", "serve_thawed"]


def refuse_blocked(
    table: Table,
    dialect: Dialect,
    *,
    blocked: Container[str],
    allowed: Container[str] | None,
    is_frozen: bool,
) -> None:
    """Do what an agent does at its start; *is_frozen*: file systems are frozen since an earlier one.

    *allowed*: the only commands that are served; None: there is no such list.
    """
    for name, entry in table.items():
        if not entry.is_supported or name in blocked:
            entry.blocked = dialect.blocked_text.format(name)
        elif allowed is not None and name not in allowed:
            entry.blocked = dialect.not_allowed_text.format(name)
        else:
            entry.blocked = None
        entry.disabled = entry.blocked
        # What is blocked was told last, and so in its own words (initialize_agent()).
        if is_frozen and (entry.blocked is None or dialect.frees_while_frozen):
            _refuse_frozen(entry, dialect)


def refuse_frozen(table: Table, dialect: Dialect) -> None:
    """Refuse from now on what may not be done while file systems are frozen."""
    for entry in table.values():
        _refuse_frozen(entry, dialect)


def _refuse_frozen(entry: Entry, dialect: Dialect) -> None:
    if not entry.command.while_frozen:
        entry.disabled = dialect.frozen_text.format(entry.command.name)
    elif dialect.frees_while_frozen:
        entry.disabled = None


def serve_thawed(table: Table, dialect: Dialect) -> None:
    """Serve everything again that is not blocked."""
    for entry in table.values():
        if entry.blocked is None or not dialect.keeps_frozen_text:
            entry.disabled = entry.blocked
