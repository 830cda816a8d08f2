"""What JSON can say, and what a request can be."""

from typing import Any, TypeAlias, TypeGuard

from qgasim.errors import CommandError

__all__ = ["JsonValue", "Message", "is_array", "is_object"]

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
Message: TypeAlias = "JsonValue | CommandError"
"""A request as parsed, or the error that stands in its place."""


def is_array(value: Any) -> TypeGuard[list[Any]]:
    return type(value) is list


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return type(value) is dict
