"""What JSON can say, and what a request can be."""

from typing import TypeAlias

from qgasim.errors import CommandError

__all__ = ["JsonValue", "Message"]

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
Message: TypeAlias = "JsonValue | CommandError"
"""A request as parsed, or the error that stands in its place."""
